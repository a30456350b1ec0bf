"""Table P: what watchers elsewhere are told of a user of XMPP, and what his service is asked."""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp.subscriptions.presentity_pairs import PresentitySettings
from imxrouter.gateways.xmpp.subscriptions.presentity_table import TRANSITIONS, Event, State
from imxrouter.gateways.xmpp.subscriptions.probes import (
    ALL_S,
    BETWEEN_S,
    OPENED_S,
    SILENT_S,
    SILENT_TRIES,
    WAITED_S,
    WAY_S,
)
from imxrouter.model.address import Address
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.presence import Presence, Unknown
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.subscriptions.presentity_rig import PresentityRig
from tests.gateways.xmpp.translate.presences import ALICE, BOB

DAY_S = 86_400
AWAY = "<show>away</show>"


@pytest.fixture
def rig() -> PresentityRig:
    """Alice, whom nobody watches yet."""
    return PresentityRig()


def test_an_approval_is_told_with_the_presence_that_follows(rig: PresentityRig) -> None:
    """One notification for a login with several stanzas."""
    assert rig.asks(form=b"<presence/>") == ["subscribe"]
    assert rig.answer_words == "pending 1800"
    assert rig.stanzas[-1].form == b"<presence/>"
    assert (rig.kept(), rig.state()) == ("asked", State.ASKED)
    assert rig.says("subscribed", form=b"<s/>") == []
    assert rig.kept() == "from"
    assert rig.says("", "r1") + rig.says("", "r2") + rig.says("", "r1", AWAY) == []
    assert rig.wait(5) == ["active: r1 r2"]
    assert rig.told[-1].original_form == b"<s/>"
    assert rig.wait(60) == []


def test_an_approval_without_presence_is_told_and_asked_for(rig: PresentityRig) -> None:
    """After two seconds; who has no resource is offline."""
    rig.asks()
    rig.says("subscribed")
    assert rig.wait(1) == ["active: -offline"]
    assert rig.wait(2) == ["probe"]
    assert rig.says("", "r1") == []
    assert rig.wait(4) == ["active: r1"]


def test_a_second_request_asks_the_user_once(rig: PresentityRig) -> None:
    """A renewal and another program of the same watcher; a fetch is in vain."""
    rig.asks()
    assert rig.asks() == []
    assert rig.asks(ident=b"s2") == ["pending"]  # the first one, lest nobody knows of it any more
    assert rig.asks(0, b"f") == []
    assert rig.answer_words == "pending 0"
    assert rig.approve("r1") == ["active: r1", "active: r1"]


@pytest.mark.parametrize("how", ["unsubscribed", "error"])
def test_a_refusal_is_told_and_holds(rig: PresentityRig, how: str) -> None:
    """What comes later is answered as for a user who does not exist, and the user is left in peace."""
    rig.asks()
    inside = "<error type='cancel'><service-unavailable/></error>" if how == "error" else ""
    assert rig.says(how, inside=inside, form=b"<u/>" if not inside else b"") == ["terminated rejected"]
    assert rig.told[-1].original_form == (b"<u/>" if not inside else b"")
    assert (rig.state(), rig.kept()) == (State.DENIED, "denied")
    for duration in (1800, 0):
        assert rig.asks(duration, b"s2") == []
        assert (rig.answer_words, rig.outcome.disclosed().reason) == ("blocked", Reason.NOT_DELIVERED)
    rig.wait(605 if how == "error" else DAY_S + 5)
    assert (rig.state(), rig.kept()) == (State.NONE, "none")


@pytest.mark.parametrize(("kind", "resource"), [("probe", ""), ("shout", ""), ("error", "r1")])
def test_other_words_decide_nothing(rig: PresentityRig, kind: str, resource: str) -> None:
    """Neither types that are none of his, nor an error of one of his programs."""
    rig.asks()
    assert rig.says(kind, resource, "<error type='cancel'/>") + rig.wait(5) == []
    assert rig.state() is State.ASKED
    assert rig.presentities.counts["odd-type"] == 1
    rig.says("subscribed")
    rig.wait(3)
    assert rig.says(kind, resource, "<error type='cancel'/>") == []
    assert rig.state() is State.FROM


