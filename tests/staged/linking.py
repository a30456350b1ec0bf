"""Links of strangers that end: no message shows them, and no trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import Hello
from tests.doubles.raw_peer import RawPeer
from tests.doubles.router_rig import login_key


@dataclass(frozen=True, slots=True)
class LinkCase:
    """What somebody who connects does, and why his link ends.

    Attributes:
        name: short, unique.
        symptom: what somebody notices.
        play: what he does, once connected.
        reason: in his CLOSE, in the log, in the metric.
    """

    name: str
    symptom: str
    play: Callable[[RawPeer], object]
    reason: Reason


def _wrong_key(peer: RawPeer) -> None:
    peer.hello()
    assert peer.log_in(login_key(2)) == Reason.LOGIN_FAILED.code


CASES = [
    LinkCase("says nothing", "something connects and never says hello",
             lambda _peer: None, Reason.HELLO_TIMEOUT),
    LinkCase("speaks TLS", "somebody begins with TLS where links are taken in clear",
             lambda peer: peer.send(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(32)),
             Reason.TLS_FAILED),
    LinkCase("speaks another protocol", "a scanner or a browser comes to the port",
             lambda peer: peer.send(b"GET / HTTP/1.1\r\nHost: router.b.example\r\n\r\n" + bytes(40)),
             Reason.PROTOCOL_ERROR),
    LinkCase("speaks another version", "a router connects that speaks no version that we speak",
             lambda peer: peer.send(Hello((9,))), Reason.VERSION_MISMATCH),
    LinkCase("proves nothing", "somebody says hello and then claims no domain",
             lambda peer: peer.hello(), Reason.NOT_PROVED),
    LinkCase("wrong login", "a server of ours logs in with a key that is not configured",
             _wrong_key, Reason.LOGIN_FAILED),
]  # fmt: skip
