"""The bus between processes of one host: what both engines share, and the engine inside one process.

A process asks another one ("do you know this token?") or tells it something ("here is a response for you").
An ask is answered exactly once: with the answer, or with None when the other process is not there, does not
listen, dies, is too slow, or when a bound is reached. A tell may be lost in the same cases.

`bus_unix.py` is the engine between processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from itertools import count
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from imxrouter.model.errors import LocalMisuse, RouterError
from imxrouter.routing.interfaces import BusListener

#: Largest payload. A record is at most 1 MiB; the domains sent beside it fit into the rest.
MAX_PAYLOAD_BYTES: Final = 2 * 1024 * 1024

#: Longest name of a kind; its length has one byte in a frame.
MAX_KIND_BYTES: Final = 255

#: Bytes that may wait for one other process. Must exceed MAX_PAYLOAD_BYTES; two of the largest payloads,
#: or ten thousand ordinary responses.
MAX_QUEUED_BYTES: Final = 2 * MAX_PAYLOAD_BYTES

#: Asks without an answer at one time. Verifications are limited to some hundreds a second, each asks once.
MAX_PENDING_ASKS: Final = 4096

#: Takes the answer, or None where there is none.
Answer = Callable[[bytes | None], None]


class BusError(RouterError):
    """The bus cannot be used: its directory or its process number is taken or not ours."""


class Op(IntEnum):
    """What a frame is."""

    ASK = 1
    ANSWER = 2
    #: Nobody listens there, or the answer was too large.
    NO_ANSWER = 3
    TELL = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """One thing said on the bus.

    Attributes:
        op: what it is.
        correlation: number of the ask, chosen by the asking process; 0 for a tell.
        kind: what asks and tells are about; empty in answers.
        payload: the bytes.
    """

    op: Op
    correlation: int = 0
    kind: str = ""
    payload: bytes = b""


@dataclass(slots=True)
class _Pending:
    process: int
    answer: Answer
    deadline: IDelayedCall


class BusEnd(ABC):
    """One process's end of the bus. Engines add how a frame reaches another process.

    Args:
        reactor: the clock; answers are given from its calls, never from inside `ask`.
        process: number of this process on its host.
        log: where a listener's failure is told.

    Attributes:
        process: number of this process.
        dropped: frames not sent because a bound was reached or the other process was not there.
    """

    def __init__(self, reactor: IReactorTime, process: int, log: Logger | None = None) -> None:
        self.process = process
        self.dropped = 0
        self._clock = reactor
        self._log = log or Logger("imxrouter.bus")
        self._listener: BusListener | None = None
        #: told a process to which the connection has ended
        self.on_lost: Callable[[int], None] = lambda _process: None
        self._pending: dict[int, _Pending] = {}
        self._numbers = count(1)
        self._closed = False

    # -- what users call ---------------------------------------------------------------------------------

    def listen(self, listener: BusListener) -> None:
        """Give what others ask and tell to `listener`; before that, asks are answered with None."""
        self._listener = listener

    def ask(self, process: int, kind: str, payload: bytes, answer: Answer, timeout_s: float) -> None:
        """Ask another process; `answer` is called once, later, with its answer or None.

        Raises:
            LocalMisuse: the kind is empty or too long.
        """
        _check_kind(kind)
        if self._closed or len(self._pending) >= MAX_PENDING_ASKS:
            self.dropped += 1
            self._clock.callLater(0, answer, None)
            return
        number = next(self._numbers)
        deadline = self._clock.callLater(timeout_s, self._settle, number, None)
        self._pending[number] = _Pending(process, answer, deadline)
        if not self._pass_on(process, Frame(Op.ASK, number, kind, payload)):
            self._clock.callLater(0, self._settle, number, None)

    def tell(self, process: int, kind: str, payload: bytes) -> bool:
        """Tell another process; False where it is not there or a bound is reached.

        Raises:
            LocalMisuse: the kind is empty or too long.
        """
        _check_kind(kind)
        return not self._closed and self._pass_on(process, Frame(Op.TELL, 0, kind, payload))

    @abstractmethod
    def peers(self) -> frozenset[int]:
        """Return the numbers of the other processes that are there."""

    def close(self) -> None:
        """Leave the bus; what is still asked is answered with None before this returns."""
        if self._closed:
            return
        self._closed = True
        self._leave()
        for number in list(self._pending):
            self._settle(number, None)

    # -- what engines call and give ----------------------------------------------------------------------

    @abstractmethod
    def _send(self, process: int, frame: Frame) -> bool:
        """Put a frame on its way to another process; False where that is known to be impossible."""

    @abstractmethod
    def _leave(self) -> None:
        """Let go of the engine's means."""

    def _take(self, frame: Frame, back: Callable[[Frame], None]) -> None:
        """Take a frame from another process; `back` returns a frame to it."""
        if self._closed:
            return
        if frame.op is Op.ANSWER:
            self._settle(frame.correlation, frame.payload)
        elif frame.op is Op.NO_ANSWER:
            self._settle(frame.correlation, None)
        elif self._listener is None:
            if frame.op is Op.ASK:
                back(Frame(Op.NO_ANSWER, frame.correlation))
        else:
            self._handle(self._listener, frame, back)

    def _lost(self, process: int) -> None:
        """Another process is gone: what it was asked is answered with None."""
        for number in [number for number, one in self._pending.items() if one.process == process]:
            self._settle(number, None)
        if not self._closed:
            self.on_lost(process)

    # -- inside ------------------------------------------------------------------------------------------

    def _pass_on(self, process: int, frame: Frame) -> bool:
        if len(frame.payload) <= MAX_PAYLOAD_BYTES:
            if process == self.process:
                self._clock.callLater(0, self._take, frame, self._to_self)
                return True
            if self._send(process, frame):
                return True
        self.dropped += 1
        return False

    def _to_self(self, frame: Frame) -> None:
        self._clock.callLater(0, self._take, frame, self._to_self)

    def _handle(self, listener: BusListener, frame: Frame, back: Callable[[Frame], None]) -> None:
        open_asks = [frame.correlation] if frame.op is Op.ASK else []

        def reply(payload: bytes) -> None:
            if open_asks and not self._closed:
                fits = len(payload) <= MAX_PAYLOAD_BYTES
                answer = Frame(Op.ANSWER, open_asks.pop(), "", payload)
                back(answer if fits else Frame(Op.NO_ANSWER, answer.correlation))

        try:
            listener(frame.kind, frame.payload, reply)
        except Exception:  # noqa: BLE001 - one bad question must not end the bus; it is logged as a failure
            self._log.failure("the listener failed on {kind} from the bus", kind=frame.kind)
            if open_asks:
                back(Frame(Op.NO_ANSWER, open_asks.pop()))

    def _settle(self, number: int, payload: bytes | None) -> None:
        pending = self._pending.pop(number, None)
        if pending is None:  # late, or said twice
            return
        if pending.deadline.active():
            pending.deadline.cancel()
        pending.answer(payload)


