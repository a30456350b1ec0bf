"""systemd is told when the router is ready and when it stops."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from imxrouter.app.notify import tell_supervisor
from tests.doubles.router_rig import Lab


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Give a socket as systemd has one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_ready_after_the_listeners_and_stopping_before_the_drain(lab: Lab, supervisor: socket.socket) -> None:
    """READY comes when links can be opened, with a line for `systemctl status`."""
    a = lab.router("a.example")
    ready, _, status = supervisor.recv(1000).decode().partition("\n")
    assert ready == "READY=1"
    assert status == f"STATUS=listens on {a.ip}:{a.endpoint[1]}, serves 1 domain(s)"
    a.stop()
    stopping, status, longer = supervisor.recv(1000).decode().split("\n")
    assert (stopping, status) == ("STOPPING=1", "STATUS=drains")
    assert longer == f"EXTEND_TIMEOUT_USEC={(30 + 10) * 1_000_000}"  # drain.deadline_s, and some to end


def test_an_abstract_name_is_understood() -> None:
    """The supervisor may name a socket with @."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0imxrouter-test-notify")
        listening.settimeout(30)
        assert tell_supervisor("READY=1", {"NOTIFY_SOCKET": "@imxrouter-test-notify"})
        assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize("place", ["", "no path", "/nowhere/notify"])
def test_nobody_listens(place: str) -> None:
    """Without systemd, or with a socket that is gone, nothing happens."""
    assert not tell_supervisor("READY=1", {"NOTIFY_SOCKET": place})
