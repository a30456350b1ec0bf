"""XML on XMPP streams that would cost the reader more than the writer: what is held of it is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from imxrouter.gateways.xmpp import stream, xml
from imxrouter.gateways.xmpp.heard import AFTER, BEFORE
from imxrouter.gateways.xmpp.names import Condition
from tests.attacks.held import LEFT_IN_ALL, measured, stays_flat
from tests.attacks.seams import guarded
from tests.attacks.stream_routers import refused, wait_for_the_end, xmpp_router
from tests.doubles.raw_peer import Endpoint
from tests.doubles.router_rig import Lab, RouterRig, fresh_address
from tests.doubles.xmpp import XmppPeer

B, M = "b.example", "m.example"
OPENING = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'"
_MUCH = 1 << 30
_MANY = replace(
    BEFORE, tag_bytes=_MUCH, attributes=_MUCH, new_names=_MUCH, stanza_bytes=_MUCH, elements=_MUCH
)


class Attacker:
    """Says the same on one stream after the other, each time refused.

    Args:
        rig: who is attacked.
        where: its listener.
        condition: of the stream error.
        said: what is said, made before anything is measured.
        greets: whether a stream is opened before it.
        before: how often others were refused so.
        at: the address that it comes from; one of its own each time where that is empty.
    """

    def __init__(
        self, rig: RouterRig, where: Endpoint, condition: Condition, said: bytes, *,
        greets: bool = True, before: int = 0, at: str = "",
    ) -> None:  # fmt: skip
        self._rig, self._where, self._condition, self._said = rig, where, condition, said
        self._greets, self._at = greets, at
        self._times = before

    def says(self) -> XmppPeer:
        """Open a connection and say it."""
        peer = XmppPeer.connect(self._where, self._at or fresh_address())
        if self._greets:
            peer.open(M, B)
        peer.send_or_gone(self._said)
        return peer

    def is_refused(self) -> None:
        """Say it; the stream ends with the stream error, which is counted."""
        peer = self.says()
        self._times += 1
        refused(peer, self._rig, self._condition, self._times)
        peer.close()


def _is_kept(lab: Lab, rig: RouterRig, attacker: Attacker, least: int) -> None:
    """So many bytes are held while it lasts."""
    with measured() as held:
        peer = attacker.says()
        lab.wait_until(lambda: _most_read(rig) > least, "all is read")
        assert rig.call(held.now) > least
        peer.close()


def _most_read(rig: RouterRig) -> int:
    return max((one.bytes_in for one in rig.router.hub.sessions.values()), default=0)


@guarded
def test_entities(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory declares entities, each ten times the one before, on one stream after the other.

    Check: a document type ends the stream, and so does anything but a tag outside of stanzas. Either alone is
    enough.
    """
    b, where = xmpp_router(lab, B)
    declared = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10 if n else 'lol'}'>" for n in range(9))
    many = "".join(f"<!ENTITY f{n} '{n:01000d}'>" for n in range(200))
    header = f"{OPENING} from='{M}' to='{B}' version='1.0'>"
    document = f"<?xml version='1.0'?><!DOCTYPE x [{declared}{many}]>{header}".encode()
    attacker = Attacker(b, where, Condition.RESTRICTED_XML, document, greets=False)
    if guarded:
        stays_flat(lab, b, attacker.is_refused, 20)
        return
    monkeypatch.setattr(xml, "refuser", lambda _words: lambda *_: None)
    monkeypatch.setattr(xml.StreamParser, "_at_border", lambda *_: None)
    monkeypatch.setattr(stream, "BEFORE", _MANY)
    _is_kept(lab, b, attacker, 200 * 1_000)


@guarded
def test_entities_from_one_address(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory says them on one stream after the other from one address, so that nothing new is remembered.

    Check: the parser, and all that was read, goes with its stream.
    """
    b, where = xmpp_router(lab, B)
    document = b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e '%01000d'>]>" % 0
    attacker = Attacker(b, where, Condition.RESTRICTED_XML, document, greets=False, at=fresh_address())
    if guarded:
        stays_flat(lab, b, attacker.is_refused, 200, LEFT_IN_ALL)
        return
    kept: list[object] = []
    begin = xml.StreamParser.__init__

    def keep(one: xml.StreamParser, *given: Any, **named: Any) -> None:
        begin(one, *given, **named)
        kept.append(one)

    monkeypatch.setattr(xml.StreamParser, "__init__", keep)
    with measured() as held:
        for _ in range(50):
            attacker.is_refused()
        wait_for_the_end(lab, b)
        assert held.now() > LEFT_IN_ALL * 4


@guarded
def test_stanza_without_end(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory, of whom nothing is proved, begins a stanza and never ends it, on one stream after the other.

    Check: so many bytes of one stanza are kept before a proof.
    """
    b, where = xmpp_router(lab, B)
    size = 8_000_000 if guarded else 200_000
    said = b"<message from='x@%s' to='bob@%s'><body>" % (M.encode(), B.encode()) + b"x" * size
    attacker = Attacker(b, where, Condition.POLICY_VIOLATION, said)
    if guarded:
        stays_flat(lab, b, attacker.is_refused, 20)
        return
    monkeypatch.setattr(stream, "BEFORE", AFTER)
    _is_kept(lab, b, attacker, size)


@guarded
def test_a_million_attributes(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory, of whom nothing is proved, writes one tag with a million attributes, and again.

    Check: the bytes of one tag, and the attributes of one element.
    """
    b, where = xmpp_router(lab, B)
    tag = b"<message" + b"".join(b" a%d=''" % number for number in range(1_000_000 if guarded else 20_000))
    attacker = Attacker(b, where, Condition.POLICY_VIOLATION, tag)
    if guarded:
        stays_flat(lab, b, attacker.is_refused, 20)
        return
    monkeypatch.setattr(stream, "BEFORE", _MANY)
    _is_kept(lab, b, attacker, len(tag))


@guarded
def test_a_million_names(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory uses a million names that were never used before, on one stream after the other.

    Check: the bytes, elements and new names of one stanza before a proof; what a parser keeps goes with it.
    """
    b, where = xmpp_router(lab, B)
    attackers = iter(
        [
            Attacker(b, where, Condition.POLICY_VIOLATION, b"<message>" + _names(number), before=number)
            for number in range(20 if guarded else 1)
        ]
    )
    if guarded:
        stays_flat(lab, b, lambda: next(attackers).is_refused(), 19)
        return
    monkeypatch.setattr(stream, "BEFORE", _MANY)
    _is_kept(lab, b, next(attackers), 500_000)


def _names(number: int) -> bytes:
    return b"".join(b"<n%dx%d/>" % (number, one) for one in range(1_000_000 // 20))
