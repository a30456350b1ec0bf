"""TLS between a connection and a link: Twisted's layer, with what a link's memory and its writes ask for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final, cast

from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IPullProducer,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from imxrouter.tls.contexts import release
from imxrouter.tls.openssl import renew_buffers

#: What passes in one piece and leaves larger buffers behind than a quiet link needs: OpenSSL's keep the size,
#: and a third more, of the most that they ever held. 64 KiB may come in one read; a handshake leaves 5 kB.
SWOLLEN_BYTES: Final = 4096


@implementer(IHandshakeListener)
class Gate(TwistedProtocol):
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
        return cast("Layer", tlsProtocol).end()

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N802, N803 - Twisted's
        return cast("Layer", tlsProtocol).end()


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


class Layer(TLSMemoryBIOProtocol):
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

    def __init__(self, make: Callable[[], SSL.Connection], *, is_client: bool, gate: Gate) -> None:
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
    return cast("Below", transport.transport) if isinstance(transport, Layer) else None


def close_encrypted(transport: Any) -> None:
    """End a connection after what is written; in TLS without waiting for the other side's goodbye."""
    transport.loseConnection()
    under = below(transport)
    if under is not None:
        under.transport.loseConnection()


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
