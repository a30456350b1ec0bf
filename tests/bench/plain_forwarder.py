"""A plain forwarder in Twisted, to measure the router against: bytes from one connection to another.

`python -m tests.bench.plain_forwarder LISTEN_PORT TO_PORT`, both on 127.0.0.1. Each connection that comes in
gets one of its own to the target. It parses nothing, checks nothing and counts nothing, so it is what the
event loop alone costs. One process, 64 KiB reads, TCP_NODELAY, a write per read, as in the router. Writes a
line with the port once it listens.
"""

from __future__ import annotations

import sys
from typing import Any, cast

from twisted.internet import reactor as global_reactor
from twisted.internet.base import ReactorBase
from twisted.internet.protocol import ClientFactory, Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure


class _End(Protocol):
    """One of two joined connections."""

    transport: Any  # Twisted's TCP transport, which is producer and consumer in one

    def __init__(self, other: _End | None = None) -> None:
        self.other = other

    def connectionMade(self) -> None:
        """Join the two and pass pauses on, so that memory stays bounded."""
        self.transport.setTcpNoDelay(True)
        if self.other is not None:
            self.other.other = self
            self.transport.registerProducer(self.other.transport, True)
            self.other.transport.registerProducer(self.transport, True)
            self.other.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Pass the bytes on."""
        if self.other is not None:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """End the other one too."""
        if self.other is not None:
            self.other.other = None
            self.other.transport.unregisterProducer()
            self.other.transport.loseConnection()


class _Incoming(_End):
    """The accepted one: reads once its other end is there."""

    def __init__(self, reactor: Any, to_port: int) -> None:
        super().__init__()
        self._reactor = reactor
        self._to_port = to_port

    def connectionMade(self) -> None:
        """Open the other one."""
        self.transport.setTcpNoDelay(True)
        self.transport.pauseProducing()
        self._reactor.connectTCP("127.0.0.1", self._to_port, _Outgoing(self))


class _Outgoing(ClientFactory):
    """Makes the other end of an accepted connection."""

    noisy = False

    def __init__(self, incoming: _Incoming) -> None:
        self._incoming = incoming

    def buildProtocol(self, addr: object) -> Any:  # noqa: ARG002 - Twisted's signature
        """Join the two."""
        return _End(self._incoming)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:  # noqa: ARG002 - as above
        """Nobody listens at the target."""
        self._incoming.transport.abortConnection()


class _Accepting(ServerFactory):
    """Makes an end for each connection that comes in."""

    noisy = False

    def __init__(self, reactor: Any, to_port: int) -> None:
        self._reactor = reactor
        self._to_port = to_port

    def buildProtocol(self, addr: object) -> Any:  # noqa: ARG002 - Twisted's signature
        """Take it."""
        return _Incoming(self._reactor, self._to_port)


def main(listen_port: int, to_port: int, reactor: ReactorBase) -> None:
    """Forward until killed."""
    port = cast("Any", reactor).listenTCP(listen_port, _Accepting(reactor, to_port), interface="127.0.0.1")
    sys.stdout.write(f"{port.getHost().port}\n")
    sys.stdout.flush()
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), cast("ReactorBase", global_reactor))
