"""What a turn of a reactor of epoll does in fewer calls, and what stays as Twisted has it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from imxrouter.transport.turns import quicken


class End:
    """One end of a pair of sockets, as a reactor reads it."""

    def __init__(self, own: socket.socket) -> None:
        self.socket = own
        self.read: list[bytes] = []
        self.wrote = 0
        self.lost: Failure | None = None
        #: raised by a read
        self.bug: Exception | None = None
        #: left by the reactor when this one is read
        self.closes: End | None = None
        self.reactor: Any = None

    def fileno(self) -> int:
        """Its descriptor."""
        return self.socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """Its name in the old log."""
        return "end"

    def doRead(self) -> object:  # noqa: N802 - Twisted's name
        """Called by the reactor."""
        if self.bug is not None:
            raise self.bug
        if self.closes is not None:
            self.reactor.removeReader(self.closes)
        data = self.socket.recv(100)
        if not data:
            return CONNECTION_DONE
        self.read.append(data)
        return None

    def doWrite(self) -> object:  # noqa: N802 - Twisted's name
        """Called by the reactor."""
        self.wrote += 1
        self.reactor.removeWriter(self)
        return None

    def connectionLost(self, reason: Failure) -> None:
        """Called by the reactor."""
        self.lost = reason


class Rig:
    """A reactor that does not run, and pairs of sockets."""

    def __init__(self) -> None:
        self.reactor: Any = cast("Any", EPollReactor)()
        self.sockets: list[socket.socket] = []

    def end(self) -> tuple[End, socket.socket]:
        """One that is read, and the other side of it."""
        own, other = socket.socketpair()
        self.sockets += [own, other]
        own.setblocking(False)
        end = End(own)
        end.reactor = self.reactor
        self.reactor.addReader(end)
        return end, other

    def turn(self) -> None:
        """Wait for nothing, do what can be done."""
        self.reactor.doIteration(0)


@pytest.fixture(params=[True, False], ids=["quick", "as Twisted has it"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The same is true of both."""
    made = Rig()
    if request.param:
        assert quicken(made.reactor)
        assert "doIteration" in vars(made.reactor)
    yield made
    for one in made.sockets:
        one.close()
    made.reactor._poller.close()


def test_what_came_is_read(rig: Rig) -> None:
    """Once."""
    end, other = rig.end()
    other.send(b"word")
    rig.turn()
    assert end.read == [b"word"]
    rig.turn()
    assert end.read == [b"word"]


def test_what_has_ended_is_told(rig: Rig) -> None:
    """And nothing more is read."""
    end, other = rig.end()
    other.close()
    rig.turn()
    assert end.lost is not None
    assert end not in rig.reactor.getReaders()


def test_the_end_that_a_read_finds_is_told(rig: Rig) -> None:
    """As the reason that the read gave."""
    end, other = rig.end()
    other.shutdown(socket.SHUT_WR)
    rig.turn()
    assert end.lost is not None
    assert isinstance(end.lost.value, ConnectionDone)


def test_a_bug_ends_its_own_connection_and_is_logged(rig: Rig) -> None:
    """The others of the same turn are read."""
    buggy, sends = rig.end()
    good, other = rig.end()
    buggy.bug = ValueError("a bug")
    sends.send(b"one")
    other.send(b"two")
    seen: list[dict[str, Any]] = []
    observer = cast("Any", seen.append)
    globalLogPublisher.addObserver(observer)
    try:
        rig.turn()
    finally:
        globalLogPublisher.removeObserver(observer)
    assert buggy.lost is not None
    assert buggy.lost.value is buggy.bug
    assert good.read == [b"two"]
    assert good.lost is None
    assert [one["failure"].value for one in seen if one.get("isError")] == [buggy.bug]


