"""A record as it goes on: with another tag, as a retry, or with what a peer may not say taken out. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from imxrouter.link.ledger import TO_DOMAIN, Entry
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import REASON_BY_CODE, Reason
from imxrouter.switch.ports import Port, Role
from imxrouter.wire.fields import Field, encode_fields
from imxrouter.wire.layout import ADDRESSES_OFFSET, FLAG_RETRY, HEADER, OUTCOME_BYTES, RESPONSE_BIT
from imxrouter.wire.record import Record, decode_outcome, decode_record, encode_outcome, encode_record
from imxrouter.wire.registry import CRITICAL_BIT, FieldType, RecordType


def with_tag(response: bytes, tag: int) -> bytes:
    """The same record with another route tag."""
    return response[:8] + tag.to_bytes(8, "big") + response[16:]


#: A longer response is looked at one by one: not remembered whole, and cut where its receiver takes less.
LONG_RESPONSE: Final = 640
#: They change nothing, so nobody need remember what they were answered: a copy is simply asked again.
READS: Final = frozenset({RecordType.ATTRIBUTES.value, RecordType.ECHO.value})
#: What stays of a response that is cut, as far as there is room.
_NEEDED_FIELDS: Final = frozenset({FieldType.SUBSCRIPTION_STATE, FieldType.DURATION})
_SHORT_FIELDS: Final = _NEEDED_FIELDS | {FieldType.DECIDED_BY, FieldType.TRANS_ID}


def shortened(response: bytes, most_bytes: int = LONG_RESPONSE) -> bytes:
    """The same answer without what makes it long (specification section 7.3).

    Of a read, whose answer is the content, it says that it is too large.
    """
    record = decode_record(response)
    body = record.body[:OUTCOME_BYTES]
    if record.type & ~RESPONSE_BIT in READS and decode_outcome(record).ok:
        body = encode_outcome(failure(Reason.TOO_LARGE))[1]
    most = _with_fields(record, _SHORT_FIELDS, body)
    return most if len(most) <= most_bytes else _with_fields(record, _NEEDED_FIELDS, body)


def _with_fields(record: Record, names: frozenset[FieldType], body: bytes) -> bytes:
    kept = tuple(field for field in record.fields if field.number in names)
    return encode_record(replace(record, fields=kept, body=body))


def as_retry(data: bytes, epoch: bytes) -> bytes:
    """A request as it is sent again, naming the memory it was first sent to (specification section 8.2).

    Raises:
        WireError: it has no room for one more field.
    """
    record = decode_record(data)
    kept = (field for field in record.fields if field.number != FieldType.EPOCH)
    named = Field(FieldType.EPOCH | CRITICAL_BIT, epoch)
    return encode_record(
        Record(
            record.type, record.flags | FLAG_RETRY, record.hops_left, record.route_tag,
            record.message_id, record.envelope, (*kept, named), record.body,
        )
    )  # fmt: skip


def as_first(data: bytes, epoch: bytes) -> bytes | None:
    """A retry as the request it was first, if it names that memory; None where it names another.

    Specification section 8.2: our memory covers the epoch, so a key it does not hold was never seen.

    Raises:
        WireError: it is no record.
    """
    record = decode_record(data)
    if record.value(FieldType.EPOCH) != epoch:
        return None
    fields = tuple(field for field in record.fields if field.number != FieldType.EPOCH)
    return encode_record(
        Record(
            record.type, record.flags & ~FLAG_RETRY, record.hops_left, record.route_tag,
            record.message_id, record.envelope, fields, record.body,
        )
    )  # fmt: skip


def is_plain_success(response: bytes) -> bool:
    """Whether a response says that all went well, and nothing else."""
    _, _, _, _, _, to_l, to_d, from_l, from_d, ext, _, _ = HEADER.unpack_from(response)
    body_at = ADDRESSES_OFFSET + to_l + to_d + from_l + from_d + 2
    return not ext and len(response) == body_at + OUTCOME_BYTES and not response[body_at]


def with_rate_left(response: bytes, left: int) -> bytes:
    """A response with the field that warns a sender (specification section 7.3); the lower one counts."""
    size, kind, flags, hops, tag, to_l, to_d, from_l, from_d, ext, _, ident = HEADER.unpack_from(response)
    fields_at = ADDRESSES_OFFSET + to_l + to_d + from_l + from_d + 2
    if ext:
        told = decode_record(response).value(FieldType.RATE_LEFT)
        if told is not None and len(told) == 4 and int.from_bytes(told, "big") <= left:
            return response
    field = encode_fields((Field(FieldType.RATE_LEFT, left.to_bytes(4, "big")),))
    head = HEADER.pack(
        size + len(field), kind, flags, hops, tag, to_l, to_d, from_l, from_d, ext + len(field), 0, ident
    )
    return b"".join((head, response[ADDRESSES_OFFSET:fields_at], field, response[fields_at:]))


def judged_response(port: Port, data: bytes, entry: Entry) -> tuple[Outcome, bytes]:
    """What a response says that may go back, and the response that says it.

    A hop named by the peer is kept only if it may speak for itself on that link; otherwise the domain asked
    is named, and what the peer says is noted for operators (architecture section 2). An uplink that names
    nobody decided itself. A reason that is not registered becomes `peer-failed`.

    Raises:
        WireError: it is no response.
    """
    record = decode_record(data)
    outcome = decode_outcome(record)
    reason = REASON_BY_CODE.get(int.from_bytes(record.body[2:4], "big"), Reason.PEER_FAILED)
    named = outcome.decided_by.encode("ascii", "replace")
    notes = []
    if reason is Reason.PEER_FAILED:
        notes.append(f"its reason has the code {int.from_bytes(record.body[2:4], 'big')}")
    trusted = port.role is not Role.PEER or named in port.speaks
    if named and trusted:
        by, role = outcome.decided_by, outcome.decided_role
    elif port.role is Role.UPLINK:
        by, role = "", "uplink"
    else:
        by, role = entry[TO_DOMAIN].decode("ascii"), "peer" if port.role is Role.PEER else "service"
        notes += [f"it names {outcome.decided_by} ({outcome.decided_role})"] if named else []
    judged = Outcome(outcome.status, reason, by, role, outcome.retry_after_s, "; ".join(notes))
    fields, body = encode_outcome(judged.disclosed())
    kept = tuple(field for field in record.fields if field.number != FieldType.DECIDED_BY)
    rewritten = Record(
        record.type, record.flags & ~FLAG_RETRY, record.hops_left, 0, record.message_id, record.envelope,
        fields + kept, body + record.body[len(body) :],
    )  # fmt: skip
    return judged, encode_record(rewritten)
