"""Opens the bench's links by hand: a peer that is dialled back, and a service that logs in."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any, TypeVar, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from OpenSSL.SSL import Context

from imxrouter.link.answer import ConnectionView, answer_for
from imxrouter.transport.services import NO_EXPORTER, key_id, login_text
from imxrouter.wire.control import (
    Claim,
    ClaimResult,
    Control,
    Hello,
    Login,
    LoginResult,
    Proof,
    Verify,
    VerifyResult,
    decode_control,
)
from imxrouter.wire.layout import LENGTH, LENGTH_BYTES
from imxrouter.wire.record import decode_record
from imxrouter.wire.registry import Capability
from tests.bench.tls_ends import TlsSocket

TIMEOUT_S = 20.0

C = TypeVar("C", bound=Control)


class BenchLink:
    """A blocking connection that speaks the link's own records, until the load takes its socket over.

    Attributes:
        socket: a socket, or a `TlsSocket`.
    """

    def __init__(self, connection: Any) -> None:
        self.socket = connection
        connection.settimeout(TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def open(cls, endpoint: tuple[str, int], source: str = "127.0.0.1") -> BenchLink:
        """Connect in clear from one of our addresses and say hello."""
        return cls.over(socket.create_connection(endpoint, TIMEOUT_S, (source, 0)))

    @classmethod
    def over(cls, connection: socket.socket | TlsSocket) -> BenchLink:
        """Say hello on a connection of ours; the router's hello is `peer`."""
        link = cls(connection)
        link.send(_hello())
        link.peer = link.expect(Hello)
        return link

    peer: Hello

    def send(self, control: Control) -> None:
        """Write one record."""
        self.socket.sendall(control.encode())

    def records(self) -> Iterator[Control]:
        """The link's own records as they come."""
        while True:
            head = self._read(LENGTH_BYTES)
            data = head + self._read(LENGTH.unpack(head)[0])
            control = decode_control(decode_record(data))
            if control is not None:
                yield control

    def expect(self, kind: type[C]) -> C:
        """The next record of a kind."""
        return next(record for record in self.records() if isinstance(record, kind))

    @property
    def exporter(self) -> bytes:
        """The channel binding of its TLS session; empty in clear."""
        return self.socket.exporter if isinstance(self.socket, TlsSocket) else b""

    def _read(self, count: int) -> bytes:
        data: bytes = self.socket.recv(count, socket.MSG_WAITALL)
        if len(data) < count:
            raise ConnectionError("the router closed the link")
        return data


def _hello(challenge: bytes | None = None) -> Hello:
    capabilities = (Capability.DUPLICATES, Capability.ACKNOWLEDGE)
    return Hello(
        (1,), capabilities, 65536, 1 << 16, 1 << 26, os.urandom(16), os.urandom(8), challenge=challenge
    )


def login(endpoint: tuple[str, int], key: Ed25519PrivateKey) -> socket.socket:
    """A service link in clear: logged in, nothing read beyond."""
    link = BenchLink.open(endpoint)
    login_on(link, key)
    return cast("socket.socket", link.socket)


def login_on(link: BenchLink, key: Ed25519PrivateKey) -> None:
    """Log in on an open link."""
    assert link.peer.challenge is not None
    ident = key_id(key.public_key())
    text = login_text(link.peer.challenge, ident, link.exporter or NO_EXPORTER)
    link.send(Login(ident, key.sign(text)))
    result = link.expect(LoginResult)
    if result.reason:
        raise ConnectionError(f"login refused with reason {result.reason}")


def prove(
    endpoint: tuple[str, int], listening: socket.socket, from_domain: str, to_domain: str
) -> socket.socket:
    """A peer link on which a domain is proved by dial-back to our own listener."""
    first = BenchLink.open(endpoint)
    prove_on(first, listening, from_domain, to_domain)
    return cast("socket.socket", first.socket)


def prove_on(
    first: BenchLink, listening: socket.socket, from_domain: str, to_domain: str, tls: Context | None = None
) -> None:
    """Prove a domain on an open link by dial-back to our own listener, with TLS where a context is given."""
    token = os.urandom(32)
    first.send(Claim(1, from_domain.encode(), to_domain.encode(), token))
    listening.settimeout(TIMEOUT_S)
    accepted, _ = listening.accept()
    second = BenchLink(accepted if tls is None else TlsSocket(accepted, tls))
    second.expect(Hello)
    second.send(_hello(os.urandom(32)))
    verify = second.expect(Verify)
    if verify.token != token:
        raise ConnectionError("the router asks for a token that is not ours")
    nonce = os.urandom(16)
    pair = from_domain.encode(), to_domain.encode()
    view = ConnectionView.TLS_BOUND if first.exporter else ConnectionView.CLEAR
    first.send(Proof(1, answer_for(verify.secret, view, first.exporter, *pair, token)))
    second.send(VerifyResult(verify.number, 0, nonce))
    result = first.expect(ClaimResult)
    if result.reason or nonce not in result.nonces:
        raise ConnectionError(f"claim refused with reason {result.reason}")
    second.socket.close()
