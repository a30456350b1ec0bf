"""Certificates that the router shows the servers behind it, in the names of outside domains.

A server that takes the router for every outside domain can hold each stream to a certificate only if there
is one for the domain that the stream is of. So the router has an authority of its own, which the operator
names to those servers and to nobody else, and mints a certificate the moment a domain is met. They are worth
nothing outside: no peer knows that authority.

Certificates carry one DNS name and nothing else (ejabberd 23.01 ends without a word where a name of another
kind stands beside it), and no date beyond that of the authority, which is before the year 2100.
"""

from __future__ import annotations

import datetime as dt
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.tls import pem
from imxrouter.tls.identity import identifiers_of
from imxrouter.tls.own import OwnCertificate, PrivateKey
from imxrouter.tls.peer import chain_fingerprint
from imxrouter.tls.reading import UNREADABLE, is_authority
from imxrouter.tls.strength import weak_key

_DAY_S: Final = 86400.0
#: An authority is named to servers by hand: it lasts. Ten years end long before 2100, too.
AUTHORITY_S: Final = 3650 * _DAY_S
#: A certificate is minted whenever it is needed: it may be short-lived.
LEAF_S: Final = 7 * _DAY_S
#: A stream is judged when it begins, so one that would end this soon is not shown any more.
RENEW_S: Final = _DAY_S
#: The clocks of the servers may be behind by this much.
SKEW_S: Final = 3600.0
#: Domains whose certificates are kept; minting one again takes less than a millisecond.
KEPT: Final = 256
#: RFC 5280 appendix A: the longest common name.
_COMMON_NAME_CHARS: Final = 64


class BadAuthority(RouterError):
    """A file cannot be used as authority of the inside; says which and why."""


@dataclass(frozen=True, eq=False)
class InsideAuthority:
    """Who vouches for outside domains on the inside.

    Attributes:
        certificate: what servers are told to trust.
        key: its private key.
        path: the file that holds both.
    """

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    path: Path

    @classmethod
    def made(cls, name: str, now: float, path: Path) -> InsideAuthority:
        """Make a new one.

        Args:
            name: of this router; stands in the certificate for people.
            now: seconds since 1970.
            path: where it will be kept.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _common_name(f"inside authority of {name}")
        certificate = (
            _builder(subject, subject, key, now - SKEW_S, now + AUTHORITY_S)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key, path)

    @classmethod
    def read(cls, path: Path, now: float) -> InsideAuthority:
        """Read one from a PEM file that holds its certificate and its key.

        Raises:
            BadAuthority: it is not there, it is none, or its time is over.
        """
        try:
            text = path.read_bytes()
            chain, keys = pem.certificates(text), pem.private_keys(text)
            key = load_pem_private_key(keys[0], None) if keys else None
        except OSError as error:
            raise BadAuthority(f"{path}: {error.strerror}") from error
        except (TypeError, *UNREADABLE) as error:
            raise BadAuthority(f"{path}: cannot be read: {error}") from error
        if not chain or key is None:
            raise BadAuthority(f"{path}: no {'private key' if chain else 'certificate'} in it")
        if key.public_key() != chain[0].public_key():
            raise BadAuthority(f"{path}: the key is not that of the certificate")
        if not is_authority(chain[0]):
            raise BadAuthority(f"{path}: not the certificate of an authority")
        if weakness := weak_key(chain[0]):
            raise BadAuthority(f"{path}: {weakness}")
        if chain[0].not_valid_after_utc.timestamp() <= now:
            raise BadAuthority(f"{path}: ended on {chain[0].not_valid_after_utc:%Y-%m-%d}")
        return cls(chain[0], cast("PrivateKey", key), path)

    @property
    def certificate_pem(self) -> bytes:
        """What servers are given: the certificate without its key."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def file_text(self) -> bytes:
        """Both, as they are kept."""
        return self.certificate_pem + self.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )


def authority_at(path: Path, name: str, now: float) -> InsideAuthority:
    """Read the authority that is kept in a file; make it where there is none yet.

    Several processes may begin at once: the first one's is everybody's.

    Args:
        path: the file; its folder is there.
        name: of this router.
        now: seconds since 1970.

    Raises:
        BadAuthority: what is there cannot be used.
        OSError: it cannot be written.
    """
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        try:
            fresh.write_bytes(InsideAuthority.made(name, now, path).file_text)
            os.link(fresh, path)
        except FileExistsError:
            pass  # another process was first
        finally:
            fresh.unlink()
    return InsideAuthority.read(path, now)


class Mint:
    """Makes certificates for outside domains and keeps those that were asked for last.

    Args:
        authority: signs them.
        wall: seconds since 1970.
        kept: how many are kept.
    """

    def __init__(self, authority: InsideAuthority, wall: Callable[[], float], *, kept: int = KEPT) -> None:
        self.authority = authority
        self._wall = wall
        self._kept = kept
        self._made: OrderedDict[str, OwnCertificate] = OrderedDict()

    def __len__(self) -> int:
        return len(self._made)

    def certificate_for(self, domain: Domain) -> OwnCertificate:
        """The certificate for a domain, good for a day at least unless the authority ends before.

        The same object as before while it is: contexts are kept by it.
        """
        kept = self._made.get(domain.name)
        if kept is None or self._is_old(kept):
            kept = self._made[domain.name] = self._mint(domain)
        self._made.move_to_end(domain.name)
        while len(self._made) > self._kept:
            self._made.popitem(last=False)
        return kept

    def _is_old(self, kept: OwnCertificate) -> bool:
        now = self._wall()
        # one that is from the future was made before the clock was set back
        return not (kept.not_before <= now and now + RENEW_S < kept.not_after)

    def _mint(self, domain: Domain) -> OwnCertificate:
        now, signer = self._wall(), self.authority
        ends = min(now + LEAF_S, signer.certificate.not_valid_after_utc.timestamp())
        begins = max(now - SKEW_S, signer.certificate.not_valid_before_utc.timestamp())
        key = ec.generate_private_key(ec.SECP256R1())
        # The name stands among the alternative names, where alone it is read; no room for it is no matter.
        subject = _common_name(domain.name) if len(domain.name) <= _COMMON_NAME_CHARS else x509.Name([])
        leaf = (
            _builder(subject, signer.certificate.subject, key, begins, ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(domain.name)]), critical=not subject.rdns
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.certificate.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
            .sign(signer.key, None if _has_own_digest(signer.key) else hashes.SHA256())
        )
        return OwnCertificate(
            chain=(leaf,),
            key=key,
            identifiers=identifiers_of(leaf),
            path=signer.path,
            fingerprint=chain_fingerprint((leaf,)),
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=leaf.not_valid_after_utc.timestamp(),
        )


def _has_own_digest(key: PrivateKey) -> bool:
    return isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_COMMON_NAME_CHARS])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: float, ends: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(begins, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(ends, dt.UTC))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
