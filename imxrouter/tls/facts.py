"""What a finished handshake tells, read once."""

from __future__ import annotations

from dataclasses import dataclass

from OpenSSL import SSL

from imxrouter.model.domain import is_wire_domain
from imxrouter.tls.openssl import was_resumed
from imxrouter.tls.own import OwnCertificate
from imxrouter.tls.peer import PeerCertificate

#: RFC 9266 section 4: the label of the channel binding, its length, and an empty context.
EXPORTER_LABEL = b"EXPORTER-Channel-Binding"
EXPORTER_BYTES = 32
TLS_1_3 = "TLSv1.3"


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """One TLS session, as this side sees it.

    Attributes:
        version: `TLSv1.3` or `TLSv1.2`.
        cipher: OpenSSL's name of the cipher suite.
        alpn: the agreed protocol; empty where the sides agreed on none, which a link refuses.
        server_name: what the opener asked for (SNI), as A-labels; empty if nothing or no domain.
        resumed: an earlier session was resumed.
        exporter: 32 bytes that both ends of this session share and nobody else (RFC 9266); empty before
            TLS 1.3, whose predecessor does not bind them to the handshake in every case.
        peer: the other side's certificate; None if it showed none.
        own: the certificate that this side showed, or would have shown; None if it has none.
    """

    version: str
    cipher: str
    alpn: bytes
    server_name: str
    resumed: bool
    exporter: bytes
    peer: PeerCertificate | None
    own: OwnCertificate | None


def read_facts(connection: SSL.Connection) -> TlsFacts:
    """Read a connection whose handshake is done, and whose context `TlsContexts` made."""
    version = connection.get_protocol_version_name()
    resumed = was_resumed(connection)
    return TlsFacts(
        version=version,
        cipher=connection.get_cipher_name() or "",
        alpn=connection.get_alpn_proto_negotiated(),
        server_name=server_name_of(connection),
        resumed=resumed,
        exporter=_exporter(connection) if version == TLS_1_3 else b"",
        peer=_peer(connection, resumed=resumed),
        own=own_of(connection.get_context()),
    )


def server_name_of(connection: SSL.Connection) -> str:
    """The name that the opener asked for, lower case; empty if it named no domain."""
    raw = (connection.get_servername() or b"").lower().removesuffix(b".")
    return raw.decode("ascii") if is_wire_domain(raw) else ""


@dataclass(frozen=True, slots=True)
class ContextNote:
    """What rides on a context as its application data.

    Attributes:
        own: the certificate that the context shows.
        front: the context that took the connection, kept alive because OpenSSL goes on calling its
            functions after the connection was switched to another one.
    """

    own: OwnCertificate | None
    front: SSL.Context | None = None


def own_of(context: SSL.Context) -> OwnCertificate | None:
    """The certificate that a context of ours shows."""
    note = context.get_app_data()
    return note.own if isinstance(note, ContextNote) else None


def _exporter(connection: SSL.Connection) -> bytes:
    return connection.export_keying_material(EXPORTER_LABEL, EXPORTER_BYTES, b"")


def _peer(connection: SSL.Connection, *, resumed: bool) -> PeerCertificate | None:
    leaf = connection.get_peer_certificate(as_cryptography=True)
    if leaf is None:
        return None
    # An opener gets the leaf as first of the chain, an acceptor too; a resumed session may have no chain.
    chain = connection.get_peer_cert_chain(as_cryptography=True) or []
    if not chain or chain[0] != leaf:
        chain = [leaf, *chain]
    return PeerCertificate(leaf, tuple(chain), resumed=resumed)
