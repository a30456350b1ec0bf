"""What the silence behind a probe means: nothing, unless it is known that the probe was read."""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp.subscriptions.presentity_table import State
from imxrouter.gateways.xmpp.subscriptions.probes import (
    ALL_S,
    BETWEEN_S,
    FIRST_S,
    NO_WAY_S,
    SILENT_S,
    SILENT_TRIES,
    WAITED_S,
)
from imxrouter.gateways.xmpp.translate.showing import PresenceStanza
from imxrouter.model.outcome import SUCCESS, Outcome, failure, indeterminant
from imxrouter.model.presence import Unknown
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.subscriptions.presentity_rig import PresentityRig
from tests.gateways.xmpp.translate.presences import ALICE

LATE = indeterminant(Reason.ANSWER_TIMEOUT)
#: An acknowledgement, or the answer to a ping, is waited for so long by default.
ANSWER_S = 30


@pytest.fixture
def rig() -> PresentityRig:
    """Bob watches Alice, who is there."""
    rig = PresentityRig()
    rig.approve("r1")
    return rig


def swallowed(rig: PresentityRig) -> list[PresenceStanza]:
    """From now on nobody knows what becomes of probes; those that were sent."""
    sent: list[PresenceStanza] = []

    def arrives(one: PresenceStanza) -> Outcome | None:
        sent.append(one)
        return None

    rig.arrives = arrives
    return sent


def ask(rig: PresentityRig) -> None:
    """Her service is asked, as once a day."""
    rig.took(rig.presentities.back(ALICE.domain, rig.now))
    assert rig.wait(1) == ["probe"]


def test_silence_counts_from_when_the_probe_is_there(rig: PresentityRig) -> None:
    """In a black hole that nobody has noticed yet she is not gone."""
    sent = swallowed(rig)
    ask(rig)
    assert rig.wait(ANSWER_S - 2) == []
    rig.presentities.probed(sent[0], SUCCESS, rig.now)
    assert rig.wait(ALL_S - 0.5) == []
    assert rig.wait(1) == ["active: -r1"]


def test_an_answer_before_the_word_that_it_is_there(rig: PresentityRig) -> None:
    """What she says is told; until the probe was read, what it does not name may be there."""
    rig.says("", "r2")
    rig.wait(2)
    sent = swallowed(rig)
    ask(rig)
    rig.says("", "r2", "<show>away</show>")
    assert rig.wait(FIRST_S + 0.5) == ["active: r1 r2"]
    assert rig.wait(20) == []
    rig.presentities.probed(sent[0], SUCCESS, rig.now)
    assert rig.wait(3) == ["active: r2 -r1"]


def test_an_answer_after_a_loss_before_the_word_that_the_probe_is_there(rig: PresentityRig) -> None:
    """Nothing was known: only what comes is told, at once, and the rest as it comes."""
    rig.says("", "r2")
    rig.wait(2)
    sent = swallowed(rig)
    rig.presentities.lost(ALICE.domain, rig.now)
    ask(rig)
    rig.says("", "r2")
    assert rig.wait(FIRST_S + 0.5) == ["active: r2"]
    rig.says("", "r1")
    assert rig.wait(FIRST_S + 0.5) == ["active: r1 r2"]
    rig.presentities.probed(sent[0], SUCCESS, rig.now)
    assert rig.wait(60) == []


@pytest.mark.parametrize("pause_s", [0.0, 1.0])
def test_what_comes_as_a_probe_is_lost_is_told_and_she_is_asked_again(
    rig: PresentityRig, pause_s: float
) -> None:
    """Before it is known, or in the pause behind it: neither waits for the other."""
    sent = swallowed(rig)
    rig.presentities.lost(ALICE.domain, rig.now)
    ask(rig)
    rig.presentities.probed(sent[0], LATE, rig.now)
    said = rig.wait(pause_s)
    rig.says("", "r1", "<show>away</show>")
    said += rig.wait(FIRST_S + SILENT_S + 0.5)
    assert sorted(said) == ["active: r1", "probe"]
    rig.presentities.probed(sent[1], SUCCESS, rig.now)
    rig.says("", "r1", "<show>away</show>")
    assert rig.wait(60) == []


def test_who_was_heard_is_not_unknown_because_no_probe_is_known_to_arrive(rig: PresentityRig) -> None:
    """Her server reads them and never says so: it is asked some times, and what she said stays."""
    sent = swallowed(rig)
    ask(rig)
    for _ in range(1 + SILENT_TRIES):
        rig.says("", "r1", f"<status>{len(sent)}</status>")
        rig.presentities.probed(sent[-1], LATE, rig.now)
        assert "active: r1" in rig.wait(NO_WAY_S)
    assert rig.doubts == []
    assert len(sent) == 2 + SILENT_TRIES


