"""Turns of the reactor without what nobody here needs each time.

Twisted's reactor calls whatever can be read within `log.callWithLogger`, which copies a dictionary and goes
through six calls so that `log.msg` may say who logs; and between two waits it looks twice for calls that are
due, in four functions. A router with little to do has a turn for each message, and pays for it each time.
Here the next wait follows at once where nothing else is to be done.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from typing import Any, Final, cast

from twisted.internet.epollreactor import EPollReactor
from twisted.python import log

#: What a turn uses of the reactor beside its interface; a Twisted that has it no more takes its own turns.
_NAMES: Final = (
    "_poller", "_selectables", "_doReadOrWrite", "_disconnectSelectable", "_newTimedCalls",
    "_pendingTimedCalls", "_justStopped", "threadCallQueue", "running",
)  # fmt: skip
#: A longer wait is the reactor's own business: it knows how long the system lets it wait.
_LONG_S: Final = 1000.0


def quicken(reactor: object) -> bool:
    """Have a reactor of epoll wait and read in fewer calls; any other one stays as it is.

    What can be written, and what has ended, goes Twisted's own way. An error while something is read is
    logged and ends that connection only, as ever.

    Args:
        reactor: that runs, or is going to.

    Returns:
        whether it was done.
    """
    if type(reactor) is not EPollReactor or not all(hasattr(reactor, name) for name in _NAMES):
        return False
    cast("Any", reactor).doIteration = _turn_of(reactor)
    return True


def _turn_of(reactor: Any) -> Callable[[float | None], None]:
    poll, selectables, others = reactor._poller.poll, reactor._selectables, reactor._doReadOrWrite  # noqa: SLF001
    disconnect, readable, time_left = reactor._disconnectSelectable, select.EPOLLIN, _time_left_of(reactor)  # noqa: SLF001

    def turn(timeout: float | None) -> None:
        while timeout is None or timeout >= 0:
            # as many events as there are connections, as Twisted has it; Python itself goes on after a signal
            for fd, event in poll(-1 if timeout is None else timeout, len(selectables)):
                one = selectables.get(fd)
                if one is None:  # something before it in this turn has closed it
                    continue
                if event != readable:
                    others(one, fd, event)
                    continue
                try:
                    why = one.doRead()
                except BaseException:  # noqa: BLE001 - a bug ends that connection
                    why = sys.exc_info()[1]
                    cast("Any", log).err()
                if why:
                    disconnect(one, why, True)
            timeout = time_left()

    return turn


def _time_left_of(reactor: Any) -> Callable[[], float]:
    """Make what says for how long nothing but reading is due; below 0 where the reactor has to look."""
    seconds = reactor.seconds

    def time_left() -> float:
        if (
            reactor._newTimedCalls  # noqa: SLF001
            or reactor.threadCallQueue
            or reactor._justStopped  # noqa: SLF001
            or not reactor.running
        ):
            return -1.0
        timers = reactor._pendingTimedCalls  # noqa: SLF001
        if not timers:
            return -1.0
        left: float = timers[0].time - seconds()
        return left if 0 < left < _LONG_S else -1.0

    return time_left
