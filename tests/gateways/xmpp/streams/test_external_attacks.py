"""Who wants to be taken for somebody else by SASL EXTERNAL; each attack also without its check.

In memory, as in `test_trust_attacks.py`.
"""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp import negotiation
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.policy import Policy
from imxrouter.transport.strengths import Judged, Strengths
from tests.attacks.seams import guarded
from tests.gateways.xmpp.streams.trusting import World, refused

#: The one who is impersonated, the one who is deceived, and the attacker.
A, B, M = "a.example", "b.example", "mallory.example"
AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{}</auth>"


@guarded
def test_external_with_a_certificate_of_somebody_else(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory says that he is Alice, and shows his own certificate.

    Check: it is judged for the domain of the stream header, when EXTERNAL is offered and when it is asked
    for.
    """
    world = World()
    b = world.router(B, policy=Policy.CERTIFICATE, in_tls=True)
    if not guarded:
        monkeypatch.setattr(Strengths, "judged", lambda *_, **_more: Judged(True))
    peer = b.stranger(A, names={M})
    heard = peer.say(AUTH.format("="))
    if guarded:
        assert "EXTERNAL" not in peer.began
        assert "<not-authorized/>" in heard
        assert not b.takes_from(peer.session, A)
    else:
        assert "<success" in heard
        assert b.takes_from(peer.session, A)


@guarded
def test_external_when_the_policy_has_changed(guarded: bool) -> None:
    """Mallory's stolen certificate was enough when EXTERNAL was offered, and is not any more.

    Check: policy is asked again when it is asked for; nobody is dialled for it.
    """
    world = World()
    a = world.router(A)
    b = world.router(B, policy=Policy.CERTIFICATE, in_tls=True)
    peer = b.stranger(A, names={A})
    assert "EXTERNAL" in peer.began
    b.strengths.policies = type(b.strengths.policies)({}, Policy.DIALBACK_CERTIFICATE)
    if not guarded:
        b.strengths.policies = type(b.strengths.policies)({}, Policy.CERTIFICATE)
    peer.session.machine.terms = type(peer.session.machine.terms)(
        serves=lambda _name: True, external=lambda _name: True
    )
    heard = peer.say(AUTH.format("="))
    del a
    assert world.dialled == []
    if guarded:
        assert "<not-authorized/>" in heard
        assert not b.takes_from(peer.session, A)
        refused(b, Reason.CERTIFICATE_REFUSED)
    else:
        assert b.takes_from(peer.session, A)


@guarded
def test_external_for_another_name(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory has a good certificate for his own domain, and asks to be taken for Alice's.

    Check: who is asked for is who the stream header names (XEP-0178 section 3).
    """
    world = World()
    b = world.router(B, policy=Policy.CERTIFICATE, in_tls=True)
    if not guarded:
        monkeypatch.setattr(negotiation, "_is_own_name", lambda *_: True)
    peer = b.stranger(M, names={M})
    heard = peer.say(AUTH.format("YS5leGFtcGxl"))  # a.example
    assert not b.takes_from(peer.session, A)  # whatever is said: the certificate was judged for the header
    if guarded:
        assert "<invalid-authzid/>" in heard
        assert not b.takes_from(peer.session, M)
    else:
        assert "<success" in heard
