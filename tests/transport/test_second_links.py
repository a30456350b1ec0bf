"""A second connection of a dial-back that became a link for data: until when its proof holds (6.4)."""

from __future__ import annotations

from imxrouter.link.machine import Side
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.ports import FOREVER, Proof
from tests.doubles.router_rig import Lab, RouterRig

AGE_S = 86_400.0


def _pair(lab: Lab) -> tuple[RouterRig, RouterRig]:
    """Two routers, the first of which has reached the second."""
    a, b = lab.router("a.example"), lab.router("b.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    return a, b


def _later(rig: RouterRig, seconds: float, *parts: object) -> None:
    """Look at claims and proofs as if so much time had passed; `parts` names who looks, if not both."""

    def look() -> None:
        hub, now = rig.router.hub, rig.router.hub.now() + seconds
        for part in (rig.router.claimer, rig.router.verifier):
            if parts and part not in parts:
                continue
            for timer in [one for one in hub.timers.also if one.__self__ is part]:  # type: ignore[attr-defined]
                for session in list(hub.sessions.values()):
                    timer(session, now)
            part.tick(now)

    rig.call(look)


def _of_b(a: RouterRig) -> list[Proof]:
    """What is proved of b.example on links that it opened."""
    links = a.router.hub.sessions.values()
    accepted = [one.port.sources for one in links if one.side is Side.ACCEPTOR]
    return [sources[b"b.example"] for sources in accepted if b"b.example" in sources]


def test_it_is_renewed_with_the_first_one(lab: Lab) -> None:
    """The claim on the first link is made anew, and its verification comes over the second one."""
    a, _ = _pair(lab)
    (before,) = a.call(lambda: _of_b(a))
    assert before[1] is not None
    assert before[2] < FOREVER
    _later(a, 0.8 * AGE_S)
    lab.wait_until(lambda: [one[2] for one in _of_b(a)] > [before[2]], "it is renewed")


def test_who_uses_it_claims_there_before_it_ends(lab: Lab) -> None:
    """Where the first link is gone nobody renews it, and no sender shall see an error."""
    a, b = _pair(lab)

    def end() -> None:
        for one in list(a.router.hub.sessions.values()):
            if one.side is Side.OPENER:
                one.end(Reason.IDLE)

    a.call(end)
    _later(b, 0.8 * AGE_S)
    (proof,) = a.call(lambda: _of_b(a))
    assert proof[1] is not None
    _later(b, 0.9 * AGE_S)
    lab.wait_until(lambda: [one[1] for one in _of_b(a)] == [None], "a claim of its own")
    assert b.send("bob@b.example", "alice@a.example").outcome().ok


def test_one_that_nobody_renews_ends(lab: Lab) -> None:
    """And the link stays; what is to go over it claims first."""
    a, b = _pair(lab)
    assert len(a.call(lambda: _of_b(a))) == 1
    before = {one.number for one in a.sessions()}
    _later(a, 0.1 * AGE_S)
    assert len(a.call(lambda: _of_b(a))) == 1
    _later(a, 1.1 * AGE_S, a.router.verifier)
    assert a.call(lambda: _of_b(a)) == []
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    assert {one.number for one in a.sessions()} == before
