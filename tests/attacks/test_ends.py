"""What has ended goes on being used: proofs, certificates, keys (architecture section 3, rule 3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from imxrouter.model.vocabulary import Reason
from imxrouter.switch.ports import FOREVER
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.services import BY_CERTIFICATE, NO_SIGNATURE, Services, sign_login
from imxrouter.wire.control import (
    Claim,
    ClaimResult,
    Login,
    LoginResult,
    Proof,
    Proved,
    Verify,
    VerifyResult,
)
from tests.attacks.seams import guarded
from tests.doubles.authority import DAY
from tests.doubles.raw_peer import RawPeer, text_message
from tests.doubles.router_rig import Lab, RawOrganisation, RouterRig, anchors_of, issued, login_key
from tests.doubles.tls_peer import tls_connect
from tests.transport.test_tls_services import TENANT, hub_router


def _second(a: RouterRig, b: RawOrganisation) -> RawPeer:
    """Alice's router has claimed to Bob's, which verified it over this connection; it is open for data."""
    a.send("alice@a.example", "bob@b.example")
    first = b.accept()
    claim = first.find(Claim)
    second = b.connect(a)
    second.send(Verify(77, claim.from_domain, claim.to_domain, claim.token, b"s" * 32, 0))
    nonce = second.expect(VerifyResult).nonce
    assert nonce is not None
    assert first.find(Proof).answer == b"s" * 32
    first.send(ClaimResult(claim.number, 0, 1, None, (nonce,)))
    second.expect(Proved)
    first.answer(first.request())
    return second


@guarded
def test_second_connection_of_long_ago(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bob's domain has moved; who has its old host goes on over the second connection of a dial-back.

    Check: what a nonce proved has a maximum age too (6.4).
    """
    accept: Any = Claimer._accept
    if not guarded:
        monkeypatch.setattr(Claimer, "_accept", lambda *args: accept(*args[:5], FOREVER))
    a, b = lab.router("a.example"), lab.organisation("b.example")
    settings = a.router.hub.settings
    a.call(lambda: setattr(a.router.hub, "settings", replace(settings, proof_max_age_s=0.3)))
    old = _second(a, b)
    old.send(text_message("bob@b.example", "alice@a.example", "it is me", 1))
    assert old.outcome().ok
    time.sleep(0.5)
    old.send(text_message("bob@b.example", "alice@a.example", "is it me?", 2))
    assert old.outcome().reason is (Reason.NOT_PROVED if guarded else Reason.NONE)
    assert len(a.inbox("alice@a.example")) == (1 if guarded else 2)


SHOP, BOB = f"alice@{TENANT}", "bob@hub.example"


def _ended(rig: RouterRig) -> None:
    """It is half a year later for this router: what was issued for 90 days has ended."""
    rig.call(lambda: setattr(rig.router.link_tls, "wall", lambda: time.time() + 180 * DAY))


def _not_trusted(rig: RouterRig) -> None:
    """Another authority is trusted for the domain, as after a reload of its `[[peer]]`."""

    def pin() -> None:
        rig.router.link_tls.pinned = {TENANT: anchors_of("stranger")}
        rig.router.services.judge_anew()

    rig.call(pin)


@guarded
@pytest.mark.parametrize("end", [_ended, _not_trusted], ids=["its time is over", "not trusted any more"])
def test_service_whose_certificate_is_at_an_end(
    lab: Lab, guarded: bool, end: Callable[[RouterRig], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory has a tenant's old key; he logged in while its certificate was good, and stays.

    Check: the certificate of a login is judged again when it ends or other authorities are trusted (6.6).
    """
    if not guarded:
        monkeypatch.setattr(Services, "judge_anew", lambda *_: None)
    hub = hub_router(lab, certificate=TENANT)
    link = tls_connect(hub.endpoint, "hub.example", issued(TENANT))
    link.send(Login(BY_CERTIFICATE, NO_SIGNATURE))
    assert link.expect(LoginResult).reason == 0
    link.send(text_message(SHOP, BOB, "good morning", 1))
    assert link.outcome().ok
    end(hub)
    if guarded:
        ports = hub.router.switch.routes[TENANT.encode()].ports
        lab.wait_until(lambda: not ports, "nothing goes there any more")
    else:
        hub.call(lambda: hub.router.ended_certificates.tick(0.0))
    _uses(link, hub, guarded)


def _uses(link: RawPeer, hub: RouterRig, guarded: bool) -> None:
    """Whether a service can still write on its link, and gets what is for it."""
    if guarded:
        close = link.until_closed()
        assert close is not None
        assert close.reason == Reason.LOGIN_FAILED.code
        assert len(hub.inbox(BOB)) == 1
        return
    link.send(text_message(SHOP, BOB, "it is me", 2))
    assert link.outcome().ok
    hub.send(BOB, SHOP, "my card number")
    assert b"my card number" in link.request().body


@guarded
def test_service_whose_key_is_taken_away(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory has a service's key; it goes from the configuration, and he does not let his link close.

    Check: nothing is taken on it from that moment; only what is in flight is waited for (6.6).
    """
    if not guarded:
        monkeypatch.setattr(
            Services, "end", lambda _, session, why: session.close(Reason.LOGIN_FAILED, text=why)
        )
    hub = hub_router(lab, key=7)
    settings = hub.router.hub.settings
    patient = replace(settings, link=replace(settings.link, close_deadline_s=60.0))
    hub.call(lambda: setattr(hub.router.hub, "settings", patient))
    link = tls_connect(hub.endpoint, "hub.example")
    assert link.theirs is not None
    assert link.theirs.challenge is not None
    link.send(sign_login(login_key(7), link.theirs.challenge, link.exporter))
    assert link.expect(LoginResult).reason == 0
    hub.send(BOB, SHOP, "are you there?")
    request = link.request()
    hub.call(lambda: hub.router.services.change([], ()))
    link.send(text_message(SHOP, BOB, "it is me", 2))
    assert link.outcome().reason is (Reason.NOT_PROVED if guarded else Reason.NONE)
    assert len(hub.inbox(BOB)) == (0 if guarded else 1)
    link.answer(request)  # what came before is answered
