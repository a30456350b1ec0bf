"""TCP between simulated parties: order within a connection is kept, nothing else is promised.

Bytes lie in a connection until somebody delivers some of them. A connection can be cut at any byte of either
direction; each end learns of it when everything that still was under way has arrived, early or late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

Endpoint = tuple[str, int]

#: The kernel takes so much from a transport before the other side reads.
PAUSE_BYTES = 1500


def _why(error: type[Exception]) -> Failure:
    return Failure(error())  # type: ignore[no-untyped-call]


class Party(Protocol):
    """Somebody with an address."""

    ip: str
    alive: bool

    def accept(self) -> Any:
        """The protocol of a connection that somebody opened to us."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a protocol is told of the other side."""

    host: str
    port: int


class End:
    """One end of a connection: Twisted's transport of the protocol there."""

    def __init__(self, net: Net, party: Party, remote: Endpoint) -> None:
        self.net = net
        self.party = party
        self.remote = remote
        self.protocol: Any = None
        self.other: End
        self.connection: Connection
        #: written, not yet arrived
        self.queue: deque[bytes] = deque()
        #: nothing follows what is in `queue`
        self.ended = False
        #: this side reads and writes no more
        self.closed = False
        #: what arrives here is being read now
        self.reading = False
        self.said: Callable[[bytes], None] = lambda _data: None
        self.heard: Callable[[bytes], None] = lambda _data: None
        self.closing: Callable[[], None] = lambda: None
        #: as Twisted's; here what is to end ends at once
        self.disconnecting = False
        self._producer: Any = None
        self._streaming = False
        self._paused = False

    # -- as a transport ----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Put bytes on their way."""
        if self.closed or not data:
            return
        self.said(data)
        if self.ended:  # the connection is cut; the protocol has not learnt it yet
            return
        self.queue.append(bytes(data))
        if self.waiting > PAUSE_BYTES:
            if self._producer is not None and not self._paused and self._streaming:
                self._producer.pauseProducing()
            self._paused = True
        elif not self._streaming:
            self.net.clock.callLater(0, self._drained)

    def _drained(self) -> None:
        """The kernel has taken everything."""
        if self._producer is not None and self.waiting <= PAUSE_BYTES and self.party.alive:
            self._paused = False
            self._producer.resumeProducing()

    def getPeer(self) -> Address:
        """Who is on the other side."""
        return Address(*self.remote)

    def setTcpNoDelay(self, _on: bool) -> None:  # noqa: N802 - Twisted's name
        """Nothing to set."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Somebody wants to know when the other side does not read."""
        self._producer, self._streaming = producer, streaming

    def unregisterProducer(self) -> None:
        """He no longer wants to."""
        self._producer = None

    def loseConnection(self) -> None:
        """Close after what is written; reads no more."""
        if not self.closed:
            self.closing()
            self.closed = True
            self.ended = True
            self.net.clock.callLater(0, self._lost, _why(ConnectionDone))

    def abortConnection(self) -> None:
        """Close now: what is under way arrives or does not."""
        if not self.closed:
            self.closed = True
            self.truncate(self.net.chance.randint(0, self.waiting))
            self.net.clock.callLater(0, self._lost, _why(ConnectionLost))

    # -- as a wire ---------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Bytes under way from here."""
        return sum(map(len, self.queue))

    def truncate(self, keep: int) -> None:
        """Lose what is under way but the first `keep` bytes; nothing follows them."""
        data = b"".join(self.queue)[:keep]
        self.queue.clear()
        if data:
            self.queue.append(data)
        self.ended = True

    def deliver(self, limit: int) -> None:
        """Bring at most so many bytes of the next chunk to the other side, or the end of the connection."""
        if self.queue:
            chunk = self.queue.popleft()
            if len(chunk) > limit:
                chunk, rest = chunk[:limit], chunk[limit:]
                self.queue.appendleft(rest)
            if not self.other.closed:
                self.other.heard(chunk)
                self.other.reading = True
                self.other.protocol.dataReceived(chunk)
                self.other.reading = False
            if self._paused:
                self._drained()
        elif self.ended and not self.other.closed:
            self.other.closed = True
            self.other.ended = True
            self.other._lost(_why(ConnectionLost))

    @property
    def can_deliver(self) -> bool:
        """Whether `deliver` would do something."""
        return bool(self.queue) or (self.ended and not self.other.closed)

    def _lost(self, why: Failure) -> None:
        if self.party.alive:
            self.protocol.connectionLost(why)


