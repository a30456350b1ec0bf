"""Presence is chosen for apart from messages, and a subscription stays with the protocol by which it began.

Users of a router of its own watch, and are watched by, users of z.example, which has IMX routers and an XMPP
server, and publishes now these and now that (RFC 3861; architecture section 2).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from imxrouter.discovery.answers import TYPE_SRV, Status
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import Outcome
from imxrouter.model.presence import Basic, Unknown
from imxrouter.model.vocabulary import Stage
from imxrouter.routing.choice import Protocol
from imxrouter.routing.watched import BETWEEN
from tests.app.test_presence import allow, follow, publish, wait_seen
from tests.attacks.stream_routers import a_proved_stream, xmpp_router
from tests.attacks.test_access import block
from tests.attacks.test_presence import embedded
from tests.doubles.router_rig import Lab, Sent, fresh_address
from tests.doubles.xmpp import XmppPeer
from tests.doubles.xmpp_server import Conduct, XmppServer

A, Z = "a.example", "z.example"
ALICE, BOB = Address.parse(f"alice@{A}"), Address.parse(f"bob@{Z}")
_SETTINGS: Final = {"dns.ttl_floor_s": 0.0, "xmpp.confirm": "written"}


class World:
    """alice@a.example on a router of its own, and what z.example has.

    Attributes:
        z: an IMX router of z.example.
        server: its XMPP server.
    """

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self.lab = lab
        self.a, self.streams_at = xmpp_router(lab, A, settings=_SETTINGS)
        self.z = lab.router(Z, publish=False)
        self.server = stack.enter_context(XmppServer(Z, fresh_address(), Conduct()))
        self._stream: XmppPeer | None = None
        for rig, user in ((self.a, ALICE), (self.z, BOB)):
            allow(rig, user)
            publish(rig, user, Basic.OPEN)

    def publish(self, *records: str, cut: bool = True) -> None:
        """What stands in DNS from now on; names of hosts are `im` and `xs`."""
        if cut:
            self.a.call(self.a.cut)
            self.lab.wait_until(lambda: not self.a.router.hub.sessions, "links to end")
            self._stream = None
        hosts = (f"im 60 IN A {self.z.endpoint[0]}", f"xs 60 IN A {self.server.endpoint[0]}")
        self.lab.zones.load("\n".join((*records, *hosts)) + "\n", Z)
        self.a.forget_dns()
        self.a.call(self._forget)

    def _forget(self) -> None:
        self.a.router.chooser.forget()
        self.a.router.federation.chosen.tick()
        self.a.router.federation.destinations.forget(Domain(Z))
        self.a.router.federation.presence.forget(Domain(Z))

    @property
    def imx(self) -> str:
        """The record of the IMX router, for messages and presence."""
        return f"@ 60 IN IMX 1 im port={self.z.endpoint[1]}"

    @property
    def xmpp(self) -> str:
        """The record of the XMPP server."""
        return f"_xmpp-server._tcp 60 IN SRV 0 0 {self.server.endpoint[1]} xs"

    def server_says(self, stanza: str) -> None:
        """Z's server writes on a stream of its own."""
        if self._stream is None:
            self._stream = a_proved_stream(self.server, self.streams_at, A)
        self._stream.send(stanza)

    def presences(self) -> list[tuple[str, str]]:
        """What came to Z's server of presence: type and recipient."""
        return [(one.type, one.to) for one in list(self.server.stanzas) if one.kind == "presence"]

    def wait_for(self, type_: str, count: int = 1) -> None:
        """Wait until so many presences of a type have come to Z's server."""
        self.server.wait_for(
            lambda one: sum(each.kind == "presence" and each.type == type_ for each in one.stanzas) >= count
        )

    def links(self) -> set[Protocol]:
        """What is spoken on the links of a.example's router."""
        return {one.protocol for one in self.a.sessions()}

    def renewed(self) -> Outcome:
        """The router renews what alice watches, in her name, as it does when a domain is back."""
        sent, router = Sent(self.lab), self.a.router

        def renew() -> None:
            ((key, _),) = router.subscriptions.items()
            assert router._watchers.subscribe_again(key, sent.outcomes.append)

        self.a.call(renew)
        return sent.outcome()

    def lives_by_streams(self) -> bool:
        """Whether the machine of XMPP holds what alice watches; in the reactor's thread."""
        joint = self.a.router.streams._presence
        return joint is not None and ALICE.key + BETWEEN + BOB.key in joint.presentities._live

    def is_unknown(self) -> bool:
        """Whether alice is told that nobody knows how bob is; in the reactor's thread."""
        followed = embedded(self.a, ALICE).subscription(ALICE, BOB)
        return followed is not None and isinstance(followed.presence, Unknown)

    def alice_follows_by_xmpp(self) -> None:
        """Alice watches bob, whose server agrees and says that he is there."""
        follow(self.a, ALICE, BOB)
        self.wait_for("subscribe")
        self.server_says(f"<presence from='{BOB}' to='{ALICE}' type='subscribed'/>")
        self.server_says(f"<presence from='{BOB}/r' to='{ALICE}'/>")
        wait_seen(self.lab, self.a, ALICE, BOB, Basic.OPEN)


