"""Disks that are full, broken, read-only or gone: noticed, told, refused to who asks, and healed."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imxrouter.routing.interfaces import StoreProblem
from imxrouter.store.errors import StoreFailed
from imxrouter.store.file import Place, StateFile
from imxrouter.store.waiting import WaitingChanges
from tests.store.rigs import PATIENCE_S, SqliteRig, filled


class Disk:
    """A disk on which the state file may take so many pages; `fault` is raised instead where it is set."""

    def __init__(self) -> None:
        self.pages = 1_000_000_000
        self.fault: Exception | None = None

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Set how much room there is."""
        if self.fault is not None:
            raise self.fault
        connection.execute(f"PRAGMA max_page_count = {self.pages}")


@pytest.fixture
def disk() -> Disk:
    """A disk with room."""
    return Disk()


@pytest.fixture
def rig(tmp_path: Path, disk: Disk) -> Iterator[SqliteRig]:
    """A store on that disk."""
    made = SqliteRig(tmp_path, prepare=disk)
    yield made
    made.close()


def healed(rig: SqliteRig) -> None:
    """Wait until everything is on disk."""
    eventually(rig.flush)


def eventually(what: Callable[[], object]) -> None:
    """Wait for something true."""
    until = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_full_disk_refuses_what_must_last_and_keeps_the_rest(rig: SqliteRig, disk: Disk) -> None:
    """It is counted and told by name; when there is room again all of it is written, without being asked."""
    rig.store.put("t", b"before", b"v")
    assert rig.flush()
    disk.pages = 1
    assert rig.store.put("t", b"big", b"v" * 100_000)
    assert not rig.flush()
    health = rig.store.health()
    assert (health.problem, health.waiting) == (StoreProblem.FULL, 1)
    assert health.detail == f"{rig.path}: database or disk is full"
    assert health.failures[StoreProblem.FULL] >= 1
    assert not rig.store.put("t", b"durable", b"v", durable=True)
    assert rig.store.get("t", b"durable") is None
    assert rig.store.health().refused == 1
    assert rig.store.put("t", b"passing", b"v")
    rig.store.remove("t", b"before")
    assert {key for key, _, _ in rig.store.items("t")} == {b"big", b"passing"}
    assert rig.notes == [(f"state is not written (full): {rig.path}: database or disk is full", True)]
    disk.pages = 1_000_000
    eventually(lambda: rig.store.health().problem is StoreProblem.NONE)
    assert set(rig.rows()) == {("t", b"big"), ("t", b"passing")}
    assert rig.notes[1:] == [(f"{rig.path} is written again", False)]
    assert rig.store.put("t", b"durable", b"v", durable=True)


