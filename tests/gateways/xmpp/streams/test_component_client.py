"""Attachments at a server, on a clock of the test's: when they are tried, and what waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.component_client import (
    JITTER,
    RETRY_S,
    ClientSettings,
    ComponentClients,
    Place,
)
from imxrouter.gateways.xmpp.streams.leaving import QUIET_S, Leaving
from imxrouter.gateways.xmpp.streams.parts import StreamLink, StreamParts
from imxrouter.gateways.xmpp.streams.pool import PoolSettings, ServicePool
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.terms import Confirm, StreamSettings, StreamTerms, TlsRule
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.ports import Route
from imxrouter.transport.opening import OpenedSocket
from imxrouter.wire.registry import RecordType
from tests.gateways.xmpp.streams.rig import A, Router, Service, Wire, joined, settle

FAR, OTHER = "far.example", "other.example"
SECRET = b"a secret"
TYPES = frozenset({RecordType.STANZA.value, RecordType.MESSAGE.value})


class Scene:
    """The router that `far.example` is reached through, and the server of `a.example`.

    Attributes:
        tries: when a connection was asked for, seconds.
        reachable: whether the server takes connections.
        silent: it takes them, and says nothing.
        slow_s: how long it needs to take one.
        secret: what the server asks for.
        chance: what is random.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.router, self.server = Router(self.clock, FAR), Router(self.clock, A)
        self.reachable, self.secret, self.chance = True, SECRET, 0.0
        self.silent, self.slow_s = False, 0.0
        self.tries: list[float] = []
        self.sockets: list[_Socket] = []
        self._wires: list[Wire] = []
        self.server.terms = lambda _session: StreamTerms(
            tls=TlsRule.NONE, serves=lambda name: name == FAR, secret=lambda _name: self.secret,
            also=lambda name: name in {FAR, OTHER},  # the names of its listener
        )  # fmt: skip
        hub = self.router.hub
        settings = ClientSettings(lambda _service: [A], lambda _name: Confirm.WRITTEN, StreamSettings)
        place = Place("chat", ("10.0.0.5", 5347), SECRET, (FAR,))
        self.clients = ComponentClients(
            hub,
            [place],
            lambda place: self._open_socket(*place.address),
            self.clock.callLater,
            lambda: self.chance,
            settings,
        )
        self.pool = ServicePool("chat", hub, self.router.edge, self.clients, PoolSettings(hold_s=5.0))
        self.clients.parts = StreamParts(
            self.router.edge, self.clients, None, self.clients.terms, self.clock.callLater
        )
        self.clients.pools = {"chat": self.pool}
        self.pool.bind(A.encode(), 0.0, 10.0)
        self.router.switch.routes[A.encode()] = Route([self.pool.port], 1, 1 << 20, TYPES)

    def _open_socket(self, ip: str, port: int) -> Deferred[OpenedSocket]:
        assert (ip, port) == ("10.0.0.5", 5347)
        self.tries.append(self.clock.seconds())
        opened: Deferred[OpenedSocket] = Deferred()
        if self.reachable:
            self.sockets.append(_Socket(self._attach))
            self.clock.callLater(self.slow_s, opened.callback, self.sockets[-1])
        else:
            self.clock.callLater(0, opened.errback, Refused())  # type: ignore[no-untyped-call]
        return opened

    def _attach(self, session: XmppSession) -> None:
        if self.silent:
            return
        accepted = XmppSession(self.server.hub, StreamRole.COMPONENT_IN, self.server.parts, own=A)
        self._wires += joined(session, accepted)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with the timers of each second."""
        for _ in range(round(seconds * 4)):
            self.clock.advance(0.25)
            self.settle()
            self.clients.tick(self.clock.seconds())
            self.pool.tick(self.clock.seconds())

    def settle(self) -> None:
        """Bring everything that is written."""
        for _ in range(4):
            self.clock.advance(0)
            settle(*self._wires)

    def cut(self) -> None:
        """The server goes away."""
        for wire in self._wires:
            wire.loseConnection()
        settle(*self._wires)
        self._wires.clear()

    def send(self) -> Callable[[], Outcome | None]:
        """A far user writes to one of the server's; gives the outcome, once there is one."""
        raw = f"<message from='bob@{FAR}' to='alice@{A}' id='1'><body>hi</body></message>"
        number = self.router.service.send(raw.encode(), FAR, A)
        self.settle()
        return lambda: self.router.service.outcomes.get(number)

    @property
    def attached(self) -> list[object]:
        """Names that the server took."""
        return [name for what, name in self.server.trust.heard if what == "attached"]