@pytest.fixture
def world(lab: Lab) -> Iterator[World]:
    """a.example and z.example."""
    with ExitStack() as stack:
        yield World(lab, stack)


def test_a_notification_goes_back_by_what_asked_for_it(world: World) -> None:
    """IMX is published and preferred, but z's XMPP server asked: so it is told, and z's IMX router is not."""
    world.publish(world.imx, world.xmpp)
    world.server_says(f"<presence from='{BOB}' to='{ALICE}' type='subscribe'/>")
    world.wait_for("subscribed")
    world.wait_for("")
    publish(world.a, ALICE, Basic.CLOSED)
    world.wait_for("unavailable")
    assert world.links() == {Protocol.XMPP}
    assert world.z.sessions() == []


def test_a_subscription_by_streams_stays_there(world: World) -> None:
    """IMX comes to be published, and preferred: what renews or ends it stays by XMPP; a new one does not."""
    world.publish(world.xmpp)
    world.alice_follows_by_xmpp()
    world.publish(world.imx, world.xmpp)
    assert world.renewed().ok
    assert world.a.call(lambda: embedded(world.a, ALICE).unsubscribe(ALICE, BOB))
    world.lab.wait_until(lambda: not world.lives_by_streams(), "the end at the streams")
    assert world.z.sessions() == []
    follow(world.a, ALICE, BOB)
    world.lab.wait_until(lambda: embedded(world.z, BOB).watchers(BOB), "the new one, by IMX")


def test_a_subscription_by_links_stays_there(world: World) -> None:
    """IMX is withdrawn, XMPP published: what renews it says so; nothing of it is said to the XMPP server."""
    world.publish(world.imx)
    follow(world.a, ALICE, BOB)
    wait_seen(world.lab, world.a, ALICE, BOB, Basic.OPEN)
    world.publish(world.xmpp)
    outcome = world.renewed()
    assert outcome.reason.stage is Stage.DNS
    assert world.server.peers == []
    world.publish(world.imx, world.xmpp)
    assert world.renewed().ok
    assert world.links() == {Protocol.IMX}


def test_presence_is_published_apart(world: World) -> None:
    """IMX for messages alone, beside XMPP: messages go by that, presence by XMPP, though a link is open.

    Without DNSSEC nobody knows that IMX for presence was not taken out of the answers: then it is refused.
    """
    world.lab.zones.secure = True
    world.publish(f"_im._imx 60 IN SRV 0 0 {world.z.endpoint[1]} im", world.xmpp)
    assert world.a.send(str(ALICE), str(BOB)).outcome().ok
    world.alice_follows_by_xmpp()
    assert world.links() == {Protocol.IMX, Protocol.XMPP}
    assert world.a.send(str(ALICE), str(BOB)).outcome().ok
    assert embedded(world.z, BOB).watchers(BOB) == ()
    assert len(world.z.inbox(str(BOB))) == 2