def test_an_error_that_passes_is_tried_again(rig: PresentityRig) -> None:
    """With pauses that grow, while the watcher renews."""
    rig.asks(DAY_S * 9)
    wait = "<error type='wait'><remote-server-timeout/></error>"
    assert rig.says("error", inside=wait) == []
    assert rig.state() is State.ASKED
    moments = []
    for _ in range(4):
        begun = rig.now
        while "subscribe" not in rig.wait(30):
            assert rig.now < begun + DAY_S
        moments.append(rig.now - begun)
        rig.says("error", inside=wait)
    assert moments == sorted(moments)
    assert moments[-1] > 4 * moments[0] - 60


def test_the_user_is_asked_again_after_a_day(rig: PresentityRig) -> None:
    """And not once the watcher is gone."""
    rig.asks(7 * DAY_S)
    rig.asks(1800)
    said = []
    for _ in range(60):
        said += rig.wait(1700)
        rig.asks(1800)
    assert said == ["subscribe"]
    assert rig.wait(DAY_S * 2) == ["terminated timeout"]


def test_a_late_approval_is_kept(rig: PresentityRig) -> None:
    """The watcher is gone; when he comes back he is allowed at once."""
    rig.asks()
    assert rig.asks(0) == []
    assert rig.answer_words == "terminated 0"
    assert rig.says("subscribed") == []
    assert rig.state() is State.DORMANT
    assert rig.asks(ident=b"s2") == ["probe"]
    assert rig.answer_words == "active 1800"
    assert rig.says("", "r1") == []
    assert rig.wait(3) == ["active: r1"]


def test_a_wish_is_forgotten_a_week_after_the_watcher_left(rig: PresentityRig) -> None:
    """So that strangers' wishes do not pile up."""
    rig.asks()
    rig.asks(0)
    rig.wait(6 * DAY_S)
    assert rig.state() is State.ASKED
    rig.wait(2 * DAY_S)
    assert (rig.state(), rig.kept()) == (State.NONE, "none")


def test_presence_is_told_and_gone_is_told_once(rig: PresentityRig) -> None:
    """A closed tuple stands in one state; the last one leaves `offline`."""
    rig.approve("r1", "r2")
    rig.says("unavailable", "r1", "<status>bye</status>")
    assert rig.wait(2) == ["active: r2 -r1"]
    told = rig.told[-1].presence
    assert isinstance(told, Presence)
    assert [one.notes[0].text for one in told.tuples if one.notes] == ["bye"]
    rig.says("", "r2", AWAY)
    assert rig.wait(2) == ["active: r2"]
    rig.says("unavailable")
    assert rig.wait(2) == ["active: -r2"]
    assert rig.asks() == ["active: -r2"]
    rig.says("unavailable", "r9")
    assert rig.asks() == ["active: -offline"]


def test_what_means_the_same_is_not_told_again(rig: PresentityRig) -> None:
    """A client that repeats itself costs nobody anything."""
    rig.approve("r1")
    for _ in range(100):
        assert rig.says("", "r1") == []
    assert rig.wait(10) == []
    assert rig.presentities.counts["same"] >= 100


def test_a_storm_is_one_notification_a_second(rig: PresentityRig) -> None:
    """The newest state wins."""
    rig.approve("r1")
    told = []
    for number in range(400):
        rig.says("", "r1", AWAY if number % 2 else "")
        told += rig.wait(0.25)
    told += rig.wait(10)
    assert len(told) <= 105


def test_a_state_that_was_not_taken_is_told_again(rig: PresentityRig) -> None:
    """With what is newest then."""
    rig.answer = lambda _told: failure(Reason.UNREACHABLE)
    assert rig.approve("r1") == ["active: r1"]
    rig.says("", "r2")
    rig.answer = lambda _told: SUCCESS
    assert rig.wait(30) == ["active: r1 r2"]
    assert rig.wait(30) == []


def test_withdrawing_is_told_and_forgets_the_states(rig: PresentityRig) -> None:
    """No notification after it has presence."""
    rig.approve("r1")
    assert rig.says("unsubscribed") == ["terminated rejected"]
    assert rig.says("", "r1") + rig.wait(120) == []
    assert rig.told[-1].presence is None


