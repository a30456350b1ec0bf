"""Polite blocking: whoever is blocked sees somebody who is offline, and no more (RFC 2779 section 5.1.15)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from imxrouter.gateways.embedded.attributes import WATCHERS, OwnAttribute, Visibility
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.gateways.embedded.settings import PRESENCE_RIGHTS
from imxrouter.model.operations import Attribute, Notify
from imxrouter.routing.rules import Decision, Right
from tests.gateways.embedded.rigs import Stranger, World, at, state

ALICE, BOB, CAROL = at("alice@a.example"), at("bob@b.example"), at("carol@c.example")
Prepare = Callable[[EmbeddedService], None]
Live = Callable[[World, EmbeddedService], None]


def offline_user(service: EmbeddedService) -> None:
    """Alice lets Bob watch, and is not there. Strangers who write need her consent."""
    service.set_rule(ALICE, "b.example", PRESENCE_RIGHTS, Decision.ALLOW)
    service.set_rule(ALICE, "b.example", [Right.MESSAGE], Decision.ASK)


def blocking_user(service: EmbeddedService) -> None:
    """Alice is there and blocks Bob in everything; she has secrets for who may watch her."""
    service.set_rule(ALICE, "b.example", Right, Decision.BLOCK)
    telephone = Attribute("a.example/telephone", b"+41", 60)
    service.set_attribute(ALICE, OwnAttribute(telephone, Visibility.parse([WATCHERS]), along=True))


def alias(service: EmbeddedService) -> None:
    """A name that everybody may know."""
    service.set_attribute(ALICE, OwnAttribute(Attribute("alias", "Älice".encode(), 60), along=True))


def quiet(world: World, _service: EmbeddedService) -> None:
    """Time passes, and Alice is not there."""
    world.pass_time(10)


def lively(world: World, service: EmbeddedService) -> None:
    """In the same time Alice comes, goes, moves, changes her mind on others and her attributes."""
    for step in range(5):
        service.publish(ALICE, "desk", state("open" if step % 2 else "closed", f"step {step}"), expires_s=3)
        service.publish(ALICE, "phone", state("open", f"{world.now}"))
        service.set_rule(ALICE, "c.example", PRESENCE_RIGHTS, Decision.BLOCK if step % 2 else Decision.ALLOW)
        service.set_attribute(
            ALICE, OwnAttribute(Attribute("a.example/mood", b"%d" % step), Visibility.parse([WATCHERS]))
        )
        world.pass_time(2)


def transcript(prepare: Prepare, live: Live) -> list[tuple[float, object]]:
    """Everything that Bob sees, with its moment: every field of every answer and notification."""
    world = World()
    service = world.service("a.example", ["alice"])
    bob, carol = Stranger(world, "bob@b.example"), Stranger(world, "carol@c.example")
    service.decide(ALICE, CAROL, Decision.ALLOW)
    carol.subscribe("alice@a.example")
    alias(service)
    prepare(service)
    seen: list[tuple[float, object]] = []
    ident = b"s"

    def note(what: object) -> None:
        seen.append((world.now, what))
        for moment, told in zip(bob.moments, bob.told, strict=True):
            seen.append((moment, without_id(told)))
        bob.told.clear()
        bob.moments.clear()

    def step(what: Callable[[], object]) -> None:
        note(what())
        live(world, service)
        note("time passed")

    step(lambda: bob.subscribe("alice@a.example", ident).disclosed())
    step(lambda: bob.subscribe("alice@a.example", ident).disclosed())
    step(lambda: bob.subscribe("Alice@a.example", ident, 0).disclosed())
    step(lambda: bob.subscribe("alice@a.example", b"fetch", 0).disclosed())
    step(lambda: bob.query("alice@a.example"))
    step(lambda: bob.query("alice@a.example", "presence", "alias", "a.example/telephone"))
    step(lambda: bob.query("alice@a.example", "a.example/mood"))
    step(lambda: bob.write("alice@a.example").disclosed())
    step(lambda: bob.subscribe("alice@a.example", b"short", 15).disclosed())
    step(lambda: bob.subscribe("alice@a.example", b"x", 10**6).disclosed())
    bob_subscriptions_end(world, note)
    return seen


def bob_subscriptions_end(world: World, note: Callable[[object], None]) -> None:
    """Nothing of Alice's happens in this hour, so that both sides have the same clock."""
    world.pass_time(3_600, 1.0)
    note("all is over")


