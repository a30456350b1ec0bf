"""What is good in one TLS session, or for one certificate, used elsewhere (specification 5.5, 6.3, 6.6)."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from imxrouter.app.trust import targets
from imxrouter.link import claims
from imxrouter.link.answer import ConnectionView
from imxrouter.link.claims import ClaimsReceived, ClaimState, ReceivedClaim
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.tls.peer import PeerCertificate
from imxrouter.transport import services
from imxrouter.transport.services import NO_EXPORTER
from imxrouter.transport.session import LinkSession
from imxrouter.transport.strengths import Strengths
from imxrouter.transport.verifier import Verifier
from imxrouter.transport.wanted import Wanted
from imxrouter.wire.control import Claim, ClaimResult, Proof, Verify, VerifyResult
from tests.attacks.seams import guarded
from tests.attacks.test_tls import BAD, believe, router, unbound
from tests.doubles.middle import Middle
from tests.doubles.raw_peer import SOME_NONCE, SOME_TOKEN, text_message
from tests.doubles.router_rig import Lab, RawOrganisation, RouterRig, fresh_address, issued
from tests.doubles.tls_peer import TlsPeer, tls_accept, tls_connect
from tests.transport.test_tls_redirects import host, opened, publish, redirect
from tests.transport.test_tls_services import TENANT, hub_router, tenant_router

CARD = "my card number"


def _refusals(rig: RouterRig) -> int:
    """Logins that were refused; in the reactor's thread."""
    return slots.refusals(rig.router.switch.counters, Reason.LOGIN_FAILED)