def _check_kind(kind: str) -> None:
    if not 0 < len(kind.encode("utf-8")) <= MAX_KIND_BYTES:
        raise LocalMisuse(f"a kind on the bus has 1 to {MAX_KIND_BYTES} bytes, not {kind[:40]!r}")


class MemoryExchange:
    """Joins the ends of processes that are all in this one: for tests and for a single worker.

    Args:
        reactor: the clock that delivers; one turn passes between sending and taking.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._clock = reactor
        self._ends: dict[int, MemoryBus] = {}

    def join(self, process: int) -> MemoryBus:
        """Make the end of a process.

        Raises:
            BusError: the number is taken.
        """
        if process in self._ends:
            raise BusError(f"process {process} is on the bus already")
        end = MemoryBus(self._clock, process, self)
        self._ends[process] = end
        return end

    def numbers(self) -> frozenset[int]:
        """Return the numbers of all ends that are there."""
        return frozenset(self._ends)

    def deliver(self, source: MemoryBus, process: int, frame: Frame) -> bool:
        """Bring a frame to a process in the next turn; False where it is not there."""
        target = self._ends.get(process)
        if target is None:
            return False

        def arrive() -> None:
            source.arrived(process, len(frame.payload))
            target.take(source, frame)

        self._clock.callLater(0, arrive)
        return True

    def leave(self, process: int) -> None:
        """A process leaves; the others learn it in the next turn."""
        del self._ends[process]
        for end in self._ends.values():
            self._clock.callLater(0, end.gone, process)


class MemoryBus(BusEnd):
    """An end inside this process. Made by `MemoryExchange.join`."""

    def __init__(self, reactor: IReactorTime, process: int, exchange: MemoryExchange) -> None:
        super().__init__(reactor, process)
        self._exchange = exchange
        self._queued: dict[int, int] = {}

    def peers(self) -> frozenset[int]:
        """Return the numbers of the other ends that are there."""
        return self._exchange.numbers() - {self.process}

    def take(self, source: MemoryBus, frame: Frame) -> None:
        """Take what the exchange brings."""
        self._take(frame, source.answered)

    def answered(self, frame: Frame) -> None:
        """Take an answer in the next turn."""
        self._clock.callLater(0, self._take, frame, lambda _: None)

    def arrived(self, process: int, size_bytes: int) -> None:
        """A frame of this end no longer waits."""
        self._queued[process] = self._queued.get(process, 0) - size_bytes

    def gone(self, process: int) -> None:
        """Another end left."""
        self._lost(process)

    def _send(self, process: int, frame: Frame) -> bool:
        waiting = self._queued.get(process, 0) + len(frame.payload)
        if waiting > MAX_QUEUED_BYTES or not self._exchange.deliver(self, process, frame):
            return False
        self._queued[process] = waiting
        return True

    def _leave(self) -> None:
        self._exchange.leave(self.process)
