"""The presentity's side: the table of section 7.6, who is told what and when, bounds, and storing."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from imxrouter.model.address import Address
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.operations import EndReason, Subscribe, SubscribeResult, SubscriptionState, Version
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.presence import offline
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.destinations import BackOff
from imxrouter.routing.notifying import Notifying
from imxrouter.routing.owed import Decision, KeptSubscription, NotifySettings, Owed, Taken

ANN = Address.parse("ann@a.example")
BOB = Address.parse("Bob@b.example")
ACTIVE, PENDING, TERMINATED = (
    SubscriptionState.ACTIVE, SubscriptionState.PENDING, SubscriptionState.TERMINATED,
)  # fmt: skip
ALLOW, WAIT, REFUSE = Decision.ALLOW, Decision.WAIT, Decision.REFUSE
SETTINGS = NotifySettings(backoff=BackOff(first_s=2, cap_s=300, jitter=0.5))
DOWN = failure(Reason.SERVICE_DOWN)


def made(settings: NotifySettings = SETTINGS) -> Notifying:
    """A machine whose chance is always 0: whole pauses."""
    return Notifying(9, lambda: 0.0, settings)


def ask(duration_s: int = 1000, watcher: Address = ANN, ident: bytes = b"id") -> Subscribe:
    """A request."""
    return Subscribe(watcher, BOB, b"m" * 16, ident, duration_s)


def begin(machine: Notifying, now: float = 0.0, decision: Decision = ALLOW, duration_s: int = 1000) -> Taken:
    """Subscribe Ann to Bob."""
    return machine.subscribe(ask(duration_s), decision, now, 1800)


def publish(machine: Notifying) -> Version:
    """A new state of Bob."""
    version = machine.next_version()
    machine.publish(BOB, version)
    return version


def tell(machine: Notifying, now: float, meaning: bytes = b"", outcome: Outcome = SUCCESS) -> list[Owed]:
    """Send what is due, and answer it at once; what was dropped as a duplicate is left out."""
    meaning = meaning or b"state %d" % machine._number
    sent = [one for one in machine.due(now) if machine.sending(one, meaning, now)]
    for one in sent:
        machine.answered(one, outcome, now)
    return sent


def begun(settings: NotifySettings = SETTINGS) -> Notifying:
    """Ann's subscription is active, and she was told the state."""
    machine = made(settings)
    begin(machine)
    assert len(tell(machine, 0)) == 1
    return machine


# -- the table -------------------------------------------------------------------------------------------


def test_begin_grants_no_more_than_asked_for_and_the_longest_and_owes_the_state() -> None:
    """The notification is due at once and has everything that the record needs."""
    for wanted, granted in ((600, 600), (9000, 1800), (0xFFFFFFFF, 1800)):
        machine = made()
        assert begin(machine, 5, ALLOW, wanted) == Taken(SubscribeResult(ACTIVE, granted), None, owed=True)
        [owed] = machine.due(5)
        assert (owed.watcher, owed.presentity, owed.subscription_id) == (ANN, BOB, b"id")
        assert (owed.state, owed.expires_s, owed.full) == (ACTIVE, granted, True)
        notify = owed.notify(b"n" * 16, offline(BOB), b"<x/>")
        assert (notify.version, notify.document, notify.expires_s) == (owed.version, b"<x/>", granted)


def test_renew_counts_from_now_and_tells_the_same_state_again() -> None:
    """The only case, with a fetch, in which a state of the same meaning is sent."""
    machine = begun()
    assert begin(machine, 500, ALLOW, 700).result == SubscribeResult(ACTIVE, 700)
    assert len(machine) == 1
    [owed] = tell(machine, 500, b"state 1")
    assert owed.expires_s == 700
    assert tell(machine, 1199) == []
    [over] = tell(machine, 1200)
    assert over.state is TERMINATED


