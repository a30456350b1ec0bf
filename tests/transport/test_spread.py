"""After a start, subscriptions are renewed spread over time, whatever their number (specification 7.7)."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from imxrouter.model.domain import Domain
from imxrouter.model.operations import SubscriptionState
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.subscriptions import Subscriptions
from imxrouter.transport.liveness import (
    AGAIN_PER_S,
    DOMAINS_PER_S,
    FIRST_AGAIN_S,
    SPREAD_S,
    STEP_S,
    Liveness,
)
from tests.doubles.ways import ways_to

BEGAN = 1000.0


class Scene:
    """A router that comes back with so many subscriptions to users of one domain, which is up."""

    def __init__(self, count: int, seed: int) -> None:
        self.now = BEGAN
        self.asked: list[float] = []
        self.keys: set[bytes] = set()
        table = Subscriptions()
        for number in range(count):
            key, watcher = b"key-%d" % number, b"u%d@x.example" % number
            table.begin(key, watcher, b"alice@z.example", b"id", self.now)
            table.settle(key, SubscriptionState.ACTIVE, 600, 600, self.now)
        hub = SimpleNamespace(
            now=lambda: self.now, sessions={}, closing=False, together=contextlib.nullcontext,
            settings=SimpleNamespace(link=SimpleNamespace(dead_s=30.0)),
            switch=SimpleNamespace(routes={}, ways=ways_to(b"z.example")),
        )  # fmt: skip
        chance = random.Random(seed).random
        self.liveness = Liveness(
            cast("Any", hub), table, self, cast("Any", SimpleNamespace(more_links=None)), chance
        )

    def tell_unknown(
        self, key: bytes, reason: Reason, domain: bytes, answered: Callable[[Outcome], None]
    ) -> bool:
        """Nobody is told here."""
        del answered
        raise AssertionError(f"{key!r} is told {reason} of {Domain.from_wire(domain)}")

    def subscribe_again(self, key: bytes, answered: Callable[[Outcome], None]) -> bool:
        """Note when."""
        del answered
        self.asked.append(self.now - BEGAN)
        self.keys.add(key)
        return True

    def run(self, seconds: int, step_s: float = 1.0) -> list[int]:
        """Begin, and look again and again; how many were asked in each second."""
        self.liveness.begin(self.now)
        for second in range(seconds):
            for step in range(round(1 / step_s)):
                self.now = BEGAN + second + step * step_s
                self.liveness.step(self.now)
            self.liveness.tick(self.now)
        counts = Counter(map(int, self.asked))
        return [counts[second] for second in range(seconds)]


def _many_domains(count: int) -> Scene:
    """A router whose users watch one user in each of so many domains, none of which is up."""
    scene = Scene(0, 1)
    table = scene.liveness._table
    for number in range(count):
        key = b"key-%d" % number
        table.begin(key, b"bob@x.example", b"alice@d%d.example" % number, b"id", scene.now)
        table.settle(key, SubscriptionState.ACTIVE, 600, 600, scene.now)
    return scene


def test_a_start_dials_many_domains_one_after_the_other() -> None:
    """Each has a turn at a random moment, and no second has more than the router may dial."""
    scene = _many_domains(4_000)
    counts = scene.run(33, STEP_S)
    assert len(scene.keys) == 4_000
    assert max(counts) <= DOMAINS_PER_S * 1.3
    assert max(Counter(scene.asked).values()) <= DOMAINS_PER_S * STEP_S * 3


def test_the_loss_of_many_links_is_made_good_one_after_the_other() -> None:
    """The same where they were there and all went at once; a few are dialled at once."""
    scene = _many_domains(1)
    for count, at_most in ((3, 3.0), (4_000, DOMAINS_PER_S * 1.3)):
        scene = _many_domains(count)
        scene.liveness.left(b"d%d.example" % number for number in range(count))
        for step in range(round(30 / STEP_S)):
            scene.now = BEGAN + step * STEP_S
            scene.liveness.step(scene.now)
        seconds = Counter(map(int, scene.asked))
        assert len(scene.keys) == count
        assert max(seconds.values()) <= at_most
    assert min(scene.asked) <= FIRST_AGAIN_S + 0.5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 7, 100, 4_000])
def test_they_come_spread_and_in_time(count: int, seed: int) -> None:
    """Each once, none later than the spread, no second with more than its share."""
    scene = Scene(count, seed)
    counts = scene.run(int(SPREAD_S + FIRST_AGAIN_S) + 3)
    assert len(scene.keys) == len(scene.asked) == count
    assert max(scene.asked) <= SPREAD_S + FIRST_AGAIN_S + 1
    assert max(counts) <= count / SPREAD_S + 1


def test_single_ones_of_many_routers_come_spread_as_well() -> None:
    """A domain whose watchers are at a hundred routers is not asked by all of them at once."""
    seconds = []
    for seed in range(100):
        scene = Scene(1, seed)
        scene.run(13)
        seconds += scene.asked
    assert max(map(seconds.count, seconds)) <= 25


@pytest.mark.parametrize("step_s", [1.0, STEP_S])
def test_no_second_has_more_than_the_router_may(step_s: float) -> None:
    """Where the spread is too short for all of them it grows longer."""
    scene = Scene(15_000, 1)
    counts = scene.run(20, step_s)
    assert sum(counts) == 15_000
    assert max(counts) <= AGAIN_PER_S * 1.05
    assert max(Counter(scene.asked).values()) <= AGAIN_PER_S * step_s * 1.05 + 1
