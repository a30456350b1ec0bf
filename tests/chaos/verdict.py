"""What a scene of chaos showed."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from imxrouter.model.limits import Limit
from tests.chaos.book import Doubt, Report
from tests.chaos.load import Count
from tests.chaos.routers import BY_LIMIT, CREDIT
from tests.chaos.witness import Cut, Witness

#: A router's interpreter and libraries take some 60 MB; what may pile up is bounded far below the rest.
MEMORY_BOUND_KIB = 128 * 1024
#: A link may be lost to routers this long before the network sees its end: while nothing passes.
_LONGEST_EVENT_S = 5.0
#: A router may still send over a link that was cut, until it is told; machines under load take their time.
_NOTICE_S = 0.5
#: What events may bring routers to: links without answers fill up. All others are above what is sent.
_PROVOKED = (Limit.CREDIT, Limit.OUTPUT, Limit.COPIES)
#: What is in doubt where services or the network stood still: routers gave up what was only late.
_STILL = "stood still"
_ENDS = ("delivered", "refused", "failed", "indeterminant")


class Event(NamedTuple):
    """Something that went wrong: when it began, what, and the load's figures just before."""

    at: float
    name: str
    before: Count


@dataclass
class Verdict:
    """Faults and figures.

    Args:
        report: what the services saw.
        witness: what the network saw.
        events: what happened, in order.
        lives: process -> counters of each of its lives, of the end or of the moment before it was killed.
        peak_kib: the most memory a router process took.
        tracebacks: what router processes logged with one.
        recovered_s: how long after the last event every message succeeded again; None: they did not.
    """

    report: Report
    witness: Witness
    events: list[Event]
    lives: dict[str, list[dict[str, int]]]
    peak_kib: int
    tracebacks: list[str]
    recovered_s: float | None

    def faults(self) -> list[str]:
        """Everything that must not be; empty where all is well."""
        report = self.report
        found = []
        if report.waiting:
            found.append(f"{report.waiting} messages without an outcome")
        if report.doubled:
            found.append(f"{len(report.doubled)} delivered twice: {report.doubled[:5]}")
        if report.untrue:
            found.append(f"outcomes that are not true: {report.untrue[:5]}")
        if report.contradicted:
            found.append(f"two different answers: {report.contradicted[:5]}")
        if report.unasked:
            found.append(f"{report.unasked} deliveries of messages nobody sent")
        if self.peak_kib >= MEMORY_BOUND_KIB:
            found.append(f"{self.peak_kib} KiB of memory; the bound is {MEMORY_BOUND_KIB}")
        if self.recovered_s is None:
            found.append("messages still fail long after everything is right again")
        found += self.tracebacks[:5]
        return found + self._limited() + self._unexplained() + self._unconserved()

    def doubled(self) -> dict[str, int]:
        """Event -> messages delivered twice between it and the next one."""
        ends = [*(event.before.doubled for event in self.events[1:]), len(self.report.doubled)]
        counts: Counter[str] = Counter()
        for event, end in zip(self.events, ends, strict=True):
            counts[event.name] += end - event.before.doubled
        return counts

    # -- what is in doubt --------------------------------------------------------------------------------

    def causes(self) -> tuple[dict[str, list[Doubt]], list[Doubt]]:
        """Messages in doubt by the event that cut a link while they were open; and those without any."""
        by_cause: dict[str, list[Doubt]] = {}
        unexplained = []
        for doubt in self.report.doubts:
            cause = self._cause(doubt)
            if cause is None:
                unexplained.append(doubt)
            else:
                by_cause.setdefault(cause, []).append(doubt)
        return by_cause, unexplained

    def _cause(self, doubt: Doubt) -> str | None:
        """The last cut link that it was seen on; else its service's; else one that it may have been on.

        Before all comes that services or the network had no turn, which is no fault of routers. Last comes a
        link that never carried a request: most were cut before they were proved.
        """
        if any(since <= doubt.ended and doubt.sent - _NOTICE_S <= until for since, until in self._stills):
            return _STILL
        known = possible = unused = None
        cuts = self._cuts_by_time
        for cut in cuts[bisect_left(cuts, doubt.sent - _NOTICE_S, key=lambda one: one.at) :]:
            if cut.at > doubt.ended + _LONGEST_EVENT_S:
                break
            if doubt.ended < cut.since:
                continue
            if not cut.directions:
                unused = cut.cause
                continue
            possible = cut.cause
            if doubt.number in cut.open:
                known = cut.cause
        own, other = self._lost_services(doubt)
        return known or own or possible or other or unused

    def _lost_services(self, doubt: Doubt) -> tuple[str | None, str | None]:
        """What cut its own service off meanwhile, and any service: it may have been its recipient."""
        losses = self.report.lost
        own = other = None
        for lost in losses[bisect_left(losses, doubt.sent - _NOTICE_S, key=lambda one: one.at) :]:
            if lost.at > doubt.ended:
                break
            other = self.cause_at(lost.at)
            own = other if lost.service == doubt.service else own
        return own, other

    @property
    def _stills(self) -> list[tuple[float, float]]:
        return [*self.report.stills, *self.witness.stills]

    @cached_property
    def _cuts_by_time(self) -> list[Cut]:
        return sorted(self.witness.cuts, key=lambda cut: cut.at)

    def cause_at(self, moment: float) -> str:
        """What went wrong last before then."""
        place = bisect_left(self.events, moment, key=lambda one: one.at)
        return self.events[place - 1].name if place else "start"

    def bounds(self) -> dict[str, int]:
        """Cause -> what it can leave in doubt.

        That is the credit of each link it cut, in each direction used; and no more than was open at services
        when it began or was sent before the next thing happened.
        """
        credit: Counter[str] = Counter()
        for cut in self.witness.cuts:
            credit[cut.cause] += CREDIT * cut.directions
        for lost in self.report.lost:
            credit[self.cause_at(lost.at)] += lost.open + CREDIT
        concerned: Counter[str] = Counter()
        ends = [*(event.before.sent for event in self.events[1:]), self.report.sent]
        for event, sent in zip(self.events, ends, strict=True):
            concerned[event.name] += event.before.waiting + sent - event.before.sent
        return {name: min(credit[name], concerned[name]) for name in concerned}

    def in_flight(self) -> dict[str, int]:
        """Cause -> messages that were seen in flight on the links it cut."""
        seen: dict[tuple[str, float], set[int]] = {}
        for cut in self.witness.cuts:
            seen.setdefault((cut.cause, cut.since), set()).update(cut.open)
        flying: Counter[str] = Counter()
        for (cause, _), numbers in seen.items():
            flying[cause] += len(numbers)
        return flying

    def _limited(self) -> list[str]:
        """The load itself is within every limit, else what it shows is how that limit refuses."""
        refused = {limit: self.total(BY_LIMIT + limit.word) for limit in Limit if limit not in _PROVOKED}
        return [f"{count} refused by the limit {limit.word}" for limit, count in refused.items() if count]

    def _unexplained(self) -> list[str]:
        by_cause, unexplained = self.causes()
        found = [f"{one.number} is in doubt ({one.reason}), no link was cut" for one in unexplained[:5]]
        bounds = self.bounds()
        by_cause.pop(_STILL, None)
        for cause, doubts in by_cause.items():
            bound = bounds.get(cause, 0)
            if len(doubts) > bound:
                found.append(f"{cause}: {len(doubts)} in doubt, at most {bound} were in flight")
        return found

    # -- conservation ------------------------------------------------------------------------------------

    def _unconserved(self) -> list[str]:
        found = []
        for name, lives in self.lives.items():
            for number, life in enumerate(lives, 1):
                if life["accepted"] != sum(life[word] for word in _ENDS) + life["in_flight"]:
                    found.append(f"figures of {name}, life {number}, do not add up: {life}")
            if lives[-1]["in_flight"]:
                found.append(f"{name} still has {lives[-1]['in_flight']} in flight")
        statuses = self.report.statuses
        if sum(statuses.values()) + self.report.waiting != self.report.sent:
            found.append(f"{self.report.sent} sent, outcomes {statuses}")
        return found

    def total(self, word: str) -> int:
        """A counter over all lives of all processes; a killed one's as of the moment before."""
        return sum(life.get(word, 0) for lives in self.lives.values() for life in lives)

    # -- figures -----------------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        """The figures, for people."""
        report, witness = self.report, self.witness
        by_cause, _ = self.causes()
        bounds, flying = self.bounds(), self.in_flight()
        happened = Counter(
            event.name for event in self.events if event.name != "start" or by_cause.get("start")
        )
        arrived = sum(1 for one in report.doubts if one.delivered)
        found = [f"{report.sent} messages: {report.statuses}; reasons {report.reasons}"]
        found.append(
            f"delivered twice {len(report.doubled)}, untrue outcomes {len(report.untrue)}, contradicting "
            f"answers {len(report.contradicted)}, second answers that agree {report.again}"
        )
        found.append(
            f"retries by routers: {_words(witness.retries)}; answered {witness.answered}; "
            f"known as duplicates by routers {self.total('duplicate')}, by services {report.redelivered}"
        )
        refused = {limit.word: self.total(BY_LIMIT + limit.word) for limit in _PROVOKED}
        found.append(f"refused by limits: {_words(refused)}")
        found.append(f"retries by services: {_words(report.retries)}; answers {_words(report.retry_answers)}")
        found.append(
            f"in doubt: {len(report.doubts)}, of which {arrived} had arrived; services or network stood "
            f"still {len(self._stills)} times, with {len(by_cause.get(_STILL, ()))} under way"
        )
        found += [
            f"  {cause}: {count} times, {len(by_cause.get(cause, ()))} in doubt, {flying.get(cause, 0)} seen "
            f"in flight on the links cut, bound {bounds.get(cause, 0)}"
            for cause, count in sorted(happened.items())
        ]
        ends = " + ".join(f"{word} {self.total(word)}" for word in _ENDS)
        lives = sum(map(len, self.lives.values()))
        found.append(
            f"conservation over {lives} lives of routers: accepted {self.total('accepted')} = {ends} + "
            f"in flight when they ended {self.total('in_flight')}"
        )
        if self.recovered_s is not None:
            found.append(f"all messages succeeded again {self.recovered_s:.2f} s after the last event")
        found.append(f"peak memory of a router process {self.peak_kib} KiB of {MEMORY_BOUND_KIB}")
        return found


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{word} {count}" for word, count in sorted(counts.items())) or "none"
