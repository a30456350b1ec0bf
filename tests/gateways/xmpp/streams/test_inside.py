"""A server behind the router takes it for every outside domain; nothing of that is had anywhere else."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import pytest

from imxrouter.gateways.xmpp.elements import Db
from imxrouter.gateways.xmpp.keys import key_for
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.streams.inside import PROOF_S, HeldTo, InsideFactory, outside_name
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.terms import Confirm, StreamSettings, StreamTerms, TlsRule
from imxrouter.link.machine import LinkState
from imxrouter.model.outcome import SUCCESS
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.switch import slots
from imxrouter.wire.registry import RecordType
from tests.gateways.xmpp.streams.inside_rig import FAR, OTHER, SECRET, Scene
from tests.gateways.xmpp.streams.rig import A, joined, settle


@pytest.fixture
def scene() -> Scene:
    """A router and a server behind it."""
    return Scene()


def proved(scene: Scene, to: str = FAR) -> XmppSession:
    """A stream of the server's to an outside domain, proved."""
    stream = scene.dial(to)
    stream.claim(A, to, "any key")
    scene.settle()
    return stream


def says(stream: XmppSession, scene: Scene, to: str = FAR, from_: str = A) -> None:
    """A message of one of the server's users."""
    raw = f"<message from='alice@{from_}' to='bob@{to}' id='9'><body>hi</body></message>".encode()
    stream.perform(stream.machine.stanzas([raw], [None], scene.clock.seconds()))
    scene.settle()


# -- from the server ---------------------------------------------------------------------------------------


def test_server_reaches_an_outside_domain_that_no_file_names(scene: Scene) -> None:
    """Its claim is taken at once, for its address proves it; its stanzas are those of its own domain."""
    stream = proved(scene)
    assert scene.server.trust.heard == [("result", (FAR, A, DbType.VALID))]
    says(stream, scene)
    (request,) = scene.world.requests
    assert (request.envelope.from_domain, request.envelope.to_domain) == (A.encode(), FAR.encode())
    assert b"<body>hi</body>" in request.body


def test_each_pair_is_claimed_for_itself(scene: Scene) -> None:
    """A stanza to another outside domain than the one that was claimed towards ends the stream."""
    stream = proved(scene)
    says(stream, scene, to=OTHER)
    assert scene.world.requests == []
    assert scene.router.errors == [("host-unknown", "sent")]


@pytest.mark.parametrize(
    ("own", "to", "condition"),
    [
        ("stranger.example", FAR, "invalid-from"),
        (A, A, "host-unknown"),
        (A, "192.0.2.1", "host-unknown"),
    ],
)
def test_header_that_is_not_taken(scene: Scene, own: str, to: str, condition: str) -> None:
    """Only domains of services are spoken for, towards others than the server's own, never to a number."""
    scene.dial(to, own)
    assert scene.router.errors == [(condition, "sent")]


def test_claim_of_a_domain_that_is_not_the_servers(scene: Scene) -> None:
    """It is refused, and the stream stays: what else is proved on it goes on."""
    stream = proved(scene)
    scene.server.trust.heard.clear()
    stream.claim("stranger.example", FAR, "key")
    scene.settle()
    assert scene.server.trust.heard == [("result", (FAR, "stranger.example", DbType.ERROR))]
    says(stream, scene)
    assert len(scene.world.requests) == 1


def test_domain_of_another_service(scene: Scene) -> None:
    """One stream speaks for one service: its stanzas come in at that service's port."""
    scene.inside.pools = {**scene.inside.pools, "other": scene.pool}
    stream = proved(scene)
    scene.server.trust.heard.clear()
    scene.inside._service_of = {A: "chat", "c.example": "other"}.get
    stream.claim("c.example", FAR, "key")
    scene.settle()
    assert scene.server.trust.heard == [("result", (FAR, "c.example", DbType.ERROR))]


def test_forged_sender(scene: Scene) -> None:
    """A stanza of a domain that is not proved on the stream goes no further."""
    says(proved(scene), scene, from_="b.example")
    assert scene.world.requests == []
    assert scene.router.errors == [("invalid-from", "sent")]


def test_stream_without_a_proof_ends(scene: Scene) -> None:
    """Who connects and proves nothing does not stay."""
    stream = scene.dial()
    scene.pass_time(PROOF_S + 2)
    assert stream.gone


