"""The watcher's side: renewals, new tries, what is news, bounds, and what outlives a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count, pairwise
from random import Random

import pytest

from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import (
    EndReason,
    Notify,
    Subscribe,
    SubscribeResult,
    SubscriptionState,
    Version,
)
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.presence import Unknown, offline
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.routing.destinations import BackOff
from imxrouter.routing.watched import KeptWatch, Seen, Verdict, WatchSettings
from imxrouter.routing.watching import Watching

ANN = Address.parse("ann@a.example")
BOB = Address.parse("Bob@b.example")
ACTIVE, PENDING, TERMINATED = (
    SubscriptionState.ACTIVE, SubscriptionState.PENDING, SubscriptionState.TERMINATED,
)  # fmt: skip
SETTINGS = WatchSettings(backoff=BackOff(first_s=5, cap_s=300, jitter=0.5))
UNREACHABLE = failure(Reason.UNREACHABLE)


def ids() -> Callable[[], bytes]:
    """Ids in order."""
    numbers = count(1)
    return lambda: next(numbers).to_bytes(16, "big")


def made(settings: WatchSettings = SETTINGS, chance: float | None = 0.5) -> Watching:
    """A machine whose chance is always the same, or with None seeded."""
    seeded = Random(1)
    return Watching(ids(), seeded.random if chance is None else lambda: chance, settings)


def granted(state: SubscriptionState = ACTIVE, duration_s: int = 1000) -> Outcome:
    """A success."""
    return replace(SUCCESS, result=SubscribeResult(state, duration_s))


def begun(watching: Watching, now: float = 0.0, duration_s: int = 1000) -> Subscribe:
    """A subscription that is active."""
    assert watching.want(ANN, BOB, duration_s) is None
    [asked] = watching.due(now).send
    effects = watching.answered(asked, granted(duration_s=duration_s), now)
    assert (effects.send, effects.show, effects.ended) == ([], [], [])
    return asked


def told(asked: Subscribe, number: int, epoch: int = 1) -> Notify:
    """A notification with a state."""
    return Notify(BOB, ANN, b"m" * 16, asked.subscription_id, ACTIVE, Version(epoch, number), offline(BOB))


def ended(asked: Subscribe, why: EndReason) -> Notify:
    """A notification that it is over."""
    return Notify(BOB, ANN, b"m" * 16, asked.subscription_id, TERMINATED, end_reason=why)


def moments(watching: Watching, start: float, until: float) -> list[float]:
    """When requests are sent that all fail, at ticks of a second."""
    sent = []
    now = start
    while now < until:
        for asked in watching.due(now).send:
            sent.append(now)
            watching.answered(asked, UNREACHABLE, now)
        now += 1.0
    return sent


# -- begin, renew, end -----------------------------------------------------------------------------------


def test_it_is_renewed_with_the_same_id_between_50_and_90_percent() -> None:
    """For any chance; and nothing is sent before."""
    for chance, moment in ((0.0, 500.0), (0.5, 700.0), (0.999, 899.75)):
        watching = made(chance=chance)
        asked = begun(watching)
        assert watching.due(moment - 1).send == []
        [again] = watching.due(moment).send
        assert (again.subscription_id, again.duration_s) == (asked.subscription_id, 1000)
        assert again.message_id != asked.message_id


def test_a_shorter_grant_counts_from_when_it_was_asked_and_a_longer_one_is_not_believed() -> None:
    """The other side's time runs from before the answer."""
    watching = made(chance=0.0)
    watching.want(ANN, BOB, 1000)
    [asked] = watching.due(0).send
    watching.answered(asked, granted(duration_s=100), 20)
    standing = watching.standing(ANN, BOB, 20)
    assert standing is not None
    assert (standing.state, standing.left_s) == (ACTIVE, 80)
    [again] = watching.due(50).send
    watching.answered(again, granted(PENDING, 5000), 50)
    standing = watching.standing(ANN, BOB, 50)
    assert standing is not None
    assert (standing.state, standing.left_s) == (PENDING, 1000)


