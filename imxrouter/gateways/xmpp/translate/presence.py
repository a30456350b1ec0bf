"""What resources of XMPP say, as one presence document (mapping section 5; RFC 3922 section 5.1, RFC 8048).

Stanzas come as trees whose content namespace is `jabber:server`; addresses were read before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from precis_i18n import get_profile

from imxrouter.formats.pidf import can_be_kept, entity
from imxrouter.formats.xmltree import Element, escape_text
from imxrouter.gateways.xmpp.translate.reserved import is_reserved
from imxrouter.model.address import Address
from imxrouter.model.presence import (
    MAX_TUPLES,
    PRIORITIES,
    Activities,
    Basic,
    Contact,
    Extension,
    Note,
    Presence,
    PresenceTuple,
    is_language,
    offline,
    preferred,
)

#: The namespace of `show` and `priority` in documents (RFC 8048 section 6.2 note 7).
CLIENT: Final = "jabber:client"
_CONTENT: Final = "jabber:server"
DELAY: Final = "urn:xmpp:delay"
#: RFC 6121 section 4.7.2.1, and the activity of RFC 4480 that says nearly the same.
SHOWS: Final = {"away": "away", "xa": "away", "dnd": "busy", "chat": ""}
#: Extensions of one presence: clients send two or three (caps, avatar, idle).
MAX_EXTENSIONS: Final = 8
MAX_EXTENSION_BYTES: Final = 4096
#: Languages of one status text.
MAX_STATUSES: Final = 8
#: Characters of one status text; more is cut, as clients show a line of it.
MAX_STATUS: Final = 1024
#: Of a document: leaves room in the smallest record that links grant (65,536) for its envelope and fields.
MAX_DOCUMENT_BYTES: Final = 49_152
#: Notes and extensions of one document: the reader takes 300 each (`formats.pidf`).
_MAX_PARTS: Final = 290
#: Bytes of a resource (RFC 7622 section 3.4).
MAX_RESOURCE_BYTES: Final = 1023
#: A stamp so far ahead is a broken clock or a lie.
_AHEAD: Final = timedelta(seconds=60)
_OPAQUE: Final = get_profile("OpaqueString")
_ID_PREFIX: Final = "ID-"
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-")
_CODED: Final = re.compile(r"(?:[A-Za-z0-9.-]|_[0-9a-f]{2})*\Z")
_CODE: Final = re.compile(r"_([0-9a-f]{2})")
_PRIORITY: Final = re.compile(r"[+-]?[0-9]{1,3}\Z")
#: XEP-0082 section 3.2.
_STAMP: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})\Z"
)
_MARK: Final = "urn:ietf:params:xml:ns:pidf mustUnderstand"


@dataclass(frozen=True, slots=True)
class Resource:
    """What one resource said last.

    Attributes:
        name: the resource, empty for the bare JID.
        tuple: the same as a tuple of a document.
    """

    name: str
    tuple: PresenceTuple


# -- ids ---------------------------------------------------------------------------------------------------


def tuple_id(resource: str) -> str:
    """The id of a resource's tuple (row prs-tuple-id): one to one, and an xs:ID."""
    coded = (chr(one) if one in _PLAIN else f"_{one:02x}" for one in resource.encode("utf-8"))
    return _ID_PREFIX + "".join(coded)


def resource_of_id(ident: str) -> str:
    """The resource of a tuple's id: what `tuple_id` was given, or the id itself (row prs-tuple-foreign).

    An id that is too long for a resource gives one made of its digest.
    """
    coded = ident[len(_ID_PREFIX) :]
    if ident.startswith(_ID_PREFIX) and _CODED.match(coded):
        raw = _CODE.sub(lambda found: chr(int(found[1], 16)), coded).encode("latin-1")
        try:
            resource = raw.decode("utf-8")
        except UnicodeDecodeError:
            resource = ""
        # Any other spelling of the same resource, and what is none, would make the mapping many to one.
        if tuple_id(resource) == ident and is_resource(resource):
            return resource
    return whole_id(ident)


