"""Windows of peers: what a report sums is what was counted, in bounded memory (FCC-7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model import quality
from imxrouter.model.operations import Kind
from imxrouter.model.quality import CELLS, SEEN_MS, Cells, End
from imxrouter.routing.zones import zone_of
from imxrouter.telemetry.windows import REST, RINGS, SILENT_S, ZONE_PART, Kept, QualityBook, decode, encode

START = 1_799_999_700.0  # begins a bucket of five minutes, none of an hour
B = b"b.example"
HOUR, DAY, MONTH = 3600.0, 86_400.0, 30 * 86_400.0
MESSAGES = quality.ended(False, Kind.MESSAGE, End.DELIVERED)


def total(book: QualityBook, domain: bytes, span_s: float, now: float) -> Cells:
    """What a report sums."""
    windows = book.find(domain, now)
    assert windows is not None
    return windows.since(span_s, now).cells


def test_old_counts_leave_the_windows_one_after_the_other() -> None:
    """An hour, a day, a month; the begin that is told is that of the first bucket."""
    book, now = QualityBook(), START
    book.add(B, {MESSAGES: 7}, now)
    for later, counts in (
        (600.0, (7, 7, 7)),
        (7200.0, (0, 7, 7)),
        (2.5 * DAY, (0, 0, 7)),
        (40 * DAY, (0, 0, 0)),
    ):
        seen = tuple(total(book, B, span_s, now + later).get(MESSAGES, 0) for span_s in (HOUR, DAY, MONTH))
        assert seen == counts
    windows = book.find(B, now + 40 * DAY)
    assert windows is not None
    assert windows.since(HOUR, now + 40 * DAY).begin == START + 40 * DAY - HOUR


def test_the_period_begins_when_the_peer_was_first_seen() -> None:
    """Nothing is said of the time before."""
    book = QualityBook()
    book.add(B, {MESSAGES: 1}, START + 124, START + 123)
    book.add(B, {MESSAGES: 1}, START + 150, START + 149)
    windows = book.find(B, START + 200)
    assert windows is not None
    assert windows.since(DAY, START + 200).begin == START + 123


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    """The open bucket stays open until the clock is there again."""
    book = QualityBook()
    book.add(B, {MESSAGES: 1}, START + 1000)
    book.add(B, {MESSAGES: 1}, START)
    book.add(B, {MESSAGES: 1}, START + 1001)
    assert total(book, B, HOUR, START + 1001) == {MESSAGES: 3}


def test_a_clock_that_was_wrong_for_a_while_spoils_nothing() -> None:
    """A day ahead, and set right again: an hour's figures are an hour's, from then on."""
    book = QualityBook()
    book.add(B, {MESSAGES: 1}, START + DAY)
    book.add(B, {MESSAGES: 2}, START)
    windows = book.find(B, START)
    assert windows is not None
    assert windows.since(HOUR, START).begin <= START
    book.add(B, {MESSAGES: 4}, START + 2 * HOUR)
    assert total(book, B, HOUR, START + 2 * HOUR) == {MESSAGES: 4}
    assert total(book, B, DAY, START + 2 * HOUR) == {MESSAGES: 7}


amounts = st.dictionaries(st.integers(0, CELLS - 1), st.integers(1, 10**9), min_size=1, max_size=5)
moves = st.lists(st.tuples(st.floats(0, 5000), amounts), max_size=60)


@given(moves)
def test_windows_conserve(story: list[tuple[float, Cells]]) -> None:
    """The sum is what was counted, shorter windows hold no more, and so it is after a restart."""
    kept: dict[tuple[int, int], Kept] = {}
    book = QualityBook(
        keep=lambda one: kept.__setitem__((one.ring, one.number), one) if one.domain == B else None
    )
    now, counted = START, dict[int, int]()
    book.add(B, {SEEN_MS: 1}, now)
    quality.add(counted, {SEEN_MS: 1})
    for passed_s, cells in story:
        now += passed_s
        book.add(B, cells, now)
        quality.add(counted, cells)
    assert total(book, B, MONTH, now) == counted
    for shorter in (HOUR, DAY):
        part = total(book, B, shorter, now)
        assert all(count <= counted[cell] for cell, count in part.items())
    book.keep_all()
    again = QualityBook()
    assert all(again.restore(one, now) for one in kept.values() if one.expires_at > now)
    for span_s in (HOUR, DAY, MONTH):
        assert total(again, B, span_s, now) == total(book, B, span_s, now)
    first, second = book.find(B, now), again.find(B, now)
    assert first is not None
    assert second is not None
    assert first.since(MONTH, now).begin == second.since(MONTH, now).begin
    again.add(B, {MESSAGES: 1}, now)
    quality.add(counted, {MESSAGES: 1})
    assert total(again, B, MONTH, now) == counted


def test_peers_without_a_place_are_the_rest() -> None:
    """A busy peer is not pushed out; the one that was silent longest is."""
    book = QualityBook([b"always.example"], most=2)
    for number, domain in enumerate((b"a.example", b"c.example", b"d.example", b"always.example")):
        book.add(domain, {MESSAGES: number + 1}, START)
    assert total(book, REST, HOUR, START) == {MESSAGES: 3}
    assert sorted(book.domains()) == [b"a.example", b"always.example", b"c.example"]
    later = START + SILENT_S + 100
    book.add(b"c.example", {MESSAGES: 1}, later)
    book.add(b"d.example", {MESSAGES: 5}, later)
    assert sorted(book.domains()) == [b"always.example", b"c.example", b"d.example"]


def test_memory_is_bounded() -> None:
    """However long a peer is busy, so many buckets and no more."""
    book, now = QualityBook(), START
    for _ in range(3000):
        now += 1800.0
        book.add(B, {MESSAGES: 1}, now)
    windows = book.find(B, now)
    assert windows is not None
    assert [len(ring.closed) <= keep + 1 for ring, (_, keep) in zip(windows.rings, RINGS, strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize(
    "value", [b"", b"\xff", encode({}, 0.0) + b"x", encode({CELLS: 1}, 0.0), encode({1: -1}, 0.0)]
)
def test_what_cannot_be_read_is_refused(value: bytes) -> None:
    """Other layouts, other cells, other bytes."""
    assert decode(value) is None
    assert not QualityBook().restore(Kept(B, 300, 1, value, 0.0), START)


def test_buckets_are_closed_though_nothing_comes() -> None:
    """Some in each step, so that what is kept is no older than a bucket."""
    kept: list[Kept] = []
    book = QualityBook(keep=kept.append)
    for number in range(30):
        book.add(b"d%d.example" % number, {MESSAGES: 1}, START)
    for _ in range(4):
        book.step(START + 301)
    assert {(one.ring, one.number) for one in kept} >= {(300, int(START // 300)), (3600, int(START // 3600))}
    assert len({one.domain for one in kept}) == 30


def test_one_owner_takes_no_more_than_his_part() -> None:
    """By however many names: others find places, and his go on when the oldest of them has gone."""
    book, now = QualityBook(most=2 * ZONE_PART, zone=zone_of), START
    for number in range(50):
        book.add(b"d%d.owner.example" % number, {MESSAGES: 1}, now + number)
    assert book.domains() == [b"d0.owner.example", b"d1.owner.example"]
    assert total(book, REST, HOUR, now) == {MESSAGES: 48}
    for number in range(2 * ZONE_PART - 2):
        book.add(b"p%d.test" % number, {MESSAGES: 1}, now + SILENT_S)
    assert len(book.domains()) == 2 * ZONE_PART
    later = now + SILENT_S + 60.0
    book.add(b"late.test", {MESSAGES: 1}, later)
    assert b"late.test" in book.domains()
    assert b"d0.owner.example" not in book.domains()
    book.add(b"d9.owner.example", {MESSAGES: 1}, later)
    assert b"d9.owner.example" in book.domains()
