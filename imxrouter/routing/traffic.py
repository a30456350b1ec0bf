"""Requests and bytes a second, in layers: of a link, a peer domain, a served domain, a tenant.

A domain takes a *lease* of some requests and bytes from its own rate and from that of its tenant, and pays in
advance: the hot path counts the lease down, and only when it is used up the rates are asked again. A link
pays for its lease when it is used up, for what a run brings is known after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imxrouter.model.limits import Limit
from imxrouter.routing.limits import TABLE_FULL_WAIT_S, Rate, gcra_next, gcra_wait
from imxrouter.routing.rounds import Rounds
from imxrouter.routing.zones import zone_of

#: A lease is a fiftieth of a second of the rate: what many domains of a tenant have in hand is little.
LEASE_S: Final = 0.02
#: Requests in a lease at most.
LEASE_REQUESTS: Final = 1000
#: Bytes in a lease at most: Python's sums are quicker below 2^30.
LEASE_BYTES: Final = (1 << 30) - 1
#: A request that is refused by another limit counts as so many more of its link: refusing costs as much as
#: passing on, and who is refused asks again at once.
REFUSED_COSTS: Final = 4
#: A link that goes on while it is refused waits at most so long.
LINK_DEBT_S: Final = 0.25
#: Part of all entries that the domains of one zone may take together.
ZONE_SHARE: Final = 8

#: Which limit, the seconds to wait, and whose it is.
Over = tuple[Limit, float, bytes]


@dataclass(frozen=True, slots=True)
class TrafficRate:
    """Requests and bytes a second; what is 0 has no limit.

    Attributes:
        requests: as intervals and burst.
        size: the same of bytes.
        lease: requests in one lease.
        lease_bytes: bytes in one lease.
    """

    requests: Rate
    size: Rate
    lease: int
    lease_bytes: int

    @classmethod
    def of(cls, requests_per_s: float, bytes_per_s: float, burst_s: float = 2.0) -> TrafficRate:
        """From lasting rates; `burst_s` is how many seconds' worth may come at once."""
        free = Rate(0.0, float("inf"))
        requests = Rate.of(requests_per_s, int(requests_per_s * burst_s)) if requests_per_s else free
        size = Rate(1 / bytes_per_s, burst_s) if bytes_per_s else free
        lease = int(requests_per_s * LEASE_S) if requests_per_s else LEASE_REQUESTS
        lease_bytes = int(bytes_per_s * LEASE_S) if bytes_per_s else LEASE_BYTES
        return cls(requests, size, min(max(lease, 1), LEASE_REQUESTS), min(max(lease_bytes, 1), LEASE_BYTES))


#: No limit.
FREE: Final = TrafficRate.of(0, 0)