def test_what_another_one_took_out_is_not_read(rig: Rig) -> None:
    """Whichever is first, the other one is not read."""
    ends = [rig.end() for _ in range(2)]
    ends[0][0].closes, ends[1][0].closes = ends[1][0], ends[0][0]
    for _, other in ends:
        other.send(b"word")
    rig.turn()
    assert [one.read for one, _ in ends].count([]) == 1


def test_what_can_be_written_is(rig: Rig) -> None:
    """In the same turn as what can be read."""
    end, other = rig.end()
    rig.reactor.addWriter(end)
    other.send(b"word")
    rig.turn()
    assert end.wrote == 1
    assert end.read == [b"word"]


def test_another_reactor_stays_as_it_is() -> None:
    """One of a test, or of another system."""
    assert not quicken(Clock())


def test_a_twisted_without_what_is_used_stays_as_it_is(rig: Rig) -> None:
    """Its next version may have other insides: turns are its own then, and the router starts."""
    before = rig.reactor.doIteration
    poller = rig.reactor._poller
    del rig.reactor._poller
    try:
        assert not quicken(rig.reactor)
    finally:
        rig.reactor._poller = poller
    assert rig.reactor.doIteration == before


class Script:
    """Stands in for the poller: says what is told to be said, and notes how long each wait may last."""

    def __init__(self, reactor: Any) -> None:
        self._real = reactor._poller
        reactor._poller = self
        self.waits: list[float] = []
        #: done instead of the next waits; where there is nothing left the reactor stops running
        self.steps: list[Callable[[], None]] = []
        self._reactor = reactor

    def poll(self, wait_s: float, most: int) -> Any:
        """What can be done by now."""
        self.waits.append(wait_s)
        if self.steps:
            self.steps.pop(0)()
        else:
            self._reactor.running = False
        return self._real.poll(0, most)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Running(Rig):
    """A reactor that takes itself for running, on a clock that stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.reactor.seconds = lambda: self.now
        self.script = Script(self.reactor)
        self.reactor.running = True
        assert quicken(self.reactor)

    def until(self) -> list[float]:
        """Take a turn as the reactor's loop does, and tell its waits."""
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(self.reactor.timeout())
        return self.script.waits


@pytest.fixture
def running() -> Iterator[Running]:
    """A rig of one test."""
    made = Running()
    yield made
    for one in made.sockets:
        one.close()
    made.script._real.close()


def test_the_next_wait_follows_at_once(running: Running) -> None:
    """Until the first timer is due, however much is read meanwhile."""
    end, other = running.end()
    running.reactor.callLater(5.0, lambda: None)

    def later(by_s: float) -> None:
        running.now += by_s
        other.send(b"word")

    running.script.steps = [lambda: later(2.0), lambda: later(2.5), lambda: later(0.75)]
    assert running.until() == [5.0, 3.0, 0.5]
    assert end.read == [b"word"] * 3


@pytest.mark.parametrize("word", ["a call", "of a thread", "a stop", "a crash", "a timer sooner", "no timer"])
def test_what_the_reactor_has_to_do_goes_before_the_next_wait(running: Running, word: str) -> None:
    """As much as one that came while something was read."""
    reactor = running.reactor
    timer = reactor.callLater(5.0, lambda: None)
    steps: dict[str, Callable[[], Any]] = {
        "a call": lambda: reactor.callLater(0, lambda: None),
        "of a thread": lambda: reactor.threadCallQueue.append((bool, (), {})),
        "a stop": lambda: setattr(reactor, "_justStopped", True),
        "a crash": lambda: setattr(reactor, "running", False),
        "a timer sooner": lambda: timer.reset(0.0),
        "no timer": reactor._pendingTimedCalls.clear,
    }

    def again() -> None:
        pytest.fail("waited again")

    running.script.steps = [lambda: None, steps[word], again]
    assert running.until() == [5.0, 5.0]


def test_a_reactor_that_does_not_run_yet_waits_once(running: Running) -> None:
    """As its own loop wants it."""
    running.reactor.running = False
    running.reactor.callLater(5.0, lambda: None)
    assert len(running.until()) == 1
