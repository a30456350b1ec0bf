"""The tables of transitions: each entry is reached by what really happens, and nothing else counts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from imxrouter.gateways.xmpp.subscriptions import (
    presentity_actions,
    presentity_pairs,
    presentity_table,
    watcher_actions,
    watcher_pairs,
    watcher_table,
)
from imxrouter.gateways.xmpp.subscriptions.effects import Effects
from imxrouter.gateways.xmpp.subscriptions.kept import names_of
from imxrouter.gateways.xmpp.subscriptions.watcher_pairs import WatcherSettings
from imxrouter.gateways.xmpp.translate.presence import presence_of
from imxrouter.model.operations import EndReason
from imxrouter.model.presence import Presence
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.owed import Decision
from tests.gateways.xmpp.subscriptions import test_presentity, test_watcher
from tests.gateways.xmpp.subscriptions.presentity_rig import PresentityRig
from tests.gateways.xmpp.subscriptions.watcher_rig import ACTIVE, PENDING, TERMINATED, WatcherRig, kinds
from tests.gateways.xmpp.translate.presences import ALICE, BOB

W, P = watcher_table, presentity_table


def runs(module: Any, rig: Callable[[], Any]) -> None:
    """Every test of a module."""
    for name, test in vars(module).items():
        if not name.startswith("test_"):
            continue
        marks = [one for one in getattr(test, "pytestmark", []) if one.name == "parametrize"]
        for row in marks[0].args[1] if marks else [()]:
            wanted = list(inspect.signature(test).parameters)
            cells = row if isinstance(row, tuple) else (row,)
            test(*([rig()] if "rig" in wanted else []), *cells)


@pytest.mark.parametrize(
    ("actions", "table", "module", "rig"),
    [
        (watcher_actions.WatcherActions, W.TRANSITIONS, test_watcher, WatcherRig),
        (presentity_actions.PresentityActions, P.TRANSITIONS, test_presentity, PresentityRig),
    ],
    ids=["watcher", "presentity"],
)
def test_every_entry_is_reached(
    actions: Any, table: Any, module: Any, rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the tests that tell what happens, and by the ones of this page below."""
    reached: set[Any] = set()
    happens = actions._happens

    def noted(self: Any, pair: Any, event: Any, what: Any) -> None:
        reached.add((pair.state, event))
        happens(self, pair, event, what)

    monkeypatch.setattr(actions, "_happens", noted)
    runs(module, rig)
    the_rest(rig)
    assert set(table) - reached == set()


def the_rest(rig: Any) -> None:
    """What no test of its own tells."""
    if rig is WatcherRig:
        the_rest_of_w()
    else:
        the_rest_of_p()


def the_rest_of_w() -> None:
    """Refusals, ends and errors in states where little happens."""
    one = WatcherRig()
    assert one.stanza("subscribe") + one.stanza("subscribe") == []
    assert one.answer(ACTIVE) + one.stanza("error") == []
    one.notify(state=TERMINATED, why=EndReason.PROBATION)
    one.wait(300)
    assert one.answer(ACTIVE) + one.notify(state=TERMINATED, why=EndReason.TIMEOUT) == []
    one.restart()
    assert kinds(one.watchers.removed(BOB.domain, one.now)) == ["unsubscribed"]
    two = WatcherRig()
    two.approve("r1")
    assert two.stanza("subscribe") == ["subscribed", "available r1"]
    assert two.notify(state=PENDING) == []
    for state, reason in ((ACTIVE, None), (ACTIVE, Reason.UNREACHABLE)):
        before = len(two.operations)
        while len(two.operations) == before:
            two.wait(10)
        assert two.answer(state, reason=reason) == []
    assert two.notify(state=TERMINATED, why=EndReason.TIMEOUT) == []
    assert two.notify(state=TERMINATED, why=EndReason.GIVEUP) == ["error r1", "error"]
    for _ in range(4):
        two.stanza("error")
    assert two.state() is W.State.ASLEEP
    two.answer(TERMINATED, 0)
    assert two.stanza("subscribe") == ["subscribed"]
    for _ in range(3):
        two.stanza("error")
    two.restart()
    assert kinds(two.watchers.removed(BOB.domain, two.now)) == ["unsubscribed"]
    three = WatcherRig()
    three.approve("r1")
    three.stanza("unsubscribe")
    three.watchers.settings = WatcherSettings(asking_per_watcher=0)
    assert three.stanza("subscribe") + three.stanza("error") == ["error"]
    assert kinds(three.watchers.removed(BOB.domain, three.now)) == ["unsubscribed"]


