"""Who may do what with a user: rules, consents, and the one function that decides (RFC 2779 section 2.3).

A decision never looks at the user's presence: it is the same whether he is there or not (section 2.3.7).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from imxrouter.model.address import Address, BadAddress
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.errors import RouterError

#: Rules of one user; more belong into groups of his contact list.
MAX_RULES: Final = 256
#: Persons a user decided on, by scope; a person approves some hundreds in years.
MAX_CONSENTS: Final = 5_000

EVERYBODY: Final = "*"
CONTACTS: Final = "group:*"
_GROUP: Final = "group:"
MAX_GROUP: Final = 64


class BadRule(RouterError):
    """The text names nobody, or there are too many rules."""


class Right(Enum):
    """What somebody may want of a user."""

    #: write to him (section 2.3.5)
    MESSAGE = "message"
    #: be told of his presence (section 2.3.2)
    SUBSCRIBE = "subscribe"
    #: ask for it once, by a fetch or as an attribute (section 2.3.1)
    FETCH = "fetch"

    @property
    def scope(self) -> Scope:
        """What a consent to it covers."""
        return Scope.MESSAGES if self is Right.MESSAGE else Scope.PRESENCE


class Scope(Enum):
    """What a decision on a person is about."""

    MESSAGES = "messages"
    PRESENCE = "presence"


class Decision(Enum):
    """What happens to who wants something; from the mildest to the strictest."""

    ALLOW = "allow"
    #: it waits for the user's consent
    ASK = "ask"
    #: he is told that it is refused (section 5.1.5)
    REFUSE = "refuse"
    #: it looks as if the user were offline (section 5.1.15)
    BLOCK = "block"


_STRICTNESS: Final = {decision: place for place, decision in enumerate(Decision)}


class Detail(Enum):
    """How much of the presence is shown (section 2.3.3)."""

    FULL = "full"
    #: open or closed, and nothing else
    BASIC = "basic"


class Openness(Enum):
    """What holds for those whom no rule names; words of the configuration."""

    OPEN = "open"
    #: others than people of the user's own domain need his consent
    ASK = "ask"
    #: others than people of his own domain and his contacts are refused
    CONTACTS = "contacts"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who wants something of a user.

    Attributes:
        key: of the address (`Address.key`); for a user of ours that of his account's own address.
        domain: of the address, in wire form.
        same_domain: he has an account at the user's own domain.
        groups: of the user's contact list that he stands in.
        is_contact: he stands in the contact list.
    """

    key: bytes
    domain: str
    same_domain: bool = False
    groups: frozenset[str] = frozenset()
    is_contact: bool = False


class Rank(Enum):
    """What a pattern names; the first in this order decides."""

    ADDRESS = 0
    GROUP = 1
    DOMAIN = 2
    ZONE = 3
    CONTACTS = 4
    EVERYBODY = 5


