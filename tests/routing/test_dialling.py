"""Dialling at a stranger's word: every limit, and that a stranger silences nobody else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.buckets import Buckets, FairTotal
from imxrouter.routing.caps import Refusal
from imxrouter.routing.dialling import (
    MAX_ATTEMPTS,
    MAX_TARGETS,
    DialLimits,
    DialSettings,
    Permit,
)
from imxrouter.routing.limits import Rate

HONEST = Domain("honest.test")
HONEST_IP, VICTIM_IP = "198.51.100.7", "203.0.113.5"


def attacker(number: int) -> Domain:
    """One of the names an attacker registered, each a zone of its own."""
    return Domain(f"attacker-{number}.test")


def once(limits: DialLimits, ip: str, domain: Domain, now: float = 0, target: str = "") -> Refusal | None:
    """One whole verification; why it was refused, or None."""
    permit = limits.admit(ip, domain, now)
    if isinstance(permit, Refusal):
        return permit
    refused = limits.admit_target(permit, target, now) if target else None
    limits.release(permit)
    return refused


def admitted(limits: DialLimits, ip: str, domain: Domain, now: float = 0, link: int = 0) -> Permit:
    """A permit that must be given."""
    permit = limits.admit(ip, domain, now, link=link)
    assert isinstance(permit, Permit), permit
    return permit


def test_one_source_address_and_network_are_limited() -> None:
    """The network more than the address; the wait is told; time heals."""
    limits = DialLimits(DialSettings(per_host_minute=40, per_prefix_minute=80, per_s=1000))
    got = sum(once(limits, "192.0.2.1", attacker(n)) is None for n in range(100))
    assert got == 10
    refused = once(limits, "192.0.2.1", attacker(1))
    assert refused is not None
    assert (refused.reason, refused.retry_after_s) == (Reason.DIAL_LIMIT, 2)
    assert sum(once(limits, f"192.0.2.{n}", attacker(n)) is None for n in range(2, 100)) == 10
    assert once(limits, "192.0.3.1", attacker(1)) is None
    assert once(limits, "192.0.2.1", attacker(1), now=2) is None


def test_an_ipv6_network_is_a_48() -> None:
    """However many addresses it has."""
    limits = DialLimits(DialSettings(per_host_minute=40, per_prefix_minute=80, per_s=1000))
    got = sum(once(limits, f"2001:db8:1:{n:x}::1", attacker(n)) is None for n in range(200))
    assert got == 20


def test_a_victim_is_hit_at_its_rate_only() -> None:
    """From however many networks; its own network is bounded as well."""
    limits = DialLimits(DialSettings(per_target_minute=60, per_target_prefix_minute=120, per_s=10_000))
    hits = sum(
        once(limits, f"10.{n >> 8}.{n & 255}.1", attacker(n), target=VICTIM_IP) is None for n in range(2000)
    )
    assert hits == 15
    near = sum(
        once(limits, f"11.{n >> 8}.{n & 255}.1", attacker(n), 0.5, f"203.0.113.{n % 250}") is None
        for n in range(2000)
    )
    assert near <= 30 - 15 + 1


def test_one_network_gets_a_quarter_of_a_destination() -> None:
    """So others can still have their claims verified there."""
    limits = DialLimits(DialSettings(per_target_minute=60, per_s=10_000))
    assert sum(once(limits, "192.0.2.1", attacker(n), target=VICTIM_IP) is None for n in range(20)) == 3
    assert once(limits, "198.18.0.1", attacker(1), target=VICTIM_IP) is None


def test_who_calls_from_his_own_address_is_not_shut_out_there() -> None:
    """Attackers from a thousand networks use up the victim's rate; the victim's own claim still passes."""
    limits = DialLimits(DialSettings(per_s=10_000))
    for n in range(1000):
        once(limits, f"10.{n >> 8}.{n & 255}.1", attacker(n), target=HONEST_IP)
    other = once(limits, "192.0.2.1", attacker(5000), target=HONEST_IP)
    assert other is not None
    assert once(limits, HONEST_IP, HONEST, target=HONEST_IP) is None


def test_who_was_proved_before_keeps_a_way_at_destinations_zones_and_in_all() -> None:
    """While strangers fill everything else."""
    limits = DialLimits(DialSettings(per_s=20, per_zone_minute=40))
    limits.proved(HONEST, 0)
    for n in range(3000):
        once(limits, f"10.{n >> 8}.{n & 255}.1", Domain(f"x{n}.honest.test"), 1, target=HONEST_IP)
        once(limits, f"11.{n >> 8}.{n & 255}.1", attacker(n), 1, target=HONEST_IP)
    stranger = once(limits, "192.0.2.1", Domain("y.honest.test"), 1)
    assert stranger is not None
    assert once(limits, "198.51.101.1", HONEST, 1, target=HONEST_IP) is None


def test_a_zone_is_limited_whatever_names_are_invented_under_it() -> None:
    """Its DNS is asked at that rate, a quarter of it by one network; other zones are not touched."""
    limits = DialLimits(DialSettings(per_zone_minute=40, per_s=10_000))
    names = [Domain(f"a{n}.b{n}.zone.test") for n in range(200)]
    assert sum(once(limits, "192.0.2.1", name) is None for name in names) == 2
    assert sum(once(limits, f"10.1.{n}.1", name) is None for n, name in enumerate(names)) == 8
    assert once(limits, "192.0.2.1", HONEST) is None


def test_a_claim_has_few_targets_and_fewer_connections() -> None:
    """And nothing after it is over."""
    limits = DialLimits()
    permit = admitted(limits, "192.0.2.1", HONEST)
    dials = [limits.admit_target(permit, f"203.0.{n}.1", 0) is None for n in range(12)]
    assert sum(dials) == MAX_ATTEMPTS
    assert len(permit.targets) == MAX_TARGETS
    limits.release(permit)
    assert limits.admit_target(permit, "203.0.113.1", 0) is not None


def test_a_connection_that_a_host_of_the_domain_answered_was_not_in_vain() -> None:
    """So that a claim of the last of many hosts is verified; the targets stay bounded."""
    limits = DialLimits()
    permit = admitted(limits, "192.0.2.1", HONEST)
    limits.not_mine(permit)  # over a connection that was there before: nothing to give back
    for n in range(MAX_TARGETS):
        assert limits.admit_target(permit, f"203.0.{n}.1", 0) is None
        limits.not_mine(permit)
    assert limits.admit_target(permit, "203.0.113.1", 0) is not None


def test_one_verification_at_a_time_for_a_link_and_domain() -> None:
    """Another link, or another domain, is not held up."""
    limits = DialLimits()
    permit = admitted(limits, "192.0.2.1", HONEST, link=1)
    assert isinstance(limits.admit("192.0.2.1", HONEST, 0, link=1), Refusal)
    admitted(limits, "192.0.2.1", HONEST, link=2)
    admitted(limits, "192.0.2.1", attacker(1), link=1)
    limits.release(permit)
    limits.release(permit)
    assert limits.running == 2
    admitted(limits, "192.0.2.1", HONEST, link=1)


def test_slow_verifications_of_one_network_leave_room_for_others() -> None:
    """A quarter of what may run at one time."""
    limits = DialLimits(DialSettings(running=8, per_s=10_000))
    got = sum(isinstance(limits.admit("192.0.2.1", attacker(n), 0, link=n), Permit) for n in range(20))
    assert got == 2
    for network in range(3):
        for n in range(4):
            limits.admit(f"198.18.{network}.1", attacker(n), 0, link=100 * network + 200 + n)
    assert limits.running == 8
    assert isinstance(limits.admit("10.1.1.1", HONEST, 0, link=1), Refusal)


def test_a_dns_failure_is_remembered_for_the_domain() -> None:
    """For its TTL, at most a minute."""
    limits = DialLimits()
    limits.failed_dns(HONEST, 9999, Reason.NO_SUCH_DOMAIN, 0)
    refused = once(limits, "192.0.2.1", HONEST, 59)
    assert refused is not None
    assert (refused.reason, refused.retry_after_s) == (Reason.NO_SUCH_DOMAIN, 1)
    assert once(limits, "192.0.2.1", attacker(1), 59) is None
    assert once(limits, "192.0.2.1", HONEST, 60) is None


def test_a_failed_connection_is_remembered_for_address_and_port() -> None:
    """It costs no attempt; the claim's other targets are tried."""
    limits = DialLimits()
    limits.failed_connect(VICTIM_IP, 6490, 0, Reason.CONNECTION_REFUSED)
    permit = admitted(limits, "192.0.2.1", HONEST)
    refused = limits.admit_target(permit, VICTIM_IP, 1, port=6490)
    assert refused is not None
    assert refused.reason is Reason.CONNECTION_REFUSED
    assert limits.admit_target(permit, VICTIM_IP, 1, port=443) is None
    assert limits.admit_target(permit, HONEST_IP, 1, port=6490) is None