def test_wanting_twice_asks_once_whatever_the_spelling() -> None:
    """Addresses are compared by key."""
    watching = made()
    assert watching.want(ANN, BOB, 1000) is None
    assert watching.want(Address.parse("Ann@a.example"), Address.parse("bob@b.example"), 500) is None
    [asked] = watching.due(0).send
    assert (asked.watcher, asked.presentity, asked.duration_s) == (ANN, BOB, 500)
    assert len(watching) == 1


def test_unwanting_sends_the_end_and_tries_it_three_times() -> None:
    """Then it is forgotten; the other side lets it expire."""
    watching = made()
    asked = begun(watching)
    assert watching.unwant(ANN, BOB, 10)
    assert not watching.unwant(ANN, BOB, 10)
    ends = []
    for now in range(10, 60):
        for end in watching.due(float(now)).send:
            ends.append(end)
            watching.answered(end, UNREACHABLE, float(now))
    assert [(end.subscription_id, end.duration_s) for end in ends] == [(asked.subscription_id, 0)] * 3
    assert len(watching) == 0


def test_unwanting_what_was_never_asked_for_sends_nothing() -> None:
    """A contact added and removed at once."""
    watching = made()
    watching.want(ANN, BOB, 1000)
    assert watching.unwant(ANN, BOB, 0)
    assert watching.due(0).send == []
    assert len(watching) == 0


def test_wanting_again_while_the_end_is_under_way_begins_another() -> None:
    """A late end of the old one then ends nothing; before the end was sent the old one goes on."""
    watching = made()
    asked = begun(watching)
    watching.unwant(ANN, BOB, 10)
    watching.want(ANN, BOB, 1000)
    [renewal] = watching.due(10).send
    assert (renewal.subscription_id, renewal.duration_s) == (asked.subscription_id, 1000)
    watching.answered(renewal, granted(), 10)
    watching.unwant(ANN, BOB, 20)
    [end] = watching.due(20).send
    watching.want(ANN, BOB, 1000)
    [new] = watching.due(21).send
    assert new.subscription_id != asked.subscription_id
    watching.answered(end, granted(TERMINATED, 0), 22)
    assert watching.standing(ANN, BOB, 22) is not None
    assert watching.late_answers == 1


def test_what_is_wanted_again_is_shown_again_though_it_did_not_change() -> None:
    """Whoever no longer wanted to know has forgotten it; the renewal is answered with the same state."""
    watching = made()
    asked = begun(watching)
    assert watching.notified(told(asked, 7), 1).verdict is Verdict.NEWS
    assert watching.notified(told(asked, 7), 2).verdict is Verdict.NOTHING_NEW
    watching.unwant(ANN, BOB, 10)
    watching.want(ANN, BOB, 1000)
    [renewal] = watching.due(10).send
    watching.answered(renewal, granted(), 10)
    assert watching.notified(told(renewal, 6), 11).verdict is Verdict.NOTHING_NEW
    assert watching.notified(told(renewal, 7), 12).verdict is Verdict.NEWS
    watching.want(ANN, BOB, 1000)
    assert watching.notified(told(renewal, 7), 13).verdict is Verdict.NOTHING_NEW


def test_a_begin_that_is_unwanted_while_it_is_asked_is_ended_when_it_is_answered() -> None:
    """It would live on for half an hour otherwise."""
    watching = made()
    watching.want(ANN, BOB, 1000)
    [asked] = watching.due(0).send
    watching.unwant(ANN, BOB, 1)
    assert watching.due(1).send == []
    watching.answered(asked, granted(), 2)
    [end] = watching.due(2).send
    assert (end.subscription_id, end.duration_s) == (asked.subscription_id, 0)
    watching.answered(end, granted(TERMINATED, 0), 3)
    assert len(watching) == 0


# -- failures --------------------------------------------------------------------------------------------


def test_tries_grow_apart_up_to_the_cap() -> None:
    """With the least chance the pauses are whole: 5, 10, 20 ... 300 seconds."""
    watching = made(chance=0.0)
    watching.want(ANN, BOB, 1000)
    sent = moments(watching, 0, 2000)
    assert [later - sooner for sooner, later in pairwise(sent)] == [
        5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300,
    ]  # fmt: skip


