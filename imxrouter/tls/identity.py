"""Which domains a certificate names: DNS-ID and SRV-ID as RFC 9525 has it, by service-identity.

Names are those of subjectAltName; the common name is never looked at, and an address never matches. An
identifier that breaks a rule counts as absent (RFC 9525 section 6.3) and spoils no other one beside it.

A DNS-ID names a domain for whatever is spoken. An SRV-ID names it for one service alone, and the address of
an XMPP server (id-on-xmppAddr, RFC 6120 section 13.7.1.4) for XMPP alone: who may run a domain's XMPP server
need not be who runs its router.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from service_identity import CertificateError
from service_identity.hazmat import DNS_ID, SRV_ID, DNSPattern, SRVPattern

from imxrouter.model.domain import BadDomain, Domain
from imxrouter.tls.reading import UNREADABLE

#: RFC 4985 section 2: id-on-dnsSRV.
_DNS_SRV = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")
#: RFC 6120 section 13.7.1.4: id-on-xmppAddr.
_XMPP_ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
#: What one certificate may name. Public authorities stop at 100 or 250; each look-up walks them all.
MAX_NAMES = 2000


class Service(Enum):
    """For what a certificate must name a domain; the value begins an SRV-ID.

    It is that of the domain's SRV record without `_tcp`: `_imx._tcp` (docs/specs/imx-dns-record.md), and
    `_xmpp-server._tcp` (RFC 6120 section 13.7.1.2.1).
    """

    IMX = "_imx"
    XMPP = "_xmpp-server"


@dataclass(frozen=True, slots=True)
class Identifiers:
    """The names of one certificate that can match at all.

    Attributes:
        dns: DNS-IDs, lower case, wildcards as `*.rest`.
        srv: SRV-IDs of this service, as the domain after `_imx.`.
        xmpp_srv: SRV-IDs of XMPP servers, as the domain after `_xmpp-server.`, wildcards as `*.rest`.
        xmpp: addresses of XMPP servers, as A-labels.
    """

    dns: tuple[str, ...] = ()
    srv: tuple[str, ...] = ()
    xmpp_srv: tuple[str, ...] = ()
    xmpp: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """All of them for people."""
        imx = (f"{Service.IMX.value}.{name}" for name in self.srv)
        servers = (f"{Service.XMPP.value}.{name}" for name in self.xmpp_srv)
        return (*self.dns, *imx, *servers, *(f"xmpp:{name}" for name in self.xmpp))

    @property
    def of_services(self) -> tuple[str, ...]:
        """The domains of all names that are no DNS-IDs; a wildcard as what stands behind it."""
        return (*self.srv, *(name.removeprefix("*.") for name in self.xmpp_srv), *self.xmpp)

    @property
    def wildcards(self) -> tuple[str, ...]:
        """What stands behind `*.` in each wildcard."""
        return tuple(name[2:] for name in self.dns if name.startswith("*."))

    @property
    def exact(self) -> tuple[str, ...]:
        """The domains named in full."""
        return (*(name for name in self.dns if not name.startswith("*.")), *self.srv)

    def covers(self, name: str, service: Service = Service.IMX) -> bool:
        """Say whether a domain (A-labels, lower case) is named for a service, or for all of them."""
        if self.covers_host(name):
            return True
        if service is Service.XMPP:
            return name in self.xmpp or _any_covers(self.xmpp_srv, name)
        return self._covers_service(name)

    def covers_host(self, name: str) -> bool:
        """The same by DNS-ID only, for the name of a host.

        What cannot match is put aside by plain comparison: each link of hundreds that lead to one address is
        asked whether it does for each of hundreds of domains, and nearly all do not.
        """
        return _any_covers(self.dns, name)

    def _covers_service(self, name: str) -> bool:
        if not self.srv:
            return False
        try:
            wanted = SRV_ID(f"{Service.IMX.value}.{name}")
        except (ValueError, UnicodeError):
            return False
        return any(
            wanted.verify(SRVPattern.from_bytes(f"{Service.IMX.value}.{own}".encode("ascii")))
            for own in self.srv
        )


def _any_covers(patterns: Iterable[str], name: str) -> bool:
    _, dot, rest = name.partition(".")
    near = [own for own in patterns if own in (name, f"*{dot}{rest}")]
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
    xmpp_srv, xmpp = dict.fromkeys(_xmpp_srv_ids(names)), dict.fromkeys(_xmpp_addresses(names))
    return Identifiers(tuple(dns), tuple(srv), tuple(xmpp_srv), tuple(xmpp))


def _dns_ids(names: x509.SubjectAlternativeName) -> Iterator[str]:
    for text in names.get_values_for_type(x509.DNSName):
        if pattern := _pattern(text):
            yield pattern


def _pattern(text: str) -> str:
    """A name with or without a wildcard, in lower case; empty if it breaks a rule."""
    try:
        raw = text.encode("ascii")
        pattern = DNSPattern.from_bytes(raw).pattern
    except (CertificateError, UnicodeError, ValueError):
        return ""
    # It strips what the name must not hold, and lets `a*.rest` through, which matches nothing.
    if pattern == raw.lower() and (b"*" not in pattern or pattern.startswith(b"*.")):
        return pattern.decode("ascii")
    return ""


def _others(names: x509.SubjectAlternativeName, kind: x509.ObjectIdentifier, tag: int) -> Iterator[bytes]:
    """The strings of names of a kind, where they are of that type."""
    for other in names.get_values_for_type(x509.OtherName):
        if other.type_id == kind and (raw := _string(other.value, tag)):
            yield raw


def _srv_ids(names: x509.SubjectAlternativeName) -> Iterator[str]:
    for raw in _others(names, _DNS_SRV, _IA5):
        try:
            pattern = SRVPattern.from_bytes(raw)
            domain = pattern.dns_pattern.pattern.decode("ascii")
        except (CertificateError, UnicodeError, ValueError):
            continue
        if pattern.name_pattern == Service.IMX.value[1:].encode() and raw == raw.strip():
            yield domain


def _xmpp_srv_ids(names: x509.SubjectAlternativeName) -> Iterator[str]:
    """SRV-IDs of XMPP servers. A wildcard may begin the domain, as Prosody has it (util.x509)."""
    for raw in _others(names, _DNS_SRV, _IA5):
        service, _, domain = raw.decode("latin-1").partition(".")
        if service.lower() == Service.XMPP.value and (pattern := _pattern(domain)):
            yield pattern


def _xmpp_addresses(names: x509.SubjectAlternativeName) -> Iterator[str]:
    """Addresses of XMPP servers; that of a user (with `@` or `/`) is none, nor is one with a wildcard."""
    for raw in _others(names, _XMPP_ADDR, _UTF8):
        try:
            text = raw.decode("utf-8")
            name = Domain.parse(text).name
        except (BadDomain, UnicodeError):
            continue
        if text == text.strip() and _pattern(name):  # an address is no name
            yield name


#: Universal tags of X.690: IA5String and UTF8String.
_IA5, _UTF8 = 0x16, 0x0C


def _string(der: bytes, tag: int) -> bytes:
    """Read a string (X.690: its tag, one length byte, or 0x81 and one); empty if none."""
    head = 3 if der[1:2] == b"\x81" else 2
    if len(der) <= head or der[0] != tag or der[head - 1] != len(der) - head:
        return b""
    return der[head:]
