"""The service behind a simulated host: its users watch others, and are watched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from imxrouter.model.address import Address
from imxrouter.model.operations import Notify, Operation, Subscribe, SubscriptionState, Version
from imxrouter.model.outcome import SUCCESS, Outcome, failure, indeterminant
from imxrouter.model.presence import Basic, Presence, PresenceTuple, Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.destinations import BackOff
from imxrouter.routing.notifying import Notifying
from imxrouter.routing.owed import Decision, NotifySettings, Owed
from imxrouter.routing.watched import Effects, KeptWatch, Verdict, WatchSettings
from imxrouter.routing.watching import Watching
from imxrouter.transport.operations import operation_to_record
from tests.properties.net import Endpoint
from tests.properties.nodes import SETTINGS, Process
from tests.properties.presence_judge import Fate

if TYPE_CHECKING:
    from tests.properties.presence_world import PresenceWorld

_ANSWER_S = 2 * SETTINGS.answer_timeout_s
_BACKOFF = BackOff(first_s=1.0, cap_s=4.0)
WATCH = WatchSettings(again_s=3.0, answer_s=_ANSWER_S, backoff=_BACKOFF)
NOTIFY = NotifySettings(answer_s=_ANSWER_S, last_word_s=10.0, restart_s=5.0, backoff=_BACKOFF)
#: The longest that is granted.
LONGEST_S = 45
#: What watchers ask for.
DURATIONS_S = (12, 30, LONGEST_S)

Pair = tuple[Address, Address]


def shown_as(presentity: Address, number: int) -> Presence:
    """A state; its number can be read in it."""
    return Presence(presentity, (PresenceTuple(f"s{number}", Basic.OPEN),))


class PresenceService:
    """Users of some domains, behind all processes of a host.

    Args:
        world: where it lives.
        endpoint: of the host.
        domains: of its users, two in each.
    """

    def __init__(self, world: PresenceWorld, endpoint: Endpoint, domains: list[bytes]) -> None:
        self.world = world
        self.endpoint = endpoint
        self.users = [
            Address.parse(f"{name}@{domain.decode()}") for domain in domains for name in ("ann", "bob")
        ]
        self.state = dict.fromkeys(self.users, 0)
        self.decisions: dict[Pair, Decision] = {}
        #: whom our users want to watch, and for how long they ask
        self.wants: dict[Pair, int] = {}
        self.shown: dict[Pair, int | None] = {}
        #: the newest version that was shown, of each subscription and of each pair
        self._newest: dict[bytes | Pair, tuple[int, int]] = {}
        self._kept: dict[bytes, KeptWatch] = {}
        self._late: list[tuple[float, Callable[[], None]]] = []
        self.out: dict[int, tuple[Process, Callable[[Outcome], None]]] = {}
        self._numbers = count()
        self._life = 0
        self._is_woken = False
        self.watching = self._new_watching()
        self.notifying = self._new_notifying()

    def _new_watching(self) -> Watching:
        world = self.world
        return Watching(world.new_id, world.chance.random, WATCH, 1e9, self._keep)

    def _new_notifying(self) -> Notifying:
        self._life += 1
        return Notifying(self._life, self.world.chance.random, NOTIFY, 1e9)

    def _keep(self, key: bytes, kept: KeptWatch | None) -> None:
        if kept is None:
            self._kept.pop(key, None)
        else:
            self._kept[key] = kept

    @property
    def now(self) -> float:
        """Seconds of the world's clock."""
        return self.world.clock.seconds()

    # -- what users do -----------------------------------------------------------------------------------

    def watch(self, watcher: Address, presentity: Address, duration_s: int) -> None:
        """Want to know."""
        self.wants[watcher, presentity] = duration_s
        self.watching.want(watcher, presentity, duration_s)
        self.wake()

    def unwatch(self, watcher: Address, presentity: Address) -> None:
        """No longer."""
        self.wants.pop((watcher, presentity), None)
        self.shown.pop((watcher, presentity), None)
        self.watching.unwant(watcher, presentity, self.now)
        self.wake()

    def fetch(self, watcher: Address, presentity: Address) -> None:
        """Ask once."""
        asked = self.watching.fetch(watcher, presentity, self.now)
        if isinstance(asked, Subscribe):
            self._ask(asked)

    def publish(self, user: Address) -> None:
        """A new state."""
        self.state[user] += 1
        self.notifying.publish(user, self.notifying.next_version())
        self.wake()

    def decide(self, watcher: Address, user: Address, decision: Decision) -> None:
        """A user thinks again of a watcher."""
        self.decisions[watcher, user] = decision
        self.notifying.decide(watcher, user, decision, self.now)
        self.wake()

    def stray(self, watcher: Address, user: Address, ident: bytes) -> None:
        """Tell somebody who may not have asked: the service is careless."""
        version = Version(self._life, 0)  # older than what it tells in order
        presence = shown_as(user, self.state[user])
        told = Notify(user, watcher, self.world.new_id(), ident, SubscriptionState.ACTIVE, version, presence)
        self._submit(told, lambda _outcome: None)

    def restart(self, *, remembers: bool) -> None:
        """Begin anew, with or without what it knew; what it asked before is answered to nobody."""
        kept_watches, kept = list(self._kept.values()), list(self.notifying.kept())
        self._kept.clear()
        self.shown.clear()
        self._late.clear()
        self.watching, self.notifying = self._new_watching(), self._new_notifying()
        if not remembers:
            self._newest.clear()
        if remembers:
            for watch in kept_watches:
                self.watching.from_kept(watch, self.now)
            for one in kept:
                self.notifying.from_kept(one, self.now)
        for (watcher, presentity), duration_s in self.wants.items():
            self.watching.want(watcher, presentity, duration_s)
        self.wake()

    # -- what is sent ------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Send what is due, soon."""
        if not self._is_woken:
            self._is_woken = True
            self.world.clock.callLater(0, self.run)

    def run(self) -> None:
        """Send what is due."""
        self._is_woken = False
        self._do(self.watching.due(self.now))
        for owed in self.notifying.due(self.now):
            state = self.state[owed.presentity]
            if self.notifying.sending(owed, b"%d" % state if owed.full else b"", self.now):
                self._tell(owed, owed.notify(self.world.new_id(), shown_as(owed.presentity, state)))

    def _tell(self, owed: Owed, told: Notify) -> None:
        notifying = self.notifying

        def answered(outcome: Outcome) -> None:
            notifying.answered(owed, outcome, self.now)
            self.wake()

        self._submit(told, answered)

    def _ask(self, asked: Subscribe) -> None:
        watching = self.watching

        def answered(outcome: Outcome) -> None:
            self._do(watching.answered(asked, outcome, self.now))
            self.wake()

        self._submit(asked, answered)

    def _submit(self, operation: Subscribe | Notify, answered: Callable[[Outcome], None]) -> None:
        world, life, number = self.world, self._life, next(self._numbers)
        process = world.chance.choice(world.net.listening[self.endpoint])
        assert isinstance(process, Process)
        if isinstance(operation, Notify) and operation.presence is not None:
            operation = replace(operation, document=operation_to_record(operation).body)
        fate: Fate = world.presence.submitted(process, operation)

        def answer(outcome: Outcome) -> None:
            if not process.alive:
                return
            world.presence.answered(process, fate, outcome)
            if self.out.pop(number, None) is not None and self._life == life:
                answered(outcome)

        self.out[number] = process, answered
        process.gateway.submit(operation, answer)

    def lost(self, process: Process) -> None:
        """A router was killed: what it was asked is in doubt."""
        for number, (by, answered) in list(self.out.items()):
            if by is process:
                del self.out[number]
                answered(indeterminant(Reason.LINK_LOST))

    # -- what comes --------------------------------------------------------------------------------------

    def deliver(self, process: Process, operation: Operation, answer: Callable[[Outcome], None]) -> None:
        """An operation for one of the users."""
        if isinstance(operation, Subscribe):
            self.world.presence.asked(process, operation)
            outcome = self._asked(operation)
        else:
            assert isinstance(operation, Notify)
            self.world.presence.told(process, operation)
            outcome = self._told(operation)
            if operation.state is SubscriptionState.TERMINATED and outcome.ok:
                self._answer(process, operation, answer, outcome)
                self.world.presence.ended(process, operation)
                return
        if self.world.chance.random() < 0.2:
            late = (self.now, lambda: self._answer(process, operation, answer, outcome))
            self._late.append(late)
            return
        self._answer(process, operation, answer, outcome)

    def _answer(
        self,
        process: Process,
        operation: Subscribe | Notify,
        answer: Callable[[Outcome], None],
        outcome: Outcome,
    ) -> None:
        if process.alive:
            self.world.presence.answers(process, operation, outcome)
            answer(outcome)

    def answer_late(self, until: float) -> None:
        """Answer what was not answered at once."""
        due = [give for since, give in self._late if since <= until]
        self._late = [one for one in self._late if one[0] > until]
        for give in due:
            give()

    def _asked(self, asked: Subscribe) -> Outcome:
        if asked.presentity not in self.state:
            return failure(Reason.UNKNOWN_USER, role="service")
        decision = self.decisions.get((asked.watcher, asked.presentity), Decision.ALLOW)
        taken = self.notifying.subscribe(asked, decision, self.now, LONGEST_S)
        self.wake()
        if taken.refusal is not None:
            return failure(taken.refusal.reason, role="service")
        return replace(SUCCESS, result=taken.result)

    def _told(self, told: Notify) -> Outcome:
        pair = told.watcher, told.presentity
        heard = self.watching.notified(told, self.now)
        if heard.verdict is Verdict.NEWS:
            held = self.watching.standing(*pair, self.now)
            if held is not None and held.subscription_id == told.subscription_id:
                self._show(pair, told)
        self._do(heard.effects)
        if heard.verdict is Verdict.NOT_SUBSCRIBED:
            return failure(Reason.NOT_SUBSCRIBED, role="service")
        return SUCCESS

    def _show(self, pair: Pair, told: Notify) -> None:
        if isinstance(told.presence, Unknown):
            self.shown[pair] = None
            return
        assert told.presence is not None
        assert told.version is not None
        version = told.version.epoch, told.version.number
        # Who subscribes anew remembers nothing of before: there the order of who tells is what is judged.
        is_stray = not told.version.number
        one = told.subscription_id
        if any(version < self._newest.get(of, (0, 0)) for of in ((one,) if is_stray else (one, pair))):
            self.world.judge.broken.append(f"an older state is shown: {told}")
        for of in (one, pair):
            self._newest[of] = max(version, self._newest.get(of, (0, 0)))
        number = told.presence.tuples[0].id[1:] if told.presence.tuples else ""
        self.shown[pair] = int(number) if number.isdigit() else -1

    def _do(self, effects: Effects) -> None:
        for asked in effects.send:
            self._ask(asked)
        for show in effects.show:
            pair = show.watcher, show.presentity
            held = self.watching.standing(*pair, self.now)  # a fetch that fails says nothing of what is held
            if held is not None and held.subscription_id == show.subscription_id:
                self.shown[pair] = None

    # -- what must be in the end -------------------------------------------------------------------------

    def leftovers(self) -> list[str]:
        """What is kept of what is over."""
        figures = {
            "wanted": len(self.watching),
            "watched": len(self.notifying),
            "late": len(self._late),
            "out": len(self.out),
        }
        return [f"{word}: {count}" for word, count in figures.items() if count]
