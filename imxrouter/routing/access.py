"""Block and allow lists: entries, the tables that find them, and the one function that judges (IMX-34).

Precedence, in full:

1. There are four levels: the whole router, a tenant, a served domain, one user of ours. At each, the entry
   with the closest pattern decides: an address, local parts, a domain, the nearest zone, everybody. Of
   entries with the same closeness a block comes before an allow.
2. The levels are asked from the whole router down. The first that blocks decides. So an allow lifts a wider
   pattern of its own level, and nothing that a level above blocks.
3. An entry for `in` is about what its pattern sends to us; one for `out` about what we send there. A message
   between two users of ours is both.
4. Where no entry blocks, the recipient's own rules and first contact come next (`routing.recipients`); who
   is allowed by an entry needs no first contact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from heapq import heappop, heappush
from typing import Final

from imxrouter.model.address import Address, BadAddress
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.patterns import Pattern, Rank, places_of

#: Entries of files and of run time together; each costs about a kilobyte.
MAX_ENTRIES: Final = 1_000_000
MAX_TEXT: Final = 256
#: Entries that name the same place, such as local parts at one domain: each is looked at for a new pair of
#: addresses, which a stranger invents as he likes (about 0.3 microseconds each).
MAX_AT_PLACE: Final = 250
_TENANT: Final = "tenant:"
#: Entries that are gone and still stand in the list of ends before it is made anew.
_GONE_AT_LEAST: Final = 100


class BadEntry(RouterError):
    """An entry says something impossible, or there are too many."""


class Action(Enum):
    """What an entry does."""

    BLOCK = "block"
    ALLOW = "allow"


class Direction(Enum):
    """Which way the traffic of an entry goes."""

    IN = "in"
    OUT = "out"
    BOTH = "both"


class Level(Enum):
    """For whom an entry holds, the widest first."""

    ROUTER = "router"
    TENANT = "tenant"
    DOMAIN = "domain"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom an entry holds.

    Attributes:
        level: what kind of scope.
        value: the tenant's name, the domain, or the user's key; empty for the whole router.
    """

    level: Level = Level.ROUTER
    value: bytes = b""

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read empty text, `tenant:NAME`, a domain or an address. Raises `BadEntry`."""
        text = text.strip()
        if not text:
            return cls()
        if text.startswith(_TENANT):
            name = text[len(_TENANT) :].strip()
            if not name:
                raise BadEntry("a tenant's name is missing; write tenant:NAME")
            return cls(Level.TENANT, name.encode("utf-8", "replace"))
        try:
            if "@" in text:
                return cls(Level.USER, Address.parse(text).key)
            return cls(Level.DOMAIN, Domain.parse(text).wire)
        except (BadAddress, BadDomain) as error:
            raise BadEntry(f"{error}; write tenant:NAME, a domain or an address of ours") from None

    def __str__(self) -> str:
        value = self.value.decode("utf-8", "replace")
        return _TENANT + value if self.level is Level.TENANT else value


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a list.

    Attributes:
        ident: names it: `r-1f2e3d4c` made at run time, `FILE#3` the third of a file.
        pattern: whom it is about, on the other side.
        action: block or allow.
        direction: which way.
        scope: for whom of ours.
        reason: why, for people.
        author: who made it.
        created: seconds since 1970; 0: not known.
        expires: seconds since 1970; None: never.
    """

    ident: str
    pattern: Pattern
    action: Action
    direction: Direction = Direction.BOTH
    scope: Scope = Scope()
    reason: str = ""
    author: str = ""
    created: float = 0.0
    expires: float | None = None

    @property
    def at_run_time(self) -> bool:
        """Whether it was made at run time; else it stands in a file."""
        return "#" not in self.ident

    @property
    def blocks(self) -> bool:
        """Whether it blocks."""
        return self.action is Action.BLOCK


