"""What was counted of peers in the last hour, day and month, in coarse buckets of bounded size (FCC-7).

Each count goes into the open bucket of three rings: five minutes, hours and days of UTC. A bucket that is
over is kept as a few bytes until its ring is full. What a report sums is what was counted, neither more nor
less, with the time at which the first bucket of it begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from imxrouter.model.quality import CELLS, LAYOUT, Cells, add

#: Seconds of a bucket and buckets kept beside the open one: an hour, two days, a month.
RINGS: Final = ((300, 12), (3600, 48), (86_400, 31))
#: Peers with windows of their own, beside those that always have them; some 30 KB each after a busy month.
PEERS: Final = 500
#: Of these places one owner's domains take this part together at most.
ZONE_PART: Final = 8
#: A peer that was silent for so long makes room for another one when all places are taken.
SILENT_S: Final = 86_400.0
#: A full table is not searched again for so long.
_FULL_S: Final = 60.0
#: The name of what is no peer's: what those without windows did, and for how long this process was there.
REST: Final = b"*"


class Kept(NamedTuple):
    """A bucket for the state file.

    Attributes:
        domain: of the peer.
        ring: seconds of its buckets.
        number: which of them: seconds since 1970 by `ring`.
        value: as `decode` takes it.
        expires_at: seconds since 1970.
    """

    domain: bytes
    ring: int
    number: int
    value: bytes
    expires_at: float


class Sum(NamedTuple):
    """What was counted since a time: cells, and when the first bucket of them began, seconds since 1970."""

    cells: Cells
    begin: float


def encode(cells: Mapping[int, int], first_at: float) -> bytes:
    """A table as bytes, with the time at which its peer was first counted."""
    return msgspec.msgpack.encode((LAYOUT, first_at, cells))


def decode(value: bytes) -> Sum | None:
    """The table of these bytes, and when its peer was first counted; None of other bytes or layouts."""
    try:
        layout, first_at, cells = msgspec.msgpack.decode(value, type=tuple[int, float, dict[int, int]])
    except msgspec.MsgspecError:
        return None
    sound = layout == LAYOUT and all(0 <= cell < CELLS and count >= 0 for cell, count in cells.items())
    return Sum(cells, first_at) if sound else None


class _Ring:
    """Buckets of one size."""

    __slots__ = ("closed", "index", "keep", "open", "seconds")

    def __init__(self, seconds: int, keep: int, now: float) -> None:
        self.seconds, self.keep = seconds, keep
        self.index = int(now // seconds)
        self.open: Cells = {}
        self.closed: dict[int, bytes] = {}

    def roll(self, now: float, first_at: float) -> tuple[int, bytes] | None:
        """Close the open bucket where its time is over; returns it, where something is in it.

        A clock that is set back leaves it open, as the one of that time; buckets of the time that comes again
        go on then.
        """
        index, over = int(now // self.seconds), None
        if index == self.index:
            return None
        if index > self.index:
            over = (self.index, encode(self.open, first_at)) if self.open else None
            if over is not None:
                self.closed[self.index] = over[1]
            self.open = {}
        self.index = index
        begun = decode(self.closed.pop(index, b""))
        add(self.open, begun.cells if begun is not None else {})
        for far in [one for one in self.closed if abs(index - one) > self.keep]:
            del self.closed[far]
        return over

    def restore(self, index: int, value: bytes, cells: Cells) -> None:
        if index == self.index:
            add(self.open, cells)
        elif self.index - self.keep <= index < self.index:
            self.closed[index] = value

    def since(self, first: int) -> Cells:
        cells = dict(self.open)
        for index, value in self.closed.items():
            if index >= first:
                kept = decode(value)
                add(cells, kept.cells if kept is not None else {})
        return cells


class PeerWindows:
    """One peer's counts.

    Attributes:
        first_at: when it was first counted, seconds since 1970.
        active_at: when it was last.
    """

    __slots__ = ("active_at", "first_at", "rings")

    def __init__(self, now: float) -> None:
        self.first_at = self.active_at = now
        self.rings = [_Ring(seconds, keep, now) for seconds, keep in RINGS]

    def add(self, cells: Mapping[int, int]) -> None:
        """Count; call `roll` before."""
        for ring in self.rings:
            add(ring.open, cells)

    def roll(self, now: float, domain: bytes) -> list[Kept]:
        """Close what is over; returns what is to be kept, open buckets of longer rings too."""
        self.first_at = min(self.first_at, now)  # no later than now, where the clock was set back
        kept = [
            self._kept(ring, domain, *over)
            for ring in self.rings
            if (over := ring.roll(now, self.first_at)) is not None
        ]
        if kept:
            kept += self.all(domain)
        return kept

    def all(self, domain: bytes) -> list[Kept]:
        """The open buckets, for a stop."""
        return [
            self._kept(ring, domain, ring.index, encode(ring.open, self.first_at))
            for ring in self.rings
            if ring.open
        ]

    def since(self, span_s: float, now: float) -> Sum:
        """What was counted in the last seconds, as far back as there are buckets of a size that suits."""
        ring = next((one for one in self.rings if one.seconds * one.keep >= span_s), self.rings[-1])
        first = max(int((now - span_s) // ring.seconds), ring.index - ring.keep)
        return Sum(ring.since(first), max(float(first * ring.seconds), self.first_at))

    def _kept(self, ring: _Ring, domain: bytes, index: int, value: bytes) -> Kept:
        expires_at = float((index + ring.keep + 1) * ring.seconds)
        return Kept(domain, ring.seconds, index, value, expires_at)


class QualityBook:
    """Windows of many peers, bounded.

    Args:
        always: peers that have windows whatever they do.
        keep: told each bucket that is to outlive a restart.
        most: peers beside those.
        zone: whose a domain is: all names below it are of one owner, who makes as many as he likes.
    """

    def __init__(
        self,
        always: Iterable[bytes] = (),
        keep: Callable[[Kept], None] = lambda _: None,
        most: int = PEERS,
        zone: Callable[[str], str] = str,
    ) -> None:
        self.always = frozenset(always) | {REST}
        self._most = most
        self._peers: dict[bytes, PeerWindows] = {}
        self._zone = zone
        self._zones: Counter[str] = Counter()
        self._round: list[bytes] = []
        self._full_until = float("-inf")
        self.keep = keep

    def __len__(self) -> int:
        return len(self._peers)

    def add(self, domain: bytes, cells: Mapping[int, int], now: float, began: float = float("inf")) -> None:
        """Count what a peer did; of one that has no place, as the rest's.

        Args:
            domain: the peer's.
            cells: what it did.
            now: seconds since 1970.
            began: when counting that began.
        """
        windows = self._windows(domain, now)
        if windows is None:
            domain, windows = REST, self._peers.get(REST) or self._make(REST, now)
        self._keep(windows.roll(now, domain))
        windows.active_at, windows.first_at = now, min(windows.first_at, began)
        windows.add(cells)

    def find(self, domain: bytes, now: float) -> PeerWindows | None:
        """The peer's windows."""
        windows = self._peers.get(domain)
        if windows is not None:
            self._keep(windows.roll(now, domain))
        return windows

    def domains(self) -> list[bytes]:
        """Peers that have windows."""
        return [domain for domain in self._peers if domain != REST]

    def step(self, now: float, most: int = 20) -> None:
        """Close the buckets of some peers; the next call goes on with others."""
        if not self._round:
            self._round = list(self._peers)
        for _ in range(min(most, len(self._round))):
            self.find(self._round.pop(), now)

    def restore(self, kept: Kept, now: float) -> bool:
        """Take back a bucket of a former life; False where it cannot be read."""
        counted = decode(kept.value)
        if counted is None or kept.ring not in dict(RINGS):
            return False
        windows = self._windows(kept.domain, now)
        if windows is not None:
            windows.first_at = min(windows.first_at, counted.begin)
            next(one for one in windows.rings if one.seconds == kept.ring).restore(
                kept.number, kept.value, counted.cells
            )
        return True

    def keep_all(self) -> None:
        """A stop: the open buckets too."""
        for domain, windows in self._peers.items():
            self._keep(windows.all(domain))

    def _windows(self, domain: bytes, now: float) -> PeerWindows | None:
        windows = self._peers.get(domain)
        if windows is None and (domain in self.always or self._room(domain, now)):
            windows = self._make(domain, now)
        return windows

    def _make(self, domain: bytes, now: float) -> PeerWindows:
        windows = self._peers[domain] = PeerWindows(now)
        self._zones[self._zone_of(domain)] += 1
        return windows

    def _zone_of(self, domain: bytes) -> str:
        return self._zone(domain.decode("ascii", "replace"))

    def _room(self, domain: bytes, now: float) -> bool:
        """Whether one more has a place: the one goes that was silent longest, if that is long enough.

        A table without such a one is not searched again for a while.
        """
        if self._zones[self._zone_of(domain)] >= max(self._most // ZONE_PART, 1):
            return False
        if 0 < self._full_until - now <= _FULL_S:
            return False
        others = self._peers.keys() - self.always
        if len(others) < self._most:
            return True
        silent = min(others, key=lambda one: self._peers[one].active_at)
        if now - self._peers[silent].active_at <= SILENT_S:
            self._full_until = now + _FULL_S
            return False
        del self._peers[silent]
        self._zones[self._zone_of(silent)] -= 1
        self._zones += Counter()  # forgets those of which there is none
        return True

    def _keep(self, kept: Iterable[Kept]) -> None:
        for one in kept:
            self.keep(one)
