"""The engine that survives a restart: everything in memory, and a thread that writes it to SQLite.

Callers never wait for the disk. A change is in memory at once, and on disk within `INTERVAL_S` and the time
of a write; changes of one key within that time are one. What a disk refuses is kept and tried again, so that
a full disk costs nothing but the durability of what comes meanwhile. Processes of one router share the file,
each with all of it in memory; each takes over what the others write, within a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from imxrouter.routing.interfaces import StoreChange, StoreHealth, StoreProblem
from imxrouter.store.errors import StoreFailed, StoreRefused
from imxrouter.store.file import Entries, Place, StateFile
from imxrouter.store.memory import NEVER, Tables, check_sizes, expiry
from imxrouter.store.waiting import WaitingChanges

#: A change waits at most this long for company; with the time of a write it stays below a second.
INTERVAL_S: Final = 0.5
#: Where processes share the file, each looks this often for what the others changed.
FOLLOW_S: Final = 1.0
#: After a failure the disk is tried again so often.
RETRY_S: Final = 5.0
#: A problem that lasts is logged again so often.
REMIND_S: Final = 300.0
#: What has expired is dropped from the file so often.
PURGE_S: Final = 600.0
#: A start waits no longer for the file; then it goes on with what comes later.
OPENING_S: Final = 60.0

#: With these the file may still be read.
_READABLE: Final = (StoreProblem.FULL, StoreProblem.READ_ONLY, StoreProblem.BROKEN)
#: After these the connection is good, and only the write is tried again.
_PASSING: Final = (StoreProblem.FULL, StoreProblem.LOCKED)


class SqliteStore:
    """`Store` with a file.

    Args:
        file: the file, not open yet; only the writer thread touches it.
        now: seconds since 1970.
        hand_over: calls a function in the thread of the callers (`reactor.callFromThread`).
        limits: entries at most, by name of the table.
        shared: other processes use the file too.
        waiting: the changes that wait; with bounds of their own in tests.
        retry_s: how long after a failure the disk is tried again.

    Attributes:
        on_note: told (text, whether it is bad news) what the log should say.
    """

    def __init__(
        self,
        file: StateFile,
        now: Callable[[], float],
        hand_over: Callable[[Callable[[], None]], Any],
        *,
        limits: Mapping[str, int] | None = None,
        shared: bool = False,
        waiting: WaitingChanges | None = None,
        retry_s: float = RETRY_S,
    ) -> None:
        self.on_note: Callable[[str, bool], None] = lambda *_: None
        self._file = file
        self._now = now
        self._hand_over = hand_over
        self._shared = shared
        self._retry_s = retry_s
        self._tables = Tables(now, limits)
        self._watchers: dict[str, list[StoreChange]] = {}
        # below: shared with the writer thread, under this lock
        self._changed = threading.Condition(threading.Lock())
        self._waiting = WaitingChanges() if waiting is None else waiting
        self._writing = 0
        self._since = 0.0
        self._problem, self._detail = StoreProblem.CLOSED, f"{file.path} is not open yet"
        self._failures: dict[StoreProblem, int] = {}
        self._refused = 0
        self._last_write_at: float | None = None
        self._flush_asked = self._flush_done = 0
        self._closing: Callable[[], None] | None = None
        # below: of the writer thread alone
        self._thread: threading.Thread | None = None
        self._opened = threading.Event()
        self._refusal: StoreRefused | None = None
        self._is_open = self._is_loaded = False
        self._retry_at = self._follow_at = self._purge_at = 0.0
        self._remind_at = 0.0

    # -- life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the file and load it; blocks until that is done, for at most `OPENING_S`.

        A file that cannot be used now is a problem to be seen in `health`, and the start goes on without it.

        Raises:
            StoreRefused: the file is newer than this program, or no file of ours.
        """
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()
        if not self._opened.wait(OPENING_S):
            self.on_note(f"{self._file.path}: opening it takes very long; the start goes on without it", True)
        if self._refusal is not None:
            raise self._refusal

    def close(self, done: Callable[[], None]) -> None:
        """Write what waits and close; `done` is then called, in the thread of the callers."""
        thread = self._thread
        with self._changed:
            self._closing = done
            self._changed.notify_all()
        if thread is None or not thread.is_alive():
            done()

    def flush(self, timeout_s: float) -> bool:
        """Write now what waits; blocks, so it is not for a reactor's thread. Tells whether all is on disk."""
        with self._changed:
            self._flush_asked += 1
            asked = self._flush_asked
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._flush_done >= asked, timeout_s)
            return self._flush_done >= asked and not self._waiting and self._problem is StoreProblem.NONE

    # -- the interface -----------------------------------------------------------------------------------

    def get(self, table: str, key: bytes) -> bytes | None:
        """As the interface says."""
        entry = self._tables.find(table, key)
        return None if entry is None else entry[0]

    def put(
        self, table: str, key: bytes, value: bytes, expires_at: float | None = None, *, durable: bool = False
    ) -> bool:
        """As the interface says."""
        check_sizes(table, key, value)
        if expires_at is not None and expires_at <= self._now():
            self.remove(table, key)
            return True
        place, size = (table, key), len(key) + len(value)
        with self._changed:
            writable = self._problem is StoreProblem.NONE and self._waiting.has_room(place, size)
            if (durable and not writable) or not self._tables.put(
                table, key, value, NEVER if expires_at is None else expires_at
            ):
                self._refused += 1
                return False
            self._note_waiting()
            self._waiting.add(place, (value, expires_at), size)
        return True

    def remove(self, table: str, key: bytes) -> None:
        """As the interface says."""
        with self._changed:
            if self._tables.remove(table, key):
                self._note_waiting()
                self._waiting.add((table, key), None, len(key))

    def items(self, table: str) -> list[tuple[bytes, bytes, float | None]]:
        """As the interface says."""
        with self._changed:
            return [(key, value, expiry(at)) for key, (value, at) in self._tables.live(table)]

    def watch(self, table: str, changed: StoreChange) -> None:
        """As the interface says; also of what a file that could not be read at the start had."""
        self._watchers.setdefault(table, []).append(changed)

    def health(self) -> StoreHealth:
        """As the interface says."""
        with self._changed:
            return StoreHealth(
                str(self._file.path), self._file.size_bytes, len(self._tables),
                len(self._tables) if self._waiting.all else len(self._waiting.changes) + self._writing,
                self._last_write_at, self._problem, self._detail, dict(self._failures), self._refused,
            )  # fmt: skip

    def _note_waiting(self) -> None:
        if not self._waiting:
            self._since = time.monotonic()
            self._changed.notify_all()

    # -- the writer thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._turn()
        except StoreRefused as refusal:
            self._refusal = refusal
            self._opened.set()
            return
        self._opened.set()
        while True:
            with self._changed:
                asked = self._wait()
            try:
                self._turn()
            except StoreRefused as refusal:
                self._failed(StoreFailed(StoreProblem.BROKEN, str(refusal)))
            with self._changed:
                self._flush_done = asked
                closing = self._closing
                self._changed.notify_all()
            if closing is not None:
                break
        self._file.close()
        with self._changed:
            self._problem, self._detail = StoreProblem.CLOSED, f"{self._file.path} is closed"
        self._hand_over(closing)

    def _wait(self) -> int:
        """Until there is something to do; the number of the flush that it will answer."""
        while self._closing is None and self._flush_asked == self._flush_done:
            wait_s = self._due() - time.monotonic()
            if wait_s <= 0:
                break
            self._changed.wait(wait_s)
        return self._flush_asked

    def _due(self) -> float:
        if self._problem is not StoreProblem.NONE:
            return self._retry_at
        due = self._purge_at
        if self._waiting:
            due = min(due, self._since + INTERVAL_S)
        return min(due, self._follow_at) if self._shared else due

    def _turn(self) -> None:
        """Everything that is due; a failure ends the turn, and the next one tries again."""
        try:
            if not self._is_open:
                self._open()
            if self._shared:
                self._follow()
            self._write()
            if time.monotonic() >= self._purge_at:
                self._purge_at = time.monotonic() + PURGE_S
                self._file.purge()
        except StoreFailed as failed:
            self._failed(failed)
        except StoreRefused:
            raise
        except Exception as error:  # noqa: BLE001 - a bug here must not end the thread, and be seen
            self._failed(StoreFailed(StoreProblem.BROKEN, f"{self._file.path}: {error!r}"))
        else:
            self._works()

    def _open(self) -> None:
        try:
            self._file.open()
        except StoreFailed as failed:
            if not self._is_loaded and failed.problem in _READABLE:
                self._peek()
            raise
        for text, bad in self._file.notes:
            self._note(text, bad)
        with self._changed:
            if self._file.fresh and len(self._tables):
                self._waiting.add_all()
        self._take_over(self._file.load())
        self._is_open = self._is_loaded = True

    def _peek(self) -> None:
        """What is known must not be forgotten because nothing can be written."""
        try:
            rows = self._file.peek()
        except StoreFailed:
            return
        self._take_over(rows)
        self._is_loaded = True
        self._note(f"{self._file.path} cannot be written; its {len(rows)} entries were read", True)

    def _follow(self) -> None:
        self._follow_at = time.monotonic() + FOLLOW_S
        changes = self._file.changes()
        if changes is None:
            self._take_over(self._file.load())
            return
        for place, change in changes.items():
            self._take(place, change)

    def _take_over(self, rows: Entries) -> None:
        """Make memory like the file, but for what waits to be written."""
        with self._changed:
            known = [(table, key) for table, keys in self._tables.tables.items() for key in keys]
        if self._is_loaded:
            for place in known:
                if place not in rows:
                    self._take(place, None)
        for place, change in rows.items():
            self._take(place, change)

    def _take(self, place: Place, change: tuple[bytes, float | None] | None) -> None:
        """One entry as the file has it."""
        table, key = place
        with self._changed:
            mine = self._tables.tables.get(table, {}).get(key)
            if (place in self._waiting) and (mine is not None or self._is_loaded):
                return
            if change is None:
                if not self._tables.remove(table, key):
                    return
            else:
                theirs = (change[0], NEVER if change[1] is None else change[1])
                if mine == theirs or not self._tables.put(table, key, *theirs):
                    return
        value, expires_at = change if change is not None else (None, None)
        if self._opened.is_set() and table in self._watchers:
            self._hand_over(lambda: self._tell(table, key, value, expires_at))

    def _tell(self, table: str, key: bytes, value: bytes | None, expires_at: float | None) -> None:
        for changed in self._watchers[table]:
            changed(key, value, expires_at)

    def _write(self) -> None:
        with self._changed:
            if not self._waiting:
                return
            batch, everything = self._waiting.take()
            self._writing = len(batch)
            rows = self._snapshot() if everything else []
        try:
            if everything:
                self._file.rewrite(rows)
            else:
                self._file.write(batch, shared=self._shared)
        except BaseException:
            with self._changed:
                self._waiting.give_back(batch, everything)
                self._writing = 0
            raise
        with self._changed:
            self._writing = 0
            self._last_write_at = self._now()

    def _snapshot(self) -> list[tuple[str, bytes, bytes, float | None]]:
        return [
            (table, key, value, expiry(at))
            for table in self._tables.tables
            for key, (value, at) in self._tables.live(table)
        ]

    def _failed(self, failed: StoreFailed) -> None:
        if failed.problem not in _PASSING or not self._is_open:
            self._file.close()
            self._is_open = False
        self._retry_at = time.monotonic() + self._retry_s
        with self._changed:
            before, self._problem, self._detail = self._problem, failed.problem, str(failed)
            self._failures[failed.problem] = self._failures.get(failed.problem, 0) + 1
        if before is not failed.problem or time.monotonic() >= self._remind_at:
            self._remind_at = time.monotonic() + REMIND_S
            self._note(f"state is not written ({failed.problem.value}): {failed}", True)

    def _works(self) -> None:
        with self._changed:
            before, self._problem, self._detail = self._problem, StoreProblem.NONE, ""
        if before not in (StoreProblem.NONE, StoreProblem.CLOSED):
            self._note(f"{self._file.path} is written again", False)

    def _note(self, text: str, bad: bool) -> None:
        self._hand_over(lambda: self.on_note(text, bad))
