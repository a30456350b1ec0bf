"""Which domains a certificate names: DNS-ID and SRV-ID as RFC 9525 has it, by service-identity.

Names are those of subjectAltName; the common name is never looked at, and an address never matches. An
identifier that breaks a rule counts as absent (RFC 9525 section 6.3) and spoils no other one beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from service_identity import CertificateError
from service_identity.hazmat import DNS_ID, SRV_ID, DNSPattern, SRVPattern

from imxrouter.tls.reading import UNREADABLE

#: RFC 4985 section 2: id-on-dnsSRV.
_DNS_SRV = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")
#: The service of an SRV-ID, as in the SRV record `_imx._tcp` (docs/specs/imx-dns-record.md), without `_tcp`.
SERVICE = "_imx"
#: What one certificate may name. Public authorities stop at 100 or 250; each look-up walks them all.
MAX_NAMES = 2000


@dataclass(frozen=True, slots=True)
class Identifiers:
    """The names of one certificate that can match at all.

    Attributes:
        dns: DNS-IDs, lower case, wildcards as `*.rest`.
        srv: SRV-IDs of this service, as the domain after `_imx.`.
    """

    dns: tuple[str, ...] = ()
    srv: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """All of them for people."""
        return (*self.dns, *(f"{SERVICE}.{name}" for name in self.srv))

    @property
    def wildcards(self) -> tuple[str, ...]:
        """What stands behind `*.` in each wildcard."""
        return tuple(name[2:] for name in self.dns if name.startswith("*."))

    @property
    def exact(self) -> tuple[str, ...]:
        """The domains named in full."""
        return (*(name for name in self.dns if not name.startswith("*.")), *self.srv)

    def covers(self, name: str) -> bool:
        """Say whether a domain (A-labels, lower case) is named, by DNS-ID or SRV-ID."""
        return self.covers_host(name) or self._covers_service(name)

    def covers_host(self, name: str) -> bool:
        """The same by DNS-ID only, for the name of a host.

        What cannot match is put aside by plain comparison: each link of hundreds that lead to one address is
        asked whether it does for each of hundreds of domains, and nearly all do not.
        """
        _, dot, rest = name.partition(".")
        near = [own for own in self.dns if own in (name, f"*{dot}{rest}")]
        if not near:
            return False
        try:
            wanted = DNS_ID(name)
            plain = DNS_ID(_without_idna(name))
        except (ValueError, UnicodeError):  # an address, or no name at all
            return False
        return any(
            (plain if own.startswith("*.") else wanted).verify(DNSPattern.from_bytes(own.encode("ascii")))
            for own in near
        )

    def _covers_service(self, name: str) -> bool:
        if not self.srv:
            return False
        try:
            wanted = SRV_ID(f"{SERVICE}.{name}")
        except (ValueError, UnicodeError):
            return False
        return any(
            wanted.verify(SRVPattern.from_bytes(f"{SERVICE}.{own}".encode("ascii"))) for own in self.srv
        )


def _without_idna(name: str) -> str:
    """Put a plain label in the place of a first one that is an A-label.

    service-identity keeps a rule of RFC 6125 that no wildcard matches an A-label. RFC 9525 section 6.3 has
    dropped it: `*` as the whole first label stands for any one label.
    """
    head, dot, tail = name.partition(".")
    return f"a-label{dot}{tail}" if head.startswith("xn--") else name


def identifiers_of(certificate: x509.Certificate) -> Identifiers:
    """Read a certificate's names; one that is malformed, or breaks the rules of wildcards, is left out."""
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    except (x509.ExtensionNotFound, *UNREADABLE):
        return Identifiers()
    names = extension.value
    if not isinstance(names, x509.SubjectAlternativeName) or len(list(names)) > MAX_NAMES:
        return Identifiers()
    dns = dict.fromkeys(_dns_ids(names))
    srv = dict.fromkeys(_srv_ids(names))
    return Identifiers(tuple(dns), tuple(srv))


def _dns_ids(names: x509.SubjectAlternativeName) -> Iterator[str]:
    for text in names.get_values_for_type(x509.DNSName):
        try:
            raw = text.encode("ascii")
            pattern = DNSPattern.from_bytes(raw).pattern
        except (CertificateError, UnicodeError, ValueError):
            continue
        # It strips what the name must not hold, and lets `a*.rest` through, which matches nothing.
        if pattern == raw.lower() and (b"*" not in pattern or pattern.startswith(b"*.")):
            yield pattern.decode("ascii")


def _srv_ids(names: x509.SubjectAlternativeName) -> Iterator[str]:
    for other in names.get_values_for_type(x509.OtherName):
        if other.type_id != _DNS_SRV:
            continue
        try:
            raw = _ia5(other.value)
            pattern = SRVPattern.from_bytes(raw) if raw else None
            domain = pattern.dns_pattern.pattern.decode("ascii") if pattern else ""
        except (CertificateError, UnicodeError, ValueError):
            continue
        if pattern and pattern.name_pattern == SERVICE[1:].encode() and raw == raw.strip():
            yield domain


def _ia5(der: bytes) -> bytes:
    """Read an IA5String (X.690: tag 0x16, one length byte, or 0x81 and one); empty if it is none."""
    head = 3 if der[1:2] == b"\x81" else 2
    if len(der) <= head or der[0] != 0x16 or der[head - 1] != len(der) - head:
        return b""
    return der[head:]
