"""A limit of time that can stand still."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class TimeLeft:
    """The limit for everything together; it stands still while a turn is waited for, and runs from the start.

    Args:
        clock: time.
        seconds: how long it may run in all.
        expire: called when they are over.
    """

    def __init__(self, clock: IReactorTime, seconds: float, expire: Callable[[], None]) -> None:
        self._clock = clock
        self._left = seconds
        self._expire = expire
        self._timer: IDelayedCall | None = None
        self.go_on()

    def go_on(self) -> None:
        """It runs from here on."""
        self._timer = self._clock.callLater(self._left, self._expire)

    def stop(self) -> None:
        """It stands still; what is left stays."""
        if self._timer is not None and self._timer.active():
            self._left = max(self._timer.getTime() - self._clock.seconds(), 0.0)
            self._timer.cancel()
