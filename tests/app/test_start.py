"""The real program: what it says when it cannot start, and how signals end it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import socket
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from imxrouter.admin.client import AdminClient, AdminUnreachable
from imxrouter.app.reload.hangup import Hangup
from imxrouter.cli.exits import Exit
from imxrouter.store.schema import APPLICATION_ID
from tests.doubles.router_rig import free_port

FILE = """
name = "im.a.example"
state_dir = "{folder}/state"
run_dir = "{folder}"
listen.addresses = ["127.0.0.1:{port}"]
metrics.listen = ""
trust.default_policy = "dialback"
overload.lag_ms = 0

[[service]]
name = "home"
kind = "embedded"
users = ["alice"]

[[domain]]
name = "a.example"
service = "home"
"""

BUFFERED_BY_LINE = {**os.environ, "PYTHONUNBUFFERED": "1"}

Start = Callable[..., "subprocess.Popen[bytes]"]


def configured(folder: Path, *lines: str) -> Path:
    """Write a good file, and more lines or other ones in front."""
    file = folder / "imxrouter.toml"
    keys = {line.partition("=")[0].strip() for line in lines}
    base = FILE.format(folder=folder, port=free_port("127.0.0.1"))
    kept = [line for line in base.splitlines() if line.partition("=")[0].strip() not in keys]
    file.write_text("\n".join([*lines, *kept]))
    return file


def command(file: Path, *words: str) -> list[str]:
    """The command line of an operator."""
    twistd = str(Path(sys.executable).with_name("twistd"))
    return [twistd, "-n", "--pidfile=", "imxrouter", "--config", str(file), *words]


def refused(folder: Path, lines: list[str], *words: str) -> str:
    """Run it; it must end with 1 and a few lines, of which the text is returned."""
    run = subprocess.run(
        command(configured(folder, *lines), *words), capture_output=True, text=True, check=False, cwd=folder,
        timeout=60,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    assert len(run.stderr.splitlines()) <= 4, run.stderr
    assert run.stdout == ""
    return run.stderr


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_port_in_use_is_named(tmp_path: Path, taken: int) -> None:
    """With the key, the address and what to do."""
    said = refused(tmp_path, [f'listen.addresses = ["127.0.0.1:{taken}"]'])
    assert "listen.addresses" in said
    assert f"127.0.0.1:{taken}: Address already in use" in said
    assert "another program listens there" in said


def test_a_metrics_port_in_use_is_named(tmp_path: Path, taken: int) -> None:
    """It is opened before the administration socket, which is not left behind."""
    said = refused(tmp_path, [f'metrics.listen = "127.0.0.1:{taken}"'])
    assert f"metrics.listen: cannot listen on 127.0.0.1:{taken}: Address already in use" in said
    assert not (tmp_path / "admin.sock").exists()


def test_an_administration_socket_in_use_is_named(tmp_path: Path) -> None:
    """Another router lives there."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "admin.sock"))
        other.listen()
        said = refused(tmp_path, [])
    assert "admin.socket: another router serves" in said
    assert (tmp_path / "admin.sock").exists()


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    """Its parent is a file."""
    (tmp_path / "file").write_text("")
    said = refused(tmp_path, [f'run_dir = "{tmp_path}/file/run"'])
    assert f"run_dir: {tmp_path}/file/run: Not a directory" in said


@pytest.mark.parametrize("number", ["-1", "70000"])
def test_a_process_number_is_two_bytes(tmp_path: Path, number: str) -> None:
    """As in the file."""
    assert f"process {number} is not 0 to 65535" in refused(tmp_path, [], "--process", number)


