"""Our ends of TLS connections, made from the contexts of the moment."""

from __future__ import annotations

from OpenSSL import SSL

from imxrouter.model.domain import Domain
from imxrouter.tls.contexts import ALPN, TlsContexts
from imxrouter.tls.facts import TlsFacts, read_facts
from imxrouter.transport.opening import Endpoint


class TlsEnds:
    """Implements `transport.encryption.TlsMaker`.

    Attributes:
        contexts: of the certificates in use; whoever changes those puts new ones here. Links keep theirs.
    """

    def __init__(self, contexts: TlsContexts) -> None:
        self.contexts = contexts

    def accepting(self, alpn: bytes = ALPN) -> SSL.Connection:
        """An end for a connection that somebody opened to us."""
        connection = SSL.Connection(self.contexts.server(alpn), None)
        connection.set_accept_state()
        return connection

    def opening(
        self, own: Domain | None, server_name: str, endpoint: Endpoint, alpn: bytes = ALPN
    ) -> SSL.Connection:
        """An end for a connection of ours, which resumes the last session there if it can."""
        return self.contexts.open(own, server_name, *endpoint, alpn)

    def facts(self, connection: SSL.Connection) -> TlsFacts:
        """Read what the handshake came to."""
        return read_facts(connection)

    def forget(self, connection: SSL.Connection, server_name: str, endpoint: Endpoint) -> None:
        """Resume no session there: who is there was refused, or refused us."""
        self.contexts.forget_session(connection, server_name, *endpoint)

    def keep(self, connection: SSL.Connection, server_name: str, endpoint: Endpoint) -> None:
        """Remember a session of ours, once the other side has said something in it."""
        self.contexts.keep_session(connection, server_name, *endpoint)
