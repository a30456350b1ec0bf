"""Table W: what a user's service is told of somebody he watches elsewhere."""

from __future__ import annotations

import pytest

from imxrouter.formats.pidf import read_pidf
from imxrouter.gateways.xmpp.subscriptions.watcher_pairs import WatcherSettings
from imxrouter.gateways.xmpp.subscriptions.watcher_table import TRANSITIONS, Event, State
from imxrouter.gateways.xmpp.translate.forms import Misfit, opened
from imxrouter.gateways.xmpp.translate.showing import written
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import EndReason, Notify, SubscriptionState, Version
from imxrouter.model.outcome import SUCCESS
from imxrouter.model.presence import Presence, Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from tests.gateways.xmpp.subscriptions.watcher_rig import (
    ACTIVE,
    PENDING,
    TERMINATED,
    WatcherRig,
    kinds,
    open_state,
)
from tests.gateways.xmpp.translate.presences import ALICE, BOB

DAY_S = 86_400
DOUBT = Unknown(ALICE, Reason.UNREACHABLE, Domain.parse("a.example"))


@pytest.fixture
def rig() -> WatcherRig:
    """Bob, who watches nobody yet."""
    return WatcherRig()


def test_an_approval_is_stored_before_it_is_told(rig: WatcherRig) -> None:
    """Asking is answered by nothing; the notification that approves brings all resources."""
    assert rig.stanza("subscribe", form=b"xmpp\0<presence/>") == []
    assert rig.asked().original_form == b"xmpp\0<presence/>"
    assert rig.answer(PENDING) == []
    assert rig.notify(state=PENDING) == []
    assert rig.state() is State.ASKING
    assert rig.notify(open_state("r1", "r2")) == ["subscribed", "available r1", "available r2"]
    assert rig.state() is State.TO
    [(key, value, _)] = rig.store.items("xmpp-watching")
    assert key == b"bob@b.example\nalice@a.example"
    assert b'"to"' in value


def test_an_approval_without_presence_is_told_as_unavailable(rig: WatcherRig) -> None:
    """So that the user's client does not wait."""
    rig.stanza("subscribe")
    rig.answer(PENDING)
    assert rig.notify() == ["subscribed", "unavailable"]


def test_an_approval_that_cannot_be_written_waits(rig: WatcherRig) -> None:
    """It is told as soon as it can; the notification itself is not lost."""
    rig.stanza("subscribe")
    rig.answer(PENDING)
    rig.store.full = True
    assert rig.notify(open_state("r1")) == []
    assert rig.outcome.ok
    assert rig.wait(30) == []
    rig.store.full = False
    assert rig.wait(12) == ["subscribed", "available r1"]
    assert rig.state() is State.TO


def test_a_wish_that_cannot_be_written_is_refused(rig: WatcherRig) -> None:
    """With the condition for it, and without a request."""
    rig.store.full = True
    assert rig.stanza("subscribe", "s1") == ["error"]
    assert b"state-unavailable" in written(rig.stanzas[-1])
    assert b"resource-constraint" in written(rig.stanzas[-1])
    assert b'id="s1"' in written(rig.stanzas[-1])
    assert rig.wait(5) == []
    assert rig.operations == []
    assert len(rig.watchers) == 0


@pytest.mark.parametrize("why", [EndReason.REJECTED, EndReason.NORESOURCE, EndReason.INVARIANT])
def test_a_rejection_is_told_once(rig: WatcherRig, why: EndReason) -> None:
    """Before and after an approval; nothing is kept."""
    rig.stanza("subscribe")
    rig.answer(PENDING)
    assert rig.notify(state=TERMINATED, why=why) == ["unsubscribed"]
    assert rig.approve("r1", "r2")
    assert rig.notify(state=TERMINATED, why=why) == ["unavailable r1", "unavailable r2", "unsubscribed"]
    assert rig.state() is State.NONE
    assert rig.store.items("xmpp-watching") == []
    assert rig.wait(60) == []


def test_a_rejection_is_told_in_its_own_words(rig: WatcherRig) -> None:
    """With the stanza that was judged to say no more."""
    rig.approve("r1")
    rig.notify(state=TERMINATED, why=EndReason.REJECTED, form=b"<presence/>")
    assert [one.form for one in rig.stanzas[-2:]] == [b"", b"<presence/>"]


def test_a_refused_renewal_ends_it(rig: WatcherRig) -> None:
    """As RFC 8048 section 5.2.2 has it."""
    rig.approve("r1")
    requests = len(rig.operations)
    while len(rig.operations) == requests:
        rig.wait(10)
    assert rig.answer(reason=Reason.NOT_DELIVERED) == ["unavailable r1", "unsubscribed"]