def test_a_probe_that_is_not_known_to_have_arrived_says_nothing_of_her(rig: PresentityRig) -> None:
    """It is asked again, then nobody knows; she is shown again as soon as she answers."""
    sent, said = swallowed(rig), list[str]()
    ask(rig)
    for times in range(1 + SILENT_TRIES):
        assert len(sent) == times + 1
        rig.presentities.probed(sent[-1], LATE, rig.now)
        said += rig.wait(SILENT_S * 2**times - 0.5)
        assert len(rig.doubts) == (times == SILENT_TRIES)
        said += rig.wait(1)
    assert said == ["probe"] * (1 + SILENT_TRIES)
    assert [one.presence for one in rig.doubts] == [Unknown(ALICE, Reason.SERVICE_DOWN, ALICE.domain)]
    for times in range(5):  # less and less often, once a minute at last
        rig.presentities.probed(sent[-1], LATE, rig.now)
        pause_s = min(SILENT_S * 2 ** (1 + SILENT_TRIES + times), NO_WAY_S)
        assert rig.wait(pause_s - 0.5) == []
        if times == 4:
            rig.arrives = lambda _probe: SUCCESS
        assert rig.wait(1) == ["probe"]
    rig.says("", "r1")
    assert rig.wait(9) == ["active: r1"]


def test_what_found_no_room_is_asked_again_and_says_nothing(rig: PresentityRig) -> None:
    """Neither of her nor of the way to her, however often."""
    rig.arrives = lambda _probe: failure(Reason.BUSY)
    ask(rig)
    assert set(rig.wait(60)) == {"probe"}
    assert rig.doubts == []
    rig.arrives = lambda _probe: SUCCESS
    assert rig.wait(SILENT_S + 0.5) == ["probe"]
    rig.says("", "r2")
    assert rig.wait(9) == ["active: r2 -r1"]


def test_the_outcome_of_another_probe_says_nothing(rig: PresentityRig) -> None:
    """Neither that of an older one, nor one that comes twice."""
    sent = swallowed(rig)
    ask(rig)
    ask(rig)
    first, second = sent
    rig.presentities.probed(first, SUCCESS, rig.now)
    assert rig.wait(60) == []
    rig.presentities.probed(second, SUCCESS, rig.now)
    rig.wait(1)
    rig.says("", "r1")
    rig.presentities.probed(first, LATE, rig.now)
    assert rig.wait(60) == []


def test_the_loss_of_her_service_ends_what_is_asked(rig: PresentityRig) -> None:
    """In whatever pause it comes: nobody is told that she is gone because her service is."""
    for pause_s in (0.0, 1.0, ALL_S, ALL_S + SILENT_S - 0.5):
        rig.has_way = True
        ask(rig)
        rig.has_way = False
        rig.wait(pause_s)
        before = len(rig.told)
        rig.presentities.lost(ALICE.domain, rig.now)
        assert rig.wait(300) == []
        assert len(rig.told) == before
        rig.has_way = True
        ask(rig)
        rig.says("", "r1")
        assert rig.wait(9) == ["active: r1"]


def test_who_begins_to_watch_is_not_told_that_she_is_gone_before_that_is_known(rig: PresentityRig) -> None:
    """The two seconds run from when the probe is there."""
    rig.asks(0)
    rig.wait(BETWEEN_S)
    sent = swallowed(rig)
    assert rig.asks(ident=b"s2") == ["probe"]
    assert rig.wait(20) == []
    rig.presentities.probed(sent[0], SUCCESS, rig.now)
    assert rig.wait(WAITED_S + 0.5) == ["active: -offline"]


def test_who_begins_to_watch_is_not_told_that_she_is_gone_where_no_answer_can_come(
    rig: PresentityRig,
) -> None:
    """Her service is asked again, as everybody's."""
    rig.asks(0)
    rig.wait(BETWEEN_S)
    rig.has_way = False
    assert rig.asks(ident=b"s2") == ["probe"]
    assert rig.wait(WAITED_S + SILENT_S + 0.5) == ["probe"]
    rig.says("", "r1")
    assert rig.wait(9) == ["active: r1"]


@pytest.mark.parametrize("outcome", [LATE, None])
def test_who_looks_once_is_told_nothing_where_nothing_is_known(
    rig: PresentityRig, outcome: Outcome | None
) -> None:
    """Not that she is gone; and what nobody told is not remembered for the next one."""
    rig.asks(0)
    rig.wait(BETWEEN_S)
    rig.arrives = lambda _probe: outcome
    assert rig.asks(0, b"f1") == ["probe"]
    assert rig.wait(20) == []
    rig.arrives = lambda _probe: SUCCESS
    if outcome is not None:
        assert rig.asks(0, b"f2") == ["probe"]
        rig.says("", "r1")
        assert rig.wait(3) == ["terminated timeout: r1"]


def test_a_service_that_is_lost_while_nobody_watches_can_be_watched_again(rig: PresentityRig) -> None:
    """Of whom nobody is held nobody says that he is back."""
    rig.presentities.lost(ALICE.domain, rig.now)
    rig.asks(0, kind="unsubscribe")
    assert rig.state() is State.NONE
    assert rig.asks(ident=b"s2") == ["subscribe"]
    assert rig.answer_words == "pending 1800"
