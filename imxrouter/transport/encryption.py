"""TLS below a link, from the first byte on (specification section 3.1): handshakes on connections.

A gate stands in the link's place until the handshake is done; then the link takes its place, so that TLS
costs no call for each read beside its own. The link's producer is registered with the TCP connection: what it
counts as unread is what the kernel did not take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast, runtime_checkable

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IReactorTime,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.contexts import ALPN, release
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.opening import Endpoint, OpenedSocket


class TlsMaker(Protocol):
    """What makes the ends of TLS connections: certificates, versions, resumption."""

    def accepting(self) -> SSL.Connection:
        """An end for a connection that somebody opened to us."""

    def opening(self, own: Domain | None, server_name: str, endpoint: Endpoint) -> SSL.Connection:
        """An end for a connection of ours.

        Args:
            own: whose certificate is presented, if we have one; None: none is.
            server_name: for SNI.
            endpoint: where it leads; for resumption.
        """

    def facts(self, connection: SSL.Connection) -> TlsFacts:
        """Read what the handshake came to."""

    def forget(self, connection: SSL.Connection, server_name: str, endpoint: Endpoint) -> None:
        """Who is there was refused: the next connection to there makes a whole handshake."""


class HandshakeFailed(RouterError):
    """No TLS came of a connection, or not with whom it should be.

    Attributes:
        reason: `tls-failed`, or `certificate-refused`.
        note: what OpenSSL or the other side said.
    """

    def __init__(self, note: str, reason: Reason = Reason.TLS_FAILED) -> None:
        super().__init__(note)
        self.reason = reason
        self.note = note


@runtime_checkable
class TakesFacts(Protocol):
    """A protocol that is told of the TLS connection below it before its connection is made."""

    def encrypted(self, facts: TlsFacts) -> None:
        """Take what the handshake came to."""


@implementer(IHandshakeListener)
class _Gate(TwistedProtocol):
    """Stands in the link's place until the handshake is done; keeps what comes before the link is there."""

    transport: Any

    def __init__(self, done: Callable[[], None], failed: Callable[[str], None]) -> None:
        self._done = done
        self._failed = failed
        self.early: list[bytes] = []
        self.lost: Failure | None = None

    def handshakeCompleted(self) -> None:
        """Called by Twisted."""
        self._done()

    def dataReceived(self, data: bytes) -> None:
        """Called by Twisted."""
        self.early.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called by Twisted."""
        self.lost = reason
        self._failed(failure_words(reason))


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class _Creator:
    """Gives Twisted a connection's end."""

    def __init__(self, make: Callable[[], SSL.Connection]) -> None:
        self._make = make

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: ARG002, N802, N803 - Twisted's
        return self._make()

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: ARG002, N802, N803 - Twisted's
        return self._make()


class _Layer(TLSMemoryBIOProtocol):
    """Twisted's, which leaves the session of a connection that was cut fit for resumption."""

    #: the handshake is done
    there = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        handle = cast("Any", self).getHandle()
        if self.there and handle is not None:
            release(handle)  # before Twisted reads on to the end, which OpenSSL would take for an attack
        cast("Any", super()).connectionLost(reason)

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:  # noqa: N802 - Twisted's name
        """TLS has ended.

        What a traceback holds would stay until the collector of cycles comes; after a crowd of strangers that
        stops the process for tens of milliseconds.
        """
        if reason is not None and reason.value is not None:
            reason.value.__traceback__ = None
            reason.tb = None
        cast("Any", super())._tlsShutdownFinished(reason)  # noqa: SLF001 - what is overridden


def _layer(make: Callable[[], SSL.Connection], *, is_client: bool, gate: _Gate) -> Any:
    factory = TLSMemoryBIOFactory(_Creator(make), is_client, Factory())
    factory.noisy = False
    return cast("Any", _Layer)(factory, gate)


def raw_transport(transport: Any) -> Any:
    """The TCP connection below a transport."""
    return transport.transport if isinstance(transport, TLSMemoryBIOProtocol) else transport


def close_encrypted(transport: Any) -> None:
    """End a connection after what is written; in TLS without waiting for the other side's goodbye."""
    transport.loseConnection()
    below = raw_transport(transport)
    if below is not transport:
        below.loseConnection()


