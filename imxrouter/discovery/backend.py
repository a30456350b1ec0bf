"""dnspython's asynchronous I/O on a Twisted reactor: sockets, sleep and time-outs.

dnspython calls it, our coroutines are driven by `Deferred.fromCoroutine`. Each socket serves one query.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import dns.exception

# dnspython re-exports these as dns.asyncbackend, which the type checker does not follow.
from dns._asyncbackend import Backend, DatagramSocket, StreamSocket
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.python.failure import Failure

#: Datagrams kept while nobody reads. One is expected; more are forged or late.
_MAX_WAITING_DATAGRAMS = 16

#: Octets kept of a TCP answer: a DNS message has at most 65,535, and two for its length.
_MAX_STREAM_OCTETS = 65_537


#: Does something now, or soon.
GoOn = Callable[[Callable[[], None]], None]


class Cancelled(BaseException):
    """The question was cancelled from outside.

    dnspython takes every `Exception` of a query as the server's fault and asks the next one; this must pass.
    """


class TwistedBackend(Backend):
    """dnspython's `Backend` on a Twisted reactor.

    Args:
        reactor: any with UDP, TCP and time; handed in.
        go_on: goes on with what an answer by UDP is for, now or soon: strangers may cause a crowd of them.
    """

    def __init__(self, reactor: Any, go_on: GoOn = lambda then: then()) -> None:
        self._reactor = reactor
        self._go_on = go_on

    def name(self) -> str:
        """Return the backend's name."""
        return "twisted"

    def datagram_connection_required(self) -> bool:
        """Ask for connected UDP sockets: the kernel then drops what comes from elsewhere."""
        return True

    async def make_socket(
        self,
        af: int,
        socktype: int,
        proto: int = 0,  # noqa: ARG002 - dnspython's signature
        source: Any = None,
        destination: Any = None,
        timeout: float | None = None,  # noqa: ASYNC109 - dnspython's signature
        ssl_context: Any = None,
        server_hostname: Any = None,  # noqa: ARG002 - dnspython's signature
    ) -> Any:
        """Open a socket to `destination`. The kernel picks a random source port.

        Raises:
            OSError: it cannot be opened, or the connection is refused.
            dns.exception.Timeout: no connection in time.
        """
        if ssl_context is not None or destination is None:
            raise NotImplementedError("only plain sockets with a destination")
        host, port = destination[0], destination[1]
        local = source[0] if source else ("::" if af == socket.AF_INET6 else "0.0.0.0")
        if socktype == socket.SOCK_DGRAM:
            datagrams = _Datagrams(self._reactor, self._go_on)
            listening = self._reactor.listenUDP(0, datagrams, interface=local, maxPacketSize=65535)
            try:
                datagrams.open_to(host, port)
            except OSError:  # no route to the server
                listening.stopListening()
                raise
            return _UdpSocket(af, datagrams, (host, port))
        stream = _Stream(self._reactor)
        connector = self._reactor.connectTCP(host, port, _OneConnection(stream), timeout=timeout or 30)
        try:
            await guarded(self._reactor, stream.opened, timeout)
        except BaseException:
            connector.disconnect()
            raise
        return _TcpSocket(af, stream)

    async def sleep(self, interval: float) -> None:
        """Wait."""
        await _sleep(self._reactor, interval)

    def get_transport_class(self) -> Any:
        """Refuse: DNS over HTTPS is not offered."""
        raise NotImplementedError

    async def wait_for(self, awaitable: Awaitable[Any], timeout: float | None) -> Any:  # noqa: ASYNC109
        """Await something for a limited time.

        Raises:
            dns.exception.Timeout: it took longer.
        """

        async def run() -> Any:
            return await awaitable

        return await guarded(self._reactor, Deferred.fromCoroutine(run()), timeout)


async def guarded(clock: IReactorTime, deferred: Deferred[Any], timeout_s: float | None) -> Any:
    """Await a Deferred for a limited time.

    Raises:
        dns.exception.Timeout: it took longer; the Deferred was cancelled.
        Cancelled: somebody else cancelled it.
    """
    late = False

    def expire() -> None:
        nonlocal late
        late = True
        deferred.cancel()

    timer = clock.callLater(max(timeout_s, 0), expire) if timeout_s is not None else None
    try:
        return await deferred
    except (CancelledError, Cancelled):
        if late:
            raise dns.exception.Timeout(timeout=timeout_s) from None  # type: ignore[no-untyped-call]
        raise Cancelled from None
    finally:
        if timer is not None and timer.active():
            timer.cancel()