def test_end_and_fetch() -> None:
    """Zero ends what is known, without a notification; else it fetches, and nothing is left."""
    machine = begun()
    assert machine.subscribe(ask(0), ALLOW, 1, 1800) == Taken(SubscribeResult(TERMINATED, 0))
    assert (len(machine), machine.due(1)) == (0, [])
    taken = machine.subscribe(ask(0), ALLOW, 2, 1800)
    assert taken == Taken(SubscribeResult(TERMINATED, 0), None, owed=True)
    [owed] = tell(machine, 2)
    assert (owed.state, owed.full, owed.expires_s) == (TERMINATED, True, None)
    assert len(machine) == 0


def test_a_fetch_that_nobody_takes_is_forgotten_after_the_last_words_time() -> None:
    """And is tried on until then."""
    machine = made()
    machine.subscribe(ask(0), ALLOW, 0, 1800)
    sent = [now for now in range(100) if tell(machine, now, outcome=DOWN)]
    assert sent == [0, 2, 6, 14]
    assert len(machine) == 0


def test_an_undecided_watcher_is_told_nothing() -> None:
    """Neither after he began, nor of a new state, nor by a fetch."""
    machine = made()
    assert begin(machine, 0, WAIT) == Taken(SubscribeResult(PENDING, 1000))
    publish(machine)
    assert machine.subscribe(ask(0, ident=b"f"), WAIT, 0, 1800).result == SubscribeResult(PENDING, 0)
    assert tell(machine, 1) == []
    assert [one.state for one in machine.watchers(BOB, 1)] == [PENDING]


def test_a_refused_watcher_gets_no_subscription_and_loses_what_he_had() -> None:
    """Disclosed as `not-delivered`."""
    machine = begun()
    taken = begin(machine, 1, REFUSE)
    assert taken.refusal is not None
    assert taken.refusal.reason.disclosed == "not-delivered"
    assert (taken.result, len(machine), machine.due(1)) == (None, 0, [])


def test_addresses_are_compared_by_key_and_ids_are_a_watchers_own() -> None:
    """Another spelling renews; another watcher with the same id begins."""
    machine = begun()
    machine.subscribe(ask(watcher=Address.parse("ANN@a.example")), ALLOW, 1, 1800)
    assert len(machine) == 1
    machine.subscribe(ask(watcher=Address.parse("eve@a.example")), ALLOW, 1, 1800)
    machine.subscribe(ask(ident=b"second"), ALLOW, 1, 1800)
    assert len(machine) == 3


# -- telling ---------------------------------------------------------------------------------------------


def test_states_are_coalesced_one_is_in_flight_and_the_newest_follows() -> None:
    """However many come meanwhile."""
    machine = begun()
    newest = publish(machine)
    [first] = machine.due(10)
    assert machine.sending(first, b"one", 10)
    for _ in range(5):
        newest = publish(machine)
    assert machine.due(11) == []
    machine.answered(first, SUCCESS, 11)
    [second] = machine.due(11)
    assert first.version is not None
    assert second.version == newest > first.version


def test_a_state_of_the_same_meaning_is_dropped_only_where_the_watcher_surely_has_it() -> None:
    """After a failure nobody knows which one he has: going back to the old state is told."""
    machine = begun()
    publish(machine)
    assert tell(machine, 10, b"state 1") == []
    assert machine.duplicates_dropped == 1
    publish(machine)
    assert len(tell(machine, 20, b"busy", DOWN)) == 1
    publish(machine)
    assert len(tell(machine, 30, b"state 1")) == 1
    publish(machine)
    assert tell(machine, 40, b"state 1") == []


def test_each_subscription_is_told_once_a_second_with_a_small_burst() -> None:
    """The last state comes in the end."""
    machine = begun(NotifySettings(burst=3))
    sent, newest = [], publish(machine)
    for tick in range(400, 800):
        now = tick / 20
        if now < 30:
            newest = publish(machine)
        sent += [(now, one.version) for one in tell(machine, now)]
    assert 12 <= len(sent) <= 10 + 3
    assert [now for now, _ in sent[:3]] == [20.0, 20.05, 20.1]
    assert sent[-1][1] == newest