@dataclass(frozen=True, slots=True)
class Who:
    """Some people, by a pattern.

    Attributes:
        text: the pattern in normal form: `alice@a.example`; `group:friends` of the contact list; `a.example`;
            `*.example`, the domains below it; `group:*`, the whole contact list; `*`, everybody.
        rank: what it names.
        key: of an address; else empty.
    """

    text: str
    rank: Rank
    key: bytes = b""

    @classmethod
    def parse(cls, text: str) -> Who:
        """Read a pattern. Raises `BadRule`."""
        text = text.strip()
        if text == EVERYBODY:
            return cls(text, Rank.EVERYBODY)
        if text == CONTACTS:
            return cls(text, Rank.CONTACTS)
        if text.startswith(_GROUP):
            name = text[len(_GROUP) :].strip()
            if not 0 < len(name) <= MAX_GROUP:
                raise BadRule(f"a group's name has 1 to {MAX_GROUP} characters: {name[:80]!r}")
            return cls(_GROUP + name, Rank.GROUP)
        try:
            if "@" in text:
                address = Address.parse(text)
                return cls(str(address), Rank.ADDRESS, address.key)
            if text.startswith("*."):
                return cls("*." + Domain.parse(text[2:]).name, Rank.ZONE)
            return cls(Domain.parse(text).name, Rank.DOMAIN)
        except (BadAddress, BadDomain) as error:
            raise BadRule(f"{error}; write an address, a domain, *.domain, group:NAME or *") from None

    @property
    def group(self) -> str:
        """The name of the group that it names; else empty."""
        return self.text[len(_GROUP) :] if self.rank is Rank.GROUP else ""

    def names(self, person: Person) -> bool:
        """Whether the person is one of them."""
        match self.rank:
            case Rank.ADDRESS:
                return person.key == self.key
            case Rank.GROUP:
                return self.group in person.groups
            case Rank.DOMAIN:
                return person.domain == self.text
            case Rank.ZONE:
                return person.domain.endswith(self.text[1:])
            case Rank.CONTACTS:
                return person.is_contact
            case Rank.EVERYBODY:
                return True


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a user.

    Attributes:
        who: to whom it applies.
        right: to what.
        decision: what then happens.
        detail: with presence that is allowed, how much of it.
    """

    who: Who
    right: Right
    decision: Decision
    detail: Detail = Detail.FULL


@dataclass(frozen=True, slots=True)
class Consent:
    """What a user decided on one person.

    Attributes:
        person: whom.
        scope: about what.
        decision: never `ASK`.
        at: when, seconds since 1970.
    """

    person: Address
    scope: Scope
    decision: Decision
    at: float


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where a user has no rule; of a service."""

    presence: Openness = Openness.ASK
    messages: Openness = Openness.OPEN

    def of(self, person: Person, right: Right) -> Decision:
        """The decision on a person."""
        openness = self.messages if right is Right.MESSAGE else self.presence
        if openness is Openness.OPEN or person.same_domain:
            return Decision.ALLOW
        if openness is Openness.ASK:
            return Decision.ASK
        return Decision.ALLOW if person.is_contact else Decision.REFUSE


DEFAULTS: Final = Defaults()


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is decided on a person, and by which rule, for the user's eyes only.

    Attributes:
        decision: what happens.
        because: `consent`, the pattern of a rule, or `default`.
        detail: how much presence he may see.
    """

    decision: Decision
    because: str
    detail: Detail = Detail.FULL


_BY_DEFAULT: Final = {decision: Ruling(decision, "default") for decision in Decision}


class RuleBook:
    """The rules of one user, at most one for each pattern and right."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules: dict[tuple[str, Right], Rule] = {}
        for rule in rules:
            self.set(rule)

    def set(self, rule: Rule) -> None:
        """Add a rule, or replace the one for the same people and right. Raises `BadRule` where it is full."""
        key = (rule.who.key.hex() or rule.who.text, rule.right)
        if key not in self._rules and len(self._rules) >= MAX_RULES:
            raise BadRule(f"there are {MAX_RULES} rules already; put people into groups")
        self._rules[key] = rule

    def remove(self, who: Who, right: Right) -> bool:
        """Drop a rule; tells whether there was one."""
        return self._rules.pop((who.key.hex() or who.text, right), None) is not None

    def all(self) -> tuple[Rule, ...]:
        """All rules, in the order in which they are looked at."""
        return tuple(sorted(self._rules.values(), key=_place))

    def find(self, person: Person, right: Right) -> Rule | None:
        """The rule that decides: the closest pattern, and the strictest of several groups."""
        if not self._rules:
            return None
        found = [rule for rule in self._rules.values() if rule.right is right and rule.who.names(person)]
        return min(found, key=_place) if found else None


def rule_on(
    rules: RuleBook,
    consents: Mapping[tuple[bytes, Scope], Consent],
    defaults: Defaults,
    person: Person,
    right: Right,
) -> Ruling:
    """Decide: what the user decided on this very person, else his rules, else the service's default.

    A rule still says how much of the presence an approved person sees.
    """
    rule = rules.find(person, right)
    detail = rule.detail if rule is not None else Detail.FULL
    consent = consents.get((person.key, right.scope)) if consents else None
    if consent is not None:
        return Ruling(consent.decision, "consent", detail)
    if rule is not None:
        return Ruling(rule.decision, rule.who.text, detail)
    return _BY_DEFAULT[defaults.of(person, right)]


def _place(rule: Rule) -> tuple[int, int, int, str]:
    """Closest first; of zones the longest, of groups the strictest."""
    rank = rule.who.rank
    length = -len(rule.who.text) if rank is Rank.ZONE else 0
    return rank.value, length, -_STRICTNESS[rule.decision], rule.who.text
