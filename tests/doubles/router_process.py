"""A router in a process of its own, as an operator starts it, for tests that measure or kill it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from imxrouter.admin.client import AdminClient
from imxrouter.admin.errors import AdminUnreachable
from tests.doubles.twistd import start_router

_TICKS = os.sysconf("SC_CLK_TCK")


class RouterProcess:
    """One router.

    Args:
        name: of its organisation; its directory has that name too.
        folder: of the scene.
        text: the configuration; `state_dir`, `run_dir` and the administration socket are put before it.
        cores: where it runs.
        program: what stands in place of `twistd`.
    """

    def __init__(
        self, name: str, folder: Path, text: str, cores: set[int], program: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.run_dir = folder / name
        self.run_dir.mkdir()
        self.log = self.run_dir / "log"
        self._admin = self.run_dir / "admin.sock"
        self._config = self.run_dir / "router.toml"
        places = f'state_dir = "{self.run_dir}/state"\nrun_dir = "{self.run_dir}"\n'
        self._config.write_text(f'{places}admin.socket = "{self._admin}"\n{text}')
        self._cores = cores
        self._program = program
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def admin(self) -> AdminClient:
        """Its administration."""
        return AdminClient(str(self._admin), timeout_s=30)

    def start(self) -> float:
        """Start it; returns seconds until its administration answers, which starts after its links."""
        began = time.monotonic()
        self._admin.unlink(missing_ok=True)
        program = {"program": self._program} if self._program else {}
        child = self._child = start_router(self._config, self.log, **program)
        os.sched_setaffinity(child.pid, self._cores)
        while time.monotonic() < began + 60 and child.poll() is None:
            if self.is_up():
                return time.monotonic() - began
            time.sleep(0.05)
        raise AssertionError(f"{self.name} does not start: {self.log.read_text()[-2000:]}")

    def stop(self, how: signal.Signals) -> float:
        """End it with a signal; returns seconds until it was gone."""
        began = time.monotonic()
        if self._child is not None:
            self._child.send_signal(how)
            self._child.wait(60)
            self._child = None
        return time.monotonic() - began

    def is_up(self) -> bool:
        """Whether its administration answers."""
        with contextlib.suppress(AdminUnreachable):
            self.admin.status()
            return True
        return False

    def rss_mb(self, line: str = "VmRSS") -> float:
        """Megabytes of memory now; `VmHWM`: at most so far."""
        assert self._child is not None
        for one in Path(f"/proc/{self._child.pid}/status").read_text().splitlines():
            if one.startswith(line):
                return int(one.split()[1]) * 1024 / 1e6
        return 0.0

    def cpu_s(self) -> float:
        """Seconds of processor time of this life."""
        assert self._child is not None
        words = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / _TICKS

    def tracebacks(self) -> list[str]:
        """Lines of its log that begin a traceback."""
        text = self.log.read_text()
        return [f"{self.name}: {text[at : at + 2000]}" for at in _all_of(text, "Traceback")]


def _all_of(text: str, word: str) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)
