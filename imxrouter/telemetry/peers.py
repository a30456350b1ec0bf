"""Figures of peer domains, bounded: a watch list, the busiest, and one row for all the rest.

A peer gets a label of its own when one is free, and keeps it until another one carries more than twice as
much. Then its row is added to `former` and the label disappears; its own later traffic is `other`. So no sum
over all labels ever goes down, `other` never jumps, and only `former` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from imxrouter.model.domain import is_wire_domain
from imxrouter.model.operations import Kind
from imxrouter.model.quality import Cells, End, Part, add, ends, outage_ms, reasons, seconds
from imxrouter.model.vocabulary import Reason
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
_CAME: Final = dict(zip(catalogue.PEER_DIRECTIONS, (True, False), strict=True))

#: What one domain did since somebody looked: cells of `model.quality`.
PeerFlow = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class PeerFigures:
    """What `/metrics` says of peers, each by label.

    Attributes:
        rows: requests and times, as cells of `model.quality`.
        links: links.
        errors: stage, reason and Unix time of the last error.
        down: whether it cannot be reached now, of those of which that is known.
        burns: how fast what an objective allows is used up, by (objective, window).
    """

    rows: Mapping[str, Cells] = field(default_factory=dict)
    links: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, tuple[str, str, float]] = field(default_factory=dict)
    down: Mapping[str, bool] = field(default_factory=dict)
    burns: Mapping[str, Mapping[tuple[str, str], float]] = field(default_factory=dict)


class PeerTable:
    """Chooses who has a label, and counts.

    Args:
        watch: domains that always have one.
        top: labels beside them.
    """

    def __init__(self, watch: Iterable[bytes] = (), top: int = TOP) -> None:
        self._watched = frozenset(watch)
        self._top = top
        self._rows: dict[bytes, Cells] = {domain: {} for domain in sorted(self._watched)}
        self._other: Cells = {}
        self._former: Cells = {}
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
            self._rows.setdefault(domain, {})
            self._scores.pop(domain, None)
        while len(self._rows) - len(watched) > self._top:
            rest = [domain for domain in self._rows if domain not in watched]
            quietest = min(rest, key=lambda domain: self._scores.get(domain, 0.0))
            add(self._former, self._rows.pop(quietest))

    def add(self, flows: Mapping[bytes, PeerFlow], now: float) -> None:
        """Count what domains did since the last call.

        Args:
            flows: by domain as on the wire, cells of `model.quality`; what is no valid one is `other`.
            now: monotonic seconds.
        """
        for domain, flow in flows.items():
            if domain not in self._watched and domain not in self._never and is_wire_domain(domain):
                self._scores[domain] = self._scores.get(domain, 0.0) + requests(flow)
                if domain not in self._rows and len(self._rows) - len(self._watched) < self._top:
                    self._rows[domain] = {}
            add(self._rows.get(domain, self._other), flow)
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

    def rows(self) -> dict[str, Cells]:
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
            add(self._former, self._rows.pop(quiet))
            self._rows[busy] = {}


def requests(cells: PeerFlow) -> int:
    """All requests from a peer and to it."""
    return sum(ends(cells, True)) + sum(ends(cells, False))


def peer_metrics(figures: PeerFigures) -> Iterator[Metric]:
    """The families of peers."""
    yield from _requests(figures.rows)
    yield from _outages(figures)
    family = catalogue.PEER_BURN
    burns = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for label, told in figures.burns.items():
        for (objective, window), burn in told.items():
            burns.add_metric([label, objective, window], burn)
    yield burns
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


def _requests(rows: Mapping[str, Cells]) -> Iterator[Metric]:
    """Series of kinds and stages that had nothing yet are left out: most peers have two kinds."""
    family = catalogue.PEER_REQUESTS
    ended = CounterMetricFamily(family.name, family.help, labels=family.labels)
    family = catalogue.PEER_DELIVERY
    delivery = SummaryMetricFamily(family.name, family.help, labels=family.labels)
    family = catalogue.PEER_REFUSALS
    refused = CounterMetricFamily(family.name, family.help, labels=family.labels)
    for label, cells in rows.items():
        for direction, came in _CAME.items():
            for result, count in zip(catalogue.PEER_RESULTS, ends(cells, came), strict=True):
                ended.add_metric([label, direction, result], count)
            for kind in Kind:
                count = ends(cells, came, (kind,))[End.DELIVERED]
                for part in Part if count else ():
                    values = [label, direction, kind.name.lower(), part.name.lower()]
                    delivery.add_metric(values, count, seconds(cells, part, came, (kind,)))
            for stage, count in by_stage(reasons(cells, came)).items():
                refused.add_metric([label, direction, stage], count)
    yield ended
    yield delivery
    yield refused


def _outages(figures: PeerFigures) -> Iterator[Metric]:
    family = catalogue.PEER_OUTAGE
    outages = CounterMetricFamily(family.name, family.help, labels=family.labels)
    for label, cells in figures.rows.items():
        for side, ours in (("theirs", False), ("ours", True)):
            for stage, count_ms in by_stage(outage_ms(cells, ours)).items():
                outages.add_metric([label, side, stage], count_ms / 1000)
    yield outages
    family = catalogue.PEER_DOWN
    down = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for label, is_down in figures.down.items():
        down.add_metric([label], float(is_down))
    yield down


def by_stage(counts: Mapping[Reason, int]) -> dict[str, int]:
    """Figures of reasons, by their stages."""
    stages: dict[str, int] = {}
    for reason, count in counts.items():
        stages[reason.stage.value] = stages.get(reason.stage.value, 0) + count
    return stages
