"""Gives back what reading a large configuration left behind."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

#: Objects made and not freed before the youngest are collected. With CPython's own 700 a notifier walks its
#: 50,000 subscriptions every 20 s, in 125 ms. Most of what is made here is freed without a walk, and a walk
#: of so many young objects takes some 2 ms.
YOUNG_OBJECTS: Final = 20_000


def settle_memory() -> None:
    """Collect, take what stays out of later collections, and return free pages to the system.

    With 100,000 served domains parsing leaves some 20 MB of free pages that glibc keeps (measured as resident
    memory); and a full collection need not walk tables that live as long as the process. What is made later
    is walked seldom (`YOUNG_OBJECTS`). Where the C library has no `malloc_trim` the pages stay, which harms
    nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
