"""Routers that prove their domains to each other over streams in memory; everything that decides is real.

DNS is a table, TLS a pair of facts: who showed which names. What stands between bytes and decisions is not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from imxrouter.app.settings import cap_settings, connection_rates, dial_settings
from imxrouter.app.trust.gatekeeper import Gatekeeper
from imxrouter.config.schema import Config
from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.parts import StreamFailed, StreamLink
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.streams.tongue import XmppTongue
from imxrouter.gateways.xmpp.streams.trust import XMPP_KEY, StreamTrust
from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
from imxrouter.link.machine import Side
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import ConnectionCaps
from imxrouter.routing.choice import Protocol
from imxrouter.routing.dialling import DialLimits, Permit
from imxrouter.routing.policy import Policy, PolicyTable, RememberedStrength
from imxrouter.switch import slots
from imxrouter.tls.facts import TlsFacts
from imxrouter.tls.identity import Service
from imxrouter.transport.bus import MemoryExchange
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.dialing import DialFailed, Dialled, Endpoint, Reuse
from imxrouter.transport.handover import Handover
from imxrouter.transport.keyring import KeyRing
from imxrouter.transport.link import Link, Purpose
from imxrouter.transport.strengths import Judged, Strengths
from imxrouter.transport.verifier import Verifier
from tests.gateways.xmpp.streams.rig import Router, Wire, alone, joined


@dataclass(frozen=True)
class Shown:
    """A certificate: the names that are good in it."""

    names: frozenset[str]

    @property
    def fingerprint(self) -> bytes:
        """By what links are counted."""
        return " ".join(sorted(self.names)).encode()

    def covers(self, domain: Domain, service: Service = Service.IMX) -> bool:
        """As certificates of ours and of peers do."""
        del service
        return domain.name in self.names


def facts(theirs: AbstractSet[str], ours: AbstractSet[str]) -> TlsFacts:
    """TLS 1.3 in which both sides showed certificates; one without a name is none."""
    shown = [Shown(frozenset(names)) if names else None for names in (theirs, ours)]
    return TlsFacts("TLSv1.3", "", b"", "", False, bytes(32), cast("Any", shown[0]), cast("Any", shown[1]))


class World:
    """Everybody, and the connections between them.

    Attributes:
        dns: the hosts of each domain.
        dialled: (who, whom) of each connection that was opened to verify or to send.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.dns: dict[str, list[TrustingRouter]] = {}
        self.wires: list[Wire] = []
        self.dialled: list[tuple[str, str]] = []
        self._places = itertools.count(1)

    def router(self, domain: str, **options: Any) -> TrustingRouter:
        """A router, found by its domain's DNS."""
        made = TrustingRouter(self, domain, **options)
        self.dns.setdefault(domain, []).append(made)
        made.place = (f"192.0.2.{next(self._places)}", 5269)
        return made

    def connect(self, here: XmppSession, there: XmppSession, names: tuple[Any, Any] | None) -> None:
        """Join two sessions; with names in TLS, those of the opener's certificate first."""
        if names is not None:
            here.encrypted(facts(names[1], names[0]))
            there.encrypted(facts(names[0], names[1]))
        self.wires += joined(here, there)

    def settle(self) -> None:
        """Bring everything that is written, until nothing is."""
        for _ in range(200):
            brought = [one.bring() for one in list(self.wires)]
            self.clock.advance(0)
            if not any(brought):
                return
        raise AssertionError("they never come to rest")

    def pass_s(self, seconds: float) -> None:
        """Time passes, with all timers."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            for one in [one for hosts in self.dns.values() for one in hosts]:
                one.hub.tick()
            self.settle()


class TableDialer:
    """Opens streams to whom the world's DNS names, in order."""

    def __init__(self, router: TrustingRouter) -> None:
        self._router = router

    def dial(
        self, domain: Domain, make: Callable[[], Link], *, reuse: Reuse,
        skip: AbstractSet[Endpoint] = frozenset(), permit: Permit | None = None, own: Domain | None = None,
        need: int = 0, first: Link | None = None, presence: bool = False,
    ) -> Deferred[Dialled]:  # fmt: skip
        """As `Dialer.dial`."""
        del permit, own, need, first, presence
        world, router = self._router.world, self._router
        hosts = [one for one in world.dns.get(domain.name, []) if one.place not in skip]
        if not hosts:
            return fail(DialFailed(Reason.NO_SERVICE, "nobody is there", exhausted=True))
        host = hosts[0]
        open_before = reuse(host.place, lambda _link: True)
        if open_before is not None:
            return succeed(Dialled(open_before, host.place, reused=True))
        world.dialled.append((router.domain, domain.name))
        session = cast("XmppSession", make())
        session.reached.add(domain.wire)
        waits, done = session.negotiated, Deferred[Dialled]()
        assert waits is not None

        def failed(problem: Failure) -> None:
            assert isinstance(problem.value, StreamFailed)
            done.errback(DialFailed(problem.value.reason, problem.value.note))

        waits.addCallbacks(lambda _: done.callback(Dialled(session, host.place, reused=False)), failed)
        names = (router.names, host.names) if router.in_tls and host.in_tls else None
        accepted = host.accept()
        world.connect(session, accepted, names)
        session.remote = host.place
        router.hub.opened_links.add(as_link(session))
        return done


