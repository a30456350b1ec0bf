"""Room for links that are opened only to verify: a small cap of their own, shared out (architecture 5.3).

Whoever claims makes us open links to hosts of his choice, and his hosts may keep them open. So one network
causes a quarter of them at most, a quarter is kept for domains proved before, and a link that nothing waits
on gives way to the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from twisted.internet.defer import Deferred

from imxrouter.model.vocabulary import Reason
from imxrouter.routing.dialling import Permit
from imxrouter.transport.dialing import DialFailed, Dialled
from imxrouter.transport.hub import Hub
from imxrouter.transport.session import LinkSession

#: One network causes one in so many of them.
NETWORK_PART = 4
#: How long a verification waits for room, and how many may, of one network a quarter of them: what is honest
#: and comes in numbers takes milliseconds each.
WAIT_S = 5.0
WAITING = 1024
#: One in so many is kept for domains proved before.
KEPT_PART = 4


class VerifyRoom:
    """Counts links that are open, or being opened, only to verify.

    Args:
        hub: the links.

    Attributes:
        busy: gives the numbers of the links that a verification waits on.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._opening: dict[tuple[int, str], bytes] = {}
        self.busy: Callable[[], AbstractSet[int]] = frozenset
        #: verifications that found no room, oldest first
        self._waiting: deque[tuple[bytes, Deferred[None]]] = deque()
        self._found_none: set[tuple[int, str]] = set()

    def take(self, permit: Permit) -> bool:
        """Whether one more may be opened for a claim; where it may, `opened` follows, whatever came of it."""
        key = (permit.link, permit.domain.name)
        if key in self._opening:
            return True  # another address of the same race
        prefix = permit.source.prefix
        most = self._hub.settings.verify_links
        share = max(most // NETWORK_PART, 1)
        links = self._hub.opened_links.verifying()
        mine = [one for one in links if one.asked_by == prefix]
        if len(mine) + sum(1 for one in self._opening.values() if one == prefix) >= share:
            room = self._give_way(mine)
        elif len(links) + len(self._opening) >= (most if permit.known else most - most // KEPT_PART):
            room = self._give_way(links)
        else:
            room = True
        if room:
            self._opening[key] = prefix
        else:
            self._found_none.add(key)
        return room

    def dial(
        self, permit: Permit, dial: Callable[[], Deferred[Dialled]], patient: Callable[[], bool]
    ) -> Deferred[Dialled]:
        """Dial, and once more when there is room where there was none; not for ever.

        Args:
            permit: of the claim.
            dial: opens the link; calls `take` before and `opened` afterwards.
            patient: whether it is worth while to wait: whose link has proved nothing yet is told at once.
        """
        return Deferred.fromCoroutine(self._dial(permit, dial, patient))

    async def _dial(
        self, permit: Permit, dial: Callable[[], Deferred[Dialled]], patient: Callable[[], bool]
    ) -> Dialled:
        key, prefix = (permit.link, permit.domain.name), permit.source.prefix
        until = self._hub.now() + WAIT_S
        while True:
            try:
                return await dial()
            except DialFailed:
                waits = key in self._found_none and patient()
                if not waits or self._hub.now() >= until or self._is_full(prefix):
                    raise
            finally:
                self._found_none.discard(key)
            again: Deferred[None] = Deferred()
            self._waiting.append((prefix, again))
            await again

    def _is_full(self, prefix: bytes) -> bool:
        mine = sum(1 for one, _ in self._waiting if one == prefix)
        return mine >= WAITING // NETWORK_PART or len(self._waiting) >= WAITING

    @property
    def waiting(self) -> bool:
        """Whether a verification waits for room."""
        return bool(self._waiting)

    def wake(self) -> None:
        """A verification has ended: those that wait try again, the oldest first, one for each place."""
        places = max(self._hub.settings.verify_links // NETWORK_PART, 1)
        for _ in range(min(places, len(self._waiting))):
            self._waiting.popleft()[1].callback(None)

    def opened(self, permit: Permit) -> None:
        """The attempt has ended; a link that came of it counts by itself."""
        self._opening.pop((permit.link, permit.domain.name), None)

    def _give_way(self, links: list[LinkSession]) -> bool:
        """End the link of these that has rested longest; False where a verification waits on each."""
        busy, now = self.busy(), self._hub.now()
        resting = [one for one in links if one.number not in busy]
        if not resting:
            return False
        max(resting, key=lambda one: one.machine.idle_for(now)).end(Reason.IDLE, "room for another")
        return True
