"""Presence documents: application/pidf+xml (RFC 3863), with person and activities (RFC 4479, RFC 4480).

What is read is written again: elements of other namespaces verbatim, everything else by its meaning and in
the order that the schema asks for (RFC 3863 section 4.4). Dropped are attributes that the schemas do not
name, and elements of the PIDF namespace that do not exist.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Final, TypeVar
from urllib.parse import quote, unquote

from imxrouter.formats.xmltree import (
    LIMITS,
    XML,
    BadXml,
    Element,
    Limits,
    escape_attribute,
    escape_text,
    parse,
)
from imxrouter.model.address import Address, BadAddress
from imxrouter.model.domain import BadDomain
from imxrouter.model.errors import RouterError
from imxrouter.model.presence import (
    ACTIVITIES,
    MAX_TUPLES,
    Activities,
    BadPresence,
    Basic,
    Contact,
    Extension,
    Note,
    Person,
    Presence,
    PresenceTuple,
    element_id,
    is_language,
)

PIDF: Final = "urn:ietf:params:xml:ns:pidf"
DATA_MODEL: Final = "urn:ietf:params:xml:ns:pidf:data-model"
RPID: Final = "urn:ietf:params:xml:ns:pidf:rpid"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
CONTENT_TYPE: Final = "application/pidf+xml"
#: Notes and elements of other namespaces in one document, at all places together: three a tuple.
MAX_NOTES: Final = 3 * MAX_TUPLES
MAX_EXTENSIONS: Final = 3 * MAX_TUPLES

_MUST_UNDERSTAND: Final = f"{PIDF} mustUnderstand"
_IN_PERSON: Final = frozenset({(DATA_MODEL, "note"), (DATA_MODEL, "timestamp"), (RPID, "activities")})
_IN_ACTIVITIES: Final = frozenset((RPID, name) for name in ACTIVITIES | {"note", "other"})
#: RFC 3863 section 4.4, `qvalue`.
_PRIORITY: Final = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z")
#: RFC 3339 section 5.6. The schema (xs:dateTime) lets the zone be missing; UTC is meant then.
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]{1,40}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))?\Z"
)
_SCHEMES: Final = frozenset({"pres", "im", "sip", "sips"})
#: What may stand unescaped in the local part of an URI (RFC 6068 section 2, the newest text on this form).
_SAFE: Final = "!$'*+-._~"
_ASCII: Final = "".join(map(chr, range(128)))

T = TypeVar("T")


class PidfFault(Enum):
    """Why a presence document was refused, where its XML was good."""

    NOT_PIDF = "not-pidf"
    PRESENTITY = "presentity"
    TUPLES = "tuples"
    NOTES = "notes"
    EXTENSIONS = "extensions"
    ID = "id"
    STATUS = "status"
    CONTACT = "contact"
    PRIORITY = "priority"
    TIMESTAMP = "timestamp"
    MUST_UNDERSTAND = "must-understand"


class BadPidf(RouterError):
    """The document is refused.

    The words of the error quote the document, for tests and for its author; logs take the fault alone.

    Attributes:
        fault: a word of `XmlFault` or `PidfFault`.
    """

    def __init__(self, fault: str, words: str) -> None:
        super().__init__(words if words.startswith(fault) else f"{fault}: {words}")
        self.fault = fault


def read_pidf(raw: bytes, presentity: Address | None = None, limits: Limits = LIMITS) -> Presence:
    """Read a document.

    Args:
        raw: the whole document.
        presentity: whose state it must be; None takes whoever it names.
        limits: of the XML.

    Raises:
        BadPidf: see `XmlFault` and `PidfFault`. Nothing else, whatever the bytes, in time linear in their
            number.
    """
    try:
        root = parse(raw, limits)
    except BadXml as error:
        raise BadPidf(error.fault.value, str(error)) from None
    if root.namespace != PIDF or root.name != "presence":
        raise _bad(PidfFault.NOT_PIDF, f"<{root.name[:40]}> of {root.namespace[:60]!r}")
    owner = read_entity(root.attributes.get("entity", ""))
    if presentity is not None and owner.key != presentity.key:
        raise _bad(PidfFault.PRESENTITY, "the document is about somebody else")
    try:
        return _Reader(limits).presence(root, presentity or owner)
    except BadPresence as error:
        raise _bad(PidfFault.ID, str(error)) from None


def read_entity(text: str) -> Address:
    """The address in an `entity` (RFC 3863 section 4.1.1: a pres: URI; RFC 3859 for its form).

    Raises:
        BadPidf: it is none.
    """
    scheme, _, rest = text.strip().partition(":")
    # COMPAT(SIP clients): nearly all of them write the sip: URI of the account, some with parameters.
    if scheme.lower() not in _SCHEMES:
        raise _bad(PidfFault.PRESENTITY, f"{text[:80]!r} is no pres: URI")
    local, at, domain = rest.partition("?")[0].rpartition("@")
    try:
        plain = unquote(local, errors="strict") + at + unquote(domain.partition(";")[0], errors="strict")
        return Address.parse(plain)
    except (BadAddress, BadDomain, UnicodeError) as error:
        raise _bad(PidfFault.PRESENTITY, str(error)) from None


class _Reader:
    """Walks one tree and counts what it meets."""

    def __init__(self, limits: Limits) -> None:
        self._notes = 0
        self._extensions = 0
        self._extension_size = 0
        self._limit = limits.size_bytes

    def presence(self, root: Element, owner: Address) -> Presence:
        tuples: list[PresenceTuple] = []
        notes: list[Note] = []
        persons: list[Person] = []
        extensions: list[Extension] = []
        # The schema has an order (section 4.4); clients do not keep to it, and nothing depends on it.
        for child in root.children:
            if child.namespace == PIDF:
                if child.name == "tuple":
                    if len(tuples) == MAX_TUPLES:
                        raise _bad(PidfFault.TUPLES, f"more than {MAX_TUPLES}")
                    tuples.append(self._tuple(child, len(tuples) + 1))
                elif child.name == "note":
                    notes.append(self._note(child))
                else:
                    _ignore(child)
            elif child.namespace == DATA_MODEL and child.name == "person" and _understood(child, _IN_PERSON):
                persons.append(self._person(child, len(persons) + 1))
            else:
                self._keep(child, extensions)
        return Presence(owner, tuple(tuples), tuple(notes), tuple(persons), tuple(extensions))

    def _tuple(self, element: Element, number: int) -> PresenceTuple:
        status: Element | None = None
        contact: Contact | None = None
        timestamp: datetime | None = None
        notes: list[Note] = []
        activities: list[Activities] = []
        extensions: list[Extension] = []
        for child in element.children:
            if child.namespace != PIDF:
                self._other(child, activities, extensions)
            elif child.name == "status":
                status = _once(status, child, PidfFault.STATUS)
            elif child.name == "note":
                notes.append(self._note(child))
            elif child.name == "contact":
                if child.text.strip():
                    contact = _once(contact, _contact(child), PidfFault.CONTACT)
            elif child.name == "timestamp":
                timestamp = _once(timestamp, _time(child.text), PidfFault.TIMESTAMP)
            else:
                _ignore(child)
        basic, of_status = self._status(status)
        return PresenceTuple(
            _id(element, "t", number),
            basic,
            contact,
            tuple(notes),
            timestamp,
            tuple(activities),
            tuple(extensions),
            of_status,
        )

    def _status(self, element: Element | None) -> tuple[Basic, tuple[Extension, ...]]:
        if element is None:
            return Basic.UNKNOWN, ()
        basic: str | None = None
        extensions: list[Extension] = []
        for child in element.children:
            if child.namespace != PIDF:
                self._keep(child, extensions)
            elif child.name == "basic":
                basic = _once(basic, child.text.strip(), PidfFault.STATUS)
            else:
                _ignore(child)
        if basic is None:
            return Basic.UNKNOWN, tuple(extensions)
        if basic not in {"open", "closed"}:
            raise _bad(PidfFault.STATUS, f"{basic[:40]!r} is neither open nor closed")
        return Basic(basic), tuple(extensions)

    def _person(self, element: Element, number: int) -> Person:
        timestamp: datetime | None = None
        notes: list[Note] = []
        activities: list[Activities] = []
        extensions: list[Extension] = []
        for child in element.children:
            if child.namespace == DATA_MODEL and child.name == "note":
                notes.append(self._note(child))
            elif child.namespace == DATA_MODEL and child.name == "timestamp":
                timestamp = _once(timestamp, _time(child.text), PidfFault.TIMESTAMP)
            else:
                self._other(child, activities, extensions)
        return Person(
            _id(element, "p", number), tuple(activities), tuple(notes), timestamp, tuple(extensions)
        )

    def _other(self, element: Element, activities: list[Activities], extensions: list[Extension]) -> None:
        if (
            element.namespace == RPID
            and element.name == "activities"
            and _understood(element, _IN_ACTIVITIES)
        ):
            activities += self._activities(element)
        else:
            self._keep(element, extensions)

    def _activities(self, element: Element) -> tuple[Activities, ...]:
        names: list[str] = []
        other: list[Note] = []
        notes: list[Note] = []
        extensions: list[Extension] = []
        for child in element.children:
            if child.namespace != RPID:
                self._keep(child, extensions)
            elif child.name == "note":
                notes.append(self._note(child))
            elif child.name == "other":
                other.append(self._note(child))
            elif child.name in ACTIVITIES:
                names.append(child.name)
            else:
                self._keep(child, extensions)
        since, until = (element.attributes.get(name) for name in ("from", "until"))
        times = (None if since is None else _time(since), None if until is None else _time(until))
        # COMPAT(Kamailio): says that there is nothing to say by an empty element.
        if not (names or other or notes or extensions):
            return ()
        return (Activities(tuple(names), tuple(other), tuple(notes), *times, tuple(extensions)),)

    def _note(self, element: Element) -> Note:
        self._notes += 1
        if self._notes > MAX_NOTES:
            raise _bad(PidfFault.NOTES, f"more than {MAX_NOTES}")
        language = element.language
        return Note(element.text, language if is_language(language) else "")

    def _keep(self, element: Element, extensions: list[Extension]) -> None:
        if not can_be_kept(element):
            return _ignore(element)
        self._extensions += 1
        if self._extensions > MAX_EXTENSIONS:
            raise _bad(PidfFault.EXTENSIONS, f"more than {MAX_EXTENSIONS}")
        xml = element.verbatim()
        # Each takes its declarations along: a long namespace name used often would multiply.
        self._extension_size += len(xml)
        if self._extension_size > self._limit:
            raise _bad(PidfFault.EXTENSIONS, f"more than {self._limit} characters with their namespaces")
        extensions.append(Extension(element.namespace, element.name, xml, _is_marked(element)))
        return None


def can_be_kept(element: Element) -> bool:
    """Whether the schema, which looks into what it knows of an extension, holds with it inside.

    It has no place for elements without namespace, checks a PIDF document inside an extension as strictly as
    the outer one, and believes `xsi:type`.
    """
    if not element.namespace:
        return False
    for one in element.walk():
        if one.namespace == PIDF and one.name == "presence":
            return False
        for key, value in one.attributes.items():
            if key == _MUST_UNDERSTAND and value.strip() not in {"0", "1", "false", "true"}:
                return False
            if key == f"{XML} lang" and value and not is_language(value):
                return False
            if key.startswith(f"{XSI} "):
                return False
    return True


def _is_marked(element: Element) -> bool:
    mark = element.attributes.get(_MUST_UNDERSTAND)
    return mark is not None and mark.strip() not in {"0", "false"}


def _understood(element: Element, known: frozenset[tuple[str, str]]) -> bool:
    """Whether nothing directly inside must be understood and is not (RFC 3863 section 4.2.3).

    Where it is not, the element that encloses it counts as unknown.
    """
    return all(
        not _is_marked(child)
        or (
            (child.namespace, child.name) in known
            and (child.name != "activities" or _understood(child, _IN_ACTIVITIES))
        )
        for child in element.children
    )


def _ignore(element: Element) -> None:
    """Pass over an element that the schema has no place for."""
    if _is_marked(element):
        raise _bad(PidfFault.MUST_UNDERSTAND, f"<{element.name[:40]}> is not known and cannot be kept")


def _once(before: object, now: T, fault: PidfFault) -> T:
    if before is not None:
        raise _bad(fault, "stands twice")
    return now


def _id(element: Element, prefix: str, number: int) -> str:
    # COMPAT(Asterisk): the id is an extension's number, which is no xs:ID, or is not there.
    return element_id(element.attributes.get("id") or str(number), prefix)


def _contact(element: Element) -> Contact:
    priority = element.attributes.get("priority")
    if priority is not None and not _PRIORITY.match(priority.strip()):
        raise _bad(PidfFault.PRIORITY, f"{priority[:40]!r} is not within 0 and 1 with three digits")
    thousandths = None if priority is None else round(float(priority) * 1000)
    uri = element.text.strip()
    if "//" not in uri:
        # An IPv6 address in a SIP URI: outside of an authority RFC 3986 has no place for brackets.
        uri = uri.replace("[", "%5B").replace("]", "%5D")
    try:
        return Contact(quote(uri, safe=_ASCII), thousandths)  # from an IRI (RFC 3987 section 3.1)
    except BadPresence as error:
        raise _bad(PidfFault.CONTACT, str(error)) from None


def _time(text: str) -> datetime:
    match = _TIME.match(text.strip())
    if match is None:
        raise _bad(PidfFault.TIMESTAMP, f"{text[:40]!r} is no time of RFC 3339")
    day, minute, second, fraction, sign, hours, minutes = match.groups()
    # A leap second (RFC 3339 section 5.7) is read as the one before.
    second = "59" if second == "60" else second
    micro = (fraction or "0")[:6].ljust(6, "0")
    try:
        local = datetime.fromisoformat(f"{day}T{minute}:{second}.{micro}+00:00")
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        when = local + offset if sign == "-" else local - offset
    except (ValueError, OverflowError):
        raise _bad(PidfFault.TIMESTAMP, f"{text[:40]!r} is no time") from None
    if not 1 < when.year < 9999:
        raise _bad(PidfFault.TIMESTAMP, f"{text[:40]!r} is out of range")
    return when


def _bad(fault: PidfFault, words: str) -> BadPidf:
    return BadPidf(fault.value, words)


def entity(presentity: Address) -> str:
    """The pres: URI of an address (RFC 3859; RFC 3863 section 4.1.1)."""
    name = presentity.domain.name
    return f"pres:{quote(presentity.local, safe=_SAFE)}@{name}" if presentity.local else f"pres:{name}"


@lru_cache(maxsize=32)
def write_pidf(state: Presence) -> bytes:
    """Write a document that `pidf.xsd` holds for; the same state gives the same bytes.

    Characters that XML cannot carry become U+FFFD. Some are kept: one state is written to judge its size, for
    the store, and for watchers.
    """
    out = ['<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="', PIDF, '"']
    if state.persons:
        out.append(f' xmlns:dm="{DATA_MODEL}"')
    if any(one.activities for one in state.tuples) or any(one.activities for one in state.persons):
        out.append(f' xmlns:rpid="{RPID}"')
    out.append(f' entity="{escape_attribute(entity(state.presentity))}">')
    for one in state.tuples:
        _write_tuple(out, one)
    _write_notes(out, "note", state.notes)
    for person in state.persons:
        _write_person(out, person)
    out += [extension.xml for extension in state.extensions]
    out.append("</presence>\n")
    return "".join(out).encode("utf-8", "replace")


def _write_tuple(out: list[str], one: PresenceTuple) -> None:
    out.append(f'<tuple id="{one.id}"><status>')
    if one.basic is not Basic.UNKNOWN:
        out.append(f"<basic>{one.basic.value}</basic>")
    out += [extension.xml for extension in one.status_extensions]
    out.append("</status>")
    for activities in one.activities:
        _write_activities(out, activities)
    out += [extension.xml for extension in one.extensions]
    if one.contact is not None:
        priority = one.contact.priority
        mark = "" if priority is None else f' priority="{priority // 1000}.{priority % 1000:03}"'
        out.append(f"<contact{mark}>{escape_text(one.contact.uri)}</contact>")
    _write_notes(out, "note", one.notes)
    if one.timestamp is not None:
        out.append(f"<timestamp>{_written(one.timestamp)}</timestamp>")
    out.append("</tuple>")


def _write_person(out: list[str], person: Person) -> None:
    out.append(f'<dm:person id="{person.id}">')
    for activities in person.activities:
        _write_activities(out, activities)
    out += [extension.xml for extension in person.extensions]
    _write_notes(out, "dm:note", person.notes)
    if person.timestamp is not None:
        out.append(f"<dm:timestamp>{_written(person.timestamp)}</dm:timestamp>")
    out.append("</dm:person>")


def _write_activities(out: list[str], one: Activities) -> None:
    out.append("<rpid:activities")
    if one.since is not None:
        out.append(f' from="{_written(one.since)}"')
    if one.until is not None:
        out.append(f' until="{_written(one.until)}"')
    out.append(">")
    _write_notes(out, "rpid:note", one.notes)
    out += [f"<rpid:{name}/>" for name in one.names]
    _write_notes(out, "rpid:other", one.other)
    out += [extension.xml for extension in one.extensions]
    out.append("</rpid:activities>")


def _write_notes(out: list[str], name: str, notes: tuple[Note, ...]) -> None:
    for note in notes:
        language = f' xml:lang="{note.language}"' if note.language else ""
        out.append(f"<{name}{language}>{escape_text(note.text)}</{name}>")


def _written(when: datetime) -> str:
    return when.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
