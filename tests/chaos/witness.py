"""What passes between two organisations, read off the wire: requests in flight on each link, and retries."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from imxrouter.wire.errors import WireError
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.layout import FIRST_ROUTED_TYPE, FLAG_RETRY, FLAGS_OFFSET, RESPONSE_BIT

_ID = slice(24, 40)
#: Services and network have a turn many times in this; without one, routers take links for dead that are not.
STILL_S = 0.3


class Life(NamedTuple):
    """One life of a router process: `a`, `b0` or `b1`, and how often it was started."""

    process: str
    start: int


@dataclass
class Cut:
    """A link that ended, or over which nothing passed for long.

    Attributes:
        since: since when it may have been lost to the routers (they notice before we do, where nothing
            passes); seconds of the machine's monotonic clock.
        at: when we saw it end, or until when nothing passed.
        cause: what was going on.
        ends: the processes it connected.
        open: numbers in flight on it, as far as their records had left the sender's kernel.
        directions: in how many it has carried requests.
    """

    since: float
    at: float
    cause: str
    ends: tuple[Life, Life]
    open: frozenset[int]
    directions: int


class Reader:
    """Cuts one direction of a connection into records."""

    def __init__(self) -> None:
        self._splitter: RecordSplitter | None = RecordSplitter(1 << 20)

    def feed(self, data: bytes) -> list[tuple[bool, bool, int]]:
        """Take bytes; gives (is a response, is a retry, number) of each routed record."""
        if self._splitter is None:
            return []
        try:
            records = self._splitter.feed(data)
        except WireError:  # what follows cannot be read; the router ends the link
            self._splitter = None
            return []
        found = []
        for record in records:
            kind = (record[4] << 8) | record[5]
            if kind & ~RESPONSE_BIT >= FIRST_ROUTED_TYPE:
                is_retry = bool(record[FLAGS_OFFSET] & FLAG_RETRY)
                found.append((bool(kind & RESPONSE_BIT), is_retry, int.from_bytes(record[_ID], "big")))
        return found


@dataclass
class Witness:
    """Counts of everything seen on the wire.

    Attributes:
        retries: requests sent again by routers, by where they went: the same process, its later life, another
            process; or `first try not seen`, where that one never left the sender's kernel.
        answered: answers that passed to requests sent again.
        cuts: links that ended.
        stills: from when to when the network stood still, for the machine had no turn for it.
    """

    retries: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    cuts: list[Cut] = field(default_factory=list)
    stills: list[tuple[float, float]] = field(default_factory=list)
    _first: dict[int, Life] = field(default_factory=dict)

    def request(self, number: int, to: Life, *, is_retry: bool) -> None:
        """A request passes to a process."""
        if not is_retry:
            self._first[number] = to
            return
        first = self._first.get(number)
        if first is None:
            self.retries["first try not seen"] += 1
        elif first == to:
            self.retries["the same process"] += 1
        else:
            same = first.process == to.process
            self.retries["its later life" if same else "another process"] += 1

    def cut(self, cut: Cut) -> None:
        """A link ended."""
        self.cuts.append(cut)
