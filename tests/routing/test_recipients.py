"""Recipients' rules and first contact that the router keeps."""

from __future__ import annotations

import pytest

from imxrouter.app.traffic.kept_access import book_from_store, book_to_store
from imxrouter.model.address import Address
from imxrouter.model.patterns import Pattern
from imxrouter.model.vocabulary import Reason
from imxrouter.routing import recipients as room
from imxrouter.routing.access import AccessLists, Action, Entry, Home
from imxrouter.routing.gate import Bar, Gate
from imxrouter.routing.recipients import FirstContact, Recipients
from imxrouter.routing.rules import BadRule, Decision, Right, Scope

NAMES = {b"b.example": b"b.example", b"www.b.example": b"b.example", b"c.example": b"c.example"}
BOB, BOB_WWW = Address.parse("bob@b.example"), Address.parse("BOB@www.b.example")
EVE = Address.parse("eve@m.example")


def recipients(contact: FirstContact) -> Recipients:
    """Of a router that serves b.example (also www.b.example) so, and c.example with rules of its service."""
    return Recipients(NAMES.get, lambda name: contact if name == b"b.example" else FirstContact.SERVICE)


def decision(made: Recipients, source: str, destination: str, right: Right = Right.MESSAGE) -> str:
    """What is decided, and because of what."""
    ruling = made.judge(source.encode(), destination.encode(), right)
    return "" if ruling is None else f"{ruling.decision.value} {ruling.because}"


@pytest.mark.parametrize(
    ("contact", "wanted"),
    [
        (FirstContact.OPEN, "allow default"),
        (FirstContact.ASK, "ask default"),
        (FirstContact.CLOSED, "refuse default"),
        (FirstContact.SERVICE, ""),
    ],
)
def test_strangers(contact: FirstContact, wanted: str) -> None:
    """As the domain says; people of the same domain may always, by any of its names."""
    made = recipients(contact)
    for right in Right:
        assert decision(made, "eve@m.example", "bob@b.example", right) == wanted
        inside = "allow default" if wanted else ""
        assert decision(made, "ann@www.b.example", "bob@b.example", right) == inside
    assert decision(made, "eve@m.example", "bob@c.example") == ""
    assert decision(made, "eve@m.example", "@b.example") == ""


def test_rules_and_decisions() -> None:
    """A decision on a person comes before rules, rules before the default; by any name of the domain."""
    made = recipients(FirstContact.ASK)
    made.set_rule(BOB_WWW, "m.example", [Right.MESSAGE], Decision.BLOCK)
    assert decision(made, "eve@m.example", "bob@b.example") == "block m.example"
    assert decision(made, "eve@m.example", "bob@www.b.example") == "block m.example"
    assert decision(made, "eve@m.example", "bob@b.example", Right.FETCH) == "ask default"
    made.decide(BOB, EVE, Decision.ALLOW, Scope.MESSAGES, 1.0)
    assert decision(made, "eve@m.example", "bob@b.example") == "allow consent"
    assert made.withdraw(BOB, EVE, Scope.MESSAGES)
    assert not made.withdraw(BOB, EVE, Scope.MESSAGES)
    assert made.remove_rule(BOB, "m.example", [Right.MESSAGE])
    assert len(made) == 0


