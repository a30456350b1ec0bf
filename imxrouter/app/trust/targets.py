"""Dialling as the parts of `transport` want it, on top of the connector: policy, pins, limits, metrics."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from imxrouter.app.settings import connect_limits
from imxrouter.app.trust.gatekeeper import Gatekeeper
from imxrouter.config.sections import Dial, Dns
from imxrouter.discovery.finder import Finder, Found
from imxrouter.discovery.guard import DialGuard
from imxrouter.discovery.records import Target
from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.routing.choice import Uri
from imxrouter.routing.dialling import Permit
from imxrouter.routing.policy import Level
from imxrouter.telemetry.catalogue import DIAL_RESULTS
from imxrouter.telemetry.metrics import Metrics
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.connector import Connected, ConnectFailed, Connector
from imxrouter.transport.dial_terms import DialTerms, Encrypt
from imxrouter.transport.dialing import DialFailed, Dialled, Endpoint, Reuse
from imxrouter.transport.encryption import EncryptedSocket, HandshakeFailed, TlsMaker, open_tls
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link, Purpose
from imxrouter.transport.opening import OpenedSocket, TcpOpener
from imxrouter.transport.opening_turns import OpeningTurns
from imxrouter.transport.session import LinkSession
from imxrouter.transport.strengths import Strengths
from imxrouter.transport.verify_room import VerifyRoom
from imxrouter.transport.wanted import Wanted

T = TypeVar("T")


class TargetDialer:
    """Implements `transport.dialing.Dialer`.

    Args:
        reactor: opens sockets.
        hub: where connections go.
        finder: looks up.
        guard: addresses that are not dialled.
        gatekeeper: the limits of dialling at a stranger's word.
        strengths: decides what a link is worth.
        pinned: endpoints of pinned domains, by name.
        tables: the [dial] and [dns] tables.
        metrics: counts dials.
    """

    def __init__(
        self,
        reactor: Any,
        hub: Hub,
        finder: Finder,
        guard: DialGuard,
        gatekeeper: Gatekeeper,
        strengths: Strengths,
        pinned: Mapping[str, tuple[Endpoint, ...]],
        tables: tuple[Dial, Dns],
        metrics: Metrics,
    ) -> None:
        self._hub = hub
        self._finder = finder
        self._reactor = reactor
        self._gatekeeper = gatekeeper
        self._strengths = strengths
        #: makes our ends of TLS connections; None: there is no TLS
        self.maker: TlsMaker | None = None
        self._pinned = pinned
        self._metrics = metrics
        self._opener = TcpOpener(reactor)
        limits = connect_limits(*tables)
        self._connector = Connector(reactor, finder, guard, self._opener, random.SystemRandom(), limits)
        self.room = VerifyRoom(hub)
        self.turns = OpeningTurns(hub)
        self._waking = False
        #: told (domain, stage, sentence, reason's word or "") of each step; for screens and logs
        self.on_step: Callable[[Domain, Stage, str, str], None] = lambda *_: None

    @property
    def guard(self) -> DialGuard:
        """Judges the addresses that this router dials."""
        return self._connector.guard

    def change(self, guard: DialGuard, tables: tuple[Dial, Dns]) -> None:
        """Dial by other rules; connections under way go on as they began."""
        self._connector.guard, self._connector.limits = guard, connect_limits(*tables)

    @property
    def opener(self) -> TcpOpener:
        """Opens sockets as this router does."""
        return self._opener

    def dial(
        self,
        domain: Domain,
        make: Callable[[], Link],
        *,
        reuse: Reuse,
        skip: AbstractSet[Endpoint] = frozenset(),
        permit: Permit | None = None,
        own: Domain | None = None,
        need: int = 0,
        first: Link | None = None,
        presence: bool = False,
    ) -> Deferred[Dialled]:
        """Look up, choose, connect. See `transport.dialing.Dialer`."""
        wanted = Wanted(self._strengths, domain, own, need, first)
        decision = wanted.best()
        if not decision.accepted:
            without = "" if self._strengths.tls else "; no TLS is configured here: see tls.certificates"
            return fail(DialFailed(decision.reason, f"{decision.note}{without}"))
        terms = DialTerms(
            purpose="pres" if presence else "im",
            filter_target=wanted.filter,
            encrypt=self._encrypt(wanted),
            promised=self._strengths.tls,
            identify=wanted.identify,
            pins=self._pinned.get(domain.name, ()),
            skip=skip,
            reuse=wanted.fitting(reuse),
        )
        return self.reach(domain, make, terms, permit, first)

    def reach(
        self,
        domain: Domain,
        make: Callable[[], Link],
        terms: DialTerms,
        permit: Permit | None,
        first: Link | None,
    ) -> Deferred[Dialled]:
        """Connect within the limits that hold for all protocols: turns, and those of a stranger's word.

        Args:
            domain: to whom.
            make: makes the protocol of a new connection.
            terms: what else is asked of it.
            permit: leave to dial at a stranger's word; None for our own traffic.
            first: the link whose claim is to be verified.

        Raises (as failure):
            DialFailed: with the most telling reason.
        """
        terms = replace(
            terms, strangers_word=permit is not None, admit_target=self._admit_target(permit),
            failed_connect=self._failed_connect,
        )  # fmt: skip
        if permit is None:
            return self._connect(domain, make, replace(terms, turn=partial(self._turn, b"")))

        def make_second() -> Link:
            session = make()
            session.asked_by = permit.source.prefix
            return session

        def ended(result: T) -> T:
            self.room.opened(permit)
            return result

        def dial_second() -> Deferred[Dialled]:
            turn = partial(self._turn, permit.source.prefix)
            return self._connect(domain, make_second, replace(terms, turn=turn)).addBoth(ended)

        def patient() -> bool:
            if first is None or first.port.closed or not first.port.sources:
                return False
            return first.received.verifies(domain.wire)

        return self.room.dial(permit, dial_second, patient)

    def _turn(self, network: bytes, endpoints: Sequence[Endpoint]) -> Deferred[Callable[[], None]]:
        key = (endpoints[0], network)
        return self.turns.wait(key).addCallback(lambda _: partial(self.turns.done, key))

    def refused(self, session: Link) -> None:
        """A host had no room for a link of ours: until it said, nobody dials it."""
        if session.has_room_in_s:
            self.turns.rest(session.remote, session.has_room_in_s)

    def wake(self) -> None:
        """A claim was settled, or a link has ended: there may be room for what waits."""
        if not self._waking and (self.turns.waiting or self.room.waiting):
            self._waking = True
            self._reactor.callLater(0, self._wake)

    def _wake(self) -> None:
        self._waking = False
        self.turns.wake()
        self.room.wake()

    def _connect(self, domain: Domain, make: Callable[[], Link], terms: DialTerms) -> Deferred[Dialled]:
        protocol = cast("Callable[[], IProtocol]", make)
        connecting = self._connector.connect(domain, protocol, terms, self._step)
        return connecting.addCallbacks(self._connected, self._not_connected)

    def _encrypt(self, wanted: Wanted) -> Callable[[Target], Encrypt | None]:
        def choose(target: Target) -> Encrypt | None:
            if not wanted.in_tls(target):
                return None
            return partial(self._handshake, wanted, wanted.server_name(target))

        return choose

    def _handshake(
        self, wanted: Wanted, name: str, socket: OpenedSocket, limit_s: float
    ) -> Deferred[EncryptedSocket]:
        if self.maker is None:
            raise LocalMisuse("TLS is asked for and not configured")
        make = partial(self.maker.opening, wanted.own, name, socket.remote)
        forget = partial(_forget, self.maker, name, socket.remote)
        return open_tls(self._reactor, socket, make, self.maker.facts, limit_s, forget)

    def _admit_target(self, permit: Permit | None) -> Callable[[str, int], Reason | None]:
        def admit(ip: str, port: int) -> Reason | None:
            if permit is None:
                return None
            if not self.room.take(permit):
                return Reason.DIAL_LIMIT
            refused = self._gatekeeper.dialling.admit_target(permit, ip, self._hub.now(), port=port)
            return None if refused is None else refused.reason

        return admit

    def _failed_connect(self, ip: str, port: int, reason: Reason) -> None:
        self._gatekeeper.dialling.failed_connect(ip, port, self._hub.now(), reason)

    def _connected(self, connected: Connected) -> Dialled:
        if not connected.reused:
            self._metrics.dials.inc("connected")
        only = Uri(connected.found.only) if connected.found is not None and connected.found.only else None
        return Dialled(connected.protocol, (connected.ip, connected.port), connected.reused, only)

    def _not_connected(self, problem: Failure) -> Dialled:
        error = problem.value
        if not isinstance(error, ConnectFailed):
            problem.raiseException()
        if _was_dialled(error):
            self._metrics.dials.inc(error.reason.word)
        raise DialFailed(error.reason, error.note, exhausted=error.exhausted)

    def _step(self, stage: Stage, text: str, fields: Mapping[str, object]) -> None:
        self.on_step(Domain(str(fields["domain"])), stage, text, str(fields.get("reason", "")))

    # -- redirects and uplinks ---------------------------------------------------------------------------

    def lists(self, domain: Domain, host: str, port: int) -> Deferred[bool]:
        """Whether the domain's own DNS answer of this moment lists the target."""

        def judge(found: Found) -> bool:
            return any((target.host.rstrip("."), target.port) == (host, port) for target in found.targets)

        return self._finder.find(domain, fresh=True).addCallback(judge)

    def reconnect(self, domain: Domain, host: str, port: int, old: Link, listed: bool) -> Deferred[Link]:
        """Open a link for a domain to that one target, marked as redirected, worth no less than the old one.

        Where the domain's DNS does not list it, its certificate must cover the domain.
        """
        need = self._strengths.reached(old.tls, domain).strength
        if not listed:
            need |= Level.CERTIFICATE
        own = next((one for one in old.made.claimed_domains() if old.presents(one)), None)
        wanted = Wanted(
            self._strengths, domain, Domain(own.decode("ascii")) if own is not None else None, need, None
        )

        def only(target: Target) -> Reason | None:
            matches = (target.host.rstrip("."), target.port) == (host, port)
            return wanted.filter(target) if matches else Reason.ADDRESS_REFUSED

        def make() -> Link:
            return LinkSession(self._hub, Purpose.DATA, redirected=True)

        terms = DialTerms(
            filter_target=only, only=None if listed else Target(host, port), encrypt=self._encrypt(wanted),
            identify=wanted.identify,
        )  # fmt: skip
        return self._connect(domain, make, terms).addCallback(lambda one: one.session)

    def to_sibling(self, domain: Domain, place: tuple[str, int]) -> Deferred[Link]:
        """Open a link to another host of a domain of ours, one that its DNS lists."""
        wanted = Wanted(self._strengths, domain, domain, 0, None)
        decision = wanted.best()
        if not decision.accepted:
            return fail(DialFailed(decision.reason, decision.note))

        def only(target: Target) -> Reason | None:
            matches = (target.host.rstrip("."), target.port) == place
            return wanted.filter(target) if matches else Reason.ADDRESS_REFUSED

        def make() -> Link:
            return LinkSession(self._hub, Purpose.SIBLING)

        terms = DialTerms(filter_target=only, encrypt=self._encrypt(wanted), identify=wanted.identify)
        return self._connect(domain, make, terms).addCallback(lambda one: one.session)

    def asks_certificate(self, domain: Domain) -> bool:
        """Whether a link to the domain must have a certificate that covers it."""
        return self._strengths.needs_certificate(domain)

    def open(
        self,
        session: Link,
        endpoint: Endpoint,
        server_name: str = "",
        own: Domain | None = None,
        judge: Callable[[TlsFacts], None] = lambda _facts: None,
    ) -> Deferred[object]:
        """Connect a session to a configured address.

        Args:
            session: gets the connection.
            endpoint: where to.
            server_name: for SNI; empty: in clear.
            own: the domain of ours whose certificate is presented, if it has one.
            judge: raises `HandshakeFailed` where the other side may not be spoken to.
        """

        def attach(socket: OpenedSocket) -> None:
            socket.attach(cast("IProtocol", session))

        def encrypt(socket: OpenedSocket) -> Deferred[EncryptedSocket]:
            if self.maker is None:
                raise LocalMisuse("TLS is asked for and not configured")
            make = partial(self.maker.opening, own, server_name, endpoint)
            limit_s = self._connector.limits.handshake_s
            forget = partial(_forget, self.maker, server_name, endpoint)
            return open_tls(self._reactor, socket, make, self.maker.facts, limit_s, forget)

        def judged(socket: EncryptedSocket) -> EncryptedSocket:
            try:
                judge(socket.facts)
            except HandshakeFailed:
                socket.refuse()
                raise
            return socket

        opening = self._opener(*endpoint)
        if server_name:
            return opening.addCallback(encrypt).addCallback(judged).addCallback(attach)
        return opening.addCallback(attach)


def _forget(maker: TlsMaker, server_name: str, endpoint: Endpoint, connection: SSL.Connection) -> None:
    maker.forget(connection, server_name, endpoint)


def _was_dialled(error: ConnectFailed) -> bool:
    """Whether any address was dialled, by the reason that came of it."""
    if error.reason is Reason.CONNECT_TIMEOUT:
        return True
    counted = (error.reason.word,) in DIAL_RESULTS
    return counted and any(one.ip and one.reason is error.reason for one in error.attempts)
