"""Streams with servers behind us end in order: before the process does, or when their service goes.

As RFC 6120 section 4.4 has it. First the streams that servers opened: we say `</stream:stream>` and
read on until they say it as well, so what lay in a socket still comes, and is answered with an error where it
can go no further. These answers go out on the streams that we opened; they end after that, once the server
has confirmed what was written there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final

from twisted.internet.defer import Deferred, succeed

from imxrouter.gateways.xmpp.streams.apart import Apart
from imxrouter.gateways.xmpp.streams.pool import ServicePool
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.link.machine import LinkState, Side
from imxrouter.model.vocabulary import Reason

#: All of it, seconds; less than the grace that a supervisor gives beyond the deadline of a drain.
LEAVE_S: Final = 3.0
#: Servers have so long to end what they opened.
THEIRS_S: Final = 1.0
#: Then what we opened waits for confirmations, until so long after the beginning.
CONFIRMED_S: Final = 2.0
#: Answers of the router's own are said in a later turn: so long nothing must have been owed.
QUIET_S: Final = 0.1


class Leaving:
    """Ends the streams of some centres.

    Args:
        centres: whose streams; where the process ends, the listeners of their servers are closed already.
        pools: the services of these.
        now: seconds of a clock that never goes back.
        only: the one service whose streams end; empty: all, those of servers that are not known yet too.
    """

    def __init__(
        self,
        centres: Iterable[Apart],
        pools: Collection[ServicePool],
        now: Callable[[], float],
        only: str = "",
    ) -> None:
        self._centres, self._pools, self._now, self._only = tuple(centres), pools, now, only
        self._since = self._owed_at = 0.0
        self._left = False
        self._done: Deferred[None] | None = None

    def begin(self) -> Deferred[None]:
        """End them; fires when none is left, or after `LEAVE_S`: what is left then has to be cut."""
        if not self._pools:
            return succeed(None)
        done = self._done = Deferred()
        self._since = self._owed_at = self._now()
        self._left = False
        for session in self._streams(Side.ACCEPTOR):
            session.close(Reason.SHUTTING_DOWN)
        self.step()
        return done

    def stop(self) -> None:
        """It is not wanted any more: what it has not ended stays."""
        self._done = None

    def step(self) -> None:
        """Go on where it can; called some twenty times a second."""
        if self._done is None:
            return
        now = self._now()
        spent_s = now - self._since
        if self._streams(Side.ACCEPTOR) or any(pool.is_asking for pool in self._pools):
            self._owed_at = now
        if now - self._owed_at >= QUIET_S or spent_s >= THEIRS_S:
            self._leave_ours(late=spent_s >= CONFIRMED_S)
        if spent_s >= LEAVE_S or (self._left and not self.streams()):
            done, self._done = self._done, None
            done.callback(None)

    def _leave_ours(self, *, late: bool) -> None:
        self._left = True
        if self._only:
            for pool in self._pools:
                pool.leaves = True
        else:
            for centre in self._centres:
                centre.leaves = True
        for session in self._streams(Side.OPENER):
            confirmed = all(pool.is_confirmed(session) for pool in self._pools)
            if (confirmed or late) and session.machine.state is not LinkState.DRAINING:
                session.close(Reason.SHUTTING_DOWN)

    def streams(self) -> list[XmppSession]:
        """Those that are not at their end."""
        there = [one for centre in self._centres for one in centre.sessions]
        return [one for one in there if not self._only or one.service == self._only]

    def _streams(self, side: Side) -> list[XmppSession]:
        return [one for one in self.streams() if one.side is side]
