"""What waits while its destination is dialled, bounded by count, bytes and age (architecture section 6)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from imxrouter.model.errors import LocalMisuse
from imxrouter.model.vocabulary import Reason

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """Bounds of one destination's queue.

    Attributes:
        count: items.
        size_bytes: bytes of all of them.
        age_s: how long one waits; longer than a look-up and a dial usually take, shorter than a sender waits.
    """

    count: int = 1000
    size_bytes: int = 4 * 1024 * 1024
    age_s: float = 15.0


class HoldBudget:
    """What several queues together may hold; a destination's budget lies within that of all of them."""

    def __init__(
        self,
        limit_bytes: int = 64 * 1024 * 1024,
        limit_count: int | None = None,
        within: HoldBudget | None = None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.count = 0
        self._limit_count = limit_count
        self._within = within

    def take(self, size_bytes: int) -> bool:
        """Reserve for one item; False where it does not fit."""
        if self.used_bytes + size_bytes > self.limit_bytes:
            return False
        if self._limit_count is not None and self.count >= self._limit_count:
            return False
        if self._within is not None and not self._within.take(size_bytes):
            return False
        self.used_bytes += size_bytes
        self.count += 1
        return True

    def give_back(self, size_bytes: int, count: int = 1) -> None:
        """Release what was taken."""
        if size_bytes > self.used_bytes or count > self.count:
            raise LocalMisuse(f"{size_bytes} bytes given back, {self.used_bytes} were taken")
        self.used_bytes -= size_bytes
        self.count -= count
        if self._within is not None:
            self._within.give_back(size_bytes, count)


class HoldQueue(Generic[Item]):
    """First in, first out; every item is there once, and comes out once, by `drain`, `expire` or `drop`."""

    def __init__(self, limits: HoldLimits = HoldLimits(), budget: HoldBudget | None = None) -> None:
        self._limits = limits
        self._budget = budget if budget is not None else HoldBudget()
        self._items: OrderedDict[Item, tuple[int, float]] = OrderedDict()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def oldest_since(self) -> float | None:
        """When the item was offered that has waited longest; None when nothing waits."""
        first = next(iter(self._items.values()), None)
        return first[1] - self._limits.age_s if first is not None else None

    def offer(self, item: Item, size_bytes: int, now: float) -> Reason | None:
        """Hold an item; HOLD_FULL where it does not fit, and the sender is answered at once."""
        over = (
            len(self._items) >= self._limits.count or self.held_bytes + size_bytes > self._limits.size_bytes
        )
        if over or not self._budget.take(size_bytes):
            return Reason.HOLD_FULL
        self._items[item] = (size_bytes, now + self._limits.age_s)
        self.held_bytes += size_bytes
        return None

    def items(self) -> list[tuple[Item, int, float]]:
        """Each item with its bytes, and when it was offered; oldest first."""
        age_s = self._limits.age_s
        return [(item, size_bytes, until - age_s) for item, (size_bytes, until) in self._items.items()]

    def drain(self) -> list[Item]:
        """Everything that waits, oldest first: the link is up, or the destination failed."""
        items = list(self._items)
        self._items.clear()
        self._budget.give_back(self.held_bytes, len(items))
        self.held_bytes = 0
        return items

    def expire(self, now: float) -> list[Item]:
        """What waited too long, oldest first."""
        gone = []
        for item, (_, until) in self._items.items():
            if until > now:
                break
            gone.append(item)
        for item in gone:
            self.drop(item)
        return gone

    def drop(self, item: Item) -> bool:
        """Take one item out; False where it is not here."""
        size_bytes, _ = self._items.pop(item, (-1, 0.0))
        if size_bytes < 0:
            return False
        self.held_bytes -= size_bytes
        self._budget.give_back(size_bytes)
        return True
