"""What an XMPP stream is worth: the same matrix as for links, with what differs there written down apart.

A key of dial-back is bound to no TLS session, so nothing is ever bound, and a certificate counts only where
the stream itself showed one. What is remembered of one protocol says nothing of the other.
"""

from __future__ import annotations

from itertools import product
from typing import Any, cast

import pytest

from imxrouter.config.trust import Trust
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.policy import (
    BOUND,
    REMEMBERED_BITS,
    XMPP_PROOFS,
    Level,
    Policy,
    PolicyTable,
    RememberedStrength,
    XmppProofs,
)
from imxrouter.tls.peer import Anchors, PeerCertificate
from imxrouter.transport.strengths import SERVICE_OF, Judged, Strengths, judge_certificate
from tests.doubles.authority import NOW, Authority, Issued, dns_srv, xmpp_address
from tests.transport.test_strengths import CERTIFICATE, CONNECTIONS, DIALBACK, NEEDS, TLS, Conn

D = Domain("d.example")
#: What can be remembered of one way: nothing is bound.
MEMORIES = range(8)


def strengths(policy: Policy, proved: int = 0, reached: int = 0) -> Strengths:
    """One side, with its policy and memory of D as an XMPP server."""
    memory = RememberedStrength()
    memory.restore(D, (proved | reached << 4) << 8, 1e9, 0.0)
    made = Strengths(
        PolicyTable({}, policy),
        memory,
        lambda: 0.0,
        lambda one, *_: Judged(cast("Any", one).good),
        protocol=Protocol.XMPP,
    )
    made.tls = True
    return made


def really_proved(first: Conn, second: Conn) -> int:
    """TLS where both connections are in it; a certificate where both showed one."""
    bits = DIALBACK
    if first.version and second.version:
        bits |= TLS | (CERTIFICATE if first.good and second.good else 0)
    return bits


def needed(policy: Policy, memory: int) -> int:
    """What must be there: what policy asks, and what was there before as far as policy looks at it."""
    return NEEDS[policy] | (memory & (TLS | CERTIFICATE) if policy is Policy.CERTIFICATE else memory)


@pytest.mark.parametrize("policy", [one for one in Policy if one is not Policy.CERTIFICATE])
def test_dial_back_is_worth_a_certificate_only_where_the_stream_showed_one(policy: Policy) -> None:
    """Who stands between on the first stream can pass a key on; the domain's certificate he has not."""
    for memory, first, second in product(MEMORIES, CONNECTIONS, CONNECTIONS):
        side, must, there = strengths(policy, memory), needed(policy, memory), really_proved(first, second)
        decision = side.proved(first.facts, second.facts, D)
        assert decision.accepted == (not must & ~there), (memory, first, second)
        assert not decision.strength & ~there
        if decision.accepted:
            assert side.may_prove(first.facts, D).accepted
        if not side.may_prove(first.facts, D).accepted:  # then nobody need be dialled: no answer could do
            assert all(must & ~really_proved(first, other) for other in CONNECTIONS)


@pytest.mark.parametrize("policy", Policy)
def test_nothing_is_ever_bound(policy: Policy) -> None:
    """On no way and in no memory, whatever the version; IMX with the same facts is."""
    for conn in CONNECTIONS:
        side = strengths(policy)
        found = [
            side.reached(conn.facts, D), side.proved(conn.facts, conn.facts, D), side.presented(conn.facts, D)
        ]  # fmt: skip
        for decision in found:
            assert not decision.strength & BOUND
            side.note_proved(D, decision.strength | BOUND)
        side.note_reached(conn.facts, D)
        for reached in (False, True):
            assert not side.remembered.seen(D, 0.0, reached=reached, protocol=Protocol.XMPP) & BOUND


def test_each_protocol_has_its_own_memory() -> None:
    """A router bound to TLS 1.3 shuts out no XMPP server of its domain, and the other way round."""
    memory = RememberedStrength()
    strong = Level.DIALBACK_CERTIFICATE | BOUND
    for reached in (False, True):
        memory.note(D, strong, 0.0, reached=reached)
        assert memory.seen(D, 1.0, reached=reached, protocol=Protocol.XMPP) == 0
    memory.note(D, Level.CERTIFICATE, 0.0, protocol=Protocol.XMPP)
    assert memory.seen(D, 1.0, protocol=Protocol.XMPP) == Level.CERTIFICATE
    assert memory.seen(D, 1.0, reached=True, protocol=Protocol.XMPP) == 0
    assert memory.seen(D, 1.0) == memory.seen(D, 1.0, reached=True) == strong
    assert memory.items(1.0) == [(D, 0x06FF, memory.items(1.0)[0][2])]


