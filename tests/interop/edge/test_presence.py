"""Presence between users of XMPP servers and a user of the router, who knows only the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lxml import etree

from tests.interop.edge.clients import Account, Stanza, bare
from tests.interop.edge.names import Mode
from tests.interop.edge.places import EJABBERD, PROSODY, Edge
from tests.interop.edge.routers import EdgeRouter
from tests.interop.netlab import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

SIDES = {"prosody": PROSODY, "ejabberd": EJABBERD}


def presence(source: str, kind: str | None, show: str | None = None) -> Callable[[Stanza], bool]:
    """Whether a stanza is presence of somebody, of a type, with a show."""

    def fits(one: Stanza) -> bool:
        return (
            etree.QName(one).localname == "presence"
            and bare(one.get("from", "")) == source
            and one.get("type") == kind
            and (show is None or one.findtext("{*}show") == show)
        )

    return fits


def subscriptions(router: EdgeRouter, presentity: str, watcher: str = "") -> list[Any]:
    """What a user, the router's own if none is named, knows of somebody he watches."""
    user = watcher or router.carol
    found = router.of(user).client.user(user).subscriptions()["subscriptions"]
    return [one for one in found if one["presentity"] == presentity]


@pytest.fixture(params=SIDES)
def pair(
    request: pytest.FixtureRequest, lab: Edge, routers: dict[str, EdgeRouter]
) -> tuple[Account, EdgeRouter]:
    """A fresh user of a server, and the router before it."""
    side, router = SIDES[request.param], routers[request.param]
    account = lab.clients.login(lab.fresh("alice", side.inside(Mode.CLEAR)), side.server)
    account.ask("presence")
    return account, router


def test_a_user_of_xmpp_watches(pair: tuple[Account, EdgeRouter]) -> None:
    """He asks, she agrees, he sees her and each change; he cancels and sees nothing more."""
    alice, router = pair
    carol = router.client.user(router.carol)
    carol.publish({"instance": "desk", "status": "away"})
    alice.ask("presence", to=router.carol, kind="subscribe")
    wait_until(lambda: alice.address in str(carol.watchers()), "she is asked", 20)
    assert not any(presence(router.carol, "subscribed")(one) for one in alice.received)
    carol.decide(alice.address, "allow")
    alice.until(presence(router.carol, "subscribed"), "her consent")
    alice.until(presence(router.carol, None, "away"), "her state")
    assert [one["state"] for one in subscriptions(router, router.carol, alice.address)] == ["active"]
    carol.publish({"instance": "desk", "status": "busy"})
    alice.until(presence(router.carol, None, "dnd"), "her change")
    carol.retract("desk")
    alice.until(presence(router.carol, "unavailable"), "that she left")
    alice.ask("presence", to=router.carol, kind="unsubscribe")
    wait_until(lambda: "active" not in str(carol.watchers()), "that he watches no more", 20)


def test_a_user_of_xmpp_is_watched(pair: tuple[Account, EdgeRouter]) -> None:
    """She asks, he agrees, she sees him and each change; he takes it back, and she is told."""
    alice, router = pair
    carol = router.client.user(router.carol)
    carol.subscribe(alice.address)
    alice.until(presence(router.carol, "subscribe"), "her wish")
    alice.ask("presence", to=router.carol, kind="subscribed")

    def shows(word: str) -> Callable[[], bool]:
        return lambda: word in str(subscriptions(router, alice.address))

    wait_until(shows("active"), "his consent", 20)
    (watcher,) = router.of(alice.address).client.user(alice.address).watchers()["watchers"]
    assert (watcher["watcher"], watcher["state"]) == (router.carol, "active")
    alice.ask("presence", show="dnd", status="busy with tests")
    wait_until(shows("busy with tests"), "his change", 20)
    alice.ask("presence", to=router.carol, kind="unsubscribed")
    wait_until(lambda: not subscriptions(router, alice.address), "that he took it back", 20)


def test_several_programs_of_one_user(lab: Edge, pair: tuple[Account, EdgeRouter]) -> None:
    """Both ways each has a state of its own, in one document or in stanzas of their own; one leaves."""
    alice, router = pair
    server = lab.server_of(alice.address.partition("@")[2]).side.server
    phone = lab.clients.login(f"{alice.address}/phone", server)
    phone.ask("presence", show="xa", status="on the way")
    carol = router.client.user(router.carol)
    carol.subscribe(alice.address)
    alice.until(presence(router.carol, "subscribe"), "her wish")
    alice.ask("presence", to=router.carol, kind="subscribed")

    def tuples() -> list[tuple[str, str, list[str]]]:
        states = [one["presence"] for one in subscriptions(router, alice.address) if one["presence"]]
        return sorted(
            (one["id"], one["status"], [note["text"] for note in one["notes"]])
            for state in states
            for one in state["tuples"]
        )

    both = [("ID-desk", "open", []), ("ID-phone", "open", ["on the way"])]
    wait_until(lambda: tuples() == both, "both in one document", 20)
    phone.logout()
    wait_until(lambda: ("ID-phone", "open", ["on the way"]) not in tuples(), "that one left", 20)
    assert ("ID-desk", "open", []) in tuples()

    carol.publish({"instance": "desk", "status": "away"})
    carol.publish({"instance": "phone", "status": "away"})
    alice.ask("presence", to=router.carol, kind="subscribe")
    wait_until(lambda: alice.address in str(carol.watchers()), "she is asked", 20)
    carol.decide(alice.address, "allow")

    def of(instance: str, kind: str | None) -> Callable[[Stanza], bool]:
        full = f"{router.carol}/{instance}"
        return lambda one: presence(router.carol, kind)(one) and one.get("from") == full

    for instance in ("desk", "phone"):
        seen = alice.until(of(instance, None), f"her {instance}")
        assert seen.findtext("{*}show") == "away"
    carol.retract("phone")
    alice.until(of("phone", "unavailable"), "that one left")
    assert not any(of("desk", "unavailable")(one) for one in alice.received)
