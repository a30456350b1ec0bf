"""Attributes of users: who may see which, what rides along, what is kept of others' (IMX-20, IMX-25)."""

from __future__ import annotations

import pytest

from imxrouter.formats.pidf import read_pidf
from imxrouter.gateways.embedded.attributes import (
    MAX_OWN,
    MAX_OWN_BYTES,
    MAX_VALUE_BYTES,
    PUBLIC,
    OwnAttribute,
    OwnAttributes,
    Visibility,
)
from imxrouter.gateways.embedded.contacts import MAX_CONTACTS, BadContact, Contact, ContactList
from imxrouter.gateways.embedded.register import MAX_LISTENERS, Change, TooManyListeners, Topic
from imxrouter.gateways.embedded.settings import PRESENCE_RIGHTS
from imxrouter.model.attributes import BadAttribute
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Attribute, Message
from imxrouter.model.outcome import Outcome
from imxrouter.model.presence import Basic
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.rules import BadRule, Decision, Person, Right
from tests.gateways.embedded.rigs import Stranger, World, at, state, words

A = Domain("a.example")
ALICE, BOB = at("alice@a.example"), at("bob@b.example")


def own(name: str, value: str = "x", *visibility: str, along: bool = False, age: int = 60) -> OwnAttribute:
    """An attribute; everybody's unless patterns say otherwise."""
    seen_by = Visibility.parse(visibility) if visibility else PUBLIC
    return OwnAttribute(Attribute(name, value.encode(), age), seen_by, along)


@pytest.mark.parametrize(
    "name",
    [
        "presence",
        "max-message-size",
        "mood",
        "b.example/mood",
        "sub.a.example/mood",
        "Alias",
        "",
        "a.example/",
    ],
)
def test_a_name_that_is_not_his(name: str) -> None:
    """A user has global keys of users and keys of his own domain; presence is published."""
    with pytest.raises(BadAttribute):
        OwnAttributes().set(own(name), A)


