"""The engine that keeps everything in memory and nothing else; the SQLite engine has one inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from imxrouter.model.errors import LocalMisuse
from imxrouter.routing.interfaces import (
    MAX_KEY_BYTES,
    MAX_TABLE_NAME,
    MAX_VALUE_BYTES,
    StoreChange,
    StoreHealth,
    StoreProblem,
)

#: A value and when it expires. Atoms in a tuple: the garbage collector does not walk them for long.
Entry = tuple[bytes, float]
NEVER: Final = float("inf")

#: A table is searched for expired entries when it has grown to twice what the last search left, or to this.
_FIRST_SWEEP: Final = 1024
#: Entries of a table for which no other bound is given: some 200 MB of short ones.
TABLE_ENTRIES: Final = 1_000_000


class Tables:
    """Named tables of values until a time, each bounded.

    Args:
        now: seconds since 1970.
        limits: entries at most, by name of the table; `TABLE_ENTRIES` for the rest.
    """

    def __init__(self, now: Callable[[], float], limits: Mapping[str, int] | None = None) -> None:
        self.now = now
        self.tables: dict[str, dict[bytes, Entry]] = {}
        self._limits = dict(limits or {})
        self._sweep_at: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self.tables.values()))

    def find(self, table: str, key: bytes) -> Entry | None:
        """The live entry."""
        entry = self.tables.get(table, {}).get(key)
        return None if entry is None or entry[1] <= self.now() else entry

    def put(self, table: str, key: bytes, value: bytes, expires_at: float) -> bool:
        """Set a value; False where the table is full."""
        entries = self.tables.setdefault(table, {})
        if key not in entries and not self._room(table, entries):
            return False
        entries[key] = (value, expires_at)
        return True

    def remove(self, table: str, key: bytes) -> bool:
        """Forget a value; tells whether it was there, expired or not."""
        return self.tables.get(table, {}).pop(key, None) is not None

    def live(self, table: str) -> list[tuple[bytes, Entry]]:
        """What has not expired."""
        now = self.now()
        return [(key, entry) for key, entry in self.tables.get(table, {}).items() if entry[1] > now]

    def sweep(self, table: str) -> None:
        """Drop what has expired."""
        entries, now = self.tables.get(table, {}), self.now()
        for key in [key for key, entry in entries.items() if entry[1] <= now]:
            del entries[key]
        self._sweep_at[table] = max(_FIRST_SWEEP, 2 * len(entries))

    def _room(self, table: str, entries: dict[bytes, Entry]) -> bool:
        limit = self._limits.get(table, TABLE_ENTRIES)
        if len(entries) >= min(limit, self._sweep_at.get(table, _FIRST_SWEEP)):
            self.sweep(table)
        return len(entries) < limit


def check_sizes(table: str, key: bytes, value: bytes) -> None:
    """Hold a caller to the bounds of the interface.

    Raises:
        LocalMisuse: a name, key or value is too long.
    """
    if not 0 < len(table) <= MAX_TABLE_NAME:
        raise LocalMisuse(f"a table's name has 1 to {MAX_TABLE_NAME} characters: {table!r}")
    if len(key) > MAX_KEY_BYTES:
        raise LocalMisuse(f"{table}: a key of {len(key)} bytes; {MAX_KEY_BYTES} at most")
    if len(value) > MAX_VALUE_BYTES:
        raise LocalMisuse(f"{table}: a value of {len(value)} bytes; {MAX_VALUE_BYTES} at most")


class MemoryStore:
    """`Store` without a file: for tests, and for what need not survive a restart.

    Args:
        now: seconds since 1970.
        limits: entries at most, by name of the table.
    """

    def __init__(self, now: Callable[[], float], limits: Mapping[str, int] | None = None) -> None:
        self._tables = Tables(now, limits)
        self._refused = 0

    def get(self, table: str, key: bytes) -> bytes | None:
        """As the interface says."""
        entry = self._tables.find(table, key)
        return None if entry is None else entry[0]

    def put(
        self, table: str, key: bytes, value: bytes, expires_at: float | None = None, *, durable: bool = False
    ) -> bool:
        """As the interface says; what it keeps is as durable as this process."""
        del durable
        check_sizes(table, key, value)
        if expires_at is not None and expires_at <= self._tables.now():
            self._tables.remove(table, key)
            return True
        if self._tables.put(table, key, value, NEVER if expires_at is None else expires_at):
            return True
        self._refused += 1
        return False

    def remove(self, table: str, key: bytes) -> None:
        """As the interface says."""
        self._tables.remove(table, key)

    def items(self, table: str) -> list[tuple[bytes, bytes, float | None]]:
        """As the interface says."""
        return [(key, value, expiry(at)) for key, (value, at) in self._tables.live(table)]

    def watch(self, table: str, changed: StoreChange) -> None:
        """Nobody else can change anything."""

    def health(self) -> StoreHealth:
        """As the interface says."""
        return StoreHealth("", 0, len(self._tables), 0, None, StoreProblem.NONE, "", {}, self._refused)


def expiry(at: float) -> float | None:
    """The time as the interface tells it."""
    return None if at == NEVER else at