@pytest.mark.parametrize("name", ["far.example", "bücher.example", "example"])
def test_names_that_are_answered_for(name: str) -> None:
    """Any domain."""
    assert outside_name(name)


@pytest.mark.parametrize("name", ["192.0.2.1", "1", "[2001:db8::1]", "", "a..example"])
def test_names_that_are_none(name: str) -> None:
    """Addresses and what is no name at all."""
    assert not outside_name(name)


@dataclass
class Address:
    """Of a connection."""

    host: str


def test_only_the_servers_networks_may_connect(scene: Scene) -> None:
    """Everybody else is cut off before a byte is read, and counted."""
    factory = InsideFactory(scene.inside)
    scene.inside.networks = [ipaddress.ip_network("10.0.0.0/24")]
    assert factory.buildProtocol(Address("10.0.0.5")) is not None
    before = scene.router.switch.counters[slots.REASON_SLOT[Reason.RELAY_DENIED]]
    assert factory.buildProtocol(Address("192.0.2.9")) is None
    assert scene.router.switch.counters[slots.REASON_SLOT[Reason.RELAY_DENIED]] == before + 1


# -- the attack: the same on the outside -------------------------------------------------------------------


def test_outside_listener_does_nothing_of_the_kind(scene: Scene) -> None:
    """Towards a domain that is not served here a stranger gets `host-unknown`, whatever he says first."""
    stream = asked_outside(scene)
    assert scene.router.errors == [("host-unknown", "sent")]
    assert stream.gone


def test_outside_listener_whose_one_check_is_taken_away(scene: Scene) -> None:
    """What is served (`terms.serves`) is all that stands between: without it he is answered."""
    scene.router.terms = lambda _session: StreamTerms(tls=TlsRule.NONE, serves=outside_name)
    stream = asked_outside(scene)
    assert scene.router.errors == []
    assert not stream.gone
    assert stream.machine.state is LinkState.OPEN


def asked_outside(scene: Scene) -> XmppSession:
    """A stranger's stream to the outside listener, for a domain that is not served here."""
    stream, accepted = scene.server.open(OTHER), scene.router.accept()
    settle(*joined(stream, accepted))
    return stream


# -- keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (key_for(SECRET, A, FAR, "stream1"), DbType.VALID),
        (key_for(b"another", A, FAR, "stream1"), DbType.INVALID),
        (key_for(SECRET, A, OTHER, "stream1"), DbType.INVALID),
        (key_for(SECRET, A, FAR, "stream2"), DbType.INVALID),
        ("", DbType.INVALID),
    ],
)
def test_server_asks_whether_a_key_is_ours(scene: Scene, key: str, told: DbType) -> None:
    """In every outside domain's name we know our own keys, for that pair and stream, and no other."""
    stream = scene.dial()
    stream.ask_verify(A, FAR, "stream1", key)
    scene.settle()
    assert scene.server.trust.heard == [("verified", (FAR, A, "stream1", told))]


def test_key_for_a_domain_that_is_not_the_servers(scene: Scene) -> None:
    """No other receiving domain is told anything good, though the key be ours."""
    stream = scene.dial()
    stream.ask_verify("b.example", FAR, "stream1", key_for(SECRET, "b.example", FAR, "stream1"))
    scene.settle()
    assert scene.server.trust.heard == [("verified", (FAR, "b.example", "stream1", DbType.INVALID))]


def test_key_that_is_said_to_the_server_is_ours(scene: Scene) -> None:
    """What we claim with is what we answer for: made for this pair and the server's stream."""
    scene.send()
    (claim,) = [said for what, said in scene.server.trust.heard if what == "claim"]
    (stream,) = scene.opened
    assert claim == (FAR, A, key_for(SECRET, A, FAR, stream.machine.stream_id))


# -- to the server -----------------------------------------------------------------------------------------


def pong(scene: Scene) -> None:
    """The server answers pings, on a stream of its own."""
    back = proved(scene)
    scene.server.pong(back)
    scene.settle()


def test_router_reaches_the_server(scene: Scene) -> None:
    """A stream in the outside domain's name is opened; the message goes out on it, and its outcome comes."""
    number = scene.send()
    assert scene.addresses == [("10.0.0.5", 5269)]
    assert [(one.own, one.other) for one in scene.opened] == [(FAR, A)]
    assert len(scene.arrived()) == 1
    assert number not in scene.world.outcomes
    pong(scene)
    assert scene.world.outcomes == {number: SUCCESS}


