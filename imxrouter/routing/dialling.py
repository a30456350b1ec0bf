"""Limits on dialling at a stranger's word (architecture 5.3, specification section 6.5).

A claim makes us ask DNS about a name, and open a connection to addresses, that the claimer chose. So the
work it can cause is limited for its address and network, for whom it would hit, for the zone it names, and
in all. Each limit is shared so that a stranger uses up his own part and silences nobody else:

* the total is shared out fairly among source prefixes, and a part is kept for domains proved before;
* one source prefix gets a quarter of what a destination or a zone bears;
* a claimer who calls from the address that is to be dialled has a limit of his own there: whoever else names
  that address cannot use it up, and nobody is hit but himself;
* domains proved before have limits of their own at destinations and zones;
* failures are remembered for what failed: DNS for the domain, a connection for address and port, a refused
  token for the pair of source prefix and domain, never for the domain alone.

Nothing here touches the destinations of our own traffic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from imxrouter.model.domain import Domain
from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.buckets import Buckets, FairTotal
from imxrouter.routing.caps import Refusal
from imxrouter.routing.limits import Rate
from imxrouter.routing.prefixes import AddressKeys, address_keys
from imxrouter.routing.shares import ShareTable
from imxrouter.routing.zones import zone_of

#: A domain with more hosts than this is verified through the first eight of them.
MAX_TARGETS: Final = 8
#: Connections opened for one claim that lead to no router of the domain: the IPv6 and the IPv4 address of a
#: host that is down, and of the next one. Fewer, and a domain with one of two hosts down is not verified.
MAX_ATTEMPTS: Final = 4
#: Part of a destination's or zone's rate that one source prefix may use.
PREFIX_PART: Final = 4
#: A failed connection counts for so long where the domain was proved before: a host that is restarted is back
#: within seconds, and claims at once. The limits of what is dialled hold all the same.
KNOWN_FAILED_S: Final = 1.0

_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class DialSettings:
    """Rates, and how long failures are remembered.

    Attributes:
        per_host_minute: verifications that one source address can cause (IPv6: one /64).
        per_prefix_minute: the same for its prefix (/24, /48).
        per_target_minute: connections to one address.
        per_target_prefix_minute: the same for its prefix.
        per_zone_minute: verifications for domains of one zone.
        per_s: verifications in all.
        reserved_part: part of `per_s` kept for domains proved before.
        running: verifications at one time; one source prefix gets a quarter. Each asks two questions of DNS
            at a time at most, so that half of what the finder may ask is left for what we send.
        dns_ttl_cap_s: the longest a DNS failure is remembered, whatever the zone says.
        connect_ttl_s: how long a failed connection is remembered.
        refused_ttl_s: how long a refused token is remembered.
        proved_ttl_s: how long a domain counts as proved before.
        remembered: entries of each of these memories.
    """

    per_host_minute: float = 120.0
    per_prefix_minute: float = 600.0
    per_target_minute: float = 60.0
    per_target_prefix_minute: float = 300.0
    per_zone_minute: float = 300.0
    per_s: float = 200.0
    reserved_part: float = 0.25
    running: int = 256
    dns_ttl_cap_s: float = 60.0
    connect_ttl_s: float = 10.0
    refused_ttl_s: float = 10.0
    proved_ttl_s: float = 30 * 86400.0
    remembered: int = 50_000


@dataclass(slots=True)
class Permit:
    """Leave to look up and dial for one claim; to be given back by `release`."""

    source: AddressKeys
    domain: Domain
    link: int
    known: bool
    targets: set[str] = field(default_factory=set)
    attempts: int = 0
    released: bool = False
    #: a target was left out for what is remembered of it: it may well answer in a moment
    put_off: bool = False


class DialLimits:
    """Decides on every look-up and every connection that a claim asks for. Time is handed in."""

    def __init__(self, settings: DialSettings = DialSettings()) -> None:
        self._settings = settings
        self._hosts = _per_minute(settings.per_host_minute)
        self._prefixes = _per_minute(settings.per_prefix_minute)
        self._zones = _Shared(settings.per_zone_minute)
        self._targets = _Shared(settings.per_target_minute)
        self._target_prefixes = _Shared(settings.per_target_prefix_minute)
        self._total = FairTotal(settings.per_s, settings.reserved_part)
        self._running: set[tuple[int, str]] = set()
        self._running_of: dict[bytes, int] = {}
        size, share = settings.remembered, max(settings.remembered // 64, 16)
        self._dns_failed: ShareTable[Reason] = ShareTable(size, share)
        self._connect_failed: ShareTable[Reason] = ShareTable(size, share)
        self._refused: ShareTable[Reason] = ShareTable(size, share)
        self._proved: ShareTable[bool] = ShareTable(size, share, sweep_every_s=_MINUTE)
        self._sweeps: deque[Callable[[float], object]] = deque([
            self._dns_failed.sweep, self._connect_failed.sweep, self._refused.sweep, self._proved.sweep,
            self._hosts.sweep, self._prefixes.sweep, self._zones.sweep, self._targets.sweep,
            self._target_prefixes.sweep,
        ])  # fmt: skip

    def change(self, settings: DialSettings) -> None:
        """Judge by other rates; what was used of the old ones counts."""
        self._settings = settings
        self._hosts.rate = _rate(settings.per_host_minute)
        self._prefixes.rate = _rate(settings.per_prefix_minute)
        self._zones.change(settings.per_zone_minute)
        self._targets.change(settings.per_target_minute)
        self._target_prefixes.change(settings.per_target_prefix_minute)
        self._total = FairTotal(settings.per_s, settings.reserved_part)

    # -- a claim ---------------------------------------------------------------------------------------

    def admit(self, source_ip: str, domain: Domain, now: float, *, link: int = 0) -> Permit | Refusal:
        """Judge a claim before anything is looked up or dialled for it.

        Args:
            source_ip: where the first connection comes from.
            domain: the domain claimed.
            now: monotonic seconds.
            link: number of the first connection.
        """
        source = address_keys(source_ip)
        known = self._proved.get(domain.name, now) is not None
        remembered = self._remembered(source, domain, now)
        if remembered is not None:
            return remembered
        if (link, domain.name) in self._running:
            return _limit(1.0, f"a verification of {domain} runs for this link already")
        if self._running_of.get(source.prefix, 0) >= max(self._settings.running // PREFIX_PART, 1):
            return _limit(5.0, "too many verifications running for this network")
        if len(self._running) >= self._settings.running:
            return _limit(5.0, "too many verifications running")
        zone = b"d:" + domain.wire if known else b"z:" + zone_of(domain.name).encode("ascii")
        for wait, what in (
            (self._hosts.wait(source.host, now), "of this address"),
            (self._prefixes.wait(source.prefix, now), "of this network"),
            (self._zones.wait(zone, source.prefix, now), f"for the zone of {domain}"),
            (self._total.wait(source.prefix, now, known=known), "in all"),
        ):
            if wait:
                return _limit(wait, f"too many verifications {what}")
        self._hosts.take(source.host, now)
        self._prefixes.take(source.prefix, now)
        self._zones.take(zone, source.prefix, now)
        self._total.take(source.prefix, now, known=known)
        self._running.add((link, domain.name))
        self._running_of[source.prefix] = self._running_of.get(source.prefix, 0) + 1
        return Permit(source, domain, link, known)

    def admit_target(self, permit: Permit, ip: str, now: float, *, port: int = 0) -> Refusal | None:
        """Judge one connection that a permitted verification is about to open; None lets it."""
        if permit.released:
            return _limit(1.0, "the verification is over")
        if ip not in permit.targets and len(permit.targets) >= MAX_TARGETS:
            return _limit(0.0, f"more than {MAX_TARGETS} targets for one claim")
        permit.targets.add(ip)
        target = address_keys(ip)
        failed = self._connect_failed.get(_endpoint(ip, port), now)
        left = self._connect_failed.expires_at(_endpoint(ip, port)) - now if failed is not None else 0.0
        if failed is not None and not (
            permit.known and left <= self._settings.connect_ttl_s - KNOWN_FAILED_S
        ):
            permit.put_off = permit.known
            return Refusal(failed, _seconds(left), f"{ip} failed a moment ago")
        if permit.attempts >= MAX_ATTEMPTS:
            return _limit(0.0, f"more than {MAX_ATTEMPTS} connections in vain for one claim")
        kind = _target_kind(permit, target)
        wait = self._targets.wait(kind + target.host, permit.source.prefix, now)
        wait = wait or self._target_prefixes.wait(kind + target.prefix, permit.source.prefix, now)
        if wait:
            return _limit(wait, f"too many connections to {ip} or its network")
        self._targets.take(kind + target.host, permit.source.prefix, now)
        self._target_prefixes.take(kind + target.prefix, permit.source.prefix, now)
        permit.attempts += 1
        return None

    @staticmethod
    def not_mine(permit: Permit) -> None:
        """A router of the domain answered that the claim is another host's: not in vain."""
        permit.attempts = max(permit.attempts - 1, 0)

    def release(self, permit: Permit) -> None:
        """The verification is over, whatever became of it. Doing it twice changes nothing."""
        if permit.released:
            return
        permit.released = True
        self._running.discard((permit.link, permit.domain.name))
        left = self._running_of[permit.source.prefix] - 1
        if left:
            self._running_of[permit.source.prefix] = left
        else:
            del self._running_of[permit.source.prefix]

    # -- what became of it -----------------------------------------------------------------------------

    def failed_dns(self, domain: Domain, ttl_s: float, reason: Reason, now: float) -> None:
        """The domain's look-up gave nothing to dial."""
        until = now + min(ttl_s, self._settings.dns_ttl_cap_s)
        self._dns_failed.put(domain.name, reason, zone_of(domain.name), until, now)

    def failed_connect(self, ip: str, port: int, now: float, reason: Reason = Reason.UNREACHABLE) -> None:
        """Nothing answered at an address and port."""
        until = now + self._settings.connect_ttl_s
        self._connect_failed.put(_endpoint(ip, port), reason, address_keys(ip).prefix, until, now)

    @property
    def connect_ttl_s(self) -> float:
        """Seconds for which a failed connection is remembered."""
        return self._settings.connect_ttl_s

    def refused_token(
        self, source_ip: str, domain: Domain, now: float, reason: Reason = Reason.DIALBACK_REFUSED
    ) -> float:
        """The domain's own router refused a token that came from there; returns how long that counts, s."""
        prefix = address_keys(source_ip).prefix
        until = now + self._settings.refused_ttl_s
        self._refused.put(prefix + domain.wire, reason, prefix, until, now)
        return self._settings.refused_ttl_s

    def proved(self, domain: Domain, now: float) -> None:
        """The domain was proved: from now on it is known."""
        self._proved.put(domain.name, True, zone_of(domain.name), now + self._settings.proved_ttl_s, now)

    def sweep(self, now: float) -> None:
        """Forget what is past its time, in one of the memories; the next call takes the next one."""
        self._sweeps[0](now)
        self._sweeps.rotate(-1)

    @property
    def running(self) -> int:
        """Verifications that run now."""
        return len(self._running)

    def _remembered(self, source: AddressKeys, domain: Domain, now: float) -> Refusal | None:
        failed = self._dns_failed.get(domain.name, now)
        if failed is not None:
            left = self._dns_failed.expires_at(domain.name) - now
            return Refusal(failed, _seconds(left), f"the look-up of {domain} failed a moment ago")
        pair = source.prefix + domain.wire
        refused = self._refused.get(pair, now)
        if refused is not None:
            left = self._refused.expires_at(pair) - now
            return Refusal(refused, _seconds(left), f"{domain} refused a token of this network")
        return None


