"""The cache of others' attributes: as long as the owner says, bounded, nobody at another's cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.address import Address
from imxrouter.model.operations import Attribute
from imxrouter.routing.attribute_cache import MAX_AGE_S, NEGATIVE_S, AttributeCache, CacheLimits

ALICE, ALBERT = Address.parse("alice@a.example"), Address.parse("albert@a.example")
BOB, B = Address.parse("bob@b.example"), Address.parse("b.example")


def value(cache: AttributeCache, requester: Address, owner: Address, name: str, now: float) -> bytes | None:
    """What is kept of a name; None where nothing is, or that it does not exist."""
    kept = cache.find(requester, owner, name, now)
    return kept.value if kept is not None else None


def test_a_value_is_kept_as_long_as_its_owner_says_and_no_longer() -> None:
    """To the second."""
    cache = AttributeCache()
    cache.keep(ALICE, BOB, ["alias"], [Attribute("alias", b"Bob", 10)], 100.0)
    assert value(cache, ALICE, BOB, "alias", 109.9) == b"Bob"
    assert cache.find(ALICE, BOB, "alias", 110.0) is None
    assert len(cache) == cache.size_bytes == 0


def test_age_zero_is_not_kept_and_replaces_what_was() -> None:
    """The owner has withdrawn his leave."""
    cache = AttributeCache()
    cache.keep(ALICE, BOB, ["alias"], [Attribute("alias", b"Bob", 10)], 0.0)
    cache.keep(ALICE, BOB, ["alias"], [Attribute("alias", b"Robert", 0)], 1.0)
    assert cache.find(ALICE, BOB, "alias", 1.0) is None


def test_nothing_is_kept_longer_than_a_day() -> None:
    """Whatever the owner says."""
    cache = AttributeCache()
    cache.keep(ALICE, BOB, ["alias"], [Attribute("alias", b"Bob", 0xFFFFFFFF)], 0.0)
    assert value(cache, ALICE, BOB, "alias", MAX_AGE_S - 1) == b"Bob"
    assert cache.find(ALICE, BOB, "alias", MAX_AGE_S) is None


def test_a_users_attributes_are_each_requesters_own() -> None:
    """What one may see says nothing of what another may."""
    cache = AttributeCache()
    cache.keep(ALICE, BOB, ["alias"], [Attribute("alias", b"Bob", 10)], 0.0)
    assert cache.find(ALBERT, BOB, "alias", 1.0) is None
    assert value(cache, Address.parse("ALICE@a.example"), BOB, "alias", 1.0) == b"Bob"


def test_a_domains_attributes_are_common() -> None:
    """One question serves all."""
    cache = AttributeCache()
    cache.keep(ALICE, B, ["idle-timeout"], [Attribute("idle-timeout", b"300", 10)], 0.0)
    assert value(cache, ALBERT, B, "idle-timeout", 1.0) == b"300"


def test_that_there_is_none_is_believed_for_a_short_while() -> None:
    """Of names that were asked for, and of no other."""
    cache = AttributeCache()
    cache.keep(ALICE, BOB, ["alias"], [], 0.0)
    kept = cache.find(ALICE, BOB, "alias", NEGATIVE_S - 1)
    assert kept is not None
    assert kept.value is None
    assert cache.find(ALICE, BOB, "alias", NEGATIVE_S) is None
    assert cache.find(ALICE, BOB, "presence", 0.0) is None


def test_what_was_not_asked_for_and_what_is_malformed_is_not_kept() -> None:
    """An owner cannot fill the cache with what nobody wants, nor with values that are none."""
    cache = AttributeCache()
    bad = Attribute("idle-timeout", b"soon", 60)
    told = [bad, Attribute("software", b"x", 60), Attribute("a b", b"x", 60)]
    cache.keep(ALICE, B, ["idle-timeout"], told, 0.0)
    kept = cache.find(ALICE, B, "idle-timeout", 1.0)
    assert kept is not None
    assert kept.value is None
    assert cache.find(ALICE, B, "software", 1.0) is None
    assert len(cache) == 1


def test_all_names_are_known_until_the_first_of_them_expires() -> None:
    """Then all are asked for again."""
    cache = AttributeCache()
    told = [Attribute("alias", b"Bob", 10), Attribute("b.example/x", b"1", 100)]
    cache.keep(ALICE, BOB, [], told, 0.0)
    assert cache.find_all(ALICE, BOB, 9.0) == (
        Attribute("alias", b"Bob", 1),
        Attribute("b.example/x", b"1", 91),
    )
    assert cache.find_all(ALICE, BOB, 10.0) is None
    assert cache.find_all(ALBERT, BOB, 0.0) is None


def test_all_names_are_not_known_where_one_may_not_be_kept() -> None:
    """Part of a list is no list."""
    cache = AttributeCache()
    cache.keep(ALICE, BOB, [], [Attribute("alias", b"Bob", 0), Attribute("b.example/x", b"1", 9)], 0.0)
    assert cache.find_all(ALICE, BOB, 0.0) is None
    assert value(cache, ALICE, BOB, "b.example/x", 1.0) == b"1"


def test_a_domain_over_its_share_loses_its_own_oldest_entries_only() -> None:
    """Nobody else's (rule 5)."""
    cache = AttributeCache(CacheLimits(entries=40, size_bytes=1_000_000, share=4))
    cache.keep(ALICE, Address.parse("z.example"), ["software"], [Attribute("software", b"z", 60)], 0.0)
    for number in range(30):
        owner = Address.parse(f"u{number}@b.example")
        cache.keep(ALICE, owner, ["alias"], [Attribute("alias", b"x", 60)], 0.0)
    assert len(cache) == 11
    assert cache.find(ALICE, Address.parse("u19@b.example"), "alias", 1.0) is None
    assert value(cache, ALICE, Address.parse("u20@b.example"), "alias", 1.0) == b"x"
    assert value(cache, ALICE, Address.parse("z.example"), "software", 1.0) == b"z"


