"""Fail-over of streams: a target is of use once it has negotiated, and none leads to a weaker stream."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from imxrouter.discovery.cache import AnswerCache
from imxrouter.discovery.finder import Finder
from imxrouter.discovery.guard import DialGuard
from imxrouter.gateways.xmpp.heard import Header
from imxrouter.gateways.xmpp.stanza import Element
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.dialer import StreamDialer
from imxrouter.gateways.xmpp.streams.parts import StreamLink, StreamParts
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
from imxrouter.link.duplicates import DuplicateMemory
from imxrouter.link.ledger import Ledger
from imxrouter.link.machine import LinkState
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.routing.choice import Protocol
from imxrouter.routing.dialling import Permit
from imxrouter.routing.limits import SenderRates
from imxrouter.routing.policy import Policy, PolicyTable, RememberedStrength
from imxrouter.switch import slots
from imxrouter.switch.switch import Switch
from imxrouter.tls.contexts import TlsContexts
from imxrouter.tls.identity import Service
from imxrouter.tls.peer import PeerCertificate
from imxrouter.tls.store import CertificateSet
from imxrouter.transport.connector import Connector
from imxrouter.transport.dial_terms import Connected, ConnectFailed, ConnectLimits, DialTerms
from imxrouter.transport.dialing import DialFailed, Dialled, no_reuse
from imxrouter.transport.hub import Hub, Identity
from imxrouter.transport.link import Link, Purpose
from imxrouter.transport.opening import TcpOpener
from imxrouter.transport.settings import HubSettings
from imxrouter.transport.strengths import Judged, Strengths
from imxrouter.transport.tls_ends import TlsEnds
from tests.doubles.reactor_thread import ReactorThread
from tests.doubles.router_rig import fresh_address, issued
from tests.doubles.xmpp_server import Conduct, XmppServer
from tests.doubles.zones import FakeZones

A, B = Domain("a.example"), Domain("b.example")
LIMITS = ConnectLimits(connect_s=2.0, handshake_s=1.0, negotiation_s=1.5, race_delay_s=0.05)


def judged(peer: PeerCertificate, domain: Domain, _as_client: bool, _way: Delegation | None) -> Judged:
    """By the names alone."""
    return Judged(peer.covers(domain, Service.XMPP), "the names are others")


class Rig:
    """A dialer over real sockets and zones in memory; servers are published one after the other."""

    def __init__(self, thread: ReactorThread, policy: Policy) -> None:
        self.thread, self.zones, self.stack = thread, FakeZones(), ExitStack()
        reactor = thread.reactor
        memory = DuplicateMemory(b"epoch678", 60.0, 1000)
        switch = Switch(Ledger(0, 7), memory, SenderRates(0.0, 10.0), slots.new_counters())
        identity = Identity(b"server78", 0, bytes(16))
        self.hub = Hub(reactor.seconds, switch, HubSettings(), identity, random.randbytes)
        remembered = RememberedStrength()
        policies = PolicyTable({}, policy)
        self.strengths = Strengths(policies, remembered, reactor.seconds, judged, Protocol.XMPP)
        self.strengths.tls = True
        self.ends: TlsEnds | None = TlsEnds(TlsContexts(CertificateSet([issued("a.example")])))
        nobody = cast("Any", _Nobody())
        self.parts = StreamParts(nobody, nobody, None, self._terms, reactor.callLater, maker=self.ends)
        self.dialer = StreamDialer(reactor, self.strengths, self._connect, lambda: self.ends)
        self.cache = AnswerCache(reactor.seconds)
        finder = Finder(reactor, self.zones.ask, random.Random(1), self.cache)
        guard = DialGuard(["127.0.0.0/8"])
        self.connector = Connector(reactor, finder, guard, TcpOpener(reactor), random.Random(1), LIMITS)
        self.steps: list[str] = []
        #: streams take clear text whatever the policy says
        self.careless = False
        self._srv: list[str] = []

    def _terms(self, _session: StreamLink) -> StreamTerms:
        needed = self.strengths.asks_tls(B, None) and not self.careless
        return StreamTerms(tls=TlsRule.REQUIRED if needed else TlsRule.OFFERED)

    def _connect(
        self, domain: Domain, make: Callable[[], Link], terms: DialTerms, permit: Permit | None,
        first: Link | None,
    ) -> Deferred[Dialled]:  # fmt: skip
        del permit, first

        def good(connected: Connected) -> Dialled:
            return Dialled(connected.protocol, (connected.ip, connected.port), connected.reused)

        def bad(failure: Failure) -> Dialled:
            error = failure.value
            assert isinstance(error, ConnectFailed), failure
            raise DialFailed(error.reason, error.note, exhausted=error.exhausted)

        def told(stage: Stage, text: str, _fields: object) -> None:
            self.steps.append(f"{stage.value}: {text}")

        return self.connector.connect(domain, cast("Any", make), terms, told).addCallbacks(good, bad)

    def server(self, conduct: Conduct | None = None, *, direct: bool = False) -> XmppServer:
        """One more target, tried after the others."""
        server = self.stack.enter_context(XmppServer("b.example", fresh_address(), conduct))
        self.target(server.endpoint, direct=direct)
        return server

    def target(self, endpoint: tuple[str, int], *, direct: bool = False) -> None:
        """One more record, tried after the others."""
        number, label = len(self._srv) // 2, "_xmpps-server" if direct else "_xmpp-server"
        self._srv += [
            f"{label}._tcp 60 IN SRV {number} 0 {endpoint[1]} t{number}", f"t{number} 60 IN A {endpoint[0]}",
        ]  # fmt: skip
        self.zones.load("\n".join(self._srv) + "\n", "b.example")

    def unpublish(self) -> None:
        """There is no record any more."""
        self._srv.clear()
        self.cache.clear()

    def make(self) -> Link:
        """A session of ours."""
        return XmppSession(self.hub, StreamRole.S2S_OUT, self.parts, purpose=Purpose.DATA)

    def dial(self, **more: Any) -> Dialled:
        """Dial b.example for a.example."""
        dial = partial(self.dialer.dial, B, self.make, reuse=no_reuse, own=A, **more)
        return cast("Dialled", self.thread.call(dial))

    def failure(self, **more: Any) -> DialFailed:
        """Dial in vain."""
        with pytest.raises(DialFailed) as caught:
            self.dial(**more)
        return caught.value


class _Nobody:
    """Is never asked."""


@pytest.fixture
def rig(reactor_thread: ReactorThread) -> Iterator[Rig]:
    """Certificates are asked for."""
    made = Rig(reactor_thread, Policy.CERTIFICATE)
    with made.stack:
        yield made


@pytest.fixture
def lax(reactor_thread: ReactorThread) -> Iterator[Rig]:
    """Dial-back in clear would do."""
    made = Rig(reactor_thread, Policy.DIALBACK)
    with made.stack:
        yield made


def good(*, direct: bool = False) -> Conduct:
    """A server as it should be."""
    return Conduct(issued("b.example"), direct=direct)


def test_a_stream_comes_negotiated(rig: Rig) -> None:
    """Over STARTTLS, and in direct TLS; the parties are named, the certificate is judged."""
    for direct in (False, True):
        server = rig.server(good(direct=direct), direct=direct)
        dialled = rig.dial(skip=frozenset())
        session = cast("XmppSession", dialled.session)
        assert dialled.endpoint == server.endpoint
        assert (session.own, session.other, session.is_open) == ("a.example", "b.example", True)
        assert session.machine.state is LinkState.OPEN
        assert session.tls is not None
        assert server.peers[0].log
        rig.unpublish()


_STREAM = "urn:ietf:params:xml:ns:xmpp-streams"
_TLS = "urn:ietf:params:xml:ns:xmpp-tls"


NO_TLS = f"<failure xmlns='{_TLS}'/>"


def in_clear() -> Conduct:
    """A server that has no TLS, and says so where it is asked all the same."""
    return Conduct(None, instead={"proceed": NO_TLS})


def ends_with(condition: str) -> Conduct:
    """A server that ends the stream in place of its features."""
    said = f"<stream:error><{condition} xmlns='{_STREAM}'/></stream:error></stream:stream>"
    return Conduct(None, instead={"features": said})


def proceeds(said: str) -> Conduct:
    """A server that says something else than that TLS follows."""
    return Conduct(issued("b.example"), instead={"proceed": said})


#: What a first target does, and what is told where there is no second one.
BAD: dict[str, tuple[Callable[[], Conduct], Reason]] = {
    "no STARTTLS": (in_clear, Reason.WEAKER_THAN_POLICY),
    "STARTTLS refused": (lambda: proceeds(NO_TLS), Reason.WEAKER_THAN_POLICY),
    "more than proceed": (lambda: proceeds(f"<proceed xmlns='{_TLS}'/>HTTP"), Reason.PROTOCOL_ERROR),
    "wrong certificate": (lambda: Conduct(issued("c.example")), Reason.CERTIFICATE_REFUSED),
    "see-other-host": (lambda: ends_with("see-other-host"), Reason.PEER_FAILED),
    "host-unknown": (lambda: ends_with("host-unknown"), Reason.NOT_HOSTED),
    "host-gone": (lambda: ends_with("host-gone"), Reason.NOT_HOSTED),
    "system-shutdown": (lambda: ends_with("system-shutdown"), Reason.SHUTTING_DOWN),
    "not XML": (lambda: Conduct(None, instead={"header": "220 mail ESMTP"}), Reason.PROTOCOL_ERROR),
    "silent": (lambda: Conduct(None, instead={"header": None, "features": None}), Reason.HELLO_TIMEOUT),
    "hangs up": (lambda: Conduct(None, instead={"features": "</stream:stream>"}), Reason.LINK_LOST),
}


@pytest.mark.parametrize("how", BAD)
def test_the_next_target_is_tried(rig: Rig, how: str) -> None:
    """And the first one's failure is what is told where there is no other."""
    conduct, reason = BAD[how]
    first = rig.server(conduct())
    told = rig.failure()
    assert told.reason is reason
    assert first.claimed == []
    second = rig.server(good())
    rig.cache.clear()
    assert rig.dial().endpoint == second.endpoint
    assert len(rig.hub.sessions) == 1


