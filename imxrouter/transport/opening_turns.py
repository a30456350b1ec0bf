"""Few links of ours at a time to one address on which nothing is proved yet: an acceptor counts those.

Whoever reaches 500 domains at one host, each with a certificate of its own, opens 500 links there
(specification section 6.2). They are opened one after the other, not all at once.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from twisted.internet.defer import Deferred, succeed

from imxrouter.transport.hub import Hub
from imxrouter.transport.session import Purpose

#: Half of what a router takes of one address by default (caps.unauthenticated_per_address); the other half is
#: for links that verify, and for neighbours behind the same address.
UNPROVED_AT_ONCE: Final = 8


class OpeningTurns:
    """Lets dials wait for their turn.

    Args:
        hub: links of this process.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._dialling: Counter[str] = Counter()
        self._waiting: dict[str, deque[Deferred[None]]] = {}

    @property
    def waiting(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def wait(self, ip: str) -> Deferred[None]:
        """Fires when a link to the address may be opened; `done` follows. Cancelling gives up."""
        if ip not in self._waiting and self._room(ip) > 0:
            self._dialling[ip] += 1
            return succeed(None)
        queue = self._waiting.setdefault(ip, deque())

        def cancelled(turn: Deferred[None]) -> None:
            queue.remove(turn)
            self._tidy(ip, queue)

        turn: Deferred[None] = Deferred(cancelled)
        queue.append(turn)
        return turn

    def done(self, ip: str) -> None:
        """The attempt has ended; a link that came of it counts by itself until something is proved there."""
        self._dialling[ip] -= 1
        if self._dialling[ip] <= 0:
            del self._dialling[ip]
        self.wake()

    def wake(self) -> None:
        """Something was proved on a link, or one has ended: whose turn is it?"""
        for ip, queue in list(self._waiting.items()):
            while queue and self._room(ip) > 0:
                self._dialling[ip] += 1
                queue.popleft().callback(None)
            self._tidy(ip, queue)

    def _tidy(self, ip: str, queue: deque[Deferred[None]]) -> None:
        if not queue and self._waiting.get(ip) is queue:
            del self._waiting[ip]

    def _room(self, ip: str) -> int:
        unproved = sum(
            1
            for one in self._hub.opened_links.at(ip)
            if one.purpose is Purpose.DATA and not one.port.speaks and not one.port.closed
        )
        return UNPROVED_AT_ONCE - unproved - self._dialling[ip]