def test_a_share_is_bounded_in_bytes_too() -> None:
    """And a value larger than a share is not kept at all."""
    cache = AttributeCache(CacheLimits(entries=1000, size_bytes=40_000, share=4))
    for number in range(20):
        cache.keep(
            ALICE, Address(f"u{number}", BOB.domain), ["alias"], [Attribute("alias", b"x" * 1500, 60)], 0.0
        )
    assert cache.size_bytes <= 10_000
    assert len(cache) == 5
    cache.keep(ALICE, BOB, ["presence"], [Attribute("presence", b"x" * 20_000, 60)], 0.0)
    assert cache.find(ALICE, BOB, "presence", 0.0) is None
    assert (len(cache), cache.not_kept) == (5, 1)


def test_a_full_table_keeps_what_it_has_and_takes_more_when_some_expired() -> None:
    """What has expired makes room, looked for once a second at most."""
    cache = AttributeCache(CacheLimits(entries=8, size_bytes=1_000_000, share=4))
    for number in range(8):
        cache.keep(
            ALICE, Address.parse(f"d{number}.example"), ["software"], [Attribute("software", b"x", 10)], 0.0
        )
    cache.keep(ALICE, B, ["software"], [Attribute("software", b"b", 60)], 5.0)
    assert cache.find(ALICE, B, "software", 5.0) is None
    assert (len(cache), cache.not_kept) == (8, 1)
    cache.keep(ALICE, B, ["software"], [Attribute("software", b"b", 60)], 10.0)
    assert value(cache, ALICE, B, "software", 10.0) == b"b"
    assert len(cache) == 1


def test_what_comes_along_is_kept_for_its_recipient() -> None:
    """Unsolicited attributes say nothing of other names (IMX-25)."""
    cache = AttributeCache()
    cache.unsolicited(ALICE, BOB, [Attribute("alias", b"Bob", 10), Attribute("a b", b"x", 10)], 0.0)
    cache.unsolicited(ALICE, BOB, [], 0.0)
    assert value(cache, ALICE, BOB, "alias", 1.0) == b"Bob"
    assert cache.find_all(ALICE, BOB, 1.0) is None
    assert len(cache) == 1


def test_a_domain_can_be_forgotten() -> None:
    """With all its users."""
    cache = AttributeCache()
    cache.keep(ALICE, BOB, ["alias"], [Attribute("alias", b"Bob", 10)], 0.0)
    cache.keep(ALICE, B, ["software"], [Attribute("software", b"b", 10)], 0.0)
    assert cache.forget("b.example") == 2
    assert len(cache) == cache.size_bytes == 0


steps = st.tuples(
    st.integers(0, 3), st.integers(0, 5), st.integers(0, 2), st.integers(0, 900), st.integers(0, 20),
    st.integers(0, 8),
)  # fmt: skip


@given(st.lists(steps, max_size=80))
def test_the_figures_are_those_of_what_is_kept(actions: list[tuple[int, int, int, int, int, int]]) -> None:
    """Bounds hold whatever happens, and nothing is left when all has expired."""
    limits = CacheLimits(entries=10, size_bytes=6_000, share=2)
    cache, now = AttributeCache(limits), 0.0
    for domain, user, requester, size, age, pause in actions:
        owner = Address(f"u{user}" if user else "", Address.parse(f"d{domain}.example").domain)
        who = Address.parse(f"r{requester}@a.example")
        cache.keep(who, owner, ["alias"] if size % 3 else [], [Attribute("alias", b"x" * size, age)], now)
        now += pause
        kept = [one for entries in cache._domains.values() for one in entries.values()]
        assert len(cache) == len(kept) <= limits.entries
        assert cache.size_bytes == sum(one.size_bytes for one in kept) <= limits.size_bytes
        assert set(cache._domains) == set(cache._sizes)
        assert all(entries for entries in cache._domains.values())
    cache.sweep(now + MAX_AGE_S)
    assert len(cache) == cache.size_bytes == 0
