"""What is good in one TLS session, or for one certificate, used elsewhere (specification 5.5, 6.3, 6.6)."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import cast

import pytest

from imxrouter.app.trust import targets
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.tls.peer import PeerCertificate
from imxrouter.transport import services
from imxrouter.transport.services import NO_EXPORTER
from imxrouter.transport.strengths import Strengths
from imxrouter.transport.wanted import Wanted
from tests.attacks.seams import guarded
from tests.attacks.test_tls import BAD, believe, router
from tests.doubles.middle import Middle
from tests.doubles.router_rig import Lab, RouterRig, issued
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
    monkeypatch.setattr(m.router.claimer, "_by_certificate", lambda *_: True)
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
def test_redirect_to_a_lower_level(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listed target shows no certificate of Alice's; policy asks for TLS alone, nothing is remembered.

    Check: the new link has at least the strength of the old one (5.5, 4).
    """
    if not guarded:
        monkeypatch.setattr(
            targets, "Wanted", lambda strengths, domain, own, *_: Wanted(strengths, domain, own)
        )
    first, m = host(lab), host(lab, by="stranger")
    publish(lab, first.endpoint)
    b = router(lab, "b.example", policy="dialback+tls")
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    b.call(partial(b.router.strengths.remembered.forget, Domain("a.example")))
    monkeypatch.setattr(Strengths, "note_reached", lambda *_: None)
    publish(lab, first.endpoint, m.endpoint)
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
