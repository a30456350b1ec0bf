"""What a watcher on XMPP is shown of a presence document: stanzas for what changed, nothing else.

One presence a tuple (RFC 3922 section 6.3.1), and only where something that XMPP shows is different from what
this watcher was shown before (mapping section 5, row prs-split).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

from imxrouter.formats.xmltree import BadXml, parse
from imxrouter.gateways.xmpp.build import Xml, element, stanza, without_unsayable
from imxrouter.gateways.xmpp.translate.failures import error_element
from imxrouter.gateways.xmpp.translate.jid import to_jid
from imxrouter.gateways.xmpp.translate.presence import (
    CLIENT,
    DELAY,
    SHOWS,
    fewer,
    resource_of_id,
    whole_id,
    write_stamp,
)
from imxrouter.gateways.xmpp.translate.reserved import is_reserved
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.presence import (
    MAX_TUPLES,
    PRIORITIES,
    Basic,
    Extension,
    Note,
    Person,
    Presence,
    PresenceTuple,
    Unknown,
    preferred,
)
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason

#: XEP-0115: what a resource can do, in its own presence.
CAPS: Final = "http://jabber.org/protocol/caps"
_IM: Final = "urn:ietf:params:xml:ns:pidf:im"
#: A state older than this is said to be so, where somebody asks for it (row prs-timestamp-none).
_OLD: Final = timedelta(seconds=60)
#: Activities of RFC 4480 by what XMPP shows; the first line with one of them holds.
_BY_ACTIVITY: Final = (
    ("dnd", frozenset({"busy", "on-the-phone", "meeting", "presentation", "performance"})),
    ("xa", frozenset({"sleeping", "vacation", "holiday", "permanent-absence"})),
    ("away", frozenset({"away"})),
)
#: RFC 3922 section 5.1.5.
_BY_IM: Final = {"busy": "dnd", "away": "away"}


@dataclass(frozen=True, slots=True)
class PresenceStanza:
    """One presence stanza to a user of XMPP, or a failure that is shown to him as one.

    Attributes:
        source: from whom.
        to: to whom; always his bare JID.
        resource: of the sender, empty for his bare JID.
        type: as RFC 6121 section 4.7.1 has it; empty for available.
        children: elements, each with the declarations it needs within `jabber:server`.
        id: of the stanza that it answers, or empty.
        language: `xml:lang`, or empty.
        form: the very stanza that was sent elsewhere, judged and to be sent instead; empty for none.
    """

    source: Address
    to: Address
    resource: str = ""
    type: str = ""
    children: tuple[Xml, ...] = ()
    id: str = ""
    language: str = ""
    form: bytes = b""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one watcher was shown of one presentity.

    Attributes:
        resources: a digest of what each available resource shows, by resource.
        doubt: why and at which domain nothing is known; None where that was not shown.
        forgotten: he may have been shown more, before a restart.
    """

    resources: Mapping[str, bytes] = field(default_factory=dict)
    doubt: tuple[Reason, Domain] | None = None
    forgotten: bool = False


NOTHING: Final = Shown()
#: What was shown is not stored.
FORGOTTEN: Final = Shown(forgotten=True)