def whole_id(ident: str) -> str:
    """A resource that is a tuple's id as it stands, where that fits."""
    return ident if len(ident) <= MAX_RESOURCE_BYTES else f"t-{sha256(ident.encode()).hexdigest()}"


def is_resource(text: str) -> bool:
    """Whether a text is a resource as it stands (RFC 7622 section 3.4), or empty."""
    if text.isascii():
        return len(text) <= MAX_RESOURCE_BYTES and text.isprintable()
    try:
        return len(text.encode("utf-8")) <= MAX_RESOURCE_BYTES and _OPAQUE.enforce(text) == text
    except (UnicodeError, ValueError):
        return False


# -- stanza to tuple ---------------------------------------------------------------------------------------


def resource_of(stanza: Element, resource: str, presentity: Address, now: datetime) -> Resource:
    """What a presence without type or of type `unavailable` says of the resource that it came from.

    Args:
        stanza: the presence.
        resource: of its sender, as PRECIS has it.
        presentity: its sender.
        now: for stamps of the future.
    """
    closed = stanza.attributes.get("type") == "unavailable"
    mine = [one for one in stanza.children if one.namespace == _CONTENT]
    thousandths, as_it_is = (None, ()) if closed else said_priority(_priority(mine))
    extensions = (*_extensions(stanza), *as_it_is)
    show = next((one.text for one in mine if one.name == "show"), "")
    shown = not closed and show in SHOWS
    activity = SHOWS[show] if shown else ""
    contact = Contact(im_uri(presentity), thousandths)
    return Resource(
        resource,
        PresenceTuple(
            tuple_id(resource),
            Basic.CLOSED if closed else Basic.OPEN,
            contact,
            _statuses(mine),
            _stamp(stanza, now),
            (Activities((activity,)),) if activity else (),
            extensions,
            (_own("show", show),) if shown else (),
        ),
    )


def said_priority(priority: int) -> tuple[int | None, tuple[Extension, ...]]:
    """How a tuple says a priority of XMPP (rows prs-priority, prs-priority-negative).

    Args:
        priority: within `PRIORITIES`.

    Returns:
        thousandths for its contact, and what stands beside: a negative one MUST NOT be mapped.
    """
    if priority < 0:
        return None, (_own("priority", str(priority)),)
    return priority * 1000 // PRIORITIES[1], ()


def im_uri(user: Address) -> str:
    """The im: URI of an address (row prs-contact)."""
    return entity(user).replace("pres:", "im:", 1)


def _own(name: str, text: str) -> Extension:
    return Extension(CLIENT, name, f'<{name} xmlns="{CLIENT}">{escape_text(text)}</{name}>')


def _priority(children: list[Element]) -> int:
    text = next((one.text.strip() for one in children if one.name == "priority"), "")
    number = int(text) if _PRIORITY.match(text) else 0
    return number if PRIORITIES[0] <= number <= PRIORITIES[1] else 0


def _statuses(children: list[Element]) -> tuple[Note, ...]:
    """Texts for people; of those in one language the first (RFC 6121 section 4.7.2.2 allows one)."""
    notes: dict[str, Note] = {}
    for one in children:
        if one.name == "status" and one.text:
            language = one.language if is_language(one.language) else ""
            notes.setdefault(language.lower(), Note(one.text[:MAX_STATUS], language))
    return tuple(notes.values())[:MAX_STATUSES]


def _stamp(stanza: Element, now: datetime) -> datetime | None:
    for one in stanza.children:
        if one.namespace == DELAY and one.name == "delay":
            when = read_stamp(one.attributes.get("stamp", ""))
            return when if when is not None and when <= now + _AHEAD else None
    return None


def read_stamp(text: str) -> datetime | None:
    """Read a DateTime of XEP-0082 section 3.2 to the second; None where it is none."""
    found = _STAMP.match(text.strip())
    if found is None:
        return None
    zone = "+00:00" if found[3] == "Z" else found[3]
    try:
        when = datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return when if 1 < when.year < 9999 else None


