"""How many connections a stranger, and how many a proved peer domain, may have open (IMX-15)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeVar

from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.prefixes import address_keys

Key = TypeVar("Key", bytes, str, tuple[str, str])

#: Told where a place comes free when some unproved link gives up or is closed: about its proof time-out.
STRANGER_RETRY_S: Final = 30
#: Told to a domain that has its share: links close when they have been idle for minutes.
PEER_RETRY_S: Final = 60


@dataclass(frozen=True, slots=True)
class Refusal:
    """No, why, and when asking again may help."""

    reason: Reason
    retry_after_s: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class CapSettings:
    """The caps.

    Attributes:
        per_host: links without a proof from one address (IPv6: one /64).
        per_prefix: the same from one prefix (/24, /48).
        strangers: links without a proof in all.
        per_peer: links taken from one proved domain to one certificate of ours.
        per_peer_own: the same, for domains that have a cap of their own, by name.
        per_peer_total: links taken from one proved domain in all; a peer needs one link to each of our
            certificates, so it may be far above `per_peer`.
    """

    per_host: int = 16
    per_prefix: int = 128
    strangers: int = 1024
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

    def opened(self, link: int, source_ip: str) -> Refusal | None:
        """A connection came in. Where it is refused it is not counted, and `closed` is not called for it."""
        keys = address_keys(source_ip)
        caps = self._settings
        if link in self._open:
            raise LocalMisuse(f"link {link} is counted already")
        if self._hosts[keys.host] >= caps.per_host:
            return _over("connections of this address without a proof", STRANGER_RETRY_S)
        if self._prefixes[keys.prefix] >= caps.per_prefix:
            return _over("connections of this network without a proof", STRANGER_RETRY_S)
        if self.strangers >= caps.strangers:
            return _over("connections without a proof", STRANGER_RETRY_S)
        self._open[link] = _Open(keys.host, keys.prefix)
        self._stranger(keys.host, keys.prefix, 1)
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
            return _over(f"connections of {domain}", PEER_RETRY_S)
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


def _less(counter: Counter[Key], key: Key) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


def _over(what: str, retry_after_s: int) -> Refusal:
    return Refusal(Reason.OVER_CAP, retry_after_s, f"too many {what}")