class _Socket:
    remote = ("10.0.0.5", 5347)

    def __init__(self, attach: Callable[[XmppSession], None]) -> None:
        self._attach = attach
        self.closed = False

    def attach(self, protocol: Any) -> None:
        """Give the connection its protocol."""
        self._attach(protocol)

    def close(self) -> None:
        """Cut it."""
        self.closed = True


@pytest.fixture
def scene() -> Scene:
    """Nothing is begun yet."""
    return Scene()


def test_it_attaches_and_messages_go_out_there(scene: Scene) -> None:
    """What came before waits for the stream; what comes later goes at once."""
    first = scene.send()
    assert scene.tries == []
    scene.clients.begin()
    scene.pass_time(1)
    assert scene.attached == [FAR]
    assert [outcome is not None and outcome.ok for outcome in (first(), scene.send()())] == [True, True]
    assert len(scene.tries) == 1


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_tries_are_later_and_later(scene: Scene, chance: float) -> None:
    """The waits double up to the most; each is shorter by a random part, so that not all come together."""
    scene.reachable, scene.chance = False, chance
    scene.clients.begin()
    scene.pass_time(400)
    waits = [later - sooner for sooner, later in zip(scene.tries, scene.tries[1:], strict=False)]
    first, most = RETRY_S
    expected = [min(first * 2**n, most) * (1 - JITTER * chance) for n in range(len(waits))]
    assert waits == pytest.approx(expected, abs=0.26)
    assert len(waits) >= 8


def test_what_the_server_says_comes_on_the_same_stream(scene: Scene) -> None:
    """Of all domains that go by it, as long as it is there: no other stream has to be asked for."""
    assert not scene.pool.speaks_both_ways(FAR, A)
    scene.send()
    scene.clients.begin()
    scene.pass_time(1)
    assert scene.pool.speaks_both_ways(FAR, A)
    assert not scene.pool.speaks_both_ways(OTHER, A)
    scene.cut()
    assert not scene.pool.speaks_both_ways(FAR, A)


def test_attached_again_it_begins_with_the_first_wait(scene: Scene) -> None:
    """A server that was away for long and took us is no bad one any more."""
    scene.reachable = False
    scene.clients.begin()
    scene.pass_time(20)
    scene.reachable = True
    scene.pass_time(20)
    assert scene.attached == [FAR]
    before = len(scene.tries)
    scene.cut()
    scene.pass_time(RETRY_S[0] + 0.5)
    assert len(scene.tries) == before + 1
    assert scene.attached == [FAR, FAR]


def said_of_ends(scene: Scene, seconds: float, begin: Callable[[], object]) -> list[str]:
    """Do something and let time pass; what the log says meanwhile of names that are not attached."""
    said: list[str] = []

    def told(event: LogEvent) -> None:
        said.append(formatEvent(event))

    globalLogPublisher.addObserver(told)  # type: ignore[arg-type]
    try:
        begin()
        scene.pass_time(seconds)
    finally:
        globalLogPublisher.removeObserver(told)  # type: ignore[arg-type]
    return [line.partition("; next try in")[0] for line in said if "is not attached" in line]


def test_an_end_without_words_is_told_by_its_reason_alone(scene: Scene) -> None:
    """Nothing stands in brackets then."""
    scene.clients.begin()
    scene.pass_time(1)
    place = "service chat (10.0.0.5:5347)"
    assert said_of_ends(scene, 0.25, scene.cut) == [f"{FAR} is not attached at {place}: link-lost"]
    assert scene.clients.unattached("chat") == [f"{FAR}: link-lost"]


def test_wrong_secret_is_not_tried_again_and_again(scene: Scene) -> None:
    """It is refused each time, and the waits grow as they do where nobody answers."""
    scene.secret = b"another one"
    wanted = f"{FAR} is not attached at service chat (10.0.0.5:5347): not-proved (not-authorized"
    assert [one.startswith(wanted) for one in said_of_ends(scene, 32, scene.clients.begin)] == [True] * 6
    assert scene.attached == []
    assert len(scene.tries) == 6
    assert scene.server.errors == [("not-authorized", "sent")] * 6


