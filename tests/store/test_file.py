"""The state file: made, upgraded, refused, moved aside, and shared."""

from __future__ import annotations

import re
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from imxrouter.routing.interfaces import StoreProblem
from imxrouter.store.errors import NewerSchema, NotOurs, StoreFailed
from imxrouter.store.file import LOG_ENTRIES, StateFile
from imxrouter.store.schema import UPGRADES
from tests.store.rigs import START, Clock, SqliteRig, closed

FIXTURES = Path(__file__).parent / "fixtures"
#: Schemas that might come one day.
LATER = (
    *UPGRADES,
    ("ALTER TABLE entry ADD COLUMN note TEXT", "UPDATE entry SET note = 'old'"),
    ("CREATE TABLE more (x)", "INSERT INTO more VALUES (1)"),
)
BROKEN = (*UPGRADES, ("CREATE TABLE half (x)", "INSERT INTO nowhere VALUES (1)"))


def old_file(folder: Path, number: int = 1) -> Path:
    """A state file of that schema."""
    path = folder / "state.db"
    connection = sqlite3.connect(path)
    connection.executescript((FIXTURES / f"schema-{number}.sql").read_text())
    connection.close()
    return path


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Look into a file."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def schema_of(path: Path) -> list[tuple[object, ...]]:
    """What a file is made of."""
    tables = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    return ask(path, tables) + ask(path, "PRAGMA user_version") + ask(path, "PRAGMA application_id")


def opened(path: Path, upgrades: tuple[tuple[str, ...], ...] = UPGRADES) -> StateFile:
    """Open a file as the writer thread does."""
    file = StateFile(path, Clock(), upgrades)
    file.open()
    return file