@pytest.mark.parametrize("content", [None, b"1 caf\xe9", b"1 zz"])
def test_a_key_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Missing, not UTF-8, not hexadecimal."""
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    assert f"dialback.key_file: {tmp_path}/keys" in refused(tmp_path, ['dialback.key_file = "keys"'])


def test_a_newer_state_file_is_named(tmp_path: Path) -> None:
    """It was written by a later version; nothing of it is touched."""
    state = tmp_path / "state.db"
    with contextlib.closing(sqlite3.connect(state)) as connection:
        connection.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 99")
    before = state.read_bytes()
    said = refused(tmp_path, [f'state_dir = "{tmp_path}"'])
    assert f"state_dir: {state} has schema 99, and this version of imxrouter knows" in said
    assert "install the later version again" in said
    assert state.read_bytes() == before


# -- signals -------------------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the program and wait until it answers."""
    with contextlib.ExitStack() as stack:

        def started(**how: Any) -> subprocess.Popen[bytes]:
            log = stack.enter_context((tmp_path / "log").open("wb"))
            run = subprocess.Popen(command(configured(tmp_path)), cwd=tmp_path, stderr=log, stdout=log, **how)
            stack.callback(run.wait)
            stack.callback(run.kill)
            eventually(lambda: answers(tmp_path), (tmp_path / "log").read_text)
            return run

        yield started


def answers(folder: Path) -> bool:
    """Whether the router answers."""
    try:
        return AdminClient(str(folder / "admin.sock"), timeout_s=10).status()["ready"]
    except AdminUnreachable:
        return False


def eventually(what: Callable[[], object], says: Callable[[], str]) -> None:
    """Wait for something true."""
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until, says()
        time.sleep(0.05)


def test_hangup_does_not_end_a_service(tmp_path: Path, start: Start) -> None:
    """Without a terminal it is a service's signal to read files again; what becomes of it is logged."""
    run = start(start_new_session=True, stdin=subprocess.DEVNULL)
    run.send_signal(signal.SIGHUP)
    eventually(lambda: "reload unchanged" in (tmp_path / "log").read_text(), lambda: "no line")
    assert "SIGHUP: read again: the configuration, certificates" in (tmp_path / "log").read_text()
    assert answers(tmp_path)
    run.terminate()
    assert run.wait(60) == -signal.SIGTERM
    text = (tmp_path / "log").read_text()
    assert "im.a.example goes out of service: 0 links to close, 0 requests in flight" in text
    assert "im.a.example has stopped" in text


def test_a_closing_terminal_stops_it_in_order(tmp_path: Path, start: Start) -> None:
    """As SIGTERM would, with its sockets removed."""
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    run = start(stdin=theirs, preexec_fn=take_terminal)
    os.close(theirs)
    os.close(ours)
    assert run.wait(60) == 0
    text = (tmp_path / "log").read_text()
    assert "SIGHUP: the terminal is gone" in text
    assert "im.a.example has stopped" in text
    assert not (tmp_path / "admin.sock").exists()


@pytest.mark.parametrize("count", [[], ["--count", "5"]])
def test_a_watch_tells_that_the_router_is_gone(tmp_path: Path, start: Start, count: list[str]) -> None:
    """With the code for that, also where it waits for more messages: no script may take it for success."""
    run = start()
    path = str(tmp_path / "admin.sock")
    program = [sys.executable, "-m", "imxrouter.cli.main", "--socket", path]
    with (tmp_path / "shown").open("wb") as shown:
        words = [*program, "watch", "alice@a.example", *count]
        watching = subprocess.Popen(words, stdout=shown, stderr=subprocess.PIPE, env=BUFFERED_BY_LINE)
    console = AdminClient(path, timeout_s=10)

    def seen() -> int:
        time.sleep(0.3)  # within the sender's rate
        console.send("alice@a.example", "alice@a.example", "hi")
        return (tmp_path / "shown").stat().st_size

    eventually(seen, lambda: "nothing is seen")
    run.terminate()
    _, error = watching.communicate(timeout=60)
    assert watching.returncode == Exit.UNREACHABLE
    assert b"ended the watch" in error


def test_nohup_is_obeyed() -> None:
    """Who started us with the signal ignored wants it so."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        Hangup(MemoryReactorClock()).start()  # type: ignore[no-untyped-call]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
