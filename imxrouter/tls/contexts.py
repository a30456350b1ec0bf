"""SSL contexts for one set of our own certificates; a new set gets new contexts.

No handshake fails because of the other side's certificate: a context asks for it, takes any, and the router
judges it afterwards (`peer.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from OpenSSL import SSL, crypto

from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.tls.facts import Chains, ContextNote, server_name_of
from imxrouter.tls.own import OwnCertificate
from imxrouter.tls.store import CertificateSet

#: Specification section 3.1.
ALPN: Final = b"imx"
#: XMPP between servers where TLS begins at the first byte (XEP-0368 section 4); it may be left out.
XMPP_ALPN: Final = b"xmpp-server"
#: What connections of each protocol, and no others, resume (SSL_CTX_set_session_id_context(3)).
SESSION_CONTEXTS: Final = {ALPN: b"imxrouter", XMPP_ALPN: b"imxrouter xmpp"}
#: TLS 1.2 with forward secrecy and authenticated encryption only (RFC 9325 section 4.2). Those of TLS 1.3
#: are OpenSSL's own.
CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"
#: How long a session can be resumed. Judged anew each time, so only the keys' age is bounded by it.
SESSION_S: Final = 3600
#: Sessions that an opener keeps; one takes some kilobytes, with the other side's chain.
CLIENT_SESSIONS: Final = 1024
MINIMUM: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Where a session can be resumed.

    A session is never carried over to another address, another name, another protocol or another certificate
    of ours: the acceptor would take us for whom we were.
    """

    address: str
    port: int
    server_name: str
    own: bytes
    alpn: bytes


class TlsContexts:
    """Contexts of one certificate set.

    Args:
        certificates: our own; may be empty, then no TLS is offered and no certificate shown.
        minimum: the least version, `1.2` or `1.3`.
    """

    def __init__(self, certificates: CertificateSet, *, minimum: str = "1.2") -> None:
        self.certificates = certificates
        self._minimum = MINIMUM[minimum]
        self._clients: dict[tuple[bytes, bytes], SSL.Context] = {}
        self._sessions: OrderedDict[SessionKey, SSL.Session] = OrderedDict()
        self._pickers: dict[bytes, _Picker] = {}
        self._servers: dict[bytes, SSL.Context] = {}
        if self.offers_tls:
            self.server()

    @property
    def offers_tls(self) -> bool:
        """Whether there is a certificate to show to who connects."""
        return self.certificates.default is not None

    def server(self, alpn: bytes = ALPN) -> SSL.Context:
        """The context for a connection that is taken.

        Args:
            alpn: what is spoken there; a key of `SESSION_CONTEXTS`.

        Raises:
            LocalMisuse: there is no certificate.
        """
        context = self._servers.get(alpn)
        if context is None:
            context = self._servers[alpn] = self._make_server(alpn)
        return context

    def client(self, own: Domain | None = None, alpn: bytes = ALPN) -> SSL.Context:
        """The context for a connection that is opened, with our certificate for that domain of ours.

        Args:
            own: the domain of ours.
            alpn: what is offered; empty: nothing is, as where TLS begins within a stream.
        """
        chosen = self.certificates.for_domain(own) if own is not None else None
        key = chosen.fingerprint if chosen else b"", alpn
        if (context := self._clients.get(key)) is None:
            context = self._clients[key] = client_context(chosen, self._minimum, alpn)
        return context

    def open(
        self, own: Domain | None, server_name: str, address: str, port: int, alpn: bytes = ALPN
    ) -> SSL.Connection:
        """Make a connection in memory that is about to open a session, or resume the last one there.

        Args:
            own: the domain of ours whose certificate is shown if asked for.
            server_name: the name to ask for (SNI), as A-labels.
            address: where it goes; only the key of the session.
            port: the same.
            alpn: what is offered; empty: nothing is.
        """
        context = self.client(own, alpn)
        connection = SSL.Connection(context, None)
        connection.set_connect_state()
        connection.set_tlsext_host_name(server_name.encode("ascii"))
        key = _session_key(context, server_name, address, port)
        # Once (RFC 8446 appendix C.4). So one that is refused, as its certificate has ended, comes not again.
        if (session := self._sessions.pop(key, None)) is not None:
            connection.set_session(session)
        return connection

    def keep_session(self, connection: SSL.Connection, server_name: str, address: str, port: int) -> None:
        """Remember an opened connection's session.

        Call it when the first bytes of the other side were read: in TLS 1.3 a ticket comes after the
        handshake, and a session without one cannot be resumed. A connection of other contexts (a set that
        was replaced meanwhile) is ignored.
        """
        context = connection.get_context()
        session = connection.get_session()
        if session is None or self._clients.get(_client_key(context)) is not context:
            return
        key = _session_key(context, server_name, address, port)
        self._sessions[key] = session
        self._sessions.move_to_end(key)
        if len(self._sessions) > CLIENT_SESSIONS:
            self._sessions.popitem(last=False)

    def forget_session(self, connection: SSL.Connection, server_name: str, address: str, port: int) -> None:
        """Have the next connection to there do a whole handshake: the link was refused."""
        self._sessions.pop(_session_key(connection.get_context(), server_name, address, port), None)

    def retire(self) -> None:
        """These are replaced: hold nothing that open links do not hold themselves."""
        self._sessions.clear()
        self._clients.clear()
        for picker in self._pickers.values():
            picker.retire()

    def _make_server(self, alpn: bytes) -> SSL.Context:
        default = self.certificates.default
        if default is None:
            raise LocalMisuse("no certificate: TLS is not offered")
        picker = self._pickers[alpn] = _Picker(self.certificates, self._minimum, alpn)
        front = server_context(default, self._minimum, ContextNote(default, picker.chains, alpn=alpn))
        front.set_tlsext_servername_callback(picker.pick)
        return front


