"""Users of XMPP who watch somebody elsewhere: table W over `routing.watching` (mapping section 6.1).

`Watching` begins, renews and tries again; this decides what the user's service is told of it. What has to be
sent comes back as effects; time, chance and ids are handed in.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from typing import Final

from imxrouter.gateways.xmpp.subscriptions.effects import Effects
from imxrouter.gateways.xmpp.subscriptions.kept import FORM, Keeping, KeptWatching, names_of
from imxrouter.gateways.xmpp.subscriptions.pairs import Shares, paced, size_of, slim, spend
from imxrouter.gateways.xmpp.subscriptions.watcher_table import TRANSITIONS, Do, Event, State
from imxrouter.gateways.xmpp.translate.showing import (
    NOTHING,
    Asked,
    PresenceStanza,
    Shown,
    error,
    hide,
    show,
)
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import (
    DEFAULT_SUBSCRIPTION_S,
    EndReason,
    Notify,
    Subscribe,
    SubscribeResult,
    SubscriptionState,
)
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.presence import Presence, Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing import watched as machine
from imxrouter.routing.caps import Refusal
from imxrouter.routing.watched import WatchSettings, pair_key
from imxrouter.routing.watching import REFUSED, Watching
from imxrouter.routing.wheel import Timed, Wheel

_DAY_S: Final = 86_400
#: Ends after which the subscription is begun again at once, as `Watching` does it.
_AT_ONCE: Final = frozenset({EndReason.DEACTIVATED, EndReason.TIMEOUT, EndReason.NONE})


@dataclass(frozen=True, slots=True)
class WatcherSettings:
    """Bounds and pauses.

    Attributes:
        asking_per_watcher: wishes of one user that nobody has approved.
        answer_s: a probe of one pair is answered once in this time.
        fetch_s: one pair is fetched once in this time.
        fetched: pairs of which it is remembered when they were fetched.
        grace_s: who waits for an answer, or for success, is told of the failure after this.
        idle_days: days without a sign of the user's interest after which nothing is renewed any more.
        errors: of the user's service in a row after which it counts as gone.
        duration_s: asked for each time.
    """

    asking_per_watcher: int = 200
    answer_s: float = 2.0
    fetch_s: float = 60.0
    fetched: int = 10_000
    grace_s: float = 10.0
    idle_days: int = 14
    errors: int = 3
    duration_s: int = DEFAULT_SUBSCRIPTION_S


class Pair(Timed):
    """A user and whom he watches. There are many: what is empty costs nothing.

    Attributes:
        watcher: the user.
        presentity: whom.
        state: see there.
        since: seconds since 1970.
        asked_day: day since 1970 on which his service asked last.
        ident: of the subscription that fell asleep.
        shown: to him.
        latest: what was told; None where nothing was since the start.
        asked: somebody waits for what is shown: the id of his stanza, and until when he waits.
        to_show: the newest state waits for a token.
        spent: see `pairs.paced`.
        answered_at: when a probe was answered last.
        failing_since: of requests without success; None where the last one had it.
        errors: of his service in a row.
        failed: the failure was told.
        approved: the approval could not be stored yet.
        form: of the stanza whose request has not been sent yet.
    """

    __slots__ = (
        "answered_at", "approved", "asked", "asked_day", "errors", "failed", "failing_since", "form", "ident",
        "latest", "presentity", "shown", "since", "spent", "state", "to_show", "watcher",
    )  # fmt: skip

    def __init__(self, watcher: Address, presentity: Address) -> None:
        super().__init__()
        self.watcher, self.presentity = watcher, presentity
        self.state = State.NONE
        self.since = self.asked_day = 0
        self.ident = b""
        self.shown: Shown = NOTHING
        self.latest: Presence | Unknown | None = None
        self.asked: tuple[str, float] | None = None
        self.to_show = False
        self.spent = 0.0
        self.answered_at = -inf
        self.failing_since: float | None = None
        self.errors = 0
        self.failed = self.approved = False
        self.form = b""

    @property
    def names(self) -> bytes:
        """Under which it is stored."""
        return names_of(self.watcher, self.presentity)


@dataclass(slots=True)
class _Happening:
    """One event with all that belongs to it."""

    now: float
    effects: Effects
    id: str = ""
    form: bytes = b""
    reason: Reason = Reason.NONE
    by: str = ""
    retry_s: int = 0
    presence: Presence | Unknown | None = None


class Watchers:
    """All pairs of which the watcher is a user of an XMPP service.

    Args:
        keeping: where wishes and consents are stored.
        new_id: gives 16 random bytes.
        chance: gives a random number in [0, 1).
        settings: bounds and pauses.
        watch_settings: those of the subscriptions.
        wall_ahead_s: seconds since 1970 less the seconds handed in as `now`.
        caps: the element that says what this gateway can translate.

    Attributes:
        counts: what was dropped or put off, by word.
    """

    def __init__(
        self,
        keeping: Keeping,
        new_id: Callable[[], bytes],
        chance: Callable[[], float],
        settings: WatcherSettings | None = None,
        watch_settings: WatchSettings = machine.DEFAULT_SETTINGS,
        wall_ahead_s: float = 0.0,
        caps: str = "",
    ) -> None:
        self.settings = settings or WatcherSettings()
        self.counts: Counter[str] = Counter()
        self.wall_ahead_s = wall_ahead_s
        self._keeping = keeping
        self._new_id = new_id
        self._caps = caps
        self._watching = Watching(new_id, chance, watch_settings, wall_ahead_s, keeping.watch)
        self._pairs: dict[bytes, Pair] = {}
        #: By what `Watching` compares; two spellings of one key are two people, and the second is refused.
        self._by_key: dict[bytes, Pair] = {}
        self._asking: Counter[bytes] = Counter()
        self._ending: set[bytes] = set()
        self._fetches: dict[bytes, tuple[Pair, str]] = {}
        self._fetched: OrderedDict[bytes, float] = OrderedDict()
        self._ends: set[bytes] = set()
        self._shares = Shares()
        self._wheel: Wheel[Pair] = Wheel()

    def __len__(self) -> int:
        return len(self._pairs)

    def state(self, watcher: Address, presentity: Address) -> State:
        """How it stands between these two."""
        pair = self._pairs.get(names_of(watcher, presentity))
        return pair.state if pair is not None else State.NONE

    def pairs(self) -> list[Pair]:
        """All that are held, for people to read."""
        return list(self._pairs.values())

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
        what = _Happening(now, Effects(), ident, form)
        event = _EVENTS.get(kind)
        pair = self._pairs.get(names_of(watcher, presentity)) or Pair(watcher, presentity)
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
        pair = self._pairs.get(names_of(watcher, presentity))
        if pair is not None and pair.state is State.TO:
            self._note(pair, now)

    def _refusal(self, pair: Pair) -> Refusal | None:
        if pair.state not in {State.NONE, State.ENDING}:
            return None
        other = self._by_key.get(pair_key(pair.watcher, pair.presentity))
        if other is not None and other is not pair:
            return Refusal(Reason.ID_REUSED, 0, "another spelling of both addresses is watched")
        if self._asking[pair.watcher.key] >= self.settings.asking_per_watcher:
            return Refusal(Reason.BUSY, 60, "too many wishes wait for an approval")
        return None

    # -- from the other side -------------------------------------------------------------------------------

    def notified(self, told: Notify, now: float, form: bytes = b"") -> tuple[Outcome, Effects]:
        """Take a notification for a user.

        Args:
            told: the operation.
            now: monotonic seconds.
            form: the stanza it was made of, judged to say no more than it; empty for none.
        """
        what = _Happening(now, Effects(), form=form)
        heard = self._watching.notified(told, now)
        if heard.verdict is machine.Verdict.NOT_SUBSCRIBED:
            by = told.watcher.domain.name
            return failure(Reason.NOT_SUBSCRIBED, by=by, role="service"), what.effects
        fetch = self._fetches.pop(told.subscription_id, None)
        if fetch is not None:
            self._fetch_told(*fetch, told, what)
            return SUCCESS, what.effects
        pair = self._by_key.get(pair_key(told.watcher, told.presentity))
        if pair is not None and not heard.effects.ended:
            self._told(pair, told, heard.verdict is machine.Verdict.NEWS, what)
        self._run(heard.effects, what)
        return SUCCESS, what.effects

    def _told(self, pair: Pair, told: Notify, news: bool, what: _Happening) -> None:
        presence = told.presence
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
        elif news or pair.state is State.ASKING:
            self._success(pair)
            if presence is None:
                what.presence = pair.latest or Presence(told.presentity)
            elif not news:
                what.presence = presence  # approved with a state that was told before
            self._happens(pair, Event.NOTIFY_ACTIVE, what)
        else:
            self.counts["no-news"] += 1

    def _fetch_told(self, pair: Pair, ident: str, told: Notify, what: _Happening) -> None:
        what.id, what.presence = ident, told.presence
        if isinstance(told.presence, Presence):
            self._happens(pair, Event.FETCHED, what)
        elif isinstance(told.presence, Unknown):
            what.reason, what.by = told.presence.reason, told.presence.domain.name
            self._happens(pair, Event.FETCH_FAILED, what)
        else:
            self._happens(pair, Event.FETCH_REFUSED, what)

    def answered(self, asked: Subscribe, outcome: Outcome, now: float) -> Effects:
        """Take the outcome of a request that was among the effects."""
        what = _Happening(now, Effects())
        if asked.message_id in self._ends:
            self._ends.discard(asked.message_id)
            return what.effects
        effects = self._watching.answered(asked, outcome, now)
        pair = self._by_key.get(pair_key(asked.watcher, asked.presentity))
        if pair is not None and asked.subscription_id not in self._fetches and asked.duration_s:
            self._answered(pair, outcome, what)
        self._run(effects, what)
        self._look_at_ends(what)
        return what.effects

    def _answered(self, pair: Pair, outcome: Outcome, what: _Happening) -> None:
        result = outcome.result
        if outcome.ok and isinstance(result, SubscribeResult):
            self._success(pair)
            pending = result.state is SubscriptionState.PENDING
            self._happens(pair, Event.ANSWER_PENDING if pending else Event.ANSWER_ACTIVE, what)
        elif outcome.reason not in REFUSED:
            if pair.failing_since is None:
                pair.failing_since = what.now
            self._happens(pair, Event.ANSWER_FAILED, what)
            self._rest(pair)

    def _success(self, pair: Pair) -> None:
        pair.failing_since, pair.failed = None, False

    def _run(self, effects: machine.Effects, what: _Happening) -> None:
        """What `Watching` says: what to send, what is unknown, what is over."""
        for doubt in effects.show:
            fetch = self._fetches.pop(doubt.subscription_id, None)
            unknown = doubt.presence
            what.presence, what.reason, what.by = unknown, unknown.reason, unknown.domain.name
            pair = self._by_key.get(pair_key(doubt.watcher, doubt.presentity))
            if fetch is not None:
                what.id = fetch[1]
                refused = unknown.reason in REFUSED
                self._happens(fetch[0], Event.FETCH_REFUSED if refused else Event.FETCH_FAILED, what)
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
                    self._happens(pair, Event.RENEW, what)
            what.effects.operations.append(replace(asked, original_form=form) if form else asked)

    def _look_at_ends(self, what: _Happening) -> None:
        for names in list(self._ending):
            pair = self._pairs.get(names)
            if pair is None or pair.state is not State.ENDING:
                self._ending.discard(names)
            elif not self._watching.holds(pair.watcher, pair.presentity):
                self._happens(pair, Event.END_ANSWERED, what)

    # -- time ----------------------------------------------------------------------------------------------

    def due(self, now: float) -> Effects:
        """What to send now; to be called about once a second."""
        what = _Happening(now, Effects())
        self._watching.wall_ahead_s = self.wall_ahead_s
        self._run(self._watching.due(now), what)
        self._look_at_ends(what)
        for pair in self._wheel.take(now, 1000):
            if self._pairs.get(pair.names) is pair:
                self._wake(pair, what)
        return what.effects

    def _wake(self, pair: Pair, what: _Happening) -> None:
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
        if pair.state is State.TO and self._idle_at(pair) <= now:
            self._happens(pair, Event.IDLE, what)
        self._rest(pair)

    def _unreached(self, pair: Pair, what: _Happening) -> None:
        standing = self._watching.standing(pair.watcher, pair.presentity, what.now)
        if pair.failed or pair.state is not State.ASKING or standing is None or standing.why is None:
            return
        pair.failed = True
        what.reason, what.by = standing.why[0], standing.why[1].name
        self._happens(pair, Event.UNREACHED, what)

    def _rest(self, pair: Pair) -> None:
        """Sleep until the next thing is due."""
        moments = [inf]
        if pair.to_show:
            moments.append(pair.spent - 4.0)
        if pair.asked is not None:
            moments.append(pair.asked[1])
        if pair.failing_since is not None and not pair.failed and pair.state is State.ASKING:
            moments.append(pair.failing_since + self.settings.grace_s)
        if pair.state is State.TO:
            moments.append(self._idle_at(pair))
        if pair.approved:
            moments.append(0.0)
        self._wheel.set(pair, min(moments))

    def _idle_at(self, pair: Pair) -> float:
        return (pair.asked_day + self.settings.idle_days + 1) * _DAY_S - self.wall_ahead_s

    def _wall(self, now: float) -> datetime:
        return datetime.fromtimestamp(now + self.wall_ahead_s, UTC)

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
            self._happens(pair, Event.RESTART, _Happening(now, Effects()))
            if pair.state is not State.ASLEEP:
                pair.asked = ("", inf)
                self._hold_again(watches.get((watcher.wire, presentity.wire)), pair, now)
            self._rest(pair)

    def _hold_again(self, watch: machine.KeptWatch | None, pair: Pair, now: float) -> None:
        try:
            if watch is not None and self._watching.from_kept(watch, now) is None:
                return
        except RouterError:
            self.counts["unread"] += 1
        self._watching.want(pair.watcher, pair.presentity, self.settings.duration_s)

    def removed(self, domain: Domain, now: float) -> Effects:
        """A domain whose users watch is served no more."""
        what = _Happening(now, Effects())
        for pair in [one for one in self._pairs.values() if one.watcher.domain == domain]:
            self._happens(pair, Event.REMOVED, what)
        return what.effects

    def blocked(self, watcher: Address, presentity: Address, now: float) -> Effects:
        """A rule forbids this pair from now on."""
        what = _Happening(now, Effects())
        pair = self._pairs.get(names_of(watcher, presentity))
        if pair is not None:
            self._happens(pair, Event.REMOVED, what)
        return what.effects

    # -- the table -----------------------------------------------------------------------------------------

    def _happens(self, pair: Pair, event: Event, what: _Happening) -> None:
        rule = TRANSITIONS.get((pair.state, event))
        if rule is None:
            self.counts[f"odd {pair.state.value} {event.value}"] += 1
            return
        before = pair.state
        for one in rule.do:
            if not _DOES[one](self, pair, rule.then, what):
                return
        self._enter(pair, before, rule.then)

    def _enter(self, pair: Pair, before: State, after: State) -> None:
        if before is State.ASKING and after is not State.ASKING:
            self._asking[pair.watcher.key] -= 1
            if not self._asking[pair.watcher.key]:
                del self._asking[pair.watcher.key]
        elif after is State.ASKING and before is not State.ASKING:
            self._asking[pair.watcher.key] += 1
        pair.state = after
        if after is State.NONE:
            self._let_go(pair)
        elif before is State.NONE:
            self._hold(pair, counted=True)
        if after is State.ENDING:
            self._ending.add(pair.names)
        if after is not State.NONE:
            self._rest(pair)

    def _hold(self, pair: Pair, *, counted: bool = False) -> None:
        self._pairs[pair.names] = pair
        self._by_key[pair_key(pair.watcher, pair.presentity)] = pair
        if pair.state is State.ASKING and not counted:
            self._asking[pair.watcher.key] += 1

    def _let_go(self, pair: Pair) -> None:
        if self._pairs.get(pair.names) is pair:
            del self._pairs[pair.names]
            del self._by_key[pair_key(pair.watcher, pair.presentity)]
        self._wheel.drop(pair)
        self._remember(pair, None)

    # -- what is done: each tells whether it could be ------------------------------------------------------

    def _want(self, pair: Pair, _then: State, what: _Happening) -> bool:
        key = pair_key(pair.watcher, pair.presentity)
        other = self._by_key.get(key)
        refusal = (
            Refusal(Reason.ID_REUSED)
            if other is not None and other is not pair
            else self._watching.want(pair.watcher, pair.presentity, self.settings.duration_s)
        )
        if refusal is not None:
            what.reason, what.retry_s = refusal.reason, refusal.retry_after_s
            return not self._error(pair, _then, what)
        pair.form = what.form
        return True

    def _unwant(self, pair: Pair, _then: State, what: _Happening) -> bool:
        kept = self._watching.to_kept(pair.watcher, pair.presentity)
        pair.ident = kept.subscription_id if kept is not None else b""
        if self._watching.unwant(pair.watcher, pair.presentity, what.now):
            pair.form = what.form
        return True

    def _end(self, pair: Pair, _then: State, what: _Happening) -> bool:
        if pair.ident:
            asked = Subscribe(
                pair.watcher, pair.presentity, self._new_id(), pair.ident, 0, original_form=what.form
            )
            self._ends.add(asked.message_id)
            what.effects.operations.append(asked)
        return True

    def _fetch(self, pair: Pair, _then: State, what: _Happening) -> bool:
        names = pair.names
        at = self._fetched.get(names)
        if at is not None and what.now < at + self.settings.fetch_s:
            self.counts["fetched-just-now"] += 1
            return False
        asked = self._watching.fetch(pair.watcher, pair.presentity, what.now)
        if isinstance(asked, Refusal):
            what.reason, what.retry_s = asked.reason, asked.retry_after_s
            return not self._error(pair, _then, what)
        self._fetched[names] = what.now
        self._fetched.move_to_end(names)
        if len(self._fetched) > self.settings.fetched:
            self._fetched.popitem(last=False)
        self._fetches[asked.subscription_id] = (pair, what.id)
        what.effects.operations.append(asked)
        return True

    def _keep(self, pair: Pair, then: State, what: _Happening) -> bool:
        wall = what.now + self.wall_ahead_s
        kept = KeptWatching(FORM, then.value, pair.since or int(wall), int(wall // _DAY_S))
        if self._keeping.watching(pair.names, kept, durable=True):
            pair.since, pair.asked_day = kept.since, kept.asked_day
            pair.approved = False
            return True
        if pair.state is State.ASKING:
            # The approval stands with the other side; it is shown as soon as it can be written.
            pair.approved, pair.latest = True, what.presence
            self._wheel.set(pair, what.now + self.settings.grace_s)
            return False
        self._watching.unwant(pair.watcher, pair.presentity, what.now)
        what.reason, what.retry_s = Reason.STATE_UNAVAILABLE, 60
        return not self._error(pair, then, what)

    def _note(self, pair: Pair, now: float) -> None:
        today = int((now + self.wall_ahead_s) // _DAY_S)
        if pair.asked_day != today:
            pair.asked_day = today
            self._write(pair, pair.state)

    def _note_state(self, pair: Pair, then: State, what: _Happening) -> bool:
        if then is pair.state:
            self._note(pair, what.now)
        else:
            kept = self._watching.to_kept(pair.watcher, pair.presentity)
            pair.ident = kept.subscription_id if kept is not None else b""
            self._write(pair, then)
        return True

    def _write(self, pair: Pair, state: State) -> None:
        kept = KeptWatching(FORM, state.value, pair.since, pair.asked_day, pair.ident)
        self._keeping.watching(pair.names, kept, durable=False)

    def _forget(self, pair: Pair, _then: State, _what: _Happening) -> bool:
        self._keeping.watching(pair.names, None, durable=False)
        return True

    def _subscribed(self, pair: Pair, _then: State, what: _Happening) -> bool:
        what.effects.stanzas.append(PresenceStanza(pair.presentity, pair.watcher, type="subscribed"))
        return True

    def _unsubscribed(self, pair: Pair, _then: State, what: _Happening) -> bool:
        form = what.form if what.presence is None else b""
        what.effects.stanzas.append(
            PresenceStanza(pair.presentity, pair.watcher, type="unsubscribed", form=form)
        )
        return True

    def _show_news(self, pair: Pair, _then: State, what: _Happening) -> bool:
        assert what.presence is not None
        self._remember(pair, what.presence)
        if pair.asked is not None:
            return self._show_all(pair, _then, what)
        if not pair.to_show:
            pair.to_show = True
            if not paced(pair.spent, what.now):
                self._show(pair, what)
            self._rest(pair)
        else:
            self.counts["superseded"] += 1
        return True

    def _show(self, pair: Pair, what: _Happening) -> None:
        """Show the newest state, where the pair has a token; what means nothing new costs none."""
        if paced(pair.spent, what.now) or pair.latest is None:
            pair.to_show = pair.latest is not None
            return
        pair.to_show = False
        self._show_state(pair, pair.latest, None, what)

    def _show_all(self, pair: Pair, _then: State, what: _Happening) -> bool:
        if isinstance(what.presence, Presence):
            self._remember(pair, what.presence)
        ident = what.id or (pair.asked[0] if pair.asked is not None else "")
        if pair.latest is None:
            pair.asked = (ident, what.now + self.settings.grace_s)
            self._rest(pair)
            return True
        pair.asked, pair.to_show = None, False
        self._show_state(pair, pair.latest, Asked(self._wall(what.now), ident), what)
        return True

    def _answer(self, pair: Pair, _then: State, what: _Happening) -> bool:
        if what.now < pair.answered_at + self.settings.answer_s:
            self.counts["answered-just-now"] += 1
            return True
        pair.answered_at = what.now
        return self._show_all(pair, _then, what)

    def _show_state(
        self, pair: Pair, state: Presence | Unknown, asked: Asked | None, what: _Happening
    ) -> None:
        if isinstance(state, Presence):
            state = replace(state, presentity=pair.presentity)  # as the user spells him
        else:
            state = Unknown(pair.presentity, state.reason, state.domain)
        pair.shown, stanzas = show(pair.shown, state, pair.watcher, asked, self._caps)
        if stanzas:
            pair.spent = spend(pair.spent, what.now)
        else:
            self.counts["same"] += 1
        what.effects.stanzas += stanzas

    def _hide(self, pair: Pair, _then: State, what: _Happening) -> bool:
        what.effects.stanzas += hide(pair.shown, pair.presentity, pair.watcher)
        self._blank(pair)
        return True

    def _doubt(self, pair: Pair, _then: State, what: _Happening) -> bool:
        if pair.shown.resources:
            unknown = Unknown(pair.presentity, Reason.NOT_SUBSCRIBED, pair.presentity.domain)
            self._show_state(pair, unknown, None, what)
        self._blank(pair)
        return True

    def _blank(self, pair: Pair) -> None:
        pair.shown, pair.asked, pair.to_show = NOTHING, None, False
        self._remember(pair, None)

    def _error(self, pair: Pair, _then: State, what: _Happening) -> bool:
        word, kind = _condition(what.reason)
        by = what.by or pair.watcher.domain.name
        child = error(word, kind, what.reason, by, "", what.retry_s)
        what.effects.stanzas.append(PresenceStanza(pair.presentity, pair.watcher, "", "error", (child,), what.id))
        return True

    def _count(self, pair: Pair, _then: State, _what: _Happening) -> bool:
        pair.errors += 1
        return True

    def _remember(self, pair: Pair, state: Presence | Unknown | None) -> None:
        """Keep the newest state, within the share of its domain."""
        pair.latest = state
        domain = pair.presentity.domain.wire
        size = size_of(state) if isinstance(state, Presence) else 0
        smaller = self._shares.put(domain, pair.names, size)
        for names in smaller:
            other = self._pairs.get(names)
            if other is None or not isinstance(other.latest, Presence):
                self._shares.put(domain, names, 0)
                continue
            self.counts["details-dropped"] += 1
            other.latest = slim(other.latest)
            self._shares.put(domain, names, size_of(other.latest))


#: States that outlive a restart.
_KEPT: Final = frozenset({State.ASKING.value, State.TO.value, State.ASLEEP.value})
_EVENTS: Final = {
    "subscribe": Event.SUBSCRIBE,
    "unsubscribe": Event.UNSUBSCRIBE,
    "probe": Event.PROBE,
    "error": Event.USER_ERROR,
}
_DOES: Final[dict[Do, Callable[[Watchers, Pair, State, _Happening], bool]]] = {
    Do.WANT: Watchers._want, Do.UNWANT: Watchers._unwant, Do.END: Watchers._end, Do.FETCH: Watchers._fetch,
    Do.KEEP: Watchers._keep, Do.NOTE: Watchers._note_state, Do.FORGET: Watchers._forget,
    Do.SUBSCRIBED: Watchers._subscribed, Do.UNSUBSCRIBED: Watchers._unsubscribed,
    Do.SHOW: Watchers._show_news, Do.SHOW_ALL: Watchers._show_all, Do.ANSWER: Watchers._answer,
    Do.HIDE: Watchers._hide, Do.DOUBT: Watchers._doubt, Do.ERROR: Watchers._error, Do.COUNT: Watchers._count,
}  # fmt: skip
