"""DANE: whether a presented certificate is one that validated TLSA records name, and what it then counts for.

Pure: records, certificates and time are handed in. Section numbers without RFC are those of
`docs/specs/imx-dns-record.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto

from imxrouter.model.dane import Delegation, Matching, Selector, TlsaRecord, Usage
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.identity import Service
from imxrouter.tls.peer import MAX_CHAIN, Anchors, PeerCertificate

#: Records of one answer that are compared; more are passed over. A roll-over needs a handful, and each full
#: certificate costs a parse.
MAX_RECORDS: Final = 16

#: Names of a certificate that a note tells; one may hold hundreds.
_TOLD_NAMES: Final = 5

#: Of TBSCertificate: the tag of `version`, and how many elements stand between it and the public key.
_VERSION_TAG: Final = 0xA0
_BEFORE_PUBLIC_KEY: Final = 5

_DIGESTS: Final = {Matching.SHA256: hashlib.sha256, Matching.SHA512: hashlib.sha512}


class Dane(Enum):
    """What TLSA records say of a certificate."""

    #: no validated record that we can use: the usual rules hold
    NONE = "none"
    MATCH = "match"
    #: there are records that we can use, and none names it
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True)
class DaneResult:
    """What TLSA records say of a certificate.

    Attributes:
        state: match, mismatch or none.
        record: the record that names it; None where there is none.
        note: an operator's detail.
    """

    state: Dane
    record: TlsaRecord | None = None
    note: str = ""

    @property
    def usage(self) -> Usage | None:
        """The usage of the record that names it."""
        return None if self.record is None else Usage(self.record.usage)


def usable(records: Iterable[TlsaRecord]) -> list[TlsaRecord]:
    """The records that are compared: understood, and of each usage and selector the best digest only.

    RFC 7671 section 9: a record with SHA-256 is ignored beside one with SHA-512, so that a broken digest can
    be left behind; full values stand beside any digest.
    """
    understood = [record for record in records if not record.unusable_because]
    best: dict[tuple[int, int], int] = {}
    for record in understood:
        kind = record.usage, record.selector
        best[kind] = max(best.get(kind, Matching.FULL), record.matching)
    kept = [
        record
        for record in understood
        if record.matching in {Matching.FULL, best[record.usage, record.selector]}
    ]
    return kept[:MAX_RECORDS]


def match(
    records: Sequence[TlsaRecord],
    peer: PeerCertificate,
    *,
    trusted: bool,
    at: float,
    anchors: Sequence[x509.Certificate] = (),
) -> DaneResult:
    """Compare what a peer presented with TLSA records.

    Args:
        records: all of one answer, validated.
        peer: its certificate and chain.
        trusted: our own anchors vouch for the chain; PKIX-TA and PKIX-EE ask for that as well.
        at: now, seconds since 1970.
        anchors: our own; a server need not send the root that a record of PKIX-TA names.

    Returns:
        a match by any record is one; DANE-EE is looked for first, then DANE-TA, for they ask least.
    """
    compared = usable(records)
    if not compared:
        unusable = [record.unusable_because for record in records]
        return DaneResult(Dane.NONE, note=f"no usable TLSA record: {unusable[0]}" if unusable else "")
    notes: list[str] = []
    for record in sorted(compared, key=lambda one: one.usage, reverse=True):
        why_not = _why_not(record, peer, anchors, trusted=trusted, at=at)
        if not why_not:
            return DaneResult(Dane.MATCH, record)
        notes.append(f"{Usage(record.usage).word}: {why_not}")
    return DaneResult(Dane.MISMATCH, note="; ".join(dict.fromkeys(notes))[:200])


def _why_not(
    record: TlsaRecord,
    peer: PeerCertificate,
    anchors: Sequence[x509.Certificate],
    *,
    trusted: bool,
    at: float,
) -> str:
    """Why a record does not name this chain; empty where it does."""
    usage = Usage(record.usage)
    if usage in {Usage.DANE_EE, Usage.PKIX_EE}:
        if not _is_same(record, peer.leaf):
            return "another certificate"
    else:
        above = [one for one in peer.chain[:MAX_CHAIN] if one != peer.leaf]
        named = [one for one in above if _is_same(record, one)] or _authority_in(record, peer.leaf)
        if not named and usage is Usage.PKIX_TA:  # a longer chain than was sent (RFC 7671 section 5.4)
            named = [one for one in anchors if one != peer.leaf and _is_same(record, one)]
        if not named:
            return "no such authority in the chain"
        if problem := _path_problem(named[0], peer, at):
            return problem
    if usage in {Usage.PKIX_EE, Usage.PKIX_TA} and not trusted:
        return "no authority that is trusted here vouches for it"
    return ""


def _is_same(record: TlsaRecord, certificate: x509.Certificate) -> bool:
    data = association_data(certificate, Selector(record.selector), Matching(record.matching))
    return data == record.data


def association_data(certificate: x509.Certificate, selector: Selector, matching: Matching) -> bytes:
    """What a TLSA record for a certificate holds (RFC 6698 section 2.1.4)."""
    if selector is Selector.CERTIFICATE:
        selected = certificate.public_bytes(Encoding.DER)
    else:
        selected = _public_key_info(certificate.tbs_certificate_bytes)
    return selected if matching is Matching.FULL else _DIGESTS[matching](selected).digest()


def _public_key_info(tbs: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate's signed part, as it stands there (RFC 5280 section 4.1).

    Parsing the key and writing it again could give other octets, and fails for kinds that are not known.
    """
    _, at, _ = _element(tbs, 0)
    if tbs[at] == _VERSION_TAG:
        at = _element(tbs, at)[2]
    for _ in range(_BEFORE_PUBLIC_KEY):
        at = _element(tbs, at)[2]
    return tbs[at : _element(tbs, at)[2]]


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, begin of the content and end of the DER element at an offset."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start], "big")
    return der[at], start, start + length


