"""Delegation without DNSSEC, and ways round DANE (`imx-dns-record.md` section 11; BEY-9).

Mallory's routers are real ones; their certificates are by an authority that everybody trusts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dns.message
import dns.rcode
import pytest

from imxrouter.discovery import adapter, delegation
from imxrouter.discovery.adapter import NameServerAsker
from imxrouter.discovery.answers import TYPE_A, TYPE_TLSA, Answer, Status
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.tls import dane
from imxrouter.tls.dane import Coverage, Dane, DaneResult, published
from imxrouter.tls.peer import PeerCertificate
from imxrouter.transport import strengths
from tests.attacks.seams import guarded
from tests.attacks.test_tls import router
from tests.discovery.test_adapter import raw_answer, udp_server
from tests.doubles.reactor_thread import ReactorThread
from tests.doubles.router_rig import Lab, RouterRig, issued
from tests.transport.test_tls_links import cause

M_HOST = "im.m.example"


def hijack(lab: Lab, m: RouterRig) -> None:
    """Let DNS lead what is for a.example to Mallory's own host."""
    ip, port = m.endpoint
    lab.zones.load(f"$ORIGIN m.example.\n$TTL 60\nim IN A {ip}\n")
    lab.zones.load(f"$ORIGIN a.example.\n$TTL 60\n@ IN IMX 1 {M_HOST}. port={port}\n")


def believe_any_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the check that answers were validated."""
    judge = dane.coverage

    def as_if_secure(
        domain: Domain, peer: PeerCertificate, way: Delegation, found: DaneResult, **more: Any
    ) -> Coverage:
        return judge(domain, peer, replace(way, secure=True), found, **more)

    monkeypatch.setattr(dane, "coverage", as_if_secure)


@guarded
def test_delegation_that_nobody_signed(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsigned DNS leads what is for Alice to Mallory's host, whose own certificate is good.

    Check: a certificate for the target counts only where DNSSEC secures the way to it (11.5).
    """
    m, b = router(lab, "a.example", issued(M_HOST)), router(lab, "b.example")
    hijack(lab, m)
    if not guarded:
        believe_any_way(monkeypatch)
    sent = b.send("bob@b.example", "alice@a.example", "my card number").outcome()
    assert sent.ok == (not guarded), sent
    assert bool(m.inbox("alice@a.example")) == (not guarded)
    if guarded:
        reason, note = cause(b, "a.example")
        assert reason is Reason.DELEGATION_INSECURE
        assert "a.example IMX" in note


@guarded
def test_claim_by_a_delegation_that_nobody_signed(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where Bob's router verifies Mallory's claim to be Alice's. Check: as before."""
    m, b = router(lab, "a.example", issued(M_HOST)), router(lab, "b.example")
    hijack(lab, m)
    if not guarded:
        believe_any_way(monkeypatch)
    m.send("alice@a.example", "bob@b.example", "it is me").outcome()
    assert bool(b.inbox("bob@b.example")) == (not guarded)
    assert b.proved("a.example") == (not guarded)
    if guarded:
        assert b.refusals(Reason.DELEGATION_INSECURE)


def publish_tlsa(lab: Lab, m: RouterRig) -> str:
    """Alice's signed zone with a TLSA record of her certificate; her address leads to Mallory's machine."""
    ip, port = m.endpoint
    record = published(issued("a.example", by="Alice's own").leaf).to_text()
    zone = f"@ IN IMX 1 im1 port={port}\nim1 IN A {ip}\n_{port}._tcp.im1 IN TLSA {record}\n"
    lab.zones.load(f"$ORIGIN a.example.\n$TTL 60\n{zone}")
    lab.zones.secure = True
    return f"_{port}._tcp.im1.a.example"


@guarded
def test_certificate_that_a_public_authority_gave_away(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory has got a certificate for a.example, and stands at her address.

    Check: where TLSA records are, one of them must name the certificate, whoever signed it (11.5).
    """
    m, b = router(lab, "a.example"), router(lab, "b.example")
    publish_tlsa(lab, m)
    if not guarded:
        monkeypatch.setattr(dane, "match", lambda *_, **__: DaneResult(Dane.NONE))
    sent = b.send("bob@b.example", "alice@a.example", "my card number").outcome()
    assert sent.ok == (not guarded), sent
    assert bool(m.inbox("alice@a.example")) == (not guarded)
    if guarded:
        assert cause(b, "a.example")[0] is Reason.DANE_MISMATCH


@guarded
@pytest.mark.parametrize("rule", ["dialback", "dialback+tls"])
def test_stranger_where_no_certificate_is_asked_for(
    lab: Lab, guarded: bool, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory stands at the address of Alice, whose DNS is signed; policy asks for no certificate.

    Check: usable TLSA records promise TLS and are held to under every policy (11.3, 11.5).
    """
    if not guarded:
        monkeypatch.setattr(strengths, "_held_to_dns", lambda decision, _judged: decision)
    m, b = (router(lab, name, policy=rule) for name in ("a.example", "b.example"))
    publish_tlsa(lab, m)
    sent = b.send("bob@b.example", "alice@a.example", "my card number").outcome()
    assert sent.ok == (not guarded), sent
    assert bool(m.inbox("alice@a.example")) == (not guarded)
    if guarded:
        assert cause(b, "a.example")[0] is Reason.DANE_MISMATCH


@guarded
def test_hidden_tlsa_records(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same Mallory makes the question for TLSA records fail.

    Check: behind a secure way a failure is not "there are none" (11.3).
    """
    m, b = router(lab, "a.example"), router(lab, "b.example")
    lab.zones.fail(publish_tlsa(lab, m), TYPE_TLSA)
    if not guarded:
        monkeypatch.setattr(delegation, "_FAILURES", dict.fromkeys(Status, Reason.NONE))
    sent = b.send("bob@b.example", "alice@a.example", "my card number").outcome()
    assert sent.ok == (not guarded), sent
    assert bool(m.inbox("alice@a.example")) == (not guarded)
    if guarded:
        assert cause(b, "a.example")[0] is Reason.DNS_FAILURE


@guarded
def test_forged_answer_of_a_second_resolver(
    reactor_thread: ReactorThread, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One resolver finds out a forged answer; a second one that does not validate passes it on.

    Check: what SERVFAIL was said of is not taken unvalidated from another (11.1).
    """
    if not guarded:
        monkeypatch.setattr(adapter._NameServer, "_doubt", lambda *_: None)

    def servfail(query: bytes) -> list[bytes]:
        answer = dns.message.make_response(dns.message.from_wire(query))
        answer.set_rcode(dns.rcode.SERVFAIL)
        return [answer.to_wire()]

    def forged(query: bytes) -> list[bytes]:
        return [raw_answer(query, TYPE_A, b"\xc0\0\2\1")]

    with udp_server(servfail) as first, udp_server(forged) as second:
        servers = [f"127.0.0.1:{first}", f"127.0.0.1:{second}"]
        asker = NameServerAsker(reactor_thread.reactor, servers, question_s=1.0)
        answer: Answer = reactor_thread.call(asker.ask, "a.example", TYPE_A)
    assert (answer.status is Status.FAILURE) == guarded
    assert (answer.status is Status.RECORDS) == (not guarded)
