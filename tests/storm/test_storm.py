"""A storm of presence: many watchers of one user, many users who change, routers that restart.

Every watcher is right in the end, no message is lost, memory stays under a bound; what was refused was
refused by name. Figures are printed; the latency of messages beside the storm is reported, not judged.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.doubles.router_process import RouterProcess
from tests.storm.world import Size, World, say

#: Megabytes that a router may take above its idle state: so many, and bytes for each subscription.
ROOM_MB: Final = 60.0
SUBSCRIPTION_BYTES: Final = 4096
#: What is subscribed again takes so many seconds at least, and of all so much comes in one of them at most;
#: routers take ten and more. What came while the taking process stood still is in the next second.
SPREAD_SECONDS: Final = 5
MOST_A_SECOND: Final = 0.25
SHORT: Final = Size(star=400, users=50, each=2, still=1, rate=100.0, seconds=2.0)
LONG: Final = Size(star=10_000, users=1_000, each=10, still=300, rate=100.0, seconds=20.0)


class Storm:
    """The scenes, over one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.size = world.size

    def subscribe(self) -> None:
        """Everybody begins to watch."""
        count = self.size.subscriptions
        self.world.wait(lambda it: it["active"] == count, "every subscription active", 120)
        self.world.right(60)
        took, status = time.monotonic() - self.world.began, self.world.crowd.ask("status")
        say(f"{count} subscriptions active and told in {took:.1f} s; {status['outcomes']}")

    def star(self) -> None:
        """One user with many watchers changes."""
        world, changes = self.world, 3
        world.crowd.ask("mark")
        used = {router.name: router.cpu_s() for router in world.routers}
        began = time.monotonic()
        for _ in range(changes):
            world.crowd.ask("star")
            world.right(60)
        took = time.monotonic() - began
        told = world.crowd.ask("status")["told"]
        assert told >= changes * self.size.star
        cpu = {router.name: (router.cpu_s() - used[router.name]) / told * 1e6 for router in world.routers}
        say(
            f"one user, {self.size.star} watchers: {changes} changes, {told} notifications in {took:.1f} s; "
            f"router CPU of each: " + ", ".join(f"{name} {us:.1f} us" for name, us in cpu.items())
        )

    def changing(self) -> None:
        """Every user changes every second, beside a stream of messages."""
        world, size = self.world, self.size
        world.talk.ask("send", on=True)
        time.sleep(1)
        world.talk.ask("mark")
        time.sleep(size.seconds)
        quiet = world.talk.ask("status")
        world.crowd.ask("mark")
        world.crowd.ask("storm", every_s=1.0)
        time.sleep(1)
        world.talk.ask("mark")
        time.sleep(size.seconds)
        loud = world.talk.ask("status")
        changes = world.crowd.ask("storm", every_s=0.0)
        status = world.right(60)
        say(
            f"{changes} changes of {size.users} users, {status['told']} notifications, "
            f"{status['told'] / (size.seconds + 1):.0f} a second; {status['outcomes']}"
        )
        for name, it in (("quiet", quiet), ("storm", loud)):
            say(f"  messages, {name}: {it['measured']}, p50 {it['p50']:.2f} ms, p99 {it['p99']:.2f} ms")
        say(f"  p99 storm / quiet: {loud['p99'] / max(quiet['p99'], 0.001):.1f}")
        assert loud["outcomes"] == {"message success": loud["succeeded"]}

    def restart(self, router: RouterProcess, how: signal.Signals) -> None:
        """A router goes and comes back; everybody changes meanwhile."""
        world = self.world
        _until_written(router)
        world.crowd.ask("mark")
        stopped = router.stop(how)
        is_home = self.size.embedded and router is world.z
        if not is_home:
            world.crowd.ask("change_all")
        began = time.monotonic()
        took = router.start()
        world.talk.ask("mark")
        if is_home:
            world.crowd.ask("change_all")
        status = world.right(180)
        right_s = time.monotonic() - began
        status = world.wait(lambda it: _is_over(it, self.size), "every subscription renewed", 120)
        say(
            f"{router.name} {how.name}: gone in {stopped:.1f} s, up in {took:.1f} s, every watcher right "
            f"after {right_s:.1f} s; told unknown {status['unknowns']}, outcomes {status['outcomes']}"
        )
        say("  subscribed again, a second: " + _histogram(status["renewed"]))
        talk = world.talk.ask("status")
        say(f"  messages meanwhile: {talk['measured']}, p50 {talk['p50']:.2f} ms, p99 {talk['p99']:.2f} ms")
        again, still_s = status["renewed"], status["still_s"]
        assert sum(count > 0 for count in again) + still_s >= SPREAD_SECONDS, again
        most = self.size.subscriptions * MOST_A_SECOND * (1 + still_s)
        assert max(again) <= most, (again, still_s)

    def judge(self) -> None:
        """Memory, messages, logs."""
        world = self.world
        world.talk.ask("send", on=False)
        until = time.monotonic() + 40
        while world.talk.ask("status")["waiting"] and time.monotonic() < until:
            time.sleep(0.1)
        talk: dict[str, Any] = world.talk.ask("status")
        bound = ROOM_MB + self.size.subscriptions * SUBSCRIPTION_BYTES / 1e6
        for router in world.routers:
            most = router.rss_mb("VmHWM") - world.idle_mb[router.name]
            now = router.rss_mb()
            say(f"{router.name}: {now:.0f} MB, at most {most:.0f} MB above idle, bound {bound:.0f} MB")
            assert most < bound
        say(f"messages: {talk['sent']} sent, {talk['outcomes']}")
        assert (talk["lost"], talk["doubled"], talk["waiting"]) == (0, 0, 0)
        status = world.crowd.ask("status")
        assert (status["misled"], status["stray"], status["wrong"], status["unknown"]) == (0, 0, 0, 0)
        assert [line for router in world.routers for line in router.tracebacks()] == []


def _until_written(router: RouterProcess) -> None:
    """Wait until what was granted is written down: it is not ended in a second that it may forget."""
    until = time.monotonic() + 60
    while waiting := router.admin.status()["store"]["waiting"]:
        assert time.monotonic() < until, f"{router.name} has {waiting} changes to write"
        time.sleep(0.1)


def _is_over(status: dict[str, Any], size: Size) -> bool:
    return int(sum(status["renewed"])) >= size.subscriptions


def _histogram(counts: list[int]) -> str:
    return " ".join(map(str, counts))


@pytest.fixture
def storm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storm]:
    """A world of a size, ended after the test."""
    world = World(tmp_path, request.param)
    try:
        yield Storm(world)
    finally:
        world.close()


@pytest.mark.parametrize("storm", [SHORT], indirect=True)
def test_a_small_storm(storm: Storm) -> None:
    """Everything once, small."""
    storm.subscribe()
    storm.star()
    storm.changing()
    storm.restart(storm.world.x, signal.SIGKILL)
    storm.judge()


@pytest.mark.soak
@pytest.mark.parametrize("storm", [LONG], indirect=True)
def test_a_storm(storm: Storm) -> None:
    """10,000 watchers of one user, 1,000 users who change each second, restarts with 50,000 subscriptions."""
    storm.subscribe()
    storm.star()
    storm.changing()
    for router in storm.world.routers:
        for how in (signal.SIGTERM, signal.SIGKILL):
            storm.restart(router, how)
    storm.judge()