def test_message_while_the_next_try_is_far(scene: Scene) -> None:
    """It is answered at once; one that comes just before a try waits for it."""
    scene.reachable = False
    scene.clients.begin()
    scene.pass_time(8.5)  # tries at 0, 1, 3, 7, 15
    late = scene.send()()
    assert late is not None
    assert late.reason is Reason.SERVICE_DOWN
    scene.pass_time(5.25)  # the refusal is forgotten after five seconds
    scene.reachable = True
    waiting = scene.send()
    assert waiting() is None
    scene.pass_time(2)
    outcome = waiting()
    assert outcome is not None
    assert outcome.ok


def test_message_that_waited_for_a_try_that_failed(scene: Scene) -> None:
    """It is answered when that is known and the next one is far."""
    scene.reachable = False
    scene.clients.begin()
    scene.pass_time(6)  # the next try is at 7, the one after at 15
    waiting = scene.send()
    assert waiting() is None
    scene.pass_time(1.5)
    outcome = waiting()
    assert outcome is not None
    assert outcome.reason is Reason.SERVICE_DOWN


def test_server_that_says_nothing(scene: Scene) -> None:
    """What waits for a stream that does not come on is answered in time."""
    scene.silent = True
    scene.clients.begin()
    waiting = scene.send()
    scene.pass_time(4)
    assert waiting() is None
    scene.pass_time(2)
    outcome = waiting()
    assert outcome is not None
    assert outcome.reason is Reason.SERVICE_DOWN


def test_message_on_a_stream_that_was_cut(scene: Scene) -> None:
    """Messages go out on the next one, and never on the one that is gone."""
    scene.clients.begin()
    scene.pass_time(1)
    scene.cut()
    waiting = scene.send()
    assert waiting() is None
    scene.pass_time(1.5)
    outcome = waiting()
    assert outcome is not None
    assert outcome.ok


def of_other(scene: Scene) -> Service:
    """The server's router stands for `other.example` as well, which the server knows nothing of."""
    scene.clients.change([Place("chat", ("10.0.0.5", 5347), SECRET, (FAR, OTHER))])
    return Service(scene.router, OTHER)


def test_what_waits_for_another_domains_stream_does_not_go_out_on_this_one(scene: Scene) -> None:
    """The server would take it for forged, and end the stream of the one for the fault of the other."""
    other = of_other(scene)
    raw = f"<message from='bob@{OTHER}' to='alice@{A}' id='1'><body>hi</body></message>"
    number = other.send(raw.encode(), OTHER, A)
    scene.clients.begin()
    scene.pass_time(1)
    assert scene.attached == [FAR]
    assert number not in other.outcomes
    assert scene.server.service.requests == []
    assert {condition for condition, _ in scene.server.errors} == {"host-unknown"}


def test_what_waits_for_a_stream_is_not_answered_for_another_domains_fault(scene: Scene) -> None:
    """One domain is refused, its next try is far; what waits for the other one goes on to wait."""
    of_other(scene)
    attach = scene._attach
    scene._attach = lambda session: None if session.own == FAR else attach(session)  # type: ignore[method-assign]
    scene.clients.begin()
    scene.pass_time(6.5)  # tries of the other at 0, 1, 3, 7, 15
    before = len(scene.server.errors)
    waiting = scene.send()
    scene.pass_time(1)
    assert len(scene.server.errors) == before + 1
    assert waiting() is None


def test_out_of_service_nothing_is_dialled(scene: Scene) -> None:
    """While the router goes, streams that end are not opened again; back in service they are, once."""
    scene.router.hub.closing = True
    scene.clients.begin()
    scene.pass_time(10)
    assert scene.tries == []
    scene.router.hub.closing = False
    scene.clients.begin()
    scene.pass_time(10)
    assert len(scene.tries) == 1


