"""A presentity's whole presence state, whatever its format (RFC 2778 section 2.4, RFC 3863 section 3.2).

A state is a value: what one instance published, or what all instances of a user add up to. Which of two
states is the newer one (sequence, epoch) is the business of whoever carries them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Final, TypeVar

from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.uris import is_uri
from imxrouter.model.vocabulary import Reason

#: Tuples in one state. A person has a handful of devices; a service account with a hundred is generous.
MAX_TUPLES: Final = 100

#: Lowest and highest of an instance among those of its user, as XMPP counts (RFC 6121 section 4.7.2.3).
PRIORITIES: Final = (-128, 127)
#: The activities of RFC 4480 section 3.2 that have a name; `other` and foreign ones stand apart.
ACTIVITIES: Final = frozenset(
    {
        "appointment", "away", "breakfast", "busy", "dinner", "holiday", "in-transit", "looking-for-work",
        "lunch", "meal", "meeting", "on-the-phone", "performance", "permanent-absence", "playing",
        "presentation", "shopping", "sleeping", "spectator", "steering", "travel", "tv", "unknown",
        "vacation", "working", "worship",
    }
)  # fmt: skip

_LANGUAGE: Final = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*\Z")
#: An XML name without colon, ASCII only: what xs:ID takes everywhere.
_ID: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*\Z")
_NOT_OF_ID: Final = re.compile(r"[^A-Za-z0-9._-]")
_NEVER: Final = float("-inf")


class BadPresence(RouterError):
    """A part of a state has a value that no format could carry."""


class Basic(Enum):
    """Whether a tuple takes messages (RFC 3863 section 4.1.4)."""

    OPEN = "open"
    CLOSED = "closed"
    #: Nobody said; formats say it by leaving the element out.
    UNKNOWN = "unknown"


_RANK: Final = {Basic.OPEN: 0, Basic.UNKNOWN: 1, Basic.CLOSED: 2}


@dataclass(frozen=True, slots=True)
class Note:
    """Words for people (RFC 3863 section 4.1.6).

    Attributes:
        text: as written.
        language: a BCP 47 tag, empty where none was said.
    """

    text: str
    language: str = ""

    def __post_init__(self) -> None:
        if self.language and not is_language(self.language):
            raise BadPresence(f"{self.language[:40]!r} is no language tag")


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a tuple can be reached (RFC 3863 section 4.1.5).

    Attributes:
        uri: absolute, ASCII (RFC 3986).
        priority: thousandths, 0 to 1000; None counts as the lowest, as the RFC asks.
    """

    uri: str
    priority: int | None = None

    def __post_init__(self) -> None:
        if not is_uri(self.uri):
            raise BadPresence(f"contact {self.uri[:80]!r} is no absolute URI")
        if self.priority is not None and not 0 <= self.priority <= 1000:
            raise BadPresence(f"priority {self.priority} is not within 0 and 1000 thousandths")


@dataclass(frozen=True, slots=True)
class Extension:
    """An element of a foreign namespace, kept as it came.

    Made by readers only: `xml` is copied into what is written.

    Attributes:
        namespace: of its outermost element.
        name: local name of its outermost element.
        xml: the element, with every namespace declaration that it needs.
        must_understand: its author asks that whoever does not know it shall not use what it stands in
            (RFC 3863 section 4.2).
    """

    namespace: str
    name: str
    xml: str
    must_understand: bool = False


