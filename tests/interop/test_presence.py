"""Presence, attributes and fetches between three organisations, while their routers stop, die and come back.

Each organisation has one router here: where several processes share an embedded service presence is off, and
two hosts of one domain do not share their subscriptions (docs/decisions/0007).
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.interop.expiry import Life, watch
from tests.interop.federation import Federation
from tests.interop.netlab import wait_until
from tests.interop.presence import Record, Truth, judge, may_be_watched, others, values
from tests.interop.routers import ORGANISATIONS, A, B, C, Organisation, Router

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

#: One of each organisation, which is alone.
ROUTERS: Final = {A: "a1", B: "b1p0", C: "c1"}
DEAD_S: Final = 8.0
#: Lifetime of subscriptions whose renewal must not be what heals them.
LONG_S: Final = 1800
#: One that ends soon; the specification's section 7.6 wants no less.
LIFETIME_S: Final = 10
#: So many of them a renewed subscription is looked at.
LIVES: Final = 3
SETTINGS: Final = {
    "listen.reuse_port": False,
    "links.ping_s": 1,
    "links.dead_s": DEAD_S,
    "dial.connect_timeout_s": 1,
    "dial.hello_timeout_s": 2,
    "dial.backoff_first_s": 0.5,
    "dial.backoff_cap_s": 2,
}
#: For so long may a watcher be shown what is no longer so: until a loss is noticed, and then until his
#: subscription has its turn, 10 s at most (specification section 7.7); and a second.
WRONG_S: Final = DEAD_S + 10 + 1
#: The same where nothing is lost; what a busy machine may need.
CALM_S: Final = 3.0
#: Waiting is given up after this; what matters is judged from the records.
PATIENCE_S: Final = 60.0


class Three:
    """Three organisations whose users all watch each other."""

    def __init__(self, lab: Federation) -> None:
        self.lab = lab
        self.truth = {org: Truth(org) for org in ORGANISATIONS}
        self.records: dict[Organisation, Record] = {}

    def __getitem__(self, org: Organisation) -> Router:
        return self.lab[ROUTERS[org]]

    def begin(self, lifetime_s: int) -> None:
        """Start, publish, subscribe, and wait until all see all.

        Args:
            lifetime_s: what is asked for, and granted, of every subscription.
        """
        self.lab.start(*ROUTERS.values(), settings=SETTINGS)
        for org in ORGANISATIONS:
            may_be_watched(self[org])
            self.publish(org)
        for org in ORGANISATIONS:
            for other in others(org, ORGANISATIONS):
                view = self[org].user.subscribe(other.address, lifetime_s)
                assert view["state"] == "active", view
            self.records[org] = Record(self[org])
        self.all_right()

    def publish(self, *orgs: Organisation) -> None:
        """Let users say something new."""
        for org in orgs:
            self.truth[org].publish(self[org])

    def all_right(self, seconds: float = PATIENCE_S) -> None:
        """Wait until every watcher sees what is so."""
        for org, other in itertools.permutations(ORGANISATIONS, 2):
            self.records[org].until_sees(other.address, self.truth[other].number, seconds)

    def stop(self, org: Organisation) -> None:
        """End a router in order."""
        self.truth[org].gone()
        code = self[org].stop()
        assert code in (0, -signal.SIGTERM), f"{self[org].name} ended with {code}"

    def kill(self, org: Organisation) -> None:
        """End a router as kill -9 does; not in a second that it may forget (docs/operators/state.md)."""
        wait_until(lambda: not self[org].client.status()["store"]["waiting"], "all is written", PATIENCE_S)
        self.truth[org].gone()
        self[org].kill()

    def start(self, org: Organisation) -> None:
        """Start it again; peers may hear of its user before it answers us."""
        self.truth[org].back()
        self[org].start()
        self[org].ready()
        self[org].watched()

    def judge(self, bound_s: float) -> None:
        """See that nobody was wrong for longer than that, or shown an older state again."""
        now = time.monotonic()
        for record in self.records.values():
            record.stop()
        for org, other in itertools.permutations(ORGANISATIONS, 2):
            judge(self.records[org], self.truth[other], bound_s, now)


@pytest.fixture
def three(lab: Federation, request: pytest.FixtureRequest) -> Iterator[Three]:
    """All see all; a test may ask for a short lifetime of the subscriptions by a parameter."""
    three = Three(lab)
    three.begin(getattr(request, "param", LONG_S))
    yield three
    for record in three.records.values():
        record.stop()


def test_all_directions(three: Three) -> None:
    """Subscriptions, notifications, attributes and fetches, each of the three with both others."""
    for org in ORGANISATIONS:
        three[org].user.set_attribute("alias", f"{org.user} the first", ["*"])
    for _ in range(3):
        three.publish(*ORGANISATIONS)
        three.all_right()
    for org, other in itertools.permutations(ORGANISATIONS, 2):
        fetched = three[org].user.fetch(other.address)["state"]
        assert (fetched["status"], fetched["notes"][0]["text"]) == ("open", "4")
        told = three[org].client.attributes(other.address, ["alias"], org.address)
        assert values(told) == {"alias": f"{other.user} the first"}, told
        told = three[org].client.attributes(other.domain, ["subscription-lifetime"], org.address)
        assert values(told) == {"subscription-lifetime": "1800"}, told
        watchers = {one["watcher"]: one["state"] for one in three[other].user.watchers()["watchers"]}
        assert watchers == {one.address: "active" for one in others(other, ORGANISATIONS)}
    three.judge(CALM_S)
    for record in three.records.values():
        assert not [one for user in record.shown for one in record.unknowns(user)]


def test_restarts_in_the_middle(three: Three) -> None:
    """Each router in turn, while the others and then it go on to publish."""
    for org in ORGANISATIONS:
        rest = others(org, ORGANISATIONS)
        three.publish(*rest)
        three.stop(org)
        three.publish(*rest)
        three.start(org)
        three.publish(*ORGANISATIONS)
        three.all_right()
    three.judge(WRONG_S)


def test_the_presentitys_router_is_killed(three: Three) -> None:
    """His watchers are told who cannot be reached, and afterwards what is so; the others notice nothing."""
    killed = time.monotonic()
    three.kill(A)
    for org in (B, C):
        told = three.records[org].until_unknown(A.address, PATIENCE_S)
        assert told.unknown is not None
        assert (told.unknown["domain"], told.unknown["stage"]) == (A.domain, "connect"), told
        assert told.at - killed <= WRONG_S
    three.publish(B, C)
    three.records[B].until_sees(C.address, three.truth[C].number, CALM_S)
    three.records[C].until_sees(B.address, three.truth[B].number, CALM_S)
    three.start(A)
    three.publish(A)
    three.all_right()
    three.publish(*ORGANISATIONS)
    three.all_right(CALM_S)
    three.judge(WRONG_S)
    for org, other in ((B, C), (C, B)):
        assert not three.records[org].unknowns(other.address)


@pytest.mark.parametrize("three", [LIFETIME_S], indirect=True)
def test_expiry_and_renewal(three: Three) -> None:
    """What nobody renews ends in its time; what is renewed outlives its time, and goes on to be told.

    The presentity's side is asked.
    """
    three.kill(C)
    ends = [Life(three[org], C) for org in (A, B)]
    goes_on = [Life(three[A], B), Life(three[B], A)]
    watch([*ends, *goes_on], LIVES * LIFETIME_S)
    for life in ends:
        assert life.renewals == 0
        assert life.end is not None, f"{life.router.name} still has it"
        assert -1 <= life.end - life.due() <= CALM_S, f"{life.router.name}: due {life.due()}, {life.looks}"
    for life in goes_on:
        assert life.end is None, life.looks
        assert life.renewals >= LIVES, life.looks
        assert all(look.left_s is not None and look.left_s <= LIFETIME_S for look in life.looks)
    three.publish(A, B)
    three.records[A].until_sees(B.address, three.truth[B].number, CALM_S)
    three.records[B].until_sees(A.address, three.truth[A].number, CALM_S)
    three.start(C)
    three.publish(C)
    three.all_right()
    for life in ends:
        life.look()
        assert life.looks[-1].left_s is not None, "it was not begun again"
    three.judge(WRONG_S)


def test_cancelling(three: Three) -> None:
    """The presentity's side sees the end at once, and tells that watcher nothing more."""
    three[A].user.unsubscribe(B.address)
    life = Life(three[B], A)
    wait_until(lambda: life.look().left_s is None, "the end of it", CALM_S)
    told_a, told_c = _told(three, B, A), _told(three, B, C)
    three.publish(B)
    three.records[C].until_sees(B.address, three.truth[B].number, CALM_S)
    assert (_told(three, B, A) - told_a, _told(three, B, C) - told_c) == (0, 1)
    assert three.records[A].last(B.address).number is None
    assert [one["presentity"] for one in three[A].user.subscriptions()["subscriptions"]] == [C.address]


def _told(three: Three, org: Organisation, watcher: Organisation) -> int:
    """How often an organisation's router sent a notification to a watcher, by its log."""
    return len(three[org].logged(f"{org.address} to {watcher.address}, notify"))
