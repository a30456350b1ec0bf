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

#: Half of what a router takes of one address by default (caps.unauthenticated_per_address) for links of our
#: own traffic; most of the other half for those that verify.
UNPROVED_AT_ONCE: Final = 8
VERIFYING_AT_ONCE: Final = 6
#: An address, and the network whose claims make us dial it; empty for our own traffic.
Key = tuple[str, bytes]


class OpeningTurns:
    """Lets dials wait for their turn; nobody waits for what another network's claims cause.

    Args:
        hub: links of this process.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._dialling: Counter[Key] = Counter()
        self._waiting: dict[Key, deque[Deferred[None]]] = {}
        self._waking = False
        self._due = False
        #: address -> until when it takes no link of ours, by its own word
        self._resting: dict[str, float] = {}

    @property
    def waiting(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def wait(self, key: Key) -> Deferred[None]:
        """Fires when a link to the address may be opened; `done` follows. Cancelling gives up."""
        if key not in self._waiting and self._room(key) > 0:
            self._dialling[key] += 1
            return succeed(None)
        queue = self._waiting.setdefault(key, deque())

        def cancelled(turn: Deferred[None]) -> None:
            queue.remove(turn)
            self._tidy(key, queue)

        turn: Deferred[None] = Deferred(cancelled)
        queue.append(turn)
        return turn

    def rest(self, ip: str, seconds: float) -> None:
        """The address took no link of ours and said when to come again: until then nobody's turn comes."""
        until = self._hub.now() + seconds
        self._resting[ip] = max(until, self._resting.get(ip, 0.0))

    def done(self, key: Key) -> None:
        """The attempt has ended; a link that came of it counts by itself until something is proved there."""
        self._dialling[key] -= 1
        if self._dialling[key] <= 0:
            del self._dialling[key]
        self.wake()

    def wake(self) -> None:
        """Something was proved on a link, or one has ended: whose turn is it?

        Who finds a link that does is done in the same call; hundreds of those must not call each other.
        """
        self._due = True
        if self._waking:
            return
        self._waking = True
        try:
            while self._due:
                self._due = False
                self._wake()
        finally:
            self._waking = False

    def _wake(self) -> None:
        now = self._hub.now()
        self._resting = {ip: until for ip, until in self._resting.items() if until > now}
        for key, queue in list(self._waiting.items()):
            while queue and self._room(key) > 0:
                self._dialling[key] += 1
                queue.popleft().callback(None)
            self._tidy(key, queue)

    def _tidy(self, key: Key, queue: deque[Deferred[None]]) -> None:
        if not queue and self._waiting.get(key) is queue:
            del self._waiting[key]

    def _room(self, key: Key) -> int:
        ip, network = key
        if self._resting.get(ip, 0.0) > self._hub.now():
            return 0
        purpose = Purpose.VERIFY if network else Purpose.DATA
        unproved = sum(
            1
            for one in self._hub.opened_links.at(ip)
            if one.purpose is purpose
            and one.asked_by == network
            and not one.port.speaks
            and not one.port.closed
        )
        return (VERIFYING_AT_ONCE if network else UNPROVED_AT_ONCE) - unproved - self._dialling[key]
