"""What every engine promises (`routing.interfaces.Store`): one test for all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from imxrouter.model.errors import LocalMisuse
from imxrouter.routing.interfaces import MAX_KEY_BYTES, MAX_VALUE_BYTES, StoreProblem
from tests.store.rigs import START, Clock, MemoryRig, SqliteRig

Rig = SqliteRig | MemoryRig
ENGINES: dict[str, type[SqliteRig | MemoryRig]] = {"memory": MemoryRig, "sqlite": SqliteRig}
Make = Callable[..., Rig]


@pytest.fixture(params=ENGINES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Make a store with an engine; closed at the end."""
    made: list[Rig] = []

    def one(**options: Any) -> Rig:
        made.append(ENGINES[request.param](tmp_path, **options))
        return made[-1]

    yield one
    for rig in made:
        rig.close()


def test_tables_are_apart(make: Make) -> None:
    """The same key in two tables is two entries; bytes come back as they were."""
    store = make().store
    assert store.put("one", b"\x00k", b"")
    assert store.put("two", b"\x00k", b"\xff\x00")
    assert (store.get("one", b"\x00k"), store.get("two", b"\x00k")) == (b"", b"\xff\x00")
    assert store.get("three", b"\x00k") is None
    store.remove("one", b"\x00k")
    store.remove("one", b"not there")
    assert (store.items("one"), store.items("two")) == ([], [(b"\x00k", b"\xff\x00", None)])


def test_an_entry_ends_with_its_time(make: Make) -> None:
    """At that very second; a later put gives it a new one, and one in the past ends it."""
    rig = make()
    rig.store.put("t", b"k", b"v", START + 10)
    rig.clock.at = START + 9.9
    assert rig.store.items("t") == [(b"k", b"v", START + 10)]
    rig.clock.at = START + 10
    assert rig.store.get("t", b"k") is None
    assert rig.store.items("t") == []
    rig.store.put("t", b"k", b"w", START + 20)
    assert rig.store.get("t", b"k") == b"w"
    assert rig.store.put("t", b"k", b"x", START)
    assert rig.store.get("t", b"k") is None


def test_a_full_table_refuses_and_forgets_nothing(make: Make) -> None:
    """What is there can change; what has expired makes room; other tables are not concerned."""
    rig = make(limits={"small": 2})
    store = rig.store
    assert store.put("small", b"1", b"a", START + 5)
    assert store.put("small", b"2", b"b")
    assert not store.put("small", b"3", b"c")
    assert store.put("small", b"2", b"bb", durable=True)
    assert store.put("other", b"3", b"c")
    assert store.health().refused == 1
    assert {key for key, _, _ in store.items("small")} == {b"1", b"2"}
    rig.clock.at = START + 5
    assert store.put("small", b"3", b"c")


def test_expired_entries_do_not_pile_up(make: Make) -> None:
    """A table that nobody reads is searched as it grows."""
    rig = make()
    for number in range(5000):
        rig.clock.at = START + number
        rig.store.put("t", b"%d" % number, b"v", rig.clock.at + 1)
    assert rig.store.health().entries <= 1024


def test_sizes_are_bounded(make: Make) -> None:
    """Going over is our own mistake."""
    store = make().store
    assert store.put("t" * 64, b"k" * MAX_KEY_BYTES, b"v" * MAX_VALUE_BYTES)
    for table, key, value in (("", b"", b""), ("t" * 65, b"", b""), ("t", b"k" * 2049, b"")):
        with pytest.raises(LocalMisuse):
            store.put(table, key, value)
    with pytest.raises(LocalMisuse):
        store.put("t", b"k", b"v" * (MAX_VALUE_BYTES + 1))


def test_a_healthy_store_takes_durable_entries(make: Make) -> None:
    """And says that nothing is wrong."""
    rig = make()
    assert rig.store.put("t", b"k", b"v", durable=True)
    assert rig.flush()
    health = rig.store.health()
    assert (health.entries, health.waiting, health.problem, health.detail) == (1, 0, StoreProblem.NONE, "")


class Histories(RuleBasedStateMachine):
    """Any history of puts, removals, time and reopenings, beside a dictionary that knows what is right."""

    make: type[SqliteRig | MemoryRig] = MemoryRig
    keys = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([b"", b"1", b"2", b"\xff" * 40]))

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="imx-store-")
        self._clock = Clock()
        self._rig = self.make(Path(self._folder.name), self._clock)
        self._right: dict[tuple[str, bytes], tuple[bytes, float | None]] = {}

    @rule(place=keys, value=st.binary(max_size=300), lives=st.none() | st.integers(-5, 50))
    def put(self, place: tuple[str, bytes], value: bytes, lives: int | None) -> None:
        """Set a value, for a time or for ever."""
        until = None if lives is None else self._clock.at + lives
        assert self._rig.store.put(*place, value, until)
        self._right[place] = (value, until)

    @rule(place=keys)
    def remove(self, place: tuple[str, bytes]) -> None:
        """Forget one."""
        self._rig.store.remove(*place)
        self._right.pop(place, None)

    @rule(seconds=st.integers(1, 30))
    def time_passes(self, seconds: int) -> None:
        """The clock goes on."""
        self._clock.at += seconds

    @rule()
    def flush(self) -> None:
        """What waits is written."""
        assert self._rig.flush()

    @rule()
    def reopen(self) -> None:
        """The router restarts."""
        self._rig.reopen()

    @invariant()
    def all_is_right(self) -> None:
        """Exactly what was put and has not expired."""
        live = {
            place: (value, until)
            for place, (value, until) in self._right.items()
            if until is None or until > self._clock.at
        }
        found = {
            (table, key): (value, until)
            for table in ("a", "b")
            for key, value, until in self._rig.store.items(table)
        }
        assert found == live
        for place in self._right:
            assert self._rig.store.get(*place) == live.get(place, (None, None))[0]

    def teardown(self) -> None:
        """Close it."""
        self._rig.close()
        self._folder.cleanup()


class SqliteHistories(Histories):
    """The same with a file."""

    make = SqliteRig


TestHistories = Histories.TestCase
TestSqliteHistories = SqliteHistories.TestCase
TestSqliteHistories.settings = settings(max_examples=15, stateful_step_count=30)
