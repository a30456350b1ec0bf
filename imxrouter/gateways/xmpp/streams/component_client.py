"""We are the component of an operator's server (XEP-0114), once for each outside domain that is listed.

The server takes us for such a domain: what its users write there comes to us on the domain's stream, and what
comes for them from there goes to it. One more name may be a gateway (`gateway`): domains that are not listed
go by its stream, under addresses there. Each stream is kept: when it ends it is opened again, after a wait
that grows and is random, so that a server that begins again is not met by all of them in one moment.

It is the second way to a service of XMPP beside the inside (`inside`): both share the pool of the service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.names import COMPONENT
from imxrouter.gateways.xmpp.stanza import read_stanza, rescoped
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.apart import Apart
from imxrouter.gateways.xmpp.streams.component_edge import ComponentEdge
from imxrouter.gateways.xmpp.streams.gateway import Reach, ServiceGateway
from imxrouter.gateways.xmpp.streams.inside import CONNECT_S
from imxrouter.gateways.xmpp.streams.no_claims import NoClaims
from imxrouter.gateways.xmpp.streams.parts import StreamLink, StreamParts
from imxrouter.gateways.xmpp.streams.pool import ServicePool
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.streams.told import Told, told_of
from imxrouter.gateways.xmpp.terms import Confirm, StreamSettings, StreamTerms, TlsRule
from imxrouter.model.address import Address
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.peer import Anchors
from imxrouter.transport.encryption import HandshakeFailed
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Purpose
from imxrouter.transport.opening import Endpoint, OpenedSocket, reason_of

#: The wait before a server is tried again: first, and at most.
RETRY_S: Final = (1.0, 60.0)
#: Part of each wait that is random.
JITTER: Final = 0.5
#: Where the next try is due sooner, what comes meanwhile waits for it.
SOON_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Place:
    """A server of ours that takes components.

    Attributes:
        service: whose server it is.
        address: where.
        secret: what it asks for.
        domains: the outside domains that we stand for there (A-labels).
        server_name: the domain that its certificate must name, in TLS from the first byte; empty: in clear.
        anchors: whom to trust for that; None: as for everybody.
        gateway: the name at which addresses stand for those elsewhere (A-labels); empty: there is none.
        reaches: which domains those may be of, as `Pattern.where`; none: all outside.
    """

    service: str
    address: Endpoint
    secret: bytes
    domains: tuple[str, ...]
    gateway: str = ""
    reaches: frozenset[bytes] = frozenset()
    server_name: str = ""
    anchors: Anchors | None = field(default=None, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """All that we are a component of there."""
        return (*self.domains, self.gateway) if self.gateway else self.domains

    @property
    def way(self) -> object:
        """What the streams there began with; the secret was asked for once."""
        by_gateway = (self.gateway, self.reaches, self.domains) if self.gateway else None
        return self.address, self.server_name, by_gateway


#: Opens a connection to a server; cancelling the Deferred gives up. It may fail with `HandshakeFailed`.
OpenPlace = Callable[[Place], Deferred[OpenedSocket]]


@dataclass(eq=False, slots=True)
class _Kept:
    """The stream of one outside domain, or of a gateway.

    Attributes:
        session: it, or the connection on the way.
        attached: the server has taken the secret.
        call: the next try.
        due_at: when it is.
        why: why the last one ended.
    """

    place: Place
    domain: str
    session: XmppSession | None = None
    attached: bool = False
    call: Any = None
    due_at: float = 0.0
    wait_s: float = RETRY_S[0]
    why: tuple[Reason, str] = (Reason.SERVICE_DOWN, "not attached yet")


def _in_brackets(note: str) -> str:
    return f" ({note})" if note else ""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What all streams are held to, asked when one begins.

    Attributes:
        own_domains: the domains of a service, sorted.
        confirm: how it is known that a stanza arrived at one of them.
        settings: times and bounds.
        refused: told of each stanza that goes no further than its stream, and why.
        over: (by which stream, user, bytes): why a stanza of his is not even answered as he asks now; None
            where it is, and it is counted.
    """

    own_domains: Callable[[str], Sequence[str]]
    confirm: Callable[[str], Confirm]
    settings: Callable[[], StreamSettings]
    refused: Callable[[Told, Outcome], None] = lambda *_: None
    over: Callable[[StreamLink, Address, int], Outcome | None] = lambda *_: None


