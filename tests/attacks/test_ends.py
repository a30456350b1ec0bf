"""What has ended goes on being used: proofs, certificates, keys (architecture section 3, rule 3)."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from imxrouter.model.vocabulary import Reason
from imxrouter.switch.ports import FOREVER
from imxrouter.transport.dialback import Claimer
from imxrouter.wire.control import Claim, ClaimResult, Proof, Proved, Verify, VerifyResult
from tests.attacks.seams import guarded
from tests.doubles.raw_peer import RawPeer, text_message
from tests.doubles.router_rig import Lab, RawOrganisation, RouterRig


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
    accept = Claimer._accept
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
