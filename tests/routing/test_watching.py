"""The watcher's side: renewals, new tries, bounds, and what outlives a restart."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.operations import (
    Subscribe,
)
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.presence import Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.routing.watched import KeptWatch, Seen, Verdict, WatchSettings
from imxrouter.routing.watching import Watching
from tests.routing.watching_rig import (
    ACTIVE,
    ANN,
    BOB,
    PENDING,
    SETTINGS,
    TERMINATED,
    UNREACHABLE,
    begun,
    granted,
    ids,
    made,
    moments,
    told,
)

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
