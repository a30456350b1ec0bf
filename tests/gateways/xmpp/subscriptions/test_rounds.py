"""When presence that passes is asked for anew: one question first, the rest spread, at a pace."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from imxrouter.gateways.xmpp.subscriptions.passing import PassingPair, PassingSettings, Way
from imxrouter.gateways.xmpp.subscriptions.probes import (
    ALL_S,
    FIRST_S,
    OPENED_AGAIN_S,
    OPENED_S,
    SILENT_S,
    SILENT_TRIES,
    WAY_S,
)
from imxrouter.gateways.xmpp.subscriptions.rounds import (
    GRACE_S,
    PACE_BURST,
    PACE_S,
    REFUSED,
    SETTLE_S,
    SPREAD_PER_S,
    SPREAD_S,
    WAYS_PER_S,
    Came,
    Rounds,
)
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.subscriptions.passing_rig import ALICE, BOB, PassingRig

FROM_BOB: Way = ("b.example", "a.example")
DOWN = Reason.SERVICE_DOWN


class Rig(PassingRig):
    """Pairs, and what is asked for them; questions are answered by `outcome`.

    Attributes:
        asked: the moment and the pair of each question.
        told: the same of each watcher who was told that nothing is known.
        gone: resources that no answer named.
    """

    def __init__(self, settings: PassingSettings | None = None) -> None:
        super().__init__(settings)
        self.outcome: Callable[[PassingPair], Came | None] = lambda _pair: Came.GOT
        self.reason = DOWN
        self.answers = True
        self.asked: list[tuple[float, PassingPair]] = []
        self.told: list[tuple[float, PassingPair, Reason]] = []
        self.gone: list[tuple[float, list[str]]] = []
        self.has_way = True
        self.rounds = Rounds(self.pairs, random.Random(1).random, lambda _from, _to: self.has_way)

    def crowd(self, count: int) -> None:
        """So many of b.example whom Alice sees."""
        for number in range(count):
            self.friends(ALICE, f"u{number}@b.example")

    def wait(self, seconds: float) -> int:
        """Time goes by; how often somebody was asked."""
        before = len(self.asked)
        until = self.now + seconds
        while self.now < until - 1e-9:
            self.now += 0.5
            self.gone += [(self.now, names) for _, names in self.rounds.gone(self.now)]
            for pair, reason in self.rounds.doubted(self.now, 1000):
                self.told.append((self.now, pair, reason))
                self.pairs.forget_shown(pair)
            for pair in self.rounds.take(self.now, 1000):
                self.asked.append((self.now, pair))
                came = self.outcome(pair)
                if came is not None:
                    self.rounds.answered(pair, came, self.now, self.reason)
                if came is Came.GOT and self.answers:
                    for name in pair.shown or ("",):
                        self.rounds.heard(pair, name, self.now)
        return len(self.asked) - before

    def says(self, resource: str, type_: str = "", of: str = BOB) -> None:
        """Bob says something, which passes."""
        pair = self.passes(type_, f"{of}/{resource}" if resource else of, ALICE)
        assert pair is not None
        self.rounds.heard(pair, resource, self.now)


def test_one_is_asked_first_and_the_rest_spread() -> None:
    """Each once; no second has more than its share."""
    rig = Rig(PassingSettings(per_user=10_000))
    rig.crowd(1000)
    rig.rounds.begin([FROM_BOB], rig.now)
    assert rig.wait(SETTLE_S) == 1
    rig.wait(SPREAD_S)
    assert len({pair.ends for _, pair in rig.asked}) == len(rig.asked) == 1000
    in_second = [sum(now <= at < now + 1 for at, _ in rig.asked) for now in range(12)]
    assert max(in_second) < 1000 / SPREAD_S * 1.5
    assert rig.wait(100) == 0
    assert len(rig.rounds) == 0


def test_many_ways_have_their_turns() -> None:
    """A router that starts, or loses its own network, does not dial thousands at once."""
    rig = Rig()
    for number in range(2000):
        rig.friends(f"u{number}@a.example", f"v{number}@h{number}.b.example")
    rig.rounds.begin(rig.pairs.ways(), rig.now)
    rig.wait(20)
    assert len(rig.asked) == 2000
    in_second = [sum(now <= at < now + 1 for at, _ in rig.asked) for now in range(12)]
    assert max(in_second[2:]) < WAYS_PER_S * 1.5


def test_few_are_asked_at_twenty_a_second() -> None:
    """A small network is right again at once."""
    rig = Rig()
    rig.crowd(10)
    rig.rounds.begin([FROM_BOB], rig.now)
    assert rig.wait(SETTLE_S + 10 / SPREAD_PER_S + 1) == 10


def test_while_there_is_no_way_one_is_tried() -> None:
    """With pauses that double, at most as long as it has been gone; then all are asked."""
    rig = Rig()
    rig.crowd(100)
    rig.outcome = lambda _pair: Came.FAILED
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(100)
    moments = [at for at, _ in rig.asked]
    assert 7 <= len(moments) <= 12
    gaps = [after - before for before, after in pairwise(moments)]
    for gap, moment in zip(gaps, moments, strict=False):
        assert gap <= moment + 2.0
    rig.outcome = lambda _pair: Came.GOT
    assert rig.wait(110) == 100
    assert len({pair.ends for _, pair in rig.asked[-100:]}) == 100
    assert rig.rounds.failing() == []


def test_the_way_goes_again_while_the_rest_is_asked() -> None:
    """Who was asked in vain is asked again when it is there, and nobody twice who was answered."""
    rig = Rig()
    rig.crowd(100)
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(SETTLE_S + 2)
    got = {pair.ends for _, pair in rig.asked}
    assert 1 < len(got) < 100
    rig.outcome = lambda _pair: Came.FAILED
    rig.wait(3)
    in_vain = len(rig.asked)
    rig.outcome = lambda _pair: Came.GOT
    rig.wait(30)
    later = [pair.ends for _, pair in rig.asked[in_vain:]]
    assert got.isdisjoint(later)
    assert got | set(later) == {pair.ends for pair in rig.pairs.all()}
    assert len(set(later)) == len(later)


def test_whoever_is_heard_is_asked_at_once() -> None:
    """A presence of the domain says that it is there again; once for each try."""
    rig = Rig()
    rig.friends()
    rig.outcome = lambda _pair: Came.FAILED
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(60)
    before = len(rig.asked)
    rig.says("desk")
    rig.says("desk")
    assert rig.wait(0.5) == 1
    rig.outcome = lambda _pair: Came.GOT
    rig.says("desk")
    assert rig.wait(0.5) == 1
    assert len(rig.asked) == before + 2


def test_who_breaks_streams_has_little_asked() -> None:
    """So many rounds at once, then one in a while; other ways have their own."""
    rig = Rig()
    rig.friends()
    rig.friends("carol@a2.example", BOB)
    for _ in range(600):
        rig.rounds.begin([FROM_BOB], rig.now)
        rig.wait(1)
    most = PACE_BURST + 600 / PACE_S + 1
    assert most / 2 < len(rig.asked) <= most
    rig.rounds.begin([("b.example", "a2.example")], rig.now)
    before = rig.now
    rig.wait(SETTLE_S)
    assert [pair.watcher for at, pair in rig.asked if at > before][-1] == "carol@a2.example"


def test_a_round_that_has_not_begun_is_not_begun_twice() -> None:
    """A stream that breaks again and again meanwhile changes nothing."""
    rig = Rig()
    rig.friends()
    for _ in range(10):
        rig.rounds.begin([FROM_BOB], rig.now)
    assert rig.wait(PACE_S * 12) == 1


def test_what_is_lost_while_it_is_asked_is_asked_for_again() -> None:
    """The stream breaks with the question, or behind it."""
    rig = Rig()
    rig.friends()
    rig.outcome = lambda _pair: None
    rig.rounds.begin([FROM_BOB], rig.now)
    assert rig.wait(SETTLE_S) == 1
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.rounds.answered(rig.asked[0][1], Came.GOT, rig.now)
    rig.says("desk")
    rig.outcome = lambda _pair: Came.GOT
    assert rig.wait(10) == 1
    assert len(rig.rounds) == 0


def test_a_question_that_fails_behind_the_last_answer_is_asked_again() -> None:
    """While one is out the round has not ended, though nobody else waits for his turn."""
    rig = Rig()
    rig.crowd(3)
    rig.outcome = lambda _pair: None if len(rig.asked) > 1 else Came.GOT
    rig.rounds.begin([FROM_BOB], rig.now)
    assert rig.wait(SETTLE_S + 1) == 3
    assert len(rig.rounds) == 2
    second, third = (pair for _, pair in rig.asked[1:])
    rig.rounds.answered(second, Came.GOT, rig.now)
    rig.says("desk", of=second.presentity)
    rig.rounds.answered(third, Came.FAILED, rig.now, DOWN)
    rig.outcome = lambda _pair: Came.GOT
    assert rig.wait(60) == 1
    assert rig.asked[-1][1] is third
    assert (len(rig.rounds), rig.rounds.failing()) == (0, [])


def test_who_is_only_asked_for_a_wish_is_not_asked() -> None:
    """Nor is anybody on a way that is unknown."""
    rig = Rig()
    rig.passes("subscribe", ALICE, BOB)
    rig.rounds.begin([FROM_BOB, ("x.example", "a.example")], rig.now)
    assert rig.wait(100) == 0


def test_after_some_refusals_the_rest_is_left() -> None:
    """A domain that is not reached by XMPP any more; one pair's own refusal is its own."""
    rig = Rig()
    rig.crowd(50)
    rig.outcome = lambda _pair: Came.REFUSED
    rig.rounds.begin([FROM_BOB], rig.now)
    assert rig.wait(100) == REFUSED
    assert len(rig.rounds) == 0
    refused = next(iter(rig.pairs.all()))
    rig.outcome = lambda pair: Came.REFUSED if pair is refused else Came.GOT
    rig.rounds.begin([FROM_BOB], rig.now)
    assert rig.wait(100) == 50