@dataclass(frozen=True, slots=True)
class Activities:
    """What a person is doing (RFC 4480 section 3.2); there is something in it besides times.

    Attributes:
        names: of `ACTIVITIES`, in the order written.
        other: activities in free words.
        notes: remarks on all of them.
        since: from when they hold.
        until: until when.
        extensions: activities of foreign namespaces.
    """

    names: tuple[str, ...] = ()
    other: tuple[Note, ...] = ()
    notes: tuple[Note, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    extensions: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        if not (self.names or self.other or self.notes or self.extensions):
            raise BadPresence("activities without any")
        for name in self.names:
            if name not in ACTIVITIES:
                raise BadPresence(f"{name[:40]!r} is no activity of RFC 4480")
        _check_times(self.since, self.until)


@dataclass(frozen=True, slots=True)
class Person:
    """The human behind the tuples (RFC 4479 section 3.2).

    Attributes:
        id: unique within the state; an XML name of ASCII letters.
        activities: as published.
        notes: by language.
        timestamp: when this was so, with its zone.
        extensions: mood, place and whatever else.
    """

    id: str
    activities: tuple[Activities, ...] = ()
    notes: tuple[Note, ...] = ()
    timestamp: datetime | None = None
    extensions: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        _check_id(self.id)
        _check_times(self.timestamp)


@dataclass(frozen=True, slots=True)
class PresenceTuple:
    """One way to reach the presentity, and whether it is open (RFC 2778 section 2.4).

    Attributes:
        id: unique within the state; an XML name of ASCII letters.
        basic: as published; `status` is what may be believed of it.
        contact: None where none was given.
        notes: by language.
        timestamp: when the status changed, with its zone.
        activities: some clients say them here rather than of the person.
        extensions: of the tuple.
        status_extensions: of its status.
    """

    id: str
    basic: Basic = Basic.UNKNOWN
    contact: Contact | None = None
    notes: tuple[Note, ...] = ()
    timestamp: datetime | None = None
    activities: tuple[Activities, ...] = ()
    extensions: tuple[Extension, ...] = ()
    status_extensions: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        _check_id(self.id)
        _check_times(self.timestamp)

    @property
    def status(self) -> Basic:
        """`basic`, or unknown where an extension that must be understood is not."""
        marked = any(one.must_understand for one in (*self.extensions, *self.status_extensions))
        return Basic.UNKNOWN if marked else self.basic


@dataclass(frozen=True, slots=True)
class Presence:
    """The full state of one presentity.

    Attributes:
        presentity: whose it is.
        tuples: in any order; `preferred` sorts them.
        notes: on the whole, by language.
        persons: one, unless instances disagree.
        extensions: of the whole.
    """

    presentity: Address
    tuples: tuple[PresenceTuple, ...] = ()
    notes: tuple[Note, ...] = ()
    persons: tuple[Person, ...] = ()
    extensions: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        ids = [one.id for one in self.tuples] + [one.id for one in self.persons]
        if len(ids) != len(set(ids)):
            raise BadPresence(f"an id stands twice among {ids[:8]}")

    @property
    def status(self) -> Basic:
        """Open if any tuple is, closed if all are, else unknown; no tuples say nothing."""
        if any(one.must_understand for one in self.extensions):
            return Basic.UNKNOWN
        said = {one.status for one in self.tuples}
        if Basic.OPEN in said:
            return Basic.OPEN
        return Basic.CLOSED if said == {Basic.CLOSED} else Basic.UNKNOWN


@dataclass(frozen=True, slots=True)
class Unknown:
    """The router's own word that nobody can tell at present; never said in the presentity's name.

    Attributes:
        presentity: of whom nothing is known.
        reason: why.
        domain: where that was decided.
    """

    presentity: Address
    reason: Reason
    domain: Domain

    @property
    def status(self) -> Basic:
        """Always unknown."""
        return Basic.UNKNOWN


P = TypeVar("P", PresenceTuple, Person)


def offline(presentity: Address) -> Presence:
    """The state of somebody who has no instance: always the same, so that nothing can be read from it.

    Polite blocking answers with it too (RFC 2779 section 5.1.15).
    """
    return Presence(presentity, (PresenceTuple("offline", Basic.CLOSED),))


def is_language(tag: str) -> bool:
    """Whether the text has the form of a language tag (xs:language, BCP 47)."""
    return _LANGUAGE.match(tag) is not None


def element_id(text: str, prefix: str) -> str:
    """Turn a foreign identifier into one that every format takes; the same text gives the same id.

    Args:
        text: any characters.
        prefix: what is put before a text that begins with no letter.
    """
    if _ID.match(text):
        return text
    cleaned = _NOT_OF_ID.sub("_", text)
    return cleaned if _ID.match(cleaned) else prefix + cleaned


def preferred(tuples: Iterable[PresenceTuple]) -> tuple[PresenceTuple, ...]:
    """Sort: open, unknown, closed; higher priority first; newer first; then by id."""
    return tuple(sorted(tuples, key=_preference))


def merge(presentity: Address, instances: Mapping[str, Presence], max_tuples: int = MAX_TUPLES) -> Presence:
    """One state of what several instances published, whatever their order.

    Parts that mean the same and share an id are kept once. An id that instances use for different things is
    told apart by the names of the instances. The least preferred tuples above `max_tuples` are left out,
    and persons likewise; notes and extensions add up, so the document may outgrow what a reader takes.

    Args:
        presentity: whose state it is; that of the instances is not looked at.
        instances: by their names (a resource, a GRUU).
        max_tuples: at least 1.
    """
    named = sorted(instances.items())
    tuples = _distinct([(name, one) for name, state in named for one in state.tuples], meaning_of_tuple)
    persons = _distinct([(name, one) for name, state in named for one in state.persons], meaning_of_person)
    # Tuples and persons share one space of ids (RFC 4479 section 5: both are xs:ID).
    used = Counter([one.id for _, one in tuples] + [one.id for _, one in persons])
    taken = {one for one, times in used.items() if times == 1}
    ided_tuples = [replace(one, id=_told_apart(one.id, name, used, taken)) for name, one in tuples]
    ided_persons = [replace(one, id=_told_apart(one.id, name, used, taken)) for name, one in persons]
    return Presence(
        presentity,
        preferred(ided_tuples)[:max_tuples],
        tuple(dict.fromkeys(note for _, state in named for note in state.notes)),
        tuple(ided_persons[:max_tuples]),
        tuple(dict.fromkeys(one for _, state in named for one in state.extensions)),
    )


def same_meaning(one: Presence, other: Presence) -> bool:
    """Whether a watcher who was told one need not be told the other."""
    return one == other or meaning(one) == meaning(other)


def meaning(state: Presence) -> Hashable:
    """What a watcher learns from a state; equal for states that need not be told twice.

    Left out are ids, timestamps and the order of parts: they change whenever a client says the same again.
    """
    return (
        state.presentity.key,
        _bag(meaning_of_tuple(one) for one in state.tuples),
        _notes(state.notes),
        _bag(meaning_of_person(one) for one in state.persons),
        frozenset(state.extensions),
    )


def meaning_of_tuple(one: PresenceTuple) -> Hashable:
    """As `meaning`, of one tuple."""
    return (
        one.basic,
        one.contact,
        _notes(one.notes),
        _bag(_meaning_of_activities(each) for each in one.activities),
        frozenset(one.extensions),
        frozenset(one.status_extensions),
    )


def meaning_of_person(one: Person) -> Hashable:
    """As `meaning`, of one person."""
    return (
        _notes(one.notes),
        _bag(_meaning_of_activities(each) for each in one.activities),
        frozenset(one.extensions),
    )


def _meaning_of_activities(one: Activities) -> Hashable:
    return (
        frozenset(one.names),
        _notes(one.other),
        _notes(one.notes),
        one.since,
        one.until,
        frozenset(one.extensions),
    )


def _notes(notes: Iterable[Note]) -> Hashable:
    return frozenset((note.language.lower(), note.text) for note in notes)


def _bag(parts: Iterable[Hashable]) -> Hashable:
    return frozenset(Counter(parts).items())


def _preference(one: PresenceTuple) -> tuple[int, int, float, str]:
    priority = -1 if one.contact is None or one.contact.priority is None else one.contact.priority
    return _RANK[one.status], -priority, -_when(one.timestamp), one.id


def _when(time: datetime | None) -> float:
    return _NEVER if time is None else time.timestamp()


def _distinct(parts: list[tuple[str, P]], meaning_of: Callable[[P], Hashable]) -> list[tuple[str, P]]:
    """Of parts with one id and one meaning, the newest."""
    kept: dict[Hashable, tuple[str, P]] = {}
    for name, one in parts:
        key = one.id, meaning_of(one)
        before = kept.get(key)
        if before is None or _when(before[1].timestamp) < _when(one.timestamp):
            kept[key] = name, one
    return list(kept.values())


def _told_apart(wanted: str, instance: str, used: Counter[str], taken: set[str]) -> str:
    if used[wanted] == 1:
        return wanted
    base = f"{wanted}.{element_id(instance, 'i')}"
    free, number = base, 1
    while free in taken:
        number += 1
        free = f"{base}.{number}"
    taken.add(free)
    return free


def _check_id(text: str) -> None:
    if not _ID.match(text):
        raise BadPresence(f"id {text[:40]!r} is no XML name of ASCII letters")


def _check_times(*times: datetime | None) -> None:
    for time in times:
        # The years at both ends have no UTC form in every zone.
        if time is not None and (time.tzinfo is None or not 1 < time.year < 9999):
            raise BadPresence(f"time {time.isoformat()} has no zone or is out of range")
