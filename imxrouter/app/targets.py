"""Dialling as the parts of `transport` want it, on top of the connector: policy, pins, limits, metrics."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from imxrouter.app.gatekeeper import Gatekeeper
from imxrouter.app.settings import connect_limits
from imxrouter.config.sections import Dial, Dns
from imxrouter.discovery.finder import Finder, Found
from imxrouter.discovery.guard import DialGuard
from imxrouter.discovery.records import Target
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.routing.dialling import Permit
from imxrouter.telemetry.catalogue import DIAL_RESULTS
from imxrouter.telemetry.metrics import Metrics
from imxrouter.transport.connector import Connected, ConnectFailed, Connector, DialTerms
from imxrouter.transport.dialing import DialFailed, Dialled, Endpoint
from imxrouter.transport.hub import Hub
from imxrouter.transport.opening import OpenedSocket, TcpOpener
from imxrouter.transport.session import LinkSession, Purpose
from imxrouter.transport.verify_room import VerifyRoom

T = TypeVar("T")


class TargetDialer:
    """Implements `transport.dialing.Dialer`.

    Args:
        reactor: opens sockets.
        hub: where connections go.
        finder: looks up.
        guard: addresses that are not dialled.
        gatekeeper: policies, and the limits of dialling at a stranger's word.
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
        pinned: Mapping[str, tuple[Endpoint, ...]],
        tables: tuple[Dial, Dns],
        metrics: Metrics,
    ) -> None:
        self._hub = hub
        self._finder = finder
        self._gatekeeper = gatekeeper
        self._pinned = pinned
        self._metrics = metrics
        self._opener = TcpOpener(reactor)
        limits = connect_limits(*tables)
        self._connector = Connector(reactor, finder, guard, self._opener, random.SystemRandom(), limits)
        self.room = VerifyRoom(hub)
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
        make: Callable[[], LinkSession],
        *,
        reuse: Callable[[Endpoint], LinkSession | None],
        skip: AbstractSet[Endpoint] = frozenset(),
        permit: Permit | None = None,
    ) -> Deferred[Dialled]:
        """Look up, choose, connect. See `transport.dialing.Dialer`."""
        decision = self._gatekeeper.decide(domain)
        if not decision.accepted:
            return fail(DialFailed(decision.reason, f"{decision.note}; this link would be in clear"))
        terms = DialTerms(
            strangers_word=permit is not None,
            filter_target=_usable,
            pins=self._pinned.get(domain.name, ()),
            skip=skip,
            reuse=reuse,
            admit_target=self._admit_target(permit),
            failed_connect=self._failed_connect,
        )
        if permit is None:
            return self._connect(domain, make, terms)

        def make_second() -> LinkSession:
            session = make()
            session.asked_by = permit.source.prefix
            return session

        def ended(result: T) -> T:
            self.room.opened(permit)
            return result

        return self._connect(domain, make_second, terms).addBoth(ended)

    def _connect(
        self, domain: Domain, make: Callable[[], LinkSession], terms: DialTerms
    ) -> Deferred[Dialled]:
        connecting = self._connector.connect(domain, make, terms, self._step)
        return connecting.addCallbacks(self._connected, self._not_connected)

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
        return Dialled(connected.protocol, (connected.ip, connected.port), connected.reused)

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

    def reconnect(self, domain: Domain, host: str, port: int) -> Deferred[LinkSession]:
        """Open a link for a domain to that one target, marked as redirected."""

        def only(target: Target) -> Reason | None:
            wanted = (target.host.rstrip("."), target.port) == (host, port)
            return _usable(target) if wanted else Reason.ADDRESS_REFUSED

        def make() -> LinkSession:
            return LinkSession(self._hub, Purpose.DATA, redirected=True)

        dialled = self._connect(domain, make, DialTerms(filter_target=only))
        return dialled.addCallback(lambda one: one.session)

    def to_sibling(self, domain: Domain, place: tuple[str, int]) -> Deferred[LinkSession]:
        """Open a link to another host of a domain of ours, one that its DNS lists."""

        def only(target: Target) -> Reason | None:
            wanted = (target.host.rstrip("."), target.port) == place
            return _usable(target) if wanted else Reason.ADDRESS_REFUSED

        def make() -> LinkSession:
            return LinkSession(self._hub, Purpose.SIBLING)

        dialled = self._connect(domain, make, DialTerms(filter_target=only))
        return dialled.addCallback(lambda one: one.session)

    def open(self, session: LinkSession, endpoint: Endpoint) -> Deferred[object]:
        """Connect a session to a configured address."""

        def attach(socket: OpenedSocket) -> None:
            socket.attach(session)

        return self._opener(*endpoint).addCallback(attach)


def _was_dialled(error: ConnectFailed) -> bool:
    """Whether any address was dialled, by the reason that came of it."""
    if error.reason is Reason.CONNECT_TIMEOUT:
        return True
    return bool(error.attempts) and (error.reason.word,) in DIAL_RESULTS


def _usable(target: Target) -> Reason | None:
    """This version opens links in clear: a record that says TLS is required is not weakened."""
    return Reason.WEAKER_THAN_POLICY if target.tls == "required" else None
