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


class DuplicateMemory:
    """What was seen and what became of it.

    Args:
        epoch: 8 bytes that name this memory; random per process life.
        window_s: how long an unacknowledged answer is kept.
        limit: entries at most; some 400 bytes each.
    """

    __slots__ = ("_expiring", "epoch", "limit", "seen", "window_s")

    def __init__(self, epoch: bytes, window_s: float = DUPLICATE_WINDOW_S, limit: int = 262_144) -> None:
        self.epoch = epoch
        self.window_s = window_s
        self.limit = limit
        #: key -> (digest, route tag in flight | stored answer)
        self.seen: dict[bytes, tuple[int, int | bytes]] = {}
        self._expiring: deque[tuple[float, bytes]] = deque()

    def forget(self, key: bytes) -> None:
        """The asking side has the answer; unknown keys are ignored."""
        self.seen.pop(key, None)

    def keep_for_window(self, key: bytes, now: float) -> None:
        """Nobody will acknowledge this one: keep it for the window."""
        self._expiring.append((now + self.window_s, key))

    def expire(self, now: float) -> int:
        """Drop what is past the window; returns how many."""
        dropped = 0
        while self._expiring and self._expiring[0][0] <= now:
            key = self._expiring.popleft()[1]
            known = self.seen.get(key)
            if known is not None and isinstance(known[1], bytes):
                dropped += 1
                del self.seen[key]
        return dropped
