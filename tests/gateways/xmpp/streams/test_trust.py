"""Proofs on streams: dial-back both ways, SASL EXTERNAL, policies, and the ends of proofs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.terms import StreamTerms
from imxrouter.link.machine import Side
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.policy import Level, Policy, PolicyTable
from imxrouter.transport.bus import MemoryExchange
from imxrouter.transport.link import Link
from tests.gateways.xmpp.streams.rig import alone
from tests.gateways.xmpp.streams.trusting import TrustingRouter, World, as_link

A, B, C = "a.example", "b.example", "c.example"


def test_dial_back_in_clear() -> None:
    """The domain's own server is asked, on another stream; then the pair passes, in one direction."""
    world = World()
    a, b = world.router(A), world.router(B)
    out, accepted = a.stream_to(b)
    a.claim(out, B)
    assert world.dialled == [(B, A)]
    assert b.takes_from(accepted, A)
    assert a.sends_to(out, B)
    assert not b.sends_to(accepted, A)
    assert b.results == [Reason.NONE]
    assert [word for word, _ in b.steps] == ["claim received", "verification asked", "domain proved"]
    assert ("answer released", "") in a.steps


def test_one_stream_speaks_for_several_domains() -> None:
    """Each of ours is claimed and verified by itself (XEP-0220 section 2.6.1), over one stream back."""
    world = World()
    a, b = world.router(A), world.router(B)
    a.switch.routes[C.encode()] = a.switch.routes[A.encode()]
    world.dns[C] = [a]
    out, accepted = a.stream_to(b)
    a.claim(out, B)
    a.claim(out, B, C)
    assert b.takes_from(accepted, A)
    assert b.takes_from(accepted, C)
    assert a.sends_to(out, B, A)
    assert a.sends_to(out, B, C)
    assert world.dialled == [(B, A)]


def test_two_targets_on_one_stream() -> None:
    """Two pairs of one domain of theirs; the second waits for the first, and is claimed then."""
    world = World()
    a, b = world.router(A), world.router(B)
    b.switch.routes[C.encode()] = b.switch.routes[B.encode()]
    out, accepted = a.stream_to(b)
    a.claimer.claim(as_link(out), A.encode(), B.encode())
    a.claimer.claim(as_link(out), A.encode(), C.encode())
    world.settle()
    assert {(A, B), (A, C)} == accepted.machine.pairs.theirs
    assert a.sends_to(out, B)
    assert a.sends_to(out, C)


