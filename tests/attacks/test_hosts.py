"""A host that goes, and hosts of one domain, as Mallory would use them (specification 5.3, 6.7, 8.4)."""

import pytest

from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.services import key_id, login_text
from imxrouter.transport.siblings import sibling_key
from imxrouter.wire.control import Credit, HandOver, Login, LoginResult
from tests.attacks.seams import guarded
from tests.doubles.raw_peer import RawPeer
from tests.doubles.router_rig import Lab

SECRET = "ab" * 32


@guarded
def test_subscriptions_from_a_stranger(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory hands over a subscription to Bob that he never granted, so as to be told his presence.

    Check: only who holds the secret of the domain's dial-back tokens hands over.
    """
    b = lab.router("b.example", settings={"dialback.keys.one": SECRET, "lab": True})
    if not guarded:
        monkeypatch.setattr(b.router.siblings, "_trusted", _Everybody())
    m = lab.organisation("m.example")
    link = m.proved_link(b)
    link.send(HandOver(b"mallory@m.example", b"bob@b.example", b"id-1", 600))
    if not guarded:
        lab.wait_until(lambda: len(b.router.subscriptions), "it is believed")
        return
    close = link.until_closed()
    assert close is not None
    assert close.reason == Reason.PROTOCOL_ERROR.code
    assert len(b.router.subscriptions) == 0


class _Everybody(set[int]):
    """A set that has every link in it."""

    def __contains__(self, number: object) -> bool:
        return True


@guarded
def test_a_login_with_the_key_of_other_hosts(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory names our hosts' key, and signs with his own. Check: the signature, over our challenge."""
    b = lab.router("b.example", settings={"dialback.keys.one": SECRET, "lab": True})
    ours, hers = sibling_key(bytes.fromhex(SECRET)), sibling_key(b"hers")
    ident = key_id(ours.public_key())
    if not guarded:
        monkeypatch.setattr(b.router.siblings, "_known", lambda: {ident: hers.public_key()})
    link = RawPeer.connect(b.endpoint)
    challenge = link.hello().challenge
    assert challenge is not None
    link.send(Login(ident, hers.sign(login_text(challenge, ident))))
    assert (link.expect(LoginResult).reason == 0) is not guarded
    link.close()


def test_a_host_that_refuses_to_have_a_message_sent_elsewhere(lab: Lab) -> None:
    """Mallory is never asked what Alice's host refuses: only links of the domain are."""
    b, a, m = lab.router("b.example"), lab.organisation("a.example"), lab.organisation("m.example")
    hers = m.proved_link(b)
    link = a.proved_link(b)
    sent = b.send("bob@b.example", "alice@a.example", "for Alice only")
    link.answer(link.request(), failure(Reason.SERVICE_DOWN))
    assert sent.outcome().reason is Reason.SERVICE_DOWN
    hers.drain()
    assert hers.requests == []


def test_a_stranger_who_takes_nothing(lab: Lab) -> None:
    """CREDIT of 0 concerns its own link only, whatever was proved on it or not."""
    b, a, m = lab.router("b.example"), lab.organisation("a.example"), lab.organisation("m.example")
    m.connect(b).send(Credit(0, 0))
    m.proved_link(b).send(Credit(0, 0))
    sent = b.send("bob@b.example", "alice@a.example", "one")
    link = a.accept()
    a.take_claim(link, b)
    link.answer(link.request())
    assert sent.outcome().ok
