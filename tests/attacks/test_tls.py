"""Hijacked names, men in the middle, and certificates that are no good (specification 11; IMX-31, BEY-1).

Mallory's routers are real ones, and those between are real proxies over real sockets. `docs/specs/attacks.md`
lists every attack with its check.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from imxrouter.link import claims
from imxrouter.link.answer import ConnectionView, answer_for
from imxrouter.link.machine import Side
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.peer import Anchors, ChainProblem, Judgement, PeerCertificate
from imxrouter.transport.link import Link
from imxrouter.wire.record import encode_record
from tests.attacks.seams import guarded
from tests.doubles.middle import Middle
from tests.doubles.raw_peer import text_message
from tests.doubles.router_rig import Lab, RouterRig, issued
from tests.transport.test_tls_links import cause, end_links


def router(
    lab: Lab, domain: str, certificate: Any = None, policy: str = "dialback+certificate", **options: Any
) -> RouterRig:
    """A router with a certificate: its own domain's, unless told otherwise."""
    settings = {"trust.default_policy": policy, **options.pop("settings", {})}
    rig = lab.router(domain, certificates=[[domain]], settings=settings, **options)
    if certificate is not None:
        rig.use_tls([certificate])
    return rig


#: What Mallory shows for a.example, why it is no good, and the check that says so.
BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "of another domain": (lambda: issued("m.example"), "wrong-name"),
    "of a domain below": (lambda: issued("im.a.example"), "wrong-name"),
    "wildcard below": (lambda: issued("*.a.example"), "wrong-name"),
    "wildcard inside a label": (lambda: issued("a*.example"), "wrong-name"),
    "two wildcards": (lambda: issued("*.*.example"), "wrong-name"),
    "wildcard of a whole zone": (lambda: issued("*.example"), "wrong-name"),
    "expired": (lambda: issued("a.example", ended=True), "expired"),
    "of a wrong authority": (lambda: issued("a.example", by="stranger"), "unknown-authority"),
}


def refused(kind: str) -> Reason:
    """What it is called: one that names the target would do with DNSSEC."""
    return Reason.DELEGATION_INSECURE if kind == "wildcard below" else Reason.CERTIFICATE_REFUSED


