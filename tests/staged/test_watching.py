"""Why somebody cannot be watched is told in the words in which a message's failure is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from click.testing import CliRunner

from imxrouter.cli.exits import Exit
from imxrouter.cli.main import imxctl
from imxrouter.model.vocabulary import Reason
from tests.doubles.raw_peer import Endpoint
from tests.doubles.router_rig import RouterRig, free_port, fresh_address
from tests.staged.scene import Scene

ALICE, ZOE = "alice@a.example", "zoe@z.example"
SHORT = {"dial.connect_timeout_s": 0.2, "dial.hello_timeout_s": 0.2}
TOLD = ("reason", "stage", "failed_at", "remedy")


def _closed_port(_scene: Scene) -> Endpoint:
    ip = fresh_address()
    return ip, free_port(ip)


def _run(rig: RouterRig, *words: str) -> Any:
    """What `imxctl --json` answers to what fails."""
    result = CliRunner().invoke(imxctl, ["--socket", rig.router.config.admin_socket, "--json", *words])
    assert result.exit_code == Exit.FAILED, result.output
    return json.loads(result.output)


def _words(view: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(view[name] for name in TOLD)


def _told_alike(rig: RouterRig, reason: Reason, failed_at: str) -> None:
    """By subscribing, by what is held of it, by fetching, and by sending."""
    expected = (reason.word, reason.stage.value, failed_at, reason.remedy)
    subscribed = _run(rig, "subscribe", ALICE, ZOE)
    assert _words(subscribed) == expected
    assert _words(subscribed["presence"]) == expected
    assert _words(_run(rig, "subscribe", ALICE, ZOE, "--fetch")["state"]) == expected
    assert _words(_run(rig, "send", ALICE, ZOE, "hello")) == expected


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (_closed_port, Reason.CONNECTION_REFUSED),
        (Scene.black_hole, Reason.CONNECT_TIMEOUT),
        (Scene.speaker, Reason.HELLO_TIMEOUT),
    ],
)
def test_a_router_that_cannot_be_reached(
    scene: Scene, place: Callable[[Scene], Endpoint], reason: Reason
) -> None:
    """The same reason, stage, domain and remedy."""
    scene.lab.publish("z.example", place(scene))
    _told_alike(scene.router("a.example", settings=SHORT), reason, "z.example")


def test_an_own_domain_that_is_suspended(scene: Scene) -> None:
    """It failed here, whoever was to be reached."""
    a = scene.router("a.example")
    words = ["--socket", a.router.config.admin_socket, "domains", "suspend", "a.example"]
    assert CliRunner().invoke(imxctl, words).exit_code == Exit.OK
    _told_alike(a, Reason.SUSPENDED, "")
