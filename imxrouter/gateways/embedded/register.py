"""The accounts that are served now, and what the parts of the embedded service share (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from imxrouter.gateways.embedded.accounts import Account
from imxrouter.gateways.embedded.directory import Directory, NotAUser, UserKey
from imxrouter.gateways.embedded.keeping import Keeping
from imxrouter.model.address import Address
from imxrouter.model.errors import RouterError
from imxrouter.routing.domains import CaseProfile, ServedDomain
from imxrouter.routing.interfaces import Store, Submit
from imxrouter.routing.rules import Defaults, Person, Rank, Who
from imxrouter.store.memory import MemoryStore

#: Programs that listen to changes of one user, or of all, at a time.
MAX_LISTENERS: Final = 32


@dataclass(frozen=True, slots=True)
class Tools:
    """What the outside lends.

    Attributes:
        submit: sends an operation through the router.
        new_id: gives 16 random bytes.
        now: monotonic seconds.
        wall: seconds since 1970.
        chance: gives a number from 0 to below 1.
        later: calls a function soon, after what is under way now.
    """

    submit: Submit
    new_id: Callable[[], bytes]
    now: Callable[[], float]
    wall: Callable[[], float]
    chance: Callable[[], float]
    later: Callable[[Callable[[], None]], object]


class PresenceOff(RouterError):
    """Presence is switched off in this process, and why."""


class TooManyListeners(RouterError):
    """As many programs listen as are allowed."""


class Topic(Enum):
    """What changed."""

    #: what the user publishes
    PRESENCE = "presence"
    #: what he knows of somebody whom he watches, or the state of that subscription
    WATCHING = "watching"
    #: who watches him, or wants to
    WATCHERS = "watchers"
    #: somebody was turned away until he decides
    KNOCK = "knock"
    #: rules, consents, delegates, contacts or attributes of his
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Change:
    """Something changed.

    Attributes:
        user: whose.
        topic: what.
        subject: the other one that it is about; None where there is none.
    """

    user: Address
    topic: Topic
    subject: Address | None = None


Listener = Callable[[Change], None]


class Register:
    """Accounts by address, their keeping, and who is told of changes.

    Args:
        directory: who has an account.
        tools: of the outside.
        defaults: what holds where a user has no rule.
        on_bug: told, inside of the handling of an exception, that a listener failed.
        on_bad: told the table of a kept entry that cannot be read.
        off: why there are messages only; empty: there is everything.

    Attributes:
        accounts: those that are served and were asked for.
        alike: keys of addresses that stand for several accounts, which differ in case alone.
        keeping: where they are kept.
    """

    def __init__(
        self,
        directory: Directory,
        tools: Tools,
        defaults: Defaults,
        on_bug: Callable[[], None],
        on_bad: Callable[[str], None],
        off: str = "",
    ) -> None:
        self.directory = directory
        self.tools = tools
        self.off = off
        self.accounts: dict[UserKey, Account] = {}
        self.alike: frozenset[bytes] = frozenset()
        self._defaults = defaults
        self._on_bug = on_bug
        self._on_bad = on_bad
        self._listeners: dict[UserKey | None, dict[object, Listener]] = {}
        self.keeping = Keeping(MemoryStore(tools.wall), on_bad)

    def serve(self, records: Iterable[ServedDomain]) -> tuple[set[UserKey], list[Account]]:
        """Answer for exactly these domains; returns the users that came, and the accounts that went."""
        before = self.directory.accounts()
        self.directory.serve(records)
        served = self.directory.accounts()
        sensitive = CaseProfile.SENSITIVE
        keys = Counter(
            address.key
            for key, address in served.items()
            if self.directory.record(key).case_profile is sensitive
        )
        self.alike = frozenset(key for key, count in keys.items() if count > 1)
        gone = [account for key, account in self.accounts.items() if key not in served]
        for account in gone:
            del self.accounts[account.key]
        for user in [one for one in self._listeners if one is not None and one not in served]:
            del self._listeners[user]
        came = served.keys() - before.keys()
        if came:
            self.keeping.restore(lambda key: self._opened(key) if key in came else None)
        return came, gone

    def change(self, defaults: Defaults) -> None:
        """Let other defaults hold where a user has no rule."""
        self._defaults = defaults
        for account in self.accounts.values():
            account.change(defaults)

    def keep_in(self, store: Store) -> None:
        """Keep everything in this store from now on, and begin with what it has."""
        self.keeping = Keeping(store, self._on_bad)
        self.accounts = {}
        self.keeping.restore(self._opened)

    def _opened(self, key: UserKey) -> Account | None:
        """The account of a user who is served; made when it is first asked for, for most are never."""
        account = self.accounts.get(key)
        if account is None and self.directory.has(key):
            address = self.directory.address_of(key)
            account = self.accounts[key] = Account(key, address, self._defaults)
        return account

    # -- people ------------------------------------------------------------------------------------------

    def find(self, address: Address) -> Account | None:
        """The account an address belongs to, None where there is none."""
        key = self.directory.find(address)
        return self._opened(key) if key is not None else None

    def account(self, address: Address) -> Account:
        """The account an address belongs to. Raises `NotAUser`."""
        account = self.find(address)
        if account is None:
            raise NotAUser(address)
        return account

    def changeable(self, user: Address) -> Account:
        """The account of a user who wants to set, publish or watch something.

        Raises:
            NotAUser: there is no such account.
            PresenceOff: there are messages only.
        """
        account = self.account(user)
        if self.off:
            raise PresenceOff(self.off)
        return account

    def watchable(self, account: Account) -> bool:
        """Whether subscriptions can tell this account from every other (they compare addresses by key)."""
        return account.address.key not in self.alike

    def names_of(self, account: Account) -> tuple[Address, ...]:
        """The addresses of an account, by the names of its domain."""
        return tuple(
            Address(account.address.local, name) for name in self.directory.record(account.key).names
        )

    def canonical(self, address: Address) -> Address:
        """One address for all spellings of a user of ours, so that no alias slips past a rule on him."""
        key = self.directory.find(address)
        return address if key is None else self.directory.address_of(key)

    def who(self, text: str) -> Who:
        """Read a pattern; for a user of ours his account's own address stands in it. Raises `BadRule`."""
        who = Who.parse(text)
        return (
            who if who.rank is not Rank.ADDRESS else Who.parse(str(self.canonical(Address.parse(who.text))))
        )

    def person(self, account: Account, address: Address) -> Person:
        """What an account's rules have to know of somebody."""
        key = self.directory.find(address)
        if key is None:
            return account.person(address, same_domain=False)
        return account.person(self.directory.address_of(key), same_domain=key.domain == account.key.domain)

    # -- changes -----------------------------------------------------------------------------------------

    def listen(self, user: Address | None, listener: Listener) -> Callable[[], None]:
        """Tell of each change of a user, or of all where none is given, until what is returned is called.

        Raises:
            NotAUser: there is no such account.
            TooManyListeners: there are `MAX_LISTENERS` already.
        """
        key = None if user is None else self.account(user).key
        listeners = self._listeners.setdefault(key, {})
        if len(listeners) >= MAX_LISTENERS:
            raise TooManyListeners(f"{MAX_LISTENERS} programs listen already")
        place = object()
        listeners[place] = listener

        def stop() -> None:
            listeners.pop(place, None)

        return stop

    def tell(self, account: Account, topic: Topic, subject: Address | None = None) -> None:
        """Something of an account changed."""
        listeners = [
            *self._listeners.get(account.key, {}).values(), *self._listeners.get(None, {}).values()
        ]  # fmt: skip
        change = Change(account.address, topic, subject)
        for listener in listeners:
            try:
                listener(change)
            except Exception:  # noqa: BLE001 - one program's bug must not stop the service
                self._on_bug()
