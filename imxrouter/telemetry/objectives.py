"""What is expected of a peer, and whether it was so (FCC-7). Pure.

Each objective allows a share of something to be bad: of time, of delivered requests, of requests. How fast
that is used up is its *burn*: the share that was bad by the share that is allowed. An objective is met as
long as its burn is at most 1. Only what a peer can do something about counts: nothing that our own network or
our own limits did, and nothing that a recipient decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from imxrouter.model.quality import (
    BOUNDS_S,
    RECIPIENTS,
    End,
    Part,
    ends,
    outage_ms,
    reasons,
    times,
)

AVAILABILITY, DELIVERY, REFUSALS = "availability", "delivery-time", "refusals"
#: Names of windows and their seconds.
WINDOWS: Final = {"hour": 3600.0, "day": 86_400.0, "month": 30 * 86_400.0}
#: What is above the last bound is taken to be this much.
_LONGEST_S: Final = 60.0
#: Requests that may be slow.
_SLOW_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Objectives:
    """What is expected; None: nothing.

    Attributes:
        availability_percent: of the time, at least.
        delivery_p99_s: of the requests to it that are delivered 99 % are answered within this.
        refusals_percent: of the requests to it that are not delivered, at most.
    """

    availability_percent: float | None = None
    delivery_p99_s: float | None = None
    refusals_percent: float | None = None

    def __bool__(self) -> bool:
        return (self.availability_percent, self.delivery_p99_s, self.refusals_percent) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Measure:
    """One objective, measured. `measured`, `burn` and `met` are None where there was nothing to measure.

    Attributes:
        objective: its name.
        unit: of the next two: `%` or `s`.
        bound: what was expected.
        measured: what was.
        burn: of what is allowed; see above.
    """

    objective: str
    unit: str
    bound: float
    measured: float | None = None
    burn: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether it was met."""
        return None if self.burn is None else self.burn <= 1.0


def measure(objectives: Objectives, cells: Mapping[int, int], seen_ms: int) -> list[Measure]:
    """Measure what is expected of a peer.

    Args:
        objectives: that is.
        cells: what was counted of it.
        seen_ms: for how long.
    """
    measures = []
    if objectives.availability_percent is not None:
        measures.append(_availability(objectives.availability_percent, cells, seen_ms))
    if objectives.delivery_p99_s is not None:
        measures.append(_delivery(objectives.delivery_p99_s, cells))
    if objectives.refusals_percent is not None:
        measures.append(_refusals(objectives.refusals_percent, cells))
    return measures


def available_percent(cells: Mapping[int, int], seen_ms: int) -> float | None:
    """For how much of the time that we could see it a peer could be reached."""
    theirs, ours = (sum(outage_ms(cells, side).values()) for side in (False, True))
    there = seen_ms - ours
    return None if there <= 0 else 100.0 * max(0.0, 1.0 - theirs / there)


def refused_percent(cells: Mapping[int, int]) -> float | None:
    """How much of what we sent on, or tried to, was not delivered, recipients' own decisions apart."""
    counts = ends(cells, False)
    bad, passed_on = not_delivered(cells), sum(counts) - counts[End.REFUSED]
    return 100.0 * bad / passed_on if passed_on else None


def not_delivered(cells: Mapping[int, int]) -> int:
    """Requests to a peer that failed or are in doubt, recipients' own decisions apart."""
    counts = ends(cells, False)
    theirs = sum(count for reason, count in reasons(cells, False).items() if reason in RECIPIENTS)
    return max(0, counts[End.FAILED] + counts[End.INDETERMINANT] - theirs)


def quantile_s(counts: Sequence[int], share: float) -> float | None:
    """The time within which such a share of requests was; straight lines within buckets."""
    wanted, below = share * sum(counts), 0
    if not wanted:
        return None
    for place, count in enumerate(counts):
        if count and below + count >= wanted:
            low, high = _bounds(place)
            return low + (high - low) * (wanted - below) / count
        below += count
    return _LONGEST_S


def share_above(counts: Sequence[int], bound_s: float) -> float | None:
    """Which share of requests took longer; straight lines within buckets."""
    total, above = sum(counts), 0.0
    for place, count in enumerate(counts):
        low, high = _bounds(place)
        above += count * min(1.0, max(0.0, (high - bound_s) / (high - low)))
    return above / total if total else None


def _availability(bound: float, cells: Mapping[int, int], seen_ms: int) -> Measure:
    measured = available_percent(cells, seen_ms)
    burn = None if measured is None else _burn(100.0 - measured, 100.0 - bound)
    return Measure(AVAILABILITY, "%", bound, measured, burn)


def _delivery(bound: float, cells: Mapping[int, int]) -> Measure:
    counts = times(cells, Part.THEIRS, False)
    above = share_above(counts, bound)
    burn = None if above is None else above / _SLOW_SHARE
    return Measure(DELIVERY, "s", bound, quantile_s(counts, 1 - _SLOW_SHARE), burn)


def _refusals(bound: float, cells: Mapping[int, int]) -> Measure:
    measured = refused_percent(cells)
    return Measure(REFUSALS, "%", bound, measured, None if measured is None else _burn(measured, bound))


def _burn(bad: float, allowed: float) -> float:
    """Where nothing is allowed, anything is a thousand times too much."""
    if allowed > 0:
        return bad / allowed
    return 1000.0 if bad > 0 else 0.0


def _bounds(place: int) -> tuple[float, float]:
    low = BOUNDS_S[place - 1] if place else 0.0
    return low, BOUNDS_S[place] if place < len(BOUNDS_S) else _LONGEST_S
