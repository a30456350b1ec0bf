"""What start-up sets for the collector of cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from imxrouter.app.memory import THRESHOLDS, settle_memory


@pytest.fixture
def collector() -> Iterator[None]:
    """As it was, afterwards."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
def test_requests_that_come_and_go_make_nobody_walk_the_tables() -> None:
    """What is made and freed again without a cycle counts for nothing; thousands in flight are too few."""
    settle_memory()
    before = [generation["collections"] for generation in gc.get_stats()]
    for _ in range(20):
        in_flight = [[number] for number in range(THRESHOLDS[0] // 2)]
        assert in_flight
        del in_flight
    assert [generation["collections"] for generation in gc.get_stats()] == before
