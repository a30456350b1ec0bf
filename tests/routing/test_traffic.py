"""Requests and bytes a second in layers: leases, tenants, links, and what is remembered."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.limits import Limit
from imxrouter.routing.limits import TABLE_FULL_WAIT_S
from imxrouter.routing.traffic import FREE, LINK_DEBT_S, Meter, Payers, Traffic, TrafficRate


def traffic(
    peer: TrafficRate = FREE,
    served: dict[bytes, tuple[TrafficRate, str]] | None = None,
    tenant: TrafficRate = FREE,
) -> Traffic:
    """Rates of peers, of served domains, and of tenants."""
    known = served or {}
    return Traffic(known.get, lambda _domain: peer, lambda _tenant: tenant)


def ask(meter: Meter, now: float, size: int = 100) -> Limit | None:
    """Do what the hot path does for one request; gives the limit that refuses it."""
    meter.left -= 1
    meter.left_bytes -= size
    if meter.left < 0 or meter.left_bytes < 0:
        over = Payers.renew(meter, size, now)
        if over is not None:
            assert over[1] > 0
            return over[0]
    return None


def test_a_low_rate_is_exact() -> None:
    """The burst at once, then one each interval."""
    meter = traffic(TrafficRate.of(10, 0, 1.0)).senders.of(b"x.example")
    assert sum(ask(meter, 5.0) is None for _ in range(30)) == 10
    assert ask(meter, 5.05) is Limit.PEER_RATE
    assert ask(meter, 5.11) is None
    assert ask(meter, 5.11) is Limit.PEER_RATE


def test_bytes_count_beside_requests() -> None:
    """Whichever is used up first; one request larger than a lease is paid for as a whole."""
    meter = traffic(TrafficRate.of(1000, 10_000, 1.0)).senders.of(b"x.example")
    assert (
        sum(ask(meter, 0.0, 5_000) is None for _ in range(10)) == 3
    )  # two at once, and what a lease is over
    assert ask(meter, 0.3, 100) is Limit.PEER_RATE
    assert ask(meter, 0.7, 100) is None


@given(
    st.lists(st.tuples(st.floats(0, 0.2), st.integers(1, 3000)), max_size=300),
    st.floats(1, 5000),
    st.floats(1000, 1e6),
    st.floats(0.1, 3),
)
def test_never_more_than_rate_burst_and_a_lease(
    steps: list[tuple[float, int]], per_s: float, bytes_per_s: float, burst_s: float
) -> None:
    """From the beginning on; and a request put back costs nothing."""
    rate = TrafficRate.of(per_s, bytes_per_s, burst_s)
    meter, now, requests, size = traffic(rate).senders.of(b"x.example"), 0.0, 0, 0
    for gap, one in steps:
        now += gap
        if ask(meter, now, one) is None:
            requests, size = requests + 1, size + one
        assert meter.left >= 0
        assert meter.left_bytes >= 0
    assert requests <= per_s * (burst_s + now) + rate.lease + 1.01
    assert size <= bytes_per_s * (burst_s + now) + rate.lease_bytes + 3000.01


def test_domains_of_a_tenant_share_its_rate() -> None:
    """What one uses the other has no more; domains of others do not notice."""
    own, tenant = TrafficRate.of(1000, 0, 1.0), TrafficRate.of(20, 0, 1.0)
    served = {b"a.shop": (own, "shop"), b"b.shop": (own, "shop"), b"c.other": (own, "")}
    payers = traffic(served=served, tenant=tenant).senders
    first, second, other = (payers.of(name) for name in served)
    assert sum(ask(first, 0.0) is None for _ in range(15)) == 15
    assert [ask(second, 0.0) for _ in range(10)].count(Limit.TENANT_OUT) == 5
    assert all(ask(other, 0.0) is None for _ in range(500))
    assert [meter.who for meter in payers.all() if meter.limit is Limit.TENANT_OUT] == [b"shop"]


def test_many_domains_of_a_tenant_hold_little_in_advance() -> None:
    """A lease of each is a fiftieth of a second of the tenant's rate, at most."""
    tenant = TrafficRate.of(1000, 0, 1.0)
    served = {b"d%d.shop" % n: (FREE, "shop") for n in range(40)}
    payers = traffic(served=served, tenant=tenant).senders
    passed = sum(ask(payers.of(name), 0.0) is None for name in served)
    assert passed == 40
    assert sum(ask(payers.of(name), 0.0) is None for name in list(served) * 50) >= 900


