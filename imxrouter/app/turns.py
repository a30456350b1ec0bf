"""Work that can wait, one piece in each turn of the reactor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any


class Turns:
    """A queue; between two pieces links are read, so that a message waits for one piece and not for all.

    Args:
        reactor: calls what is to be done soon.
        together: what a piece sends is written at its end.
    """

    def __init__(self, reactor: Any, together: Callable[[], AbstractContextManager[None]]) -> None:
        self._reactor = reactor
        self._together = together
        self._waiting: deque[Callable[[], None]] = deque()

    def later(self, what: Callable[[], None]) -> None:
        """Do it in a turn of its own, after those that wait."""
        self._waiting.append(what)
        if len(self._waiting) == 1:
            self._reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        try:
            with self._together():
                self._waiting[0]()
        finally:
            self._waiting.popleft()
            if self._waiting:
                self._reactor.callLater(0, self._turn)
