"""Overload: what is shed, in which order, and that it does not flap. The clock is handed in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imxrouter.routing.overload import Level, Overload, OverloadSettings

SETTINGS = OverloadSettings(lag_s=0.1, unwritten_bytes=1000, calm_s=2.0)


def test_one_long_turn_changes_nothing_and_two_in_a_row_shed_presence() -> None:
    """A single stall is no overload."""
    overload = Overload(SETTINGS)
    assert overload.measure(5.0, 0, 0.0) is Level.NOTHING
    assert overload.measure(0.0, 0, 0.25) is Level.NOTHING
    assert overload.measure(0.2, 0, 0.5) is Level.NOTHING
    assert overload.measure(0.2, 0, 0.75) is Level.PRESENCE
    assert (overload.times, overload.since) == (1, 0.75)


def test_the_order_is_presence_subscriptions_messages() -> None:
    """One step for two bad measures, and nothing beyond all messages."""
    overload = Overload(SETTINGS)
    seen = [overload.measure(1.0, 0, 0.25 * number) for number in range(20)]
    assert list(dict.fromkeys(seen)) == list(Level)
    assert seen[11:] == [Level.MESSAGES] * 9
    assert Level.NOTHING.word == "nothing is shed"


def test_unwritten_bytes_count_alone() -> None:
    """Whatever the reactor does."""
    overload = Overload(SETTINGS)
    assert [overload.measure(0.0, 1001, number) for number in (0.0, 0.25)][-1] is Level.PRESENCE


def test_it_goes_down_a_step_after_each_calm_time() -> None:
    """Between half of a mark and the mark it stays as it is."""
    overload, now = Overload(SETTINGS), 0.0
    for _ in range(4):
        now += 0.25
        overload.measure(1.0, 0, now)
    assert overload.level is Level.SUBSCRIPTIONS
    for _ in range(40):
        now += 0.25
        assert overload.measure(0.07, 0, now) is Level.SUBSCRIPTIONS
    levels = []
    for _ in range(20):
        now += 0.25
        levels.append(overload.measure(0.01, 0, now))
    assert levels.count(Level.SUBSCRIPTIONS) == 8
    assert levels.count(Level.PRESENCE) == 8
    assert levels[-1] is Level.NOTHING


def test_marks_of_nought_are_not_looked_at() -> None:
    """An operator can switch it off."""
    overload = Overload(OverloadSettings(lag_s=0.0, unwritten_bytes=0))
    assert all(overload.measure(100.0, 1 << 40, number) is Level.NOTHING for number in range(10))


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3000)), max_size=200))
def test_it_moves_by_single_steps_and_comes_back(measures: list[tuple[float, int]]) -> None:
    """Whatever is measured; and a calm time long enough ends it."""
    overload, now, level = Overload(SETTINGS), 0.0, Level.NOTHING
    for lag_s, unwritten in measures:
        now += 0.25
        after = overload.measure(lag_s, unwritten, now)
        assert abs(after - level) <= 1
        level = after
    for _ in range(60):
        now += 0.25
        level = overload.measure(0.0, 0, now)
    assert level is Level.NOTHING
