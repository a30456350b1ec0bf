"""Figures of XMPP streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, Metric

from imxrouter.telemetry import catalogue
from imxrouter.telemetry.gauges import gauge


def _none() -> Mapping[str, int]:
    return {}


def _nothing_passes() -> tuple[int, int, Counter[str]]:
    return 0, 0, Counter()


@dataclass(slots=True)
class XmppFigures:
    """What `/metrics` says of XMPP streams.

    Attributes:
        streams: asked at each scrape for the streams that are there, by role.
        errors: stream errors by condition (RFC 6120 section 4.9.3) and direction (`sent`, `received`).
        late: stanzas that were not confirmed in time.
        nowhere: stanzas that went nowhere, by why.
        renewals: how often a parser was replaced, for it knew too many names; of streams that have ended.
        passing: asked at each scrape for pairs whose presence passes: answered, not answered, and what was
            done for them, by word.
    """

    streams: Callable[[], Mapping[str, int]] = _none
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    late: int = 0
    nowhere: Counter[str] = field(default_factory=Counter)
    renewals: int = 0
    passing: Callable[[], tuple[int, int, Counter[str]]] = _nothing_passes

    def error(self, condition: str, direction: str) -> None:
        """A stream ended with an error; both from closed sets."""
        self.errors[condition, direction] += 1

    def dropped(self, why: str) -> None:
        """A stanza went nowhere and nobody is told, or an original form is not used; from a closed set."""
        self.nowhere[why] += 1

    def not_confirmed(self, stanzas: int) -> None:
        """So many stanzas were not confirmed in time."""
        self.late += stanzas

    def renewed(self, parsers: int) -> None:
        """The parsers of a stream that has ended were replaced so often."""
        self.renewals += parsers


def xmpp_metrics(figures: XmppFigures) -> Iterator[Metric]:
    """The families."""
    yield gauge(catalogue.XMPP_STREAMS, {(role,): float(count) for role, count in figures.streams().items()})
    errors = CounterMetricFamily(
        catalogue.XMPP_ERRORS.name, catalogue.XMPP_ERRORS.help, labels=catalogue.XMPP_ERRORS.labels
    )
    for labels, count in figures.errors.items():
        errors.add_metric(labels, count)
    yield errors
    nowhere = CounterMetricFamily(
        catalogue.XMPP_NOWHERE.name, catalogue.XMPP_NOWHERE.help, labels=catalogue.XMPP_NOWHERE.labels
    )
    for why, count in figures.nowhere.items():
        nowhere.add_metric((why,), count)
    yield nowhere
    granted, asked, done = figures.passing()
    yield gauge(catalogue.XMPP_PASSING, {("granted",): float(granted), ("asked",): float(asked)})
    passing = CounterMetricFamily(
        catalogue.XMPP_PASSING_DONE.name,
        catalogue.XMPP_PASSING_DONE.help,
        labels=catalogue.XMPP_PASSING_DONE.labels,
    )
    for what, count in done.items():
        passing.add_metric((what,), count)
    yield passing
    for family, count in (
        (catalogue.XMPP_UNCONFIRMED, figures.late), (catalogue.XMPP_RENEWALS, figures.renewals)
    ):  # fmt: skip
        yield CounterMetricFamily(family.name, family.help, value=count)
