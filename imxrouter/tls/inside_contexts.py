"""SSL contexts that show the servers behind the router a certificate of the outside domain at hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from OpenSSL import SSL

from imxrouter.model.domain import Domain
from imxrouter.tls.contexts import MINIMUM, XMPP_ALPN, client_context, server_context
from imxrouter.tls.facts import Chains, ContextNote, server_name_of
from imxrouter.tls.inside import KEPT, Mint
from imxrouter.tls.own import OwnCertificate

#: A context that is accepting and one that is opening for each certificate that is kept.
_CONTEXTS: Final = 2 * KEPT


class InsideContexts:
    """Contexts of minted certificates. We resume no session: both ends are near each other.

    Args:
        mint: makes the certificates.
        own: this router's own name; its certificate is shown where nobody says whom he takes us for.
        minimum: the least version, `1.2` or `1.3`.
    """

    def __init__(self, mint: Mint, own: Domain, *, minimum: str = "1.2") -> None:
        self._mint = mint
        self._minimum = MINIMUM[minimum]
        self._chains = Chains()
        self._made: OrderedDict[tuple[bytes, bool], SSL.Context] = OrderedDict()
        # What takes every connection, for as long as anything lives that it gave the connection to: OpenSSL
        # goes on calling its functions after the connection was switched to another context.
        self._front = self._server(mint.certificate_for(own), None)
        self._front.set_tlsext_servername_callback(self._pick)

    def __len__(self) -> int:
        return len(self._made)

    def accepting(self, domain: Domain | None = None) -> SSL.Connection:
        """Make an end in memory for a connection that a server behind us has opened.

        Args:
            domain: whom the server takes us for, as its stream says; None: it has not said so yet. The name
                that it asks for in its first message (SNI) goes before.
        """
        connection = SSL.Connection(self._front, None)
        connection.set_accept_state()
        if domain is not None:
            connection.set_context(self._accepting(domain))
        return connection

    def opening(self, domain: Domain, server_name: str) -> SSL.Connection:
        """Make an end in memory for a connection to a server behind us.

        Args:
            domain: the outside domain that is spoken for.
            server_name: the domain that the server serves, for SNI.
        """
        own = self._mint.certificate_for(domain)
        make = partial(client_context, own, self._minimum, b"")
        connection = SSL.Connection(self._kept((own.fingerprint, True), make), None)
        connection.set_connect_state()
        connection.set_tlsext_host_name(server_name.encode("ascii"))
        return connection

    def _accepting(self, domain: Domain) -> SSL.Context:
        own = self._mint.certificate_for(domain)
        return self._kept((own.fingerprint, False), partial(self._server, own, self._front))

    def _server(self, own: OwnCertificate, front: SSL.Context | None) -> SSL.Context:
        note = ContextNote(own, self._chains, front, XMPP_ALPN)
        return server_context(own, self._minimum, note)

    def _kept(self, key: tuple[bytes, bool], make: Callable[[], SSL.Context]) -> SSL.Context:
        context = self._made.get(key)
        if context is None:
            context = self._made[key] = make()
        self._made.move_to_end(key)
        while len(self._made) > _CONTEXTS:
            self._made.popitem(last=False)
        return context

    def _pick(self, connection: SSL.Connection) -> None:
        """Answer OpenSSL, which found a server name in the first message."""
        name = server_name_of(connection)
        if name:
            connection.set_context(self._accepting(Domain(name)))
