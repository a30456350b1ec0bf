"""The bench's ends of TLS connections: a session over a socket, and a pump that lets the load speak in clear.

The load generator knows nothing of TLS: it gets one end of a socket pair, and a thread moves what passes
between the other end and the TLS session. Its CPU is not the router's and is not measured.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import trustme
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from imxrouter.tls.openssl import was_resumed

#: The ALPN name of the protocol (specification section 3.1).
ALPN: Final = b"imx"
TIMEOUT_S: Final = 20.0
_LIB: Any = Binding().lib  # pyOpenSSL has no method for groups
_CHUNK: Final = 1 << 18
_EXPORTER_LABEL: Final = b"EXPORTER-Channel-Binding"


class Certificate:
    """A certificate of a throw-away authority: `chain.pem` with key and certificate, and the authority's.

    Args:
        folder: where the files are put.
        names: what it is for.
    """

    def __init__(self, folder: Path, *names: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        issued = authority.issue_cert(*names)
        self.both = folder / "bench.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.both))
        self.both.chmod(0o600)
        self.authority = folder.parent / "authority.pem"
        authority.cert_pem.write_to_path(str(self.authority))


def client_context(certificate: Certificate | None = None, groups: bytes = b"") -> SSL.Context:
    """For connections that we open; whom we reach is not asked.

    Args:
        certificate: is shown.
        groups: for the key exchange, instead of OpenSSL's own choice.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_alpn_protos([ALPN])
    if certificate is not None:
        _use(context, certificate)
    if groups and _LIB.SSL_CTX_set1_curves_list(context._context, groups) != 1:
        raise ValueError(groups)
    return context


def _use(context: SSL.Context, certificate: Certificate) -> None:
    context.use_certificate_chain_file(str(certificate.both))
    context.use_privatekey_file(str(certificate.both))


