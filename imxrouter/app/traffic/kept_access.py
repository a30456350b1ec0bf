"""Entries and recipients' rules as values of the store, and back."""

from __future__ import annotations

from typing import Final

import msgspec

from imxrouter.config.access import Placed, moment
from imxrouter.model.address import Address, BadAddress
from imxrouter.model.domain import BadDomain
from imxrouter.model.errors import RouterError
from imxrouter.model.patterns import Pattern
from imxrouter.routing.access import Action, Direction, Entry, Scope
from imxrouter.routing.recipients import MAX_KNOCKS, MAX_USERS, MAX_WROTE, Book, Knocked
from imxrouter.routing.rules import Consent, Decision, Right, Rule, Who
from imxrouter.routing.rules import Scope as RuleScope

#: Entries made at run time, by name; users' rules, by key.
ENTRIES: Final = "access"
BOOKS: Final = "recipient"
#: Whom users wrote to: both keys, no value.
WROTE: Final = "wrote"
#: Who waits for a user's word, by both keys and what he wanted.
KNOCKS: Final = "knock"
MAX_RUN_TIME: Final = 100_000
TABLE_ENTRIES: Final = {ENTRIES: MAX_RUN_TIME, BOOKS: MAX_USERS, WROTE: MAX_WROTE, KNOCKS: MAX_KNOCKS}


class _Entry(msgspec.Struct, frozen=True):
    match: str
    action: str
    direction: str
    scope: str = ""
    reason: str = ""
    author: str = ""
    created: float = 0.0


class _Rule(msgspec.Struct, frozen=True, array_like=True):
    who: str
    right: str
    decision: str


class _Consent(msgspec.Struct, frozen=True, array_like=True):
    person: str
    scope: str
    decision: str
    at: float


class _Book(msgspec.Struct, frozen=True):
    user: str
    rules: tuple[_Rule, ...] = ()
    consents: tuple[_Consent, ...] = ()


class _Knock(msgspec.Struct, frozen=True, array_like=True):
    person: str
    right: str
    at: float
    count: int


def entry_of(placed: Placed) -> Entry:
    """The entry of a file. Raises `RouterError`; `config.access` has checked it before."""
    one = placed.entry
    return Entry(
        placed.ident, Pattern.parse(one.match), Action(one.action), Direction(one.direction),
        Scope.parse(one.scope), one.reason, one.author, moment(one.created) if one.created else 0.0,
        moment(one.expires) if one.expires else None,
    )  # fmt: skip


def entry_to_store(entry: Entry) -> bytes:
    """The value of an entry."""
    return msgspec.json.encode(
        _Entry(
            entry.pattern.text, entry.action.value, entry.direction.value, str(entry.scope), entry.reason,
            entry.author, entry.created,
        )
    )  # fmt: skip


def entry_from_store(ident: bytes, value: bytes, expires_at: float | None) -> Entry | None:
    """The entry of a value; None where it cannot be read."""
    try:
        kept = msgspec.json.decode(value, type=_Entry)
        return Entry(
            ident.decode("ascii"), Pattern.parse(kept.match), Action(kept.action), Direction(kept.direction),
            Scope.parse(kept.scope), kept.reason, kept.author, kept.created, expires_at,
        )  # fmt: skip
    except (msgspec.MsgspecError, RouterError, ValueError):
        return None


def book_to_store(book: Book) -> bytes:
    """The value of a user's rules."""
    rules = tuple(_Rule(one.who.text, one.right.value, one.decision.value) for one in book.rules.all())
    consents = tuple(
        _Consent(str(one.person), one.scope.value, one.decision.value, one.at)
        for one in book.consents.values()
    )
    return msgspec.json.encode(_Book(str(book.user), rules, consents))


def book_from_store(value: bytes) -> Book | None:
    """A user's rules from their value; None where they cannot be read."""
    try:
        kept = msgspec.json.decode(value, type=_Book)
        rules = [Rule(Who.parse(one.who), Right(one.right), Decision(one.decision)) for one in kept.rules]
        consents = [
            Consent(Address.parse(one.person), RuleScope(one.scope), Decision(one.decision), one.at)
            for one in kept.consents
        ]
        return Book(Address.parse(kept.user), rules, consents)
    except (msgspec.MsgspecError, BadAddress, BadDomain, RouterError, ValueError):
        return None


def knock_to_store(knocked: Knocked) -> bytes:
    """The value of a knock."""
    return msgspec.json.encode(_Knock(str(knocked.person), knocked.right.value, knocked.at, knocked.count))


def knock_from_store(key: bytes, value: bytes) -> Knocked | None:
    """The knock of a value; None where it cannot be read."""
    try:
        kept = msgspec.json.decode(value, type=_Knock)
        person, right = Address.parse(kept.person), Right(kept.right)
    except (msgspec.MsgspecError, BadAddress, BadDomain, ValueError):
        return None
    return Knocked(key.partition(b"\0")[0], person, right, kept.at, kept.count, kept.at)
