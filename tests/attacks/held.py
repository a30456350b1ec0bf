"""What an attack makes the router hold, measured in this process."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from twisted.logger import ILogObserver, globalLogBeginner, globalLogPublisher

from tests.attacks.stream_routers import wait_for_the_end
from tests.doubles.router_rig import Lab, RouterRig

#: Bytes that may be held more while an attack lasts; what Mallory sends is many times that.
AT_MOST = 2 << 20
#: Bytes that may be left of each attack that comes from an address of its own; some 370 are seen. The keys of
#: so many addresses stay as `prefixes.REMEMBERED` says (300 bytes each), and that it connected until its rate
#: is whole again (`buckets.KEYS_AT_MOST`).
LEFT_AT_MOST = 1536
#: Bytes that may be left of some hundreds of attacks from one address, which is remembered once.
LEFT_IN_ALL = 16 << 10


class Held:
    """Bytes that Python holds, those of its XML parser among them, from now on."""

    def now(self) -> int:
        """What is held more than at the begin."""
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    def most(self) -> int:
        """The most that was held at any time."""
        return tracemalloc.get_traced_memory()[1]


@contextmanager
def measured() -> Iterator[Held]:
    """Measure what is held from here; what Mallory sends is made before."""
    with _no_history():
        gc.collect()
        tracemalloc.start()
        try:
            yield Held()
        finally:
            tracemalloc.stop()


@contextmanager
def _no_history() -> Iterator[None]:
    """Without the last 200 log events: Twisted keeps them until logging begins, as it does in a router."""
    history = cast("ILogObserver | None", vars(globalLogBeginner)["_temporaryObserver"])
    if history is None:  # logging began in this process
        yield
        return
    globalLogPublisher.removeObserver(history)
    try:
        yield
    finally:
        globalLogPublisher.addObserver(history)


def stays_flat(
    lab: Lab, rig: RouterRig, attack: Callable[[], None], times: int, left_at_most: int = 0
) -> None:
    """Carry an attack out again and again: what is held while it lasts, and after it, does not grow with it.

    Args:
        lab: where it goes on.
        rig: who is attacked.
        attack: opens a stream, is refused, and closes it.
        times: how often after the first, which leaves behind what is made once.
        left_at_most: bytes that may be left of all of them; 0: `LEFT_AT_MOST` of each.
    """
    attack()
    wait_for_the_end(lab, rig)
    with measured() as held:
        for _ in range(times):
            attack()
        wait_for_the_end(lab, rig)
        left = held.now()
        assert held.most() < AT_MOST, f"{held.most():,} bytes were held"
        most = left_at_most or LEFT_AT_MOST * times
        assert left < most, f"{left:,} bytes are left of {times} attacks"