def test_the_other_sides_advice_is_kept() -> None:
    """`busy`, retry after 600 s."""
    watching = made(chance=0.0)
    watching.want(ANN, BOB, 1000)
    [asked] = watching.due(0).send
    watching.answered(asked, failure(Reason.BUSY, retry_after_s=600), 0)
    assert watching.due(599).send == []
    assert len(watching.due(600).send) == 1


def test_a_renewal_that_fails_shows_unknown_at_the_end_and_not_before() -> None:
    """Once, with the reason and the domain of the failure; it heals with the same state told again."""
    watching = made(chance=0.0)
    asked = begun(watching)
    assert watching.notified(told(asked, 7), 1).verdict is Verdict.NEWS
    shown = []
    for now in range(2, 1500):
        effects = watching.due(float(now))
        for request in effects.send:
            effects.show += watching.answered(request, UNREACHABLE, float(now)).show
        shown += [(now, show.presence) for show in effects.show]
    assert shown == [(1000, Unknown(BOB, Reason.UNREACHABLE, BOB.domain))]
    [request] = watching.due(2000).send
    watching.answered(request, granted(), 2000)
    standing = watching.standing(ANN, BOB, 2000)
    assert standing is not None
    assert standing.seen is Seen.UNKNOWN
    assert watching.notified(told(asked, 6), 2001).verdict is Verdict.NOTHING_NEW
    assert watching.notified(told(asked, 7), 2001).verdict is Verdict.NEWS
    assert watching.notified(told(asked, 7), 2001).verdict is Verdict.NOTHING_NEW


def test_a_first_request_that_fails_shows_unknown_at_once_and_again_for_another_cause() -> None:
    """Named: the other domain where it cannot be reached, the one that decided if it says so, else ours."""
    watching = made(chance=0.0)
    watching.want(ANN, BOB, 1000)
    shown = []
    outcomes = [
        UNREACHABLE, UNREACHABLE, failure(Reason.BUSY), failure(Reason.BUSY, by="z.example", role="peer"),
        failure(Reason.BUSY, by="no domain", role="peer"),
    ]  # fmt: skip
    now = 0.0
    while outcomes:
        shown += [
            [one.presence for one in watching.answered(asked, outcomes.pop(0), now).show]
            for asked in watching.due(now).send
        ]
        now += 1
    assert shown == [
        [Unknown(BOB, Reason.UNREACHABLE, Domain("b.example"))],
        [],
        [Unknown(BOB, Reason.BUSY, Domain("a.example"))],
        [Unknown(BOB, Reason.BUSY, Domain("z.example"))],
        [Unknown(BOB, Reason.BUSY, Domain("a.example"))],
    ]


@pytest.mark.parametrize("reason", [Reason.NOT_DELIVERED, Reason.BLOCKED, Reason.UNKNOWN_USER])
def test_a_refusal_ends_it(reason: Reason) -> None:
    """Nothing is tried on."""
    watching = made()
    watching.want(ANN, BOB, 1000)
    [asked] = watching.due(0).send
    [end] = watching.answered(asked, failure(reason), 0).ended
    assert (end.watcher, end.presentity, end.reason) == (ANN, BOB, reason)
    assert len(watching) == 0
    assert watching.due(10_000).send == []


def test_no_answer_at_all_counts_as_a_failure() -> None:
    """After twice the router's own time; an answer that comes later changes nothing."""
    watching = made(chance=0.0)
    watching.want(ANN, BOB, 1000)
    [asked] = watching.due(0).send
    assert watching.due(63).show == []
    [shown] = watching.due(64).show
    assert shown.presence.reason is Reason.ANSWER_TIMEOUT
    watching.answered(asked, granted(), 65)
    assert watching.late_answers == 1
    assert len(watching.due(69).send) == 1


def test_a_success_without_its_result_is_a_failure() -> None:
    """A peer that answers without state and duration granted nothing."""
    watching = made(chance=0.0)
    watching.want(ANN, BOB, 1000)
    [asked] = watching.due(0).send
    [shown] = watching.answered(asked, SUCCESS, 0).show
    assert shown.presence == Unknown(BOB, Reason.PEER_FAILED, BOB.domain)


# -- notifications ---------------------------------------------------------------------------------------


