"""The router ends its streams with servers behind it in order: nothing that lay in a socket is lost."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from imxrouter.gateways.xmpp.streams.leaving import CONFIRMED_S, LEAVE_S, THEIRS_S, Leaving
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.link.machine import LinkState
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.streams.inside_rig import FAR, Scene
from tests.gateways.xmpp.streams.rig import A


@pytest.fixture
def scene() -> Scene:
    """A router and a server behind it."""
    return Scene()


class Ending:
    """The end of a scene's streams."""

    def __init__(self, scene: Scene, only: str = "") -> None:
        self._scene = scene
        self._leaving = Leaving((scene.inside,), [scene.pool], scene.clock.seconds, only)
        self.done: Deferred[None] = self._leaving.begin()

    def steps(self, seconds: float) -> None:
        """Let time pass in steps of the router."""
        for _ in range(round(seconds * 20)):
            self._scene.clock.advance(0.05)
            self._leaving.step()
            self._scene.settle()


def proved(scene: Scene) -> XmppSession:
    """A stream of the server's to an outside domain, proved."""
    stream = scene.dial(FAR)
    stream.claim(A, FAR, "any key")
    scene.settle()
    return stream


def says(stream: XmppSession, scene: Scene, ident: str = "9") -> None:
    """A message of one of the server's users is written; it is not brought yet."""
    raw = f"<message from='alice@{A}' to='bob@{FAR}' id='{ident}'><body>hi</body></message>".encode()
    stream.perform(stream.machine.stanzas([raw], [None], scene.clock.seconds()))


def test_what_lay_in_the_socket_still_comes(scene: Scene) -> None:
    """A message that crosses our end is routed, then the server's end is there and the stream is over."""
    stream = proved(scene)
    says(stream, scene)
    Ending(scene)
    assert scene.world.requests == []
    scene.settle()
    assert len(scene.world.requests) == 1
    assert (scene.router.errors, scene.server.errors) == ([], [])
    assert stream.gone


def test_it_waits_for_the_answer_to_what_came(scene: Scene) -> None:
    """The stream on which an error would be told stays until there is none to be told."""
    scene.send()
    (ours,) = scene.opened
    stream = proved(scene)
    says(stream, scene)
    ending = Ending(scene)
    scene.settle()
    ending.steps(THEIRS_S / 2)
    assert ours.machine.state is LinkState.OPEN
    assert not ending.done.called


def test_nothing_is_left_and_it_is_done_at_once(scene: Scene) -> None:
    """Streams both ways end without a stream error, long before the time is over."""
    scene.server.service.outcome = scene.world.outcome = SUCCESS
    number = scene.send()
    scene.router.pong(scene.opened[0])
    scene.settle()
    stream = proved(scene)
    says(stream, scene)
    scene.settle()
    scene.server.pong(stream)
    scene.settle()
    ending = Ending(scene)
    ending.steps(0.3)
    assert ending.done.called
    assert not scene.inside.sessions
    assert (scene.router.errors, scene.server.errors) == ([], [])
    assert scene.world.outcomes[number].reason is SUCCESS.reason
    assert len(scene.world.requests) == 1


def _deaf(data: bytes) -> None:
    """Read nothing."""
    del data


def test_a_server_that_says_nothing_keeps_it_for_a_while_only(scene: Scene) -> None:
    """It is over after its time, and what is left can be cut."""
    stream = proved(scene)
    stream.dataReceived = _deaf  # type: ignore[method-assign]
    ending = Ending(scene)
    ending.steps(LEAVE_S - 0.2)
    assert not ending.done.called
    ending.steps(0.3)
    assert ending.done.called


def test_no_stream_is_opened_any_more(scene: Scene) -> None:
    """A message that comes once ours are leaving is answered that the router goes out of service."""
    ending = Ending(scene)
    ending.steps(0.2)
    assert ending.done.called
    number = scene.send()
    assert scene.opened == []
    assert scene.world.outcomes[number].status is failure(Reason.SERVICE_DOWN).status


def test_what_was_written_waits_for_its_confirmation(scene: Scene) -> None:
    """The stream that it went out on stays for `CONFIRMED_S`, and for none longer."""
    number = scene.send()
    (ours,) = scene.opened
    ending = Ending(scene)
    ending.steps(CONFIRMED_S - 0.1)
    assert ours.machine.state is LinkState.OPEN
    assert number not in scene.world.outcomes
    ending.steps(0.2)
    assert ours.gone
    assert scene.world.outcomes[number].reason is Reason.LINK_LOST


def test_ours_wait_a_while_only_for_servers_that_do_not_end_theirs(scene: Scene) -> None:
    """Something may still come on what they opened, and be answered on ours: until `THEIRS_S` have passed."""
    scene.server.service.outcome = SUCCESS
    scene.send()
    (ours,) = scene.opened
    scene.router.pong(ours)
    scene.settle()
    stream = proved(scene)
    scene.server.pong(stream)
    scene.settle()
    assert scene.pool.is_confirmed(ours)
    stream.dataReceived = _deaf  # type: ignore[method-assign]
    ending = Ending(scene)
    ending.steps(THEIRS_S - 0.1)
    assert (ours.machine.state, scene.inside.leaves) == (LinkState.OPEN, False)
    ending.steps(0.2)
    assert (ours.gone, scene.inside.leaves) == (True, True)


def test_one_service_leaves_and_the_others_stay(scene: Scene) -> None:
    """Their streams go on, and new ones may be opened; of the one that leaves none is."""
    scene.send()
    (others,) = scene.opened
    others.service = "other"
    stream = proved(scene)
    ending = Ending(scene, only="chat")
    ending.steps(0.3)
    assert ending.done.called
    assert stream.gone
    assert others.machine.state is LinkState.OPEN
    assert (scene.pool.leaves, scene.inside.leaves) == (True, False)


def test_an_end_that_is_not_wanted_any_more_ends_nothing(scene: Scene) -> None:
    """The router is in service again: what stands stays, and a later end has all of its time."""
    scene.send()
    (ours,) = scene.opened
    first = Ending(scene)
    first._leaving.stop()
    first.steps(LEAVE_S + 1)
    assert (ours.machine.state, first.done.called) == (LinkState.OPEN, False)
    again = first._leaving.begin()
    first.steps(CONFIRMED_S - 0.1)
    assert (ours.machine.state, again.called) == (LinkState.OPEN, False)
