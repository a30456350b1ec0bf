"""The wheel: never early, never lost, and it does not fill up."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from imxrouter.routing.wheel import STEP_S, Timed, Wheel

MOMENTS = st.floats(min_value=0, max_value=100)


def test_the_longest_overdue_come_first_and_only_so_many() -> None:
    """What is left over comes the next time."""
    wheel: Wheel[Timed] = Wheel()
    entries = [Timed() for _ in range(10)]
    for number, entry in enumerate(entries):
        wheel.set(entry, 10.0 - number)
    assert wheel.take(10.0, 4) == entries[:5:-1]
    assert wheel.take(10.0, 100) == entries[5::-1]
    assert wheel.next_due() == inf


def test_an_entry_that_is_put_off_or_dropped_does_not_come() -> None:
    """Put off: at the new moment. Dropped: never. Brought forward: once."""
    wheel: Wheel[Timed] = Wheel()
    late, gone, soon = Timed(), Timed(), Timed()
    for entry in (late, gone, soon):
        wheel.set(entry, 5.0)
    wheel.set(late, 8.0)
    wheel.drop(gone)
    wheel.set(soon, 1.0)
    assert wheel.take(1.0, 10) == [soon]
    assert wheel.take(7.9, 10) == []
    assert wheel.take(8.0, 10) == [late]
    assert wheel.take(99.0, 10) == []


def test_what_is_set_and_dropped_for_ever_is_tidied_up() -> None:
    """A million entries that come and go leave a few thousand places."""
    wheel: Wheel[Timed] = Wheel()
    stays = Timed()
    wheel.set(stays, 3600.0)
    for number in range(50_000):
        entry = Timed()
        wheel.set(entry, 3600.0 + number % 7)
        wheel.drop(entry)
    assert sum(map(len, wheel._steps.values())) <= 4097
    assert wheel.take(3600.0, 10) == [stays]


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | MOMENTS, MOMENTS), max_size=60))
def test_each_comes_once_within_a_step_of_its_moment(acts: list[tuple[int, float | None, float]]) -> None:
    """Whatever is set, dropped and taken between, against a plain table."""
    wheel: Wheel[Timed] = Wheel()
    entries = [Timed() for _ in range(6)]
    dues: dict[int, float] = {}
    now = 0.0
    for which, due, later in acts:
        if due is None:
            wheel.drop(entries[which])
            dues.pop(which, None)
        else:
            wheel.set(entries[which], now + due)
            dues[which] = now + due
        now += later / 10
        taken = [entries.index(entry) for entry in wheel.take(now, 100)]
        assert len(taken) == len(set(taken))
        assert all(dues.pop(one) <= now for one in taken)
        assert all(due > now - STEP_S for due in dues.values())
        assert wheel.next_due() <= min(dues.values(), default=inf) + STEP_S
