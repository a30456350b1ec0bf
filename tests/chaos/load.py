"""The services of a scene in a process of their own, so that neither load nor witnesses wait for each other.

Lines of JSON come in and go out: `{"do": "start", ...}`, `cut`, `away`, `hush`, `count`, `report`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.chaos.book import Book, Report
from tests.chaos.service import Plan, Service
from tests.chaos.witness import STILL_S

#: The longest rest between two turns; the pace of sending is as fine as this.
_REST_S = 0.004


class Count(NamedTuple):
    """Messages without an outcome now; sent, delivered twice, ended in success so far."""

    waiting: int
    sent: int
    doubled: int = 0
    succeeded: int = 0

    @property
    def lost(self) -> int:
        """Messages that ended otherwise."""
        return self.sent - self.waiting - self.succeeded


class Load:
    """The load process, as the scene holds it.

    Args:
        key: login key of every service.
        plans: the services.
    """

    def __init__(self, key: Ed25519PrivateKey, plans: list[Plan]) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.load", key.private_bytes_raw().hex()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self._ask({"do": "start", "plans": [asdict(plan) for plan in plans]})

    def _ask(self, command: dict[str, Any]) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(command).encode() + b"\n")
        self._child.stdin.flush()
        return json.loads(self._child.stdout.readline())

    def cut(self, name: str, deaf_s: float) -> None:
        """A service stops reading for so long and then loses its link."""
        self._ask({"do": "cut", "name": name, "deaf_s": deaf_s})

    def away(self, name: str, seconds: float) -> None:
        """A service loses its link now and comes back after so long."""
        self._ask({"do": "away", "name": name, "seconds": seconds})

    def hush(self) -> None:
        """Send nothing new."""
        self._ask({"do": "hush"})

    def count(self) -> Count:
        """Figures of this moment."""
        return Count(*self._ask({"do": "count"}))

    def report(self) -> Report:
        """What became of everything; the services stop."""
        return Report.from_json(self._ask({"do": "report"}))

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was not written has nobody to read it
                    stream.close()


class _Worker:
    """The other end."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._book = Book()
        self._services: list[Service] = []
        self._lines = bytearray()

    def run(self) -> None:
        """Serve until the input ends."""
        looked = time.monotonic()
        while True:
            sockets = [one.sock for one in self._services if one.sock is not None]
            readable, _, _ = select.select([sys.stdin.fileno(), *sockets], [], [], _REST_S)
            if sys.stdin.fileno() in readable:
                data = os.read(sys.stdin.fileno(), 65536)
                if not data:
                    return
                self._lines += data
                while b"\n" in self._lines:
                    line, _, self._lines = self._lines.partition(b"\n")
                    sys.stdout.write(json.dumps(self._do(json.loads(line))) + "\n")
                    sys.stdout.flush()
            now = time.monotonic()
            if now - looked > STILL_S:
                self._book.report.stills.append((looked, now))
            looked = now
            for one in self._services:
                one.turn(now)

    def _do(self, command: dict[str, Any]) -> Any:
        word = command["do"]
        if word == "start":
            self._start(command["plans"])
        elif word == "cut":
            self._named(command).cut(command["deaf_s"])
        elif word == "away":
            self._named(command).away(time.monotonic(), command["seconds"])
        elif word == "hush":
            for one in self._services:
                one.sending = False
        elif word == "count":
            waiting = sum(len(one.open) for one in self._services)
            return [waiting, self._book.report.sent, self._book.doubled, self._book.succeeded]
        elif word == "report":
            return self._book.close(sum(len(one.open) for one in self._services)).as_json()
        return None

    def _start(self, plans: list[dict[str, Any]]) -> None:
        epoch = os.urandom(8)
        for plan in plans:
            pair = plan.pop("pair")
            made = Plan(pair=pair and (pair[0], pair[1]), ports=tuple(plan.pop("ports")), **plan)
            self._services.append(Service(made, self._key, epoch, self._book))

    def _named(self, command: dict[str, Any]) -> Service:
        return next(one for one in self._services if one.plan.name == command["name"])


if __name__ == "__main__":
    _Worker(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(sys.argv[1]))).run()
