"""How many connections a stranger, and how many a proved peer domain, may have open (IMX-15)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeVar

from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.buckets import Buckets
from imxrouter.routing.limits import Rate
from imxrouter.routing.prefixes import address_keys
from imxrouter.routing.shares import ShareTable

Key = TypeVar("Key", bytes, str, tuple[str, str])

#: Told where a place comes free when some unproved link gives up or is closed: about its proof time-out.
STRANGER_RETRY_S: Final = 30
#: Told to a domain that has its share: links close when they have been idle for minutes.
PEER_RETRY_S: Final = 60
#: Of all places of strangers, the last of so many parts is for addresses from which a domain was proved
#: before, and the one before it for them and for networks that have few.
RESERVED_PARTS: Final = 8
#: A network that has fewer links than this has few.
FEW: Final = 4
#: How long an address counts as one from which a domain was proved.
KNOWN_S: Final = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """No, why, and when asking again may help."""

    reason: Reason
    retry_after_s: int = 0
    note: str = ""
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class CapSettings:
    """The caps.

    Attributes:
        per_host: links without a proof from one address (IPv6: one /64).
        per_prefix: the same from one prefix (/24, /48).
        strangers: links without a proof in all.
        total: links in all.
        per_peer: links taken from one proved domain to one certificate of ours.
        per_peer_own: the same, for domains that have a cap of their own, by name.
        per_peer_total: links taken from one proved domain in all; a peer needs one link to each of our
            certificates, so it may be far above `per_peer`.
    """

    per_host: int = 16
    per_prefix: int = 128
    strangers: int = 1024
    total: int = 20_000
    per_peer: int = 8
    per_peer_own: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    per_peer_total: int = 1024


@dataclass(slots=True)
class _Open:
    host: bytes
    prefix: bytes
    group: str = ""
    proved: set[str] = field(default_factory=set)


class ConnectionCaps:
    """Counts the connections that came in.

    A connection counts as a stranger's until a domain is proved on it, and then for each proved domain. What
    is only claimed counts for nobody: a stranger cannot use up the cap of a domain by naming it.
    """

    def __init__(self, settings: CapSettings = CapSettings()) -> None:
        self._settings = settings
        self._open: dict[int, _Open] = {}
        self._hosts: Counter[bytes] = Counter()
        self._prefixes: Counter[bytes] = Counter()
        self._peers: Counter[str] = Counter()
        #: the same by domain and certificate of ours
        self._groups: Counter[tuple[str, str]] = Counter()
        self.strangers = 0

    def change(self, settings: CapSettings) -> None:
        """Judge by other caps; what is open above a lower one stays."""
        self._settings = settings

    def opened(self, link: int, source_ip: str, *, known: bool = False) -> Refusal | None:
        """A connection came in. Where it is refused it is not counted, and `closed` is not called for it.

        Args:
            link: its number.
            source_ip: where it comes from.
            known: whether a domain was proved from there before.
        """
        if link in self._open:
            raise LocalMisuse(f"link {link} is counted already")
        refused = self.refusal(source_ip, known=known)
        if refused is None:
            keys = address_keys(source_ip)
            self._open[link] = _Open(keys.host, keys.prefix)
            self._stranger(keys.host, keys.prefix, 1)
        return refused

    def refusal(self, source_ip: str, *, known: bool = False) -> Refusal | None:
        """What `opened` would say, without counting anything."""
        keys = address_keys(source_ip)
        caps = self._settings
        if len(self._open) >= caps.total:
            return _over(Limit.LINKS, "connections", STRANGER_RETRY_S)
        if self._hosts.get(keys.host, 0) >= caps.per_host:
            what = "connections of this address without a proof"
            return _over(Limit.STRANGERS_ADDRESS, what, STRANGER_RETRY_S)
        of_prefix = self._prefixes.get(keys.prefix, 0)
        if of_prefix >= caps.per_prefix:
            what = "connections of this network without a proof"
            return _over(Limit.STRANGERS_NETWORK, what, STRANGER_RETRY_S)
        kept = 0 if known else 1 if of_prefix < FEW else 2
        if self.strangers >= caps.strangers - kept * (caps.strangers // RESERVED_PARTS):
            return _over(Limit.STRANGERS, "connections without a proof", STRANGER_RETRY_S)
        return None

    def proved(self, link: int, domain: Domain, group: str = "") -> Refusal | None:
        """A domain was proved on a connection that came in; a link that is not counted here is let through.

        Where it is refused, the proof must not be used.

        Args:
            link: its number.
            domain: that was proved.
            group: name of the certificate that we presented there; empty in clear.
        """
        entry = self._open.get(link)
        if entry is None or domain.name in entry.proved:
            return None
        if not entry.proved:
            entry.group = group
        cap, pair = self.cap_of(domain), (domain.name, entry.group)
        if self._groups[pair] >= cap or self._peers[domain.name] >= max(cap, self._settings.per_peer_total):
            return _over(Limit.LINKS_PEER, f"connections of {domain}", PEER_RETRY_S)
        if not entry.proved:
            self._stranger(entry.host, entry.prefix, -1)
        entry.proved.add(domain.name)
        self._peers[domain.name] += 1
        self._groups[pair] += 1
        return None

    def unproved(self, link: int, domain: Domain) -> None:
        """A proof ended while the connection stays; without any proof it is a stranger's again."""
        entry = self._open.get(link)
        if entry is None or domain.name not in entry.proved:
            return
        entry.proved.discard(domain.name)
        self._fewer(entry, domain.name)
        if not entry.proved:
            self._stranger(entry.host, entry.prefix, 1)

    def closed(self, link: int) -> None:
        """The connection is gone; nothing happens for one that is not counted."""
        entry = self._open.pop(link, None)
        if entry is None:
            return
        for name in entry.proved:
            self._fewer(entry, name)
        if not entry.proved:
            self._stranger(entry.host, entry.prefix, -1)

    def cap_of(self, domain: Domain) -> int:
        """Links that a proved domain may have to one certificate of ours."""
        return self._settings.per_peer_own.get(domain.name, self._settings.per_peer)

    def links_of(self, domain: Domain) -> int:
        """Links that a proved domain has."""
        return self._peers.get(domain.name, 0)

    def most_links(self) -> tuple[str, int]:
        """The proved domain with most links, and how many; an empty name where there is none."""
        return max(self._peers.items(), key=lambda item: item[1], default=("", 0))

    def _fewer(self, entry: _Open, name: str) -> None:
        _less(self._peers, name)
        _less(self._groups, (name, entry.group))

    def _stranger(self, host: bytes, prefix: bytes, by: int) -> None:
        self.strangers += by
        for counter, key in ((self._hosts, host), (self._prefixes, prefix)):
            if by > 0:
                counter[key] += 1
            else:
                _less(counter, key)


