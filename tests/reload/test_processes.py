"""Reloads of routers as an operator starts them: several processes of one, signals, and rotated logs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imxrouter.admin.client import AdminClient, AdminUnreachable
from imxrouter.cli.exits import Exit
from tests.doubles.router_rig import free_port
from tests.doubles.twistd import start_router

FILE = """
name = "im.a.example"
workers = {workers}
state_dir = "{folder}/state"
run_dir = "{folder}"
listen.addresses = ["127.0.0.1:{port}"]
metrics.listen = ""
trust.default_policy = "dialback"
log.file = "{folder}/log"

[[service]]
name = "home"
kind = "embedded"
users = ["alice"]

[[domain]]
name = "a.example"
service = "home"
"""
MORE = '[[domain]]\nname = "more.example"\nservice = "home"\n'


class Running:
    """A router that runs.

    Attributes:
        file: its configuration.
        text: what that says.
        consoles: of its processes.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.file = folder / "imxrouter.toml"
        self.text = FILE.format(folder=folder, port=free_port("127.0.0.1"), workers=workers)
        self.file.write_text(self.text)
        self.process = start_router(self.file, folder / "said")
        names = ["admin.sock", *(f"admin-{number}.sock" for number in range(1, workers))]
        self.consoles = [AdminClient(str(folder / name), timeout_s=30) for name in names]
        for console in self.consoles:
            eventually(console.status, self.log)
        self.log_text = (folder / "log").read_text()

    def log(self) -> str:
        """All it said."""
        return "".join(path.read_text() for path in self.folder.glob("*") if path.name in {"log", "said"})

    def domains(self) -> list[set[str]]:
        """What each process serves."""
        return [{one["name"] for one in console.domains()} for console in self.consoles]

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`imxctl`, as an operator runs it."""
        program = [sys.executable, "-m", "imxrouter.cli.main", "--socket", str(self.folder / "admin.sock")]
        return subprocess.run([*program, *words], capture_output=True, text=True, check=False)


def eventually(what: Callable[[], Any], says: Callable[[], str]) -> Any:
    """Wait for something true."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if found := what():
                return found
        except (AdminUnreachable, OSError):
            pass
        time.sleep(0.05)
    raise AssertionError(says())


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    """A router with as many processes as the test says."""
    made = Running(tmp_path, request.param)
    try:
        yield made
    finally:
        made.process.terminate()
        made.process.wait(60)


@pytest.mark.parametrize("running", [3], indirect=True)
def test_a_reload_reaches_every_process(running: Running) -> None:
    """Whichever is told; and where one cannot take it, none does."""
    running.file.write_text(running.text + MORE)
    dry = running.consoles[0].config_reload(dry_run=True)
    assert [(one["process"], one["result"]) for one in dry["processes"]] == [
        (0, "applied"), (1, "applied"), (2, "applied"),
    ]  # fmt: skip
    assert running.domains() == [{"a.example"}] * 3
    view = running.consoles[1].config_reload(dry_run=False)
    assert [one["result"] for one in view["processes"]] == ["applied"] * 3
    assert running.domains() == [{"a.example", "more.example"}] * 3
    told = running.ctl("config", "reload")
    assert (told.returncode, told.stdout.splitlines()[-1]) == (Exit.OK, "unchanged")
    running.file.write_text(running.text + "[[domain]]\n")
    assert running.consoles[2].config_reload(dry_run=False)["result"] == "refused"
    assert running.domains() == [{"a.example", "more.example"}] * 3


@pytest.mark.parametrize("running", [2], indirect=True)
def test_the_signal_to_the_leader_is_enough(running: Running) -> None:
    """As `systemctl reload` would send it; the log says what came of it."""
    running.file.write_text(running.text + MORE)
    running.process.send_signal(signal.SIGHUP)
    wanted = [{"a.example", "more.example"}] * 2
    eventually(lambda: running.domains() == wanted, running.log)
    assert "+ [[domain]] more.example" in running.log()
    running.file.write_text("links.pings_s = 1\n" + running.text)
    running.process.send_signal(signal.SIGHUP)
    eventually(lambda: "reload refused: the configuration stays as it was" in running.log(), running.log)
    assert "links.pings_s" in running.log()
    assert running.domains() == wanted


@pytest.mark.parametrize("running", [1], indirect=True)
def test_the_log_goes_where_the_file_says_now(running: Running) -> None:
    """A rotated one is begun anew; another level, form and place are taken; a bad place changes nothing."""
    log, folder = running.folder / "log", running.folder
    log.rename(folder / "log.1")
    assert running.consoles[0].config_reload(dry_run=False)["result"] == "unchanged"
    assert json.loads(log.read_text().splitlines()[-1])["text"] == "reload unchanged: 0 change(s)"
    other = 'log.format = "text"\n' + running.text.replace(f"{folder}/log", f"{folder}/other")
    running.file.write_text(other)
    assert running.ctl("config", "reload").returncode == Exit.OK
    assert "reload applied: 2 change(s)" in (folder / "other").read_text().splitlines()[-1]
    running.file.write_text(other.replace(f"{folder}/other", "/nowhere/log"))
    told = running.ctl("config", "reload")
    assert told.returncode == Exit.FAILED
    assert "log.file /nowhere/log" in told.stderr
    assert told.stdout.splitlines()[-1] == "failed: nothing was changed"
    open_files = Path(f"/proc/{running.process.pid}/fd")
    files = len(list(open_files.iterdir()))
    for _ in range(20):
        running.consoles[0].config_reload(dry_run=False)
    assert len(list(open_files.iterdir())) < files + 10  # a connection of ours may linger