class ComponentClients(NoClaims, Apart):
    """All our attachments: the centre of their streams, their `Trust`, and the `Opener` of their pools.

    Args:
        hub: the centre of the process.
        places: servers of ours; see `change`.
        open_place: opens a connection.
        later: calls a function after seconds.
        chance: gives a random number in [0, 1).
        settings: what streams are held to.

    Attributes:
        parts: what the streams share, with the process's own edge; set before the first one.
        places: those of the moment.
    """

    what = "component stream"

    def __init__(
        self,
        hub: Hub,
        places: Iterable[Place],
        open_place: OpenPlace,
        later: Callable[[float, Callable[[], object]], Any],
        chance: Callable[[], float],
        settings: ClientSettings,
    ) -> None:
        super().__init__(hub)
        self._open_place, self._later, self._chance = open_place, later, chance
        self._settings = settings
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._gateways: dict[str, ServiceGateway] = {}
        self._begun = self._ended = False
        self.parts: StreamParts
        self.places: list[Place] = []
        self.change(places)

    # -- life --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Attach wherever that is not done or due, at random moments within the first wait."""
        self._begun = True
        for kept in self._kept.values():
            if kept.call is None:
                self._in(kept, self._chance() * RETRY_S[0])

    def end(self) -> None:
        """The router stops."""
        self._ended = True
        for kept in self._kept.values():
            if kept.call is not None and kept.call.active():
                kept.call.cancel()
        for session in list(self._sessions.values()):
            session.end(Reason.SHUTTING_DOWN)

    def change(self, places: Iterable[Place]) -> None:
        """Be a component at these servers alone.

        A stream of a name that is listed no more ends in order, and so does one whose server is elsewhere, or
        whose gateway is another, for which a new one is opened. Where the secret alone is another the stream
        stays; the next one proves itself by it.
        """
        before, self.places = {one.service: one.way for one in self.places}, list(places)
        wanted = {(one.service, name): one for one in self.places for name in one.names}
        for key in self._others(wanted):
            self._let_go(self._kept.pop(key))
        for service in {*self._gateways, *(one.service for one in self.places)}:
            place = next((one for one in self.places if one.service == service and one.gateway), None)
            if place is None:
                self._gateways.pop(service, None)
            elif service not in self._gateways or before.get(service) != place.way:
                reach = Reach(self._is_gateway, place.domains, partial(self._serves, service), place.reaches)
                self._gateways[service] = ServiceGateway(place.gateway, reach)
        for key, place in wanted.items():
            kept = self._kept.get(key)
            if kept is not None:
                kept.place = place
                continue
            kept = self._kept[key] = _Kept(place, key[1])
            if self._begun:
                self._in(kept, self._chance() * RETRY_S[0])

    def concerned(self, places: Iterable[Place]) -> list[XmppSession]:
        """Streams that end where these are the servers."""
        wanted = {(one.service, name): one for one in places for name in one.names}
        ends = [self._kept[key].session for key in self._others(wanted)]
        return [one for one in ends if one is not None and one.number in self._sessions]

    def unattached(self, service: str) -> list[str]:
        """Names that we are to be a component of at a service's server and are not, each with why."""
        return [
            f"{kept.domain}: {kept.why[0].word}{_in_brackets(kept.why[1])}"
            for kept in self._kept.values()
            if kept.place.service == service and not kept.attached
        ]

    def _others(self, wanted: Mapping[tuple[str, str], Place]) -> list[tuple[str, str]]:
        """Names that we are a component of no more, or elsewhere."""
        return [
            key for key, kept in self._kept.items() if key not in wanted or wanted[key].way != kept.place.way
        ]

    def _let_go(self, kept: _Kept) -> None:
        if kept.call is not None and kept.call.active():
            kept.call.cancel()
        session = kept.session
        if session is None or session.number not in self._sessions:
            return  # a connection on the way is cut when it is there
        self.retire(session)
        if not kept.attached:
            session.abort(Reason.IDLE, "we are no component there any more")
        self.end_retired(self.now())

    def _is_current(self, kept: _Kept) -> bool:
        return self._kept.get((kept.place.service, kept.domain)) is kept

    def tick(self, now: float) -> None:
        """Look at the timers of all streams; about once a second."""
        self.end_retired(now)
        for session in list(self._sessions.values()):
            session.tick(now)
            session.settle()

    def _in(self, kept: _Kept, wait_s: float) -> None:
        kept.due_at = self.now() + wait_s
        kept.call = self._later(wait_s, lambda: self._dial(kept))

    def _again(self, kept: _Kept, reason: Reason, note: str) -> None:
        """Nothing came of it, or it is over: after a wait once more."""
        kept.session, kept.attached, kept.why = None, False, (reason, note)
        kept.call = None
        if self._ended or self.leaves or not self._is_current(kept):
            return
        if self.pools[kept.place.service].leaves:
            return
        wait_s = kept.wait_s * (1 - JITTER * self._chance())
        kept.wait_s = min(kept.wait_s * 2, RETRY_S[1])
        self.log.warn(
            "{domain} is not attached at service {service} ({address}): {reason}{words}; "
            "next try in {wait:.1f} s",
            domain=kept.domain, service=kept.place.service, address="{}:{}".format(*kept.place.address),
            reason=reason.word, stage=reason.stage.value, note=note, wait=wait_s,
            words=_in_brackets(note),
        )  # fmt: skip
        self._in(kept, wait_s)

    def _dial(self, kept: _Kept) -> None:
        if self._hub.closing:
            self._in(kept, RETRY_S[0])
            return
        own = self._settings.own_domains(kept.place.service)
        pool = self.pools[kept.place.service]
        shared, gateway = self.parts, self._gateways.get(kept.place.service)
        parts = replace(shared, edge=ComponentEdge(self, pool, shared.edge, gateway, shared.pings))
        session = kept.session = XmppSession(
            self,
            StreamRole.COMPONENT_OUT,
            parts,
            purpose=Purpose.DATA,
            own=kept.domain,
            other=own[0] if own else "",
        )
        session.service, session.way = kept.place.service, pool.port
        if session.negotiated is not None:
            session.negotiated.addErrback(lambda _failed: None)  # told by `gone`
        opening = self._open_place(kept.place)
        timer = self._later(CONNECT_S, opening.cancel)

        def there(socket: OpenedSocket) -> None:
            if timer.active():
                timer.cancel()
            if self._ended or self.leaves or pool.leaves or not self._is_current(kept):
                socket.close()
                self._again(kept, Reason.SHUTTING_DOWN, "it goes out of service")
            else:
                socket.attach(session)

        def refused(failed: Failure) -> None:
            if timer.active():
                timer.cancel()
            error = failed.value
            if isinstance(error, HandshakeFailed):
                self._again(kept, error.reason, error.note)
            else:
                self._again(kept, reason_of(error), "nobody takes components there")
            if self._is_current(kept):
                self._answer(kept)

        opening.addCallbacks(there, refused)

    def terms(self, session: StreamLink) -> StreamTerms:
        """What a stream of ours is held to."""
        return StreamTerms(
            tls=TlsRule.NONE,  # XEP-0114 has none
            secret=lambda name: self._kept[session.service, name].place.secret,
            bidi=False,
            sm=False,
            confirm=self._settings.confirm(session.other) if session.other else Confirm.PING,
            settings=self._settings.settings(),
        )

    def is_ours(self, session: StreamLink, name: str) -> bool:
        """Whether a name is one of ours at a server, or was a moment ago and its stream is still there.

        ejabberd sends what is for any component of a listener on the stream of any of them.
        """
        if (session.service, name) in self._kept:
            return True
        return any(one.own == name and one.service == session.service for one in self._sessions.values())

    def _kept_of(self, session: StreamLink) -> _Kept | None:
        kept = self._kept.get((session.service, session.own))
        return kept if kept is not None and kept.session is session else None

    # -- ways (`pool.Opener`) ------------------------------------------------------------------------------

    def reaches(self, service: str, outside: str) -> bool:
        """Whether an outside domain is listed for a service, or goes by its gateway."""
        return self._way(service, outside) is not None

    def _way(self, service: str, outside: str) -> _Kept | None:
        """By which stream an outside domain goes to a service."""
        gateway, kept = self._gateways.get(service), self._kept.get((service, outside))
        if gateway is None or (kept is not None and outside != gateway.name):
            return kept
        return None if gateway.reach.against(outside) is not None else self._kept[service, gateway.name]

    def _is_gateway(self, domain: str) -> bool:
        return any(one.gateway == domain for one in self.places)

    def _serves(self, service: str, domain: str) -> bool:
        """Whether a domain is one of a service."""
        return domain.encode("ascii") in self.pools[service].port.sources

    def open(self, pool: ServicePool, outside: str, served: str) -> None:
        """A pair goes by the outside domain's stream; where that is not there, but soon, it waits."""
        kept = self._way(pool.name, outside)
        if kept is None:
            pool.failed((outside, served), Reason.RELAY_DENIED, "no component is there for it")
        elif kept.attached and kept.session is not None:
            pool.ready((outside, served), kept.session)
        elif kept.session is None and kept.due_at - self.now() > SOON_S:
            pool.failed((outside, served), *kept.why)

    def _answer(self, kept: _Kept) -> None:
        """What waits for a stream that does not come soon has waited in vain."""
        if kept.due_at - self.now() > SOON_S:
            self.pools[kept.place.service].in_vain(partial(self._goes_by, kept), *kept.why)

    def _goes_by(self, kept: _Kept, outside: str) -> bool:
        return self._way(kept.place.service, outside) is kept

    # -- who is who (`parts.Trust`) ------------------------------------------------------------------------

    def attached(self, session: StreamLink, name: str) -> None:
        """The server has taken us for a domain."""
        kept = self._kept_of(session)
        if kept is None:
            return
        kept.attached, kept.wait_s = True, RETRY_S[0]
        self.log.info(
            "{domain} is attached at service {service} on link {link}", domain=name,
            service=kept.place.service, link=session.number,
        )  # fmt: skip
        self.pools[kept.place.service].came(partial(self._goes_by, kept), session)

    def gone(self, session: XmppSession, pool: ServicePool | None) -> None:
        """One of them is gone: it is opened again."""
        del pool
        kept = self._kept_of(session)
        if kept is not None:
            self._again(kept, session.drop_reason, session.drop_note)
            self._answer(kept)

    def is_own(self, session: StreamLink, domain: str) -> bool:
        """Whether a domain is one of the service whose server brought it on a stream."""
        return domain.encode("ascii") in session.way.sources

    def refuse(self, session: StreamLink, got: StanzaIn, outcome: Outcome, more: str = "") -> None:
        """A stanza goes no further: its sender is told on the same stream, which goes on.

        Args:
            session: that brought it.
            got: the same.
            outcome: why.
            more: words for him.
        """
        told = told_of(got.stanza, got.to, got.from_)
        if told is None:
            return
        self._settings.refused(told, outcome)
        raw = told.error(outcome, more)
        self.say(session, [raw] if raw is not None else [])

    def over(self, session: StreamLink, user: Address, size: int) -> Outcome | None:
        """See `ClientSettings`."""
        return self._settings.over(session, user, size)

    def say(self, session: StreamLink, stanzas: Sequence[bytes]) -> None:
        """Say something ourselves on a stream of ours."""
        said = [rescoped(read_stanza(raw), COMPONENT) for raw in stanzas]
        if said:
            effects = session.machine.stanzas(said, [None] * len(said), self.now())
            cast("XmppSession", session).perform(effects)
