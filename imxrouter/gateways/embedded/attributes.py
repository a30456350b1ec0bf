"""Named attributes of our users, and who may see them (pure; IMX draft sections 4.4.5 and 4.6.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from imxrouter.model.attributes import KEYS, BadAttribute, OwnerKind, check_name, check_value
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Attribute
from imxrouter.routing.rules import EVERYBODY, Person, Who

#: Attributes of one user, and bytes of a value and of all values together.
MAX_OWN: Final = 64
MAX_VALUE_BYTES: Final = 2_048
MAX_OWN_BYTES: Final = 8_192
#: Patterns of one visibility.
MAX_PATTERNS: Final = 16
#: Word of a visibility: who may see the presence.
WATCHERS: Final = "watchers"
#: The state answers for it, by the rules of presence.
PRESENCE: Final = "presence"


@dataclass(frozen=True, slots=True)
class Visibility:
    """Who may see an attribute.

    Attributes:
        who: any of these; nobody, where there is none.
        watchers: and who may see the user's presence.
    """

    who: tuple[Who, ...] = ()
    watchers: bool = False

    @classmethod
    def parse(cls, words: Iterable[str]) -> Visibility:
        """Read patterns and the word `watchers`. Raises `BadRule`, `BadAttribute`."""
        given = list(dict.fromkeys(words))
        if len(given) > MAX_PATTERNS:
            raise BadAttribute(f"{len(given)} patterns; at most {MAX_PATTERNS}, groups hold more people")
        return cls(tuple(Who.parse(word) for word in given if word != WATCHERS), WATCHERS in given)

    @property
    def words(self) -> tuple[str, ...]:
        """As `parse` takes them."""
        return tuple(who.text for who in self.who) + ((WATCHERS,) if self.watchers else ())

    def includes(self, person: Person, may_watch: bool) -> bool:
        """Whether a person may see it; `may_watch`: he may see the presence."""
        return (self.watchers and may_watch) or any(who.names(person) for who in self.who)


PUBLIC: Final = Visibility((Who.parse(EVERYBODY),))


@dataclass(frozen=True, slots=True)
class OwnAttribute:
    """An attribute of a user of ours.

    Attributes:
        attribute: name, value, and how long others may keep it.
        visibility: who may see it.
        along: it rides along on his messages and notifications, to who may see it.
    """

    attribute: Attribute
    visibility: Visibility = PUBLIC
    along: bool = False


class OwnAttributes:
    """All attributes of one user, bounded."""

    def __init__(self) -> None:
        self._all: dict[str, OwnAttribute] = {}

    def __bool__(self) -> bool:
        return bool(self._all)

    def set(self, one: OwnAttribute, domain: Domain) -> None:
        """Add or replace one.

        Args:
            one: a global key of users, or a key of the user's own domain.
            domain: that domain.

        Raises:
            BadAttribute: name, value or number is not allowed.
        """
        name, value = one.attribute.name, one.attribute.value
        check_own_name(name, domain)
        check_value(name, value)
        if len(value) > MAX_VALUE_BYTES:
            raise BadAttribute(f"{name} has {len(value)} bytes; at most {MAX_VALUE_BYTES}")
        others = [each for key, each in self._all.items() if key != name]
        if len(others) >= MAX_OWN:
            raise BadAttribute(f"there are {MAX_OWN} attributes already")
        size = len(value) + sum(len(each.attribute.value) for each in others)
        if size > MAX_OWN_BYTES:
            raise BadAttribute(f"all values together have {size} bytes; at most {MAX_OWN_BYTES}")
        if not 0 <= one.attribute.max_age_s <= 0xFFFFFFFF:
            raise BadAttribute(f"{one.attribute.max_age_s} seconds do not fit into the protocol")
        self._all[name] = one

    def remove(self, name: str) -> bool:
        """Drop one; tells whether it was there."""
        return self._all.pop(name, None) is not None

    def all(self) -> tuple[OwnAttribute, ...]:
        """All of them, by name."""
        return tuple(one for _, one in sorted(self._all.items()))

    def seen_by(self, person: Person, may_watch: bool) -> tuple[Attribute, ...]:
        """What a person may see, by name."""
        return tuple(one.attribute for one in self.all() if one.visibility.includes(person, may_watch))

    def along(self, person: Person, may_watch: bool) -> tuple[Attribute, ...]:
        """What rides along on a message or a notification to a person."""
        return tuple(
            one.attribute for one in self.all() if one.along and one.visibility.includes(person, may_watch)
        )


def check_own_name(name: str, domain: Domain) -> None:
    """Raise `BadAttribute` unless a user of that domain may have an attribute of this name."""
    check_name(name)
    if name == PRESENCE:
        raise BadAttribute("presence is published, not set")
    scope, slash, _ = name.rpartition("/")
    if slash and scope != domain.name:
        raise BadAttribute(f"{name} is a key of {scope}, not of {domain.name}")
    if not slash and KEYS[name].owner is not OwnerKind.USER:
        raise BadAttribute(f"{name} is an attribute of domains")