def test_what_was_kept_before_there_were_two_protocols_is_that_of_imx() -> None:
    """A number of a store of that time stands in the low bits."""
    memory = RememberedStrength()
    memory.restore(D, 0xF7, 1e9, 0.0)
    assert memory.seen(D, 1.0) == Level.DIALBACK_CERTIFICATE
    assert memory.seen(D, 1.0, reached=True) == Level.DIALBACK_CERTIFICATE | BOUND
    assert memory.seen(D, 1.0, protocol=Protocol.XMPP) == 0
    memory.restore(D, 0xFFFF, 1e9, 0.0)
    assert memory.kept(D, 1.0) == REMEMBERED_BITS == 0x77FF


def test_an_xmpp_server_that_was_stronger_is_refused_when_weaker() -> None:
    """Seen with a certificate once: dial-back in clear is refused although policy would take it."""
    side = strengths(Policy.DIALBACK)
    good, clear = Conn("TLSv1.2", True), Conn("", False)
    assert side.proved(clear.facts, clear.facts, D).accepted
    side.note_proved(D, side.proved(good.facts, good.facts, D).strength)
    refused = side.proved(clear.facts, clear.facts, D)
    assert refused.reason is Reason.WEAKER_THAN_REMEMBERED
    assert side.xmpp_proofs(D) == XmppProofs(
        external=False, verified=True, covered=False, tls=True, certificate=True
    )


def test_the_ways_of_each_policy_are_worth_what_it_asks() -> None:
    """The table names a way for every policy, none below its level; by default a certificate."""
    assert set(XMPP_PROOFS) == set(Policy)
    for policy, proofs in XMPP_PROOFS.items():
        worth = DIALBACK if proofs.verified else 0
        worth |= TLS if proofs.tls else 0
        worth |= TLS | CERTIFICATE if proofs.certificate else 0
        assert worth == NEEDS[policy]
        assert proofs.verified != (proofs.external or proofs.covered)  # a certificate, or somebody is asked
        assert strengths(policy).xmpp_proofs(D) == proofs
    # no XMPP server makes dial-back after SASL EXTERNAL: the two together would shut out all of them
    assert Policy(Trust().xmpp_default) is Policy.CERTIFICATE


@pytest.mark.parametrize(
    ("level", "claimed", "rests"),
    [
        (Level.DIALBACK_CERTIFICATE, True, {Protocol.XMPP}),
        (Level.DIALBACK_CERTIFICATE, False, {Protocol.IMX, Protocol.XMPP}),
        (Level.CERTIFICATE, True, {Protocol.IMX, Protocol.XMPP}),
    ],
)
def test_what_rests_on_the_certificate_of_the_link(level: Level, claimed: bool, rests: set[Protocol]) -> None:
    """On XMPP every proof with a certificate; of IMX not what another connection vouched for."""
    table = PolicyTable({}, Policy.DIALBACK_CERTIFICATE)
    for protocol in (Protocol.IMX, Protocol.XMPP):
        side = Strengths(table, RememberedStrength(), lambda: 0.0, protocol=protocol)
        assert side.rests_on_certificate(D, level, claimed=claimed) is (protocol in rests)
        side.policies = PolicyTable({}, Policy.DIALBACK_TLS)
        assert not side.rests_on_certificate(D, level, claimed=claimed)


ROOT = Authority.root()
SAN = {
    "its address": lambda: ROOT.issue(san=[xmpp_address("d.example")]),
    "a service": lambda: ROOT.issue(san=[dns_srv("_xmpp-server.d.example")]),
    "a domain": lambda: ROOT.issue("d.example"),
}


@pytest.mark.parametrize("name", SAN)
def test_a_name_for_xmpp_counts_on_streams_only(name: str) -> None:
    """The judge of each protocol asks for the name of its service; a DNS-ID is for both."""
    issued: Issued = SAN[name]()
    shown = PeerCertificate(issued.certificate, issued.chain)
    anchors = Anchors([ROOT.certificate], partial=False, source="the test root")
    for as_client in (False, True):
        good = {
            protocol: judge_certificate(anchors, shown, D, NOW, as_client=as_client, service=service).good
            for protocol, service in SERVICE_OF.items()
        }
        assert good == {Protocol.IMX: name == "a domain", Protocol.XMPP: True}
