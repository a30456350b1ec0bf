"""Few links of ours at a time to one host on which nothing is proved yet: an acceptor counts those.

Whoever reaches 500 domains at one host, each with a certificate of its own, opens 500 links there
(specification section 6.2). They are opened one after the other, not all at once. A host is an address and a
port: several may share an address, and a port that never answers keeps nobody from its neighbours.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from twisted.internet.defer import Deferred, succeed

from imxrouter.transport.dialing import Endpoint
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link, Purpose

#: Half of what a router takes of one address by default (caps.unauthenticated_per_address) for links of our
#: own traffic; most of the other half for those that verify.
UNPROVED_AT_ONCE: Final = 8
VERIFYING_AT_ONCE: Final = 6
#: One address takes so many times as much, all its ports together; so a few that are dead take nothing from
#: the others. A port on which nothing is under way gets its first turn until there is twice as much.
PORTS_FULL: Final = 4
PORTS_FIRST: Final = 8
#: Where to, and the network whose claims make us dial it; empty for our own traffic.
Key = tuple[Endpoint, bytes]


class OpeningTurns:
    """Lets dials wait for their turn; nobody waits for what another network's claims cause.

    Args:
        hub: links of this process.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._dialling: Counter[Key] = Counter()
        #: the same of all ports of an address
        self._dialling_at: Counter[tuple[str, bytes]] = Counter()
        self._waiting: dict[Key, deque[Deferred[None]]] = {}
        self._waking = False
        self._due = False
        #: host -> until when it takes no link of ours, by its own word
        self._resting: dict[Endpoint, float] = {}

    @property
    def waiting(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def wait(self, key: Key) -> Deferred[None]:
        """Fires when a link to the host may be opened; `done` follows. Cancelling gives up."""
        if key not in self._waiting and self._room(key) > 0:
            self._count(key, 1)
            return succeed(None)
        queue = self._waiting.setdefault(key, deque())

        def cancelled(turn: Deferred[None]) -> None:
            queue.remove(turn)
            self._tidy(key, queue)

        turn: Deferred[None] = Deferred(cancelled)
        queue.append(turn)
        return turn

    def rest(self, endpoint: Endpoint, seconds: float) -> None:
        """The host took no link of ours and said when to come again: until then nobody's turn comes."""
        until = self._hub.now() + seconds
        self._resting[endpoint] = max(until, self._resting.get(endpoint, 0.0))

    def done(self, key: Key) -> None:
        """The attempt has ended; a link that came of it counts by itself until something is proved there."""
        self._count(key, -1)
        self.wake()

    def _count(self, key: Key, change: int) -> None:
        (ip, _), network = key
        self._dialling[key] += change
        self._dialling_at[ip, network] += change
        if not self._dialling[key]:
            del self._dialling[key]
        if not self._dialling_at[ip, network]:
            del self._dialling_at[ip, network]

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
        """One turn for each host in a round, those first that have least, as long as there is room."""
        now = self._hub.now()
        self._resting = {host: until for host, until in self._resting.items() if until > now}
        given = True
        while given:
            given = False
            for key, queue in sorted(self._waiting.items(), key=lambda one: self._here(one[0])):
                if queue and self._room(key) > 0:
                    given = True
                    self._count(key, 1)
                    queue.popleft().callback(None)
                self._tidy(key, queue)

    def _tidy(self, key: Key, queue: deque[Deferred[None]]) -> None:
        if not queue and self._waiting.get(key) is queue:
            del self._waiting[key]

    def _here(self, key: Key) -> int:
        """What is under way to a host, and open there without a proof."""
        return _unproved(self._hub.opened_links.to(key[0]), key[1]) + self._dialling[key]

    def _room(self, key: Key) -> int:
        endpoint, network = key
        if self._resting.get(endpoint, 0.0) > self._hub.now():
            return 0
        most, here = VERIFYING_AT_ONCE if network else UNPROVED_AT_ONCE, self._here(key)
        there = _unproved(self._hub.opened_links.at(endpoint[0]), network)
        there += self._dialling_at[endpoint[0], network]
        return min(most - here, (PORTS_FULL if here else PORTS_FIRST) * most - there)


def _unproved(links: list[Link], network: bytes) -> int:
    """How many of them are open for the same purpose, with nothing proved."""
    purpose = Purpose.VERIFY if network else Purpose.DATA
    return sum(
        one.purpose is purpose and one.asked_by == network and not one.port.speaks and not one.port.closed
        for one in links
    )
