"""Somebody between two routers: takes connections, opens one to the true one for each, passes bytes on.

Towards each side it speaks TLS or not, as a test says, with a certificate of its own; so it reads all that
passes, and may change it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from imxrouter.tls.own import OwnCertificate
from tests.doubles.raw_peer import PATIENCE_S, Endpoint
from tests.doubles.router_rig import fresh_address

#: How often it is looked whether there is something to inject.
_LOOK_S = 0.02
#: Changes what passes; given the direction, `in` (towards the true router) or `out`, and the bytes of a read.
Change = Callable[[str, bytes], bytes]


def _unchanged(_direction: str, data: bytes) -> bytes:
    return data


class Middle:
    """One who stands on the way to a router. Use as a context manager.

    Args:
        target: the true router.
        certificate: shown to who connects; None: he is spoken to in clear.
        server_name: for the TLS session with the true router; empty: it is spoken to in clear.
        presented: the certificate shown to the true router.
        version: of TLS, towards both sides.
        change: what becomes of the bytes that pass.

    Attributes:
        endpoint: where connections are taken.
        seen: every byte that passed, in both directions.
    """

    def __init__(
        self,
        target: Endpoint,
        certificate: OwnCertificate | None = None,
        server_name: str = "",
        *,
        presented: OwnCertificate | None = None,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        change: Change = _unchanged,
    ) -> None:
        self._target = target
        self._change = change
        self._front = _context(ssl.PROTOCOL_TLS_SERVER, certificate, version) if certificate else None
        self._back = _context(ssl.PROTOCOL_TLS_CLIENT, presented, version) if server_name else None
        self._name = server_name
        self._sockets: list[socket.socket] = []
        self._to_inject: list[bytes] = []
        self._listening = socket.create_server((fresh_address(), 0))
        self.endpoint: Endpoint = self._listening.getsockname()[:2]
        self.seen = bytearray()

    def __enter__(self) -> Self:
        self._taking = threading.Thread(target=self._accept, daemon=True)
        self._taking.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._taking.join(PATIENCE_S)  # before its socket's number may be another one's
        self._listening.close()
        for one in self._sockets:
            _cut(one)

    def inject(self, data: bytes) -> None:
        """Say something to the true router, on the connections there are."""
        self._to_inject.append(data)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.settimeout(PATIENCE_S)
            front = self._front.wrap_socket(client, server_side=True) if self._front else client
            self._sockets.append(front)
            back = socket.create_connection(self._target, PATIENCE_S, (self.endpoint[0], 0))
            if self._back is not None:
                back = self._back.wrap_socket(back, server_hostname=self._name)
            self._sockets.append(back)
            self._pump(front, back)

    def _pump(self, front: socket.socket, back: socket.socket) -> None:
        """One thread for both directions: a TLS session is not to be read and written at the same time."""
        others = {front: ("in", back), back: ("out", front)}
        injected = 0
        with contextlib.suppress(OSError):
            for one in others:
                one.setblocking(False)
            while True:
                waiting = [one for one in others if isinstance(one, ssl.SSLSocket) and one.pending()]
                for one in waiting or select.select(list(others), [], [], _LOOK_S)[0]:
                    direction, to = others[one]
                    data = _read(one)
                    if data == b"":
                        raise ConnectionResetError
                    if data is not None:
                        self.seen += data
                        _write(to, self._change(direction, data))
                for data in self._to_inject[injected:]:
                    _write(back, data)
                injected = len(self._to_inject)
        _cut(front)
        _cut(back)


def _read(one: socket.socket) -> bytes | None:
    """What is there; None where it is not a whole TLS record yet."""
    try:
        return one.recv(65536)
    except (ssl.SSLWantReadError, BlockingIOError):
        return None


def _write(one: socket.socket, data: bytes) -> None:
    one.settimeout(PATIENCE_S)
    one.sendall(data)
    one.setblocking(False)


def _context(
    protocol: ssl._SSLMethod, certificate: OwnCertificate | None, version: ssl.TLSVersion
) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["imx"])
    if certificate is not None:
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(
                certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                + b"".join(one.public_bytes(Encoding.PEM) for one in certificate.chain)
            )
            file.flush()
            context.load_cert_chain(Path(file.name))
    return context


def _cut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
