"""A router under attack goes on for the others (architecture rule 3.5; IMX-14, IMX-15, IMX-33).

From 256 addresses in 16 prefixes, and from a domain that proves itself. Figures are printed; delays are
reported, not judged. What is judged: every honest message arrives once, a domain that nobody has seen before
is heard, what the attackers get are refusals by name, and memory stays under its bound.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.flood.world import World
from tests.storm.world import say

#: Of `caps.unauthenticated_total` those that networks with many connections may have.
PLACES: Final = 768
#: Refused connections that are told why in clear, at least, however short the rush.
TOLD: Final = 10
#: `caps.in_per_peer` by default.
LINKS_OF_A_PEER: Final = 8
#: A tick that comes later is a late one, seconds; a bound of the metric.
LATE_S: Final = 0.01
#: For one attack.
PATIENCE_S: Final = 240.0


@dataclass(frozen=True)
class Size:
    """How much is poured in, and for how long each attack is looked at."""

    silent: int
    handshakes: float
    claimers: int
    links: int
    shout_rate: float
    senders: int
    rate: float
    seconds: float
    quiet_s: float
    quiet_each: bool
    #: megabytes above idle that all attacks together may cost the attacked router
    bound_mb: float


SHORT: Final = Size(
    1_500, 300.0, 200, 40, 500.0, 30_000, 50.0, seconds=2.0, quiet_s=2.0, quiet_each=False, bound_mb=120.0
)
#: A million names fill the memory of those that were checked lately: 262,144, some 65 MB.
LONG: Final = Size(
    10_000, 500.0, 1_000, 200, 500.0, 1_000_000, 100.0, 15.0, quiet_s=6.0, quiet_each=True, bound_mb=185.0
)


class Seen(NamedTuple):
    """What became of honest messages, milliseconds. A message passes the attacked router twice.

    Attributes:
        measured: messages with an answer.
        p50: from their sender and back to him.
        p99: the same.
        wall: for how long the router kept them at most, in both passes; 99th percentile.
        cpu50: of that its own processor time, median.
        cpu: the same, of its own processor time: without what other processes took of its core.
        worst: of one pass.
        ticks: of the router's reactor, a quarter of a second each.
        late: those that came more than `LATE_S` late.
    """

    measured: float
    p50: float
    p99: float
    wall: float
    cpu50: float
    cpu: float
    worst: float
    ticks: float
    late: float

    def __str__(self) -> str:
        return (
            f"{self.measured:g} messages, p50 {self.p50:.2f} ms, p99 {self.p99:.2f} ms; in the router p99 "
            f"{self.wall:.2f} ms, of its own time p50 "
            f"{self.cpu50:.2f} ms, p99 {self.cpu:.2f} ms, worst pass {self.worst:.1f} ms, "
            f"{self.late:g} of {self.ticks:g} ticks late"
        )


def _p99_ms(values: Sequence[float]) -> float:
    return values[min(len(values) * 99 // 100, len(values) - 1)] * 1000


class Flood:
    """The scenes, over one world."""

    def __init__(self, world: World, size: Size) -> None:
        self.world = world
        self.size = size
        self.quiets: list[Seen] = []
        #: seconds that the last attack took
        self.took = 0.0
        self._began = 0.0
        self._ticks: dict[float, int] = {}

    def quiet(self) -> None:
        """What the delay is when nobody attacks."""
        self.world.talk.ask("send", on=True)
        time.sleep(2)
        self._begin()
        time.sleep(self.size.quiet_s)
        seen = self._end()
        self.quiets.append(seen)
        say(f"quiet: {seen}")

    def attack(self, word: str, is_done: Callable[[dict[str, Any]], bool], **plan: Any) -> dict[str, Any]:
        """One attack beside the honest messages; gives the attackers' figures."""
        world = self.world
        if self.size.quiet_each or not self.quiets:
            self.quiet()
        world.attackers.ask("mark")
        self._begin()
        used, began = world.z.cpu_s(), time.monotonic()
        world.attackers.ask(word, **plan)
        until = began + PATIENCE_S
        told: dict[str, Any] = {}
        while time.monotonic() < began + self.size.seconds or not is_done(told):
            assert time.monotonic() < until, f"{word}: not done within {PATIENCE_S:g} s: {told}"
            time.sleep(0.2)
            told = world.attackers.ask("status")
        took = self.took = time.monotonic() - began
        seen, quiet = self._end(), self.quiet_median
        busy = (world.z.cpu_s() - used) / took * 100
        say(
            f"{word}: {took:.1f} s, router {busy:.0f} % of a core, {world.z.rss_mb():.0f} MB; {seen}; beside "
            f"quiet p99 {seen.p99 / quiet.p99:.1f} times, {seen.p99 - quiet.p99:+.2f} ms, of which "
            f"the router {seen.cpu - quiet.cpu:+.2f} ms"
        )
        say(f"  attackers: {told}")
        return told

    @property
    def quiet_median(self) -> Seen:
        """The median of what was seen in quiet, figure by figure."""
        return Seen(*(statistics.median(figures) for figures in zip(*self.quiets, strict=True)))

    def _begin(self) -> None:
        self._began, self._ticks = time.monotonic(), self.world.late_ticks()
        self.world.talk.ask("mark")

    def _end(self) -> Seen:
        talk, kept = self.world.talk.ask("status"), self.world.kept(self._began)
        ticks = {le: count - self._ticks.get(le, 0) for le, count in self.world.late_ticks().items()}
        wall, cpu = (sorted(part) for part in zip(*kept, strict=True))
        all_ticks = ticks[float("inf")]
        return Seen(
            talk["measured"], talk["p50"], max(talk["p99"], 0.001), 2 * _p99_ms(wall),
            2000 * statistics.median(cpu), 2 * _p99_ms(cpu), max(cpu) * 1000,
            all_ticks, all_ticks - ticks[LATE_S],
        )  # fmt: skip

    def newcomer(self) -> None:
        """While it goes on, a domain that was never seen is heard."""
        word, took = self.world.newcomer()
        say(f"  a message of a new domain: refused by {word}, after {took:.1f} s")
        assert word == "none", word

    def stop(self) -> None:
        """The attack ends; the next one begins when the router has seen that its connections are gone."""
        self.world.attackers.ask("stop")
        until = time.monotonic() + PATIENCE_S
        while left := self.world.strangers():
            assert time.monotonic() < until, f"{left} strangers are left"
            time.sleep(0.1)

    def judge(self) -> None:
        """Messages, memory, logs."""
        world = self.world
        world.talk.ask("send", on=False)
        until = time.monotonic() + 40
        while world.talk.ask("status")["waiting"] and time.monotonic() < until:
            time.sleep(0.1)
        talk = world.talk.ask("status")
        most = world.z.rss_mb("VmHWM") - world.idle_mb
        say(f"honest messages: {talk['sent']} sent, {talk['outcomes']}; {most:.0f} MB above idle at most")
        assert talk["outcomes"] == {"message success": talk["sent"]}
        assert (talk["lost"], talk["doubled"], talk["waiting"]) == (0, 0, 0)
        assert most < self.size.bound_mb
        assert [line for router in world.routers for line in router.tracebacks()] == []


