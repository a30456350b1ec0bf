"""Scripted peers over TLS, which know the exporter of their session (RFC 9266)."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar, cast

from OpenSSL import SSL

from imxrouter.link.machine import Side
from imxrouter.tls.openssl import was_resumed
from tests.doubles.raw_peer import PATIENCE_S, Endpoint, RawListener, RawPeer

if TYPE_CHECKING:
    from imxrouter.tls.own import OwnCertificate

T = TypeVar("T")
LABEL: Final = b"EXPORTER-Channel-Binding"


class TlsSocket:
    """What `RawPeer` uses of a socket, in TLS.

    Args:
        sock: connected.
        certificate: to be shown; None: none.
        server_name: for SNI, of who connects; None: the other side has connected to us.
        resume: an older one, whose session is to be resumed.
        alpn: the one protocol that is offered or chosen; empty: none is.
        asks: who connects is asked for a certificate, and any is taken.
    """

    def __init__(
        self,
        sock: socket.socket,
        certificate: OwnCertificate | None,
        server_name: str | None,
        resume: TlsSocket | None = None,
        *,
        alpn: bytes = b"imx",
        asks: bool = False,
    ) -> None:
        self._context: SSL.Context = _context(certificate, alpn) if resume is None else resume._context
        if asks:
            self._context.set_verify(SSL.VERIFY_PEER, lambda *_seen: True)
        sock.setblocking(False)
        self._sock = sock
        self._timeout_s = PATIENCE_S
        self._closed = False
        self._session: SSL.Session | None = None
        self._tls = SSL.Connection(self._context, sock)
        if server_name is None:
            self._tls.set_accept_state()
        else:
            self._tls.set_connect_state()
            self._tls.set_tlsext_host_name(server_name.encode("ascii"))
            if resume is not None and resume._session is not None:
                self._tls.set_session(resume._session)
        self._when_ready(self._tls.do_handshake)

    @property
    def exporter(self) -> bytes:
        """What binds the answer of dial-back to this session."""
        return self._tls.export_keying_material(LABEL, 32, b"")

    @property
    def resumed(self) -> bool:
        """Whether it is an older one."""
        return was_resumed(self._tls)

    def settimeout(self, seconds: float) -> None:
        """As of a socket."""
        self._timeout_s = seconds

    def recv(self, size: int) -> bytes:
        """As of a socket; nothing at the end."""
        try:
            return self._when_ready(lambda: self._tls.recv(size))
        except (SSL.ZeroReturnError, SSL.SysCallError, SSL.Error):
            return b""

    def sendall(self, data: bytes) -> None:
        """As of a socket."""
        while data:
            try:
                sent = self._when_ready(lambda data=data: self._tls.send(data))  # type: ignore[misc]
            except SSL.Error as error:
                raise ConnectionResetError(str(error)) from error
            data = data[sent:]

    def getsockname(self) -> Endpoint:
        """As of a socket."""
        return cast("Endpoint", self._sock.getsockname())

    def getpeername(self) -> Endpoint:
        """As of a socket."""
        return cast("Endpoint", self._sock.getpeername())

    def shutdown(self, how: int) -> None:
        """As of a socket, for a thread that waits for something: it finds the end."""
        self._sock.shutdown(how)

    def close(self) -> None:
        """Cut it; its session is kept. Whoever waits for something finds it closed."""
        self._closed = True
        self._session = self._tls.get_session()  # tickets come after the handshake
        with contextlib.suppress(SSL.Error):
            self._tls.shutdown()
        self._sock.close()

    def _when_ready(self, do: Callable[[], T]) -> T:
        until = monotonic() + self._timeout_s
        while True:
            try:
                return do()
            except SSL.WantReadError:
                ready, _, _ = select.select([self._sock], [], [], max(until - monotonic(), 0.0))
            except SSL.WantWriteError:
                _, ready, _ = select.select([], [self._sock], [], max(until - monotonic(), 0.0))
            if not ready:
                raise TimeoutError
            if self._closed:  # OpenSSL has the socket's number alone, which may be another one's by now
                raise ConnectionResetError("closed while somebody waited for it")


def _context(certificate: OwnCertificate | None, alpn: bytes) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    if alpn:
        context.set_alpn_select_callback(lambda _connection, _offered: alpn)
        context.set_alpn_protos([alpn])
    if certificate is not None:
        context.use_certificate(certificate.leaf)
        for one in certificate.chain[1:]:
            context.add_extra_chain_cert(one)
        context.use_privatekey(certificate.key)
    return context


class TlsPeer(RawPeer):
    """A peer over TLS.

    Attributes:
        tls: its end of the session.
        exporter: what binds the answer of dial-back to that session.
    """

    def __init__(self, sock: TlsSocket, side: Side) -> None:
        super().__init__(cast("socket.socket", sock), side)
        self.tls = sock
        self.exporter = sock.exporter


def tls_connect(
    to: Endpoint,
    server_name: str,
    certificate: OwnCertificate | None = None,
    at: str = "",
    resume: TlsSocket | None = None,
) -> TlsPeer:
    """Open a link, from a chosen address, perhaps in an older session, and exchange hellos."""
    peer = RawPeer.connect(to, at)
    link = TlsPeer(TlsSocket(peer._sock, certificate, server_name, resume), Side.OPENER)
    link.hello()
    return link


def tls_accept(listener: RawListener, certificate: OwnCertificate) -> TlsPeer:
    """Take the next connection, show a certificate, and exchange hellos."""
    link = TlsPeer(TlsSocket(listener.accept()._sock, certificate, None), Side.ACCEPTOR)
    link.hello()
    return link
