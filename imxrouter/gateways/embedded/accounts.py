"""All that a user of the embedded service has set, decided and published (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imxrouter.gateways.embedded.attributes import OwnAttributes
from imxrouter.gateways.embedded.contacts import ContactList
from imxrouter.gateways.embedded.directory import UserKey
from imxrouter.gateways.embedded.instances import Instances
from imxrouter.model.address import Address
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import Attribute
from imxrouter.model.presence import Presence
from imxrouter.routing.rules import (
    MAX_CONSENTS,
    Consent,
    Decision,
    Defaults,
    Person,
    Right,
    RuleBook,
    Ruling,
    Scope,
    rule_on,
)
from imxrouter.routing.zones import zone_of

#: People who wait for a decision without a subscription, and of those of one zone: its owner makes as many
#: domains as he likes.
MAX_KNOCKS: Final = 100
MAX_KNOCKS_OF_ZONE: Final = 10
#: Who did not come back for so long is forgotten.
KNOCK_S: Final = 7 * 86_400.0
#: People who may act for one user.
MAX_DELEGATES: Final = 32
_SELF: Final = Ruling(Decision.ALLOW, "self")


class NotAllowed(RouterError):
    """The user did not allow this person to act for him."""


class TooMany(RouterError):
    """A list of the user is full."""


@dataclass(frozen=True, slots=True)
class Knock:
    """Somebody was turned away because the user has to agree first (FCC-4).

    Attributes:
        person: who.
        right: what he wanted.
        at: the last time, seconds since 1970.
        count: how often.
    """

    person: Address
    right: Right
    at: float
    count: int = 1


class Knocks:
    """Who waits for a word of one user; who comes when it is full is not noted."""

    def __init__(self) -> None:
        self._all: dict[tuple[bytes, Right], Knock] = {}

    def note(self, person: Address, key: bytes, right: Right, wall: float) -> bool:
        """Note one; tells whether it is a new one."""
        known = self._all.get((key, right))
        if known is not None and wall - known.at < KNOCK_S:
            self._all[key, right] = Knock(person, right, wall, known.count + 1)
            return False
        self._all = {place: one for place, one in self._all.items() if wall - one.at < KNOCK_S}
        zone = zone_of(person.domain.name)
        of_zone = sum(1 for one in self._all.values() if zone_of(one.person.domain.name) == zone)
        if len(self._all) >= MAX_KNOCKS or of_zone >= MAX_KNOCKS_OF_ZONE:
            return False
        self._all[key, right] = Knock(person, right, wall)
        return True

    def settle(self, key: bytes, scope: Scope) -> None:
        """The user has decided."""
        self._all = {
            place: one for place, one in self._all.items() if place[0] != key or place[1].scope is not scope
        }

    def all(self, wall: float) -> tuple[Knock, ...]:
        """Everybody, the newest first."""
        return tuple(
            sorted((one for one in self._all.values() if wall - one.at < KNOCK_S), key=lambda one: -one.at)
        )


class Delegates:
    """People who may do something in the place of one user (RFC 2779 sections 2.3.4 and 2.3.6)."""

    def __init__(self) -> None:
        self._all: dict[bytes, Address] = {}

    def add(self, person: Address) -> None:
        """Allow it. Raises `TooMany`."""
        if person.key not in self._all and len(self._all) >= MAX_DELEGATES:
            raise TooMany(f"{MAX_DELEGATES} people may do this already")
        self._all[person.key] = person

    def remove(self, person: Address) -> bool:
        """Allow it no longer; tells whether it was allowed."""
        return self._all.pop(person.key, None) is not None

    def __contains__(self, person: Address) -> bool:
        return person.key in self._all

    def all(self) -> tuple[Address, ...]:
        """Everybody, by address."""
        return tuple(sorted(self._all.values()))


class Account:
    """One user. Its parts are set one by one; `Keeping` writes them down.

    Attributes:
        key: of the account.
        address: at its domain's own name.
        rules: who may do what.
        consents: what was decided on single persons.
        contacts: the contact list.
        attributes: named attributes.
        instances: what is published.
        publishers: who may publish for him.
        readers: who may read his messages.
        knocks: who was turned away until he decides.
    """

    def __init__(self, key: UserKey, address: Address, defaults: Defaults) -> None:
        self.key = key
        self.address = address
        self.rules = RuleBook()
        self.consents: dict[tuple[bytes, Scope], Consent] = {}
        self.contacts = ContactList()
        self.attributes = OwnAttributes()
        self.instances = Instances()
        self.publishers = Delegates()
        self.readers = Delegates()
        self.knocks = Knocks()
        self._defaults = defaults
        self._own_key = address.key

    def change(self, defaults: Defaults) -> None:
        """Let other defaults hold where there is no rule."""
        self._defaults = defaults

    def person(self, address: Address, *, same_domain: bool) -> Person:
        """What is to be known of somebody who wants something.

        Args:
            address: his; for a user of ours that of his account.
            same_domain: he has an account at this user's domain.
        """
        key = address.key
        contact = self.contacts.find(key)
        groups = contact.groups if contact is not None else frozenset()
        return Person(key, address.domain.name, same_domain, groups, contact is not None)

    def ruling(self, person: Person, right: Right) -> Ruling:
        """What is decided on a person; nobody needs leave of himself."""
        if person.key == self._own_key and person.same_domain:
            return _SELF
        return rule_on(self.rules, self.consents, self._defaults, person, right)

    def may_watch(self, person: Person) -> bool:
        """Whether a person may see the presence in any way, truly."""
        return any(
            self.ruling(person, right).decision is Decision.ALLOW for right in (Right.SUBSCRIBE, Right.FETCH)
        )

    def state_for(self, person: Person, right: Right) -> Presence:
        """The presence that a person is shown; whoever may not see it sees somebody who is offline."""
        ruling = self.ruling(person, right)
        if ruling.decision is not Decision.ALLOW:
            return self.instances.hidden(self.address)
        return self.instances.seen_by(self.address, person, ruling.detail)

    def attributes_for(self, person: Person) -> tuple[Attribute, ...]:
        """The attributes that a person may see, without `presence`."""
        return self.attributes.seen_by(person, self.may_watch(person))

    def along_for(self, person: Person) -> tuple[Attribute, ...]:
        """The attributes that ride along to a person."""
        return self.attributes.along(person, self.may_watch(person)) if self.attributes else ()

    def room_for_consent(self, person: Address, scope: Scope) -> None:
        """Raise `TooMany` unless one more decision can be kept."""
        if (person.key, scope) not in self.consents and len(self.consents) >= MAX_CONSENTS:
            raise TooMany(f"{MAX_CONSENTS} decisions on persons are kept already")

    def consent(self, consent: Consent) -> None:
        """Note a decision on a person. Raises `TooMany`."""
        self.room_for_consent(consent.person, consent.scope)
        self.consents[consent.person.key, consent.scope] = consent
        self.knocks.settle(consent.person.key, consent.scope)
