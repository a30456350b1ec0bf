r"""A router that is the gateway of Prosody and of ejabberd: users reach others as `user\40domain` there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from lxml import etree

from tests.interop.edge.clients import Account
from tests.interop.edge.equal import difference
from tests.interop.edge.gateway_router import SIDES, GatewayRouter
from tests.interop.edge.names import Mode
from tests.interop.edge.places import Edge
from tests.interop.edge.test_cards import CARD, INFO, PING, asks, refused
from tests.interop.edge.test_components import there
from tests.interop.edge.test_presence import presence, subscriptions
from tests.interop.edge.whole import WholeRouter
from tests.interop.netlab import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]


@pytest.fixture(scope="module")
def gate(
    built: Edge, whole: dict[str, WholeRouter], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayRouter]:
    """The router, attached at both servers; routers far away are there."""
    assert len(whole) == 2
    made = GatewayRouter(built, tmp_path_factory.mktemp("gateway") / "router")
    try:
        made.start()
        made.until_attached()
        yield made
    finally:
        made.kill()


def fresh(lab: Edge, name: str, server: str) -> Account:
    """A user whom nobody knew before, at the host whose server has the gateway."""
    side = SIDES[server]
    lab.users += 1
    (lab.prosody if server == "prosody" else lab.ejabberd).register(f"{name}{lab.users}", side.gated)
    return there(lab, f"{name}{lab.users}@{side.gated}", server)


class Pair(NamedTuple):
    """A user, and one of a router far away who knows only the model.

    Attributes:
        alice: the user of the server.
        far: the router.
        here: the far user's gateway address at her server.
        gate: the router that is her server's gateway.
    """

    alice: Account
    far: WholeRouter
    here: str
    gate: GatewayRouter


def at_gateway(address: str, server: str) -> str:
    """The gateway address of somebody at a server."""
    return address.replace("@", "\\40") + "@" + SIDES[server].gateway


@pytest.fixture(params=SIDES)
def pair(
    request: pytest.FixtureRequest, lab: Edge, gate: GatewayRouter, whole: dict[str, WholeRouter]
) -> Pair:
    """The far router is before the other server."""
    far = whole["ejabberd" if request.param == "prosody" else "prosody"]
    return Pair(fresh(lab, "alice", request.param), far, at_gateway(far.carol, request.param), gate)


def test_messages_and_errors(pair: Pair) -> None:
    """Over IMX, both ways, each once; each is told what became of what he sent."""
    alice, far, here, _ = pair
    out, back = (f"{way} {time.monotonic_ns()}" for way in ("out", "back"))
    alice.ask("message", to=here, text=out)
    assert far.until_carol_reads(out)["source"] == alice.address
    outcome = far.client.send(far.carol, alice.address, back)
    assert outcome["status"] == "success", outcome
    alice.until_reads(back, here)
    assert alice.count(back) == 1
    nobody = here.replace("carol", "nobody")
    alice.ask("message", to=nobody, text="anybody?", ident="lost")
    error = alice.until(lambda one: (one.get("id"), one.get("type")) == ("lost", "error"), "the error")
    assert error.get("from") == nobody
    host = alice.address.partition("@")[2]
    outcome = far.client.send(far.carol, f"nobody@{host}", "anybody?")
    assert (outcome["status"], outcome["reason"]) == ("failure", "not-delivered"), outcome
    assert far.spoken([host]) == {"imx"}


def watches(pair: Pair) -> None:
    """Alice asks, carol agrees; carol asks, Alice agrees."""
    alice, far, here, _ = pair
    carol = far.client.user(far.carol)
    carol.publish({"instance": "desk", "status": "away"})
    alice.ask("presence", to=here, kind="subscribe")
    wait_until(lambda: alice.address in str(carol.watchers()), "she is asked", 20)
    carol.decide(alice.address, "allow")
    alice.until(presence(here, "subscribed"), "her consent")
    alice.until(presence(here, None, "away"), "her state")
    carol.subscribe(alice.address)
    alice.until(presence(here, "subscribe"), "her wish")
    alice.ask("presence", to=here, kind="subscribed")
    wait_until(lambda: "active" in str(subscriptions(far, alice.address)), "his consent", 20)


def sees_changes(pair: Pair) -> None:
    """Each sees what the other one changes."""
    alice, far, here, _ = pair
    far.client.user(far.carol).publish({"instance": "desk", "status": "busy"})
    alice.until(presence(here, None, "dnd"), "her change")
    alice.ask("presence", show="dnd", status="busy with tests")
    wait_until(lambda: "busy with tests" in str(subscriptions(far, alice.address)), "his change", 20)


def test_presence_both_ways(pair: Pair) -> None:
    """Asked for, granted, seen, and taken back."""
    alice, far, here, _ = pair
    watches(pair)
    sees_changes(pair)
    alice.ask("presence", to=here, kind="unsubscribe")
    carol = far.client.user(far.carol)
    wait_until(lambda: "active" not in str(carol.watchers()), "that he watches no more", 20)
    alice.ask("presence", to=here, kind="unsubscribed")
    wait_until(lambda: not subscriptions(far, alice.address), "that he took it back", 20)


@pytest.mark.parametrize("pair", ["prosody"], indirect=True)
def test_consents_outlive_the_gateway(pair: Pair) -> None:
    """They are those of the addresses that are meant; nobody asks again."""
    watches(pair)
    pair.gate.stop()
    pair.gate.start()
    pair.gate.until_attached()
    sees_changes(pair)


def test_card_and_what_the_gateway_is(pair: Pair) -> None:
    """Her card is asked for at her gateway address; the gateway says what it is, and makes addresses."""
    alice, far, here, _ = pair
    carol = far.client.user(far.carol)
    carol.set_attribute("alias", "Carol")
    assert asks(alice, here, CARD).findtext(".//{*}FN") == "Carol"
    gateway = here.partition("@")[2]
    info = asks(alice, gateway, INFO)
    identity = info.find(".//{*}identity")
    assert identity is not None
    assert identity.get("category") == "gateway"
    assert "jid\\20escaping" in etree.tostring(info).decode()
    assert asks(alice, gateway, PING).get("type") == "result"
    assert asks(alice, gateway, "<query xmlns='jabber:iq:gateway'/>").findtext(".//{*}prompt")
    typed = f"<query xmlns='jabber:iq:gateway'><prompt>{far.carol}</prompt></query>"
    assert asks(alice, gateway, typed, "set").findtext(".//{*}jid") == here
    alice.ask("presence", to=gateway, kind="subscribe")
    alice.until(presence(gateway, None), "that it is there")


@pytest.mark.usefixtures("gate")
def test_users_of_both_servers(lab: Edge) -> None:
    """Each by the gateway of his own server: what the router does not know passes unchanged, both ways."""
    alice, bob = fresh(lab, "alice", "prosody"), fresh(lab, "bob", "ejabberd")
    bob_here, alice_there = at_gateway(bob.address, "prosody"), at_gateway(alice.address, "ejabberd")
    text = f"hello {time.monotonic_ns()}"
    alice.ask("message", to=bob_here, text=text, ident="r1", receipt=True)
    got = bob.until_reads(text, alice_there)
    assert got.find("{urn:xmpp:receipts}request") is not None
    receipt = alice.until(lambda one: one.find("{urn:xmpp:receipts}received") is not None, "the receipt")
    assert receipt.get("from") == f"{bob_here}/desk"
    strange = "<x xmlns='urn:x:y'><to jid='bob\\40far.example@gw'/></x><composing xmlns='http://jabber.org/protocol/chatstates'/>"
    sent = f"<message xmlns='jabber:client' to='{bob_here}/desk' type='chat' id='s1'>{strange}</message>"
    alice.ask("raw", xml=sent)
    got = bob.until(lambda one: one.get("id") == "s1", "what nobody knows")
    assert difference(sent, got, ordered=False) is None
    alice.ask("presence", to=bob_here, kind="subscribe")
    bob.until(presence(alice_there, "subscribe"), "her wish")
    bob.ask("presence", to=alice_there, kind="subscribed")
    alice.until(presence(bob_here, "subscribed"), "his consent")
    alice.until(presence(bob_here, None), "that he is there")
    bob.ask("presence", show="dnd")
    alice.until(presence(bob_here, None, "dnd"), "his change")
    bob.ask("publish_card", name="Bob")
    assert asks(alice, bob_here, CARD).findtext(".//{*}FN") == "Bob"
    assert asks(alice, f"{bob_here}/desk", PING).get("type") == "result"
    bob.ask("presence", to=alice_there, kind="unsubscribed")
    alice.until(presence(bob_here, "unsubscribed"), "that he took it back")


@pytest.mark.usefixtures("gate")
@pytest.mark.parametrize("server", SIDES)
def test_room_of_another_server(lab: Edge, server: str) -> None:
    """Entered and spoken in by its gateway address; who is there is seen under it."""
    other = "ejabberd" if server == "prosody" else "prosody"
    alice, bob = fresh(lab, "alice", server), fresh(lab, "bob", other)
    room = f"room{lab.users}@conference.{SIDES[other].gated}"
    here = at_gateway(room, server)
    for user, name, nick in ((bob, room, "bob"), (alice, here, "alice")):
        user.ask(
            "raw", xml=f"<presence to='{name}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        )
        user.until(lambda one, own=f"{name}/{nick}": one.get("from") == own, f"that {nick} is in")  # type: ignore[misc]
    alice.until(presence(here, None), "that he is there")
    for user, name, text in ((alice, here, "from alice"), (bob, room, "from bob")):
        user.ask("raw", xml=f"<message to='{name}' type='groupchat'><body>{text}</body></message>")
        alice.until_reads(text, here)
        bob.until_reads(text, room)


@pytest.mark.usefixtures("gate")
@pytest.mark.parametrize("server", SIDES)
def test_addresses_that_go_nowhere(lab: Edge, server: str) -> None:
    """Servers pass them on as they are, and the gateway says what is wrong."""
    alice, gateway = fresh(lab, "alice", server), SIDES[server].gateway
    for local, condition in (
        ("carol", "jid-malformed"),
        ("carol\\40home-e.example\\40x.example", "jid-malformed"),
        ("carol\\40xn--mnchen-3ya.example", "jid-malformed"),
        (f"alice\\40{SIDES[server].gated}", "not-acceptable"),
        (f"carol\\5c40far.example\\40{gateway}", "not-acceptable"),
        ("carol\\40nowhere.example", "remote-server-not-found"),
    ):
        assert refused(asks(alice, f"{local}@{gateway}", CARD)) == condition, local


@pytest.mark.usefixtures("gate")
@pytest.mark.parametrize("server", SIDES)
def test_strangers(lab: Edge, server: str) -> None:
    """A user of another host of the server, and one of another server, whom DNS leads there."""
    here = at_gateway(f"carol@home-{'e' if server == 'prosody' else 'p'}.example", server)
    side = SIDES[server]
    neighbour = lab.clients.login(lab.fresh("eve", side.free(Mode.CLEAR)), side.server)
    assert refused(asks(neighbour, here, CARD)) == "not-allowed"
    assert refused(asks(neighbour, SIDES[server].gateway, INFO)) == "not-allowed"
    if server == "prosody":
        other = SIDES["ejabberd"]
        stranger = lab.clients.login(lab.fresh("eve", other.free(Mode.CLEAR)), other.server)
        assert refused(asks(stranger, here, CARD)) == "not-allowed"