def test_the_consent_outlives_the_subscription(rig: PresentityRig) -> None:
    """Its end and its expiry are the same; the user's service learns that the watcher is gone."""
    rig.approve("r1")
    assert rig.asks(0) == ["unavailable"]
    assert (rig.state(), rig.kept()) == (State.DORMANT, "dormant")
    assert rig.says("", "r1") + rig.wait(10) == []
    rig.asks(100, b"s2")
    rig.says("", "r1")
    said = rig.wait(150)
    assert [one for one in said if one != "probe"] == ["active: r1", "unavailable", "terminated timeout"]


def test_a_cancelled_request_ends_the_consent(rig: PresentityRig) -> None:
    """With the very stanza, where it may be used; for asked, watched and dormant ones."""
    for prepare in ("asked", "from", "dormant"):
        rig.asks()
        if prepare != "asked":
            rig.says("subscribed")
        if prepare == "dormant":
            rig.asks(0)
        assert rig.asks(0, b"s1", "unsubscribe", b"<u/>") == ["unsubscribe"]
        assert rig.stanzas[-1].form == b"<u/>"
        assert (rig.state(), rig.kept()) == (State.NONE, "none")
        assert rig.says("", "r1") + rig.wait(5) == []


def test_one_of_two_subscriptions_ends(rig: PresentityRig) -> None:
    """The other goes on, whatever form the end has."""
    rig.approve("r1")
    rig.asks(ident=b"s2")
    assert rig.asks(0, b"s1", "unsubscribe", b"<u/>") == []
    assert rig.state() is State.FROM
    rig.says("", "r1", AWAY)
    assert rig.wait(2) == ["active: r1"]


def test_a_fetch_with_a_consent_is_answered_from_a_probe(rig: PresentityRig) -> None:
    """Within two seconds; a second one within the minute from what came then."""
    rig.approve("r1")
    rig.asks(0)
    rig.wait(120)
    assert rig.asks(0, b"f1") == ["probe"]
    rig.says("", "r7")
    assert rig.wait(3) == ["terminated timeout: r7"]
    assert rig.asks(0, b"f2") == ["terminated timeout: r7"]
    rig.wait(120)
    assert rig.says("", "r8") == []
    assert rig.asks(0, b"f3") == ["probe"]
    assert rig.wait(3) == ["terminated timeout: -offline"]


def test_a_fetch_of_a_watched_one_is_answered_at_once(rig: PresentityRig) -> None:
    """From what is kept for this watcher."""
    rig.approve("r1")
    assert rig.asks(0, b"f1") == ["terminated timeout: r1"]
    assert rig.state() is State.FROM


def test_a_lost_service_makes_it_unknown_until_it_answers(rig: PresentityRig) -> None:
    """The doubt is the router's; the state after it is told even where it is the same."""
    rig.approve("r1", "r2")
    assert rig.took(rig.presentities.lost(ALICE.domain, rig.now)) == []
    [doubt] = rig.doubts
    assert doubt.presence == Unknown(ALICE, Reason.SERVICE_DOWN, ALICE.domain)
    assert rig.took(rig.presentities.lost(ALICE.domain, rig.now)) == []
    assert len(rig.doubts) == 1
    rig.wait(100)
    assert rig.took(rig.presentities.back(ALICE.domain, rig.now)) == []
    assert rig.wait(1)[:1] == ["probe"]
    rig.says("", "r1")
    assert rig.wait(5) == ["active: r1 -r2"]
    rig.presentities.lost(ALICE.domain, rig.now)
    rig.presentities.back(ALICE.domain, rig.now)
    said = rig.wait(1)
    rig.says("", "r1")
    assert [*said, *rig.wait(9)] == ["probe", "active: r1"]
    # a stream broke, and another one is there at once
    assert rig.took(rig.presentities.back(ALICE.domain, rig.now)) == []
    assert rig.wait(1) == ["probe"]
    rig.says("", "r2")
    assert rig.wait(9) == ["active: r2 -r1"]


def test_nobody_is_asked_while_the_service_is_lost(rig: PresentityRig) -> None:
    """A new watcher is told so; one who waits is not forgotten."""
    rig.presentities.lost(ALICE.domain, rig.now)
    assert rig.asks() == []
    assert rig.answer_words == "service-down"
    assert len(rig.presentities) == 0
    rig.presentities.back(ALICE.domain, rig.now)
    rig.asks(7200)
    rig.presentities.lost(ALICE.domain, rig.now)
    assert rig.wait(1200) == []
    rig.presentities.back(ALICE.domain, rig.now)
    assert "subscribe" in rig.wait(4000)


