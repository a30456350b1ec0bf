"""The presentity's side of subscriptions: who is to be told what, and when (specification 7.6 and 7.7).

No document is kept here: `due` says whom to tell, and its caller makes what that watcher may see. Time and
chance are handed in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import count
from math import ceil
from typing import Final

from imxrouter.model.address import Address
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.operations import EndReason, Subscribe, SubscribeResult, SubscriptionState, Version
from imxrouter.model.outcome import Outcome, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.routing.owed import (
    DEFAULT_SETTINGS,
    Decision,
    Flag,
    Flight,
    KeptSubscription,
    KeptSubscriptions,
    NotifySettings,
    Onlooker,
    Owed,
    Presentity,
    Subscription,
    Taken,
)
from imxrouter.routing.watched import address_of
from imxrouter.routing.wheel import Wheel
from imxrouter.routing.zones import zone_of

#: Watchers of one presentity that are looked at before the next presentity has its turn.
_SLICE: Final = 64
#: After so many answers `not-subscribed` in a row a subscription is forgotten (specification section 7.7).
_STRANGE_MOST: Final = 2
#: Told with a refusal for want of room.
_BUSY_RETRY_S: Final = 60
_ENDED: Final = SubscribeResult(SubscriptionState.TERMINATED, 0)


class Notifying:
    """All subscriptions to the presentities of one service.

    Args:
        epoch: of this life; greater than that of every life before.
        chance: gives a random number in [0, 1).
        settings: bounds and pauses.
        wall_ahead_s: seconds since 1970 less the seconds handed in as `now`; for what is kept.
        kept: told of each subscription whose kept form changed: its key, and the form or None where it ended.
    """

    def __init__(
        self,
        epoch: int,
        chance: Callable[[], float],
        settings: NotifySettings = DEFAULT_SETTINGS,
        wall_ahead_s: float = 0.0,
        kept: KeptSubscriptions | None = None,
    ) -> None:
        self.epoch = epoch
        self.settings = settings
        #: Notifications not sent, for the watcher has a state of the same meaning.
        self.duplicates_dropped = 0
        #: Answers to notifications that nobody waits for any more.
        self.late_answers = 0
        #: Subscriptions forgotten because the watcher's side does not know them.
        self.forgotten = 0
        #: Subscriptions that ended for want of a renewal.
        self.expired = 0
        self._chance = chance
        self.wall_ahead_s = wall_ahead_s
        self._kept = kept
        self._number = 0
        self._tickets = count(1)
        self._presentities: dict[bytes, Presentity] = {}
        self._by_zone: Counter[str] = Counter()
        self._count = 0
        self._flights: dict[int, Flight] = {}
        self._wheel: Wheel[Subscription] = Wheel()
        self._ready: deque[Subscription] = deque()
        self._fans: deque[Presentity] = deque()
        self._gap_s = 1.0 / settings.rate_per_s
        self._burst_s = (settings.burst - 1) * self._gap_s

    def __len__(self) -> int:
        return self._count

    # -- what watchers ask -----------------------------------------------------------------------------

    def subscribe(self, asked: Subscribe, decision: Decision, now: float, longest_s: int) -> Taken:
        """Begin, renew or end a subscription, or fetch (the table of section 7.6).

        Args:
            asked: what a watcher asks.
            decision: what the presentity thinks of him.
            now: monotonic seconds.
            longest_s: the longest that is granted.
        """
        found = self._find(asked.watcher, asked.presentity, asked.subscription_id)
        if decision is Decision.REFUSE:
            if found is not None:
                self._remove(found)
            return Taken(None, Refusal(Reason.BLOCKED))
        if asked.duration_s == 0:
            return self._end_or_fetch(asked, found, decision, now)
        granted = max(min(asked.duration_s, longest_s), 1)
        state = SubscriptionState.ACTIVE if decision is Decision.ALLOW else SubscriptionState.PENDING
        if found is None:
            for other in self._mine(asked.watcher, asked.presentity):
                if other.live and not other.ticket:
                    self._tell(other)  # where his side has lost it, this is refused, and it is forgotten
            refusal = self._refusal(asked.watcher, asked.presentity)
            if refusal is not None:
                return Taken(None, refusal)
            found = self._add(asked.watcher, asked.presentity, asked.subscription_id)
            self._newer(found)
        elif found.state is not state:
            self._newer(found)
        found.state, found.why, found.end_at = state, EndReason.NONE, now + granted
        found.flags &= ~(Flag.FETCH | Flag.TO_TELL)
        self._heard_of(found, now)
        if state is SubscriptionState.ACTIVE:
            self._tell(found)
        elif not found.ticket:
            self._rest(found, now)
        self._changed(found)
        return Taken(SubscribeResult(state, granted), None, state is SubscriptionState.ACTIVE)

    def _end_or_fetch(
        self, asked: Subscribe, found: Subscription | None, decision: Decision, now: float
    ) -> Taken:
        if found is not None and not found.flags & Flag.FETCH:
            self._remove(found)
            return Taken(_ENDED)
        if decision is Decision.WAIT:
            return Taken(SubscribeResult(SubscriptionState.PENDING, 0))
        if found is None:
            refusal = self._refusal(asked.watcher, asked.presentity)
            if refusal is not None:
                return Taken(None, refusal)
            found = self._add(asked.watcher, asked.presentity, asked.subscription_id)
        self._newer(found)
        found.flags |= Flag.FETCH
        found.state, found.why = SubscriptionState.TERMINATED, EndReason.TIMEOUT
        found.end_at = now + self.settings.last_word_s
        self._heard_of(found, now)
        self._tell(found)
        return Taken(_ENDED, None, owed=True)

    def _newer(self, one: Subscription) -> None:
        """Its watcher may be shown something else than before: what he is told next is newer."""
        one.of.number = self.next_version().number

    def _heard_of(self, one: Subscription, now: float) -> None:
        """Its watcher can be reached: nothing is put off any more but for the rate."""
        if one.spent > now + self._burst_s + self._gap_s:
            one.spent = now + self._burst_s
        one.tries = one.strange = 0

    # -- what presentities do --------------------------------------------------------------------------

    def next_version(self) -> Version:
        """A version greater than every one before."""
        self._number += 1
        return Version(self.epoch, self._number)

    def publish(self, presentity: Address, version: Version) -> int:
        """A presentity has a new state: its watchers are to be told, by and by. Returns how many it has.

        To be called at once after the change: whoever is told from then on is told the new state.

        Raises:
            LocalMisuse: the version is not of this life, or was not given out.
        """
        if version.epoch != self.epoch or version.number > self._number:
            raise LocalMisuse(f"version {version} was not given out here")
        owner = self._presentities.get(presentity.key)
        if owner is None:
            return 0
        # Where a watcher was shown something else meanwhile, the number given out before is too small.
        owner.number = version.number if version.number > owner.number else self.next_version().number
        owner.again = True
        if not owner.fanning:
            owner.fanning = True
            self._fans.append(owner)
        return owner.count

    def decide(self, watcher: Address, presentity: Address, decision: Decision, now: float) -> int:
        """What a presentity thinks of a watcher has changed, or what it lets him see.

        Returns how many subscriptions it concerns. The new decision of one that was allowed and still is only
        makes sure that he sees what he may see now.
        """
        if decision is Decision.REFUSE:
            return self.end(presentity, EndReason.REJECTED, now, watcher)
        allowed = decision is Decision.ALLOW
        state = SubscriptionState.ACTIVE if allowed else SubscriptionState.PENDING
        concerned = [one for one in self._mine(watcher, presentity) if one.live]
        for one in concerned:
            if one.state is state and not allowed:
                continue
            self._newer(one)
            self._tell(one, Flag.OWED if one.state is state else Flag.FORCED)
            if one.state is not state:
                one.state = state
                self._changed(one)
        return len(concerned)

    def end(self, presentity: Address, why: EndReason, now: float, watcher: Address | None = None) -> int:
        """End the subscriptions of one watcher, or of all, and tell them. Returns how many."""
        owner = self._presentities.get(presentity.key)
        if owner is None:
            return 0
        concerned = self._mine(watcher, presentity) if watcher is not None else owner.all()
        ended = [one for one in concerned if one.live]
        for one in ended:
            self._terminate(one, why, now)
            self._tell(one)
        return len(ended)

    # -- what is to be sent ----------------------------------------------------------------------------

    def due(self, now: float, most: int = 500) -> list[Owed]:
        """Whom to tell now, about `most` at a time; to be called again at once where so many came.

        Each is in flight from here on. The caller makes what that watcher may see, asks `sending`, sends,
        and gives the outcome to `answered`.
        """
        told: list[Owed] = []
        self._tell_ready(now, max(most // 2, 1), told)
        for one in self._wheel.take(now, max(most - len(told), 1)):
            self._wake(one, now, told)
        self._fan(now, most - len(told), told)
        self._tell_ready(now, most - len(told), told)
        return told

    def next_due(self, now: float) -> float:
        """Nothing comes out of `due` before this moment; infinite where nothing waits."""
        return now if self._ready or self._fans else self._wheel.next_due()

    def sending(self, owed: Owed, meaning: bytes, now: float) -> bool:
        """Whether to send it: False where the watcher surely has a state of this meaning already.

        Args:
            owed: what `due` gave.
            meaning: a digest of what this watcher is told; equal where it means the same to him.
            now: monotonic seconds.
        """
        flight = self._flights.get(owed.ticket)
        if flight is None or flight.subscription.ticket != owed.ticket:
            return False
        one = flight.subscription
        if not flight.flags & Flag.FORCED and one.meaning == meaning:
            del self._flights[owed.ticket]
            one.ticket = 0
            one.spent -= self._gap_s
            self.duplicates_dropped += 1
            self._rest(one, now)
            return False
        # Until it is answered nobody knows which of the two states the watcher has.
        one.meaning = None
        flight.meaning = meaning
        return True

    def answered(self, owed: Owed, outcome: Outcome, now: float) -> None:
        """Take the outcome of a notification."""
        flight = self._flights.pop(owed.ticket, None)
        if flight is None or flight.subscription.ticket != owed.ticket:
            self.late_answers += 1
            return
        self._settle(flight, outcome, now)

    def _settle(self, flight: Flight, outcome: Outcome, now: float) -> None:
        one = flight.subscription
        one.ticket = 0
        last = flight.state is SubscriptionState.TERMINATED and not one.live
        if outcome.ok:
            one.tries = one.strange = 0
            if last:
                self._remove(one)
                return
            one.meaning = flight.meaning if flight.state is SubscriptionState.ACTIVE else None
        else:
            one.strange = one.strange + 1 if outcome.reason is Reason.NOT_SUBSCRIBED else 0
            if one.strange >= _STRANGE_MOST or (last and one.strange):
                self.forgotten += 1
                self._remove(one)
                return
            one.tries += 1
            one.flags |= flight.flags & Flag.FORCED | Flag.OWED
            if flight.state is not one.state:
                one.flags |= Flag.FORCED
            wait = self.settings.backoff.wait_s(one.tries, self._chance())
            one.spent = max(one.spent, now + max(wait, outcome.retry_after_s) + self._burst_s)
        self._rest(one, now)

    # -- inside ----------------------------------------------------------------------------------------

    def _tell(self, one: Subscription, flag: int = Flag.FORCED) -> None:
        """Let a subscription be told as soon as may be."""
        one.flags |= flag
        if not one.flags & Flag.READY:
            one.flags |= Flag.READY
            self._ready.append(one)

    def _tell_ready(self, now: float, most: int, told: list[Owed]) -> None:
        goal = len(told) + most
        while self._ready and len(told) < goal:
            one = self._ready.popleft()
            one.flags &= ~Flag.READY
            self._wake(one, now, told)

    def _fan(self, now: float, most: int, told: list[Owed]) -> None:
        """Go on telling watchers of new states, some of each presentity in turn."""
        left = most
        while self._fans and left > 0:
            owner = self._fans[0]
            if owner.walk is None:
                owner.walk, owner.again = list(owner.subscriptions), False
            for key in (owner.walk.pop() for _ in range(min(_SLICE, left, len(owner.walk)))):
                for one in owner.subscriptions.get(key, ()):
                    left -= 1
                    if one.state is SubscriptionState.ACTIVE:
                        one.flags |= Flag.OWED
                        self._wake(one, now, told)
            self._fans.rotate(-1)
            if not owner.walk:
                owner.walk = None
                if not owner.again:
                    self._fans.pop()
                    owner.fanning = False

    def _wake(self, one: Subscription, now: float, told: list[Owed]) -> None:
        if one.flags & Flag.GONE:
            return
        flight = self._flights.get(one.ticket)
        if flight is not None and now >= flight.at + self.settings.answer_s:
            del self._flights[one.ticket]
            self._settle(flight, indeterminant(Reason.ANSWER_TIMEOUT), now)
            return
        if now >= one.end_at:
            if not one.live:
                self._remove(one)
                return
            self.expired += 1
            self._terminate(one, EndReason.TIMEOUT, now)
        if flight is None and one.flags & Flag.TO_TELL and now >= one.spent - self._burst_s - 1e-9:
            self._emit(one, now, told)
        else:
            self._rest(one, now)

    def _emit(self, one: Subscription, now: float, told: list[Owed]) -> None:
        ticket = next(self._tickets)
        one.ticket = ticket
        self._flights[ticket] = Flight(one, one.state, one.flags & Flag.TO_TELL, now)
        one.flags &= ~Flag.TO_TELL
        one.spent = max(one.spent, now) + self._gap_s
        self._rest(one, now)
        full = one.state is SubscriptionState.ACTIVE or bool(one.flags & Flag.FETCH)
        told.append(
            Owed(
                ticket, one.watcher, one.presentity, one.ident, one.state, one.why,
                Version(self.epoch, one.of.number) if full else None,
                max(ceil(one.end_at - now), 0) if one.live else None,
            )
        )  # fmt: skip

    def _rest(self, one: Subscription, now: float) -> None:
        """Set when a subscription is to be looked at again."""
        flight = self._flights.get(one.ticket)
        if flight is not None:
            at = flight.at + self.settings.answer_s
        elif one.flags & Flag.TO_TELL:
            at = one.spent - self._burst_s
            if at <= now:
                self._tell(one, 0)
                at = one.end_at
        else:
            at = one.end_at
        self._wheel.set(one, min(at, one.end_at))

    def _terminate(self, one: Subscription, why: EndReason, now: float) -> None:
        one.state, one.why = SubscriptionState.TERMINATED, why
        one.end_at = now + self.settings.last_word_s
        one.flags = one.flags & ~Flag.OWED | Flag.FORCED
        one.tries = 0
        one.spent = min(one.spent, now + self._burst_s)
        self._changed(one)

    # -- tables ----------------------------------------------------------------------------------------

    def watchers(self, presentity: Address, now: float) -> Iterator[Onlooker]:
        """Who watches a presentity, or waits for its decision."""
        owner = self._presentities.get(presentity.key)
        for one in owner.all() if owner is not None else ():
            if one.live:
                left = max(one.end_at - now, 0.0)
                yield Onlooker(one.watcher, one.ident, one.state, left, one.tries)

    def presentities(self) -> list[Address]:
        """Who has watchers."""
        return [owner.address for owner in self._presentities.values()]

    def kept(self) -> Iterator[KeptSubscription]:
        """Every pending and active subscription as plain values."""
        for owner in self._presentities.values():
            yield from (one.to_kept(self.wall_ahead_s) for one in owner.all() if one.live)

    def to_kept(self, watcher: Address, presentity: Address, ident: bytes) -> KeptSubscription | None:
        """One subscription as plain values; None where there is none."""
        one = self._find(watcher, presentity, ident)
        return one.to_kept(self.wall_ahead_s) if one is not None and one.live else None

    def from_kept(self, kept: KeptSubscription, now: float) -> Refusal | None:
        """Go on with what was held before a restart; its watcher is told the state within `restart_s`.

        What has ended meanwhile is told to be over.

        Raises:
            BadAddress: what was kept is no address.
            BadDomain: the same.
        """
        watcher, presentity = address_of(kept.watcher), address_of(kept.presentity)
        if self._find(watcher, presentity, kept.subscription_id) is not None:
            return None
        refusal = self._refusal(watcher, presentity)
        if refusal is not None:
            return refusal
        one = self._add(watcher, presentity, kept.subscription_id)
        one.state = SubscriptionState(kept.state)
        one.end_at = kept.ends_at - self.wall_ahead_s
        if one.state is SubscriptionState.ACTIVE:
            one.flags |= Flag.FORCED
            one.spent = now + self.settings.restart_s * self._chance() + self._burst_s
        self._rest(one, now)
        return None

    def _refusal(self, watcher: Address, presentity: Address) -> Refusal | None:
        owner = self._presentities.get(presentity.key)
        bounds, zone = self.settings, zone_of(watcher.domain.name)
        for used, most, what in (
            (self._count, bounds.most, "in all"),
            (owner.count if owner is not None else 0, bounds.per_presentity, f"to {presentity}"),
            (self._by_zone[zone], bounds.per_zone, f"from {zone}"),
            (len(self._mine(watcher, presentity)), bounds.per_watcher, f"of {watcher} to {presentity}"),
        ):
            if used >= most:
                return Refusal(Reason.BUSY, _BUSY_RETRY_S, f"as many subscriptions {what} as may be")
        return None

    def _mine(self, watcher: Address, presentity: Address) -> tuple[Subscription, ...]:
        owner = self._presentities.get(presentity.key)
        return owner.subscriptions.get(watcher.key, ()) if owner is not None else ()

    def _find(self, watcher: Address, presentity: Address, ident: bytes) -> Subscription | None:
        return next((one for one in self._mine(watcher, presentity) if one.ident == ident), None)

    def _add(self, watcher: Address, presentity: Address, ident: bytes) -> Subscription:
        owner = self._presentities.get(presentity.key)
        if owner is None:
            owner = self._presentities[presentity.key] = Presentity(presentity, self._number)
        one = Subscription(owner, watcher, ident)
        owner.subscriptions[one.key] = (*owner.subscriptions.get(one.key, ()), one)
        owner.count += 1
        self._count += 1
        self._by_zone[one.zone] += 1
        return one

    def _remove(self, one: Subscription) -> None:
        owner = one.of
        rest = tuple(other for other in owner.subscriptions[one.key] if other is not one)
        if rest:
            owner.subscriptions[one.key] = rest
        else:
            del owner.subscriptions[one.key]
        owner.count -= 1
        if not owner.count:
            del self._presentities[owner.key]
        self._count -= 1
        self._by_zone[one.zone] -= 1
        if not self._by_zone[one.zone]:
            del self._by_zone[one.zone]
        self._flights.pop(one.ticket, None)
        self._wheel.drop(one)
        one.flags |= Flag.GONE
        if self._kept is not None and not one.flags & Flag.FETCH:
            self._kept(one.store_key, None)

    def _changed(self, one: Subscription) -> None:
        if self._kept is not None:
            self._kept(one.store_key, one.to_kept(self.wall_ahead_s) if one.live else None)
