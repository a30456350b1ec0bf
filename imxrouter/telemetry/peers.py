"""Figures of peer domains, bounded: a watch list, the busiest, and one row for all the rest.

A peer gets a label of its own when one is free, and keeps it until another one carries more than twice as
much. Then its row is added to `former` and the label disappears; its own later traffic is `other`. So no sum
over all labels ever goes down, `other` never jumps, and only `former` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from imxrouter.model.domain import is_wire_domain
from imxrouter.telemetry import catalogue

#: Labels beside the watch list.
TOP: Final = 50
#: What a peer carried counts half after this time: long enough for a quiet hour, short enough for a new peer.
HALF_LIFE_S: Final = 300.0
#: Labels change hands at most this often, and only to a peer that carries this much more.
RANK_EVERY_S: Final = 60.0
OVERTAKES: Final = 2.0
#: Peers whose traffic is remembered to choose the busiest of; a peer below the first thousand has no chance.
CANDIDATES: Final = 1000

OTHER, FORMER = catalogue.PEER_REST
_ANSWERED: Final = catalogue.PEER_RESULTS.index("delivered")

#: Requests that came from a domain and that went to it, each by `catalogue.PEER_RESULTS`, and the seconds
#: that the delivered ones of those to it took.
PeerFlow = tuple[Sequence[int], Sequence[int], float]


@dataclass(slots=True)
class PeerRow:
    """What is counted under one label."""

    came: list[int] = field(default_factory=lambda: [0] * len(catalogue.PEER_RESULTS))
    went: list[int] = field(default_factory=lambda: [0] * len(catalogue.PEER_RESULTS))
    took_s: float = 0.0

    def add(self, flow: PeerFlow) -> None:
        """Count what one domain did."""
        for mine, its in ((self.came, flow[0]), (self.went, flow[1])):
            for place, count in enumerate(its):
                mine[place] += count
        self.took_s += flow[2]


@dataclass(frozen=True, slots=True)
class PeerFigures:
    """What `/metrics` says of peers, each by label.

    Attributes:
        rows: requests and times.
        links: links.
        errors: stage, reason and Unix time of the last error.
    """

    rows: Mapping[str, PeerRow] = field(default_factory=dict)
    links: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, tuple[str, str, float]] = field(default_factory=dict)


class PeerTable:
    """Chooses who has a label, and counts.

    Args:
        watch: domains that always have one.
        top: labels beside them.
    """

    def __init__(self, watch: Iterable[bytes] = (), top: int = TOP) -> None:
        self._watched = frozenset(watch)
        self._top = top
        self._rows = {domain: PeerRow() for domain in sorted(self._watched)}
        self._other, self._former = PeerRow(), PeerRow()
        self._scores: dict[bytes, float] = {}
        self._ranked_at: float | None = None
        self._never = frozenset((OTHER.encode(), FORMER.encode()))

    def watch(self, watch: Iterable[bytes]) -> None:
        """Give others a label of their own always; who had one keeps it until a busier domain needs it."""
        watched = frozenset(watch)
        for domain in self._watched - watched:
            self._scores.setdefault(domain, 0.0)
        self._watched = watched
        for domain in sorted(watched):
            self._rows.setdefault(domain, PeerRow())
            self._scores.pop(domain, None)
        while len(self._rows) - len(watched) > self._top:
            rest = [domain for domain in self._rows if domain not in watched]
            row = self._rows.pop(min(rest, key=lambda domain: self._scores.get(domain, 0.0)))
            self._former.add((row.came, row.went, row.took_s))

    def add(self, flows: Mapping[bytes, PeerFlow], now: float) -> None:
        """Count what domains did since the last call.

        Args:
            flows: by domain as on the wire; what is no valid one is `other`.
            now: monotonic seconds.
        """
        for domain, flow in flows.items():
            if domain not in self._watched and domain not in self._never and is_wire_domain(domain):
                self._scores[domain] = self._scores.get(domain, 0.0) + sum(flow[0]) + sum(flow[1])
                if domain not in self._rows and len(self._rows) - len(self._watched) < self._top:
                    self._rows[domain] = PeerRow()
            self._rows.get(domain, self._other).add(flow)
        if len(self._scores) > 2 * CANDIDATES:
            self._trim()
        if self._ranked_at is None:
            self._ranked_at = now
        if now - self._ranked_at >= RANK_EVERY_S:
            self._age(now - self._ranked_at)
            self._rank()
            self._ranked_at = now

    def domains(self) -> frozenset[bytes]:
        """Who has a label now."""
        return frozenset(self._rows)

    def rows(self) -> dict[str, PeerRow]:
        """The rows by label, those of the rest as well."""
        named = {domain.decode("ascii"): row for domain, row in self._rows.items()}
        return {**named, OTHER: self._other, FORMER: self._former}

    def _trim(self) -> None:
        kept = nlargest(CANDIDATES, self._scores.items(), key=lambda item: item[1])
        self._scores = dict(kept)

    def _age(self, seconds: float) -> None:
        factor = 0.5 ** (seconds / HALF_LIFE_S)
        self._scores = {domain: score * factor for domain, score in self._scores.items() if score > 0.01}

    def _rank(self) -> None:
        """Hand labels from the quietest to busier ones that have none."""
        scores = self._scores
        mine = sorted(
            (one for one in self._rows if one not in self._watched), key=lambda d: scores.get(d, 0.0)
        )
        without = {domain: score for domain, score in scores.items() if domain not in self._rows}
        for quiet, busy in zip(mine, nlargest(len(mine), without, key=without.__getitem__), strict=False):
            if without[busy] <= OVERTAKES * scores.get(quiet, 0.0):
                break
            row = self._rows.pop(quiet)
            self._former.add((row.came, row.went, row.took_s))
            self._rows[busy] = PeerRow()


def peer_metrics(figures: PeerFigures) -> Iterator[Metric]:
    """The families of peers."""
    family = catalogue.PEER_REQUESTS
    requests = CounterMetricFamily(family.name, family.help, labels=family.labels)
    family = catalogue.PEER_DELIVERY
    delivery = SummaryMetricFamily(family.name, family.help, labels=family.labels)
    for label, row in figures.rows.items():
        for direction, counts in zip(catalogue.PEER_DIRECTIONS, (row.came, row.went), strict=True):
            for result, count in zip(catalogue.PEER_RESULTS, counts, strict=True):
                requests.add_metric([label, direction, result], count)
        delivery.add_metric([label], row.went[_ANSWERED], row.took_s)
    yield requests
    yield delivery
    family = catalogue.PEER_LINKS
    links = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for label, count in figures.links.items():
        links.add_metric([label], count)
    yield links
    family = catalogue.PEER_ERROR
    errors = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for label, (stage, reason, at) in figures.errors.items():
        errors.add_metric([label, stage, reason], at)
    yield errors
