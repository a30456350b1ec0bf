"""The pool of a service: what it holds for a stream, what it answers by itself, what it forgets."""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp.steps import Step
from imxrouter.gateways.xmpp.streams import pool
from imxrouter.gateways.xmpp.streams.pool import PoolSettings
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.vocabulary import Reason, Status
from tests.gateways.xmpp.streams.inside_rig import FAR, OTHER, Scene
from tests.gateways.xmpp.streams.rig import A


@pytest.fixture
def scene() -> Scene:
    """A router and a server behind it."""
    return Scene()


def proved(scene: Scene) -> XmppSession:
    """A stream of the server's to an outside domain, proved."""
    stream = scene.dial(FAR)
    stream.claim(A, FAR, "any key")
    scene.settle()
    return stream


def says(stream: XmppSession, scene: Scene) -> None:
    """A message of one of the server's users."""
    raw = f"<message from='alice@{A}' to='bob@{FAR}' id='9'><body>hi</body></message>".encode()
    stream.perform(stream.machine.stanzas([raw], [None], scene.clock.seconds()))
    scene.settle()


def test_what_becomes_of_the_servers_stanzas_is_the_edges_to_tell(scene: Scene) -> None:
    """A success and a failure alike, each once, though the pool stands between."""
    stream = proved(scene)
    refused = failure(Reason.TOO_LARGE, role="service")
    for outcome in (SUCCESS, refused):
        scene.world.outcome = outcome
        says(stream, scene)
    assert [one.reason for one in scene.router.edge.answers] == [SUCCESS.reason, Reason.TOO_LARGE]
    assert not scene.pool.is_asking
    assert scene.opened == []


def test_a_domain_that_is_the_services_no_more(scene: Scene) -> None:
    """What its server says in its name goes no further, though the stream is still there."""
    stream = proved(scene)
    scene.pool.unbind(A.encode())
    says(stream, scene)
    assert scene.world.requests == []
    scene.pool.bind(A.encode(), 0.0, 10.0)
    says(stream, scene)
    assert len(scene.world.requests) == 1


def test_out_of_service_only_answers_go_out(scene: Scene) -> None:
    """What is new is answered at once, and nothing is opened for it; an answer still goes its way."""
    scene.send()
    scene.pool.hushed = True
    number = scene.send("2")
    outcome = scene.world.outcomes[number]
    assert (outcome.status, outcome.reason) == (Status.FAILURE, Reason.SHUTTING_DOWN)
    scene.world.send(f"<presence from='bob@{FAR}' to='alice@{A}' type='error'/>".encode(), FAR, A)
    scene.settle()
    assert [b"<presence" in body for body in scene.arrived()] == [False, True]


def test_a_server_that_reads_nothing_is_sent_nothing_more(scene: Scene) -> None:
    """What comes for its stream meanwhile is answered `busy`, and does not wait in memory."""
    scene.send()
    (stream,) = scene.opened
    stream.port.shedding = True
    number = scene.send("2")
    outcome = scene.world.outcomes[number]
    assert (outcome.status, outcome.reason) == (Status.FAILURE, Reason.BUSY)
    assert outcome.retry_after_s > 0
    stream.port.shedding = False
    scene.send("3")
    assert [b"id='2'" in body for body in scene.arrived()] == [False, False]


def test_the_room_for_what_waits_is_used_up_and_given_back() -> None:
    """To the byte; what has gone or was answered makes room for as much."""
    scene = Scene()
    scene.server.trust.claim_in = lambda *_: None  # type: ignore[method-assign]
    scene.send()
    scene.pool.settings = PoolSettings(hold_bytes=2 * scene.pool._held_bytes)
    assert scene.send("2") not in scene.world.outcomes
    assert scene.world.outcomes[scene.send("3")].reason is Reason.BUSY
    scene.pool.failed((FAR, A), Reason.DIALBACK_REFUSED, "not now")
    assert len(scene.world.outcomes) == 3
    assert scene.pool._held_bytes == 0


def test_pairs_that_go_by_one_stream_are_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that came first is asked for again when it is wanted; the others go on."""
    monkeypatch.setattr(pool, "WAYS_AT_MOST", 2)
    scene.send()
    (stream,) = scene.opened
    for name in ("1.example", "2.example"):
        scene.pool.ready((name, A), stream)
    ways = [scene.pool.way(name, A) for name in (FAR, "1.example", "2.example")]
    assert ways == [None, stream, stream]
    assert len(scene.pool._members[stream.number].pairs) == 2
    scene.server.trust.heard.clear()
    scene.send("2")
    assert [what for what, _ in scene.server.trust.heard] == ["claim"]
    assert len(scene.arrived()) == 2
    scene.cut()
    assert not scene.pool._ways


def test_pairs_that_were_refused_are_remembered_within_a_bound(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger chooses the names of outside domains; the oldest is forgotten, and asked for again."""
    monkeypatch.setattr(pool, "REFUSED_AT_MOST", 2)
    for name in ("1.example", "2.example", "3.example"):
        scene.pool.failed((name, A), Reason.DIALBACK_REFUSED, "no")
    assert list(scene.pool._refused) == [("2.example", A), ("3.example", A)]


def test_a_stream_is_not_idle_while_something_on_it_is_not_confirmed() -> None:
    """It would be in doubt for no reason; once it is confirmed the stream is closed."""
    scene = Scene(idle_s=20.0)
    scene.send()
    (stream,) = scene.opened
    scene.pass_time(25)
    assert not stream.gone
    scene.server.pong(proved(scene))
    scene.settle()
    scene.pass_time(25)
    assert stream.gone


def test_a_server_that_is_elsewhere_is_tried_at_once(scene: Scene) -> None:
    """What failed at the old place says nothing: neither that it is gone nor that it refused a pair."""
    scene.send()
    assert scene.pool.is_there(FAR, A)
    scene.pool.failed((FAR, A), Reason.DIALBACK_REFUSED, "no")
    scene.cut()
    scene.reachable = False
    scene.send(from_=OTHER, by=scene.also(OTHER))
    scene.reachable = True
    scene.pool.anew()
    assert not scene.pool.is_there(FAR, A)
    scene.send("2")
    assert len(scene.arrived()) == 2


def test_what_waited_behind_a_stream_that_began_anew_is_answered_when_it_is_lost(scene: Scene) -> None:
    """SASL proves the pair before the stream is there again; what was not written is known to have failed."""
    scene.send()
    (stream,) = scene.opened
    stream.machine.step = Step.HEADER
    number = scene.send("2")
    assert number not in scene.world.outcomes
    scene.cut()
    outcome = scene.world.outcomes[number]
    assert (outcome.status, outcome.reason) == (Status.FAILURE, Reason.LINK_LOST)
    assert len(scene.arrived()) == 1
    assert scene.pool.all_confirmed
