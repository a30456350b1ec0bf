"""`imxctl subscriptions` and `imxctl watchers` of a user whose service speaks XMPP."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from imxrouter.app.operators.console_presence import PresenceConsole
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.stanza import read_stanza
from imxrouter.gateways.xmpp.subscriptions.passing import seen_of
from imxrouter.model.outcome import SUCCESS
from imxrouter.telemetry.xmpp import xmpp_metrics
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.router_rig import Lab, RouterRig, free_port, fresh_address
from tests.doubles.xmpp_server import Conduct, XmppServer

ALICE, BOB = "alice@a.example", "bob@b.example"


@pytest.fixture
def a(lab: Lab) -> Iterator[RouterRig]:
    """The router of a.example, whose users are at an XMPP server that takes what comes."""
    with XmppServer("a.example", fresh_address(), Conduct()) as server:
        ip = fresh_address()
        inside = {
            "xmpp.inside.listen": [f"{ip}:{free_port(ip)}"],
            "xmpp.inside.allow": [f"{server.endpoint[0]}/32"],
            "xmpp.confirm": "written",
        }
        place = f'address = "{server.endpoint[0]}:{server.endpoint[1]}"'
        yield lab.router(
            "a.example", embedded=False, settings=inside,
            tables=f'[[service]]\nname = "chat"\nkind = "xmpp"\n{place}\n'
            '[[domain]]\nname = "a.example"\nservice = "chat"\n',
        )  # fmt: skip


def says(rig: RouterRig, kind: str) -> None:
    """Alice's server sends a presence of hers for Bob."""
    given = read_stanza(f"<presence from='{ALICE}' to='{BOB}' type='{kind}'/>".encode())
    got = StanzaIn(given, "a.example", "b.example")
    presence = rig.router.streams.presence
    assert presence is not None
    stream: Any = SimpleNamespace(way=SimpleNamespace(sources={}))  # one that no domain of a peer came by
    assert rig.call(lambda: presence.take(stream, got, given.tree())) == b""


def until(lab: Lab, rig: RouterRig, command: str, *states: str) -> None:
    """Wait until Alice watches Bob, or Bob Alice, and it stands so; asks in the reactor's thread."""
    console = PresenceConsole(rig.router)

    def stands() -> bool:
        if command == "watchers":
            found = [(one["watcher"], one["state"]) for one in console.watchers(ALICE)["watchers"]]
        else:
            rows = console.subscriptions(ALICE)["subscriptions"]
            found = [(one["presentity"], one["state"]) for one in rows]
        return found == [(BOB, one) for one in states]

    lab.wait_until(stands, f"{command}: {states}", 20)


def test_whom_a_user_of_xmpp_watches(lab: Lab, a: RouterRig) -> None:
    """Asked for, then as it was approved, with what was told; no more when it is over."""
    b = lab.router("b.example")
    assert "watches nobody" in ctl(a, "subscriptions", ALICE).output
    says(a, "subscribe")
    until(lab, a, "subscriptions", "pending")
    assert ctl(b, "watchers", BOB, "--approve", ALICE).exit_code == 0
    ctl_json(b, "presence", BOB, "--publish", "away")
    until(lab, a, "subscriptions", "active")
    (row,) = ctl_json(a, "subscriptions", ALICE)["subscriptions"]
    assert (row["presence"]["status"], row["left_s"] > 0) == ("open", True)
    entries = a.call(lambda: [one for _, one in a.router.subscriptions.items()])
    assert [(one.granted, one.watcher) for one in entries] == [(True, ALICE.encode())]
    says(a, "unsubscribe")
    until(lab, a, "subscriptions")


def test_who_watches_a_user_of_xmpp(lab: Lab, a: RouterRig) -> None:
    """Who waits for the user's word, who watches, whom the user turned away and until when."""
    b = lab.router("b.example")
    assert "nobody watches" in ctl(a, "watchers", ALICE).output
    ctl(b, "subscribe", BOB, ALICE)
    until(lab, a, "watchers", "pending")
    says(a, "subscribed")
    until(lab, a, "watchers", "active")
    (row,) = ctl_json(a, "watchers", ALICE)["watchers"]
    assert (row["decision"], row["because"]) == ("allow", "the user's service")
    assert row["left_s"] > 0
    says(a, "unsubscribed")
    (row,) = ctl_json(a, "watchers", ALICE)["watchers"]
    assert (row["state"], row["decision"]) == ("denied", "refuse")
    assert 80_000 < row["left_s"] <= 86_400
    assert "denied" in ctl(a, "watchers", ALICE).output


def test_pairs_whose_presence_passes(a: RouterRig) -> None:
    """Servers look after them; the router says who watches whom, and counts them."""
    passing = a.router.streams.passing
    assert passing is not None

    def passed(type_: str, from_: str, to: str) -> None:
        way = (from_.rpartition("@")[2], to.rpartition("@")[2])
        seen = seen_of(type_, from_, to, way, 0.0)
        assert seen is not None
        a.call(lambda: passing.passed(seen, SUCCESS))

    passed("subscribe", ALICE, BOB)
    assert "asked" in ctl(a, "subscriptions", ALICE).output
    passed("subscribed", BOB, ALICE)
    passed("subscribed", ALICE, "carol@c.example")
    (row,) = ctl_json(a, "subscriptions", ALICE)["subscriptions"]
    assert (row["presentity"], row["state"], row["reason"]) == (BOB, "passes", "")
    assert "passes" in ctl(a, "subscriptions", ALICE).output
    (row,) = ctl_json(a, "watchers", ALICE)["watchers"]
    assert (row["watcher"], row["state"], row["decision"]) == ("carol@c.example", "passes", "allow")
    figures = list(xmpp_metrics(a.router.metrics.xmpp))
    (pairs,) = [one for one in figures if one.name == "imxrouter_xmpp_passing_pairs"]
    assert {one.labels["state"]: one.value for one in pairs.samples} == {"granted": 2.0, "asked": 0.0}