# -- a new file ----------------------------------------------------------------------------------------------


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    """With everything beside it; a wider mode is narrowed."""
    rig = SqliteRig(tmp_path)
    rig.store.put("t", b"k", b"v")
    assert rig.flush()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["state.db", "state.db-shm", "state.db-wal", "state.db.lock"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert rig.notes == []
    rig.close()
    rig.path.chmod(0o644)
    rig.store = rig._open()
    assert stat.S_IMODE(rig.path.stat().st_mode) == 0o600
    rig.close()


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_a_lost_file_is_told(tmp_path: Path, how: str) -> None:
    """Unlike a first start."""
    rig = SqliteRig(tmp_path)
    rig.store.put("t", b"k", b"v")
    rig.close()
    rig.path.unlink()
    if how == "empty":
        rig.path.touch()
    rig.store = rig._open()
    assert rig.store.items("t") == []
    assert rig.notes == [(f"{rig.path} is {how}; a new one is made", True)]
    rig.close()


def test_what_expired_leaves_the_file(tmp_path: Path) -> None:
    """At the latest when it is opened again."""
    rig = SqliteRig(tmp_path)
    rig.store.put("t", b"short", b"v", START + 1)
    rig.store.put("t", b"long", b"v")
    assert rig.flush()
    assert set(rig.rows()) == {("t", b"short"), ("t", b"long")}
    rig.clock.at += 1
    rig.reopen()
    rig.close()
    assert set(rig.rows()) == {("t", b"long")}


# -- other schemas -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(1, len(UPGRADES) + 1))
def test_every_schema_that_was_ever_written_is_read(tmp_path: Path, number: int) -> None:
    """Its entries are there, and the file is like a new one."""
    path = old_file(tmp_path, number)
    file = opened(path)
    assert file.load() == {
        ("strength", b"b.example"): (b"7", 4102444800.0), ("other", b"\x00\xff"): (b"", None)
    }  # fmt: skip
    file.close()
    (tmp_path / "new").mkdir()
    fresh = opened(tmp_path / "new" / "state.db")
    fresh.close()
    assert schema_of(path) == schema_of(fresh.path)


def test_upgrades_follow_each_other_with_a_copy_before(tmp_path: Path) -> None:
    """An upgraded file is like a new one; the copy is the old file, for its owner alone."""
    path = old_file(tmp_path)
    before = schema_of(path)
    file = opened(path, LATER)
    assert file.load()["strength", b"b.example"] == (b"7", 4102444800.0)
    backup = tmp_path / "state.db.schema-1.backup"
    assert file.notes == [(f"{path} goes from schema 1 to 3; {backup} is a copy", False)]
    file.close()
    assert schema_of(backup) == before
    assert ask(backup, "SELECT count(*) FROM entry") == [(2,)]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert ask(path, "SELECT DISTINCT note FROM entry") == [("old",)]
    (tmp_path / "new").mkdir()
    fresh = opened(tmp_path / "new" / "state.db", LATER)
    fresh.close()
    assert schema_of(path) == schema_of(fresh.path)
    again = opened(path, LATER)
    assert again.notes == []
    again.close()


def test_a_failed_upgrade_changes_nothing(tmp_path: Path) -> None:
    """The step is undone as a whole, and the older program can go on with the file."""
    path = old_file(tmp_path)
    before = schema_of(path)
    with pytest.raises(StoreFailed, match="nowhere"):
        opened(path, BROKEN)
    assert schema_of(path) == before
    opened(path).close()


def test_no_room_for_the_copy_means_no_upgrade(tmp_path: Path) -> None:
    """The file stays as it was, without half a copy."""
    path = old_file(tmp_path)
    before = schema_of(path)
    (tmp_path / "state.db.schema-1.backup").mkdir()  # the copy cannot take its name
    with pytest.raises(StoreFailed):
        opened(path, LATER)
    assert schema_of(path) == before
    assert not list(tmp_path.glob("*.part"))


def test_an_upgrade_waits_until_all_others_are_gone(tmp_path: Path) -> None:
    """An older process still writes to it."""
    path = old_file(tmp_path)
    older = opened(path)
    with pytest.raises(StoreFailed, match="stop all processes first") as caught:
        opened(path, LATER)
    assert caught.value.problem is StoreProblem.LOCKED
    older.close()
    opened(path, LATER).close()


def test_a_newer_file_is_refused_untouched(tmp_path: Path) -> None:
    """The start fails with what to do; the later program finds all as it was."""
    path = old_file(tmp_path)
    opened(path, LATER).close()
    content = path.read_bytes()
    with pytest.raises(NewerSchema) as caught:
        SqliteRig(tmp_path)
    assert str(caught.value) == (
        f"{path} has schema 3, and this version of imxrouter knows 1: install the later version again, or "
        "put back the backup state.db.schema-1.backup that it made"
    )
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_refused_untouched(tmp_path: Path) -> None:
    """Whatever it is."""
    path = tmp_path / "state.db"
    ask(path, "CREATE TABLE theirs (x)")
    content = path.read_bytes()
    with pytest.raises(NotOurs, match="another program"):
        SqliteRig(tmp_path)
    assert path.read_bytes() == content


# -- damage --------------------------------------------------------------------------------------------------


def overwritten(content: bytes) -> bytes:
    """No database at all."""
    return b"x" * len(content)


def torn(content: bytes) -> bytes:
    """The second half is gone."""
    return content[: len(content) // 2]


def scratched(content: bytes) -> bytes:
    """Pages in the middle hold something else."""
    third = len(content) // 3
    return content[:third] + b"\xa5" * third + content[2 * third :]


@pytest.mark.parametrize("damage", [overwritten, torn, scratched])
def test_a_damaged_file_is_moved_aside_and_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """Nothing of it is deleted; the store starts empty and works. The second one gets another name."""
    rig = SqliteRig(tmp_path)
    for turn in ("", "-2"):
        for number in range(500):
            rig.store.put("t", b"%d" % number, b"v" * 50)
        rig.close()
        bad = damage(rig.path.read_bytes())
        rig.path.write_bytes(bad)
        rig.notes.clear()
        rig.store = rig._open()
        aside = tmp_path / f"state.db.corrupt-20270115T080000Z{turn}"
        assert aside.read_bytes() == bad
        ((text, is_bad),) = rig.notes
        assert re.fullmatch(
            rf"{rig.path} is damaged \(.+\); it is now {aside}, and an empty one is made", text
        )
        assert is_bad
        assert rig.store.items("t") == []
    assert rig.store.put("t", b"k", b"v", durable=True)
    assert rig.flush()
    assert rig.rows() == {("t", b"k"): b"v"}
    rig.close()


def test_what_a_killed_process_left_goes_aside_with_the_damaged_file(tmp_path: Path) -> None:
    """Its write-ahead file belongs to the old one, and would spoil the new one."""
    path = tmp_path / "state.db"
    path.write_bytes(b"no database " * 500)
    (tmp_path / "state.db-wal").write_bytes(b"left over")
    file = opened(path)
    assert (tmp_path / "state.db.corrupt-20270115T080000Z-wal").read_bytes() == b"left over"
    file.write({("t", b"k"): (b"v", None)})
    file.close()
    again = opened(path)
    assert again.load() == {("t", b"k"): (b"v", None)}
    again.close()


def test_a_damaged_file_in_use_stays_where_it_is(tmp_path: Path) -> None:
    """The other process has it open; who comes later works without it, and says so."""
    rig = SqliteRig(tmp_path)
    rig.store.put("t", b"k", b"v" * 5000)
    rig.reopen()
    rig.path.write_bytes(overwritten(rig.path.read_bytes()))
    late = SqliteRig(tmp_path)
    assert late.store.health().problem is StoreProblem.CORRUPT
    assert rig.path.exists()
    assert not list(tmp_path.glob("*.corrupt-*"))
    closed(late.store)
    closed(rig.store)


# -- several processes ---------------------------------------------------------------------------------------


@pytest.fixture
def only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written or looked for by itself, so that it is known who comes first."""
    monkeypatch.setattr("imxrouter.store.sqlite.INTERVAL_S", 3600)
    monkeypatch.setattr("imxrouter.store.sqlite.FOLLOW_S", 3600)


@pytest.mark.usefixtures("only_when_asked")
def test_what_one_process_writes_the_others_take_over(tmp_path: Path) -> None:
    """Put, changed and removed; who watches is told, and nobody is told of what is its own."""
    one, two = SqliteRig(tmp_path, shared=True), SqliteRig(tmp_path, shared=True)
    told: list[tuple[bytes, bytes | None, float | None]] = []
    own: list[object] = []
    two.store.watch("t", lambda *change: told.append(change))
    one.store.watch("t", lambda *change: own.append(change))
    one.store.put("t", b"k", b"v", START + 50)
    assert one.flush()
    assert two.flush()
    assert two.store.items("t") == [(b"k", b"v", START + 50)]
    one.store.put("t", b"k", b"w")
    assert one.flush()
    assert two.flush()
    one.store.remove("t", b"k")
    assert one.flush()
    assert two.flush()
    assert told == [(b"k", b"v", START + 50), (b"k", b"w", None), (b"k", None, None)]
    assert two.store.items("t") == []
    two.store.put("t", b"theirs", b"x")
    assert two.flush()
    assert one.flush()
    assert own == [(b"theirs", b"x", None)]
    one.close()
    two.close()


@pytest.mark.usefixtures("only_when_asked")
def test_the_last_writer_wins_everywhere(tmp_path: Path) -> None:
    """What waits here is newer than what another process wrote meanwhile."""
    one, two = SqliteRig(tmp_path, shared=True), SqliteRig(tmp_path, shared=True)
    for turn in range(5):
        one.store.put("t", b"k", b"one %d" % turn)
        two.store.put("t", b"k", b"two %d" % turn)
        assert one.flush()
        assert two.flush()
        assert one.flush()
        assert one.store.get("t", b"k") == two.store.get("t", b"k") == b"two %d" % turn
    one.close()
    two.close()


def test_who_is_alone_notes_no_changes(tmp_path: Path) -> None:
    """Nobody reads them, and they would be half of what is written; who comes later reads everything."""
    one = SqliteRig(tmp_path)
    one.store.put("t", b"k", b"v")
    assert one.flush()
    assert ask(one.path, "SELECT count(*) FROM change") == [(0,)]
    one.close()
    two = SqliteRig(tmp_path, shared=True)
    assert two.store.get("t", b"k") == b"v"
    two.close()


@pytest.mark.usefixtures("only_when_asked")
def test_who_missed_too_much_reads_all_again(tmp_path: Path) -> None:
    """The list of changes is bounded; nothing is lost by that, and it stays bounded."""
    one, two = SqliteRig(tmp_path, shared=True), SqliteRig(tmp_path, shared=True)
    one.store.put("t", b"gone", b"v")
    assert one.flush()
    assert two.flush()
    one.store.remove("t", b"gone")
    for number in range(LOG_ENTRIES + 100):
        one.store.put("t", b"%d" % number, b"v")
    assert one.flush()
    assert ask(one.path, "SELECT count(*) FROM change") == [(LOG_ENTRIES,)]
    assert two.flush()
    assert sorted(two.store.items("t")) == sorted(one.store.items("t"))
    assert two.store.get("t", b"gone") is None
    one.close()
    two.close()


def test_what_is_written_between_a_look_and_a_write_is_seen_later(tmp_path: Path) -> None:
    """Each process's own writes do not hide those of others."""
    one, two = opened(tmp_path / "state.db"), opened(tmp_path / "state.db")
    assert one.changes() == {}
    two.write({("t", b"theirs"): (b"v", None)})
    one.write({("t", b"ours"): (b"v", None)})
    seen = one.changes()
    assert seen is not None
    assert seen["t", b"theirs"] == (b"v", None)
    assert one.changes() == {}
    assert two.changes() == {("t", b"ours"): (b"v", None)}
    one.close()
    two.close()
