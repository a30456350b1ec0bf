"""Bridges that attach to a router, and a router that attaches to an operator's server (XEP-0114)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from imxrouter.app.operators.console import Console
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.switch import slots
from tests.attacks.stream_routers import wait_for_message
from tests.doubles.component import (
    ComponentPeer,
    ComponentServer,
    HostRig,
    attached_table,
    secret_file,
)
from tests.doubles.host_rig import two_processes
from tests.doubles.raw_peer import text_message
from tests.doubles.reload_rig import Reloadable, lines
from tests.doubles.router_rig import Lab, RouterRig, Sent, free_port, fresh_address

BRIDGE, MORE, BOB = "bridge.example", "more.example", "bob@b.example"
A, FAR, BOB_FAR = "a.example", "far.example", "bob@far.example"
ALICE = f"alice@{A}"


def pinged(peer: ComponentPeer) -> None:
    """Answer the next ping, from whom it was to."""
    while True:
        one = peer.stanza()
        if one.kind == "iq" and b"urn:xmpp:ping" in one.raw:
            peer.pong(one.ident, one.to, one.from_)
            return


def message(peer: ComponentPeer) -> Stanza:
    """The next message."""
    while True:
        one = peer.stanza()
        if one.kind == "message":
            return one


# -- bridges that attach here ------------------------------------------------------------------------------


def test_bridge_and_a_user_write_to_each_other(lab: Lab) -> None:
    """As users of two domains do; a message is delivered when the bridge has answered the ping behind it."""
    host = HostRig(lab, BRIDGE)
    peer = host.connect()
    peer.attach(BRIDGE)
    peer.says(f"alice@{BRIDGE}/home", BOB, "hello")
    wait_for_message(lab, host.rig, BOB)
    assert host.rig.inbox(BOB) == [(f"alice@{BRIDGE}", "hello")]
    sent = host.rig.send(BOB, f"alice@{BRIDGE}", "and hello to you")
    got = message(peer)
    assert (got.from_, got.to) == (BOB, f"alice@{BRIDGE}")
    assert b"<body>and hello to you</body>" in got.raw
    assert sent.outcomes == []
    pinged(peer)
    assert sent.outcome().status is Status.SUCCESS


def test_bridge_that_is_not_there(lab: Lab) -> None:
    """Its users cannot be reached, and that is said at once; when it has come they can."""
    host = HostRig(lab, BRIDGE)
    assert host.rig.send(BOB, f"alice@{BRIDGE}").outcome().reason is Reason.SERVICE_DOWN
    peer = host.connect()
    peer.attach(BRIDGE)
    sent = host.rig.send(BOB, f"alice@{BRIDGE}")
    pinged(peer)
    assert sent.outcome().ok
    peer.close()
    lab.wait_until(lambda: not host.rig.router.hub.sessions, "it has gone")
    assert host.rig.send(BOB, f"alice@{BRIDGE}").outcome().reason is Reason.SERVICE_DOWN


def test_errors_pass_both_ways(lab: Lab) -> None:
    """An error of the bridge is the outcome; what cannot be delivered for it, it is told."""
    host = HostRig(lab, BRIDGE)
    peer = host.connect()
    peer.attach(BRIDGE)
    sent = host.rig.send(BOB, f"nobody@{BRIDGE}")
    got = message(peer)
    error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    peer.send(f"<message type='error' from='{got.to}' to='{got.from_}' id='{got.ident}'>{error}</message>")
    pinged(peer)
    assert sent.outcome().reason is Reason.PEER_FAILED or not sent.outcome().ok
    peer.says(f"alice@{BRIDGE}", "nobody@b.example")
    told = message(peer)
    assert (told.type, told.from_, told.to) == ("error", "nobody@b.example", f"alice@{BRIDGE}")


def test_service_with_several_domains(lab: Lab) -> None:
    """Its component attaches by one of them, speaks for all, and gets what is for each."""
    more = f'[[domain]]\nname = "{MORE}"\nservice = "{BRIDGE}"\n'
    host = HostRig(lab, BRIDGE, tables=more)
    peer = host.connect()
    peer.attach(MORE)
    peer.says(f"alice@{BRIDGE}", BOB, "one")
    peer.says(f"alice@{MORE}", BOB, "two")
    lab.wait_until(lambda: len(host.rig.router.embedded["home"].inbox(Address.parse(BOB))) == 2, "both")
    for name in (BRIDGE, MORE):
        host.rig.send(BOB, f"alice@{name}")
        assert message(peer).to == f"alice@{name}"
        pinged(peer)


def test_bridge_of_which_two_come(lab: Lab) -> None:
    """The second is told that there is a conflict; after the first has gone it is taken."""
    host = HostRig(lab, BRIDGE)
    first, second = host.connect(), host.connect()
    first.attach(BRIDGE)
    second.begin(BRIDGE)
    second.prove()
    assert second.error() is Condition.CONFLICT
    assert host.rig.refusals(Reason.OVER_CAP) == 1
    first.close()
    lab.wait_until(lambda: not host.rig.router.hub.sessions, "the first has gone")
    host.connect().attach(BRIDGE)


def test_name_that_is_no_component(lab: Lab) -> None:
    """A domain of another service is none, whoever knows a secret."""
    host = HostRig(lab, BRIDGE)
    for name in ("b.example", "stranger.example"):
        peer = host.connect()
        peer.begin(name)
        assert peer.error() is Condition.HOST_UNKNOWN
    assert host.rig.refusals(Reason.RELAY_DENIED) == 2


def test_large_stanza_after_the_proof(lab: Lab) -> None:
    """Who is proved may say more at once than a stranger."""
    host = HostRig(lab, BRIDGE)
    peer = host.connect()
    peer.attach(BRIDGE)
    peer.says(f"alice@{BRIDGE}", BOB, "x" * 15_000)
    wait_for_message(lab, host.rig, BOB)


def test_bridge_among_the_links(lab: Lab) -> None:
    """An operator sees it as he sees a service that is logged in."""
    host = HostRig(lab, BRIDGE)
    peer = host.connect()
    peer.attach(BRIDGE)
    (view,) = host.rig.call(lambda: _links(host.rig))
    assert (view["protocol"], view["role"], view["state"]) == ("xmpp", "service", "open")
    assert (view["name"], view["domains"], view["opened_by"]) == (BRIDGE, [BRIDGE], "them")
    roles = host.rig.call(lambda: dict(host.rig.router.streams.figures.by_role()))
    assert roles == {"host of a component": 1}


def test_secret_that_is_changed(lab: Lab) -> None:
    """Whoever came in by the old one is at an end with the next reload, and only the new one is taken."""
    host = HostRig(lab, BRIDGE)
    file = Reloadable(host.rig)
    peer = host.connect()
    peer.attach(BRIDGE)
    file.reload(result="unchanged")
    secret_file(lab).write_text("another one\n")
    view = file.reload()
    assert "closed in order: the secret of service bridge.example is another" in str(view["links"])
    peer.until_closed()
    old = host.connect()
    old.begin(BRIDGE)
    old.prove()
    assert old.error() is Condition.NOT_AUTHORIZED
    host.connect().attach(BRIDGE, "another one")


def test_bridge_that_comes_to_the_configuration(lab: Lab) -> None:
    """A new service of this kind attaches after a reload, and one that goes is at an end."""
    host = HostRig(lab, BRIDGE)
    file = Reloadable(host.rig)
    more = f'[[service]]\nname = "more"\nkind = "component"\nsecret_file = "{secret_file(lab)}"\n'
    more += f'[[domain]]\nname = "{MORE}"\nservice = "more"\n'
    file.edit(also=more).reload()
    peer = host.connect()
    peer.attach(MORE)
    peer.says(f"alice@{MORE}", BOB)
    wait_for_message(lab, host.rig, BOB)
    host.rig.send(BOB, f"alice@{MORE}")
    assert message(peer).to == f"alice@{MORE}"
    pinged(peer)
    file.edit((more, "")).reload()
    peer.until_closed()


def test_networks_that_are_changed(lab: Lab) -> None:
    """What came from one that is taken out ends at once, proved or not; all others stay, and may come."""
    host = HostRig(lab, BRIDGE, MORE)
    file, elsewhere = Reloadable(host.rig), fresh_address()
    goes, waits = host.connect(), host.connect()
    goes.attach(BRIDGE)
    waits.begin(MORE)
    host.connect(elsewhere).until_closed()
    assert host.rig.refusals(Reason.RELAY_DENIED) == 1
    both = f'"{host.his}/32", "{elsewhere}/32"'
    view = file.edit((f'"{host.his}/32"', both)).reload()
    assert lines(view) == ["~ xmpp.components  allow: at once"]
    assert view["links"] == []
    stays = host.connect(elsewhere)
    stays.attach(MORE)
    goes.says(f"alice@{BRIDGE}", BOB)
    wait_for_message(lab, host.rig, BOB)
    file.edit((both, f'"{elsewhere}/32"'))
    told = file.reload(dry_run=True)
    assert [one["what"] for one in told["links"]] == [
        "ends: its address is not in xmpp.components.allow any more"
    ] * 2
    goes.says(f"alice@{BRIDGE}", BOB, "still here")
    home = host.rig.router.embedded["home"]
    lab.wait_until(lambda: len(home.inbox(Address.parse(BOB))) == 2, "a dry run changes nothing")
    assert file.reload()["links"] == told["links"]
    for one in (goes, waits):
        assert one.error() is Condition.NOT_AUTHORIZED
    host.connect().until_closed()
    assert host.rig.refusals(Reason.RELAY_DENIED) == 2
    sent = host.rig.send(BOB, f"alice@{MORE}")
    assert message(stays).from_ == BOB
    pinged(stays)
    assert sent.outcome().ok
    file.reload(result="unchanged")


def test_bridge_while_the_router_goes(lab: Lab) -> None:
    """What is in flight to it is answered before its stream ends."""
    host = HostRig(lab, BRIDGE)
    peer = host.connect()
    peer.attach(BRIDGE)
    sent = [host.rig.send(BOB, f"alice@{BRIDGE}", text) for text in ("one", "two")]
    lab.wait_until(lambda: host.rig.router.hub.sessions, "a turn")
    host.rig.call(lambda: host.rig.router.draining.drain(5.0))
    pinged(peer)  # one question at a time: the second is asked while the stream ends
    pinged(peer)
    assert all(one.outcome().ok for one in sent)
    peer.until_closed()


def test_bridge_at_one_of_two_processes(lab: Lab) -> None:
    """What comes in at either goes to it, and a second one is refused by both."""
    ip, his = fresh_address(), fresh_address()
    endpoint = (ip, free_port(ip))
    tables = f'[[service]]\nname = "shop"\nkind = "component"\nsecret_file = "{secret_file(lab)}"\n'
    tables += '[[domain]]\nname = "shop.example"\nservice = "shop"\n'
    where = {"xmpp_components.listen": [f"{ip}:{endpoint[1]}"], "xmpp_components.allow": [f"{his}/32"]}
    both = two_processes(lab, tables, **where)
    peer = ComponentPeer.connect(endpoint, his)
    assert isinstance(peer, ComponentPeer)
    peer.attach("shop.example")

    def ways(rig: RouterRig) -> object:
        return rig.router.switch.routes[b"shop.example"].ports

    lab.wait_until(lambda: all(ways(rig) for rig in both), "it is known at both")
    for number, rig in enumerate(both):
        stranger = lab.organisation(f"m{number}.example")
        link = stranger.proved_link(rig)
        link.send(text_message(f"eve@m{number}.example", "desk@shop.example", "hello", number + 1))
        assert message(peer).from_ == f"eve@m{number}.example"
        pinged(peer)
        assert link.outcome().ok
    for rig in both:
        assert rig.call(partial(rig.router.components._host._against, "shop.example")) is Condition.CONFLICT
    # a pair's machine would be at one of them, or after a restart at both: it is said at once
    peer.send("<presence from='desk@shop.example' to='bob@m0.example' id='w' type='subscribe'/>")
    while (said := peer.stanza()).kind != "presence":
        pass
    assert (said.type, said.ident, b"service-unavailable" in said.raw) == ("error", "w", True)
    second = ComponentPeer.connect(endpoint, his)
    assert isinstance(second, ComponentPeer)
    second.begin("shop.example")
    second.prove()
    assert second.error() is Condition.CONFLICT


def test_bridge_whose_domain_is_suspended(lab: Lab) -> None:
    """Nothing passes either way, and the stream stays; when the domain is back all is as before."""
    host = HostRig(lab, BRIDGE)
    peer = host.connect()
    peer.attach(BRIDGE)
    host.rig.call(lambda: host.rig.router.domains.suspend(Domain(BRIDGE)))
    assert host.rig.send(BOB, f"alice@{BRIDGE}").outcome().reason is Reason.SERVICE_DOWN  # as it is told
    assert host.rig.refusals(Reason.SUSPENDED) == 1
    peer.says(f"alice@{BRIDGE}", BOB, "anybody?")
    counters = host.rig.router.switch.counters
    lab.wait_until(lambda: slots.refusals(counters, Reason.SUSPENDED) > 1, "it is refused as well")
    host.rig.call(lambda: host.rig.router.domains.resume(Domain(BRIDGE)))
    peer.says(f"alice@{BRIDGE}", BOB, "and now?")
    wait_for_message(lab, host.rig, BOB)
    assert host.rig.inbox(BOB) == [(f"alice@{BRIDGE}", "and now?")]


# -- servers at which we attach ----------------------------------------------------------------------------


class Attached:
    """A router, a server of ours at which it attaches, and a router far away over IMX."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.server = ComponentServer()
        table = attached_table("chat", self.server, secret_file(lab), FAR, "b.example")
        table += f'[[domain]]\nname = "{A}"\nservice = "chat"\n'
        self.rig: RouterRig = lab.router("b.example", tables=table)
        lab.publish(A, self.rig.endpoint)
        self.far: RouterRig = lab.router(FAR)
        self.streams = {}
        for _ in range(2):
            peer = self.server.accept()
            self.streams[peer.take()] = peer
        lab.wait_until(
            lambda: [one.is_open for one in self.rig.router.behind.streams()] == [True, True], "both are open"
        )

    def far_inbox(self) -> list[tuple[str, str]]:
        """What the far user has."""
        wait_for_message(self.lab, self.far, BOB_FAR)
        return self.far.inbox(BOB_FAR)