def test_failures_are_told_once_after_ten_seconds(rig: WatcherRig) -> None:
    """With the reason and who decided it; the wish stays."""
    rig.stanza("subscribe")
    rig.answer(reason=Reason.UNREACHABLE)
    assert rig.wait(8) == []
    assert rig.wait(30) == ["error"]
    assert b"unreachable" in written(rig.stanzas[-1])
    assert b'by="a.example"' in written(rig.stanzas[-1])
    assert rig.wait(60) == []
    assert rig.state() is State.ASKING
    rig.answer(PENDING)
    assert rig.notify(open_state("r1")) == ["subscribed", "available r1"]


def test_changes_are_shown_and_nothing_else(rig: WatcherRig) -> None:
    """A state of the same meaning, a pending one and one without presence change nothing."""
    rig.approve("r1", "r2")
    assert rig.notify(open_state("r1", "r2")) == []
    assert rig.notify(state=PENDING) == []
    assert rig.notify() == []
    assert rig.notify(open_state("r2")) == ["unavailable r1"]
    assert rig.watchers.counts["same"] == 1


def test_storms_are_paced_and_the_newest_state_wins(rig: WatcherRig) -> None:
    """Five at once, one a second; what waits is one state."""
    rig.approve("r1")
    said = [rig.notify(open_state("r1", show=show)) for show in ("away", "dnd") * 10]
    assert sum(map(len, said)) == 4
    rig.notify(open_state("r1", show="xa"))
    assert rig.wait(2) == ["available r1"]
    assert b"<show>xa</show>" in written(rig.stanzas[-1])
    assert rig.wait(10) == []


def test_a_probe_is_answered_from_what_is_shown(rig: WatcherRig) -> None:
    """At most once in two seconds; nobody is asked for it."""
    rig.approve("r1", "r2")
    before = len(rig.operations)
    assert rig.stanza("probe", "p1") == ["available r1", "available r2"]
    assert rig.stanza("probe", "p2") == []
    rig.wait(3)
    rig.notify(open_state())
    assert rig.stanza("probe", "p3") == ["unavailable"]
    assert rig.stanzas[-1].id == "p3"
    assert len(rig.operations) == before


def test_unknown_is_shown_and_told_to_who_asks(rig: WatcherRig) -> None:
    """Then the next state is shown whole."""
    assert rig.approve("r1")
    assert rig.notify(DOUBT) == ["error r1", "error"]
    assert rig.notify(DOUBT) == []
    assert rig.stanza("probe", "p1") == ["error"]
    assert rig.stanzas[-1].id == "p1"
    assert rig.notify(open_state("r1")) == ["available r1"]


def test_before_an_approval_nothing_is_shown(rig: WatcherRig) -> None:
    """Neither doubts nor an answer to a probe."""
    rig.stanza("subscribe")
    rig.answer(PENDING)
    assert rig.notify(DOUBT) == []
    assert rig.stanza("probe") == []


def test_unsubscribing_hides_and_ends(rig: WatcherRig) -> None:
    """The end carries the form; asking again begins anew."""
    rig.approve("r1")
    assert rig.stanza("unsubscribe", form=b"xmpp\0<u/>") == ["unavailable r1", "unsubscribed"]
    assert rig.stanzas[-1].form == b""
    assert rig.store.items("xmpp-watching") == []
    asked = rig.asked()
    assert (asked.duration_s, asked.original_form) == (0, b"xmpp\0<u/>")
    rig.answer(TERMINATED, 0)
    assert rig.state() is State.NONE
    assert rig.stanza("unsubscribe") == ["unsubscribed"]


def test_asking_again_while_it_ends(rig: WatcherRig) -> None:
    """The old end is not taken for an answer to the new wish."""
    rig.approve("r1")
    rig.stanza("unsubscribe")
    end = rig.asked()
    assert rig.state() is State.ENDING
    rig.stanza("subscribe")
    assert rig.state() is State.ASKING
    from_end = rig.watchers.answered(end, SUCCESS, rig.now)
    assert kinds(from_end) == []
    rig.answer(PENDING)
    assert rig.notify(open_state("r1")) == ["subscribed", "available r1"]


