"""What users set: rules, decisions on persons, delegates, contacts, attributes. Each is kept at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import Enum
from typing import Final

from imxrouter.gateways.embedded.accounts import Account, Delegates, Knock
from imxrouter.gateways.embedded.attributes import OwnAttribute
from imxrouter.gateways.embedded.contacts import Contact
from imxrouter.gateways.embedded.following import Following
from imxrouter.gateways.embedded.keeping import NotKept
from imxrouter.gateways.embedded.register import Register, Topic
from imxrouter.model.address import Address
from imxrouter.model.errors import RouterError
from imxrouter.routing.rules import (
    Consent,
    Decision,
    Detail,
    Right,
    Rule,
    Scope,
)

#: Rights that are about presence.
PRESENCE_RIGHTS: Final = (Right.SUBSCRIBE, Right.FETCH)


class Role(Enum):
    """What a user may let others do for him."""

    #: publish presence (RFC 2779 section 2.3.4)
    PUBLISH = "publish"
    #: read messages (section 2.3.6)
    READ = "read"


class Settings:
    """Reads and changes what users set.

    Every method raises `NotAUser` where there is no such account; those that change something, `PresenceOff`.

    Args:
        register: of accounts.
        changed: told of each account whose rules, decisions, contacts or delegates changed.
        following: holds the subscriptions to contacts.
    """

    def __init__(
        self,
        register: Register,
        changed: Callable[[Account], None],
        following: Following,
    ) -> None:
        self._register = register
        self._changed = changed
        self._following = following

    # -- rules -------------------------------------------------------------------------------------------

    def rules(self, user: Address) -> tuple[Rule, ...]:
        """A user's rules, in the order in which they are looked at."""
        return self._register.account(user).rules.all()

    def set_rule(
        self,
        user: Address,
        who: str,
        rights: Iterable[Right],
        decision: Decision,
        detail: Detail = Detail.FULL,
    ) -> None:
        """Let a user decide on people by a pattern (`Who`); holds at once, for subscriptions too.

        Raises:
            BadRule: it is no pattern, or there are too many rules.
            NotKept: it holds only until the router stops.
        """
        account, people = self._register.changeable(user), self._register.who(who)
        for right in rights:
            account.rules.set(Rule(people, right, decision, detail))
        self._settled(account, self._register.keeping.rules(account))

    def remove_rule(self, user: Address, who: str, rights: Iterable[Right]) -> bool:
        """Drop the rules on these people; tells whether there was one. Raises `BadRule`, `NotKept`."""
        account, people = self._register.changeable(user), self._register.who(who)
        found = [account.rules.remove(people, right) for right in rights]
        self._settled(account, self._register.keeping.rules(account))
        return any(found)

    # -- decisions on persons ----------------------------------------------------------------------------

    def consents(self, user: Address) -> tuple[Consent, ...]:
        """What a user decided on persons, by address."""
        consents = self._register.account(user).consents.values()
        return tuple(sorted(consents, key=lambda one: (one.person, one.scope.value)))

    def knocks(self, user: Address) -> tuple[Knock, ...]:
        """Who was turned away until the user decides, the newest first; subscriptions wait by themselves."""
        return self._register.account(user).knocks.all(self._register.tools.wall())

    def decide(
        self, user: Address, person: Address, decision: Decision, scope: Scope = Scope.PRESENCE
    ) -> Consent:
        """Let a user decide on one person: allow, refuse, or block without telling; it is remembered.

        Raises:
            NotKept: a consent cannot be written down now, and was not given (`state-unavailable`). A refusal
                holds in any case.
            TooMany: too many decisions are kept.
            ValueError: to ask is no decision.
        """
        if decision is Decision.ASK:
            raise ValueError("to ask is no decision; `withdraw` takes one back")
        account, person = self._register.changeable(user), self._register.canonical(person)
        account.room_for_consent(person, scope)
        consent = Consent(person, scope, decision, self._register.tools.wall())
        given = decision is Decision.ALLOW
        if not self._register.keeping.consent(account, consent, durable=given) and given:
            raise NotKept(f"the consent to {person} cannot be written down now: try again later")
        account.consent(consent)
        self._settled(account, True, person)
        return consent

    def withdraw(self, user: Address, person: Address, scope: Scope = Scope.PRESENCE) -> bool:
        """Take a decision back, so that rules and defaults hold again; tells whether there was one.

        A subscription that only the consent allowed ends, and the watcher is told.
        """
        account, person = self._register.changeable(user), self._register.canonical(person)
        found = account.consents.pop((person.key, scope), None) is not None
        self._register.keeping.no_consent(account, person, scope)
        self._settled(account, True, person)
        return found

    # -- delegates ---------------------------------------------------------------------------------------

    def delegates(self, user: Address, role: Role) -> tuple[Address, ...]:
        """Who may do this for a user."""
        return _delegates(self._register.account(user), role).all()

    def allow(self, user: Address, person: Address, role: Role) -> None:
        """Let somebody do this for a user. Raises `TooMany`, `NotKept`."""
        account = self._register.changeable(user)
        _delegates(account, role).add(self._register.canonical(person))
        self._settled(account, self._register.keeping.rules(account), person)

    def disallow(self, user: Address, person: Address, role: Role) -> bool:
        """Let somebody do this no longer; tells whether he was allowed. What he published goes."""
        account, person = self._register.changeable(user), self._register.canonical(person)
        found = _delegates(account, role).remove(person)
        if role is Role.PUBLISH:
            for name, publication in account.instances.all():
                if publication.by.key == person.key and person.key != account.address.key:
                    account.instances.retract(name)
                    self._register.keeping.presence(account, name, None)
        self._settled(account, self._register.keeping.rules(account), person)
        return found

    # -- contacts ----------------------------------------------------------------------------------------

    def contacts(self, user: Address) -> tuple[Contact, ...]:
        """A user's contact list, by address; `watch` tells whether a subscription is held now."""
        account = self._register.account(user)
        watches = self._following.watches
        return tuple(replace(one, watch=watches(account, one.address)) for one in account.contacts.all())

    def set_contact(self, user: Address, contact: Contact) -> None:
        """Add or replace an entry; with `watch` the user subscribes, without it he ends that.

        Raises:
            BadContact: the list is full.
            NotKept: it holds only until the router stops; or it was to be watched, then nothing was changed.
            NoRoom, PresenceOff: it was to be watched and cannot be; nothing was changed.
        """
        account = self._register.changeable(user)
        contact = replace(contact, address=self._register.canonical(contact.address))
        before, wanted = account.contacts.find(contact.address.key), contact.watch
        if wanted is None:
            contact = replace(contact, watch=before is not None and bool(before.watch))
        account.contacts.set(contact)
        try:
            if wanted is not None:
                self._following.watch(account, contact.address, wanted=wanted)
        except RouterError:
            if before is None:
                account.contacts.remove(contact.address)
            else:
                account.contacts.set(before)
            raise
        self._settled(account, self._register.keeping.contacts(account), contact.address)

    def remove_contact(self, user: Address, address: Address) -> bool:
        """Drop an entry; tells whether there was one. Ends what `watch` began. Raises `NotKept`."""
        account, address = self._register.changeable(user), self._register.canonical(address)
        before = account.contacts.find(address.key)
        account.contacts.remove(address)
        if before is not None and before.watch:
            self._following.watch(account, address, wanted=False)
        self._settled(account, self._register.keeping.contacts(account), address)
        return before is not None

    # -- attributes --------------------------------------------------------------------------------------

    def attributes(self, user: Address) -> tuple[OwnAttribute, ...]:
        """A user's own attributes, by name."""
        return self._register.account(user).attributes.all()

    def set_attribute(self, user: Address, one: OwnAttribute) -> None:
        """Add or replace an attribute of a user. Raises `BadAttribute`, `NotKept`."""
        account = self._register.changeable(user)
        account.attributes.set(one, account.address.domain)
        self._told(account, self._register.keeping.attributes(account))

    def remove_attribute(self, user: Address, name: str) -> bool:
        """Drop an attribute; tells whether there was one. Raises `NotKept`."""
        account = self._register.changeable(user)
        found = account.attributes.remove(name)
        self._told(account, self._register.keeping.attributes(account))
        return found

    def _settled(self, account: Account, kept: bool, subject: Address | None = None) -> None:
        self._changed(account)
        self._told(account, kept, subject)

    def _told(self, account: Account, kept: bool, subject: Address | None = None) -> None:
        self._register.tell(account, Topic.SETTINGS, subject)
        if not kept:
            raise NotKept("the table of the store is full: this holds only until the router stops")


def _delegates(account: Account, role: Role) -> Delegates:
    return account.publishers if role is Role.PUBLISH else account.readers
