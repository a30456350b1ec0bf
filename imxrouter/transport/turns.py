"""Turns of the reactor without what nobody here reads: a context for the old log around each event.

Twisted's reactor calls whatever can be read within `log.callWithLogger`, which copies a dictionary and goes
through six calls so that `log.msg` may say who logs. Nothing in the house uses it. A router with little to do
has a turn for each message, and pays for it each time.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from typing import Any, Final, cast

from twisted.internet.epollreactor import EPollReactor
from twisted.python import log

#: What a turn uses of the reactor beside its interface; a Twisted that has it no more takes its own turns.
_NAMES: Final = ("_poller", "_selectables", "_doReadOrWrite", "_disconnectSelectable")


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
    disconnect, readable = reactor._disconnectSelectable, select.EPOLLIN  # noqa: SLF001

    def turn(timeout: float | None) -> None:
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

    return turn
