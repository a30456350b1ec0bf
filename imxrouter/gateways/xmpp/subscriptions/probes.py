"""Questions to XMPP services for the presence of their users: spread, and their answers gathered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

#: A pair's user is asked so often at most (mapping section 6.3, translation of presence without storms).
BETWEEN_S: Final = 60.0
#: Questions of one process in a second.
RATE: Final = 1000
#: Answers are waited for so long after the first one, and so long in all (row tim-probe-answers).
FIRST_S: Final = 2.0
ALL_S: Final = 5.0
#: Where somebody waits for the answer, so long in all (rows p-26, p-27).
WAITED_S: Final = 2.0
#: What became of a question is known by then, whatever it went into.
OUTCOME_S: Final = 120.0
#: Some servers say nothing of who is not there (ejabberd 23.01), and some may not reach us yet. Where no
#: answer comes and there was a way for it, he counts as gone; where there was none his server is asked again
#: after so long, then after twice as long.
SILENT_S: Final = 2.0
SILENT_TRIES: Final = 2
#: For its first stream to us it is waited so long before it is asked: an answer that it cannot send is shown
#: to its user as an error of the watcher's (ejabberd 23.01).
WAY_S: Final = 2.0
#: While it has none at all, silence says nothing of who is there: it is asked again after so long.
NO_WAY_S: Final = 60.0
#: It has opened a stream to us only now: what has not come so long after that was lost before.
OPENED_S: Final = 1.0
#: Questions are asked anew for that so often at most, of those who could open many.
OPENED_AGAIN_S: Final = 5.0


class Silence(Enum):
    """What it means that nothing has come."""

    #: he is not there
    ANSWER = "answer"
    #: the answer was lost: ask again now, or in a while
    LOST = "lost"
    MAYBE_LOST = "maybe lost"
    #: none can come
    NO_WAY = "no way"


class Gathering:
    """The answers to one question.

    Silence says something only of a question that was read. So the time for answers runs from when it is
    known to have arrived, not from when it was sent: it may have gone into a connection that is dead.

    Attributes:
        until: when what has come is all.
        came: whether one has come.
        is_there: the question is known to have arrived.
        had_way: there was a way for the answer when it was asked.
        hastened: it was asked before there was a way for the answer.
    """

    __slots__ = ("_latest", "_within_s", "came", "had_way", "hastened", "is_there", "until")

    def __init__(self, latest: float, *, had_way: bool, within_s: float = ALL_S) -> None:
        self.until = self._latest = latest
        self.had_way, self._within_s = had_way, within_s
        self.came = self.hastened = self.is_there = False

    def arrived(self, now: float) -> None:
        """The question has arrived: answers are waited for from now on."""
        self.is_there = True
        within_s = FIRST_S if self.came else OPENED_S if self.hastened else self._within_s
        self.until = now + within_s

    def heard(self, now: float) -> None:
        """An answer has come: the others are waited for a little longer, not to the end."""
        self.came = True
        self.until = min(self.until, now + FIRST_S) if self.is_there else self._latest

    def silence(self, times: int, *, has_way: bool) -> Silence:
        """Say what silence means, where nothing came so many times before (rows pas-gone, pas-no-way)."""
        if self.hastened:
            return Silence.LOST
        if not self.is_there:
            return Silence.MAYBE_LOST if times < SILENT_TRIES else Silence.NO_WAY
        if self.had_way and has_way:
            return Silence.ANSWER
        if times < SILENT_TRIES:
            return Silence.MAYBE_LOST
        return Silence.ANSWER if has_way else Silence.NO_WAY

    def opened(self, now: float) -> bool:
        """There is a way for the answer now; whether it may have been lost before."""
        if self.came:
            return False
        self.hastened = True
        self.until = min(self.until, now + OPENED_S)
        return True


#: Whether presence may come now, of a domain (A-labels) for users of another one.
HasWay = Callable[[str, str], bool]


def any_way(_domain: str, _watchers: str) -> bool:
    """Presence may come always."""
    return True


#: What names a pair.
Key = TypeVar("Key", bytes, tuple[str, str])


class Probes(Generic[Key]):
    """Questions that wait for their turn, one a pair.

    Args:
        chance: gives a random number in [0, 1).
        rate: in a second.
    """

    def __init__(self, chance: Callable[[], float], rate: int = RATE) -> None:
        self._chance = chance
        self._gap_s = 1.0 / rate
        self._heap: list[tuple[float, Key]] = []
        self._waits: dict[Key, float] = {}
        self._paced_until = float("-inf")

    def __len__(self) -> int:
        return len(self._waits)

    def ask(self, keys: Iterable[Key], now: float, within_s: float = 0.0) -> None:
        """Let these be asked, each at a random moment within a time; one that waits keeps its moment."""
        for key in keys:
            if key not in self._waits:
                at = now + within_s * self._chance() if within_s else now
                self._waits[key] = at
                heappush(self._heap, (at, key))

    def drop(self, key: Key) -> None:
        """Ask this one no more."""
        self._waits.pop(key, None)

    def take(self, now: float, most: int = RATE) -> list[Key]:
        """Who is to be asked now, within the rate of a second; so many at most."""
        self._paced_until = max(self._paced_until, now - 1.0)
        taken: list[Key] = []
        while self._heap and self._heap[0][0] <= now and self._paced_until + self._gap_s <= now + 1e-9:
            if len(taken) >= most:
                break
            at, key = heappop(self._heap)
            if self._waits.get(key) == at:
                del self._waits[key]
                self._paced_until += self._gap_s
                taken.append(key)
        return taken

    def next_due(self) -> float:
        """Nothing is asked before this moment; infinite where nothing waits."""
        return self._heap[0][0] if self._heap else float("inf")