def test_both_directions_have_their_own() -> None:
    """What is sent to a domain costs nothing of what it may send."""
    rates = traffic(served={b"a.example": (TrafficRate.of(10, 0, 1.0), "")})
    assert sum(ask(rates.receivers.of(b"a.example"), 0.0) is None for _ in range(20)) == 10
    assert sum(ask(rates.senders.of(b"a.example"), 0.0) is None for _ in range(20)) == 10
    assert ask(rates.receivers.of(b"a.example"), 0.0) is Limit.DOMAIN_IN
    assert ask(rates.senders.of(b"a.example"), 0.0) is Limit.DOMAIN_OUT


def test_the_table_of_peers_is_bounded_and_shared() -> None:
    """A zone gets an eighth; who finds no room waits, and is forgotten by nobody."""
    payers = Payers(
        (Limit.DOMAIN_OUT, Limit.TENANT_OUT, Limit.PEER_RATE), lambda _: None, lambda _: FREE,
        lambda _: FREE, limit=80,
    )  # fmt: skip
    for number in range(50):
        payers.of(b"x%d.attacker.example" % number)
    assert len(payers.meters) == 10
    full = payers.of(b"y.attacker.example")
    assert ask(full, 0.0) is Limit.PEERS_REMEMBERED
    assert Payers.renew(full, 0, 0.0) == (Limit.PEERS_REMEMBERED, TABLE_FULL_WAIT_S, b"attacker.example")
    assert ask(payers.of(b"honest.test"), 0.0) is None
    payers.sweep(100.0, 1000)
    assert payers.meters == {}
    assert ask(payers.of(b"y.attacker.example"), 100.0) is None


def test_who_is_over_is_not_forgotten() -> None:
    """Forgetting changes no decision."""
    payers = traffic(TrafficRate.of(10, 0, 1.0)).senders
    while ask(payers.of(b"x.example"), 0.0) is None:
        pass
    payers.sweep(0.5, 10)
    assert ask(payers.of(b"x.example"), 0.05) is Limit.PEER_RATE


def test_a_link_is_refused_and_then_read_slowly() -> None:
    """After its burst; it waits a quarter of a second at most, and insists where it goes on."""
    meter, insisted = Traffic(link_rate=TrafficRate.of(100, 0, 1.0)).of_link(b"link 1"), []
    meter.charge(99, 10_000, 0.0)
    assert meter.until < 0
    for count, now in ((21, 0.0), (200, 0.1), (1, 0.1 + LINK_DEBT_S + 0.02)):
        meter.charge(count, 1_000, now)
        insisted.append((meter.insists, round(meter.until - now, 1)))
    assert insisted[:2] == [(False, 0.2), (True, 0.2)]
    assert math.isclose(LINK_DEBT_S, 0.25)
    assert not insisted[2][0]


def test_what_is_used_is_told() -> None:
    """As a part of the burst."""
    meter = traffic(TrafficRate.of(10, 0, 1.0)).senders.of(b"x.example")
    assert meter.used(0.0) == 0.0
    for _ in range(5):
        ask(meter, 0.0)
    assert 0.4 < meter.used(0.0) < 0.7


def test_what_other_limits_refuse_counts_more_of_the_link() -> None:
    """So that a link that only brings what is refused is soon read slowly."""
    meter = Traffic(link_rate=TrafficRate.of(100, 0, 1.0)).of_link(b"link 1")
    meter.refused = 15
    meter.charge(15, 1_000, 0.0)
    assert meter.until < 0
    meter.refused = 15
    meter.charge(15, 1_000, 0.0)
    assert meter.until > 0
    meter.charge(0, 0, 0.3)
    assert not meter.insists


def test_a_link_pays_when_its_lease_is_used_up() -> None:
    """What is left of the lease costs no look at the rate; what went over it is paid with it."""
    meter = Traffic(link_rate=TrafficRate.of(500, 0, 1.0)).of_link(b"link 1")
    assert meter.left == 10
    meter.left -= 510
    meter.settle(0.0)
    assert (meter.left, meter.watched) == (10, True)
    assert 0 < meter.until <= 0.25
    meter.settle(0.3)
    assert (meter.left, meter.watched) == (10, False)
