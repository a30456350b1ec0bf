"""Both sides against each other over a network that loses, delays, reorders and fails, with restarts.

Whatever happens: nobody is ever shown an older state than before, and when it is calm everybody is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from imxrouter.model.address import Address
from imxrouter.model.operations import Notify, Subscribe, SubscriptionState
from imxrouter.model.outcome import SUCCESS, Outcome, failure, indeterminant
from imxrouter.model.presence import Unknown, offline
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.destinations import BackOff
from imxrouter.routing.notifying import Notifying
from imxrouter.routing.owed import Decision, NotifySettings, Owed
from imxrouter.routing.watched import Effects, KeptWatch, Verdict, WatchSettings
from imxrouter.routing.watching import Watching

WATCHERS = [Address.parse(f"w{number}@a.example") for number in range(2)]
USERS = [Address.parse(f"u{number}@b.example") for number in range(2)]
PAIRS = [(watcher, user) for watcher in WATCHERS for user in USERS]
Pair = tuple[Address, Address]
QUICK = BackOff(first_s=2, cap_s=20, jitter=0.5)
#: Subscriptions that are renewed soon, so that what was lost for good heals.
SHORT_S = 100
#: Subscriptions that are never renewed: everything has to come right without.
LONG_S = 1_000_000
#: Answers time out, back-offs end, and the short subscriptions are renewed, in less than this.
CALM_S = 320


@dataclass(frozen=True)
class Asked:
    """A SUBSCRIBE under way."""

    operation: Subscribe


@dataclass(frozen=True)
class Told:
    """A NOTIFY under way."""

    by: Notifying
    owed: Owed
    operation: Notify


@dataclass(frozen=True)
class Answer:
    """A response under way."""

    to: Asked | Told
    outcome: Outcome


def meaning(state: int) -> int:
    """What a state means to people."""
    return state // 2


class World:
    """Two watchers, two presentities, and what is between them."""

    def __init__(self, life_s: int) -> None:
        self.life_s = life_s
        self.now = 0.0
        self.random = Random(7)
        self.numbers = count(1)
        self.epoch = 1
        self.states = count(1)
        self.state = {user: next(self.states) for user in USERS}
        self.decision = dict.fromkeys(PAIRS, Decision.ALLOW)
        self.wanted: set[Pair] = set()
        self.shown: dict[Pair, int | None] = {}
        self.newest: dict[Pair, int] = {}
        self.store: dict[bytes, KeptWatch] = {}
        self.transit: list[Asked | Told | Answer] = []
        self.watching = self.watcher()
        self.notifying = self.notifier()

    def new_id(self) -> bytes:
        """Never the same."""
        return next(self.numbers).to_bytes(16, "big")

    def watcher(self) -> Watching:
        """One life of the watchers' side."""

        def keep(key: bytes, kept: KeptWatch | None) -> None:
            if kept is None:
                self.store.pop(key, None)
            else:
                self.store[key] = kept

        bounds = WatchSettings(backoff=QUICK)
        return Watching(self.new_id, self.random.random, bounds, 1000.0, keep)

    def notifier(self) -> Notifying:
        """One life of the presentities' side."""
        self.epoch += 1
        return Notifying(self.epoch, self.random.random, NotifySettings(backoff=QUICK), 1000.0)

    # -- what people and machines do -------------------------------------------------------------------

    def publish(self, which: int) -> None:
        """A user changes his state; two that follow each other may mean the same."""
        user = USERS[which % 2]
        self.state[user] = next(self.states)
        self.notifying.publish(user, self.notifying.next_version())

    def want(self, which: int) -> None:
        """A watcher wants to know."""
        pair = PAIRS[which % 4]
        self.wanted.add(pair)
        assert self.watching.want(*pair, self.life_s) is None

    def unwant(self, which: int) -> None:
        """A watcher does not any more."""
        pair = PAIRS[which % 4]
        self.wanted.discard(pair)
        self.shown.pop(pair, None)
        self.watching.unwant(*pair, self.now)

    def want_again(self, which: int) -> None:
        """A watcher thinks twice."""
        self.unwant(which)
        self.want(which)

    def decide(self, which: int) -> None:
        """A user thinks again of a watcher."""
        pair = PAIRS[which % 4]
        self.decision[pair] = list(Decision)[which // 4 % 3]
        self.notifying.decide(*pair, self.decision[pair], self.now)

    def restart_notifier(self, which: int) -> None:
        """With or without its memory; what it sent is still under way."""
        kept = list(self.notifying.kept()) if which % 2 else []
        self.notifying = self.notifier()
        for one in kept:
            assert self.notifying.from_kept(one, self.now) is None

    def restart_watcher(self, which: int) -> None:
        """It shows nothing until it is told, and remembers the version; or it has forgotten everything."""
        self.watching = self.watcher()
        if which % 3:
            for one in list(self.store.values()):
                assert self.watching.from_kept(one, self.now) is None
        else:
            self.store.clear()
            self.newest.clear()
            for pair in sorted(self.wanted):
                self.watching.want(*pair, self.life_s)
        self.shown.clear()

    def tick(self, seconds: int) -> None:
        """Time passes, and what is due is sent."""
        self.now += seconds % 40
        self.effects(self.watching.due(self.now))
        for owed in self.notifying.due(self.now, 3):
            state = self.state[owed.presentity]
            allowed = self.decision[owed.watcher, owed.presentity] is Decision.ALLOW
            is_fetch = owed.state is SubscriptionState.TERMINATED  # its caller makes what he may see now
            assert allowed or is_fetch or not owed.full, "a state is told to whom it may not be told"
            if self.notifying.sending(owed, b"%d" % meaning(state) if owed.full else b"", self.now):
                document = b"%d" % state
                operation = owed.notify(self.new_id(), offline(owed.presentity), document)
                self.transit.append(Told(self.notifying, owed, operation))

    # -- what the network does -------------------------------------------------------------------------

    def deliver(self, which: int) -> None:
        """Something under way arrives, in any order."""
        if not self.transit:
            return
        one = self.transit.pop(which % len(self.transit))
        if isinstance(one, Asked):
            self.transit.append(Answer(one, self.taken(one.operation)))
        elif isinstance(one, Told):
            self.transit.append(Answer(one, self.heard(one.operation)))
        elif isinstance(one.to, Asked):
            self.effects(self.watching.answered(one.to.operation, one.outcome, self.now))
        else:
            one.to.by.answered(one.to.owed, one.outcome, self.now)

    def lose(self, which: int) -> None:
        """Nobody ever hears of it."""
        if self.transit:
            self.transit.pop(which % len(self.transit))

    def fail(self, which: int) -> None:
        """A request is not delivered and its sender told so; an answer is lost and a failure in its place."""
        if not self.transit:
            return
        one = self.transit.pop(which % len(self.transit))
        if isinstance(one, Answer):
            self.transit.append(replace(one, outcome=indeterminant(Reason.LINK_LOST)))
        else:
            self.transit.append(Answer(one, failure(Reason.UNREACHABLE)))

    def taken(self, asked: Subscribe) -> Outcome:
        """What the presentities' side answers."""
        decision = self.decision[asked.watcher, asked.presentity]
        taken = self.notifying.subscribe(asked, decision, self.now, LONG_S)
        if taken.refusal is not None:
            return failure(taken.refusal.reason).disclosed()
        return replace(SUCCESS, result=taken.result)

    def heard(self, told: Notify) -> Outcome:
        """What the watchers' side answers; what is shown is never older than what was."""
        heard = self.watching.notified(told, self.now)
        pair = (told.watcher, told.presentity)
        if heard.verdict is Verdict.NEWS:
            state = int(told.document)
            assert state >= self.newest.get(pair, 0), "an older state was shown"
            self.newest[pair] = self.shown[pair] = state
        self.effects(heard.effects)
        return failure(Reason.NOT_SUBSCRIBED) if heard.verdict is Verdict.NOT_SUBSCRIBED else SUCCESS

    def effects(self, effects: Effects) -> None:
        """Do what the watchers' side wants done."""
        self.transit += [Asked(asked) for asked in effects.send]
        for show in effects.show:
            assert isinstance(show.presence, Unknown)
            if (show.watcher, show.presentity) in self.wanted:
                self.shown[show.watcher, show.presentity] = None
        for end in effects.ended:
            self.wanted.discard((end.watcher, end.presentity))

    def calm(self, seconds: int = CALM_S) -> None:
        """Everything is delivered for a while."""
        for _ in range(seconds):
            self.tick(1)
            while self.transit:
                self.deliver(0)


ACTS: list[Callable[[World, int], None]] = [
    *[World.publish] * 3, World.want, World.want_again, World.unwant, World.decide, World.restart_notifier,
    World.restart_watcher, *[World.tick] * 4, *[World.deliver] * 5, *[World.lose] * 2, *[World.fail] * 2,
]  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 119)), min_size=30, max_size=120)


