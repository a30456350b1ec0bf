"""Two organisations on one machine: a DNS server and two routers as processes of their own, and a story."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from imxrouter.admin.client import AdminClient
from imxrouter.admin.errors import AdminError, AdminUnreachable
from imxrouter.admin.views import OutcomeView
from imxrouter.lab import scenery
from imxrouter.lab.children import Child, program
from imxrouter.lab.places import Surveyor, answers
from imxrouter.lab.scenery import AGGREGATOR, GATEWAY, Scene
from imxrouter.lab.screen import Screen, Seen
from imxrouter.model.errors import RouterError

#: Steps are written before the answer is given; this is for a reader thread on a busy machine.
_LATE_STEPS_S: Final = 5.0

#: Longest path of a folder under which the administration sockets' paths fit (108 bytes, unix(7)).
_FOLDER_CHARS: Final = 70


T = TypeVar("T")


class StoryFailed(RouterError):
    """A scene did not go as it should; the text says what was missing."""


class Stage:
    """Everything a laboratory has. A context manager: whatever was started is stopped at its end.

    Args:
        screen: where steps are shown.
        deadline_s: for the start and each scene.
        keep: whether the folder stays.
        quick: links are known to be dead within seconds, not half a minute.

    Attributes:
        folder: configurations, zone, sockets and logs.
        places: where everything listens.
        dead_s: within so many seconds a silent link is known to be dead.
    """

    def __init__(self, screen: Screen, deadline_s: float, *, keep: bool = False, quick: bool = False) -> None:
        self._screen = screen
        self._quick = quick
        self.dead_s = scenery.QUICK_DEAD_S if quick else scenery.DEAD_S
        self._deadline_s = deadline_s
        self._keep = keep
        self._children: list[Child] = []
        self._surveyor = Surveyor()
        self.places = self._surveyor.survey()
        self.folder = _folder()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children):
            if not child.stop():
                self._screen.say(f"{child.name} had to be ended by force", "red")
        self._surveyor.close()
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- starting ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the name server and the routers, and wait until they are ready.

        Raises:
            ChildFailed: one ended.
            StoryFailed: one was not ready in time.
        """
        zone = self.folder / "example.zone"
        zone.write_text(scenery.zone(self.places), encoding="utf-8")
        self._child("dns", [sys.executable, "-m", "imxrouter.lab.dns", "--zone", str(zone), "--listen",
                            str(self.places.dns)])  # fmt: skip
        for role in (GATEWAY, AGGREGATOR):
            folder = self.folder / role
            folder.mkdir(mode=0o700)
            config = folder / "imxrouter.toml"
            text = scenery.configuration(role, self.places, str(folder), quick=self._quick)
            config.write_text(text, encoding="utf-8")
            self._child(role, [program("twistd"), "-n", "--pidfile=", "imxrouter", "--config", str(config)])
        until = time.monotonic() + self._deadline_s
        while waiting := self._not_ready():
            if time.monotonic() >= until:
                raise StoryFailed(f"not ready within {self._deadline_s:g} s: {', '.join(waiting)}")
            self.watch(0.1)
        self._screen.flush()

    def pid(self, role: str) -> int:
        """The number of a router's process."""
        return self._child_of(role).pid

    def signal(self, role: str, number: signal.Signals) -> None:
        """Send a router's process a signal."""
        self._child_of(role).signal(number)

    def _child_of(self, name: str) -> Child:
        return next(child for child in self._children if child.name == name)

    def _child(self, name: str, arguments: list[str]) -> None:
        self._children.append(Child(name, arguments, self.folder, partial(self._screen.take, name)))

    def _not_ready(self) -> list[str]:
        waiting = [] if answers(self.places.dns) else ["dns"]
        for role in (GATEWAY, AGGREGATOR):
            try:
                if not self.client(role).status()["ready"]:
                    waiting.append(role)
            except (AdminUnreachable, AdminError):
                waiting.append(role)
        return waiting

    # -- living ------------------------------------------------------------------------------------------

    def socket(self, role: str) -> Path:
        """The administration socket of a router."""
        return self.folder / role / "admin.sock"

    def client(self, role: str) -> AdminClient:
        """Asks a router."""
        return AdminClient(str(self.socket(role)), timeout_s=self._deadline_s)

    def watch(self, seconds: float) -> None:
        """Show steps for so long.

        Raises:
            ChildFailed: a process ended.
        """
        self._screen.pump(seconds)
        for child in self._children:
            child.check()

    def play(self, scene: Scene) -> OutcomeView:
        """Send a scene's message, show every step, and see that none is missing.

        Raises:
            ChildFailed: a process ended.
            StoryFailed: it was not delivered, not in time, or a step is missing.
        """
        until = time.monotonic() + self._deadline_s
        self._screen.begin()
        outcome = self._sent(scene)
        until = min(until, time.monotonic() + _LATE_STEPS_S)
        while missing := unseen(scene, self._screen.seen):
            if time.monotonic() >= until:
                raise StoryFailed(f"the message was delivered, but this was not seen: {missing}")
            self.watch(0.05)
        self._screen.flush()
        self._screen.end()
        return outcome

    def during(self, what: Callable[[], T]) -> T:
        """Do something in a thread of its own, and show steps meanwhile; raises what it raises."""
        pool = ThreadPoolExecutor(1)
        try:
            doing = pool.submit(what)
            while not doing.done():
                self.watch(0.05)
        finally:
            pool.shutdown(wait=False)  # whoever interrupts does not wait for an answer
        return doing.result()

    def _sent(self, scene: Scene) -> OutcomeView:
        client = self.client(scene.sender)
        try:
            outcome = self.during(lambda: client.send(scene.source, scene.destination, scene.text))
        except (AdminError, AdminUnreachable) as error:
            raise StoryFailed(f"{scene.source} could not send: {error}") from None
        if outcome["status"] != "success":
            raise StoryFailed(
                f"{scene.source} to {scene.destination}: {outcome['status']}, {outcome['reason']} at stage "
                f"{outcome['stage']} {outcome['note']}".rstrip()
            )
        return outcome

    def lines_to_try(self) -> list[tuple[str, str]]:
        """(what it shows, command) for a second terminal."""
        gateway, aggregator = (
            f"{_short(program('imxctl'))} --socket {shlex.quote(str(self.socket(role)))}"
            for role in (GATEWAY, AGGREGATOR)
        )
        metrics = self.places.gateway_metrics
        return [
            ("how the gateway is", f"{gateway} status"),
            ("its links, and who is proved on them", f"{gateway} links --claims"),
            ("remote domains", f"{aggregator} peers"),
            ("what the hoster serves", f"{aggregator} domains"),
            ("messages to Rosa, as they come", f"{aggregator} watch rosa@red.example"),
            ("write to her", f"{gateway} send bob@b.example rosa@red.example 'Hello again'"),
            ("what happened to a message, by its id", f"{gateway} trace ID"),
            (
                "what Rosa is told of Bob, at every change",
                f"{aggregator} subscriptions rosa@red.example --follow",
            ),
            ("how Bob is ...", f"{gateway} presence bob@b.example"),
            (
                "... let him be somewhere else",
                f"{gateway} presence bob@b.example --publish meeting --instance desk",
            ),
            ("who watches him", f"{gateway} watchers bob@b.example"),
            ("why Rosa sees him so", f"{gateway} presence bob@b.example --seen-by rosa@red.example"),
            ("whom Rosa watches", f"{aggregator} subscriptions rosa@red.example"),
            ("what Bob tells of himself", f"{aggregator} attributes bob@b.example --as rosa@red.example"),
            ("a look-up, step by step", f"{gateway} dns lookup green.example"),
            ("what to publish for a domain", f"{gateway} dns records b.example"),
            ("one customer leaves ...", f"{aggregator} domains suspend blue.example"),
            ("... and comes back", f"{aggregator} domains resume blue.example"),
            ("metrics", f"curl -s http://{metrics}/metrics | grep imxrouter_requests"),
        ]

    def cut_lines(self) -> list[tuple[str, str]]:
        """(what then happens, command): the other side's network is cut, and comes back."""
        pid = self.pid(GATEWAY)
        aggregator = f"{_short(program('imxctl'))} --socket {shlex.quote(str(self.socket(AGGREGATOR)))}"
        return [
            ("nothing comes from b.example any more ...", f"kill -STOP {pid}"),
            (f"... within {self.dead_s:.0f} s: Bob is unknown to Rosa, with the reason and b.example",
             f"{aggregator} subscriptions rosa@red.example"),
            ("... a message fails with stage, reason and advice, the hoster's own customers go on",
             f"{aggregator} send rosa@red.example bob@b.example 'Are you there?'"),
            ("it is back: within seconds everything heals by itself", f"kill -CONT {pid}"),
        ]  # fmt: skip


def unseen(scene: Scene, seen: list[Seen]) -> str:
    """The first step of a scene that is missing in the order given; empty where all are there."""
    rest = iter((step.router, step.step) for step in seen)
    for router, step in scene.shows:
        if (router, step) not in rest:  # consumes up to the step
            return f"{step} ({router})"
    return ""


def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="imxrouter-lab-")
    if len(folder) > _FOLDER_CHARS:
        Path(folder).rmdir()
        folder = tempfile.mkdtemp(prefix="imxrouter-lab-", dir="/tmp")
    return Path(folder)


def _short(path: str) -> str:
    """The path as seen from here, where that is shorter to type."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
