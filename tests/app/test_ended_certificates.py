"""A proof ends when the certificate on which it rests does, though its link lives (rule 3)."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imxrouter.link.machine import Side
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.tls.identity import identifiers_of
from imxrouter.tls.own import OwnCertificate
from imxrouter.tls.peer import fingerprint_of
from tests.doubles.authority import DAY
from tests.doubles.router_rig import Lab, RouterRig, authority, issued
from tests.transport.test_tls_services import TENANT, hub_router, logged_in, tenant_router


def _router(lab: Lab, domain: str, policy: str, certificate: Any = None) -> RouterRig:
    rig = lab.router(domain, settings={"trust.default_policy": policy}, certificates=[[domain]])
    if certificate is not None:
        rig.use_tls([certificate])
    return rig


def _later(rig: RouterRig) -> None:
    """It is half a year later for this router: whatever was issued for 90 days has ended."""
    rig.call(lambda: setattr(rig.router.link_tls, "wall", lambda: time.time() + 180 * DAY))


def _renewed(domain: str) -> OwnCertificate:
    """A certificate that is good for a year."""
    old = issued(domain)
    made = authority("laboratory").issue(
        domain, not_before=time.time() - DAY, not_after=time.time() + 365 * DAY
    )
    leaf = made.certificate
    return replace(
        old, chain=made.chain, key=made.key, identifiers=identifiers_of(leaf), path=Path("new.crt"),
        fingerprint=fingerprint_of(leaf), not_after=leaf.not_valid_after_utc.timestamp(),
    )  # fmt: skip


@pytest.mark.parametrize("renewed", [True, False])
def test_a_link_of_ours(lab: Lab, renewed: bool) -> None:
    """It is used for the domain no longer; the next message goes over a new one, if there it is good."""
    a, b = (_router(lab, name, "dialback+certificate") for name in ("a.example", "b.example"))
    assert b.send("bob@b.example", "alice@a.example", "one").outcome().ok
    if renewed:
        a.use_tls([_renewed("a.example")])
    _later(b)
    sessions = b.router.hub.sessions
    lab.wait_until(
        lambda: (
            not any(one.side is Side.OPENER and b"a.example" in one.port.sources for one in sessions.values())
        ),
        "the proof ends",
    )
    sent = b.send("bob@b.example", "alice@a.example", "two").outcome()
    assert sent.ok == renewed, sent
    assert len(a.inbox("alice@a.example")) == 1 + renewed
    if not renewed:
        entry = b.call(lambda: b.router.federation.destinations.find(Domain("a.example")))
        assert entry.last_error.reason is Reason.CERTIFICATE_REFUSED
        assert "expired" in entry.last_error.note


def test_a_domain_that_proved_itself_by_certificate_alone(lab: Lab) -> None:
    """It is told why its proof ends, and nothing more is taken from it there."""
    a, b = _router(lab, "a.example", "certificate"), _router(lab, "b.example", "certificate")
    assert a.send("alice@a.example", "bob@b.example", "one").outcome().ok
    assert b.proved("a.example") == 1
    _later(b)
    lab.wait_until(
        lambda: not any(b"a.example" in one.port.sources for one in b.router.hub.sessions.values()),
        "the proof ends",
    )
    assert not a.send("alice@a.example", "bob@b.example", "two").outcome().ok
    assert len(b.inbox("bob@b.example")) == 1
    assert b.proved("a.example") == 0


def test_what_does_not_rest_on_it_stays(lab: Lab) -> None:
    """Under a policy that asks for no certificate its end changes nothing."""
    a, b = _router(lab, "a.example", "dialback"), _router(lab, "b.example", "dialback")
    assert a.send("alice@a.example", "bob@b.example", "one").outcome().ok
    before = {one.number for one in b.sessions()}
    _later(b)
    assert a.send("alice@a.example", "bob@b.example", "two").outcome().ok
    assert {one.number for one in b.sessions()} == before


@pytest.mark.parametrize("pinned", [True, False])
def test_a_service_that_logged_in_by_certificate(lab: Lab, pinned: bool) -> None:
    """Its link ends with the certificate; one that is pinned is trusted for what it is, as at the login."""
    hub = hub_router(lab, certificate=f"sha256:{issued(TENANT).fingerprint.hex()}" if pinned else TENANT)
    tenant = tenant_router(lab, hub)
    logged_in(lab, hub, tenant)
    ports = hub.router.switch.routes[TENANT.encode()].ports
    _later(hub)
    if not pinned:
        lab.wait_until(lambda: not ports, "the login ends")
        return
    hub.call(lambda: hub.router.ended_certificates.tick(0.0))
    assert tenant.send(f"alice@{TENANT}", "bob@hub.example").outcome().ok


def test_an_uplink_whose_certificate_has_ended(lab: Lab) -> None:
    """Nothing is sent there any more; it is dialled again, and no login is signed for who is there."""
    hub = hub_router(lab, key=7)
    tenant = tenant_router(lab, hub, key=7)
    logged_in(lab, hub, tenant)
    told: list[Any] = []
    lab.watch(told.append)
    _later(tenant)
    lab.wait_until(lambda: not tenant.router.switch.uplinks, "the link ends")
    lab.wait_until(lambda: any("uplink" in str(one.get("log_format")) for one in told), "it is dialled")
    (told_of,) = {one["reason"] for one in told if "uplink" in str(one.get("log_format"))}
    assert told_of == "certificate-refused"
