"""`imxctl subscriptions` and `imxctl watchers` of a user whose service speaks XMPP."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from imxrouter.app.operators.console_presence import PresenceConsole
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.stanza import read_stanza
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
