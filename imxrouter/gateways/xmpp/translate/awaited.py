"""Stanzas that an answer may come to: queries that went on, and messages whose failure may come late (pure).

What answers none of them is nobody's, and changes nothing (rows iq-wait, iq-result, err-strange, err-late).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from imxrouter.gateways.xmpp.translate.jid import BadJid, parse_jid
from imxrouter.routing.zones import zone_of

#: An iq that has no answer by then is answered for the other side (row iq-wait).
QUERY_S: Final = 60.0
#: An error that comes after a message was taken is told to its sender so long (row err-late).
LATE_S: Final = 120.0
#: Of each, in one process; some 800 bytes each.
MAX_AWAITED: Final = 10_000

T = TypeVar("T")
K = TypeVar("K")
#: Who asked, who was asked, and the stanza's id. A server may spell an address otherwise than it was said to
#: it (case, A-labels); as JIDs both are the same.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Overdue(Generic[T]):
    """A stanza that was not answered in time."""

    key: Key
    value: T


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    """A stanza that is awaited: until when, who asks, his zone, who is to answer, and what is kept for it."""

    until: float
    sender: str
    zone: str
    domain: str
    value: T


class Awaited(Generic[T]):
    """Stanzas by (from, to, id), bounded in number and time, and for each who asks (rule 5).

    A server that does not answer keeps nobody else's out, nor does a user who asks it again and again, nor do
    all users of one zone together: of those that wait for one domain a quarter is left to others.

    Args:
        life_s: seconds for which each is awaited.
        limit: of all together; of those that wait for one domain a quarter, of one sender's a 32nd.
        per_sender: of one sender's, where it is not that.
    """

    def __init__(self, life_s: float, limit: int = MAX_AWAITED, per_sender: int = 0) -> None:
        self._life_s = life_s
        self._limit = limit
        self._per_domain = max(limit // 4, 1)
        self._per_sender = per_sender or max(limit // 32, 1)
        self._per_zone = max(limit // 2, 1)
        self._per_zone_and_domain = max(self._per_domain * 3 // 4, 1)
        self._entries: OrderedDict[Key, _Entry[T]] = OrderedDict()
        self._of_domain: Counter[str] = Counter()
        self._of_sender: Counter[str] = Counter()
        self._of_zone: Counter[str | tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def sent(self, key: Key, sender: str, domain: str, value: T, now: float) -> bool:
        """A stanza went on.

        Args:
            key: its addresses and id.
            sender: who asks, whichever program of his: `local@domain`, or a domain.
            domain: that is to answer.
            value: kept for the answer.
            now: monotonic seconds.

        Returns:
            False where it cannot be awaited: it has no id, another one has the same, or there is no room.
        """
        key = _key(*key)
        if not key[2] or key in self._entries:
            return False
        entry = _Entry(now + self._life_s, sender, zone_of(sender.rpartition("@")[2]), domain, value)
        if len(self._entries) >= self._limit or self._of_domain[domain] >= self._per_domain:
            return False
        if self._has_his_share(entry):
            return False
        self._entries[key] = entry
        self._count(entry, 1)
        return True

    def waiting(self, from_: str, to: str, ident: str, now: float) -> T | None:
        """What was kept for an answer, its addresses as they stand in it; None where nobody waits for it."""
        found = self._entries.get(_key(to, from_, ident))
        return None if found is None or now >= found.until else found.value

    def answered(self, from_: str, to: str, ident: str, now: float) -> T | None:
        """An answer came; the same, once."""
        found = self.waiting(from_, to, ident, now)
        if found is not None:
            self._forget(_key(to, from_, ident))
        return found

    def due(self, now: float) -> list[Overdue[T]]:
        """Those whose time is over; they are forgotten."""
        over: list[Overdue[T]] = []
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if entry.until > now:
                break
            self._forget(key)
            over.append(Overdue(key, entry.value))
        return over

    def _has_his_share(self, entry: _Entry[T]) -> bool:
        """Whether who asks has as many as he may: by himself, or with all of his zone."""
        zone = entry.zone
        return (
            self._of_sender[entry.sender] >= self._per_sender
            or self._of_zone[zone] >= self._per_zone
            or self._of_zone[zone, entry.domain] >= self._per_zone_and_domain
        )

    def _forget(self, key: Key) -> None:
        self._count(self._entries.pop(key), -1)

    def _count(self, entry: _Entry[T], change: int) -> None:
        _add(self._of_domain, entry.domain, change)
        _add(self._of_sender, entry.sender, change)
        for key in (entry.zone, (entry.zone, entry.domain)):
            _add(self._of_zone, key, change)


def _key(asked_by: str, asked: str, ident: str) -> Key:
    return _spelled(asked_by), _spelled(asked), ident


def _spelled(jid: str) -> str:
    """A JID as all its spellings compare; what is none, as it stands."""
    try:
        return str(parse_jid(jid))
    except BadJid:
        return jid


def _add(table: Counter[K], key: K, change: int) -> None:
    table[key] += change
    if not table[key]:
        del table[key]
