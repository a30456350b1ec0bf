"""Answers that are long: nobody's link ends for one, and nobody's memory fills with them (rule 5)."""

import sys

import pytest

from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.switch.ports import RETRY_BYTES
from imxrouter.switch.rewrite import LONG_RESPONSE
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import OUTCOME_BYTES
from imxrouter.wire.record import Envelope, Record, decode_outcome, encode_record, response_to
from imxrouter.wire.registry import FieldType, RecordType
from tests.switch.rig import ALICE, HERE, PEER, Rig, message

ALL = frozenset({0x0100, 0x0101, 0x0103, 0x0180})


def rig_for(kind: int, largest: int = 65536) -> tuple[Rig, Record]:
    """A request of that type that has been passed on, asked by a peer that takes so much."""
    rig = Rig()
    rig.switch.routes[HERE].types = ALL
    rig.switch.inside.append(rig.service)
    rig.peer.largest = largest - RETRY_BYTES
    rig.feed(rig.peer, ask(kind))
    (passed,) = rig.out(rig.service)
    return rig, passed


def ask(kind: int, number: int = 1) -> Record:
    """A request of any type."""
    special = {0x0101: subscription(), RecordType.ECHO: to_itself()}
    changes: dict[str, object] = special.get(kind, {"body": b""})
    return message(number, type=kind, **changes)


def to_itself() -> dict[str, object]:
    """An echo is of a domain."""
    return {"envelope": Envelope(b"", HERE, ALICE, PEER)}


def subscription() -> dict[str, object]:
    """What SUBSCRIBE needs."""
    fields = (Field(FieldType.SUBSCRIPTION_ID, b"s"), Field(FieldType.DURATION, bytes(3) + b"\x09"))
    return {"body": b"", "fields": fields}


def answer(rig: Rig, passed: Record, size: int, fields: tuple[Field, ...] = ()) -> int:
    """The service answers with so many bytes of content; gives the size of the record."""
    response = response_to(passed, SUCCESS, b"x" * size)
    response = Record(
        response.type, response.flags, response.hops_left, response.route_tag, response.message_id,
        response.envelope, fields, response.body,
    )  # fmt: skip
    rig.feed(rig.service, response)
    return len(encode_record(response))


def test_an_answer_of_just_what_the_asker_takes_passes() -> None:
    """Whole; a byte more is cut."""
    for kind in (0x0100, 0x0103, 0x0180):
        rig, passed = rig_for(kind, largest=2000)
        room = 2000 - len(encode_record(response_to(passed, SUCCESS)))
        # an answer that takes the slow way is given who decided
        room -= 4 + 1 + len(HERE)
        answer(rig, passed, room)
        (got,) = rig.out(rig.peer)
        assert len(got.body) == OUTCOME_BYTES + room
        rig, passed = rig_for(kind, largest=2000)
        answer(rig, passed, room + 1)
        (got,) = rig.out(rig.peer)
        assert len(got.body) == OUTCOME_BYTES


@pytest.mark.parametrize("kind", [0x0100, 0x0180])
def test_the_outcome_stays_true_where_the_rest_is_cut(kind: int) -> None:
    """It was delivered, and the asker is told so."""
    rig, passed = rig_for(kind, largest=1280)
    answer(rig, passed, 60_000, (Field(0x0077, b"y" * 3000), Field(FieldType.TRANS_ID, b"t")))
    (got,) = rig.out(rig.peer)
    assert decode_outcome(got).status is Status.SUCCESS
    assert got.value(FieldType.TRANS_ID) == b"t"
    assert len(encode_record(got)) <= 1280
    assert rig.switch.conservation() == []


def test_a_subscription_keeps_what_it_was_granted() -> None:
    """State and duration are not cut."""
    rig, passed = rig_for(0x0101, largest=1280)
    state, duration = b"\x01\x00", bytes(3) + b"\x05"
    granted = (Field(FieldType.SUBSCRIPTION_STATE, state), Field(FieldType.DURATION, duration))
    answer(rig, passed, 5000, granted)
    (got,) = rig.out(rig.peer)
    assert got.value(FieldType.SUBSCRIPTION_STATE) == b"\x01\x00"
    assert got.value(FieldType.DURATION) == bytes(3) + b"\x05"


