"""Recipients' rules and first contact at the router, for services that have none of their own (SEC-1, FCC-4).

Table III of the paper knows three types of rules. Here they are: access rules (who may subscribe to a user's
presence, or ask for it), delivery rules (who may write to him), and visibility rules: nobody is told who
watches a user but he and his operator, so a decision on it there is only to see it. The words and the order
of decisions are those of `routing.rules`, which the embedded service uses too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from imxrouter.model.address import Address
from imxrouter.routing.rules import (
    BadRule,
    Consent,
    Decision,
    Defaults,
    Openness,
    Person,
    Right,
    Rule,
    RuleBook,
    Ruling,
    Scope,
    Who,
    rule_on,
)
from imxrouter.routing.shares import ShareTable
from imxrouter.routing.zones import zone_of

#: Users that have rules; each with at most `rules.MAX_RULES` and `MAX_CONSENTS`.
MAX_USERS: Final = 100_000
#: Persons one user decided on; what is kept of him must fit into one value of the store.
MAX_CONSENTS: Final = 2_000
#: Who was turned away: in all, and of the senders of one zone.
MAX_KNOCKS: Final = 20_000
MAX_KNOCKS_OF_ZONE: Final = 1_000
KNOCK_S: Final = 7 * 86_400.0
#: Others are told of the first of somebody's knocks, then at most this often: a store bears a crowd.
KNOCK_TOLD_S: Final = 60.0
#: Whom users wrote to, who may answer: in all, and of the users of one domain; each for so long.
MAX_WROTE: Final = 200_000
MAX_WROTE_OF_DOMAIN: Final = 50_000
WROTE_S: Final = 30 * 86_400.0
#: What is seen again renews its time when this part of it has passed, so that a store is told seldom.
_RENEW_PART: Final = 0.25


class FirstContact(Enum):
    """What a stranger may do; words of the configuration."""

    #: the router asks nothing: the service has rules of its own
    SERVICE = ""
    OPEN = "open"
    ASK = "ask"
    CLOSED = "closed"


_DEFAULTS: Final = {
    FirstContact.OPEN: Defaults(Openness.OPEN, Openness.OPEN),
    FirstContact.ASK: Defaults(Openness.ASK, Openness.ASK),
    FirstContact.CLOSED: Defaults(Openness.CONTACTS, Openness.CONTACTS),
}


@dataclass(frozen=True, slots=True)
class Knocked:
    """Somebody was turned away until the user decides.

    Attributes:
        user: the recipient's key.
        person: who.
        right: what he wanted.
        at: the last time, seconds since 1970.
        count: how often.
        told_at: when others were told of it last.
    """

    user: bytes
    person: Address
    right: Right
    at: float
    count: int = 1
    told_at: float = 0.0


class Book:
    """What one user has set.

    Attributes:
        user: whose.
        rules: his rules.
        consents: what he decided on persons.
    """

    __slots__ = ("consents", "rules", "user")

    def __init__(self, user: Address, rules: Iterable[Rule] = (), consents: Iterable[Consent] = ()) -> None:
        self.user = user
        self.rules = RuleBook(rules)
        self.consents = {(one.person.key, one.scope): one for one in consents}

    @property
    def is_empty(self) -> bool:
        """Nothing is set."""
        return not self.consents and not self.rules.all()


_NO_RULES: Final = RuleBook()
_ANSWERS: Final = Ruling(Decision.ALLOW, "answer")
_NO_CONSENTS: Final[Mapping[tuple[bytes, Scope], Consent]] = {}


class Recipients:
    """Rules of users whose domains ask the router for it.

    Args:
        main_name: the name of a domain served here, by that name or an alias; None of every other.
        first_contact: of a domain served here, by its own name.
        wall: seconds since 1970.

    Attributes:
        on_wrote: told (both keys, when it is forgotten) of a user who wrote to a stranger.
        on_changed: told each user whose rules changed: his key, and his book, None where nothing is set.
        on_knock: told (key of the knock, the knock) of some; None where the user has decided.
    """

    def __init__(
        self,
        main_name: Callable[[bytes], bytes | None],
        first_contact: Callable[[bytes], FirstContact],
        wall: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._main_name = main_name
        self._first_contact = first_contact
        self._books: dict[bytes, Book] = {}
        self._knocks: ShareTable[Knocked] = ShareTable(MAX_KNOCKS, MAX_KNOCKS_OF_ZONE)
        self.on_changed: Callable[[bytes, Book | None], None] = lambda *_: None
        self._wall = wall
        self._wrote: ShareTable[None] = ShareTable(MAX_WROTE, MAX_WROTE_OF_DOMAIN)
        self.on_wrote: Callable[[bytes, float], None] = lambda *_: None
        self.on_knock: Callable[[bytes, Knocked | None], None] = lambda *_: None

    def __len__(self) -> int:
        return len(self._books)

    def first_contact(self, domain: bytes) -> FirstContact:
        """What holds for strangers at a domain."""
        name = self._main_name(domain)
        return FirstContact.SERVICE if name is None else self._first_contact(name)

    def canonical(self, key: bytes) -> bytes:
        """One key for all names of a user's domain."""
        local, _, domain = key.rpartition(b"@")
        name = self._main_name(domain)
        return key if name is None else local + b"@" + name

    # -- judging -----------------------------------------------------------------------------------------

    def judge(self, source: bytes, destination: bytes, right: Right) -> Ruling | None:
        """What a recipient's rules say; None where his domain leaves it to its service.

        Args:
            source: key of who wants something.
            destination: key of the user.
            right: what he wants.
        """
        destination = self.canonical(destination)
        local, _, domain = destination.rpartition(b"@")
        if not local:
            return None
        defaults = _DEFAULTS.get(self._first_contact(domain)) if self._main_name(domain) else None
        if defaults is None:
            return None
        source = self.canonical(source)
        theirs = source.rpartition(b"@")[2]
        person = Person(source, theirs.decode("ascii", "replace"), same_domain=theirs == domain)
        book = self._books.get(destination)
        if book is None:
            ruling = rule_on(_NO_RULES, _NO_CONSENTS, defaults, person, right)
        else:
            ruling = rule_on(book.rules, book.consents, defaults, person, right)
        by_default = ruling.because == "default" and ruling.decision is not Decision.ALLOW
        if by_default and right is Right.MESSAGE and self._may_answer(destination, source):
            return _ANSWERS
        return ruling

    def _may_answer(self, user: bytes, person: bytes) -> bool:
        return self._wrote.expires_at(user + b"\0" + person) > self._wall()

    def wrote(self, source: bytes, destination: bytes) -> None:
        """A message passes: the stranger to whom a user of ours wrote may answer, unless a rule says no.

        Args:
            source: key of the sender.
            destination: key of the recipient.
        """
        source, destination = self.canonical(source), self.canonical(destination)
        domain = source.rpartition(b"@")[2]
        if self._main_name(domain) is None or source.startswith(b"@"):
            return
        if self._first_contact(domain) not in (FirstContact.ASK, FirstContact.CLOSED):
            return
        key, now = source + b"\0" + destination, self._wall()
        if self._wrote.expires_at(key) - now >= WROTE_S * (1 - _RENEW_PART):
            return
        if self._wrote.put(key, None, domain, now + WROTE_S, now):
            self.on_wrote(key, now + WROTE_S)

    def restore_wrote(self, key: bytes, expires_at: float) -> None:
        """Enter whom a user wrote to, as a store or another process has it."""
        user, now = key.partition(b"\0")[0], self._wall()
        self._wrote.put(key, None, user.rpartition(b"@")[2], min(expires_at, now + WROTE_S), now)

    # -- what users set ----------------------------------------------------------------------------------

    def book(self, user: Address) -> Book:
        """What a user has set; an empty one where that is nothing."""
        key = self.canonical(user.key)
        return self._books.get(key) or Book(user)

    def set_rule(self, user: Address, who: str, rights: Iterable[Right], decision: Decision) -> None:
        """Let a user decide on people by a pattern. Raises `BadRule`."""
        people = self._who(who)
        key, book = self._changeable(user)
        for right in rights:
            book.rules.set(Rule(people, right, decision))
        self._set(key, book)

    def remove_rule(self, user: Address, who: str, rights: Iterable[Right]) -> bool:
        """Drop the rules on these people; tells whether there was one. Raises `BadRule`."""
        people = self._who(who)
        key, book = self._changeable(user)
        found = [book.rules.remove(people, right) for right in rights]
        self._set(key, book)
        return any(found)

    def decide(self, user: Address, person: Address, decision: Decision, scope: Scope, wall: float) -> None:
        """Let a user decide on one person. Raises `BadRule` where there are too many decisions."""
        key, book = self._changeable(user)
        whom = self.canonical(person.key)
        if (whom, scope) not in book.consents and len(book.consents) >= MAX_CONSENTS:
            raise BadRule(f"{MAX_CONSENTS} decisions on persons are kept already")
        book.consents[whom, scope] = Consent(person, scope, decision, wall)
        for right in Right:
            if right.scope is scope and self._knocks.remove(_knock_key(key, whom, right)):
                self.on_knock(_knock_key(key, whom, right), None)
        self._set(key, book)

    def withdraw(self, user: Address, person: Address, scope: Scope) -> bool:
        """Take a decision back; tells whether there was one."""
        key, book = self._changeable(user)
        found = book.consents.pop((self.canonical(person.key), scope), None) is not None
        self._set(key, book)
        return found

    def restore(self, key: bytes, book: Book | None) -> None:
        """Enter what a store or another process has; nobody is told."""
        if book is None or book.is_empty:
            self._books.pop(key, None)
        elif key in self._books or len(self._books) < MAX_USERS:
            consents = {(self.canonical(one.person.key), one.scope): one for one in book.consents.values()}
            book.consents = consents
            self._books[key] = book

    def _who(self, text: str) -> Who:
        who = Who.parse(text)
        if who.group or who.text == "group:*":
            raise BadRule("the router keeps no contact lists: write an address, a domain, *.domain or *")
        if who.key:
            key = self.canonical(who.key)
            return Who(who.text, who.rank, key)
        return who

    def _changeable(self, user: Address) -> tuple[bytes, Book]:
        key = self.canonical(user.key)
        book = self._books.get(key)
        if book is None and len(self._books) >= MAX_USERS:
            raise BadRule(f"{MAX_USERS} users have rules already")
        return key, book or Book(user)

    def _set(self, key: bytes, book: Book) -> None:
        if book.is_empty:
            self._books.pop(key, None)
        else:
            self._books[key] = book
        self.on_changed(key, None if book.is_empty else book)

    # -- first contact -----------------------------------------------------------------------------------

    def knock(self, user: bytes, person: Address, right: Right, wall: float) -> bool:
        """Note who was turned away until the user decides; one zone has only a share of the table.

        Returns:
            Whether he was not known to wait; then the user may be told.
        """
        user = self.canonical(user)
        key = _knock_key(user, self.canonical(person.key), right)
        before = self._knocks.get(key, wall)
        count, told_at = (before.count + 1, before.told_at) if before is not None else (1, wall)
        tell = before is None or wall - told_at >= KNOCK_TOLD_S
        knocked = Knocked(user, person, right, wall, count, wall if tell else told_at)
        noted = self._put_knock(key, knocked, wall)
        if noted and tell:
            self.on_knock(key, knocked)
        return noted and before is None

    def restore_knock(self, key: bytes, knocked: Knocked | None, wall: float) -> None:
        """Enter a knock as a store or another process has it; None: the user has decided."""
        if knocked is None:
            self._knocks.remove(key)
            return
        before = self._knocks.get(key, wall)
        if before is None or before.at < knocked.at:
            self._put_knock(key, knocked, wall)

    def _put_knock(self, key: bytes, knocked: Knocked, wall: float) -> bool:
        zone = zone_of(knocked.person.domain.name)
        return self._knocks.put(key, knocked, zone, knocked.at + KNOCK_S, wall)

    def knocks(self, user: Address, wall: float) -> list[Knocked]:
        """Who waits for a user's word, the newest first."""
        key = self.canonical(user.key)
        found = [one for _, one, _ in self._knocks.items(wall) if one.user == key]
        return sorted(found, key=lambda one: -one.at)


def _knock_key(user: bytes, person: bytes, right: Right) -> bytes:
    return b"\0".join((user, person, right.value.encode()))