def test_the_newest_version_wins_and_a_restart_of_the_notifier_is_newer() -> None:
    """Older and equal ones are dropped and counted."""
    watching = made()
    asked = begun(watching)
    versions = [(1, 5), (1, 4), (1, 5), (1, 6), (2, 0), (1, 9), (2, 1)]
    verdicts = [watching.notified(told(asked, number, epoch), 1).verdict for epoch, number in versions]
    news, old = Verdict.NEWS, Verdict.NOTHING_NEW
    assert verdicts == [news, old, old, news, news, old, news]
    assert watching.old_dropped == 3


def test_only_the_subscription_itself_is_listened_to() -> None:
    """Another id, watcher or presentity is `not-subscribed`."""
    watching = made()
    asked = begun(watching)
    good = told(asked, 1)
    for wrong in (
        replace(good, subscription_id=b"other"),
        replace(good, watcher=Address.parse("eve@a.example")),
        replace(good, presentity=Address.parse("eve@b.example")),
    ):
        assert watching.notified(wrong, 1).verdict is Verdict.NOT_SUBSCRIBED
    assert watching.strange_dropped == 3
    assert watching.notified(good, 1).verdict is Verdict.NEWS


def test_unknown_from_a_router_stays_until_the_presentity_is_heard() -> None:
    """The subscription goes on, and is renewed soon."""
    watching = made(chance=0.5)
    asked = begun(watching)
    watching.notified(told(asked, 3), 1)
    unknown = Unknown(BOB, Reason.SERVICE_DOWN, BOB.domain)
    doubt = Notify(BOB, ANN, b"m" * 16, asked.subscription_id, ACTIVE, presence=unknown)
    assert watching.notified(doubt, 2).verdict is Verdict.NEWS
    assert watching.notified(doubt, 3).verdict is Verdict.NOTHING_NEW
    [renewal] = watching.due(7).send
    watching.answered(renewal, granted(), 7)
    assert watching.notified(told(asked, 3), 8).verdict is Verdict.NEWS


@pytest.mark.parametrize("why", [EndReason.DEACTIVATED, EndReason.TIMEOUT])
def test_deactivated_and_timeout_begin_again_within_ten_seconds(why: EndReason) -> None:
    """RFC 6665 section 4.1.3."""
    watching = made(chance=0.9)
    asked = begun(watching)
    assert watching.notified(ended(asked, why), 1).effects.ended == []
    assert watching.due(9.9).send == []
    assert len(watching.due(10.25).send) == 1


def test_an_end_that_overtakes_the_answer_is_not_forgotten() -> None:
    """The answer to what was asked before says active, but it is over."""
    watching = made(chance=0.0)
    watching.want(ANN, BOB, 1000)
    [asked] = watching.due(0).send
    watching.notified(ended(asked, EndReason.DEACTIVATED), 1)
    watching.answered(asked, granted(), 1)
    assert len(watching.due(1.25).send) == 1


@pytest.mark.parametrize("why", [EndReason.PROBATION, EndReason.GIVEUP])
def test_probation_and_giveup_begin_again_later(why: EndReason) -> None:
    """Between half of the longest pause and the whole of it; unknown until then."""
    watching = made(chance=0.0)
    asked = begun(watching)
    [shown] = watching.notified(ended(asked, why), 1).effects.show
    assert shown.presence.reason is Reason.NOT_SUBSCRIBED
    assert watching.due(150).send == []
    assert len(watching.due(151).send) == 1


@pytest.mark.parametrize("why", [EndReason.REJECTED, EndReason.NORESOURCE, EndReason.INVARIANT])
def test_rejected_noresource_and_invariant_end_it(why: EndReason) -> None:
    """For good."""
    watching = made()
    asked = begun(watching)
    [end] = watching.notified(ended(asked, why), 1).effects.ended
    assert (end.end_reason, end.subscription_id) == (why, asked.subscription_id)
    assert len(watching) == 0
    assert watching.due(10_000).send == []


def test_a_shorter_time_told_by_the_notifier_is_kept_to() -> None:
    """It may only shorten (RFC 6665 section 4.2.2)."""
    watching = made(chance=0.0)
    asked = begun(watching)
    watching.notified(replace(told(asked, 1), expires_s=100), 10)
    assert len(watching.due(60).send) == 1
    watching = made(chance=0.0)
    asked = begun(watching)
    watching.notified(replace(told(asked, 1), expires_s=9000), 10)
    standing = watching.standing(ANN, BOB, 10)
    assert standing is not None
    assert standing.left_s == 990