class ConnectionRates:
    """How often an address, and a network, may connect; and which addresses are known.

    Args:
        per_host_minute: new connections of one address (IPv6: one /64).
        per_prefix_minute: the same of its prefix (/24, /48).
        remembered: addresses remembered as known; a network gets a 64th.
    """

    def __init__(
        self, per_host_minute: float = 300.0, per_prefix_minute: float = 2400.0, remembered: int = 65_536
    ) -> None:
        self._hosts = Buckets(Rate.of(per_host_minute / 60, int(per_host_minute)))
        self._prefixes = Buckets(Rate.of(per_prefix_minute / 60, int(per_prefix_minute)))
        self._known: ShareTable[bool] = ShareTable(remembered, max(remembered // 64, 16), sweep_every_s=60.0)

    def change(self, other: ConnectionRates) -> None:
        """Take the rates of another one; what was used until now is forgotten, known addresses are not."""
        self._hosts, self._prefixes = other._hosts, other._prefixes

    def opened(self, source_ip: str, now: float) -> Refusal | None:
        """A connection came in; a refused one costs nothing."""
        refused = self.refusal(source_ip, now)
        if refused is None:
            keys = address_keys(source_ip)
            self._hosts.take(keys.host, now)
            self._prefixes.take(keys.prefix, now)
        return refused

    def refusal(self, source_ip: str, now: float) -> Refusal | None:
        """What `opened` would say, without counting anything."""
        keys = address_keys(source_ip)
        for limit, what, wait in (
            (Limit.CONNECTION_RATE_ADDRESS, "this address", self._hosts.wait(keys.host, now)),
            (Limit.CONNECTION_RATE_NETWORK, "this network", self._prefixes.wait(keys.prefix, now)),
        ):
            if wait:
                return _over(limit, f"new connections of {what}", max(1, -int(-wait // 1)))
        return None

    def proved(self, source_ip: str, now: float) -> None:
        """A domain was proved on a connection from there."""
        keys = address_keys(source_ip)
        self._known.put(keys.host, True, keys.prefix, now + KNOWN_S, now)

    def is_known(self, source_ip: str, now: float) -> bool:
        """Whether that is so lately."""
        return self._known.get(address_keys(source_ip).host, now) is not None

    def sweep(self, now: float) -> None:
        """Forget what is past its time."""
        self._hosts.sweep(now)
        self._prefixes.sweep(now)
        self._known.sweep(now)


def _less(counter: Counter[Key], key: Key) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


def _over(limit: Limit, what: str, retry_after_s: int) -> Refusal:
    return Refusal(Reason.OVER_CAP, retry_after_s, f"too many {what}", limit)
