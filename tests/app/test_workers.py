"""`workers = N`: one file, one port, several processes that live and end together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from imxrouter.admin.client import AdminClient, AdminUnreachable
from imxrouter.app.workers import AGAIN_CAP_S, GRACE_S, STEADY_S, NoSuchPort, Workers, as_process
from imxrouter.config.load import load
from tests.doubles.router_rig import free_port
from tests.doubles.twistd import start_router

FILE = """
name = "im.a.example"
workers = 2
state_dir = "{folder}/state"
run_dir = "{folder}"
listen.addresses = ["127.0.0.1:{port}"]
metrics.listen = "{metrics}"
trust.default_policy = "dialback"
overload.lag_ms = 0

[[service]]
name = "home"
kind = "embedded"
users = ["alice", "bob"]

[[domain]]
name = "a.example"
service = "home"
"""


def configured(folder: Path, port: int = 6490, metrics: str = "") -> Path:
    """Write the file."""
    file = folder / "imxrouter.toml"
    file.write_text(FILE.format(folder=folder, port=port, metrics=metrics))
    return file


# -- what is one process's own -------------------------------------------------------------------------------


def test_each_process_has_sockets_of_its_own(tmp_path: Path) -> None:
    """The next metrics port; the number in the socket's name, also where the file names the socket."""
    config = load(configured(tmp_path, metrics="127.0.0.1:9464")).config
    assert as_process(config, 0) is config
    third = as_process(config, 3)
    assert (third.process, third.metrics.listen) == (3, "127.0.0.1:9467")
    assert third.admin_socket == f"{tmp_path}/admin-3.sock"
    named = structs.replace(config, admin=structs.replace(config.admin, socket="/run/x/ctl.sock"))
    assert as_process(named, 2).admin_socket == "/run/x/ctl-2.sock"


@pytest.mark.parametrize("metrics", ["", "127.0.0.1:0"])
def test_no_port_stays_no_port(tmp_path: Path, metrics: str) -> None:
    """Off is off, and a free one is a free one."""
    assert as_process(load(configured(tmp_path, metrics=metrics)).config, 5).metrics.listen == metrics


def test_a_metrics_port_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """And what to do."""
    config = load(configured(tmp_path, metrics="127.0.0.1:65534")).config
    with pytest.raises(NoSuchPort, match="process 2 would take port 65536; choose a lower one"):
        as_process(config, 2)


# -- starting again ------------------------------------------------------------------------------------------


class Started:
    """A process that was started."""

    pid = 4711

    def __init__(self, protocol: Any, words: list[str]) -> None:
        self.protocol, self.words = protocol, words
        self.signals: list[str] = []

    def signalProcess(self, name: str) -> None:  # noqa: N802 - Twisted's name
        """Note it."""
        self.signals.append(name)


