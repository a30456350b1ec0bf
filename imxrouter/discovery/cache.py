"""What DNS said, kept for a while: bounded, deterministic under the injected clock.

Two tables, one for records and one for everything else (clean noes and failures), so that a stranger who
makes us look up names that do not exist cannot push out what does. Inside a table the names of one parent
zone share a cap, and when the table is full the largest zone gives up its oldest entry: whoever floods,
floods himself.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace

from imxrouter.discovery.answers import Answer, Status

Clock = Callable[[], float]

#: No answer is kept shorter: with TTL 0 a stranger could make each of his messages cost us a look-up.
#: Failover by DNS is not slowed in practice, dead targets are skipped without a new look-up.
MIN_TTL_S = 10

#: No answer is kept longer: a domain that moves its routers, or takes them back after a hijack, is
#: followed within the hour, whatever TTL the old answer had. RFC 8767 section 4 allows any cap.
MAX_TTL_S = 3600

#: A clean no is kept at most so long (RFC 2308 section 5 allows three hours): who publishes the record
#: because our operator asked him to should not have to wait.
MAX_NEGATIVE_TTL_S = 300

#: A failure is remembered for so long, and not asked again. RFC 9520 section 3.2: at least 1 s, at most
#: 5 minutes.
FAILURE_TTL_S = 5

#: How long beyond its TTL an answer may still be served while DNS fails. RFC 8767 section 5 suggests one to
#: three days for a public resolver; we trust names with it, and so take the time that an outage of a DNS
#: host commonly lasts.
STALE_S = 6 * 3600

#: Country zones that sell names below labels like `co` and `com`: two letters at the top, and a second
#: label not longer than this. A guess that needs no list of public suffixes; when it is wrong, zones share
#: a cap that could have had their own.
_SUFFIX_LABEL_LENGTH = 3


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Bounds of the cache.

    Attributes:
        entries: entries with records. An entry takes about 1 KiB.
        negative_entries: clean noes and failures.
        entries_per_zone: of either, for the names of one parent zone. A domain takes up to 4 entries and
            two for each router, so a hoster's zone has room for some hundred domains.
        min_ttl_s: no answer is kept shorter.
        max_ttl_s: no answer is kept longer.
        max_negative_ttl_s: a clean no is kept at most so long.
        failure_ttl_s: for how long a failure is remembered, and not asked again.
    """

    entries: int = 20_000
    negative_entries: int = 10_000
    entries_per_zone: int = 1_000
    min_ttl_s: float = MIN_TTL_S
    max_ttl_s: float = MAX_TTL_S
    max_negative_ttl_s: float = MAX_NEGATIVE_TTL_S
    failure_ttl_s: float = FAILURE_TTL_S

    def keep_s(self, answer: Answer) -> float:
        """Return for how long an answer is kept."""
        if answer.is_failure:
            return self.failure_ttl_s
        cap = self.max_ttl_s if answer.status is Status.RECORDS else self.max_negative_ttl_s
        return min(max(answer.ttl_s, self.min_ttl_s), cap)


@dataclass(slots=True)
class _Entry:
    answer: Answer
    expires_at: float


_Key = tuple[str, int]


def zone_of(name: str) -> str:
    """Return the zone whose names share a cap: the last two labels, or three under country suffixes."""
    labels = name.rsplit(".", 3)[-3:]
    if len(labels) < 3 or (len(labels[-1]) == 2 and len(labels[-2]) <= _SUFFIX_LABEL_LENGTH):
        return ".".join(labels)
    return ".".join(labels[-2:])