def test_who_ends_meanwhile_is_not_asked() -> None:
    """Whether he was to be the first, or one of the rest."""
    rig = Rig()
    rig.crowd(3)
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.passes("unsubscribe", ALICE, "u0@b.example")
    rig.wait(20)
    assert sorted(pair.presentity for _, pair in rig.asked) == ["u1@b.example", "u2@b.example"]
    rig.rounds.begin([FROM_BOB], rig.now)
    for number in (1, 2):
        rig.passes("unsubscribe", ALICE, f"u{number}@b.example")
    assert rig.wait(20) == 0
    assert len(rig.rounds) == 0


# -- answers -----------------------------------------------------------------------------------------------


def test_what_no_answer_names_is_gone() -> None:
    """Some seconds after the first answer."""
    rig = Rig()
    rig.answers = False
    rig.friends()
    rig.says("phone")
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(SETTLE_S)
    rig.says("desk")
    rig.wait(FIRST_S + 0.5)
    assert [names for _, names in rig.gone] == [["phone"]]


def test_silence_where_there_was_a_way_is_an_answer() -> None:
    """Some servers say nothing of who is not there."""
    rig = Rig()
    rig.answers = False
    rig.friends()
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(SETTLE_S + ALL_S - 0.5)
    assert rig.gone == []
    assert rig.wait(60) == 0
    assert [names for _, names in rig.gone] == [["desk"]]
    assert len(rig.rounds) == 0


