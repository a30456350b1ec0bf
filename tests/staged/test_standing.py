"""Failures that no message shows: links of strangers, logins, the disk. Told alike by whoever tells them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from imxrouter.cli.main import imxctl
from tests.doubles.router_rig import RouterRig, login_key, service_table
from tests.staged.linking import LinkCase
from tests.staged.scene import Scene
from tests.staged.table import LINK_CASES

SHORT = {"dial.hello_timeout_s": 0.2, "links.ping_s": 0.2, "caps.proof_timeout_s": 1.0, "lab": True}


@pytest.mark.parametrize("case", LINK_CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_the_end_of_a_strangers_link_is_told_alike(scene: Scene, case: LinkCase) -> None:
    """By the CLOSE that he gets, by the log line, and by the metric."""
    tables = service_table("office", login_key(1), "c.example")
    b = scene.router("b.example", settings=SHORT, tables=tables)
    peer = scene.peer(b)
    case.play(peer)
    close = peer.until_closed()
    assert close is not None
    assert close.reason == case.reason.code
    scene.lab.wait_until(lambda: not b.router.hub.sessions, "the end of the link")
    words = (case.reason.stage.value, case.reason.word)
    assert scene.link_ends(b) == {words: 1}
    said = [line for line in scene.lines if "reason" in line]
    assert said, "nothing was logged"
    assert {(line["stage"], line["reason"]) for line in said} == {words}


def _status(rig: RouterRig) -> tuple[dict[str, object], str]:
    """What `imxctl status` says of the state file: as JSON, and printed."""
    words = ["--socket", rig.router.config.admin_socket]
    view = json.loads(CliRunner().invoke(imxctl, [*words, "--json", "status"]).output)["store"]
    return view, CliRunner().invoke(imxctl, [*words, "status"]).output


def test_a_full_disk_is_told_alike_and_messages_pass(scene: Scene) -> None:
    """By status, by the log line, and by the metric; it heals by itself."""
    disk = scene.disk()
    b = scene.router("b.example")
    scene.fill(disk, b)
    view, printed = _status(b)
    assert view["problem"] == "full"
    assert "not written (full)" in printed
    assert scene.sample(b, "imxrouter_store_works") == 0
    assert scene.sample(b, "imxrouter_store_failures_total", problem="full") >= 1
    scene.lab.wait_until(lambda: any("not written (full)" in one["text"] for one in scene.lines), "a line")
    assert scene.say(b, "alice@b.example", "bob@b.example").answer.ok
    disk.pages = 1_000_000
    scene.lab.wait_until(lambda: b.router.store.health().problem.value == "none", "it heals")
    assert scene.sample(b, "imxrouter_store_works") == 1
    assert "not written" not in _status(b)[1]
