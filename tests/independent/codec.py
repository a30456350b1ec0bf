"""Records: bytes in, values out (imx-protocol sections 4, 5, 6.1, 6.3 and 12)."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HELLO, PING, PONG, ACK, CLOSE, REDIRECT, CREDIT = 0x0001, 0x0002, 0x8002, 0x0003, 0x0004, 0x0005, 0x0006
CLAIM, CLAIM_RESULT, PROOF, VERIFY, VERIFY_RESULT = 0x0010, 0x8010, 0x0011, 0x0012, 0x8012
WITHDRAW, PROVED, LOGIN, LOGIN_RESULT, HAND_OVER = 0x0013, 0x0014, 0x0020, 0x8020, 0x0021
MESSAGE, SUBSCRIBE, NOTIFY, ATTRIBUTES, ECHO = range(0x0100, 0x0105)
FOREIGN = 0x0110
RESPONSE = 0x8000

WANTED, CRITICAL, RETRY = 0x80, 0x40, 0x20

EPOCH, TRANS_ID, DECIDED_BY = 0x0001, 0x0002, 0x0003
ORIGINAL_FORM, CONTENT_TYPE, ATTRIBUTE, ATTRIBUTE_NAME = 0x0017, 0x0018, 0x0020, 0x0021
SUBSCRIPTION_ID, DURATION, SUBSCRIPTION_STATE, VERSION, UNKNOWN, PRESENTITY = range(0x0030, 0x0036)
VERSIONS, CAPABILITIES, MAX_RECORD, CREDIT_REQUESTS, CREDIT_BYTES = range(0x0100, 0x0105)
ROUTER_INSTANCE, LINK_EPOCH, CHALLENGE, PING_INTERVAL, DEAD_AFTER, IDLE_AFTER = range(0x0105, 0x010B)
SOFTWARE, DUPLICATE_WINDOW = 0x010B, 0x010C
CLAIM_NUMBER, FROM_DOMAIN, TO_DOMAIN, TOKEN, SECRET = range(0x0110, 0x0115)
FIRST_VIEW, ANSWER, NONCE, LEVEL = range(0x0115, 0x0119)
REASON, RETRY_AFTER, DEADLINE, TEXT, TARGET, REDIRECT_DOMAIN, SUBJECT_TYPE = range(0x0120, 0x0127)
ACKNOWLEDGED, KEY_ID, SIGNATURE = 0x0130, 0x0140, 0x0141
WATCHER, WATCHED, WATCH_ID, WATCH_LEFT = range(0x0150, 0x0154)

ROUTED_FIELDS = frozenset((*range(1, 4), *range(0x10, 0x1E), 0x20, 0x21, *range(0x30, 0x36)))

#: Field of the link's own records -> least and most bytes of its value (section 12.2).
SIZES: Mapping[int, tuple[int, int]] = {
    VERSIONS: (2, 65534), CAPABILITIES: (0, 65534), MAX_RECORD: (4, 4), CREDIT_REQUESTS: (4, 4),
    CREDIT_BYTES: (4, 4), ROUTER_INSTANCE: (16, 16), LINK_EPOCH: (8, 8), CHALLENGE: (32, 32),
    PING_INTERVAL: (4, 4), DEAD_AFTER: (4, 4), IDLE_AFTER: (4, 4), SOFTWARE: (0, 255),
    DUPLICATE_WINDOW: (4, 4), CLAIM_NUMBER: (4, 4), FROM_DOMAIN: (1, 253), TO_DOMAIN: (1, 253),
    TOKEN: (1, 96), SECRET: (32, 32), FIRST_VIEW: (1, 1), ANSWER: (32, 32), NONCE: (16, 16), LEVEL: (1, 1),
    REASON: (2, 2), RETRY_AFTER: (4, 4), DEADLINE: (4, 4), TEXT: (0, 255), TARGET: (3, 259),
    REDIRECT_DOMAIN: (1, 253), SUBJECT_TYPE: (2, 2), ACKNOWLEDGED: (8, 8), KEY_ID: (1, 64),
    SIGNATURE: (64, 64), WATCHER: (2, 509), WATCHED: (2, 509), WATCH_ID: (1, 40), WATCH_LEFT: (4, 4),
}  # fmt: skip

#: Record -> flags, required, optional and "many" fields (section 5).
CONTROLS: Mapping[int, tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    HELLO: (0, (VERSIONS,), (*range(CAPABILITIES, DUPLICATE_WINDOW + 1),), ()),
    PING: (WANTED, (NONCE,), (), ()),
    PONG: (0, (NONCE,), (), ()),
    ACK: (0, (ACKNOWLEDGED,), (), ()),
    CLOSE: (0, (REASON,), (DEADLINE, RETRY_AFTER, SUBJECT_TYPE, TEXT), ()),
    REDIRECT: (0, (TARGET,), (REASON, DEADLINE), (REDIRECT_DOMAIN,)),
    CREDIT: (0, (CREDIT_REQUESTS, CREDIT_BYTES), (), ()),
    CLAIM: (WANTED | CRITICAL, (CLAIM_NUMBER, FROM_DOMAIN, TO_DOMAIN, TOKEN), (), ()),
    CLAIM_RESULT: (0, (CLAIM_NUMBER, REASON), (LEVEL, RETRY_AFTER), (NONCE,)),
    PROOF: (CRITICAL, (CLAIM_NUMBER, ANSWER), (), ()),
    VERIFY: (WANTED | CRITICAL, (CLAIM_NUMBER, FROM_DOMAIN, TO_DOMAIN, TOKEN, SECRET, FIRST_VIEW), (), ()),
    VERIFY_RESULT: (0, (CLAIM_NUMBER, REASON), (NONCE,), ()),
    WITHDRAW: (0, (FROM_DOMAIN,), (REASON,), ()),
    PROVED: (0, (FROM_DOMAIN, TO_DOMAIN), (), ()),
    LOGIN: (WANTED | CRITICAL, (KEY_ID, SIGNATURE), (), ()),
    LOGIN_RESULT: (0, (REASON,), (), ()),
    HAND_OVER: (0, (WATCHER, WATCHED, WATCH_ID, WATCH_LEFT), (), ()),
}


class Malformed(Exception):
    """Bytes that break section 4 or 5: the link ends with `protocol-error`."""


class TooLarge(Malformed):
    """A record over the limit (section 4.3)."""


class UnknownCritical(Exception):
    """A critical field or record type that is not known; its argument is the number."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `to` and `sender` are addresses as bytes, empty in the link's own records."""

    kind: int
    flags: int = 0
    hops: int = 0
    tag: int = 0
    message_id: bytes = bytes(16)
    to: bytes = b""
    sender: bytes = b""
    fields: Sequence[tuple[int, bytes]] = field(default_factory=tuple)
    body: bytes = b""

    @property
    def routed(self) -> bool:
        """Say whether it carries an envelope."""
        return self.kind & 0x7FFF >= MESSAGE

    def first(self, number: int) -> bytes | None:
        """The first value of a field, or None."""
        return next((value for kind, value in self.fields if kind & 0x7FFF == number), None)


