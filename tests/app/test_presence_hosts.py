"""Routers that speak IMX alone, to a domain or at all: hosts for presence are looked up apart (RFC 3861).

z.example has an IMX router for messages, and another one for presence, where it publishes them so.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from imxrouter.discovery.answers import TYPE_SRV, Status
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.presence import Basic, Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from tests.app.test_presence import allow, follow, publish, wait_seen
from tests.attacks.stream_routers import xmpp_router
from tests.attacks.test_presence import embedded
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.raw_peer import PATIENCE_S
from tests.doubles.router_rig import Lab, RouterRig

A, Z = "a.example", "z.example"
ALICE, BOB = Address.parse(f"alice@{A}"), Address.parse(f"bob@{Z}")
SETTINGS = {"dial.hold_s": 2.0, "dial.connect_timeout_s": 1.0, "dns.ttl_floor_s": 0.0}
BY_IMX = f'[[trust.peer]]\ndomain = "{Z}"\nprotocols = ["imx"]\n'


class World:
    """alice@a.example, and two routers of z.example.

    Attributes:
        a: alice's router.
        im: the one for messages.
        pr: the one for presence.
    """

    def __init__(self, lab: Lab, a: RouterRig) -> None:
        self.lab, self.a = lab, a
        self.im, self.pr = (lab.router(Z, publish=False) for _ in range(2))
        for rig, basic in ((self.im, Basic.OPEN), (self.pr, Basic.CLOSED)):
            allow(rig, BOB)
            publish(rig, BOB, basic)

    def record(self, name: str, rig: RouterRig) -> str:
        """A record that leads to a router."""
        return f"{name} 60 IN SRV 0 0 {rig.endpoint[1]} {'im' if rig is self.im else 'pr'}"

    def publish(self, *records: str) -> None:
        """What stands in DNS from now on."""
        hosts = (f"im 60 IN A {self.im.endpoint[0]}", f"pr 60 IN A {self.pr.endpoint[0]}")
        self.lab.zones.load("\n".join((*records, *hosts)) + "\n", Z)
        self.a.forget_dns()
        self.a.call(self.a.router.chooser.forget)

    def write(self) -> Reason:
        """Alice writes to bob; returns what became of it."""
        return self.a.send(str(ALICE), str(BOB)).outcome().reason

    def is_unknown(self) -> bool:
        """Whether alice is told that nobody knows how bob is; in the reactor's thread."""
        followed = embedded(self.a, ALICE).subscription(ALICE, BOB)
        return followed is not None and isinstance(followed.presence, Unknown)

    def failures(self, *, presence: bool) -> int:
        """How often in a row z.example's hosts could not be reached; in the reactor's thread."""
        federation = self.a.router.federation
        entry = (federation.presence if presence else federation.destinations).find(Domain(Z))
        return entry.failures if entry is not None else 0

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait until it holds."""
        self.lab.wait_until(condition, what)

    def show(self) -> dict[str, object]:
        """What an operator is told of z.example."""
        view: dict[str, object] = ctl_json(self.a, "peers", "show", Z)
        return view


@pytest.fixture(params=["imx alone", "imx alone to this domain"])
def world(request: pytest.FixtureRequest, lab: Lab) -> World:
    """Alice's router speaks nothing but IMX, or nothing else to z.example."""
    if request.param == "imx alone":
        return World(lab, lab.router(A, settings=SETTINGS))
    return World(lab, xmpp_router(lab, A, settings=SETTINGS, tables=BY_IMX)[0])


@pytest.mark.parametrize("first", ["message", "presence"])
def test_each_gets_its_own_host(world: World, first: str) -> None:
    """In any order, and an open link for the one is not taken for the other."""
    world.publish(world.record("_im._imx", world.im), world.record("_pres._imx", world.pr))
    if first == "message":
        assert world.write() is Reason.NONE
    follow(world.a, ALICE, BOB)
    wait_seen(world.lab, world.a, ALICE, BOB, Basic.CLOSED)
    assert world.write() is Reason.NONE
    assert (len(world.im.inbox(str(BOB))), world.pr.inbox(str(BOB))) == (1 + (first == "message"), [])
    assert embedded(world.im, BOB).watchers(BOB) == ()


