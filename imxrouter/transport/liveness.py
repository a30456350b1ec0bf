"""What watchers are told when presence cannot be learned, and how it becomes right again (architecture 6).

Two ways lead to *unknown*: a remote domain cannot be reached (a verdict: every target failed), or no service
of ours answers for a domain served here. It is told by this router to each watcher concerned, with the reason
and the domain that failed. Recovery is by subscribing again in the watcher's name, spread in time; the
notification that follows brings the state. Pure timing: what goes out is `Watchers`.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from twisted.logger import Logger

from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason, Retry, Stage
from imxrouter.routing.subscriptions import Subscriptions
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link
from imxrouter.transport.more_links import MoreLinks
from imxrouter.transport.pursuit import NOT_IN_TIME, Cause
from imxrouter.transport.silence import Silence, domains_of
from imxrouter.wire.control import Control, Hello, Withdraw

#: A domain that comes back within this is not told to be unknown: routers restart.
GRACE_S: Final = 5.0
#: Rest after the last link went, before the first subscription is tried again.
FIRST_AGAIN_S: Final = 0.5
#: Subscriptions of one domain are renewed after a loss within this, where `AGAIN_PER_S` allows.
SPREAD_S: Final = 10.0
#: Domains to which something is tried again in one second, each of which may have to be dialled: after a
#: start, or a loss of many links, all of them would be at once.
DOMAINS_PER_S: Final = 200
#: Subscriptions that are tried again, and watchers that are told, in one second, of all domains.
AGAIN_PER_S: Final = 1000
TOLD_PER_S: Final = 20_000
#: Rest at least before what failed for now is asked or told again.
LATER_S: Final = 1.0
#: Seconds between two steps of it.
STEP_S: Final = 0.05
#: Of so many watched domains at least, more than half lost in `TOGETHER_S` means that we are.
OWN_LOSS_OF: Final = 3
TOGETHER_S: Final = 30.0


class Watchers(Protocol):
    """What is said to watchers, and asked in their name."""

    def tell_unknown(
        self, key: bytes, reason: Reason, domain: bytes, answered: Callable[[Outcome], None]
    ) -> bool:
        """Tell the watcher of a subscription; False where there is no room now."""

    def subscribe_again(self, key: bytes, answered: Callable[[Outcome], None]) -> bool:
        """Renew a subscription in the watcher's name; False where there is no room now."""


class Reaches(Protocol):
    """What is asked of whoever reaches remote domains."""

    more_links: MoreLinks

    def unreachable(self, domain: bytes, cause: Cause) -> None:
        """A verdict: the domain cannot be reached."""

    def next_try(self, domain: bytes, now: float) -> float:
        """When it is to be tried again."""


@dataclass(slots=True)
class _Loss:
    """A domain whose presence is in doubt.

    Attributes:
        since: when it was lost.
        failed_at: of the first verdict; None while there is none.
        cause: of the last verdict.
        tell_at: when watchers are to be told; None where they were, or nothing failed yet.
        told: they were.
        ours: that it is our own network; what the verdicts said meanwhile is not believed.
        to_tell: subscriptions whose watchers are to be told still.
        again: subscriptions to be tried again, in this order, each once.
        next_again: when the next one is due.
        every_s: pause between two.
    """

    since: float
    failed_at: float | None = None
    cause: Cause = NOT_IN_TIME
    tell_at: float | None = None
    told: bool = False
    ours: bool = False
    to_tell: deque[bytes] = field(default_factory=deque)
    again: dict[bytes, None] = field(default_factory=dict)
    next_again: float = 0.0
    every_s: float = 0.0


