"""Users of XMPP who are watched from elsewhere: table P over `routing.notifying` (mapping section 6.2).

`Notifying` tells, paces and tries again; this decides who may be told, asks the users' services, and keeps
what each service said for each watcher apart: nobody is told what was said to somebody else.
"""

from __future__ import annotations

from math import inf
from typing import Final

from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.subscriptions.effects import BETWEEN, Effects
from imxrouter.gateways.xmpp.subscriptions.kept import names_of
from imxrouter.gateways.xmpp.subscriptions.presentity_actions import PresentityActions
from imxrouter.gateways.xmpp.subscriptions.presentity_pairs import Answers, Happening, Pair
from imxrouter.gateways.xmpp.subscriptions.presentity_table import Event, State
from imxrouter.gateways.xmpp.subscriptions.probes import (
    ALL_S,
    NO_WAY_S,
    OPENED_AGAIN_S,
    SILENT_S,
    WAY_S,
    Silence,
)
from imxrouter.gateways.xmpp.translate.jid import BadJid, to_jid, to_model
from imxrouter.gateways.xmpp.translate.presence import presence_of
from imxrouter.gateways.xmpp.translate.showing import PresenceStanza
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import Subscribe
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.presence import Presence
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.routing.caps import Refusal
from imxrouter.routing.owed import Decision, KeptSubscription, Onlooker
from imxrouter.routing.watched import address_of, pair_key
from imxrouter.routing.zones import zone_of

#: Notifications made at once, before anything else has its turn.
_AT_ONCE: Final = 500