def written(one: PresenceStanza) -> bytes:
    """The stanza's bytes within `jabber:server`.

    Raises:
        BadJid: an address is none in XMPP.
        Unsayable: an address has what XML cannot carry.
    """
    if one.form:
        return one.form
    source, to = to_jid(one.source, one.resource), to_jid(one.to)
    return stanza(
        "presence", *one.children, to=str(to), from_=str(source), ident=one.id, type_=one.type,
        language=one.language,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody waits for an answer: all is shown, even what was shown before.

    Attributes:
        now: for saying how old a state is.
        id: of the probe; it is on an answer that says nothing of a resource.
    """

    now: datetime
    id: str = ""


#: Type and condition of the failures that presence can have (mapping section 4.1); the last row for others.
_KINDS: Final = {
    Reason.BUSY: ("wait", "resource-constraint"), Reason.STATE_UNAVAILABLE: ("wait", "resource-constraint"),
    Reason.ID_REUSED: ("cancel", "conflict"),
}  # fmt: skip


def show(
    before: Shown,
    state: Presence | Unknown,
    watcher: Address,
    asked: Asked | None = None,
    caps: str = "",
) -> tuple[Shown, tuple[PresenceStanza, ...]]:
    """Show a watcher a new state.

    Args:
        before: what he was shown.
        state: the new one.
        watcher: a user of XMPP.
        asked: he waits for an answer, to a request or to a probe; None: only what changed is sent.
        caps: the element that says what this gateway can translate, for a tuple that says nothing of it.

    Returns:
        What he has been shown then, and the stanzas; at most one for each resource before and after, and one
        more.
    """
    if isinstance(state, Unknown):
        return _doubt(before, state, watcher, asked)
    to_say = {name: _said(one, state, caps) for name, one in open_resources(state).items()}
    digests = {name: one.digest for name, one in to_say.items()}
    # What he was shown before a restart is not known, so nothing less than all of it is taken back.
    stanzas = list(hide(before, state.presentity, watcher)) if before.forgotten and to_say else []
    stanzas += [
        PresenceStanza(state.presentity, watcher, name, "unavailable", *closed)
        for name, closed in _gone(before, state, digests)
    ]
    for name, one in to_say.items():
        if asked is not None or before.resources.get(name) != one.digest:
            children = one.children if asked is None else (*one.children, *_age(one.of, asked.now))
            stanzas.append(PresenceStanza(state.presentity, watcher, name, "", children, "", one.language))
    if not to_say and not stanzas and (asked is not None or before.doubt is not None):
        ident = asked.id if asked is not None else ""
        stanzas.append(PresenceStanza(state.presentity, watcher, "", "unavailable", (), ident))
    return Shown(digests), tuple(stanzas)


def hide(before: Shown, presentity: Address, watcher: Address) -> tuple[PresenceStanza, ...]:
    """Take back all that is shown (RFC 6121 section 4.5): its watcher learns nothing more.

    What is not known any more is taken back by the bare JID, which stands for all resources.
    """
    if before.forgotten:
        return (PresenceStanza(presentity, watcher, "", "unavailable"),)
    return tuple(PresenceStanza(presentity, watcher, name, "unavailable") for name in before.resources)


def failed(reason: Reason, by: str, retry_s: int = 0) -> Xml:
    """The error element of a failure, in its disclosed form (mapping section 4.1).

    Args:
        reason: why.
        by: the deciding domain.
        retry_s: seconds after which another try may help; 0: not said.
    """
    told = REASON_BY_WORD[reason.disclosed]
    kind, word = _KINDS.get(told, ("wait", "remote-server-timeout"))
    retry = {"retry": str(retry_s)} if retry_s else {}
    return error_element((kind, word), told, by, "", {**retry, "status": "failure"})


def _doubt(
    before: Shown, state: Unknown, watcher: Address, asked: Asked | None
) -> tuple[Shown, tuple[PresenceStanza, ...]]:
    """Say that nothing is known, once for each cause (rows prs-unknown, prs-unknown-once)."""
    doubt = (state.reason, state.domain)
    if before.doubt == doubt and asked is None:
        return before, ()
    presentity = state.presentity
    told = REASON_BY_WORD[state.reason.disclosed]
    word = "internal-server-error" if state.reason is Reason.OWN_NETWORK else "remote-server-timeout"
    text = f"Presence of {presentity} is unknown: {told.word} at {state.domain.name}"
    children = (error_element(("wait", word), told, state.domain.name, text, {"status": "failure"}),)
    # Whoever takes only one of these for his contact list takes the one that he knows a resource by.
    stanzas = [PresenceStanza(presentity, watcher, name, "error", children) for name in before.resources]
    ident = asked.id if asked is not None else ""
    stanzas.append(PresenceStanza(presentity, watcher, "", "error", children, ident))
    return Shown({}, doubt, before.forgotten), tuple(stanzas)


# -- tuple to stanza ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Said:
    """What a presence says of a resource; the digest leaves its age out."""

    of: PresenceTuple
    language: str
    children: tuple[Xml, ...]

    @property
    def digest(self) -> bytes:
        said = "\0".join((self.language, *self.children))
        return blake2b(said.encode("utf-8", "replace"), digest_size=16).digest()


def open_resources(state: Presence) -> dict[str, PresenceTuple]:
    """The tuples that are shown as available, by resource, the preferred ones first.

    Where two give one resource, the less preferred one gets its whole id as resource, then that with `.2`,
    `.3` and so on (row prs-tuple-collide). What must be understood and is not is never available.
    """
    if any(one.must_understand for one in state.extensions):
        return {}
    named: dict[str, PresenceTuple] = {}
    for one in preferred(state.tuples)[:MAX_TUPLES]:
        if one.status is Basic.OPEN:
            name = base = resource_of_id(one.id)
            number = 1
            while name in named:
                name = whole_id(one.id) if number == 1 else f"{base[:1000]}.{number}"
                number += 1
            named[name] = one
    return named


def _said(one: PresenceTuple, state: Presence, caps: str) -> _Said:
    show, priority = _show_of(one, state), priority_of(one)
    others = fewer(each for each in one.extensions if not is_reserved(each.namespace))
    # Around an extension that has no language of its own there is none, so that it does not get one.
    settled = all(" xml:lang=" in each.xml.partition(">")[0] for each in others)
    notes = one.notes or state.notes or next((each.notes for each in _persons(state) if each.notes), ())
    language, children = _statuses(notes, around=settled)
    if show:
        children.insert(0, element("show", show))
    if priority:
        children.append(element("priority", str(priority)))
    children += [Xml(each.xml) for each in others]
    if caps and not any(each.namespace == CAPS for each in others):
        children.append(Xml(caps))
    return _Said(one, language, tuple(children))


def _show_of(one: PresenceTuple, state: Presence) -> str:
    for extension in one.status_extensions:
        if (extension.namespace, extension.name) == (CLIENT, "show"):
            word = _text(extension)
            if word in SHOWS:
                return word
    for activities in (one.activities, *(person.activities for person in _persons(state))):
        names = {name for each in activities for name in each.names}
        found = next((word for word, those in _BY_ACTIVITY if names & those), "")
        if found:
            return found
    words = (_text(each) for each in one.status_extensions if (each.namespace, each.name) == (_IM, "im"))
    return next((_BY_IM[word] for word in words if word in _BY_IM), "")


def _persons(state: Presence) -> list[Person]:
    """They are above all tuples (RFC 4479 section 3.2); of several that disagree the newest is believed."""
    return sorted(state.persons, key=_when, reverse=True)


def _when(one: Person) -> float:
    return float("-inf") if one.timestamp is None else one.timestamp.timestamp()


def priority_of(one: PresenceTuple) -> int:
    """What XMPP is shown of a tuple's priority, 0 where nothing is (rows prs-priority and those behind it).

    From 1 to 127 of a contact's thousandths; below 0 only where it stands as it is (RFC 3922 5.2.13).
    """
    for extension in one.extensions:
        if (extension.namespace, extension.name) == (CLIENT, "priority"):
            text = _text(extension)
            if text[:1] == "-" and text[1:].isascii() and text[1:].isdigit() and len(text) <= 4:
                return max(int(text), PRIORITIES[0])
    thousandths = one.contact.priority if one.contact is not None else None
    return -(-(thousandths or 0) * PRIORITIES[1] // 1000)


def _text(extension: Extension) -> str:
    try:
        return parse(extension.xml.encode("utf-8", "replace")).text.strip()
    except BadXml:
        return ""


def _statuses(notes: Iterable[Note], *, around: bool = True) -> tuple[str, list[Xml]]:
    """The language of the stanza, and a status for each language; several of one language: the first.

    With `around` the first one's language is the stanza's.
    """
    firsts: dict[str, Note] = {}
    for note in notes:
        if note.text:
            firsts.setdefault(note.language.lower(), note)
    language = next((one.language for one in firsts.values()), "") if around else ""
    return language, [
        element("status", without_unsayable(one.text), attributes=_language(one, language))
        for one in firsts.values()
    ]


def _language(note: Note, around: str) -> dict[str, str]:
    return {} if note.language == around else {"xml:lang": note.language}


def _age(one: PresenceTuple, now: datetime) -> tuple[Xml, ...]:
    when = one.timestamp
    if when is None or now - when < _OLD:
        return ()
    return (element("delay", namespace=DELAY, attributes={"stamp": write_stamp(when)}),)


def _gone(
    before: Shown, state: Presence, after: Mapping[str, bytes]
) -> list[tuple[str, tuple[tuple[Xml, ...], str, str]]]:
    """Resources that were shown and are so no more, with children, id and language of what says so."""
    gone = [name for name in before.resources if name not in after]
    closed = {resource_of_id(one.id): one for one in state.tuples if one.status is not Basic.OPEN}
    said = []
    for name in gone:
        notes = closed[name].notes if name in closed else ()
        language, statuses = _statuses(notes)
        said.append((name, (tuple(statuses), "", language)))
    return said
