"""`imxctl trace` of messages that come or leave by XMPP: by what, why, and what said that they arrived."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from imxrouter.app.traffic.ends import CONFIRMED, MAX_ORIGIN, Ends, origin_of
from imxrouter.cli.exits import Exit
from imxrouter.gateways.xmpp.acks import Way
from imxrouter.gateways.xmpp.streams.records import party_of, stanza_record
from imxrouter.link.ledger import Entry
from imxrouter.link.machine import Side
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.domains import ServedDomains
from imxrouter.wire.record import encode_record
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.router_rig import Lab, login_key, service_table
from tests.gateways.xmpp.streams.inside_rig import FAR, Scene
from tests.gateways.xmpp.streams.lab import StreamRouter
from tests.gateways.xmpp.streams.rig import A as SERVED

A, B, C = "a.example", "b.example", "c.example"
SETTINGS = {
    "trust.xmpp_default": "dialback+tls", "log.trace_entries": 1000, "log.trace_deliveries": True,
}  # fmt: skip
#: What their certificates and dial-back come to.
LEVEL = "dialback+tls+certificate"
#: c.example is served by the embedded service of the second router.
TABLES = f'[[domain]]\nname = "{C}"\nservice = "home"\n'


@pytest.fixture
def routers(lab: Lab) -> tuple[StreamRouter, StreamRouter]:
    """Two that speak XMPP to each other."""
    office = service_table("office", login_key(1), "office.example")  # plain deliveries are told then
    a = StreamRouter(lab, A, certificates=[A], settings=dict(SETTINGS), tables=office)
    b = StreamRouter(lab, B, certificates=[B, C], settings=dict(SETTINGS), tables=TABLES + office)
    ip, port = b.rig.ip, b.stream_port
    lab.zones.load(f"$ORIGIN {C}.\n_xmpp-server._tcp 60 IN SRV 0 0 {port} im\nim 60 IN A {ip}\n")
    a.service.outcome = b.service.outcome = SUCCESS
    return a, b


def message(to: str, ident: str, body: str = "a secret") -> bytes:
    """From alice at a.example."""
    parties = f"from='alice@{A}/x' to='bob@{to}' id='{ident}'"
    return f"<message {parties}><subject>whispered</subject><body>{body}</body></message>".encode()


def last(trace: Any, event: str) -> dict[str, Any]:
    """The fields of the last step of that name."""
    found: dict[str, Any] = [step["fields"] for step in trace["steps"] if step["event"] == event][-1]
    return found


def test_xmpp_to_xmpp_by_the_id_of_the_stanza(routers: tuple[StreamRouter, StreamRouter]) -> None:
    """On both routers: protocols, links, strength, choice, what said that it arrived; nothing of its text."""
    a, _ = routers
    assert a.outcome(a.send(B, message(B, "m-1"))).ok
    here, there = (ctl_json(one.rig, "trace", "m-1") for one in routers)
    went, came = last(here, "answered"), last(there, "answered")
    assert (went["out_protocol"], went["out_role"], went["out_level"]) == ("xmpp", "peer", LEVEL)
    assert went["confirmed"] == CONFIRMED[Way.PING]
    assert (came["protocol"], came["role"], came["level"]) == ("xmpp", "peer", LEVEL)
    assert (came["origin"], went["origin"]) == ("m-1", "m-1")
    assert "choice" not in came  # it is served there
    assert went["out_link"] in {one.number for one in a.streams()}
    assert here["verdict"]["status"] == there["verdict"]["status"] == "success"
    assert here["id"] != "m-1"
    assert ctl_json(a.rig, "trace", here["id"])["steps"] == here["steps"]
    shown = ctl(a.rig, "trace", "m-1").output
    assert re.search(r"left:? +xmpp over link \d+ \(peer\), proved: dialback\+tls\+certificate", shown), shown
    assert not {"secret", "whispered", "alice", "bob"} & set(
        json.dumps([here, there]).replace("@", " ").split()
    )


def test_xmpp_to_a_service_of_the_model_and_back(routers: tuple[StreamRouter, StreamRouter]) -> None:
    """What came by XMPP and was delivered in this process; and what a user there sends by XMPP."""
    a, b = routers
    assert a.outcome(a.send(C, message(C, "m-2"))).ok
    came = last(ctl_json(b.rig, "trace", "m-2"), "delivery")
    assert (came["protocol"], came["level"], came["kind"]) == ("xmpp", LEVEL, "message")
    sent = json.loads(ctl(b.rig, "--json", "send", f"alice@{C}", f"bob@{A}", "back").output)
    assert sent["status"] == "success", sent
    trace = ctl_json(b.rig, "trace", sent["id"])
    assert last(trace, "sent")["protocol"] == "xmpp"
    assert last(trace, "sent")["choice"].startswith("xmpp (order;")
    # its stanza has the id of the message, where it came from it had none
    back = ctl_json(a.rig, "trace", sent["id"])
    assert last(back, "answered")["protocol"] == "xmpp"
    shown = ctl(b.rig, "trace", sent["id"]).output
    assert re.search(r"route:? +xmpp \(order", shown), shown
    assert "xmpp over link" in shown


def test_a_failure_is_found_by_the_stanza_too(routers: tuple[StreamRouter, StreamRouter]) -> None:
    """With who decided, and the stream that it had left by."""
    a, b = routers
    b.service.outcome = failure(Reason.SERVICE_DOWN, role="service")
    a.send(B, message(B, "m-3"))
    b.stanzas(1)
    there = ctl_json(b.rig, "trace", "m-3")
    assert (there["verdict"]["reason"], last(there, "settled")["protocol"]) == ("service-down", "xmpp")
    (gap,) = [one for one in there["gaps"] if "same id" in one]
    error = ctl_json(b.rig, "trace", gap.rpartition(" ")[2])
    assert last(error, "answered")["answers"] == "m-3"


def test_ids_that_are_not_unique(routers: tuple[StreamRouter, StreamRouter]) -> None:
    """The newest is shown, the others are named; an unknown one is not found."""
    a, _ = routers
    for _turn in range(2):
        assert a.outcome(a.send(B, message(B, "again"))).ok
    trace = ctl_json(a.rig, "trace", "again")
    (gap,) = [one for one in trace["gaps"] if "not unique" in one]
    other = gap.rpartition(" ")[2]
    assert other != trace["id"]
    assert ctl_json(a.rig, "trace", other)["verdict"]["status"] == "success"
    assert ctl(a.rig, "trace", "nobody-knows").exit_code == Exit.NOT_FOUND
    assert ctl(a.rig, "trace", "x" * 300).exit_code == Exit.USAGE


def test_in_flight_is_found_by_the_stanza(routers: tuple[StreamRouter, StreamRouter]) -> None:
    """Where it is now."""
    a, b = routers
    assert a.outcome(a.send(B, message(B, "warm"))).ok
    b.service.outcome = None
    a.send(B, message(B, "under-way"))
    b.stanzas(2)
    trace = ctl_json(b.rig, "trace", "under-way")
    assert trace["state"] == "in flight"
    assert "from xmpp link" in trace["gaps"][0]


def test_ids_are_bounded_and_of_stanzas_that_have_one() -> None:
    """A long id is cut; none is none; what is no record has none."""

    def record(ident: str) -> bytes:
        raw = message(B, ident).replace(b" id=''", b"")
        made = stanza_record(raw, party_of(f"alice@{A}"), party_of(f"bob@{B}"), bytes(16))
        return encode_record(made)

    assert origin_of(record("q")) == ("q", False)
    assert origin_of(record("x" * 500)) == ("x" * MAX_ORIGIN, False)
    assert origin_of(record("")) == ("", False)
    assert origin_of(record("a&amp;b&#39;")) == ("a&b'", False)
    assert origin_of(b"") == ("", False)


def test_streams_with_servers_behind_us_are_named() -> None:
    """By the stream of the pair of domains, though all of them share one port of the switch."""
    scene = Scene()
    hub = scene.router.hub
    ends = Ends(hub.sessions, hub.switch.ports, ServedDomains(), lambda *asked: " by ".join(map(str, asked)))
    ends.pools, ends.streams = scene.inside.pools, lambda: scene.inside.sessions
    told: list[Entry] = []
    scene.world.outcome = SUCCESS
    hub.switch.on_delivered = told.append
    scene.send()
    back = scene.dial()
    back.claim(SERVED, FAR, "any key")
    scene.settle()
    scene.server.pong(back)
    scene.settle()
    stream = scene.pool.way(FAR, SERVED)
    assert stream is not None
    went = ends.went(told[0])
    assert (went["out_link"], went["out_protocol"], went["out_role"]) == (stream.number, "xmpp", "service")
    assert ends.confirmed(told[0]) == CONFIRMED[Way.PING]
    assert "protocol" not in ends.came(told[0])
    raw = f"<message from='alice@{SERVED}' to='bob@{FAR}' id='m-9'><body>hi</body></message>".encode()
    back.perform(back.machine.stanzas([raw], [None], scene.clock.seconds()))
    scene.settle()
    came = ends.came(told[-1])
    assert (came["protocol"], came["origin"], came["role"]) == ("xmpp", "m-9", "service")
    assert came["choice"] == f"{FAR} by {Protocol.XMPP}"
    assert came["link"] in {one.number for one in scene.inside.sessions if one.side is Side.ACCEPTOR}


def test_lists_say_by_what(routers: tuple[StreamRouter, StreamRouter]) -> None:
    """Both protocols, and the id that it had."""
    a, b = routers
    assert a.outcome(a.send(C, message(C, "m-5"))).ok
    (row,) = [one for one in ctl_json(b.rig, "trace", "--to", C)["messages"] if one["kind"] == "message"]
    assert (row["protocol"], row["out_protocol"], row["origin"]) == ("xmpp", "", "m-5")
    ctl(b.rig, "send", f"alice@{C}", f"bob@{A}", "back")
    (row,) = [one for one in ctl_json(b.rig, "trace", "--from", C)["messages"] if one["kind"] == "message"]
    assert (row["protocol"], row["out_protocol"]) == ("", "xmpp")
    shown = ctl(b.rig, "trace", "--from", C).output
    assert "here to xmpp" in shown


def test_a_stanza_that_becomes_no_request_is_traced(
    lab: Lab, routers: tuple[StreamRouter, StreamRouter]
) -> None:
    """By its own id, with the domains alone: its addresses may be none."""
    a, b = routers
    assert a.outcome(a.send(C, message(C, "warm"))).ok
    a.send(C, message(C, "m-6").replace(b"<body>a secret</body>", b"<body>1</body><body>2</body>"))
    lab.wait_until(lambda: b.rig.router.trace.of_origin("m-6"), "it is traced")
    trace = ctl_json(b.rig, "trace", "m-6")
    fields = last(trace, "settled")
    assert (fields["status"], fields["origin"], fields["protocol"]) == ("failure", "m-6", "xmpp")
    assert (fields["source"], fields["destination"]) == ("@a.example", "@c.example")
    assert trace["verdict"]["reason"]
