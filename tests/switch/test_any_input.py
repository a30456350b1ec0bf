"""Any bytes, any cuts, any history: rules 1, 2 and 7."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.ports import Role
from imxrouter.wire.errors import RecordTooLarge, WireError
from imxrouter.wire.record import Envelope, Record, encode_record
from tests.switch.rig import ALICE, BOB, FAR, HERE, PEER, Rig, message


@pytest.mark.parametrize("size", [1, 3, 17, 40, 41, 200])
def test_cuts_between_reads_change_nothing(size: int) -> None:
    """Rule 7: fed in pieces of any size the result is the same."""
    whole = b"".join(encode_record(message(number, body=bytes(number * 9))) for number in range(1, 20))
    rig = Rig()
    for at in range(0, len(whole), size):
        rig.feed(rig.peer, whole[at : at + size])
    passed = rig.out(rig.service)
    assert [len(record.body) for record in passed] == [number * 9 for number in range(1, 20)]


def test_length_is_judged_when_the_header_is_there() -> None:
    """Four bytes are enough to refuse."""
    rig = Rig()
    rig.peer.max_record = 1280
    with pytest.raises(RecordTooLarge):
        rig.feed(rig.peer, (5000).to_bytes(4, "big"))


def test_a_byte_at_a_time_costs_linear_work() -> None:
    """Rule 7: the tail is kept in one buffer that grows, never copied anew for each read."""
    rig = Rig()
    data = encode_record(message(body=bytes(4000)))
    tail = rig.peer.tail
    for at in range(len(data) - 1):
        rig.feed(rig.peer, data[at : at + 1])
        assert rig.peer.tail is tail
    rig.feed(rig.peer, data[-1:])
    assert len(rig.out(rig.service)) == 1


@given(st.binary(max_size=400))
@settings(max_examples=300)
def test_any_bytes_give_records_or_the_parsers_error(data: bytes) -> None:
    """Rule 7: nothing but WireError comes out, and rule 2 holds afterwards."""
    rig = Rig()
    with contextlib.suppress(WireError):
        rig.feed(rig.peer, encode_record(message()), data)
    assert rig.switch.conservation() == []


domains = st.sampled_from([PEER, HERE, FAR, b"other.example", b"bank.example"])

steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 3), st.integers(1, 6), domains, domains, st.integers(0, 3)),
        st.tuples(st.just("answer"), st.integers(0, 3), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("lose"), st.integers(0, 3)),
        st.tuples(st.just("sweep"), st.integers(1, 40)),
        st.tuples(st.just("forward"), st.integers(0, 3)),
    ),
    max_size=40,
)


@given(steps)
@settings(max_examples=200)
def test_over_any_history_rule_1_and_conservation_hold(  # noqa: C901 - one step of a history each branch
    history: list[tuple[Any, ...]],
) -> None:
    """Rules 1 and 2: nothing passes that rule 1 forbids; each request has one outcome or is in flight."""
    rig = Rig()
    other = rig.port(9, Role.SERVICE)
    rig.serve(b"other.example", other)
    far = rig.port(6, Role.PEER)
    rig.prove(far, FAR, only=frozenset({HERE}))
    rig.switch.ways.open(FAR, HERE, far)
    ports = [rig.peer, rig.service, far, other]
    waiting: list[tuple[object, Record]] = []
    answers: dict[tuple[int, int], int] = {}
    asked: set[tuple[int, int]] = set()
    tag = 0

    def collect() -> None:
        for port in ports:
            for record in rig.out(port):
                if record.is_response:
                    place = (port.number, record.route_tag)
                    answers[place] = answers.get(place, 0) + 1
                    continue
                source, target = record.envelope.from_domain, record.envelope.to_domain
                assert target in port.speaks
                if port.role is Role.PEER:
                    assert (source, target) == (HERE, FAR)
                else:
                    assert source in (PEER, FAR, HERE, b"other.example")
                waiting.append((port, record))

    for step in history:
        if step[0] == "send":
            _, place, number, source, target, hops = step
            if ports[place].closed:
                continue
            tag += 1
            asked.add((ports[place].number, tag))
            envelope = Envelope(BOB, target, ALICE, source)
            rig.feed(ports[place], message(number, route_tag=tag, envelope=envelope, hops_left=hops))
        elif step[0] == "answer" and waiting:
            _, place, which, good = step
            _, request = waiting[which % len(waiting)]
            if not ports[place].closed:
                rig.answer(
                    ports[place], request, failure(Reason.BLOCKED) if not good else failure(Reason.BUSY)
                )
        elif step[0] == "lose":
            port = ports[step[1]]
            if not port.closed:
                rig.switch.remove_port(port, rig.now)
        elif step[0] == "sweep":
            rig.now += step[1]
            rig.switch.sweep(rig.now, 30.0)
        elif step[0] == "forward" and not ports[step[1]].closed:
            for held in list(rig.switch.held):
                entry = rig.switch.ledger.entries.get(held)
                if entry is not None and ports[step[1]] is rig.switch.way(entry[5], entry[6]):
                    rig.switch.forward(held, ports[step[1]], rig.now)
                    rig.switch.held.remove(held)
        collect()
        assert rig.switch.conservation() == []
    rig.switch.sweep(rig.now + 100, 30.0)
    collect()
    assert not rig.switch.ledger.entries
    assert all(count == 1 for count in answers.values())
    lost = {port.number for port in ports if port.closed}
    assert {place for place in asked if place[0] not in lost} <= set(answers)
