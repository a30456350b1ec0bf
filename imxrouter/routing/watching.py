"""The watcher's side of the subscriptions that a service holds (specification sections 7.6 and 7.7).

A subscription that is *wanted* is begun, renewed, and tried again after failures, until nobody wants it or
the presentity's side refuses it. What has to be sent comes out of `due`; time, chance and ids are handed in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from math import inf
from typing import Final

from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import EndReason, Notify, Subscribe, SubscribeResult, SubscriptionState
from imxrouter.model.outcome import Outcome, indeterminant
from imxrouter.model.presence import Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.routing.fetching import Fetches
from imxrouter.routing.watched import (
    DEFAULT_SETTINGS,
    Effects,
    Ended,
    Heard,
    KeptWatch,
    KeptWatches,
    Seen,
    Show,
    Standing,
    Verdict,
    Watched,
    WatchSettings,
    failed_where,
    pair_key,
)
from imxrouter.routing.wheel import Wheel

#: Answers that end a subscription: no such user, or he does not want this watcher (section 7.6).
REFUSED: Final = frozenset({
    Reason.NOT_DELIVERED, Reason.UNKNOWN_USER, Reason.BLOCKED, Reason.CONSENT_NEEDED,
})  # fmt: skip
#: Ends after which the watcher subscribes again at once, and later (RFC 6665 section 4.1.3).
_AT_ONCE: Final = frozenset({EndReason.DEACTIVATED, EndReason.TIMEOUT, EndReason.NONE})
_LATER: Final = frozenset({EndReason.PROBATION, EndReason.GIVEUP})
#: An end is asked for so many times; then the subscription expires by itself.
_END_TRIES: Final = 3
#: Not renewed sooner, whatever the other side grants; a domain SHOULD grant 10 s at least (section 7.6).
_LEAST_RENEWAL_S: Final = 5.0
#: Told with a refusal for want of room.
_BUSY_RETRY_S: Final = 60


class Watching:
    """All subscriptions of one service's watchers, at most one of a watcher to a presentity.

    Args:
        new_id: gives 16 random bytes, for subscriptions and requests.
        chance: gives a random number in [0, 1).
        settings: bounds and pauses.
        wall_ahead_s: seconds since 1970 less the seconds handed in as `now`; for what is kept.
        kept: told of each subscription whose kept form changed: its key, and the form or None where it ended.
    """

    def __init__(
        self,
        new_id: Callable[[], bytes],
        chance: Callable[[], float],
        settings: WatchSettings = DEFAULT_SETTINGS,
        wall_ahead_s: float = 0.0,
        kept: KeptWatches | None = None,
    ) -> None:
        self.settings = settings
        #: Notifications dropped for being older than, or the same as, what was shown.
        self.old_dropped = 0
        #: Notifications of a subscription that is not held.
        self.strange_dropped = 0
        #: Answers to requests that nobody waits for any more.
        self.late_answers = 0
        self._new_id = new_id
        self._chance = chance
        #: To be set anew where the clock on the wall was.
        self.wall_ahead_s = wall_ahead_s
        self._kept = kept
        self._entries: dict[bytes, Watched] = {}
        self._by_domain: dict[bytes, set[Watched]] = {}
        self._by_watcher: Counter[bytes] = Counter()
        self._fetches = Fetches(new_id)
        self._wheel: Wheel[Watched] = Wheel()
        #: Not asked yet; they go out at a bounded pace.
        self._fresh: deque[Watched] = deque()
        self._paced_until = -inf

    def __len__(self) -> int:
        return len(self._entries)

    # -- what the users want ---------------------------------------------------------------------------

    def want(self, watcher: Address, presentity: Address, duration_s: int) -> Refusal | None:
        """Hold a subscription from now on; the request comes out of `due`. Wanting it again changes nothing.

        Args:
            watcher: one of the service's users.
            presentity: of whom he wants to know.
            duration_s: seconds to ask for each time, at least 1.
        """
        key = pair_key(watcher, presentity)
        entry = self._entries.get(key)
        if entry is not None and (not entry.leaving or entry.asked is None):
            if entry.leaving:  # its end was not asked for, or in vain: `due` renews it, and shows it anew
                entry.leaving, entry.seen = False, Seen.NOTHING
            entry.duration_s = max(duration_s, 1)
            self._changed(entry)
            return None
        if entry is not None:
            self._remove(key, entry)
        elif (refusal := self._refusal(watcher)) is not None:
            return refusal
        added = Watched(key, watcher, presentity, self._new_id(), max(duration_s, 1))
        self._add(added)
        self._changed(added)
        return None

    def unwant(self, watcher: Address, presentity: Address, now: float) -> bool:
        """End a subscription; `due` gives the request. False where there is none."""
        key = pair_key(watcher, presentity)
        entry = self._entries.get(key)
        if entry is None or entry.leaving:
            return False
        if entry.state is None and entry.asked is None and not entry.tries:
            self._remove(key, entry)
            return True
        entry.leaving, entry.fresh = True, False
        entry.tries = 0
        self._forget_kept(key)
        if entry.asked is None:
            self._wheel.set(entry, now)
        return True

    def fetch(self, watcher: Address, presentity: Address, now: float) -> Subscribe | Refusal:
        """Ask once; the request is to be sent now.

        Its end is either one notification or one `Show` of what is unknown, with the request's subscription
        id, and comes within `answer_s` of being asked.
        """
        return self._fetches.ask(watcher, presentity, now, self.settings)

    def again(self, domain: Domain, now: float) -> None:
        """A domain is reachable: what could not begin there is tried soon, spread (section 7.7).

        What was granted and goes on is looked after by the router, which knows whether the domain was lost.
        """
        for entry in sorted(self._by_domain.get(domain.wire, ()), key=lambda one: one.key):
            lives = entry.state is not None and now < entry.end_at
            waits = not entry.fresh and entry.asked is None and not entry.leaving
            if entry.tries and waits and not lives and entry.due > now + self.settings.again_s:
                self._wheel.set(entry, now + self.settings.again_s * self._chance())

    def renew(self, watcher: Address, presentity: Address, now: float, within_s: float) -> None:
        """Ask again soon, at a random moment within a time: what was told meanwhile may be lost.

        What is due before that stays so: said often enough, this would put it off for ever.
        """
        entry = self._entries.get(pair_key(watcher, presentity))
        if entry is not None and entry.asked is None and not entry.fresh and not entry.leaving:
            self._wheel.set(entry, min(entry.due, now + within_s * self._chance()))

    # -- what is to be sent ----------------------------------------------------------------------------

    def due(self, now: float, most: int = 1000) -> Effects:
        """What to send and to show now; to be called about once a second.

        Args:
            now: monotonic seconds.
            most: renewals and new tries; those that begin are bounded by `fresh_per_s`.
        """
        effects = Effects()
        for entry in self._wheel.take(now, most):
            self._wake(entry, now, effects)
        gap = 1.0 / self.settings.fresh_per_s
        self._paced_until = max(self._paced_until, now - 1.0)
        while self._fresh and self._paced_until + gap <= now + 1e-9:
            entry = self._fresh.popleft()
            if entry.fresh and self._entries.get(entry.key) is entry:
                entry.fresh = False
                self._paced_until += gap
                self._send(entry, now, effects)
        effects.show += self._fetches.over(now)
        return effects

    def next_due(self, now: float) -> float:
        """Nothing comes out of `due` before this moment; infinite where nothing waits."""
        return min(now if self._fresh else inf, self._wheel.next_due(), self._fetches.next_due())

    def answered(self, asked: Subscribe, outcome: Outcome, now: float) -> Effects:
        """Take the outcome of a request that `due` or `fetch` gave."""
        effects = Effects()
        if self._fetches.is_asked(asked):
            unknown = self._fetches.answered(asked, outcome)
            effects.show += [unknown] if unknown is not None else []
            return effects
        entry = self._find(asked.watcher, asked.presentity, asked.subscription_id)
        if entry is None or entry.asked != asked.message_id:
            self.late_answers += 1
            return effects
        entry.asked = None
        if asked.duration_s == 0:
            self._end_answered(entry, outcome, now)
            return effects
        result = outcome.result
        if outcome.ok and isinstance(result, SubscribeResult) and result.duration_s > 0:
            self._granted(entry, result, asked.duration_s, now)
        elif outcome.ok:
            self._failed(entry, indeterminant(Reason.PEER_FAILED), now, effects)
        elif outcome.reason in REFUSED and not entry.leaving:
            self._end(entry, EndReason.REJECTED, outcome.reason, effects)
        else:
            self._failed(entry, outcome, now, effects)
        return effects

    # -- what is told ----------------------------------------------------------------------------------

    def notified(self, told: Notify, now: float) -> Heard:
        """Judge a notification: whether its presence is news for the user, and what follows from it."""
        effects = Effects()
        if self._fetches.told(told):
            return self._fetch_told(told, effects)
        entry = self._find(told.watcher, told.presentity, told.subscription_id)
        if entry is None or entry.leaving:
            self.strange_dropped += entry is None
            return Heard(Verdict.NOT_SUBSCRIBED if entry is None else Verdict.NOTHING_NEW, effects)
        verdict = self._judge(entry, told, now)
        if isinstance(told.presence, Unknown):
            return Heard(verdict, effects)
        if told.state is SubscriptionState.TERMINATED:
            self._terminated(entry, told.end_reason, now, effects)
            return Heard(verdict, effects)
        stale = told.version is not None and entry.version is not None and told.version < entry.version
        if entry.state is not None and not stale:
            entry.state = told.state
            if told.state is SubscriptionState.PENDING:
                entry.reached()
            if told.expires_s is not None:
                self._shortened(entry, max(told.expires_s, 1), now)
        self._changed(entry)
        return Heard(verdict, effects)

    def _judge(self, entry: Watched, told: Notify, now: float) -> Verdict:
        presence, version = told.presence, told.version
        if presence is None:
            return Verdict.STATE_ONLY
        if isinstance(presence, Unknown):
            if not entry.doubt(presence.reason, presence.domain):
                self.old_dropped += 1
                return Verdict.NOTHING_NEW
            if entry.asked is None and not entry.fresh:
                self._wheel.set(entry, min(entry.due, now + self.settings.again_s * self._chance()))
            return Verdict.NEWS
        newest = entry.version
        if newest is not None and (version is None or version < newest):
            self.old_dropped += 1
            return Verdict.NOTHING_NEW
        if newest is not None and version == newest and entry.seen is Seen.KNOWN:
            self.old_dropped += 1
            return Verdict.NOTHING_NEW
        entry.version = version
        entry.seen, entry.why = Seen.KNOWN, None
        return Verdict.NEWS

    def _terminated(self, entry: Watched, why: EndReason, now: float, effects: Effects) -> None:
        if why not in _AT_ONCE and why not in _LATER:
            self._end(entry, why, Reason.NONE, effects)
            return
        entry.state, entry.end_at = None, 0.0
        wait = self.settings.again_s
        if why in _LATER:
            self._doubt(entry, Reason.NOT_SUBSCRIBED, entry.presentity.domain, effects)
            wait = self.settings.backoff.cap_s
        self._changed(entry)
        # A request in flight may have come before the end; what it is answered with counts no more.
        entry.asked = None
        if not entry.fresh:
            least = wait / 2 if why in _LATER else 0.0
            self._wheel.set(entry, now + least + (wait - least) * self._chance())

    # -- the life of one -------------------------------------------------------------------------------

    def _wake(self, entry: Watched, now: float, effects: Effects) -> None:
        if self._entries.get(entry.key) is not entry:
            return
        over = entry.state is not None and now >= entry.end_at
        if over:
            entry.state, entry.end_at = None, 0.0
        if entry.asked is not None:
            if now >= entry.asked_at + self.settings.answer_s:
                entry.asked = None
                if entry.leaving:
                    self._end_answered(entry, indeterminant(Reason.ANSWER_TIMEOUT), now)
                else:
                    self._failed(entry, indeterminant(Reason.ANSWER_TIMEOUT), now, effects)
                return
            self._wheel.set(entry, entry.asked_at + self.settings.answer_s)
        if over and entry.why is not None and entry.tries and not entry.leaving:
            self._doubt(entry, *entry.why, effects)
        if entry.asked is None:
            self._send(entry, now, effects)

    def _send(self, entry: Watched, now: float, effects: Effects) -> None:
        entry.asked = self._new_id()
        entry.asked_at = now
        end = entry.end_at if entry.state is not None else inf
        self._wheel.set(entry, min(now + self.settings.answer_s, max(end, now)))
        duration = 0 if entry.leaving else entry.duration_s
        effects.send.append(Subscribe(entry.watcher, entry.presentity, entry.asked, entry.ident, duration))

    def _granted(self, entry: Watched, result: SubscribeResult, wanted_s: int, now: float) -> None:
        granted = min(result.duration_s, wanted_s)
        entry.state = result.state
        entry.end_at = entry.asked_at + granted
        entry.tries = 0
        if entry.seen is not Seen.UNKNOWN or result.state is SubscriptionState.PENDING:
            entry.reached()
        self._renew_within(entry, entry.asked_at, granted, now)
        self._changed(entry)

    def _renew_within(self, entry: Watched, start: float, span_s: float, now: float) -> None:
        low, high = self.settings.renew_from, self.settings.renew_to
        at = start + span_s * (low + (high - low) * self._chance())
        at = max(at, entry.asked_at + min(_LEAST_RENEWAL_S, entry.duration_s * low))
        self._wheel.set(entry, now if entry.leaving else max(at, now))

    def _shortened(self, entry: Watched, left_s: int, now: float) -> None:
        """The notifier says that it ends earlier than was granted (RFC 6665 section 4.2.2)."""
        if now + left_s >= entry.end_at:
            return
        entry.end_at = now + left_s
        if entry.asked is None and not entry.fresh and entry.due > now + left_s * self.settings.renew_to:
            self._renew_within(entry, now, left_s, now)

    def _failed(self, entry: Watched, outcome: Outcome, now: float, effects: Effects) -> None:
        entry.tries += 1
        if entry.leaving:
            self._wheel.set(entry, now)
            return
        domain = failed_where(entry.watcher, entry.presentity, outcome)
        if entry.state is None or now >= entry.end_at:
            entry.state, entry.end_at = None, 0.0
            self._doubt(entry, outcome.reason, domain, effects)
        elif entry.seen is not Seen.UNKNOWN:
            entry.why = (outcome.reason, domain)
        wait = self.settings.backoff.wait_s(entry.tries, self._chance())
        wait = max(wait, outcome.retry_after_s * (1.0 + 0.1 * self._chance()))
        at = now + wait
        # At its end it is tried once more, and shown as unknown.
        self._wheel.set(entry, min(at, entry.end_at) if entry.state is not None else at)
        self._changed(entry)

    def _end_answered(self, entry: Watched, outcome: Outcome, now: float) -> None:
        entry.tries += 1
        if outcome.ok or outcome.reason in REFUSED or entry.tries >= _END_TRIES:
            self._remove(entry.key, entry)
        else:
            self._wheel.set(entry, now + self.settings.backoff.wait_s(entry.tries, self._chance()))

    def _end(self, entry: Watched, why: EndReason, reason: Reason, effects: Effects) -> None:
        self._remove(entry.key, entry)
        effects.ended.append(Ended(entry.watcher, entry.presentity, entry.ident, why, reason))

    def _doubt(self, entry: Watched, reason: Reason, domain: Domain, effects: Effects) -> None:
        """Show the user that nothing is known; once for each cause."""
        if entry.doubt(reason, domain):
            presentity = entry.presentity
            unknown = Unknown(presentity, reason, domain)
            effects.show.append(Show(entry.watcher, presentity, entry.ident, unknown))

    def _fetch_told(self, told: Notify, effects: Effects) -> Heard:
        held = self._entries.get(pair_key(told.watcher, told.presentity))
        newest = held.version if held is not None else None
        if newest is not None and told.version is not None and told.version < newest:
            self.old_dropped += 1
            return Heard(Verdict.NOTHING_NEW, effects)
        return Heard(Verdict.NEWS if told.presence is not None else Verdict.STATE_ONLY, effects)

    # -- tables ----------------------------------------------------------------------------------------

    def standing(self, watcher: Address, presentity: Address, now: float) -> Standing | None:
        """How a subscription is; None where it is not wanted."""
        entry = self._entries.get(pair_key(watcher, presentity))
        return entry.standing(now) if entry is not None and not entry.leaving else None

    def holds(self, watcher: Address, presentity: Address) -> bool:
        """Whether there is a subscription, be it that its end is still to be told."""
        return pair_key(watcher, presentity) in self._entries

    def awaits(self, key: bytes, ident: bytes) -> bool:
        """Whether notifications of a subscription, or the answer to a fetch, are for somebody here.

        Args:
            key: of the pair, see `pair_key`.
            ident: of the subscription.
        """
        entry = self._entries.get(key)
        return ident in self._fetches or (entry is not None and entry.ident == ident)

    def standings(self, now: float) -> Iterator[Standing]:
        """Every subscription that is wanted."""
        return (entry.standing(now) for entry in self._entries.values() if not entry.leaving)

    def standings_of(self, watchers: Collection[Address], now: float) -> list[Standing]:
        """Every subscription that one of these wants; looks at all that are held, once."""
        keys = {watcher.key for watcher in watchers}
        wanted = [one for one in self._entries.values() if not one.leaving and one.watcher_key in keys]
        return [standing for one in wanted if (standing := one.standing(now)).watcher in watchers]

    def to_kept(self, watcher: Address, presentity: Address) -> KeptWatch | None:
        """One subscription as plain values; None where it is not wanted."""
        entry = self._entries.get(pair_key(watcher, presentity))
        return entry.to_kept(self.wall_ahead_s) if entry is not None and not entry.leaving else None

    def from_kept(self, kept: KeptWatch, now: float) -> Refusal | None:
        """Hold again what was held before a restart; it is renewed soon, at the pace of new ones.

        Raises:
            BadAddress: what was kept is no address.
            BadDomain: the same.
        """
        entry = Watched.from_kept(kept, self.wall_ahead_s, now)
        if entry.key in self._entries:
            return None
        refusal = self._refusal(entry.watcher)
        if refusal is None:
            self._add(entry)
        return refusal

    def _refusal(self, watcher: Address) -> Refusal | None:
        if len(self._entries) >= self.settings.most:
            return Refusal(Reason.BUSY, _BUSY_RETRY_S, "as many subscriptions are held as may be")
        if self._by_watcher[watcher.key] >= self.settings.per_watcher:
            return Refusal(Reason.BUSY, _BUSY_RETRY_S, f"{watcher} holds as many subscriptions as he may")
        return None

    def _add(self, entry: Watched) -> None:
        self._entries[entry.key] = entry
        self._by_domain.setdefault(entry.domain, set()).add(entry)
        self._by_watcher[entry.watcher_key] += 1
        entry.fresh = True
        self._fresh.append(entry)

    def _remove(self, key: bytes, entry: Watched) -> None:
        del self._entries[key]
        entry.fresh = False
        self._wheel.drop(entry)
        same = self._by_domain[entry.domain]
        same.discard(entry)
        if not same:
            del self._by_domain[entry.domain]
        self._by_watcher[entry.watcher_key] -= 1
        if not self._by_watcher[entry.watcher_key]:
            del self._by_watcher[entry.watcher_key]
        self._forget_kept(key)

    def _find(self, watcher: Address, presentity: Address, ident: bytes) -> Watched | None:
        entry = self._entries.get(pair_key(watcher, presentity))
        return entry if entry is not None and entry.ident == ident else None

    def _changed(self, entry: Watched) -> None:
        if self._kept is not None and not entry.leaving:
            self._kept(entry.key, entry.to_kept(self.wall_ahead_s))

    def _forget_kept(self, key: bytes) -> None:
        if self._kept is not None:
            self._kept(key, None)
