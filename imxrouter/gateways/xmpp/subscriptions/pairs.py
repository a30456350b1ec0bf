"""What is known of pairs, within bounds: states of resources, sizes, pace (presence without storms)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from imxrouter.gateways.xmpp.translate.presence import CLIENT, Resource, weight
from imxrouter.model.presence import MAX_TUPLES, Basic, Presence, PresenceTuple, meaning_of_tuple, preferred

#: Of one pair's states.
MAX_PAIR_BYTES: Final = 65_536
#: Of all states that are kept because of one stranger's domain.
MAX_DOMAIN_BYTES: Final = 4 * 1024 * 1024
#: Stanzas of one pair: one a second on average, so many at once.
PACE_S: Final = 1.0
PACE_BURST: Final = 5


def paced(spent: float, now: float, burst: int = PACE_BURST, each_s: float = PACE_S) -> float:
    """Seconds that a pair, or what else has a pace, has to wait for its next token; 0 where it has one.

    Args:
        spent: up to when its tokens are used up (virtual scheduling).
        now: monotonic seconds.
        burst: tokens at once; without it those of a pair, as the next one.
        each_s: a token comes back after so long.
    """
    return max(spent - (burst - 1) * each_s - now, 0.0)


def spend(spent: float, now: float, each_s: float = PACE_S) -> float:
    """The new value of `spent` after a token; see `paced`."""
    return max(spent, now) + each_s


class Resources:
    """What the resources of one user said for one watcher.

    Attributes:
        size: about how many bytes they are.
        unanswered: resources that no answer named since the user's service was asked for them.
    """

    __slots__ = ("_told", "_tuples", "size", "unanswered")

    def __init__(self) -> None:
        self._tuples: dict[str, PresenceTuple] = {}
        self._told: set[str] = set()
        self.size = 0
        self.unanswered: set[str] = set()

    def __len__(self) -> int:
        return len(self._tuples)

    def take(self, said: Resource) -> bool:
        """Take what a resource said; False where it means what is known already.

        A closed one stays until it was told and something else happens. `unavailable` of the bare JID closes
        all (RFC 6121 section 4.3.2).
        """
        self._forget_told()
        name, new = said.name, said.tuple
        self.unanswered.discard(name)
        before = self._tuples.get(name)
        if new.basic is not Basic.OPEN and not name and before is None:
            there = [one for one, old in self._tuples.items() if old.basic is Basic.OPEN]
            for one in there:
                self._set(one, PresenceTuple(self._tuples[one].id, Basic.CLOSED, notes=new.notes))
            self.unanswered.clear()
            return bool(there)
        if before is None and new.basic is not Basic.OPEN:
            return False
        if before is not None and meaning_of_tuple(before) == meaning_of_tuple(new):
            return False
        self._set(name, new)
        self._bound(name)
        return True

    def expect(self) -> None:
        """The user's service is asked: what its answers do not name is gone, see `settle`."""
        self.unanswered = set(self._tuples)

    def settle(self) -> bool:
        """Its answers have come; tells whether something is gone."""
        gone = [one for one in self.unanswered if self._tuples.get(one, _CLOSED).basic is Basic.OPEN]
        for one in gone:
            self._set(one, PresenceTuple(self._tuples[one].id, Basic.CLOSED))
        self.unanswered.clear()
        return bool(gone)

    def forget_unanswered(self) -> None:
        """What no answer has named was known long ago; whether it is there still is not known."""
        for name in self.unanswered:
            gone = self._tuples.pop(name, None)
            self.size -= weight(gone) if gone is not None else 0
        self.unanswered.clear()

    def all(self) -> Iterable[Resource]:
        """What is to be told now."""
        return [Resource(name, one) for name, one in self._tuples.items()]

    def told(self) -> None:
        """All this was told: what is closed goes with the next change."""
        self._told = {name for name, one in self._tuples.items() if one.basic is not Basic.OPEN}

    def slim(self) -> None:
        """Keep no details: texts and extensions go, what is open stays."""
        for name, one in list(self._tuples.items()):
            self._set(name, slim_tuple(one))

    def clear(self) -> None:
        """Know nothing."""
        self._tuples.clear()
        self._told.clear()
        self.unanswered.clear()
        self.size = 0

    def _forget_told(self) -> None:
        for name in self._told:
            gone = self._tuples.pop(name, None)
            self.size -= weight(gone) if gone is not None else 0
        self._told.clear()

    def _set(self, name: str, new: PresenceTuple) -> None:
        before = self._tuples.get(name)
        self.size += weight(new) - (weight(before) if before is not None else 0)
        self._tuples[name] = new

    def _bound(self, newest: str) -> None:
        if self.size > MAX_PAIR_BYTES:
            self._set(newest, slim_tuple(self._tuples[newest]))
        if self.size > MAX_PAIR_BYTES:
            self.slim()
        while self._tuples and (len(self._tuples) > MAX_TUPLES or self.size > MAX_PAIR_BYTES):
            least = preferred(self._tuples.values())[-1]
            name = next(one for one, each in self._tuples.items() if each is least)
            self.size -= weight(self._tuples.pop(name))


_CLOSED: Final = PresenceTuple("none", Basic.CLOSED)


def slim_tuple(one: PresenceTuple) -> PresenceTuple:
    """A tuple without details: whether it is open, its `show`, and that it takes no messages."""
    return replace(
        one,
        basic=one.status,  # what hides it may go with the details
        notes=(),
        extensions=tuple(each for each in one.extensions if each.namespace == CLIENT),
        status_extensions=tuple(each for each in one.status_extensions if each.namespace == CLIENT),
    )


def slim(state: Presence) -> Presence:
    """A document without details."""
    hidden = any(one.must_understand for one in state.extensions)
    tuples = (replace(one, basic=Basic.UNKNOWN) if hidden else one for one in state.tuples)
    return Presence(state.presentity, tuple(map(slim_tuple, tuples)))


def size_of(state: Presence) -> int:
    """About how many bytes a document is in memory."""
    extras = sum(len(one.text) for one in state.notes) + sum(len(one.xml) for one in state.extensions)
    persons = sum(256 + sum(len(each.text) for each in one.notes) for one in state.persons)
    persons += sum(len(each.xml) for one in state.persons for each in one.extensions)
    return sum(map(weight, state.tuples)) + extras + persons


class Shares:
    """Bytes that are kept of states, by the stranger's domain that they are kept for or come from.

    Args:
        most: bytes of one domain.
    """

    def __init__(self, most: int = MAX_DOMAIN_BYTES) -> None:
        self._most = most
        self._sizes: dict[bytes, OrderedDict[bytes, int]] = {}
        self._totals: dict[bytes, int] = {}

    def put(self, domain: bytes, key: bytes, size: int) -> list[bytes]:
        """Note the size of a pair's state; 0 forgets it.

        Returns:
            pairs whose states have to become smaller, those of long ago first; empty while there is room.
        """
        pairs = self._sizes.setdefault(domain, OrderedDict())
        self._totals[domain] = self._totals.get(domain, 0) + size - pairs.pop(key, 0)
        if size:
            pairs[key] = size
        if not pairs:
            del self._sizes[domain], self._totals[domain]
            return []
        over = self._totals[domain] - self._most
        smaller: list[bytes] = []
        for one, bytes_of_it in pairs.items():
            if over <= 0:
                break
            smaller.append(one)
            over -= bytes_of_it
        return smaller

    def total(self, domain: bytes) -> int:
        """Bytes of a domain now."""
        return self._totals.get(domain, 0)
