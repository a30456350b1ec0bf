"""The failure scenario of FCC-3, with the times that a router has when nobody changes them.

Z's network drops packets while users of X watch one of Z. They are told *unknown* in time, with Z named;
what they write to Z fails with Z named; Y, another peer of X, notices nothing; and all heals by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from imxrouter.admin.client import UserClient
from imxrouter.cli.exits import Exit
from imxrouter.config.sections import Dial, Links
from tests.interop.bystander import Bystander
from tests.interop.federation import Federation
from tests.interop.netlab import Place, wait_until
from tests.interop.presence import Record, Truth, judge, may_be_watched, others, shown_in
from tests.interop.routers import ORDERED, ORGANISATIONS, Organisation, Router
from tests.interop.routers import A as X
from tests.interop.routers import B as Y
from tests.interop.routers import C as Z

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

ROUTERS: Final = {X: "a1", Y: "b1p0", Z: "c1"}
#: What the laboratory shortens for others has its default here.
SETTINGS: Final = {
    "listen.reuse_port": False,
    "links.ping_s": Links().ping_s,
    "links.dead_s": Links().dead_s,
    "dial.connect_timeout_s": Dial().connect_timeout_s,
}
#: FCC-3: "within the keep-alive time (30 s by default)".
KEEP_ALIVE_S: Final = 30.0
#: After the verdict, so that more tries have failed and their pauses have grown.
LONGER_S: Final = 8.0
#: docs/operators/presence.md: the pause before the next try is at most twice the time that the domain has
#: been gone, and 20 s more go by for a connection and until each subscription has its turn.
PAUSE: Final = 2.0
TURN_S: Final = 20.0
#: For what nothing happened to; a busy machine may need it.
CALM_S: Final = 3.0
#: What is late is judged from what was written down, and not by giving up.
PATIENCE_S: Final = 20.0
#: Another watcher at X: the same user at another of its domains.
LATE: Final = f"{X.user}@{ORDERED}"


class Scenario:
    """Three organisations, all of whose users watch each other."""

    def __init__(self, lab: Federation) -> None:
        self.lab = lab
        self.truth = {org: Truth(org) for org in ORGANISATIONS}
        lab.start(*ROUTERS.values(), settings=SETTINGS)
        for org in ORGANISATIONS:
            may_be_watched(self[org])
            self.truth[org].publish(self[org])
        for org in ORGANISATIONS:
            for other in others(org, ORGANISATIONS):
                assert self[org].user.subscribe(other.address)["state"] == "active"
        self.records = {org: Record(self[org]) for org in ORGANISATIONS}
        self.all_right(20)

    def __getitem__(self, org: Organisation) -> Router:
        return self.lab[ROUTERS[org]]

    @property
    def network(self) -> Place:
        """That of Z."""
        return self.lab.place_of(Z)

    @property
    def late(self) -> UserClient:
        """Who watches only since the network is gone."""
        return self[X].client.user(LATE)

    def all_right(self, seconds: float) -> None:
        """Wait until every watcher is shown what is so."""
        deadline = time.monotonic() + seconds
        for org in ORGANISATIONS:
            for other in others(org, ORGANISATIONS):
                left = max(deadline - time.monotonic(), 0.1)
                self.records[org].until_sees(other.address, self.truth[other].number, left)


@pytest.fixture
def scenario(lab: Federation) -> Iterator[Scenario]:
    """All are shown what is so."""
    scenario = Scenario(lab)
    yield scenario
    for record in scenario.records.values():
        record.stop()


def test_the_network_of_a_peer_is_lost(scenario: Scenario) -> None:
    """From the cut until everything is as before."""
    bystander = Bystander(scenario[X], scenario[Y], scenario.truth)
    scenario.lab.deliver(scenario[X], Z)  # so that its silence begins with the cut
    with bystander:
        cut = time.monotonic()
        scenario.network.lose_all()
        scenario.truth[Z].gone()
        under_way = scenario[X].sending(Z.address, "the network is gone, and nobody knows yet")
        _watchers_are_told(scenario, cut)
        _nobody_knows(under_way.outcome())
        _messages_fail(scenario)
        _a_new_subscription_waits(scenario)
        scenario.truth[Z].publish(scenario[Z])  # nobody can hear of it
        time.sleep(LONGER_S)
        for org in (X, Y):
            assert scenario.records[org].last(Z.address).unknown is not None
        scenario.network.heal()
        _heals(scenario, time.monotonic(), time.monotonic() - cut)
    bystander.judge(scenario.records, CALM_S)


def _watchers_are_told(scenario: Scenario, cut: float) -> None:
    """In time; once; by the name of the domain, with stage, reason and advice, in imxctl as well."""
    for org in (X, Y):
        record = scenario.records[org]
        told = record.until_unknown(Z.address, KEEP_ALIVE_S + PATIENCE_S)
        assert told.at - cut <= KEEP_ALIVE_S, f"{org.address} was told after {told.at - cut:.1f} s"
        assert told.unknown is not None
        assert (told.unknown["domain"], told.unknown["stage"]) == (Z.domain, "connect"), told
        assert (told.unknown["reason"], told.unknown["retry"]) == ("connect-timeout", "later"), told
        shown = scenario[org].imxctl_says("subscriptions", org.address)
        assert f"unknown (connect-timeout at stage connect, {Z.domain})" in shown, shown


def _nobody_knows(outcome: dict[str, Any]) -> None:
    """What was under way when the network went ends in time, and in doubt; at Z, not at X."""
    assert (outcome["status"], outcome["stage"]) == ("indeterminant", "peer"), outcome
    assert (outcome["decided_by"], outcome["failed_at"]) == (Z.domain, Z.domain), outcome
    assert outcome["seconds"] <= KEEP_ALIVE_S, outcome


def _messages_fail(scenario: Scenario) -> None:
    """With stage, Z's domain and when to try again: in the answer, imxctl, the trace and the log.

    At once, or with the try that is being made.
    """
    router = scenario[X]
    outcome = router.send(Z.address, "are you there?")
    assert (outcome["status"], outcome["stage"], outcome["failed_at"]) == ("failure", "connect", Z.domain)
    assert (outcome["retry"], outcome["retry_after_s"] > 0) == ("later", True), outcome
    assert outcome["seconds"] <= Dial().connect_timeout_s + CALM_S, outcome
    trace = router.client.trace(outcome["id"])
    verdict = trace["verdict"]
    assert verdict is not None
    for name in ("status", "stage", "reason", "failed_at", "retry", "retry_after_s"):
        assert verdict[name] == outcome[name], (name, verdict)
    words = f"failure: connect-timeout at stage connect towards {Z.domain}"
    assert words in router.imxctl_says("send", X.address, Z.address, "are you there?", exits=Exit.FAILED)
    assert words in router.imxctl_says("trace", outcome["id"])
    assert router.logged(outcome["id"], '"reason":"connect-timeout"', '"stage":"connect"', Z.domain)
    assert router.logged(f"{Z.domain} cannot be reached: connect-timeout")


def _a_new_subscription_waits(scenario: Scenario) -> None:
    """Its first request fails, with Z named; it stays wanted."""
    view = scenario.late.subscribe(Z.address)
    assert (view["state"], view["stage"], view["domain"]) == ("asked", "connect", Z.domain), view
    assert view["failures"] > 0


def _heals(scenario: Scenario, healed: float, gone_s: float) -> None:
    """All that concerns Z is right again within the stated time, with nobody doing anything."""
    bound_s = PAUSE * gone_s + TURN_S
    scenario.all_right(bound_s + PATIENCE_S)
    wait_until(lambda: _late_sees(scenario), f"{LATE} sees {Z.address}", bound_s + PATIENCE_S)
    assert time.monotonic() - healed <= bound_s
    scenario.lab.deliver(scenario[X], Z)
    scenario.lab.deliver(scenario[Z], X)
    for org, other in ((X, Z), (Y, Z), (Z, X), (Z, Y)):
        judge(scenario.records[org], scenario.truth[other], KEEP_ALIVE_S, time.monotonic())


def _late_sees(scenario: Scenario) -> bool:
    [view] = scenario.late.subscriptions()["subscriptions"]
    presence = view["presence"]
    return presence is not None and shown_in(presence).number == scenario.truth[Z].number
