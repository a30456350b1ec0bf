"""Stanzas that an answer may come to: queries that went on, and messages whose failure may come late (pure).

What answers none of them is nobody's, and changes nothing (rows iq-wait, iq-result, err-strange, err-late).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

#: An iq that has no answer by then is answered for the other side (row iq-wait).
QUERY_S: Final = 60.0
#: An error that comes after a message was taken is told to its sender so long (row err-late).
LATE_S: Final = 120.0
#: Of each, in one process; some 400 bytes each.
MAX_AWAITED: Final = 10_000

T = TypeVar("T")
#: Who asked, who was asked, and the stanza's id, as they stood in it.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Overdue(Generic[T]):
    """A stanza that was not answered in time."""

    key: Key
    value: T


class Awaited(Generic[T]):
    """Stanzas by (from, to, id), bounded in number and time.

    Args:
        life_s: seconds for which each is awaited.
        limit: of all together; of those that wait for one domain a quarter, so that nobody else's are kept
            out by a server that does not answer.
    """

    def __init__(self, life_s: float, limit: int = MAX_AWAITED) -> None:
        self._life_s = life_s
        self._limit = limit
        self._share = max(limit // 4, 1)
        self._entries: OrderedDict[Key, tuple[float, str, T]] = OrderedDict()
        self._of_domain: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def sent(self, key: Key, domain: str, value: T, now: float) -> bool:
        """A stanza went on.

        Args:
            key: its addresses and id.
            domain: that is to answer.
            value: kept for the answer.
            now: monotonic seconds.

        Returns:
            False where it cannot be awaited: it has no id, another one has the same, or there is no room.
        """
        if not key[2] or key in self._entries:
            return False
        if len(self._entries) >= self._limit or self._of_domain[domain] >= self._share:
            return False
        self._entries[key] = (now + self._life_s, domain, value)
        self._of_domain[domain] += 1
        return True

    def waiting(self, from_: str, to: str, ident: str, now: float) -> T | None:
        """What was kept for an answer, its addresses as they stand in it; None where nobody waits for it."""
        found = self._entries.get((to, from_, ident))
        return None if found is None or now >= found[0] else found[2]

    def answered(self, from_: str, to: str, ident: str, now: float) -> T | None:
        """An answer came; the same, once."""
        found = self.waiting(from_, to, ident, now)
        if found is not None:
            self._forget((to, from_, ident))
        return found

    def due(self, now: float) -> list[Overdue[T]]:
        """Those whose time is over; they are forgotten."""
        over: list[Overdue[T]] = []
        while self._entries:
            key, (until, _, value) = next(iter(self._entries.items()))
            if until > now:
                break
            self._forget(key)
            over.append(Overdue(key, value))
        return over

    def _forget(self, key: Key) -> None:
        _, domain, _ = self._entries.pop(key)
        self._of_domain[domain] -= 1
        if not self._of_domain[domain]:
            del self._of_domain[domain]
