"""Two router hosts of one domain are restarted in turn under messages and presence (BEY-6; IMX-18, 19).

No message is lost, none comes twice, no sender sees an error, and every watcher is right in the end. Figures
are printed: the latency of messages in quiet and while a host goes and comes back.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from imxrouter.admin.client import AdminClient
from imxrouter.admin.errors import AdminUnreachable
from tests.rolling.world import Host, World
from tests.storm.world import say

_FIGURES = ("imxrouter_redirects_total", "imxrouter_elsewhere_total", "imxrouter_retries_total")
SHORT = {"rate": 400.0, "watches": 100, "changes": 20.0}
LONG = {"rate": 2000.0, "watches": 400, "changes": 40.0}
#: Two processes a host.
WORKERS = {"extra": "workers = 2\n"}
_IDS = ["one process", "two processes"]


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world of a size."""
    made = World(tmp_path, **request.param)
    try:
        yield made
    finally:
        made.close()


def _errors(world: World) -> list[Any]:
    return [side.ask("status")["errors"] for side in world.sides]


def _settle(world: World) -> None:
    """Everybody is logged in everywhere and watches; then the load begins."""
    world.wait(lambda: all(all(side.ask("ready")) for side in world.sides), "every link is there")
    for side in world.sides:
        side.ask("send", on=True)
    world.wait(lambda: all(it["active"] == it["wanted"] for it in map(_active, world.sides)), "subscribed")


def _active(side: Any) -> dict[str, int]:
    status = side.ask("status")
    return {"active": status["active"], "wanted": status["wanted"]}


def _measure(world: World, name: str, seconds: float) -> None:
    for side in world.sides:
        side.ask("mark")
    time.sleep(seconds)
    _say_latency(world, name)


def _say_latency(world: World, name: str) -> None:
    for label, side in zip("ab", world.sides, strict=True):
        it = side.ask("status")
        say(
            f"  {label}.example, {name}: {it['measured']} messages, p50 {it['p50']} ms, p99 {it['p99']} ms, "
            f"at most {it['most']} ms"
        )


def _restart(world: World, host: Host, rest_s: float) -> None:
    """One host goes and comes back, under load."""
    for side in world.sides:
        side.ask("mark")
    stopped = host.stop()
    time.sleep(rest_s)
    started = host.start()
    world.wait(lambda: all(world.b.ask("ready")), f"the service is logged in at {host.name} again")
    time.sleep(rest_s)
    say(f"{host.name}: gone in {stopped:.2f} s, up in {started:.2f} s")
    _say_latency(world, f"while {host.name} restarts")
    assert _errors(world) == [{}, {}]


def _judge(world: World) -> None:
    for side in world.sides:
        side.ask("send", on=False)
    world.wait(lambda: not any(side.ask("status")["waiting"] for side in world.sides), "all is answered")
    world.wait(lambda: not world.wrong(), "every watcher right")
    status = [side.ask("status") for side in world.sides]
    say(f"{sum(it['sent'] for it in status)} messages; {[it['counts'] for it in status]}")
    say(f"  a.example's router: {world.a1.figures(*_FIGURES)}")
    assert [it["errors"] for it in status] == [{}, {}]
    for sender, taker in ((world.a, world.b), (world.b, world.a)):
        sent, taken = sender.ask("status"), taker.ask("taken")
        assert taken["doubled"] == []
        assert taken["numbers"] == list(range(1, sent["sent"] + 1))
        assert sent["succeeded"] == sent["sent"]
        assert not sent["counts"].get("unknown")
    assert [host.logged("Traceback") for host in world.hosts.values()] == [0, 0, 0]


def _roll(world: World, rounds: int, rest_s: float) -> None:
    _settle(world)
    _measure(world, "quiet", rest_s)
    assert _errors(world) == [{}, {}]
    for _ in range(rounds):
        for host in (world.b1, world.b2):
            _restart(world, host, rest_s)
    _judge(world)


@pytest.mark.parametrize(
    "world", [SHORT, {**SHORT, "tls": True}, {**SHORT, **WORKERS}], indirect=True,
    ids=["in clear", "in TLS", "two processes"],
)  # fmt: skip
def test_each_host_is_restarted_once(world: World) -> None:
    """Short form."""
    _roll(world, 1, 1.5)


@pytest.mark.soak
@pytest.mark.parametrize("world", [LONG, {**LONG, **WORKERS}], indirect=True, ids=_IDS)
def test_a_rolling_restart(world: World) -> None:
    """2,000 messages a second, each host restarted three times."""
    _roll(world, 3, 5.0)


@pytest.mark.parametrize("world", [SHORT, {**SHORT, **WORKERS}], indirect=True, ids=_IDS)
def test_the_procedure_of_the_operators_page(world: World) -> None:
    """docs/operators/upgrade.md, two hosts: drain, stop, start, look, undrain."""
    _settle(world)
    for host in (world.b1, world.b2):
        drained = host.ctl("--json", "drain", "--wait")
        assert drained.returncode == 0, drained
        assert json.loads(drained.stdout)["processes"] == dict.fromkeys(host.numbers, "drained")
        assert _errors(world) == [{}, {}]
        assert host.stop() < 10
        host.start()
        world.wait(partial(_are, host, "drained"), "every process is there, drained")
        assert json.loads(host.ctl("--json", "links").stdout) == []
        assert host.ctl("undrain").returncode == 0
        world.wait(lambda: all(world.b.ask("ready")), f"the service is logged in at {host.name} again")
        time.sleep(1.0)
        assert _are(host, "running")
        assert _errors(world) == [{}, {}]
    _judge(world)


def _are(host: Host, state: str) -> bool:
    """Whether every process of a host says that it is in that state."""
    states = []
    for one in host.sockets:
        with contextlib.suppress(AdminUnreachable):
            states.append(AdminClient(str(one)).status()["drain"]["state"])
    return states == [state] * len(host.sockets)