def _sleep(clock: IReactorTime, interval_s: float) -> Deferred[None]:
    timer = clock.callLater(interval_s, lambda: done.callback(None))
    done: Deferred[None] = Deferred(lambda _: timer.cancel())
    return done


class _Waiting:
    """One reader at a time, woken by arrival, end or time-out."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._reader: Deferred[None] | None = None

    def wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)

    async def wait(self, timeout_s: float | None) -> None:
        self._reader = Deferred(lambda _: setattr(self, "_reader", None))
        await guarded(self._clock, self._reader, timeout_s)


class _Datagrams(DatagramProtocol):
    def __init__(self, clock: IReactorTime, go_on: GoOn) -> None:
        self.waiting = _Waiting(clock)
        self._go_on = go_on
        self.received: deque[bytes] = deque(maxlen=_MAX_WAITING_DATAGRAMS)
        self.error: OSError | None = None

    def open_to(self, host: str, port: int) -> None:
        assert self.transport is not None  # noqa: S101 - for the type checker; listenUDP has set it
        self.transport.connect(host, port)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:  # noqa: ARG002
        self.received.append(datagram)
        if len(self.received) == 1:  # a flood of forged ones wakes nobody again and again
            self._go_on(self.waiting.wake)

    def connectionRefused(self) -> None:  # noqa: N802 - Twisted calls it
        self.error = ConnectionRefusedError("connection refused")
        self.waiting.wake()

    def stopProtocol(self) -> None:
        """Closed by us, or by a reactor that takes the refusal of a connected socket as its end (epoll)."""
        self.connectionRefused()


class _UdpSocket(DatagramSocket):
    def __init__(self, af: int, datagrams: _Datagrams, peer: tuple[str, int]) -> None:
        super().__init__(af, socket.SOCK_DGRAM)
        self._datagrams = datagrams
        self._peer = peer

    async def sendto(self, what: bytes, destination: Any, timeout: float | None) -> int:  # noqa: ARG002, ASYNC109
        if (transport := self._datagrams.transport) is None:
            raise OSError("the socket is closed")
        transport.write(what)  # type: ignore[call-arg]  # connected: no address
        return len(what)

    async def recvfrom(self, size: int, timeout: float | None) -> tuple[bytes, Any]:  # noqa: ASYNC109
        box = self._datagrams
        while not box.received:
            if box.error is not None:
                raise box.error
            await box.waiting.wait(timeout)
        return box.received.popleft()[:size], self._peer

    async def close(self) -> None:
        if self._datagrams.transport is not None:
            self._datagrams.transport.stopListening()

    async def getpeername(self) -> Any:
        return self._peer


class _Stream(Protocol):
    def __init__(self, clock: IReactorTime) -> None:
        self.waiting = _Waiting(clock)
        self.received = bytearray()
        self.ended = False
        self.opened: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        if not self.opened.called:
            self.opened.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if len(self.received) > _MAX_STREAM_OCTETS:
            self.abort()
        self.waiting.wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self.ended = True
        self.waiting.wake()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]


class _OneConnection(Factory):
    """Makes the one protocol, and says why it is not connected."""

    noisy = False

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # noqa: ARG002
        return self._stream

    def startedConnecting(self, connector: Any) -> None:  # noqa: N802 - Twisted calls it
        """Nothing to do."""

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:  # noqa: ARG002
        if not self._stream.opened.called:
            self._stream.opened.errback(OSError(reason.getErrorMessage()))

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        """Nothing to do: the stream knows."""


class _TcpSocket(StreamSocket):
    def __init__(self, af: int, stream: _Stream) -> None:
        super().__init__(af, socket.SOCK_STREAM)
        self._stream = stream

    async def sendall(self, what: bytes, timeout: float | None) -> None:  # noqa: ARG002, ASYNC109
        if self._stream.transport is None or self._stream.ended:
            raise EOFError("the connection is closed")
        self._stream.transport.write(what)

    async def recv(self, size: int, timeout: float | None) -> bytes:  # noqa: ASYNC109
        box = self._stream
        while not box.received:
            if box.ended:
                return b""
            await box.waiting.wait(timeout)
        data = bytes(box.received[:size])
        del box.received[:size]
        return data

    async def close(self) -> None:
        self._stream.abort()

    async def getpeername(self) -> Any:
        return ("", 0)
