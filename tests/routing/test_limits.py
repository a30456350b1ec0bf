"""Rates: the algorithm, the senders' table, and that both paths agree."""

from __future__ import annotations

import math
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from imxrouter.routing.limits import (
    MAX_WAIT_S,
    TABLE_FULL_WAIT_S,
    WARN_FROM,
    Rate,
    SenderRates,
    gcra_next,
    gcra_wait,
)


def rates(per_s: float = 1.0, burst: int = 3, **bounds: int) -> SenderRates:
    """A table for one message a second, three at once."""
    rate = Rate.of(per_s, burst)
    return SenderRates(rate.interval_s, rate.burst_s, **bounds)


def hot(table: SenderRates, key: bytes, now: float) -> float:
    """Admit as the switch does: in line where the key is known and allowed, else by `admit`."""
    arrival = table.arrivals.get(key)
    if arrival is None or arrival - now > table.burst_s * WARN_FROM:
        return max(0.0, table.admit(key, key.rpartition(b"@")[2], now))
    table.arrivals[key] = max(arrival, now) + table.interval_s
    return 0


def test_a_burst_then_the_rate() -> None:
    """Three at once, then one a second; the wait is exact; a refused one costs nothing."""
    table = rates()
    assert [hot(table, b"a@x", 10) == 0 for _ in range(5)] == [True, True, True, False, False]
    assert math.isclose(hot(table, b"a@x", 10), 1, abs_tol=0.01)
    assert hot(table, b"a@x", 11) == 0
    assert hot(table, b"a@x", 11) > 0
    assert hot(table, b"b@x", 11) == 0


@given(st.floats(0.1, 1000), st.integers(1, 100))
def test_the_whole_burst_passes(per_s: float, burst: int) -> None:
    """Rounding takes nobody's last message, and gives no extra one."""
    table = rates(per_s, burst)
    assert sum(hot(table, b"a@x", 1e6) == 0 for _ in range(burst + 3)) == burst


@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.2, 5), st.integers(1, 10))
def test_never_more_than_rate_and_burst(gaps: list[float], per_s: float, burst: int) -> None:
    """In any window, whichever path is taken; who waits as told is let in."""
    table, now, passed = rates(per_s, burst), 0.0, list[float]()
    for gap in gaps:
        now += gap
        wait = hot(table, b"a@x", now)
        if not wait:
            passed.append(now)
        else:
            now += wait + 1e-6
            assert hot(table, b"a@x", now) == 0
            passed.append(now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + (passed[last] - passed[first]) * per_s + 0.01


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0.01, 10), st.floats(0, 10))
def test_the_functions_agree(arrival: float, now: float, interval_s: float, burst_s: float) -> None:
    """After the wait it is allowed, and an arrival never goes back."""
    wait = gcra_wait(arrival, now, burst_s)
    assert gcra_wait(arrival, now + wait, burst_s) < 1e-9
    assert gcra_next(arrival, now, interval_s) > arrival


def test_a_domain_has_its_share_and_takes_nobody_elses() -> None:
    """Its new senders wait; those known go on; other domains do not notice."""
    table = rates(per_domain=10)
    for number in range(10):
        assert hot(table, b"%d@x.example" % number, 0) == 0
    assert hot(table, b"new@x.example", 0) == TABLE_FULL_WAIT_S
    assert hot(table, b"0@x.example", 0) == 0
    assert hot(table, b"a@y.test", 0) == 0
    assert (len(table.arrivals), table.table_full) == (11, 1)


def test_a_zone_has_its_share() -> None:
    """Many domains under one name fill an eighth."""
    table = rates(limit=80)
    for number in range(50):
        hot(table, b"a@x%d.attacker.example" % number, 0)
    assert len(table.arrivals) == 10
    assert hot(table, b"a@honest.test", 0) == 0


def test_sweeping_forgets_what_is_full_again_in_slices() -> None:
    """And frees the shares."""
    table = rates(per_domain=100)
    for number in range(100):
        hot(table, b"%d@x" % number, 0)
    hot(table, b"0@x", 0)
    assert hot(table, b"new@x", 0) > 0
    assert [table.sweep(1.5, most=40) for _ in range(3)] == [40, 40, 19]
    assert list(table.arrivals) == [b"0@x"]
    assert hot(table, b"new@x", 1.5) == 0
    assert table.sweep(100) + table.sweep(100) == 2
    assert [hot(table, b"later%d@x" % number, 300) for number in range(101)] == [0] * 100 + [
        TABLE_FULL_WAIT_S
    ]


def test_sweeping_gives_back_the_share_of_a_zone() -> None:
    """Of all its domains, however many senders of each are forgotten at one time."""
    table = rates(per_domain=100, limit=80)
    senders = [b"%d@x%d.attacker.example" % (number, number % 3) for number in range(10)]
    for _ in range(3):
        assert [hot(table, key, 0) for key in senders] == [0] * 10
        assert hot(table, b"one-more@x0.attacker.example", 0) == TABLE_FULL_WAIT_S
        assert table.sweep(100) == 10
    assert not table.arrivals


