"""What remote domains send and are sent, counted between two looks of whoever shows it.

The loops of `switch.py` add to plain dictionaries; the table that lives longer is `telemetry.peers`.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final, NamedTuple

from imxrouter.switch import slots

#: Domains between two looks, which are a second apart; with more of them somebody has to look sooner.
FLOWS_AT_MOST: Final = 4096
#: The name of what is no domain's. No domain is called so.
REST: Final = b"*"

#: What a request of a peer can end in: the results (`slots`) between acceptance and duplicates.
ENDS: Final = slots.RESULTS[slots.DELIVERED : slots.DUPLICATE]


class Flow(NamedTuple):
    """What one remote domain did between two looks.

    Attributes:
        came: its requests that ended, one figure for each of `ENDS`.
        went: requests to it that ended, likewise.
        took_s: seconds that those of `went` took which were delivered.
    """

    came: list[int]
    went: list[int]
    took_s: float


class Flows:
    """Counts by domain. The dictionaries stay the same objects for ever: a loop may hold them.

    Attributes:
        came: requests of a domain that were delivered.
        went: requests to a domain that were delivered.
        took_s: seconds from their write to those answers.
        on_full: called where there are too many domains; should `take`.

    Args:
        ours: domains served here; what was counted for them is not told.
    """

    __slots__ = ("_other", "_ours", "came", "on_full", "took_s", "went")

    def __init__(self, ours: Container[bytes]) -> None:
        self._ours = ours
        self.on_full: Callable[[], object] = self.take
        self.came: dict[bytes, int] = {}
        self.went: dict[bytes, int] = {}
        self.took_s: dict[bytes, float] = {}
        self._other: dict[tuple[bytes, bool, int], int] = {}

    def add(self, domain: bytes, result: int, *, came: bool) -> None:
        """Count one request that ended so (`slots`), from or to a domain."""
        if len(self._other) > FLOWS_AT_MOST:
            self.on_full()
        key = (domain, came, result)
        self._other[key] = self._other.get(key, 0) + 1

    def take(self) -> dict[bytes, Flow]:
        """What was counted since the last look."""
        flows: dict[bytes, Flow] = {}
        delivered = [((domain, True, slots.DELIVERED), count) for domain, count in self.came.items()]
        delivered += [((domain, False, slots.DELIVERED), count) for domain, count in self.went.items()]
        for (domain, came, result), count in (*delivered, *self._other.items()):
            if domain in self._ours:
                continue
            flow = flows.get(domain)
            if flow is None:
                took_s = self.took_s.get(domain, 0.0)
                flow = flows[domain] = Flow([0] * len(ENDS), [0] * len(ENDS), took_s)
            (flow.came if came else flow.went)[result - slots.DELIVERED] += count
        for table in (self.came, self.went, self.took_s, self._other):
            table.clear()
        return flows
