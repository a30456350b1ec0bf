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
    verdict = play(tmp_path, EVENTS, 300.0, 75.0)
    sys.stdout.write("\n".join(verdict.lines()) + "\n")
    assert verdict.faults() == []
    assert verdict.witness.retries["the same process"] > 0
    assert verdict.witness.retries["another process"] > 0
    assert verdict.total("duplicate") > 0
    assert verdict.report.retries["another process"] > 0


def _unprotected(folder: Path, name: str, where: str, event: str, fault: str) -> None:
    processes = [one for one in ("a", "b0", "b1") if one.startswith(where)]
    verdict = play(folder, [event], 300.0, 0.0, dict.fromkeys(processes, name))
    sys.stdout.write("\n".join(verdict.faults()) + "\n")
    assert any(fault in one for one in verdict.faults()), verdict.lines()


@pytest.mark.parametrize(("name", "where", "event", "fault"), UNPROTECTED[:2])
def test_doubling_is_seen_without_the_protection(
    tmp_path: Path, name: str, where: str, event: str, fault: str
) -> None:
    """A retry that lands on another process, and one whose answer was lost."""
    _unprotected(tmp_path, name, where, event, fault)


@pytest.mark.soak
@pytest.mark.parametrize(("name", "where", "event", "fault"), UNPROTECTED[2:])
def test_a_fault_is_seen_without_the_protection(
    tmp_path: Path, name: str, where: str, event: str, fault: str
) -> None:
    """The other protections, one by one."""
    _unprotected(tmp_path, name, where, event, fault)


@pytest.mark.soak
def test_messages_for_long(tmp_path: Path) -> None:
    """Many events in any order; figures are printed."""
    chance = random.Random()
    verdict = play(tmp_path, [chance.choice(EVENTS) for _ in range(SOAK_EVENTS)], 1000.0, 250.0)
    sys.stdout.write("\n".join(verdict.lines()) + "\n")
    assert verdict.faults() == []
