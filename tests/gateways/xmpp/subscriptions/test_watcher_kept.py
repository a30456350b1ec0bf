"""What is asked for in a watcher's name, who may see whom, and what is left of it after a restart."""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp.subscriptions.watcher_table import State
from imxrouter.model.address import Address
from imxrouter.model.operations import EndReason
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.subscriptions.watcher_rig import ACTIVE, PENDING, TERMINATED, WatcherRig, open_state
from tests.gateways.xmpp.translate.presences import ALICE, BOB

CAROL = Address.parse("carol@b.example")


@pytest.fixture
def rig() -> WatcherRig:
    """Bob, who watches nobody yet."""
    return WatcherRig()


def test_who_may_be_seen(rig: WatcherRig) -> None:
    """Whom somebody else let watch, and of his programs those that are shown; nobody else."""
    watchers = rig.watchers
    assert not watchers.shown(BOB, ALICE)
    rig.stanza("subscribe")
    rig.answer(PENDING)
    assert not watchers.shown(BOB, ALICE)
    rig.notify(open_state("r1"))
    assert watchers.shown(BOB, ALICE)
    assert watchers.shown(BOB, ALICE, "r1")
    assert not watchers.shown(BOB, ALICE, "r2")
    assert not watchers.shown(CAROL, ALICE)
    assert not watchers.shown(ALICE, BOB)
    rig.notify(open_state())
    assert watchers.shown(BOB, ALICE)
    assert not watchers.shown(BOB, ALICE, "r1")
    rig.stanza("unsubscribe")
    assert not watchers.shown(BOB, ALICE)


def test_whom_somebody_watches(rig: WatcherRig) -> None:
    """His own alone, by address, and none that he has given up."""
    rig.approve("r1")
    dave = Address.parse("dave@a.example")
    rig.watchers.stanza(BOB, dave, "subscribe", rig.now)
    rig.watchers.stanza(CAROL, ALICE, "subscribe", rig.now)
    assert [one.presentity for one, _ in rig.watchers.wanted_by(BOB, rig.now)] == [ALICE, dave]
    assert [one.presentity for one, _ in rig.watchers.wanted_by(CAROL, rig.now)] == [ALICE]
    rig.stanza("unsubscribe")
    assert rig.state() is State.ENDING
    assert [one.presentity for one, _ in rig.watchers.wanted_by(BOB, rig.now)] == [dave]


def test_what_is_written_to_others_shows_interest_in_nobody(rig: WatcherRig) -> None:
    """Nor in whom he is not yet allowed to see."""
    rig.approve("r1")
    [pair] = rig.watchers.pairs()
    day = pair.asked_day
    rig.wait(3 * 86_400)
    rig.watchers.active(BOB, CAROL, rig.now)
    assert pair.asked_day == day
    rig.watchers.active(BOB, ALICE, rig.now)
    assert pair.asked_day == day + 3


def test_the_form_of_a_wish_is_sent_with_it_alone(rig: WatcherRig) -> None:
    """A renewal asks nobody anew, and brings no stanza."""
    rig.stanza("subscribe", form=b"xmpp\0<presence/>")
    assert rig.asked().original_form == b"xmpp\0<presence/>"
    rig.answer(PENDING)
    rig.notify(open_state("r1"))
    before = len(rig.operations)
    while len(rig.operations) < before + 3:
        rig.wait(60)
        if len(rig.operations) > before:
            rig.answer(ACTIVE)
    assert [one.original_form for one in rig.operations[before:]] == [b""] * 3


def test_a_fetch_that_tells_nothing_is_no_approval(rig: WatcherRig) -> None:
    """The other side answers it with a notification without presence (row w-38)."""
    rig.stanza("probe", "p1")
    assert rig.notify(None, TERMINATED, EndReason.TIMEOUT) == ["unsubscribed"]
    assert rig.state() is State.NONE
    assert rig.wait(60) == []


def test_who_probed_in_vain_knows_what_failed(rig: WatcherRig) -> None:
    """The error has the id of the probe (row w-39)."""
    rig.stanza("probe", "p1")
    assert rig.answer(reason=Reason.UNREACHABLE) == ["error"]
    assert rig.stanzas[-1].id == "p1"


def test_a_subscription_without_a_wish_is_forgotten_at_the_start(rig: WatcherRig) -> None:
    """The table of wishes alone decides; nothing of it is left in the store."""
    rig.approve("r1")
    for key, _, _ in rig.store.items("xmpp-watching"):
        rig.store.remove("xmpp-watching", key)
    assert len(rig.store.items("xmpp-watches")) == 1
    rig.restart()
    before = len(rig.operations)
    assert rig.wait(3600) == []
    assert len(rig.operations) == before
    assert rig.store.items("xmpp-watches") == []


def test_a_subscription_goes_on_after_a_restart_under_its_id(rig: WatcherRig) -> None:
    """The other side knows it by that: another one would be a second one there."""
    rig.approve("r1")
    ident = rig.operations[-1].subscription_id
    rig.restart()
    asked = rig.asked()
    assert (asked.subscription_id, asked.duration_s) == (ident, 1800)