@pytest.fixture
def flood(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flood]:
    """A world of a size, ended after the test."""
    world = World(tmp_path, request.param.rate)
    try:
        yield Flood(world, request.param)
    finally:
        world.close()


def _run(flood: Flood) -> None:
    size = flood.size
    told = flood.attack(
        "silent",
        lambda it: (
            it.get("opened", 0) >= size.silent
            and it["open"] <= PLACES
            and it.get("closed over-cap", 0) >= TOLD
            and it.get("answered in TLS", 0) >= PLACES / 4
        ),
        count=size.silent,
    )
    flood.newcomer()
    flood.stop()
    told = flood.attack(  # on a slow machine some wait for too long and are cut
        "crowd", lambda it: it.get("answered in TLS", 0) + it.get("gone", 0) >= PLACES * 0.9, count=PLACES
    )
    assert told["answered in TLS"] >= PLACES / 4
    flood.newcomer()
    flood.stop()
    told = flood.attack("handshakes", lambda it: it.get("answered in TLS", 0) >= 100, rate=size.handshakes)
    flood.newcomer()
    flood.stop()
    told = flood.attack(  # until owners were asked, and said so
        "claim", lambda it: it.get("opened", 0) >= size.claimers and it.get("claim not-mine", 0) > 0,
        count=size.claimers,
    )  # fmt: skip
    assert "claim none" not in told, "somebody was proved as what he is not"
    flood.stop()
    told = flood.attack(  # each is told on its own link, in no order
        "open",
        lambda it: it.get("link over-cap", 0) > 0 and it.get("link proved", 0) >= LINKS_OF_A_PEER,
        count=size.links,
    )
    assert told["link proved"] == LINKS_OF_A_PEER
    flood.stop()
    told = flood.attack("shout", lambda it: it.get("message rate-limited", 0) > 0, rate=size.shout_rate)
    assert told["message success"] <= 20 + 5 * (flood.took + 5)
    flood.stop()
    told = flood.attack(  # a slow machine is busy with the first of them, and judges others
        "invent",
        lambda it: (
            it.get("sent", 0) >= size.senders
            and it.get("message rate-limited", 0) > it.get("message success", 0)
        ),
        count=size.senders,
    )
    assert told["message rate-limited"] > told["message success"]
    flood.stop()
    flood.judge()


@pytest.mark.parametrize("flood", [SHORT], indirect=True)
def test_flood(flood: Flood) -> None:
    """The short form."""
    _run(flood)


@pytest.mark.soak
@pytest.mark.parametrize("flood", [LONG], indirect=True)
def test_flood_for_long(flood: Flood) -> None:
    """10,000 connections, 1,000 claimers, 200 links, a sender 100 times over its rate, a million senders."""
    _run(flood)
