"""What strangers may have the router ask: presence that passes is asked for anew after an outage."""

from __future__ import annotations

import random

import pytest

from imxrouter.gateways.xmpp.subscriptions import rounds
from imxrouter.gateways.xmpp.subscriptions.passing import PassingPairs, PassingSettings
from imxrouter.gateways.xmpp.subscriptions.rounds import PACE_BURST, Came, Rounds
from tests.attacks.seams import guarded
from tests.gateways.xmpp.streams.edge_rig import gate_without
from tests.gateways.xmpp.streams.rig import A, B
from tests.gateways.xmpp.streams.test_passing import ALICE as WATCHED
from tests.gateways.xmpp.streams.test_passing import Between
from tests.gateways.xmpp.subscriptions.passing_rig import ALICE, MALLORY, PassingRig


def asked_after(rig: PassingRig, *broken: tuple[str, str], seconds: int = 60) -> list[tuple[str, str]]:
    """Who is asked in whose name, after a start and while streams break each second."""
    made = Rounds(rig.pairs, random.Random(1).random)
    made.begin(rig.pairs.ways(), rig.now)
    asked = []
    for _ in range(seconds):
        rig.now += 1
        made.begin(broken, rig.now)
        for pair in made.take(rig.now, 1000):
            asked.append(pair.ends)
            made.answered(pair, Came.GOT, rig.now)
    return asked


@guarded
def test_stranger_who_has_himself_asked(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory says that Alice may see him, who never asked, so that his server is asked at each start.

    Check: a pair is believed by what our own user did.
    """
    if not guarded:
        monkeypatch.setattr(PassingPairs, "_is_believed", lambda *_: True)
    rig = PassingRig()
    rig.passes("subscribed", MALLORY, ALICE)
    rig.passes("", f"{MALLORY}/x", ALICE)
    assert asked_after(rig) == ([] if guarded else [(ALICE, MALLORY)])


@guarded
def test_stranger_whom_nobody_lets_watch(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory asks to watch Alice, and his server asks for her presence; her server grants him nothing.

    Check: of wishes only those of our own users are remembered, and what is no leave makes no pair.
    """
    if not guarded:
        monkeypatch.setattr(PassingPairs, "_is_believed", lambda *_: True)
        monkeypatch.setattr(PassingPairs, "_wished", lambda self, seen, _now, day: self._add(
            (seen.source, seen.recipient), (seen.to_domain, seen.from_domain), day, granted=True
        ))  # fmt: skip
    rig = PassingRig()
    rig.passes("subscribe", MALLORY, ALICE)
    rig.passes("probe", MALLORY, ALICE)
    rig.passes("unavailable", ALICE, MALLORY)
    assert asked_after(rig) == ([] if guarded else [(MALLORY, ALICE)])


@guarded
def test_stranger_who_breaks_streams(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory, whom Alice watches, cuts his server's stream each second, so that the router asks for all.

    Check: the rounds of questions of one way have a pace.
    """
    if not guarded:
        monkeypatch.setattr(rounds, "PACE_BURST", 10**9)
    rig = PassingRig()
    rig.friends(ALICE, MALLORY)
    asked = len(asked_after(rig, ("m.example", "a.example"), seconds=60))
    assert asked <= PACE_BURST + 4 if guarded else asked >= 25


@guarded
def test_stranger_who_fills_the_table_of_pairs(guarded: bool) -> None:
    """Mallory's program makes friends of Alice under thousands of names, so that no others are remembered.

    Check: the share of one zone.
    """
    rig = PassingRig(PassingSettings(most=100, per_zone=25 if guarded else 10**9))
    for number in range(200):
        rig.passes("subscribed", ALICE, f"u@h{number}.m.example")
    rig.passes("subscribed", ALICE, "bob@b.example")
    assert (("bob@b.example", ALICE) in rig.known()) is guarded
    assert rig.pairs.counts["no-room"] > 0


@guarded
def test_blocked_presentity_who_is_asked_for(guarded: bool) -> None:
    """The operator blocked her since; the router starts anew, and would ask for what passed before.

    Check: what the router asks is judged as a question of the watcher's own server.
    """
    between = Between()
    between.wishes()
    between.says(f"from='{WATCHED}' type='subscribed'")
    if guarded:
        between.b.switch.guard(gate_without(WATCHED))
    between.passing.shaken([(A, B)])
    assert len(between.wait(5)) == (0 if guarded else 1)
    assert between.passing.counts["refused"] == int(guarded)
