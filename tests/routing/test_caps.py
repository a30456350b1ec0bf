"""Connections of strangers and of proved peers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import CapSettings, ConnectionCaps, Refusal

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
