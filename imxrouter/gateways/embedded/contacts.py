"""The contact list of a user (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from imxrouter.model.address import Address
from imxrouter.model.errors import RouterError
from imxrouter.routing.rules import MAX_GROUP

#: Entries of one list, groups of one entry, and characters of a name.
MAX_CONTACTS: Final = 1_000
MAX_GROUPS: Final = 16
MAX_NAME: Final = 255


class BadContact(RouterError):
    """An entry that no list takes."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One entry.

    Attributes:
        address: of the person.
        name: how the user calls him; may be empty.
        groups: for rules, and for order on a screen.
        watch: keep a subscription to his presence, or end it; None: leave that as it is.
    """

    address: Address
    name: str = ""
    groups: frozenset[str] = frozenset()
    watch: bool | None = None

    def __post_init__(self) -> None:
        if len(self.name) > MAX_NAME:
            raise BadContact(f"a name of {len(self.name)} characters; {MAX_NAME} at most")
        if len(self.groups) > MAX_GROUPS:
            raise BadContact(f"{len(self.groups)} groups; {MAX_GROUPS} at most")
        for group in self.groups:
            if not 0 < len(group) <= MAX_GROUP or group == "*" or group != group.strip():
                raise BadContact(f"{group[:80]!r} is no name of a group")


class ContactList:
    """Entries by address; spellings of one address are one entry."""

    def __init__(self, entries: Iterable[Contact] = ()) -> None:
        self._entries: dict[bytes, Contact] = {}
        for entry in entries:
            self.set(entry)

    def set(self, entry: Contact) -> None:
        """Add or replace an entry. Raises `BadContact` where the list is full."""
        key = entry.address.key
        if key not in self._entries and len(self._entries) >= MAX_CONTACTS:
            raise BadContact(f"the list has {MAX_CONTACTS} entries already")
        self._entries[key] = entry

    def remove(self, address: Address) -> bool:
        """Drop an entry; tells whether there was one."""
        return self._entries.pop(address.key, None) is not None

    def find(self, key: bytes) -> Contact | None:
        """The entry with this key of an address."""
        return self._entries.get(key)

    def all(self) -> tuple[Contact, ...]:
        """All entries, by address."""
        return tuple(sorted(self._entries.values(), key=lambda entry: entry.address))