def test_more_go_on_the_same_stream(scene: Scene) -> None:
    """What is there is used."""
    for ident in "123":
        scene.send(ident)
    assert len(scene.opened) == 1
    assert len(scene.arrived()) == 3


def test_outside_domains_share_a_stream_where_dialback_proves(scene: Scene) -> None:
    """Each is claimed for itself on it."""
    other = scene.also(OTHER)
    scene.send()
    scene.send(from_=OTHER, by=other)
    assert len(scene.opened) == 1
    assert [said[0] for what, said in scene.server.trust.heard if what == "claim"] == [FAR, OTHER]  # type: ignore[index]
    assert len(scene.arrived()) == 2


def test_server_that_refuses_an_outside_domain(scene: Scene) -> None:
    """The message is answered with the reason; for a while nobody asks again, then it is tried anew."""
    scene.server.trust.true.clear()
    number = scene.send()
    outcome = scene.world.outcomes[number]
    assert (outcome.status, outcome.reason) == (Status.FAILURE, Reason.SERVICE_DOWN)
    assert outcome.retry_after_s > 0
    asked = len(scene.server.trust.heard)
    assert scene.world.outcomes[scene.send("2")].reason is Reason.SERVICE_DOWN
    assert len(scene.server.trust.heard) == asked
    scene.server.trust.true.add((FAR, A))
    scene.pass_time(6)
    scene.send("3")
    assert len(scene.arrived()) == 1


def test_server_that_cannot_be_reached(scene: Scene) -> None:
    """Nobody waits for it: each message is answered, and connections are tried less and less often."""
    scene.reachable = False
    for _ in range(40):
        scene.send()
        scene.pass_time(1)
    assert len(scene.world.outcomes) == 40
    assert {outcome.reason for outcome in scene.world.outcomes.values()} == {Reason.SERVICE_DOWN}
    assert 4 <= len(scene.addresses) <= 7
    scene.reachable = True
    scene.pass_time(31)
    scene.send()
    assert len(scene.arrived()) == 1


def test_stream_that_is_lost(scene: Scene) -> None:
    """What was written and not confirmed is in doubt; the next message opens a new stream."""
    number = scene.send()
    scene.cut()
    outcome = scene.world.outcomes[number]
    assert (outcome.status, outcome.reason) == (Status.INDETERMINANT, Reason.LINK_LOST)
    scene.send("2")
    assert len(scene.opened) == 2
    assert len(scene.arrived()) == 2


def test_stream_that_is_lost_while_it_is_claimed_on() -> None:
    """Another one is opened for what waits: the server ends its streams when it is told to."""
    scene = Scene()
    claim_in = scene.server.trust.claim_in
    scene.server.trust.claim_in = lambda *_: None  # type: ignore[method-assign]
    number = scene.send()
    scene.server.trust.claim_in = claim_in  # type: ignore[method-assign]
    scene.cut()
    scene.settle()
    assert len(scene.opened) == 2
    assert len(scene.arrived()) == 1
    pong(scene)
    assert scene.world.outcomes == {number: SUCCESS}


def test_streams_that_are_lost_while_they_are_claimed_on() -> None:
    """Whoever waits is answered at the second one, not when his patience ends; soon it is tried anew."""
    scene = Scene()
    scene.server.trust.claim_in = lambda *_: None  # type: ignore[method-assign]
    number = scene.send()
    scene.cut()
    scene.settle()
    assert number not in scene.world.outcomes
    scene.cut()
    assert scene.world.outcomes[number].reason is Reason.SERVICE_DOWN
    assert scene.world.outcomes[scene.send("2")].reason is Reason.SERVICE_DOWN
    assert len(scene.opened) == 2
    scene.pass_time(1)
    scene.send("3")
    assert len(scene.opened) == 3


def test_what_waits_is_bounded_in_time() -> None:
    """A server that does not answer a claim keeps nobody waiting for longer than `hold_s`."""
    scene = Scene(hold_s=3.0)
    scene.server.trust.claim_in = lambda *_: None  # type: ignore[method-assign]
    number = scene.send()
    scene.pass_time(5)
    assert scene.world.outcomes[number].reason is Reason.SERVICE_DOWN


