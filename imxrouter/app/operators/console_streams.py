"""Subscriptions of users whose services speak XMPP, as operators see them (mapping section 6)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from imxrouter.admin.user_views import SubscriptionsView, SubscriptionView, WatchersView, WatcherView
from imxrouter.app.operators import userviews
from imxrouter.app.operators.console_recipients import RecipientConsole
from imxrouter.app.operators.user_refusals import user_of
from imxrouter.gateways.xmpp.streams.presence import StreamPresence
from imxrouter.gateways.xmpp.subscriptions.passing import PassingPair
from imxrouter.gateways.xmpp.subscriptions.presentity_pairs import Pair as Watched
from imxrouter.gateways.xmpp.subscriptions.presentity_table import State
from imxrouter.gateways.xmpp.subscriptions.watcher_pairs import Pair as Watching
from imxrouter.gateways.xmpp.translate.jid import parse_jid, to_jid, to_model
from imxrouter.model.address import Address
from imxrouter.routing.owed import Onlooker
from imxrouter.routing.watched import Standing
from imxrouter.wire.registry import RecordType

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: What each state of a pair is called, and what the user decided by it.
_WORDS: Final = {
    State.ASKED: ("pending", "ask"),
    State.FROM: ("active", "allow"),
    State.DORMANT: ("dormant", "allow"),
    State.DENIED: ("denied", "refuse"),
}


class StreamUserConsole:
    """Whom such users watch, and who watches them. They change both at their services, by XMPP.

    Args:
        router: whose users.
    """

    def __init__(self, router: Parts) -> None:
        self._router = router

    def user(self, text: str) -> Address | None:
        """The address of a user whose service speaks XMPP; None of everybody else."""
        if (address := user_of(text)) is None:
            return None
        route = self._router.switch.routes.get(address.domain.wire)
        speaks = route is not None and RecordType.STANZA in route.types
        return address if speaks else None

    def _passing(self, whose: Address, *, watches: bool) -> list[tuple[PassingPair, Address]]:
        """Pairs of a user whose presence passes between two servers of XMPP, with who is at the other end."""
        passing = self._router.streams.passing
        found = passing.pairs.of_user(str(to_jid(whose)), watches=watches) if passing is not None else []
        others = ((pair, pair.presentity if watches else pair.watcher) for pair in found)
        return [(pair, to_model(parse_jid(other))[0]) for pair, other in others]

    def _presence(self) -> StreamPresence | None:
        return self._router.streams.presence

    def subscriptions(self, whose: Address) -> SubscriptionsView:
        """List whom a user watches; what is over is not kept."""
        presence, now, wall = self._presence(), self._router.hub.now(), time.time()
        found = presence.watchers.wanted_by(whose, now) if presence is not None else []
        rows = [_subscription(*one, wall) for one in found]
        for pair, presentity in self._passing(whose, watches=True):
            rows.append(userviews.passing_view(whose, presentity, wall, granted=pair.granted))
        return SubscriptionsView(user=str(whose), subscriptions=rows, ended=[])

    def watchers(self, whose: Address) -> WatchersView:
        """List who watches a user, wants to, or may; and what rules the router keeps for him."""
        presence, wall = self._presence(), time.time()
        found = (
            presence.presentities.watchers_of(whose, self._router.hub.now()) if presence is not None else []
        )
        own = RecipientConsole(self._router)
        kept = own.watchers(whose) if own.user(str(whose)) is not None else None
        return WatchersView(
            user=str(whose), kept=self._router.store.health().works,
            watchers=[
                *(_watcher(*one, wall) for one in found),
                *(_passes(one, pair) for pair, one in self._passing(whose, watches=False)),
            ],
            waiting=kept["waiting"] if kept is not None else [],
            decisions=kept["decisions"] if kept is not None else [],
        )  # fmt: skip


def _subscription(pair: Watching, standing: Standing | None, wall: float) -> SubscriptionView:
    if standing is None:
        return userviews.asleep_view(pair.watcher, pair.presentity, wall)
    return userviews.standing_view(standing, pair.latest, wall)


def _passes(watcher: Address, pair: PassingPair) -> WatcherView:
    state, decision = ("passes", "allow") if pair.granted else ("pending", "ask")
    return WatcherView(
        watcher=str(watcher), state=state, left_s=0.0, until=0.0, decision=decision,
        because="the user's service", detail="full", failures=0,
    )  # fmt: skip


def _watcher(pair: Watched, live: Onlooker | None, wall: float) -> WatcherView:
    state, decision = _WORDS[pair.state]
    left_s = live.left_s if live is not None else max(pair.until - wall, 0.0)
    return WatcherView(
        watcher=str(pair.watcher), state=state, left_s=round(left_s, 1),
        until=round(wall + left_s, 1) if left_s else 0.0, decision=decision, because="the user's service",
        detail="full", failures=live.failures if live is not None else 0,
    )  # fmt: skip
