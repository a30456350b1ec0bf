"""Who is told the full outcome of a request, and who the disclosed one."""

from __future__ import annotations

import pytest

from imxrouter.app.traffic.full_outcomes import FullOutcomes
from imxrouter.link.ledger import KEY
from imxrouter.model.address import Address
from imxrouter.model.operations import Notify, Operation, Subscribe, SubscriptionState
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.interfaces import Answer

ALICE, BOB = Address.parse("alice@a.example"), Address.parse("bob@b.example")
IDENT = bytes(16)
SUBSCRIBE = Subscribe(ALICE, BOB, IDENT, b"1", 60)
NOTIFY = Notify(ALICE, BOB, IDENT, b"1", SubscriptionState.ACTIVE)


@pytest.mark.parametrize(
    ("operation", "why", "told"),
    [
        (SUBSCRIBE, Reason.HELLO_TIMEOUT, Reason.HELLO_TIMEOUT),
        (SUBSCRIBE, Reason.SUSPENDED, Reason.SUSPENDED),
        (SUBSCRIBE, Reason.BLOCKED, Reason.NOT_DELIVERED),
        (SUBSCRIBE, Reason.UNKNOWN_USER, Reason.NOT_DELIVERED),
        (NOTIFY, Reason.HELLO_TIMEOUT, Reason.PROTOCOL_ERROR),
    ],
)
def test_a_watcher_learns_why_but_not_what_the_other_side_hides(
    operation: Operation, why: Reason, told: Reason
) -> None:
    """A router of the watcher's own knows why; what becomes of a notification is the disclosed word."""
    full = FullOutcomes()
    heard: list[Outcome] = []

    def submit(operation: Operation, answer: Answer) -> None:
        outcome: Outcome = failure(why, note="detail")
        entry = [b""] * (KEY + 1)
        entry[KEY] = operation.message_id + operation.destination.wire + operation.source.wire
        full.settled(tuple(entry), outcome)  # type: ignore[arg-type]
        answer(outcome.disclosed())

    full.for_watchers(submit)(operation, heard.append)
    assert [one.reason for one in heard] == [told]
