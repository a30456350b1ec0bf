"""The whole matrix: TLS x certificate x dial-back x policy x what is remembered, on both sides of a link.

The facts are written down apart from the code under test: what is really there, and what a decision may say.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import pytest

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.policy import BOUND, Level, Policy, PolicyTable, RememberedStrength
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.strengths import Judged, Strengths

D = Domain("d.example")
DIALBACK, TLS, CERTIFICATE = 1, 2, 4
VERSIONS = ("", "TLSv1.2", "TLSv1.3")
NEEDS = {
    Policy.DIALBACK: DIALBACK,
    Policy.DIALBACK_TLS: DIALBACK | TLS,
    Policy.CERTIFICATE: TLS | CERTIFICATE,
    Policy.DIALBACK_CERTIFICATE: DIALBACK | TLS | CERTIFICATE,
}
#: What can be remembered of one way.
MEMORIES = range(16)


@dataclass(frozen=True)
class Conn:
    """One connection: its version (empty: in clear), and whether the other side's certificate is good."""

    version: str
    good: bool

    @property
    def facts(self) -> TlsFacts | None:
        """As the link has them; the peer's certificate is the word whether it is good."""
        if not self.version:
            return None
        exporter = bytes(32) if self.version == "TLSv1.3" else b""
        return TlsFacts(self.version, "", b"imx", "", False, exporter, cast("Any", self), None)


CONNECTIONS = [Conn(*one) for one in product(VERSIONS, (False, True))]


def strengths(policy: Policy, proved: int = 0, reached: int = 0) -> Strengths:
    """One side, with its policy and memory of D."""
    memory = RememberedStrength()
    memory.restore(D, proved | reached << 4, 1e9, 0.0)
    made = Strengths(
        PolicyTable({}, policy), memory, lambda: 0.0, lambda one, *_: Judged(cast("Any", one).good)
    )
    made.tls = True
    return made


def really_reached(conn: Conn) -> int:
    """What a link of ours, to which D's DNS led, has."""
    bits = DIALBACK
    if conn.version:
        bits |= TLS | (CERTIFICATE if conn.good else 0) | (BOUND if conn.version == "TLSv1.3" else 0)
    return bits


def really_proved(first: Conn, second: Conn) -> int:
    """What dial-back proves: TLS where both connections are in it, the certificate of the second one."""
    bits = DIALBACK
    if first.version and second.version:
        bits |= TLS | (CERTIFICATE if second.good else 0) | (BOUND if first.version == "TLSv1.3" else 0)
    return bits


def really_presented(first: Conn) -> int:
    """What the client certificate of a link alone proves."""
    return TLS | CERTIFICATE if first.version and first.good else 0


def needed(policy: Policy, memory: int) -> int:
    """What must be there: what policy asks, and what was there before as far as policy looks at it."""
    if policy is Policy.CERTIFICATE:
        memory &= TLS | CERTIFICATE
    return NEEDS[policy] | memory


def seen_reached(proved: int, reached: int) -> int:
    """Dial-back reaches the domain too: its second connection counts as reached."""
    return reached | (proved & ~BOUND if proved & DIALBACK else 0)


@pytest.mark.parametrize("policy", Policy)
def test_a_link_of_ours_is_worth_what_is_there_and_never_less_than_is_asked(policy: Policy) -> None:
    """Taken exactly where all that is needed is there; the level says no more than the facts."""
    for proved, reached in product(MEMORIES, MEMORIES):
        side, must = strengths(policy, proved, reached), needed(policy, seen_reached(proved, reached))
        for conn in CONNECTIONS:
            there = really_reached(conn)
            if policy is Policy.CERTIFICATE:
                there &= TLS | CERTIFICATE
            decision = side.reached(conn.facts, D)
            assert decision.accepted == (not must & ~there), (policy, proved, reached, conn)
            assert not decision.strength & ~there
            assert not decision.accepted or not must & ~decision.strength
        assert side.asks_tls(D, None) >= bool(must & TLS)


@pytest.mark.parametrize("policy", Policy)
def test_a_claim_is_worth_what_both_connections_are(policy: Policy) -> None:
    """The same for who accepts; and what is refused before dialling could not have been good."""
    for proved in MEMORIES:
        side, must = strengths(policy, proved), needed(policy, proved)
        for first, second in product(CONNECTIONS, CONNECTIONS):
            by_certificate = policy is Policy.CERTIFICATE
            there = really_presented(first) if by_certificate else really_proved(first, second)
            decision = (
                side.presented(first.facts, D) if by_certificate
                else side.proved(first.facts, second.facts, D)
            )  # fmt: skip
            assert decision.accepted == (not must & ~there), (policy, proved, first, second)
            assert not decision.strength & ~there
            if decision.accepted:
                assert side.may_prove(first.facts, D).accepted


