"""What is asked, offered and accepted: the whole matrix, and what is remembered."""

from __future__ import annotations

from itertools import product

import pytest

from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.policy import (
    BOUND,
    BadPolicyRule,
    Level,
    Offer,
    Policy,
    PolicyTable,
    RememberedStrength,
    Tls,
    decide,
    needed_strength,
    tls_needed,
)

OFFERS = [Offer(*facts) for facts in product(Tls, (False, True), (False, True))]
REMEMBERED = range(16)
DAY = 86400.0
D = Domain("d.example")


def proves(offer: Offer) -> dict[str, bool]:
    """The facts of an offer in words, written apart from the code under test."""
    tls = offer.tls is not Tls.NONE
    return {
        "dialback": offer.dialback,
        "tls": tls,
        "certificate": tls and offer.certificate_covers,
    }


ASKED = {
    Policy.DIALBACK: ["dialback"],
    Policy.DIALBACK_TLS: ["dialback", "tls"],
    Policy.CERTIFICATE: ["tls", "certificate"],
    Policy.DIALBACK_CERTIFICATE: ["dialback", "tls", "certificate"],
}


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("offer", OFFERS)
def test_accepted_exactly_when_all_that_is_asked_is_there(policy: Policy, offer: Offer) -> None:
    """Without memory the policy alone decides; the level says no more than the facts."""
    facts = proves(offer)
    decision = decide(policy, offer)
    assert decision.accepted == all(facts[word] for word in ASKED[policy])
    if decision.accepted:
        assert decision.level & policy.level == policy.level
        assert not decision.level & 1 or facts["dialback"]
        assert not decision.level & 2 or facts["tls"]
        assert not decision.level & 4 or facts["certificate"]
    else:
        assert decision.level is Level.NONE
        assert decision.strength == 0
        assert decision.note.startswith("missing: ")


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("offer", OFFERS)
def test_never_below_what_was_seen(policy: Policy, offer: Offer) -> None:
    """For every memory: it can only turn a yes into a no, by its own reason, and never a no into a yes."""
    plain = decide(policy, offer)
    for seen in REMEMBERED:
        decision = decide(policy, offer, seen)
        if not plain.accepted:
            assert decision == plain or not decision.accepted
            continue
        measurable = seen if policy is not Policy.CERTIFICATE else seen & 6
        assert decision.accepted == (not measurable & ~plain.strength)
        assert decision.accepted or decision.reason is Reason.WEAKER_THAN_REMEMBERED


@pytest.mark.parametrize("policy", Policy)
def test_a_better_offer_is_never_refused_where_a_worse_one_is_taken(policy: Policy) -> None:
    """More facts never hurt."""
    for seen, worse, better in product(REMEMBERED, OFFERS, OFFERS):
        more = (
            better.tls >= worse.tls
            and better.certificate_covers >= worse.certificate_covers
            and better.dialback >= worse.dialback
        )
        if more and decide(policy, worse, seen).accepted:
            assert decide(policy, better, seen).accepted


def test_the_reason_names_the_stage() -> None:
    """A certificate that does not fit is not the same as none."""
    wrong = Offer(Tls.V1_3, certificate_covers=False, dialback=True)
    clear = Offer(Tls.NONE, certificate_covers=True, dialback=True)
    assert decide(Policy.DIALBACK_CERTIFICATE, wrong).reason is Reason.CERTIFICATE_REFUSED
    assert decide(Policy.DIALBACK_CERTIFICATE, clear).reason is Reason.WEAKER_THAN_POLICY
    assert "certificate" in decide(Policy.DIALBACK_CERTIFICATE, clear).note


def test_a_binding_that_was_seen_is_asked_for_again() -> None:
    """A man in the middle cannot undo it by offering TLS 1.2."""
    bound = decide(Policy.DIALBACK_TLS, Offer(Tls.V1_3, certificate_covers=False, dialback=True))
    assert bound.strength & BOUND
    again = decide(
        Policy.DIALBACK_TLS, Offer(Tls.V1_2, certificate_covers=False, dialback=True), bound.strength
    )
    assert again.reason is Reason.WEAKER_THAN_REMEMBERED
    assert "TLS 1.3" in again.note


def test_dns_raises_and_never_lowers() -> None:
    """What is published about TLS can only add to policy and memory."""
    assert tls_needed(Policy.DIALBACK, published=True)
    assert not tls_needed(Policy.DIALBACK)
    for policy, seen, published in product(Policy, REMEMBERED, (None, False, True)):
        assert tls_needed(policy, seen, published=published) >= bool(needed_strength(policy, seen) & 2)


def test_the_nearest_rule_holds() -> None:
    """Own name, then the nearest zone, then the default, which is the strongest."""
    table = PolicyTable(
        {"a.example": Policy.DIALBACK, "*.example": Policy.DIALBACK_TLS, "*.x.example": Policy.CERTIFICATE}
    )
    expected = {
        "a.example": Policy.DIALBACK,
        "b.example": Policy.DIALBACK_TLS,
        "b.a.example": Policy.DIALBACK_TLS,
        "y.x.example": Policy.CERTIFICATE,
        "x.example": Policy.DIALBACK_TLS,
        "example": Policy.DIALBACK_CERTIFICATE,
        "other.test": Policy.DIALBACK_CERTIFICATE,
    }
    assert {name: table.policy_for(Domain(name)) for name in expected} == expected


def test_bad_rules_are_refused() -> None:
    """By name."""
    with pytest.raises(BadPolicyRule):
        PolicyTable({"a.*.example": Policy.DIALBACK})
    with pytest.raises(BadDomain):
        PolicyTable({"*.": Policy.DIALBACK})
    assert (
        PolicyTable({"*.BÜCHER.example": Policy.DIALBACK}).policy_for(Domain.parse("x.bücher.example"))
        is Policy.DIALBACK
    )


def test_memory_grows_expires_and_is_forgotten() -> None:
    """Thirty days after all of it was last seen."""
    memory = RememberedStrength()
    memory.note(D, Level.DIALBACK_TLS, 0)
    memory.note(D, Level.DIALBACK, DAY)  # less: neither lowers nor renews
    assert memory.seen(D, 29 * DAY) == Level.DIALBACK_TLS
    assert memory.seen(D, 30 * DAY) == 0
    memory.note(D, Level.DIALBACK, 31 * DAY)
    memory.note(D, Level.CERTIFICATE, 32 * DAY)
    assert memory.seen(D, 61 * DAY) == Level.DIALBACK_CERTIFICATE
    assert memory.items(33 * DAY) == [(D, 7, 62 * DAY)]
    assert memory.forget(D)
    assert not memory.forget(D)
    assert memory.seen(D, 33 * DAY) == 0
    memory.restore(D, 3, 40 * DAY, 33 * DAY)
    assert memory.seen(D, 39 * DAY) == 3


def test_a_stranger_pushes_out_nobody() -> None:
    """His zone has its share; what others remembered stays, and there is room for more of them."""
    memory = RememberedStrength(limit=128)
    memory.note(D, 7, 0)
    for number in range(1000):
        memory.note(Domain(f"x{number}.attacker.example"), 7, 1)
    assert len(memory) == 1 + 16
    assert memory.seen(D, 2) == 7
    assert memory.note(Domain("other.test"), 7, 2)