def test_a_refused_connection_and_a_silent_host_are_passed(rig: Rig) -> None:
    """As for every protocol; direct TLS that does not answer gives way after the handshake's time."""
    rig.target((fresh_address(), 5269))
    silent = socket.create_server((fresh_address(), 0))
    rig.stack.callback(silent.close)
    rig.target(silent.getsockname()[:2], direct=True)
    server = rig.server(good())
    assert rig.dial().endpoint == server.endpoint
    said = "\n".join(rig.steps)
    assert "connection-refused" in said
    assert "tls-failed" in said


def test_what_failed_is_skipped_and_exhausted(rig: Rig) -> None:
    """The next attempt of the same pursuit goes past it."""
    server = rig.server(good())
    failed = rig.failure(skip=frozenset({server.endpoint}))
    assert failed.exhausted


def test_clear_text_only_where_policy_takes_it(lax: Rig, rig: Rig) -> None:
    """A server without TLS: good for `dialback`, refused for `certificate`, with TLS promised by nothing."""
    for one, works in ((lax, True), (rig, False)):
        one.server(in_clear())
        if works:
            session = cast("XmppSession", one.dial().session)
            assert session.tls is None
        else:
            assert one.failure().reason is Reason.WEAKER_THAN_POLICY


def test_what_has_negotiated_is_judged_once_more(rig: Rig) -> None:
    """A stream that negotiated less than policy asks for is not handed out."""
    rig.careless = True
    server = rig.server(Conduct(None, instead={"features": "<stream:features/>", "proceed": NO_TLS}))
    assert rig.failure().reason is Reason.WEAKER_THAN_POLICY
    assert server.claimed == []
    assert not rig.hub.sessions


