"""Processes that are killed in the middle of writing: the last second may be lost, nothing else."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import IO

import pytest

from tests.store.rigs import SqliteRig
from tests.store.writer import KEYS

ROUNDS = 2
#: What may be lost: a second, and one more for the disk of a busy machine.
LOSS_S = 2.0
#: A writer says something many times in this.
STILL_S = 0.3


def start(path: Path, process: str, out: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a writer."""
    return subprocess.Popen([sys.executable, "-m", "tests.store.writer", str(path), process], stdout=out)


def newest(values: list[bytes]) -> int:
    """The highest number."""
    return max(map(int, values))


def _told(log: Path) -> list[tuple[int, float]]:
    """What a writer had written, as it says: numbers, and when."""
    lines = log.read_text().splitlines()[:-1]  # the last one may be half a line
    return [(int(number), float(at)) for number, at in map(str.split, lines)]


def _stood_still_s(told: list[tuple[int, float]]) -> float:
    """How long a writer had no turn at all."""
    times = [at for _, at in told]
    return sum(right - left for left, right in pairwise(times) if right - left > STILL_S)


@pytest.mark.parametrize("processes", [("one",), ("one", "two")])
def test_a_kill_loses_a_second_at_most_and_damages_nothing(
    tmp_path: Path, processes: tuple[str, ...]
) -> None:
    """Several times on the same file, alone and with another process that writes beside it."""
    chance = random.Random(7)
    for turn in range(ROUNDS):
        logs = [tmp_path / f"{process}-{turn}" for process in processes]
        outs = [log.open("wb") for log in logs]
        runs = [
            start(tmp_path / "state.db", process, out) for process, out in zip(processes, outs, strict=True)
        ]
        deadline = time.monotonic() + 60
        while any(log.stat().st_size < 100_000 for log in logs):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(LOSS_S + chance.random())  # somewhere between two writes, or in one
        for run in runs:
            run.kill()
            run.wait()
        for out in outs:
            out.close()
        rig = SqliteRig(tmp_path)
        assert [note for note in rig.notes if note[1]] == []
        tales = [_told(log) for log in logs]
        still_s = sum(map(_stood_still_s, tales))  # whoever stands still may hold the lock of the file
        for process, told in zip(processes, tales, strict=True):
            killed_at = told[-1][1]
            before = killed_at - LOSS_S - still_s
            must_be_there = max((number for number, at in told if at <= before), default=-1)
            values = [value for _, value, _ in rig.store.items(process)]
            assert newest(values) >= must_be_there, killed_at
            assert len(values) == KEYS
        rig.close()
        connection = sqlite3.connect(tmp_path / "state.db")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