@pytest.mark.parametrize(
    ("policy", "names", "tls", "taken"),
    [
        (Policy.DIALBACK, {A}, True, Level.DIALBACK_CERTIFICATE),
        (Policy.DIALBACK, set(), True, Level.DIALBACK_TLS),
        (Policy.DIALBACK, {A}, False, Level.DIALBACK),
        (Policy.DIALBACK_TLS, {A}, True, Level.DIALBACK_CERTIFICATE),
        (Policy.DIALBACK_TLS, set(), True, Level.DIALBACK_TLS),
        (Policy.DIALBACK_TLS, {A}, False, None),
        (Policy.CERTIFICATE, {A}, True, Level.CERTIFICATE),
        (Policy.CERTIFICATE, {C}, True, None),
        (Policy.CERTIFICATE, set(), True, None),
        (Policy.CERTIFICATE, {A}, False, None),
        (Policy.DIALBACK_CERTIFICATE, {A}, True, Level.DIALBACK_CERTIFICATE),
        (Policy.DIALBACK_CERTIFICATE, {C}, True, None),
        (Policy.DIALBACK_CERTIFICATE, set(), True, None),
        (Policy.DIALBACK_CERTIFICATE, {A}, False, None),
    ],
)
def test_each_policy_takes_its_own_proof(
    policy: Policy, names: set[str], tls: bool, taken: Level | None
) -> None:
    """By a key, whatever EXTERNAL might do; what cannot be good is refused without dialling."""
    world = World()
    a = world.router(A, names=names, in_tls=tls)
    b = world.router(B, policy=policy, in_tls=tls)
    b.strengths.tls = True
    peer = b.stranger(A, names=names if tls else None)
    a.tongue.claimed[peer.ident, A, B] = 0
    secret = a.tongue.token  # A's own claim, as on a stream of its own
    session = a.open(B)
    session.machine.stream_id = peer.ident
    key = secret(as_link(session), A.encode(), B.encode()).decode()
    a.hub.sessions[session.number] = as_link(session)
    a.tongue.claimed[peer.ident, A, B] = session.number
    session.made.ask(A.encode(), B.encode(), key.encode(), 0.0)
    heard = peer.claim(key)
    if taken is None:
        assert "type='error'" in heard
        assert ("policy-violation" in heard) == (not tls)
        assert ("not-authorized" in heard) == tls
        assert not b.takes_from(peer.session, A)
        assert world.dialled == []
        assert b.results == [Reason.CERTIFICATE_REFUSED if tls else Reason.WEAKER_THAN_POLICY]
        assert not peer.session.port.closed  # it may claim another domain
        return
    assert "type='valid'" in heard
    assert b.takes_from(peer.session, A)
    assert peer.session.port.sources[A.encode()][0] == taken
    assert world.dialled == ([] if taken is Level.CERTIFICATE else [(B, A)])

    seen = b.strengths.remembered.seen(Domain(A), world.clock.seconds(), protocol=Protocol.XMPP)
    assert seen == taken


def test_external_both_ways() -> None:
    """Under the policy of a certificate nobody is dialled, and no key is said."""
    world = World()
    a, b = (world.router(name, policy=Policy.CERTIFICATE, in_tls=True) for name in (A, B))
    out, accepted = a.stream_to(b)
    assert out.machine.external
    assert accepted.machine.external
    assert b.takes_from(accepted, A)
    assert a.sends_to(out, B)
    assert world.dialled == []
    assert a.tongue.claimed == {}
    a.claim(out, B)  # nothing is said of what is proved
    assert a.tongue.claimed == {}
    made = out.made.of_pair(A.encode(), B.encode())
    assert made is not None
    assert (made.state.value, made.level) == ("proved", Level.CERTIFICATE)