class Meter:
    """What one payer used of one rate.

    Attributes:
        rate: which.
        limit: its name.
        who: the payer.
        above: a rate that is used as well.
        left: requests left of the lease; the hot path takes one off for each.
        left_bytes: bytes left of it; likewise. Where one of them falls below 0, `Payers.renew` is asked.
    """

    __slots__ = ("_bytes_at", "_requests_at", "above", "left", "left_bytes", "limit", "rate", "who")

    def __init__(self, rate: TrafficRate, limit: Limit, who: bytes, above: Meter | None = None) -> None:
        self.rate = rate
        self.limit = limit
        self.who = who
        self.above = above
        self.left = self.left_bytes = 0
        self._requests_at = float("-inf")
        self._bytes_at = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until more is allowed; 0 where it is now."""
        rate = self.rate
        return max(
            gcra_wait(self._requests_at, now, rate.requests.burst_s),
            gcra_wait(self._bytes_at, now, rate.size.burst_s),
        )

    def take(self, requests: int, size: int, now: float) -> None:
        """Use so much."""
        rate = self.rate
        self._requests_at = gcra_next(self._requests_at, now, requests * rate.requests.interval_s)
        self._bytes_at = gcra_next(self._bytes_at, now, size * rate.size.interval_s)

    def forgive(self, debt_s: float, now: float) -> None:
        """Let the wait be at most so long."""
        rate = self.rate
        self._requests_at = min(self._requests_at, now + rate.requests.burst_s + debt_s)
        self._bytes_at = min(self._bytes_at, now + rate.size.burst_s + debt_s)

    def used(self, now: float) -> float:
        """Part of the burst that is used: 0 to 1, more where it waits."""
        parts = [0.0]
        for at, rate in ((self._requests_at, self.rate.requests), (self._bytes_at, self.rate.size)):
            if rate.interval_s and rate.burst_s > 0:
                parts.append((at - now) / rate.burst_s)
        return max(parts)

    def is_full(self, now: float) -> bool:
        """Whether nothing of it is used; then it can be forgotten."""
        return self._requests_at <= now and self._bytes_at <= now


class NoRoom(Meter):
    """Stands for a payer who could not be remembered."""

    __slots__ = ()

    def wait(self, _now: float) -> float:
        """Until there may be room."""
        return TABLE_FULL_WAIT_S


class LinkMeter(Meter):
    """Of one link: after a run of requests a lease is counted down, and seldom the rate is asked.

    It is asked where the lease is used up, and after every run of a link that is over some limit.

    Attributes:
        until: until then every request is refused.
        watched: whether the rate is asked after every run.
        refused: requests of this run that other limits refused.
        troubled: whether there were any in the last run.
        insists: whether so much came in spite of it that the link should be read more slowly.
    """

    __slots__ = ("insists", "refused", "troubled", "until", "watched")

    def __init__(self, rate: TrafficRate, who: bytes) -> None:
        super().__init__(rate, Limit.LINK_RATE, who)
        self.until = float("-inf")
        self.refused = 0
        self.troubled = self.insists = self.watched = False
        self.left, self.left_bytes = rate.lease, rate.lease_bytes

    def read(self, requests: int, size: int, now: float) -> None:
        """So much was read of the link; the rate is asked where the lease is used up, or it is watched."""
        self.left -= requests
        self.left_bytes -= size
        if self.left < 0 or self.left_bytes < 0 or self.watched:
            self.settle(now)

    def settle(self, now: float) -> None:
        """Charge what was used of the lease, and begin a new one."""
        rate = self.rate
        self.charge(rate.lease - self.left, rate.lease_bytes - self.left_bytes, now)
        self.left, self.left_bytes = rate.lease, rate.lease_bytes

    def charge(self, requests: int, size: int, now: float) -> None:
        """So much was read, what was refused too."""
        self.take(requests + REFUSED_COSTS * self.refused, size, now)
        self.troubled = self.refused > 0
        self.refused = 0
        wait = self.wait(now)
        self.watched = self.troubled or wait > 0
        if not wait:
            self.insists = False
            return
        self.insists = now < self.until and wait > LINK_DEBT_S
        self.forgive(LINK_DEBT_S, now)
        self.until = now + min(wait, LINK_DEBT_S)


#: Pays nothing; where nobody is charged.
NOBODY: Final = Meter(FREE, Limit.PEER_RATE, b"")

#: Rate of a domain and the name of its tenant, empty where it has none; None: it is not served here.
Terms = tuple[TrafficRate, str]


class Payers:
    """Domains that pay for requests, one way: those that send, or those that are sent to.

    Attributes:
        meters: of those that used something lately; the hot path reads it.

    Args:
        limits: names of the rates of served domains, of tenants and of peers.
        terms: of a served domain; None where it is not served here.
        peer_rate: rate of a peer domain.
        tenant_rate: rate of a tenant.
        limit: payers remembered at one time.
        home: the name under which all names of a served domain pay.
    """

    def __init__(
        self,
        limits: tuple[Limit, Limit, Limit],
        terms: Callable[[bytes], Terms | None],
        peer_rate: Callable[[bytes], TrafficRate],
        tenant_rate: Callable[[str], TrafficRate],
        limit: int = 100_000,
        home: Callable[[bytes], bytes] = lambda domain: domain,
    ) -> None:
        self.meters: dict[bytes, Meter] = {}
        self._domain_limit, self._tenant_limit, self._peer_limit = limits
        self._terms, self._peer_rate, self._tenant_rate = terms, peer_rate, tenant_rate
        self._limit = limit
        self._home = home
        self._tenants: dict[str, Meter] = {}
        self._zones: dict[str, int] = {}
        self._rounds: Rounds[bytes] = Rounds()

    def of(self, domain: bytes) -> Meter:
        """The meter of a domain; where there is no room for it, one that is used up and not remembered."""
        return self.meters.get(domain) or self._make(domain)

    def look(self, domain: bytes) -> Meter:
        """As `of`, and nothing is remembered."""
        meter = self.meters.get(domain)
        if meter is not None:
            return meter
        terms = self._terms(domain)
        if terms is None:
            if not self._room(zone_of(domain.decode("ascii"))):
                return self._make(domain)  # remembers nothing either
            return Meter(self._peer_rate(domain), self._peer_limit, domain)
        rate, tenant = terms
        above = self._tenants.get(tenant)
        if tenant and above is None:
            above = Meter(self._tenant_rate(tenant), self._tenant_limit, tenant.encode("utf-8"))
        return Meter(rate, self._domain_limit, domain, above)

    def _room(self, zone: str) -> bool:
        share = max(self._limit // ZONE_SHARE, 1)
        return len(self.meters) < self._limit and self._zones.get(zone, 0) < share

    @staticmethod
    def renew(meter: Meter, size: int, now: float) -> Over | None:
        """Take a new lease where the old one does not do for a request that was taken off it.

        Args:
            meter: who pays; one of what is left is below 0.
            size: of the request, bytes.
            now: monotonic seconds.

        Returns:
            None, or which rate is used up; then the request is put back.
        """
        above = meter.above
        for one in (meter, above):
            wait = one.wait(now) if one is not None else 0.0
            if one is not None and wait:
                meter.left += 1
                meter.left_bytes += size
                return one.limit, wait, one.who
        rate = meter.rate
        most, most_bytes = rate.lease, rate.lease_bytes
        if above is not None:
            most, most_bytes = min(most, above.rate.lease), min(most_bytes, above.rate.lease_bytes)
        more = max(most - meter.left - 1, 0)
        more_bytes = max(most_bytes - meter.left_bytes - size, -meter.left_bytes, 0)
        meter.take(more, more_bytes, now)
        if above is not None:
            above.take(more, more_bytes, now)
        meter.left += more
        meter.left_bytes += more_bytes
        return None

    def forget(self, domain: bytes) -> None:
        """What is known of a domain no longer holds: its rate or its tenant changed, or it is gone."""
        meter = self.meters.pop(domain, None)
        if meter is not None and meter.limit is self._peer_limit:
            zone = zone_of(domain.decode("ascii"))
            left = self._zones[zone] - 1
            if left:
                self._zones[zone] = left
            else:
                del self._zones[zone]

    def forget_all(self) -> None:
        """No rate holds any longer as it was."""
        for domain in list(self.meters):
            self.forget(domain)
        self._tenants.clear()

    def sweep(self, now: float, most: int) -> None:
        """Forget who used nothing for long; looks at `most` payers, the next call goes on."""
        for domain in self._rounds.next(self.meters, most):
            meter = self.meters.get(domain)
            if meter is not None and meter.is_full(now):
                self.forget(domain)

    def all(self) -> list[Meter]:
        """Every payer that used something lately, once."""
        return [*dict.fromkeys(self.meters.values()), *self._tenants.values()]

    def _make(self, domain: bytes) -> Meter:
        terms, home = self._terms(domain), self._home(domain)
        if terms is None:
            zone = zone_of(domain.decode("ascii"))
            if not self._room(zone):
                return NoRoom(FREE, Limit.PEERS_REMEMBERED, zone.encode("ascii"))
            self._zones[zone] = self._zones.get(zone, 0) + 1
            meter = Meter(self._peer_rate(domain), self._peer_limit, domain)
        elif home in self.meters:
            meter = self.meters[home]
        else:
            rate, tenant = terms
            above = self._tenants.get(tenant) if tenant else None
            if tenant and above is None:
                above = Meter(self._tenant_rate(tenant), self._tenant_limit, tenant.encode("utf-8"))
                self._tenants[tenant] = above
            meter = self.meters[home] = Meter(rate, self._domain_limit, home, above)
        self.meters[domain] = meter
        return meter


class Traffic:
    """The rates of one process: who sends, who is sent to, and each link.

    Args:
        terms: rate and tenant of a served domain; None where it is not served here.
        peer_rate: rate of a peer domain.
        tenant_rate: rate of a tenant.
        link_rate: rate of each link.
        home: the name under which all names of a served domain pay.
    """

    def __init__(
        self,
        terms: Callable[[bytes], Terms | None] = lambda _domain: None,
        peer_rate: Callable[[bytes], TrafficRate] = lambda _domain: FREE,
        tenant_rate: Callable[[str], TrafficRate] = lambda _tenant: FREE,
        link_rate: TrafficRate = FREE,
        home: Callable[[bytes], bytes] = lambda domain: domain,
    ) -> None:
        names = Limit.DOMAIN_OUT, Limit.TENANT_OUT, Limit.PEER_RATE
        self.senders = Payers(names, terms, peer_rate, tenant_rate, home=home)
        names = Limit.DOMAIN_IN, Limit.TENANT_IN, Limit.PEER_RATE
        self.receivers = Payers(names, terms, peer_rate, tenant_rate, home=home)
        self.link_rate = link_rate

    def of_link(self, who: bytes) -> LinkMeter:
        """The meter of a new link; `who` names it for operators."""
        return LinkMeter(self.link_rate, who)

    def forget(self, domain: bytes) -> None:
        """The terms of a served domain changed."""
        self.senders.forget(domain)
        self.receivers.forget(domain)

    def forget_all(self) -> None:
        """All terms changed."""
        self.senders.forget_all()
        self.receivers.forget_all()

    def sweep(self, now: float, most: int) -> None:
        """Forget a little of what is not used; of receivers, only those with rates of their own are there."""
        self.senders.sweep(now, most)
