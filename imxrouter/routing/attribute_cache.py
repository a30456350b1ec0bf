"""Attributes of others, kept as long as their owner lets them be (specification section 7.8; IMX-20).

A user's attributes may depend on who asks, so each requester has his own; a domain's are the same for all.
Nobody's entries push out another domain's: a domain over its share loses its own oldest ones, and what finds
no room in all is not kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from imxrouter.model.address import Address
from imxrouter.model.attributes import is_good
from imxrouter.model.operations import Attribute

#: Nothing is kept longer, whatever its owner says.
MAX_AGE_S: Final = 86_400.0
#: That an owner told no attribute of a name is believed for this long.
NEGATIVE_S: Final = 60.0
#: What an entry takes beside its bytes: its tuple, keys and numbers.
ENTRY_BYTES: Final = 300
#: A full table is searched for what has expired this often at most, for that looks at everything.
SWEEP_S: Final = 1.0

#: Key of the requester (empty where it does not matter), key of the owner, name; the name is empty for the
#: list of all names that the requester was told.
CacheKey = tuple[bytes, bytes, str]


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How much is kept.

    Attributes:
        entries: in all.
        size_bytes: in all.
        share: one owner's domain gets one part in so many of both.
    """

    entries: int = 20_000
    size_bytes: int = 8 * 1024 * 1024
    share: int = 16


class Kept(NamedTuple):
    """What is known of one name.

    Attributes:
        value: its bytes; None where the owner told none.
        names: of the list of all names, what it holds.
        until: monotonic seconds.
        size_bytes: what the entry counts for.
    """

    value: bytes | None
    names: tuple[str, ...]
    until: float
    size_bytes: int


class AttributeCache:
    """Named attributes by requester and owner.

    Args:
        limits: how much is kept.

    Attributes:
        size_bytes: kept now.
        not_kept: answers for which there was no room.
    """

    def __init__(self, limits: CacheLimits = CacheLimits()) -> None:
        self._limits = limits
        self._domains: dict[str, dict[CacheKey, Kept]] = {}
        self._sizes: dict[str, int] = {}
        self._entries = 0
        self._next_sweep = float("-inf")
        self.size_bytes = 0
        self.not_kept = 0

    def __len__(self) -> int:
        return self._entries

    def find(self, requester: Address, owner: Address, name: str, now: float) -> Kept | None:
        """What is known of a name and has not expired; None where the owner must be asked."""
        key = cache_key(requester, owner, name)
        domain = owner.domain.name
        kept = self._domains.get(domain, {}).get(key)
        if kept is not None and kept.until <= now:
            self._drop(domain, key)
            return None
        return kept

    def find_all(self, requester: Address, owner: Address, now: float) -> tuple[Attribute, ...] | None:
        """Every attribute that the requester was told when he asked for all, if all are still known."""
        listed = self.find(requester, owner, "", now)
        if listed is None:
            return None
        found = []
        for name in listed.names:
            kept = self.find(requester, owner, name, now)
            if kept is None or kept.value is None:
                return None
            found.append(Attribute(name, kept.value, int(kept.until - now)))
        return tuple(found)

    def keep(
        self, requester: Address, owner: Address, names: Iterable[str], told: Iterable[Attribute], now: float
    ) -> None:
        """Keep an answer.

        Args:
            requester: who asked, or to whom they came unsolicited.
            owner: whose they are.
            names: those that were asked for; what is not told of them does not exist for him. None for all.
            told: the answer. A value that is not what the registry says is not kept.
            now: monotonic seconds.
        """
        asked = frozenset(names)
        good = {one.name: one for one in told if is_good(one) and (not asked or one.name in asked)}
        for name in asked.difference(good):
            self._enter(requester, owner, name, Kept(None, (), now + NEGATIVE_S, 0), now)
        for name, attribute in good.items():
            until = now + min(attribute.max_age_s, MAX_AGE_S)
            self._enter(requester, owner, name, Kept(attribute.value, (), until, 0), now)
        if not asked:
            shortest = min((attribute.max_age_s for attribute in good.values()), default=NEGATIVE_S)
            until = now + min(shortest, MAX_AGE_S)
            self._enter(requester, owner, "", Kept(None, tuple(good), until, 0), now)

    def unsolicited(self, recipient: Address, owner: Address, told: Iterable[Attribute], now: float) -> None:
        """Keep what came along with a message or a notification; says nothing of other names."""
        good = tuple(attribute for attribute in told if is_good(attribute))
        if good:
            self.keep(recipient, owner, (attribute.name for attribute in good), good, now)

    def forget(self, owner_domain: str) -> int:
        """Forget everything of a domain and its users; returns how much that was."""
        entries = self._domains.get(owner_domain, {})
        count = len(entries)
        for key in list(entries):
            self._drop(owner_domain, key)
        return count

    def sweep(self, now: float) -> None:
        """Forget what has expired."""
        for domain, entries in list(self._domains.items()):
            for key in [key for key, kept in entries.items() if kept.until <= now]:
                self._drop(domain, key)

    # -- inside ------------------------------------------------------------------------------------------

    def _enter(self, requester: Address, owner: Address, name: str, kept: Kept, now: float) -> None:
        key, domain = cache_key(requester, owner, name), owner.domain.name
        self._drop(domain, key)
        if kept.until <= now:
            return
        size = ENTRY_BYTES + len(key[0]) + len(key[1]) + len(name) + len(kept.value or b"")
        size += sum(len(one) for one in kept.names)
        limits = self._limits
        if size > limits.size_bytes // limits.share:
            self.not_kept += 1
            return
        own = self._domains.get(domain, {})
        while own and (
            len(own) >= max(limits.entries // limits.share, 1)
            or self._sizes[domain] + size > limits.size_bytes // limits.share
        ):
            self._drop(domain, next(iter(own)))
        if not self._room(size, now):
            self.not_kept += 1
            return
        own = self._domains.setdefault(domain, {})
        own[key] = kept._replace(size_bytes=size)
        self._sizes[domain] = self._sizes.get(domain, 0) + size
        self._entries += 1
        self.size_bytes += size

    def _room(self, size: int, now: float) -> bool:
        limits = self._limits
        if self._entries < limits.entries and self.size_bytes + size <= limits.size_bytes:
            return True
        if now < self._next_sweep:
            return False
        self._next_sweep = now + SWEEP_S
        self.sweep(now)
        return self._entries < limits.entries and self.size_bytes + size <= limits.size_bytes

    def _drop(self, domain: str, key: CacheKey) -> None:
        entries = self._domains.get(domain)
        kept = entries.pop(key, None) if entries is not None else None
        if entries is None or kept is None:
            return
        self._entries -= 1
        self.size_bytes -= kept.size_bytes
        self._sizes[domain] -= kept.size_bytes
        if not entries:
            del self._domains[domain], self._sizes[domain]


def cache_key(requester: Address, owner: Address, name: str) -> CacheKey:
    """Under what an attribute is kept: without the requester where the owner is a domain."""
    return (requester.key if owner.local else b"", owner.key, name)
