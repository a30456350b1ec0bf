"""The shape of `imxctl peers report`: what an operator can send to the other side.

As in `views`, keys are stable. No address of a user, no body and no network address is in it.
"""

from __future__ import annotations

from typing import TypedDict


class MeasureView(TypedDict):
    """One objective. `measured`, `burn` and `met` are null where there was nothing to measure.

    `objective` is `availability`, `delivery-time` or `refusals`; `unit` of `expected` and `measured` is `%`
    or `s`. `burn` is what happened by what is allowed: more than 1 misses it.
    """

    objective: str
    unit: str
    expected: float
    measured: float | None
    burn: float | None
    met: bool | None


class TimesView(TypedDict):
    """Times of delivered requests, in seconds; null where there were none.

    A quantile is read off buckets, of which there are three a decade; the mean is exact.
    """

    mean_s: float | None
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None


class KindView(TypedDict):
    """Requests of one kind and direction: `in` is from the peer, `out` to it.

    `refused` were refused by the reporting router before they were passed on. `ours` is that router's own
    share of each delivery, `theirs` the time from a request's write to its answer: of the peer (`out`), or of
    the reporting side's own service (`in`).
    """

    direction: str
    kind: str
    delivered: int
    refused: int
    failed: int
    indeterminant: int
    ours: TimesView
    theirs: TimesView


class NotDeliveredView(TypedDict):
    """Requests that were not delivered, by stage and reason; `by_recipient` where the recipient decided."""

    direction: str
    stage: str
    reason: str
    count: int
    by_recipient: bool


class OutageView(TypedDict):
    """One outage. `end` is null while it lasts.

    `how` says what ended it: `reached`, `not tried` or `own network back`. `side` is `theirs`, or `ours`
    where the reporting router lost most of its peers at once. `stage` and `reason` are those of the first
    failure, `reasons` counts all. `down_s` is without the times between `flaps`, in which it was back for
    less than a minute.
    """

    begin: float
    end: float | None
    side: str
    stage: str
    reason: str
    reasons: dict[str, int]
    down_s: float
    flaps: int
    how: str


class AskedView(TypedDict):
    """What the other side is asked to look at: a sentence, with the words that it will find in its log."""

    stage: str
    reason: str
    outages: int
    requests: int
    text: str


class PeerReportView(TypedDict):
    """`imxctl peers report`: how a peer was, as one process of one router saw it.

    The period begins with the first whole bucket of figures (five minutes, an hour or a day) that has some of
    the time asked for, or when the peer was first seen. `watched_s` is for how long of it the process was
    there. `available_percent` is without time in which the reporting router's own network was lost.
    """

    peer: str
    reported_by: str
    process: int
    made_at: float
    begin: float
    end: float
    watched_s: float
    available_percent: float | None
    objectives: list[MeasureView]
    kinds: list[KindView]
    not_delivered: list[NotDeliveredView]
    outages: list[OutageView]
    asked: list[AskedView]


#: Shapes of these answers, outer ones first; for the reference page.
VIEWS: tuple[type, ...] = (
    PeerReportView, MeasureView, KindView, TimesView, NotDeliveredView, OutageView, AskedView,
)  # fmt: skip
