"""TLS handshakes of those who connect to us: so many a second, and the networks take turns (IMX-33).

A handshake costs us a hundred times what a message does, and whoever asks for one next to nothing. So it is
begun only when there is time for it. Until then a ClientHello is all that is kept: no end of TLS is made, and
nothing more is read. Who waits too long is cut, and so is, without a handshake, who has gone meanwhile.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.buckets import Buckets
from imxrouter.routing.caps import Refusal
from imxrouter.routing.limits import Rate
from imxrouter.routing.prefixes import BadIpAddress, address_keys
from imxrouter.transport.fair_queue import FairQueue
from imxrouter.transport.link import Link

#: Who waits longer for a handshake is cut: shorter than the time for a hello (10 s), which it is a part of.
WAIT_S: Final = 5.0
#: Told to operators: when a try may help.
AGAIN_S: Final = 30
#: As many seconds' worth may come at once.
BURST_S: Final = 1.0
#: Who uses a part of all handshakes: everybody together.
_ALL: Final = b""


class _Waiting(NamedTuple):
    session: Link
    begin: Callable[[], None]
    network: bytes
    until: float


class Handshakes:
    """Begins handshakes when there is time for them.

    Args:
        per_s: handshakes a second.
        reserved_share: part of them for those known before.
        now: monotonic seconds.
    """

    def __init__(self, per_s: float, reserved_share: float, now: Callable[[], float]) -> None:
        self._now = now
        self.change(per_s, reserved_share)
        #: whether a domain was proved before from where a connection comes
        self.is_known: Callable[[Link], bool] = lambda _session: False
        #: does something in a turn of the reactor that has room for it, on a network's account
        self.in_turn: Callable[[Callable[[], None], bytes], None] = lambda what, _network: what()
        #: told who was cut
        self.on_refused: Callable[[Refusal, str], None] = lambda _refusal, _who: None
        self._known: FairQueue[_Waiting] = FairQueue()
        self._strangers: FairQueue[_Waiting] = FairQueue()
        #: those that wait, by the number of the link, the oldest first
        self._waiting: dict[int, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def change(self, per_s: float, reserved_share: float) -> None:
        """Judge by other limits from now on."""
        self._general, self._reserved = _part(per_s * (1 - reserved_share)), _part(per_s * reserved_share)

    def ask(self, session: Link, begin: Callable[[], None]) -> None:
        """A ClientHello came; `begin` makes the handshake, now or when there is time for it."""
        now, known = self._now(), self.is_known(session)
        queue = self._known if known else self._strangers
        part = None if queue else self._part(now, known=known)
        if part is not None:
            part.take(_ALL, now)
            begin()
            return
        waiting = _Waiting(session, begin, _network(session), now + WAIT_S)
        self._waiting[session.number] = waiting
        queue.put(waiting.network, waiting)
        session.transport.pauseProducing()

    def step(self) -> None:
        """Begin those for which there is time, and cut who waits too long; some times a second."""
        now = self._now()
        for queue, known in ((self._known, True), (self._strangers, False)):
            while queue:
                part = self._part(now, known=known)
                if part is None:
                    break
                waiting = queue.take()
                if self._waiting.get(waiting.session.number) is waiting:
                    part.take(_ALL, now)
                    self.in_turn(partial(self._begin, waiting), waiting.network)
        while self._waiting:
            waiting = next(iter(self._waiting.values()))
            if waiting.until > now:
                break
            self._cut(waiting)

    def lost(self, session: Link) -> None:
        """A connection is gone."""
        self._waiting.pop(session.number, None)

    def _part(self, now: float, *, known: bool) -> Buckets | None:
        if not self._general.wait(_ALL, now):
            return self._general
        return self._reserved if known and not self._reserved.wait(_ALL, now) else None

    def _begin(self, waiting: _Waiting) -> None:
        session = waiting.session
        if self._waiting.pop(session.number, None) is None or session.gone or session.port.closed:
            return
        session.transport.resumeProducing()
        if not _has_hung_up(session):  # else the next read finds the end
            waiting.begin()

    def _cut(self, waiting: _Waiting) -> None:
        session = waiting.session
        del self._waiting[session.number]
        if not session.gone and not session.port.closed:
            note = "too many TLS handshakes of those who connect"
            self.on_refused(Refusal(Reason.OVER_CAP, AGAIN_S, note, Limit.HANDSHAKES), session.remote[0])
            session.abort(Reason.OVER_CAP, "no time for a TLS handshake")


def _part(per_s: float) -> Buckets:
    """A part of all handshakes."""
    return Buckets(Rate.of(per_s, max(int(per_s * BURST_S), 1)))


def _network(session: Link) -> bytes:
    try:
        return address_keys(session.remote[0]).prefix
    except BadIpAddress:
        return b""


def _has_hung_up(session: Link) -> bool:
    """Whether nobody is there any more for whom a handshake could be made."""
    try:
        return not session.transport.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
