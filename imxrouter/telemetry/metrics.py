"""One object with all instruments, on a registry of its own; made by `app.py` and passed to who counts."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from imxrouter.model.errors import LocalMisuse
from imxrouter.telemetry import catalogue
from imxrouter.telemetry.catalogue import Family
from imxrouter.telemetry.certificates import CertificateFigures, PeerCertificates, certificate_metrics
from imxrouter.telemetry.gauges import gauge
from imxrouter.telemetry.peers import PeerFigures, peer_metrics
from imxrouter.telemetry.slots import SlotCollector, SlotTable
from imxrouter.telemetry.xmpp import XmppFigures, xmpp_metrics

#: A second series for each counter with the time of its making: twice the page, and nobody asked for it.
#: The switch is the library's and for the whole process.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: Up to 10 ms a router is healthy; above 1 s keep-alive suffers. Each step is about three times the last.
_TICK_BUCKETS_S = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)

#: (role, state) -> links.
LinksByState = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Times:
    """A histogram that somebody else keeps.

    Attributes:
        bounds_s: upper ends of the buckets.
        counts: what fell into each, and one more for what is above them all.
        sum_s: of all that was counted.
    """

    bounds_s: Sequence[float]
    counts: Sequence[int]
    sum_s: float


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """What `/metrics` says of the store; `failures` by problem, each one present from the start."""

    works: bool = False
    entries: int = 0
    size_bytes: int = 0
    waiting: int = 0
    last_write_at: float = 0.0
    refused: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)


class ClosedCounter:
    """A counter whose labels are of closed sets, all of them present from the start."""

    def __init__(
        self, family: Family, values: Iterable[tuple[str, ...]], registry: CollectorRegistry
    ) -> None:
        counter = Counter(family.name, family.help, family.labels, registry=registry)
        self._cells = {value: counter.labels(*value) for value in values}
        self._name = family.name

    def inc(self, *value: str) -> None:
        """Count.

        Raises:
            LocalMisuse: the value is not in the set.
        """
        cell = self._cells.get(value)
        if cell is None:
            raise LocalMisuse(f"{self._name}: {value!r} is not in its closed set")
        cell.inc()


#: Values of `state`.
DRAIN_STATES: Final = ("running", "moving", "closing", "drained")


@dataclass(frozen=True, slots=True)
class DrainFigures:
    """How far a process is out of service, and what moved.

    Attributes:
        state: one of `DRAIN_STATES`.
        redirects: counted by `sent`, `obeyed`, `ignored`.
        handed: subscriptions, by direction.
    """

    state: str = "running"
    redirects: Mapping[str, int] = field(default_factory=dict)
    handed: Mapping[str, int] = field(default_factory=dict)


class Metrics:
    """All instruments of one process.

    Attributes:
        registry: what `/metrics` shows.
        claims: claims that ended, by direction (`made`, `received`), and by `proved` or a reason's word.
        link_ends: links that ended, by stage and reason.
        dials: connections tried, by `connected` or the word of what came of it.
        lookups: DNS look-ups, by `found`, `cached` or a reason's word.
        echoes: echoes asked of domains served here, by `answered` or a reason's word.
        questions: for attributes of others, by how they were answered.
        barred: requests refused by access lists and recipients' rules, by rule and direction.
        abuse: reports of abuse, by direction and result.
        reloads: times the configuration was read again, by result.
        certificate_reloads: times our certificates were read, by result.
        peer_certificates: when certificates of peers end.
        tick: histogram of the reactor's turns, in seconds.
        xmpp: figures of XMPP streams.
        last_tick_s: Unix time when the reactor last came round; set by `tick.TickMeter`.
    """

    def __init__(self, version: str, now_s: Callable[[], float]) -> None:
        """Make the instruments.

        Args:
            version: of this package, for `imxrouter_build_info`.
            now_s: a clock in seconds; its start is the start of the uptime.
        """
        self.registry = CollectorRegistry()
        self.claims = ClosedCounter(catalogue.CLAIMS, catalogue.CLAIM_RESULTS, self.registry)
        self.link_ends = ClosedCounter(catalogue.LINK_ENDS, catalogue.LINK_END_REASONS, self.registry)
        self.dials = ClosedCounter(catalogue.DIALS, catalogue.DIAL_RESULTS, self.registry)
        self.lookups = ClosedCounter(catalogue.LOOKUPS, catalogue.LOOKUP_RESULTS, self.registry)
        self.echoes = ClosedCounter(catalogue.ECHOES, catalogue.ECHO_RESULTS, self.registry)
        self.questions = ClosedCounter(catalogue.QUESTIONS, catalogue.QUESTION_WAYS, self.registry)
        self.barred = ClosedCounter(catalogue.BARRED, catalogue.BARRED_BY, self.registry)
        self.abuse = ClosedCounter(catalogue.ABUSE, catalogue.ABUSE_RESULTS, self.registry)
        self.reloads = ClosedCounter(catalogue.RELOADS, catalogue.CONFIG_RELOAD_RESULTS, self.registry)
        self.certificate_reloads = ClosedCounter(
            catalogue.CERTIFICATE_RELOADS, catalogue.RELOAD_RESULTS, self.registry
        )
        self.peer_certificates = PeerCertificates(now_s)
        self.tick = Histogram(
            catalogue.TICK.name, catalogue.TICK.help, buckets=_TICK_BUCKETS_S, registry=self.registry
        )
        self.last_tick_s = 0.0
        self.xmpp = XmppFigures()
        self._now_s, self._started_s, self._version = now_s, now_s(), version
        self._links: Callable[[], LinksByState] = dict
        self._in_flight: Callable[[], Mapping[str, int]] = dict
        self._held: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self._drain: Callable[[], DrainFigures] = DrainFigures
        self._oldest: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
        self._delivery: Callable[[], Mapping[str, Times]] = dict
        self._peers: Callable[[], PeerFigures] = PeerFigures
        self._store: Callable[[], StoreFigures] = StoreFigures
        self._access: Callable[[], Mapping[tuple[str, ...], float]] = dict
        self._certificates: Callable[[], CertificateFigures] = CertificateFigures
        self._limits: Callable[[], tuple[Mapping[str, int], int]] = lambda: ({}, 0)
        self.registry.register(_Gauges(self._gauges))

    def add_slots(
        self, rows: Iterable[tuple[str, Sequence[str], Sequence[str], int]], counters: Sequence[int]
    ) -> None:
        """Show a list of integers; it is read at each scrape and never written.

        Args:
            rows: `(metric_name, label_names, label_values, index)` for each slot.
            counters: the list.

        Raises:
            LocalMisuse: rows contradict each other, or the list is too short.
            ValueError: a family is on the registry already.
        """
        self.registry.register(SlotCollector(SlotTable(rows), counters))

    def watch_links(self, source: Callable[[], LinksByState]) -> None:
        """Ask this at each scrape for the links by (role, state)."""
        self._links = source

    def watch_in_flight(self, source: Callable[[], Mapping[str, int]]) -> None:
        """Ask this at each scrape for the requests in flight by kind (the word in `kind` labels)."""
        self._in_flight = source

    def watch_held(self, source: Callable[[], tuple[int, int]]) -> None:
        """Ask this at each scrape for the requests on hold: (count, bytes)."""
        self._held = source

    def watch_drain(self, source: Callable[[], DrainFigures]) -> None:
        """Ask this at each scrape how far the process is out of service."""
        self._drain = source

    def watch_oldest(self, source: Callable[[], tuple[float, float]]) -> None:
        """Ask this at each scrape for the age in seconds of the oldest request: (on hold, in flight)."""
        self._oldest = source

    def watch_delivery(self, source: Callable[[], Mapping[str, Times]]) -> None:
        """Ask this at each scrape for the times of deliveries by part (`ours`, `theirs`)."""
        self._delivery = source

    def watch_peers(self, source: Callable[[], PeerFigures]) -> None:
        """Ask this at each scrape for the figures of peers."""
        self._peers = source

    def watch_store(self, source: Callable[[], StoreFigures]) -> None:
        """Ask this at each scrape how the store is."""
        self._store = source

    def watch_access(self, source: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """Ask this at each scrape for the entries of access lists by (action, origin)."""
        self._access = source

    def watch_certificates(self, source: Callable[[], CertificateFigures]) -> None:
        """Ask this at each scrape for our certificates."""
        self._certificates = source

    def watch_limits(self, source: Callable[[], tuple[Mapping[str, int], int]]) -> None:
        """Ask this at each scrape for the refusals by limit, and for the level of overload."""
        self._limits = source

    @property
    def uptime_s(self) -> float:
        """Seconds since the object was made."""
        return self._now_s() - self._started_s

    def exposition(self) -> bytes:
        """Return the text that Prometheus reads (format 0.0.4)."""
        return generate_latest(self.registry)

    def _gauges(self) -> Iterator[Metric]:
        held, held_bytes = self._held()
        held_s, in_flight_s = self._oldest()
        yield gauge(catalogue.LINKS, {key: float(count) for key, count in self._links().items()})
        yield gauge(catalogue.IN_FLIGHT, {(kind,): float(count) for kind, count in self._in_flight().items()})
        yield gauge(catalogue.IN_FLIGHT_OLDEST, {(): in_flight_s})
        yield gauge(catalogue.HELD, {(): held})
        yield gauge(catalogue.HELD_BYTES, {(): held_bytes})
        yield gauge(catalogue.HELD_OLDEST, {(): held_s})
        yield from _drain_metrics(self._drain())
        yield _histogram(catalogue.DELIVERY, self._delivery())
        yield from peer_metrics(self._peers())
        yield from _store_metrics(self._store())
        yield gauge(catalogue.ACCESS_ENTRIES, self._access())
        yield from certificate_metrics(self._certificates(), self.peer_certificates)
        refusals, level = self._limits()
        yield _counter(catalogue.LIMIT_REFUSALS, {(limit,): count for limit, count in refusals.items()})
        yield gauge(catalogue.OVERLOAD, {(): level})
        yield from xmpp_metrics(self.xmpp)
        yield gauge(catalogue.UPTIME, {(): self.uptime_s})
        yield gauge(catalogue.TICK_SEEN, {(): self.last_tick_s})
        yield gauge(catalogue.BUILD, {(self._version, platform.python_version()): 1})


class _Gauges(Collector):
    def __init__(self, source: Callable[[], Iterator[Metric]]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """Called by the registry for each scrape."""
        return self._source()


def _store_metrics(store: StoreFigures) -> Iterator[Metric]:
    yield gauge(catalogue.STORE_WORKS, {(): float(store.works)})
    yield gauge(catalogue.STORE_ENTRIES, {(): store.entries})
    yield gauge(catalogue.STORE_BYTES, {(): store.size_bytes})
    yield gauge(catalogue.STORE_WAITING, {(): store.waiting})
    yield gauge(catalogue.STORE_WRITTEN, {(): store.last_write_at})
    yield _counter(catalogue.STORE_REFUSED, {(): store.refused})
    yield _counter(catalogue.STORE_FAILURES, {(word,): count for word, count in store.failures.items()})


def _drain_metrics(drain: DrainFigures) -> Iterator[Metric]:
    yield gauge(catalogue.DRAIN, {(word,): float(word == drain.state) for word in DRAIN_STATES})
    yield _counter(catalogue.REDIRECTS, {(word,): count for word, count in drain.redirects.items()})
    yield _counter(catalogue.HANDED, {(word,): count for word, count in drain.handed.items()})


def _counter(family: Family, values: Mapping[tuple[str, ...], int]) -> Metric:
    metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in values.items():
        metric.add_metric(labels, value)
    return metric


def _histogram(family: Family, values: Mapping[str, Times]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for label, times in values.items():
        ends = [*map(str, times.bounds_s), "+Inf"]
        metric.add_metric([label], list(zip(ends, accumulate(times.counts), strict=True)), times.sum_s)
    return metric
