"""One record as a value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.wire.errors import RecordTooLarge, WireError
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED, FLAG_RETRY, HEADER_BYTES, MAX_FIELDS
from imxrouter.wire.record import (
    Envelope,
    Record,
    decode_outcome,
    decode_record,
    encode_outcome,
    encode_record,
    response_to,
)
from imxrouter.wire.registry import FieldType, RecordType
from tests.vectors.load import seeds
from tests.wire.strategies import mutated, records, routed

ENVELOPE = Envelope(b"bob", b"b.example", b"alice", b"a.example")


@given(records)
def test_decoding_undoes_encoding(record: Record) -> None:
    """Nothing of a record is lost on the wire, unknown types, flags and fields included."""
    assert decode_record(encode_record(record)) == record


@given(st.binary(max_size=400) | mutated(seeds()))
def test_any_bytes_give_a_record_or_a_wire_error(data: bytes) -> None:
    """Rule 7; and what is a record encodes to the same bytes again."""
    try:
        record = decode_record(data)
    except WireError:
        return
    assert encode_record(record) == data


@given(mutated(seeds()))
def test_an_outcome_is_read_or_a_wire_error(data: bytes) -> None:
    """Whatever stands in a response, reading it raises nothing else, and what was read can be written."""
    try:
        outcome = decode_outcome(decode_record(data))
    except WireError:
        return
    encode_outcome(outcome)


@given(routed)
def test_a_response_finds_its_way_back(request: Record) -> None:
    """To and From swapped, id and tag kept, no response wanted to a response."""
    response = response_to(request, SUCCESS, b"values")
    assert response.envelope.swapped() == request.envelope
    assert (response.message_id, response.route_tag) == (request.message_id, request.route_tag)
    assert response.type == request.type | 0x8000
    assert not response.flags & FLAG_RESPONSE_WANTED
    assert decode_outcome(response).ok
    assert response.body.endswith(b"values")


@given(
    st.sampled_from(Status), st.sampled_from(Reason), st.sampled_from(["", "a.example"]),
    st.sampled_from(["router", "service", "peer", "uplink"]), st.integers(0, 2**40),
)  # fmt: skip
def test_an_outcome_survives_the_wire(
    status: Status, reason: Reason, by: str, role: str, retry_after_s: int
) -> None:
    """Status, reason, deciding hop and advice; a time too large for the wire is the largest one."""
    outcome = Outcome(status, reason, by, role if by else "router", retry_after_s)
    fields, body = encode_outcome(outcome)
    read = decode_outcome(Record(RecordType.MESSAGE_RESPONSE, envelope=ENVELOPE, fields=fields, body=body))
    assert (read.status, read.reason, read.decided_by, read.decided_role) == (
        status, reason, by, outcome.decided_role,
    )  # fmt: skip
    assert read.retry_after_s == min(retry_after_s, 0xFFFF_FFFF)


def outcome_of(body: bytes, *fields: Field) -> Outcome:
    """What a response with this body says."""
    return decode_outcome(Record(RecordType.MESSAGE_RESPONSE, envelope=ENVELOPE, fields=fields, body=body))


def test_a_reason_that_is_not_registered_is_a_failed_peer() -> None:
    """The number is kept for the operator."""
    outcome = outcome_of(b"\x01\x00\x27\x0f" + bytes(4))
    assert outcome.reason is Reason.PEER_FAILED
    assert "9999" in outcome.note


@pytest.mark.parametrize("named", [b"", b"\x01", b"\x01\xff\xfe", b"\x01A.EXAMPLE", b"\x01b.example@x"])
def test_a_deciding_hop_that_is_no_domain_is_dropped(named: bytes) -> None:
    """A hostile one must not come back as an encoding error when the outcome is written again."""
    outcome = outcome_of(bytes(8), Field(FieldType.DECIDED_BY, named))
    assert outcome.decided_by == ""
    encode_outcome(outcome)


def test_an_unknown_role_is_a_router() -> None:
    """Roles of later versions do not break this one."""
    outcome = outcome_of(bytes(8), Field(FieldType.DECIDED_BY, b"\x09b.example"))
    assert (outcome.decided_by, outcome.decided_role) == ("b.example", "router")


def test_a_foreign_transaction_id_returns() -> None:
    """CPIM's TransID is carried and given back (RFC 3860 section 3.2)."""
    request = Record(
        RecordType.MESSAGE, FLAG_RETRY, envelope=ENVELOPE, fields=(Field(FieldType.TRANS_ID, b"t-1"),)
    )
    response = response_to(request, failure(Reason.BUSY))
    assert response.value(FieldType.TRANS_ID) == b"t-1"


BAD_RECORDS = {
    "part over 255 bytes": Record(0x100, envelope=Envelope(b"x" * 256, b"b", b"", b"a")),
    "short id": Record(1, message_id=b"short"),
    "own record with an envelope": Record(1, envelope=ENVELOPE),
    "routed record without one": Record(0x100),
    "routed record without a to-domain": Record(0x100, envelope=Envelope(b"bob", b"", b"", b"a")),
    "routed record without a from-domain": Record(0x100, envelope=Envelope(b"bob", b"b", b"alice", b"")),
    "too many fields": Record(1, fields=(Field(1, b""),) * (MAX_FIELDS + 1)),
    "a field over 65,535 bytes": Record(1, fields=(Field(1, bytes(65536)),)),
    "fields over 65,535 bytes": Record(1, fields=(Field(1, bytes(40000)),) * 2),
    "16 MiB": Record(1, body=bytes((1 << 24) - HEADER_BYTES + 4)),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_what_cannot_be_decoded_is_not_encoded(name: str) -> None:
    """The encoder refuses what a decoder would."""
    with pytest.raises(WireError):
        encode_record(BAD_RECORDS[name])


def test_the_largest_record_fits() -> None:
    """One byte below 16 MiB the first byte is still 0x00."""
    data = encode_record(Record(1, body=bytes((1 << 24) - 1 - HEADER_BYTES + 4)))
    assert data[0] == 0
    with pytest.raises(RecordTooLarge):
        encode_record(BAD_RECORDS["16 MiB"])