def believe(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Take away the check that gives this word."""
    if word == "wrong-name":
        monkeypatch.setattr(PeerCertificate, "covers", lambda *_: True)
        return
    judge = Anchors.judge

    def all_but_that(anchors: Anchors, shown: PeerCertificate, *, at: float, as_client: bool) -> Judgement:
        judgement = judge(anchors, shown, at=at, as_client=as_client)
        forgiven = judgement.problem is ChainProblem(word)
        return Judgement(None) if forgiven else judgement

    monkeypatch.setattr(Anchors, "judge", all_but_that)


@guarded
@pytest.mark.parametrize("kind", BAD)
def test_hijacked_recipient(lab: Lab, guarded: bool, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS leads what is for Alice to Mallory. Check: the certificate there, before the first record."""
    make, word = BAD[kind]
    m, b = router(lab, "a.example", make()), router(lab, "b.example")
    if not guarded:
        believe(monkeypatch, word)
    sent = b.send("bob@b.example", "alice@a.example", "my card number").outcome()
    assert sent.ok == (not guarded), sent
    assert bool(m.inbox("alice@a.example")) == (not guarded)
    if guarded:
        reason, note = cause(b, "a.example")
        assert reason is refused(kind)
        assert word in note


@guarded
@pytest.mark.parametrize("kind", BAD)
def test_hijacked_sender(lab: Lab, guarded: bool, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS leads the verification of Mallory's claim to him. Check: the certificate there, of a.example."""
    make, word = BAD[kind]
    m, b = router(lab, "a.example", make()), router(lab, "b.example")
    if not guarded:
        believe(monkeypatch, word)
    m.send("alice@a.example", "bob@b.example", "it is me").outcome()
    assert bool(b.inbox("bob@b.example")) == (not guarded)
    assert b.proved("a.example") == (not guarded)
    if guarded:
        assert b.refusals(refused(kind))


def unbound(
    secret: bytes, _view: ConnectionView, exporter: bytes, from_domain: bytes, to_domain: bytes, token: bytes
) -> bytes:
    """The answer of dial-back without its binding."""
    return answer_for(secret, ConnectionView.TLS_UNBOUND, exporter, from_domain, to_domain, token)


@guarded
def test_man_in_the_middle_of_the_first_connection(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory ends the TLS session of each side; no certificate is asked for.

    Check: the answer of dial-back is bound to the first connection's session (BEY-1).
    """
    if not guarded:
        monkeypatch.setattr(claims, "answer_for", unbound)
    soon = {"dialback.claim_timeout_s": 1.0} if guarded else {}
    a, b = (router(lab, name, policy="dialback+tls", settings=soon) for name in ("a.example", "b.example"))
    with Middle(b.endpoint, issued("m.example"), "b.example") as m:
        lab.publish("b.example", m.endpoint)
        sent = a.send("alice@a.example", "bob@b.example", "my card number").outcome()
        assert sent.ok == (not guarded), sent
        assert (b"my card number" in m.seen) == (not guarded)
    if guarded:
        assert cause(a, "b.example")[0] is Reason.DIALBACK_TIMEOUT
        assert b.proved("a.example") == 0


@guarded
def test_man_in_the_middle_by_an_older_tls(lab: Lab, guarded: bool) -> None:
    """The same with TLS 1.2, whose sessions bind nothing.

    Check: who was seen with TLS 1.3 once is not taken with less (rule 4).
    """
    a, b = (router(lab, name, policy="dialback+tls") for name in ("a.example", "b.example"))
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    for rig in (a, b):
        end_links(rig)
        for domain in () if guarded else (Domain("a.example"), Domain("b.example")):
            rig.call(partial(rig.router.strengths.remembered.forget, domain))
    version = ssl.TLSVersion.TLSv1_2
    with Middle(b.endpoint, issued("m.example"), "b.example", version=version) as m:
        lab.publish("b.example", m.endpoint)
        a.forget_dns()
        sent = a.send("alice@a.example", "bob@b.example", "my card number").outcome()
        assert sent.ok == (not guarded), sent
        assert (b"my card number" in m.seen) == (not guarded)
    if guarded:
        assert cause(a, "b.example")[0] is Reason.WEAKER_THAN_REMEMBERED


@guarded
def test_man_in_the_middle_with_a_certificate_of_his_own(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same under a certificate policy. Check: the certificate of whom we reach covers the domain."""
    a, b = router(lab, "a.example"), router(lab, "b.example")
    if not guarded:
        monkeypatch.setattr(PeerCertificate, "covers", lambda *_: True)
        monkeypatch.setattr(claims, "answer_for", unbound)
    with Middle(b.endpoint, issued("m.example"), "b.example") as m:
        lab.publish("b.example", m.endpoint)
        sent = a.send("alice@a.example", "bob@b.example", "my card number").outcome()
        assert sent.ok == (not guarded), sent
        assert (b"my card number" in m.seen) == (not guarded)
    if guarded:
        assert cause(a, "b.example")[0] is Reason.CERTIFICATE_REFUSED
        assert b.proved("a.example") == 0


@guarded
def test_man_in_the_middle_of_the_second_connection(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS leads Bob's router to Mallory where it verifies Alice's claim; he passes all on, and adds his own.

    Check: the certificate on the second connection covers the claiming domain (6.2).
    """
    a, b = router(lab, "a.example"), router(lab, "b.example")
    if not guarded:
        monkeypatch.setattr(PeerCertificate, "covers", lambda *_: True)
    with Middle(a.endpoint, issued("m.example"), "a.example", presented=issued("m.example")) as m:
        lab.publish("a.example", m.endpoint)
        sent = a.send("alice@a.example", "bob@b.example").outcome()
        assert sent.ok == (not guarded), sent
        if guarded:
            assert bytes(m.seen) == b""
            assert b.refusals(Reason.CERTIFICATE_REFUSED)
            return
        lab.wait_until(lambda: any(_is_accepted(one) for one in a.router.hub.sessions.values()), "he is b")
        m.inject(encode_record(text_message("bob@b.example", "alice@a.example", "send me your key")))
        alice = Address.parse("alice@a.example")
        (service,) = a.router.embedded.values()
        lab.wait_until(lambda: service.inbox(alice), "his message is there")
        assert a.inbox("alice@a.example") == [("bob@b.example", "send me your key")]


def _is_accepted(session: Link) -> bool:
    return session.side is Side.ACCEPTOR and b"b.example" in session.port.sources
