"""Conditions and reasons: no one is without a sense, and what we say is understood by a router like us."""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp.names import (
    Condition,
    StanzaCondition,
    claim_error,
    claim_refused_by,
    condition_named,
    condition_of,
    reason_of,
    stanza_condition_named,
)
from imxrouter.model.vocabulary import Reason


def test_the_conditions_are_those_of_the_rfc() -> None:
    """25 of them (RFC 6120 section 4.9.3); what is not among them is undefined."""
    assert len(Condition) == 25
    assert all(condition_named(one.value) is one for one in Condition)
    assert all(stanza_condition_named(one.value) is one for one in StanzaCondition)
    assert condition_named("no-such") is Condition.UNDEFINED_CONDITION
    assert stanza_condition_named("no-such") is StanzaCondition.UNDEFINED_CONDITION


@pytest.mark.parametrize(
    ("reason", "condition", "back"),
    [
        (Reason.SHUTTING_DOWN, Condition.SYSTEM_SHUTDOWN, Reason.SHUTTING_DOWN),
        (Reason.BUSY, Condition.RESOURCE_CONSTRAINT, Reason.BUSY),
        (Reason.OVER_CAP, Condition.RESOURCE_CONSTRAINT, Reason.BUSY),
        (Reason.WEAKER_THAN_POLICY, Condition.POLICY_VIOLATION, Reason.WEAKER_THAN_POLICY),
        (Reason.DIALBACK_REFUSED, Condition.NOT_AUTHORIZED, Reason.NOT_PROVED),
        (Reason.PROTOCOL_ERROR, Condition.BAD_FORMAT, Reason.PROTOCOL_ERROR),
        (Reason.VERSION_MISMATCH, Condition.UNSUPPORTED_VERSION, Reason.VERSION_MISMATCH),
        (Reason.KEEPALIVE_TIMEOUT, Condition.CONNECTION_TIMEOUT, Reason.KEEPALIVE_TIMEOUT),
        (Reason.SUSPENDED, Condition.HOST_GONE, Reason.NOT_HOSTED),
        (Reason.UNKNOWN_USER, Condition.UNDEFINED_CONDITION, Reason.PEER_FAILED),
    ],
)
def test_ends_of_streams(reason: Reason, condition: Condition, back: Reason) -> None:
    """What we say for a reason, and what the other side makes of it."""
    assert condition_of(reason) is condition
    assert reason_of(condition) is back


def test_an_idle_stream_is_no_error() -> None:
    """It is closed, and nothing more is said."""
    assert condition_of(Reason.IDLE) is None
    assert condition_of(Reason.NONE) is None


def test_no_condition_of_a_peer_sounds_like_success() -> None:
    """Every one means that something is wrong."""
    assert all(reason_of(one) is not Reason.NONE for one in Condition)
    assert all(claim_refused_by(one) is not Reason.NONE for one in StanzaCondition)


@pytest.mark.parametrize(
    ("reason", "condition", "back"),
    [
        (Reason.RELAY_DENIED, StanzaCondition.ITEM_NOT_FOUND, Reason.NOT_HOSTED),
        (Reason.CONNECT_TIMEOUT, StanzaCondition.REMOTE_CONNECTION_FAILED, Reason.DIALBACK_TIMEOUT),
        (Reason.NO_SUCH_DOMAIN, StanzaCondition.REMOTE_SERVER_NOT_FOUND, Reason.DIALBACK_TIMEOUT),
        (Reason.DIALBACK_TIMEOUT, StanzaCondition.REMOTE_SERVER_TIMEOUT, Reason.DIALBACK_TIMEOUT),
        (Reason.WEAKER_THAN_POLICY, StanzaCondition.POLICY_VIOLATION, Reason.WEAKER_THAN_POLICY),
        (Reason.CERTIFICATE_REFUSED, StanzaCondition.NOT_AUTHORIZED, Reason.CERTIFICATE_REFUSED),
        (Reason.DIALBACK_REFUSED, StanzaCondition.FORBIDDEN, Reason.DIALBACK_REFUSED),
        (Reason.TOO_MANY_CLAIMS, StanzaCondition.RESOURCE_CONSTRAINT, Reason.TOO_MANY_CLAIMS),
    ],
)
def test_refused_claims(reason: Reason, condition: StanzaCondition, back: Reason) -> None:
    """The table of XEP-0220 section 2.5, in both directions."""
    error = claim_error(reason, "words")
    assert (error.condition, error.text) == (condition, "words")
    assert claim_refused_by(condition) is back