def test_a_failed_connection_counts_for_a_second_where_the_domain_was_proved() -> None:
    """A host that is restarted is back by then; it is told that it was put off, not that it failed."""
    limits = DialLimits()
    limits.proved(HONEST, 0)
    limits.failed_connect(HONEST_IP, 6490, 10, Reason.CONNECTION_REFUSED)
    permit = admitted(limits, "192.0.2.1", HONEST, 10.5)
    assert limits.admit_target(permit, HONEST_IP, 10.9, port=6490) is not None
    assert permit.put_off
    assert limits.admit_target(permit, HONEST_IP, 11.1, port=6490) is None
    stranger = admitted(limits, "192.0.2.1", attacker(1), 11.1)
    assert limits.admit_target(stranger, HONEST_IP, 11.1, port=6490) is not None
    assert not stranger.put_off


def test_a_refused_token_silences_only_the_network_it_came_from() -> None:
    """Whoever claims a foreign domain cannot make it unverifiable (cache poisoning)."""
    limits = DialLimits()
    limits.refused_token("192.0.2.1", HONEST, 0)
    refused = once(limits, "192.0.2.99", HONEST, 1)
    assert refused is not None
    assert refused.reason is Reason.DIALBACK_REFUSED
    assert once(limits, HONEST_IP, HONEST, 1) is None
    assert once(limits, "192.0.2.1", attacker(1), 1) is None
    assert once(limits, "192.0.2.1", HONEST, 11) is None


