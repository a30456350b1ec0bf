"""A router that is a component of Prosody and of ejabberd, and a slixmpp bridge that is a component of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.interop.edge.clients import Account
from tests.interop.edge.component_page import SECRET
from tests.interop.edge.component_router import HOST, SIDES, ComponentRouter
from tests.interop.edge.ejabberd import COMPONENTS_TLS_PORT
from tests.interop.edge.names import BRIDGE
from tests.interop.edge.places import EJABBERD, Edge
from tests.interop.edge.routers import write_both_ways
from tests.interop.edge.test_presence import (
    presence,
    test_a_user_of_xmpp_is_watched,
    test_a_user_of_xmpp_watches,
)
from tests.interop.netlab import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]
__all__ = ["test_a_user_of_xmpp_is_watched", "test_a_user_of_xmpp_watches"]

ROBOT = f"robot@{BRIDGE}"


@pytest.fixture(scope="module")
def router(built: Edge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComponentRouter]:
    """The router, attached at both servers; the bridge is attached at it."""
    made = ComponentRouter(built, tmp_path_factory.mktemp("components") / "router")
    try:
        made.start()
        for name in SIDES:
            made.until_attached(name)
        built.clients.ask("attach", user=BRIDGE, secret=SECRET, host=HOST[0], port=HOST[1])
        made.until_bridged()
        made.until_watched()
        yield made
        built.clients.ask("detach", user=BRIDGE)
    finally:
        made.kill()


def fresh(lab: Edge, name: str, server: str) -> Account:
    """A user whom nobody knew before, at the host whose server has the router as its component."""
    side = SIDES[server]
    lab.users += 1
    user = f"{name}{lab.users}"
    (lab.prosody if server == "prosody" else lab.ejabberd).register(user, side.joined)
    return there(lab, f"{user}@{side.joined}", server)


def there(lab: Edge, address: str, server: str) -> Account:
    """Log a user in, and wait until his server has said to himself that he is there (RFC 6121, 4.2.2)."""
    account = lab.clients.login(address, SIDES[server].server)
    account.until(presence(address, None), "that he is there")
    return account


@pytest.fixture(params=SIDES)
def pair(
    request: pytest.FixtureRequest, lab: Edge, router: ComponentRouter
) -> tuple[Account, ComponentRouter]:
    """A fresh user of a server, and the router that is its component."""
    account = fresh(lab, "alice", request.param)
    account.ask("presence")
    return account, router


@pytest.mark.parametrize("first", ["server", "router"])
@pytest.mark.parametrize("server", SIDES)
def test_users_write_to_each_other(lab: Edge, router: ComponentRouter, server: str, first: str) -> None:
    """Both ways, whoever is first; the router's user is told what became of her message."""
    alice = fresh(lab, "alice", server)

    write_both_ways(alice, router, first)


def test_between_the_servers(lab: Edge, router: ComponentRouter) -> None:
    """Each is a component of the other by the router: messages pass as they are, presence with consent."""
    alice, bob = fresh(lab, "alice", "prosody"), fresh(lab, "bob", "ejabberd")
    for one, other in ((alice, bob), (bob, alice)):
        text = f"hello {time.monotonic_ns()}"
        one.ask("message", to=other.address, text=text, receipt=True)
        got = other.until_reads(text, one.address)
        assert got.find("{urn:xmpp:receipts}request") is not None
    alice.ask("presence", to=bob.address, kind="subscribe")
    bob.until(presence(alice.address, "subscribe"), "her wish")
    bob.ask("presence", to=alice.address, kind="subscribed")
    alice.until(presence(bob.address, "subscribed"), "his consent")
    alice.until(presence(bob.address, None), "that he is there")
    bob.ask("presence", show="dnd")
    alice.until(presence(bob.address, None, "dnd"), "his change")
    assert "joined.e.example" in router.attached("prosody")
    assert "joined.p.example" in router.attached("ejabberd")