class TrustingRouter(Router):
    """One process; its claimer, verifier, policy and tongue are real.

    Attributes:
        names: those of its certificate, empty where it has none.
        in_tls: it speaks TLS wherever the other side does.
        place: where it listens.
    """

    def __init__(
        self, world: World, domain: str, *, policy: Policy = Policy.DIALBACK, names: set[str] | None = None,
        in_tls: bool = False, secret: bytes = b"", exchange: MemoryExchange | None = None,
        rules: dict[str, Policy] | None = None, bidi: bool = False, process: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(world.clock, domain)
        self.switch.routes[domain.encode()].level = 0
        self.world, self.in_tls, self._bidi = world, in_tls, bidi
        self.names = set() if names is None and not in_tls else names if names is not None else {domain}
        self.place: Endpoint = ("", 0)
        memory, now = RememberedStrength(), world.clock.seconds
        self.strengths = Strengths(
            PolicyTable(rules, policy), memory, now, lambda peer, name, *_: _judged(peer, name),
            protocol=Protocol.XMPP,
        )  # fmt: skip
        self.strengths.tls = in_tls
        config = Config(name="router.example")
        caps = ConnectionCaps(cap_settings(config))
        self.gatekeeper = Gatekeeper(
            Strengths(PolicyTable(), memory, now), caps, caps, connection_rates(config.caps),
            DialLimits(dial_settings(config.caps)), lambda _domain: (0.0, 10.0), now,
        )  # fmt: skip
        self.gatekeeper.by_protocol[Protocol.XMPP] = self.strengths
        self.keys = KeyRing([secret or domain.encode()])
        self.bus = (exchange or MemoryExchange(cast("Any", world.clock))).join(process)
        self.claimer = Claimer(self.hub, self.keys, self.bus, now, self.gatekeeper.terms)
        self.claimer.worth = lambda session, name: self.strengths.reached(session.tls, _domain(name))
        self.verifier = Verifier(self.hub, TableDialer(self), self.gatekeeper, self.claimer.tongue)
        self.verifier.dialers[Protocol.XMPP] = TableDialer(self)
        self.tongue = XmppTongue(self.keys, self._second, lambda then: world.clock.callLater(0, then))
        self.decides = StreamTrust(
            self.hub, self.claimer, self.verifier, self.tongue, self.keys, self.bus, self.strengths
        )
        self.handover = Handover(self.hub, self.bus, self.claimer)
        self.handover.asked[XMPP_KEY] = self.decides.key_asked
        self.hub.events += [self.claimer, self.verifier, self.decides]
        self.parts.trust, self.parts.tongue = self.decides, self.tongue
        self.terms = self._rules
        self.results: list[Reason] = []
        self.verifier.on_result = self.results.append
        self.steps: list[tuple[str, str]] = []
        for one in (self.claimer, self.verifier):
            one.on_step = lambda word, _session, _theirs, _ours, note: self.steps.append((word, note))

    def _rules(self, session: StreamLink) -> StreamTerms:
        """What a stream is held to: by its TLS, and by policy."""

        def external(name: str) -> bool:
            tls = session.tls
            if session.side is Side.OPENER:
                return tls is not None and tls.own is not None and tls.own.covers(Domain(name), Service.XMPP)
            proofs, domain = self.strengths.xmpp_proofs(Domain(name)), Domain(name)
            return proofs.external and self.strengths.judged(tls, domain, as_client=True).good

        return StreamTerms(
            tls=TlsRule.NONE,
            serves=lambda name: name.encode() in self.switch.routes,
            admits=lambda name: Condition.NOT_AUTHORIZED if name.encode() in self.switch.routes else None,
            external=external,
            dialback=lambda _name: True,
            bidi=self._bidi,
        )

    def _second(self, own: str, other: str) -> Link:
        made = XmppSession(
            self.hub, StreamRole.S2S_OUT, self.parts, purpose=Purpose.VERIFY, own=own, other=other
        )
        return cast("Link", made)

    # -- what tests do -----------------------------------------------------------------------------------

    def stream_to(self, other: TrustingRouter) -> tuple[XmppSession, XmppSession]:
        """Open a stream; both ends of it."""
        here, there = self.open(other.domain), other.accept()
        here.reached.add(other.domain.encode())
        names = (self.names, other.names) if self.in_tls and other.in_tls else None
        self.world.connect(here, there, names)
        self.world.settle()
        return here, there

    def claim(self, session: XmppSession, theirs: str, ours: str = "") -> None:
        """Claim a domain of ours on a stream, and let everything happen."""
        self.claimer.claim(as_link(session), (ours or self.domain).encode(), theirs.encode())
        self.world.settle()

    def takes_from(self, session: XmppSession, theirs: str, ours: str = "") -> bool:
        """Whether a domain is proved on a stream that it opened, for the switch and for the stream."""
        known = theirs.encode() in session.port.sources
        assert known == ((theirs, ours or self.domain) in session.machine.pairs.theirs)
        return known

    def sends_to(self, session: XmppSession, theirs: str, ours: str = "") -> bool:
        """Whether what is for a domain leaves over a stream."""
        known = self.switch.ways.carries(theirs.encode(), (ours or self.domain).encode(), session.port)
        return known and session.machine.may_write(ours or self.domain, theirs)

    def counted(self, reason: Reason) -> int:
        """How often something was refused so."""
        return self.switch.counters[slots.REASON_SLOT[reason]]

    def stranger(self, from_: str, *, names: AbstractSet[str] | None = None, to: str = "") -> Stranger:
        """Somebody who is played by the test opens a stream and says a header."""
        return Stranger(self, from_, to or self.domain, names)


class Stranger:
    """The other end of an accepted stream, spoken by hand.

    Attributes:
        session: the router's end.
        ident: the id that it gave the stream.
    """

    def __init__(
        self, router: TrustingRouter, from_: str, to: str, names: AbstractSet[str] | None = None
    ) -> None:
        self._router, self.from_, self.to = router, from_, to
        self.session = router.accept()
        if names is not None:
            self.session.encrypted(facts(names, router.names))
        self.wire = alone(self.session)
        self.began = self.say(say.header("jabber:server", from_=from_, to=to))
        self.ident = self.session.machine.stream_id

    def say(self, data: bytes | str) -> str:
        """Say something; what the router answers at once, or after everything has happened."""
        if not self.wire.ended:
            self.session.dataReceived(data.encode() if isinstance(data, str) else data)
        return self.answers()

    def answers(self) -> str:
        """Let everything happen; what came since."""
        self._router.world.settle()
        heard = b"".join(self.wire.writes).decode()
        self.wire.writes.clear()
        return heard

    def claim(self, key: str, from_: str = "", to: str = "") -> str:
        """`<db:result>`."""
        return self.say(say.db("result", from_ or self.from_, to or self.to, key=key))

    def ask(self, key: str, ident: str, from_: str = "", to: str = "") -> str:
        """`<db:verify>`."""
        return self.say(say.db("verify", from_ or self.from_, to or self.to, key=key, stream_id=ident))


def as_link(session: XmppSession) -> Link:
    """What it is for others."""
    return cast("Link", session)


def refused(router: TrustingRouter, reason: Reason) -> None:
    """The one word: for the metric of claims, the counter of reasons, and to the trace if it was dialled."""
    assert router.results[-1] is reason
    assert router.counted(reason) >= 1
    if any(word == "verification asked" for word, _ in router.steps):
        told = [(word, note.partition(" ")[0]) for word, note in router.steps]
        assert ("claim refused", reason.word) in told


def _judged(peer: Any, domain: Domain) -> Judged:
    good = domain.name in peer.names
    return Judged(good, "" if good else "wrong-name")


def _domain(raw: bytes) -> Domain:
    return Domain(raw.decode("ascii"))