def test_a_claim_that_waits_is_settled_by_external(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is claimed as soon as the stream is open is said to nobody: it is proved by then."""
    world = World()
    a, b = (world.router(name, policy=Policy.CERTIFICATE, in_tls=True) for name in (A, B))
    told: list[tuple[bytes, bytes, str]] = []
    a.claimer.on_settled = lambda _session, made: told.append(
        (made.from_domain, made.to_domain, made.state.value)
    )

    def opened(session: Link, _peer: object) -> None:
        if session.side is Side.OPENER:
            a.claimer.claim(session, A.encode(), B.encode())

    monkeypatch.setattr(a.decides, "opened", opened)
    out, accepted = a.stream_to(b)
    assert told == [(A.encode(), B.encode(), "proved")]
    assert a.sends_to(out, B)
    assert b.takes_from(accepted, A)


def test_external_fails_and_a_key_does() -> None:
    """The certificate of A is not good at B, whose policy takes dial-back: the same stream goes on."""
    world = World()
    a = world.router(A, policy=Policy.DIALBACK_TLS, in_tls=True)
    b = world.router(B, policy=Policy.DIALBACK_TLS, in_tls=True)
    offered = b.terms

    def more(session: object) -> object:
        """Offer EXTERNAL all the same, as ejabberd does."""
        terms = offered(session)  # type: ignore[arg-type]

        return replace(terms, external=lambda _name: True)

    b.terms = more  # type: ignore[assignment]
    out, accepted = a.stream_to(b)
    assert out.machine.auth_failures == 1
    assert b.results == [Reason.CERTIFICATE_REFUSED]
    assert not b.takes_from(accepted, A)
    a.claim(out, B)
    assert b.takes_from(accepted, A)
    assert a.sends_to(out, B)


def test_external_is_offered_only_where_a_certificate_is_enough() -> None:
    """And only to whom the stream's certificate covers."""
    for policy in Policy:
        for names in ({A}, {C}):
            b = World().router(B, policy=policy, in_tls=True)
            peer = b.stranger(A, names=names)
            assert ("EXTERNAL" in peer.began) == (policy is Policy.CERTIFICATE and names == {A})


@pytest.mark.parametrize("bidi", [False, True])
def test_what_is_proved_on_an_accepted_stream_is_sent_there_only_if_it_is_bidirectional(bidi: bool) -> None:
    """XEP-0288: the inverse of a proved pair, and no other."""
    world = World()
    a = world.router(A, policy=Policy.DIALBACK_TLS, in_tls=True, bidi=True)
    b = world.router(B, policy=Policy.DIALBACK_TLS, in_tls=True, bidi=bidi)
    out, accepted = a.stream_to(b)
    a.claim(out, B)
    assert b.takes_from(accepted, A)
    assert b.sends_to(accepted, A) is bidi
    assert (A.encode() in accepted.port.speaks) is bidi


def test_a_claim_is_never_verified_on_the_stream_that_it_came_on() -> None:
    """Also not where that is bidirectional and was opened by us to that very host (XEP-0288 section 2.2)."""
    world = World()
    a = world.router(A, policy=Policy.DIALBACK_TLS, in_tls=True, bidi=True)
    b = world.router(B, policy=Policy.DIALBACK_TLS, in_tls=True, bidi=True)
    out, accepted = b.stream_to(a)
    b.hub.opened_links.add(as_link(out))
    out.remote = a.place
    b.claim(out, A)
    a.claimer.claim(as_link(accepted), A.encode(), B.encode())
    world.settle()
    assert (B, A) in world.dialled
    assert b.takes_from(out, A)


def test_an_open_stream_asks() -> None:
    """A stream of ours to the very domain carries the question; no other is opened."""
    world = World()
    a, b = world.router(A), world.router(B)
    back, _ = b.stream_to(a)
    back.remote = a.place
    b.hub.opened_links.add(as_link(back))
    out, accepted = a.stream_to(b)
    a.claim(out, B)
    assert world.dialled == []
    assert b.takes_from(accepted, A)


def test_a_stream_to_another_domain_asks_only_if_errors_are_understood() -> None:
    """An unknown domain would else end the stream (XEP-0220 section 2.6.2)."""
    world = World()
    a, b = world.router(A), world.router(B)
    a.switch.routes[C.encode()] = a.switch.routes[A.encode()]
    back = b.open(C)
    back.remote = a.place
    world.connect(back, a.accept(), None)
    world.settle()
    b.hub.opened_links.add(as_link(back))
    out, accepted = a.stream_to(b)
    a.claim(out, B)
    assert world.dialled == []
    assert b.takes_from(accepted, A)
    back.machine.features = type(back.machine.features)(dialback=True)
    assert not b.tongue.may_ask(as_link(back), Domain(B), Domain(A))


def test_an_unknown_target_is_an_error_and_the_stream_stays() -> None:
    """XEP-0220 section 2.2.2; nobody is dialled, and another claim may follow."""
    world = World()
    a, b = world.router(A), world.router(B)
    out, accepted = a.stream_to(b)
    a.claim(out, C)
    made = out.made.of_pair(A.encode(), C.encode())
    assert made is not None
    assert (made.state.value, made.reason) == ("refused", Reason.NOT_HOSTED)
    assert world.dialled == []
    a.claim(out, B)
    assert b.takes_from(accepted, A)


def test_an_error_from_one_server_of_the_domain_leads_to_the_next() -> None:
    """It says nothing of the claim: that server does not know the domain (XEP-0220 section 2.1.2)."""
    world = World()
    other, b = world.router(C), world.router(B)
    a = world.router(A)
    world.dns[A].insert(0, other)
    other.switch.routes[A.encode()] = other.switch.routes[C.encode()]
    out, accepted = a.stream_to(b)
    del other.switch.routes[A.encode()]
    other.terms = lambda session: replace(_served(other, session), serves=lambda _name: True)
    a.claim(out, B)
    assert world.dialled == [(B, A), (B, A)]
    assert other.counted(Reason.NOT_MINE) == 1
    assert b.takes_from(accepted, A)


def _served(router: TrustingRouter, session: StreamLink) -> StreamTerms:
    return router._rules(session)


@pytest.mark.parametrize("knows", [True, False])
def test_another_process_of_the_host_is_asked(knows: bool) -> None:
    """The claim was made there; a key that nobody there has claimed either is `invalid`."""
    world = World()
    exchange = MemoryExchange(cast("Any", world.clock))
    one = world.router(A, exchange=exchange, process=0)
    two = world.router(A, exchange=exchange, process=1)
    b = world.router(B)
    out, accepted = two.stream_to(b)
    if not knows:
        two.tongue.claimed = _Forgetful()
    two.claim(out, B)
    world.pass_s(1)
    assert world.dialled == [(B, A)]
    assert b.takes_from(accepted, A) is knows
    assert one.counted(Reason.BAD_TOKEN) == (not knows)
    assert b.results == [Reason.NONE if knows else Reason.DIALBACK_REFUSED]


class _Forgetful(dict[Any, int]):
    """Remembers nothing."""

    def __setitem__(self, _key: object, _value: int) -> None:
        """Forget it."""


@pytest.mark.parametrize("several", [True, False])
def test_another_host_of_the_domain_is_believed_only_where_there_are_some(several: bool) -> None:
    """It has the same secrets, and cannot be asked."""
    world = World()
    one, two, b = world.router(A), world.router(A), world.router(B)
    one.decides.has_other_hosts = lambda: several
    out, accepted = two.stream_to(b)
    two.claim(out, B)
    assert b.takes_from(accepted, A) is several


def test_a_question_about_a_domain_of_others_is_an_error_and_about_ours_never() -> None:
    """Ejabberd asks again and again after an error."""
    world = World()
    a = world.router(A)
    peer = a.stranger(B)
    assert "type='error'" in (heard := peer.ask("key", "id", to=C))
    assert "item-not-found" in heard
    assert "type='invalid'" in peer.ask("key", "id")
    assert (a.counted(Reason.NOT_MINE), a.counted(Reason.BAD_TOKEN)) == (1, 1)


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("item-not-found", Reason.NOT_HOSTED),
        ("remote-server-timeout", Reason.DIALBACK_TIMEOUT),
        ("policy-violation", Reason.WEAKER_THAN_POLICY),
        ("not-authorized", Reason.CERTIFICATE_REFUSED),
        ("resource-constraint", Reason.TOO_MANY_CLAIMS),
        ("forbidden", Reason.DIALBACK_REFUSED),
        ("no-such-condition", Reason.DIALBACK_REFUSED),
    ],
)
def test_what_an_error_says_of_our_claim(condition: str, reason: Reason) -> None:
    """XEP-0220 section 2.5; the stream stays for others."""
    world = World()
    a = world.router(A)
    session = a.open(B)
    wire = alone(session)
    session.dataReceived(say.header("jabber:server", from_=B, to=A, stream_id="id"))
    session.dataReceived(say.features(say.Features(dialback=True, errors=True)))
    a.claimer.claim(as_link(session), A.encode(), B.encode())
    error = f"<error type='cancel'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    session.dataReceived(f"<db:result from='{B}' to='{A}' type='error'>{error}</db:result>".encode())
    made = session.made.of_pair(A.encode(), B.encode())
    assert made is not None
    assert (made.state.value, made.reason) == ("refused", reason)
    assert not wire.ended
    assert not a.sends_to(session, B)


