"""Requests in flight (specification section 7.4).

An entry is a plain tuple of numbers and bytes: the hot path makes one per request, and a garbage collector
does not walk tuples of atomic values. The constants below name its places.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

#: in-port, in-tag, size, key, digest, to-domain, from-domain, type, hops, since, out-port (0: held),
#: record, tries, written at (0.0: held)
Entry = tuple[int, int, int, bytes, int, bytes, bytes, int, int, float, int, bytes, int, float]

IN_PORT: Final = 0
IN_TAG: Final = 1
SIZE: Final = 2
KEY: Final = 3
DIGEST: Final = 4
TO_DOMAIN: Final = 5
FROM_DOMAIN: Final = 6
TYPE: Final = 7
HOPS: Final = 8
SINCE: Final = 9
OUT_PORT: Final = 10
RECORD: Final = 11
TRIES: Final = 12
SENT: Final = 13

_TAG_BITS: Final = 48


class Ledger:
    """In-flight requests of one process by the route tag we gave them.

    A tag is the process (16 bits) and a sequence (48) that starts at a random place, so that an answer to a
    request of a former life matches nothing.

    Args:
        process: this process's number.
        seed: random 64 bits of this process life.
    """

    __slots__ = ("entries", "next_tag", "process")

    def __init__(self, process: int, seed: int) -> None:
        self.entries: dict[int, Entry] = {}
        self.process = process
        #: a tag no entry of this life had before (half of the sequence is left after any random start)
        self.next_tag: Callable[[], int] = count(
            (process << _TAG_BITS) + seed % (1 << _TAG_BITS - 1)
        ).__next__

    def older_than(self, moment: float) -> list[int]:
        """Tags of entries that came before the moment; entries stand in the order of their coming."""
        old = []
        for tag, entry in self.entries.items():
            if entry[SINCE] >= moment:
                break
            old.append(tag)
        return old

    def sent_to(self, port: int) -> list[int]:
        """Tags of entries that wait for an answer over that port."""
        return [tag for tag, entry in self.entries.items() if entry[OUT_PORT] == port]


def moved(
    entry: Entry,
    out_port: int,
    record: bytes | None = None,
    tries: int | None = None,
    sent: float | None = None,
) -> Entry:
    """The same request on its way over another link."""
    return (
        entry[0], entry[1], entry[2], entry[3], entry[4], entry[5], entry[6], entry[7], entry[8], entry[9],
        out_port, entry[RECORD] if record is None else record, entry[TRIES] if tries is None else tries,
        entry[SENT] if sent is None else sent,
    )  # fmt: skip


def process_of(tag: int) -> int:
    """The process that gave the tag."""
    return tag >> _TAG_BITS