class Presentities(PresentityActions):
    """All pairs of which the presentity is a user of an XMPP service; arguments as of `PresentityActions`."""

    # -- from watchers -------------------------------------------------------------------------------------

    def asked(
        self, asked: Subscribe, now: float, kind: str = "", form: bytes = b""
    ) -> tuple[Outcome, Effects]:
        """Take a request of somebody elsewhere.

        Args:
            asked: the request.
            now: monotonic seconds.
            kind: what its original form is, `subscribe` or `unsubscribe`; empty where it may not be used.
            form: that stanza, judged, to be sent as it is; empty for none.
        """
        what = Happening(now, asked=asked, form=form)
        by = asked.presentity.domain.name
        try:
            watcher, presentity = _spelled(asked.watcher), _spelled(asked.presentity)
        except BadJid as error:
            return failure(error.reason, by=by, role="service"), what.effects
        key = pair_key(asked.watcher, asked.presentity)
        pair = self._pairs.get(names_of(watcher, presentity))
        if pair is None and key in self._by_key:
            note = "another spelling of both addresses is held"
            return failure(Reason.ID_REUSED, by=by, role="service", note=note), what.effects
        pair = pair or Pair(watcher, presentity)
        event = self._event_of(asked, pair, kind)
        if event is None:
            decision = Decision.ALLOW if pair.state is State.FROM else Decision.WAIT
            self._take(what, decision)
        else:
            self._happens(pair, event, what)
        self._look_at_ended(what)
        self._tell(what)
        return what.outcome or failure(Reason.NOT_DELIVERED, by=by, role="service"), what.effects

    def lives(self, watcher: bytes, presentity: bytes, ident: bytes) -> bool:
        """Whether a subscription to one of the users is held; both by the key of their address."""
        return ident in self._live.get(watcher + BETWEEN + presentity, ())

    def state_for(self, watcher: Address, presentity: Address) -> Presence | None:
        """What a watcher may see of a user now; None where there is no consent, or nothing is known."""
        pair = self._by_key.get(pair_key(watcher, presentity))
        if pair is None or pair.state is not State.FROM or pair.blank or presentity.domain in self._lost:
            return None
        return presence_of(presentity, pair.resources.all())

    def watchers_of(self, presentity: Address, now: float) -> list[tuple[Pair, Onlooker | None]]:
        """Who watches a user, wants to, or may, by address and for people to read; it looks at all pairs.

        Returns:
            each with the subscription behind it that lasts longest; none where nobody watches at present.
        """
        found = [one for one in self._pairs.values() if one.presentity.key == presentity.key]
        live: dict[bytes, Onlooker] = {}
        for name in {one.presentity for one in found}:
            for one in sorted(self._notifying.watchers(name, now), key=lambda each: each.left_s):
                live[pair_key(one.watcher, name)] = one
        return [
            (one, live.get(pair_key(one.watcher, one.presentity)))
            for one in sorted(found, key=lambda one: one.watcher)
        ]

    def _event_of(self, asked: Subscribe, pair: Pair, kind: str) -> Event | None:
        """Which event a request is; None for the end of a subscription that is none of the pair's last."""
        live = self._live.get(pair_key(pair.watcher, pair.presentity), set())
        held = asked.subscription_id in live
        if asked.duration_s == 0:
            last = not live - {asked.subscription_id}
            approvable = pair.state in {State.ASKED, State.FROM, State.DORMANT}
            if kind == "unsubscribe" and last and approvable:
                return Event.CANCEL
            return None if held else Event.FETCH
        if held:
            return Event.RENEW
        if live:
            return Event.OTHER
        if pair.state is State.NONE:
            if pair.presentity.domain in self._lost:
                return Event.NO_STREAM
            if self._refusal(pair) is not None:
                return Event.NO_ROOM
        return Event.BEGIN

    def _refusal(self, pair: Pair) -> Refusal | None:
        zone = zone_of(pair.watcher.domain.name)
        bounds = self.settings
        full = (
            len(self._pairs) >= bounds.most
            or self._per_presentity[pair.presentity.key] >= bounds.per_presentity
            or self._per_zone[zone] >= bounds.per_zone
        )
        return Refusal(Reason.BUSY, 60) if full else None

    # -- from the user's service ---------------------------------------------------------------------------

    def stanza(
        self,
        presentity: Address,
        resource: str,
        watcher: Address,
        stanza: Element,
        now: float,
        form: bytes = b"",
    ) -> Effects:
        """Take `subscribed`, `unsubscribed`, an error or a presence of a user for somebody elsewhere.

        Args:
            presentity: the user, proved by the stream.
            resource: of the sender; empty for the bare JID.
            watcher: for whom it is, resource left out.
            stanza: the presence.
            now: monotonic seconds.
            form: the original form for the notification that it leads to.
        """
        what = Happening(now, stanza=stanza, resource=resource, form=form)
        pair = self._pairs.get(names_of(watcher, presentity))
        if pair is None:
            if pair_key(watcher, presentity) in self._by_key:
                self.counts["other-spelling"] += 1
                return what.effects
            pair = Pair(watcher, presentity)
        kind = stanza.attributes.get("type", "")
        if kind in {"", "unavailable"}:
            bare = kind == "unavailable" and not resource
            acknowledges = bare and pair.state is State.ASKED
            self._happens(pair, Event.ACKNOWLEDGED if acknowledges else Event.PRESENCE, what)
        elif kind == "subscribed":
            self._happens(pair, self._approval(pair), what)
        elif kind == "unsubscribed":
            self._happens(pair, Event.UNSUBSCRIBED, what)
        elif kind == "error" and not resource:
            self._happens(pair, _error_event(stanza), what)
        else:
            self.counts["odd-type"] += 1
        self._rest_if_held(pair)
        self._look_at_ended(what)
        self._tell(what)
        return what.effects

    def _approval(self, pair: Pair) -> Event:
        if pair.state is State.FROM or self._is_live(pair):
            return Event.SUBSCRIBED
        if pair.state is State.NONE:
            early = self._early[pair.presentity.key] >= self.settings.early
            if early or self._refusal(pair) is not None:
                return Event.SUBSCRIBED_NO_ROOM
        return Event.SUBSCRIBED_EARLY

    def lost(self, domain: Domain, now: float, *, tells: bool = True) -> Effects:
        """Who answers for a domain is lost, and has been so for the time of grace.

        Args:
            domain: of users who are watched.
            now: monotonic seconds.
            tells: watchers are told that nothing is known; else somebody else tells them.
        """
        what = Happening(now, tells=tells)
        if domain not in self._lost:
            self._lost.add(domain)
            for pair in self._of(domain):
                if pair.state in {State.ASKED, State.FROM}:
                    self._happens(pair, Event.LOST, what)
                    pair.gathering = None  # its answers are as lost; whoever is back is asked anew
                    self._rest(pair)
        return what.effects

    def is_lost(self, domain: Domain) -> bool:
        """Whether it is, until it is back."""
        return domain in self._lost

    def back(self, domain: Domain, now: float) -> Effects:
        """It can be reached again: what its users said meanwhile is asked for."""
        what = Happening(now)
        self._lost.discard(domain)
        watched = [one for one in self._of(domain) if one.state is State.FROM]
        for pair in watched:
            pair.probed_at = -inf
            pair.silent = 0
        self._probes.ask((pair.names for pair in watched), now, self._spread(len(watched)))
        for pair in watched:
            self._happens(pair, Event.BACK, what)
        return what.effects

    def opened(self, domain: Domain, watchers: str, now: float) -> None:
        """Its server may say something to a domain on one more stream: what it said before may be lost.

        Args:
            domain: of users who are watched.
            watchers: the domain of their watchers (A-labels); empty: any.
            now: monotonic seconds.
        """
        for ends in [one for one in self._no_way if one[0] == domain and watchers in {"", one[1]}]:
            waiting = self._no_way.pop(ends)
            for names in waiting:
                self._probes.drop(names)
            self._probes.ask(waiting, now, self._spread(len(waiting)))
        self._opened = {ends: at for ends, at in self._opened.items() if now < at + OPENED_AGAIN_S}
        if (domain, watchers) in self._opened:
            return
        for pair in self._of(domain):
            answers, fits = pair.gathering, watchers in {"", pair.watcher.domain.name}
            if fits and answers is not None and not answers.waited and answers.opened(now):
                self._opened[domain, watchers] = now
                self._rest(pair)

    def _spread(self, count: int) -> float:
        """Seconds over which so many questions are spread: a few need not wait."""
        return min(count / self.settings.spread_per_s, self.settings.spread_s)

    # -- time ----------------------------------------------------------------------------------------------

    def probed(self, asked: PresenceStanza, outcome: Outcome, now: float) -> None:
        """Take the outcome of a probe that was among the effects: silence counts from when it is there."""
        pair = self._pairs.get(names_of(asked.source, asked.to))
        if pair is None or pair.gathering is None or pair.gathering.ident != asked.id:
            return
        if outcome.ok:
            pair.gathering.arrived(now)
        else:
            pair.gathering.failed(now, refused=outcome.reason.stage is Stage.LIMIT)
        self._rest(pair)

    def answered(self, ticket: int, outcome: Outcome, now: float) -> Effects:
        """Take the outcome of a notification that was among the effects."""
        what = Happening(now)
        owed = self._flights.pop(ticket, None)
        if owed is not None:
            self._notifying.answered(owed, outcome, now)
        self._look_at_ended(what)
        self._tell(what)
        return what.effects

    def due(self, now: float) -> Effects:
        """What to send now; to be called about once a second, and more often while `next_due` says so."""
        what = Happening(now)
        self._notifying.wall_ahead_s = self.wall_ahead_s
        for names in self._probes.take(now):
            pair = self._pairs.get(names)
            if pair is None or pair.state is not State.FROM:
                continue
            if pair.presentity.domain in self._lost:
                self._waits_no_more(pair)
                continue
            if not self._waits_for_way(pair, now):
                self._probe_sent(pair, what, ALL_S)
        for pair in self._wheel.take(now, 1000):
            if self._pairs.get(pair.names) is pair:
                self._wake(pair, what)
        self._tell(what)
        self._look_at_ended(what)
        return what.effects

    def _waits_for_way(self, pair: Pair, now: float) -> bool:
        """Put a question off while there is no way for its answer, for a moment; whether it is."""
        if self._waits_no_more(pair) or self._hears(pair):
            return False
        self._no_way.setdefault(pair.domains, set()).add(pair.names)
        self._probes.ask((pair.names,), now + WAY_S)
        return True

    def next_due(self, now: float) -> float:
        """Nothing comes out of `due` before this moment."""
        return min(self._notifying.next_due(now), self._wheel.next_due(), self._probes.next_due())

    def _tell(self, what: Happening) -> None:
        for owed in self._notifying.due(what.now, _AT_ONCE):
            self._notify(owed, what)

    def _wake(self, pair: Pair, what: Happening) -> None:
        now = what.now
        if pair.approved_at <= now:
            self._happens(pair, self._approval(pair), what)
        if pair.until and pair.until - self.wall_ahead_s <= now:
            self._happens(pair, Event.OVER, what)
        if pair.gathering is not None and pair.gathering.until <= now:
            self._gathered(pair, what)
        if pair.tell_at <= now and not pair.is_asked:
            pair.tell_at = inf
            self._notifying.decide(pair.watcher, pair.presentity, Decision.ALLOW, now)
        if pair.silent_at <= now:
            pair.silent_at = inf
            if not len(pair.resources):
                self._happens(pair, Event.SILENT, what)
        if pair.repeat_at <= now:
            self._repeat(pair, what)
        if pair.refresh_at <= now:
            self._happens(pair, Event.REFRESH, what)
        if pair.clear_at <= now and pair.state is not State.FROM:
            pair.clear_at = inf
            pair.resources.clear()
            pair.blank = True
            self._sized(pair)
        self._rest_if_held(pair)

    def _gathered(self, pair: Pair, what: Happening) -> None:
        """The answers to a probe have come, or none will."""
        answers = pair.gathering
        if answers is not None and answers.came and not answers.is_there and not answers.told:
            answers.tell(what.now)
            if pair.blank:
                pair.resources.forget_unanswered()  # they are old, and may be there: it is not known yet
            self._tell_gathered(pair, what, changed=pair.blank)
            return
        if answers is not None and self._asks_again(pair, answers, what):
            return
        pair.silent, pair.gathering = 0, None
        if answers is not None and not answers.is_there:
            pair.held = []  # nothing is known, so nobody is told anything
            return
        self._tell_gathered(pair, what, changed=pair.resources.settle() or pair.blank)

    def _tell_gathered(self, pair: Pair, what: Happening, *, changed: bool) -> None:
        pair.blank = False
        self._sized(pair)
        held, pair.held = pair.held, []
        for owed in held:
            self._notify(owed, what)
        if pair.state is State.FROM and (changed or pair.tell_at < inf):
            pair.tell_at = what.now

    def _asks_again(self, pair: Pair, answers: Answers, what: Happening) -> bool:
        """Where nothing at all has come, and there was no way for it, question or answer may be lost."""
        if pair.state is not State.FROM or (answers.came and answers.is_there):
            return False
        silence = Silence.LOST if answers.again else answers.silence(pair.silent, has_way=self._hears(pair))
        if silence is Silence.LOST:
            self._probe_sent(pair, what, ALL_S)
        elif answers.refused:
            answers.pause(what.now, SILENT_S)
        elif silence is Silence.NO_WAY and answers.told:
            return False  # something of him came, so it is not that nobody knows
        elif silence is not Silence.ANSWER:
            # a question that did not arrive may have gone into what heals in a moment
            no_way = answers.is_there and silence is Silence.NO_WAY
            answers.pause(what.now, NO_WAY_S if no_way else _pause_s(pair.silent))
            pair.silent += 1
            if silence is Silence.NO_WAY:
                self._happens(pair, Event.LOST, what)
        return silence is not Silence.ANSWER

    def _repeat(self, pair: Pair, what: Happening) -> None:
        pair.repeat_at = what.now + self.settings.repeat_s
        if self._is_live(pair):
            self._happens(pair, Event.REPEAT, what)

    def _rest_if_held(self, pair: Pair) -> None:
        if self._pairs.get(pair.names) is pair:
            self._rest(pair)

    def _look_at_ended(self, what: Happening) -> None:
        """Pairs whose last subscription is over."""
        ended, self._ended = self._ended, []
        for key in ended:
            pair = self._by_key.get(key)
            if pair is not None and pair.state in {State.ASKED, State.FROM} and key not in self._live:
                self._happens(pair, Event.END, Happening(what.now, what.effects))

    # -- restart and removal -------------------------------------------------------------------------------

    def restore(self, now: float) -> None:
        """Go on with what is stored; before traffic comes."""
        what = Happening(now)
        for watcher, presentity, kept in self._keeping.all_watched():
            pair = Pair(watcher, presentity)
            if kept.state not in _KEPT or pair_key(watcher, presentity) in self._by_key:
                continue
            pair.since, pair.until, pair.times = kept.since, kept.until, kept.asked
            self._enter(pair, State.NONE, State(kept.state))
        for one in self._keeping.all_onlookers():
            self._restore_one(one, now)
        watched = [one.names for one in self._pairs.values() if one.state is State.FROM]
        self._probes.ask(watched, now, self._spread(len(watched)))
        for pair in list(self._pairs.values()):
            self._happens(pair, Event.RESTART, what)
            if pair.state is State.ASKED:
                pair.repeat_at = now + self.settings.repeat_s * self._chance()
            self._rest_if_held(pair)
            if pair.state in {State.ASKED, State.FROM} and not self._is_live(pair) and not pair.until:
                self._happens(pair, Event.END, what)

    def _restore_one(self, one: KeptSubscription, now: float) -> None:
        """Go on with a subscription; without a consent, or the wish for one, it is forgotten."""
        try:
            key = pair_key(address_of(one.watcher), address_of(one.presentity))
            store_key = BETWEEN.join((key, one.subscription_id))
            pair = self._by_key.get(key)
            if pair is None or pair.state not in {State.ASKED, State.FROM}:
                self._keeping.onlooker(store_key, None)
            elif self._notifying.from_kept(one, now) is None:
                self._live.setdefault(key, set()).add(one.subscription_id)
        except RouterError:
            self.counts["unread"] += 1

    def removed(self, domain: Domain, now: float) -> Effects:
        """A domain whose users are watched is served no more."""
        what = Happening(now)
        for pair in self._of(domain):
            self._happens(pair, Event.REMOVED, what)
        self._lost.discard(domain)
        self._look_at_ended(what)
        self._tell(what)
        return what.effects

    def blocked(self, watcher: Address, presentity: Address, now: float) -> Effects:
        """A rule forbids this pair from now on."""
        what = Happening(now)
        pair = self._pairs.get(names_of(watcher, presentity))
        if pair is not None:
            self._happens(pair, Event.REMOVED, what)
        self._look_at_ended(what)
        self._tell(what)
        return what.effects


#: States that outlive a restart.
_KEPT: Final = frozenset(one.value for one in State if one is not State.NONE)


def _spelled(address: Address) -> Address:
    """An address as its JID spells it: the user's service does not know another. Raises `BadJid`."""
    return to_model(to_jid(address))[0]


def _error_event(stanza: Element) -> Event:
    """An error that may pass, or one that does not (RFC 6120 section 8.3.2)."""
    error = next((one for one in stanza.children if one.name == "error"), None)
    waits = error is not None and error.attributes.get("type") in {"wait", "continue"}
    return Event.PUT_OFF if waits else Event.REFUSED


def _pause_s(times: int) -> float:
    """How long nothing is asked that was asked so many times in vain."""
    return min(SILENT_S * 2.0 ** min(times, 10), NO_WAY_S)
