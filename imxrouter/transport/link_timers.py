"""Timers of links: each link is looked at about once a second, a few at a time (IMX-33).

The timers of a thousand links take 10 ms, and ending a crowd whose time is over takes hundreds: in one go
everybody else would wait for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from twisted.logger import Logger

from imxrouter.transport.link import Link

#: Links are looked at for so long at one time.
AT_ONCE_S: Final = 0.0003


class LinkTimers:
    """Looks at links.

    Args:
        sessions: the links, by number.
        look: looks at one, at a time.
        flush: writes what came of it.
        monotonic: seconds.

    Attributes:
        also: what looks at each link as well.
        go_on: goes on with something in a turn that has room for it; None: all is done at once.
    """

    log = Logger()

    def __init__(
        self,
        sessions: Mapping[int, Link],
        look: Callable[[Link, float], None],
        flush: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._sessions, self._look, self._flush, self._monotonic = sessions, look, flush, monotonic
        self.also: list[Callable[[Link, float], None]] = []
        self.go_on: Callable[[Callable[[], None]], None] | None = None
        #: links of this second; how many of them in one step; how many now
        self._due: deque[Link] = deque()
        self._in_step = self._now = 0

    def begin(self, steps: int) -> None:
        """Every link is due, in so many steps (0: one), unless some of the last second are left."""
        if not self._due:
            self._due.extend(self._sessions.values())
            self._in_step = -(-len(self._due) // max(steps, 1))

    def step(self) -> None:
        """Look at some of the links."""
        goes_on, self._now = self._now > 0, self._now + self._in_step
        if not goes_on:
            self._some()

    def _some(self) -> None:
        began = self._monotonic()
        while self._now > 0 and self._due:
            self._now -= 1
            session = self._due.popleft()
            if session.number in self._sessions:
                self._one(session, began)
            if self.go_on is not None and self._now and self._monotonic() - began > AT_ONCE_S:
                self._flush()
                self.go_on(self._some)
                return
        self._now = 0
        self._flush()

    def _one(self, session: Link, now: float) -> None:
        try:
            self._look(session, now)
            for look in self.also:
                look(session, now)
        except Exception:  # noqa: BLE001 - one link's failure must not stop the timers of the others
            self.log.failure("timers of link {link}", link=session.number)