def domain_of(address: bytes) -> bytes:
    """The domain of an address in wire form; `@` never occurs in either part."""
    return address.rpartition(b"@")[2]


def encode(record: Record) -> bytes:
    """The bytes of a record (section 4.1)."""
    fields = b"".join(struct.pack("!HH", kind, len(value)) + value for kind, value in record.fields)
    lengths, envelope = bytes(4), b""
    if record.routed:
        parts = [part for address in (record.to, record.sender) for part in address.rsplit(b"@", 1)]
        lengths, envelope = bytes(map(len, parts)), record.to + record.sender
    head = struct.pack("!HBBQ", record.kind, record.flags, record.hops, record.tag) + lengths
    head += struct.pack("!HH", len(fields), 0) + record.message_id
    rest = head + envelope + fields + record.body
    return struct.pack("!I", len(rest)) + rest


def check_length(head: bytes | bytearray, limit: int) -> int:
    """Size of the record that begins with these four bytes, judged at once (sections 4.1 and 4.3)."""
    length = int.from_bytes(head[:4], "big")
    if length < 36:
        raise Malformed("shorter than a header")
    if length + 4 > limit:
        raise TooLarge("over the limit")
    return length + 4


def decode(data: bytes) -> Record:
    """One whole record."""
    kind, flags, hops, tag = struct.unpack_from("!HBBQ", data, 4)
    to_local, to_domain, from_local, from_domain = data[16:20]
    size, reserved = struct.unpack_from("!HH", data, 20)
    message_id, at, to, sender = data[24:40], 40, b"", b""
    if reserved:
        raise Malformed("reserved bytes")
    if kind & 0x7FFF >= MESSAGE:
        if not to_domain or not from_domain:
            raise Malformed("no domain")
        to = data[at : (at := at + to_local + 1 + to_domain)]
        sender = data[at : (at := at + from_local + 1 + from_domain)]
        if to[to_local : to_local + 1] != b"@" or sender[from_local : from_local + 1] != b"@":
            raise Malformed("no @ where the lengths put it")
    elif data[16:20] != bytes(4):
        raise Malformed("an envelope in a record of the link's own")
    if at + size > len(data):
        raise Malformed("envelope or fields over the end")
    fields = decode_fields(data[at : at + size])
    return Record(kind, flags, hops, tag, message_id, to, sender, fields, data[at + size :])


