"""What is made in one go for many watchers says the same as what is made with care."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.operations import Attribute, EndReason, Notify, SubscriptionState, Version
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.presence import Unknown, offline
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.operations import notify_to_record, operation_to_bytes
from imxrouter.transport.translate import TranslationError
from imxrouter.wire.fields import Field
from imxrouter.wire.record import (
    Record,
    decode_record,
    encode_record,
    read_plain_success,
    response_to,
)
from imxrouter.wire.registry import FieldType, RecordType
from tests.gateways.embedded.rigs import at

ALICE, BOB = at("alice@a.example"), at("bøb@b.example")
U64 = st.integers(0, (1 << 64) - 1)

notifications = st.builds(
    Notify,
    st.just(ALICE), st.sampled_from([BOB, ALICE]), st.binary(min_size=16, max_size=16),
    st.binary(min_size=1, max_size=40), st.sampled_from(SubscriptionState),
    st.none() | st.builds(Version, U64, U64), st.just(offline(ALICE)) | st.none(),
    st.binary(max_size=600), st.sampled_from(EndReason), st.none() | st.integers(0, (1 << 32) - 1),
    st.just(()) | st.just((Attribute("alias", b"A", 7),)), st.integers(0, 255),
)  # fmt: skip


@given(notifications, st.integers(0, 255), U64)
def test_a_notification_has_the_same_bytes(told: Notify, flags: int, tag: int) -> None:
    """With flags and route tag, whatever it tells; of a state without a document one is written."""
    assert operation_to_bytes(told, flags, tag) == encode_record(notify_to_record(told), flags, tag)


TOLD = Notify(
    ALICE, BOB, b"m" * 16, b"id", SubscriptionState.ACTIVE, Version(1, 2), offline(ALICE), b"<presence/>"
)


@pytest.mark.parametrize(
    "change",
    [
        {"subscription_id": b""},
        {"subscription_id": b"x" * 41},
        {"message_id": b"short"},
        {"expires_s": 1 << 32},
        {"presence": Unknown(ALICE, Reason.CONNECT_TIMEOUT, ALICE.domain)},
    ],
)
def test_what_is_no_record_is_refused(change: dict[str, object]) -> None:
    """As ever, by name."""
    with pytest.raises(TranslationError):
        operation_to_bytes(replace(TOLD, **change), 0, 0)  # type: ignore[arg-type]


def answer(outcome: Outcome, kind: int = RecordType.NOTIFY, **fields: object) -> Record:
    """To a request of that type."""
    request = replace(notify_to_record(TOLD), type=kind, route_tag=77)
    return replace(response_to(request, outcome), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [RecordType.NOTIFY, RecordType.MESSAGE, RecordType.STANZA])
def test_a_plain_success_is_read(kind: RecordType) -> None:
    """Its tag, and the id of the request."""
    assert read_plain_success(encode_record(answer(SUCCESS, kind))) == (77, b"m" * 16)


@pytest.mark.parametrize(
    "record",
    [
        notify_to_record(TOLD),
        answer(SUCCESS, RecordType.SUBSCRIBE),
        answer(SUCCESS, RecordType.ATTRIBUTES),
        answer(failure(Reason.BUSY)),
        answer(Outcome(SUCCESS.status, retry_after_s=1)),
        answer(SUCCESS, fields=(Field(FieldType.TRANS_ID, b"t"),)),
        answer(SUCCESS, body=bytes(9)),
        answer(SUCCESS, body=b"\1" + bytes(8)),
    ],
)
def test_everything_else_needs_a_closer_look(record: Record) -> None:
    """A request, an answer that brings something, a failure, a longer one."""
    data = encode_record(record)
    assert read_plain_success(data) is None
    assert decode_record(data) == record


@given(st.binary(max_size=80))
def test_no_bytes_break_it(data: bytes) -> None:
    """Whatever they are."""
    read_plain_success(data)