def published(certificate: x509.Certificate) -> TlsaRecord:
    """The record to publish for a certificate of ours: `3 1 1`, the digest of its key.

    It outlives renewals that keep the key, needs no authority, and is what RFC 7671 section 5.1 recommends.
    """
    data = association_data(certificate, Selector.PUBLIC_KEY, Matching.SHA256)
    return TlsaRecord(Usage.DANE_EE, Selector.PUBLIC_KEY, Matching.SHA256, data)


def _authority_in(record: TlsaRecord, leaf: x509.Certificate) -> list[x509.Certificate]:
    """An authority that the record holds whole; the server need not send it (RFC 7671 section 5.2.2).

    Where it holds the key alone (2 1 0) it must, for nobody tells the authority's name (section 5.2.3).

    The peer's own certificate is none: a record that names it is of another usage.
    """
    if (record.selector, record.matching) != (Selector.CERTIFICATE, Matching.FULL):
        return []
    try:
        authority = x509.load_der_x509_certificate(record.data)
    except ValueError:
        return []
    return [] if authority == leaf else [authority]


def _path_problem(authority: x509.Certificate, peer: PeerCertificate, at: float) -> str:
    """Why no valid path leads from the peer's certificate to that authority; empty where one does."""
    try:
        anchors = Anchors([authority], partial=True)
    except (crypto.Error, ValueError):  # what one library parses, another may not
        return "that authority's certificate cannot be read"
    judgement = anchors.judge(PeerCertificate(peer.leaf, peer.chain), at=at, as_client=False)
    return "" if judgement.problem is None else judgement.problem.value


@dataclass(frozen=True, slots=True)
class Coverage:
    """Whether a certificate counts for a domain.

    Attributes:
        covers: it does: what `routing.policy.Offer.certificate_covers` asks.
        by: what makes it count: `authority` (an anchor of ours vouches for a certificate that names the
            domain), `delegation` (for one that names the target, to which DNSSEC leads), `DANE-EE`,
            `DANE-TA`, `PKIX-EE` or `PKIX-TA`; empty where it does not.
        reason: why it does not; NONE where it does.
        note: an operator's detail.
    """

    covers: bool
    by: str = ""
    reason: Reason = Reason.NONE
    note: str = ""


def coverage(
    domain: Domain, peer: PeerCertificate, way: Delegation, dane: DaneResult, *, untrusted: str,
    service: Service = Service.IMX,
) -> Coverage:  # fmt: skip
    """Decide whether a certificate counts for a domain, and say why not (section 11.5).

    Args:
        domain: which.
        peer: the certificate.
        way: what DNSSEC says of the way from the domain to the target that was connected to.
        dane: what the target's TLSA records say of the certificate.
        untrusted: why our own anchors do not vouch for it; empty where they do.
        service: what is spoken.
    """
    if way.failure is not Reason.NONE:  # somebody may be hiding records (RFC 7672 sections 2.1.2, 2.2)
        return Coverage(False, "", way.failure, f"{way.tlsa_name} TLSA: {way.note}".rstrip(": "))
    if dane.state is Dane.MISMATCH:
        return Coverage(False, "", Reason.DANE_MISMATCH, f"{way.tlsa_name} TLSA: {dane.note}")
    usage = dane.usage
    if usage is Usage.DANE_EE:  # names and dates say nothing (RFC 7671 section 5.1)
        return Coverage(True, usage.word)
    if usage is None and untrusted:
        return Coverage(False, "", Reason.CERTIFICATE_REFUSED, untrusted)
    word = usage.word if usage is not None else ""
    if peer.covers(domain, service):
        return Coverage(True, word or "authority")
    hosts = {way.target, way.base} - {
        ""
    }  # the base domain is the first to be accepted (RFC 7671 section 10.2)
    names_target = any(map(peer.covers_name, hosts))
    if names_target and way.secure:
        return Coverage(True, word or "delegation")
    names = ", ".join(peer.names[:_TOLD_NAMES]) or "nothing"
    if names_target:
        at = f"{way.insecure_at} was not validated" if way.insecure_at else "no DNSSEC"
        note = f"wrong-name: the certificate names {names}, and not {domain}; {at}"
        return Coverage(False, "", Reason.DELEGATION_INSECURE, note)
    either = (
        f"neither {domain} nor {way.target}" if way.secure and way.target != domain.name else f"not {domain}"
    )
    note = f"wrong-name: the certificate names {names}, and {either}"
    return Coverage(False, "", Reason.CERTIFICATE_REFUSED, note)


def sni_of(domain: Domain, way: Delegation | None) -> str:
    """The name for SNI: the domain's, or where TLSA records name the certificate their base domain (11.5).

    RFC 7671 section 10.2; after a secure alias that is the alias's end (section 7).
    """
    return way.base if way is not None and usable(way.tlsa) else domain.name


def promises_tls(way: Delegation | None) -> bool:
    """Whether DNSSEC promises TLS at a target: a usable record, or one that may be hidden (RFC 7672 2.2)."""
    return way is not None and (bool(usable(way.tlsa)) or way.failure is not Reason.NONE)


def judge(
    domain: Domain,
    peer: PeerCertificate,
    way: Delegation,
    *,
    untrusted: str,
    at: float,
    anchors: Sequence[x509.Certificate] = (),
    service: Service = Service.IMX,
) -> Coverage:
    """Say whether a certificate counts for a domain; see `match` and `coverage`."""
    dane = match(way.tlsa, peer, trusted=not untrusted, at=at, anchors=anchors)
    return coverage(domain, peer, way, dane, untrusted=untrusted, service=service)
