"""`imxctl links` of streams: whose they are, what is proved there and how, what is not confirmed yet."""

from __future__ import annotations

from typing import Any

from imxrouter.app.operators.linkview import behind_view
from imxrouter.model.outcome import SUCCESS
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.router_rig import Lab
from tests.gateways.xmpp.streams.inside_rig import FAR, Scene
from tests.gateways.xmpp.streams.lab import StreamRouter
from tests.gateways.xmpp.streams.rig import A as SERVED

A, B = "a.example", "b.example"


def test_streams_with_other_organisations(lab: Lab) -> None:
    """Both ways, with parties, proof, stanzas each way; links that speak IMX have none of it."""
    a, b = (StreamRouter(lab, one, certificates=[one]) for one in (A, B))
    a.service.outcome = b.service.outcome = SUCCESS
    raw = f"<message from='alice@{A}/x' to='bob@{B}' id='1'><body>hi</body></message>".encode()
    assert a.outcome(a.send(B, raw)).ok
    rows: list[Any] = [row for row in ctl_json(a.rig, "links", "--streams") if row["role"] == "peer"]
    out = next(row for row in rows if row["stream"]["way"] == "out")
    stream = out["stream"]
    assert (stream["ours"], stream["theirs"], stream["proof"]) == (A, B, "SASL EXTERNAL")
    assert stream["stanzas_out"] >= 1
    assert stream["pending"] == 0
    assert stream["confirmed_by"] in {"ping", "acknowledgement"}
    (claim,) = [one for one in out["claims"] if one["direction"] == "made"]
    assert (claim["theirs"], claim["state"]) == (B, "proved")
    came = next(row for row in ctl_json(b.rig, "links") if row["stream"]["way"] == "in")
    assert came["stream"]["stanzas_in"] >= 1
    shown = ctl(a.rig, "links", "--streams").output
    assert "stanzas in/out" in shown
    assert f"{A}" in shown
    assert "peer (out)" in ctl(a.rig, "links").output
    peer = ctl(a.rig, "peers", "show", B).output
    assert "stanzas in/out" in peer
    assert "pending" in peer


def test_links_of_imx_are_no_streams(lab: Lab) -> None:
    """They are left out where streams are asked for."""
    a, _ = lab.router(A), lab.router(B)
    assert a.send(f"alice@{A}", f"bob@{B}").outcome().ok
    rows = ctl_json(a, "links")
    assert rows
    assert {row["stream"] for row in rows} == {None}
    assert ctl_json(a, "links", "--streams") == []
    assert "no streams" in ctl(a, "links", "--streams").output


def test_streams_with_servers_behind_us() -> None:
    """Ours in an outside domain's name, theirs proved by their address; what waits is told."""
    scene = Scene()
    scene.send()
    stream = scene.pool.way(FAR, SERVED)
    assert stream is not None
    out: Any = behind_view(scene.opened[0], scene.clock.seconds())
    told = out["stream"]
    assert (told["way"], told["ours"], told["theirs"], told["service"]) == ("inside out", FAR, SERVED, "chat")
    assert (out["role"], out["domains"], told["pending"], out["in_flight"]) == ("service", [SERVED], 1, 1)
    assert [(one["direction"], one["ours"], one["level"]) for one in out["claims"]] == [
        ("made", FAR, "dial-back")
    ]
    back = scene.dial()
    back.claim(SERVED, FAR, "any key")
    scene.settle()
    scene.server.pong(back)
    scene.settle()
    (came,) = [one for one in scene.inside.sessions if one is not scene.opened[0]]
    view: Any = behind_view(came, scene.clock.seconds())
    assert (view["stream"]["way"], view["stream"]["stanzas_in"]) == ("inside in", 1)
    assert [(one["direction"], one["level"]) for one in view["claims"]] == [("received", "address")]
    assert behind_view(scene.opened[0], scene.clock.seconds())["in_flight"] == 0
