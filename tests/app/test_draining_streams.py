"""`imxctl drain` of a router with streams: they end in order, nobody new is taken, until `undrain`."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress

import pytest

from imxrouter.app.router import Router
from imxrouter.config.load import Document, parse
from imxrouter.gateways.xmpp.heard import StreamEnd
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.model.address import Address
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.draining import DrainState
from tests.app.test_components import ALICE, BOB, BOB_FAR, BRIDGE, FAR, Attached, message, pinged
from tests.app.test_reload_inside import Behind, Z, server
from tests.attacks.stream_routers import a_proved_stream, a_server, wait_for_message, xmpp_router
from tests.doubles.component import HostRig
from tests.doubles.raw_peer import Endpoint
from tests.doubles.router_rig import Lab, RouterRig
from tests.doubles.xmpp import XmppPeer


def drain(rig: RouterRig, deadline_s: float = 20.0) -> None:
    """Begin."""
    rig.call(lambda: rig.router.draining.drain(deadline_s))


def drained(lab: Lab, rig: RouterRig) -> None:
    """Wait until it is."""
    lab.wait_until(lambda: rig.router.drain.state is DrainState.DRAINED, "it is drained")


def undrain(lab: Lab, rig: RouterRig, *places: Endpoint) -> None:
    """Take it back into service, and wait until it listens."""
    rig.call(rig.router.draining.undrain)
    lab.wait_until(lambda: all(listens(one) for one in places), "it listens again")


def listens(place: Endpoint) -> bool:
    """Whether a connection is taken there."""
    with suppress(ConnectionRefusedError), socket.create_connection(place):
        return True
    return False


def until_its_end(peer: XmppPeer) -> None:
    """Pass over what it says before; pings are not answered."""
    while not isinstance(peer.next(), StreamEnd):
        pass


def _inbox(rig: RouterRig, user: str) -> Sequence[object]:
    """As the reactor's thread may look at it."""
    address = Address.parse(user)
    service = rig.router.embedded_for(address)
    return service.inbox(address) if service is not None else ()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as made:
        yield made


# -- servers behind the router ---------------------------------------------------------------------------


def test_the_server_behind_is_left_and_taken_again(lab: Lab, stack: ExitStack) -> None:
    """Both streams end without an error, what crossed is passed on; then nobody listens, until `undrain`."""
    one = server(stack, "a.example")
    behind = Behind(lab, stack, ("chat", one))
    theirs = behind.stream(one)
    behind.writes(one, "before")
    drain(behind.rig)
    assert isinstance(theirs.next(), StreamEnd)
    assert not listens(behind.inside), "who is told and comes again must find that at once"
    behind.hears(theirs, one, "it crossed your end")
    assert behind.rig.router.drain.state is DrainState.MOVING
    theirs.end()
    theirs.until_closed()
    drained(lab, behind.rig)
    assert behind.streams() == set()
    assert isinstance(one.peers[-1].log[-1], StreamEnd)
    assert behind.rig.send(f"alice@{Z}", "bob@a.example").outcome().reason is Reason.SHUTTING_DOWN
    assert len(one.peers) == 1
    undrain(lab, behind.rig, behind.inside)
    behind.writes(one, "after")
    behind.hears(behind.stream(one), one, "after as well")


def test_a_message_that_waits_for_its_ping_is_waited_for(lab: Lab, stack: ExitStack) -> None:
    """The server answers it on a stream of its own, so that one ends after that; new ones are refused."""
    one = server(stack, "a.example")
    behind = Behind(lab, stack, ("chat", one), **{"xmpp.confirm": "ping"})
    one.reply = theirs = behind.stream(one)
    waits = behind.rig.send(f"alice@{Z}", "bob@a.example", "just before")
    one.reply = None
    one.wait_for(lambda each: each.stanzas)
    lab.wait_until(lambda: _pings(one.peers[-1]), "the ping")
    drain(behind.rig)
    refused = behind.rig.send(f"alice@{Z}", "bob@a.example", "too late")
    assert refused.outcome().reason is Reason.SHUTTING_DOWN
    assert not waits.outcomes
    one.reply = theirs
    for ping in _pings(one.peers[-1]):
        one._take(ping, theirs)
    assert waits.outcome().ok, waits.outcome()
    assert isinstance(theirs.next(), StreamEnd)
    assert len(one.stanzas) == 1
    theirs.end()
    drained(lab, behind.rig)


def _pings(peer: XmppPeer) -> list[Stanza]:
    return [one for one in peer.log if isinstance(one, Stanza) and b"urn:xmpp:ping" in one.raw]


def test_a_server_that_comes_while_it_is_left_is_told_why(lab: Lab, stack: ExitStack) -> None:
    """It must still find us, to ask for the key of a stream of ours; a claim gets `system-shutdown`."""
    one = server(stack, "a.example")
    one.conduct.dialback = ""
    behind = Behind(lab, stack, ("chat", one))
    theirs = behind.stream(one)
    waits = behind.rig.send(f"alice@{Z}", "bob@a.example")
    one.wait_for(lambda each: each.claimed)
    drain(behind.rig)
    assert isinstance(theirs.next(), StreamEnd)
    late = one.connect(behind.inside)
    late.open("a.example", Z)
    assert late.ask("a.example", Z, "some id", "no key of ours") == "invalid"
    late.claim("a.example", Z, b"any key")
    assert late.error() is Condition.SYSTEM_SHUTDOWN
    theirs.end()
    drained(lab, behind.rig)
    assert waits.outcome().reason is Reason.SERVICE_DOWN
    assert not listens(behind.inside)


