"""The memory that makes a repeated request harmless (specification section 8.2; BEY-3).

A key is message id and both addresses as they stand in the record; beside it stands a keyed digest of type
and body, and either the route tag of the request in flight or the stored answer. What the asking side has
acknowledged is forgotten at once; what a lost link left unacknowledged is kept for the window. Nothing within
the window is ever evicted: a full memory refuses new requests instead.
"""

from __future__ import annotations

from collections import deque
from typing import Final

#: Seconds an unacknowledged answer is kept by default; every retry of a peer ends before (specification 8.2).
DUPLICATE_WINDOW_S: Final = 60.0

#: One in so many of a crowded memory's entries is what a domain or a link may hold.
CROWDED_PART: Final = 16


class DuplicateMemory:
    """What was seen and what became of it.

    Args:
        epoch: 8 bytes that name this memory; random per process life.
        window_s: how long an unacknowledged answer is kept.
        limit: entries at most; some 400 bytes each.
    """

    __slots__ = ("_expiring", "_kept", "epoch", "limit", "seen", "window_s")

    def __init__(self, epoch: bytes, window_s: float = DUPLICATE_WINDOW_S, limit: int = 262_144) -> None:
        self.epoch = epoch
        self.window_s = window_s
        self.limit = limit
        #: key -> (digest, route tag in flight | stored answer)
        self.seen: dict[bytes, tuple[int, int | bytes]] = {}
        self._expiring: deque[tuple[float, bytes]] = deque()
        self._kept: dict[bytes, int] = {}

    @property
    def share(self) -> int:
        """What one domain, or one link, may hold of a crowded memory."""
        return max(self.limit // CROWDED_PART, 1)

    def is_crowded(self) -> bool:
        """Whether it is half full: from then on nobody gets more than a share."""
        return len(self.seen) * 2 >= self.limit

    def kept_of(self, from_domain: bytes) -> int:
        """Entries of a source domain that are kept for the window."""
        return self._kept.get(from_domain, 0)

    def forget(self, key: bytes) -> None:
        """The asking side has the answer; unknown keys are ignored."""
        self.seen.pop(key, None)

    def keep_for_window(self, key: bytes, now: float) -> None:
        """Nobody will acknowledge this one: keep it for the window."""
        self._expiring.append((now + self.window_s, key))
        owner = _owner(key)
        self._kept[owner] = self._kept.get(owner, 0) + 1

    def expire(self, now: float) -> int:
        """Drop what is past the window; returns how many."""
        dropped = 0
        while self._expiring and self._expiring[0][0] <= now:
            key = self._expiring.popleft()[1]
            owner = _owner(key)
            left = self._kept[owner] - 1
            if left:
                self._kept[owner] = left
            else:
                del self._kept[owner]
            known = self.seen.get(key)
            if known is not None and isinstance(known[1], bytes):
                dropped += 1
                del self.seen[key]
        return dropped


def _owner(key: bytes) -> bytes:
    """The source domain, which ends a key."""
    return key[key.rfind(b"@") + 1 :]
