"""One certificate of ours, with its key."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from imxrouter.model.domain import Domain
from imxrouter.tls.identity import Identifiers, Service

#: The kinds of key that a certificate of ours may have (`strength.py`).
PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)


@dataclass(frozen=True, eq=False)
class OwnCertificate:
    """A chain and its key, checked. Two are the same if their fingerprints are.

    Attributes:
        chain: leaf first.
        key: the private key of the leaf.
        identifiers: what it names.
        path: the file that holds the chain.
        fingerprint: SHA-256 of the chain.
        not_before: seconds since 1970.
        not_after: seconds since 1970; the earliest end in the chain.
    """

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = field(repr=False)
    identifiers: Identifiers
    path: Path
    fingerprint: bytes
    not_before: float
    not_after: float

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself."""
        return self.chain[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Its names, for people."""
        return self.identifiers.shown

    @property
    def issuer(self) -> str:
        """Who signed it, for people."""
        for attribute in self.leaf.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME):
            return str(attribute.value)
        return self.leaf.issuer.rfc4514_string()

    def covers(self, domain: Domain, service: Service = Service.IMX) -> bool:
        """Say whether it names the domain for a service."""
        return self.identifiers.covers(domain.name, service)
