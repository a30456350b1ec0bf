"""Connections from strangers, taken and read so that nobody else waits long for them (IMX-33).

Twisted takes up to hundreds of connections in one turn of its reactor, and reads all that are ready: a crowd
that comes or speaks at one time would keep everybody else waiting for all of it. Here those on whom nothing
is proved yet have a share of each turn: connections are taken, read and ended, TLS handshakes made and
verifications begun and gone on with one at a time until it is used up. The rest is done in later turns: the
kinds in turn, and within each one network after the other.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

from twisted.internet import tcp
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.routing.prefixes import BadIpAddress, address_keys
from imxrouter.transport.fair_queue import FairQueue

#: Connections taken at one time: each costs 0.07 to 0.2 ms, and the kernel keeps the others waiting.
ACCEPTS_AT_ONCE: Final = 2
#: What strangers may use of a turn; the last piece may go beyond it. The longest, a TLS handshake, takes 0.8
#: ms, so a turn keeps a message waiting for less than it takes through a quiet router (1.3 ms).
SHARE_S: Final = 0.0005
#: Of one link in one read: a ClientHello, or four claims of some 0.15 ms each.
STRANGERS_READ_BYTES: Final = 640


# Twisted's own, which are not typed
_SERVER: Any = tcp.Server
_PORT: Any = tcp.Port


class StrangersTurns:
    """What strangers used of this turn of the reactor, and who waits for a later one.

    Args:
        reactor: calls what is to be done in the next turn.
        clock: seconds; measures work.
        share_s: what they may use of a turn. The last piece may go beyond it.
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
        self._ports: deque[Any] = deque()
        self._waiting: FairQueue[Any] = FairQueue()
        self._work: FairQueue[Callable[[], None]] = FairQueue()
        self._goes_on: deque[Callable[[], None]] = deque()
        #: what is waiting, and what is done with the next of it; the first is next
        self._kinds: deque[tuple[Any, Callable[[], None]]] = deque(
            [
                (self._ports, self._next_port), (self._waiting, self._next_reader),
                (self._goes_on, self._next_work), (self._work, self._next_work),
            ]
        )  # fmt: skip

        self._others: StrangersTurns | None = None

    @property
    def beside(self) -> StrangersTurns:
        """The same for those who are known and go on over their limits; their share is another one."""
        if self._others is None:
            self._others = StrangersTurns(self._reactor, self._clock, self._share_s)
        return self._others

    @property
    def waiting(self) -> int:
        """How many are to be read."""
        return len(self._waiting)

    def read(self, one: Any) -> None:
        """Read one (`Accepted`) now, or in a later turn; the end that a read finds comes in a later one."""
        if not self._waiting and self._used < self._share_s:
            self._spend(lambda: self._read(one))
        else:
            self._wait(one)

    def accept(self, port: Any) -> None:
        """Take connections of a `GentlePort` now, or in a later turn."""
        if self._used < self._share_s:
            self._spend(port.take)
        else:
            port.stopReading()
            self._ports.append(port)
            self._next()

    def later(self, what: Callable[[], None], group: bytes = b"") -> None:
        """Do something at a stranger's word, in a later turn.

        Args:
            what: done once.
            group: on whose account; groups take turns.
        """
        self._work.put(group, what)
        self._next()

    def go_on(self, what: Callable[[], None]) -> None:
        """Go on with something that was begun, before anything else of its kind is begun."""
        self._goes_on.append(what)
        self._next()

    def _wait(self, one: Any) -> None:
        one.stopReading()
        one.waits = True
        self._waiting.put(one.group, one)
        self._next()

    def _spend(self, piece: Callable[[], None]) -> None:
        self._next()
        began = self._clock()
        try:
            piece()
        except Exception:  # noqa: BLE001 - one stranger's bug must not keep the others from their turn
            self.log.failure("work for a stranger")
        self._used += self._clock() - began

    def _read(self, one: Any) -> None:
        try:
            one.end = one.read_now()
        except Exception as error:  # noqa: BLE001 - a bug ends that link
            self.log.failure("reading from {address}", address=one.hostname)
            one.end = error
        if one.end is not None:
            self._wait(one)

    def _next(self) -> None:
        if not self._is_next_due:
            self._is_next_due = True
            self._reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        self._is_next_due = False
        self._used = 0.0
        empty = 0
        while self._used < self._share_s and empty < len(self._kinds):
            waiting, serve = self._kinds[0]
            self._kinds.rotate(-1)
            if waiting:
                empty = 0
                self._spend(serve)
            else:
                empty += 1
        if any(waiting for waiting, _ in self._kinds):
            self._next()

    def _next_port(self) -> None:
        port = self._ports.popleft()
        if port.connected and not port.disconnecting:
            port.startReading()
            port.take()

    def _next_reader(self) -> None:
        one = self._waiting.take()
        one.waits = False
        if not one.connected:
            return
        if one.end is not None:
            self._end(one)
        elif not one.disconnecting and not one.paused:
            one.startReading()
            self._read(one)

    def _next_work(self) -> None:
        work = self._goes_on.popleft() if self._goes_on else self._work.take()
        work()

    def _end(self, one: Any) -> None:
        """Do as the reactor does where a read finds the end."""
        one.stopReading()
        one.stopWriting()
        one.connectionLost(cast("Any", Failure)(one.end))


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

    @property
    def group(self) -> bytes:
        """The network that it comes from."""
        try:
            return address_keys(self.hostname).prefix
        except BadIpAddress:
            return b""

    def doRead(self) -> Any:  # noqa: N802 - Twisted's name
        """Called by Twisted."""
        if self.is_known is not None and self.is_known():
            self.read_freely()
            return self.read_now()
        self.server.turns.read(self)
        return None

    def read_now(self) -> Any:
        """As Twisted's own, in one call."""
        try:
            data = self.socket.recv(self.bufferSize)
        except OSError as error:
            return None if isinstance(error, BlockingIOError) else CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    @property
    def is_free(self) -> bool:
        """Whether nothing stands between the reactor and the connection."""
        return self.__dict__.get("doRead") == self.read_now

    def read_freely(self, size_bytes: int = tcp.Connection.bufferSize) -> None:
        """Nothing stands between from now on; so much is read at a time."""
        self.is_known = None
        self.bufferSize = size_bytes
        self.doRead = self.read_now  # type: ignore[method-assign]

    def read_in_turns(self, size_bytes: int) -> None:
        """Read so much at a time, and only within the share of those who go on over their limits."""
        self.is_known = None
        self.bufferSize = size_bytes
        self.doRead = self._read_in_turn  # type: ignore[method-assign]

    def _read_in_turn(self) -> None:
        self.server.turns.beside.read(self)

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
    """A listening port that takes few connections at one time, and within the share of strangers."""

    transport = Accepted
    turns: StrangersTurns

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Called by Twisted."""
        self.turns.accept(self)

    def take(self) -> None:
        """Take some; Twisted would take more the next time."""
        self.numberAccepts = ACCEPTS_AT_ONCE
        _PORT.doRead(self)


def adopt(reactor: Any, fileno: int, family: int, factory: Any, turns: StrangersTurns) -> GentlePort:
    """Listen on a socket that listens already; it is duplicated, like `adoptStreamPort` does."""
    port: GentlePort = cast("Any", GentlePort)._fromListeningDescriptor(  # noqa: SLF001 - what adoptStreamPort calls
        reactor, fileno, family, factory
    )
    port.turns = turns
    port.startListening()
    return port