def test_silence_where_there_was_none_is_no_answer() -> None:
    """His server may not reach us yet: it is asked again, with pauses that double; he is gone only then."""
    rig = Rig()
    rig.answers = rig.has_way = False
    rig.friends()
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(SETTLE_S + WAY_S + (SILENT_TRIES + 1) * ALL_S + 3 * SILENT_S - 1)
    assert rig.gone == []
    rig.has_way = True
    rig.wait(4)
    assert len(rig.asked) == 1 + SILENT_TRIES
    assert [names for _, names in rig.gone] == [["desk"]]
    assert len(rig.rounds) == 0
    rig.says("desk")
    rig.has_way = False
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(SETTLE_S + WAY_S + ALL_S + SILENT_S)
    rig.says("desk")
    assert rig.wait(2000) == 0
    assert len(rig.gone) == 1


@pytest.mark.parametrize("arrived", [True, False], ids=["read", "not known to be read"])
def test_what_was_asked_before_there_was_a_way_for_the_answer_is_asked_again(*, arrived: bool) -> None:
    """A second after his server opened a stream to us; that does not count as his silence."""
    rig = Rig()
    rig.answers = rig.has_way = False
    rig.friends()
    rig.outcome = lambda _pair: Came.GOT if arrived else None
    rig.rounds.begin([FROM_BOB], rig.now)
    assert rig.wait(SETTLE_S + WAY_S) == 1
    rig.rounds.opened(("b.example", "c.example"), rig.now)
    assert rig.wait(OPENED_S) == 0
    rig.rounds.opened(FROM_BOB, rig.now)
    rig.rounds.opened(FROM_BOB, rig.now)
    assert rig.wait(OPENED_S - 0.5) == 0
    if not arrived:
        rig.rounds.answered(rig.asked[0][1], Came.GOT, rig.now - 0.5)  # read at last
    rig.outcome = lambda _pair: Came.GOT
    assert rig.wait(0.5) == 1
    assert rig.wait(SILENT_TRIES * (ALL_S + 2 * SILENT_S) - 0.5) == SILENT_TRIES
    assert rig.gone == []


