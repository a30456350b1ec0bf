"""What the rows of table W do: the watcher's side, without its inputs (mapping section 6.1)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Final

from imxrouter.gateways.xmpp.build import Unsayable
from imxrouter.gateways.xmpp.subscriptions.held import HeldPairs
from imxrouter.gateways.xmpp.subscriptions.kept import FORM, Keeping, KeptWatching, names_of
from imxrouter.gateways.xmpp.subscriptions.pairs import Shares, paced, size_of, slim, spend
from imxrouter.gateways.xmpp.subscriptions.watcher_pairs import Happening, Pair, WatcherSettings
from imxrouter.gateways.xmpp.subscriptions.watcher_table import TRANSITIONS, Do, Event, State
from imxrouter.gateways.xmpp.translate.forms import PREFIX
from imxrouter.gateways.xmpp.translate.jid import BadJid
from imxrouter.gateways.xmpp.translate.showing import (
    NOTHING,
    Asked,
    PresenceStanza,
    failed,
    hide,
    show,
    written,
)
from imxrouter.model.address import Address
from imxrouter.model.operations import Subscribe
from imxrouter.model.presence import Presence, Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing import watched as machine
from imxrouter.routing.caps import Refusal
from imxrouter.routing.watched import WatchSettings, pair_key
from imxrouter.routing.watching import Watching
from imxrouter.routing.zones import zone_of

DAY_S: Final = 86_400


class WatcherActions(HeldPairs[Pair, State, Event, Do, Happening]):
    """The pairs, and what is done with them; `Watchers` says when.

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
        super().__init__(State.NONE, TRANSITIONS, wall_ahead_s)
        self.settings = settings or WatcherSettings()
        self._keeping = keeping
        self._new_id = new_id
        self._caps = caps
        self._watching = Watching(new_id, chance, watch_settings, wall_ahead_s, keeping.watch)
        self._asking: Counter[bytes] = Counter()
        self._ending: set[bytes] = set()
        #: Id of the probe of each fetch, by its subscription.
        self._fetches: dict[bytes, str] = {}
        self._fetched: OrderedDict[bytes, float] = OrderedDict()
        self._shares = Shares()
        self._does = {
            Do.WANT: self._want, Do.UNWANT: self._unwant, Do.END: self._end, Do.FETCH: self._fetch,
            Do.GIVE_BACK: self._give_back, Do.ASK_AGAIN: self._ask_again, Do.LAPSE: self._lapse,
            Do.KEEP: self._keep, Do.NOTE: self._note_state, Do.FORGET: self._forget,
            Do.SUBSCRIBED: self._subscribed, Do.UNSUBSCRIBED: self._unsubscribed, Do.SHOW: self._show_news,
            Do.SHOW_ALL: self._show_all, Do.ANSWER: self._answer, Do.HIDE: self._hide, Do.DOUBT: self._doubt,
            Do.ERROR: self._error, Do.COUNT: self._count,
        }  # fmt: skip

    # -- the table -----------------------------------------------------------------------------------------

    @staticmethod
    def _ends(pair: Pair) -> tuple[Address, Address]:
        return pair.watcher, pair.presentity

    def _enter(self, pair: Pair, before: State, after: State) -> None:
        if before is State.ASKING and after is not State.ASKING:
            self._count_asking(pair, -1)
        elif after is State.ASKING and before is not State.ASKING:
            self._count_asking(pair, 1)
        pair.state, pair.approved = after, pair.approved and after is State.ASKING
        if after is not State.TO:
            pair.lapses_at = inf
        if after is State.NONE:
            self._let_go(pair)
        elif before is State.NONE:
            self._hold(pair)
        if after is State.ENDING:
            self._ending.add(pair.names)
        if after is not State.NONE:
            self._rest(pair)

    def _count_asking(self, pair: Pair, change: int) -> None:
        """Wishes that nobody has approved, of one user and of all users of a zone."""
        for key in (pair.watcher.key, zone_of(pair.watcher.domain.name).encode()):
            self._asking[key] += change
            if not self._asking[key]:
                del self._asking[key]

    def _let_go(self, pair: Pair) -> None:
        self._drop(pair)
        self._remember(pair, None)

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
            moments.append(min(self._idle_at(pair), pair.lapses_at))
        if pair.approved:
            moments.append(0.0)
        self._wheel.set(pair, min(moments))

    def _pair(self, watcher: Address, presentity: Address) -> Pair:
        """The pair of two addresses; a new one, in state none and in no table, where there is none."""
        return self._pairs.get(names_of(watcher, presentity)) or Pair(watcher, presentity)

    def _idle_at(self, pair: Pair) -> float:
        return (pair.asked_day + self.settings.idle_days + 1) * DAY_S - self.wall_ahead_s

    # -- what is done: each tells whether it could be ------------------------------------------------------

    def _want(self, pair: Pair, _then: State, what: Happening) -> bool:
        key = pair_key(pair.watcher, pair.presentity)
        other = self._by_key.get(key)
        refusal = (
            Refusal(Reason.ID_REUSED)
            if other is not None and other is not pair
            else self._watching.want(pair.watcher, pair.presentity, self.settings.duration_s)
        )
        if refusal is not None:
            what.reason, what.retry_s = refusal.reason, refusal.retry_after_s
            self._error(pair, _then, what)
            return False
        pair.form = what.form
        return True

    def _unwant(self, pair: Pair, _then: State, what: Happening) -> bool:
        kept = self._watching.to_kept(pair.watcher, pair.presentity)
        pair.ident = kept.subscription_id if kept is not None else b""
        if self._watching.unwant(pair.watcher, pair.presentity, what.now):
            pair.form = what.form
        return True

    def _give_back(self, pair: Pair, then: State, what: Happening) -> bool:
        try:
            said = written(PresenceStanza(pair.watcher, pair.presentity, type="unsubscribe"))
        except (BadJid, Unsayable):
            return self._unwant(pair, then, what)
        return self._unwant(pair, then, replace(what, form=PREFIX + said))

    def _ask_again(self, pair: Pair, _then: State, what: Happening) -> bool:
        self._watching.renew(pair.watcher, pair.presentity, what.now, 0.0)
        return True

    def _lapse(self, pair: Pair, _then: State, what: Happening) -> bool:
        if not pair.confirmed:
            pair.lapses_at = min(pair.lapses_at, what.now + self.settings.lapse_s)
        return True

    def _end(self, pair: Pair, _then: State, what: Happening) -> bool:
        if pair.ident:
            asked = Subscribe(
                pair.watcher, pair.presentity, self._new_id(), pair.ident, 0, original_form=what.form
            )
            what.effects.operations.append(asked)
        return True

    def _fetch(self, pair: Pair, _then: State, what: Happening) -> bool:
        names = pair.names
        at = self._fetched.get(names)
        if at is not None and what.now < at + self.settings.fetch_s:
            self.counts["fetched-just-now"] += 1
            return False
        asked = self._watching.fetch(pair.watcher, pair.presentity, what.now)
        if isinstance(asked, Refusal):
            what.reason, what.retry_s = asked.reason, asked.retry_after_s
            self._error(pair, _then, what)
            return False
        self._fetched[names] = what.now
        self._fetched.move_to_end(names)
        if len(self._fetched) > self.settings.fetched:
            self._fetched.popitem(last=False)
        self._fetches[asked.subscription_id] = what.id
        what.effects.operations.append(asked)
        return True

    def _keep(self, pair: Pair, then: State, what: Happening) -> bool:
        wall = what.now + self.wall_ahead_s
        kept = KeptWatching(FORM, then.value, pair.since or int(wall), int(wall // DAY_S))
        if self._keeping.watching(pair.names, kept, durable=True):
            pair.since, pair.asked_day = kept.since, kept.asked_day
            pair.approved = False
            return True
        if pair.state is State.ASKING:
            # The approval stands with the other side; it is shown as soon as it can be written.
            pair.approved = True
            self._remember(pair, what.presence)
            self._wheel.set(pair, what.now + self.settings.grace_s)
            return False
        self._watching.unwant(pair.watcher, pair.presentity, what.now)
        what.reason, what.retry_s = Reason.STATE_UNAVAILABLE, 60
        self._error(pair, then, what)
        return False

    def _note(self, pair: Pair, now: float) -> None:
        today = int((now + self.wall_ahead_s) // DAY_S)
        if pair.asked_day != today:
            pair.asked_day = today
            self._write(pair, pair.state)

    def _note_state(self, pair: Pair, then: State, what: Happening) -> bool:
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

    def _forget(self, pair: Pair, _then: State, _what: Happening) -> bool:
        self._keeping.watching(pair.names, None, durable=False)
        return True

    def _subscribed(self, pair: Pair, _then: State, what: Happening) -> bool:
        what.effects.stanzas.append(PresenceStanza(pair.presentity, pair.watcher, type="subscribed"))
        return True

    def _unsubscribed(self, pair: Pair, _then: State, what: Happening) -> bool:
        what.effects.stanzas.append(
            PresenceStanza(pair.presentity, pair.watcher, type="unsubscribed", form=what.verdict)
        )
        return True

    def _show_news(self, pair: Pair, _then: State, what: Happening) -> bool:
        self._remember(pair, what.presence or pair.latest)
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

    def _show(self, pair: Pair, what: Happening) -> None:
        """Show the newest state, where the pair has a token; what means nothing new costs none."""
        if paced(pair.spent, what.now) or pair.latest is None:
            return
        pair.to_show = False
        self._show_state(pair, pair.latest, None, what)

    def _show_all(self, pair: Pair, _then: State, what: Happening) -> bool:
        if isinstance(what.presence, Presence):
            self._remember(pair, what.presence)
        ident = what.probe or (pair.asked[0] if pair.asked is not None else "")
        if pair.latest is None:
            pair.asked = (ident, what.now + self.settings.grace_s)
            self._rest(pair)
            return True
        pair.asked, pair.to_show = None, False
        self._show_state(pair, pair.latest, Asked(self._wall(what.now), ident), what)
        return True

    def _answer(self, pair: Pair, _then: State, what: Happening) -> bool:
        if what.now < pair.answered_at + self.settings.answer_s:
            self.counts["answered-just-now"] += 1
            return True
        pair.answered_at = what.now
        return self._show_all(pair, _then, what)

    def _show_state(
        self, pair: Pair, state: Presence | Unknown, asked: Asked | None, what: Happening
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

    def _hide(self, pair: Pair, _then: State, what: Happening) -> bool:
        what.effects.stanzas += hide(pair.shown, pair.presentity, pair.watcher)
        self._blank(pair)
        return True

    def _doubt(self, pair: Pair, _then: State, what: Happening) -> bool:
        if pair.shown.resources:
            unknown = Unknown(pair.presentity, Reason.NOT_SUBSCRIBED, pair.presentity.domain)
            self._show_state(pair, unknown, None, what)
        self._blank(pair)
        return True

    def _blank(self, pair: Pair) -> None:
        pair.shown, pair.asked, pair.to_show = NOTHING, None, False
        self._remember(pair, None)

    def _error(self, pair: Pair, _then: State, what: Happening) -> bool:
        by = what.by or pair.watcher.domain.name
        child = failed(what.reason, by, what.retry_s)
        what.effects.stanzas.append(
            PresenceStanza(pair.presentity, pair.watcher, "", "error", (child,), what.id)
        )
        return True

    def _count(self, pair: Pair, _then: State, _what: Happening) -> bool:
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