@pytest.mark.parametrize("settings", [{"hold_count": 2}, {"hold_bytes": 400}])
def test_what_waits_is_bounded_in_number_and_bytes(settings: dict[str, int]) -> None:
    """One more is answered `busy`; the others go once the claim is taken."""
    scene = Scene(**settings)
    claims: list[tuple[StreamLink, Db]] = []
    scene.server.trust.claim_in = lambda *claim: claims.append(claim)  # type: ignore[method-assign]
    numbers = [scene.send(str(n)) for n in range(4)]
    busy = [one for one in numbers if one in scene.world.outcomes]
    assert busy == numbers[2:]
    assert {scene.world.outcomes[one].reason for one in busy} == {Reason.BUSY}
    ((session, db),) = claims
    scene.server.trust.prove(session, db.from_, db.to)
    session.answer_claim(db.to, db.from_, DbType.VALID)
    scene.settle()
    assert len(scene.arrived()) == 2


def test_idle_streams_of_ours_are_closed() -> None:
    """After a while without stanzas; the next message opens one again."""
    scene = Scene(idle_s=20.0)
    scene.send()
    pong(scene)
    scene.pass_time(30)
    assert scene.opened[0].gone
    scene.send("2")
    assert len(scene.opened) == 2


# -- whether the server answers ------------------------------------------------------------------------------


def asks(scene: Scene, seconds: int) -> list[bool]:
    """Whether it is there, asked every second."""
    found = []
    for _ in range(seconds):
        found.append(scene.pool.is_there(FAR, A))
        scene.pass_time(1)
    return found


def test_a_server_is_asked_for_where_nobody_knows(scene: Scene) -> None:
    """After a start, and after a stream broke; an idle stream that was closed says nothing."""
    assert asks(scene, 2) == [False, True]
    assert len(scene.opened) == 1
    scene.cut()
    assert asks(scene, 2) == [False, True]
    assert len(scene.opened) == 2
    scene.opened[-1].close(Reason.IDLE)
    scene.settle()
    assert asks(scene, 3) == [True] * 3
    assert len(scene.opened) == 2


def test_a_server_that_is_gone_is_tried_until_it_is_back(scene: Scene) -> None:
    """With the pauses of the pool; at once where it opens a stream itself."""
    scene.send()
    scene.cut()
    scene.reachable = False
    assert not any(asks(scene, 12))
    tried = len(scene.addresses)
    assert 4 <= tried <= 6
    scene.reachable = True
    proved(scene)
    assert asks(scene, 2)[-1]
    assert len(scene.addresses) == tried + 1


def test_a_server_that_takes_connections_and_says_nothing_is_not_there() -> None:
    """One that refuses a domain is: it has answered."""
    for takes, there in (("claim_in", False), ("nothing", True)):
        scene = Scene()
        if takes == "claim_in":
            scene.server.trust.claim_in = lambda *_: None  # type: ignore[method-assign]
        else:
            scene.server.trust.true.clear()
        asks(scene, 30)
        assert scene.pool.is_there(FAR, A) is there


def test_what_is_the_gateway_s_own_needs_no_stream(scene: Scene) -> None:
    """A NOTIFY for a user of the server is answered while the server is down: its stanza waits, not it."""
    scene.reachable = False
    scene.router.edge.operations[RecordType.MESSAGE] = SUCCESS
    number = scene.message()
    assert scene.world.outcomes[number] == SUCCESS
    assert scene.addresses == []


def test_streams_of_the_inside_are_held_to_what_all_are() -> None:
    """Times, and how it is known what arrived; nothing is told of idle time to a server behind us."""

    class Short(HeldTo):
        def confirm(self, other: str) -> Confirm:
            return Confirm.WRITTEN if other == A else Confirm.PING

        def settings(self) -> StreamSettings:
            return StreamSettings(dead_s=3.0, idle_s=7.0)

    scene = Scene(Short())
    scene.send()
    terms = scene.opened[0].machine.terms
    assert (terms.settings.dead_s, terms.confirm) == (3.0, Confirm.WRITTEN)
    accepted = scene.inside.accept()
    settings = scene.inside.terms(accepted).settings
    assert (settings.dead_s, settings.idle_s) == (3.0, 0)