def lived(steps: list[tuple[Callable[[World, int], None], int]], life_s: int = SHORT_S) -> World:
    """A world in which everybody wanted and was told, and then everything happened."""
    world = World(life_s)
    for which in range(4):
        world.want(which)
    world.calm(3)
    for act, which in steps:
        act(world, which)
    return world


@settings(max_examples=60)
@given(STEPS)
def test_every_watcher_is_right_in_the_end_and_never_goes_back(
    steps: list[tuple[Callable[[World, int], None], int]],
) -> None:
    """Who is allowed and wants to know sees what the presentity is; nothing is left of the others."""
    world = lived(steps)
    for which in range(4):
        world.decide(which)  # allowed
    world.calm()
    for which in range(4):
        world.want(which)  # those who were refused before
    world.calm()
    for pair in PAIRS:
        shown = world.shown[pair]
        assert shown is not None, "still unknown"
        assert meaning(shown) == meaning(world.state[pair[1]]), "not the newest state"
    assert len(world.watching) == len(world.notifying) == 4
    for which in range(4):
        world.unwant(which)
    world.calm()
    assert len(world.watching) == len(world.notifying) == 0
    assert not world.store


@settings(max_examples=120)
@given(STEPS)
def test_no_renewal_is_needed_to_be_right(steps: list[tuple[Callable[[World, int], None], int]]) -> None:
    """Where no memory is lost and nobody refused, each watcher is right without one."""
    world = lived(
        [
            (act, which | 1 if act is World.restart_notifier else which % 8 if act is World.decide else which)
            for act, which in steps
        ],
        LONG_S,
    )
    for which in range(4):
        if world.decision[PAIRS[which]] is not Decision.ALLOW:
            world.decide(which)  # allowed; a decision that changes nothing would tell the state again
        world.want(which)
    world.calm()
    for watcher, user in PAIRS:
        shown = world.shown[watcher, user]
        assert shown is not None, "still unknown"
        assert meaning(shown) == meaning(world.state[user]), "not the newest state"
    for which in range(2):
        world.publish(which)
        world.publish(which)
    world.calm()
    assert len(world.notifying) == 4, "who left is told for ever"


@settings(max_examples=40)
@given(STEPS)
def test_nothing_is_told_to_who_may_not_see_it(
    steps: list[tuple[Callable[[World, int], None], int]],
) -> None:
    """After everybody was refused nothing new is shown, and no subscription is left on either side."""
    world = lived(steps)
    for which in range(8, 12):
        world.decide(which)  # refused
    world.calm()
    before = dict(world.newest)
    world.publish(0)
    world.publish(1)
    world.calm()
    assert world.newest == before
    assert len(world.watching) == len(world.notifying) == 0
