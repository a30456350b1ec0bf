"""Opening one TCP connection, and racing several (RFC 8305): the first that is there is taken.

The connection's protocol is given to the winner only, so that nothing is said to the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTCP, IReactorTime, ITCPTransport
from twisted.internet.protocol import ClientFactory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from imxrouter.model.vocabulary import Reason

#: An IP address and a port.
Endpoint = tuple[str, int]


class OpenedSocket(Protocol):
    """A connection that is there and speaks no protocol yet."""

    @property
    def remote(self) -> Endpoint:
        """The address and port actually connected to."""

    def attach(self, protocol: IProtocol) -> None:
        """Give the connection its protocol; in the same call in which it was opened, or bytes are lost."""

    def close(self) -> None:
        """Cut it."""


#: Opens a connection to an IP address and port; cancelling the Deferred gives up.
OpenSocket = Callable[[str, int], Deferred[OpenedSocket]]


class TcpOpener:
    """Opens connections on a reactor, with TCP_NODELAY: batching is our own.

    Args:
        reactor: opens them.
        timeout_s: the system's own attempt ends by then, should nobody cancel it before.
    """

    def __init__(self, reactor: IReactorTCP, timeout_s: float = 30.0) -> None:
        self._reactor = reactor
        self._timeout_s = timeout_s

    def __call__(self, ip: str, port: int) -> Deferred[OpenedSocket]:
        """Open one; fails with Twisted's `ConnectError`."""
        opened: Deferred[OpenedSocket] = Deferred(lambda _: connector.stopConnecting())
        connector = self._reactor.connectTCP(ip, port, cast("Any", _Caller(opened)), timeout=self._timeout_s)
        return opened


class _Caller(ClientFactory):
    noisy = False

    def __init__(self, opened: Deferred[OpenedSocket]) -> None:
        self._opened = opened

    def buildProtocol(self, addr: object) -> _Unclaimed:  # noqa: ARG002 - Twisted's signature
        return _Unclaimed(self._opened)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:  # noqa: ARG002 - as above
        if not self._opened.called:
            self._opened.errback(reason)


class _Unclaimed(TwistedProtocol):
    """Holds a connection until it is attached."""

    transport: ITCPTransport

    def __init__(self, opened: Deferred[OpenedSocket]) -> None:
        self._opened = opened

    def connectionMade(self) -> None:
        if self._opened.called:
            self.transport.abortConnection()
            return
        self.transport.setTcpNoDelay(True)
        self._opened.callback(_TcpSocket(self.transport))


class _TcpSocket:
    def __init__(self, transport: ITCPTransport) -> None:
        self._transport = transport

    @property
    def remote(self) -> Endpoint:
        peer = self._transport.getPeer()
        return cast("Any", peer).host, cast("Any", peer).port

    def attach(self, protocol: IProtocol) -> None:
        cast("Any", self._transport).protocol = protocol
        protocol.makeConnection(self._transport)

    def close(self) -> None:
        self._transport.abortConnection()


def reason_of(problem: BaseException | None) -> Reason:
    """Return the word for a connection attempt that failed."""
    if isinstance(problem, error.ConnectionRefusedError):
        return Reason.CONNECTION_REFUSED
    if isinstance(problem, error.TimeoutError | DeferredTimeout | error.TCPTimedOutError):
        return Reason.CONNECT_TIMEOUT
    return Reason.UNREACHABLE


class RaceRules(Protocol):
    """What a race asks and tells its owner."""

    def admit(self, endpoint: Endpoint) -> bool:
        """Say whether an attempt may start; called right before it would, and told of no more if not."""

    def accept(self, endpoint: Endpoint, remote: Endpoint) -> bool:
        """Say whether a connection that is there may be used."""

    def failed(self, endpoint: Endpoint, reason: Reason, seconds: float) -> None:
        """An admitted attempt came to nothing."""


class _Runner:
    __slots__ = ("attempt", "endpoint", "started_at", "timer")

    def __init__(self, endpoint: Endpoint, started_at: float, timer: IDelayedCall) -> None:
        self.endpoint = endpoint
        self.started_at = started_at
        self.timer = timer
        self.attempt: Deferred[OpenedSocket] | None = None


class Race:
    """One race. The next attempt starts after a head start, or at once when one fails (section 5).

    Args:
        clock: time.
        open_socket: opens one connection.
        rules: asked and told.
        head_start_s: how long an attempt is alone.
        limit_s: for one attempt.

    Attributes:
        done: fires with the socket and its endpoint, or with None when every attempt failed. Cancelling
            it ends every attempt.
    """

    def __init__(
        self,
        clock: IReactorTime,
        open_socket: OpenSocket,
        rules: RaceRules,
        head_start_s: float,
        limit_s: float,
    ) -> None:
        self._clock = clock
        self._open = open_socket
        self._rules = rules
        self._head_start_s = head_start_s
        self._limit_s = limit_s
        self._waiting: deque[Endpoint] = deque()
        self._running: set[_Runner] = set()
        self._next_call: IDelayedCall | None = None
        self._over = False
        self.done: Deferred[tuple[OpenedSocket, Endpoint] | None] = Deferred(lambda _: self._stop())

    def run(self, endpoints: Iterable[Endpoint]) -> Deferred[tuple[OpenedSocket, Endpoint] | None]:
        """Start; the endpoints in the order in which they shall try."""
        self._waiting.extend(endpoints)
        self._next()
        return self.done

    def _next(self) -> None:
        if self._next_call is not None and self._next_call.active():
            self._next_call.cancel()
        while self._waiting and not self._over:
            endpoint = self._waiting.popleft()
            if self._rules.admit(endpoint):
                if self._waiting:
                    self._next_call = self._clock.callLater(self._head_start_s, self._next)
                self._start(endpoint)
                return
        if not self._running and not self._over:
            self._over = True
            self.done.callback(None)

    def _start(self, endpoint: Endpoint) -> None:
        timer = self._clock.callLater(self._limit_s, lambda: self._expired(runner))
        runner = _Runner(endpoint, self._clock.seconds(), timer)
        self._running.add(runner)
        attempt = self._open(*endpoint)
        runner.attempt = attempt
        attempt.addCallbacks(self._opened, self._failed, callbackArgs=(runner,), errbackArgs=(runner,))

    def _opened(self, socket: OpenedSocket, runner: _Runner) -> None:
        if runner not in self._running:  # it ended in the very moment in which it was cut
            socket.close()
        elif not self._rules.accept(runner.endpoint, socket.remote):
            socket.close()
            self._lost(runner, Reason.ADDRESS_REFUSED)
        else:
            self._end(runner)
            self._stop()
            self.done.callback((socket, runner.endpoint))

    def _failed(self, problem: Failure, runner: _Runner) -> None:
        if runner in self._running:
            self._lost(runner, reason_of(problem.value))

    def _expired(self, runner: _Runner) -> None:
        self._lost(runner, Reason.CONNECT_TIMEOUT)
        if runner.attempt is not None:
            runner.attempt.cancel()

    def _lost(self, runner: _Runner, reason: Reason) -> None:
        self._end(runner)
        self._rules.failed(runner.endpoint, reason, self._clock.seconds() - runner.started_at)
        self._next()

    def _end(self, runner: _Runner) -> None:
        self._running.discard(runner)
        if runner.timer.active():
            runner.timer.cancel()

    def _stop(self) -> None:
        self._over = True
        if self._next_call is not None and self._next_call.active():
            self._next_call.cancel()
        for runner in list(self._running):
            self._end(runner)
            if runner.attempt is not None:
                runner.attempt.cancel()