def accept_tls(
    transport: Any,
    maker: TlsMaker,
    link: IProtocol,
    done: Callable[[Any, TlsFacts], None],
    failed: Callable[[str], None],
    begun: Callable[[Any], None],
    first_bytes: bytes,
) -> None:
    """Make the handshake of a connection that somebody opened to us.

    Args:
        transport: its TCP connection, whose protocol is replaced.
        maker: makes our end.
        link: takes the gate's place afterwards; its connection is made already.
        done: told the encrypted transport and what the handshake came to, before the link reads anything.
        failed: told why there is none; the connection is gone or is cut.
        begun: told the encrypted transport, whose handshake is not done yet.
        first_bytes: what came.
    """

    def complete() -> None:
        try:
            facts = maker.facts(layer.getHandle())
            require_alpn(facts)
        except HandshakeFailed as error:
            failed(error.note)
            layer.abortConnection()
            return
        layer.there, layer.wrappedProtocol = True, link
        done(layer, facts)

    gate = _Gate(complete, failed)
    layer = _layer(maker.accepting, is_client=False, gate=gate)
    transport.protocol = layer
    begun(layer)
    layer.makeConnection(transport)
    layer.dataReceived(first_bytes)


def open_tls(
    clock: IReactorTime,
    socket: OpenedSocket,
    make: Callable[[], SSL.Connection],
    read: Callable[[SSL.Connection], TlsFacts],
    limit_s: float,
    forget: Callable[[SSL.Connection], None] = lambda _connection: None,
) -> Deferred[EncryptedSocket]:
    """Make the handshake of a connection of ours.

    Args:
        clock: for the limit.
        socket: the connection.
        make: makes our end.
        read: reads what the handshake came to.
        limit_s: for the handshake.
        forget: told our end where the other side is refused afterwards.

    Returns:
        fires with the encrypted connection, fails with `HandshakeFailed`; cancelling gives up.
    """

    def settle(result: EncryptedSocket | HandshakeFailed) -> None:
        if timer.active():
            timer.cancel()
        if waiting.called:
            return
        if isinstance(result, HandshakeFailed):
            layer_socket.close()
            waiting.errback(result)
        else:
            waiting.callback(result)

    def complete() -> None:
        try:
            facts = read(layer.getHandle())
            require_alpn(facts)
        except HandshakeFailed as error:
            settle(error)
        else:
            layer.there, layer_socket.facts = True, facts
            settle(layer_socket)

    def cancelled(_: Deferred[EncryptedSocket]) -> None:
        if timer.active():
            timer.cancel()
        layer_socket.close()

    waiting: Deferred[EncryptedSocket] = Deferred(cancelled)
    gate = _Gate(complete, lambda note: settle(HandshakeFailed(note)))
    layer = _layer(make, is_client=True, gate=gate)
    layer_socket = EncryptedSocket(socket, layer, gate, forget)
    timer: IDelayedCall = clock.callLater(
        limit_s, lambda: settle(HandshakeFailed(f"no handshake within {limit_s:g} s"))
    )
    socket.attach(cast("IProtocol", layer))
    return waiting


class EncryptedSocket:
    """An `OpenedSocket` over TLS. What comes before a protocol is attached is kept for it.

    Attributes:
        facts: what the handshake came to.
    """

    facts: TlsFacts

    def __init__(
        self, below: OpenedSocket, layer: Any, gate: _Gate, forget: Callable[[SSL.Connection], None]
    ) -> None:
        self._below = below
        self._layer = layer
        self._gate = gate
        self._forget = forget

    @property
    def remote(self) -> Endpoint:
        """The address and port actually connected to."""
        return self._below.remote

    def attach(self, protocol: IProtocol) -> None:
        """Give the connection its protocol."""
        if isinstance(protocol, TakesFacts):
            protocol.encrypted(self.facts)
        self._layer.wrappedProtocol = protocol
        protocol.makeConnection(self._layer)
        early, self._gate.early = self._gate.early, []
        for data in early:
            protocol.dataReceived(data)
        if self._gate.lost is not None:
            protocol.connectionLost(self._gate.lost)

    def refuse(self) -> None:
        """Cut it, because of who is there: its session is not resumed."""
        handle = self._layer.getHandle()
        if handle is not None:
            self._forget(handle)
        self.close()

    def close(self) -> None:
        """Cut it."""
        self._below.close()


def require_alpn(facts: TlsFacts) -> None:
    """Both sides must name this protocol, so that no session of another one is taken for a link.

    Raises:
        HandshakeFailed: they do not.
    """
    if facts.alpn != ALPN:
        named = facts.alpn.decode("ascii", "backslashreplace")
        raise HandshakeFailed(f"ALPN is {named!r}, not {ALPN.decode()!r}")


def failure_words(failure: Failure) -> str:
    """What stopped a handshake, for operators."""
    error = failure.value
    if isinstance(error, SSL.Error):
        told = error.args[0] if error.args and isinstance(error.args[0], list) else []
        words = "; ".join(str(one[-1]) for one in told if one and one[-1])
        if "wrong version number" in words or "packet length too long" in words:
            words += ": the other side does not speak TLS there"
        return words or "TLS failed"
    return "the connection ended during the handshake"
