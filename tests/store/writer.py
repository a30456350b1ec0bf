"""A process that writes numbers into a store until it is killed; for `test_killed.py`.

`python -m tests.store.writer FILE PROCESS`: it tells each number after it was put, with its time.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from imxrouter.store.file import StateFile
from imxrouter.store.sqlite import SqliteStore
from tests.store.rigs import at_once

#: Keys are used again and again, as those of a router are.
KEYS = 997


def main(path: Path, process: str) -> None:
    """Put for ever; the value of a key is the newest number with its remainder."""
    store = SqliteStore(StateFile(path, time.time), time.time, at_once, shared=True)
    store.start()
    number = 1 + max((int(value) for _, value, _ in store.items(process)), default=-1)
    while True:
        store.put(process, b"%d" % (number % KEYS), b"%d" % number)
        sys.stdout.write(f"{number} {time.monotonic()}\n")
        sys.stdout.flush()
        number += 1
        if not number % 50:
            time.sleep(0.002)  # some ten thousand a second, so that the reader keeps up


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
