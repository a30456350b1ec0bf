"""A queue in which groups take turns, so that a crowd of one network is not before everybody else."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """First come, first served within a group; one of each group in turn."""

    def __init__(self) -> None:
        self._groups: dict[bytes, deque[Item]] = {}
        #: groups that have something, the next one first
        self._order: deque[bytes] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, group: bytes, item: Item) -> None:
        """Add something at the end of its group."""
        queue = self._groups.get(group)
        if queue is None:
            queue = self._groups[group] = deque()
            self._order.append(group)
        queue.append(item)
        self._count += 1

    def take(self) -> Item:
        """Take what is next.

        Raises:
            IndexError: nothing is there.
        """
        group = self._order.popleft()
        queue = self._groups[group]
        item = queue.popleft()
        self._count -= 1
        if queue:
            self._order.append(group)
        else:
            del self._groups[group]
        return item
