"""What remote domains send and are sent, counted between two looks of whoever shows it.

The hot path knows a domain's cell for a run of records; the tables that live longer are in `telemetry.peers`.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

#: Places of a cell: five results (`slots.ACCEPTED` to `slots.INDETERMINANT`) of requests that came in, then
#: five of those that went out, then plain answers of theirs and the microseconds those took.
CAME: Final = 0
WENT: Final = 5
ANSWERS: Final = 10
ANSWERS_US: Final = 11
CELL_SIZE: Final = 12

#: Domains between two looks, which are a second apart; what is over is counted together.
FLOWS_AT_MOST: Final = 4096
#: The name of what is over. No domain is called so.
REST: Final = b"*"


class Flows:
    """Cells by domain.

    Args:
        ours: domains served here; nothing is counted for them.
    """

    __slots__ = ("_nowhere", "_ours", "cells")

    def __init__(self, ours: Container[bytes]) -> None:
        self.cells: dict[bytes, list[int]] = {}
        self._ours = ours
        self._nowhere = [0] * CELL_SIZE

    def cell(self, domain: bytes) -> list[int]:
        """Where to count for a domain; found by the hot path in `cells` where it is there already."""
        known = self.cells.get(domain)
        if known is None:
            if len(self.cells) >= FLOWS_AT_MOST:
                return self._nowhere if domain in self._ours else self.cells.setdefault(REST, _empty())
            known = self.cells[domain] = self._nowhere if domain in self._ours else _empty()
        return known

    def take(self) -> dict[bytes, list[int]]:
        """What was counted since the last look."""
        cells, self.cells = self.cells, {}
        nowhere = self._nowhere
        return {domain: cell for domain, cell in cells.items() if cell is not nowhere}


def _empty() -> list[int]:
    return [0] * CELL_SIZE
