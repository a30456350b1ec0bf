"""One record as a value: decode, encode, answer (specification section 4).

The hot path does not use this module; it works on the bytes. Links, gateways, tools and tests do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from imxrouter.model.domain import is_wire_domain
from imxrouter.model.operations import MAX_HOPS
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import REASON_BY_CODE, Reason, Status
from imxrouter.wire.errors import RecordTooLarge, WireError
from imxrouter.wire.fields import Field, decode_fields, encode_fields, first_value
from imxrouter.wire.layout import (
    ADDRESSES_OFFSET,
    FLAG_RESPONSE_WANTED,
    HEADER,
    HEADER_BYTES,
    LENGTH_BYTES,
    OUTCOME,
    OUTCOME_BYTES,
    RESPONSE_BIT,
)
from imxrouter.wire.registry import FieldType, RecordType, is_routed

_ROLES = ("router", "service", "peer", "uplink")
_ZERO_ID = bytes(16)
#: Answers whose success brings nothing beside itself.
_BARE = frozenset({RecordType.MESSAGE_RESPONSE, RecordType.NOTIFY_RESPONSE, RecordType.STANZA_RESPONSE})
#: No request's type begins with so high a byte.
_OF_RESPONSES = RESPONSE_BIT >> 8
_SUCCESS = OUTCOME.pack(Status.SUCCESS, 0, Reason.NONE.code, 0)


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who to whom, as bytes in wire form; all four empty in the link's own records."""

    to_local: bytes = b""
    to_domain: bytes = b""
    from_local: bytes = b""
    from_domain: bytes = b""

    def swapped(self) -> Envelope:
        """The envelope of the answer."""
        return Envelope(self.from_local, self.from_domain, self.to_local, self.to_domain)


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record.

    Attributes:
        type: of the registry or any other number.
        flags: bits of `layout.FLAG_*`; undefined ones are kept.
        hops_left: 0 to 255.
        route_tag: 64 bits, meaningful to the router that set it only.
        message_id: 16 bytes.
        envelope: empty in the link's own records.
        fields: extension fields in order.
        body: what follows them.
    """

    type: int
    flags: int = 0
    hops_left: int = 0
    route_tag: int = 0
    message_id: bytes = _ZERO_ID
    envelope: Envelope = field(default=Envelope())
    fields: tuple[Field, ...] = ()
    body: bytes = b""

    @property
    def is_response(self) -> bool:
        """Whether the response bit is set."""
        return bool(self.type & RESPONSE_BIT)

    @property
    def is_routed(self) -> bool:
        """Whether the envelope routes it."""
        return is_routed(self.type)

    def value(self, number: FieldType) -> bytes | None:
        """The first field of that number, or None."""
        return first_value(self.fields, number)


def encode_record(record: Record, more_flags: int = 0, route_tag: int | None = None) -> bytes:
    """The bytes of a record.

    Args:
        record: the record.
        more_flags: set beside its own.
        route_tag: in the place of its own.

    Raises:
        WireError: a part is longer than its length field can say, or the id is not 16 bytes.
    """
    to_from = record.envelope
    lengths = [
        len(part) for part in (to_from.to_local, to_from.to_domain, to_from.from_local, to_from.from_domain)
    ]
    if max(lengths) > 255:
        raise WireError("a part of the envelope is over 255 bytes")
    if len(record.message_id) != 16:
        raise WireError(f"message id of {len(record.message_id)} bytes; 16 are needed")
    if any(lengths) != record.is_routed or (record.is_routed and not (lengths[1] and lengths[3])):
        raise WireError("routed records have an envelope with both domains, the link's own have none")
    addresses = (
        to_from.to_local + b"@" + to_from.to_domain + to_from.from_local + b"@" + to_from.from_domain
        if record.is_routed
        else b""
    )
    fields = encode_fields(record.fields)
    size = HEADER_BYTES + len(addresses) + len(fields) + len(record.body)
    if size - LENGTH_BYTES >= 1 << 24:
        raise RecordTooLarge(size, 1 << 24)
    head = HEADER.pack(
        size - LENGTH_BYTES, record.type, record.flags | more_flags, record.hops_left,
        record.route_tag if route_tag is None else route_tag, *lengths, len(fields), 0, record.message_id,
    )  # fmt: skip
    return head + addresses + fields + record.body


def decode_record(data: bytes) -> Record:
    """Read exactly one record.

    Raises:
        WireError: the bytes are not one whole record of specification section 4.
    """
    if len(data) < HEADER_BYTES:
        raise WireError(f"{len(data)} bytes; a record has at least {HEADER_BYTES}")
    size, rtype, flags, hops, tag, to_l, to_d, from_l, from_d, ext, reserved, mid = HEADER.unpack_from(data)
    if size + LENGTH_BYTES != len(data):
        raise WireError(f"length says {size + LENGTH_BYTES} bytes, {len(data)} are here")
    if reserved:
        raise WireError(f"reserved field is 0x{reserved:04x}, not 0")
    at = ADDRESSES_OFFSET
    if not is_routed(rtype):
        if to_l or to_d or from_l or from_d:
            raise WireError("the link's own record has an envelope")
        envelope = Envelope()
    else:
        if not (to_d and from_d):
            raise WireError("a domain is missing in the envelope")
        if at + to_l + to_d + from_l + from_d + 2 > len(data):
            raise WireError("the envelope is longer than the record")
        envelope, at = _read_envelope(data, at, to_l, to_d, from_l, from_d)
    if at + ext > len(data):
        raise WireError("the fields are longer than the record")
    fields = decode_fields(data[at : at + ext])
    return Record(rtype, flags, hops, tag, mid, envelope, fields, data[at + ext :])


def _read_envelope(
    data: bytes, at: int, to_l: int, to_d: int, from_l: int, from_d: int
) -> tuple[Envelope, int]:
    middle = at + to_l + 1 + to_d
    end = middle + from_l + 1 + from_d
    to_local, to_at, to_domain = data[at : at + to_l], data[at + to_l], data[at + to_l + 1 : middle]
    from_local, from_at = data[middle : middle + from_l], data[middle + from_l]
    if to_at != 0x40 or from_at != 0x40:
        raise WireError("the '@' of an address is not where its lengths put it")
    return Envelope(to_local, to_domain, from_local, data[middle + from_l + 1 : end]), end


def encode_outcome(outcome: Outcome) -> tuple[tuple[Field, ...], bytes]:
    """Fields and body of a response that tells the outcome (specification section 7.3)."""
    fields: tuple[Field, ...] = ()
    if outcome.decided_by:
        role = _ROLES.index(outcome.decided_role) if outcome.decided_role in _ROLES else 0
        fields = (Field(FieldType.DECIDED_BY, bytes([role]) + outcome.decided_by.encode("ascii")),)
    return fields, OUTCOME.pack(
        outcome.status, 0, outcome.reason.code, min(outcome.retry_after_s, 0xFFFFFFFF)
    )


def decode_outcome(record: Record) -> Outcome:
    """The outcome a response tells.

    A reason code that is not registered becomes PEER_FAILED with a note; a deciding hop that is no domain in
    wire form is dropped.

    Raises:
        WireError: the body is shorter than an outcome or the status is not one of the three.
    """
    if len(record.body) < OUTCOME_BYTES:
        raise WireError(f"response body of {len(record.body)} bytes; an outcome needs {OUTCOME_BYTES}")
    status, _, code, retry_after = OUTCOME.unpack_from(record.body)
    if status > Status.INDETERMINANT:
        raise WireError(f"status {status} is not registered")
    reason = REASON_BY_CODE.get(code, Reason.PEER_FAILED)
    note = "" if code in REASON_BY_CODE else f"reason code {code} is not registered"
    decided = record.value(FieldType.DECIDED_BY) or b""
    role = _ROLES[decided[0]] if decided and decided[0] < len(_ROLES) else "router"
    by = decided[1:].decode("ascii") if is_wire_domain(decided[1:]) else ""
    return Outcome(Status(status), reason, by, role, retry_after, note)


def read_plain_success(data: bytes) -> tuple[int, bytes] | None:
    """Route tag and message id of the plain success of a message, notification or stanza; None of all else.

    It needs no `decode_record`: of 10,000 watchers as many answers come.
    """
    if len(data) < HEADER_BYTES or data[LENGTH_BYTES] < _OF_RESPONSES:
        return None
    _, rtype, _, _, tag, to_l, to_d, from_l, from_d, ext, reserved, ident = HEADER.unpack_from(data)
    whole = HEADER_BYTES + to_l + to_d + from_l + from_d + 2 + OUTCOME_BYTES
    if rtype not in _BARE or ext or reserved or len(data) != whole or not data.endswith(_SUCCESS):
        return None
    return tag, ident


def plain_success_to(request: bytes, route_tag: int) -> bytes:
    """The plain success of a stanza: what `response_to` gives, made of the request's own bytes.

    Args:
        request: a whole STANZA record; it has no field that an answer repeats.
        route_tag: of the answer.
    """
    _, rtype, flags, _, _, to_l, to_d, from_l, from_d, _, _, ident = HEADER.unpack_from(request)
    middle = ADDRESSES_OFFSET + to_l + 1 + to_d
    end = middle + from_l + 1 + from_d
    size = HEADER_BYTES - LENGTH_BYTES + end - ADDRESSES_OFFSET + OUTCOME_BYTES
    head = HEADER.pack(
        size, rtype | RESPONSE_BIT, flags & ~FLAG_RESPONSE_WANTED, MAX_HOPS, route_tag, from_l, from_d, to_l,
        to_d, 0, 0, ident,
    )  # fmt: skip
    return b"".join((head, request[middle:end], request[ADDRESSES_OFFSET:middle], _SUCCESS))


def response_to(request: Record, outcome: Outcome, values: bytes = b"") -> Record:
    """The response to a request: To and From swapped, same id and route tag."""
    fields, body = encode_outcome(outcome)
    trans_id = request.value(FieldType.TRANS_ID)
    if trans_id is not None:
        fields += (Field(FieldType.TRANS_ID, trans_id),)
    return Record(
        request.type | RESPONSE_BIT, request.flags & ~FLAG_RESPONSE_WANTED, MAX_HOPS, request.route_tag,
        request.message_id, request.envelope.swapped(), fields, body + values,
    )  # fmt: skip
