"""What our own certificates count for, as peers judge them, and which TLSA records they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from imxrouter.model.dane import Delegation, tlsa_name
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.dane import published, sni_of
from imxrouter.tls.own import OwnCertificate
from imxrouter.tls.store import CertificateSet
from imxrouter.transport.strengths import Judged

#: A certificate that ends sooner is told of: authorities and their clients renew a month before.
_ENDS_SOON_S: Final = 14 * 86_400.0

#: How a domain gets a certificate that counts; the doctor and the zone text say it alike.
_VARIANTS: Final = (
    "either a certificate that names {domain} in this router's tls.certificates, "
    "or DNSSEC: {domain} in a signed zone, with a DS record at its parent"
)

#: Why a way may look insecure that is not.
NO_VALIDATION: Final = (
    "this router asks no validating resolver on its own host, so it cannot tell: see dns.trust_ad"
)


def shown(certificates: CertificateSet, domain: Domain, way: Delegation) -> OwnCertificate | None:
    """The certificate that a peer sees who comes for a domain on that way."""
    return certificates.for_name(sni_of(domain, way)) or certificates.default


def tlsa_lines(
    places: Sequence[tuple[str, int]], certificates: CertificateSet, ttl_s: int
) -> tuple[list[str], list[str]]:
    """The TLSA records of our routers, and what cannot be told here, as lines of a zone file.

    Args:
        places: host and port of each router.
        certificates: those of this one.
        ttl_s: TTL of the records.
    """
    if not len(certificates):
        return [], []
    records, unknown = [], []
    for host, port in places:
        one = certificates.for_name(host) or (certificates.default if len(places) == 1 else None)
        if one is None:
            unknown.append(f"; no certificate here names {host}: ask imxctl dns records there")
        else:
            records.append(f"{tlsa_name(host, port)}. {ttl_s} IN TLSA {published(one.leaf).to_text()}")
    return records, unknown


def tlsa_text(domain: Domain, records: Sequence[str], unknown: Sequence[str]) -> str:
    """The part of a domain's zone text about TLSA; lines for another zone are comments."""
    if not records and not unknown:
        return ""
    lines = [
        "",
        "; 4. TLSA (DANE), in the signed zone that holds the router's name; elsewhere it says nothing.",
    ]
    lines.append(";    The record of a new key is published beside the old one, and one TTL before its use.")
    for record in records:
        inside = record.split()[0].rstrip(".").endswith(f".{domain.name}")
        lines.append(record if inside else f"; {record}")
    return "\n".join([*lines, *unknown]) + "\n"


def variants_text(domain: Domain, places: Sequence[tuple[str, int]]) -> str:
    """How peers know that routers of another name speak for a domain; empty where they have its name."""
    if any(host == domain.name or host.endswith(f".{domain.name}") for host, _ in places):
        return ""
    return f"\n; Peers that ask for certificates need {_VARIANTS.format(domain=domain.name)}.\n"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What peers make of the certificate at one place of ours.

    Attributes:
        severity: `error`, `warning` or `good`.
        what: a sentence.
        reason: why it does not count; NONE where it does.
        evidence: what was seen.
        remedy: what to do; empty: that of the reason.
    """

    severity: str
    what: str
    reason: Reason = Reason.NONE
    evidence: tuple[str, ...] = ()
    remedy: str = ""


def opinion(
    domain: Domain, place: tuple[str, int], way: Delegation, one: OwnCertificate, verdict: Judged
) -> Opinion:
    """Put what a peer decides about our certificate into words.

    Args:
        domain: served here.
        place: host and port that DNS names.
        way: what DNSSEC says of the way there.
        one: the certificate that is shown there.
        verdict: what it counts for.
    """
    at = f"{place[0]}:{place[1]}"
    names = ", ".join(one.names[:5])
    evidence = [f"{one.path.name}: {names}", f"DNSSEC: {'secure' if way.secure else _insecure(way)}"]
    if way.secure:
        evidence.append(f"{way.tlsa_name} TLSA: {way.words}" if way.tlsa_name else f"TLSA: {way.words}")
    if verdict.good:
        return Opinion(
            "good",
            f"the certificate at {at} counts for {domain}, by {verdict.by}",
            Reason.NONE,
            tuple(evidence),
        )
    remedy = ""
    if verdict.reason is Reason.DANE_MISMATCH:
        record = f"{tlsa_name(*place)}. IN TLSA {published(one.leaf).to_text()}"
        remedy = f"publish {record}, or show the old certificate"
    elif not (one.covers(domain) or (way.secure and one.identifiers.covers_host(place[0]))):
        remedy = _VARIANTS.format(domain=domain.name)
    severity = (
        "error" if verdict.reason is Reason.DANE_MISMATCH or way.failure is not Reason.NONE else "warning"
    )
    what = f"the certificate at {at} does not count for {domain}: {verdict.note}"
    return Opinion(severity, what, verdict.reason, tuple(evidence), remedy)


def _insecure(way: Delegation) -> str:
    return f"not validated at {way.insecure_at}" if way.insecure_at else "not validated"


def ending(one: OwnCertificate, at: float) -> Opinion | None:
    """Tell of a certificate that ends soon; of one that has ended the verdict tells."""
    if not 0 < one.not_after - at < _ENDS_SOON_S:
        return None
    day = datetime.fromtimestamp(one.not_after, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Opinion("warning", f"{one.path.name} ends at {day}", remedy="renew it, and imxctl certs reload")