@pytest.mark.parametrize("server", SIDES)
def test_refusals_come_back(lab: Edge, router: ComponentRouter, server: str) -> None:
    """A message to nobody is answered with an error, on both sides."""
    alice = fresh(lab, "alice", server)
    alice.ask("message", to=f"nobody@{router.domain}", text="anybody?", ident="lost")
    error = alice.until(lambda one: (one.get("id"), one.get("type")) == ("lost", "error"), "the error")
    assert error.get("from") == f"nobody@{router.domain}"
    for _ in range(4):  # ejabberd says the error on any stream of ours, and answers the ping on any
        outcome = router.client.send(router.carol, f"nobody@{SIDES[server].joined}", "anybody?")
        assert (outcome["status"], outcome["decided_role"]) == ("failure", "service"), outcome


def test_bridge_and_everybody(lab: Edge, router: ComponentRouter) -> None:
    """A bridge by slixmpp writes with users of the router itself and of both servers, both ways."""
    bridge = Account(lab.clients, BRIDGE)

    def say(to: str, text: str) -> None:
        xml = f"<message from='{ROBOT}' to='{to}' type='chat'><body>{text}</body></message>"
        lab.clients.ask("bridge", user=BRIDGE, xml=xml)

    text = f"from the bridge {time.monotonic_ns()}"
    say(router.carol, text)
    assert router.until_carol_reads(text)["source"] == ROBOT
    outcome = router.client.send(router.carol, ROBOT, "to the bridge")
    assert outcome["status"] == "success", outcome
    bridge.until_reads("to the bridge", router.carol)
    for server in SIDES:
        user, text = fresh(lab, "alice", server), f"{server} {time.monotonic_ns()}"
        say(user.address, text)
        user.until_reads(text, ROBOT)
        user.ask("message", to=ROBOT, text=f"back {text}")
        bridge.until_reads(f"back {text}", user.address)


def test_servers_that_are_gone(lab: Edge, router: ComponentRouter) -> None:
    """Messages meanwhile are answered; when the servers are back the router is their component again."""
    users = {server: fresh(lab, "alice", server).address for server in SIDES}
    lab.prosody.stop()
    lab.ejabberd.stop()
    wait_until(lambda: not router.attached("prosody") + router.attached("ejabberd"), "they are gone")
    outcomes = [router.client.send(router.carol, one, "are you there?") for one in users.values()]
    lab.prosody.start()
    lab.ejabberd.start()
    lab.prosody.ready()
    lab.ejabberd.ready()
    for server, address in users.items():
        router.until_attached(server)
        again = lab.clients.login(address, SIDES[server].server)
        passes = partial(_passes, router, address)
        wait_until(passes, f"it passes to {server}", 20)
        again.until_reads("and now?", router.carol)
    assert [(one["status"], one["reason"]) for one in outcomes] == [("failure", "service-down")] * 2


def _passes(router: ComponentRouter, address: str) -> bool:
    return router.client.send(router.carol, address, "and now?")["status"] == "success"


def test_a_reload_moves_to_tls_and_back(lab: Edge, router: ComponentRouter) -> None:
    """A server takes components in TLS from the first byte; its certificate must name what is configured."""
    alice = fresh(lab, "alice", "ejabberd")

    def both_ways() -> None:
        text = f"out {time.monotonic_ns()}"
        alice.ask("message", to=router.carol, text=text)
        assert router.until_carol_reads(text)["source"] == alice.address
        outcome = router.client.send(router.carol, alice.address, text)
        assert outcome["status"] == "success", outcome

    assert router.tls("ejabberd") == {"none"}
    of_others = {one["link"] for one in router.client.links() if one["name"] == "prosody"}
    before = router.attach_in_tls("ejabberd", COMPONENTS_TLS_PORT, EJABBERD.joined)
    wait_until(lambda: router.tls("ejabberd") in ({"TLSv1.3"}, {"TLSv1.2"}), "all its streams are in TLS", 30)
    router.until_attached("ejabberd")
    both_ways()
    router.reload(before)
    wait_until(lambda: router.tls("ejabberd") == {"none"}, "all its streams are in clear", 30)
    router.until_attached("ejabberd")
    both_ways()
    router.attach_in_tls("ejabberd", COMPONENTS_TLS_PORT, "another.example")
    wait_until(lambda: "certificate-refused" in router.said(), "another name is refused", 30)
    # a stream in clear stays until all on it is confirmed
    wait_until(lambda: not router.attached("ejabberd"), "nothing is attached")
    router.reload(before)
    router.until_attached("ejabberd")
    assert of_others <= {one["link"] for one in router.client.links()}