def test_who_shows_no_interest_falls_asleep_and_wakes(rig: WatcherRig) -> None:
    """After 14 days; what was shown is not left standing; a probe wakes it, and is answered later."""
    rig.approve("r1")
    said = []
    for _ in range(16):
        said += rig.wait(DAY_S)
        if rig.state() is State.ASLEEP:
            break
        rig.answer(ACTIVE)
    assert said == ["error r1", "error"]
    assert rig.asked().duration_s == 0
    rig.answer(TERMINATED, 0)
    assert rig.wait(DAY_S) == []
    assert rig.stanza("probe", "p1") == []
    assert rig.state() is State.TO
    rig.answer(ACTIVE)
    assert rig.notify(open_state("r1")) == ["available r1"]


def test_interest_keeps_it_awake(rig: WatcherRig) -> None:
    """A message to him, or a probe."""
    rig.approve("r1")
    for day in range(40):
        rig.wait(DAY_S)
        rig.answer(ACTIVE)
        if day % 10 == 0:
            rig.watchers.active(BOB, ALICE, rig.now)
    assert rig.state() is State.TO


def test_a_woken_one_that_hears_nothing_is_told_so(rig: WatcherRig) -> None:
    """After ten seconds; the state is shown when it comes."""
    rig.approve("r1")
    rig.watchers = rig.restart()
    assert rig.stanza("probe", "p1") == []
    assert rig.wait(12) == ["error"]
    assert (rig.stanzas[-1].id, b"answer-timeout" in written(rig.stanzas[-1])) == ("p1", True)
    rig.answer(ACTIVE)
    assert rig.notify(open_state("r1")) == ["unavailable", "available r1"]


def test_asleep_ends_with_the_old_id(rig: WatcherRig) -> None:
    """The other side is told with the form, for nothing is held any more."""
    rig.approve("r1")
    ident = rig.operations[-1].subscription_id
    for _ in range(20):
        rig.wait(DAY_S)
        if rig.state() is not State.ASLEEP:
            rig.answer(ACTIVE)
    rig.restart()
    assert rig.state() is State.ASLEEP
    assert rig.stanza("unsubscribe", form=b"xmpp\0<u/>") == ["unsubscribed"]
    asked = rig.operations[-1]
    assert (asked.duration_s, asked.subscription_id, asked.original_form) == (0, ident, b"xmpp\0<u/>")
    assert len(rig.watchers) == 0


def test_a_probe_of_a_stranger_fetches_once_a_minute(rig: WatcherRig) -> None:
    """What comes back decides: approved, not approved, or not known."""
    assert rig.stanza("probe", "p1") == []
    assert rig.operations[-1].duration_s == 0
    assert rig.stanza("probe", "p2") == []
    assert len(rig.operations) == 1
    assert rig.notify(open_state("r1"), TERMINATED, EndReason.TIMEOUT) == ["available r1"]
    assert rig.state() is State.TO
    assert rig.asked().duration_s == 1800


def test_what_was_fetched_is_remembered_within_bounds() -> None:
    """Whoever probes thousands of addresses costs no room; those of long ago are forgotten first."""
    rig = WatcherRig(WatcherSettings(fetched=2))

    def fetches(name: str) -> int:
        before = len(rig.operations)
        rig.took(rig.watchers.stanza(BOB, Address.parse(f"{name}@a.example"), "probe", rig.now))
        return len(rig.operations) - before

    assert [fetches(name) for name in ("x", "y", "x", "z")] == [1, 1, 0, 1]
    assert len(rig.watchers._fetched) == 2
    assert [fetches(name) for name in ("y", "z", "x")] == [0, 0, 1]
    rig.wait(60)
    assert fetches("z") == 1  # it is the newest now
    assert [fetches(name) for name in ("w", "z")] == [1, 0]


@pytest.mark.parametrize(
    ("reason", "said"),
    [(None, "unsubscribed"), (Reason.NOT_DELIVERED, "unsubscribed"), (Reason.UNREACHABLE, "error")],
)
def test_a_probe_of_a_stranger_that_brings_nothing(rig: WatcherRig, reason: Reason | None, said: str) -> None:
    """The user's service learns that there is no approval, or that nobody can tell."""
    rig.stanza("probe", "p1")
    assert rig.answer(PENDING, 0, reason) == [said]
    assert rig.state() is State.NONE


def test_a_fetch_changes_nothing_for_a_wish_that_came_meanwhile(rig: WatcherRig) -> None:
    """The wish has its own notification."""
    rig.stanza("probe", "p1")
    fetched = rig.operations[-1]
    rig.stanza("subscribe")
    told = Notify(
        ALICE, BOB, bytes(16), fetched.subscription_id, TERMINATED, Version(1, 1), open_state("r1"),
        end_reason=EndReason.TIMEOUT,
    )  # fmt: skip
    _, effects = rig.watchers.notified(told, rig.now)
    assert kinds(effects) == []
    assert rig.state() is State.ASKING
    assert len(rig.watchers) == 1


