"""Users of XMPP who watch somebody elsewhere: table W over `routing.watching` (mapping section 6.1).

`Watching` begins, renews and tries again; this decides what the user's service is told of it. What has to be
sent comes back as effects; time, chance and ids are handed in.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Final

from imxrouter.gateways.xmpp.subscriptions.effects import Effects
from imxrouter.gateways.xmpp.subscriptions.kept import names_of
from imxrouter.gateways.xmpp.subscriptions.watcher_actions import WatcherActions
from imxrouter.gateways.xmpp.subscriptions.watcher_pairs import Happening, Pair
from imxrouter.gateways.xmpp.subscriptions.watcher_table import Event, State
from imxrouter.gateways.xmpp.translate.showing import FORGOTTEN, Asked
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import EndReason, Notify, Subscribe, SubscribeResult, SubscriptionState
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.presence import Presence, Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing import watched as machine
from imxrouter.routing.caps import Refusal
from imxrouter.routing.watched import BETWEEN, address_of, pair_key
from imxrouter.routing.watching import REFUSED
from imxrouter.routing.zones import zone_of

#: Ends after which the subscription is begun again at once, as `Watching` does it.
_AT_ONCE: Final = frozenset({EndReason.DEACTIVATED, EndReason.TIMEOUT, EndReason.NONE})


#: States that outlive a restart.
_KEPT: Final = frozenset({State.ASKING.value, State.TO.value, State.ASLEEP.value})
#: States in which a subscription is held.
_RENEWED: Final = frozenset({State.ASKING, State.TO})
_EVENTS: Final = {
    "subscribe": Event.SUBSCRIBE,
    "unsubscribe": Event.UNSUBSCRIBE,
    "probe": Event.PROBE,
    "error": Event.USER_ERROR,
}


class Watchers(WatcherActions):
    """All pairs of which the watcher is a user of an XMPP service; see `WatcherActions` for its arguments."""

    # -- from the user's service ---------------------------------------------------------------------------

    def stanza(
        self, watcher: Address, presentity: Address, kind: str, now: float, ident: str = "", form: bytes = b""
    ) -> Effects:
        """Take a `subscribe`, `unsubscribe`, `probe` or `error` of a user for somebody elsewhere.

        Args:
            watcher: the user, proved by the stream.
            presentity: for whom it is, resource left out (row prs-to-resource).
            kind: the type of the presence.
            now: monotonic seconds.
            ident: of the stanza.
            form: the original form for the operation that it leads to.
        """
        what = Happening(now, Effects(), ident, form)
        what.probe = ident if kind == "probe" else ""
        event = _EVENTS.get(kind)
        pair = self._pair(watcher, presentity)
        if event is None:
            self.counts["odd-type"] += 1
            return what.effects
        if event is not Event.USER_ERROR:
            pair.errors = 0
        if event is Event.SUBSCRIBE and (refusal := self._refusal(pair)) is not None:
            event = Event.NO_ROOM
            what.reason, what.retry_s = refusal.reason, refusal.retry_after_s
        self._happens(pair, event, what)
        if event is Event.USER_ERROR and pair.errors >= self.settings.errors:
            pair.errors = 0
            self._happens(pair, Event.USER_GONE, what)
        return what.effects

    def active(self, watcher: Address, presentity: Address, now: float) -> None:
        """The user wrote to him: he is still interested (row w-24)."""
        if not self._pairs:
            return
        pair = self._pairs.get(names_of(watcher, presentity))
        if pair is not None and pair.state is State.TO:
            self._note(pair, now)

    def shown(self, watcher: Address, presentity: Address, resource: str = "") -> bool:
        """Whether the user may see him; of a resource, whether it is shown to him now."""
        pair = self._pairs.get(names_of(watcher, presentity))
        if pair is None or pair.state is not State.TO:
            return False
        return not resource or resource in pair.shown.resources

    def wanted_by(self, watcher: Address, now: float) -> list[tuple[Pair, machine.Standing | None]]:
        """Whom a user watches, or wants to, by address and for people to read; it looks at all pairs.

        Returns:
            each with the subscription behind it; none behind one that is asleep.
        """
        found = [
            one
            for one in self._pairs.values()
            if one.watcher.key == watcher.key and one.state is not State.ENDING
        ]
        return [
            (one, self._watching.standing(one.watcher, one.presentity, now))
            for one in sorted(found, key=lambda one: one.presentity)
        ]

    def _refusal(self, pair: Pair) -> Refusal | None:
        if pair.state not in {State.NONE, State.ENDING}:
            return None
        other = self._by_key.get(pair_key(pair.watcher, pair.presentity))
        if other is not None and other is not pair:
            return Refusal(Reason.ID_REUSED, 0, "another spelling of both addresses is watched")
        if self._asking[pair.watcher.key] >= self.settings.asking_per_watcher:
            return Refusal(Reason.BUSY, 60, "too many wishes wait for an approval")
        zone = zone_of(pair.watcher.domain.name)
        if self._asking[zone.encode()] >= self.settings.asking_per_zone:
            return Refusal(Reason.BUSY, 60, f"too many wishes from {zone} wait for an approval")
        return None

    def awaits(self, watcher: bytes, presentity: bytes, ident: bytes) -> bool:
        """Whether a subscription is of one of the users; both by the key of their address."""
        return self._watching.awaits(watcher + BETWEEN + presentity, ident)

    # -- from the other side -------------------------------------------------------------------------------

    def notified(self, told: Notify, now: float, form: bytes = b"") -> tuple[Outcome, Effects]:
        """Take a notification for a user.

        Args:
            told: the operation.
            now: monotonic seconds.
            form: the stanza it was made of, judged to say no more than it; empty for none.
        """
        what = Happening(now, Effects(), verdict=form)
        heard = self._watching.notified(told, now)
        if heard.verdict is machine.Verdict.NOT_SUBSCRIBED:
            by = told.watcher.domain.name
            return failure(Reason.NOT_SUBSCRIBED, by=by, role="service"), what.effects
        fetch = self._fetches.pop(told.subscription_id, None)
        if fetch is not None:
            self._fetch_told(self._pair(told.watcher, told.presentity), fetch, told, what)
            return SUCCESS, what.effects
        pair = self._by_key.get(pair_key(told.watcher, told.presentity))
        if pair is not None and not heard.effects.ended:
            self._told(pair, told, heard.verdict, what)
        self._run(heard.effects, what)
        return SUCCESS, what.effects

    def _told(self, pair: Pair, told: Notify, verdict: machine.Verdict, what: Happening) -> None:
        presence, news = told.presence, verdict is machine.Verdict.NEWS
        what.presence = presence if news else None
        if isinstance(presence, Unknown):
            if news:
                self._happens(pair, Event.NOTIFY_UNKNOWN, what)
        elif told.state is SubscriptionState.TERMINATED:
            at_once = told.end_reason in _AT_ONCE
            self._happens(pair, Event.ENDED_AT_ONCE if at_once else Event.ENDED_LATER, what)
        elif told.state is SubscriptionState.PENDING:
            self._success(pair)
            self._happens(pair, Event.NOTIFY_PENDING, what)
        else:
            self._told_active(pair, told, verdict, what)

    def _told_active(self, pair: Pair, told: Notify, verdict: machine.Verdict, what: Happening) -> None:
        if verdict is not machine.Verdict.NOTHING_NEW:
            pair.confirmed, pair.lapses_at = True, inf
        if verdict is machine.Verdict.NEWS or (
            pair.state is State.ASKING and verdict is machine.Verdict.STATE_ONLY
        ):
            self._success(pair)
            what.presence = told.presence if told.presence is not None else Presence(told.presentity)
            self._happens(pair, Event.NOTIFY_ACTIVE, what)
        else:
            self.counts["no-news"] += 1

    def _fetch_told(self, pair: Pair, ident: str, told: Notify, what: Happening) -> None:
        what.id = what.probe = ident
        what.presence = told.presence
        if isinstance(told.presence, Presence):
            self._happens(pair, Event.FETCHED, what)
        elif isinstance(told.presence, Unknown):
            what.reason, what.by = told.presence.reason, told.presence.domain.name
            self._happens(pair, Event.FETCH_FAILED, what)
        else:
            self._happens(pair, Event.FETCH_REFUSED, what)

    def answered(self, asked: Subscribe, outcome: Outcome, now: float) -> Effects:
        """Take the outcome of a request that was among the effects."""
        what = Happening(now, Effects())
        late = self._watching.late_answers
        effects = self._watching.answered(asked, outcome, now)
        pair = self._by_key.get(pair_key(asked.watcher, asked.presentity))
        if pair is not None and asked.duration_s and self._watching.late_answers == late:
            self._answered(pair, outcome, what)
        self._run(effects, what)
        self._look_at_ends(what)
        return what.effects

    def _answered(self, pair: Pair, outcome: Outcome, what: Happening) -> None:
        result = outcome.result
        if outcome.ok and isinstance(result, SubscribeResult):
            self._success(pair)
            pending = result.state is SubscriptionState.PENDING
            if not pending:
                pair.lapses_at = inf
            self._happens(pair, Event.ANSWER_PENDING if pending else Event.ANSWER_ACTIVE, what)
        elif outcome.reason not in REFUSED:
            if pair.failing_since is None:
                pair.failing_since = what.now
            self._happens(pair, Event.ANSWER_FAILED, what)
            self._rest(pair)

    def _success(self, pair: Pair) -> None:
        pair.failing_since, pair.failed = None, False

    def _run(self, effects: machine.Effects, what: Happening) -> None:
        """What `Watching` says: what to send, what is unknown, what is over."""
        for doubt in effects.show:
            fetch = self._fetches.pop(doubt.subscription_id, None)
            unknown = doubt.presence
            what.presence, what.reason, what.by = unknown, unknown.reason, unknown.domain.name
            pair = self._by_key.get(pair_key(doubt.watcher, doubt.presentity))
            if fetch is not None:
                what.id = what.probe = fetch
                refused = unknown.reason in REFUSED
                pair = self._pair(doubt.watcher, doubt.presentity)
                self._happens(pair, Event.FETCH_REFUSED if refused else Event.FETCH_FAILED, what)
            elif pair is not None:
                self._happens(pair, Event.NOTIFY_UNKNOWN, what)
        for ended in effects.ended:
            pair = self._by_key.get(pair_key(ended.watcher, ended.presentity))
            if pair is not None:
                self._happens(pair, Event.REFUSED, what)
        for asked in effects.send:
            pair = self._by_key.get(pair_key(asked.watcher, asked.presentity))
            form = pair.form if pair is not None else b""
            if pair is not None:
                pair.form = b""
                if asked.duration_s:
                    pair.confirmed = False
                    self._happens(pair, Event.RENEW, what)
            what.effects.operations.append(replace(asked, original_form=form) if form else asked)

    def _look_at_ends(self, what: Happening) -> None:
        for names in list(self._ending):
            pair = self._pairs.get(names)
            if pair is None or pair.state is not State.ENDING:
                self._ending.discard(names)
            elif not self._watching.holds(pair.watcher, pair.presentity):
                self._happens(pair, Event.END_ANSWERED, what)

    # -- loss of services ----------------------------------------------------------------------------------

    def back(self, domain: Domain, now: float) -> None:
        """Who answers for a domain was lost and can be reached again: what could not be told there is due."""
        watching = [one for one in self._of(domain) if one.state in _RENEWED]
        within_s = min(len(watching) / self.settings.spread_per_s, self.settings.spread_s)
        for pair in watching:
            self._watching.renew(pair.watcher, pair.presentity, now, within_s)

    # -- time ----------------------------------------------------------------------------------------------

    def due(self, now: float) -> Effects:
        """What to send now; to be called about once a second."""
        what = Happening(now, Effects())
        self._watching.wall_ahead_s = self.wall_ahead_s
        self._run(self._watching.due(now), what)
        self._look_at_ends(what)
        for pair in self._wheel.take(now, 1000):
            if self._pairs.get(pair.names) is pair:
                self._wake(pair, what)
        return what.effects

    def _wake(self, pair: Pair, what: Happening) -> None:
        now = what.now
        if pair.approved:
            what.presence = pair.latest
            self._happens(pair, Event.NOTIFY_ACTIVE, what)
        if pair.to_show:
            self._show(pair, what)
        if pair.asked is not None and pair.asked[1] <= now:
            # Nothing came: who asked is told so, and the first state is shown when it is there.
            unknown = Unknown(pair.presentity, Reason.ANSWER_TIMEOUT, pair.presentity.domain)
            self._show_state(pair, unknown, Asked(self._wall(now), pair.asked[0]), what)
            pair.asked = (pair.asked[0], inf)
        if pair.failing_since is not None and pair.failing_since + self.settings.grace_s <= now:
            self._unreached(pair, what)
        if pair.lapses_at <= now:
            self._happens(pair, Event.LAPSED, what)
        if pair.state is State.TO and self._idle_at(pair) <= now:
            self._happens(pair, Event.IDLE, what)
        self._rest(pair)

    def _unreached(self, pair: Pair, what: Happening) -> None:
        standing = self._watching.standing(pair.watcher, pair.presentity, what.now)
        if pair.failed or pair.state is not State.ASKING or standing is None or standing.why is None:
            return
        pair.failed = True
        what.reason, what.by = standing.why[0], standing.why[1].name
        self._happens(pair, Event.UNREACHED, what)

    # -- restart and removal -------------------------------------------------------------------------------

    def restore(self, now: float) -> None:
        """Go on with what is stored; before traffic comes."""
        watches = {(one.watcher, one.presentity): one for one in self._keeping.all_watches()}
        for watcher, presentity, kept in self._keeping.all_watching():
            pair = Pair(watcher, presentity)
            key = pair_key(watcher, presentity)
            if kept.state not in _KEPT or key in self._by_key:
                continue
            pair.state, pair.ident = State(kept.state), kept.ident
            pair.since, pair.asked_day = kept.since, kept.asked_day
            self._hold(pair)
            if pair.state is State.ASKING:
                self._count_asking(pair, 1)
            self._happens(pair, Event.RESTART, Happening(now, Effects()))
            if pair.state is State.TO:
                pair.shown = FORGOTTEN
            if pair.state is not State.ASLEEP:
                pair.asked = ("", inf)
                self._hold_again(watches.pop((watcher.wire, presentity.wire), None), pair, now)
            self._rest(pair)
        for kept_watch in watches.values():  # of pairs that were forgotten meanwhile
            self._forget_watch(kept_watch)

    def _hold_again(self, watch: machine.KeptWatch | None, pair: Pair, now: float) -> None:
        try:
            if watch is not None and self._watching.from_kept(watch, now) is None:
                return
        except RouterError:
            self.counts["unread"] += 1
        self._watching.want(pair.watcher, pair.presentity, self.settings.duration_s)

    def _forget_watch(self, watch: machine.KeptWatch) -> None:
        try:
            watcher, presentity = address_of(watch.watcher), address_of(watch.presentity)
        except RouterError:
            self.counts["unread"] += 1
        else:
            if not self._watching.holds(watcher, presentity):
                self._keeping.watch(pair_key(watcher, presentity), None)

    def removed(self, domain: Domain, now: float) -> Effects:
        """A domain whose users watch is served no more."""
        what = Happening(now, Effects())
        for pair in self._of(domain):
            self._happens(pair, Event.REMOVED, what)
        return what.effects

    def blocked(self, watcher: Address, presentity: Address, now: float) -> Effects:
        """A rule forbids this pair from now on."""
        what = Happening(now, Effects())
        pair = self._pairs.get(names_of(watcher, presentity))
        if pair is not None:
            self._happens(pair, Event.REMOVED, what)
        return what.effects
