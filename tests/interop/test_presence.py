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

from tests.interop.federation import Federation
from tests.interop.netlab import wait_until
from tests.interop.presence import Record, Truth, judge, may_be_watched, others, values
from tests.interop.routers import ORGANISATIONS, A, B, C, Organisation, Router

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

#: One of each organisation, which is alone.
ROUTERS: Final = {A: "a1", B: "b1p0", C: "c1"}
DEAD_S: Final = 8.0
#: Subscriptions are renewed after half of this at the earliest, and end after it.
LIFETIME_S: Final = 16
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

    def begin(self) -> None:
        """Start, publish, subscribe, and wait until all see all."""
        self.lab.start(*ROUTERS.values(), settings=SETTINGS)
        for org in ORGANISATIONS:
            may_be_watched(self[org])
            self.publish(org)
        for org in ORGANISATIONS:
            for other in others(org, ORGANISATIONS):
                view = self[org].user.subscribe(other.address, LIFETIME_S)
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
        """End a router as kill -9 does."""
        self.truth[org].gone()
        self[org].kill()

    def start(self, org: Organisation) -> None:
        """Start it again."""
        self[org].start()
        self[org].ready()
        self.truth[org].back()

    def judge(self, bound_s: float) -> None:
        """See that nobody was wrong for longer than that, or shown an older state again."""
        now = time.monotonic()
        for record in self.records.values():
            record.stop()
        for org, other in itertools.permutations(ORGANISATIONS, 2):
            judge(self.records[org], self.truth[other], bound_s, now)


@pytest.fixture
def three(lab: Federation) -> Iterator[Three]:
    """All see all."""
    three = Three(lab)
    three.begin()
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
    """Each router in turn, while the others and then it go on to publish; renewals go on all the time."""
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
    """His watchers are told who cannot be reached; what nobody renews ends; afterwards all is right again."""
    killed = time.monotonic()
    three.kill(A)
    for org in (B, C):
        told = three.records[org].until_unknown(A.address, PATIENCE_S)
        assert told.unknown is not None
        assert (told.unknown["domain"], told.unknown["stage"]) == (A.domain, "connect"), told
        assert told.at - killed <= WRONG_S
    three.publish(B, C)
    wait_until(lambda: not _watches(three, A, B) and not _watches(three, A, C), "what nobody renews ends", 40)
    assert time.monotonic() - killed >= LIFETIME_S / 10  # renewed at 90 percent of it at the latest
    assert _watches(three, B, C) > 0  # renewed meanwhile
    assert _watches(three, C, B) > 0
    three.start(A)
    three.publish(A)
    three.all_right()
    three.publish(*ORGANISATIONS)
    three.all_right(CALM_S)
    three.judge(WRONG_S)


def _watches(three: Three, watcher: Organisation, org: Organisation) -> float:
    """For how long a subscription goes on at its presentity's side; 0 where there is none."""
    watchers = three[org].user.watchers()["watchers"]
    return max((one["left_s"] for one in watchers if one["watcher"] == watcher.address), default=0.0)
