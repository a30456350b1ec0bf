"""What a finished handshake tells, read once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from sys import intern

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from imxrouter.model.dane import Delegation
from imxrouter.model.domain import is_wire_domain
from imxrouter.tls.openssl import was_resumed
from imxrouter.tls.own import OwnCertificate
from imxrouter.tls.peer import PeerCertificate
from imxrouter.tls.reading import UNREADABLE

#: RFC 9266 section 4: the label of the channel binding, its length, and an empty context.
EXPORTER_LABEL = b"EXPORTER-Channel-Binding"
EXPORTER_BYTES = 32
TLS_1_3 = "TLSv1.3"
#: Chains kept for sessions, and bytes of each, the leaf not counted. Public ones have 1,000 to 3,000.
CHAINS = 1000
CHAIN_BYTES = 16 * 1024


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
        peer: the other side's certificate; None if it showed none, or none that can be read.
        own: the certificate that this side showed, or would have shown; None if it has none.
        ways: what DNSSEC says of the way on which a domain was reached in this session, by the domain's name;
            written by who dials, empty on a connection that somebody opened to us.
        unreadable: why the certificate that the other side showed cannot be read; else empty.
    """

    version: str
    cipher: str
    alpn: bytes
    server_name: str
    resumed: bool
    exporter: bytes
    peer: PeerCertificate | None
    own: OwnCertificate | None
    ways: dict[str, Delegation] = field(default_factory=dict, compare=False)
    unreadable: str = ""


def read_facts(connection: SSL.Connection) -> TlsFacts:
    """Read a connection whose handshake is done, and whose context `TlsContexts` made."""
    version = intern(connection.get_protocol_version_name())
    resumed = was_resumed(connection)
    peer, unreadable = _peer(connection, resumed=resumed)
    return TlsFacts(
        version=version,
        cipher=intern(connection.get_cipher_name() or ""),
        alpn=connection.get_alpn_proto_negotiated(),
        server_name=server_name_of(connection),
        resumed=resumed,
        exporter=_exporter(connection) if version == TLS_1_3 else b"",
        peer=peer,
        own=own_of(connection.get_context()),
        unreadable=unreadable,
    )


def server_name_of(connection: SSL.Connection) -> str:
    """The name that the opener asked for, lower case; empty if it named no domain."""
    raw = (connection.get_servername() or b"").lower().removesuffix(b".")
    return intern(raw.decode("ascii")) if is_wire_domain(raw) else ""


class Chains:
    """What stood beside peers' certificates in whole handshakes, for the sessions that resume them.

    A ticket holds the peer's own certificate and nothing else (SSL_SESSION is written without its chain). It
    lives and dies with the contexts, as the keys of their tickets do. Where it is full and an entry is gone,
    `peer.Intermediates` may still know what is missing.
    """

    def __init__(self, entries: int = CHAINS) -> None:
        self._entries = entries
        self._above: OrderedDict[bytes, tuple[x509.Certificate, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._above)

    def complete(self, peer: PeerCertificate) -> PeerCertificate:
        """Remember a whole chain; give a resumed session's certificate its chain again."""
        if peer.resumed:
            above = self._above.get(peer.fingerprint, ()) if len(peer.chain) == 1 else ()
            return replace(peer, chain=(*peer.chain, *above)) if above else peer
        above = peer.chain[1:]
        if above and sum(len(one.public_bytes(Encoding.DER)) for one in above) <= CHAIN_BYTES:
            self._above[peer.fingerprint] = above
            self._above.move_to_end(peer.fingerprint)
            if len(self._above) > self._entries:
                self._above.popitem(last=False)
        return peer


@dataclass(frozen=True, slots=True)
class ContextNote:
    """What rides on a context as its application data.

    Attributes:
        own: the certificate that the context shows.
        chains: of peers that connected; None where we connect, for a session in memory keeps its own.
        front: the context that took the connection, kept alive because OpenSSL goes on calling its
            functions after the connection was switched to another one.
        alpn: what the context offers, or takes; empty where it offers nothing.
    """

    own: OwnCertificate | None
    chains: Chains | None = None
    front: SSL.Context | None = None
    alpn: bytes = b""


def own_of(context: SSL.Context) -> OwnCertificate | None:
    """The certificate that a context of ours shows."""
    note = context.get_app_data()
    return note.own if isinstance(note, ContextNote) else None


def _exporter(connection: SSL.Connection) -> bytes:
    return connection.export_keying_material(EXPORTER_LABEL, EXPORTER_BYTES, b"")


def _peer(connection: SSL.Connection, *, resumed: bool) -> tuple[PeerCertificate | None, str]:
    """What the other side showed, or why it cannot be read: OpenSSL takes more than `cryptography` does."""
    try:
        leaf = connection.get_peer_certificate(as_cryptography=True)
        if leaf is None:
            return None, ""
        # Here the chain begins with the leaf, or is not there at all in a session that was resumed.
        chain = connection.get_peer_cert_chain(as_cryptography=True) or []
    except UNREADABLE as error:
        return None, f"{error}"[:200]
    if not chain or chain[0] != leaf:
        chain = [leaf, *chain]
    peer = PeerCertificate(chain[0], tuple(chain), resumed=resumed)
    note = connection.get_context().get_app_data()
    chains = note.chains if isinstance(note, ContextNote) else None
    return (chains.complete(peer) if chains is not None else peer), ""