def test_failures_are_tried_again_with_growing_pauses_and_the_newest_state() -> None:
    """2, 4, 8 ... seconds up to the cap; advice is kept; a renewal is told at once."""
    machine = begun()
    publish(machine)
    sent = [now for now in range(10, 800) if tell(machine, now, outcome=DOWN)]
    assert [later - sooner for sooner, later in pairwise(sent)] == [
        2, 4, 8, 16, 32, 64, 128, 256,
    ]  # fmt: skip
    begin(machine, 801)
    [owed] = tell(machine, 801, outcome=failure(Reason.BUSY, retry_after_s=100))
    assert owed.version == Version(9, machine._number)
    assert tell(machine, 900) == []
    assert len(tell(machine, 901)) == 1


def test_not_subscribed_twice_is_forgotten() -> None:
    """Once may be a router that forgot."""
    machine = begun()
    strange = failure(Reason.NOT_SUBSCRIBED)
    publish(machine)
    tell(machine, 10, outcome=strange)
    assert len(machine) == 1
    assert len(tell(machine, 12)) == 1
    publish(machine)
    tell(machine, 20, outcome=strange)
    tell(machine, 22, outcome=strange)
    assert (len(machine), machine.forgotten) == (0, 1)


def test_what_the_watchers_side_has_lost_is_noticed_when_he_begins_another() -> None:
    """It is told at once, refused twice and forgotten, without a change of presence; the new one stays."""
    machine = begun()
    strange = failure(Reason.NOT_SUBSCRIBED)

    def answer(now: float) -> None:
        for owed in machine.due(now):
            assert machine.sending(owed, b"state", now)
            machine.answered(owed, strange if owed.subscription_id == b"id" else SUCCESS, now)

    machine.subscribe(ask(ident=b"new"), ALLOW, 10, 1800)
    answer(10)
    failures = {one.subscription_id: one.failures for one in machine.watchers(BOB, 11)}
    assert failures == {b"id": 1, b"new": 0}
    answer(12)
    assert [one.subscription_id for one in machine.watchers(BOB, 12)] == [b"new"]
    assert machine.forgotten == 1


def test_no_answer_counts_as_a_failure_and_a_late_one_changes_nothing() -> None:
    """The state is sent again."""
    machine = begun()
    publish(machine)
    [lost] = machine.due(10)
    machine.sending(lost, b"x", 10)
    assert machine.due(73) == []
    assert machine.due(74) == []
    [again] = machine.due(76)
    machine.answered(lost, SUCCESS, 76)
    assert machine.late_answers == 1
    assert machine.sending(again, b"x", 76)


def test_one_that_expires_is_told_so_as_long_as_routers_pass_it_on() -> None:
    """Terminated, timeout, no state; then it is gone, told or not."""
    machine = begun()
    ends = [(now, one) for now in range(990, 1100) for one in tell(machine, now, outcome=DOWN)]
    assert [now for now, _ in ends] == [1000, 1002, 1006, 1014]
    over = ends[0][1]
    assert (over.state, over.end_reason, over.full, over.expires_s) == (
        TERMINATED, EndReason.TIMEOUT, False, None,
    )  # fmt: skip
    assert over.notify(b"n" * 16, offline(BOB), b"<x/>").document == b""
    assert (len(machine), machine.expired) == (0, 1)


def test_one_that_expires_in_flight_is_told_after_the_answer() -> None:
    """One notification at a time."""
    machine = begun()
    publish(machine)
    [flying] = machine.due(999)
    machine.sending(flying, b"x", 999)
    assert machine.due(1001) == []
    machine.answered(flying, SUCCESS, 1002)
    [over] = tell(machine, 1002)
    assert over.state is TERMINATED
    assert len(machine) == 0


# -- decisions -------------------------------------------------------------------------------------------


def test_approval_is_told_with_the_state() -> None:
    """Pending becomes active."""
    machine = made()
    begin(machine, 0, WAIT)
    assert machine.decide(ANN, BOB, ALLOW, 10) == 1
    [owed] = tell(machine, 10)
    assert (owed.state, owed.full) == (ACTIVE, True)