def test_a_decision_is_told_by_a_notification() -> None:
    """Pending becomes active; an older notification does not undo it."""
    watching = made()
    watching.want(ANN, BOB, 1000)
    [asked] = watching.due(0).send
    watching.answered(asked, granted(PENDING), 0)
    watching.notified(told(asked, 4), 5)
    watching.notified(replace(told(asked, 3), state=PENDING), 6)
    standing = watching.standing(ANN, BOB, 6)
    assert standing is not None
    assert standing.state is ACTIVE


# -- fetch -----------------------------------------------------------------------------------------------


def test_a_fetch_ends_with_one_notification() -> None:
    """The second is a stranger's."""
    watching = made()
    asked = watching.fetch(ANN, BOB, 0)
    assert isinstance(asked, Subscribe)
    assert asked.duration_s == 0
    watching.answered(asked, granted(TERMINATED, 0), 1)
    answer = replace(told(asked, 1), state=TERMINATED, end_reason=EndReason.TIMEOUT)
    assert watching.notified(answer, 2).verdict is Verdict.NEWS
    assert watching.notified(answer, 3).verdict is Verdict.NOT_SUBSCRIBED
    assert watching.due(100).show == []


def test_a_fetch_that_brings_nothing_ends_as_unknown() -> None:
    """Refused, undecided, or never answered."""
    for outcome, reason in (
        (failure(Reason.NOT_DELIVERED, by="b.example", role="service"), Reason.NOT_DELIVERED),
        (granted(PENDING, 0), Reason.CONSENT_NEEDED),
    ):
        watching = made()
        asked = watching.fetch(ANN, BOB, 0)
        assert isinstance(asked, Subscribe)
        [shown] = watching.answered(asked, outcome, 1).show
        assert (shown.subscription_id, shown.presence.reason) == (asked.subscription_id, reason)
    watching = made()
    watching.fetch(ANN, BOB, 0)
    assert watching.due(63).show == []
    [shown] = watching.due(64).show
    assert shown.presence.reason is Reason.ANSWER_TIMEOUT


# -- bounds and spreading --------------------------------------------------------------------------------


def test_bounds_are_named_and_one_watcher_leaves_room_for_others() -> None:
    """In all, of one watcher, and of fetches."""
    watching = made(WatchSettings(most=5, per_watcher=3, fetches=20))
    for number in range(3):
        assert watching.want(ANN, Address.parse(f"u{number}@b.example"), 1000) is None
    refused = watching.want(ANN, BOB, 1000)
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.BUSY
    eve = Address.parse("eve@a.example")
    assert watching.want(eve, BOB, 1000) is None
    assert watching.unwant(ANN, Address.parse("u0@b.example"), 0)
    assert watching.want(ANN, BOB, 1000) is None
    assert [isinstance(watching.fetch(ANN, BOB, 0), Refusal) for _ in range(3)] == [False, False, True]
    assert isinstance(watching.fetch(eve, BOB, 0), Subscribe)


def test_a_restart_with_many_is_spread_at_a_bounded_pace_and_so_are_the_renewals() -> None:
    """5,000 at 500 a second; the renewals stand evenly between 50 and 90 percent."""
    watching = made(chance=None)
    kept = [
        KeptWatch(f"w{number}@a.example".encode(), b"bob@b.example", b"%d" % number, 1000, 1, 900.0, 3, 4)
        for number in range(5000)
    ]
    for one in kept:
        assert watching.from_kept(one, 0.0) is None
    per_second = []
    for now in range(10):
        send = watching.due(float(now)).send
        per_second.append(len(send))
        for asked in send:
            watching.answered(asked, granted(), float(now))
    assert per_second == [500] * 10
    renewals = []
    for now in range(10, 1000):
        send = watching.due(float(now)).send
        renewals.append(len(send))
        for asked in send:
            watching.answered(asked, granted(), float(now))
    assert sum(renewals) == 5000
    assert max(renewals) < 50
    assert not any(renewals[:490])
    assert not any(renewals[901:])


