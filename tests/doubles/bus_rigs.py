"""Two rigs with one face, so that both engines of the bus pass the same tests."""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from twisted.internet.task import Clock

from imxrouter.routing.interfaces import Bus
from imxrouter.transport.bus import MemoryExchange
from imxrouter.transport.bus_unix import UnixBus
from tests.doubles.reactor_thread import ReactorThread

T = TypeVar("T")

#: Longer than anything here takes.
WAIT_S = 30.0


class BusRig(Protocol):
    """What the tests need of an engine."""

    def join(self, process: int) -> Bus:
        """Make the end of a process."""

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Call a function where the bus lives."""

    def take(self, waiting: queue.SimpleQueue[T]) -> T:
        """Let the bus work until something is there, and return it."""

    def rest(self) -> None:
        """Let the bus work until what was sent has surely arrived."""

    def close(self) -> None:
        """Close every end."""


class MemoryRig:
    """Ends in this process under a clock that only we move."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._exchange = MemoryExchange(self.clock)
        self._ends: list[Bus] = []

    def join(self, process: int) -> Bus:
        """Make an end."""
        self._ends.append(self._exchange.join(process))
        return self._ends[-1]

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Call it."""
        return fn(*args)

    def take(self, waiting: queue.SimpleQueue[T]) -> T:
        """Move the clock until something is there."""
        for _ in range(int(WAIT_S / 0.01)):
            if not waiting.empty():
                break
            self.clock.advance(0.01)
        return waiting.get_nowait()

    def rest(self) -> None:
        """Move the clock a little."""
        self.clock.pump([0.01] * 5)

    def close(self) -> None:
        """Close every end."""
        for end in self._ends:
            end.close()


class UnixRig:
    """Ends on unix sockets, in the reactor of the test session."""

    def __init__(self, thread: ReactorThread, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._thread = thread
        self._ends: list[Bus] = []

    def join(self, process: int) -> UnixBus:
        """Make an end and start it."""
        end = UnixBus(self._thread.reactor, process, self.run_dir)
        self._thread.call(end.start)
        self._ends.append(end)
        return end

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Call it in the reactor."""
        return self._thread.call(fn, *args)

    def take(self, waiting: queue.SimpleQueue[T]) -> T:
        """Wait until something is there."""
        return waiting.get(timeout=WAIT_S)

    def rest(self) -> None:
        """Let the reactor turn: on one machine what was sent has arrived a turn later."""
        for _ in range(3):
            self._thread.call(lambda: None)

    def close(self) -> None:
        """Close every end."""
        for end in self._ends:
            self._thread.call(end.close)
        self.rest()