# -- the end of proofs ---------------------------------------------------------------------------------------


def test_a_domain_that_is_served_no_more() -> None:
    """Streams that carried only that domain end in order, on both sides; others go on for the rest."""
    world = World()
    a, b = world.router(A), world.router(B)
    a.switch.routes[C.encode()] = a.switch.routes[A.encode()]
    world.dns[C] = [a]
    both, at_b = a.stream_to(b)
    a.claim(both, B)
    a.claim(both, B, C)
    back, at_a = b.stream_to(a)
    b.claim(back, A)
    del a.switch.routes[A.encode()]
    a.claimer.withdraw(A.encode())
    world.settle()
    assert not a.sends_to(both, B)
    assert a.sends_to(both, B, C)
    assert not _ended(both)
    assert _ended(at_a)
    assert not b.sends_to(back, A)
    del a.switch.routes[C.encode()]
    a.claimer.withdraw(C.encode())
    world.settle()
    assert _ended(both)
    assert _ended(at_b)
    for one in (both, back, at_a, at_b):
        assert one.drop_reason in (Reason.IDLE, Reason.NONE, Reason.LINK_LOST)


def _ended(session: XmppSession) -> bool:
    return session.port.closed


def test_a_proof_ends_with_its_age_and_the_stream_in_order() -> None:
    """The peer opens another one and proves itself anew; nothing is claimed twice on one."""
    world = World()
    a, b = world.router(A), world.router(B)
    out, accepted = a.stream_to(b)
    a.claim(out, B)
    world.pass_s(1)
    level, allowed, _, *rest = accepted.port.sources[A.encode()]
    accepted.port.sources[A.encode()] = (level, allowed, world.clock.seconds(), *rest)  # type: ignore[assignment]
    world.pass_s(1)
    assert accepted.port.sources == {}
    assert accepted.port.closed
    assert a.errors == b.errors == []
    assert [word for word, _ in a.steps].count("claim sent") == 1