@pytest.mark.parametrize("kind", [RecordType.ATTRIBUTES, RecordType.ECHO])
def test_values_that_the_asker_does_not_take_are_too_large(kind: int) -> None:
    """A success without them would say that there are none."""
    rig, passed = rig_for(kind, largest=1280)
    answer(rig, passed, 2000)
    outcome = rig.outcome(rig.peer)
    assert (outcome.status, outcome.reason) == (Status.FAILURE, Reason.TOO_LARGE)


def test_a_refusal_of_a_read_keeps_its_reason() -> None:
    """However long it is."""
    rig, passed = rig_for(RecordType.ATTRIBUTES, largest=1280)
    rig.feed(rig.service, response_to(passed, failure(Reason.BUSY, retry_after_s=5), b"x" * 5000))
    outcome = rig.outcome(rig.peer)
    assert (outcome.reason, outcome.retry_after_s) == (Reason.BUSY, 5)


def test_the_longest_addresses_leave_room_for_the_outcome() -> None:
    """A peer that takes the least that there is still gets its answer."""
    rig = Rig()
    rig.peer.largest = 1280 - RETRY_BYTES
    local = b"a" * 255
    rig.feed(rig.peer, message(1, envelope=Envelope(local, HERE, local, PEER)))
    (passed,) = rig.out(rig.service)
    decided = Field(FieldType.DECIDED_BY, b"\x01" + HERE)
    answer(rig, passed, 900, (decided, Field(FieldType.TRANS_ID, b"t" * 40)))
    (got,) = rig.out(rig.peer)
    assert decode_outcome(got).ok
    assert len(encode_record(got)) <= 1280


def test_long_values_are_not_remembered_and_a_copy_is_asked_again() -> None:
    """Thousands of them would be gigabytes; a read changes nothing."""
    rig, passed = rig_for(RecordType.ATTRIBUTES)
    answer(rig, passed, 20_000)
    assert len(rig.out(rig.peer)[0].body) == OUTCOME_BYTES + 20_000
    assert rig.memory.seen == {}
    rig.feed(rig.peer, ask(RecordType.ATTRIBUTES))
    (again,) = rig.out(rig.service)
    answer(rig, again, 3)
    assert rig.out(rig.peer)[0].body[OUTCOME_BYTES:] == b"xxx"
    assert rig.switch.acknowledge(rig.peer, 2)
    assert rig.memory.seen == {}
    assert rig.switch.conservation() == []


def test_a_long_answer_of_another_type_is_remembered_by_its_outcome() -> None:
    """A copy is not delivered again, and told what became of the first."""
    rig, passed = rig_for(0x0180)
    answer(rig, passed, 20_000)
    rig.out(rig.peer)
    rig.feed(rig.peer, ask(0x0180))
    assert rig.out(rig.service) == []
    (got,) = rig.out(rig.peer)
    assert decode_outcome(got).ok
    assert len(got.body) == OUTCOME_BYTES


def test_the_memory_of_answers_is_bounded_in_bytes() -> None:
    """Whatever services answer: some hundred bytes for each request."""
    rig = Rig(memory_limit=100_000)
    rig.switch.routes[HERE].types = ALL
    for number in range(1, 301):
        rig.feed(rig.peer, ask((0x0100, 0x0103, 0x0180)[number % 3], number))
        (passed,) = rig.out(rig.service)
        answer(rig, passed, (0, 500, 60_000)[number % 7 % 3])
        rig.out(rig.peer)
    kept = [known for _, known in rig.memory.seen.values()]
    assert all(isinstance(one, bytes) and len(one) <= LONG_RESPONSE for one in kept)
    assert sum(map(sys.getsizeof, kept)) < 300 * (LONG_RESPONSE + 100)
