"""SIGHUP reads again what was named for it, in this process and in those that it began."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from imxrouter.app.reload.hangup import Hangup
from imxrouter.app.workers import LISTENS_S, Workers
from imxrouter.config.load import Document, parse

WORKERS = """
name = "r.example"
workers = 3
[[service]]
name = "home"
kind = "embedded"
users = ["alice"]
[[domain]]
name = "a.example"
service = "home"
"""


class _Reactor(Clock):
    stopped = False

    def callFromThread(self, what: Callable[[], object]) -> None:  # noqa: N802 - Twisted's name
        """At once."""
        what()

    def stop(self) -> None:
        """Noted."""
        self.stopped = True


def test_hangup_reads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that was named, also after one that failed."""
    monkeypatch.setattr("imxrouter.app.reload.hangup.has_terminal", lambda: False)
    before = signal.getsignal(signal.SIGHUP)
    read: list[str] = []
    try:
        hangup = Hangup(reactor := _Reactor())
        hangup.reads("broken things", lambda: 1 / 0)
        hangup.reads("certificates", lambda: read.append("certificates"))
        hangup.start()
        os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert read == ["certificates"]
    assert not reactor.stopped


class _Process:
    pid = 1

    def __init__(self) -> None:
        self.signals: list[str] = []

    def signalProcess(self, name: str) -> None:  # noqa: N802 - Twisted's name
        """Noted."""
        self.signals.append(name)


class _Spawning(_Reactor):
    def __init__(self) -> None:
        super().__init__()
        self.made: list[_Process] = []

    def spawnProcess(self, *_args: Any, **_more: Any) -> _Process:  # noqa: N802 - Twisted's name
        """A process that notes its signals."""
        self.made.append(_Process())
        return self.made[-1]


def test_hangup_reaches_workers_once_they_listen(tmp_path: Path) -> None:
    """A process that has just begun would end by it."""
    config = parse(Document(str(tmp_path / "r.toml"), WORKERS)).config
    reactor = _Spawning()
    workers = Workers(config, tmp_path / "r.toml", reactor)
    workers.startService()
    workers.hang_up()
    assert [one.signals for one in reactor.made] == [[], []]
    reactor.advance(LISTENS_S)
    assert [one.signals for one in reactor.made] == [["HUP"], ["HUP"]]
    workers.hang_up()
    assert [one.signals for one in reactor.made] == [["HUP", "HUP"], ["HUP", "HUP"]]
