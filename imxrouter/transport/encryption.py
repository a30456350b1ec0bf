"""TLS below a link, from the first byte on (specification section 3.1): handshakes on connections.

A gate stands in the link's place until the handshake is done; then the link takes its place, so that TLS
costs no call for each read beside its own. The link's producer is registered with the TCP connection: what it
counts as unread is what the kernel did not take.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Protocol, cast, runtime_checkable

from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IPullProducer,
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
from imxrouter.tls.openssl import renew_buffers
from imxrouter.transport.opening import Endpoint, OpenedSocket

#: What passes in one piece and leaves larger buffers behind than a quiet link needs: OpenSSL's keep the size,
#: and a third more, of the most that they ever held. 64 KiB may come in one read; a handshake leaves 5 kB.
SWOLLEN_BYTES: Final = 4096


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
    """Gives Twisted a connection's end, which its layer knows."""

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N802, N803 - Twisted's
        return cast("_Layer", tlsProtocol).end()

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N802, N803 - Twisted's
        return cast("_Layer", tlsProtocol).end()


class _Factory(TLSMemoryBIOFactory):
    """One for all connections: Twisted's keeps a list of its own of them."""

    noisy = False

    def registerProtocol(self, p: object) -> None:  # noqa: N802 - Twisted's name
        """Nothing."""

    def unregisterProtocol(self, p: object) -> None:  # noqa: N802 - Twisted's name
        """Nothing."""


@cache
def _factory(*, is_client: bool) -> _Factory:
    return _Factory(_Creator(), is_client, Factory())


@implementer(IPullProducer)
class _Drained:
    """Asked for more by a connection that has written everything.

    Apart from `Below`, whose `resumeProducing` is the connection's own: read again.
    """

    __slots__ = ("_below",)

    def __init__(self, below: Below) -> None:
        self._below = below

    def resumeProducing(self) -> None:
        """The kernel took all that was written."""
        self._below.has_drained()

    def stopProducing(self) -> None:
        """It ends."""


class Below:
    """The TCP connection below TLS. What TLS writes goes to the kernel at once, as long as nothing waits.

    Through the reactor's list of writers each write costs a turn: two system calls and a wake-up.

    Args:
        transport: the connection.

    Attributes:
        waiting: the kernel has not taken all that was written.
        drained: called when it has.
    """

    __slots__ = ("_held", "drained", "transport", "waiting")

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.waiting = False
        self.drained: Callable[[], None] | None = None
        self._held: list[bytes] | None = None
        transport.registerProducer(_Drained(self), False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Write bytes."""
        if self._held is not None:
            self._held.append(data)
            return
        below = self.transport
        if not self.waiting and isinstance(below, tcp.Connection) and below.connected:
            with contextlib.suppress(OSError):  # would block, or broken: the transport's write sees which
                data = data[below.socket.send(data) :]
            if not data:
                return
        self.waiting = True
        below.write(data)

    def hold(self) -> None:
        """Collect what is written, until `let_go`."""
        self._held = []

    def let_go(self) -> None:
        """Write what was collected."""
        held, self._held = self._held, None
        if held:
            self.write(b"".join(held))

    def has_drained(self) -> None:
        """The kernel took all that was written."""
        self.waiting = False
        if self.transport.disconnecting:  # TLS ended; we alone keep it open
            self.transport.unregisterProducer()
        if self.drained is not None:
            self.drained()


class _Layer(TLSMemoryBIOProtocol):
    """Twisted's, which leaves the session of a connection that was cut fit for resumption.

    Args:
        make: makes our end.
        is_client: we opened the connection.
        gate: stands in the link's place.
    """

    #: the handshake is done
    there = False
    #: OpenSSL's buffers are larger than a quiet connection needs
    _swollen = True

    def __init__(self, make: Callable[[], SSL.Connection], *, is_client: bool, gate: _Gate) -> None:
        cast("Any", super()).__init__(_factory(is_client=is_client), gate)
        self._make: Callable[[], SSL.Connection] | None = make

    def end(self) -> SSL.Connection:
        """Make our end."""
        make, self._make = cast("Callable[[], SSL.Connection]", self._make), None
        return make()

    def makeConnection(self, transport: Any) -> None:
        """The connection is there."""
        cast("Any", super()).makeConnection(Below(transport))

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        if len(data) > SWOLLEN_BYTES:
            self._swollen = True
        elif self._swollen and self.there:
            self._swollen = False
            renew_buffers(cast("Any", self).getHandle())
        cast("Any", super()).dataReceived(data)

    def write(self, data: bytes) -> None:
        """Write bytes: a TLS record, or several that go out as one."""
        write = cast("Any", super()).write
        if len(data) <= SWOLLEN_BYTES:
            write(data)
            return
        self._swollen = True
        below = cast("Below", self.transport)
        below.hold()
        try:
            write(data)
        finally:
            below.let_go()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        handle = cast("Any", self).getHandle()
        if self.there and handle is not None:
            release(handle)  # before Twisted reads on to the end, which OpenSSL would take for an attack
        cast("Any", super()).connectionLost(reason)
        cast("Below", self.transport).drained = None

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:  # noqa: N802 - Twisted's name
        """TLS has ended.

        What a traceback holds would stay until the collector of cycles comes; after a crowd of strangers that
        stops the process for tens of milliseconds.
        """
        if reason is not None and reason.value is not None:
            reason.value.__traceback__ = None
            reason.tb = None
        cast("Any", super())._tlsShutdownFinished(reason)  # noqa: SLF001 - what is overridden


def below(transport: Any) -> Below | None:
    """What is below a transport's TLS; None in clear."""
    return cast("Below", transport.transport) if isinstance(transport, _Layer) else None


def close_encrypted(transport: Any) -> None:
    """End a connection after what is written; in TLS without waiting for the other side's goodbye."""
    transport.loseConnection()
    under = below(transport)
    if under is not None:
        under.transport.loseConnection()


def accept_tls(
    transport: Any,
    maker: TlsMaker,
    link: object,
    done: Callable[[Any, TlsFacts], None],
    failed: Callable[[str], None],
    begun: Callable[[Any], None],
    first_bytes: bytes,
) -> None:
    """Make the handshake of a connection that somebody opened to us.

    Args:
        transport: its TCP connection, whose protocol and producer are replaced.
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
    layer: Any = _Layer(maker.accepting, is_client=False, gate=gate)
    transport.protocol = layer
    transport.unregisterProducer()
    layer.makeConnection(transport)
    begun(layer)
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
    layer: Any = _Layer(make, is_client=True, gate=gate)
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