def test_while_there_is_no_way_for_the_answer_it_is_waited_for() -> None:
    """Two seconds, or until it is there: an answer that cannot be sent is an error for the presentity."""
    rig = Rig()
    rig.friends()
    rig.has_way = False
    rig.rounds.begin([FROM_BOB], rig.now)
    assert rig.wait(SETTLE_S + WAY_S - 0.5) == 0
    rig.has_way = True
    rig.rounds.opened(FROM_BOB, rig.now)
    rig.rounds.opened(FROM_BOB, rig.now)
    assert rig.wait(0.5) == 1
    assert rig.wait(60) == 0
    rig.has_way = False
    rig.rounds.begin([FROM_BOB], rig.now)
    assert rig.wait(SETTLE_S + WAY_S - 0.5) == 0
    assert rig.wait(0.5) == 1


def test_an_answer_ends_it_though_no_way_is_known() -> None:
    """It came, however that was: nothing is left to be tried, and no way is said to fail."""
    rig = Rig()
    rig.friends()
    rig.has_way = False
    rig.outcome = lambda _pair: Came.FAILED
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(20)
    assert rig.rounds.failing() == [(FROM_BOB, DOWN)]
    rig.outcome = lambda _pair: Came.GOT
    rig.wait(60)
    assert (len(rig.rounds), rig.rounds.failing()) == (0, [])
    assert rig.wait(2000) == 0


def test_silence_without_a_way_says_nothing_of_him() -> None:
    """He is not gone: the watcher is told that nothing is known; he is asked when there is a way."""
    rig = Rig()
    rig.friends()
    rig.answers = rig.has_way = False
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(200)
    assert rig.gone == []
    assert [(pair.ends, reason) for _, pair, reason in rig.told] == [((ALICE, BOB), DOWN)]
    rig.answers = rig.has_way = True
    rig.rounds.opened(FROM_BOB, rig.now)
    assert rig.wait(OPENED_S + 0.5) >= 1
    rig.says("desk")
    assert rig.wait(600) == 0


def test_who_opens_streams_has_little_asked() -> None:
    """Once in five seconds, and only what nobody answered."""
    rig = Rig()
    rig.answers = False
    rig.outcome = lambda _pair: None
    rig.friends()
    rig.rounds.begin([FROM_BOB], rig.now)
    count = 0
    for _ in range(60):
        rig.rounds.opened(FROM_BOB, rig.now)
        count += rig.wait(0.5)
    assert count <= 30 / OPENED_AGAIN_S + 1
    rig.says("desk")
    rig.wait(OPENED_S)
    rig.rounds.opened(FROM_BOB, rig.now)
    assert rig.wait(60) == 0


def test_a_new_way_is_tried_at_once_where_all_failed() -> None:
    """Whoever opens a stream is there; once for each try that failed, however many he opens."""
    rig = Rig()
    rig.outcome = lambda _pair: Came.FAILED
    rig.friends()
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(300)
    assert rig.wait(1) == 0
    rig.rounds.opened(FROM_BOB, rig.now)
    rig.rounds.opened(FROM_BOB, rig.now)
    assert rig.wait(0.5) == 1
    rig.rounds.opened(FROM_BOB, rig.now)
    rig.outcome = lambda _pair: Came.GOT
    assert rig.wait(0.5) == 1


@pytest.mark.parametrize("type_", ["unavailable", "error"])
def test_he_is_not_there_at_all(type_: str) -> None:
    """The bare JID says it: nothing is left to be taken back."""
    rig = Rig()
    rig.answers = False
    rig.friends()
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(SETTLE_S)
    rig.says("", type_)
    rig.wait(10)
    assert rig.gone == []


def test_an_answer_may_be_there_before_the_word_that_the_question_arrived() -> None:
    """And no answer is waited for while it has not: that may take long."""
    rig = Rig()
    rig.friends()
    rig.says("phone")
    rig.outcome = lambda _pair: None
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(60)
    assert rig.gone == []
    rig.says("phone")
    rig.rounds.answered(rig.asked[0][1], Came.GOT, rig.now)
    rig.wait(FIRST_S)
    assert [names for _, names in rig.gone] == [["desk"]]


def test_a_question_that_did_not_arrive_takes_nothing_back() -> None:
    """Nobody answers what he was not asked."""
    rig = Rig()
    rig.friends()
    rig.outcome = lambda _pair: Came.FAILED
    rig.reason = Reason.NONE
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(60)
    assert (rig.gone, rig.told) == ([], [])


