"""A bounded table in which nobody can push out what belongs to somebody else (rule 5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ShareTable(Generic[Value]):
    """Key to value until a time, bounded in all and for each owner.

    What does not fit is not taken, and `put` says so; an entry goes by its own time only.
    """

    def __init__(self, limit: int, per_owner: int, *, sweep_every_s: float = 5.0) -> None:
        """Make an empty table.

        Args:
            limit: entries in all.
            per_owner: entries of one owner.
            sweep_every_s: expired entries are looked for at most this often when room is needed, because it
                costs time linear in the table.
        """
        self.limit = limit
        self.per_owner = per_owner
        self._sweep_every_s = sweep_every_s
        self._next_sweep = float("-inf")
        self._entries: dict[str | bytes, tuple[Value, float, str | bytes]] = {}
        self._owned: dict[str | bytes, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str | bytes, now: float) -> Value | None:
        """The value, or None where there is none any more."""
        entry = self._entries.get(key)
        return None if entry is None or entry[1] <= now else entry[0]

    def expires_at(self, key: str | bytes) -> float:
        """When the entry goes; minus infinity where there is none."""
        entry = self._entries.get(key)
        return float("-inf") if entry is None else entry[1]

    def put(self, key: str | bytes, value: Value, owner: str | bytes, expires_at: float, now: float) -> bool:
        """Set a value; False where its owner's share or the table is full."""
        if key in self._entries:
            self.remove(key)
        elif not self._room(owner):
            if now >= self._next_sweep:
                self._next_sweep = now + self._sweep_every_s
                self.sweep(now)
            if not self._room(owner):
                return False
        self._entries[key] = (value, expires_at, owner)
        self._owned[owner] = self._owned.get(owner, 0) + 1
        return True

    def remove(self, key: str | bytes) -> bool:
        """Forget an entry; tells whether it was there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        left = self._owned[entry[2]] - 1
        if left:
            self._owned[entry[2]] = left
        else:
            del self._owned[entry[2]]
        return True

    def sweep(self, now: float) -> int:
        """Drop what has expired; returns how many."""
        gone = [key for key, entry in self._entries.items() if entry[1] <= now]
        for key in gone:
            self.remove(key)
        return len(gone)

    def items(self, now: float) -> Iterator[tuple[str | bytes, Value, float]]:
        """Key, value and time of every live entry."""
        for key, (value, expires_at, _) in self._entries.items():
            if expires_at > now:
                yield key, value, expires_at

    def _room(self, owner: str | bytes) -> bool:
        return len(self._entries) < self.limit and self._owned.get(owner, 0) < self.per_owner