class Reactor(Clock):
    """Time, and processes that do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Started] = []

    def spawnProcess(self, protocol: Any, _program: str, words: list[str], *_: Any, **__: Any) -> Started:  # noqa: N802
        """Note it."""
        self.started.append(Started(protocol, words))
        return self.started[-1]


def ends(process: Started, code: int = 1) -> None:
    """A process ends by itself."""
    why = ProcessTerminated(code) if code else ProcessDone(0)  # type: ignore[no-untyped-call]
    process.protocol.processEnded(Failure(why))  # type: ignore[no-untyped-call]


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Workers, Reactor]:
    """Three processes, the leader among them."""
    reactor = Reactor()
    config = structs.replace(load(configured(tmp_path)).config, workers=3)
    workers = Workers(config, tmp_path / "imxrouter.toml", reactor)
    workers.startService()
    return workers, reactor


def test_the_leader_starts_the_others(scene: tuple[Workers, Reactor]) -> None:
    """Each with its number, and told to end with us."""
    _, reactor = scene
    assert [one.words[-3:] for one in reactor.started] == [
        ["--process", "1", "--follow"], ["--process", "2", "--follow"],
    ]  # fmt: skip


@pytest.mark.parametrize("code", [0, 1])
def test_one_that_ends_is_started_again_ever_later(scene: tuple[Workers, Reactor], code: int) -> None:
    """Whatever it ended with; after 1, 2, 4 ... s, and soon again once it ran for long."""
    workers, reactor = scene
    for wait in (1, 2, 4, 8, 16, AGAIN_CAP_S, AGAIN_CAP_S):
        count = len(reactor.started)
        ends(reactor.started[-1], code)
        reactor.advance(wait - 0.1)
        assert len(reactor.started) == count
        reactor.advance(0.2)
        assert len(reactor.started) == count + 1
    reactor.advance(STEADY_S + 1)
    ends(reactor.started[-1], code)
    reactor.advance(1.1)
    assert len(reactor.started) == 2 + 8
    assert [one.again for one in workers.workers] == [0, 8]


def test_stopping_waits_for_all_and_kills_what_stays(scene: tuple[Workers, Reactor]) -> None:
    """None is started again; the deadline of links and a little more is given."""
    workers, reactor = scene
    one, other = reactor.started
    done: list[Any] = []
    workers.stopService().addCallback(done.append)
    ends(one, 0)
    assert (one.signals, other.signals, done) == (["TERM"], ["TERM"], [])
    assert workers.deadline_s() > 0
    reactor.advance(workers.deadline_s() + GRACE_S)
    assert (one.signals, other.signals) == (["TERM"], ["TERM", "KILL"])
    ends(other)
    assert len(done) == 1
    reactor.advance(3600)
    assert len(reactor.started) == 2


def test_one_that_waits_to_be_started_is_not(scene: tuple[Workers, Reactor]) -> None:
    """Where we stop meanwhile."""
    workers, reactor = scene
    for process in reactor.started:
        ends(process)
    done: list[Any] = []
    workers.stopService().addCallback(done.append)
    reactor.advance(3600)
    assert (len(done), len(reactor.started)) == (1, 2)


# -- real processes ------------------------------------------------------------------------------------------


def eventually(what: Callable[[], Any], says: str) -> Any:
    """Wait for something true."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(AdminUnreachable, OSError):
            if found := what():
                return found
        time.sleep(0.05)
    raise AssertionError(says)


def is_gone(pid: int) -> bool:
    """Whether no such process runs (one that nobody has waited for has ended too)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A router with two processes."""
    file = configured(tmp_path, free_port("127.0.0.1"))
    with start_router(file, tmp_path / "log") as run:
        yield run
        run.kill()


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_they_live_and_end_together(tmp_path: Path, leader: subprocess.Popen[bytes]) -> None:
    """Both answer; a killed one comes back; a leader that is killed leaves nobody behind."""
    consoles = [AdminClient(f"{tmp_path}/{name}", timeout_s=10) for name in ("admin.sock", "admin-1.sock")]
    both = eventually(lambda: [one.status() for one in consoles], (tmp_path / "log").read_text())
    assert [one["listening"] for one in both] == [both[0]["listening"]] * 2
    (worker,) = children(leader.pid)
    os.kill(worker, signal.SIGKILL)
    (again,) = eventually(lambda: [pid for pid in children(leader.pid) if pid != worker], "not started again")
    eventually(consoles[1].status, "the worker that was started again does not answer")
    leader.kill()
    leader.wait()
    eventually(lambda: is_gone(again), "a worker outlives its leader")


def test_terminating_the_leader_ends_all_in_order(tmp_path: Path, leader: subprocess.Popen[bytes]) -> None:
    """With the status that twistd ends with on this signal."""
    consoles = [AdminClient(f"{tmp_path}/{name}", timeout_s=10) for name in ("admin.sock", "admin-1.sock")]
    eventually(lambda: [one.status() for one in consoles], (tmp_path / "log").read_text())
    (worker,) = children(leader.pid)
    leader.terminate()
    assert leader.wait(60) == -signal.SIGTERM
    assert is_gone(worker)
    log = (tmp_path / "log").read_text()
    assert "critical" not in log
    assert "Traceback" not in log