class Liveness:
    """Doubts, tells and recovers. It is a `LinkEvents`.

    Args:
        hub: links of this process.
        table: who watches whom.
        watchers: what is said and asked.
        reaches: the remote domains.
        chance: gives a random number in [0, 1).

    Attributes:
        own_loss: since when most of the watched domains are lost at once; None while they are not.
        on_unknown: told (domain, cause, watchers) once for each domain whose watchers are told.
    """

    log = Logger()

    def __init__(
        self,
        hub: Hub,
        table: Subscriptions,
        watchers: Watchers,
        reaches: Reaches,
        chance: Callable[[], float],
    ) -> None:
        self._hub = hub
        self._table = table
        self._watchers = watchers
        self._reaches = reaches
        self._chance = chance
        self._losses: dict[bytes, _Loss] = {}
        self.silence = Silence(hub, table, reaches.more_links, self)
        #: what failed for now, by the time at which it has its next turn: (at, domain, key, is it to be told)
        self._put_off: list[tuple[float, bytes, bytes, bool]] = []
        self._is_put_off: set[tuple[bytes, bool]] = set()
        self._stepped_at = self._next_turn = -math.inf
        self.own_loss: float | None = None
        self.on_unknown: Callable[[bytes, Cause, int], None] = lambda *_: None
        hub.keeps = self.keeps

    # -- what others ask ---------------------------------------------------------------------------------

    def keeps(self, session: Link) -> bool:
        """Whether a link is not closed for being idle: somebody watches somebody over it."""
        return any(map(self._table.concerns, domains_of(session)))

    def doubts(self, domain: bytes) -> bool:
        """Whether a domain may be out of reach: it is silent, or was lost and nothing leads there yet.

        What was lost meanwhile is another matter: it may still be asked for, spread in time.
        """
        return self.silence.doubts(domain) or (domain in self._losses and not self._is_up(domain))

    def begin(self, now: float) -> None:
        """After a start: every subscription that was kept is tried again, spread from the beginning."""
        for domain in self._shuffled(self._table.presentity_domains()):
            loss = self._doubt_state(domain, now, now)
            loss.next_again = self._turn_to_dial(now) + self._chance() * loss.every_s

    # -- what happens ------------------------------------------------------------------------------------

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Both hellos are there."""
        del peer
        self.silence.opened(session)

    def control(self, session: Link, record: Control) -> None:
        """The peer ended what was proved of a domain; the link stays, and tells nothing more of it."""
        del session
        if isinstance(record, Withdraw):
            self.left((record.from_domain,))

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """The link takes nothing new."""
        del reason, by_peer
        self.left(domains_of(session))

    def lost(self, session: Link) -> None:
        """The link is gone."""
        self.silence.lost(session)
        self.left(domains_of(session))

    def left(self, domains: Iterable[bytes]) -> None:
        """A link leads to these domains no longer: where it was the last one, subscribe again."""
        now = self._hub.now()
        for domain in domains if not self._hub.closing else ():
            if not self._is_up(domain) and self._table.watching(domain, now):
                self._doubt_state(domain, now, self._turn_to_dial(now))

    def failed(self, domain: bytes, cause: Cause) -> None:
        """A verdict: every target of the domain failed."""
        now = self._hub.now()
        loss = self._losses.get(domain)
        if loss is None:
            if not self._table.watching(domain, now):
                return
            loss = self._doubt_state(domain, now, now)
        if loss.ours and self.own_loss is None:  # the others are back, and it is not
            loss.ours, loss.tell_at = False, now
        loss.cause = cause if not loss.ours else _own(cause)
        loss.next_again = max(now + 0.1, self._reaches.next_try(domain, now))
        if loss.failed_at is None:
            loss.failed_at = now
            silent = cause.reason is Reason.KEEPALIVE_TIMEOUT
            loss.tell_at = now if silent else now + GRACE_S

    def moved(self, domain: bytes) -> None:
        """A new link took the place of silent ones."""
        self.left((domain,))

    def given_up(self, domain: bytes, cause: Cause) -> None:
        """Its links are silent, and a new connection fails: watchers have waited enough."""
        self._reaches.unreachable(domain, cause)
        loss = self._losses.get(domain)
        if loss is not None and not loss.told:
            loss.tell_at = self._hub.now()

    def leaving(self, domain: bytes) -> None:
        """A domain served here is going: those who watch its users, and its users who watch others, are told.

        While it can still speak and hear; as many as there is room for at once, the others learn it when they
        renew.
        """
        now = self._hub.now()
        with self._hub.together():
            for key in (*self._table.watching(domain, now), *self._table.watched_by(domain, now)):
                if not self._watchers.tell_unknown(key, Reason.SERVICE_DOWN, domain, lambda _outcome: None):
                    return

    def returned(self, domain: bytes) -> None:
        """A domain served here is served again: what its users watch is subscribed to again, spread."""
        now = self._hub.now()
        wanted: dict[bytes, list[bytes]] = {}
        for key in self._table.watched_by(domain, now):
            entry = self._table.find(key)
            if entry is not None:
                wanted.setdefault(entry.presentity.rpartition(b"@")[2], []).append(key)
        for presentity_domain, keys in wanted.items():
            if presentity_domain not in self._losses:
                self._doubt_state(presentity_domain, now, now + FIRST_AGAIN_S * self._chance(), keys)

    def reached(self, domain: bytes) -> None:
        """The domain was reached, or proved itself."""
        self.silence.reached(domain)
        loss = self._losses.get(domain)
        if loss is not None and (loss.failed_at is not None or loss.told):
            self._back(domain, loss)

    def tick(self, now: float) -> None:
        """Doubt what is silent; then as `step`."""
        self._look_at_services()
        self.silence.look(now)
        self._judge_ourselves(now)
        self.step(now)

    def step(self, now: float) -> None:
        """Tell what is due, try again what is due; called often, so that messages need not wait for many."""
        passed_s = min(now - self._stepped_at, 1.0)
        if passed_s <= 0 or not (self._losses or self._put_off):
            return
        self._stepped_at = now
        self._take_up(now)
        told, again = math.ceil(TOLD_PER_S * passed_s), math.ceil(AGAIN_PER_S * passed_s)
        with self._hub.together():
            for domain, loss in list(self._losses.items()):
                told = self._tell(domain, loss, now, told)
                again = self._try_again(domain, loss, now, again)

    def _turn_to_dial(self, now: float) -> float:
        """When the next domain that may have to be dialled has its turn: the first ones soon, many spread."""
        self._next_turn = max(self._next_turn, now) + 2 * self._chance() / DOMAINS_PER_S
        return self._next_turn + FIRST_AGAIN_S

    # -- losing ------------------------------------------------------------------------------------------

    def _doubt_state(self, domain: bytes, now: float, first: float, of: list[bytes] | None = None) -> _Loss:
        """Nobody knows whether the state that watchers have is still right: subscribe again.

        Args:
            domain: of the presentities.
            now: monotonic seconds.
            first: when the first is due.
            of: subscriptions; None: all to that domain.
        """
        loss = self._losses.get(domain)
        if loss is None:
            loss = self._losses[domain] = _Loss(now)
        keys = self._table.watching(domain, now) if of is None else of
        loss.again = dict.fromkeys(self._shuffled(keys))
        loss.every_s = SPREAD_S / max(len(keys), 1)
        loss.next_again = first
        return loss

    def _shuffled(self, keys: list[bytes]) -> list[bytes]:
        return [key for _, key in sorted((self._chance(), key) for key in keys)]

    def _back(self, domain: bytes, loss: _Loss) -> None:
        now = self._hub.now()
        if loss.told:
            self.log.info("{domain} is back: its watchers subscribe again", domain=domain.decode())
        del self._losses[domain]
        self._doubt_state(domain, now, now + FIRST_AGAIN_S * self._chance())

    def _is_up(self, domain: bytes) -> bool:
        route = self._hub.switch.routes.get(domain)
        return bool(route.ports) if route is not None else self._hub.switch.ways.leads_to(domain)

    def _look_at_services(self) -> None:
        """Domains served here whose service is gone, or back (IMX-7)."""
        routes = self._hub.switch.routes
        for domain, loss in list(self._losses.items()):
            if domain not in routes:
                continue
            if routes[domain].ports:
                if loss.failed_at is not None:
                    self._back(domain, loss)
            elif loss.failed_at is None:
                self.failed(domain, Cause(Reason.SERVICE_DOWN))

    def _judge_ourselves(self, now: float) -> None:
        """Most watched domains lost together: the loss is our own."""
        routes = self._hub.switch.routes
        watched = [domain for domain in self._table.presentity_domains() if domain not in routes]
        lost = [
            domain
            for domain in watched
            if self.silence.doubts(domain)
            or ((loss := self._losses.get(domain)) is not None and _is_recent(loss, now))
        ]
        ours = len(watched) >= OWN_LOSS_OF and 2 * len(lost) > len(watched)
        if ours and self.own_loss is None:
            self.own_loss = now
            self.log.error(
                "{lost} of {watched} watched domains were lost within {seconds:.0f} s: it is our own network",
                lost=len(lost), watched=len(watched), seconds=TOGETHER_S,
                stage=Stage.CONNECT.value, reason=Reason.OWN_NETWORK.word,
            )  # fmt: skip
        elif self.own_loss is not None:
            down = sum(self.silence.doubts(domain) or self._is_down(domain) for domain in watched)
            if 2 * down <= len(watched):
                self.own_loss = None

    def _is_down(self, domain: bytes) -> bool:
        loss = self._losses.get(domain)
        return loss is not None and loss.failed_at is not None

    # -- telling -----------------------------------------------------------------------------------------

    def _tell(self, domain: bytes, loss: _Loss, now: float, room: int) -> int:
        if loss.tell_at is not None and now >= loss.tell_at:
            loss.tell_at, loss.told = None, True
            if self.own_loss is not None and domain not in self._hub.switch.routes:
                loss.ours, loss.cause = True, _own(loss.cause)
            loss.to_tell = deque(self._table.watching(domain, now))
            self.on_unknown(domain, loss.cause, len(loss.to_tell))
        ours = loss.cause.reason is Reason.OWN_NETWORK
        while loss.to_tell and room:
            key = loss.to_tell[0]
            entry = self._table.find(key)
            named = entry.watcher.rpartition(b"@")[2] if ours and entry is not None else domain
            answered = partial(self._told, domain, key)
            if entry is not None and not self._watchers.tell_unknown(key, loss.cause.reason, named, answered):
                return 0
            loss.to_tell.popleft()
            room -= 1
        return room

    def _told(self, domain: bytes, key: bytes, outcome: Outcome) -> None:
        """A watcher whose side had no room for it does not know yet."""
        loss = self._losses.get(domain)
        if loss is not None and loss.told and _may_help(outcome):
            self._later(domain, key, outcome.retry_after_s, tell=True)

    # -- recovering --------------------------------------------------------------------------------------

    def _try_again(self, domain: bytes, loss: _Loss, now: float, room: int) -> int:
        if domain in self._hub.switch.routes and not self._is_up(domain):
            return room
        if loss.failed_at is not None:
            self._probe(domain, loss, now)
            return room
        while loss.again and room and now >= loss.next_again:
            key = next(iter(loss.again))
            if not self._ask(domain, key):
                return 0
            loss.again.pop(key, None)
            loss.next_again = max(loss.next_again, now - 1.0) + loss.every_s
            room -= 1
        if not loss.again and not loss.to_tell and self._losses.get(domain) is loss:
            del self._losses[domain]
        return room

    def _probe(self, domain: bytes, loss: _Loss, now: float) -> None:
        """While it cannot be reached, one subscription at each time due is tried: that dials."""
        if now < loss.next_again:
            return
        loss.next_again = max(now + 1.0, self._reaches.next_try(domain, now))
        keys = self._table.watching(domain, now)
        if not keys:
            self._losses.pop(domain, None)
            return
        self._ask(domain, keys[int(self._chance() * len(keys))])

    def _ask(self, domain: bytes, key: bytes) -> bool:
        if self._table.find(key) is None:
            return True

        def answered(outcome: Outcome) -> None:
            loss = self._losses.get(domain)
            if outcome.ok:
                if loss is not None and loss.failed_at is not None:
                    self._back(domain, loss)
            elif _may_help(outcome) and (loss is None or loss.failed_at is None):
                self._later(domain, key, outcome.retry_after_s)

        return self._watchers.subscribe_again(key, answered)

    def _later(self, domain: bytes, key: bytes, wait_s: int, *, tell: bool = False) -> None:
        """It failed for now: once more after the time that was said."""
        if (key, tell) not in self._is_put_off:
            self._is_put_off.add((key, tell))
            at = self._hub.now() + max(wait_s, LATER_S) * (1.0 + 0.1 * self._chance())
            heapq.heappush(self._put_off, (at, domain, key, tell))

    def _take_up(self, now: float) -> None:
        """What was put off until now has its turn again."""
        while self._put_off and self._put_off[0][0] <= now:
            _, domain, key, tell = heapq.heappop(self._put_off)
            self._is_put_off.discard((key, tell))
            loss = self._losses.get(domain)
            if tell:
                if loss is not None and loss.told:
                    loss.to_tell.append(key)
                continue
            if loss is None:
                loss = self._losses[domain] = _Loss(now, next_again=now)
            loss.again[key] = None


def _may_help(outcome: Outcome) -> bool:
    """Whether to ask or tell the same again can help: where nobody knows what became of it, too."""
    return not outcome.ok and (outcome.in_doubt or outcome.reason.retry is Retry.LATER)


def _own(cause: Cause) -> Cause:
    return cause if cause.reason is Reason.OWN_NETWORK else Cause(Reason.OWN_NETWORK, cause.reason.word)


def _is_recent(loss: _Loss, now: float) -> bool:
    return loss.failed_at is not None and now - loss.failed_at <= TOGETHER_S
