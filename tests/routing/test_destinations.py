"""Destinations and what waits for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.destinations import BackOff, Destination, DestinationState, DestinationTable
from imxrouter.routing.hold import HoldBudget, HoldLimits, HoldQueue

D, E = Domain("d.example"), Domain("e.example")


def opened(table: DestinationTable, domain: Domain = D, now: float = 0) -> Destination:
    """An entry that must be there."""
    entry = table.open(domain, now)
    assert entry is not None
    return entry


def test_waits_grow_to_the_cap_and_success_resets() -> None:
    """1, 2, 4 ... 300 seconds without jitter."""
    entry = opened(DestinationTable(lambda: 0.0))
    waits = [entry.failed(Reason.CONNECT_TIMEOUT, 0, "192.0.2.1") for _ in range(12)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert entry.last_error is not None
    assert (entry.last_error.reason, entry.last_error.note) == (Reason.CONNECT_TIMEOUT, "192.0.2.1")
    entry.up(5)
    assert entry.last_error is not None
    assert (entry.failures, entry.retry_after_s(5), entry.may_try(5)) == (0, 0, False)
    assert entry.failed(Reason.TLS_FAILED, 10) == 11


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_jitter_takes_a_part_of_the_wait(failures: int, chance: float, jitter: float) -> None:
    """Between the wait less its random part, and the wait; never above the cap."""
    backoff = BackOff(jitter=jitter)
    full = BackOff(jitter=0).wait_s(failures, 0)
    assert full * (1 - jitter) <= backoff.wait_s(failures, chance) <= full <= 300


def test_states_follow_the_connector() -> None:
    """Only an idle one, or a failing one whose time has come, is tried."""
    entry = opened(DestinationTable(lambda: 0.0))
    assert entry.may_try(0)
    entry.resolving(1)
    assert not entry.may_try(1)
    entry.connecting(2)
    assert (entry.state, entry.since, entry.may_try(2)) == (DestinationState.CONNECTING, 2, False)
    entry.failed(Reason.CONNECTION_REFUSED, 3)
    assert (entry.may_try(3.5), entry.retry_after_s(3.5), entry.may_try(4)) == (False, 1, True)
    entry.idle(5)
    assert entry.may_try(5)


def test_a_peer_that_proved_itself_is_not_waited_for() -> None:
    """It was dialled for that. Nothing is made of one we never wrote to, and its failures count anew."""
    table = DestinationTable(lambda: 0.0)
    assert not table.peer_proved(D, 0)
    entry = opened(table)
    assert not table.peer_proved(D, 0)
    for _ in range(10):
        entry.failed(Reason.CONNECTION_REFUSED, 0)
    assert not entry.may_try(1)
    assert table.peer_proved(D, 1)
    assert (entry.state, entry.since, entry.may_try(1)) == (DestinationState.IDLE, 1, True)
    entry.failed(Reason.CONNECTION_REFUSED, 2)
    assert entry.retry_after_s(2) == 1
    assert len(table) == 1


def test_the_table_is_bounded_and_drops_only_what_nobody_uses() -> None:
    """One that is up stays for ever."""
    table = DestinationTable(lambda: 0.0, limit=2, keep_s=10)
    opened(table, D).up(0)
    opened(table, E)
    assert table.open(Domain("f.example"), 5) is None
    assert table.open(Domain("f.example"), 10) is not None
    assert {entry.domain.name for entry in table} == {"d.example", "f.example"}
    assert table.find(E) is None
    failing = table.find(Domain("f.example"))
    assert failing is not None
    failing.failed(Reason.DNS_TIMEOUT, 10)
    assert table.sweep(20) == 0
    assert table.sweep(21) == 1


def test_an_operator_forgets_a_failing_one_only() -> None:
    """What is being dialled or used is left."""
    table = DestinationTable(lambda: 0.0)
    entry = opened(table)
    entry.resolving(0)
    assert not table.forget(D)
    entry.failed(Reason.DNS_FAILURE, 0)
    assert table.forget(D)
    assert not table.forget(D)


LIMITS = HoldLimits(count=3, size_bytes=100, age_s=15)


def test_held_items_come_out_once_in_order() -> None:
    """By age or by draining."""
    budget = HoldBudget(1000)
    queue: HoldQueue[str] = HoldQueue(LIMITS, budget)
    assert [queue.offer(item, 10, now) for item, now in (("a", 0), ("b", 1), ("c", 2))] == [None] * 3
    assert queue.offer("d", 10, 2) is Reason.HOLD_FULL
    assert queue.expire(14.9) == []
    assert queue.expire(16) == ["a", "b"]
    assert (queue.drain(), queue.drain(), queue.held_bytes, budget.used_bytes) == (["c"], [], 0, 0)


def test_bytes_are_bounded_for_one_and_for_all() -> None:
    """A full queue takes nothing from another's."""
    budget = HoldBudget(150)
    one: HoldQueue[str] = HoldQueue(LIMITS, budget)
    two: HoldQueue[str] = HoldQueue(LIMITS, budget)
    assert one.offer("a", 101, 0) is Reason.HOLD_FULL
    assert one.offer("a", 100, 0) is None
    assert two.offer("b", 60, 0) is Reason.HOLD_FULL
    assert two.offer("b", 50, 0) is None
    closed: HoldQueue[str] = HoldQueue(HoldLimits(count=0))
    assert closed.offer("x", 0, 0) is Reason.HOLD_FULL
    with pytest.raises(LocalMisuse):
        budget.give_back(151)


@given(
    st.lists(st.tuples(st.sampled_from(["offer", "drain", "expire"]), st.integers(0, 60), st.integers(0, 9)))
)
def test_nothing_held_is_lost_or_doubled(steps: list[tuple[str, int, int]]) -> None:
    """Accepted = came out + still held, bytes included."""
    budget = HoldBudget(150)
    queue: HoldQueue[int] = HoldQueue(LIMITS, budget)
    now, taken, out = 0, list[int](), list[int]()
    for number, (step, size, gap) in enumerate(steps):
        now += gap
        if step == "offer" and queue.offer(number, size, now) is None:
            taken.append(number)
        elif step == "drain":
            out += queue.drain()
        elif step == "expire":
            out += queue.expire(now)
        assert len(queue) <= 3
        assert queue.held_bytes == budget.used_bytes <= 100
    assert out + queue.drain() == taken


def test_one_can_be_taken_out_of_the_middle() -> None:
    """Its room is free at once; the others keep their order and their time."""
    budget = HoldBudget(150)
    queue: HoldQueue[str] = HoldQueue(LIMITS, budget)
    for number, name in enumerate("abc"):
        assert queue.offer(name, 10, float(number)) is None
    assert queue.drop("b")
    assert not queue.drop("b")
    assert (queue.held_bytes, budget.used_bytes, budget.count) == (20, 20, 2)
    assert queue.offer("d", 80, 3.0) is None
    assert queue.expire(15.0) == ["a"]
    assert queue.drain() == ["c", "d"]
    assert (queue.held_bytes, budget.used_bytes, budget.count) == (0, 0, 0)


def test_the_oldest_that_waits_says_since_when() -> None:
    """Whatever left the queue before it, and nothing when all are gone."""
    queue: HoldQueue[int] = HoldQueue(HoldLimits(age_s=15))
    assert queue.oldest_since() is None
    for item in (1, 2, 3):
        queue.offer(item, 10, 100.0 + item)
    assert queue.oldest_since() == 101.0
    queue.drop(1)
    assert queue.oldest_since() == 102.0
    queue.expire(117.5)
    assert queue.oldest_since() == 103.0
    queue.drain()
    assert queue.oldest_since() is None
