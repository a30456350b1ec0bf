"""`imxctl domains doctor` of a domain whose users are on an XMPP server: whether that is there."""

from __future__ import annotations

import json
from contextlib import ExitStack

from imxrouter.model.vocabulary import Reason
from tests.app.test_reload_inside import Behind
from tests.doubles.component import ComponentServer, attached_table, secret_file
from tests.doubles.ctl import ctl
from tests.doubles.router_rig import Lab, RouterRig, fresh_address
from tests.doubles.xmpp_server import XmppServer

A = "a.example"
FAR, OTHER = "far.example", "other.example"


def told(rig: RouterRig) -> tuple[str, str, list[str]]:
    """How grave it is, the sentence, and the evidence of what the doctor says of the service."""
    findings = json.loads(ctl(rig, "--json", "domains", "doctor", A).output)["findings"]
    (one,) = (finding for finding in findings if "its service chat" in finding["what"])
    assert (one["remedy"] != "") is (one["severity"] != "good")
    return one["severity"], one["what"], one["evidence"]


def test_server_behind_the_inside(lab: Lab) -> None:
    """Not asked yet, there, gone: never `up` while nobody answers at its address."""
    with ExitStack() as stack:
        server = stack.enter_context(XmppServer(A, fresh_address()))
        behind = Behind(lab, stack, ("chat", server))
        assert told(behind.rig) == (
            "note",
            "the server of its service chat was not asked for a stream yet",
            [],
        )
        behind.writes(server, "hello")
        assert told(behind.rig) == ("good", "its service chat is up", [])
    lab.wait_until(lambda: not behind.rig.router.behind.streams(), "its streams are at an end")
    assert behind.rig.send("alice@z.example", f"alice@{A}").outcome().reason is Reason.SERVICE_DOWN
    severity, what, evidence = told(behind.rig)
    assert (severity, what) == ("error", "the server of its service chat is not there")
    assert [one.partition(":")[0] for one in evidence] == ["connection-refused"]


def test_server_that_we_are_components_of(lab: Lab) -> None:
    """All names are attached, one of two, none; with why."""
    server = ComponentServer()
    table = attached_table("chat", server, secret_file(lab), FAR, OTHER)
    rig = lab.router("b.example", tables=table + f'[[domain]]\nname = "{A}"\nservice = "chat"\n')
    behind = rig.router.behind
    peers = {}
    for _ in range(2):
        peer = server.accept()
        peers[peer.take()] = peer
    lab.wait_until(lambda: not behind._clients.unattached("chat"), "both are attached")
    assert told(rig) == ("good", "its service chat is up", [])
    server.close()
    peers[OTHER].close()
    lab.wait_until(lambda: len(behind._clients.unattached("chat")) == 1, "one is gone")
    severity, what, evidence = told(rig)
    assert (severity, what) == ("warning", "a part of its service chat is not there")
    assert [one.partition(":")[0] for one in evidence] == [OTHER]
    peers[FAR].close()
    lab.wait_until(lambda: len(behind._clients.unattached("chat")) == 2, "both are gone")
    severity, what, evidence = told(rig)
    assert (severity, what) == ("error", "the server of its service chat is not there")
    assert sorted(one.partition(":")[0] for one in evidence) == [FAR, OTHER]