class AnswerCache:
    """Answers by (name, type).

    Args:
        clock: seconds, never going back.
        limits: bounds.
    """

    def __init__(self, clock: Clock, limits: CacheLimits | None = None) -> None:
        self._limits = limits = limits or CacheLimits()
        self._clock = clock
        self._records = _Table(limits.entries, limits.entries_per_zone)
        self._noes = _Table(limits.negative_entries, limits.entries_per_zone)

    def __len__(self) -> int:
        return len(self._records) + len(self._noes)

    def keep(self, limits: CacheLimits) -> None:
        """Keep answers that come from now on for other times; the number of entries stays."""
        self._limits = limits

    def get(self, name: str, rdtype: int) -> Answer | None:
        """Return a live answer with its remaining TTL; None if it must be asked."""
        now = self._clock()
        for table in (self._noes, self._records):
            entry = table.get((name, rdtype))
            if entry is not None and entry.expires_at > now:
                return replace(entry.answer, ttl_s=entry.expires_at - now)
        return None

    def put(self, name: str, rdtype: int, answer: Answer) -> None:
        """Keep an answer. A failure never displaces records, which stay to be served stale."""
        now = self._clock()
        entry = _Entry(answer, now + self._limits.keep_s(answer))
        if answer.status is Status.RECORDS:
            self._noes.drop((name, rdtype))
            self._records.put((name, rdtype), entry, now)
            return
        if answer.is_negative:
            self._records.drop((name, rdtype))
        self._noes.put((name, rdtype), entry, now)

    def stale(self, name: str, rdtype: int) -> Answer | None:
        """Return records whose TTL ended at most `STALE_S` ago, for use while DNS fails.

        Their TTL is that of a failure, so that DNS is asked again soon (RFC 8767 section 4).
        """
        entry = self._records.get((name, rdtype))
        if entry is None or entry.expires_at + STALE_S <= self._clock():
            return None
        return replace(entry.answer, ttl_s=float(self._limits.failure_ttl_s), note="stale")

    def forget(self, name: str, rdtype: int) -> None:
        """Drop what is known of a question."""
        self._records.drop((name, rdtype))
        self._noes.drop((name, rdtype))

    def clear(self) -> None:
        """Drop everything."""
        self._records.clear()
        self._noes.clear()


class _Table:
    """Entries by key, oldest first within each zone; knows the largest zone without looking for it."""

    def __init__(self, limit: int, zone_limit: int) -> None:
        self._limit = limit
        self._zone_limit = zone_limit
        self.clear()

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Drop everything."""
        self._zones: dict[str, dict[_Key, _Entry]] = {}
        self._by_size: dict[int, dict[str, None]] = {}
        self._largest = 0
        self._count = 0
        self._expiry: list[tuple[float, _Key]] = []

    def get(self, key: _Key) -> _Entry | None:
        """Return an entry, live or not."""
        return self._zones.get(zone_of(key[0]), {}).get(key)

    def put(self, key: _Key, entry: _Entry, now: float) -> None:
        """Add an entry as its zone's youngest; make room first."""
        zone = zone_of(key[0])
        self.drop(key)
        if self._count >= self._limit:
            self._drop_expired(now)
        if len(self._zones.get(zone, ())) >= self._zone_limit:
            self.drop(next(iter(self._zones[zone])))
        elif self._count >= self._limit:
            largest = next(iter(self._by_size[self._largest]))
            self.drop(next(iter(self._zones[largest])))
        self._zones.setdefault(zone, {})[key] = entry
        self._resize(zone, +1)
        heapq.heappush(self._expiry, (entry.expires_at, key))
        if len(self._expiry) > 2 * self._limit + 16:  # dropped entries leave their heap item behind
            self._expiry = [(held.expires_at, held_key) for held_key, held in self._items()]
            heapq.heapify(self._expiry)

    def drop(self, key: _Key) -> None:
        """Remove an entry if it is there."""
        zone = zone_of(key[0])
        entries = self._zones.get(zone)
        if entries is None or entries.pop(key, None) is None:
            return
        if not entries:
            del self._zones[zone]
        self._resize(zone, -1)

    def _items(self) -> list[tuple[_Key, _Entry]]:
        return [item for entries in self._zones.values() for item in entries.items()]

    def _drop_expired(self, now: float) -> None:
        """Drop what is past its TTL; each heap item is looked at once in its life."""
        while self._expiry and self._expiry[0][0] <= now:
            expires_at, key = heapq.heappop(self._expiry)
            entry = self.get(key)
            if entry is not None and entry.expires_at == expires_at:
                self.drop(key)

    def _resize(self, zone: str, change: int) -> None:
        size = len(self._zones.get(zone, ()))
        before = size - change
        if before:
            del self._by_size[before][zone]
            if not self._by_size[before]:
                del self._by_size[before]
        if size:
            self._by_size.setdefault(size, {})[zone] = None
        self._count += change
        self._largest = max(self._largest, size)
        while self._largest and self._largest not in self._by_size:
            self._largest -= 1
