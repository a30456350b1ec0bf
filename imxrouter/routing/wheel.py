"""Due times of many entries without a look at all of them at each tick."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import ceil, inf
from typing import Final, Generic, TypeVar

#: Moments closer together than this share a place. Callers tick about once a second.
STEP_S: Final = 0.25
#: `Timed.place` of an entry that stands nowhere.
NOWHERE: Final = -1
#: Below this many places nothing is tidied up.
_TIDY_FROM: Final = 4096


class Timed:
    """What has a moment at which it is due; to be inherited.

    Attributes:
        due: seconds of the caller's clock; infinite where nothing is to happen.
        place: number of the step in which the wheel will look at it.
    """

    __slots__ = ("due", "place")

    due: float
    place: int

    def __init__(self) -> None:
        self.due = inf
        self.place = NOWHERE


Entry = TypeVar("Entry", bound=Timed)


class Wheel(Generic[Entry]):
    """Entries by due time, to within `STEP_S`, never early; each costs about one pointer.

    An entry that is put off stays where it is and moves on when its old moment comes.
    """

    def __init__(self) -> None:
        self._steps: dict[int, list[Entry]] = {}
        self._order: list[int] = []
        self._count = 0
        self._tidy_at = _TIDY_FROM

    def set(self, entry: Entry, due: float) -> None:
        """Let an entry be due at a moment, whatever was set before."""
        entry.due = due
        step = ceil(due / STEP_S) if due < inf else NOWHERE
        if step == NOWHERE or (entry.place != NOWHERE and entry.place <= step):
            return
        if self._count >= self._tidy_at:
            self._tidy()
        self._put(entry, step)

    def drop(self, entry: Entry) -> None:
        """Let nothing happen to an entry any more."""
        entry.due = inf

    def take(self, now: float, most: int) -> list[Entry]:
        """Entries that are due, the longest overdue first; each is due never again until `set`."""
        taken: list[Entry] = []
        while self._order and self._order[0] * STEP_S <= now and len(taken) < most:
            step = self._order[0]
            entries = self._steps[step]
            while entries and len(taken) < most:
                entry = entries.pop()
                self._count -= 1
                if entry.place != step:
                    continue
                entry.place = NOWHERE
                if entry.due <= now:
                    entry.due = inf
                    taken.append(entry)
                elif entry.due < inf:
                    self._put(entry, ceil(entry.due / STEP_S))
            if not entries:
                heappop(self._order)
                del self._steps[step]
        return taken

    def next_due(self) -> float:
        """No entry is due before this moment; infinite where there is none."""
        return self._order[0] * STEP_S if self._order else inf

    def _put(self, entry: Entry, step: int) -> None:
        entry.place = step
        entries = self._steps.get(step)
        if entries is None:
            self._steps[step] = [entry]
            heappush(self._order, step)
        else:
            entries.append(entry)
        self._count += 1

    def _tidy(self) -> None:
        """Forget places that nobody has any more; what is dropped and set often would fill the wheel."""
        for step, entries in self._steps.items():
            kept = []
            for entry in entries:
                if entry.place != step:
                    continue
                entry.place = NOWHERE  # a second place of the same entry in this step goes
                if entry.due < inf:
                    kept.append(entry)
            for entry in kept:
                entry.place = step
            self._steps[step] = kept
        self._steps = {step: entries for step, entries in self._steps.items() if entries}
        self._order = list(self._steps)
        heapify(self._order)
        self._count = sum(map(len, self._steps.values()))
        self._tidy_at = max(_TIDY_FROM, 2 * self._count)
