"""The cells in which the quality of a peer is counted: one integer each, in sparse tables (FCC-1, FCC-7).

A table is a `dict` from cell to count. The hot path's figures, the windows of reports and what the state
file keeps are such tables, so that adding two is all that anybody does with them, and nothing is lost between
them. The numbers of cells are in state files: `LAYOUT` changes when one of them comes to mean something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

from imxrouter.model.operations import Kind
from imxrouter.model.vocabulary import REASON_BY_CODE, Reason

#: Of the numbers below.
LAYOUT: Final = 1
#: A sparse table of counts by cell.
Cells = dict[int, int]

#: Upper ends of the buckets of times: three a decade, for objectives of any size; see `telemetry.quality`.
BOUNDS_S: Final = (
    0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
BUCKETS: Final = len(BOUNDS_S) + 1


class Part(IntEnum):
    """Whose a piece of time is."""

    OURS = 0
    THEIRS = 1


class End(IntEnum):
    """What a request can end in."""

    DELIVERED = 0
    REFUSED = 1
    FAILED = 2
    INDETERMINANT = 3


#: Places for each; more than there are, so that a new one moves nothing.
_KINDS: Final = 8
_ENDS: Final = len(End)
_CODES: Final = 128
_BUCKETS: Final = 24

_ENDED: Final = 0
_REASONS: Final = _ENDED + 2 * _KINDS * _ENDS
_TIMES: Final = _REASONS + 2 * _CODES
_SUMS: Final = _TIMES + 2 * 2 * _KINDS * _BUCKETS
_OUT: Final = _SUMS + 2 * 2 * _KINDS
#: Milliseconds during which this process was there to count.
SEEN_MS: Final = _OUT + 2 * _CODES
CELLS: Final = SEEN_MS + 1

#: Reasons of which the recipient's side is free to have as many as it likes: no fault of the peer's router.
RECIPIENTS: Final = frozenset(
    {Reason.UNKNOWN_USER, Reason.BLOCKED, Reason.CONSENT_NEEDED, Reason.NOT_DELIVERED, Reason.SUPERSEDED}
)


def ended(came: bool, kind: int, end: int) -> int:
    """Requests of a kind, from the peer (`came`) or to it, that ended so."""
    return _ENDED + (came * _KINDS + kind) * _ENDS + end


def because(came: bool, reason: Reason) -> int:
    """Requests from the peer or to it that were not delivered for a reason."""
    return _REASONS + came * _CODES + reason.code


def took(part: Part, came: bool, kind: int, bucket: int) -> int:
    """Delivered requests by the bucket of the time that a part of the way took."""
    return _TIMES + ((part * 2 + came) * _KINDS + kind) * _BUCKETS + bucket


def total_us(part: Part, came: bool, kind: int) -> int:
    """Microseconds that a part of the way took of delivered requests, together."""
    return _SUMS + (part * 2 + came) * _KINDS + kind


def out_ms(ours: bool, reason: Reason) -> int:
    """Milliseconds for which the peer could not be reached, through our own fault or not."""
    return _OUT + ours * _CODES + reason.code


def add(into: Cells, cells: Mapping[int, int]) -> None:
    """Add one table to another."""
    for cell, count in cells.items():
        into[cell] = into.get(cell, 0) + count


def ends(cells: Mapping[int, int], came: bool, kinds: Iterable[int] = Kind) -> list[int]:
    """Requests that ended, by `End`, of these kinds together."""
    chosen = tuple(kinds)
    return [sum(cells.get(ended(came, kind, end), 0) for kind in chosen) for end in End]


def reasons(cells: Mapping[int, int], came: bool) -> dict[Reason, int]:
    """Requests that were not delivered, by reason."""
    return _by_reason(cells, _REASONS + came * _CODES)


def outage_ms(cells: Mapping[int, int], ours: bool) -> dict[Reason, int]:
    """Milliseconds for which the peer could not be reached, by the reason."""
    return _by_reason(cells, _OUT + ours * _CODES)


def times(cells: Mapping[int, int], part: Part, came: bool, kinds: Iterable[int] = Kind) -> list[int]:
    """Delivered requests by bucket, of these kinds together."""
    chosen = tuple(kinds)
    return [sum(cells.get(took(part, came, kind, one), 0) for kind in chosen) for one in range(BUCKETS)]


def seconds(cells: Mapping[int, int], part: Part, came: bool, kinds: Iterable[int] = Kind) -> float:
    """Seconds that a part of the way took, of all delivered requests of these kinds."""
    return sum(cells.get(total_us(part, came, kind), 0) for kind in kinds) / 1e6


def _by_reason(cells: Mapping[int, int], first: int) -> dict[Reason, int]:
    codes = {code: cells[first + code] for code in range(_CODES) if cells.get(first + code)}
    return {REASON_BY_CODE[code]: count for code, count in codes.items() if code in REASON_BY_CODE}