def without_id(told: Notify) -> dict[str, Any]:
    """A notification's fields, but for its random id."""
    return {item.name: getattr(told, item.name) for item in fields(told) if item.name != "message_id"}


def test_a_blocked_watcher_sees_what_the_watcher_of_an_offline_user_sees() -> None:
    """Each field of each answer, notification and failure, and its moment, whatever Alice does meanwhile."""
    polite, true = transcript(blocking_user, lively), transcript(offline_user, quiet)
    assert polite == true
    told = [what for _, what in true if isinstance(what, dict) and "subscription_id" in what]
    assert [one["state"].name for one in told] == [
        "ACTIVE", "ACTIVE", "TERMINATED", "ACTIVE", "ACTIVE", "ACTIVE", "TERMINATED", "TERMINATED"
    ]  # fmt: skip


def test_the_comparison_can_tell() -> None:
    """The same transcripts differ where Bob may see Alice, or is refused, or where she is in fact there."""

    def allowed(service: EmbeddedService) -> None:
        offline_user(service)

    def refusing(service: EmbeddedService) -> None:
        service.set_rule(ALICE, "b.example", Right, Decision.REFUSE)

    true = transcript(offline_user, quiet)
    assert transcript(allowed, lively) != true
    assert transcript(refusing, quiet) != true


@pytest.mark.parametrize("prepare", [offline_user, blocking_user])
def test_the_user_sees_who_is_blocked(prepare: Prepare) -> None:
    """And by which rule; only the watcher is not told."""
    world = World()
    service = world.service("a.example", ["alice"])
    prepare(service)
    bob = Stranger(world, "bob@b.example")
    bob.subscribe("alice@a.example")
    service.publish(ALICE, "desk", state())
    (watcher,) = service.watchers(ALICE)
    assert watcher.watcher == BOB
    assert watcher.ruling.decision is (Decision.BLOCK if prepare is blocking_user else Decision.ALLOW)
    assert watcher.ruling.because == "b.example"


def test_whom_a_user_blocks_later_sees_him_leave() -> None:
    """As if he went offline; the others go on to see him. Unblocking shows him again."""
    world = World()
    service = world.service("a.example", ["alice"])
    bob, carol = Stranger(world, "bob@b.example"), Stranger(world, "carol@c.example")
    for watcher in (bob, carol):
        service.decide(ALICE, watcher.address, Decision.ALLOW)
        watcher.subscribe("alice@a.example")
    service.publish(ALICE, "desk", state())
    world.run()
    service.decide(ALICE, BOB, Decision.BLOCK)
    world.run()
    assert (bob.shown(), carol.shown()) == (["closed", "open", "closed"], ["closed", "open"])
    gone, left = bob.told[-1], Stranger(world, "dave@d.example")
    service.decide(ALICE, left.address, Decision.ALLOW)
    left.subscribe("alice@a.example")
    service.retract(ALICE, "desk")
    world.run()
    truly = left.told[-1]
    same = ("presence", "state", "end_reason", "attributes", "document")
    assert [getattr(gone, name) for name in same] == [getattr(truly, name) for name in same]
    service.decide(ALICE, BOB, Decision.ALLOW)
    service.publish(ALICE, "desk", state())
    world.run()
    assert bob.shown()[-1] == "open"


def test_blocking_who_waits_looks_like_consent() -> None:
    """He is told `active`, and that the user is offline."""
    told = {}
    for decision in (Decision.ALLOW, Decision.BLOCK):
        world = World()
        service = world.service("a.example", ["alice"])
        bob = Stranger(world, "bob@b.example")
        bob.subscribe("alice@a.example")
        if decision is Decision.BLOCK:
            service.publish(ALICE, "desk", state())
        service.decide(ALICE, BOB, decision)
        world.run()
        told[decision] = [without_id(one) for one in bob.told]
    assert told[Decision.ALLOW] == told[Decision.BLOCK] != []
