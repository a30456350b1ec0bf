"""What the judge reckons of one subscription, and what services call older."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from imxrouter.model.operations import Notify, SubscribeResult, SubscriptionState, Version
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.vocabulary import Reason
from tests.properties.nodes import Process
from tests.properties.presence import shown_as
from tests.properties.presence_judge import LATE_S, WRITTEN_S, Life
from tests.properties.presence_world import PresenceWorld
from tests.properties.test_worlds import SHAPES

GRANTED = replace(SUCCESS, result=SubscribeResult(SubscriptionState.ACTIVE, 30))


@pytest.fixture
def process() -> Process:
    """A router, which passes all of it on."""
    return PresenceWorld(SHAPES["two"]).processes[0]


def granted(process: Process) -> Life:
    """For 30 seconds from 0 on; twenty notifications were told at once."""
    life = Life(alone=True)
    life.begin(b"1", process, 30, 0.0)
    life.settle(b"1", GRANTED, 0.0)
    life.spent = 20.0
    return life


def test_what_begins_after_an_end_has_a_rate_of_its_own(process: Process) -> None:
    """The router has forgotten it, whatever renewal was under way."""
    life = granted(process)
    life.begin(b"2", process, 30, 1.0)
    assert life.spent == 20.0
    life.over(1.0)
    assert life.spent == 20.0
    life.begin(b"3", process, 30, 2.0)
    assert life.spent == -inf
    life.spent = 22.0
    life.begin(b"4", process, 30, 2.0)
    assert life.spent == 22.0


@pytest.mark.parametrize(("later", "is_back"), [(0.0, True), (WRITTEN_S / 2, True), (WRITTEN_S, False)])
def test_an_end_that_was_not_written_is_forgotten_with_its_router(
    process: Process, later: float, is_back: bool
) -> None:
    """What ended is there again until its time is over, and no longer."""
    life = granted(process)
    life.over(5.0)
    assert not life.live(5.5)
    life.lost(process, 5.0 + later)
    assert life.live(30 + LATE_S) is is_back
    assert not life.live(30 + LATE_S + 2)


def test_a_renewal_that_fails_changes_nothing(process: Process) -> None:
    """However late, and however often."""
    life = granted(process)
    for second in range(30, 70, 8):
        life.begin(b"2", process, 30, second)
        assert life.live(second)
        life.settle(b"2", failure(Reason.UNREACHABLE), second)
    assert not life.live(30 + LATE_S + 2)


EARLIER, NOW = b"earlier", b"now"


@pytest.mark.parametrize(
    ("told", "is_older"),
    [
        ([(EARLIER, (1, 7)), (EARLIER, (1, 6))], True),
        ([(EARLIER, (1, 7)), (EARLIER, (1, 0))], True),
        ([(EARLIER, (1, 7)), (NOW, (1, 6))], True),
        ([(EARLIER, (2, 0)), (EARLIER, (1, 7))], True),
        ([(EARLIER, (1, 7)), (NOW, (1, 0)), (NOW, (1, 6))], True),
        ([(EARLIER, (1, 7)), (NOW, (1, 0)), (NOW, (1, 0)), (NOW, (1, 7)), (NOW, (2, 0))], False),
    ],
)  # fmt: skip
def test_what_is_older_than_what_was_shown(told: list[tuple[bytes, tuple[int, int]]], is_older: bool) -> None:
    """Under one id at all, under a new one what is told in order: a stray, number 0, has none."""
    world = PresenceWorld(SHAPES["two"])
    service = next(iter(world.services.values()))
    watcher, presentity = next(iter(service.wants))
    assert world.judge.broken == []
    for ident, version in told:
        state, presence = SubscriptionState.ACTIVE, shown_as(presentity, 0)
        one = Notify(presentity, watcher, world.new_id(), ident, state, Version(*version), presence)
        service._show((watcher, presentity), one)
    assert [word.partition(":")[0] for word in world.judge.broken] == ["an older state is shown"] * is_older