@pytest.mark.parametrize("reachable", [True, False])
def test_at_the_end_nothing_is_left(scene: Scene, reachable: bool) -> None:
    """Streams end in order, and no call is due."""
    scene.reachable = reachable
    scene.clients.begin()
    scene.pass_time(1)
    scene.clients.end()
    scene.settle()
    assert not scene.clients.sessions
    before = len(scene.tries)
    scene.pass_time(120)
    assert len(scene.tries) == before
    assert not scene.clock.getDelayedCalls()


@pytest.mark.parametrize("what", ["the router", "all of them", "its service", "its name"])
def test_a_connection_that_comes_too_late_is_cut(scene: Scene, what: str) -> None:
    """Nobody is attached for what goes, or is listed no more; and it is not tried again."""
    scene.slow_s = 1.0
    scene.clients.begin()
    scene.clock.advance(0)
    assert len(scene.tries) == 1
    if what == "the router":
        scene.clients.end()
    elif what == "all of them":
        scene.clients.leaves = True
    elif what == "its service":
        scene.pool.leaves = True
    else:
        scene.clients.change([])
    scene.pass_time(100)
    assert [one.closed for one in scene.sockets] == [True]
    assert (scene.attached, list(scene.clients.sessions)) == ([], [])


def test_a_name_that_is_listed_no_more_is_given_up(scene: Scene) -> None:
    """Its stream ends in order, and messages for its users have no way."""
    scene.clients.begin()
    scene.pass_time(1)
    assert scene.attached == [FAR]
    scene.clients.change([])
    scene.settle()
    assert not scene.clients.sessions
    outcome = scene.send()()
    assert outcome is not None
    assert outcome.reason is Reason.SERVICE_DOWN
    scene.pass_time(100)
    assert len(scene.tries) == 1
    assert (scene.router.errors, scene.server.errors) == ([], [])


def test_leaving_what_the_server_wrote_still_comes(scene: Scene) -> None:
    """The stream ends in order: what crossed our end is routed, and it is not opened again."""
    scene.clients.begin()
    scene.pass_time(1)
    (link,) = scene.server.hub.sessions.values()
    stream = cast("XmppSession", link)
    raw = f"<message from='alice@{A}' to='bob@{FAR}' id='7'><body>hi</body></message>".encode()
    leaving = Leaving((scene.clients,), [scene.pool], scene.clock.seconds)
    done = leaving.begin()
    scene.clock.advance(QUIET_S)
    leaving.step()
    stream.perform(stream.machine.stanzas([raw], [None], scene.clock.seconds()))
    scene.settle()
    assert len(scene.router.service.requests) == 1
    leaving.step()
    assert done.called
    assert (scene.router.errors, scene.server.errors) == ([], [])
    scene.pass_time(120)
    assert len(scene.tries) == 1


def test_what_is_for_somebody_elses_component_is_answered_and_the_stream_stays(scene: Scene) -> None:
    """A server brings what is for any name of a listener, ours or not: nothing of ours ends for that."""
    scene.clients.begin()
    scene.pass_time(1)
    (link,) = scene.server.hub.sessions.values()
    stream = cast("XmppSession", link)
    refused: list[Outcome] = []
    scene.clients._settings = replace(
        scene.clients._settings, refused=lambda _told, outcome: refused.append(outcome)
    )
    said: list[Stanza] = []

    def heard(session: StreamLink, stanzas: Sequence[StanzaIn]) -> bytes:
        del session
        said.extend(one.stanza for one in stanzas)
        return b""

    scene.server.edge.records_of = heard  # type: ignore[method-assign]
    for to in (OTHER, FAR):
        raw = f"<message from='alice@{A}' to='bob@{to}' id='7'><body>hi</body></message>".encode()
        stream.perform(stream.machine.stanzas([raw], [None], scene.clock.seconds()))
        scene.settle()
    assert [(one.reason, one.note) for one in refused] == [
        (Reason.RELAY_DENIED, f"{OTHER} is no component of ours")
    ]
    assert len(scene.router.service.requests) == 1
    assert list(scene.server.hub.sessions.values()) == [link]
    assert [(one.kind, one.type, one.to) for one in said] == [("message", "error", f"alice@{A}")]
    assert b"not-allowed" in said[0].raw
    scene.pass_time(5)
    assert len(scene.tries) == 1
    assert (scene.router.errors, scene.server.errors) == ([], [])