@dataclass(frozen=True, slots=True)
class Home:
    """A domain served here.

    Attributes:
        names: its name and its aliases, in wire form.
        tenant: whose it is.
    """

    names: tuple[bytes, ...]
    tenant: bytes = b""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the lists say of one pair of addresses.

    Attributes:
        blocked: whether it may not pass.
        entry: the one that decided; None where none is about the pair.
        direction: `in` or `out`, as the entry was met.
    """

    blocked: bool = False
    entry: Entry | None = None
    direction: Direction = Direction.IN


_SILENT: Final = Ruling()
_LEVELS: Final = tuple(Level)


class _List:
    """Entries of one direction, level and scope, found by what they name."""

    __slots__ = ("exact", "locals", "persons")

    def __init__(self) -> None:
        self.exact: dict[bytes, tuple[Entry, ...]] = {}
        self.locals: dict[bytes, tuple[Entry, ...]] = {}
        #: `where` of the entries that let single people of a domain through
        self.persons: Counter[bytes] = Counter()

    def _table(self, pattern: Pattern) -> tuple[dict[bytes, tuple[Entry, ...]], bytes]:
        if pattern.rank is Rank.LOCAL:
            return self.locals, pattern.where
        return self.exact, pattern.key or pattern.where

    def is_full(self, entry: Entry) -> bool:
        """Whether as many entries name the same place as may."""
        table, place = self._table(entry.pattern)
        return len(table.get(place, ())) >= MAX_AT_PLACE

    def add(self, entry: Entry) -> None:
        table, place = self._table(entry.pattern)
        table[place] = tuple(sorted((*table.get(place, ()), entry), key=_blocks_first))
        if entry.pattern.rank in (Rank.ADDRESS, Rank.LOCAL) and not entry.blocks:
            self.persons[entry.pattern.where] += 1

    def remove(self, entry: Entry) -> None:
        table, place = self._table(entry.pattern)
        left = tuple(one for one in table.get(place, ()) if one.ident != entry.ident)
        if left:
            table[place] = left
        else:
            table.pop(place, None)
        if entry.pattern.rank in (Rank.ADDRESS, Rank.LOCAL) and not entry.blocks:
            self.persons[entry.pattern.where] -= 1
            if not self.persons[entry.pattern.where]:
                del self.persons[entry.pattern.where]

    def find(self, key: bytes) -> Entry | None:
        """The entry with the closest pattern that names a key; a domain itself has no local part."""
        exact, local = self.exact, key.rpartition(b"@")[0]
        if local and key in exact:
            return exact[key][0]
        groups = tuple(places_of(key.rpartition(b"@")[2]))
        if local and self.locals:
            for places in groups:
                fit = [
                    entry
                    for place in places
                    for entry in self.locals.get(place, ())
                    if entry.pattern.matches_local(local)
                ]
                if fit:
                    return min(fit, key=_blocks_first)
        for places in groups:
            named = [exact[place][0] for place in places if place in exact]
            if named:
                return min(named, key=_blocks_first)
        return None


class AccessLists:
    """All entries, compiled.

    Args:
        home: tells of a domain served here, by its name or an alias; None of every other.
    """

    def __init__(self, home: Callable[[bytes], Home | None]) -> None:
        self._home = home
        self._entries: dict[str, Entry] = {}
        self._lists: dict[tuple[Direction, Level, bytes], _List] = {}
        self._ends: dict[str, float] = {}
        #: the same by time, the first to end first; entries that are gone among them
        self._next: list[tuple[float, str]] = []
        #: entries by what they do, and whether they were made at run time
        self.counts: Counter[tuple[Action, bool]] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def get(self, ident: str) -> Entry | None:
        """The entry of that name."""
        return self._entries.get(ident)

    def add(self, entry: Entry) -> None:
        """Add an entry, or replace the one of the same name. Raises `BadEntry` where there is no room."""
        if entry.ident not in self._entries and len(self._entries) >= MAX_ENTRIES:
            raise BadEntry(f"there are {MAX_ENTRIES} entries already; block zones, not addresses")
        self.remove(entry.ident)
        if any(place in self._lists and self._lists[place].is_full(entry) for place in _places(entry)):
            raise BadEntry(f"{MAX_AT_PLACE} entries name the same as {entry.pattern.text} already")
        self._entries[entry.ident] = entry
        self.counts[entry.action, entry.at_run_time] += 1
        if entry.expires is not None:
            self._ends[entry.ident] = entry.expires
            heappush(self._next, (entry.expires, entry.ident))
            if len(self._next) > 2 * len(self._ends) + _GONE_AT_LEAST:
                self._next = sorted((end, ident) for ident, end in self._ends.items())
        for place in _places(entry):
            self._lists.setdefault(place, _List()).add(entry)

    def remove(self, ident: str) -> Entry | None:
        """Take an entry out; returns it."""
        entry = self._entries.pop(ident, None)
        if entry is None:
            return None
        self.counts[entry.action, entry.at_run_time] -= 1
        self._ends.pop(ident, None)
        for place in _places(entry):
            found = self._lists[place]
            found.remove(entry)
            if not found.exact and not found.locals:
                del self._lists[place]
        return entry

    def take_over(self, prepared: AccessLists) -> None:
        """Have the entries of another one from now on, which is not used any more."""
        self._entries, self._lists = prepared._entries, prepared._lists
        self._ends, self._next, self.counts = prepared._ends, prepared._next, prepared.counts

    def expired(self, wall: float) -> list[Entry]:
        """Entries whose time is over, each told once; seconds since 1970."""
        found = []
        while self._next and self._next[0][0] <= wall:
            end, ident = heappop(self._next)
            if self._ends.get(ident) == end:
                found.append(self._entries[ident])
        return found

    # -- judging -----------------------------------------------------------------------------------------

    def judge(self, source: bytes, destination: bytes) -> Ruling:
        """Decide on what one address sends to another.

        Args:
            source: key of the sender; `@domain` for a domain itself.
            destination: key of the recipient; the same.
        """
        if not self._lists:
            return _SILENT
        sides = [
            (direction, home, ours, self._names_of(theirs))
            for direction, ours, theirs in (
                (Direction.IN, destination, source), (Direction.OUT, source, destination)
            )
            if (home := self._home(ours.rpartition(b"@")[2])) is not None
        ]  # fmt: skip
        allowed = _SILENT
        for level in _LEVELS:
            for direction, home, ours, theirs in sides:
                entry = self._find(direction, level, home, ours, theirs)
                if entry is not None and entry.blocks:
                    return Ruling(True, entry, direction)
                if entry is not None:
                    allowed = Ruling(False, entry, direction)
        return allowed

    def shuts_out(self, domain: bytes) -> Entry | None:
        """The entry for which nobody of a domain may send anything here; None where somebody may.

        Args:
            domain: a stranger's, in wire form.
        """
        found = self._lists.get((Direction.IN, Level.ROUTER, b""))
        entry = found.find(b"@" + domain) if found is not None else None
        if found is None or entry is None or not entry.blocks:
            return None
        people = any(place in found.persons for places in places_of(domain) for place in places)
        return None if people else entry

    def _find(
        self, direction: Direction, level: Level, home: Home, ours: bytes, theirs: Iterable[bytes]
    ) -> Entry | None:
        """A level's entry on any of the other side's names; one that blocks comes first."""
        best: Entry | None = None
        for value in _values(level, home, ours):
            found = self._lists.get((direction, level, value))
            if found is None:
                continue
            for key in theirs:
                entry = found.find(key)
                if entry is not None and (best is None or _blocks_first(entry) < _blocks_first(best)):
                    best = entry
        return best

    def _names_of(self, key: bytes) -> tuple[bytes, ...]:
        """The keys of one person by all the names of his domain, where it is served here."""
        local, _, domain = key.rpartition(b"@")
        home = self._home(domain)
        return (key,) if home is None else tuple(local + b"@" + name for name in home.names)


def _values(level: Level, home: Home, ours: bytes) -> tuple[bytes, ...]:
    if level is Level.ROUTER:
        return (b"",)
    if level is Level.TENANT:
        return (home.tenant,)
    if level is Level.DOMAIN:
        return home.names
    local = ours.rpartition(b"@")[0]
    return tuple(local + b"@" + name for name in home.names)


def _places(entry: Entry) -> list[tuple[Direction, Level, bytes]]:
    both = entry.direction is Direction.BOTH
    directions = (Direction.IN, Direction.OUT) if both else (entry.direction,)
    return [(direction, entry.scope.level, entry.scope.value) for direction in directions]


def _blocks_first(entry: Entry) -> bool:
    return not entry.blocks