@pytest.fixture
def attached(lab: Lab) -> Iterator[Attached]:
    """Both streams are there."""
    made = Attached(lab)
    yield made
    for peer in made.streams.values():
        peer.close()
    made.server.close()


def test_user_of_the_server_writes_to_a_far_domain(attached: Attached) -> None:
    """What the server hands to the component of that name goes out, by whatever the domain is reached."""
    assert sorted(attached.streams) == ["b.example", FAR]
    attached.streams[FAR].says(f"{ALICE}/desk", BOB_FAR, "hello")
    assert attached.far_inbox() == [(ALICE, "hello")]


def test_far_user_writes_to_one_of_the_servers(attached: Attached) -> None:
    """It goes in over the stream of his domain, and is delivered when a ping behind it is answered."""
    sent = attached.far.send(BOB_FAR, ALICE, "hello")
    got = message(attached.streams[FAR])
    assert (got.from_, got.to) == (BOB_FAR, ALICE)
    pinged(attached.streams[FAR])
    assert sent.outcome().ok


def test_users_of_the_router_itself(attached: Attached) -> None:
    """A listed domain may be served here as well; each has its own stream."""
    attached.streams["b.example"].says(ALICE, BOB, "hello")
    wait_for_message(attached.lab, attached.rig, BOB)
    attached.rig.send(BOB, ALICE, "back")
    assert message(attached.streams["b.example"]).from_ == BOB
    pinged(attached.streams["b.example"])