def write_stamp(when: datetime) -> str:
    """Write a DateTime of XEP-0082 section 3.2, in UTC, to the second."""
    return when.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat() + "Z"


def _extensions(stanza: Element) -> tuple[Extension, ...]:
    """Children of other namespaces, verbatim; where there are too many the largest are left out."""
    kept: list[Extension] = []
    for one in stanza.children:
        # Who marks something as to be understood would hide the whole tuple from those who do not know it.
        marked = one.attributes.get(_MARK) is not None
        # It takes the language of the stanza along, which need not be one.
        sound = not marked and can_be_kept(one) and (not one.language or is_language(one.language))
        if sound and not is_reserved(one.namespace):
            kept.append(Extension(one.namespace, one.name, one.verbatim()))
    return fewer(kept)


def fewer(extensions: Iterable[Extension]) -> tuple[Extension, ...]:
    """At most `MAX_EXTENSIONS`, none over `MAX_EXTENSION_BYTES`; the smaller ones stay, in their order."""
    sized = [(len(one.xml.encode("utf-8", "replace")), at, one) for at, one in enumerate(extensions)]
    small = sorted(one for one in sized if one[0] <= MAX_EXTENSION_BYTES)
    return tuple(one for _, at, one in sorted(small[:MAX_EXTENSIONS], key=lambda each: each[1]))


# -- document ----------------------------------------------------------------------------------------------


def presence_of(presentity: Address, resources: Iterable[Resource]) -> Presence:
    """One document of all resources; `offline` where there is none (rows prs-resources, prs-none-made).

    It has at most 100 tuples and `MAX_DOCUMENT_BYTES`: extensions and notes of the least preferred are
    left out first, then those resources themselves.
    """
    tuples = preferred(one.tuple for one in resources)[:MAX_TUPLES]
    if not tuples:
        return offline(presentity)
    room = MAX_DOCUMENT_BYTES - 1024
    parts = _MAX_PARTS - sum(len(_always(one)) for one in tuples)
    bare: list[PresenceTuple] = []
    for one in tuples:
        small = replace(one, notes=(), extensions=_always(one), status_extensions=one.status_extensions)
        room -= weight(small)
        if room < 0:
            break
        bare.append(small)
    notes_left = _MAX_PARTS
    said: list[PresenceTuple] = []
    for small, one in zip(bare, tuples, strict=False):
        notes: list[Note] = []
        extensions: list[Extension] = []
        for note in one.notes:
            if notes_left and (cost := _weight_of_note(note)) <= room:
                notes.append(note)
                notes_left, room = notes_left - 1, room - cost
        for extension in one.extensions:
            if extension in small.extensions:
                extensions.append(extension)
            elif parts and (cost := _weight_of_extension(extension)) <= room:
                extensions.append(extension)
                parts, room = parts - 1, room - cost
        said.append(replace(one, notes=tuple(notes), extensions=tuple(extensions)))
    return Presence(presentity, tuple(said) or offline(presentity).tuples)


def weight(one: PresenceTuple) -> int:
    """About how many bytes a tuple has in a document and in memory; never less than in a document."""
    contact = len(one.contact.uri) if one.contact is not None else 0
    return (
        256 + len(one.id) + contact + sum(32 + len(name) for each in one.activities for name in each.names)
        + sum(map(_weight_of_note, one.notes))
        + sum(map(_weight_of_extension, (*one.extensions, *one.status_extensions)))
    )  # fmt: skip


def _always(one: PresenceTuple) -> tuple[Extension, ...]:
    """A negative priority says that the resource takes no messages: it is never left out."""
    return tuple(each for each in one.extensions if each.namespace == CLIENT)


def _weight_of_note(note: Note) -> int:
    return 48 + len(note.language) + len(escape_text(note.text).encode("utf-8", "replace"))


def _weight_of_extension(extension: Extension) -> int:
    return len(extension.xml.encode("utf-8", "replace"))
