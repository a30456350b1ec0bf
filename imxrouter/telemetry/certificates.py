"""When certificates end: ours by file and those of peers by domain, each with a bound on its labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import nlargest, nsmallest
from typing import Final

from prometheus_client.core import Metric

from imxrouter.telemetry import catalogue
from imxrouter.telemetry.gauges import gauge

#: Labels of each family. An alert wants the first to end; 50 as for peers (`peers.TOP`).
SHOWN: Final = 50
#: Peers whose certificate is remembered, to show the first to end of.
REMEMBERED: Final = 1000
#: A certificate that was not seen for so long tells nothing of its peer any more.
FORGOTTEN_S: Final = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class CertificateFigures:
    """What `/metrics` says of our certificates.

    Attributes:
        ends: file -> when it ends, in seconds since 1970.
        problems: faults at the last try to read them.
    """

    ends: Mapping[str, float] = field(default_factory=dict)
    problems: int = 0


class PeerCertificates:
    """When the certificates of peers end.

    Args:
        now_s: seconds since 1970.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._seen: dict[str, tuple[float, float]] = {}

    def seen(self, domain: str, not_after: float) -> None:
        """Note the certificate of a domain.

        Call it only where it is trusted and names the domain, or strangers choose the labels.

        Args:
            domain: the peer's, as A-labels.
            not_after: when it ends, in seconds since 1970.
        """
        self._seen[domain] = (not_after, self._now_s())
        if len(self._seen) > REMEMBERED:
            self._forget()

    def ends(self) -> dict[str, float]:
        """Domain -> when its certificate ends, for the first to end."""
        since = self._now_s() - FORGOTTEN_S
        fresh = ((domain, ends) for domain, (ends, seen) in self._seen.items() if seen >= since)
        return dict(nsmallest(SHOWN, fresh, key=lambda item: item[1]))

    def _forget(self) -> None:
        """Drop a tenth: what was not seen lately, then what ends last."""
        since = self._now_s() - FORGOTTEN_S

        def worth(domain: str) -> tuple[bool, float]:
            ends, seen = self._seen[domain]
            return seen < since, ends

        for domain in nlargest(REMEMBERED // 10, self._seen, key=worth):
            del self._seen[domain]


def certificate_metrics(own: CertificateFigures, peers: PeerCertificates) -> Iterator[Metric]:
    """The families, for one scrape."""
    yield gauge(catalogue.CERTIFICATES, {(): float(len(own.ends))})
    yield gauge(catalogue.CERTIFICATE_FIRST, {(): min(own.ends.values())} if own.ends else {})
    first = nsmallest(SHOWN, own.ends.items(), key=lambda item: item[1])
    yield gauge(catalogue.CERTIFICATE_EXPIRY, {(file,): ends for file, ends in first})
    yield gauge(catalogue.CERTIFICATE_PROBLEMS, {(): float(own.problems)})
    yield gauge(catalogue.PEER_CERTIFICATE, {(peer,): ends for peer, ends in peers.ends().items()})