def test_ghosts_are_looked_for_once_a_day(rig: PresentityRig) -> None:
    """Who says nothing for a day is asked for; what no answer names is gone."""
    rig.approve("r1")
    said = []
    for _ in range(55):
        said += rig.wait(1600)
        rig.asks()
        rig.wait(1)
    assert said.count("probe") == 1
    assert rig.told[-1].presence is not None
    assert "active: -r1" in said or "active: -offline" in said


def test_silence_where_there_was_a_way_is_an_answer(rig: PresentityRig) -> None:
    """Some services say nothing of who is not there."""
    rig.approve("r1")
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(ALL_S) == ["probe"]
    assert rig.wait(1) == ["active: -r1"]
    assert rig.wait(200) == []


def test_silence_where_there_was_none_is_no_answer(rig: PresentityRig) -> None:
    """It may not reach us yet: it is asked again, with pauses that double; he is gone only then."""
    rig.approve("r1")
    rig.has_way = False
    rig.presentities.back(ALICE.domain, rig.now)
    began, said = rig.now, []
    while rig.now < began + 100:
        said += [(rig.now - began, one) for one in rig.wait(0.25)]
        rig.has_way = len(said) == 1 + SILENT_TRIES
    first, second, third, gone = said
    assert [one for _, one in said] == ["probe", "probe", "probe", "active: -r1"]
    assert second[0] - first[0] == pytest.approx(ALL_S + SILENT_S, abs=0.5)
    assert third[0] - second[0] == pytest.approx(ALL_S + 2 * SILENT_S, abs=0.5)
    assert gone[0] - third[0] == pytest.approx(ALL_S, abs=1.0)
    # an answer in a pause is one, and the next silence has all its tries
    rig.says("", "r2")
    rig.wait(1)
    rig.has_way = False
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(WAY_S + ALL_S + SILENT_S - 0.5) == ["probe"]
    rig.says("", "r1")
    assert rig.wait(60) == ["active: r1 -r2"]
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(60).count("probe") == 1 + SILENT_TRIES


def test_a_lost_service_is_not_asked_again_in_a_pause(rig: PresentityRig) -> None:
    """When it is back it is."""
    rig.approve("r1")
    rig.has_way = False
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(WAY_S + ALL_S + SILENT_S - 0.5) == ["probe"]
    rig.presentities.lost(ALICE.domain, rig.now)
    assert "probe" not in rig.wait(60)
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(WAY_S + 0.5)[:1] == ["probe"]


@pytest.mark.parametrize("watchers", [BOB.domain.name, ""])
def test_what_was_asked_before_there_was_a_way_for_the_answer_is_asked_again(
    rig: PresentityRig, watchers: str
) -> None:
    """A second after the service opened a stream to us; once in five seconds, and never twice at once."""
    rig.approve("r1")
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(1) == ["probe"]
    rig.presentities.opened(ALICE.domain, watchers, rig.now)
    rig.presentities.opened(ALICE.domain, watchers, rig.now)
    assert rig.wait(OPENED_S - 0.25) == []
    assert rig.wait(0.25) == ["probe"]
    rig.presentities.opened(ALICE.domain, watchers, rig.now)
    assert rig.wait(OPENED_S + 0.25) == []
    rig.says("", "r2")
    assert rig.wait(30) == ["active: r2 -r1"]


def test_while_there_is_no_way_for_the_answer_it_is_waited_for(rig: PresentityRig) -> None:
    """Two seconds, or until it is there: an answer that cannot be sent is an error for the user."""
    rig.approve("r1")
    rig.has_way = False
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(WAY_S - 0.5) == []
    rig.presentities.opened(ALICE.domain, "c.example", rig.now)
    assert rig.wait(0.25) == []
    rig.has_way = True
    rig.presentities.opened(ALICE.domain, BOB.domain.name, rig.now)
    assert rig.wait(0.5) == ["probe"]
    rig.says("", "r1")
    assert "probe" not in rig.wait(60)
    rig.has_way = False
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(WAY_S) == []
    assert rig.wait(0.5) == ["probe"]


def test_who_left_meanwhile_is_not_asked(rig: PresentityRig) -> None:
    """And nothing is remembered of the question."""
    rig.approve("r1")
    rig.has_way = False
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(1) == []
    rig.presentities.removed(ALICE.domain, rig.now)
    rig.presentities.opened(ALICE.domain, "", rig.now)
    assert "probe" not in rig.wait(60)
    assert not rig.presentities._no_way


