"""`imxctl check` as a process of its own, and a name server for it to ask."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imxrouter.lab.dns import LabDns
from imxrouter.lab.zones import ZoneBook
from tests.doubles.raw_peer import PATIENCE_S
from tests.doubles.reactor_thread import ReactorThread

ROOT = Path(__file__).parents[2]
#: Every answer has these, in this order.
STAGES = ["dns", "connect", "tls", "identity", "peer", "dialback"]


class Checks:
    """Runs `imxctl check` against a name server of its own.

    Attributes:
        book: what the name server knows.
    """

    def __init__(self, thread: ReactorThread, book: ZoneBook | None = None) -> None:
        """Start the name server; `book` is what it knows, an empty one by default."""
        self.book = book or ZoneBook()
        self._thread = thread
        self._server = LabDns(thread.reactor, self.book)
        self.place = f"127.0.0.1:{thread.call(self._server.start)}"

    def zone(self, *lines: str, origin: str = "b.example") -> None:
        """Load a zone, one record a line."""
        self.book.load(f"$ORIGIN {origin}.\n$TTL 60\n" + "".join(f"{line}\n" for line in lines))

    def start(self, *words: str, domain: str = "b.example") -> subprocess.Popen[str]:
        """Start a check."""
        command = [sys.executable, "-m", "imxrouter.cli.main", "check", domain]
        return subprocess.Popen(
            [*command, "--nameserver", self.place, *words], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def text(self, *words: str) -> tuple[int, str, str]:
        """Check; return exit code, output, errors."""
        return ended(self.start(*words))

    def json(
        self, *words: str, meanwhile: Callable[[], None] = lambda: None, domain: str = "b.example"
    ) -> tuple[int, Any]:
        """Check, do something while it runs; return exit code and answer."""
        running = self.start("--json", *words, domain=domain)
        try:
            meanwhile()
        except BaseException:
            running.kill()
            running.communicate()
            raise
        code, out, errors = ended(running)
        assert errors == ""
        answer = json.loads(out)
        assert [stage["stage"] for stage in answer["stages"]] == STAGES
        return code, answer

    def close(self) -> None:
        """Stop the name server."""
        self._thread.call(self._server.stop)


def ended(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end of a check; return exit code, output, errors."""
    try:
        out, errors = running.communicate(timeout=4 * PATIENCE_S)
    finally:
        running.kill()
    return running.returncode, out, errors
