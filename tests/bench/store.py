"""Measure the state file: `python -m tests.bench.store [FOLDER]`, on the file system of that folder.

Prints a table for `docs/scaling.md`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imxrouter.store.file import StateFile
from imxrouter.store.sqlite import SqliteStore

ENTRIES = 100_000
#: Puts of the last round, paced as a busy router's are: some 1,500 a second, over several writes.
PACED = 3_000
#: As back-off has them; every other entry is one digit, as strength is.
LONG = (
    b'{"failures":3,"next_try":1800000000.0,"at":1800000000.0,"reason":"connect-timeout",'
    b'"note":"192.0.2.1:6490"}'
)


def opened(folder: Path) -> SqliteStore:
    """A store on a file in that folder."""
    store = SqliteStore(StateFile(folder / "state.db", time.time), time.time, lambda what: what())
    store.start()
    return store


def timed(what: Callable[[], Any]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def row(name: str, value: float, unit: str) -> None:
    """Print one line of the table."""
    sys.stdout.write(f"| {name} | {value:,.1f} {unit} |\n")


def write(folder: Path) -> None:
    """Everything but the start."""
    store = opened(folder)
    until = time.time() + 86400 * 30
    entries = [(b"customer%06d.example" % number, LONG if number % 2 else b"7") for number in range(ENTRIES)]

    def put_all() -> None:
        for key, value in entries:
            store.put("bench", key, value, until)

    def get_all() -> None:
        for key, _ in entries:
            store.get("bench", key)

    row("put, all at once", timed(put_all) / ENTRIES * 1e6, "us")
    row("writing all of it", timed(lambda: store.flush(60)) * 1e3, "ms")
    row("get", timed(get_all) / ENTRIES * 1e6, "us")
    paced = []
    for key, value in entries[:PACED]:
        paced.append(timed(lambda key=key, value=value: store.put("bench", key, value, until)))  # type: ignore[misc]
        time.sleep(0.0005)
    paced.sort()
    row("put, paced, median", statistics.median(paced) * 1e6, "us")
    row("put, paced, 99 of 100 below", paced[PACED * 99 // 100] * 1e6, "us")
    row("put, paced, worst", paced[-1] * 1e6, "us")
    closed = threading.Event()
    store.close(closed.set)
    closed.wait(60)
    row("bytes in the file, an entry", (folder / "state.db").stat().st_size / ENTRIES, "bytes")


def read(folder: Path) -> None:
    """A start, in a process of its own."""
    before = resident()
    row("start with all of it", timed(lambda: opened(folder)) * 1e3, "ms")
    row("resident after the start, an entry", (resident() - before) / ENTRIES, "bytes")


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--read"]:
        read(Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
        sys.stdout.write(f"| {ENTRIES:,} entries | |\n| --- | --- |\n")
        write(Path(folder))
        sys.stdout.flush()
        subprocess.run([sys.executable, "-m", "tests.bench.store", "--read", folder], check=True)


if __name__ == "__main__":
    main()
