"""Our users as watchers: outages that are over, contacts that are watched, subscriptions that were lost."""

from __future__ import annotations

import pytest

from imxrouter.gateways.embedded.contacts import Contact
from imxrouter.gateways.embedded.register import Change, Topic
from imxrouter.model.domain import Domain
from imxrouter.model.operations import SubscriptionState
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.presence import Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.domains import ServedDomain
from imxrouter.routing.rules import Decision, Defaults, Openness
from tests.gateways.embedded.rigs import Stranger, World, at, state

ALICE, BOB = at("alice@a.example"), at("bob@b.example")
OPEN = Defaults(Openness.OPEN)
PENDING = SubscriptionState.PENDING


@pytest.fixture
def world() -> World:
    """Nobody there yet."""
    return World()


def test_who_waits_for_a_decision_is_shown_nothing_of_an_outage_that_is_over(world: World) -> None:
    """A renewal that is granted as pending is all that can be known; a later outage is told anew."""
    world.service("a.example", ["alice"])
    theirs = world.service("b.example", ["bob"])
    theirs.subscribe(BOB, ALICE, 100)
    world.run()
    for _ in range(2):
        world.cut.add("a.example")
        world.pass_time(110)
        followed = theirs.subscription(BOB, ALICE)
        assert followed is not None
        assert isinstance(followed.presence, Unknown)
        world.cut.clear()
        seen: list[Change] = []
        stop = theirs.listen(BOB, seen.append)
        world.pass_time(400)
        stop()
        followed = theirs.subscription(BOB, ALICE)
        assert followed is not None
        assert (followed.standing.state, followed.standing.why, followed.presence) == (PENDING, None, None)
        assert seen == [Change(BOB, Topic.WATCHING, ALICE)]


def test_contacts_say_who_is_watched_in_truth(world: World) -> None:
    """Not who was to be: after an end by the user, by the other side, and of the user's own domain."""
    theirs = world.service("a.example", ["alice"], defaults=OPEN)
    service = world.service("b.example", ["bob"])

    def watched() -> bool | None:
        (contact,) = service.contacts(BOB)
        assert (contact.address, contact.name) == (ALICE, "Alice")
        return contact.watch

    def watch() -> None:
        service.set_contact(BOB, Contact(ALICE, "Alice", watch=True))
        world.run()
        assert watched()

    watch()
    service.unsubscribe(BOB, ALICE)
    assert watched() is False
    service.set_contact(BOB, Contact(ALICE, "Alice", frozenset({"friends"})))
    assert watched() is False
    watch()
    theirs.decide(ALICE, BOB, Decision.REFUSE)
    world.run()
    assert watched() is False
    theirs.decide(ALICE, BOB, Decision.ALLOW)
    watch()
    service.serve([])
    world.run()
    service.serve([ServedDomain(Domain("b.example"), "home")])
    service.set_contact(BOB, Contact(ALICE, "Alice"))
    assert watched() is False
    service.subscribe(BOB, ALICE)  # by another way
    assert watched()
    service.set_contact(BOB, Contact(ALICE, "Alice"))
    assert watched()
    service.set_contact(BOB, Contact(ALICE, "Alice", watch=False))
    assert service.subscriptions(BOB) == ()


def test_a_contact_that_goes_takes_along_what_it_began(world: World) -> None:
    """And nothing else."""
    world.service("a.example", ["alice"], defaults=OPEN)
    service = world.service("b.example", ["bob"])
    for watch, left in ((True, 0), (None, 1)):
        service.set_contact(BOB, Contact(ALICE, watch=watch))
        service.subscribe(BOB, ALICE)
        assert service.remove_contact(BOB, ALICE)
        assert len(service.subscriptions(BOB)) == left


def test_a_subscription_that_the_watchers_side_lost_is_forgotten(world: World) -> None:
    """With a change, or where he begins another; until then his failures are shown."""
    service, bob = world.service("a.example", ["alice"], defaults=OPEN), Stranger(world, "bob@b.example")

    def held() -> list[tuple[bytes, int]]:
        return [(one.subscription_id, one.failures) for one in service.watchers(ALICE)]

    bob.subscribe("alice@a.example", b"old")
    bob.answer = failure(Reason.NOT_SUBSCRIBED, by="b.example", role="service")
    service.publish(ALICE, "desk", state())
    world.run()
    assert held() == [(b"old", 1)]
    world.pass_time(3)
    assert held() == []
    for known in (True, False):
        bob.answer = SUCCESS
        bob.subscribe("alice@a.example", b"one")
        bob.answer = SUCCESS if known else failure(Reason.SERVICE_DOWN, by="b.example", role="service")
        bob.subscribe("alice@a.example", b"two")
        world.pass_time(3)
        assert [ident for ident, _ in held()] == [b"one", b"two"]
    assert [count > 1 for _, count in held()] == [False, True]
