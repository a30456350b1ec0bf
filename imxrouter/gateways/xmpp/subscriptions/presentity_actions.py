"""What the rows of table P do: the presentity's side, without its inputs (mapping section 6.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from math import inf
from typing import Final

from imxrouter.formats.pidf import write_pidf
from imxrouter.gateways.xmpp.subscriptions.effects import BETWEEN
from imxrouter.gateways.xmpp.subscriptions.held import HeldPairs
from imxrouter.gateways.xmpp.subscriptions.kept import FORM, Keeping, KeptWatched
from imxrouter.gateways.xmpp.subscriptions.pairs import Shares
from imxrouter.gateways.xmpp.subscriptions.presentity_pairs import (
    Answers,
    Happening,
    Pair,
    PresentitySettings,
)
from imxrouter.gateways.xmpp.subscriptions.presentity_table import TRANSITIONS, Do, Event, State
from imxrouter.gateways.xmpp.subscriptions.probes import BETWEEN_S, WAITED_S, HasWay, Probes, any_way
from imxrouter.gateways.xmpp.translate.presence import presence_of, resource_of
from imxrouter.gateways.xmpp.translate.showing import PresenceStanza
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import EndReason, Notify, SubscribeResult, SubscriptionState, Version
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.presence import Presence, Unknown
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing import owed as machine
from imxrouter.routing.notifying import Notifying
from imxrouter.routing.owed import Decision, KeptSubscription, Owed
from imxrouter.routing.watched import pair_key
from imxrouter.routing.zones import zone_of

_DAY_S: Final = 86_400
#: What could not be stored is tried again after so long: the disk has other things to do.
_WRITE_AGAIN_S: Final = 1.0


class PresentityActions(HeldPairs[Pair, State, Event, Do, Happening]):
    """The pairs, and what is done with them; `Presentities` says when.

    Args:
        keeping: where consents are stored.
        epoch: of this life.
        new_id: gives 16 random bytes.
        chance: gives a random number in [0, 1).
        settings: bounds and pauses.
        notify_settings: those of the notifications.
        wall_ahead_s: seconds since 1970 less the seconds handed in as `now`.
        has_way: whether presence may come now, of a domain of users for one of watchers.

    Attributes:
        counts: what was dropped or put off, by word.
    """

    def __init__(
        self,
        keeping: Keeping,
        epoch: int,
        new_id: Callable[[], bytes],
        chance: Callable[[], float],
        settings: PresentitySettings | None = None,
        notify_settings: machine.NotifySettings = machine.DEFAULT_SETTINGS,
        wall_ahead_s: float = 0.0,
        has_way: HasWay = any_way,
    ) -> None:
        super().__init__(State.NONE, TRANSITIONS, wall_ahead_s)
        self.settings = settings or PresentitySettings()
        self._has_way = has_way
        self._keeping = keeping
        self._epoch = epoch
        self._new_id = new_id
        self._chance = chance
        self._notifying = Notifying(epoch, chance, notify_settings, wall_ahead_s, self._subscription_kept)
        #: Ids of the live subscriptions of each pair.
        self._live: dict[bytes, set[bytes]] = {}
        #: Keys of pairs that have no live one any more, to be looked at.
        self._ended: list[bytes] = []
        self._flights: dict[int, Owed] = {}
        self._per_presentity: Counter[bytes] = Counter()
        self._early: Counter[bytes] = Counter()
        self._per_zone: Counter[str] = Counter()
        self._lost: set[Domain] = set()
        self._shares = Shares()
        self._probes = Probes(chance)
        #: When what had no answer was asked anew last, as a stream was opened: of a domain and watchers'.
        self._opened: dict[tuple[Domain, str], float] = {}
        #: Who is not asked yet, for there is no way for the answer, by domain and watchers' domain.
        self._no_way: dict[tuple[Domain, str], set[bytes]] = {}
        self._number = 0
        self._does = {
            Do.TAKE_WAITING: self._take_waiting, Do.TAKE_ALLOWED: self._take_allowed,
            Do.TAKE_REFUSED: self._take_refused, Do.VAIN: self._vain, Do.SERVICE_DOWN: self._service_down,
            Do.BUSY: self._busy, Do.KEEP: self._keep, Do.NOTE: self._note, Do.NOTE_DAY: self._note_day,
            Do.NOTE_MINUTES: self._note_minutes, Do.NOTE_WEEK: self._note_week, Do.FORGET: self._forget,
            Do.ASK: self._ask, Do.ASK_LATER: self._ask_later, Do.ALLOW: self._allow, Do.REFUSE: self._refuse,
            Do.END: self._end, Do.TAKE_STATE: self._take_state, Do.GATHER: self._gather,
            Do.DROP_STATE: self._drop_state, Do.LEAVE: self._leave, Do.UNSUBSCRIBE: self._unsubscribe,
            Do.PROBE: self._probe, Do.PROBE_NOW: self._probe_now, Do.DOUBT: self._doubt,
        }  # fmt: skip

    # -- the table -----------------------------------------------------------------------------------------

    @staticmethod
    def _ends(pair: Pair) -> tuple[Address, Address]:
        return pair.presentity, pair.watcher

    def _enter(self, pair: Pair, before: State, after: State) -> None:
        pair.state = after
        if before is not after:
            self._counted(pair, before, -1)
            self._counted(pair, after, 1)
            pair.approved_at = inf
            if after is not State.ASKED:
                pair.repeat_at = inf
            if after is not State.FROM:
                pair.tell_at = pair.silent_at = pair.refresh_at = inf
        if after is State.NONE:
            self._let_go(pair)
            return
        self._hold(pair)
        self._rest(pair)

    def _counted(self, pair: Pair, state: State, change: int) -> None:
        presentity = pair.presentity.key
        tables: list[tuple[Counter[bytes], bytes]] = []
        if state is not State.NONE:
            tables.append((self._per_presentity, presentity))
        if state is State.DORMANT:
            tables.append((self._early, presentity))
        for table, key in tables:
            table[key] += change
            if not table[key]:
                del table[key]
        if state in {State.ASKED, State.DENIED}:
            zone = zone_of(pair.watcher.domain.name)
            self._per_zone[zone] += change
            if not self._per_zone[zone]:
                del self._per_zone[zone]

    def _let_go(self, pair: Pair) -> None:
        self._drop(pair)
        self._drop_question(pair)
        self._sized(pair)
        domain = pair.presentity.domain
        if not self.holds(domain):  # nobody would say that it is back
            self._lost.discard(domain)

    def _hears(self, pair: Pair) -> bool:
        """Whether presence of the pair may come now."""
        domain, watchers = pair.domains
        return self._has_way(domain.name, watchers)

    def _drop_question(self, pair: Pair) -> None:
        self._probes.drop(pair.names)
        self._waits_no_more(pair)

    def _waits_no_more(self, pair: Pair) -> bool:
        """A question does not wait for a way any more; whether it did."""
        ends = pair.domains
        waiting = self._no_way.get(ends, set())
        waited = pair.names in waiting
        waiting.discard(pair.names)
        if not waiting:
            self._no_way.pop(ends, None)
        return waited

    def _rest(self, pair: Pair) -> None:
        """Sleep until the next thing is due."""
        over = pair.until - self.wall_ahead_s if pair.until else inf
        told = pair.tell_at  # what changes while answers are gathered is told with them
        gathered = inf
        if pair.gathering is not None:
            told, gathered = inf if pair.is_asked else told, pair.gathering.until
        self._wheel.set(
            pair,
            min(
                over, gathered, pair.approved_at, told, pair.silent_at, pair.repeat_at, pair.refresh_at,
                pair.clear_at,
            ),
        )  # fmt: skip

    def _is_live(self, pair: Pair) -> bool:
        return bool(self._live.get(pair_key(pair.watcher, pair.presentity)))

    def _subscription_kept(self, key: bytes, kept: KeptSubscription | None) -> None:
        """`Notifying` says that a subscription changed or is over."""
        self._keeping.onlooker(key, kept)
        watcher, presentity, ident = key.split(BETWEEN, 2)
        pair = watcher + BETWEEN + presentity
        live = self._live.setdefault(pair, set())
        if kept is not None:
            live.add(ident)
            return
        live.discard(ident)
        if not live:
            del self._live[pair]
            self._ended.append(pair)

    # -- answers to requests: each tells whether it could be done ------------------------------------------

    def _take(self, what: Happening, decision: Decision) -> bool:
        if what.asked is None:
            return True
        taken = self._notifying.subscribe(what.asked, decision, what.now, self.settings.longest_s)
        by = what.asked.presentity.domain.name
        if taken.refusal is not None:
            refusal = taken.refusal
            what.outcome = failure(
                refusal.reason, by=by, role="service", retry_after_s=refusal.retry_after_s, note=refusal.note
            )
            return False
        what.outcome = Outcome(Status.SUCCESS, result=taken.result)
        return True

    def _take_waiting(self, _pair: Pair, _then: State, what: Happening) -> bool:
        return self._take(what, Decision.WAIT)

    def _take_allowed(self, _pair: Pair, _then: State, what: Happening) -> bool:
        return self._take(what, Decision.ALLOW)

    def _take_refused(self, _pair: Pair, _then: State, what: Happening) -> bool:
        return self._take(what, Decision.REFUSE)

    def _vain(self, _pair: Pair, _then: State, what: Happening) -> bool:
        what.outcome = Outcome(Status.SUCCESS, result=SubscribeResult(SubscriptionState.PENDING, 0))
        return True

    def _service_down(self, pair: Pair, _then: State, what: Happening) -> bool:
        by = pair.presentity.domain.name
        what.outcome = failure(Reason.SERVICE_DOWN, by=by, role="service", retry_after_s=10)
        return True

    def _busy(self, pair: Pair, _then: State, what: Happening) -> bool:
        by = pair.presentity.domain.name
        what.outcome = failure(Reason.BUSY, by=by, role="service", retry_after_s=60)
        return True

    # -- what is stored ------------------------------------------------------------------------------------

    def _keep(self, pair: Pair, then: State, what: Happening) -> bool:
        until = what.now + self.wall_ahead_s + self.settings.dormant_days * _DAY_S
        kept = self._kept(pair, then, what.now, int(until) if then is State.DORMANT else 0)
        if self._keeping.watched(pair.names, kept, durable=True):
            pair.since, pair.until = kept.since, kept.until
            return True
        if what.asked is not None:
            self._notifying.subscribe(what.asked, Decision.REFUSE, what.now, 1)
            by = pair.presentity.domain.name
            what.outcome = failure(Reason.STATE_UNAVAILABLE, by=by, role="service", retry_after_s=60)
        elif pair.state is State.ASKED:
            # told when it is written; the user does not say it again
            pair.approved_at = what.now + _WRITE_AGAIN_S
            self._rest(pair)
        self.counts["not-kept"] += 1
        return False

    def _kept(self, pair: Pair, state: State, now: float, until: int) -> KeptWatched:
        since = int(now + self.wall_ahead_s) if state is not pair.state or not pair.since else pair.since
        return KeptWatched(FORM, state.value, since, until, pair.times)

    def _noted(self, pair: Pair, then: State, what: Happening, for_s: float) -> bool:
        until = int(what.now + self.wall_ahead_s + for_s) if for_s else 0
        kept = self._kept(pair, then, what.now, until)
        self._keeping.watched(pair.names, kept, durable=False)
        pair.since, pair.until = kept.since, until
        if then is State.DENIED:
            pair.form = what.form
        return True

    def _note(self, pair: Pair, then: State, what: Happening) -> bool:
        days = self.settings.dormant_days * _DAY_S if then is State.DORMANT else 0
        return self._noted(pair, then, what, days)

    def _note_day(self, pair: Pair, then: State, what: Happening) -> bool:
        return self._noted(pair, then, what, self.settings.denied_s)

    def _note_minutes(self, pair: Pair, then: State, what: Happening) -> bool:
        return self._noted(pair, then, what, self.settings.failed_s)

    def _note_week(self, pair: Pair, then: State, what: Happening) -> bool:
        return self._noted(pair, then, what, self.settings.late_s)

    def _forget(self, pair: Pair, _then: State, _what: Happening) -> bool:
        self._keeping.watched(pair.names, None, durable=False)
        return True

    # -- towards the user's service ------------------------------------------------------------------------

    def _send(self, pair: Pair, kind: str, what: Happening, form: bytes = b"", ident: str = "") -> bool:
        """From the watcher's bare JID to the user."""
        what.effects.stanzas.append(
            PresenceStanza(pair.watcher, pair.presentity, type=kind, form=form, id=ident)
        )
        return True

    def _ask(self, pair: Pair, _then: State, what: Happening) -> bool:
        if pair.presentity.domain in self._lost:
            return self._ask_later(pair, _then, what)
        pair.times += 1
        pair.repeat_at = what.now + self.settings.repeat_s
        return self._send(pair, "subscribe", what, what.form)

    def _ask_later(self, pair: Pair, _then: State, what: Happening) -> bool:
        pair.tries += 1
        pair.repeat_at = what.now + self.settings.ask_again.wait_s(pair.tries, self._chance())
        return True

    def _leave(self, pair: Pair, _then: State, what: Happening) -> bool:
        return self._send(pair, "unavailable", what)

    def _unsubscribe(self, pair: Pair, _then: State, what: Happening) -> bool:
        return self._send(pair, "unsubscribe", what, what.form)

    def _probe(self, pair: Pair, _then: State, what: Happening) -> bool:
        """Ask soon; not where it was asked just now."""
        if what.now >= pair.probed_at + BETWEEN_S:
            self._probes.ask((pair.names,), what.now)
        else:
            self.counts["probed-just-now"] += 1
        pair.refresh_at = what.now + self.settings.refresh_s
        return True

    def _probe_now(self, pair: Pair, _then: State, what: Happening) -> bool:
        """Somebody waits: what comes within two seconds is told; what came just now need not come again."""
        watched = _then is State.FROM
        pair.clear_at = inf if watched else what.now + BETWEEN_S
        pair.refresh_at = what.now + self.settings.refresh_s if watched else inf
        if not pair.blank and what.now < pair.probed_at + BETWEEN_S:
            # It may be as old as that question: it is asked again when that is allowed.
            self._probes.ask((pair.names,), pair.probed_at + BETWEEN_S)
            return True
        if pair.presentity.domain not in self._lost:
            self._probe_sent(pair, what, WAITED_S)
        return True

    def _probe_sent(self, pair: Pair, what: Happening, within_s: float) -> None:
        pair.probed_at = what.now
        pair.resources.expect()
        ident = self._new_id().hex()
        pair.gathering = Answers(ident, what.now, within_s, had_way=self._hears(pair))
        self._send(pair, "probe", what, ident=ident)
        self._rest(pair)

    # -- towards the watcher -------------------------------------------------------------------------------

    def _allow(self, pair: Pair, _then: State, what: Happening) -> bool:
        """Most services send presence right after the approval: it is told together with it."""
        pair.blank = False
        pair.form = what.form
        pair.tell_at = what.now + self.settings.coalesce_s
        pair.silent_at = what.now + self.settings.silent_s
        return True

    def _refuse(self, pair: Pair, _then: State, what: Happening) -> bool:
        self._notifying.decide(pair.watcher, pair.presentity, Decision.REFUSE, what.now)
        return True

    def _end(self, pair: Pair, _then: State, what: Happening) -> bool:
        self._notifying.end(pair.presentity, EndReason.NORESOURCE, what.now, pair.watcher)
        return True

    def _take_state(self, pair: Pair, _then: State, what: Happening) -> bool:
        if what.stanza is None:
            return False
        said = resource_of(what.stanza, what.resource, pair.presentity, self._wall(what.now))
        pair.refresh_at = what.now + self.settings.refresh_s
        pair.silent_at = inf
        changed = pair.resources.take(said)
        if pair.gathering is not None:
            pair.gathering.heard(what.now)
        if changed:
            pair.tell_at = min(pair.tell_at, what.now + self.settings.coalesce_s)
            self._sized(pair)
        else:
            self.counts["same"] += 1
        return True

    def _gather(self, pair: Pair, _then: State, what: Happening) -> bool:
        if pair.gathering is None:
            self.counts["dormant"] += 1
            return True
        done = self._take_state(pair, _then, what)
        pair.tell_at = pair.refresh_at = inf
        return done

    def _drop_state(self, pair: Pair, _then: State, _what: Happening) -> bool:
        pair.resources.clear()
        pair.blank, pair.gathering = True, None
        pair.held.clear()
        pair.tell_at = pair.silent_at = pair.refresh_at = pair.clear_at = inf
        self._drop_question(pair)
        self._sized(pair)
        return True

    def _doubt(self, pair: Pair, _then: State, what: Happening) -> bool:
        """Tell in the router's name that nothing is known (imx 7.7)."""
        pair.doubts += 1
        pair.blank = True  # what is kept is old: whoever renews meanwhile is not told it as new
        if not what.tells:
            return True
        domain = pair.presentity.domain
        for ident in sorted(self._live.get(pair_key(pair.watcher, pair.presentity), ())):
            unknown = Unknown(pair.presentity, Reason.SERVICE_DOWN, domain)
            ours, active = self._new_id(), SubscriptionState.ACTIVE
            told = Notify(pair.presentity, pair.watcher, ours, ident, active, None, unknown)
            what.effects.doubts.append(told)
        return True

    # -- notifications -------------------------------------------------------------------------------------

    def _notify(self, owed: Owed, what: Happening) -> None:
        """Send one, or hold it until a probe has been answered."""
        pair = self._by_key.get(pair_key(owed.watcher, owed.presentity))
        if owed.full and pair is not None and (pair.blank or pair.is_asked):
            pair.held = [one for one in pair.held if one.subscription_id != owed.subscription_id]
            pair.held.append(owed)
            return
        presence = self._may_be_told(owed, pair)
        document, meaning = b"", b""
        if presence is not None and pair is not None:
            document = write_pidf(presence)
            # Without times, and with what was said in between: after a doubt the same state is news.
            timeless = Presence(
                presence.presentity, tuple(replace(one, timestamp=None) for one in presence.tuples)
            )
            said = write_pidf(timeless) + b"%d" % pair.doubts
            meaning = blake2b(said, digest_size=16).digest()
            pair.resources.told()
        if owed.full and presence is None:
            # Nobody who is not allowed is told anything; it is answered so that it is not tried for ever.
            self.counts["not-allowed"] += 1
            self._notifying.answered(owed, failure(Reason.NOT_SUBSCRIBED), what.now)
            return
        if not self._notifying.sending(owed, meaning, what.now):
            self.counts["same"] += 1
            return
        told = owed.notify(self._new_id(), presence, document, (), self._version(what.now))
        if pair is not None and pair.form and owed.state is not SubscriptionState.PENDING:
            told = replace(told, original_form=pair.form)
            pair.form = b""
        self._flights[owed.ticket] = owed
        what.effects.notifications.append((owed.ticket, told))

    def _may_be_told(self, owed: Owed, pair: Pair | None) -> Presence | None:
        """What this watcher may see: nothing without a consent that is stored. The one place that asks."""
        if not owed.full or pair is None or pair.state not in {State.FROM, State.DORMANT}:
            return None
        return presence_of(owed.presentity, pair.resources.all())

    def _version(self, now: float) -> Version:
        """By the clock alone: a number that counts changes would tell one watcher of another."""
        self._number = max(self._number + 1, int((now + self.wall_ahead_s) * 1_000_000))
        return Version(self._epoch, self._number)

    def _sized(self, pair: Pair) -> None:
        """Note how much is kept because of the watcher's domain; what is too much loses its details."""
        domain = pair.watcher.domain.wire
        size = pair.resources.size if self._pairs.get(pair.names) is pair else 0
        for names in self._shares.put(domain, pair.names, size):
            other = self._pairs.get(names)
            if other is not None:
                self.counts["details-dropped"] += 1
                other.resources.slim()
                self._shares.put(domain, names, other.resources.size)
