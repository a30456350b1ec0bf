"""Redirects that would hijack (specification 5.5, 11.9)."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.link import Link, Purpose
from imxrouter.transport.redirecting import Redirector
from imxrouter.transport.session import LinkSession
from imxrouter.transport.verifier import Verifier
from imxrouter.wire.control import Claim, Redirect, Verify
from tests.attacks.seams import guarded
from tests.doubles.raw_peer import SOME_TOKEN, RawPeer
from tests.doubles.router_rig import Lab, RawOrganisation, RouterRig


def _deliver(b: RouterRig, a: RawOrganisation, text: str) -> RawPeer:
    """Bob's first message to Alice arrives; the link that it came over."""
    sent = b.send("bob@b.example", f"alice@{a.domain}", text)
    link = a.accept()
    a.take_claim(link, b)
    link.answer(link.request())
    assert sent.outcome().ok
    return link


@pytest.mark.parametrize(
    ("listed", "dialled"), [(True, True), (False, True), (True, False), (False, False)],
    ids=["guarded", "dialled by DNS alone", "listed in DNS alone", "check removed"],
)  # fmt: skip
def test_redirect_to_the_attacker(
    lab: Lab, listed: bool, dialled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who answers at Alice's address for once sends us to Mallory for good.

    Check: the domain's own current DNS lists the target. It is asked for by the judge, and again when the
    target is dialled; either alone is enough.
    """
    b, a, m = lab.router("b.example"), lab.organisation("a.example"), lab.organisation("m.example")
    if not listed:
        monkeypatch.setattr(b.router.redirector, "_lists", lambda *_: succeed(True))
    if not dialled:

        def anywhere(domain: Domain, host: str, port: int, *_: object) -> Deferred[LinkSession]:
            del domain, host
            session = LinkSession(b.router.hub, Purpose.DATA, redirected=True)
            return b.router.dialer.open(session, (m.ip, port)).addCallback(lambda _: session)

        monkeypatch.setattr(b.router.redirector, "_reconnect", anywhere)
    link = _deliver(b, a, "one")
    link.send(Redirect(f"im1.m.example:{m.endpoint[1]}", (b"a.example",), Reason.REDIRECTED.code))
    if not listed and not dialled:
        hijacked = m.accept()
        m.take_claim(hijacked, b)
        lab.wait_until(lambda: b.router.redirector.obeyed, "the old link is left")
        b.send("bob@b.example", "alice@a.example", "two")
        assert b"two" in hijacked.request().body
        return
    lab.wait_until(lambda: b.router.redirector.refused, "the redirect is judged")
    b.send("bob@b.example", "alice@a.example", "two")
    assert b"two" in link.request().body
    assert m.listener.take_waiting() == []


def _redirected(lab: Lab, b: RouterRig, a: RawOrganisation, other: RawOrganisation) -> RawPeer:
    """Alice's first host sends us to her second one, as it may; the link to that."""
    link = _deliver(b, a, "one")
    lab.publish("a.example", a.endpoint, other.endpoint)
    link.send(Redirect(f"im2.a.example:{other.endpoint[1]}", (b"a.example",), Reason.REDIRECTED.code))
    moved = other.accept()
    other.take_claim(moved, b)
    lab.wait_until(lambda: b.router.redirector.obeyed, "the old link is left")
    b.send("bob@b.example", "alice@a.example", "two")
    assert b"two" in moved.request().body
    return moved


@guarded
def test_redirect_twice_in_a_row(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hosts send us back and forth. Check: a link made by a redirect obeys none."""
    if not guarded:
        obey = Redirector.obey

        def always(redirector: Redirector, session: LinkSession, record: Redirect) -> None:
            session.redirected = False
            obey(redirector, session, record)

        monkeypatch.setattr(Redirector, "obey", always)
    b, a, other = lab.router("b.example"), lab.organisation("a.example"), lab.organisation("o.example")
    moved = _redirected(lab, b, a, other)
    moved.send(Redirect(f"im1.a.example:{a.endpoint[1]}", (b"a.example",), Reason.REDIRECTED.code))
    if guarded:
        lab.wait_until(lambda: b.router.redirector.refused == 1, "the redirect is judged")
        assert a.listener.take_waiting() == []
    else:
        a.accept()


@guarded
def test_verification_over_a_redirected_link(
    lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We were sent to a host by a redirect. Check: a link made by a redirect serves no verification."""
    if not guarded:
        reusable = Verifier._reusable

        def any_link(verifier: Verifier, endpoint: Any, fits: Any) -> Link | None:
            for session in verifier._hub.sessions.values():
                session.redirected = False
            return reusable(verifier, endpoint, fits)

        monkeypatch.setattr(Verifier, "_reusable", any_link)
    b, a, other = lab.router("b.example"), lab.organisation("a.example"), lab.organisation("o.example")
    moved = _redirected(lab, b, a, other)
    lab.publish("a.example", other.endpoint)
    b.forget_dns()
    a.connect(b).send(Claim(1, b"a.example", b"b.example", SOME_TOKEN))
    if guarded:
        other.accept().expect(Verify)
        assert moved.drain() == []
    else:
        moved.find(Verify)


@guarded
def test_redirects_again_and_again(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory's DNS lists a victim, and he sends us there a hundred times at once.

    Check: a domain's redirects on a link are judged once in ten seconds.
    """
    if not guarded:
        monkeypatch.setattr(Redirector, "_is_due", lambda *_: True)
    b, m, victim = lab.router("b.example"), lab.organisation("m.example"), lab.organisation("v.example")
    link = _deliver(b, m, "one")
    lab.publish("m.example", m.endpoint, victim.endpoint)
    there = Redirect(f"im2.m.example:{victim.endpoint[1]}", (b"m.example",), Reason.REDIRECTED.code)
    link.send(*[there] * 100)
    victim.listener.accept().close()
    if guarded:
        lab.wait_until(lambda: b.router.redirector.refused == 99, "the others are ignored")
        assert victim.listener.take_waiting() == []
    else:
        for _ in range(99):
            victim.listener.accept().close()


def test_redirect_for_a_domain_not_reached_over_the_link(lab: Lab) -> None:
    """Alice's host speaks about another domain, whose DNS even lists the target: ignored."""
    b, a, other = lab.router("b.example"), lab.organisation("a.example"), lab.organisation("o.example")
    link = _deliver(b, a, "one")
    link.send(Redirect(f"im1.o.example:{other.endpoint[1]}", (b"o.example",), Reason.REDIRECTED.code))
    lab.wait_until(lambda: b.router.redirector.refused == 1, "the redirect is judged")
    assert other.listener.take_waiting() == []
