"""Several instances of one embedded user, published by `imxctl`, as a watcher on an XMPP server sees them."""

from __future__ import annotations

from imxrouter.formats.xmltree import Element, parse
from imxrouter.model.address import Address
from tests.app.test_presence import allow
from tests.attacks.stream_routers import a_proved_stream, a_server, xmpp_router
from tests.doubles.ctl import ctl_json
from tests.doubles.router_rig import Lab
from tests.doubles.xmpp_server import XmppServer

ALICE, BOB = "alice@a.example", "bob@b.example"
_SETTINGS = {"xmpp.confirm": "written"}


def shown(server: XmppServer) -> dict[str, str]:
    """What bob's server was told last of each resource: show and words, or `gone`."""
    last: dict[str, str] = {}
    for one in list(server.stanzas):
        if one.kind == "presence" and one.type in {"", "unavailable"}:
            last[one.from_.partition("/")[2]] = "gone" if one.type else _words(_tree(one.raw))
    return last


def _tree(raw: bytes) -> Element:
    return parse(raw.replace(b"<presence ", b"<presence xmlns='jabber:server' ", 1))


def _words(tree: Element) -> str:
    show = next((one.text for one in tree.children if one.name == "show"), "open")
    numbers = [one.text for one in tree.children if one.name == "priority"]
    return " ".join(
        [show, *numbers, *(f"{one.language}:{one.text}" for one in tree.children if one.name == "status")]
    )


def test_each_instance_is_shown_as_it_is(lab: Lab) -> None:
    """Each has its own show and words; a change or an end of one says nothing of the others."""
    a, streams_at = xmpp_router(lab, "a.example", settings=_SETTINGS)
    allow(a, Address.parse(ALICE))

    def publish(instance: str, status: str, *words: str) -> None:
        ctl_json(a, "presence", ALICE, "--publish", status, "--instance", instance, *words)

    publish("desk", "meeting", "--note", "soon", "--language", "en", "--note", "hned", "--language", "cs")
    publish("phone", "away", "--note", "out", "--language", "en")
    publish("r 1", "open")
    with a_server(lab, "b.example") as server:
        stream = a_proved_stream(server, streams_at, "a.example")
        stream.send(f"<presence from='{BOB}' to='{ALICE}' type='subscribe'/>")

        def wait(wanted: dict[str, str]) -> None:
            lab.wait_until(lambda: shown(server) == wanted, f"{wanted}, not {shown(server)}")

        wait({"desk": "dnd en:soon cs:hned", "phone": "away en:out", "r 1": "open"})
        before = len(server.stanzas)
        publish("phone", "sleeping", "--note", "night", "--language", "en")
        wait({"desk": "dnd en:soon cs:hned", "phone": "xa en:night", "r 1": "open"})
        ctl_json(a, "presence", ALICE, "--retract", "--instance", "desk")
        wait({"desk": "gone", "phone": "xa en:night", "r 1": "open"})
        told = [one.from_.partition("/")[2] for one in server.stanzas[before:] if one.kind == "presence"]
        assert told == ["phone", "desk"]


def test_a_priority_is_shown_to_watchers_on_xmpp(lab: Lab) -> None:
    """RFC 6121 section 4.7.2.3: the very number, both ends of the range too; 0 and none are the same."""
    a, streams_at = xmpp_router(lab, "a.example", settings=_SETTINGS)
    allow(a, Address.parse(ALICE))
    said = {"high": 127, "low": -128, "mid": 5, "minus": -1, "zero": 0}
    for instance, priority in said.items():
        view = ctl_json(a, "presence", ALICE, "--publish", "open", "--instance", instance, "--priority",
                        str(priority))  # fmt: skip
        (mine,) = [one for one in view["instances"] if one["instance"] == instance]
        (shown_as,) = mine["state"]["tuples"]
        assert shown_as["xmpp_priority"] == priority
        assert shown_as["contact"] == f"im:{ALICE}"
        assert (shown_as["priority"] is None) is (priority < 0)
    with a_server(lab, "b.example") as server:
        stream = a_proved_stream(server, streams_at, "a.example")
        stream.send(f"<presence from='{BOB}' to='{ALICE}' type='subscribe'/>")
        wanted = {name: f"open {number}" if number else "open" for name, number in said.items()}
        lab.wait_until(lambda: shown(server) == wanted, f"{wanted}, not {shown(server)}")
        ctl_json(a, "presence", ALICE, "--publish", "open", "--instance", "mid", "--priority", "-7")
        wanted["mid"] = "open -7"
        lab.wait_until(lambda: shown(server) == wanted, f"{wanted}, not {shown(server)}")
