"""Numbered messages through two organisations while everything between them breaks.

No message is delivered twice; each has one outcome at the service that sent it, and the outcome is true; what
nobody can know is counted and bounded by what was in flight; memory stays under a bound; figures add up.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imxrouter.model.vocabulary import Status
from tests.chaos.client import Book, Service
from tests.chaos.proxy import Mode, Proxy
from tests.chaos.routers import CREDIT, RouterProcess

A, B = "a.chaos.example", "b.chaos.example"
#: A router's interpreter and libraries take some 60 MB; what may pile up is bounded far below the rest.
MEMORY_BOUND_KIB = 128 * 1024
#: Longer than hold, answer and keep-alive times of the routers together.
SETTLE_S = 14.0
#: Events of the long form: `make soak` with IMXROUTER_SOAK_EVENTS=2000 for a night.
SOAK_EVENTS = int(os.environ.get("IMXROUTER_SOAK_EVENTS", "60"))


class Scene:
    """A with one process, B with two that share a port as seen from A; a proxy in each direction."""

    def __init__(self, folder: Path, rate: float) -> None:
        key = Ed25519PrivateKey.generate()
        # each side is configured with the other's proxy, so ports are drawn before processes start
        self.b = [RouterProcess(folder, B, A, 1, key, number) for number in (0, 1)]
        self.to_b = Proxy([one.port for one in self.b])
        self.a = RouterProcess(folder, A, B, self.to_b.port, key)
        self.to_a = Proxy([self.a.port])
        for number in (0, 1):
            port = self.b[number].port
            self.b[number] = RouterProcess(folder, B, A, self.to_a.port, key, number, port)
        self.routers = [self.a, *self.b]
        for one in self.routers:
            one.start()
        self.book = Book()
        self.source = Service(self.a.port, key, self.book, pair=(A, B), rate=rate)
        self.back = Service(self.b[0].port, key, self.book, pair=(B, A), start=1 << 40, rate=rate / 4)
        self.sink = Service(self.b[1].port, key, self.book)
        self.services = [self.source, self.back, self.sink]
        #: events after which what was in flight on one link of each direction may be in doubt
        self.doubts = 0
        self.events: Counter[str] = Counter()

    def happen(self, name: str) -> None:
        """Let one thing go wrong, and be right again."""
        self.events[name] += 1
        self.doubts += 1
        events: dict[str, Callable[[], None]] = {
            "reset": self._reset,
            "stall": lambda: self._mode(Mode.STALL),
            "trickle": lambda: self._mode(Mode.TRICKLE),
            "answers lost": self._answers_lost,
            "kill a": lambda: self._kill(self.a),
            "kill b0": lambda: self._kill(self.b[0]),
            "kill b1": lambda: self._kill(self.b[1]),
            "service lost": self.source.cut,
        }
        events[name]()
        for one in self.routers:
            one.note_memory()

    def _reset(self) -> None:
        self.to_a.reset()
        self.to_b.reset()

    def _mode(self, mode: Mode) -> None:
        self.to_a.mode = self.to_b.mode = mode
        time.sleep(2.5)
        self.to_a.mode = self.to_b.mode = Mode.PASS

    def _answers_lost(self) -> None:
        self.to_b.mode = Mode.DROP_ANSWERS
        time.sleep(0.3)
        self._reset()
        self.to_b.mode = Mode.PASS

    @staticmethod
    def _kill(router: RouterProcess) -> None:
        router.kill()
        time.sleep(0.3)
        router.start()

    def settle(self) -> None:
        """No new message; everything has its outcome within every time-out."""
        for one in self.services:
            one.sending = False
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until and any(one.waiting for one in self.services):
            time.sleep(0.1)

    def close(self) -> None:
        """End everything that was started here."""
        for one in self.services:
            one.close()
        for router in self.routers:
            router.kill()
        self.to_a.close()
        self.to_b.close()

    def judge(self) -> str:
        """Check everything; returns the figures."""
        sent = self.source.sent + self.back.sent
        assert not any(one.waiting for one in self.services), "messages without an outcome"
        faults = [number for number, count in self.book.deliveries.items() if count > 1]
        assert faults == [], f"delivered twice: {faults[:5]}"
        statuses: Counter[str] = Counter()
        assert len(self.book.outcomes) == sent
        for number, outcomes in self.book.outcomes.items():
            assert len(outcomes) == 1, f"{number} has {len(outcomes)} outcomes"
            delivered = self.book.deliveries.get(number, 0)
            assert outcomes[0] is not Status.SUCCESS or delivered == 1, f"{number}: success, not delivered"
            assert outcomes[0] is not Status.FAILURE or delivered == 0, f"{number}: failure, delivered"
            statuses[outcomes[0].name.lower()] += 1
        bound = self.doubts * CREDIT * 2 * 2  # two directions, and two links each
        assert statuses["indeterminant"] <= bound
        for router in self.routers:
            router.note_memory()
            figures = router.figures()
            ended = sum(figures[word] for word in ("delivered", "refused", "failed", "indeterminant"))
            assert figures["accepted"] == ended + figures["in_flight"], figures
        peak = max(router.peak_kib for router in self.routers)
        assert peak < MEMORY_BOUND_KIB
        return (
            f"{sent} messages, {dict(statuses)} (in doubt: at most {bound}), {dict(self.book.reasons)}; "
            f"events {dict(self.events)}; peak memory {peak} KiB of {MEMORY_BOUND_KIB}"
        )


def play(folder: Path, events: list[str], rate: float) -> str:
    """Run a row of events under load, and judge."""
    scene = Scene(folder, rate)
    try:
        time.sleep(1.5)
        for name in events:
            scene.happen(name)
            time.sleep(1.0)
        scene.settle()
        return scene.judge()
    finally:
        scene.close()


EVENTS = [
    "reset",
    "answers lost",
    "stall",
    "kill b0",
    "service lost",
    "trickle",
    "kill b1",
    "kill a",
    "reset",
]


def test_messages_under_everything_that_can_go_wrong(tmp_path: Path) -> None:
    """Each event once."""
    sys.stdout.write(play(tmp_path, EVENTS, 300.0) + "\n")


@pytest.mark.soak
def test_messages_for_long(tmp_path: Path) -> None:
    """Many events in any order; figures are printed."""
    chance = random.Random()
    events = [chance.choice(EVENTS) for _ in range(SOAK_EVENTS)]
    sys.stdout.write(play(tmp_path, events, 400.0) + "\n")
