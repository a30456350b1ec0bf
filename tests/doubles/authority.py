"""A private authority that issues any certificate, also a wrong one: dates, purposes, constraints, keys."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from cryptography.x509.oid import NameOID
from OpenSSL import crypto

#: Every test's "now": 2026-06-01 00:00 UTC.
NOW = 1_780_272_000.0
DAY = 86_400.0
SERVER, CLIENT, CODE = Eku.SERVER_AUTH, Eku.CLIENT_AUTH, Eku.CODE_SIGNING


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """One RSA key of that size for the whole run: it takes long to make."""
    return rsa.generate_private_key(65537, bits)


def dns_srv(text: str) -> x509.OtherName:
    """An SRV-ID (RFC 4985)."""
    raw = text.encode("ascii")
    return x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), bytes([0x16, len(raw)]) + raw)


def xmpp_address(text: str, tag: int = 0x0C) -> x509.OtherName:
    """The address of an XMPP server (id-on-xmppAddr, RFC 6120 section 13.7.1.4): a UTF8String."""
    raw = text.encode("utf-8")
    size = bytes([len(raw)]) if len(raw) < 0x80 else bytes([0x81, len(raw)])
    return x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5"), bytes([tag]) + size + raw)


def _when(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True)
class Issued:
    """A certificate with its key and what leads to its root, root not included."""

    certificate: x509.Certificate
    key: Any
    above: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """As it is presented."""
        return (self.certificate, *self.above)

    @property
    def chain_pem(self) -> bytes:
        """As a file of certificates."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in self.chain)

    @property
    def key_pem(self) -> bytes:
        """As a file of a key."""
        return bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def signed_weakly(self, by: Authority) -> Issued:
        """The same, signed with SHA-1, which `cryptography` no longer does."""
        again = crypto.X509.from_cryptography(self.certificate)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            again.sign(crypto.PKey.from_cryptography_key(by.issued.key), "sha1")
        return Issued(again.to_cryptography(), self.key, self.above)

    def write(self, folder: Path, name: str) -> Path:
        """Leave NAME.crt and NAME.key; returns the path of the first."""
        folder.mkdir(parents=True, exist_ok=True)
        key = folder / f"{name}.key"
        key.write_bytes(self.key_pem)
        key.chmod(0o600)
        path = folder / f"{name}.crt"
        path.write_bytes(self.chain_pem)
        return path


class Authority:
    """Issues certificates; `Authority.root()` makes one, `.below()` an intermediate."""

    def __init__(self, issued: Issued, *, is_root: bool) -> None:
        self.issued = issued
        self.certificate = issued.certificate
        self._is_root = is_root

    @classmethod
    def root(cls, name: str = "Test Root", **options: Any) -> Authority:
        """A new root."""
        key = options.pop("key", None) or ec.generate_private_key(ec.SECP256R1())
        made = _build(_name(name), key, _name(name), key, authority=True, **options)
        return cls(Issued(made, key), is_root=True)

    def below(self, name: str = "Test Intermediate", **options: Any) -> Authority:
        """A new authority that this one vouches for."""
        return Authority(self._issue(_name(name), authority=True, **options), is_root=False)

    def issue(self, *names: str, **options: Any) -> Issued:
        """A certificate for domains, valid from a day before NOW to 90 days after it."""
        san = options.pop("san", None)
        others: Sequence[x509.GeneralName] = [x509.DNSName(name) for name in names] if san is None else san
        common = options.pop("common", "")
        subject = _name(common) if common else x509.Name([])
        options.setdefault("purposes", [SERVER])
        return self._issue(subject, san=others, authority=options.pop("authority", False), **options)

    def _issue(self, subject: x509.Name, **options: Any) -> Issued:
        key = options.pop("key", None) or ec.generate_private_key(ec.SECP256R1())
        signer = options.pop("signer", self.issued.key)
        made = _build(subject, key, self.certificate.subject, signer, **options)
        return Issued(made, key, () if self._is_root else self.issued.chain)


def _build(
    subject: x509.Name,
    key: Any,
    issuer: x509.Name,
    signer: Any,
    *,
    authority: bool = False,
    not_before: float = NOW - DAY,
    not_after: float = NOW + 90 * DAY,
    san: Sequence[x509.GeneralName] = (),
    purposes: Sequence[x509.ObjectIdentifier] = (),
    path_length: int | None = None,
    constraints: x509.NameConstraints | None = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_when(not_before))
        .not_valid_after(_when(not_after))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if san:
        builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer, hashes.SHA256())
