"""XMPP streams of this process, tied to its other parts, and what is counted of them."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import ceil
from typing import Final

from imxrouter.app.link_parts import LinkParts
from imxrouter.app.passing import broke, passing_of, ways_by
from imxrouter.app.random_ids import RandomIds
from imxrouter.app.served.embedding import SEVERAL_PROCESSES
from imxrouter.app.trust.stream_rules import StreamRules
from imxrouter.app.trust.stream_trust import stream_trust
from imxrouter.config.schema import Config
from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.acks import PingDroppers
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.pairs import Pair
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.again import AgainOutside, PresenceAgain
from imxrouter.gateways.xmpp.streams.deciding import Deciding
from imxrouter.gateways.xmpp.streams.dialer import StreamDialer
from imxrouter.gateways.xmpp.streams.edge import StreamEdge
from imxrouter.gateways.xmpp.streams.knocking import Knocking, KnockOutside
from imxrouter.gateways.xmpp.streams.listener import StreamFactory
from imxrouter.gateways.xmpp.streams.parts import StreamLink, StreamParts
from imxrouter.gateways.xmpp.streams.passing import StreamPassing
from imxrouter.gateways.xmpp.streams.pings import Pings
from imxrouter.gateways.xmpp.streams.pool import ServicePool
from imxrouter.gateways.xmpp.streams.presence import PresenceOutside, StreamPresence
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.streams.told import Told
from imxrouter.gateways.xmpp.streams.world import Known, Outside
from imxrouter.gateways.xmpp.subscriptions.passing import Seen
from imxrouter.gateways.xmpp.subscriptions.presentity_pairs import PresentitySettings
from imxrouter.gateways.xmpp.subscriptions.watcher_pairs import WatcherSettings
from imxrouter.gateways.xmpp.takers import UNKNOWN, Ask, Taken, Takers
from imxrouter.gateways.xmpp.translate.messages import Takes
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.presence import Presence
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.interfaces import Store
from imxrouter.routing.subscriptions import Subscription
from imxrouter.routing.watched import address_of
from imxrouter.telemetry.xmpp import XmppFigures
from imxrouter.transport.dialing import Reach
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link, Purpose
from imxrouter.transport.silence import domains_of
from imxrouter.wire.control import Control, Hello
from imxrouter.wire.record import Record
from imxrouter.wire.registry import RecordType

#: How roles are called in figures.
ROLE_WORDS: Mapping[StreamRole, str] = {
    StreamRole.S2S_OUT: "out",
    StreamRole.S2S_IN: "in",
    StreamRole.INSIDE_IN: "inside",
    StreamRole.COMPONENT_OUT: "component",
    StreamRole.COMPONENT_IN: "host of a component",
}


class StreamFigures:
    """Counts streams, and what goes wrong on them. It is a `LinkEvents`.

    Args:
        hub: links of this process.
        figures: shown at `/metrics`.
        passes: called about once a second.
        shaken: told each stream that broke.
    """

    def __init__(
        self,
        hub: Hub,
        figures: XmppFigures,
        passes: Callable[[], None],
        shaken: Callable[[XmppSession], None],
    ) -> None:
        self._shaken = shaken
        self._hub = hub
        self._figures = figures
        self._passes = passes
        figures.streams = self.by_role
        #: streams that are not among the hub's: those of servers behind us
        self.others: Callable[[], Iterable[XmppSession]] = tuple

    def by_role(self) -> Mapping[str, int]:
        """The streams that are there."""
        streams = [one for one in self._hub.sessions.values() if isinstance(one, XmppSession)]
        return Counter(ROLE_WORDS[one.role] for one in (*streams, *self.others()))

    def error(self, condition: Condition, direction: str) -> None:
        """A stream ended with an error."""
        self._figures.error(condition.value, direction)

    def opened(self, session: Link, peer: Hello | None) -> None:
        """It is asked for at each scrape."""

    def control(self, session: Link, record: Control) -> None:
        """Streams have no records."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """It is asked for at each scrape."""

    def lost(self, session: Link) -> None:
        """A stream is gone."""
        if isinstance(session, XmppSession):
            self._figures.renewed(session.machine.parser_renewals)
            if broke(session):
                self._shaken(session)

    def tick(self, now: float) -> None:
        """What counts time among stanzas and subscriptions does so."""
        del now
        self._passes()


class Streams:
    """XMPP streams of one process, tied to its other parts.

    Args:
        router: those.

    Attributes:
        parts: what all streams of peers share.
        edge: between stanzas and records; has the protocol of each destination decided first.
        trust: who is who.
        rules: what streams are held to.
        pair_settings: bounds of subscriptions, of who watches and of who is watched.
    """

    def __init__(self, router: LinkParts) -> None:
        self._hub, self._router = router.hub, router
        #: sends a query of a domain served here; somebody is to be asked once it is set
        self.ask: Ask
        #: the XMPP service of a domain
        self.pool_of: Callable[[str], ServicePool | None] = lambda _name: None
        self._takers = Takers(
            lambda query, told: self.ask(query, told),  # noqa: PLW0108 - it is set later
            router.new_id,
            router.hub.now,
        )
        pings, droppers = Pings(), PingDroppers()
        later = router.reactor.callLater
        chosen, routes = router.federation.chosen, router.switch.routes
        chance = random.SystemRandom().random
        self._again = PresenceAgain(
            AgainOutside(
                router.inside.submit, lambda: router.inside.room > 0, router.hub.now, chance,
                router.new_id, router.metrics.xmpp.dropped,
            )
        )  # fmt: skip
        plain = StreamEdge(self._outside(later), self._known(), pings, self._again)
        self.edge = Deciding(
            plain,
            lambda name: name.encode() in routes,
            chosen.for_stanzas,
            chosen.choose_for_stanzas,
            plain.settles,
        )
        self._presence: StreamPresence | None = None
        self._passing: StreamPassing | None = None
        #: a pair's machine is in one process, and what it needs would come to any of them
        self._presence_off = router.config.shares_port and router.config.takes_stanzas
        self.pair_settings = _pair_settings(router.config)
        self.trust = stream_trust(router, self._second, lambda what: later(0.0, what))
        self.rules = rules = StreamRules(
            router.hub, router.xmpp_strengths, lambda: router.config, droppers,
            lambda domain: router.gatekeeper.shuts_out(domain),  # noqa: PLW0108 - it is set later
        )  # fmt: skip
        self.figures = figures = StreamFigures(router.hub, router.metrics.xmpp, self.tick, self._when_shaken)
        self._plain = plain
        self.parts = StreamParts(
            self.edge, self.trust, self.trust.tongue, rules.terms, later, router.link_tls.ends, droppers,
            pings, figures.error, router.metrics.xmpp.not_confirmed, router.steps.stream_begun,
        )  # fmt: skip
        self.parts.ways_in.opened = self._when_opened
        self._knocking = Knocking(
            KnockOutside(
                router.inside.submit, lambda: router.inside.room > 0, later, router.hub.now, os.urandom
            ),
            self.parts.ways_in, pings,
        )  # fmt: skip
        router.hub.events.append(figures)
        dialer = StreamDialer(
            router.reactor, router.xmpp_strengths, router.dialer.reach, lambda: router.dialer.maker
        )
        router.verifier.dialers[Protocol.XMPP] = dialer
        if router.config.xmpp.listen or router.config.xmpp.listen_tls:
            # who answers nobody can prove nothing: it speaks XMPP to nobody
            router.speak(Protocol.XMPP, Reach(dialer, self._new_stream, shares=False))

    def factory(self, *, only_tls: bool) -> StreamFactory:
        """What makes streams of connections of other organisations' servers."""
        return StreamFactory(self._hub, self.parts, only_tls=only_tls)

    def hush(self, *, is_hushed: bool) -> None:
        """Whether what leaves on streams is refused, where its arrival matters."""
        self._plain.hushed = is_hushed
        if self._passing is not None:
            self._passing.rest(rests=is_hushed)

    @property
    def presence(self) -> StreamPresence | None:
        """Subscriptions of users of XMPP; None before the store is open, and among several processes."""
        return self._presence

    @property
    def passing(self) -> StreamPassing | None:
        """Whose presence passes between two servers; None as above."""
        return self._passing

    def begin(self, store: Store) -> None:
        """Go on with the subscriptions of XMPP that the store has, which is open.

        Among several processes there is none: what the store has of them stays as it is.
        """
        router, hub = self._router, self._hub
        if self._presence_off:
            hub.switch.presence.by_streams = lambda *_: False
            return
        outside = PresenceOutside(
            submit=router.inside.submit,
            has_room=lambda: router.inside.room > 0,
            later=router.reactor.callLater,
            now=hub.now,
            wall=time.time,
            chance=random.SystemRandom().random,
            random_bytes=os.urandom,
            reached=self._reached,
            is_served=lambda name: name.encode() in hub.switch.routes,
            dropped=router.metrics.xmpp.dropped,
            forms=self._forms,
            again=self._again,
            over=self._over,
            has_way=self._has_way,
        )
        self._presence = StreamPresence(outside, store, *self.pair_settings)
        hub.switch.presence.by_streams = self._presence.holds
        self._passing = passing_of(router, store, self._again, self._pair, self._has_way)
        self._passing.rest(rests=self._plain.hushed)
        router.metrics.xmpp.passing = self._passing.figures

    def change(self, config: Config) -> None:
        """Bounds of subscriptions are other ones from now on."""
        watchers, presentities = self.pair_settings = _pair_settings(config)
        if self._presence is not None:
            self._presence.watchers.settings = watchers
            self._presence.presentities.settings = presentities

    def tick(self) -> None:
        """About once a second: what nobody answered in time is answered, what is due is sent."""
        self._plain.tick()
        if self._presence is not None:
            self._presence.tick()
        if self._passing is not None:
            self._passing.tick()

    def _when_shaken(self, session: XmppSession) -> None:
        if self._presence is not None:
            self._presence.shaken(Domain(one.decode()) for one in domains_of(session))
        self.shaken(session)

    def shaken(self, session: XmppSession) -> None:
        """A stream broke: what came on it may be lost, and is asked for anew."""
        if self._passing is not None:
            self._passing.shaken(ways_by(session, self._passing))

    def _has_way(self, theirs: str, ours: str) -> bool:
        """Whether presence may come now, of a domain for another one; where not, a way is asked for."""
        pool = self.pool_of(theirs)
        there = pool is not None and pool.speaks_both_ways(ours, theirs)
        return there or self._knocking.leads(theirs, ours)

    def _when_opened(self, pairs: Iterable[Pair]) -> None:
        """A stream may bring more than before: an answer that was sent before may be lost."""
        joints = [one for one in (self._passing, self._presence) if one is not None]
        for theirs, ours in pairs:
            for one in joints:
                one.opened(theirs, ours)

    def removed(self, domains: Iterable[Domain]) -> None:
        """Domains are served no more."""
        if self._presence is not None:
            self._presence.removed(domains)
        if self._passing is not None:
            self._passing.removed()

    def barred(self, entry: Subscription) -> None:
        """A rule forbids a subscription from now on (rows w-33 and p-38)."""
        if self._presence is not None:
            self._presence.blocked(address_of(entry.watcher), address_of(entry.presentity))

    def _forms(self) -> bool:
        return self._router.config.xmpp.original_form

    def _reached(self, outside: str, name: str) -> bool:
        """Whether who answers for a domain can be reached; of another operator's, as nobody doubts it.

        Nobody can be while we are out of service: he is asked what is so when we are back.
        """
        if self._plain.hushed:
            return False
        route = self._hub.switch.routes.get(name.encode())
        if route is None:
            may = self._hub.switch.ways.may_stream(name.encode())
            return may and not self._router.liveness.doubts(name.encode())
        pool = self.pool_of(name)
        return bool(route.ports) if pool is None else pool.is_there(outside, name)

    def _take(self, session: StreamLink, got: StanzaIn, tree: Element) -> bytes | Outcome:
        return self._without() if self._presence is None else self._presence.take(session, got, tree)

    def _over(self, session: StreamLink, user: Address, size: int, rated: bool) -> Outcome | None:
        hub = self._hub
        over = hub.switch.over(session.way, user.key, user.domain.wire, size, hub.now(), rated=rated)
        if over is None:
            return None
        limit, wait_s, _ = over
        return failure(limit.reason, retry_after_s=ceil(wait_s), note=limit.word)

    def answers_cost(self, session: StreamLink, user: Address, size: int) -> Outcome | None:
        """Why a stanza that is answered at its own stream is not, now (`ClientSettings.over`)."""
        return self._over(session, user, size, True)

    def refused(self, told: Told, outcome: Outcome) -> None:
        """A stanza could not become a request at all: told to who traces its domains."""
        self._router.steps.stanza_refused(told, outcome, self._router.new_id())

    def _request(self, record: Record) -> Outcome:
        return self._without("service") if self._presence is None else self._presence.request(record)

    def _without(self, role: str = "router") -> Outcome:
        if self._presence_off:
            return failure(Reason.TYPE_NOT_ENABLED, role=role, note=SEVERAL_PROCESSES)
        return failure(Reason.STATE_UNAVAILABLE, role=role)

    def _pair(self, from_: str, to: str) -> bool:
        return self._presence is not None and self._presence.pair(from_, to)

    def _shown(self, watcher: Address, presentity: Address, resource: str) -> bool:
        return self._presence is not None and self._presence.watchers.shown(watcher, presentity, resource)

    def _state(self, watcher: Address, presentity: Address) -> Presence | None:
        return None if self._presence is None else self._presence.presentities.state_for(watcher, presentity)

    def _wrote(self, from_: Address, to: Address) -> None:
        if self._presence is not None:
            self._presence.wrote(from_, to)

    def _seen(self, got: StanzaIn) -> Seen | None:
        return None if self._passing is None else self._passing.came(got)

    def _passed(self, seen: Seen, outcome: Outcome) -> None:
        if self._passing is not None:
            self._passing.passed(seen, outcome)

    def _new_stream(self, own: Domain | None, peer: Domain) -> Link:
        return self._opened(own.name if own is not None else "", peer.name, Purpose.DATA)

    def _second(self, own: str, peer: str) -> Link:
        return self._opened(own, peer, Purpose.VERIFY)

    def _opened(self, own: str, peer: str, purpose: Purpose) -> XmppSession:
        return XmppSession(self._hub, StreamRole.S2S_OUT, self.parts, purpose=purpose, own=own, other=peer)

    def _outside(self, later: Callable[..., object]) -> Outside:
        router, hub = self._router, self._hub
        return Outside(
            submit=router.inside.submit,
            has_room=lambda: router.inside.room > 0,
            inject=hub.inject,
            entries=hub.switch.ledger.entries,
            ports=hub.switch.ports,
            later=later,
            now=hub.now,
            clock=lambda: datetime.now(UTC),
            random_bytes=RandomIds(),
            dropped=router.metrics.xmpp.dropped,
            refused=self.refused,
        )

    def _known(self) -> Known:
        routes = self._hub.switch.routes
        xmpp, imx, stanza = Protocol.XMPP, Protocol.IMX, RecordType.STANZA.value

        def spoken(name: str) -> Protocol:
            route = routes.get(name.encode())
            if route is not None:
                return xmpp if stanza in route.types else imx
            return self.edge.spoken(name)

        return Known(
            spoken,
            lambda name: name.encode() in routes,
            lambda own, name: _takes(self._taken(own, name)),
            lambda own, name: self._taken(own, name).foreign,
            lambda name: self._takers.refused(Domain(name)),
            forms=lambda _domain: self._forms(),
            pair=self._pair,
            presence=self._take,
            shown=self._shown,
            state=self._state,
            operations=self._request,
            wrote=self._wrote,
            seen=self._seen,
            passed=self._passed,
        )

    def _taken(self, own: str, name: str) -> Taken:
        """What a domain takes: one of ours as it is configured, another one as it tells."""
        record = self._router.domains.get(_domain(name))
        if record is not None:
            return _taken_here(record.types, record.content_types)
        if self._router.domains.get(Domain(own)) is None:
            return UNKNOWN
        return self._takers.of(Domain(own), Domain(name))


def _pair_settings(config: Config) -> tuple[WatcherSettings, PresentitySettings]:
    xmpp = config.xmpp
    return WatcherSettings(idle_days=xmpp.idle_days), PresentitySettings(
        coalesce_s=xmpp.coalesce_s, denied_s=float(xmpp.denied_s), dormant_days=xmpp.dormant_days
    )


# Asked for each read of a stream: remembered, as making these values takes longer than all that is asked.

_domain: Final = lru_cache(maxsize=4096)(Domain)


@lru_cache(maxsize=256)
def _taken_here(types: frozenset[int], content_types: tuple[str, ...]) -> Taken:
    return Taken(RecordType.FOREIGN in types, "text/html-lite" in content_types)


@lru_cache(maxsize=256)
def _takes(taken: Taken) -> Takes:
    return Takes(max_bytes=taken.max_bytes, html=taken.html)