def test_a_problem_is_logged_once_in_a_while(
    rig: SqliteRig, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each try; again after some time."""
    disk.pages = 1
    rig.store.put("t", b"big", b"v" * 100_000)
    for _ in range(5):
        assert not rig.flush()
    assert len(rig.notes) == 1
    assert rig.store.health().failures[StoreProblem.FULL] >= 5
    monkeypatch.setattr("imxrouter.store.sqlite.REMIND_S", 0)
    rig.store._remind_at = 0
    assert not rig.flush()
    assert len(rig.notes) == 2


def test_more_than_may_wait_is_written_as_a_whole(tmp_path: Path, disk: Disk) -> None:
    """Bounded while the disk is away: durable entries are refused, and nothing that was taken gets lost."""
    rig = SqliteRig(tmp_path, prepare=disk, waiting=WaitingChanges(most=3))
    rig.store.put("t", b"removed", b"v")
    assert rig.flush()
    disk.pages = 1
    rig.store.remove("t", b"removed")
    for number in range(10):
        assert rig.store.put("t", b"%d" % number, b"v" * 1000)
    assert len(rig.store._waiting.changes) <= 3
    disk.pages = 1_000_000
    healed(rig)
    assert set(rig.rows()) == {("t", b"%d" % number) for number in range(10)}
    rig.close()


def test_bytes_that_wait_are_bounded() -> None:
    """Large values fill it before many do; a change of what waits is always taken."""
    waiting = WaitingChanges(most=100, most_bytes=1000)
    waiting.add(("t", b"1"), (b"v" * 900, None), 900)
    assert not waiting.has_room(("t", b"2"), 200)
    assert waiting.has_room(("t", b"1"), 200)
    waiting.add(("t", b"2"), (b"v" * 200, None), 200)
    assert (waiting.take(), bool(waiting)) == (({}, True), False)


@pytest.mark.parametrize("newer", [None, (b"newer", None)])
def test_what_could_not_be_written_does_not_undo_what_came_since(newer: tuple[bytes, None] | None) -> None:
    """The newest change of each key is what will be written."""
    waiting = WaitingChanges()
    waiting.add(("t", b"k"), (b"older", None), 6)
    waiting.add(("t", b"other"), (b"v", None), 6)
    batch, everything = waiting.take()
    waiting.add(("t", b"k"), newer, 6)
    waiting.give_back(batch, everything)
    assert waiting.changes == {("t", b"k"): newer, ("t", b"other"): (b"v", None)}


def test_a_file_that_is_taken_away_is_made_anew(rig: SqliteRig) -> None:
    """With all that memory has; SQLite alone would go on with the one that nobody finds."""
    rig.store.put("t", b"old", b"v")
    assert rig.flush()
    rig.path.unlink()
    rig.store.put("t", b"new", b"v")
    rig.flush()
    healed(rig)
    assert set(rig.rows()) == {("t", b"old"), ("t", b"new")}
    told = [text for text, _ in rig.notes]
    assert f"state is not written (broken): {rig.path} was taken away while it was open" in told


def test_a_file_that_is_damaged_while_it_is_open_is_moved_aside(rig: SqliteRig, disk: Disk) -> None:
    """And made anew from memory, as soon as SQLite notices it."""
    for number in range(1000):
        rig.store.put("t", b"%d" % number, b"v" * 50)
    rig.reopen()
    rig.path.write_bytes(b"x" * rig.path.stat().st_size)
    disk.fault = sqlite3.DatabaseError("database disk image is malformed")
    disk.fault.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    rig.store.put("t", b"new", b"v")
    assert not rig.flush()
    assert rig.store.health().problem is StoreProblem.CORRUPT
    disk.fault = None
    healed(rig)
    assert len(rig.rows()) == 1001
    assert len(list(rig.path.parent.glob("state.db.corrupt-*[0-9Z]"))) == 1


def test_a_directory_that_comes_later(tmp_path: Path) -> None:
    """The start goes on without it; what its file had is told to who watches, and what came first stays."""
    away, here = tmp_path / "away", tmp_path / "here"
    away.mkdir()
    earlier = SqliteRig(away)
    earlier.store.put("t", b"kept", b"v")
    earlier.store.put("t", b"both", b"old")
    earlier.close()
    rig = SqliteRig(here)
    told: list[tuple[bytes, bytes | None, float | None]] = []
    rig.store.watch("t", lambda *change: told.append(change))
    assert rig.store.health().problem is StoreProblem.BROKEN
    assert "No such file or directory" in rig.notes[0][0]
    assert not rig.store.put("t", b"durable", b"v", durable=True)
    assert rig.store.put("t", b"both", b"new")
    away.rename(here)
    healed(rig)
    assert told == [(b"kept", b"v", None)]
    assert rig.rows() == {("t", b"kept"): b"v", ("t", b"both"): b"new"}
    rig.close()


def test_what_could_not_be_read_at_the_start_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file could be opened already."""
    rig = SqliteRig(tmp_path)
    rig.store.put("t", b"kept", b"v")
    rig.close()
    faults = [StoreFailed(StoreProblem.LOCKED, "locked"), StoreFailed(StoreProblem.FULL, "full")]
    load = StateFile.load

    def failing(file: StateFile) -> dict[Place, tuple[bytes, float | None]]:
        if faults:
            raise faults.pop()
        return load(file)

    monkeypatch.setattr(StateFile, "load", failing)
    rig.store = rig._open()
    rig.store.put("t", b"new", b"v")
    healed(rig)
    assert rig.rows() == {("t", b"kept"): b"v", ("t", b"new"): b"v"}
    assert {key for key, _, _ in rig.store.items("t")} == {b"kept", b"new"}
    rig.close()


def test_another_program_that_locks_the_file(rig: SqliteRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that was left open in a transaction, say."""
    monkeypatch.setattr("imxrouter.store.file.BUSY_S", 0.01)
    rig.reopen()
    other = sqlite3.connect(rig.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    rig.store.put("t", b"k", b"v")
    assert not rig.flush()
    assert rig.store.health().problem is StoreProblem.LOCKED
    other.execute("ROLLBACK")
    other.close()
    healed(rig)
    assert rig.rows() == {("t", b"k"): b"v"}


def test_a_fault_of_ours_does_not_end_the_thread(rig: SqliteRig, disk: Disk) -> None:
    """It is a problem like another one."""
    disk.fault = ValueError("a bug")
    rig.store.put("t", b"k", b"v")
    assert not rig.flush()
    assert (rig.store.health().problem, rig.store.health().detail) == (
        StoreProblem.BROKEN, f"{rig.path}: ValueError('a bug')"
    )  # fmt: skip
    disk.fault = None
    healed(rig)
    assert rig.rows() == {("t", b"k"): b"v"}


def test_callers_never_wait_for_the_disk(rig: SqliteRig, disk: Disk) -> None:
    """A write that hangs holds up nobody; what is changed meanwhile is written after it."""
    hangs, go_on = threading.Event(), threading.Event()
    usual = disk.__call__

    def hang(connection: sqlite3.Connection) -> None:
        hangs.set()
        assert go_on.wait(PATIENCE_S)
        usual(connection)

    rig.store._file._prepare = hang
    rig.store.put("t", b"k", b"v")
    assert hangs.wait(PATIENCE_S)
    rig.store.put("t", b"k", b"w")  # these would stand still otherwise, and the test with them
    rig.store.put("t", b"more", b"x", durable=True)
    assert {key: value for key, value, _ in rig.store.items("t")} == {b"k": b"w", b"more": b"x"}
    assert rig.store.health().waiting == 3
    go_on.set()
    healed(rig)
    assert rig.rows() == {("t", b"k"): b"w", ("t", b"more"): b"x"}


# -- a real file system --------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, needs_root: None) -> Iterator[Path]:
    """A file system of one megabyte."""
    del needs_root
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.needs_root
def test_a_file_system_that_fills_up_and_is_cleared(small: Path) -> None:
    """What is on disk stays good, what came since is there afterwards."""
    rig = SqliteRig(small)
    rig.store.put("t", b"before", b"v")
    assert rig.flush()
    ballast = filled(small)
    rig.store.put("t", b"after", b"v" * 50_000)
    assert not rig.flush()
    assert rig.store.health().problem is StoreProblem.FULL
    assert not rig.store.put("t", b"durable", b"v", durable=True)
    assert rig.rows() == {("t", b"before"): b"v"}
    ballast.unlink()
    healed(rig)
    rig.reopen()
    assert {key for key, _, _ in rig.store.items("t")} == {b"before", b"after"}
    rig.close()


@pytest.mark.needs_root
def test_a_start_on_a_full_file_system(small: Path) -> None:
    """With a file or without one: the problem is named, and heals."""
    ballast = filled(small)
    rig = SqliteRig(small)
    assert rig.store.health().problem is StoreProblem.FULL
    rig.store.put("t", b"k", b"v")
    ballast.unlink()
    healed(rig)
    rig.close()
    ballast = filled(small)
    rig.store = rig._open()
    assert rig.store.items("t") == [(b"k", b"v", None)]
    rig.store.put("t", b"big", b"v" * 50_000)
    assert not rig.flush()
    assert rig.store.health().problem is StoreProblem.FULL
    ballast.unlink()
    healed(rig)
    assert {key for key, _, _ in rig.store.items("t")} == {b"k", b"big"}
    rig.close()


@pytest.mark.needs_root
def test_a_start_on_a_read_only_file_system(small: Path) -> None:
    """What it has is known, all works in memory; when it can be written, all of it is."""
    earlier = SqliteRig(small)
    earlier.store.put("t", b"kept", b"v")
    earlier.store.put("t", b"removed", b"v")
    earlier.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    rig = SqliteRig(small)
    assert rig.store.health().problem is StoreProblem.READ_ONLY
    assert rig.store.items("t") == [(b"kept", b"v", None), (b"removed", b"v", None)]
    assert rig.notes[0] == (f"{rig.path} cannot be written; its 2 entries were read", True)
    assert rig.store.put("t", b"new", b"v")
    rig.store.remove("t", b"removed")
    subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
    healed(rig)
    assert rig.rows() == {("t", b"kept"): b"v", ("t", b"new"): b"v"}
    rig.close()
