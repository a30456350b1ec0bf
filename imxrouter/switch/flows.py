"""What remote domains send and are sent, counted between two looks of whoever shows it.

The loop of `responses.py` counts the answers of one read by domain, in a plain dictionary; here a read's
worth is added at once, in a table for each pair of times. What lives longer is `telemetry.peers` and
`telemetry.windows`; both get tables of `model.quality`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Final

from imxrouter.model import quality
from imxrouter.model.operations import Kind
from imxrouter.model.quality import Cells, End, Part
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.registry import KIND_OF_TYPE

#: Domains of one pair of times between two looks, which are a second apart; with more somebody looks sooner.
FLOWS_AT_MOST: Final = 4096
#: The name of what is no domain's. No domain is called so.
REST: Final = b"*"

#: Three figures in one number, so that one look in a dictionary adds to all: requests, and nanoseconds of the
#: other side and of ours. 56 bits are two years of them; between two looks is a second.
_BITS: Final = 56
_MASK: Final = (1 << _BITS) - 1
_ONE: Final = 1 << 2 * _BITS

#: A domain, for its messages, or a domain and another type of request.
Key = bytes | tuple[bytes, int]


class Flows:
    """Counts by domain.

    Attributes:
        on_full: called where there are too many domains; should `take`.

    Args:
        ours: domains served here; what was counted for them is not told.
    """

    __slots__ = ("_other", "_ours", "_tables", "on_full")

    def __init__(self, ours: Container[bytes]) -> None:
        self._ours = ours
        self.on_full: Callable[[], object] = self.take
        #: (from the domain, bucket of our time, bucket of theirs) -> what was delivered, three figures in one
        self._tables: dict[tuple[bool, int, int], dict[Key, int]] = {}
        self._other: dict[tuple[bytes, bool, int, End, Reason], int] = {}

    def delivered(
        self, counts: Mapping[Key, int], came: bool, ours: int, ours_s: float, theirs: int, theirs_s: float
    ) -> None:
        """Count delivered requests that took the same time.

        Args:
            counts: how many of each domain and type.
            came: they are the domains' own; else they went there.
            ours: bucket of what we took of it.
            ours_s: seconds of it.
            theirs: bucket of what the peer, or our service, took.
            theirs_s: seconds of it.
        """
        name = (came, ours, theirs)
        table = self._tables.get(name)
        if table is None or len(table) > FLOWS_AT_MOST:
            if table is not None:
                self.on_full()
            table = self._tables.setdefault(name, {})
        each = _ONE + (int(theirs_s * 1e9) << _BITS) + int(ours_s * 1e9)
        for key, count in counts.items():
            table[key] = table.get(key, 0) + (each if count == 1 else count * each)

    def add(self, domain: bytes, kind: Kind, end: End, reason: Reason, *, came: bool) -> None:
        """Count one request, from or to a domain, that was not delivered or whose time is nobody's."""
        if len(self._other) > FLOWS_AT_MOST:
            self.on_full()
        key = (domain, came, kind, end, reason)
        self._other[key] = self._other.get(key, 0) + 1

    def take(self) -> dict[bytes, Cells]:
        """What was counted since the last look, by domain."""
        flows: dict[bytes, Cells] = {}
        for (came, ours, theirs), table in self._tables.items():
            for key, packed in table.items():
                domain, kind = _parted(key)
                count = packed >> 2 * _BITS
                for cell, figure in (
                    (quality.ended(came, kind, End.DELIVERED), count),
                    (quality.took(Part.OURS, came, kind, ours), count),
                    (quality.took(Part.THEIRS, came, kind, theirs), count),
                    (quality.total_us(Part.OURS, came, kind), ((packed & _MASK) + 500) // 1000),
                    (quality.total_us(Part.THEIRS, came, kind), ((packed >> _BITS & _MASK) + 500) // 1000),
                ):
                    self._count(flows, domain, cell, figure)
        for (domain, came, kind, end, reason), count in self._other.items():
            self._count(flows, domain, quality.ended(came, kind, end), count)
            if end is not End.DELIVERED:
                self._count(flows, domain, quality.because(came, reason), count)
        self._tables.clear()
        self._other.clear()
        return flows

    def _count(self, flows: dict[bytes, Cells], domain: bytes, cell: int, count: int) -> None:
        if domain not in self._ours:
            cells = flows.setdefault(domain, {})
            cells[cell] = cells.get(cell, 0) + count


def _parted(key: Key) -> tuple[bytes, int]:
    if isinstance(key, bytes):
        return key, Kind.MESSAGE
    return key[0], KIND_OF_TYPE.get(key[1], Kind.OTHER)
