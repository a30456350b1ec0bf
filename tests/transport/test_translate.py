"""Messages and records: there and back, and what has no counterpart."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.formats.mime import TEXT_PLAIN
from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.translate import (
    ATTRIBUTE_FIELDS,
    TranslationError,
    message_to_record,
    record_to_message,
)
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, Record, decode_record, encode_record
from imxrouter.wire.registry import FieldType, RecordType

ALICE, BOB = Address.parse("Alice@a.example"), Address.parse("zoë@b.example")
PLAIN = Message(ALICE, BOB, bytes(range(16)), TEXT_PLAIN, b"hello")

MESSAGES = st.builds(
    Message,
    source=st.sampled_from([ALICE, BOB, Address.parse("a.example")]),
    destination=st.sampled_from([ALICE, BOB]),
    message_id=st.binary(min_size=16, max_size=16),
    content_type=st.sampled_from([TEXT_PLAIN, "message/cpim", "text/html-lite; charset=utf-8"]),
    content=st.binary(max_size=200),
    hops_left=st.integers(0, 110),
    attributes=st.dictionaries(st.sampled_from(sorted(ATTRIBUTE_FIELDS)), st.binary(max_size=40)),
    trans_id=st.binary(max_size=40),
)


@given(MESSAGES)
def test_there_and_back(message: Message) -> None:
    """Through the bytes of a record nothing is lost, spelling included."""
    record = decode_record(encode_record(message_to_record(message)))
    assert record_to_message(record) == message


@given(st.binary(max_size=60), st.binary(max_size=30), st.binary(max_size=30), st.binary(max_size=30))
def test_any_record_gives_a_message_or_the_rooms_error(body: bytes, a: bytes, b: bytes, c: bytes) -> None:
    """Total."""
    record = Record(RecordType.MESSAGE, envelope=Envelope(a, b, c, a), fields=(Field(2, c),), body=body)
    with contextlib.suppress(TranslationError):
        record_to_message(record)


def reason_of(record: Record) -> Reason:
    """Why a record is no message."""
    with pytest.raises(TranslationError) as caught:
        record_to_message(record)
    return caught.value.reason


def test_each_fault_has_its_reason() -> None:
    """What the sender is answered."""
    record = message_to_record(PLAIN)
    envelope = record.envelope
    assert reason_of(replace(record, type=RecordType.NOTIFY)) is Reason.TYPE_NOT_ENABLED
    assert reason_of(replace(record, envelope=replace(envelope, to_local=b"eve"))) is Reason.BAD_BODY
    assert reason_of(replace(record, envelope=replace(envelope, to_local=b"\xff"))) is Reason.BAD_ADDRESS
    assert reason_of(replace(record, envelope=replace(envelope, to_domain=b"B"))) is Reason.BAD_ADDRESS
    long = replace(envelope, to_local=b"x" * 256)
    assert reason_of(replace(record, envelope=long)) is Reason.ADDRESS_TOO_LONG
    trans_id = (Field(FieldType.TRANS_ID, bytes(41)),)
    assert reason_of(replace(record, fields=trans_id)) is Reason.BAD_RECORD


def test_a_forged_from_inside_is_found() -> None:
    """The content of a signed message says who wrote it."""
    forged = replace(
        message_to_record(PLAIN), body=b"From: eve@a.example\r\nTo: zo\xc3\xab@b.example\r\n\r\n"
    )
    assert reason_of(forged) is Reason.BAD_BODY


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"message_id": b"short"}, Reason.BAD_RECORD),
        ({"trans_id": bytes(41)}, Reason.BAD_RECORD),
        ({"attributes": {"colour": b"blue"}}, Reason.BAD_RECORD),
        ({"attributes": {"subject": bytes(70_000)}}, Reason.TOO_LARGE),
        ({"content_type": "text/plain\r\nX: y"}, Reason.BAD_BODY),
    ],
)
def test_a_message_that_no_record_can_say(change: dict[str, object], reason: Reason) -> None:
    """It is refused before it is sent."""
    with pytest.raises(TranslationError) as caught:
        message_to_record(replace(PLAIN, **change))  # type: ignore[arg-type]
    assert caught.value.reason is reason


def test_the_first_of_two_equal_fields_counts() -> None:
    """As everywhere on the wire; critical or not."""
    fields = (Field(FieldType.SUBJECT | 0x8000, b"one"), Field(FieldType.SUBJECT, b"two"))
    assert record_to_message(replace(message_to_record(PLAIN), fields=fields)).attributes == {
        "subject": b"one"
    }


def test_hops_are_clamped() -> None:
    """Nobody starts with more than the maximum."""
    assert message_to_record(replace(PLAIN, hops_left=300)).hops_left == 110
