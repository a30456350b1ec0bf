"""A small authoritative name server over UDP and TCP, for laboratories and tests.

    python -m imxrouter.lab.dns --zone FILE --listen 127.0.0.1:5353

It answers from zone files, which it reads once; no recursion, no DNSSEC, no zone transfer. Not for the open
Internet.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.protocols.basic import Int16StringReceiver

from imxrouter.config.net import BadEndpoint, parse_endpoint
from imxrouter.lab.zones import BadZone, ZoneBook, respond

#: TCP connections at once; a laboratory needs a handful.
_MAX_CONNECTIONS = 100


class _Udp(DatagramProtocol):
    def __init__(self, book: ZoneBook) -> None:
        self._book = book

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        answer = respond(self._book, datagram, over_tcp=False)
        if answer is not None and self.transport is not None:
            self.transport.write(answer, addr)


class _Tcp(Int16StringReceiver):
    factory: _TcpFactory

    def connectionMade(self) -> None:
        self.factory.connections += 1
        if self.factory.connections > _MAX_CONNECTIONS:
            self.transport.abortConnection()  # type: ignore[union-attr]

    def stringReceived(self, string: bytes) -> None:  # noqa: N802 - Twisted calls it
        answer = respond(self.factory.book, string, over_tcp=True)
        if answer is not None:
            self.sendString(answer)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = None) -> None:  # noqa: ARG002
        self.factory.connections -= 1


class _TcpFactory(Factory):
    noisy = False

    def __init__(self, book: ZoneBook) -> None:
        self.book = book
        self.connections = 0

    def buildProtocol(self, addr: Any) -> Protocol:  # noqa: ARG002
        protocol = _Tcp()
        protocol.factory = self
        return protocol


class LabDns:
    """The name server.

    Args:
        reactor: with UDP and TCP.
        book: what it knows; may be changed while it runs.
    """

    def __init__(self, reactor: Any, book: ZoneBook) -> None:
        self._reactor = reactor
        self.book = book
        self._ports: list[Any] = []

    def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen on UDP and TCP; return the port, for 0 a free one of both.

        Raises:
            CannotListenError: the port is taken.
        """
        tcp = self._reactor.listenTCP(port, _TcpFactory(self.book), interface=host)
        number = int(tcp.getHost().port)
        self._ports.append(tcp)
        self._ports.append(self._reactor.listenUDP(number, _Udp(self.book), interface=host))
        return number

    def stop(self) -> Any:
        """Stop listening; the Deferred fires when it is done."""
        ports, self._ports = self._ports, []
        return gatherResults([maybeDeferred(port.stopListening) for port in ports])


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m imxrouter.lab.dns", description="A small name server.")
    parser.add_argument("--zone", action="append", required=True, type=Path, help="zone file with $ORIGIN")
    parser.add_argument("--listen", default="127.0.0.1:5353", help="ADDRESS:PORT (default 127.0.0.1:5353)")
    options = parser.parse_args(arguments)
    book = ZoneBook()
    try:
        place = parse_endpoint(options.listen)
        for path in options.zone:
            book.load(path.read_text(encoding="utf-8"))
    except (BadEndpoint, BadZone, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    from twisted.internet import reactor  # noqa: PLC0415 - the reactor is installed on import

    port = LabDns(reactor, book).start(place.host, place.port)
    print(f"name server on {place.host} port {port} for {', '.join(book.origins())}", flush=True)
    reactor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
