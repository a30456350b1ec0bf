"""Rates of many keys in one bounded table, and a total that is shared out fairly."""

from __future__ import annotations

from typing import Final

from imxrouter.routing.limits import Rate, gcra_next, gcra_wait

#: Keys in one table: some 100 bytes each, 6.5 MB in all, and only until their rate is whole again.
KEYS_AT_MOST: Final = 65_536


class Buckets:
    """One rate per key. Look first (`wait`), and `take` when every other limit agrees as well."""

    def __init__(self, rate: Rate, limit: int = KEYS_AT_MOST) -> None:
        """Make an empty table of at most `limit` keys; a new key that finds no room has to wait."""
        self.rate = rate
        self._limit = limit
        self._arrivals: dict[bytes, float] = {}
        self._next_sweep = float("-inf")

    def __len__(self) -> int:
        return len(self._arrivals)

    def wait(self, key: bytes, now: float) -> float:
        """Seconds until one more is allowed; 0 where it is now."""
        arrival = self._arrivals.get(key)
        if arrival is not None:
            return gcra_wait(arrival, now, self.rate.burst_s)
        if len(self._arrivals) >= self._limit and not self.sweep(now):
            return self.rate.interval_s
        return 0.0

    def take(self, key: bytes, now: float) -> None:
        """Count one."""
        self._arrivals[key] = gcra_next(self._arrivals.get(key, now), now, self.rate.interval_s)

    def sweep(self, now: float) -> bool:
        """Forget what is full again, and tell whether there was any.

        At most once in an interval, for it looks at every key.
        """
        if now < self._next_sweep:
            return False
        self._next_sweep = now + max(self.rate.interval_s, 1.0)
        gone = [key for key, arrival in self._arrivals.items() if arrival <= now]
        for key in gone:
            del self._arrivals[key]
        return bool(gone)


class _Part:
    """What groups used of one part of a total in this window."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.left = total
        self.used: dict[bytes, int] = {}

    def fits(self, group: bytes, groups_before: int) -> bool:
        mine = self.used.get(group, 0)
        groups = max(groups_before, len(self.used) + (group not in self.used))
        share = max(1, self.total // (groups + 1))
        return mine < min(share, self.left)

    def take(self, group: bytes) -> None:
        self.used[group] = self.used.get(group, 0) + 1
        self.left -= 1

    def clear(self) -> None:
        self.used.clear()
        self.left = self.total


class FairTotal:
    """A total per window, shared out among groups, a part of it kept for those known before.

    A group may use an equal share among the groups that were active in this window or the last, and one more:
    so there is always room for a newcomer. In the first window of a rush, when nobody knows how many will
    come, no group takes more than what is left.
    """

    def __init__(self, per_s: float, reserved_part: float) -> None:
        """Set the total, and the part of it (0 to 1) that only those known before may use."""
        # 16 places or more in a window, so that shares are whole numbers of some size.
        self.window_s = max(1.0, 16.0 / per_s)
        total = max(2, int(per_s * self.window_s))
        reserved = min(int(total * reserved_part), total - 1)
        self._general = _Part(total - reserved)
        self._reserved = _Part(reserved)
        self._start = float("-inf")
        self._groups = 0

    def wait(self, group: bytes, now: float, *, known: bool) -> float:
        """Seconds until the group may have one more; 0 where it may now."""
        self._turn(now)
        if self._general.fits(group, self._groups):
            return 0.0
        if known and self._reserved.fits(group, self._groups):
            return 0.0
        return max(self._start + self.window_s - now, 0.001)

    def take(self, group: bytes, now: float, *, known: bool) -> None:
        """Count one that `wait` allowed; who is known uses the general part first."""
        self._turn(now)
        if known and not self._general.fits(group, self._groups):
            self._reserved.take(group)
        else:
            self._general.take(group)

    def _turn(self, now: float) -> None:
        if now < self._start + self.window_s:
            return
        recent = now < self._start + 2 * self.window_s
        self._groups = len(self._general.used.keys() | self._reserved.used.keys()) if recent else 0
        self._general.clear()
        self._reserved.clear()
        self._start = now
