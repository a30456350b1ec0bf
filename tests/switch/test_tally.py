"""What the switch counts beside results: refusals by kind, times, and what each peer sends and gets."""

from __future__ import annotations

import pytest

from imxrouter.model.operations import Kind
from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.switch.flows import FLOWS_AT_MOST, REST, Flow
from imxrouter.switch.ports import Role
from imxrouter.wire.record import Envelope
from imxrouter.wire.registry import RecordType
from tests.switch.rig import ALICE, BOB, FAR, HERE, PEER, Rig, message


def buckets(rig: Rig, first: int) -> dict[float, int]:
    """A histogram of times: upper end of a bucket -> count; those that are not zero."""
    ends = (*slots.DELIVERY_BOUNDS_S, float("inf"))
    counts = rig.switch.counters[first : first + slots.DELIVERY_BUCKETS]
    return {end: count for end, count in zip(ends, counts, strict=True) if count}


def out_of_here(number: int, to: bytes = FAR) -> Envelope:
    """From a user here to one elsewhere."""
    return Envelope(b"user%d" % number, to, ALICE, HERE)


def open_way(rig: Rig) -> None:
    """The peer's link carries what goes from here to FAR, and may answer for it."""
    rig.peer.speaks.add(FAR)
    rig.switch.ways.open(FAR, HERE, rig.peer)


def test_a_refusal_is_counted_by_its_kind() -> None:
    """A message and a notification refused for one reason have two slots, and neither is that of links."""
    rig = Rig()
    rig.switch.routes[HERE].suspended = True
    rig.feed(rig.peer, message(1), message(2, type=RecordType.NOTIFY.value))
    counters = rig.switch.counters
    assert counters[slots.refusal_slot(Reason.SUSPENDED, Kind.MESSAGE)] == 1
    assert counters[slots.refusal_slot(Reason.SUSPENDED, Kind.NOTIFY)] == 1
    assert counters[slots.REASON_SLOT[Reason.SUSPENDED]] == 0
    assert slots.refusals(counters, Reason.SUSPENDED) == 2


def test_theirs_is_from_the_write_to_the_answer() -> None:
    """Two reads, answered in one later read: each request by its own time."""
    rig = Rig()
    first, second, third = message(1), message(2), message(3)
    rig.feed(rig.peer, first)
    rig.now += 2.0
    rig.feed(rig.peer, second, third)
    asked = rig.out(rig.service)
    rig.now += 0.5
    for request in asked:
        rig.answer(rig.service, request)
    assert buckets(rig, slots.THEIRS) == {1.0: 2, 3.0: 1}
    assert rig.switch.tally.theirs_s == pytest.approx(2.5 + 0.5 + 0.5)


def test_an_answer_that_is_a_failure_counts_too() -> None:
    """It took its time as well."""
    rig = Rig()
    rig.feed(rig.peer, message(1))
    rig.now += 5.0
    rig.answer(rig.service, rig.out(rig.service)[0], failure(Reason.UNKNOWN_USER))
    assert buckets(rig, slots.THEIRS) == {10.0: 1}
    assert rig.switch.tally.flows.take() == {PEER: Flow([0, 0, 1, 0], [0, 0, 0, 0], 0.0)}


def test_a_request_on_hold_is_ours_until_it_is_written() -> None:
    """Then the time of the peer begins."""
    rig = Rig()
    rig.feed(rig.service, message(1, envelope=out_of_here(1)))
    (tag,) = rig.switch.held
    rig.now += 4.0
    open_way(rig)
    assert rig.switch.forward(tag, rig.peer, rig.now)
    rig.now += 0.02
    rig.answer(rig.peer, rig.out(rig.peer)[0])
    assert buckets(rig, slots.OURS) == {10.0: 1}
    assert rig.switch.tally.ours_s == pytest.approx(4.0)
    assert buckets(rig, slots.THEIRS) == {0.03: 1}
    (flow,) = rig.switch.tally.flows.take().values()
    assert (flow.came, flow.went) == ([0, 0, 0, 0], [1, 0, 0, 0])
    assert flow.took_s == pytest.approx(0.02)


def test_a_peer_has_what_came_and_what_went() -> None:
    """Delivered in runs or one by one, the figures are the same; a look takes them away."""
    rig = Rig()
    open_way(rig)
    rig.feed(rig.peer, *(message(number) for number in range(1, 6)))
    rig.feed(rig.service, *(message(number, envelope=out_of_here(number)) for number in range(6, 9)))
    inward, outward = rig.out(rig.service), rig.out(rig.peer)
    rig.now += 1.0
    for request in inward:
        rig.answer(rig.service, request)
    rig.now += 1.0
    for request in outward:
        rig.answer(rig.peer, request)
    assert rig.switch.tally.flows.take() == {
        PEER: Flow([5, 0, 0, 0], [0, 0, 0, 0], 0.0),
        FAR: Flow([0, 0, 0, 0], [3, 0, 0, 0], 6.0),
    }
    assert rig.switch.tally.flows.take() == {}


def test_what_a_stranger_sends_is_not_counted_for_whom_he_names() -> None:
    """A domain that is not proved on the link is the rest; so no label is had by naming it."""
    rig = Rig()
    rig.feed(rig.peer, message(1, envelope=Envelope(BOB, HERE, ALICE, b"invented.example")))
    assert rig.switch.tally.flows.take() == {REST: Flow([0, 1, 0, 0], [0, 0, 0, 0], 0.0)}


def test_what_stays_here_is_no_peers() -> None:
    """Between two services of this router."""
    rig = Rig()
    other = rig.port(3, Role.SERVICE)
    rig.serve(b"too.example", other)
    rig.feed(rig.service, message(1, envelope=Envelope(BOB, b"too.example", ALICE, HERE)))
    rig.answer(other, rig.out(other)[0])
    rig.feed(rig.service, message(2, envelope=Envelope(BOB, b"too.example", ALICE, HERE), hops_left=0))
    assert rig.switch.counters[slots.DELIVERED] == 1
    assert rig.switch.tally.flows.take() == {}


def test_a_request_whose_time_is_over_is_the_peers() -> None:
    """Counted as indeterminant for the domain it went to."""
    rig = Rig()
    open_way(rig)
    rig.feed(rig.service, message(1, envelope=out_of_here(1)))
    rig.now += 100.0
    rig.switch.sweep(rig.now, 60.0)
    assert rig.switch.tally.flows.take() == {FAR: Flow([0, 0, 0, 0], [0, 0, 0, 1], 0.0)}
    assert buckets(rig, slots.THEIRS) == {}


def test_too_many_domains_have_somebody_look() -> None:
    """Between two looks no table grows past its bound by more than one read brings."""
    rig = Rig()
    flows = rig.switch.tally.flows
    looked: list[int] = []
    flows.on_full = lambda: looked.append(len(flows.take()))
    for number in range(FLOWS_AT_MOST + 2):
        flows.add(b"d%d.example" % number, slots.FAILED, came=False)
    assert looked == [FLOWS_AT_MOST + 1]
    flows.take()
    flows.came.update({b"d%d.example" % number: 1 for number in range(FLOWS_AT_MOST + 1)})
    rig.feed(rig.peer, message(1))
    rig.answer(rig.service, rig.out(rig.service)[0])
    assert looked == [FLOWS_AT_MOST + 1, FLOWS_AT_MOST + 1]
    assert flows.take() == {PEER: Flow([1, 0, 0, 0], [0, 0, 0, 0], 0.0)}
