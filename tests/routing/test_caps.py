"""Connections of strangers and of proved peers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.buckets import KEYS_AT_MOST, Buckets
from imxrouter.routing.caps import CapSettings, ConnectionCaps, ConnectionRates, Refusal
from imxrouter.routing.limits import Rate
from imxrouter.routing.prefixes import REMEMBERED, address_keys

D, E = Domain("d.example"), Domain("e.example")


def reason(refusal: Refusal | None) -> Reason | None:
    """Why, and that the time to wait is told."""
    assert refusal is None or refusal.retry_after_s > 0
    return None if refusal is None else refusal.reason


def test_strangers_are_capped_by_address_network_and_in_all() -> None:
    """An IPv6 host counts by its /64, an IPv4 one in IPv6 clothes as itself."""
    caps = ConnectionCaps(CapSettings(per_host=2, per_prefix=3, strangers=5))
    tries = [
        ("192.0.2.1", None), ("::ffff:192.0.2.1", None), ("192.0.2.1", Reason.OVER_CAP),
        ("192.0.2.2", None), ("192.0.2.3", Reason.OVER_CAP),
        ("2001:db8::1", None), ("2001:db8::2", None), ("198.51.100.1", Reason.OVER_CAP),
    ]  # fmt: skip
    assert [reason(caps.opened(link, ip)) for link, (ip, _) in enumerate(tries)] == [
        want for _, want in tries
    ]
    caps.closed(0)
    assert caps.opened(100, "192.0.2.3") is None


def test_a_proof_makes_room_for_strangers_and_counts_for_its_domain() -> None:
    """Each proved domain of a link counts; claims do not."""
    caps = ConnectionCaps(CapSettings(per_host=1, per_peer=1, per_peer_own={"e.example": 2}))
    assert caps.opened(1, "192.0.2.1") is None
    assert reason(caps.opened(2, "192.0.2.1")) is Reason.OVER_CAP
    assert caps.proved(1, D) is None
    assert caps.proved(1, D) is None
    assert caps.proved(1, E) is None
    assert caps.opened(2, "192.0.2.1") is None
    assert reason(caps.proved(2, D)) is Reason.OVER_CAP
    assert caps.strangers == 1
    assert caps.proved(2, E) is None
    assert (caps.links_of(D), caps.links_of(E)) == (1, 2)
    caps.closed(1)
    assert caps.proved(2, D) is None


def test_a_link_whose_proofs_end_is_a_strangers_again() -> None:
    """And what is not counted is let through."""
    caps = ConnectionCaps()
    caps.opened(1, "192.0.2.1")
    caps.proved(1, D)
    caps.unproved(1, E)
    caps.unproved(1, D)
    assert (caps.strangers, caps.links_of(D)) == (1, 0)
    assert caps.proved(7, D) is None
    caps.unproved(7, D)
    caps.closed(7)
    with pytest.raises(LocalMisuse):
        caps.opened(1, "192.0.2.9")


STEPS = st.tuples(
    st.sampled_from(["open", "prove", "unprove", "close"]),
    st.integers(0, 5),
    st.sampled_from([D, E]),
    st.integers(1, 3),
)


@given(st.lists(STEPS, max_size=60))
def test_counts_return_to_nothing(steps: list[tuple[str, int, Domain, int]]) -> None:
    """Whatever happens in between, nothing stays counted when all is closed, and no cap is passed."""
    caps = ConnectionCaps(CapSettings(per_host=2, per_prefix=4, strangers=4, per_peer=2))
    links = set[int]()
    for step, link, domain, host in steps:
        if step == "open" and link not in links and caps.opened(link, f"192.0.2.{host}") is None:
            links.add(link)
        elif step == "prove":
            caps.proved(link, domain)
        elif step == "unprove":
            caps.unproved(link, domain)
        elif step == "close":
            caps.closed(link)
            links.discard(link)
        assert caps.links_of(D) <= 2
    for link in links:
        caps.closed(link)
    assert (caps.strangers, caps.links_of(D), caps.links_of(E)) == (0, 0, 0)
    assert not caps._hosts
    assert not caps._prefixes


def test_an_address_and_a_network_may_connect_so_often() -> None:
    """A minute's worth at once, then by the rate; a refused one costs nothing; IPv6 by /64 and /48."""
    rates = ConnectionRates(60, 90)
    assert [rates.opened("192.0.2.1", 0.0) for _ in range(60)] == [None] * 60
    refused = rates.opened("192.0.2.1", 0.0)
    assert refused is not None
    assert (refused.limit, refused.retry_after_s) == (Limit.CONNECTION_RATE_ADDRESS, 1)
    assert rates.opened("192.0.2.1", 1.01) is None
    assert [rates.opened("192.0.2.2", 1.01) for _ in range(30)] == [None] * 30
    refused = rates.opened("192.0.2.2", 1.01)
    assert refused is not None
    assert refused.limit is Limit.CONNECTION_RATE_NETWORK
    assert [rates.opened(f"2001:db8:1:1::{n:x}", 0.0) for n in range(60)] == [None] * 60
    refused = rates.opened("2001:db8:1:1:ffff::1", 0.0)
    assert refused is not None
    assert refused.limit is Limit.CONNECTION_RATE_ADDRESS
    assert [rates.opened(f"2001:db8:1:{n:x}::1", 0.0) for n in range(2, 32)] == [None] * 30
    refused = rates.opened("2001:db8:1:99::1", 0.0)
    assert refused is not None
    assert refused.limit is Limit.CONNECTION_RATE_NETWORK