def test_domain_that_is_not_listed(attached: Attached) -> None:
    """There is no way for it to the server, and that is said."""
    other = attached.lab.router("unlisted.example")
    outcome = other.send("bob@unlisted.example", ALICE).outcome()
    assert outcome.reason is Reason.SERVICE_DOWN


def test_inside_beside_components(lab: Lab) -> None:
    """Where the service has an address too, what is not listed takes the way of the inside."""
    server, streams = ComponentServer(), ComponentServer()
    table = attached_table("chat", server, secret_file(lab), FAR)
    table = table.replace("[[xmpp", f'address = "{streams.ip}:{streams.endpoint[1]}"\n[[xmpp', 1)
    settings = {"xmpp.inside.listen": [f"{streams.ip}:0"], "xmpp.inside.allow": ["127.0.0.0/8"]}
    rig = lab.router(
        "b.example", settings=settings, tables=table + f'[[domain]]\nname = "{A}"\nservice = "chat"\n'
    )
    peer = server.accept()
    assert peer.take() == FAR
    sent = rig.send(BOB, ALICE)
    other = streams.accept()
    assert b"from='b.example'" in other._sock.recv(1000)
    streams.close()
    other.close()
    assert sent.outcome().reason is Reason.SERVICE_DOWN
    peer.close()
    server.close()


