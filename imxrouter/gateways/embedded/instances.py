"""What the instances of a user published, and what each watcher sees of it (pure; RFC 2779 section 5.2.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from imxrouter.formats.pidf import write_pidf
from imxrouter.model.address import Address
from imxrouter.model.errors import RouterError
from imxrouter.model.presence import Basic, Presence, PresenceTuple, merge, offline, preferred
from imxrouter.routing.rules import Detail, Person, Who

#: Instances of one user; a person has a few devices.
MAX_INSTANCES: Final = 16
#: Characters of an instance's name.
MAX_INSTANCE_NAME: Final = 255
#: A publication lives so long unless its publisher says otherwise (RFC 3903 section 4.1 has the same).
DEFAULT_PUBLICATION_S: Final = 3600.0
#: And at most so long; a program that is gone must not leave its user there for ever.
MAX_PUBLICATION_S: Final = 30 * 86_400.0
#: Bytes of one published document, and of the whole state; a NOTIFY has to stay below 16 KiB.
MAX_PUBLISHED_BYTES: Final = 8_192
MAX_STATE_BYTES: Final = 12_288
_BASIC_ID: Final = "state"
#: States of one user that are kept made: what everybody sees, what nobody sees, and those of some audiences.
_MADE_STATES: Final = 32


class BadPublication(RouterError):
    """A publication that is not taken: too long, too large, or one too many."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What one instance published.

    Attributes:
        presence: its full state.
        until: when it expires, seconds since 1970.
        by: who published it: the user, or somebody whom he allowed to (section 2.3.4).
        audience: who sees it among those who may see the user at all; nobody named: all of them.
    """

    presence: Presence
    until: float
    by: Address
    audience: tuple[Who, ...] = ()

    def shown_to(self, person: Person) -> bool:
        """Whether this person sees it."""
        return not self.audience or any(who.names(person) for who in self.audience)


class Instances:
    """The publications of one user, by the instance's name."""

    def __init__(self) -> None:
        self._published: dict[str, Publication] = {}
        #: by whether all of it is shown, and whose instances
        self._made: dict[tuple[bool, tuple[str, ...]], Presence] = {}

    def __len__(self) -> int:
        return len(self._published)

    def publish(self, name: str, publication: Publication) -> None:
        """Set what an instance says. Raises `BadPublication`."""
        if not 0 < len(name) <= MAX_INSTANCE_NAME:
            raise BadPublication(f"an instance's name has 1 to {MAX_INSTANCE_NAME} characters")
        if name not in self._published and len(self._published) >= MAX_INSTANCES:
            raise BadPublication(f"{MAX_INSTANCES} instances publish already; retract one")
        size = len(write_pidf(publication.presence))
        if size > MAX_PUBLISHED_BYTES:
            raise BadPublication(f"a presence document of {size} bytes; {MAX_PUBLISHED_BYTES} at most")
        self._published[name] = publication
        self._made.clear()

    def retract(self, name: str) -> bool:
        """Forget an instance; tells whether it was there."""
        self._made.clear()
        return self._published.pop(name, None) is not None

    def expire(self, wall: float) -> list[str]:
        """Forget what has had its time; returns the names."""
        gone = [name for name, one in self._published.items() if one.until <= wall]
        for name in gone:
            del self._published[name]
            self._made.clear()
        return gone

    def next_expiry(self) -> float:
        """When the next one expires; infinity where there is none."""
        return min((one.until for one in self._published.values()), default=float("inf"))

    def all(self) -> tuple[tuple[str, Publication], ...]:
        """Every instance with its publication, by name."""
        return tuple(sorted(self._published.items()))

    def whole(self, owner: Address) -> Presence:
        """The state of all instances, as its owner sees it."""
        return self._state(owner, Detail.FULL, tuple(self._published))

    def seen_by(self, owner: Address, person: Person, detail: Detail) -> Presence:
        """The state for one watcher who may see it; the very same object until something is published.

        Who is shown no instance sees what everybody sees of a user without any.
        """
        shown = [name for name, one in self._published.items() if one.shown_to(person)]
        return self._state(owner, detail, tuple(shown))

    def hidden(self, owner: Address) -> Presence:
        """The state for one who may not see it, made in the same way and time as for one who may."""
        return self._state(owner, Detail.FULL, ())

    def _state(self, owner: Address, detail: Detail, names: tuple[str, ...]) -> Presence:
        key = (detail is Detail.FULL, names)
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= _MADE_STATES:
                self._made.clear()
            state = _merged(owner, [(name, self._published[name]) for name in sorted(names)])
            made = self._made[key] = state if detail is Detail.FULL else _basic(state)
        return made


def _merged(owner: Address, published: Iterable[tuple[str, Publication]]) -> Presence:
    states = {name: one.presence for name, one in published}
    if not states:
        return offline(owner)
    state = merge(owner, states)
    if len(state.persons) > 1 or len({one.notes for one in states.values()}) > 1:
        # Together they would be of all tuples alike, and nobody could tell which instance said what.
        apart = merge(owner, {name: _said_by_tuples(one) for name, one in states.items()})
        if len(write_pidf(apart)) <= MAX_STATE_BYTES:
            return apart
    return fitting(state)


def _said_by_tuples(state: Presence) -> Presence:
    """The same, where each open tuple says what else the document says of it: what is done, and in words."""
    doing = tuple(each for person in state.persons for each in person.activities)
    words = state.notes or tuple(note for person in state.persons for note in person.notes)
    return replace(
        state,
        tuples=tuple(
            replace(one, activities=one.activities or doing, notes=one.notes or words)
            if one.status is Basic.OPEN else one
            for one in state.tuples
        ),
    )  # fmt: skip


def fitting(state: Presence, size_bytes: int = MAX_STATE_BYTES) -> Presence:
    """The state, or where its document is too large what is most useful of it.

    First extensions go, then persons, then the least preferred tuples.
    """
    if len(write_pidf(state)) <= size_bytes:
        return state
    if any(one.must_understand for one in state.extensions):
        return Presence(
            state.presentity
        )  # without the element nothing may be believed (RFC 3863 section 4.2)
    state = replace(
        state,
        tuples=tuple(
            replace(one, extensions=(), status_extensions=())
            for one in state.tuples
            if not any(each.must_understand for each in (*one.extensions, *one.status_extensions))
        ),
        persons=tuple(replace(one, extensions=()) for one in state.persons),
        extensions=(),
    )
    if len(write_pidf(state)) > size_bytes:
        state = replace(state, persons=(), notes=state.notes[:1])
    while len(state.tuples) > 1 and len(write_pidf(state)) > size_bytes:
        state = replace(state, tuples=preferred(state.tuples)[: len(state.tuples) // 2])
    return state


def _basic(state: Presence) -> Presence:
    if state == offline(state.presentity):
        return state
    status = state.status
    if status is Basic.CLOSED:
        return offline(state.presentity)
    return Presence(state.presentity, (PresenceTuple(_BASIC_ID, status),))
