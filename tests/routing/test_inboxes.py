"""Messages to one recipient: known and strange senders, calm domains, a table that nobody can fill."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imxrouter.routing.inboxes import NO_TERMS, Inboxes, InboxRate
from imxrouter.switch.ports import Route


def test_known_senders_get_the_burst_and_the_rate() -> None:
    """Ten at once, then five a second."""
    table, (known, _, _) = Inboxes(1024), InboxRate(5, 10, 2).terms()
    place = table.place(b"bob@x")
    assert sum(not table.admit(place, 10.0, known) for _ in range(20)) == 10
    assert 0 < table.admit(place, 10.0, known) <= 0.2
    assert not table.admit(place, 10.21, known)


def test_strangers_never_shut_out_the_known() -> None:
    """They get half of the burst and their own rate; the rest stays."""
    table, (known, strangers, _) = Inboxes(1024), InboxRate(10, 20, 2).terms()
    place = table.place(b"bob@x")
    assert sum(not table.admit(place, 0.0, strangers) for _ in range(50)) == 1
    assert sum(not table.admit(place, 0.0, known) for _ in range(50)) >= 9
    now, passed = 0.0, 0
    while now < 60:
        now += 0.05
        passed += not table.admit(place, now, strangers)
    assert passed <= 2 * 60 + 2
    assert sum(not table.admit(place, now, known) for _ in range(50)) >= 9


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=200), st.floats(1, 50), st.integers(1, 50)
)
def test_never_more_than_rate_and_burst(steps: list[tuple[float, bool]], per_s: float, burst: int) -> None:
    """Of all together."""
    table, terms, now, passed = Inboxes(16), InboxRate(per_s, burst, per_s / 2).terms(), 0.0, 0
    for gap, strange in steps:
        now += gap
        passed += not table.admit(3, now, terms[strange])
    assert passed <= burst + now * per_s + 1.01


def test_nobody_can_fill_the_table() -> None:
    """It has the same size for ever; invented recipients share places."""
    table, (known, _, _) = Inboxes(64), InboxRate(5, 10).terms()
    for number in range(10_000):
        table.admit(table.place(b"u%d@x" % number), 0.0, known)
    assert len(table.due) == 64
    assert table.busy(0.0) == 64
    assert table.busy(1e9) == 0


def test_a_calm_domain_is_not_looked_at() -> None:
    """Fewer messages to all of it than one recipient may get; a busy one is, and becomes calm again."""
    route = Route([], 0, 1000)
    route.inbox = InboxRate(200, 1000, 100).terms()

    def came(count: int, from_s: float, per_s: float) -> int:
        looked = 0
        for number in range(count):
            now = from_s + number / per_s
            route.calm -= 1
            looked += route.calm < 0 and (now < route.watched_until or not route.is_calm(now))
        return looked

    assert came(2000, 0.0, 90.0) == 0
    assert came(2000, 100.0, 1000.0) > 1400
    assert came(2000, 200.0, 90.0) < 1000
    assert came(2000, 300.0, 90.0) == 0


def test_a_small_burst_is_always_looked_at_and_no_rate_never() -> None:
    """What is exact stays exact."""
    route = Route([], 0, 1000)
    route.inbox = InboxRate(5, 10).terms()
    assert not any(route.is_calm(float(now)) for now in range(0, 1000, 100))
    route.inbox = NO_TERMS
    route.calm = -1
    assert route.is_calm(2000.0)
