"""What the switch counts beside results: refusals by kind, times, and what each peer sends and gets."""

from __future__ import annotations

import pytest

from imxrouter.model import quality
from imxrouter.model.operations import Kind
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.quality import Cells, End, Part
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.switch.flows import FLOWS_AT_MOST, REST, Key
from imxrouter.switch.ports import Role
from imxrouter.wire.record import Envelope, response_to
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


def flows(rig: Rig) -> dict[bytes, tuple[list[int], list[int], float]]:
    """Of each domain: requests that came and that went, by end, and the other side's seconds of those."""
    return {
        domain: (
            quality.ends(cells, True),
            quality.ends(cells, False),
            quality.seconds(cells, Part.THEIRS, False),
        )
        for domain, cells in rig.switch.tally.flows.take().items()
    }


def shown(cells: Cells, part: Part, came: bool) -> dict[float, int]:
    """A histogram of a peer, as `buckets`."""
    ends = (*quality.BOUNDS_S, float("inf"))
    counts = quality.times(cells, part, came)
    return {end: count for end, count in zip(ends, counts, strict=True) if count}


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
    assert buckets(rig, slots.THEIRS) == {0.5: 2, 5.0: 1}
    assert rig.switch.tally.theirs_s == pytest.approx(2.5 + 0.5 + 0.5)


def test_an_answer_that_is_a_failure_counts_too() -> None:
    """It took its time as well."""
    rig = Rig()
    rig.feed(rig.peer, message(1))
    rig.now += 5.0
    rig.answer(rig.service, rig.out(rig.service)[0], failure(Reason.UNKNOWN_USER))
    assert buckets(rig, slots.THEIRS) == {5.0: 1}
    assert flows(rig) == {PEER: ([0, 0, 1, 0], [0, 0, 0, 0], 0.0)}


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
    assert buckets(rig, slots.OURS) == {5.0: 1}
    assert rig.switch.tally.ours_s == pytest.approx(4.0)
    assert buckets(rig, slots.THEIRS) == {0.02: 1}
    ((came, went, took_s),) = flows(rig).values()
    assert (came, went) == ([0, 0, 0, 0], [1, 0, 0, 0])
    assert took_s == pytest.approx(0.02)


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
    assert flows(rig) == {PEER: ([5, 0, 0, 0], [0, 0, 0, 0], 0.0), FAR: ([0, 0, 0, 0], [3, 0, 0, 0], 6.0)}
    assert flows(rig) == {}


def test_what_a_stranger_sends_is_not_counted_for_whom_he_names() -> None:
    """A domain that is not proved on the link is the rest; so no label is had by naming it."""
    rig = Rig()
    rig.feed(rig.peer, message(1, envelope=Envelope(BOB, HERE, ALICE, b"invented.example")))
    assert flows(rig) == {REST: ([0, 1, 0, 0], [0, 0, 0, 0], 0.0)}


def test_what_stays_here_is_no_peers() -> None:
    """Between two services of this router."""
    rig = Rig()
    other = rig.port(3, Role.SERVICE)
    rig.serve(b"too.example", other)
    rig.feed(rig.service, message(1, envelope=Envelope(BOB, b"too.example", ALICE, HERE)))
    rig.answer(other, rig.out(other)[0])
    rig.feed(rig.service, message(2, envelope=Envelope(BOB, b"too.example", ALICE, HERE), hops_left=0))
    assert rig.switch.counters[slots.DELIVERED] == 1
    assert flows(rig) == {}


def test_a_request_whose_time_is_over_is_the_peers() -> None:
    """Counted as indeterminant for the domain it went to."""
    rig = Rig()
    open_way(rig)
    rig.feed(rig.service, message(1, envelope=out_of_here(1)))
    rig.now += 100.0
    rig.switch.sweep(rig.now, 60.0)
    assert flows(rig) == {FAR: ([0, 0, 0, 0], [0, 0, 0, 1], 0.0)}
    assert buckets(rig, slots.THEIRS) == {}


def test_too_many_domains_have_somebody_look() -> None:
    """Between two looks no table grows past its bound by more than one read brings."""
    rig = Rig()
    table = rig.switch.tally.flows
    looked: list[int] = []
    table.on_full = lambda: looked.append(len(table.take()))
    for number in range(FLOWS_AT_MOST + 2):
        table.add(b"d%d.example" % number, Kind.MESSAGE, End.FAILED, Reason.BUSY, came=False)
    assert looked == [FLOWS_AT_MOST + 1]
    table.take()
    many: dict[Key, int] = {b"d%d.example" % number: 1 for number in range(FLOWS_AT_MOST + 1)}
    table.delivered(many, True, 0, 0.0, 0, 0.0)
    rig.feed(rig.peer, message(1))
    rig.answer(rig.service, rig.out(rig.service)[0])
    assert looked == [FLOWS_AT_MOST + 1, FLOWS_AT_MOST + 1]
    assert flows(rig) == {PEER: ([1, 0, 0, 0], [0, 0, 0, 0], 0.0)}


