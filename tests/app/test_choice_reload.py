"""A policy that changes holds at once, also for a subscription that began by XMPP (rules 3 and 4).

The choice of a protocol lasts for a subscription's life, but never longer than policy allows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from imxrouter.model.presence import Basic
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.watching import REFUSED
from imxrouter.switch import slots
from tests.app.test_choice_presence import ALICE, BOB, World, Z
from tests.app.test_presence import publish
from tests.doubles.reload_rig import Reloadable
from tests.doubles.router_rig import Lab

IMX_ONLY = f'\n[[trust.peer]]\ndomain = "{Z}"\nprotocols = ["imx"]\n'
CERTIFICATE = f'\n[[trust.peer]]\ndomain = "{Z}"\npolicy = "certificate"\n'
POLICIES = {"imx only": IMX_ONLY, "certificate": CERTIFICATE}


@pytest.fixture
def world(lab: Lab) -> Iterator[World]:
    """a.example and z.example, which publishes both."""
    with ExitStack() as stack:
        world = World(lab, stack)
        world.publish(world.imx, world.xmpp)
        yield world


def refused(world: World) -> int:
    """How often a.example's router refused something by its policy; in the reactor's thread."""
    return slots.refusals(world.a.router.switch.counters, Reason.WEAKER_THAN_POLICY)


def bob_watches_by_xmpp(world: World) -> None:
    """His server asked, and was told that Alice is there."""
    world.server_says(f"<presence from='{BOB}' to='{ALICE}' type='subscribe'/>")
    world.wait_for("subscribed")
    world.wait_for("")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_notification_takes_no_way_that_policy_refuses(world: World, policy: str) -> None:
    """It was asked for by XMPP, and by now z.example may not be spoken to so, or not on such a stream."""
    bob_watches_by_xmpp(world)
    before, number = len(world.server.stanzas), refused(world)
    Reloadable(world.a).edit(also=POLICIES[policy]).reload()
    publish(world.a, ALICE, Basic.CLOSED)
    world.lab.wait_until(lambda: refused(world) > number, "what is refused")
    assert [one.kind for one in list(world.server.stanzas)[before:]] == []


@pytest.mark.parametrize("policy", POLICIES)
def test_a_renewal_takes_no_way_that_policy_refuses(world: World, policy: str) -> None:
    """Nor does what the machine of XMPP asks, and what it says of her."""
    world.publish(world.xmpp)
    world.alice_follows_by_xmpp()
    before = len(world.server.stanzas)
    Reloadable(world.a).edit(also=POLICIES[policy]).reload()
    joint = world.a.router.streams.presence
    assert joint is not None
    world.a.call(lambda: joint._do(joint.presentities.back(BOB.domain, world.a.router.hub.now())))
    world.lab.wait_until(lambda: refused(world) > 0, "the question that is refused")
    outcome = world.renewed()
    assert not outcome.ok
    assert outcome.reason not in REFUSED  # it is tried again, by what is chosen when this one has ended
    assert [one.kind for one in list(world.server.stanzas)[before:]] == []


def test_a_policy_that_is_given_up_lets_it_go_on(world: World) -> None:
    """Nobody has to subscribe anew: consents are kept, and what Bob missed is told."""
    bob_watches_by_xmpp(world)
    reloadable = Reloadable(world.a).edit(also=IMX_ONLY)
    reloadable.reload()
    publish(world.a, ALICE, Basic.CLOSED)
    world.lab.wait_until(lambda: refused(world) > 0, "what is refused")
    reloadable.edit((IMX_ONLY, "")).reload()
    world.wait_for("unavailable")
