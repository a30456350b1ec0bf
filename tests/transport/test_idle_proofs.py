"""Proofs that nothing uses end."""

from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import Withdraw
from tests.doubles.raw_peer import text_message
from tests.doubles.router_rig import Lab, RouterRig

IDLE_S = 3600.0


def _later(b: RouterRig, seconds: float) -> None:
    """Look as if so much time had passed."""
    b.router.idle_proofs._next_look = float("-inf")
    b.call(lambda: b.router.idle_proofs.tick(b.router.hub.now() + seconds))


def test_a_proof_that_nothing_used_ends(lab: Lab) -> None:
    """The peer is told by WITHDRAW, the link stays, and the domain may be proved again."""
    b, m = lab.router("b.example"), lab.organisation("m.example")
    link = m.proved_link(b)
    for hours in range(8):
        assert b.proved("m.example") == 1
        _later(b, 0.99 * IDLE_S * hours / 8 + 1)
    _later(b, IDLE_S + 1)
    assert link.expect(Withdraw) == Withdraw(b"m.example", Reason.IDLE.code)
    assert b.proved("m.example") == 0
    link.send(text_message("mallory@m.example", "bob@b.example", "late"))
    assert link.outcome().reason is Reason.NOT_PROVED
    assert m.prove(link, "b.example", number=2).reason == 0
    link.send(text_message("mallory@m.example", "bob@b.example", "again", 2))
    assert link.outcome().ok


def test_what_is_used_stays(lab: Lab) -> None:
    """A message from the domain counts, and so does an answer of the domain."""
    b, m = lab.router("b.example"), lab.organisation("m.example")
    link = m.proved_link(b)
    _later(b, 1)
    link.send(text_message("mallory@m.example", "bob@b.example", "here"))
    assert link.outcome().ok
    _later(b, 0.9 * IDLE_S)
    sent = b.send("bob@b.example", "mallory@m.example")
    link.answer(link.request())
    assert sent.outcome().ok
    _later(b, 1.8 * IDLE_S)
    assert b.proved("m.example") == 1
    _later(b, 2.9 * IDLE_S)
    assert link.expect(Withdraw).reason == Reason.IDLE.code
