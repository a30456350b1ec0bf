"""What is kept of those who watch a user of XMPP: how much, until when, and when something is due for it."""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp.subscriptions.presentity_pairs import PresentitySettings
from imxrouter.gateways.xmpp.subscriptions.presentity_table import State
from imxrouter.gateways.xmpp.subscriptions.probes import ALL_S, OPENED_AGAIN_S
from imxrouter.model.address import Address
from tests.gateways.xmpp.subscriptions.presentity_rig import PresentityRig
from tests.gateways.xmpp.subscriptions.watcher_rig import WALL
from tests.gateways.xmpp.translate.presences import ALICE, BOB

DAY_S = 86_400


@pytest.fixture
def rig() -> PresentityRig:
    """Alice, whom nobody watches yet."""
    return PresentityRig()


def test_a_watcher_who_comes_back_is_not_forgotten(rig: PresentityRig) -> None:
    """The time that his wish, or the consent he has, was given when he left counts no more."""
    rig.asks()
    rig.asks(0)
    rig.wait(6 * DAY_S)
    rig.asks(8 * DAY_S, b"s2")
    begun = rig.now
    while rig.now < begun + 20 * DAY_S:
        rig.wait(1600)
        rig.asks(ident=b"s2")
    assert rig.state() is State.ASKED
    rig.approve("r1")
    rig.asks(0, b"s1")
    rig.asks(0, b"s2")
    assert rig.state() is State.DORMANT
    rig.wait(179 * DAY_S)
    rig.asks(ident=b"s3")
    for _ in range(200):
        rig.wait(1600)
        rig.asks(ident=b"s3")
    assert (rig.state(), rig.kept()) == (State.FROM, "from")
    assert not any(one.startswith("odd") for one in rig.presentities.counts)


def test_it_is_known_since_when_it_stands_so(rig: PresentityRig) -> None:
    """Since the wish, the approval, the end; what changes nothing does not move it, nor does a restart."""

    def since() -> float:
        [pair] = rig.presentities.pairs()
        return pair.since - WALL

    rig.wait(10)
    rig.asks()
    rig.wait(10)
    rig.asks(0)
    rig.asks()
    assert since() == 10
    rig.says("subscribed")
    rig.wait(10)
    rig.asks()
    rig.says("subscribed")
    assert since() == 20
    rig.restart()
    assert since() == 20
    rig.asks(0)
    assert since() == 30


def test_who_comes_back_at_once_is_told_what_is_so_then(rig: PresentityRig) -> None:
    """What was known while he watched is forgotten: the user is not offline because nothing is kept."""
    rig.approve("r1")
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(1) == ["probe"]
    rig.says("", "r1")
    rig.wait(3)
    assert rig.asks(0) == ["unavailable"]
    assert rig.presentities.state_for(BOB, ALICE) is None
    assert rig.asks(ident=b"s2") == ["probe"]
    assert rig.presentities.state_for(BOB, ALICE) is None
    rig.says("", "r2")
    assert rig.wait(3) == ["active: r2"]
    seen = rig.presentities.state_for(BOB, ALICE)
    assert seen is not None
    assert [one.id for one in seen.tuples] == ["ID-r2"]


def test_what_a_fetch_asked_for_is_not_asked_for_anew(rig: PresentityRig) -> None:
    """Nobody watches: a day after a fetch that nothing answered, nothing is due."""
    rig.approve("r1")
    rig.asks(0)
    rig.wait(120)
    assert rig.asks(0, b"f1") == ["probe"]
    assert rig.wait(2 * DAY_S) == ["terminated timeout: -offline"]
    assert rig.presentities.next_due(rig.now) > rig.now + DAY_S
    assert not any(one.startswith("odd") for one in rig.presentities.counts)


