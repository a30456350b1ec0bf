"""SIGHUP: a router in the foreground drains when its terminal closes; elsewhere files are read again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger


class Hangup:
    """What this process does on SIGHUP, whose default would end it without a drain.

    Args:
        reactor: stopped when the terminal closes.
        follows: the process is a worker; it ends with its leader, which gets the same signal.
    """

    log = Logger()

    def __init__(self, reactor: Any, *, follows: bool = False) -> None:
        self._reactor = reactor
        self._follows = follows
        self._drains = False
        self._reads: dict[str, Callable[[], object]] = {}

    def reads(self, what: str, read: Callable[[], object]) -> None:
        """Have a function called at each signal, in the order of these calls.

        Args:
            what: what it reads again, in the plural, for the log.
            read: may give a Deferred; a failure is logged and keeps nobody else from being called.
        """
        self._reads[what] = read

    def start(self) -> None:
        """Take the signal. Call it in the main thread, once the process is a daemon where it shall be one."""
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup(1): whoever started us decided
            return
        self._drains = not self._follows and has_terminal()
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.hung_up))

    def hung_up(self) -> None:
        """The signal came."""
        if self._drains:
            self.log.info("SIGHUP: the terminal is gone, so the router stops in order")
            with suppress(ReactorNotRunning):  # it stops already
                self._reactor.stop()
            return
        what = ", ".join(self._reads) or "nothing"
        self.log.info("SIGHUP: read again: {what}", what=what)
        for name, read in self._reads.items():
            maybeDeferred(read).addErrback(self._failed, name)

    def _failed(self, failure: Any, what: str) -> None:
        self.log.failure("SIGHUP: reading {what} failed", failure=failure, what=what)


def has_terminal() -> bool:
    """Whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