@pytest.mark.parametrize("first", [ALLOW, WAIT])
def test_rejection_is_told_and_ends_it(first: Decision) -> None:
    """All subscriptions of that watcher, and of no other."""
    machine = made()
    begin(machine, 0, first)
    machine.subscribe(ask(ident=b"second"), first, 0, 1800)
    machine.subscribe(ask(watcher=Address.parse("eve@a.example")), ALLOW, 0, 1800)
    tell(machine, 0)
    assert machine.decide(ANN, BOB, REFUSE, 10) == 2
    ends = tell(machine, 10)
    rejected = (TERMINATED, EndReason.REJECTED, False)
    assert {(one.state, one.end_reason, one.full) for one in ends} == {rejected}
    assert [one.watcher.local for one in machine.watchers(BOB, 10)] == ["eve"]


def test_taking_an_approval_back_and_changing_what_is_shown() -> None:
    """Pending again is told without a state; another view has a newer version, and is told if it differs."""
    machine = begun()
    machine.decide(ANN, BOB, ALLOW, 10)
    assert tell(machine, 10, b"state 1") == []
    machine.decide(ANN, BOB, ALLOW, 20)
    [hidden] = tell(machine, 20, b"offline")
    assert hidden.version == Version(9, 3)
    machine.decide(ANN, BOB, WAIT, 30)
    [undecided] = tell(machine, 30)
    assert (undecided.state, undecided.full) == (PENDING, False)
    publish(machine)
    assert tell(machine, 40) == []


def test_all_subscriptions_of_a_presentity_can_be_ended() -> None:
    """He moved, or has no account any more; begun again with the same id it lives."""
    machine = begun()
    assert machine.end(BOB, EndReason.DEACTIVATED, 10) == 1
    [over] = machine.due(10)
    assert over.end_reason is EndReason.DEACTIVATED
    machine.sending(over, b"", 10)
    begin(machine, 11)
    machine.answered(over, SUCCESS, 12)
    [owed] = tell(machine, 12)
    assert owed.state is ACTIVE
    assert len(machine) == 1


def test_a_version_of_another_life_is_our_own_mistake() -> None:
    """So is one that was not given out; one given out before another view was shown is raised."""
    machine = begun()
    for wrong in (Version(8, 1), Version(9, 100)):
        with pytest.raises(LocalMisuse):
            machine.publish(BOB, wrong)
    early = machine.next_version()
    machine.decide(ANN, BOB, ALLOW, 10)
    [owed] = tell(machine, 10, b"view")
    machine.publish(BOB, early)
    [newer] = tell(machine, 20, b"state")
    assert newer.version is not None
    assert owed.version is not None
    assert newer.version > owed.version


# -- many ------------------------------------------------------------------------------------------------


def test_a_fan_out_comes_in_bounded_slices_and_disturbs_no_other() -> None:
    """10,000 watchers of one user; another's single watcher is told in the first slice."""
    machine = made()
    for number in range(10_000):
        watcher = Address.parse(f"w{number}@d{number % 10}.example")
        machine.subscribe(ask(watcher=watcher), ALLOW, 0, 1800)
    carl = Address.parse("carl@b.example")
    machine.subscribe(Subscribe(ANN, carl, b"m" * 16, b"id", 1000), ALLOW, 0, 1800)
    while tell(machine, 0):
        pass
    assert machine.publish(BOB, machine.next_version()) == 10_000
    machine.publish(carl, machine.next_version())
    slices = []
    while sent := tell(machine, 100, b"new"):
        slices.append(sent)
    assert max(map(len, slices)) <= 500
    assert sum(map(len, slices)) == 10_001
    assert carl in [one.presentity for one in slices[0]]
    assert len({one.watcher for one in slices[-1]} & {one.watcher for one in slices[0]}) == 0


def test_a_state_that_comes_during_the_fan_out_reaches_everybody() -> None:
    """Those who were told already are told again; the rest once."""
    machine = made()
    watchers = [Address.parse(f"w{number}@a.example") for number in range(1000)]
    for watcher in watchers:
        machine.subscribe(ask(watcher=watcher), ALLOW, 0, 1800)
    while tell(machine, 0):
        pass
    publish(machine)
    first = tell(machine, 100, b"older")
    newest = publish(machine)
    latest = {}
    while sent := tell(machine, 101, b"newest"):
        latest.update({one.watcher: one.version for one in sent})
    assert latest == dict.fromkeys(watchers, newest)
    assert 0 < len(first) <= 500


