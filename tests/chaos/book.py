"""What became of each numbered message, as its services saw it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Status

#: Numbers of a service's messages start at a multiple of this.
SPAN = 1 << 40
#: Faults named one by one; more are only counted.
_NAMED = 20


@dataclass
class Doubt:
    """A message whose outcome nobody can know; times are of the machine's monotonic clock, in seconds."""

    number: int
    service: str
    sent: float
    ended: float
    reason: str
    delivered: int = 0


@dataclass
class Lost:
    """A link between a service and its router that ended, and how many messages were open on it."""

    at: float
    service: str
    open: int


@dataclass
class Report:
    """Everything the services know at the end; plain values, so that it crosses a pipe as JSON.

    Attributes:
        sent: numbered messages.
        waiting: those without an outcome.
        statuses: how they ended.
        reasons: why, in the registry's words; `link lost here` where the service itself had to conclude.
        doubled: numbers that a service was given twice.
        untrue: numbers whose outcome is not what happened: success not delivered, failure delivered.
        contradicted: numbers with two different answers.
        unasked: deliveries of numbers nobody sent.
        again: second answers that say the same.
        retries: what services sent again, by where it went: the same process, its later life, another one.
        retry_answers: status of the answers to these.
        redelivered: retries of routers that a service answered from its memory.
        doubts: messages in doubt.
        lost: links of services that ended.
        stills: from when to when the services stood still, for the machine had no turn for them.
    """

    sent: int = 0
    waiting: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    doubled: list[int] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)
    contradicted: list[int] = field(default_factory=list)
    unasked: int = 0
    again: int = 0
    retries: dict[str, int] = field(default_factory=dict)
    retry_answers: dict[str, int] = field(default_factory=dict)
    redelivered: int = 0
    doubts: list[Doubt] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    stills: list[tuple[float, float]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Report:
        """The report that `as_json` gave."""
        report = cls(**values)
        report.doubts = [Doubt(**one) for one in values["doubts"]]
        report.lost = [Lost(**one) for one in values["lost"]]
        report.stills = [(since, until) for since, until in values["stills"]]
        return report


class Book:
    """Two bytes a message: how often it was delivered, and its outcome.

    Attributes:
        report: filled by and by, whole after `close`.
        doubled: numbers that a service was given twice so far.
        succeeded: messages that ended in success so far.
    """

    def __init__(self) -> None:
        self.report = Report()
        self.doubled = 0
        self.succeeded = 0
        self._from_retry: set[int] = set()
        self._delivered: dict[int, bytearray] = {}
        self._outcomes: dict[int, bytearray] = {}
        self._reasons: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()
        self._retry_answers: Counter[str] = Counter()

    def sent(self, number: int) -> None:
        """A service sends it for the first time."""
        span, place = divmod(number, SPAN)
        for table in (self._delivered, self._outcomes):
            row = table.setdefault(span, bytearray(1))
            row.extend(bytes(place + 1 - len(row)))
        self.report.sent += 1

    def is_delivered(self, number: int) -> bool:
        """Whether a service was given it."""
        span, place = divmod(number, SPAN)
        row = self._delivered.get(span, b"")
        return place < len(row) and row[place] > 0

    def is_from_retry(self, number: int) -> bool:
        """Whether a service was given it by a retry: its first try may still come."""
        return number in self._from_retry

    def delivered(self, number: int, *, by_retry: bool = False) -> None:
        """A service was given it as a message that is new."""
        if by_retry:
            self._from_retry.add(number)
        span, place = divmod(number, SPAN)
        row = self._delivered.get(span, bytearray())
        if place >= len(row):
            self.report.unasked += 1
            return
        row[place] = min(row[place] + 1, 255)
        self.doubled += row[place] == 2

    def retried(self, where: str) -> None:
        """A service sends a message again."""
        self._retries[where] += 1

    def ended(
        self, number: int, outcome: Outcome | None, service: str, sent: float, now: float, *, retried: bool
    ) -> None:
        """Its originating service knows what became of it; None: that nobody can know."""
        span, place = divmod(number, SPAN)
        status = Status.INDETERMINANT if outcome is None else outcome.status
        word = "link lost here" if outcome is None else outcome.reason.word
        self._outcomes[span][place] = status + 1
        self.succeeded += status is Status.SUCCESS
        self._reasons[word] += 1
        if retried:
            self._retry_answers["none" if outcome is None else status.name.lower()] += 1
        if status is Status.INDETERMINANT:
            self.report.doubts.append(Doubt(number, service, sent, now, word))

    def answered_again(self, number: int, outcome: Outcome) -> None:
        """A second answer; it may differ where the first knew nothing, or we had to conclude by ourselves."""
        span, place = divmod(number, SPAN)
        row = self._outcomes.get(span, b"")
        first = Status(row[place] - 1) if place < len(row) and row[place] else Status.INDETERMINANT
        if first is outcome.status or Status.INDETERMINANT in (first, outcome.status):
            self.report.again += 1
        else:
            self.report.contradicted.append(number)

    def lost(self, at: float, service: str, count: int) -> None:
        """A service's link ended."""
        self.report.lost.append(Lost(at, service, count))

    def close(self, waiting: int) -> Report:
        """Compare outcomes with deliveries."""
        report, statuses = self.report, Counter[str]()
        for span, outcomes in self._outcomes.items():
            for place, (outcome, count) in enumerate(zip(outcomes, self._delivered[span], strict=True)):
                number = span * SPAN + place
                if count > 1:
                    report.doubled.append(number)
                if not outcome:
                    continue
                status = Status(outcome - 1)
                statuses[status.name.lower()] += 1
                expected = {Status.SUCCESS: count > 0, Status.FAILURE: not count}.get(status, True)
                if not expected and len(report.untrue) < _NAMED:
                    report.untrue.append(f"{number}: {status.name.lower()}, delivered {count} times")
        for doubt in report.doubts:
            doubt.delivered = self._delivered[doubt.number // SPAN][doubt.number % SPAN]
        report.waiting = waiting
        report.statuses, report.reasons = dict(statuses), dict(self._reasons)
        report.retries, report.retry_answers = dict(self._retries), dict(self._retry_answers)
        return report
