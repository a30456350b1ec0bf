"""The watcher's side: what is news, what a decision or an end means, and fetches."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imxrouter.model.address import Address
from imxrouter.model.operations import (
    EndReason,
    Notify,
    Subscribe,
)
from imxrouter.model.outcome import failure
from imxrouter.model.presence import Unknown
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.watched import Seen, Verdict
from tests.routing.watching_rig import (
    ACTIVE,
    ANN,
    BOB,
    PENDING,
    TERMINATED,
    UNREACHABLE,
    begun,
    ended,
    granted,
    made,
    told,
)

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


def test_a_pending_renewal_ends_unknown() -> None:
    """No notification is owed while it waits for a decision: its answer says all that there is."""
    watching = made()
    watching.want(ANN, BOB, 1000)
    [asked] = watching.due(0).send
    watching.answered(asked, granted(PENDING), 0)
    unknown = Unknown(BOB, Reason.UNREACHABLE, BOB.domain)
    doubt = Notify(BOB, ANN, b"m" * 16, asked.subscription_id, PENDING, presence=unknown)
    assert watching.notified(doubt, 1).verdict is Verdict.NEWS
    [renewal] = watching.due(20).send
    watching.answered(renewal, granted(PENDING), 20)
    standing = watching.standing(ANN, BOB, 20)
    assert standing is not None
    assert (standing.seen, standing.why, standing.failures) == (Seen.NOTHING, None, 0)
    assert watching.notified(doubt, 21).verdict is Verdict.NEWS, "a new outage is news again"


def test_a_pending_subscription_that_could_not_be_renewed_in_time_ends_unknown() -> None:
    """The doubt is the watcher's own here; a failure that came to nothing is forgotten as well."""
    watching = made()
    watching.want(ANN, BOB, 100)
    [asked] = watching.due(0).send
    watching.answered(asked, UNREACHABLE, 0)
    [again] = watching.due(20).send
    watching.answered(again, granted(PENDING, 100), 20)
    standing = watching.standing(ANN, BOB, 20)
    assert standing is not None
    assert (standing.seen, standing.why) == (Seen.NOTHING, None)


def test_an_active_renewal_leaves_unknown_to_the_notification_that_follows() -> None:
    """Which brings the full state; one that says pending ends it by itself."""
    watching = made()
    asked = begun(watching)
    watching.notified(told(asked, 3), 1)
    unknown = Unknown(BOB, Reason.SERVICE_DOWN, BOB.domain)
    watching.notified(Notify(BOB, ANN, b"m" * 16, asked.subscription_id, ACTIVE, presence=unknown), 2)
    [renewal] = watching.due(20).send
    watching.answered(renewal, granted(), 20)
    standing = watching.standing(ANN, BOB, 20)
    assert standing is not None
    assert standing.seen is Seen.UNKNOWN
    pending = Notify(BOB, ANN, b"m" * 16, asked.subscription_id, PENDING)
    assert watching.notified(pending, 21).verdict is Verdict.STATE_ONLY
    standing = watching.standing(ANN, BOB, 21)
    assert standing is not None
    assert (standing.seen, standing.why) == (Seen.NOTHING, None)


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
