"""What the processes of a simulated host keep together: a file, of which a killed process loses the last."""

from __future__ import annotations

from collections.abc import Callable

from imxrouter.routing.interfaces import StoreChange, StoreHealth, StoreProblem

_Change = tuple[bytes, tuple[bytes, float] | None]


class File:
    """The file; there is one table in it.

    Args:
        wall: seconds since 1970.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self.wall = wall
        self.entries: dict[bytes, tuple[bytes, float]] = {}
        self.open_ones: list[Opened] = []

    def open(self) -> Opened:
        """One more process has it open."""
        self.open_ones.append(Opened(self))
        return self.open_ones[-1]

    def write(self, by: Opened, key: bytes, entry: tuple[bytes, float] | None) -> None:
        """A process writes, and the others are told."""
        if entry is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = entry
        value, until = entry if entry is not None else (None, None)
        for other in self.open_ones:
            if other is not by and not other.has_waiting(key):
                other.changed(key, value, until)

    def live(self) -> dict[bytes, tuple[bytes, float]]:
        """What has not expired; the rest is forgotten."""
        now = self.wall()
        self.entries = {key: entry for key, entry in self.entries.items() if entry[1] > now}
        return self.entries


class Opened:
    """A process's view of the file. It is a `Store`; what is put is written within a second.

    Args:
        file: which all of them share.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._waiting: list[_Change] = []
        self.changed: StoreChange = lambda *_: None

    def __len__(self) -> int:
        return len(self._file.live()) + len(self._waiting)

    def has_waiting(self, key: bytes) -> bool:
        """Whether a change of this process is to be written: what another one wrote before counts no more."""
        return any(waiting == key for waiting, _ in self._waiting)

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value; nobody asks for what is not written yet."""
        del table
        entry = self._file.live().get(key)
        return None if entry is None else entry[0]

    def put(
        self, table: str, key: bytes, value: bytes, expires_at: float | None = None, *, durable: bool = False
    ) -> bool:
        """Set a value."""
        del table, durable
        assert expires_at is not None
        self._waiting.append((key, (value, expires_at)))
        return True

    def remove(self, table: str, key: bytes) -> None:
        """Forget a value."""
        del table
        self._waiting.append((key, None))

    def items(self, table: str) -> list[tuple[bytes, bytes, float | None]]:
        """What is written and has not expired."""
        del table
        return [(key, value, until) for key, (value, until) in self._file.live().items()]

    def watch(self, table: str, changed: StoreChange) -> None:
        """Be told of what others write."""
        del table
        self.changed = changed

    def health(self) -> StoreHealth:
        """It is always well."""
        return StoreHealth("", 0, len(self), len(self._waiting), None, StoreProblem.NONE, "", {}, 0)

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        for key, entry in waiting:
            self._file.write(self, key, entry)

    def lose(self) -> None:
        """The process is killed: what waits is lost."""
        self._waiting.clear()
        self._file.open_ones.remove(self)
