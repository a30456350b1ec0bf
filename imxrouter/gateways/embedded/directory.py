"""Who has an account at the embedded service (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from imxrouter.model.address import Address, check_local
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.routing.domains import CaseProfile, ServedDomain


class NotAUser(RouterError):
    """The address has no account here."""

    def __init__(self, address: Address) -> None:
        super().__init__(f"{address} has no account here")
        self.address = address


@dataclass(frozen=True, slots=True, order=True)
class UserKey:
    """One account: the same under a domain and its aliases, and in all spellings its profile takes as one."""

    domain: str
    local: bytes


class Directory:
    """Users of some domains.

    A user is given as a local part, and then has an account at every domain served, or as a full address.
    """

    def __init__(self, users: Iterable[str]) -> None:
        """Take the users.

        Raises:
            BadAddress: one of them is neither a local part nor an address.
            BadDomain: the domain of one is no domain.
        """
        self._everywhere: list[str] = []
        self._full: list[Address] = []
        for user in users:
            if "@" in user:
                self._full.append(Address.parse(user))
            else:
                self._everywhere.append(check_local(user))
        self._records: dict[str, ServedDomain] = {}
        self._accounts: dict[UserKey, Address] = {}

    def take_users(self, other: Directory) -> None:
        """Have the users of another directory; they come and go with the next `serve`."""
        self._everywhere, self._full = other._everywhere, other._full

    def serve(self, records: Iterable[ServedDomain]) -> None:
        """Answer for exactly these domains and their aliases from now on."""
        self._records = {}
        for record in records:
            for name in record.names:
                self._records[name.name] = record
        self._accounts = {}
        for domain in {record.name for record in self._records.values()}:
            for local in self._everywhere:
                self._enter(Address(local, domain))
        for address in self._full:
            self._enter(address)

    def find(self, address: Address) -> UserKey | None:
        """The account an address belongs to, None where there is none."""
        key = self._key(address)
        return key if key in self._accounts else None

    def has(self, key: UserKey) -> bool:
        """Whether there is such an account."""
        return key in self._accounts

    def address_of(self, key: UserKey) -> Address:
        """The address of an account, at its domain's own name."""
        return self._accounts[key]

    def accounts(self) -> dict[UserKey, Address]:
        """Every account with its address."""
        return dict(self._accounts)

    def record(self, key: UserKey) -> ServedDomain:
        """The served domain of an account."""
        return self._records[key.domain]

    def domains(self) -> frozenset[Domain]:
        """Every domain it answers for, aliases included."""
        return frozenset(Domain(name) for name in self._records)

    def users(self) -> list[Address]:
        """The address of each account, at its domain's own name."""
        return sorted(self._accounts.values())

    def _enter(self, address: Address) -> None:
        key = self._key(address)
        if key is not None:
            self._accounts.setdefault(key, Address(address.local, Domain(key.domain)))

    def _key(self, address: Address) -> UserKey | None:
        record = self._records.get(address.domain.name)
        if record is None or not address.local:
            return None
        if record.case_profile is CaseProfile.SENSITIVE:
            return UserKey(record.name.name, address.local.encode("utf-8"))
        return UserKey(record.name.name, address.key.rpartition(b"@")[0])
