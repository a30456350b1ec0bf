"""Connections from strangers, taken and read so that nobody else waits long for them (IMX-33).

Twisted takes up to hundreds of connections in one turn of its reactor, and reads all that are ready: a crowd
that comes or speaks at one time would keep everybody else waiting for all of it. Here a turn takes a few
connections, and gives those on which nothing is proved yet a share of its time; who finds it used up is read
in a later turn, in the order of asking. TLS handshakes happen in these reads, so they are covered as well.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

from twisted.internet import tcp
from twisted.logger import Logger
from twisted.python.failure import Failure

#: Connections taken in one turn: each costs 0.07 to 0.16 ms, and the kernel keeps the others waiting.
ACCEPTS_A_TURN: Final = 4
#: What strangers may use of a turn: less than a message takes through a quiet router (1.3 ms).
SHARE_S: Final = 0.001
#: Of one link in one read; a hello is at most 1,280 bytes, the most that may come before it is answered.
STRANGERS_READ_BYTES: Final = 4096


# Twisted's own, which are not typed
_SERVER: Any = tcp.Server
_PORT: Any = tcp.Port


class StrangersTurns:
    """What strangers used of this turn of the reactor, and who waits for a later one.

    Args:
        reactor: calls what is to be done in the next turn.
        clock: seconds; measures work.
        share_s: what they may use of a turn. The last one's read may go beyond it.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, clock: Callable[[], float] = time.perf_counter, share_s: float = SHARE_S
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._share_s = share_s
        self._used = 0.0
        self._is_next_due = False
        self._waiting: deque[Any] = deque()
        self._work: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def read(self, one: Any) -> None:
        """Read one (`Accepted`) now, or in a later turn; the end that a read finds comes in a later one."""
        if not self._waiting and self._used < self._share_s:
            self._read(one)
        else:
            self._wait(one)

    def later(self, what: Callable[[], None]) -> None:
        """Do something at a stranger's word, in a later turn; readers have as much of a turn beside it."""
        self._work.append(what)
        self._next()

    def _wait(self, one: Any) -> None:
        one.stopReading()
        one.waits = True
        self._waiting.append(one)
        self._next()

    def _read(self, one: Any) -> None:
        self._next()
        began = self._clock()
        try:
            one.end = one.read_now()
        except Exception as error:  # noqa: BLE001 - one link's bug must not keep the others from being read
            self.log.failure("reading from {address}", address=one.hostname)
            one.end = error
        self._used += self._clock() - began
        if one.end is not None:
            self._wait(one)

    def _next(self) -> None:
        if not self._is_next_due:
            self._is_next_due = True
            self._reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        self._is_next_due = False
        if self._work:
            self._do(self._work.popleft())
        self._used = 0.0
        while self._waiting and self._used < self._share_s:
            self._serve(self._waiting.popleft())
        if self._waiting or self._work:
            self._next()

    def _do(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception:  # noqa: BLE001 - as in _read
            self.log.failure("work for a stranger")

    def _serve(self, one: Any) -> None:
        one.waits = False
        if not one.connected:
            return
        if one.end is not None:
            self._end(one)
        elif not one.disconnecting and not one.paused:
            one.startReading()
            self._read(one)

    def _end(self, one: Any) -> None:
        """Do as the reactor does where a read finds the end."""
        began = self._clock()
        one.stopReading()
        one.stopWriting()
        try:
            one.connectionLost(cast("Any", Failure)(one.end))
        except Exception:  # noqa: BLE001 - as in _read
            self.log.failure("ending {address}", address=one.hostname)
        self._used += self._clock() - began


class Accepted(tcp.Server):
    """A connection that somebody opened to us; until something is proved on it, a stranger's.

    Attributes:
        is_known: asked before each read, whether something is proved; from then on nothing stands between.
        waits: it is read, or ended, in a later turn.
        end: why it ends.
        paused: its protocol reads nothing now.
    """

    server: GentlePort
    bufferSize = STRANGERS_READ_BYTES  # noqa: N815 - Twisted's name
    is_known: Callable[[], bool] | None = None
    waits = False
    paused = False
    end: BaseException | None = None

    def doRead(self) -> Any:  # noqa: N802 - Twisted's name
        """Called by Twisted."""
        if self.is_known is not None and self.is_known():
            self.is_known = None
            self.bufferSize = tcp.Connection.bufferSize
            self.doRead = self.read_now  # type: ignore[method-assign]
            return self.read_now()
        self.server.turns.read(self)
        return None

    def read_now(self) -> Any:
        """Twisted's own."""
        return _SERVER.doRead(self)

    def pauseProducing(self) -> None:
        """Called by the protocol."""
        self.paused = True
        _SERVER.pauseProducing(self)

    def resumeProducing(self) -> None:
        """Called by the protocol; one that waits for its turn is read then."""
        self.paused = False
        if not self.waits:
            _SERVER.resumeProducing(self)

    def connectionLost(self, reason: Any) -> None:
        """Called by Twisted."""
        self.__dict__.pop("doRead", None)  # it is a circle
        self.is_known = None
        _SERVER.connectionLost(self, reason)


class GentlePort(tcp.Port):
    """A listening port that takes few connections in a turn."""

    transport = Accepted
    turns: StrangersTurns

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Called by Twisted, which would take more the next time."""
        self.numberAccepts = ACCEPTS_A_TURN
        _PORT.doRead(self)


def adopt(reactor: Any, fileno: int, family: int, factory: Any, turns: StrangersTurns) -> GentlePort:
    """Listen on a socket that listens already; it is duplicated, like `adoptStreamPort` does."""
    port: GentlePort = cast("Any", GentlePort)._fromListeningDescriptor(  # noqa: SLF001 - what adoptStreamPort calls
        reactor, fileno, family, factory
    )
    port.turns = turns
    port.startListening()
    return port
