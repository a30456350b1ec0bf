"""A queue in which groups take turns."""

import pytest

from imxrouter.transport.fair_queue import FairQueue


def test_groups_take_turns_and_each_keeps_its_order() -> None:
    """Who comes with many is not before who comes with one."""
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        queue.put(item[:1].encode(), item)
    assert len(queue) == 6
    assert [queue.take() for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert not queue
    with pytest.raises(IndexError):
        queue.take()


def test_a_group_that_comes_again_is_last() -> None:
    """Being empty meanwhile gives no place before the others."""
    queue: FairQueue[str] = FairQueue()
    queue.put(b"a", "a1")
    queue.put(b"b", "b1")
    assert queue.take() == "a1"
    queue.put(b"a", "a2")
    assert [queue.take(), queue.take()] == ["b1", "a2"]