def server_context(certificate: Certificate) -> SSL.Context:
    """For those we take."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    _use(context, certificate)
    context.set_alpn_select_callback(lambda _connection, offered: ALPN if ALPN in offered else offered[0])
    return context


class TlsSocket:
    """A TLS session that is written and read like a blocking socket, as far as the bench does.

    Args:
        connection: what carries it.
        context: of our side.
        server_name: whom we want to reach; empty: the other side opened the connection.
        session: to be resumed.
    """

    def __init__(
        self, connection: socket.socket, context: SSL.Context, server_name: str = "", session: Any = None
    ) -> None:
        connection.settimeout(TIMEOUT_S)
        self.raw = connection
        self.tls = SSL.Connection(context, None)
        if server_name:
            self.tls.set_tlsext_host_name(server_name.encode())
            self.tls.set_connect_state()
        else:
            self.tls.set_accept_state()
        if session is not None:
            self.tls.set_session(session)
        self._shake()

    @property
    def exporter(self) -> bytes:
        """The session's channel binding (RFC 9266)."""
        return self.tls.export_keying_material(_EXPORTER_LABEL, 32, b"")

    def sendall(self, data: bytes) -> None:
        """Write all of it."""
        self.tls.sendall(data)
        self._put()

    def recv(self, count: int, _flags: int = 0) -> bytes:
        """Wait for exactly so many bytes; fewer where the connection ended."""
        data = b""
        while len(data) < count:
            try:
                data += self.tls.recv(count - len(data))
            except SSL.WantReadError:
                if not self._get():
                    return data
            except (SSL.ZeroReturnError, SSL.SysCallError):
                return data
        return data

    def read_now(self) -> bytes:
        """What is there, without waiting.

        Raises:
            ConnectionError: the connection has ended.
        """
        self.raw.setblocking(False)
        data = b""
        with contextlib.suppress(BlockingIOError):
            if not self._get():
                raise ConnectionError("the router closed an idle link")
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    data += self.tls.recv(_CHUNK)
        self.raw.settimeout(TIMEOUT_S)
        return data

    def settimeout(self, seconds: float) -> None:
        """As of a socket."""
        self.raw.settimeout(seconds)

    def setsockopt(self, *options: Any) -> None:
        """As of a socket."""
        self.raw.setsockopt(*options)

    def close(self) -> None:
        """As of a socket; without a word, but so that OpenSSL does not spoil the session for a resumption."""
        self.tls.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        self.raw.close()

    def session(self) -> Any:
        """What resumes this one; the other side's tickets follow the handshake (RFC 8446 section 4.6.1)."""
        with contextlib.suppress(SSL.WantReadError):
            self.tls.recv(1)
        self._get()
        with contextlib.suppress(SSL.WantReadError):
            self.tls.recv(1)
        return self.tls.get_session()

    def _shake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                self._put()
                if not self._get():
                    raise ConnectionError("the router closed the connection in the handshake") from None
            else:
                self._put()
                return

    def _put(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            while True:
                self.raw.sendall(self.tls.bio_read(_CHUNK))

    def _get(self) -> bool:
        data = self.raw.recv(_CHUNK)
        if data:
            self.tls.bio_write(data)
        return bool(data)


class Pump:
    """Moves bytes between TLS sessions and socket pairs, in a thread of its own.

    Attributes:
        ends: for the load, in the order of the sessions.
    """

    def __init__(self, sessions: Sequence[TlsSocket]) -> None:
        self.ends: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._pairs: list[_Pair] = []
        for session in sessions:
            ours, theirs = socket.socketpair()
            for one in (ours, theirs):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            self.ends.append(theirs)
            self._pairs.append(_Pair(session, ours, self._selector))
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()
        for pair in self._pairs:
            pair.close()
        for end in self.ends:
            end.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._over:
            for key, events in self._selector.select(0.1):
                key.data(events)


class _Pair:
    """One session and the load's end beside it."""

    def __init__(self, session: TlsSocket, clear: socket.socket, selector: selectors.BaseSelector) -> None:
        self._session, self._clear, self._selector = session, clear, selector
        self._to_wire, self._to_clear = bytearray(), bytearray()
        for one in (session.raw, clear):
            one.setblocking(False)
        selector.register(session.raw, selectors.EVENT_READ, self._wire)
        selector.register(clear, selectors.EVENT_READ, self._load)
        self._decrypt()

    def close(self) -> None:
        """Cut both."""
        self._session.close()
        self._clear.close()

    def _wire(self, events: int) -> None:
        if events & selectors.EVENT_READ:
            data = self._session.raw.recv(_CHUNK)
            if not data:
                self._selector.unregister(self._session.raw)
                return
            self._session.tls.bio_write(data)
            self._decrypt()
        if events & selectors.EVENT_WRITE:
            _drain(self._session.raw, self._to_wire)
        self._watch()

    def _load(self, events: int) -> None:
        if events & selectors.EVENT_READ and len(self._to_wire) < 4 * _CHUNK:
            data = self._clear.recv(_CHUNK)
            if not data:
                self._selector.unregister(self._clear)
                return
            self._session.tls.sendall(data)
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    self._to_wire += self._session.tls.bio_read(_CHUNK)
            _drain(self._session.raw, self._to_wire)
        if events & selectors.EVENT_WRITE:
            _drain(self._clear, self._to_clear)
        self._watch()

    def _decrypt(self) -> None:
        with contextlib.suppress(SSL.WantReadError, SSL.ZeroReturnError):
            while True:
                self._to_clear += self._session.tls.recv(_CHUNK)
        _drain(self._clear, self._to_clear)

    def _watch(self) -> None:
        for one, waiting, act in (
            (self._session.raw, self._to_wire, self._wire),
            (self._clear, self._to_clear, self._load),
        ):
            mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)
            with contextlib.suppress(KeyError):
                if self._selector.get_key(one).events != mask:
                    self._selector.modify(one, mask, act)


def _drain(to: socket.socket, waiting: bytearray) -> None:
    with contextlib.suppress(BlockingIOError):
        while waiting:
            del waiting[: to.send(waiting)]


def handshakes(
    endpoint: tuple[str, int], name: str, seconds: float, context: SSL.Context, *, resume: bool
) -> int:
    """Open a connection, shake hands, close; again and again. Returns how often.

    Raises:
        ConnectionError: a session was to be resumed and was not.
    """
    session, count = None, 0
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        one = TlsSocket(socket.create_connection(endpoint, TIMEOUT_S), context, name, session)
        if resume and session is None:
            session = one.session()
        elif resume and not was_resumed(one.tls):
            raise ConnectionError("the session was not resumed")
        one.close()
        count += 1
    return count
