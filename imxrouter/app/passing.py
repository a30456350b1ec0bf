"""Presence that passes between XMPP servers, tied to the router's other parts (`streams.passing`)."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

from imxrouter.app.link_parts import LinkParts
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.again import PresenceAgain
from imxrouter.gateways.xmpp.streams.passing import PassingOutside, StreamPassing
from imxrouter.gateways.xmpp.streams.pool import IN_ORDER
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.subscriptions.passing import Way
from imxrouter.gateways.xmpp.subscriptions.probes import HasWay
from imxrouter.model.address import Address
from imxrouter.routing.choice import Protocol
from imxrouter.routing.interfaces import Store
from imxrouter.routing.overload import Level
from imxrouter.routing.rules import Right
from imxrouter.transport.silence import domains_of
from imxrouter.wire.registry import RecordType


def passing_of(
    router: LinkParts,
    store: Store,
    again: PresenceAgain,
    held: Callable[[str, str], bool],
    has_way: HasWay,
) -> StreamPassing:
    """Go on with what the store has, which is open.

    Args:
        router: the other parts.
        store: where pairs are kept.
        again: presence that is on its way.
        held: whether presence of two bare JIDs is translated, for their subscription began so.
        has_way: whether stanzas may come now, of a domain to another one.
    """
    hub, chosen = router.hub, router.federation.chosen

    def choose(name: str, told: Callable[[bool], None]) -> None:
        known = chosen.for_stanzas(name)
        if known is not None:
            told(known is Protocol.XMPP)
            return
        choosing = chosen.choose_for_stanzas(name)
        choosing.addCallbacks(lambda protocol: told(protocol is Protocol.XMPP), lambda _: told(True))

    def bars(watcher: Address, presentity: Address) -> bool:
        gate = hub.switch.gate
        if gate is None:
            return False
        asks = gate.judge(watcher.key, presentity.key, Right.FETCH)
        return bool(asks or gate.judge(presentity.key, watcher.key, None))

    def is_served(name: str) -> bool:
        route = hub.switch.routes.get(name.encode())
        return route is not None and RecordType.STANZA in route.types

    outside = PassingOutside(
        submit=router.inside.submit,
        has_room=lambda: router.inside.room > 0,
        is_calm=lambda: hub.switch.shed is Level.NOTHING,
        now=hub.now,
        wall=time.time,
        chance=random.SystemRandom().random,
        random_bytes=os.urandom,
        is_served=is_served,
        choose=choose,
        bars=bars,
        held=held,
        again=again,
        has_way=has_way,
    )
    return StreamPassing(outside, store)


def broke(session: XmppSession) -> bool:
    """Whether a stream that is gone ended otherwise than in order, so that stanzas may be lost with it."""
    return session.drop_reason not in IN_ORDER


def ways_by(session: XmppSession, passing: StreamPassing) -> list[Way]:
    """By which ways presence came on a stream."""
    if session.role in {StreamRole.COMPONENT_IN, StreamRole.COMPONENT_OUT}:
        speak = {one.decode() for one in (*domains_of(session), *session.way.speaks)}
        return [way for way in passing.pairs.ways() if way[0] in speak]
    return list(session.machine.pairs.coming())
