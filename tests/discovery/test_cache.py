"""The cache: how long, how much, and who is pushed out."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from imxrouter.discovery.answers import Answer, Status
from imxrouter.discovery.cache import (
    FAILURE_TTL_S,
    MAX_NEGATIVE_TTL_S,
    MAX_TTL_S,
    MIN_TTL_S,
    STALE_S,
    AnswerCache,
    CacheLimits,
    zone_of,
)

SMALL = CacheLimits(entries=20, negative_entries=10, entries_per_zone=8)


def records(ttl_s: float = 300) -> Answer:
    """An answer with a record."""
    return Answer(Status.RECORDS, (b"x",), ttl_s=ttl_s)


def held_s(answer: Answer) -> float:
    """For how long an answer is given back."""
    clock = Clock()
    cache = AnswerCache(clock.seconds)
    cache.put("a.example", 1, answer)
    known = cache.get("a.example", 1)
    assert known is not None
    clock.advance(known.ttl_s - 0.5)
    assert cache.get("a.example", 1) is not None
    clock.advance(0.5)
    assert cache.get("a.example", 1) is None
    return known.ttl_s


def test_ttl_has_floor_and_cap() -> None:
    """Between them DNS decides."""
    assert held_s(records(0)) == MIN_TTL_S
    assert held_s(records(300)) == 300
    assert held_s(records(10**6)) == MAX_TTL_S
    assert held_s(Answer(Status.NODATA, ttl_s=10**6)) == MAX_NEGATIVE_TTL_S
    assert held_s(Answer(Status.NXDOMAIN, ttl_s=0)) == MIN_TTL_S
    assert held_s(Answer(Status.FAILURE, ttl_s=99)) == FAILURE_TTL_S


def test_remaining_ttl_shrinks() -> None:
    """An answer from the cache says how long it still holds."""
    clock = Clock()
    cache = AnswerCache(clock.seconds)
    cache.put("a.example", 1, records(300))
    clock.advance(100)
    assert cache.get("a.example", 1) == records(200)


def test_stale_records_outlive_failures_for_a_bounded_time() -> None:
    """A failure hides them from `get`, not from `stale`."""
    clock = Clock()
    cache = AnswerCache(clock.seconds)
    cache.put("a.example", 1, records(300))
    clock.advance(301)
    cache.put("a.example", 1, Answer(Status.FAILURE))
    known = cache.get("a.example", 1)
    assert known is not None
    assert known.status is Status.FAILURE
    stale = cache.stale("a.example", 1)
    assert stale is not None
    assert (stale.rdatas, stale.ttl_s) == ((b"x",), FAILURE_TTL_S)
    clock.advance(STALE_S)
    assert cache.stale("a.example", 1) is None


def test_clean_no_ends_staleness() -> None:
    """What the domain took back is not served."""
    cache = AnswerCache(Clock().seconds)
    cache.put("a.example", 1, records())
    cache.put("a.example", 1, Answer(Status.NODATA, ttl_s=60))
    assert cache.stale("a.example", 1) is None
    cache.put("a.example", 1, records())
    known = cache.get("a.example", 1)
    assert known is not None
    assert known.status is Status.RECORDS


def test_a_zone_has_a_cap() -> None:
    """The ninth name of a zone pushes out its first."""
    cache = AnswerCache(Clock().seconds, SMALL)
    for n in range(9):
        cache.put(f"n{n}.a.example", 1, records())
    assert len(cache) == 8
    assert cache.get("n0.a.example", 1) is None


def test_a_flood_pushes_out_only_itself() -> None:
    """A stranger's names, existing or not, do not displace those of others."""
    cache = AnswerCache(Clock().seconds, SMALL)
    for n in range(10):
        cache.put(f"host{n}.good{n}.example.com", 1, records())
        cache.put(f"friend{n}.org", 1, records())
    for n in range(500):
        cache.put(f"n{n}.stranger.net", 1, records())
        cache.put(f"n{n}.invalid{n}", 1, Answer(Status.NXDOMAIN, ttl_s=300))
    assert len(cache) <= 30
    assert all(cache.get(f"friend{n}.org", 1) is not None for n in range(1, 10))


def test_full_cache_drops_expired_first() -> None:
    """What nobody may use any more goes before what is live."""
    clock = Clock()
    cache = AnswerCache(clock.seconds, SMALL)
    for n in range(10):
        cache.put(f"old{n}.org", 1, records(20))
    for n in range(10):
        cache.put(f"young{n}.org", 1, records(300))
    clock.advance(30)
    for n in range(10):
        cache.put(f"new{n}.org", 1, records(300))
    assert all(cache.get(f"{kind}{n}.org", 1) for kind in ("young", "new") for n in range(10))


def test_forget_and_clear() -> None:
    """Both kinds go."""
    cache = AnswerCache(Clock().seconds)
    cache.put("a.example", 1, records())
    cache.put("a.example", 1, Answer(Status.FAILURE))
    cache.forget("a.example", 1)
    assert len(cache) == 0
    cache.put("a.example", 1, records())
    cache.clear()
    assert cache.get("a.example", 1) is None


def test_zone_of() -> None:
    """Two labels, three under suffixes like co.uk."""
    assert zone_of("_imx.a.b.example") == "b.example"
    assert zone_of("x.y.shop.co.uk") == "shop.co.uk"
    assert zone_of("example") == "example"
    assert zone_of("a.example") == "a.example"
    assert zone_of("x.hoster.example") == "hoster.example"


names = st.builds("{}.{}.org".format, st.integers(0, 30), st.integers(0, 5))
answers = st.builds(Answer, st.sampled_from(Status), ttl_s=st.floats(0, 5000))


@given(st.lists(st.tuples(names, answers, st.floats(0, 50)), max_size=200))
def test_bounds_hold_always(puts: list[tuple[str, Answer, float]]) -> None:
    """Neither table, nor a zone in it, grows over its cap; what was just put is there."""
    clock = Clock()
    cache = AnswerCache(clock.seconds, SMALL)
    for name, answer, pause_s in puts:
        cache.put(name, 1, answer)
        assert cache.get(name, 1) is not None
        assert len(cache) <= SMALL.entries + SMALL.negative_entries
        for table in (cache._records, cache._noes):
            sizes = [len(entries) for entries in table._zones.values()]
            assert sum(sizes) == len(table)
            assert max(sizes, default=0) == table._largest <= SMALL.entries_per_zone
            assert len(table._expiry) <= 2 * table._limit + 17
        clock.advance(pause_s)