def test_what_others_wrote_to_the_server(attached: Attached) -> None:
    """The server lets anybody write to its components; they are told, and the stream goes on."""
    stream = attached.streams[FAR]
    stream.says("eve@world.example", BOB_FAR, "spam")
    told = message(stream)
    assert (told.type, told.from_, told.to) == ("error", BOB_FAR, "eve@world.example")
    assert attached.rig.refusals(Reason.RELAY_DENIED) == 1
    stream.says(ALICE, BOB_FAR, "hello")
    assert attached.far_inbox() == [(ALICE, "hello")]


def test_stanza_for_another_name_than_the_streams(attached: Attached) -> None:
    """What comes is for its own name or another of ours there; the rest is answered, the stream stays."""
    attached.streams[FAR].says(ALICE, BOB, "hello")
    wait_for_message(attached.lab, attached.rig, BOB)
    attached.streams[FAR].says(ALICE, "bob@other.example", "hello")
    told = attached.streams[FAR].stanza()
    assert (told.from_, told.to, told.type) == ("bob@other.example", ALICE, "error")
    assert b"not-allowed" in told.raw
    assert attached.rig.refusals(Reason.RELAY_DENIED) == 1


def test_server_that_begins_again(attached: Attached) -> None:
    """The router comes back after a while, and what was sent meanwhile and has waited goes out."""
    for peer in attached.streams.values():
        peer.close()
    attached.lab.wait_until(lambda: not attached.rig.router.behind.streams(), "the streams are gone")
    sent: Sent = attached.far.send(BOB_FAR, ALICE, "are you there")
    for _ in range(2):
        peer = attached.server.accept()
        attached.streams[peer.take()] = peer
    assert b"are you there" in message(attached.streams[FAR]).raw
    pinged(attached.streams[FAR])
    assert sent.outcome().ok


