"""SSL contexts for one set of our own certificates; a new set gets new contexts.

No handshake fails because of the other side's certificate: a context asks for it, takes any, and the router
judges it afterwards (`peer.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from OpenSSL import SSL, crypto

from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.tls.facts import Chains, ContextNote, server_name_of
from imxrouter.tls.own import OwnCertificate
from imxrouter.tls.store import CertificateSet

#: Specification section 3.1.
ALPN: Final = b"imx"
#: TLS 1.2 with forward secrecy and authenticated encryption only (RFC 9325 section 4.2). Those of TLS 1.3
#: are OpenSSL's own.
CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"
#: Sessions are of this use only (SSL_CTX_set_session_id_context(3)).
SESSION_CONTEXT: Final = b"imxrouter"
#: How long a session can be resumed. Judged anew each time, so only the keys' age is bounded by it.
SESSION_S: Final = 3600
#: Sessions that an opener keeps; one takes some kilobytes, with the other side's chain.
CLIENT_SESSIONS: Final = 1024
MINIMUM: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Where a session can be resumed.

    A session is never carried over to another address, another name or another certificate of ours: the
    acceptor would take us for whom we were.
    """

    address: str
    port: int
    server_name: str
    own: bytes


class TlsContexts:
    """Contexts of one certificate set.

    Args:
        certificates: our own; may be empty, then no TLS is offered and no certificate shown.
        minimum: the least version, `1.2` or `1.3`.
    """

    def __init__(self, certificates: CertificateSet, *, minimum: str = "1.2") -> None:
        self.certificates = certificates
        self._minimum = MINIMUM[minimum]
        self._clients: dict[bytes, SSL.Context] = {}
        self._sessions: OrderedDict[SessionKey, SSL.Session] = OrderedDict()
        self._picker = _Picker(certificates, self._minimum)
        self._server = self._make_server()

    @property
    def offers_tls(self) -> bool:
        """Whether there is a certificate to show to who connects."""
        return self._server is not None

    def server(self) -> SSL.Context:
        """The context for a connection that is taken.

        Raises:
            LocalMisuse: there is no certificate.
        """
        if self._server is None:
            raise LocalMisuse("no certificate: TLS is not offered")
        return self._server

    def client(self, own: Domain | None = None) -> SSL.Context:
        """The context for a connection that is opened, with our certificate for that domain of ours."""
        chosen = self.certificates.for_domain(own) if own is not None else None
        key = chosen.fingerprint if chosen else b""
        if (context := self._clients.get(key)) is None:
            context = self._clients[key] = _client_context(chosen, self._minimum)
        return context

    def open(self, own: Domain | None, server_name: str, address: str, port: int) -> SSL.Connection:
        """Make a connection in memory that is about to open a session, or resume the last one there.

        Args:
            own: the domain of ours whose certificate is shown if asked for.
            server_name: the name to ask for (SNI), as A-labels.
            address: where it goes; only the key of the session.
            port: the same.
        """
        context = self.client(own)
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
        if session is None or self._clients.get(_own_key(context)) is not context:
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
        self._picker.retire()

    def _make_server(self) -> SSL.Context | None:
        default = self.certificates.default
        if default is None:
            return None
        front = _server_context(default, self._minimum, ContextNote(default, self._picker.chains))
        front.set_tlsext_servername_callback(self._picker.pick)
        return front


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

    def __init__(self, certificates: CertificateSet, minimum: int) -> None:
        self._certificates = certificates
        self._minimum = minimum
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
            context = _server_context(chosen, self._minimum, ContextNote(chosen, self.chains, front))
            if self._keeps:
                self._made[chosen.fingerprint] = context
        return context


def _server_context(own: OwnCertificate, minimum: int, note: ContextNote) -> SSL.Context:
    context = _context(own, minimum, note)
    # SSL_set_SSL_CTX(3) takes over the certificate only. What is looked up in the context at hand, as the
    # choice of ALPN, must stand in each of them; and sessions pass from one to the other only with one id.
    context.set_alpn_select_callback(_select_alpn)
    context.set_session_id(SESSION_CONTEXT)
    # Tickets alone: a session in this process's own cache would hold 20,480 chains of strangers.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def _client_context(own: OwnCertificate | None, minimum: int) -> SSL.Context:
    context = _context(own, minimum, ContextNote(own))
    context.set_alpn_protos([ALPN])
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


def _select_alpn(
    _connection: SSL.Connection, offered: Sequence[bytes]
) -> bytes | SSL._NoOverlappingProtocols:
    # Not an exception: pyOpenSSL would keep it on the context and raise it in the next connection that waits
    # for bytes. Without agreement the handshake ends with an empty ALPN, and the link says tls-failed.
    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _own_key(context: SSL.Context) -> bytes:
    note = context.get_app_data()
    return note.own.fingerprint if isinstance(note, ContextNote) and note.own else b""


def _session_key(context: SSL.Context, server_name: str, address: str, port: int) -> SessionKey:
    return SessionKey(address, port, server_name, _own_key(context))