def decode_fields(data: bytes) -> tuple[tuple[int, bytes], ...]:
    """Extension fields that fill their space exactly (section 4.2)."""
    fields: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise Malformed("half a field")
        kind, size = struct.unpack_from("!HH", data, at)
        value = data[at + 4 : at + 4 + size]
        if len(value) < size or len(fields) == 256:
            raise Malformed("a field over the end, or too many")
        fields.append((kind, value))
        at += 4 + size
    return tuple(fields)


def control(kind: int, *fields: tuple[int, bytes | int]) -> bytes:
    """One of the link's own records; numbers are written at the size of their field."""
    values = []
    for number, value in fields:
        raw = value.to_bytes(SIZES[number][0], "big") if isinstance(value, int) else value
        values.append((number | 0x8000 if number == FIRST_VIEW else number, raw))
    return encode(Record(kind, CONTROLS[kind][0], fields=values))


def read_control(record: Record) -> dict[int, list[bytes]] | None:
    """The known fields of one of the link's own records, or None for a type to ignore.

    Raises:
        UnknownCritical: a type or a field that is critical and not known.
        Malformed: a field that is missing, stands twice, or has the wrong size.
    """
    if record.kind not in CONTROLS:
        if record.flags & CRITICAL:
            raise UnknownCritical(record.kind)
        return None
    _, required, optional, many = CONTROLS[record.kind]
    values: dict[int, list[bytes]] = {}
    for kind, value in record.fields:
        number = kind & 0x7FFF
        if number not in required and number not in optional and number not in many:
            if kind & 0x8000:
                raise UnknownCritical(number)
            continue
        least, most = (8, 16) if number == NONCE and record.kind in {PING, PONG} else SIZES[number]
        odd = number in {VERSIONS, CAPABILITIES} and len(value) % 2
        if not least <= len(value) <= most or odd or (number in values and number not in many):
            raise Malformed(f"field {number:#06x}")
        values.setdefault(number, []).append(value)
    if any(number not in values for number in required):
        raise Malformed("a required field is missing")
    return values


def u16s(value: bytes) -> list[int]:
    """A list of u16."""
    return [number for (number,) in struct.iter_unpack("!H", value)]


def outcome(status: int, reason: int = 0, retry_after_s: int = 0) -> bytes:
    """The body of a response (section 7.3)."""
    return struct.pack("!BBHI", status, 0, reason, retry_after_s)


def read_outcome(body: bytes) -> tuple[int, int, int]:
    """Status, reason and retry time of a response.

    Raises:
        Malformed: too short, or a status that is not registered.
    """
    if len(body) < 8 or body[0] > 2:
        raise Malformed("no outcome")
    status, _, reason, retry_after_s = struct.unpack_from("!BBHI", body)
    return status, reason, retry_after_s


def lp(value: bytes) -> bytes:
    """A byte string with its length before it (section 2)."""
    return bytes([len(value)]) + value


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA-256 over the parts joined."""
    return hmac.digest(key, b"".join(parts), "sha256")


def domain_key(secret: bytes, domain: bytes) -> bytes:
    """The token key of a domain, derived from one secret (section 6.1)."""
    return mac(secret, b"imx-domain-key", domain)


def key_id(key: bytes) -> bytes:
    """The first four bytes of a token."""
    return hashlib.sha256(b"imx-token-key-id" + key).digest()[:4]


def mint(key: bytes, pair: tuple[bytes, bytes], host: bytes, link: int, claim: int, nonce: bytes, at: int,
         process: int = 0) -> bytes:  # fmt: skip
    """The recommended token of 78 bytes (section 6.1); `at` is its expiry, seconds since 1970."""
    head = key_id(key) + host + struct.pack("!HII", process, link, claim) + nonce + struct.pack("!Q", at)
    return head + mac(key, b"imx-token", lp(pair[0]), lp(pair[1]), head)


def judge(token: bytes, key: bytes, host: bytes, pair: tuple[bytes, bytes], now: float) -> str:
    """Checks 1 and 2 of section 6.2: a reason, or empty."""
    if len(token) != 78 or token[:4] != key_id(key) or token[4:12] != host:
        return "not-mine"
    right = mac(key, b"imx-token", lp(pair[0]), lp(pair[1]), token[:46])
    if not hmac.compare_digest(right, token[46:]) or now > int.from_bytes(token[38:46], "big") + 30:
        return "bad-token"
    return ""


def answer(view: int, secret: bytes, exporter: bytes, pair: tuple[bytes, bytes], token: bytes) -> bytes:
    """What returns in PROOF (section 6.3)."""
    if view < 2:
        return secret
    return mac(secret, b"imx-dialback", exporter, lp(pair[0]), lp(pair[1]), token)