@pytest.mark.parametrize("records", ["one name", "two names", "no SRV"])
def test_one_host_for_both_is_reached_once(world: World, records: str) -> None:
    """However it is published: messages and presence share a link."""
    port = world.im.endpoint[1]
    world.publish(
        *{
            "one name": [world.record("_imx._tcp", world.im)],
            "two names": [world.record("_im._imx", world.im), world.record("_pres._imx", world.im)],
            "no SRV": [f"@ 60 IN IMX 1 im port={port}"],
        }[records]
    )
    follow(world.a, ALICE, BOB)
    wait_seen(world.lab, world.a, ALICE, BOB, Basic.OPEN)
    assert world.write() is Reason.NONE
    ours = world.a.call(lambda: [one for one in world.a.router.hub.opened_links if Z.encode() in one.reached])
    assert len(ours) == 1
    assert world.pr.sessions() == []


def test_presence_that_is_not_published(world: World) -> None:
    """IMX for messages alone: they pass, and who watches is told that there is no IMX for presence."""
    world.publish(world.record("_im._imx", world.im))
    follow(world.a, ALICE, BOB)
    world.wait(world.is_unknown, "bob is unknown")
    assert world.write() is Reason.NONE
    assert embedded(world.im, BOB).watchers(BOB) == ()
    assert str(world.show()["presence_choice"]).startswith("none: no-imx-record")


def test_messages_that_are_not_published(world: World) -> None:
    """IMX for presence alone: it passes, though no message does."""
    world.publish(world.record("_pres._imx", world.pr))
    follow(world.a, ALICE, BOB)
    wait_seen(world.lab, world.a, ALICE, BOB, Basic.CLOSED)
    assert world.write() is Reason.NO_IMX_RECORD
    view = world.show()
    assert (view["presence_choice"], view["subscriptions"]) == ("imx (order; imx published)", {"imx": 1})
    said = ctl(world.a, "peers", "show", Z).output
    assert "imx (order; imx published)" in said
    assert "1 by imx" in said


@pytest.mark.parametrize("status", [Status.FAILURE, Status.TIMEOUT])
def test_a_question_for_presence_that_fails(world: World, status: Status) -> None:
    """It ends the search for presence, and for nothing else: no other form is tried, messages pass."""
    world.publish(world.record("_im._imx", world.im), world.record("_imx._tcp", world.im))
    world.lab.zones.fail(f"_pres._imx.{Z}", TYPE_SRV, status)
    follow(world.a, ALICE, BOB)
    world.wait(world.is_unknown, "bob is unknown")
    assert world.write() is Reason.NONE
    assert embedded(world.im, BOB).watchers(BOB) == ()


def test_hosts_for_presence_that_are_down(world: World) -> None:
    """They are tried less and less often, messages pass, and an operator sees the wait and ends it."""
    nobody = f"_pres._imx 60 IN SRV 0 0 {world.im.endpoint[1] + 1} im"
    world.publish(world.record("_im._imx", world.im), nobody)
    follow(world.a, ALICE, BOB)
    world.wait(world.is_unknown, "bob is unknown")
    world.wait(lambda: world.failures(presence=True) > 1, "two tries")
    assert world.write() is Reason.NONE
    until = time.monotonic() + PATIENCE_S
    while world.show()["presence_next_try_s"] is None:
        assert time.monotonic() < until
    assert world.a.call(lambda: world.failures(presence=False)) == 0
    world.publish(world.record("_im._imx", world.im), world.record("_pres._imx", world.pr))
    assert "back-off of presence" in ctl_json(world.a, "peers", "retry", Z)["cleared"]
    wait_seen(world.lab, world.a, ALICE, BOB, Basic.CLOSED)
    assert world.show()["presence_next_try_s"] is None


def test_whoever_proves_himself_ends_the_wait(world: World) -> None:
    """The hosts for presence were down; one of z's routers is back and calls: presence passes at once."""
    world.publish(world.record("_im._imx", world.pr), world.record("_pres._imx", world.pr))
    table = world.a.router.federation.presence

    def fails() -> None:
        entry = table.open(Domain(Z), world.a.router.hub.now(), Protocol.IMX)
        assert entry is not None
        for _ in range(9):
            entry.failed(Reason.CONNECT_TIMEOUT, world.a.router.hub.now())

    world.a.call(fails)
    assert world.pr.send(str(BOB), str(ALICE)).outcome().ok
    assert world.a.call(lambda: world.failures(presence=True)) == 0
    follow(world.a, ALICE, BOB)
    wait_seen(world.lab, world.a, ALICE, BOB, Basic.CLOSED)