def test_remembered_tls_is_not_given_up(lax: Rig) -> None:
    """Who was reached in TLS once is not spoken to in clear, though its policy would take it."""
    server = lax.server(Conduct(issued("b.example"), required=False))
    session = cast("XmppSession", lax.dial().session)
    assert session.tls is not None
    lax.strengths.note_reached(session.tls, B)
    server.conduct = in_clear()
    assert lax.failure().reason is Reason.WEAKER_THAN_REMEMBERED


def test_no_target_is_taken_for_what_another_could_not(rig: Rig) -> None:
    """A wrong certificate does not lead to the same domain in clear."""
    rig.server(Conduct(issued("c.example")))
    clear = rig.server(in_clear())
    assert rig.failure().reason is Reason.CERTIFICATE_REFUSED
    assert all("stream:stream" not in str(one.log) or not one.tls for one in clear.peers)
    assert clear.claimed == []
    assert clear.stanzas == []


def test_giving_up_ends_the_session(rig: Rig) -> None:
    """Whoever dials and cancels leaves nothing open."""
    silent = socket.create_server((fresh_address(), 0))
    rig.stack.callback(silent.close)
    rig.target(silent.getsockname()[:2])
    assert rig.failure().reason is Reason.HELLO_TIMEOUT
    assert not rig.hub.sessions


def test_nothing_is_said_to_who_has_a_wrong_certificate(rig: Rig) -> None:
    """It ends in the handshake: no stream is begun in TLS."""
    server = rig.server(Conduct(issued("c.example")))
    assert rig.failure().reason is Reason.CERTIFICATE_REFUSED
    assert [one.name for one in server.peers[0].log if isinstance(one, Element)] == ["starttls"]
    assert len([one for one in server.peers[0].log if isinstance(one, Header)]) == 1


def test_where_there_is_no_tls_here_a_target_of_tls_alone_is_passed(lax: Rig) -> None:
    """It speaks nothing else: no connection is opened to it."""
    lax.strengths.tls, lax.ends = False, None
    direct = lax.server(good(direct=True), direct=True)
    clear = lax.server(in_clear())
    assert lax.dial().endpoint == clear.endpoint
    assert direct.peers == []
