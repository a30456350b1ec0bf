"""One watches people of hundreds of domains, hundreds watch one (RFC 2779 sections 2.2.4 to 2.2.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from imxrouter.model.domain import Domain
from imxrouter.model.presence import Basic, Presence
from imxrouter.routing.domains import ServedDomain
from imxrouter.routing.owed import Subscription
from imxrouter.routing.rules import Defaults, Openness
from imxrouter.routing.watched import Watched
from tests.gateways.embedded.rigs import World, at, state

HUNDREDS = 400
OPEN = Defaults(Openness.OPEN)


def test_one_watches_people_of_hundreds_of_domains() -> None:
    """Bob is told of each of them, of each change, and all of it goes on with renewals."""
    world = World()
    records = [ServedDomain(Domain(f"d{number}.example"), "home") for number in range(HUNDREDS)]
    theirs = world.service("", ["alice"], defaults=OPEN, records=records)
    people, bob = [at(f"alice@{one.name}") for one in records], at("bob@b.example")
    his = world.service("b.example", ["bob"])

    def seen() -> list[object]:
        followed = [his.subscription(bob, person) for person in people]
        found = [None if one is None else one.presence for one in followed]
        return [one.status if isinstance(one, Presence) else one for one in found]

    for person in people:
        his.subscribe(bob, person)
    world.pass_time(10)
    assert seen() == [Basic.CLOSED] * HUNDREDS
    for person in people:
        theirs.publish(person, "desk", state("open"), expires_s=86_400)
    world.pass_time(10)
    assert seen() == [Basic.OPEN] * HUNDREDS
    world.pass_time(3_600)  # each was renewed twice at least
    assert [len(theirs.watchers(person)) for person in people] == [1] * HUNDREDS
    for person in people:
        theirs.retract(person, "desk")
    world.pass_time(10)
    assert seen() == [Basic.CLOSED] * HUNDREDS


def test_hundreds_watch_one() -> None:
    """Each is told at the beginning and of a change."""
    world = World()
    alice, users = at("alice@a.example"), [f"u{number}" for number in range(HUNDREDS)]
    hers = world.service("a.example", ["alice"], defaults=OPEN)
    theirs = world.service("b.example", users)
    crowd = [at(f"{user}@b.example") for user in users]
    for one in crowd:
        theirs.subscribe(one, alice)
    world.pass_time(10)
    assert len(hers.watchers(alice)) == HUNDREDS
    hers.publish(alice, "desk", state("open"))
    world.pass_time(10)
    for one in crowd:
        followed = theirs.subscription(one, alice)
        assert followed is not None
        assert isinstance(followed.presence, Presence)
        assert followed.presence.status is Basic.OPEN


def test_a_domain_of_hundreds_that_goes_is_done_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The router stands still meanwhile: what it takes grows with the subscriptions, not their square."""
    world = World()
    alice, users = at("alice@a.example"), [f"u{number}" for number in range(HUNDREDS)]
    hers = world.service("a.example", ["alice"], defaults=OPEN)
    theirs = world.service("b.example", users)
    for user in users:
        theirs.subscribe(at(f"{user}@b.example"), alice)
    world.pass_time(10)
    looks = [0]

    def counted(inner: Callable[..., object]) -> Callable[..., object]:
        def look(*args: object) -> object:
            looks[0] += 1
            return inner(*args)

        return look

    standing, live = Watched.standing, cast("property", Subscription.live).fget
    assert live is not None
    monkeypatch.setattr(Watched, "standing", counted(standing))
    monkeypatch.setattr(Subscription, "live", property(counted(live)))
    theirs.serve([])
    assert HUNDREDS <= looks[0] <= 5 * HUNDREDS
    looks[0] = 0
    hers.serve([])
    assert HUNDREDS <= looks[0] <= 5 * HUNDREDS