def test_the_policy_changes() -> None:
    """What is proved by less than it asks now is dropped at once, with a stream error that says why."""
    world = World()
    a, b = world.router(A), world.router(B)
    out, accepted = a.stream_to(b)
    a.claim(out, B)
    b.strengths.policies = PolicyTable({}, Policy.DIALBACK_TLS)
    b.verifier.drop_proof(as_link(accepted), A.encode(), Reason.WEAKER_THAN_POLICY)
    world.settle()
    assert accepted.port.closed
    assert b.errors == [("policy-violation", "sent")]
    assert a.errors == [("policy-violation", "received")]
    assert out.drop_reason is Reason.WEAKER_THAN_POLICY
    again, taken = a.stream_to(b)
    a.claim(again, B)
    assert not b.takes_from(taken, A)


def test_what_was_stronger_before_is_refused_when_weaker() -> None:
    """Seen in TLS with its certificate; in clear somebody else may be there, whatever policy says."""
    world = World()
    a = world.router(A, in_tls=True)
    b = world.router(B, in_tls=True)
    out, accepted = a.stream_to(b)
    a.claim(out, B)
    assert b.takes_from(accepted, A)
    a.in_tls = False
    again, taken = a.stream_to(b)
    a.claim(again, B)
    assert not b.takes_from(taken, A)
    assert b.results == [Reason.NONE, Reason.WEAKER_THAN_REMEMBERED]


def test_nothing_is_kept_of_streams_that_are_gone() -> None:
    """No key, no question and no permit stays behind, whoever ended what."""
    world = World()
    a, b = world.router(A), world.router(B)
    for _ in range(20):
        out, accepted = a.stream_to(b)
        a.claim(out, B)
        accepted.end(Reason.SHUTTING_DOWN)
        world.settle()
    for one in (a, b):
        for session in list(one.hub.sessions.values()):
            session.end(Reason.IDLE)
        world.settle()
        assert one.tongue.claimed == {}
        assert one.tongue.asked == {}
        assert one.tongue._places == {}
        assert one.gatekeeper._permits == {}