def test_what_the_router_has_no_word_for() -> None:
    """Contact lists are the service's."""
    made = recipients(FirstContact.ASK)
    for who in ("group:friends", "group:*", "a b"):
        with pytest.raises(BadRule):
            made.set_rule(BOB, who, [Right.MESSAGE], Decision.ALLOW)


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of users, of decisions, and of who waits."""
    monkeypatch.setattr(room, "MAX_USERS", 1)
    monkeypatch.setattr(room, "MAX_CONSENTS", 1)
    made = recipients(FirstContact.ASK)
    made.decide(BOB, EVE, Decision.ALLOW, Scope.MESSAGES, 1.0)
    made.decide(BOB, EVE, Decision.BLOCK, Scope.MESSAGES, 2.0)
    with pytest.raises(BadRule):
        made.decide(BOB, Address.parse("x@m.example"), Decision.ALLOW, Scope.MESSAGES, 1.0)
    with pytest.raises(BadRule):
        made.set_rule(Address.parse("ann@b.example"), "*", [Right.MESSAGE], Decision.ALLOW)


def test_knocks() -> None:
    """Counted until the user decides about that; strangers of one zone have a share of the table."""
    made = recipients(FirstContact.ASK)
    made.knock(b"bob@www.b.example", EVE, Right.MESSAGE, 1.0)
    made.knock(b"bob@b.example", EVE, Right.MESSAGE, 2.0)
    made.knock(b"bob@b.example", EVE, Right.FETCH, 3.0)
    assert [(one.right, one.count, one.at) for one in made.knocks(BOB, 4.0)] == [
        (Right.FETCH, 1, 3.0), (Right.MESSAGE, 2, 2.0),
    ]  # fmt: skip
    made.decide(BOB, EVE, Decision.REFUSE, Scope.MESSAGES, 5.0)
    assert [one.right for one in made.knocks(BOB, 6.0)] == [Right.FETCH]
    for number in range(room.MAX_KNOCKS_OF_ZONE + 10):
        made.knock(b"ann@b.example", Address.parse(f"x{number}@y{number}.m.example"), Right.MESSAGE, 7.0)
    made.knock(b"ann@b.example", Address.parse("x@other.test"), Right.MESSAGE, 7.0)
    waiting = made.knocks(Address.parse("ann@b.example"), 8.0)
    assert len(waiting) == room.MAX_KNOCKS_OF_ZONE
    assert "x@other.test" in {str(one.person) for one in waiting}
    assert made.knocks(BOB, 4.0 + room.KNOCK_S) == []


def test_kept() -> None:
    """What a user set is a value of the store, and read back."""
    made = recipients(FirstContact.ASK)
    made.set_rule(BOB, "*.m.example", [Right.MESSAGE, Right.FETCH], Decision.REFUSE)
    made.decide(BOB, EVE, Decision.ALLOW, Scope.PRESENCE, 5.0)
    book = book_from_store(book_to_store(made.book(BOB)))
    assert book is not None
    again = recipients(FirstContact.ASK)
    again.restore(BOB.key, book)
    assert again.book(BOB).rules.all() == made.book(BOB).rules.all()
    assert again.book(BOB).consents == made.book(BOB).consents
    again.restore(BOB.key, None)
    assert len(again) == 0
    assert book_from_store(b"{") is None


def test_lists_and_rules_together() -> None:
    """A list's block decides; its allow is past first contact, but not past a rule of the user."""
    made = recipients(FirstContact.ASK)
    lists = AccessLists(lambda name: Home((name,)) if name in NAMES else None)
    gate = Gate(lists, made)
    asked = gate.judge(b"eve@m.example", b"bob@b.example", Right.MESSAGE)
    assert asked == Bar(Reason.CONSENT_NEEDED, "bob@b.example: default", "first-contact", right=Right.MESSAGE)
    assert gate.judge(b"eve@m.example", b"bob@b.example", None) is None
    lists.add(Entry("r-1", Pattern.parse("m.example"), Action.ALLOW))
    assert gate.judge(b"eve@m.example", b"bob@b.example", Right.MESSAGE) is None
    made.set_rule(BOB, "eve@m.example", [Right.MESSAGE], Decision.BLOCK)
    barred = gate.judge(b"eve@m.example", b"bob@b.example", Right.MESSAGE)
    assert barred == Bar(Reason.BLOCKED, "bob@b.example: eve@m.example", "recipient")
    made.decide(BOB, EVE, Decision.ALLOW, Scope.MESSAGES, 1.0)
    lists.add(Entry("r-2", Pattern.parse("eve@m.example"), Action.BLOCK))
    listed = gate.judge(b"eve@m.example", b"bob@b.example", Right.MESSAGE)
    assert listed == Bar(Reason.BLOCKED, "r-2", "address", "in")


def test_whom_a_user_writes_to_may_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a time, with messages alone, unless a rule is against it; nobody else, and not without bound."""
    monkeypatch.setattr(room, "MAX_WROTE_OF_DOMAIN", 2)
    now = [0.0]
    told: list[tuple[bytes, float]] = []
    made = Recipients(NAMES.get, lambda name: FirstContact(["", "ask"][name == b"b.example"]), lambda: now[0])
    made.on_wrote = lambda key, until: told.append((key, until))
    made.wrote(b"bob@www.b.example", b"eve@m.example")
    assert told == [(b"bob@b.example\0eve@m.example", room.WROTE_S)]
    assert decision(made, "eve@m.example", "bob@b.example") == "allow answer"
    assert decision(made, "eve@m.example", "bob@b.example", Right.SUBSCRIBE) == "ask default"
    assert decision(made, "eve@m.example", "ann@b.example") == "ask default"
    assert decision(made, "ann@m.example", "bob@b.example") == "ask default"
    made.set_rule(BOB, "m.example", [Right.MESSAGE], Decision.BLOCK)
    assert decision(made, "eve@m.example", "bob@b.example") == "block m.example"
    made.remove_rule(BOB, "m.example", [Right.MESSAGE])
    for nobody in (b"@b.example", b"x@c.example", b"x@m.example"):
        made.wrote(nobody, b"eve@m.example")
    now[0] = 1.0
    made.wrote(b"bob@b.example", b"eve@m.example")
    assert len(told) == 1
    now[0] = room.WROTE_S / 2
    made.wrote(b"bob@b.example", b"eve@m.example")
    assert len(told) == 2
    now[0] = room.WROTE_S * 2
    assert decision(made, "eve@m.example", "bob@b.example") == "ask default"
    again = Recipients(NAMES.get, lambda _name: FirstContact.ASK, lambda: 5.0)
    again.restore_wrote(*told[0])
    assert decision(again, "eve@m.example", "bob@b.example") == "allow answer"
    for number in range(5):
        made.wrote(b"bob@b.example", f"x{number}@m.example".encode())
    assert len(told) == 4