def test_errors_of_the_users_service_put_it_to_sleep(rig: WatcherRig) -> None:
    """Three in a row; anything else between them begins the count anew."""
    rig.approve("r1")
    for kind in ("error", "error", "probe", "error", "error"):
        rig.stanza(kind)
        assert rig.state() is State.TO
    rig.stanza("error")
    assert rig.state() is State.ASLEEP


def test_a_restart_tells_nothing_until_something_is_known(rig: WatcherRig) -> None:
    """Then everything, once, and no ghost of a resource: what was shown is not stored."""
    rig.approve("r1", "r2")
    rig.restart()
    assert rig.state() is State.TO
    assert rig.wait(5) == []
    assert rig.answer(ACTIVE) == []
    assert rig.notify(open_state("r1")) == ["unavailable", "available r1"]
    assert rig.notify(open_state("r1")) == []
    assert rig.notify(open_state("r1", "r3")) == ["available r3"]


def test_a_restart_with_nothing_open_says_so(rig: WatcherRig) -> None:
    """What the user's service still shows from before is taken back."""
    rig.approve("r1")
    rig.restart()
    rig.answer(ACTIVE)
    assert rig.notify(open_state()) == ["unavailable"]


def test_a_lost_subscription_is_begun_again_after_a_restart(rig: WatcherRig) -> None:
    """Only consents are written durably."""
    rig.approve("r1")
    for key, _, _ in rig.store.items("xmpp-watches"):
        rig.store.remove("xmpp-watches", key)
    rig.restart()
    assert rig.asked().duration_s == 1800


def renewed(rig: WatcherRig) -> None:
    """Wait until the next request is sent."""
    before = len(rig.operations)
    while len(rig.operations) == before:
        rig.wait(60)


def test_an_approval_that_the_other_side_knows_no_more_is_gone(rig: WatcherRig) -> None:
    """A minute after it said so; its own user's service might still say that it stands (row w-41)."""
    rig.approve("r1")
    renewed(rig)
    assert rig.answer(PENDING) + rig.wait(58) == []
    assert rig.state() is State.TO
    assert rig.wait(3) == ["unavailable r1", "unsubscribed"]
    assert rig.state() is State.ENDING
    asked = rig.asked()
    form = opened(asked.original_form, BOB, ALICE, Protocol.XMPP)
    assert not isinstance(form, Misfit)
    assert (asked.duration_s, form.attributes["type"]) == (0, "unsubscribe")
    assert rig.answer(TERMINATED, 0) == []
    assert (rig.state(), len(rig.watchers), rig.store.items("xmpp-watching")) == (State.NONE, 0, [])


@pytest.mark.parametrize("by", ["notification", "answer"])
def test_an_approval_that_comes_again_stays(rig: WatcherRig, by: str) -> None:
    """As of a service that approves by itself whom it knows (RFC 6121 section 3.1.3 rule 2)."""
    rig.approve("r1")
    renewed(rig)
    rig.answer(PENDING)
    rig.wait(30)
    if by == "notification":
        assert rig.notify(open_state("r1", "r2")) == ["available r2"]
    else:
        rig.watchers.back(BOB.domain, rig.now)
        rig.wait(10)
        assert rig.answer(ACTIVE) == []
    assert rig.wait(120) == []
    assert rig.state() is State.TO


def test_an_answer_that_is_older_than_the_approval_ends_nothing(rig: WatcherRig) -> None:
    """It may come behind the notification (imx 7.6)."""
    rig.stanza("subscribe")
    rig.asked()
    assert rig.notify(open_state("r1")) == ["subscribed", "available r1"]
    assert rig.answer(PENDING) + rig.wait(300) == []
    assert rig.state() is State.TO


@pytest.mark.parametrize("state", [PENDING, ACTIVE])
def test_a_decision_that_is_taken_back_is_asked_about_at_once(
    rig: WatcherRig, state: SubscriptionState
) -> None:
    """The notification may be old; the answer is not (row w-17)."""
    rig.approve("r1")
    before = len(rig.operations)
    assert rig.notify(state=PENDING) == []
    assert len(rig.asked().subscription_id) == 16
    assert len(rig.operations) == before + 1
    rig.answer(state)
    gone = ["unavailable r1", "unsubscribed"] if state is PENDING else []
    assert rig.wait(70) == gone


