"""Why somebody cannot be watched is told in the words in which a message's failure is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from imxrouter.cli.exits import Exit
from imxrouter.cli.main import imxctl
from imxrouter.model.address import Address
from imxrouter.model.operations import Subscribe
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.operations import operation_to_record
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from tests.doubles.ctl import ctl_json_of_failure
from tests.doubles.raw_peer import Endpoint
from tests.doubles.router_rig import RouterRig, free_port, fresh_address, login_key, service_table
from tests.staged.scene import Scene

ALICE, ZOE = "alice@a.example", "zoe@z.example"
SHORT = {"dial.connect_timeout_s": 0.2, "dial.hello_timeout_s": 0.2}
TOLD = ("reason", "stage", "failed_at", "remedy")


def _closed_port(_scene: Scene) -> Endpoint:
    ip = fresh_address()
    return ip, free_port(ip)


def _words(view: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(view[name] for name in TOLD)


def _told_alike(rig: RouterRig, reason: Reason, failed_at: str) -> None:
    """By subscribing, by what is held of it, by fetching, and by sending."""
    expected = (reason.word, reason.stage.value, failed_at, reason.remedy)
    subscribed = ctl_json_of_failure(rig, "subscribe", ALICE, ZOE)
    assert _words(subscribed) == expected
    assert _words(subscribed["presence"]) == expected
    assert _words(ctl_json_of_failure(rig, "subscribe", ALICE, ZOE, "--fetch")["state"]) == expected
    assert _words(ctl_json_of_failure(rig, "send", ALICE, ZOE, "hello")) == expected


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


def test_who_asks_over_a_link_is_told_the_disclosed_word(scene: Scene) -> None:
    """A service of its own, at the same router and in the same moment as a user of the embedded one."""
    key = login_key(1)
    tables = service_table("office", key, "c.example", types=["subscribe", "notify"])
    scene.lab.publish("z.example", _closed_port(scene))
    a = scene.router("a.example", tables=tables, settings={**SHORT, "lab": True})
    service = scene.peer(a)
    service.hello()
    assert service.log_in(key) == 0
    asked = operation_to_record(
        Subscribe(Address.parse("carol@c.example"), Address.parse(ZOE), bytes(16), b"1", 60)
    )
    service.send(replace(asked, route_tag=1, flags=asked.flags | FLAG_RESPONSE_WANTED))
    assert ctl_json_of_failure(a, "subscribe", ALICE, ZOE)["reason"] == Reason.CONNECTION_REFUSED.word
    outcome = service.outcome()
    assert (outcome.reason, outcome.note) == (Reason.UNREACHABLE, "")
