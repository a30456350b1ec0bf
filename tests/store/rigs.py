"""Stores for tests: a clock that is set by hand, and engines that can be closed and opened again."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imxrouter.routing.interfaces import Store
from imxrouter.store.file import StateFile
from imxrouter.store.memory import MemoryStore
from imxrouter.store.schema import UPGRADES, Upgrades
from imxrouter.store.sqlite import SqliteStore

#: No test waits for a store longer than this; each of them takes some milliseconds.
PATIENCE_S = 30.0
START = 1_800_000_000.0


class Clock:
    """Seconds since 1970, moved by hand."""

    def __init__(self, at: float = START) -> None:
        self.at = at

    def __call__(self) -> float:
        """The time."""
        return self.at


def at_once(what: Callable[[], Any]) -> None:
    """Hand over by calling: listeners run in the writer thread."""
    what()


def closed(store: SqliteStore) -> None:
    """Close a store, and wait for it."""
    done = threading.Event()
    store.close(done.set)
    assert done.wait(PATIENCE_S)


def filled(place: Path) -> Path:
    """Take all room of a file system; the file that has it."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return ballast
    raise AssertionError("it never was full")


class SqliteRig:
    """A state file and the store on it.

    Attributes:
        path: of the file.
        clock: of the store.
        store: the open one.
        notes: what it said to the log.
        prepare: called with each connection.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock | None = None,
        prepare: Callable[[sqlite3.Connection], None] = lambda _: None,
        upgrades: Upgrades = UPGRADES,
        **options: Any,
    ) -> None:
        self.path = folder / "state.db"
        self.clock = clock or Clock()
        self.notes: list[tuple[str, bool]] = []
        self.prepare = prepare
        self._upgrades = upgrades
        self._options = {"retry_s": 0.01, **options}
        self.store = self._open()

    def _open(self) -> SqliteStore:
        file = StateFile(self.path, self.clock, self._upgrades, self.prepare)
        store = SqliteStore(file, self.clock, at_once, **self._options)
        store.on_note = lambda text, bad: self.notes.append((text, bad))
        store.start()
        return store

    def reopen(self) -> None:
        """Close in order, as a stop of the router does, and open again."""
        self.close()
        self.store = self._open()

    def flush(self) -> bool:
        """Write what waits; tells whether it is on disk."""
        return self.store.flush(PATIENCE_S)

    def close(self) -> None:
        """Close it."""
        closed(self.store)

    def rows(self) -> dict[tuple[str, bytes], bytes]:
        """What stands in the file, seen by somebody else."""
        connection = sqlite3.connect(self.path)
        try:
            found = connection.execute("SELECT name, key, value FROM entry").fetchall()
        finally:
            connection.close()
        return {(name, key): value for name, key, value in found}


class MemoryRig:
    """The engine without a file, under the same names."""

    def __init__(self, folder: Path, clock: Clock | None = None, **options: Any) -> None:
        del folder
        self.clock = clock or Clock()
        self.store: Store = MemoryStore(self.clock, **options)

    def reopen(self) -> None:
        """It lives as long as the process."""

    def flush(self) -> bool:
        """Nothing waits."""
        return True

    def close(self) -> None:
        """Nothing is open."""
