"""What an attack makes the router hold, measured in this process."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.attacks.stream_routers import wait_for_the_end
from tests.doubles.router_rig import Lab, RouterRig

#: Bytes that may be held more while an attack lasts; what Mallory sends is many times that.
AT_MOST = 2 << 20
#: Bytes that may be left of each attack: it comes from an address of its own, which is remembered for a time,
#: and is counted and logged. What a stranger's stream may have read is 8 KiB.
LEFT_AT_MOST = 6 << 10


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
    gc.collect()
    tracemalloc.start()
    try:
        yield Held()
    finally:
        tracemalloc.stop()


def stays_flat(lab: Lab, rig: RouterRig, attack: Callable[[], None], times: int) -> None:
    """Carry an attack out again and again: what is held while it lasts, and after it, does not grow with it.

    Args:
        lab: where it goes on.
        rig: who is attacked.
        attack: opens a stream, is refused, and closes it.
        times: how often after the first, which leaves behind what is made once.
    """
    attack()
    wait_for_the_end(lab, rig)
    with measured() as held:
        for _ in range(times):
            attack()
        wait_for_the_end(lab, rig)
        left = held.now()
        assert held.most() < AT_MOST, f"{held.most():,} bytes were held"
        assert left < LEFT_AT_MOST * times, f"{left:,} bytes are left of {times} attacks"