class Connection:
    """A TCP connection.

    Attributes:
        opener: the end that opened it.
        acceptor: the end that accepted it.
        frozen: nothing arrives for now.
    """

    def __init__(self, number: int, opener: End, acceptor: End) -> None:
        self.number = number
        self.opener = opener
        self.acceptor = acceptor
        self.frozen = False
        opener.other, acceptor.other = acceptor, opener
        opener.connection = acceptor.connection = self

    @property
    def ends(self) -> tuple[End, End]:
        """Both."""
        return self.opener, self.acceptor

    @property
    def over(self) -> bool:
        """Whether both ends are closed and nothing more can happen."""
        return self.opener.closed and self.acceptor.closed

    def cut(self, chance: Random) -> None:
        """The network gives up: of each direction some first part still arrives."""
        for end in self.ends:
            end.truncate(chance.randint(0, end.waiting))


class Net:
    """Everything between the parties.

    Args:
        clock: the only time there is.
        chance: decides what a test leaves open.
    """

    def __init__(self, clock: Clock, chance: Random) -> None:
        self.clock = clock
        self.chance = chance
        self.connections: list[Connection] = []
        self.listening: dict[Endpoint, list[Party]] = {}
        self.dialling: list[tuple[Deferred[End | None], Party, Endpoint]] = []
        self.opened: list[Callable[[Connection], None]] = []
        #: hosts that nobody reaches, and who reach nobody
        self.dark: set[Endpoint] = set()
        self._numbers = 0

    def connect(self, party: Party, endpoint: Endpoint) -> Deferred[End | None]:
        """Open a connection: fires with our end, or None where nobody takes it; attach at once."""
        done: Deferred[End | None] = Deferred()
        self.dialling.append((done, party, endpoint))
        return done

    def complete(self, number: int, *, fail: bool = False) -> None:
        """Let one of the attempts come to its end."""
        done, party, endpoint = self.dialling.pop(number)
        if not party.alive:
            return
        takers = [one for one in self.listening.get(endpoint, ()) if one.alive]
        in_the_dark = any(endpoint == one or party.ip == one[0] for one in self.dark)
        if fail or in_the_dark or not takers:
            done.callback(None)
            return
        taker = self.chance.choice(takers)
        self._numbers += 1
        opener = End(self, party, endpoint)
        acceptor = End(self, taker, (party.ip, 20000 + self._numbers))
        connection = Connection(self._numbers, opener, acceptor)
        self.connections.append(connection)
        for tell in self.opened:
            tell(connection)
        acceptor.protocol = taker.accept()
        done.callback(opener)
        assert opener.protocol is not None, "whoever dials attaches a protocol at once"
        acceptor.protocol.makeConnection(acceptor)

    def kill(self, party: Party) -> None:
        """A process dies: its connections end, what it wrote arrives in part."""
        for connection in self.connections:
            for end in connection.ends:
                if end.party is party and not end.closed:
                    end.closed = True
                    end.truncate(self.chance.randint(0, end.waiting))

    def deliverable(self) -> list[End]:
        """Ends from which something can arrive now."""
        self.connections = [one for one in self.connections if not one.over]
        return [
            end
            for connection in self.connections
            if not connection.frozen
            for end in connection.ends
            if end.can_deliver
        ]
