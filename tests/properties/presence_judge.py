"""What routers do with subscriptions and notifications, and what must never be: false presence, told secrets.

How long a subscription lives is reckoned here apart from the routers (specification sections 7.6 and 7.7).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from imxrouter.model.address import Address
from imxrouter.model.operations import Notify, Subscribe, SubscribeResult, SubscriptionState
from imxrouter.model.outcome import Outcome
from imxrouter.model.presence import Unknown
from imxrouter.model.vocabulary import Status
from imxrouter.transport.operations import record_to_notify, record_to_subscribe, result_of
from imxrouter.wire.record import Record, decode_outcome
from imxrouter.wire.registry import RecordType
from tests.properties.judge import LIARS_DOMAIN
from tests.properties.net import Endpoint
from tests.properties.nodes import SUBSCRIPTIONS, Process

if TYPE_CHECKING:
    from tests.properties.presence_world import PresenceWorld

#: What is late is passed on for so long, and so many notifications at once, then one a second.
LATE_S, AT_ONCE = 32.0, 20
#: The file of a router is written behind, within this: a killed one forgets what came after (decision 0006).
WRITTEN_S = 1.0
#: Watcher, presentity, subscription's id.
Key = tuple[bytes, bytes, bytes]


def key_of(operation: Subscribe | Notify) -> Key:
    """The subscription that is meant."""
    return operation.watcher.key, operation.presentity.key, operation.subscription_id


@dataclass
class Life:
    """Until when one subscription may be notified at one host; a bound from above.

    Attributes:
        alone: the host has one process, so that nobody there knows less than another.
        asked: requests without an answer: who passes them on, and the seconds asked for.
        until: nothing passes after this, unless something is asked.
        end: the latest end that was ever granted.
        spent: up to when the rate of notifications is used up.
        is_over: its end was told: what is asked for from then on is a new one, with a rate of its own, also
            where a renewal was under way meanwhile.
        unwritten: when it was made shorter last, and until when something passed before. Where the router is
            killed before that is written, what has ended is back after its restart.
    """

    alone: bool
    asked: dict[bytes, tuple[Process, int]] = field(default_factory=dict)
    until: float = -inf
    end: float = -inf
    spent: float = -inf
    is_over: bool = False
    unwritten: tuple[float, float] = (-inf, -inf)

    def live(self, now: float) -> bool:
        """Whether a notification may pass."""
        return bool(self.asked) or now <= self.until

    def begin(self, number: bytes, process: Process, duration_s: int, now: float) -> None:
        """It is asked for."""
        if self.is_over or not self.live(now):
            self.spent = -inf
        self.is_over = False
        self.asked[number] = process, duration_s

    def settle(self, number: bytes, outcome: Outcome, now: float) -> None:
        """The answer."""
        _, duration_s = self.asked.pop(number, (None, 0))
        result = outcome.result if outcome.ok else None
        if isinstance(result, SubscribeResult):
            ends = result.state is SubscriptionState.TERMINATED
            granted_s = 0 if ends else min(result.duration_s, duration_s)
            until = now + granted_s + LATE_S + 1
            if self.alone and not self.asked:
                self._shortened(until, now)
            self.until = until if self.alone and not self.asked else max(self.until, until)
            self.end = max(self.end, now + granted_s)
        elif outcome.in_doubt or not self.alone:
            self.until = max(self.until, now + LATE_S)

    def lost(self, process: Process, now: float) -> None:
        """A process was killed, and what it was asked with it."""
        mine = [number for number, (by, _) in self.asked.items() if by is process]
        for number in mine:
            del self.asked[number]
        if mine and not self.alone:
            self.until = max(self.until, now + LATE_S)
        at, until = self.unwritten
        if now - at < WRITTEN_S:
            self.until = max(self.until, until)

    def over(self, now: float) -> None:
        """A notification told its end."""
        self.is_over = True
        if self.alone and not self.asked:
            self._shortened(now, now)
            self.until = now

    def _shortened(self, until: float, now: float) -> None:
        if until < self.until:
            at, before = self.unwritten
            self.unwritten = now, max(self.until, before) if now - at < WRITTEN_S else self.until


@dataclass
class Fate:
    """What became of an operation of a service.

    Attributes:
        was_live: of a notification: there was a subscription when it was handed to the router.
        deliveries: times it reached the service that answers for its recipient.
        decided: what that service answered.
    """

    operation: Subscribe | Notify
    was_live: bool
    deliveries: int = 0
    decided: Status | None = None
    outcome: Outcome | None = None

    def __str__(self) -> str:
        one = self.operation
        pair = f"{one.watcher}'s of {one.presentity}"
        became = f"delivered {self.deliveries}, decided {self.decided}, {self.outcome}"
        return f"{type(one).__name__} {pair}, {became}"


class PresenceJudge:
    """Judges what passes; what is wrong goes to `broken`.

    Args:
        world: whose.
        broken: takes what was wrong.
    """

    def __init__(self, world: PresenceWorld, broken: list[str]) -> None:
        self._world = world
        self.broken = broken
        self.fates: dict[bytes, Fate] = {}
        self._lives: dict[tuple[str, Endpoint, Key], Life] = {}
        self._router_asks: Counter[tuple[Key, int]] = Counter()
        self._router_says: Counter[tuple[Key, Unknown]] = Counter()
        #: those among them that watchers' own routers say, which pass on nothing: they have no rate
        self._own_words: Counter[tuple[Key, Unknown]] = Counter()
        self._numbers = 0

    @property
    def now(self) -> float:
        """Seconds of the world's clock."""
        return self._world.clock.seconds()

    def _life(self, side: str, process: Process, key: Key) -> Life:
        where = side, process.endpoint, key
        if where not in self._lives:
            self._lives[where] = Life(len(self._world.net.listening[process.endpoint]) == 1)
        return self._lives[where]

    def keys(self, endpoint: Endpoint) -> list[Key]:
        """Every subscription that anybody ever asked for at a host, to its presentities."""
        return [key for side, where, key in self._lives if side == "to" and where == endpoint]

    def _is_liars(self, one: Address) -> bool:
        return one.domain.wire == LIARS_DOMAIN

    # -- services and routers send -----------------------------------------------------------------------

    def submitted(self, process: Process, operation: Subscribe | Notify) -> Fate:
        """A service hands an operation to a router."""
        if isinstance(operation, Subscribe):
            life = self._life("by", process, key_of(operation))
            life.begin(operation.message_id, process, operation.duration_s, self.now)
            was_live = True
        else:
            was_live = self._life("to", process, key_of(operation)).live(self.now)
        fate = self.fates[operation.message_id] = Fate(operation, was_live)
        return fate

    def answered(self, process: Process, fate: Fate, outcome: Outcome) -> None:
        """The service is told what became of it."""
        operation = fate.operation
        if fate.outcome is not None:
            self.broken.append(f"answered twice: {fate} and {outcome}")
        fate.outcome = outcome
        if isinstance(operation, Subscribe):
            life = self._life("by", process, key_of(operation))
            life.settle(operation.message_id, outcome, self.now)
        if self._is_liars(operation.destination):
            return
        if outcome.status is Status.SUCCESS and fate.decided is not Status.SUCCESS:
            self.broken.append(f"success is said of what nobody took: {fate}")
        if outcome.status is Status.FAILURE and fate.deliveries and fate.decided is not Status.FAILURE:
            self.broken.append(f"failure is said of what was delivered: {fate}")

    def router_says(self, process: Process, record: Record) -> Callable[[Record], None]:
        """A router subscribes again in a watcher's name, or tells him that nobody knows."""
        if record.type == RecordType.NOTIFY:
            told = record_to_notify(record)
            assert isinstance(told.presence, Unknown)
            self._router_says[key_of(told), told.presence] += 1
            self._own_words[key_of(told), told.presence] += told.watcher.domain.wire in process.domains
            return lambda _response: None
        asked = record_to_subscribe(record)
        self._numbers += 1
        number, key = b"%d" % self._numbers, key_of(asked)
        self._router_asks[key, asked.duration_s] += 1
        if asked.watcher.domain.wire not in process.domains:
            return lambda _response: None
        life = self._life("by", process, key)
        if self.now + asked.duration_s > life.end + 1:
            self.broken.append(f"a router prolongs what nobody prolongs: {asked}")
        life.begin(number, process, asked.duration_s, self.now)

        def answered(response: Record) -> None:
            life.settle(number, result_of(response, decode_outcome(response)), self.now)

        return answered

    def lost(self, process: Process) -> None:
        """A process was killed."""
        for (_, endpoint, _), life in self._lives.items():
            if endpoint == process.endpoint:
                life.lost(process, self.now)

    def written(self, process: Process, record: Record) -> None:
        """A router wrote a request to another one: of its presentities only to who subscribed."""
        if record.type != RecordType.NOTIFY or record.envelope.from_domain not in process.domains:
            return
        fate = self.fates.get(record.message_id)
        if fate is None and record.envelope.from_local:
            self.broken.append(f"{process.domain!r} tells what no service told: {record.envelope}")
        if fate is not None and not fate.was_live:
            self.broken.append(f"told to whom nobody subscribed: {fate}")

    # -- services are told -------------------------------------------------------------------------------

    def asked(self, process: Process, operation: Subscribe) -> Fate | None:
        """A SUBSCRIBE reached the presentity's service."""
        if operation.presentity.domain.wire not in process.domains:
            self.broken.append(f"{process.domain!r} was given {operation}")
        key = key_of(operation)
        fate = self._delivered(operation)
        if fate is None and not self._is_liars(operation.watcher):
            if not self._router_asks[key, operation.duration_s]:
                self.broken.append(f"subscribed in another's name: {operation}")
            self._router_asks[key, operation.duration_s] -= 1
        self._life("to", process, key).begin(operation.message_id, process, operation.duration_s, self.now)
        return fate

    def answers(self, process: Process, operation: Subscribe | Notify, outcome: Outcome) -> None:
        """The service answers."""
        fate = self.fates.get(operation.message_id)
        if fate is not None:
            fate.decided = outcome.status
        if isinstance(operation, Subscribe):
            life = self._life("to", process, key_of(operation))
            life.settle(operation.message_id, outcome, self.now)

    def told(self, process: Process, operation: Notify) -> None:
        """A NOTIFY reached the watcher's service."""
        if operation.watcher.domain.wire not in process.domains:
            self.broken.append(f"{process.domain!r} was given {operation}")
        key = key_of(operation)
        life = self._life("by", process, key)
        if not life.live(self.now):
            self.broken.append(f"reached a watcher without a live subscription: {operation}")
        if isinstance(operation.presence, Unknown) and self._own_words[key, operation.presence]:
            self._own_words[key, operation.presence] -= 1
        else:
            life.spent = max(life.spent, self.now) + 1
        if isinstance(operation.presence, Unknown):
            if not self._router_says[key, operation.presence] and not self._is_liars(operation.presentity):
                self.broken.append(f"unknown, says somebody who may not: {operation}")
            return
        if life.alone and life.spent - self.now > AT_ONCE:
            self.broken.append(f"more than {AT_ONCE} notifications at once: {operation}")
        if self._delivered(operation) is None and not self._is_liars(operation.presentity):
            self.broken.append(f"told in another's name: {operation}")

    def _delivered(self, operation: Subscribe | Notify) -> Fate | None:
        fate = self.fates.get(operation.message_id)
        if fate is None or _said(fate.operation) != _said(operation):
            return None
        fate.deliveries += 1
        if fate.deliveries > 1:
            self.broken.append(f"delivered {fate.deliveries} times: {fate}")
        if fate.outcome is not None and fate.outcome.status is Status.FAILURE:
            self.broken.append(f"delivered after a failure was said: {fate}")
        return fate

    def ended(self, process: Process, operation: Notify) -> None:
        """A watcher's service took the word that it is over."""
        self._life("by", process, key_of(operation)).over(self.now)

    def reached_liar(self, record: Record) -> None:
        """A request that is no message reached the liar."""
        if record.envelope.to_domain != LIARS_DOMAIN:
            self.broken.append(f"relayed to the liar: {record.envelope}")

    # -- tables ------------------------------------------------------------------------------------------

    def faults(self, process: Process) -> list[str]:
        """Bounds of the table of subscriptions."""
        table, of_host = process.table, len(self._world.net.listening[process.endpoint])
        sizes = [len(table) - SUBSCRIPTIONS.total * of_host]
        for index, times in ((table._of_watcher, 1), (table._of_presentity, 2)):
            most = times * SUBSCRIPTIONS.per_domain * of_host
            sizes += [len(keys) - most for keys in index.values()]
        return [f"{size} subscriptions too many are remembered" for size in sizes if size > 0]


def _said(operation: Subscribe | Notify) -> tuple[object, ...]:
    if isinstance(operation, Subscribe):
        return key_of(operation), operation.duration_s
    return key_of(operation), operation.state, operation.version, operation.document
