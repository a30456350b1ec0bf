"""Presence and attributes of embedded users between two real routers, and over a restart of either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from imxrouter.gateways.embedded.attributes import OwnAttribute
from imxrouter.gateways.embedded.contacts import Contact
from imxrouter.gateways.embedded.register import PresenceOff
from imxrouter.gateways.embedded.service import EmbeddedService
from imxrouter.model.address import Address
from imxrouter.model.operations import Attribute, AttributeValues
from imxrouter.model.outcome import Outcome
from imxrouter.model.presence import Basic, Note, Presence, PresenceTuple
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.rules import Decision
from tests.doubles.router_rig import Lab, RouterRig

ALICE, BOB, MATE = (Address.parse(f"{one}.example") for one in ("alice@a", "bob@b", "bob@a"))
HERE = Presence(ALICE, (PresenceTuple("t", Basic.OPEN),), (Note("here", "en"),))
AWAY = Presence(ALICE, (PresenceTuple("t", Basic.CLOSED),), (Note("away", "en"),))


def do(rig: RouterRig, what: Callable[[EmbeddedService], Any]) -> Any:
    """Use the one embedded service of a router, in its thread."""
    return rig.call(lambda: what(next(iter(rig.router.embedded.values()))))


def until(lab: Lab, rig: RouterRig, holds: Callable[[EmbeddedService], object], what: str) -> None:
    """Wait until something holds of a router's embedded service."""
    lab.wait_until(lambda: holds(next(iter(rig.router.embedded.values()))), what)


def seen(service: EmbeddedService, watcher: Address = BOB) -> str:
    """The note of Alice's state, as a watcher is shown."""
    followed = service.subscription(watcher, ALICE)
    if followed is None or not isinstance(followed.presence, Presence):
        return ""
    return " ".join(note.text for note in followed.presence.notes) or followed.presence.status.value


def restarted(lab: Lab, rig: RouterRig, state: str) -> RouterRig:
    """The same router again, with what it kept."""
    rig.stop()
    lab.wait_until(lambda: not rig.router.store.health().waiting, "everything is on disk")
    return lab.router(*rig.domains, endpoint=rig.endpoint, settings={"state_dir": state})


def test_presence_crosses_and_survives_restarts(lab: Lab) -> None:
    """Consent, state, attribute; each router is restarted, and the watcher is right in the end."""
    states = {domain: str(lab.folder / f"state-{domain}") for domain in "ab"}
    a = lab.router("a.example", settings={"state_dir": states["a"]})
    b = lab.router("b.example", settings={"state_dir": states["b"]})
    do(a, lambda service: service.publish(ALICE, "desk", HERE))
    do(
        a,
        lambda service: service.set_attribute(ALICE, OwnAttribute(Attribute("alias", b"A", 60), along=True)),
    )
    do(b, lambda service: service.subscribe(BOB, ALICE))
    until(lab, a, lambda service: service.watchers(ALICE), "Bob waits for consent")
    assert do(b, seen) == ""
    do(a, lambda service: service.decide(ALICE, BOB, Decision.ALLOW))
    until(lab, b, lambda service: seen(service) == "here", "Bob sees Alice")
    assert do(b, lambda service: service.known(BOB, ALICE, "alias")).value == b"A"
    outcomes: list[Outcome] = []
    do(b, lambda service: service.query(BOB, ALICE, ["presence"], outcomes.append))
    lab.wait_until(lambda: bool(outcomes), "an answer")
    assert isinstance(outcomes[0].result, AttributeValues)
    assert [one.name for one in outcomes[0].result.attributes] == ["presence"]

    a = restarted(lab, a, states["a"])
    assert [one.watcher for one in do(a, lambda service: service.watchers(ALICE))] == [BOB]
    assert do(a, lambda service: service.state_of(ALICE)).notes == HERE.notes
    do(a, lambda service: service.publish(ALICE, "desk", AWAY))
    until(lab, b, lambda service: seen(service) == "away", "Bob is told after Alice's router came back")

    b = restarted(lab, b, states["b"])
    until(lab, b, lambda service: seen(service) == "away", "Bob knows again after his router came back")
    do(a, lambda service: service.publish(ALICE, "desk", HERE))
    until(lab, b, lambda service: seen(service) == "here", "and goes on to be told")
    assert len(do(a, lambda service: service.watchers(ALICE))) == 1
    assert do(b, lambda service: service.unsubscribe(BOB, ALICE))
    until(lab, a, lambda service: not service.watchers(ALICE), "Bob has left")


def test_what_could_not_begin_is_tried_when_the_domain_is_back(lab: Lab) -> None:
    """Bob subscribed while Alice's router was down; he need not wait for his pause to end (section 7.7)."""
    long = {"dial.backoff_first_s": 200.0, "dial.backoff_cap_s": 200.0}
    a, b = lab.router("a.example"), lab.router("b.example", settings=long)
    a.stop()
    watching = do(b, lambda service: service.following._watching)
    watching.settings = replace(watching.settings, again_s=0.5)
    do(b, lambda service: service.subscribe(BOB, ALICE))

    def waits(service: EmbeddedService) -> bool:
        followed = service.subscription(BOB, ALICE)
        return followed is not None and 50 < followed.standing.renewal_s <= 220

    until(lab, b, waits, "it failed, and the pause is long")
    a = lab.router("a.example", endpoint=a.endpoint)
    do(a, lambda service: service.decide(ALICE, BOB, Decision.ALLOW))
    do(a, lambda service: service.publish(ALICE, "desk", HERE))
    assert a.send(str(ALICE), str(BOB)).outcome().ok
    until(lab, b, lambda service: seen(service) == "here", "Bob sees Alice")


def test_presence_within_one_domain(lab: Lab) -> None:
    """Switched inside of the router, without consent: they know each other (IMX-4)."""
    a = lab.router("a.example")
    do(a, lambda service: service.subscribe(MATE, ALICE))
    do(a, lambda service: service.publish(ALICE, "desk", HERE))
    until(lab, a, lambda service: seen(service, MATE) == "here", "the mate sees Alice")
    assert a.sessions() == []


def test_with_several_processes_presence_is_off(lab: Lab) -> None:
    """Said by name, by the service; messages pass."""
    a = lab.router("a.example", settings={"listen.reuse_port": True})
    with pytest.raises(PresenceOff, match="single process"):
        do(a, lambda service: service.publish(ALICE, "desk", HERE))
    assert a.send(str(ALICE), str(MATE)).outcome().ok


def test_who_sees_and_writes_without_a_rule_is_configured(lab: Lab) -> None:
    """By the words of the service: presence for everybody, messages from contacts only."""
    home = '[[service]]\nname = "home"\nkind = "embedded"\nusers = ["alice"]\n'
    words = 'presence = "open"\nmessages = "contacts"\n'
    domain = '[[domain]]\nname = "a.example"\nservice = "home"\n'
    a = lab.router("a.example", embedded=False, tables=home + words + domain)
    b = lab.router("b.example")
    do(a, lambda service: service.publish(ALICE, "desk", HERE))
    do(b, lambda service: service.subscribe(BOB, ALICE))
    until(lab, b, lambda service: seen(service) == "here", "Bob sees Alice")
    assert b.send(str(BOB), str(ALICE)).outcome().reason is Reason.NOT_DELIVERED
    do(a, lambda service: service.set_contact(ALICE, Contact(BOB)))
    assert b.send(str(BOB), str(ALICE)).outcome().ok
