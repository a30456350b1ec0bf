"""The one vocabulary, and what of it a sender is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.outcome import (
    DISCLOSED_RETRY_STEP_S,
    SUCCESS,
    Outcome,
    failed_at,
    failure,
    indeterminant,
)
from imxrouter.model.vocabulary import REASON_BY_CODE, REASON_BY_WORD, Reason, Status

outcomes = st.builds(
    Outcome,
    st.sampled_from(Status),
    st.sampled_from(Reason),
    st.sampled_from(["", "a.example"]),
    st.sampled_from(["router", "service", "peer", "uplink"]),
    st.integers(0, 10**6),
    st.text(max_size=20),
)


def test_codes_and_words_are_unique() -> None:
    """On the wire and in logs; and each code fits its field."""
    assert len(REASON_BY_CODE) == len(REASON_BY_WORD) == len(Reason)
    assert all(0 <= reason.code <= 0xFFFF for reason in Reason)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: str(reason.word))
def test_what_is_told_is_a_registered_word_and_told_as_itself(reason: Reason) -> None:
    """Disclosing twice changes nothing."""
    told = REASON_BY_WORD[reason.disclosed]
    assert told.disclosed == told.word
    assert reason.remedy


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: str(reason.word))
def test_what_is_told_advises_what_is_logged(reason: Reason) -> None:
    """Whoever reads the answer and whoever reads the log is told alike whether to try again."""
    told = REASON_BY_WORD[reason.disclosed]
    assert told is Reason.NONE or told.retry is reason.retry


@pytest.mark.parametrize(
    "reason", [Reason.UNKNOWN_USER, Reason.BLOCKED, Reason.CONSENT_NEEDED, Reason.PEER_FAILED]
)
def test_nobody_can_probe_for_users_or_rules(reason: Reason) -> None:
    """Unknown, blocked, held: the same bytes, from whoever decided (RFC 2779 section 5.1.15)."""
    said = {
        failure(reason, by="b.example", role=role, retry_after_s=retry, note=note).disclosed()
        for role in ("router", "service")
        for retry, note in ((0, ""), (17, "rule 4"))
    }
    assert said == {failure(Reason.NOT_DELIVERED, by="b.example", role="service")}


@given(outcomes)
def test_disclosing_is_idempotent_and_hides(outcome: Outcome) -> None:
    """Status and deciding domain stay; the note goes; the time is rounded up."""
    told = outcome.disclosed()
    assert told.disclosed() == told
    assert (told.status, told.decided_by, told.note) == (outcome.status, outcome.decided_by, "")
    assert told.retry_after_s % DISCLOSED_RETRY_STEP_S == 0
    assert told.retry_after_s >= outcome.retry_after_s or told.reason is Reason.NOT_DELIVERED


def test_outcomes_say_what_they_are() -> None:
    """Success, failure, nobody knows."""
    assert SUCCESS.ok
    assert (
        failure(Reason.BUSY, retry_after_s=3).ok,
        failure(Reason.BUSY, retry_after_s=3).retry_after_s,
    ) == (False, 3)
    assert failure(Reason.LOOP, retry_after_s=3).retry_after_s == 0  # asking again never helps
    lost = indeterminant(Reason.LINK_LOST, by="b.example", role="peer")
    assert (lost.status, lost.ok) == (Status.INDETERMINANT, False)


@pytest.mark.parametrize(
    ("reason", "decided_by", "named"),
    [
        (Reason.CONNECT_TIMEOUT, "", "z.example"),
        (Reason.DNS_FAILURE, "", "z.example"),
        (Reason.KEEPALIVE_TIMEOUT, "", "z.example"),
        (Reason.UNKNOWN_USER, "z.example", "z.example"),
        (Reason.CONNECT_TIMEOUT, "up.example", "up.example"),
        (Reason.RATE_LIMITED, "", ""),
        (Reason.STATE_UNAVAILABLE, "", ""),
    ],
)
def test_a_failure_names_the_domain_at_which_it_failed(reason: Reason, decided_by: str, named: str) -> None:
    """Whoever said so; else the one that this router could not reach; nobody where it failed here."""
    assert failed_at(reason, decided_by, "z.example") == named