def test_bounds_are_named_and_one_zone_leaves_room_for_others() -> None:
    """In all, of one presentity, of one zone's watchers, of one watcher's programs."""
    settings = NotifySettings(most=8, per_presentity=6, per_zone=4, per_watcher=2)
    machine = made(settings)

    def tries(watcher: str, ident: bytes, presentity: Address = BOB) -> Reason | None:
        asked = Subscribe(Address.parse(watcher), presentity, b"m" * 16, ident, 1000)
        refusal = machine.subscribe(asked, ALLOW, 0, 1800).refusal
        return refusal.reason if refusal is not None else None

    busy = Reason.BUSY
    assert [tries("a@x.example", bytes([n])) for n in (1, 2, 3)] == [None, None, busy]
    assert [tries(f"b{n}@s{n}.x.example", b"i") for n in range(3)] == [None, None, busy]
    assert [tries(f"c{n}@y.example", b"i") for n in range(3)] == [None, None, busy]
    carl = Address.parse("carl@b.example")
    assert [tries(f"d{n}@z.example", b"i", carl) for n in range(3)] == [None, None, busy]
    machine.subscribe(ask(0, Address.parse("b0@s0.x.example"), b"i"), ALLOW, 0, 1800)
    assert tries("d2@z.example", b"i", carl) is None


# -- storing ---------------------------------------------------------------------------------------------


def test_subscriptions_outlive_a_restart_and_their_watchers_are_told_spread() -> None:
    """The epoch is greater, so that the state is newer than all that was told before."""
    store: dict[bytes, KeptSubscription] = {}

    def keep(key: bytes, kept: KeptSubscription | None) -> None:
        if kept is None:
            store.pop(key)
        else:
            store[key] = kept

    machine = Notifying(9, lambda: 0.0, SETTINGS, 5000.0, keep)
    for number in range(300):
        asked = ask(watcher=Address.parse(f"W{number}@a.example"))
        machine.subscribe(asked, WAIT if number < 20 else ALLOW, 0, 1800)
    machine.subscribe(ask(0, ident=b"fetch"), ALLOW, 0, 1800)
    assert len(store) == 300
    assert list(machine.kept()) == list(store.values())
    kept = machine.to_kept(Address.parse("w5@a.example"), BOB, b"id")
    assert kept == KeptSubscription(b"W5@a.example", b"Bob@b.example", b"id", 0, 6000.0)

    later = Notifying(10, Random(1).random, SETTINGS, 5000.0, keep)
    for one in list(store.values()):
        assert later.from_kept(one, 100.0) is None
    told = {}
    for now in range(100, 135):
        batch = tell(later, now)
        told[now] = len(batch)
        assert all(one.version is not None and one.version.epoch == 10 for one in batch)
    assert sum(told.values()) == 280
    assert max(told.values()) < 30
    later.decide(Address.parse("w5@a.example"), BOB, REFUSE, 200)
    assert len(store) == 299


def test_a_renewal_right_after_a_restart_is_told_at_once() -> None:
    """It does not wait for its turn."""
    machine = Notifying(9, lambda: 0.99, SETTINGS)
    machine.from_kept(KeptSubscription(b"ann@a.example", b"Bob@b.example", b"id", 1, 900.0), 0.0)
    assert tell(machine, 1) == []
    begin(machine, 1)
    assert len(tell(machine, 1)) == 1
    assert tell(machine, 31) == []


def test_one_that_ended_while_nobody_was_there_is_told_to_be_over() -> None:
    """Then it is gone."""
    machine = made()
    machine.from_kept(KeptSubscription(b"ann@a.example", b"Bob@b.example", b"id", 1, 50.0), 100.0)
    [over] = tell(machine, 100)
    assert (over.state, over.end_reason) == (TERMINATED, EndReason.TIMEOUT)
    assert len(machine) == 0
