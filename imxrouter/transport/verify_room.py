"""Room for links that are opened only to verify: a small cap of their own, shared out (architecture 5.3).

Whoever claims makes us open links to hosts of his choice, and his hosts may keep them open. So one network
causes a quarter of them at most, a quarter is kept for domains proved before, and a link that nothing waits
on gives way to the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from imxrouter.model.vocabulary import Reason
from imxrouter.routing.dialling import Permit
from imxrouter.transport.dialing import DialFailed, Dialled
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link

#: One network causes one in so many of them.
NETWORK_PART = 4
#: How long a verification waits for room, and how many may, of one network a quarter of them: what is honest
#: and comes in numbers takes milliseconds each.
WAIT_S = 5.0
WAITING = 1024
#: One in so many is kept for domains proved before.
KEPT_PART = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A verification that found no room."""

    permit: Permit
    until: float
    patient: Callable[[], bool]
    again: Deferred[None] = field(default_factory=Deferred)


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
        #: verifications that found no room, by the network that caused them, oldest first
        self._waiting: dict[bytes, deque[_Waiting]] = {}
        self._found_none: set[tuple[int, str]] = set()

    def take(self, permit: Permit) -> bool:
        """Whether one more may be opened for a claim; where it may, `opened` follows, whatever came of it."""
        key = (permit.link, permit.domain.name)
        if key in self._opening:
            return True  # another address of the same race
        prefix = permit.source.prefix
        links = self._hub.opened_links.verifying()
        mine = [one for one in links if one.asked_by == prefix]
        if len(mine) + sum(1 for one in self._opening.values() if one == prefix) >= self._share:
            room = self._give_way(mine)
        elif len(links) + len(self._opening) >= self._most(permit):
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
            patient: whether it is worth while to wait, asked now and later: whose link has proved nothing
                yet is told at once, and whose claim has ended waits no longer.
        """
        return Deferred.fromCoroutine(self._dial(permit, dial, patient))

    async def _dial(
        self, permit: Permit, dial: Callable[[], Deferred[Dialled]], patient: Callable[[], bool]
    ) -> Dialled:
        key, until = (permit.link, permit.domain.name), self._hub.now() + WAIT_S
        while True:
            try:
                return await dial()
            except DialFailed:
                waits = key in self._found_none and patient()
                if not waits or self._hub.now() >= until or self._is_full(permit.source.prefix):
                    raise
                again = self._wait(permit, until, patient)
            finally:
                self._found_none.discard(key)
            await again

    def _wait(self, permit: Permit, until: float, patient: Callable[[], bool]) -> Deferred[None]:
        one = _Waiting(permit, until, patient)
        self._waiting.setdefault(permit.source.prefix, deque()).append(one)
        return one.again

    def _is_full(self, prefix: bytes) -> bool:
        waiting = sum(map(len, self._waiting.values()))
        return len(self._waiting.get(prefix, ())) >= WAITING // NETWORK_PART or waiting >= WAITING

    @property
    def waiting(self) -> bool:
        """Whether a verification waits for room."""
        return bool(self._waiting)

    def wake(self) -> None:
        """A verification has ended, or time has passed: those for which there is room try again.

        The oldest of each network first, and no network waits behind another; whose time is over, or whose
        claim nobody waits for any more, is told.
        """
        links, busy, now = self._hub.opened_links.verifying(), self.busy(), self._hub.now()
        used = sum(1 for one in links if one.number in busy) + len(self._opening)
        for prefix, queue in list(self._waiting.items()):
            mine = sum(1 for one in links if one.asked_by == prefix and one.number in busy)
            mine += sum(1 for one in self._opening.values() if one == prefix)
            while queue:
                late = now >= queue[0].until or not queue[0].patient()
                room = mine < self._share and used < self._most(queue[0].permit)
                if not late and not room:
                    break
                one = queue.popleft()
                if late:
                    one.again.errback(DialFailed(Reason.DIAL_LIMIT, f"no room within {WAIT_S:g} s"))
                else:
                    mine, used = mine + 1, used + 1
                    one.again.callback(None)
            if not queue and self._waiting.get(prefix) is queue:
                del self._waiting[prefix]

    @property
    def _share(self) -> int:
        """Links that one network may cause."""
        return max(self._hub.settings.verify_links // NETWORK_PART, 1)

    def _most(self, permit: Permit) -> int:
        """Links at most, of all, where one more is to be opened."""
        most = self._hub.settings.verify_links
        return most if permit.known else most - most // KEPT_PART

    def opened(self, permit: Permit) -> None:
        """The attempt has ended; a link that came of it counts by itself."""
        self._opening.pop((permit.link, permit.domain.name), None)

    def _give_way(self, links: list[Link]) -> bool:
        """End the link of these that has rested longest; False where a verification waits on each."""
        busy, now = self.busy(), self._hub.now()
        resting = [one for one in links if one.number not in busy]
        if not resting:
            return False
        max(resting, key=lambda one: one.machine.idle_for(now)).end(Reason.IDLE, "room for another")
        return True
