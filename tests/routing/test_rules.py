"""Rules, consents and defaults: who may do what with a user (RFC 2779 section 2.3)."""

from __future__ import annotations

import pytest

from imxrouter.model.address import Address
from imxrouter.routing.rules import (
    MAX_RULES,
    BadRule,
    Consent,
    Decision,
    Defaults,
    Openness,
    Person,
    Rank,
    Right,
    Rule,
    RuleBook,
    Scope,
    Who,
    rule_on,
)

BOB = Person(b"bob@b.example", "b.example", groups=frozenset({"friends", "work"}), is_contact=True)
EVE = Person(b"eve@sub.e.example", "sub.e.example")
MATE = Person(b"mate@a.example", "a.example", same_domain=True)
ALLOW, ASK, REFUSE, BLOCK = Decision


def book(*rules: tuple[str, Decision]) -> RuleBook:
    """Rules on subscribing."""
    return RuleBook(Rule(Who.parse(who), Right.SUBSCRIBE, decision) for who, decision in rules)


@pytest.mark.parametrize(
    ("text", "rank", "normal", "bob", "eve"),
    [
        ("BOB@B.example", Rank.ADDRESS, "BOB@b.example", True, False),
        ("group:friends", Rank.GROUP, "group:friends", True, False),
        ("group:others", Rank.GROUP, "group:others", False, False),
        ("B.Example", Rank.DOMAIN, "b.example", True, False),
        ("*.e.example", Rank.ZONE, "*.e.example", False, True),
        ("*.b.example", Rank.ZONE, "*.b.example", False, False),
        ("group:*", Rank.CONTACTS, "group:*", True, False),
        ("*", Rank.EVERYBODY, "*", True, True),
    ],
)
def test_a_pattern_names_people(text: str, rank: Rank, normal: str, bob: bool, eve: bool) -> None:
    """By address in any spelling, group, domain, the domains below one, contact list, or everybody."""
    who = Who.parse(text)
    assert (who.rank, who.text, who.names(BOB), who.names(EVE)) == (rank, normal, bob, eve)
    assert Who.parse(who.text) == who


@pytest.mark.parametrize("text", ["", "a@b@c", "group:", "*.", "two words", "group:" + "x" * 65])
def test_what_names_nobody_is_refused(text: str) -> None:
    """With words a user can act on."""
    with pytest.raises(BadRule):
        Who.parse(text)


def test_the_closest_rule_decides() -> None:
    """Address, group, domain, the longest zone, contact list, everybody; of groups the strictest."""
    closest_first = [
        ("bob@b.example", ALLOW), ("group:friends", BLOCK), ("group:work", ASK), ("b.example", ALLOW),
        ("*.example", REFUSE), ("group:*", ALLOW), ("*", BLOCK),
    ]  # fmt: skip
    for count in range(len(closest_first)):
        found = book(*reversed(closest_first[count:])).find(BOB, Right.SUBSCRIBE)
        assert found is not None
        assert (found.who.text, found.decision) == closest_first[count]
    zones = book(("*.example", ALLOW), ("*.e.example", BLOCK))
    assert zones.find(EVE, Right.SUBSCRIBE) == Rule(Who.parse("*.e.example"), Right.SUBSCRIBE, BLOCK)


def test_each_right_has_its_rules() -> None:
    """A rule on subscribing says nothing of writing; one for the same people and right replaces the other."""
    rules = book(("*", BLOCK))
    assert rules.find(BOB, Right.MESSAGE) is None
    rules.set(Rule(Who.parse("*"), Right.SUBSCRIBE, ALLOW))
    assert [one.decision for one in rules.all()] == [ALLOW]
    assert rules.remove(Who.parse("*"), Right.SUBSCRIBE)
    assert not rules.remove(Who.parse("*"), Right.SUBSCRIBE)


def test_spellings_of_an_address_are_one_rule() -> None:
    """So that removing a rule removes it."""
    rules = book(("Bob@b.example", BLOCK), ("bob@b.example", ALLOW))
    assert [one.decision for one in rules.all()] == [ALLOW]
    assert rules.remove(Who.parse("BOB@b.example"), Right.SUBSCRIBE)


def test_rules_are_bounded() -> None:
    """Groups hold more people."""
    rules = RuleBook(Rule(Who.parse(f"d{n}.example"), Right.FETCH, ALLOW) for n in range(MAX_RULES))
    rules.set(Rule(Who.parse("d1.example"), Right.FETCH, BLOCK))
    with pytest.raises(BadRule, match="groups"):
        rules.set(Rule(Who.parse("more.example"), Right.FETCH, ALLOW))


@pytest.mark.parametrize(
    ("openness", "bob", "eve", "mate"),
    [
        (Openness.OPEN, ALLOW, ALLOW, ALLOW),
        (Openness.ASK, ASK, ASK, ALLOW),
        (Openness.CONTACTS, ALLOW, REFUSE, ALLOW),
    ],
)
@pytest.mark.parametrize("right", Right)
def test_defaults(openness: Openness, bob: Decision, eve: Decision, mate: Decision, right: Right) -> None:
    """What holds where no rule names somebody; people of the own domain are always let in."""
    messages = right is Right.MESSAGE
    defaults = Defaults(messages=openness) if messages else Defaults(presence=openness)
    found = [rule_on(RuleBook(), {}, defaults, person, right) for person in (BOB, EVE, MATE)]
    assert [one.decision for one in found] == [bob, eve, mate]
    assert {one.because for one in found} == {"default"}


def test_a_decision_on_a_person_is_first() -> None:
    """In its scope only; a rule goes before the default, for people of the own domain too."""
    consent = Consent(Address.parse("bob@b.example"), Scope.PRESENCE, ALLOW, 1.0)
    consents = {(BOB.key, Scope.PRESENCE): consent}
    rules = RuleBook(Rule(Who.parse("*"), right, BLOCK) for right in Right)

    def on(person: Person, right: Right) -> tuple[Decision, str]:
        ruling = rule_on(rules, consents, Defaults(), person, right)
        return ruling.decision, ruling.because

    assert on(BOB, Right.SUBSCRIBE) == on(BOB, Right.FETCH) == (ALLOW, "consent")
    assert on(BOB, Right.MESSAGE) == on(MATE, Right.SUBSCRIBE) == (BLOCK, "*")