def test_a_removed_domain_ends_all_of_its_users(rig: WatcherRig) -> None:
    """And those of no other."""
    rig.approve("r1")
    assert kinds(rig.watchers.removed(ALICE.domain, rig.now)) == []
    assert kinds(rig.watchers.removed(BOB.domain, rig.now)) == ["unavailable r1", "unsubscribed"]
    assert len(rig.watchers) == 0
    assert rig.store.items("xmpp-watching") == []


def test_a_blocked_pair_ends(rig: WatcherRig) -> None:
    """As a rule of access says."""
    rig.approve("r1")
    assert kinds(rig.watchers.blocked(BOB, ALICE, rig.now)) == ["unavailable r1", "unsubscribed"]


def test_another_spelling_of_the_same_key_is_refused(rig: WatcherRig) -> None:
    """Two people of XMPP who share a key share no consent and no state."""
    rig.approve("r1")
    other = Address.parse("ALICE@a.example")
    effects = rig.watchers.stanza(BOB, other, "subscribe", rig.now)
    assert kinds(effects) == ["error"]
    assert b"conflict" in written(effects.stanzas[0])
    assert kinds(rig.watchers.stanza(BOB, other, "probe", rig.now)) == []
    assert rig.watchers.state(BOB, other) is State.NONE


def test_wishes_of_one_user_are_bounded() -> None:
    """Those that nobody has approved."""
    rig = WatcherRig(WatcherSettings(asking_per_watcher=2))
    for name in ("x", "y", "z"):
        effects = rig.watchers.stanza(BOB, Address.parse(f"{name}@a.example"), "subscribe", rig.now)
        assert kinds(effects) == (["error"] if name == "z" else [])
    rig.watchers.stanza(BOB, Address.parse("x@a.example"), "unsubscribe", rig.now)
    assert kinds(rig.watchers.stanza(BOB, Address.parse("z@a.example"), "subscribe", rig.now)) == []


def test_wishes_count_after_a_restart_too() -> None:
    """Those that are stored have the same bound."""
    rig = WatcherRig(WatcherSettings(asking_per_watcher=1))
    assert rig.stanza("subscribe") == []
    rig.restart()
    assert rig.state() is State.ASKING
    effects = rig.watchers.stanza(BOB, Address.parse("z@a.example"), "subscribe", rig.now)
    assert kinds(effects) == ["error"]


def test_wishes_of_one_zone_are_bounded() -> None:
    """A stranger makes as many names as he likes; others are let in all the same."""
    rig = WatcherRig(WatcherSettings(asking_per_zone=3))
    said = []
    for number in range(5):
        who = Address.parse(f"u@d{number}.evil.example")
        said += kinds(rig.watchers.stanza(who, ALICE, "subscribe", rig.now))
    assert said == ["error", "error"]
    assert rig.stanza("subscribe") == []
    rig.watchers.stanza(Address.parse("u@d0.evil.example"), ALICE, "unsubscribe", rig.now)
    again = Address.parse("u@d9.evil.example")
    assert kinds(rig.watchers.stanza(again, ALICE, "subscribe", rig.now)) == []


def test_a_talkative_domain_loses_details_first(rig: WatcherRig) -> None:
    """At most 4 MiB of its states are kept; who is open stays known."""
    text = "y" * 60_000
    big = (
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:WHO'><tuple id='t'><status>"
        f"<basic>open</basic></status><note>{text}</note></tuple></presence>"
    )
    for number in range(100):
        who = Address.parse(f"u{number}@a.example")
        rig.took(rig.watchers.stanza(BOB, who, "subscribe", rig.now))
        rig.now += 0.1
        asked = rig.asked()
        state = read_pidf(big.replace("WHO", str(who)).encode())
        told = Notify(who, BOB, bytes(16), asked.subscription_id, ACTIVE, Version(1, 1), state)
        rig.took(rig.watchers.notified(told, rig.now)[1])
    kept = [pair.latest for pair in rig.watchers.pairs()]
    assert all(isinstance(one, Presence) and one.status.value == "open" for one in kept)
    notes = sum(len(one.tuples[0].notes) for one in kept if isinstance(one, Presence))
    assert 60 <= notes <= 4 * 1024 * 1024 // 60_000


def test_every_entry_of_the_table_is_one_state_and_one_event() -> None:
    """And none leads from nothing into a state that nothing leaves."""
    assert {state for state, _ in TRANSITIONS} == set(State)
    assert {event for _, event in TRANSITIONS} == set(Event)