def offered_others(connection: SSL.Connection) -> bool:
    """Whether who connected named protocols, and not the one that is spoken here."""
    return connection.get_app_data() is _OFFERED_OTHERS


def release(connection: SSL.Connection) -> None:
    """Call it when a connection's transport is gone, whatever took it.

    OpenSSL makes a session unfit for resumption when its connection is freed without a farewell; after an
    outage each link would then need a whole handshake. TLS 1.3 asks for nothing of the kind (RFC 8446
    section 6.1).
    """
    connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)


class _Picker:
    """Switches a connection to the certificate of the domain that it asks for.

    It knows neither `TlsContexts` nor the front context, which holds it; and a context that it made holds
    the front one only. So once it is retired nothing refers in a circle, and the last link frees all.
    """

    def __init__(self, certificates: CertificateSet, minimum: int, alpn: bytes) -> None:
        self._certificates = certificates
        self._minimum = minimum
        self._alpn = alpn
        self._made: dict[bytes, SSL.Context] = {}
        self._keeps = True
        self.chains = Chains()

    def pick(self, connection: SSL.Connection) -> None:
        """Answer OpenSSL, which found a server name in the first message."""
        chosen = self._certificates.for_name(server_name_of(connection))
        current = connection.get_context()
        note = current.get_app_data()
        if chosen is None or chosen is note.own:
            return
        # A second first message (HelloRetryRequest) asks again, on the context of the first answer.
        front = note.front or current
        connection.set_context(self._context(chosen, front))

    def retire(self) -> None:
        """Keep no context from now on; handshakes that are under way still get theirs."""
        self._keeps = False
        self._made.clear()

    def _context(self, chosen: OwnCertificate, front: SSL.Context) -> SSL.Context:
        context = self._made.get(chosen.fingerprint)
        if context is None:
            note = ContextNote(chosen, self.chains, front, self._alpn)
            context = server_context(chosen, self._minimum, note)
            if self._keeps:
                self._made[chosen.fingerprint] = context
        return context


def server_context(own: OwnCertificate, minimum: int, note: ContextNote) -> SSL.Context:
    """A context for connections that are taken.

    Args:
        own: what is shown.
        minimum: a value of `MINIMUM`.
        note: what rides on it.
    """
    context = _context(own, minimum, note)
    # SSL_set_SSL_CTX(3) takes over the certificate only. What is looked up in the context at hand, as the
    # choice of ALPN, must stand in each of them; and sessions pass from one to the other only with one id.
    context.set_alpn_select_callback(_selects(note.alpn))
    context.set_session_id(SESSION_CONTEXTS[note.alpn])
    # Tickets alone: a session in this process's own cache would hold 20,480 chains of strangers.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def client_context(own: OwnCertificate | None, minimum: int, alpn: bytes) -> SSL.Context:
    """A context for connections that are opened.

    Args:
        own: what is shown if asked for.
        minimum: a value of `MINIMUM`.
        alpn: what is offered; empty: nothing.
    """
    context = _context(own, minimum, ContextNote(own, alpn=alpn))
    if alpn:
        context.set_alpn_protos([alpn])
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # sessions are kept by address and name, above
    return context


def _context(own: OwnCertificate | None, minimum: int, note: ContextNote) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(minimum)
    context.set_cipher_list(CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # an idle link holds no 34 kB
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE, _take_any)
    context.set_timeout(SESSION_S)
    if own is not None:
        context.use_certificate(own.leaf)
        for one in own.chain[1:]:
            context.add_extra_chain_cert(one)
        context.use_privatekey(own.key)
        context.check_privatekey()
    context.set_app_data(note)
    return context


def _take_any(
    _connection: SSL.Connection, _certificate: crypto.X509, _error: int, _depth: int, _ok: int
) -> bool:
    return True


#: What a connection of ours carries whose opener named other protocols only.
_OFFERED_OTHERS: Final = object()


@cache
def _selects(alpn: bytes) -> Callable[[SSL.Connection, Sequence[bytes]], Any]:
    """What chooses that protocol and no other."""

    def select(connection: SSL.Connection, offered: Sequence[bytes]) -> bytes | SSL._NoOverlappingProtocols:
        # Not an exception: pyOpenSSL would keep it on the context and raise it in the next connection that
        # waits for bytes. Without agreement the handshake ends with an empty ALPN, and the link says
        # tls-failed.
        if alpn in offered:
            return alpn
        connection.set_app_data(_OFFERED_OTHERS)
        return SSL.NO_OVERLAPPING_PROTOCOLS

    return select


def _client_key(context: SSL.Context) -> tuple[bytes, bytes]:
    note = context.get_app_data()
    if not isinstance(note, ContextNote):
        return b"", b""
    return note.own.fingerprint if note.own else b"", note.alpn


def _session_key(context: SSL.Context, server_name: str, address: str, port: int) -> SessionKey:
    return SessionKey(address, port, server_name, *_client_key(context))