@guarded
def test_login_of_another_session(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory has a certificate of our aggregator's name, and passes a service's login on in his own session.

    Check: a login signs the exporter of its own TLS session (6.6).
    """
    if not guarded:
        monkeypatch.setattr(services, "exporter_of", lambda _session: NO_EXPORTER)
    hub = hub_router(lab, key=7)
    ports = hub.router.switch.routes[TENANT.encode()].ports
    with Middle(hub.endpoint, issued("hub.example"), "hub.example") as m:
        tenant_router(lab, cast("RouterRig", SimpleNamespace(endpoint=m.endpoint)), key=7)
        if guarded:
            lab.wait_until(lambda: _refusals(hub), "it is refused")
        else:
            lab.wait_until(lambda: ports, "he has the service's link")
        sent = hub.send("bob@hub.example", f"alice@{TENANT}", CARD).outcome()
        assert sent.ok == (not guarded), sent
        assert (CARD.encode() in m.seen) == (not guarded)


def _proof(link: TlsPeer, token: bytes, secret: bytes) -> Proof:
    """The answer that proves a.example to b.example, as who holds the link and knows the secret makes it."""
    made: Any = vars(claims)["answer_for"]  # the one that the router has, perhaps without a check
    view = ConnectionView.TLS_BOUND
    return Proof(1, made(secret, view, link.exporter, b"a.example", b"b.example", token))


def _recorded(b: RouterRig, a: RawOrganisation) -> tuple[TlsPeer, Proof, TlsPeer]:
    """Alice's router proves her domain over TLS: its link, the answer that went over it, the second link."""
    link = tls_connect(b.endpoint, "b.example", at=a.ip)
    link.send(Claim(1, b"a.example", b"b.example", SOME_TOKEN))
    second = tls_accept(a.listener, issued("a.example"))
    verify = second.expect(Verify)
    assert verify.first_view == ConnectionView.TLS_BOUND
    second.send(VerifyResult(verify.number, 0, SOME_NONCE))
    proof = _proof(link, SOME_TOKEN, verify.secret)
    link.send(proof)
    assert link.expect(ClaimResult).reason == 0
    return link, proof, second


@pytest.mark.parametrize(
    ("fresh", "bound"), [(True, True), (False, True), (True, False), (False, False)],
    ids=["guarded", "bound alone", "fresh alone", "check removed"],
)  # fmt: skip
@pytest.mark.parametrize("resumed", [False, True], ids=["another session", "her session resumed"])
def test_answer_of_another_session(
    lab: Lab, resumed: bool, fresh: bool, bound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory says again over his own link what Alice proved herself with; he may even resume her session.

    Check: each claim has a fresh secret (6.2), and the answer is bound to the very TLS session (6.3). Either
    alone is enough.
    """
    b, a, m = router(lab, "b.example", policy="dialback+tls"), lab.organisation("a.example"), fresh_address()
    if not fresh:
        monkeypatch.setattr(b.router.hub, "random_bytes", bytes)
    if not bound:
        monkeypatch.setattr(claims, "answer_for", unbound)
    alice, proof, second = _recorded(b, a)
    alice.close()
    link = tls_connect(b.endpoint, "b.example", at=m, resume=alice.tls if resumed else None)
    assert link.tls.resumed == resumed
    link.send(Claim(1, b"a.example", b"b.example", SOME_TOKEN))
    second.expect(Verify)
    link.send(proof)
    if fresh or bound:
        assert link.drain() == []
        assert b.refusals(Reason.BAD_TOKEN) == 1
    else:
        second.close()  # he can cut it, and the right answer is there
        assert link.expect(ClaimResult).reason == 0
    link.send(text_message("alice@a.example", "bob@b.example", "it is me"))
    assert link.outcome().ok == (not fresh and not bound)
    assert len(b.inbox("bob@b.example")) == (0 if fresh or bound else 1)


@guarded
def test_answer_of_another_link(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Alice's claim is under way, Mallory claims the same and brings her answer over his own link.

    Check: an answer is judged by the claims of the link over which it comes (6.3).
    """
    b, a = router(lab, "b.example", policy="dialback+tls"), lab.organisation("a.example")
    if not guarded:
        by_number = ClaimsReceived.answer

        def of_any_link(received: ClaimsReceived, number: int, answer: bytes) -> ReceivedClaim | None:
            claim = received._pending[number]
            for other in b.router.hub.sessions.values():
                theirs = other.received.pending(number)
                if theirs is not None and by_number(other.received, number, answer) is not None:
                    claim.state = ClaimState.RELEASED
                    return claim
            return None

        monkeypatch.setattr(ClaimsReceived, "answer", of_any_link)
    alice = tls_connect(b.endpoint, "b.example", at=a.ip)
    alice.send(Claim(1, b"a.example", b"b.example", SOME_TOKEN))
    second = tls_accept(a.listener, issued("a.example"))
    asked = second.expect(Verify)
    link = tls_connect(b.endpoint, "b.example", at=fresh_address())
    link.send(Claim(1, b"a.example", b"b.example", SOME_TOKEN))
    also = second.expect(Verify)
    assert also.secret != asked.secret
    link.send(_proof(alice, SOME_TOKEN, asked.secret))
    second.send(VerifyResult(asked.number, 0, SOME_NONCE), VerifyResult(also.number, 0, SOME_NONCE))
    if guarded:
        assert link.drain() == []
        assert b.refusals(Reason.BAD_TOKEN) == 1
    else:
        assert link.expect(ClaimResult).reason == 0
    link.send(text_message("alice@a.example", "bob@b.example", "it is me"))
    assert link.outcome().ok == (not guarded)


@guarded
def test_result_of_another_link(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice's host is asked whether a claim is hers; Mallory's host says on its own link that it is not.

    Check: a result answers what was asked on the very link over which it comes (6.2).
    """
    b, a = router(lab, "b.example", policy="dialback+tls"), lab.organisation("a.example")
    m = lab.organisation("m.example")
    if not guarded:
        judge = Verifier.verify_result

        def of_any_link(verifier: Verifier, second: LinkSession, result: VerifyResult) -> None:
            asked = verifier._asked.get(result.number)
            judge(verifier, second if asked is None else verifier._hub.sessions[asked.second], result)

        monkeypatch.setattr(Verifier, "verify_result", of_any_link)
    mallory = tls_connect(b.endpoint, "b.example", at=m.ip)
    mallory.send(Claim(1, b"m.example", b"b.example", SOME_TOKEN))
    his = tls_accept(m.listener, issued("m.example"))
    his.expect(Verify)
    alice = tls_connect(b.endpoint, "b.example", at=a.ip)
    alice.send(Claim(1, b"a.example", b"b.example", SOME_TOKEN))
    hers = tls_accept(a.listener, issued("a.example"))
    asked = hers.expect(Verify)
    his.send(VerifyResult(asked.number, Reason.BAD_TOKEN.code))
    assert his.drain() == []
    hers.send(VerifyResult(asked.number, 0, SOME_NONCE))
    alice.send(_proof(alice, SOME_TOKEN, asked.secret))
    assert alice.expect(ClaimResult).reason == (0 if guarded else Reason.DIALBACK_REFUSED.code)


@guarded
@pytest.mark.parametrize("kind", BAD)
def test_claim_by_a_certificate_that_is_no_good(
    lab: Lab, guarded: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `certificate` nobody is dialled: Mallory claims Alice's domain and shows what he has.

    Check: the certificate of that very link is good for the claimed domain (6.4).
    """
    make, word = BAD[kind]
    if not guarded:
        believe(monkeypatch, word)
    b = router(lab, "b.example", policy="certificate")
    m = router(lab, "a.example", make(), policy="dialback+tls")
    ends = m.router.link_tls.ends
    assert ends is not None
    monkeypatch.setattr(ends.contexts.certificates, "for_domain", lambda _domain: make())
    monkeypatch.setattr(m.router.claimer.tongue, "result_is_proof", lambda *_: True)
    monkeypatch.setattr(m.router.federation.apart, "has_certificate", lambda _domain: False)
    m.send("alice@a.example", "bob@b.example", "it is me").outcome()
    assert b.proved("a.example") == (not guarded)
    assert bool(b.inbox("bob@b.example")) == (not guarded)
    if guarded:
        assert b.refusals(Reason.CERTIFICATE_REFUSED)


@guarded
def test_redirect_to_another_domains_certificate(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host of Alice's sends us to Mallory's, whom her DNS does not list; he shows his own certificate.

    Check: the target's certificate covers the domain before the first record is sent there (5.5, 3).
    """
    if not guarded:
        monkeypatch.setattr(PeerCertificate, "covers", lambda *_: True)
    first, m = host(lab), host(lab)
    m.use_tls([issued("m.example")])
    publish(lab, first.endpoint)
    lab.zones.load(f"$ORIGIN hosts.example.\nim 60 IN A {m.ip}\n")
    b = router(lab, "b.example")
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    redirect(first, f"im.hosts.example:{m.endpoint[1]}")
    _judged(lab, b, guarded)


@guarded
@pytest.mark.parametrize("rule", ["dialback+tls", "dialback"], ids=["another certificate", "in clear"])
def test_redirect_to_a_lower_level(
    lab: Lab, guarded: bool, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listed target has no certificate of Alice's, or no TLS; policy asks for no more, nothing is known.

    Check: the new link has at least the strength of the old one (5.5, 4).
    """
    if not guarded:
        monkeypatch.setattr(
            targets, "Wanted", lambda strengths, domain, own, *_: Wanted(strengths, domain, own)
        )
    first, in_clear = host(lab), rule == "dialback"
    m = lab.router("a.example", publish=False) if in_clear else host(lab, by="stranger")
    publish(lab, first.endpoint, tls=in_clear)
    b = router(lab, "b.example", policy=rule)
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    b.call(partial(b.router.strengths.remembered.forget, Domain("a.example")))
    monkeypatch.setattr(Strengths, "note_reached", lambda *_: None)
    publish(lab, first.endpoint, m.endpoint)  # of which the record says nothing
    redirect(first, f"im2.a.example:{m.endpoint[1]}")
    _judged(lab, b, guarded)


def _judged(lab: Lab, b: RouterRig, guarded: bool) -> None:
    """The redirect is ignored, or obeyed."""
    if guarded:
        lab.wait_until(lambda: b.router.redirector.refused, "it is ignored")
        assert opened(b) == []
    else:
        sessions = b.router.hub.sessions
        lab.wait_until(lambda: any(one.redirected for one in sessions.values()), "it is obeyed")