# -- nothing is known --------------------------------------------------------------------------------------


def test_watchers_are_told_when_nobody_can_be_asked() -> None:
    """After the grace, once, who was shown somebody; and again only when it failed anew."""
    rig = Rig()
    rig.friends()
    rig.passes("subscribed", "carol@b.example", ALICE)
    rig.passes("subscribe", ALICE, "carol@b.example")
    rig.passes("subscribed", "carol@b.example", ALICE)  # who was never there
    rig.outcome = lambda _pair: Came.FAILED
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(SETTLE_S + GRACE_S - 0.5)
    assert rig.told == []
    rig.wait(2)
    assert [(pair.presentity, reason) for _, pair, reason in rig.told] == [(BOB, DOWN)]
    assert rig.rounds.failing() == [(FROM_BOB, DOWN)]
    rig.says("desk")
    rig.wait(30)
    assert len(rig.told) == 1
    rig.outcome = lambda _pair: Came.GOT
    rig.wait(60)
    rig.says("desk")
    rig.outcome = lambda _pair: Came.FAILED
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(SETTLE_S + GRACE_S + 2)
    assert len(rig.told) == 2


def test_a_short_loss_is_told_to_nobody() -> None:
    """It is there again before the grace is over."""
    rig = Rig()
    rig.friends()
    rig.outcome = lambda _pair: Came.FAILED
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(GRACE_S - 1)
    rig.outcome = lambda _pair: Came.GOT
    rig.wait(60)
    assert rig.told == []


def test_a_crowd_is_told_spread() -> None:
    """As it is asked."""
    rig = Rig()
    rig.crowd(100)
    rig.outcome = lambda _pair: Came.FAILED
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(60)
    assert len(rig.told) == 100
    moments = [at for at, _, _ in rig.told]
    assert 3.0 < max(moments) - min(moments) < SPREAD_S


def test_who_ends_it_meanwhile_is_told_nothing() -> None:
    """While the others are told that nothing is known."""
    rig = Rig()
    rig.crowd(100)
    rig.outcome = lambda _pair: Came.FAILED
    rig.rounds.begin([FROM_BOB], rig.now)
    while not rig.told:
        rig.wait(0.5)
    told = {pair.ends for _, pair, _ in rig.told}
    ended = next(pair for pair in rig.pairs.all() if pair.ends not in told)
    rig.passes("unsubscribe", *ended.ends)
    rig.wait(60)
    assert len(rig.told) == 99
    assert ended.ends not in {pair.ends for _, pair, _ in rig.told}


def test_the_pace_of_quiet_ways_is_forgotten() -> None:
    """What is remembered of strangers' domains is bounded by what happens."""
    rig = Rig()
    rig.friends()
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.outcome = lambda _pair: None
    rig.wait(SETTLE_S)
    rig.rounds.opened(FROM_BOB, rig.now)
    rig.rounds.answered(rig.asked[0][1], Came.GOT, rig.now)
    rig.says("desk")
    rig.wait(4)
    rig.rounds.tidy(rig.now)
    assert (len(rig.rounds._spent), len(rig.rounds._opened)) == (1, 1)
    rig.wait(PACE_S)
    rig.rounds.tidy(rig.now)
    assert (len(rig.rounds._spent), len(rig.rounds._opened)) == (0, 0)


def test_of_who_ends_while_nothing_answers_nothing_is_remembered() -> None:
    """How often he was silent goes with the pair."""
    rig = Rig()
    rig.answers = rig.has_way = False
    rig.friends()
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(SETTLE_S + WAY_S + ALL_S + 1)
    rig.rounds.tidy(rig.now)
    assert len(rig.rounds._silent) == 1
    rig.passes("unsubscribe", ALICE, BOB)
    rig.rounds.tidy(rig.now)
    assert len(rig.rounds._silent) == 0


def test_an_answer_after_a_stream_was_opened_is_whole_once_the_question_was_read() -> None:
    """What it does not name is not gone before that is known."""
    rig = Rig()
    rig.answers, rig.outcome = False, lambda _pair: None
    pair = rig.friends()
    rig.says("desk")
    rig.says("phone")
    rig.rounds.begin([FROM_BOB], rig.now)
    rig.wait(SETTLE_S + 1)
    rig.rounds.opened(FROM_BOB, rig.now)
    rig.says("desk")
    rig.wait(20)
    assert rig.gone == []
    rig.rounds.answered(pair, Came.GOT, rig.now)
    rig.wait(FIRST_S + 1)
    assert [names for _, names in rig.gone] == [["phone"]]
