"""Links that are over limits: read in small pieces for a while, or not at all for a moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from imxrouter.routing.traffic import LINK_DEBT_S
from imxrouter.transport.link import Link

#: How long a link is read in small pieces after a limit refused something of it.
SMALL_READS_S: Final = 1.0


class SlowedLinks:
    """Which links those are, and until when.

    Args:
        sessions: links of the process by number.
    """

    def __init__(self, sessions: Mapping[int, Link]) -> None:
        self._sessions = sessions
        self._until: dict[int, float] = {}

    def slow(self, session: Link, now: float, *, pause: bool) -> None:
        """Read a link that is over limits in small pieces, or not at all; nothing happens where it is so."""
        if session.number not in self._until:
            session.read_slowly(pause=pause)
            self._until[session.number] = now + (LINK_DEBT_S if pause else SMALL_READS_S)

    def resume(self, now: float) -> None:
        """Read on where that time is over; to be called some times a second."""
        for number, until in list(self._until.items()):
            session = self._sessions.get(number)
            if session is None or session.port.meter is None:
                del self._until[number]
            elif until <= now:
                del self._until[number]
                meter = session.port.meter
                session.read_on(slowly=meter.insists or meter.troubled)
