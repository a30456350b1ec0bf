"""Logins of our own services (specification 6.6)."""

from typing import Any

import pytest

from imxrouter.model.vocabulary import Reason
from imxrouter.transport.services import ServiceKey, key_id, login_text, sign_login
from imxrouter.wire.control import Claim, ClaimResult, Login, LoginResult, Verify, VerifyResult
from tests.attacks.seams import guarded
from tests.doubles.raw_peer import SOME_TOKEN, RawPeer
from tests.doubles.router_rig import Lab, RouterRig, free_port, fresh_address, login_key, service_table

KEY, OTHER_KEY = login_key(1), login_key(2)


class _AnySignature:
    """A public key that finds every signature good."""

    def verify(self, signature: bytes, data: bytes) -> None:
        """Find it good."""


def _router(lab: Lab, *, laboratory: bool = True) -> RouterRig:
    tables = service_table("shop", KEY, "shop.example")
    return lab.router("b.example", tables=tables, settings={"lab": laboratory})


def _mail_of_the_shop(b: RouterRig, link: RawPeer) -> bytes:
    """What arrives on a link when Bob writes to the shop."""
    b.send("bob@b.example", "info@shop.example", "my card number")
    link.drain()
    return bytes(link.raw)


@guarded
def test_login_with_another_key(lab: Lab, guarded: bool) -> None:
    """Mallory logs in as the shop, signed by his own key. Check: the signature of the configured key."""
    b, m = _router(lab), lab.organisation("m.example")
    if not guarded:
        any_key: Any = _AnySignature()
        b.router.services._keys[key_id(KEY.public_key())] = ServiceKey("shop", any_key)
    link = m.connect(b)
    assert link.theirs is not None
    assert link.theirs.challenge is not None
    ident = key_id(KEY.public_key())
    link.send(Login(ident, OTHER_KEY.sign(login_text(link.theirs.challenge, ident))))
    assert (link.expect(LoginResult).reason == 0) == (not guarded)
    if guarded:
        closed = link.until_closed()
        assert closed is not None
        assert closed.reason == Reason.LOGIN_FAILED.code
    assert (b"my card number" in _mail_of_the_shop(b, link)) == (not guarded)


@guarded
def test_replayed_login(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory has seen the shop's login and repeats it. Check: each link has a fresh challenge."""
    b, m = _router(lab), lab.organisation("m.example")
    if not guarded:
        monkeypatch.setattr(b.router.hub, "random_bytes", bytes)
    honest = lab.organisation("any.example").connect(b)
    assert honest.theirs is not None
    assert honest.theirs.challenge is not None
    seen = sign_login(KEY, honest.theirs.challenge)
    honest.send(seen)
    assert honest.expect(LoginResult).reason == 0
    honest.close()
    lab.wait_until(lambda: not b.router.hub.sessions, "the shop is gone")
    link = m.connect(b)
    link.send(seen)
    assert (link.expect(LoginResult).reason == 0) == (not guarded)
    assert (b"my card number" in _mail_of_the_shop(b, link)) == (not guarded)


@guarded
def test_login_in_clear_outside_of_a_laboratory(lab: Lab, guarded: bool) -> None:
    """The right key, where everybody on the way can read. Check: clear logins are for laboratories."""
    b, m = _router(lab, laboratory=not guarded), lab.organisation("any.example")
    assert (m.connect(b).log_in(KEY) == 0) == (not guarded)


def test_unknown_key(lab: Lab) -> None:
    """A key that nobody configured ends the link."""
    b = _router(lab)
    link = lab.organisation("m.example").connect(b)
    assert link.log_in(OTHER_KEY) == Reason.LOGIN_FAILED.code
    assert link.until_closed() is not None


def test_services_may_have_a_listener_of_their_own(lab: Lab) -> None:
    """There nothing but a login is taken; everywhere else none of a service is."""
    ip = fresh_address()
    door = (ip, free_port(ip))
    tables = service_table("shop", KEY, "shop.example")
    settings = {"lab": True, "listen.service.addresses": [f"{ip}:{door[1]}"]}
    b = lab.router("b.example", tables=tables, settings=settings)
    m = lab.organisation("m.example")
    public = m.connect(b)
    assert public.log_in(KEY) == Reason.LOGIN_FAILED.code  # the challenge is there for other hosts of ours
    closed = public.until_closed()
    assert closed is not None
    assert (closed.reason, closed.text) == (
        Reason.LOGIN_FAILED.code, "services log in at another port of this router",
    )  # fmt: skip

    stranger = RawPeer.connect(door, m.ip)
    stranger.hello()
    stranger.send(Claim(1, b"m.example", b"b.example", SOME_TOKEN))
    assert stranger.expect(ClaimResult).reason == Reason.RELAY_DENIED.code
    stranger.send(Verify(7, b"b.example", b"m.example", SOME_TOKEN, bytes(32), 0))
    assert stranger.expect(VerifyResult).reason == Reason.NOT_MINE.code
    assert m.listener.take_waiting() == []
    stranger.close()

    shop = RawPeer.connect(door)
    shop.hello()
    assert shop.log_in(KEY) == 0
    assert b"my card number" in _mail_of_the_shop(b, shop)
    first = m.connect(b)
    assert m.prove(first, "b.example").reason == 0


def test_strangers_do_not_take_the_places_of_services(lab: Lab) -> None:
    """Each listener counts its own; a service that logged in counts for neither."""
    door = (ip := fresh_address(), free_port(ip))
    settings = {
        "lab": True, "listen.service.addresses": [f"{ip}:{door[1]}"], "caps.unauthenticated_total": 2,
    }  # fmt: skip
    b = lab.router("b.example", tables=service_table("shop", KEY, "shop.example"), settings=settings)
    m = lab.organisation("m.example")
    strangers = [m.connect(b) for _ in range(2)]
    refused = m.connect(b, hello=False).until_closed()
    assert refused is not None
    assert refused.reason == Reason.OVER_CAP.code
    shops = []
    for _ in range(4):
        shop = RawPeer.connect(door)
        shop.hello()
        assert shop.log_in(KEY) == 0
        shops.append(shop)
    assert len(b.sessions()) == len(strangers) + len(shops)


def test_a_link_has_one_role(lab: Lab) -> None:
    """A login on a link that proved a domain, or where a claim is pending, is refused; so is a second one."""
    b, m = _router(lab), lab.organisation("m.example")
    assert m.proved_link(b).log_in(KEY) == Reason.LOGIN_FAILED.code
    pending = m.connect(b)
    pending.send(Claim(1, b"m.example", b"b.example", SOME_TOKEN))
    assert m.second is not None
    assert m.second.next() is not None
    assert pending.log_in(KEY) == Reason.LOGIN_FAILED.code
    twice = m.connect(b)
    assert twice.log_in(KEY) == 0
    assert twice.log_in(KEY) == Reason.LOGIN_FAILED.code
