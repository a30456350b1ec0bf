"""What subscriptions, notifications, queries and foreign forms carry (imx-protocol 7.6 to 7.11, 12.2)."""

from __future__ import annotations

import re
import secrets
import struct
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from . import codec as c

PENDING, ACTIVE, TERMINATED = 0, 1, 2
#: Why a subscription ended (section 7.7).
NO_REASON, DEACTIVATED, PROBATION, REJECTED, TIMEOUT, GIVE_UP, NO_RESOURCE, INVARIANT = range(8)
MAX_NAMES, MAX_VALUES, MAX_ECHO = 64, 256, 1024
_NAME = re.compile(rb"[\x21-\x40\x5b-\x7e]{1,255}")
_FORM = re.compile(rb"([a-z][a-z0-9]{0,15})\0(.+)", re.DOTALL)
_PIDF = "{urn:ietf:params:xml:ns:pidf}"

_PAGE = Path(__file__).parents[2] / "docs/specs/imx-protocol.md"
_KEYS = re.findall(r"(?m)^\| `([a-z-]+)` \| (user|domain) \| (?:text|number|document) \|", _PAGE.read_text())
#: The registry of global attribute keys, as the page prints it (section 12.5): whose -> keys.
GLOBAL_KEYS = {of: {key.encode() for key, whose in _KEYS if whose == of} for of in ("user", "domain")}

State = tuple[int, int]
Version = tuple[int, int]


class BadOperation(Exception):
    """A record that does not carry what its type must; its argument is the reason."""


def key(address: bytes) -> str:
    """What addresses are compared by (section 3.3)."""
    local, _, domain = address.decode().rpartition("@")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", local).casefold())
    return f"{folded}@{domain}"


def request(kind: int, to: bytes, sender: bytes, *fields: tuple[int, bytes], body: bytes = b"") -> c.Record:
    """A routed request as it begins its way."""
    return c.Record(kind, c.WANTED, 110, 0, secrets.token_bytes(16), to, sender, fields, body)


def value(record: c.Record, number: int, least: int, most: int) -> bytes | None:
    """A field that is optional; the first one counts, and a wrong size is `bad-record` (section 4.2)."""
    found = record.first(number)
    if found is not None and not least <= len(found) <= most:
        raise BadOperation("bad-record")
    return found


def needed(record: c.Record, number: int, least: int, most: int) -> bytes:
    """A field that is required."""
    found = value(record, number, least, most)
    if found is None:
        raise BadOperation("bad-record")
    return found


def u32(number: int) -> bytes:
    """Four bytes."""
    return number.to_bytes(4, "big")


# Subscriptions.


def subscribe(watcher: bytes, presentity: bytes, ident: bytes, duration_s: int) -> c.Record:
    """Begin, renew or end a subscription, or fetch."""
    asked = ((c.SUBSCRIPTION_ID, ident), (c.DURATION, u32(duration_s)))
    return request(c.SUBSCRIBE, presentity, watcher, *asked)


def read_subscribe(record: c.Record) -> tuple[bytes, int]:
    """Id and duration.

    Raises:
        BadOperation: a field is missing or of the wrong size, or there is a body.
    """
    ident = needed(record, c.SUBSCRIPTION_ID, 1, 40)
    duration_s = int.from_bytes(needed(record, c.DURATION, 4, 4), "big")
    if record.body:
        raise BadOperation("bad-body")
    return ident, duration_s


def granted(state: int, duration_s: int) -> tuple[tuple[int, bytes], ...]:
    """Fields of a successful answer."""
    return (c.SUBSCRIPTION_STATE, bytes((state, NO_REASON))), (c.DURATION, u32(duration_s))


# Foreign forms.


def read_foreign(record: c.Record) -> tuple[bytes, bytes]:
    """Protocol and form (section 7.11).

    Raises:
        BadOperation: the body is no foreign form.
    """
    found = _FORM.fullmatch(record.body)
    if found is None:
        raise BadOperation("bad-body")
    return found.group(1), found.group(2)


# Notifications.


@dataclass(frozen=True, slots=True)
class Told:
    """What a notification says: a state, that it is not known, or nothing but the subscription's state."""

    ident: bytes
    standing: State
    version: Version | None = None
    document: bytes = b""
    duration_s: int | None = None
    attributes: tuple[tuple[bytes, bytes, int], ...] = ()  # name, value, seconds it may be kept
    unknown: tuple[int, bytes] | None = None
    presentity: bytes = b""


def notify(presentity: bytes, watcher: bytes, told: Told) -> c.Record:
    """The record; in the router's own name where it says *unknown*."""
    fields = [(c.SUBSCRIPTION_ID, told.ident), (c.SUBSCRIPTION_STATE, bytes(told.standing))]
    sender = presentity
    if told.unknown is not None:
        sender = b"@" + c.domain_of(presentity)
        reason, where = told.unknown
        fields += [(c.UNKNOWN | 0x8000, struct.pack("!H", reason) + where)]
        fields += [(c.PRESENTITY | 0x8000, presentity)]
    if told.version is not None:
        fields.append((c.VERSION, struct.pack("!QQ", *told.version)))
    if told.duration_s is not None:
        fields.append((c.DURATION, u32(told.duration_s)))
    fields += [(c.ATTRIBUTE, u32(keep) + name + b"\0" + value) for name, value, keep in told.attributes]
    return request(c.NOTIFY, watcher, sender, *fields, body=told.document)