def test_it_is_known_when_something_is_due(rig: PresentityRig) -> None:
    """Soon where something is to be told or asked, and not before it is where nothing is."""
    rig.approve("r1")
    rig.wait(5)
    assert rig.presentities.next_due(rig.now) > rig.now + 30
    rig.says("", "r2")
    assert rig.now < rig.presentities.next_due(rig.now) <= rig.now + 0.75
    assert rig.wait(1) == ["active: r1 r2"]
    assert rig.presentities.next_due(rig.now) > rig.now + 30
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.presentities.next_due(rig.now) <= rig.now + 0.25
    assert rig.wait(0.25) == ["probe"]
    assert rig.now < rig.presentities.next_due(rig.now) <= rig.now + ALL_S + 0.25


def test_what_waits_for_the_other_answers_wakes_nobody(rig: PresentityRig) -> None:
    """A change that came with the first answer is told with the last: until then nothing is due for it."""
    rig.approve("r1")
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(1) == ["probe"]
    rig.says("", "r2")
    for _ in range(6):
        assert rig.wait(0.25) == []
        assert rig.presentities.next_due(rig.now) > rig.now
    assert rig.wait(0.5) == ["active: r2 -r1"]


def test_what_is_remembered_of_streams_that_were_opened_is_forgotten(rig: PresentityRig) -> None:
    """Whoever opens them for ever new domains costs no room."""
    for number in range(5):
        watcher = Address.parse(f"bob@w{number}.example")
        rig.asks(watcher=watcher)
        rig.says("subscribed", to=watcher)
        rig.says("", "r1", to=watcher)
    rig.wait(3)
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(1) == ["probe"] * 5
    for number in range(5):
        rig.presentities.opened(ALICE.domain, f"w{number}.example", rig.now)
    assert len(rig.presentities._opened) == 5
    rig.wait(OPENED_AGAIN_S)
    rig.presentities.opened(ALICE.domain, "x.example", rig.now)
    assert not rig.presentities._opened


def test_nothing_is_kept_of_a_consent_that_is_given_back(rig: PresentityRig) -> None:
    """Nor of what a fetch brought just before: the watcher's domain has its share again."""
    rig.approve("r1")
    rig.asks(0)
    over = rig.now + 180 * DAY_S
    while rig.now < over - 30:
        rig.wait(min(DAY_S, over - 30 - rig.now))
    assert rig.asks(0, b"f1") == ["probe"]
    rig.says("", "r1")
    assert rig.wait(3) == ["terminated timeout: r1"]
    assert rig.presentities._shares.total(BOB.domain.wire) > 0
    assert rig.wait(30) == ["unsubscribe"]
    assert rig.presentities._shares.total(BOB.domain.wire) == 0


@pytest.mark.parametrize(
    ("bounds", "how"),
    [
        (bounds, how)
        for bounds in (
            PresentitySettings(per_zone=1), PresentitySettings(per_presentity=1), PresentitySettings(most=1)
        )
        for how in ("cancelled", "removed", "given back", "refused")
    ],
)  # fmt: skip
def test_who_goes_leaves_the_room_that_he_took(bounds: PresentitySettings, how: str) -> None:
    """Neither more nor less: after him one comes in, and no second one."""
    rig = PresentityRig(bounds)
    others = [Address.parse(f"{name}@b.example") for name in ("x", "y", "z")]
    for watcher in others[:2]:
        rig.asks(watcher=watcher)
        assert rig.answer_words == "pending 1800"
        rig.asks(ident=b"s2")
        assert rig.answer_words == "busy"
        if how == "cancelled":
            rig.asks(0, kind="unsubscribe", watcher=watcher)
        elif how == "removed":
            rig.presentities.blocked(watcher, ALICE, rig.now)
        elif how == "given back":
            rig.says("subscribed", to=watcher)
            rig.asks(0, watcher=watcher)
            rig.wait(182 * DAY_S)
        else:
            rig.says("unsubscribed", to=watcher)
            rig.asks(ident=b"s3")
            assert rig.answer_words == "busy"
            rig.wait(2 * DAY_S)
        assert len(rig.presentities) == 0
    rig.asks(watcher=others[2])
    assert rig.answer_words == "pending 1800"
    rig.asks(ident=b"s4")
    assert rig.answer_words == "busy"