@pytest.mark.parametrize("policy", Policy)
def test_both_sides_say_the_same_of_the_same(policy: Policy) -> None:
    """Where both connections have the same facts, who opens and who accepts decide alike, bit for bit."""
    for memory, conn in product(MEMORIES, CONNECTIONS):
        opener = strengths(policy, reached=memory)
        acceptor = strengths(policy, proved=memory)
        if policy is Policy.CERTIFICATE:
            there, here = opener.reached(conn.facts, D), acceptor.presented(conn.facts, D)
        else:
            there, here = opener.reached(conn.facts, D), acceptor.proved(conn.facts, conn.facts, D)
        assert (there.reason, there.strength) == (here.reason, here.strength), (policy, memory, conn)


def test_what_was_seen_is_never_fallen_below() -> None:
    """Whatever is noted: afterwards nothing weaker is taken, and what was taken still is."""
    for policy, conn in product(Policy, CONNECTIONS):
        side = strengths(policy)
        if not side.reached(conn.facts, D).accepted:
            continue
        side.note_reached(conn.facts, D)
        assert side.reached(conn.facts, D).accepted
        for other in CONNECTIONS:
            decision = side.reached(other.facts, D)
            lost = really_reached(conn) & ~really_reached(other)
            if policy is Policy.CERTIFICATE:
                lost &= TLS | CERTIFICATE
            assert decision.accepted == (not lost and not NEEDS[policy] & ~really_reached(other))
            assert decision.accepted or decision.reason in {
                Reason.WEAKER_THAN_POLICY, Reason.CERTIFICATE_REFUSED, Reason.WEAKER_THAN_REMEMBERED
            }  # fmt: skip


def test_how_it_was_reached_does_not_bind_how_it_proves_itself() -> None:
    """A router may take TLS and open in clear where its peer takes no other; the other way round it binds."""
    side = strengths(Policy.DIALBACK, reached=15)
    assert side.proved(None, None, D).accepted
    assert not side.reached(None, D).accepted
    side = strengths(Policy.DIALBACK, proved=15)
    assert not side.proved(None, None, D).accepted
    assert not side.reached(None, D).accepted


@pytest.mark.parametrize("policy", Policy)
def test_a_nonce_proves_no_more_than_the_second_connection_shows(policy: Policy) -> None:
    """Who stands between on the second connection can pass a nonce on; a client certificate he has not."""
    for proved, first, second in product(MEMORIES, CONNECTIONS, CONNECTIONS):
        side, must = strengths(policy, proved), needed(policy, proved)
        decision = side.returned(first.facts, second.facts, D)
        there = really_proved(Conn(second.version, False), Conn(first.version, second.good))
        if policy is Policy.CERTIFICATE:
            there &= TLS | CERTIFICATE
        assert decision.accepted == (not must & ~there), (policy, proved, first, second)


def test_better_facts_never_do_harm() -> None:
    """Encryption, a newer version or a good certificate turn no yes into a no."""
    order = {"": 0, "TLSv1.2": 1, "TLSv1.3": 2}
    for policy, memory in product(Policy, MEMORIES):
        side = strengths(policy, memory, memory)
        for weak, strong in product(CONNECTIONS, CONNECTIONS):
            if order[weak.version] <= order[strong.version] and weak.good <= strong.good:
                assert side.reached(strong.facts, D).accepted >= side.reached(weak.facts, D).accepted
                assert (
                    side.proved(strong.facts, strong.facts, D).accepted
                    >= side.proved(weak.facts, weak.facts, D).accepted
                )


def test_what_a_domain_of_ours_asks_for_comes_on_top() -> None:
    """Its own level is needed beside the peer's policy; without TLS it is refused before dialling."""
    for policy, level in product(Policy, (1, 3, 7)):
        side = strengths(policy)
        for conn in CONNECTIONS:
            decision = side.reached(conn.facts, D, level)
            if decision.accepted and policy is not Policy.CERTIFICATE:
                assert not level & ~decision.strength
        assert side.asks_tls(D, None, level) >= bool(level & Level.DIALBACK_TLS & ~Level.DIALBACK)
        side.tls = False
        assert side.may_reach(D, level).accepted == (policy is Policy.DIALBACK and level == DIALBACK)