def test_a_server_that_does_not_end_its_stream_does_not_keep_the_router(lab: Lab, stack: ExitStack) -> None:
    """After its time the stream is cut, and the drain is over."""
    one = server(stack, "a.example")
    behind = Behind(lab, stack, ("chat", one))
    theirs = behind.stream(one)
    drain(behind.rig, 4.0)
    drained(lab, behind.rig)
    assert behind.streams() == set()
    theirs.close()


def test_undrain_in_the_midst(lab: Lab, stack: ExitStack) -> None:
    """A stream that was told to end does, others are taken again, and nothing else of the drain goes on."""
    one = server(stack, "a.example")
    behind = Behind(lab, stack, ("chat", one))
    theirs = behind.stream(one)
    behind.writes(one, "before")
    ours = {each.number for each in behind.rig.router.behind.streams() if each.side.name == "OPENER"}
    drain(behind.rig)
    assert isinstance(theirs.next(), StreamEnd)
    undrain(lab, behind.rig, behind.inside)
    behind.hears(behind.stream(one), one, "again")
    assert ours <= behind.streams()
    behind.writes(one, "after")
    assert len(one.peers) == 1


def test_one_that_starts_drained_listens_after_undrain(lab: Lab, stack: ExitStack) -> None:
    """Out of service from its first moment: not even its sockets for streams are open."""
    one = server(stack, "a.example")
    behind = Behind(lab, stack, ("chat", one))
    drain(behind.rig)
    drained(lab, behind.rig)
    behind.rig.stop()
    config = parse(Document(str(behind.rig.file), behind.file.text)).config
    behind.rig.router = behind.rig.call(lambda: Router(config, lab.thread.reactor, ask=lab.zones.ask))
    behind.rig.start()
    assert not listens(behind.inside)
    undrain(lab, behind.rig, behind.inside)
    behind.writes(one, "after")
    behind.hears(behind.stream(one), one, "after as well")


# -- servers of others -----------------------------------------------------------------------------------


def test_streams_of_strangers(lab: Lab, stack: ExitStack) -> None:
    """What they opened ends, what crossed is delivered, they find nobody; after `undrain` all is as ever."""
    a, place = xmpp_router(lab, "a.example", settings={"xmpp.confirm": "written"})
    stranger = stack.enter_context(a_server(lab, "m.example"))
    head = "<message from='eve@m.example' to='alice@a.example' type='chat'>"
    theirs = a_proved_stream(stranger, place, "a.example")
    drain(a)
    assert isinstance(theirs.next(), StreamEnd)
    theirs.send(f"{head}<body>it crossed your end</body></message>")
    wait_for_message(lab, a, "alice@a.example")
    assert a.router.drain.state is DrainState.MOVING
    theirs.end()
    theirs.until_closed()
    drained(lab, a)
    assert not listens(place)
    undrain(lab, a, place)
    a_proved_stream(stranger, place, "a.example").send(f"{head}<body>after</body></message>")
    lab.wait_until(lambda: len(_inbox(a, "alice@a.example")) == len(("crossed", "after")), "it arrives")


# -- components ------------------------------------------------------------------------------------------


@pytest.fixture
def attached(lab: Lab) -> Iterator[Attached]:
    """Both streams are there."""
    made = Attached(lab)
    yield made
    for peer in made.streams.values():
        peer.close()
    made.server.close()


def test_where_we_are_a_component_it_ends_and_comes_back(attached: Attached) -> None:
    """What the server writes behind our end is passed on; we attach again after `undrain`, and not before."""
    stream = attached.streams[FAR]
    drain(attached.rig)
    assert isinstance(stream.next(), StreamEnd)
    stream.says(ALICE, BOB_FAR, "it crossed your end")
    assert attached.far_inbox() == [(ALICE, "it crossed your end")]
    for one in attached.streams.values():
        one.end()
        one.until_closed()
    drained(attached.lab, attached.rig)
    attached.rig.call(attached.rig.router.draining.undrain)
    for _ in range(2):
        peer = attached.server.accept()
        attached.streams[peer.take()] = peer
    sent = attached.far.send(BOB_FAR, ALICE, "hello again")
    assert b"hello again" in message(attached.streams[FAR]).raw
    pinged(attached.streams[FAR])
    assert sent.outcome().ok


def test_what_is_on_its_way_to_the_server_is_confirmed_before_the_end(attached: Attached) -> None:
    """Its ping is answered on the same stream, so that one stays until it is."""
    sent = attached.far.send(BOB_FAR, ALICE, "just before")
    assert b"just before" in message(attached.streams[FAR]).raw
    drain(attached.rig)
    until_its_end(attached.streams["b.example"])
    assert not sent.outcomes
    pinged(attached.streams[FAR])
    assert sent.outcome().ok
    until_its_end(attached.streams[FAR])
    for one in attached.streams.values():
        one.end()
    drained(attached.lab, attached.rig)


def test_a_bridge_is_left_and_taken_again(lab: Lab) -> None:
    """Its stream ends, what crossed arrives; it is refused while the router is drained."""
    host = HostRig(lab, BRIDGE)
    peer = host.connect()
    peer.attach(BRIDGE)
    drain(host.rig)
    assert isinstance(peer.next(), StreamEnd)
    peer.says(f"alice@{BRIDGE}", BOB, "it crossed your end")
    wait_for_message(lab, host.rig, BOB)
    peer.end()
    peer.until_closed()
    drained(lab, host.rig)
    assert not listens(host.endpoint)
    undrain(lab, host.rig, host.endpoint)
    again = host.connect()
    again.attach(BRIDGE)
    again.says(f"alice@{BRIDGE}", BOB, "again")
    lab.wait_until(lambda: len(_inbox(host.rig, BOB)) == len(("crossed", "again")), "it arrives")