def test_silence_without_a_way_says_nothing_of_him(rig: PresentityRig) -> None:
    """He is not gone: nothing is known of him, until there is a way and he is asked again."""
    rig.approve("r1")
    rig.has_way = False
    rig.presentities.back(ALICE.domain, rig.now)
    said = rig.wait(WAY_S + 3 * (ALL_S + 2 * SILENT_S))
    assert set(said) == {"probe"}
    assert [one.presence for one in rig.doubts] == [Unknown(ALICE, Reason.SERVICE_DOWN, ALICE.domain)]
    assert set(rig.wait(300)) == {"probe"}
    rig.has_way = True
    rig.presentities.opened(ALICE.domain, "", rig.now)
    assert rig.wait(OPENED_S + 0.5) == ["probe"]
    rig.says("", "r1")
    assert rig.wait(30) == ["active: r1"]


def test_a_new_way_changes_nothing_for_others(rig: PresentityRig) -> None:
    """Neither for who was answered, nor for watchers elsewhere, nor where somebody waits for two seconds."""
    rig.approve("r1")
    rig.presentities.back(ALICE.domain, rig.now)
    assert rig.wait(1) == ["probe"]
    rig.presentities.opened(ALICE.domain, "c.example", rig.now)
    rig.presentities.opened(BOB.domain, "", rig.now)
    assert rig.wait(3) == []
    rig.says("", "r1")
    rig.presentities.opened(ALICE.domain, "", rig.now)
    assert "probe" not in rig.wait(60)
    rig.asks(0)  # the subscription ends, and begins again
    rig.wait(BETWEEN_S)
    assert rig.asks(ident=b"s2") == ["probe"]
    rig.presentities.opened(ALICE.domain, "", rig.now)
    assert rig.wait(WAITED_S - 0.5) == []
    rig.says("", "r1")
    assert rig.wait(WAITED_S) == ["active: r1"]
    assert "probe" not in rig.wait(60)


def test_consents_that_nobody_uses_are_given_back(rig: PresentityRig) -> None:
    """After 180 days the user's service is told."""
    rig.approve("r1")
    rig.asks(0)
    assert rig.wait(179 * DAY_S) == []
    assert rig.wait(3 * DAY_S) == ["unsubscribe"]
    assert (rig.state(), rig.kept()) == (State.NONE, "none")


def test_approving_beforehand_is_kept_within_bounds() -> None:
    """RFC 6121 section 3.4; a refusal of nothing is nothing."""
    rig = PresentityRig(PresentitySettings(early=2))
    for name in ("x", "y", "z"):
        rig.says("subscribed", to=Address.parse(f"{name}@b.example"))
    assert len(rig.presentities) == 2
    rig.says("unsubscribed")
    assert rig.state() is State.NONE
    assert rig.asks(watcher=Address.parse("x@b.example")) == ["probe"]
    assert rig.answer_words == "active 1800"


def test_a_user_may_change_his_mind(rig: PresentityRig) -> None:
    """An approval after a refusal is one for the next time."""
    rig.asks()
    rig.says("unsubscribed")
    assert rig.says("subscribed") == []
    assert rig.state() is State.DORMANT
    assert rig.asks(ident=b"s2") == ["probe"]


def test_strangers_do_not_fill_the_room() -> None:
    """Wishes of one zone are bounded, and so are those to one user."""
    rig = PresentityRig(PresentitySettings(per_zone=3, per_presentity=5))
    words = []
    for number in range(12):
        zone = "evil.example" if number < 6 else f"z{number}.example"
        rig.asks(watcher=Address.parse(f"u@d{number}.{zone}"))
        words.append(rig.answer_words.partition(" ")[0])
    assert words == ["pending"] * 3 + ["busy"] * 3 + ["pending"] * 2 + ["busy"] * 4
    assert len(rig.presentities) == 5


