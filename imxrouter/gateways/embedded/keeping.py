"""What users of the embedded service set and decided, kept in the router's store.

One table for each kind; keys begin with the account's `local@domain`, values are JSON with a version. Of a
user who has no account now everything stays as it is, for he may come back with the next configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from imxrouter.formats.pidf import read_pidf, write_pidf
from imxrouter.gateways.embedded.accounts import Account
from imxrouter.gateways.embedded.attributes import OwnAttribute, Visibility
from imxrouter.gateways.embedded.contacts import Contact
from imxrouter.gateways.embedded.directory import UserKey
from imxrouter.gateways.embedded.instances import Publication
from imxrouter.model.address import Address
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import Attribute
from imxrouter.routing.interfaces import Store
from imxrouter.routing.owed import KeptSubscription
from imxrouter.routing.rules import Consent, Decision, Detail, Right, Rule, Scope, Who
from imxrouter.routing.tables import Tables
from imxrouter.routing.watched import KeptWatch

#: Tables of the store.
RULES: Final = "embedded-rules"
CONSENTS: Final = "embedded-consents"
CONTACTS: Final = "embedded-contacts"
ATTRIBUTES: Final = "embedded-attributes"
PRESENCE: Final = "embedded-presence"
#: Subscriptions to our users, and those of our users.
WATCHERS: Final = "embedded-watchers"
WATCHED: Final = "embedded-watched"
#: Of the last life of a service.
EPOCH: Final = "embedded-epoch"

#: Entries at most.
TABLE_ENTRIES: Final = {
    RULES: 100_000, CONSENTS: 500_000, CONTACTS: 100_000, ATTRIBUTES: 100_000, PRESENCE: 200_000,
    WATCHERS: 200_000, WATCHED: 100_000, EPOCH: 1,
}  # fmt: skip
#: Of the values' form; a later version reads this one.
FORM: Final = 1
_END: Final = b"\0"


class NotKept(RouterError):
    """The store cannot write now, and what is asked for must not be forgotten (`state-unavailable`)."""


class _Rule(msgspec.Struct, frozen=True):
    who: str
    right: Right
    decision: Decision
    detail: Detail = Detail.FULL


class _Rules(msgspec.Struct, frozen=True):
    form: int
    rules: list[_Rule]
    publishers: list[str] = []
    readers: list[str] = []


class _Consent(msgspec.Struct, frozen=True):
    form: int
    person: str
    scope: Scope
    decision: Decision
    at: float


class _Contact(msgspec.Struct, frozen=True):
    address: str
    name: str = ""
    groups: list[str] = []
    watch: bool = False


class _Contacts(msgspec.Struct, frozen=True):
    form: int
    contacts: list[_Contact]


class _Attribute(msgspec.Struct, frozen=True):
    name: str
    value: bytes
    max_age_s: int
    visibility: list[str]
    along: bool


class _Attributes(msgspec.Struct, frozen=True):
    form: int
    attributes: list[_Attribute]


class _Presence(msgspec.Struct, frozen=True):
    form: int
    name: str
    document: str
    by: str
    audience: list[str] = []


class _Watcher(msgspec.Struct, frozen=True):
    form: int
    one: KeptSubscription


class _Watched(msgspec.Struct, frozen=True):
    form: int
    one: KeptWatch


T = TypeVar("T")


class Keeping:
    """Writes accounts and subscriptions down, and reads them again.

    Args:
        store: where.
        on_bad: told the table of an entry that cannot be read; it goes, unless a later version wrote it.
    """

    def __init__(self, store: Store, on_bad: Callable[[str], None]) -> None:
        self._store = store
        self._on_bad = on_bad
        self._tables = Tables(store, on_bad, FORM)

    # -- accounts ----------------------------------------------------------------------------------------

    def rules(self, account: Account) -> bool:
        """Keep rules and delegates; as with the other lists, False where their table is full."""
        rules = [_Rule(one.who.text, one.right, one.decision, one.detail) for one in account.rules.all()]
        kept = _Rules(
            FORM, rules, [str(one) for one in account.publishers.all()],
            [str(one) for one in account.readers.all()],
        )  # fmt: skip
        return self._tables.put(
            RULES, user_key(account.key), kept if rules or kept.publishers or kept.readers else None
        )

    def consent(self, account: Account, consent: Consent, *, durable: bool) -> bool:
        """Keep a decision; with `durable`, False where it cannot be written now."""
        kept = _Consent(FORM, str(consent.person), consent.scope, consent.decision, consent.at)
        return self._tables.put(
            CONSENTS, _consent_key(account, consent.person, consent.scope), kept, durable=durable
        )

    def no_consent(self, account: Account, person: Address, scope: Scope) -> None:
        """Forget a decision."""
        self._store.remove(CONSENTS, _consent_key(account, person, scope))

    def contacts(self, account: Account) -> bool:
        """Keep the contact list."""
        entries = [
            _Contact(str(one.address), one.name, sorted(one.groups), bool(one.watch))
            for one in account.contacts.all()
        ]
        return self._tables.put(
            CONTACTS, user_key(account.key), _Contacts(FORM, entries) if entries else None
        )

    def attributes(self, account: Account) -> bool:
        """Keep the attributes."""
        entries = [
            _Attribute(
                one.attribute.name, one.attribute.value, one.attribute.max_age_s,
                list(one.visibility.words), one.along,
            )
            for one in account.attributes.all()
        ]  # fmt: skip
        return self._tables.put(
            ATTRIBUTES, user_key(account.key), _Attributes(FORM, entries) if entries else None
        )

    def presence(self, account: Account, name: str, publication: Publication | None) -> None:
        """Keep what an instance published until that expires; None: it was retracted."""
        key = user_key(account.key) + _END + name.encode("utf-8")
        if publication is None:
            self._store.remove(PRESENCE, key)
            return
        kept = _Presence(
            FORM, name, write_pidf(publication.presence).decode("utf-8"), str(publication.by),
            [who.text for who in publication.audience],
        )  # fmt: skip
        self._tables.put(PRESENCE, key, kept, publication.until)

    def restore(self, find: Callable[[UserKey], Account | None]) -> None:
        """Give accounts back all that is kept of them but subscriptions.

        Args:
            find: the account of a user; None where it is not to be restored.
        """
        self._give(RULES, _Rules, find, _give_rules)
        self._give(CONSENTS, _Consent, find, _give_consent)
        self._give(CONTACTS, _Contacts, find, _give_contacts)
        self._give(ATTRIBUTES, _Attributes, find, _give_attributes)
        self._give(PRESENCE, _Presence, find, _give_presence)

    # -- subscriptions -----------------------------------------------------------------------------------

    def watcher(self, key: bytes, one: KeptSubscription | None, *, durable: bool) -> bool:
        """Keep a subscription to a user until it ends; None: it has. `durable`: False where it cannot be."""
        until = one.ends_at if one is not None else None
        return self._tables.put(
            WATCHERS, key, _Watcher(FORM, one) if one is not None else None, until, durable=durable
        )

    def state_of_watcher(self, key: bytes) -> int | None:
        """The state of a subscription to a user as it is kept; None where none is."""
        kept = self._tables.get(WATCHERS, key, _Watcher)
        return kept.one.state if kept is not None else None

    def watched(self, key: bytes, one: KeptWatch | None, *, durable: bool) -> bool:
        """Keep a subscription of a user until he ends it; None: he has. With `durable` as with `watcher`."""
        return self._tables.put(
            WATCHED, key, _Watched(FORM, one) if one is not None else None, durable=durable
        )

    def all_watchers(self) -> list[KeptSubscription]:
        """Every subscription to a user that is kept, of users without an account as well."""
        return [kept.one for _, kept, _ in self._tables.items(WATCHERS, _Watcher)]

    def all_watched(self) -> list[KeptWatch]:
        """Every subscription of a user that is kept, of users without an account as well."""
        return [kept.one for _, kept, _ in self._tables.items(WATCHED, _Watched)]

    def new_epoch(self, wall: float) -> int:
        """The epoch of this life: milliseconds since 1970, greater than every one before (section 7.7)."""
        return self._tables.new_epoch(EPOCH, wall)

    def forget(self, user: UserKey) -> None:
        """Drop all that is kept of a user; subscriptions end by themselves."""
        for table in (RULES, CONSENTS, CONTACTS, ATTRIBUTES, PRESENCE):
            for key, _, _ in self._store.items(table):
                if _owner(key) == user_key(user):
                    self._store.remove(table, key)

    # -- inside ------------------------------------------------------------------------------------------

    def _give(
        self,
        table: str,
        kind: type[T],
        find: Callable[[UserKey], Account | None],
        give: Callable[[Account, T, float | None], None],
    ) -> None:
        for key, kept, until in self._tables.items(table, kind):
            account = find(_user(key))
            if account is None:
                continue
            try:
                give(account, kept, until)
            except RouterError:
                self._on_bad(table)


def user_key(user: UserKey) -> bytes:
    """How keys of an account begin."""
    return user.local + b"@" + user.domain.encode("ascii")


def _owner(key: bytes) -> bytes:
    return key.partition(_END)[0]


def _user(key: bytes) -> UserKey:
    local, _, domain = _owner(key).rpartition(b"@")
    return UserKey(domain.decode("ascii", "replace"), local)


def _consent_key(account: Account, person: Address, scope: Scope) -> bytes:
    return _END.join((user_key(account.key), person.key, scope.value.encode()))


def _give_rules(account: Account, kept: _Rules, _until: float | None) -> None:
    for one in kept.rules:
        account.rules.set(Rule(Who.parse(one.who), one.right, one.decision, one.detail))
    for text in kept.publishers:
        account.publishers.add(Address.parse(text))
    for text in kept.readers:
        account.readers.add(Address.parse(text))


def _give_consent(account: Account, kept: _Consent, _until: float | None) -> None:
    account.consent(Consent(Address.parse(kept.person), kept.scope, kept.decision, kept.at))


def _give_contacts(account: Account, kept: _Contacts, _until: float | None) -> None:
    for one in kept.contacts:
        account.contacts.set(Contact(Address.parse(one.address), one.name, frozenset(one.groups), one.watch))


def _give_attributes(account: Account, kept: _Attributes, _until: float | None) -> None:
    for one in kept.attributes:
        attribute = Attribute(one.name, one.value, one.max_age_s)
        visibility = Visibility.parse(one.visibility)
        account.attributes.set(OwnAttribute(attribute, visibility, one.along), account.address.domain)


def _give_presence(account: Account, kept: _Presence, until: float | None) -> None:
    if until is None:
        return
    state = read_pidf(kept.document.encode("utf-8"), account.address)
    audience = tuple(Who.parse(text) for text in kept.audience)
    account.instances.publish(kept.name, Publication(state, until, Address.parse(kept.by), audience))