def test_a_remembered_refusal_keeps_its_word() -> None:
    """Who comes again a moment later is told what the first one was told."""
    limits = DialLimits()
    limits.refused_token("192.0.2.1", HONEST, 0, Reason.NOT_MINE)
    refused = once(limits, "192.0.2.1", HONEST, 1)
    assert refused is not None
    assert refused.reason is Reason.NOT_MINE


def test_memories_are_bounded_by_share() -> None:
    """A stranger's failures leave room for others', and push out none."""
    limits = DialLimits(DialSettings(remembered=128))
    limits.failed_dns(HONEST, 60, Reason.NO_SUCH_DOMAIN, 0)
    for n in range(1000):
        limits.failed_dns(Domain(f"x{n}.zone.test"), 60, Reason.NO_SUCH_DOMAIN, 0)
        limits.refused_token("192.0.2.1", attacker(n), 0)
        limits.failed_connect(f"203.0.113.{n % 256}", n, 0)
    assert (len(limits._dns_failed), len(limits._refused), len(limits._connect_failed)) == (17, 16, 16)
    assert once(limits, HONEST_IP, HONEST, 1) is not None


def test_an_honest_claim_passes_a_flood_from_a_few_networks() -> None:
    """Second after second, with every total used up by the flood."""
    limits = DialLimits(DialSettings(per_s=20, per_prefix_minute=100_000, per_host_minute=100_000))
    for second in range(30):
        for n in range(200):
            once(limits, f"10.0.{n % 5}.1", attacker(second * 200 + n), second, target=VICTIM_IP)
        assert once(limits, f"198.51.{second}.1", Domain(f"honest-{second}.test"), second) is None


SOURCES = st.tuples(st.integers(0, 8), st.integers(0, 3))


@settings(max_examples=50)
@given(st.lists(st.tuples(SOURCES, st.integers(0, 30), st.floats(0, 0.3), st.integers(0, 5)), max_size=200))
def test_no_limit_is_passed_and_no_permit_leaks(steps: list[tuple[tuple[int, int], int, float, int]]) -> None:
    """Over any sequence: connections to one address within its rate, totals within theirs."""
    settings_ = DialSettings(per_s=8, per_target_minute=60)
    limits, now, hits, admits = DialLimits(settings_), 0.0, dict[int, list[float]](), list[float]()
    for (network, host), domain, gap, target in steps:
        now += gap
        permit = limits.admit(f"10.0.{network}.{host + 1}", attacker(domain), now)
        if isinstance(permit, Refusal):
            assert permit.retry_after_s > 0
            continue
        admits.append(now)
        if limits.admit_target(permit, f"203.0.113.{target}", now) is None:
            hits.setdefault(target, []).append(now)
        limits.release(permit)
    assert limits.running == 0
    for times in hits.values():
        assert all(n + 1 <= 15 + (at - times[0]) + 1 for n, at in enumerate(times))
    window = max(1.0, 16 / settings_.per_s)
    for start in admits:
        assert sum(start <= at < start + window for at in admits) <= 2 * settings_.per_s * window


def test_a_full_table_makes_newcomers_wait_and_pushes_out_nobody() -> None:
    """Until something in it is full again."""
    table = Buckets(Rate.of(1, 1), limit=2)
    table.take(b"a", 0)
    table.take(b"b", 0)
    assert table.wait(b"c", 0.5) > 0
    assert table.wait(b"a", 0.5) > 0
    assert table.wait(b"c", 1.5) == 0
    assert len(table) == 0


@given(st.integers(1, 30), st.integers(2, 12))
def test_shares_are_fair_after_the_first_window(greedy: int, windows: int) -> None:
    """Greedy groups get equal parts, and a newcomer always gets in."""
    total = FairTotal(100, 0.25)
    for window in range(windows):
        got = dict.fromkeys(range(greedy), 0)
        for _ in range(100):
            for group in range(greedy):
                if not total.wait(b"g%d" % group, window, known=False):
                    total.take(b"g%d" % group, window, known=False)
                    got[group] += 1
        assert total.wait(b"new%d" % window, window, known=False) == 0
        total.take(b"new%d" % window, window, known=False)
        if window:
            assert max(got.values()) - min(got.values()) <= 1
        assert sum(got.values()) <= 75