def test_without_a_disk_there_is_no_new_consent(rig: PresentityRig) -> None:
    """A wish is refused; an approval waits until it can be written, and is told then."""
    rig.store.full = True
    assert rig.asks() == []
    assert rig.answer_words == "state-unavailable"
    assert len(rig.presentities) == 0
    rig.store.full = False
    rig.asks()
    rig.store.full = True
    assert rig.says("subscribed") + rig.says("", "r1") + rig.wait(30) == []
    assert rig.state() is State.ASKED
    assert rig.presentities.next_due(rig.now) > rig.now  # it is not written all the time
    assert 30 <= rig.presentities.counts["not-kept"] <= 33
    rig.store.full = False
    said = rig.wait(2)
    assert (said, rig.kept()) == (["active: -offline"], "from")
    assert rig.says("unsubscribed") == ["terminated rejected"]


def test_a_withdrawal_holds_without_a_disk(rig: PresentityRig) -> None:
    """It is done in memory, and written when it can be."""
    rig.approve("r1")
    rig.store.full = True
    assert rig.says("unsubscribed") == ["terminated rejected"]
    assert rig.state() is State.DENIED


def test_a_restart_asks_before_it_tells(rig: PresentityRig) -> None:
    """Nothing is told of users whose services have not answered; the subscriptions go on."""
    rig.approve("r1")
    rig.restart()
    assert (rig.state(), len(rig.told)) == (State.FROM, 1)
    said = []
    while "probe" not in said:
        said += rig.wait(1)
        assert rig.now < 60
    assert said == ["probe"]
    rig.says("", "r1")
    assert rig.wait(30)[:1] == ["active: r1"]
    assert rig.asks() == ["active: r1"]


def test_a_restart_without_the_subscription_keeps_the_consent(rig: PresentityRig) -> None:
    """What is not written durably may be lost; the consent is not."""
    rig.approve("r1")
    for key, _, _ in rig.store.items("xmpp-onlookers"):
        rig.store.remove("xmpp-onlookers", key)
    rig.restart()
    assert rig.state() is State.DORMANT
    assert rig.asks() == ["probe"]


def test_a_restart_keeps_no_subscription_without_a_consent(rig: PresentityRig) -> None:
    """The table of consents alone decides."""
    rig.approve("r1")
    for key, _, _ in rig.store.items("xmpp-watched"):
        rig.store.remove("xmpp-watched", key)
    rig.restart()
    assert rig.wait(60) == []
    assert rig.store.items("xmpp-onlookers") == []


def test_what_is_said_to_one_watcher_is_told_to_no_other(rig: PresentityRig) -> None:
    """RFC 8048 section 8.2: states are kept for each pair."""
    carol = Address.parse("carol@c.example")
    rig.approve("r1")
    rig.asks(ident=b"c1", watcher=carol)
    rig.says("subscribed", to=carol)
    rig.says("", "secret", "<status>for carol</status>", to=carol)
    rig.wait(3)
    for told in rig.told:
        words = str(told.presence)
        assert ("secret" in words) == (told.watcher == carol and "secret" in words)
        if told.watcher == BOB:
            assert "secret" not in words
        else:
            assert "r1" not in words
    assert any("secret" in str(one.presence) for one in rig.told)


def test_a_removed_domain_ends_all(rig: PresentityRig) -> None:
    """Watchers are told that there is nobody any more."""
    rig.approve("r1")
    assert rig.took(rig.presentities.removed(BOB.domain, rig.now)) == []
    assert rig.took(rig.presentities.removed(ALICE.domain, rig.now)) == [
        "unsubscribe",
        "terminated noresource",
    ]
    assert len(rig.presentities) == 0
    assert rig.store.items("xmpp-watched") == rig.store.items("xmpp-onlookers") == []


def test_another_spelling_is_the_same_user_or_nobody(rig: PresentityRig) -> None:
    """Case does not count in a JID; what folds to the same key and is another JID is refused."""
    rig.asks(presentity=Address.parse("ALICE@a.example"))
    assert rig.says("subscribed") + rig.says("", "r1") + rig.wait(1) == ["active: r1"]
    sharp, double = (Address.parse(f"{one}@a.example") for one in ("fußball", "fussball"))
    assert rig.asks(ident=b"x", presentity=sharp) == ["subscribe"]
    assert rig.asks(ident=b"y", presentity=double) == []
    assert rig.answer_words == "id-reused"


def test_every_entry_of_the_table_is_one_state_and_one_event() -> None:
    """All of them are there."""
    assert {state for state, _ in TRANSITIONS} == set(State)
    assert {event for _, event in TRANSITIONS} == set(Event)
