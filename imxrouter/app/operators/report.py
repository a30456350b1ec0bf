"""A report of a peer, for the operator on its side: what was expected, what was, what to look at (FCC-7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from imxrouter.admin.errors import AdminError
from imxrouter.admin.report import (
    AskedView,
    KindView,
    MeasureView,
    NotDeliveredView,
    OutageView,
    PeerReportView,
    TimesView,
)
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Kind
from imxrouter.model.quality import RECIPIENTS, End, Part, ends, reasons, seconds, times
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason, Stage
from imxrouter.telemetry.objectives import Measure, available_percent, measure, quantile_s
from imxrouter.telemetry.outages import OURS, THEIRS, Outage

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: A report without another period is of one day.
DAY_S: Final = 86_400.0
#: Stages at which the other side can do something; limits and policy are often our own.
_THEIR_STAGES: Final = frozenset(
    {Stage.DNS, Stage.CONNECT, Stage.TLS, Stage.IDENTITY, Stage.DIALBACK, Stage.SERVICE, Stage.PEER}
)
#: What is asked at most; the rest is in the list.
_ASKED: Final = 8


def peer_report(router: Parts, domain: Domain, span_s: float | None) -> PeerReportView:
    """What this process knows of a peer since a time.

    Args:
        router: this process.
        domain: the peer's.
        span_s: how far back; None: a day.

    Raises:
        AdminError: it is served here, or nothing is known of it.
    """
    if domain in router.domains:
        raise AdminError("bad-request", f"{domain} is served here", "peer", "see imxctl domains")
    router.figures.tick()
    quality, span_s = router.quality, DAY_S if span_s is None else span_s
    known, now = quality.since(domain.wire, span_s), quality.now()
    since = known[0].begin if known is not None else now - span_s
    outages = quality.outages.of(domain.wire, since)
    if known is None and not outages:
        raise AdminError("not-found", f"nothing was counted of {domain}", "peer", "see imxctl peers")
    cells, seen_ms = (known[0].cells, known[1]) if known is not None else ({}, 0)
    measures = measure(quality.objectives(domain.wire), cells, seen_ms)
    available = available_percent(cells, seen_ms)
    return PeerReportView(
        peer=domain.name, reported_by=router.config.name, process=router.config.process,
        made_at=round(now, 3), begin=round(since, 3), end=round(now, 3), watched_s=seen_ms / 1000,
        available_percent=None if available is None else round(available, 4),
        objectives=[_measure_view(one) for one in measures], kinds=_kinds(cells),
        not_delivered=_not_delivered(cells), outages=[_outage_view(one) for one in outages],
        asked=_asked(cells, outages),
    )  # fmt: skip


def outage_views(router: Parts, domain: Domain, last: int) -> list[OutageView]:
    """The last outages of a peer, the newest first."""
    return [_outage_view(one) for one in router.quality.outages.of(domain.wire)[: -last - 1 : -1]]


def measure_views(router: Parts, domain: Domain, span_s: float = DAY_S) -> list[MeasureView]:
    """What is expected of a peer, and how it was."""
    return [_measure_view(one) for one in router.quality.measures(domain.wire, span_s)]


def _measure_view(one: Measure) -> MeasureView:
    return MeasureView(
        objective=one.objective, unit=one.unit, expected=one.bound, measured=_rounded(one.measured),
        burn=_rounded(one.burn), met=one.met,
    )  # fmt: skip


def _kinds(cells: Mapping[int, int]) -> list[KindView]:
    views = []
    for direction, came in (("out", False), ("in", True)):
        for kind in Kind:
            counts = ends(cells, came, (kind,))
            if sum(counts):
                views.append(
                    KindView(
                        direction=direction, kind=kind.name.lower(), delivered=counts[End.DELIVERED],
                        refused=counts[End.REFUSED], failed=counts[End.FAILED],
                        indeterminant=counts[End.INDETERMINANT],
                        ours=_times(cells, Part.OURS, came, kind),
                        theirs=_times(cells, Part.THEIRS, came, kind),
                    )
                )  # fmt: skip
    return views


def _times(cells: Mapping[int, int], part: Part, came: bool, kind: Kind) -> TimesView:
    counts = times(cells, part, came, (kind,))
    total = sum(counts)
    mean = seconds(cells, part, came, (kind,)) / total if total else None
    p50, p90, p99 = (_rounded(quantile_s(counts, share)) for share in (0.5, 0.9, 0.99))
    return TimesView(mean_s=_rounded(mean), p50_s=p50, p90_s=p90, p99_s=p99)


def _not_delivered(cells: Mapping[int, int]) -> list[NotDeliveredView]:
    views = [
        NotDeliveredView(
            direction=direction, stage=reason.stage.value, reason=reason.word, count=count,
            by_recipient=reason in RECIPIENTS,
        )
        for direction, came in (("out", False), ("in", True))
        for reason, count in reasons(cells, came).items()
    ]  # fmt: skip
    return sorted(views, key=lambda view: (view["direction"] == "in", -view["count"]))


def _outage_view(one: Outage) -> OutageView:
    return OutageView(
        begin=round(one.begin, 3), end=None if one.end is None else round(one.end, 3), side=one.side,
        stage=one.reason.stage.value, reason=one.reason.word, reasons=dict(one.reasons),
        down_s=one.down_ms / 1000, flaps=one.flaps, how=one.how,
    )  # fmt: skip


def _asked(cells: Mapping[int, int], outages: list[Outage]) -> list[AskedView]:
    """Reasons that the other side can do something about: those of outages, then the most frequent."""
    requests: dict[Reason, int] = {
        reason: count
        for reason, count in reasons(cells, False).items()
        if reason.stage in _THEIR_STAGES and reason not in RECIPIENTS and reason is not Reason.OWN_NETWORK
    }
    outs: dict[Reason, int] = {}
    for outage in outages:
        if outage.side == THEIRS:
            for word in outage.reasons:
                if (reason := REASON_BY_WORD.get(word)) is not None:
                    outs[reason] = outs.get(reason, 0) + 1
    if not outs and outages and all(one.side == OURS for one in outages):
        requests = {reason: count for reason, count in requests.items() if reason.stage is not Stage.CONNECT}
    chosen = sorted({*requests, *outs}, key=lambda one: (-outs.get(one, 0), -requests.get(one, 0)))
    return [
        AskedView(
            stage=one.stage.value, reason=one.word, outages=outs.get(one, 0), requests=requests.get(one, 0),
            text=one.remedy,
        )
        for one in chosen[:_ASKED]
    ]  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