def test_our_share_of_a_peers_delivery_is_that_of_request_and_answer() -> None:
    """A slow read of the request is remembered until its answer; a short one is as short as the answer's."""
    rig = Rig()
    open_way(rig)
    rig.share_s = 0.04
    rig.feed(rig.service, message(1, envelope=out_of_here(1)))
    rig.now += 0.3
    rig.share_s = 0.003
    rig.answer(rig.peer, rig.out(rig.peer)[0])
    rig.feed(rig.peer, message(2))
    rig.now += 1.5
    rig.share_s = 0.0002
    rig.answer(rig.service, rig.out(rig.service)[-1])
    cells = rig.switch.tally.flows.take()
    assert shown(cells[FAR], Part.OURS, False) == {0.05: 1}
    assert quality.seconds(cells[FAR], Part.OURS, False) == pytest.approx(0.043)
    assert shown(cells[FAR], Part.THEIRS, False) == {0.5: 1}
    assert quality.seconds(cells[PEER], Part.OURS, True) == pytest.approx(0.0032)
    assert shown(cells[PEER], Part.THEIRS, True) == {2.0: 1}


def test_a_short_read_is_taken_to_be_like_that_of_the_answer() -> None:
    """It is not remembered by itself; the answer's stands for it, up to what is short."""
    rig = Rig()
    for number, (asked_s, answered_s, share_s) in enumerate([(0.0001, 0.0004, 0.0008), (0.0001, 3.0, 3.001)]):
        rig.share_s = asked_s
        rig.feed(rig.peer, message(number + 1))
        rig.share_s = answered_s
        rig.now += 1.0
        rig.answer(rig.service, rig.out(rig.service)[0])
        (cells,) = rig.switch.tally.flows.take().values()
        assert quality.seconds(cells, Part.OURS, True) == pytest.approx(share_s)


def test_time_on_hold_is_our_share_of_that_peer() -> None:
    """Held for four seconds, answered in none; two that went out together keep their own."""
    rig = Rig()
    rig.feed(rig.service, message(1, envelope=out_of_here(1)))
    rig.now += 1.0
    rig.feed(rig.service, message(2, envelope=out_of_here(2)))
    rig.now += 3.0
    open_way(rig)
    for tag in rig.switch.held:
        assert rig.switch.forward(tag, rig.peer, rig.now)
    requests = rig.out(rig.peer)
    rig.feed(rig.peer, *(response_to(one, SUCCESS) for one in requests))
    (cells,) = rig.switch.tally.flows.take().values()
    assert shown(cells, Part.OURS, False) == {5.0: 2}
    assert quality.seconds(cells, Part.OURS, False) == pytest.approx(7.0)


def test_kinds_and_reasons_of_a_peer_are_told_apart() -> None:
    """Each request is in one cell of its kind, and one that was not delivered in one of its reason too."""
    rig = Rig()
    rig.serve(HERE, rig.service).types = frozenset({0x0100, 0x0104, 0x0199})
    rig.feed(rig.peer, message(1), message(2, type=0x0199), message(3), message(4, hops_left=0))
    first, second, third = rig.out(rig.service)
    rig.answer(rig.service, first)
    rig.answer(rig.service, second)
    rig.answer(rig.service, third, failure(Reason.UNKNOWN_USER))
    cells = rig.switch.tally.flows.take()[PEER]
    assert quality.ends(cells, True, [Kind.MESSAGE]) == [1, 1, 1, 0]
    assert quality.ends(cells, True, [Kind.OTHER]) == [1, 0, 0, 0]
    assert quality.reasons(cells, True) == {Reason.UNKNOWN_USER: 1, Reason.TOO_MANY_HOPS: 1}
    assert sum(quality.times(cells, Part.OURS, True, [Kind.OTHER])) == 1


def test_a_read_within_another_has_its_own_answers() -> None:
    """A service inside this process answers while the read of the request is written."""
    rig = Rig()
    tally = rig.switch.tally
    outer = tally.taken_runs()
    tally.run({PEER: 1}, 1, True, rig.now, rig.now, 0, rig.now)
    tally.wrote(0, rig.now, 0.0, tally.taken_runs())
    tally.wrote(0, rig.now, 0.0, outer)
    assert flows(rig) == {PEER: ([1, 0, 0, 0], [0, 0, 0, 0], 0.0)}


def test_reads_are_forgotten_with_their_requests() -> None:
    """What is remembered of slow reads is as old as the oldest request can be."""
    rig = Rig()
    rig.share_s = 0.5
    rig.feed(rig.peer, message(1))
    rig.now += 10.0
    rig.feed(rig.peer, message(2))
    rig.switch.sweep(rig.now, 5.0)
    assert list(rig.switch.tally._slow) == [rig.now]