def read_notify(record: c.Record) -> Told:
    """What a notification says.

    Raises:
        BadOperation: `bad-record` or `bad-body`.
    """
    ident, standing = needed(record, c.SUBSCRIPTION_ID, 1, 40), needed(record, c.SUBSCRIPTION_STATE, 2, 2)
    raw, duration = value(record, c.VERSION, 16, 16), value(record, c.DURATION, 4, 4)
    version: Version | None = None if raw is None else struct.unpack("!QQ", raw)
    if standing[0] > TERMINATED or (record.body and version is None):
        raise BadOperation("bad-record")
    left = None if duration is None else int.from_bytes(duration, "big")
    unknown, presentity = value(record, c.UNKNOWN, 3, 255), record.sender
    about = None
    if unknown is not None or record.sender.startswith(b"@"):
        presentity = needed(record, c.PRESENTITY, 2, 509)
        if unknown is None or not record.sender.startswith(b"@") or version is not None or record.body:
            raise BadOperation("bad-record")
        if c.domain_of(presentity) != c.domain_of(record.sender):
            raise BadOperation("bad-record")
        about = (int.from_bytes(unknown[:2], "big"), unknown[2:])
    if record.body and key(entity(record.body)) != key(record.sender):
        raise BadOperation("bad-body")
    state = (standing[0], standing[1])
    return Told(ident, state, version, record.body, left, read_unsolicited(record), about, presentity)


def entity(document: bytes) -> bytes:
    """Whose presence a document tells.

    Raises:
        BadOperation: it is no presence document.
    """
    try:
        root = ET.fromstring(document)  # noqa: S314 - of this test's own making
    except ET.ParseError:
        raise BadOperation("bad-body") from None
    scheme, _, address = root.get("entity", "").partition(":")
    if root.tag != f"{_PIDF}presence" or scheme != "pres":
        raise BadOperation("bad-body")
    return address.encode()


def basic(document: bytes) -> str:
    """`open` or `closed`, empty where a document says neither."""
    return next((one.text or "" for one in ET.fromstring(document).iter(f"{_PIDF}basic")), "")  # noqa: S314


def document(presentity: bytes, status: str) -> bytes:
    """The least presence document."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<presence xmlns="{_PIDF[1:-1]}" entity="pres:{presentity.decode()}">'
        f'<tuple id="t1"><status><basic>{status}</basic></status></tuple></presence>'
    ).encode()


# Attributes.


def attributes(asker: bytes, owner: bytes, names: Sequence[bytes] = ()) -> c.Record:
    """Ask for attributes of a user or of a domain."""
    return request(c.ATTRIBUTES, owner, asker, *((c.ATTRIBUTE_NAME, name) for name in names))


def read_names(record: c.Record) -> list[bytes]:
    """The names that are asked for.

    Raises:
        BadOperation: too many, or one that is no name; or there is a body.
    """
    names = [found for kind, found in record.fields if kind & 0x7FFF == c.ATTRIBUTE_NAME]
    if len(names) > MAX_NAMES or not all(_NAME.fullmatch(name) for name in names):
        raise BadOperation("bad-record")
    if record.body:
        raise BadOperation("bad-body")
    return names


def values(known: Sequence[tuple[bytes, bytes, int]], room: int) -> bytes:
    """Values one after the other, in the order of the names, as many as there is room for."""
    raw = b""
    for name, value, keep_s in sorted(known)[:MAX_VALUES]:
        one = u32(keep_s) + c.lp(name) + u32(len(value)) + value
        if len(raw) + len(one) > room:
            break
        raw += one
    return raw


def read_values(content: bytes) -> list[tuple[bytes, bytes, int]]:
    """The values of an answer: name, value, seconds it may be kept.

    Raises:
        BadOperation: they do not fill the answer exactly.
    """
    found, at = [], 0
    while at < len(content):
        name_at = at + 5
        value_at = name_at + (content[at + 4] if at + 4 < len(content) else 0) + 4
        size = int.from_bytes(content[value_at - 4 : value_at], "big")
        if value_at + size > len(content):
            raise BadOperation("peer-failed")
        keep_s = int.from_bytes(content[at : at + 4], "big")
        found.append((content[name_at : value_at - 4], content[value_at : value_at + size], keep_s))
        at = value_at + size
    if len(found) > MAX_VALUES:
        raise BadOperation("peer-failed")
    return found


def read_unsolicited(record: c.Record) -> tuple[tuple[bytes, bytes, int], ...]:
    """Attributes that came with a message or a notification; one that is none is passed over."""
    found = []
    for kind, raw in record.fields:
        name, end, value = raw[4:].partition(b"\0")
        if kind & 0x7FFF == c.ATTRIBUTE and end and _NAME.fullmatch(name):
            found.append((name, value, int.from_bytes(raw[:4], "big")))
    return tuple(found)
