"""Numbered messages through two organisations while everything between them breaks.

No message is delivered twice; each has one outcome at the service that sent it, and the outcome is true; what
nobody can know was in flight where something was cut, and is counted; memory stays under a bound; figures add
up. And with one protection taken away, the same scene sees what it prevents.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from tests.chaos.scene import play

#: Events of the long form: `make soak` with IMXROUTER_SOAK_EVENTS=2000 for a night.
SOAK_EVENTS = int(os.environ.get("IMXROUTER_SOAK_EVENTS", "60"))
#: Their order; a run prints it, and IMXROUTER_SOAK_SEED brings one back.
SOAK_SEED = int(os.environ.get("IMXROUTER_SOAK_SEED") or random.randrange(1 << 32))

#: Messages a second from a to b; a quarter of it back. All windows are full soon after an answer is missing.
RATE = 1000.0

EVENTS = [
    "reset",
    "answers lost, same process",
    "answers lost, other process",
    "first try is late",
    "peer stops reading",
    "kill b0",
    "back lost",
    "source lost",
    "one byte a second",
    "kill b1",
    "sink lost",
    "first try is late, service away",
    "kill a",
    "answers lost, nobody there",
]

#: (protection taken away, where, what provokes it, the fault that is seen)
UNPROTECTED = [
    ("epoch", "b", "answers lost, other process", "delivered twice"),
    ("unacknowledged", "b", "answers lost, same process", "delivered twice"),
    ("unacknowledged", "a", "source lost", "delivered twice"),
    ("duplicates", "b", "answers lost, same process", "delivered twice"),
    ("late-first", "b", "first try is late", "delivered twice"),
    ("given-up", "a", "answers lost, nobody there", "not true"),
    ("refused-retry", "b", "first try is late, service away", "not true"),
]


def test_messages_under_everything_that_can_go_wrong(tmp_path: Path) -> None:
    """Each event once; retries are known as duplicates, and some meet another process."""
    verdict = play(tmp_path, EVENTS, RATE, RATE / 4)
    sys.stdout.write("\n".join(verdict.lines()) + "\n")
    assert verdict.faults() == []
    assert verdict.witness.retries["the same process"] > 0
    assert verdict.witness.retries["another process"] > 0
    assert verdict.total("duplicate") > 0
    assert verdict.report.retries["another process"] > 0


def test_doubling_is_seen_without_two_protections(tmp_path: Path) -> None:
    """One is taken away on either side, and each shows in the one event that concerns it.

    Both need answers under way at their moment: a machine that is busy may have none the first time.
    """
    mutants = {"a": "unacknowledged", "b0": "epoch", "b1": "epoch"}
    events = [*["answers lost, other process"] * 3, *["source lost"] * 5]
    verdict = play(tmp_path, events, RATE, 0.0, mutants)
    sys.stdout.write(f"delivered twice: {dict(verdict.doubled())}\n")
    assert verdict.doubled()["answers lost, other process"] > 0
    assert verdict.doubled()["source lost"] > 0
    assert any("delivered twice" in fault for fault in verdict.faults())


@pytest.mark.soak
@pytest.mark.parametrize(("name", "where", "event", "fault"), UNPROTECTED)
def test_a_fault_is_seen_without_the_protection(
    tmp_path: Path, name: str, where: str, event: str, fault: str
) -> None:
    """Each protection alone."""
    processes = [one for one in ("a", "b0", "b1") if one.startswith(where)]
    verdict = play(tmp_path, [event], RATE, 0.0, dict.fromkeys(processes, name))
    sys.stdout.write(f"without {name} in {where}, {event}: {'; '.join(verdict.faults())}\n")
    assert any(fault in one for one in verdict.faults()), verdict.lines()


@pytest.mark.soak
def test_messages_for_long(tmp_path: Path) -> None:
    """Many events in any order; figures are printed."""
    chance = random.Random(SOAK_SEED)
    events = [chance.choice(EVENTS) for _ in range(SOAK_EVENTS)]
    sys.stdout.write(f"seed {SOAK_SEED}: {', '.join(events)}\n")
    verdict = play(tmp_path, events, RATE, RATE / 4)
    sys.stdout.write("\n".join(verdict.lines()) + "\n")
    assert verdict.faults() == []