def test_what_could_not_begin_is_asked_within_ten_seconds_of_the_return() -> None:
    """Each at its own moment, not when its pause of minutes ends; other domains are not disturbed."""
    watching = made(chance=None)
    for number in range(100):
        domain = "b.example" if number < 60 else "y.example"
        watching.want(ANN, Address.parse(f"u{number}@{domain}"), 1000)
    now = 0.0
    while now < 2000:
        for asked in watching.due(now).send:
            watching.answered(asked, UNREACHABLE, now)
        now += 1
    watching.again(Domain("b.example"), now)
    watching.again(Domain("b.example"), now)  # once is enough
    sent = [watching.due(now + step / 2).send for step in range(22)]
    returned = [asked for batch in sent for asked in batch if asked.presentity.domain.name == "b.example"]
    assert len({asked.presentity for asked in returned}) == 60
    assert max(map(len, sent)) < 20
    assert len(returned) < 65  # one whose pause was over meanwhile may be asked twice


def test_the_return_of_a_domain_leaves_alone_what_goes_on() -> None:
    """The router renews it; also one whose last renewal failed, until it ends."""
    watching = made()
    begun(watching)
    watching.again(Domain("b.example"), 100)
    assert watching.due(111).send == []
    [renewal] = watching.due(700).send
    watching.answered(renewal, failure(Reason.UNREACHABLE, retry_after_s=200), 700)
    watching.again(Domain("b.example"), 701)
    assert watching.due(712).send == []


# -- storing ---------------------------------------------------------------------------------------------


def test_a_subscription_outlives_a_restart() -> None:
    """Same id, never an older state, renewed soon; wall time is what counts."""
    store: dict[bytes, KeptWatch] = {}

    def keep(key: bytes, kept: KeptWatch | None) -> None:
        if kept is None:
            del store[key]
        else:
            store[key] = kept

    watching = Watching(ids(), lambda: 0.5, SETTINGS, 5000.0, keep)
    asked = begun(watching, 10.0)
    watching.notified(told(asked, 7), 20)
    [kept] = store.values()
    assert kept == watching.to_kept(ANN, BOB)
    assert (kept.presentity, kept.state, kept.ends_at, kept.number) == (b"Bob@b.example", 1, 6010.0, 7)

    again = Watching(ids(), lambda: 0.5, SETTINGS, 5000.0, keep)
    assert again.from_kept(kept, 100.0) is None
    standing = again.standing(ANN, BOB, 100)
    assert standing is not None
    assert (standing.left_s, standing.state, standing.seen) == (910, ACTIVE, Seen.NOTHING)
    assert again.notified(told(asked, 6), 100).verdict is Verdict.NOTHING_NEW
    assert again.notified(told(asked, 7), 100).verdict is Verdict.NEWS
    [renewal] = again.due(101).send
    assert renewal.subscription_id == asked.subscription_id
    again.unwant(ANN, BOB, 102)
    assert not store


def test_one_that_ended_while_nobody_was_there_is_begun_again() -> None:
    """With the same id."""
    watching = made()
    watching.from_kept(KeptWatch(b"ann@a.example", b"Bob@b.example", b"id", 1000, 1, 50.0, -1, -1), 100.0)
    standing = watching.standing(ANN, BOB, 100)
    assert standing is not None
    assert (standing.state, standing.version) == (None, None)
    [asked] = watching.due(100).send
    assert (asked.subscription_id, asked.presentity, asked.duration_s) == (b"id", BOB, 1000)


def test_a_grant_of_a_second_does_not_make_us_ask_every_second() -> None:
    """The other side decides for how long it grants, not what our router is busy with (section 7.6)."""
    watching = made()
    asked = begun(watching)
    sent = []
    for step in range(1, 600):
        now = step / 10
        if step % 10 == 1:
            watching.answered(asked, granted(duration_s=1), now)
        told_ = watching.notified(replace(told(asked, step), expires_s=1), now)
        assert told_.verdict is Verdict.NEWS
        for asked in watching.due(now).send:
            sent.append(now)
            watching.answered(asked, granted(duration_s=1), now)
    assert 3 <= len(sent) <= 60 / 5 + 1
