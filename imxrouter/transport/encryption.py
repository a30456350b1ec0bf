"""TLS below a link, from the first byte on (specification section 3.1): handshakes on connections.

A gate (`tls_layer.Gate`) stands in the link's place until the handshake is done; then the link takes its
place, so that TLS costs no call for each read beside its own. The link's producer is registered with the TCP
connection: what it counts as unread is what the kernel did not take.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IReactorTime,
)

from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.contexts import ALPN, offered_others
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.opening import Endpoint, OpenedSocket
from imxrouter.transport.tls_layer import Gate, Layer


class TlsMaker(Protocol):
    """What makes the ends of TLS connections: certificates, versions, resumption."""

    def accepting(self, alpn: bytes = ALPN) -> SSL.Connection:
        """An end for a connection that somebody opened to us, on which that protocol is spoken."""

    def opening(
        self, own: Domain | None, server_name: str, endpoint: Endpoint, alpn: bytes = ALPN
    ) -> SSL.Connection:
        """An end for a connection of ours.

        Args:
            own: whose certificate is presented, if we have one; None: none is.
            server_name: for SNI.
            endpoint: where it leads; for resumption.
            alpn: what is offered; empty: nothing.
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


def accept_tls(
    transport: Any,
    maker: TlsMaker,
    link: object,
    done: Callable[[Any, TlsFacts], None],
    failed: Callable[[str], None],
    begun: Callable[[Any], None],
    first_bytes: bytes,
    alpn: bytes = ALPN,
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
        alpn: what is spoken there.
    """

    def read(connection: SSL.Connection) -> TlsFacts:
        facts = maker.facts(connection)
        require_alpn(facts, alpn, other=offered_others(connection))
        return facts

    make = partial(maker.accepting, alpn)
    layer = _put_below(transport, make, read, link, done, failed, begun, is_client=False)
    layer.dataReceived(first_bytes)


def upgrade_tls(
    transport: Any,
    make: Callable[[], SSL.Connection],
    read: Callable[[SSL.Connection], TlsFacts],
    link: object,
    done: Callable[[Any, TlsFacts], None],
    failed: Callable[[str], None],
    begun: Callable[[Any], None],
) -> None:
    """Make the handshake in the middle of a connection of ours: the other side has said that it is ready.

    Its limit of time is the link's own. The other side of such a connection calls `accept_tls`.

    Args:
        transport: its TCP connection, whose protocol and producer are replaced.
        make: makes our end.
        read: reads what the handshake came to.
        link: takes the gate's place afterwards.
        done: told the encrypted transport and what the handshake came to, before the link reads anything.
        failed: told why there is none; the connection is gone or is cut.
        begun: told the encrypted transport, whose handshake is not done yet.
    """
    _put_below(transport, make, read, link, done, failed, begun, is_client=True)


def _put_below(
    transport: Any,
    make: Callable[[], SSL.Connection],
    read: Callable[[SSL.Connection], TlsFacts],
    link: object,
    done: Callable[[Any, TlsFacts], None],
    failed: Callable[[str], None],
    begun: Callable[[Any], None],
    *,
    is_client: bool,
) -> Any:
    """Put TLS between a connection and what is spoken on it."""

    def complete() -> None:
        try:
            facts = read(layer.getHandle())
        except HandshakeFailed as error:
            failed(error.note)
            layer.abortConnection()
            return
        layer.there, layer.wrappedProtocol = True, link
        done(layer, facts)

    gate = Gate(complete, failed)
    layer: Any = Layer(make, is_client=is_client, gate=gate)
    transport.protocol = layer
    transport.unregisterProducer()
    layer.makeConnection(transport)
    begun(layer)
    return layer


def open_tls(
    clock: IReactorTime,
    socket: OpenedSocket,
    make: Callable[[], SSL.Connection],
    read: Callable[[SSL.Connection], TlsFacts],
    limit_s: float,
    forget: Callable[[SSL.Connection], None] = lambda _connection: None,
    alpn: bytes = ALPN,
) -> Deferred[EncryptedSocket]:
    """Make the handshake of a connection of ours.

    Args:
        clock: for the limit.
        socket: the connection.
        make: makes our end.
        read: reads what the handshake came to.
        limit_s: for the handshake.
        forget: told our end where the other side is refused afterwards.
        alpn: what is spoken there.

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
            require_alpn(facts, alpn)
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
    gate = Gate(complete, lambda note: settle(HandshakeFailed(note)))
    layer: Any = Layer(make, is_client=True, gate=gate)
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
        self, below: OpenedSocket, layer: Any, gate: Gate, forget: Callable[[SSL.Connection], None]
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


def require_alpn(facts: TlsFacts, alpn: bytes = ALPN, *, other: bool = False) -> None:
    """Both sides must name what is spoken, so that no session of another protocol is taken for a link.

    XMPP needs no name (XEP-0368 section 4 has one only where TLS begins at the first byte); another one than
    its own is none of ours there, too.

    Args:
        facts: what the handshake came to.
        alpn: what is spoken there.
        other: who connected named other protocols only.

    Raises:
        HandshakeFailed: they do not.
    """
    if facts.alpn == alpn or (alpn != ALPN and not facts.alpn and not other):
        return
    named = facts.alpn.decode("ascii", "backslashreplace") or ("another one" if other else "")
    raise HandshakeFailed(f"ALPN is {named!r}, not {alpn.decode()!r}")