def test_error_of_the_server_and_for_its_user(attached: Attached) -> None:
    """An error for a message is its outcome; what fails outside the user is told."""
    sent = attached.far.send(BOB_FAR, f"nobody@{A}")
    stream = attached.streams[FAR]
    got = message(stream)
    error = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    stream.send(f"<message type='error' from='{got.to}' to='{got.from_}' id='{got.ident}'>{error}</message>")
    assert not sent.outcome().ok
    stream.says(ALICE, f"nobody@{FAR}")
    told = message(stream)
    assert (told.type, told.from_, told.to) == ("error", f"nobody@{FAR}", ALICE)


def test_attachments_among_the_links(attached: Attached) -> None:
    """An operator sees each, and what the router is taken for there."""
    views = attached.rig.call(lambda: _links(attached.rig))
    streams = [one for one in views if one["name"] == "chat"]
    assert [(one["role"], one["state"], one["opened_by"]) for one in streams] == [
        ("service", "open", "us")
    ] * 2
    assert sorted(one["stream"]["ours"] for one in streams) == ["b.example", FAR]
    roles = attached.rig.call(lambda: dict(attached.rig.router.streams.figures.by_role()))
    assert roles["component"] == 2


def test_secret_that_the_server_does_not_take(lab: Lab) -> None:
    """The router comes again, later and later; messages meanwhile are answered, not kept."""
    server = ComponentServer()
    table = attached_table("chat", server, secret_file(lab), FAR)
    rig = lab.router("b.example", tables=table + f'[[domain]]\nname = "{A}"\nservice = "chat"\n')
    peer = server.accept()
    header = peer.expect_header()
    peer.send(
        f"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'"
        f" from='{header.to}' id='x'>"
    )
    peer.expect("handshake")
    wrong = "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
    peer.send(wrong + "</stream:stream>")
    again = server.accept()
    assert again.expect_header().to == FAR
    peer.close()
    again.close()
    server.close()
    assert rig.call(lambda: dict(rig.router.metrics.xmpp.errors)) == {("not-authorized", "received"): 1}


def _links(rig: RouterRig) -> Any:

    return Console(rig.router).links()


def _address(text: str) -> object:

    return Address.parse(text)