class _Shared:
    """A rate per key, of which one source prefix may use a part."""

    def __init__(self, per_minute: float) -> None:
        self._all = _per_minute(per_minute)
        self._parts = _per_minute(per_minute / PREFIX_PART)

    def wait(self, key: bytes, prefix: bytes, now: float) -> float:
        return self._parts.wait(_joined(key, prefix), now) or self._all.wait(key, now)

    def take(self, key: bytes, prefix: bytes, now: float) -> None:
        self._parts.take(_joined(key, prefix), now)
        self._all.take(key, now)

    def change(self, per_minute: float) -> None:
        self._all.rate, self._parts.rate = _rate(per_minute), _rate(per_minute / PREFIX_PART)

    def sweep(self, now: float) -> None:
        self._parts.sweep(now)
        self._all.sweep(now)


def _per_minute(number: float) -> Buckets:
    return Buckets(_rate(number))


def _rate(number: float) -> Rate:
    """A rate whose burst is a quarter of a minute's worth, and two at least: a claim may need two tries."""
    return Rate.of(number / _MINUTE, max(2, int(number / 4)))


def _target_kind(permit: Permit, target: AddressKeys) -> bytes:
    if target.host == permit.source.host:
        return b"s"
    return b"k" if permit.known else b"o"


def _joined(key: bytes, prefix: bytes) -> bytes:
    return len(key).to_bytes(2, "big") + key + prefix


def _endpoint(ip: str, port: int) -> bytes:
    return port.to_bytes(2, "big") + address_keys(ip).host + ip.encode("ascii", "replace")


def _seconds(wait_s: float) -> int:
    return max(1, -int(-wait_s // 1))


def _limit(wait_s: float, what: str) -> Refusal:
    return Refusal(Reason.DIAL_LIMIT, _seconds(wait_s), what, Limit.DIALLING)