def the_rest_of_p() -> None:
    """The same of the other side."""
    for state in ("asked", "dormant", "denied", "from"):
        one = PresentityRig()
        assert one.asks(0) == []
        one.asks()
        assert one.says("unavailable") == []
        if state == "asked":
            one.asks(0)
            assert one.asks(ident=b"s2") == []
        elif state == "denied":
            one.says("unsubscribed")
        else:
            one.says("subscribed")
            assert one.says("subscribed") == []
        if state == "dormant":
            one.asks(0)
        one.restart()
        one.took(one.presentities.removed(ALICE.domain, one.now))
        assert one.state() is P.State.NONE
    two = PresentityRig()
    two.approve("r1")
    two.asks(0)
    assert two.says("unsubscribed") == []
    assert two.state() is P.State.DENIED


@pytest.mark.parametrize(
    ("state", "event"),
    [one for one in product(W.State, W.Event) if one not in W.TRANSITIONS],
    ids=lambda one: one.name,
)
def test_what_is_not_in_table_w_changes_nothing(state: W.State, event: W.Event) -> None:
    """It is dropped and counted."""
    rig = WatcherRig()
    pair = watcher_pairs.Pair(BOB, ALICE)
    pair.state = state
    what = watcher_pairs.Happening(0.0, Effects(), "i", b"f", presence=Presence(ALICE))
    rig.watchers._happens(pair, event, what)
    assert (pair.state, what.effects, len(rig.watchers)) == (state, Effects(), 0)
    assert rig.store.items("xmpp-watching") == rig.store.items("xmpp-watches") == []
    assert rig.watchers.counts == {f"odd {state.value} {event.value}": 1}
    assert rig.watchers.due(100.0) == Effects()


@pytest.mark.parametrize(
    ("state", "event"),
    [one for one in product(P.State, P.Event) if one not in P.TRANSITIONS],
    ids=lambda one: one.name,
)
def test_what_is_not_in_table_p_changes_nothing(state: P.State, event: P.Event) -> None:
    """It is dropped and counted."""
    rig = PresentityRig()
    pair = presentity_pairs.Pair(BOB, ALICE)
    pair.state = state
    what = presentity_pairs.Happening(0.0, form=b"f")
    rig.presentities._happens(pair, event, what)
    assert (pair.state, what.effects, len(rig.presentities)) == (state, Effects(), 0)
    assert rig.store.items("xmpp-watched") == rig.store.items("xmpp-onlookers") == []
    assert rig.presentities.counts == {f"odd {state.value} {event.value}": 1}


def test_the_check_of_consents_is_what_keeps_presence_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it who withdrew would go on being shown: the test of the leak can fail."""

    def leaks() -> list[str]:
        rig = PresentityRig()
        rig.approve("r1")
        pair = rig.presentities._pairs[names_of(BOB, ALICE)]
        pair.state = P.State.DENIED  # as a fault anywhere else would leave it
        rig.says("", "r2")
        rig.presentities._notifying.decide(BOB, ALICE, Decision.ALLOW, rig.now)
        rig.presentities._notifying._tell(rig.presentities._notifying._mine(BOB, ALICE)[0])
        return [one for one in rig.wait(3) if ":" in one]

    assert leaks() == []
    actions = presentity_actions.PresentityActions

    def all_may(_self: Any, owed: Any, pair: Any) -> Any:
        return presence_of(owed.presentity, pair.resources.all())

    monkeypatch.setattr(actions, "_may_be_told", all_may)
    assert leaks() == ["active: r1"]