def test_the_last_places_are_for_few_and_for_the_known() -> None:
    """Of 64: 48 for all, eight more for networks that have few, the rest where a domain was proved before."""
    caps = ConnectionCaps(CapSettings(per_host=100, per_prefix=100, strangers=64))
    numbers = iter(range(1000))
    assert [caps.opened(next(numbers), "192.0.2.1") for _ in range(48)] == [None] * 48
    refused = caps.opened(next(numbers), "192.0.2.1")
    assert refused is not None
    assert refused.limit is Limit.STRANGERS
    assert [caps.opened(next(numbers), f"198.51.{n // 4}.1") for n in range(8)] == [None] * 8
    assert caps.opened(next(numbers), "203.0.113.1") is not None
    assert [caps.opened(next(numbers), "192.0.2.1", known=True) for _ in range(8)] == [None] * 8
    assert caps.opened(next(numbers), "192.0.2.1", known=True) is not None


def test_an_address_is_known_for_a_month() -> None:
    """From which a domain was proved."""
    rates = ConnectionRates()
    assert not rates.is_known("192.0.2.1", 0.0)
    rates.proved("192.0.2.1", 0.0)
    assert rates.is_known("192.0.2.1", 29 * 86_400.0)
    assert not rates.is_known("192.0.2.2", 0.0)
    rates.sweep(31 * 86_400.0)
    assert not rates.is_known("192.0.2.1", 31 * 86_400.0)


def test_all_links_together_have_a_cap() -> None:
    """Proved ones too."""
    caps = ConnectionCaps(CapSettings(total=3))
    for number in range(3):
        assert caps.opened(number, f"192.0.{number}.1") is None
        assert caps.proved(number, Domain(f"d{number}.example")) is None
    refused = caps.opened(9, "192.0.9.1")
    assert refused is not None
    assert refused.limit is Limit.LINKS


def test_so_much_is_remembered_of_addresses() -> None:
    """Whoever comes from ever new addresses: what is kept of them ends at two numbers, and after a time."""
    for number in range(REMEMBERED + 100):
        address_keys(f"10.1.{number >> 8}.{number & 255}")
    assert address_keys.cache_info().currsize == REMEMBERED
    rates = Buckets(Rate.of(5.0, 300))
    for number in range(KEYS_AT_MOST):
        rates.take(number.to_bytes(4, "big"), 0.0)
    assert rates.wait(b"one more", 0.0) > 0.0
    rates.sweep(1.0)
    assert len(rates) == 0