def test_a_new_sender_of_a_domain_that_may_send_nothing_is_refused() -> None:
    """Nobody knows him, and still his allowance is none."""
    nothing = Rate.of(0, 5)
    table = rates()
    assert table.admit(b"a@x", b"x", 0.0, nothing.interval_s, nothing.burst_s) == MAX_WAIT_S


def test_exceptions_have_a_rate_of_their_own() -> None:
    """By address, by domain, and at once when they are set."""
    table = rates()
    hot(table, b"a@x", 0)
    table.set_exceptions({b"a@x": Rate.of(1, 10), b"y": Rate.of(1, 1), b"mute@x": Rate.of(0, 5)})
    assert b"a@x" not in table.arrivals
    assert sum(hot(table, b"a@x", 0) == 0 for _ in range(20)) == 10
    assert sum(hot(table, b"b@x", 0) == 0 for _ in range(20)) == 3
    assert sum(hot(table, b"b@y", 0) == 0 for _ in range(20)) == 1
    assert hot(table, b"mute@x", 0) == MAX_WAIT_S
    table.sweep(100)
    assert sum(hot(table, b"a@x", 100) == 0 for _ in range(20)) == 10


def test_terms_of_a_domain_can_be_handed_in() -> None:
    """As the switch does with those of the proof."""
    table = rates()
    assert [table.admit(b"a@x", b"x", 0, 10.0, 0.0) for _ in range(2)] == [0.0, 10.0]


def cooling(per_s: float = 1.0, burst: int = 10, cooldown_s: float = 30.0) -> SenderRates:
    """A table whose refused messages count."""
    rate = Rate.of(per_s, burst)
    return SenderRates(rate.interval_s, rate.burst_s, cooldown_s=cooldown_s)


def test_a_sender_is_warned_before_the_limit() -> None:
    """From four fifths of the burst on, with what he has left; the last one has nothing left."""
    table = cooling()
    said = [table.admit(b"a@x", b"x", 0.0) for _ in range(11)]
    assert said[:9] == [0.0] * 8 + [-2.0]
    assert said[9] == -1.0
    assert said[10] > 0
    assert table.admit(b"a@x", b"x", 60.0) == 0.0


def test_who_goes_on_waits_longer_but_not_for_ever() -> None:
    """Each refused message counts as one sent, until the wait is the cool-down; who waits is let in."""
    table = cooling()
    for _ in range(10):
        table.admit(b"a@x", b"x", 0.0)
    waits = [table.admit(b"a@x", b"x", 0.0) for _ in range(50)]
    assert waits[:3] == [
        math.isclose(wait, number + 2, abs_tol=0.01) and wait for number, wait in enumerate(waits[:3])
    ]
    assert math.isclose(waits[-1], 30.0, abs_tol=0.01)
    assert table.admit(b"a@x", b"x", 29.0) > 0
    assert table.admit(b"a@x", b"x", 29.0 + table.admit(b"a@x", b"x", 29.0) + 0.01) <= 0


def test_without_a_cool_down_a_refused_message_costs_nothing() -> None:
    """However many of them there are."""
    table = cooling(cooldown_s=0.0)
    for _ in range(10):
        table.admit(b"a@x", b"x", 0.0)
    waits = [table.admit(b"a@x", b"x", 0.0) for _ in range(50)]
    assert max(waits) == min(waits) < 1.01


@given(st.lists(st.floats(0, 2), max_size=80), st.floats(0.2, 5), st.integers(1, 10))
def test_a_cool_down_never_lets_more_through(gaps: list[float], per_s: float, burst: int) -> None:
    """Nor does it grow beyond its bound."""
    with_it, without, now, passed = cooling(per_s, burst), cooling(per_s, burst, 0.0), 0.0, [0, 0]
    for gap in gaps:
        now += gap
        for at, table in enumerate((with_it, without)):
            wait = table.admit(b"a@x", b"x", now)
            passed[at] += wait <= 0
            assert wait <= (30.0 if at == 0 else 1 / per_s) + 0.01
    assert passed[0] <= passed[1]


def test_an_approved_sender_is_warned_and_cools_down_by_his_own_rate() -> None:
    """As everybody else."""
    table = cooling()
    table.set_exceptions({b"a@x": Rate.of(10, 100)})
    said = [table.admit(b"a@x", b"x", 0.0) for _ in range(400)]
    assert said[:79] == [0.0] * 79
    assert sum(one <= 0 for one in said) == 100
    assert math.isclose(said[-1], 30.0, abs_tol=0.2)


def test_senders_fit_their_budget() -> None:
    """At most 250 bytes each, exceptions and cool-down included: a million in 250 MB (docs/scaling.md)."""
    table, many = cooling(), 20_000
    table.per_domain = many
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(many):
            table.admit(b"user%06d@sending.example" % number, b"sending.example", 0.0)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table.arrivals) == many
    assert (after - before) / many < 250