def test_presence_without_proof_that_it_is_published_apart(world: World) -> None:
    """The domain was reached by IMX, so presence falls to XMPP only where DNSSEC says that it may."""
    world.publish(f"_im._imx 60 IN SRV 0 0 {world.z.endpoint[1]} im", world.xmpp)
    assert world.a.send(str(ALICE), str(BOB)).outcome().ok
    follow(world.a, ALICE, BOB)
    world.lab.wait_until(world.is_unknown, "bob is unknown")
    assert world.server.peers == []
    assert world.a.send(str(ALICE), str(BOB)).outcome().ok


@pytest.mark.parametrize("first", ["message", "presence"])
def test_hosts_of_their_own(world: World, first: str) -> None:
    """One IMX router is published for messages, another one for presence: each gets its own, in any order."""
    other = world.lab.router(Z, publish=False)
    allow(other, BOB)
    publish(other, BOB, Basic.CLOSED)
    for_messages = f"_im._imx 60 IN SRV 0 0 {world.z.endpoint[1]} im"
    for_presence = f"_pres._imx 60 IN SRV 0 0 {other.endpoint[1]} pr\npr 60 IN A {other.endpoint[0]}"
    world.publish(for_messages, for_presence)
    if first == "message":
        assert world.a.send(str(ALICE), str(BOB)).outcome().ok
    follow(world.a, ALICE, BOB)
    wait_seen(world.lab, world.a, ALICE, BOB, Basic.CLOSED)
    assert world.a.send(str(ALICE), str(BOB)).outcome().ok
    assert other.inbox(str(BOB)) == []
    assert embedded(world.z, BOB).watchers(BOB) == ()


@pytest.mark.parametrize("status", [Status.FAILURE, Status.TIMEOUT])
def test_presence_that_cannot_be_looked_up(world: World, status: Status) -> None:
    """Only the question for presence fails: messages pass by IMX, presence takes no weaker protocol."""
    world.publish(f"_im._imx 60 IN SRV 0 0 {world.z.endpoint[1]} im", world.xmpp)
    world.lab.zones.fail(f"_pres._imx.{Z}", TYPE_SRV, status)
    follow(world.a, ALICE, BOB)
    world.lab.wait_until(world.is_unknown, "bob is unknown")
    assert world.server.peers == []
    assert world.a.send(str(ALICE), str(BOB)).outcome().ok
    assert embedded(world.z, BOB).watchers(BOB) == ()
    assert world.a.send(str(ALICE), str(BOB)).outcome().ok  # and the one does not hold up the other


def test_a_block_ends_what_is_watched_by_xmpp(world: World) -> None:
    """Whoever watches alice by his XMPP server is told that she is away, and that it is over; row w-33."""
    world.publish(world.xmpp)
    world.server_says(f"<presence from='{BOB}' to='{ALICE}' type='subscribe'/>")
    world.wait_for("subscribed")
    world.wait_for("")
    block(world.a, str(BOB))
    world.wait_for("unavailable")
    world.wait_for("unsubscribed")
    joint = world.a.router.streams._presence
    assert joint is not None
    assert world.a.call(lambda: len(joint.watchers)) == 0


def test_a_block_ends_whom_alice_watches_by_xmpp(world: World) -> None:
    """The server of whom she watched is told that it is over; what it says of him is shown no more: p-38."""
    world.publish(world.xmpp)
    world.alice_follows_by_xmpp()
    block(world.a, str(BOB))
    world.wait_for("unsubscribe")
    world.lab.wait_until(lambda: not world.lives_by_streams(), "the end at the streams")
