"""The state file: opening, upgrading, reading and writing it. All of it blocks, and belongs to one thread."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

from imxrouter.routing.interfaces import StoreProblem
from imxrouter.store.errors import NewerSchema, NotOurs, StoreError, StoreFailed, failed_by
from imxrouter.store.lock import SharedLock
from imxrouter.store.schema import APPLICATION_ID, UPGRADES, Upgrades

#: Table and key.
Place = tuple[str, bytes]
#: Value and time of expiry; None: removed.
Change = tuple[bytes, float | None] | None
Entries = dict[Place, tuple[bytes, float | None]]

#: How long a write waits for that of another process; one writes for some milliseconds, rarely for a second.
BUSY_S: Final = 5.0
#: How long the opening waits for another one, which may be upgrading.
OPENING_S: Final = 30.0
#: Changes that the file remembers for other processes; they look every second. More, and they read all of it.
LOG_ENTRIES: Final = 10_000
#: The write-ahead file is cut down to this after a checkpoint.
_WAL_BYTES: Final = 4 * 1024 * 1024

_PUT: Final = "INSERT OR REPLACE INTO entry (name, key, value, expires_at) VALUES "
_NOTE: Final = "INSERT INTO change (name, key) VALUES "
#: Rows of one statement. For each statement the thread takes the interpreter from the reactor for a moment.
_ROWS: Final = 200
_SIDE_FILES: Final = ("-wal", "-shm")


class StateFile:
    """One SQLite file, for one thread.

    Args:
        path: of the file; beside it are its write-ahead files, a lock, and backups.
        now: seconds since 1970.
        upgrades: the steps of the schema.
        prepare: called with the connection before each transaction; tests make it fail there.

    Attributes:
        notes: what opening had to do, for the log, and whether it is bad news.
        fresh: opening found no file, or moved it aside.
        size_bytes: of the file and its write-ahead file, after opening and after each write.
    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], float],
        upgrades: Upgrades = UPGRADES,
        prepare: Callable[[sqlite3.Connection], None] = lambda _: None,
    ) -> None:
        self.path = path
        self.notes: list[tuple[str, bool]] = []
        self.fresh = False
        self.size_bytes = 0
        self._now = now
        self._upgrades = upgrades
        self._prepare = prepare
        self._lock: SharedLock | None = None
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._seen_change = 0
        self._seen_version = 0

    # -- opening and closing -----------------------------------------------------------------------------

    def open(self) -> None:
        """Open it; make, upgrade or move it aside where that is needed.

        Raises:
            StoreRefused: it is newer than this program, or no file of ours; it was not touched.
            StoreFailed: it cannot be used now.
        """
        self.notes.clear()
        self.fresh = False
        lock = self._lock = SharedLock(self.path.with_name(self.path.name + ".lock"), OPENING_S)
        try:
            with self._problems():
                try:
                    self._open(lock)
                except sqlite3.DatabaseError as error:
                    if problem_of(error, self.path) is not StoreProblem.CORRUPT or not lock.alone:
                        raise
                    self._move_aside(str(error))
                    self._open(lock)
            lock.share()
        except (StoreError, OSError):
            self.close()
            raise

    def close(self) -> None:
        """Close what is open; nothing is written."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def _open(self, lock: SharedLock) -> None:
        if not self.path.exists() or not self.path.stat().st_size:
            what = "empty" if self.path.exists() else "gone"
            self.fresh = True
            if not lock.is_new and not self.notes:
                self.notes.append((f"{self.path} is {what}; a new one is made", True))
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.path.chmod(0o600)
        self._inode = self.path.stat().st_ino
        connection = self._connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        version = self._version(connection)
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise _corrupt(found)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # one fsync for each batch, in a thread of its own
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        self._upgrade(connection, version, lock)
        self._seen_change = self._newest(connection)
        self._seen_version = self._data_version(connection)
        self._measure()

    def _version(self, connection: sqlite3.Connection) -> int:
        """The schema of the file; 0 for an empty one."""
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        owner = connection.execute("PRAGMA application_id").fetchone()[0]
        has_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if (version or has_tables) and owner != APPLICATION_ID:
            raise NotOurs(
                f"{self.path} is a database of another program; move it away, or choose another state_dir"
            )
        if version > len(self._upgrades):
            raise NewerSchema(
                f"{self.path} has schema {version}, and this version of imxrouter knows "
                f"{len(self._upgrades)}: install the later version again, or put back the backup "
                f"{self._backup_name(len(self._upgrades))} that it made"
            )
        return version

    def _upgrade(self, connection: sqlite3.Connection, version: int, lock: SharedLock) -> None:
        if version and version < len(self._upgrades):
            if not lock.alone:
                raise StoreFailed(
                    StoreProblem.LOCKED,
                    f"{self.path} has schema {version} and another process uses it: stop all processes first",
                )
            backup = self._back_up(connection, version)
            self.notes.append(
                (
                    f"{self.path} goes from schema {version} to {len(self._upgrades)}; {backup} is a copy",
                    False,
                )
            )
        for number in range(version + 1, len(self._upgrades) + 1):
            with self._transaction(connection):
                if self._version(connection) >= number:  # another process was faster
                    continue
                for statement in self._upgrades[number - 1]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")

    def _backup_name(self, version: int) -> str:
        return f"{self.path.name}.schema-{version}.backup"

    def _back_up(self, connection: sqlite3.Connection, version: int) -> Path:
        backup = self.path.with_name(self._backup_name(version))
        half = backup.with_name(backup.name + ".part")
        half.unlink(missing_ok=True)
        half.touch(mode=0o600)
        try:
            copy = sqlite3.connect(half)
            try:
                connection.backup(copy)
            finally:
                copy.close()
            half.replace(backup)
        except BaseException:
            half.unlink(missing_ok=True)
            raise
        return backup

    def _move_aside(self, why: str) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now()))
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        number = 1
        while aside.exists():
            number += 1
            aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}-{number}")
        for end in ("", *_SIDE_FILES):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{end}").replace(f"{aside}{end}")
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()  # only now, for it would remove the write-ahead file
        self.notes.append(
            (f"{self.path} is damaged ({why}); it is now {aside}, and an empty one is made", True)
        )

    # -- reading and writing -----------------------------------------------------------------------------

    def load(self) -> Entries:
        """Everything that has not expired.

        Raises:
            StoreFailed: it cannot be read.
        """
        with self._problems():
            connection = self._open_connection()
            self._seen_change = self._newest(connection)
            return self._entries(connection)

    def peek(self) -> Entries:
        """Everything, where `open` failed: reading needs neither room nor leave to write.

        What a killed process left in the write-ahead file is missing, where SQLite cannot read that either.

        Raises:
            StoreFailed: it cannot be read, or has another schema.
        """
        place = self.path.absolute().as_uri()
        with self._problems():
            try:
                return self._peek(f"{place}?mode=ro")
            except sqlite3.OperationalError:
                return self._peek(f"{place}?mode=ro&immutable=1")

    def _peek(self, place: str) -> Entries:
        connection = sqlite3.connect(place, uri=True)
        try:
            if self._version(connection) != len(self._upgrades):
                raise StoreFailed(StoreProblem.BROKEN, f"{self.path} has another schema")
            return self._entries(connection)
        finally:
            connection.close()

    def _entries(self, connection: sqlite3.Connection) -> Entries:
        rows = connection.execute(
            "SELECT name, key, value, expires_at FROM entry WHERE expires_at IS NULL OR expires_at > ?",
            (self._now(),),
        )
        return {(name, key): (value, expires_at) for name, key, value, expires_at in rows}

    def write(self, batch: Mapping[Place, Change], *, shared: bool = True) -> None:
        """Write all of it or nothing; where it is shared, with a note of what changed.

        Raises:
            StoreFailed: nothing was written.
        """
        puts = [(*place, *change) for place, change in batch.items() if change is not None]
        gone = [place for place, change in batch.items() if change is None]
        with self._problems():
            connection = self._open_connection()
            with self._transaction(connection):
                _insert(connection, _PUT, puts)
                connection.executemany("DELETE FROM entry WHERE name = ? AND key = ?", gone)
                if shared:
                    self._log(connection, batch)
            self._measure()

    def rewrite(self, everything: Iterable[tuple[str, bytes, bytes, float | None]]) -> None:
        """Put this in the place of all that is there.

        Raises:
            StoreFailed: nothing was written.
        """
        with self._problems():
            connection = self._open_connection()
            with self._transaction(connection):
                connection.execute("DELETE FROM entry")
                _insert(connection, _PUT, everything)
                self._log(connection, [("", b"")])
            self._measure()

    def purge(self) -> None:
        """Drop what has expired.

        Raises:
            StoreFailed: nothing was dropped.
        """
        with self._problems():
            connection = self._open_connection()
            connection.execute("DELETE FROM entry WHERE expires_at <= ?", (self._now(),))
            self._measure()

    def changes(self) -> dict[Place, Change] | None:
        """What other processes changed since the last call; None: too much, load everything.

        Call it before each write of ours, for it takes what stands in the file as theirs.

        Raises:
            StoreFailed: it cannot be read.
        """
        with self._problems():
            connection = self._open_connection()
            version = self._data_version(connection)
            if version == self._seen_version:
                return {}
            rows = connection.execute(
                "SELECT c.number, c.name, c.key, e.value, e.expires_at FROM change c LEFT JOIN entry e "
                "ON e.name = c.name AND e.key = c.key WHERE c.number > ? ORDER BY c.number",
                (self._seen_change,),
            ).fetchall()
            self._seen_version = version
            if not rows:
                return {}
            missed = rows[0][0] != self._seen_change + 1
            self._seen_change = rows[-1][0]
            if missed or any(not row[1] for row in rows):
                return None
            return {(name, key): None if value is None else (value, at) for _, name, key, value, at in rows}

    def _log(self, connection: sqlite3.Connection, places: Iterable[Place]) -> None:
        """Note what changed, and that we know of it; inside of a transaction."""
        before = self._newest(connection)
        _insert(connection, _NOTE, places)
        newest = self._newest(connection)
        connection.execute("DELETE FROM change WHERE number <= ?", (newest - LOG_ENTRIES,))
        if self._seen_change == before:
            self._seen_change = newest

    # -- below -------------------------------------------------------------------------------------------

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreFailed(StoreProblem.CLOSED, f"{self.path} is not open")
        try:
            same = self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            same = False
        if not same:  # SQLite would go on writing to a file that nobody can find
            raise StoreFailed(StoreProblem.BROKEN, f"{self.path} was taken away while it was open")
        return self._connection

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        self._prepare(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _problems(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreFailed(problem_of(error, self.path), f"{self.path}: {error}") from None
        except OSError as error:
            raise failed_by(error, self.path) from None

    @staticmethod
    def _newest(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT coalesce(max(number), 0) FROM change").fetchone()[0])

    @staticmethod
    def _data_version(connection: sqlite3.Connection) -> int:
        """A number that changes when another connection changes the file."""
        return int(connection.execute("PRAGMA data_version").fetchone()[0])

    def _measure(self) -> None:
        self.size_bytes = 0
        for end in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                self.size_bytes += Path(f"{self.path}{end}").stat().st_size


def _insert(connection: sqlite3.Connection, into: str, rows: Iterable[tuple[object, ...]]) -> None:
    left = iter(rows)
    while some := list(islice(left, _ROWS)):
        places = ", ".join(["(" + ", ".join("?" * len(some[0])) + ")"] * len(some))
        connection.execute(into + places, [value for row in some for value in row])


def _corrupt(detail: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(detail.replace("\n", " ")[:200])
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


_PROBLEMS: Final = {
    sqlite3.SQLITE_FULL: StoreProblem.FULL,
    sqlite3.SQLITE_READONLY: StoreProblem.READ_ONLY,
    sqlite3.SQLITE_PERM: StoreProblem.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: StoreProblem.READ_ONLY,
    sqlite3.SQLITE_CORRUPT: StoreProblem.CORRUPT,
    sqlite3.SQLITE_NOTADB: StoreProblem.CORRUPT,
    sqlite3.SQLITE_BUSY: StoreProblem.LOCKED,
    sqlite3.SQLITE_LOCKED: StoreProblem.LOCKED,
}


def problem_of(error: sqlite3.Error, path: Path) -> StoreProblem:
    """Which problem an error of SQLite is; a full disk may show itself as a failed read or write as well."""
    code = getattr(error, "sqlite_errorcode", None)
    problem = _PROBLEMS.get(code & 0xFF, StoreProblem.BROKEN) if code is not None else StoreProblem.BROKEN
    if problem in (StoreProblem.BROKEN, StoreProblem.READ_ONLY) and _is_full(path):
        return StoreProblem.FULL
    return problem


def _is_full(path: Path) -> bool:
    with contextlib.suppress(OSError):
        room = os.statvfs(path.parent)
        return not room.f_bavail * room.f_frsize >= 65536
    return False
