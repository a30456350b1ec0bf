"""Rounds of questions for presence that passes: asked anew where some of it may have been lost.

What a presentity said while his server could not reach the router, or the router was gone, nobody says again.
So once there is a way again, his server is asked in the watcher's name (`probe`, RFC 6121 section 4.3). It
answers the watcher: with the newest presence of each resource, `unavailable`, or that he may not see him.

One question goes first on each way, from one domain to another; while that fails, no other goes. The rest
follows spread in time. Whoever breaks streams to have much asked gets little: rounds of a way have a pace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

from imxrouter.gateways.xmpp.subscriptions.pairs import paced, spend
from imxrouter.gateways.xmpp.subscriptions.passing import Ends, PassingPair, PassingPairs, Way
from imxrouter.gateways.xmpp.subscriptions.probes import (
    OPENED_AGAIN_S,
    SILENT_S,
    WAY_S,
    Gathering,
    HasWay,
    Probes,
    Silence,
    any_way,
)
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.destinations import BackOff

#: After a loss: servers open their streams again meanwhile.
SETTLE_S: Final = 1.0
#: The first questions of all ways are spread over so long after a start.
START_S: Final = 2.0
#: Ways that may have to be dialled first have their turns so many a second, as those of IMX have.
WAYS_PER_S: Final = 200.0
#: All of one way within so long, or so many a second where that takes longer than it must (row tim-back).
SPREAD_S: Final = 10.0
SPREAD_PER_S: Final = 20.0
#: Rounds of one way: so many at once, and one more after so long.
PACE_BURST: Final = 4
PACE_S: Final = 15.0
#: A way that fails is tried again after so long: at most as long as it has failed already.
AGAIN: Final = BackOff(first_s=1.0, cap_s=900.0)
#: It has failed for so long when watchers are told that nothing is known (architecture, section 6).
GRACE_S: Final = 5.0
#: So many questions refused in a row, and the rest of the way is not asked.
REFUSED: Final = 3


class Came(Enum):
    """What came of a question."""

    #: the presentity's server has it
    GOT = "got"
    #: it could not be reached now
    FAILED = "failed"
    #: it is not to be asked for this pair
    REFUSED = "refused"


class _Round:
    """The questions of one way.

    Attributes:
        waits: pairs that are to be asked.
        out: those that have been, without a word of it yet.
        scout: the pair that is asked alone until it is known that there is a way; None where it is.
        failing_since: when it failed first; None while it does not.
        failed_at: when it failed last.
        tries: that failed in a row.
        hurried: the number of the try that was not waited for.
        refused: questions that were refused in a row.
        reason: why it failed last.
        told: watchers are told that nothing is known.
        waited: until when a way for the answers is waited for; None before that.
    """

    __slots__ = (
        "failed_at", "failing_since", "hurried", "out", "reason", "refused", "scout", "told", "tries",
        "waited", "waits",
    )  # fmt: skip

    def __init__(self) -> None:
        self.waits: dict[Ends, None] = {}
        self.out: set[Ends] = set()
        self.scout: Ends | None = None
        self.failing_since: float | None = None
        self.failed_at = 0.0
        self.tries = self.hurried = self.refused = 0
        self.reason = Reason.NONE
        self.told = False
        self.waited: float | None = None


class _Answers(Gathering):
    """The answers to a question, and the resources that none has named."""

    __slots__ = ("unnamed",)

    def __init__(self, pair: PassingPair, *, had_way: bool) -> None:
        super().__init__(float("inf"), had_way=had_way)
        self.unnamed = set(pair.shown)


class Rounds:
    """Who is asked when.

    Args:
        pairs: whose presence passes.
        chance: gives a random number in [0, 1).
        has_way: whether answers may come now.
    """

    def __init__(self, pairs: PassingPairs, chance: Callable[[], float], has_way: HasWay = any_way) -> None:
        self._pairs, self._chance, self._has_way = pairs, chance, has_way
        self._probes: Probes[Ends] = Probes(chance)
        self._doubts: Probes[Ends] = Probes(chance)
        self._rounds: dict[Way, _Round] = {}
        self._failing: set[Way] = set()
        #: up to when the rounds of a way are used up
        self._spent: dict[Way, float] = {}
        self._gathers: dict[Ends, _Answers] = {}
        self._next_turn = float("-inf")
        #: when what had no answer was asked anew last, for a stream was opened
        self._opened: dict[Way, float] = {}
        #: how often nothing answered, of pairs for which that was so
        self._silent: dict[Ends, int] = {}

    def __len__(self) -> int:
        """Questions that are to be asked, or wait for an answer."""
        return sum(len(one.waits) + len(one.out) for one in self._rounds.values())

    def failing(self) -> list[tuple[Way, Reason]]:
        """Ways that cannot be gone now, of those on which something is to be asked."""
        return [(way, self._rounds[way].reason) for way in self._failing]

    def begin(self, ways: Iterable[Way], now: float, within_s: float = 0.0) -> None:
        """Something may have been lost on these: all their pairs are asked, as soon as there is a way."""
        for way in ways:
            granted = [pair.ends for pair in self._pairs.of_way(way) if pair.granted]
            if not granted:
                continue
            round_ = self._rounds.get(way)
            if round_ is not None and round_.scout is not None and round_.scout in round_.waits:
                round_.waits.update(dict.fromkeys(granted))
                continue  # it has not begun
            round_ = round_ or self._rounds.setdefault(way, _Round())
            round_.waits.update(dict.fromkeys(granted))
            spent = self._spent.get(way, now)
            self._spent[way] = spend(spent, now, PACE_S)
            wait_s = max(paced(spent, now, PACE_BURST, PACE_S), SETTLE_S)
            at = max(now + wait_s + within_s * self._chance(), self._turn(now))
            self._send_scout(way, round_, at)

    def _turn(self, now: float) -> float:
        """When the next way has its turn: the first ones at once, many spread."""
        self._next_turn = max(self._next_turn, now) + 2 * self._chance() / WAYS_PER_S
        return self._next_turn

    def _send_scout(self, way: Way, round_: _Round, at: float) -> None:
        if not round_.waits:
            self._end(way)
            return
        round_.scout = next(iter(round_.waits))
        self._probes.drop(round_.scout)
        self._probes.ask([round_.scout], at)

    def _end(self, way: Way) -> None:
        self._rounds.pop(way, None)
        self._failing.discard(way)

    def take(self, now: float, most: int) -> list[PassingPair]:
        """Who is to be asked now, so many at most; `answered` is told what came of each."""
        taken = []
        for ends in self._probes.take(now, most):
            pair = self._pairs.get(ends)
            way, round_ = self._round_of(ends, pair)
            if round_ is None or ends not in round_.waits or round_.scout not in {None, ends}:
                continue
            if self._waits_for_way(way, round_, ends, now):
                continue
            del round_.waits[ends]
            if pair is None:
                if round_.scout == ends:
                    self._send_scout(way, round_, now)
                continue
            round_.out.add(ends)
            self._gathers[ends] = _Answers(pair, had_way=self._has_way(*way))
            taken.append(pair)
        return taken

    def _waits_for_way(self, way: Way, round_: _Round, ends: Ends, now: float) -> bool:
        """Put the first question off while there is no way for its answer, for a moment."""
        if round_.scout != ends or self._has_way(*way):
            return False
        if round_.waited is None:
            round_.waited = now + WAY_S
            self._probes.ask([ends], round_.waited)
        return now < round_.waited

    def _round_of(self, ends: Ends, pair: PassingPair | None) -> tuple[Way, _Round | None]:
        if pair is not None:
            return pair.way, self._rounds.get(pair.way)
        found = next((one for one in self._rounds.items() if ends in one[1].waits), None)
        return found or (("", ""), None)

    def answered(self, pair: PassingPair, came: Came, now: float, reason: Reason = Reason.NONE) -> None:
        """What came of a question.

        Args:
            pair: that it was asked for.
            came: that.
            now: monotonic seconds.
            reason: why it failed; none where that says nothing of whether there is a way.
        """
        ends, way = pair.ends, pair.way
        round_ = self._rounds.get(way)
        if came is not Came.GOT:
            self._gathers.pop(ends, None)
        elif (gather := self._gathers.get(ends)) is not None:
            gather.arrived(now)
        if round_ is None:
            return
        round_.out.discard(ends)
        was_first = round_.scout == ends and ends not in round_.waits
        if came is Came.FAILED:
            self._failed(way, round_, ends, now, reason)
            return
        if came is Came.GOT:
            round_.refused = 0
            if self._has_way(*way):  # else it is known that it was read, and no more
                round_.tries = round_.hurried = 0
                round_.failing_since, round_.told = None, False
                self._failing.discard(way)
            if was_first:
                round_.scout = None
                self._probes.ask(round_.waits, now, min(len(round_.waits) / SPREAD_PER_S, SPREAD_S))
        elif was_first:
            round_.refused += 1
            if round_.refused >= REFUSED:
                self._end(way)
                return
            self._send_scout(way, round_, now)
        if way not in self._failing:
            self._end_idle(way)

    def _end_idle(self, way: Way) -> None:
        """End a round in which nothing is left to be asked."""
        round_ = self._rounds.get(way)
        if round_ is not None and not round_.waits and not round_.out:
            self._end(way)

    def _failed(self, way: Way, round_: _Round, ends: Ends, now: float, reason: Reason) -> None:
        round_.waits[ends] = None
        if round_.scout is not None and round_.scout != ends:
            return  # it was asked before it was known that there is no way
        round_.tries += 1
        at = now + AGAIN.wait_s(round_.tries, self._chance())
        if reason is not Reason.NONE:
            round_.reason, round_.failed_at = reason, now
            self._failing.add(way)
            if round_.failing_since is None:
                round_.failing_since = now
            if now < round_.failing_since + GRACE_S:  # tried once more before anybody is told
                at = min(at, round_.failing_since + GRACE_S)
        self._send_scout(way, round_, at)

    def heard(self, pair: PassingPair, resource: str, now: float) -> None:
        """A presence of the presentity reached the watcher: an answer, or one that says as much."""
        if not self._rounds and not self._gathers:
            return
        self._hurry(pair.way, now)
        gather = self._gathers.get(pair.ends)
        if gather is None:
            return
        self._silent.pop(pair.ends, None)
        if resource:
            gather.unnamed.discard(resource)
        else:
            gather.unnamed.clear()
        gather.heard(now)

    def _hurry(self, way: Way, now: float) -> None:
        """They are there again, whatever was tried in vain: the next try is now."""
        round_ = self._rounds.get(way)
        if round_ is None or round_.scout not in round_.waits:
            return
        waits_for_way = round_.waited is not None and now < round_.waited
        if waits_for_way or round_.tries > round_.hurried:
            round_.hurried = round_.tries
            self._send_scout(way, round_, now)

    def opened(self, way: Way, now: float) -> None:
        """Presence may come by a way on one more stream: an answer that was sent before may be lost.

        A server that has just failed to open it drops what it would say, though it reads what we ask
        (`ejabberd_s2s_out:process_closed`).
        """
        self._hurry(way, now)
        if now < self._opened.get(way, float("-inf")) + OPENED_AGAIN_S:
            return
        for ends, gather in self._gathers.items():
            pair = self._pairs.get(ends)
            if pair is not None and pair.way == way and gather.opened(now):
                self._opened[way] = now

    def gone(self, now: float) -> list[tuple[PassingPair, list[str]]]:
        """Pairs whose answers are all there, with the resources that none named: those are gone.

        Who is not answered at all is asked again.
        """
        over = [ends for ends, one in self._gathers.items() if one.until <= now]
        found = []
        for ends in over:
            gather, pair = self._gathers.pop(ends), self._pairs.get(ends)
            times = self._silent.pop(ends, 0)
            if pair is None or (not gather.came and self._asks_silent(pair, gather, times, now)):
                continue
            self._end_idle(pair.way)
            if names := [one for one in pair.shown if one in gather.unnamed]:
                found.append((pair, names))
        return found

    def _asks_silent(self, pair: PassingPair, gather: _Answers, times: int, now: float) -> bool:
        """Whether a question that nobody answered, so many times before, is to be asked again."""
        ends, way = pair.ends, pair.way
        silence = gather.silence(times, has_way=self._has_way(*way))
        if silence is Silence.LOST:
            self._silent[ends] = times
            self._ask_later(pair, now)
        elif silence is Silence.MAYBE_LOST:
            self._silent[ends] = times + 1
            self._ask_later(pair, now + SILENT_S * 2.0**times)
        elif silence is Silence.NO_WAY:
            self._failed(way, self._rounds.setdefault(way, _Round()), ends, now, Reason.SERVICE_DOWN)
        return silence is not Silence.ANSWER

    def _ask_later(self, pair: PassingPair, at: float) -> None:
        round_ = self._rounds.setdefault(pair.way, _Round())
        round_.waits[pair.ends] = None
        if round_.scout is None:
            self._probes.ask([pair.ends], at)

    def doubted(self, now: float, most: int) -> list[tuple[PassingPair, Reason]]:
        """Watchers who are to be told now that nothing is known of a presentity, and why."""
        for way in self._failing:
            round_ = self._rounds[way]
            since = round_.failing_since
            if not round_.told and since is not None and round_.failed_at - since >= GRACE_S:
                round_.told = True
                shown = [pair.ends for pair in self._pairs.of_way(way) if pair.shown]
                self._doubts.ask(shown, now, min(len(shown) / SPREAD_PER_S, SPREAD_S))
        found = []
        for ends in self._doubts.take(now, most):
            pair = self._pairs.get(ends)
            if pair is not None and pair.shown and pair.way in self._failing:
                found.append((pair, self._rounds[pair.way].reason))
        return found

    def tidy(self, now: float) -> None:
        """Forget the pace of ways on which nothing happened for long, and pairs that have ended."""
        self._silent = {ends: times for ends, times in self._silent.items() if self._pairs.get(ends)}
        if len(self._spent) > len(self._rounds):
            self._spent = {way: spent for way, spent in self._spent.items() if spent > now}
        if len(self._opened) > len(self._rounds):
            since = now - OPENED_AGAIN_S
            self._opened = {way: at for way, at in self._opened.items() if at > since}