def test_own_attributes_are_bounded() -> None:
    """In number and bytes, and values are what the registry says."""
    mine = OwnAttributes()
    with pytest.raises(BadAttribute, match="text"):
        mine.set(own("alias", "two\nlines"), A)
    with pytest.raises(BadAttribute, match="bytes"):
        mine.set(own("alias", "x" * (MAX_VALUE_BYTES + 1)), A)
    with pytest.raises(BadAttribute, match="seconds"):
        mine.set(own("alias", age=2**32), A)
    for number in range(MAX_OWN):
        mine.set(own(f"a.example/{number}"), A)
    mine.set(own("a.example/0", "again"), A)
    with pytest.raises(BadAttribute, match="already"):
        mine.set(own("alias"), A)
    large = OwnAttributes()
    for number in range(MAX_OWN_BYTES // MAX_VALUE_BYTES):
        large.set(own(f"a.example/{number}", "x" * MAX_VALUE_BYTES), A)
    with pytest.raises(BadAttribute, match="together"):
        large.set(own("alias"), A)
    large.set(own("a.example/0", "smaller"), A)
    large.set(own("alias"), A)
    assert large.remove("alias")
    assert not large.remove("alias")


def test_visibility() -> None:
    """Everybody, some, who may see the presence, or nobody; the words come back as they were."""
    bob = Person(b"bob@b.example", "b.example", groups=frozenset({"friends"}), is_contact=True)
    cases = [
        (["*"], True, True), (["watchers"], False, True), (["group:friends"], True, True),
        (["group:work", "*.example"], True, True), (["c.example"], False, False), ([], False, False),
    ]  # fmt: skip
    for given, stranger, watcher in cases:
        visibility = Visibility.parse(given)
        assert sorted(visibility.words) == sorted(given)
        assert (visibility.includes(bob, False), visibility.includes(bob, True)) == (stranger, watcher)
    with pytest.raises(BadRule):
        Visibility.parse(["two words"])
    with pytest.raises(BadAttribute, match="patterns"):
        Visibility.parse([f"d{n}.example" for n in range(17)])


def test_each_sees_what_he_may() -> None:
    """Others are left out, as if they did not exist; presence follows the rules of fetching."""
    world = World()
    service = world.service("a.example", ["alice"])
    bob, eve = Stranger(world, "bob@b.example"), Stranger(world, "eve@e.example")
    service.publish(ALICE, "desk", state("open", "hello"))
    for one in (
        own("alias", "Alice"),
        own("a.example/room", "4", "watchers"),
        own("a.example/key", "1", "b.example"),
    ):
        service.set_attribute(ALICE, one)
    assert eve.query("alice@a.example") == {"alias": b"Alice"}
    assert eve.query("alice@a.example", "presence", "a.example/room") == {}
    assert [knock.person for knock in service.knocks(ALICE)] == [eve.address]
    assert bob.query("alice@a.example") == {"alias": b"Alice", "a.example/key": b"1"}
    service.decide(ALICE, BOB, Decision.ALLOW)
    told = bob.query("Alice@a.example")
    assert isinstance(told, dict)
    assert list(told) == ["a.example/key", "a.example/room", "alias", "presence"]
    presence = read_pidf(told["presence"], at("Alice@a.example"))
    assert words(presence) == "open hello"
    service.set_rule(ALICE, "b.example", PRESENCE_RIGHTS, Decision.BLOCK)
    service.withdraw(ALICE, BOB)
    told = bob.query("alice@a.example")
    assert isinstance(told, dict)
    assert list(told) == ["a.example/key", "alias", "presence"]
    assert read_pidf(told["presence"], ALICE).status is Basic.CLOSED
    assert service.remove_attribute(ALICE, "alias")
    assert [one.attribute.name for one in service.attributes(ALICE)] == ["a.example/key", "a.example/room"]


def test_who_may_see_nothing_learns_nothing() -> None:
    """Not even that there is such a user."""
    world = World()
    world.service("a.example", ["alice"])
    eve = Stranger(world, "eve@e.example")
    answers = [
        eve.query(f"{user}@a.example", *names) for user in ("alice", "nobody") for names in ((), ("alias",))
    ]
    reasons = []
    for answer in answers:
        assert isinstance(answer, Outcome)
        reasons.append(answer.reason)
        assert answer.disclosed() == answers[-1].disclosed()  # type: ignore[union-attr]
    assert reasons == [Reason.CONSENT_NEEDED] * 2 + [Reason.UNKNOWN_USER] * 2


def test_what_rides_along() -> None:
    """On messages and notifications, to who may see it; what comes in is kept as its owner allows."""
    world = World()
    service = world.service("a.example", ["alice"])
    bob = Stranger(world, "bob@b.example")
    service.set_attribute(ALICE, own("alias", "Alice", along=True))
    service.set_attribute(ALICE, own("a.example/room", "4", "watchers", along=True))
    service.set_attribute(ALICE, own("a.example/desk", "5"))
    assert [one.name for one in service.compose(ALICE, BOB, "hi").user_attributes] == ["alias"]
    service.decide(ALICE, BOB, Decision.ALLOW)
    both = ["a.example/room", "alias"]
    assert [one.name for one in service.compose(ALICE, BOB, "hi").user_attributes] == both
    bob.subscribe("alice@a.example")
    assert [one.name for one in bob.told[-1].attributes] == both
    assert service.compose(BOB, ALICE, "not ours").user_attributes == ()

    given = (
        Attribute("alias", b"Bob", 10),
        Attribute("b.example/x", b"1", 0),
        Attribute("idle-timeout", b"soon", 9),
    )
    message = Message(BOB, ALICE, world.new_id(), "text/plain", b"", user_attributes=given)
    assert world.ask(message).ok
    assert service.known(ALICE, BOB, "alias") == given[0]
    assert service.known(ALICE, BOB, "b.example/x") is service.known(ALICE, BOB, "idle-timeout") is None
    world.pass_time(11)
    assert service.known(ALICE, BOB, "alias") is None
    service.set_rule(ALICE, "*", [Right.MESSAGE], Decision.REFUSE)
    assert not world.ask(message).ok
    assert service.known(ALICE, BOB, "alias") is None


def test_contacts() -> None:
    """One entry for all spellings, bounded; groups and names are checked."""
    mine = ContactList([Contact(at("Bob@b.example"), "old"), Contact(at("bob@b.example"), "new")])
    assert [one.name for one in mine.all()] == ["new"]
    for number in range(MAX_CONTACTS - 1):
        mine.set(Contact(at(f"u{number}@c.example")))
    with pytest.raises(BadContact):
        mine.set(Contact(at("more@c.example")))
    mine.set(Contact(at("bob@b.example"), "newest"))
    for name, groups in (
        ("x" * 256, set()),
        ("", {"*"}),
        ("", {""}),
        ("", {" a"}),
        ("", set(map(str, range(17)))),
    ):
        with pytest.raises(BadContact):
            Contact(BOB, name, frozenset(groups))


def test_listeners_are_told_and_bounded() -> None:
    """One user's or everybody's changes, until they stop; a listener that fails harms nobody."""
    world = World()
    service = world.service("a.example", ["alice", "mate"])
    mine: list[Change] = []
    everybody: list[Change] = []

    def fails(_change: Change) -> None:
        raise ValueError

    service.listen(ALICE, fails)
    stop = service.listen(ALICE, mine.append)
    service.listen(None, everybody.append)
    service.publish(ALICE, "desk", state())
    service.set_contact(at("mate@a.example"), Contact(BOB))
    stop()
    service.retract(ALICE, "desk")
    published = Change(ALICE, Topic.PRESENCE)
    assert mine == [published]
    assert everybody == [published, Change(at("mate@a.example"), Topic.SETTINGS, BOB), published]
    for _ in range(MAX_LISTENERS - 1):
        service.listen(ALICE, mine.append)
    with pytest.raises(TooManyListeners):
        service.listen(ALICE, mine.append)
