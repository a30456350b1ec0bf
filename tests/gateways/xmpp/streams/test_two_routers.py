"""Two routers speak XMPP over loopback: every way to prove a domain, both ways, and what comes back."""

from __future__ import annotations

import socket

import pytest

from imxrouter.app.operators.linkview import link_view
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.link.machine import Side
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.policy import Level
from imxrouter.tls.contexts import XMPP_ALPN
from tests.doubles.router_rig import Lab
from tests.gateways.xmpp.streams.lab import StreamRouter

A, B = "a.example", "b.example"
CLEAR = {"trust.xmpp_default": "dialback", "xmpp.tls": "offered"}
DIALBACK_TLS = {"trust.xmpp_default": "dialback+tls"}
BOTH = {"trust.xmpp_default": "dialback+certificate"}
CERTIFICATE = {"trust.xmpp_default": "certificate"}


def message(from_: str, to: str, ident: str = "1") -> bytes:
    """From alice to bob."""
    parties = f"from='alice@{from_}/x' to='bob@{to}' id='{ident}'"
    return f"<message {parties}><body>hi &amp; ho</body></message>".encode()


def routers(
    lab: Lab, settings: dict[str, str], *, tls: bool, direct: bool = False
) -> tuple[StreamRouter, StreamRouter]:
    """Two, each with a certificate or without."""
    made = [
        StreamRouter(lab, name, certificates=[name] if tls else None, settings=dict(settings), direct=direct)
        for name in (A, B)
    ]
    for one in made:
        one.service.outcome = SUCCESS
    return made[0], made[1]


@pytest.mark.parametrize(
    ("settings", "tls", "level"),
    [
        (CLEAR, False, Level.DIALBACK),
        (DIALBACK_TLS, True, Level.DIALBACK_TLS),
        (BOTH, True, Level.DIALBACK_CERTIFICATE),
        (CERTIFICATE, True, Level.CERTIFICATE),
    ],
    ids=["dial-back in clear", "dial-back in TLS", "dial-back and certificate", "EXTERNAL"],
)
def test_stanzas_pass_both_ways(lab: Lab, settings: dict[str, str], tls: bool, level: Level) -> None:
    """The very bytes, confirmed; and each side has proved its domain to the other as the policy asks."""
    a, b = routers(lab, settings, tls=tls)
    there, back = a.send(B, message(A, B)), b.send(A, message(B, A))
    assert b.stanzas(1)[0] == message(A, B)
    assert a.stanzas(1)[0] == message(B, A)
    assert a.outcome(there) == SUCCESS
    assert b.outcome(back) == SUCCESS
    for one in (a, b):
        streams = one.streams()
        assert {stream.tls is not None for stream in streams} == {tls}
        assert b'imxrouter_xmpp_streams{role="in"} ' in one.rig.call(one.rig.router.metrics.exposition)
        assert one.rig.conservation() == []
    accepted = [one.port.sources for one in a.streams() if one.role is StreamRole.S2S_IN]
    proved = {sources[B.encode()][0] for sources in accepted if B.encode() in sources}
    assert proved
    assert all(one & level == level for one in proved)


@pytest.mark.parametrize("direct", [False, True], ids=["STARTTLS", "TLS first"])
def test_an_error_comes_back(lab: Lab, direct: bool) -> None:
    """What B's service refuses is told to A's by an error stanza on B's own stream."""
    a, b = routers(lab, CERTIFICATE, tls=True, direct=direct)
    b.service.outcome = failure(Reason.TOO_LARGE, role="service")
    number = a.send(B, message(A, B, "m7"))
    assert a.outcome(number) == SUCCESS  # it arrived; what became of it is told later
    (error,) = a.stanzas(1)
    for part in (b"<message", b"m7", b'type="error"', b"policy-violation"):
        assert part in error
    assert {one.tls.alpn for one in a.streams() if one.side is Side.OPENER} == {XMPP_ALPN if direct else b""}


def test_a_domain_that_does_not_meet_the_policy_is_not_spoken_to(lab: Lab) -> None:
    """Whose certificate does not name it gets nothing, by nobody's fall-back to anything weaker."""
    a = StreamRouter(lab, A, certificates=[A], settings=dict(CERTIFICATE))
    b = StreamRouter(lab, B, certificates=["other.example"], settings=dict(CERTIFICATE))
    b.service.outcome = SUCCESS
    outcome = a.outcome(a.send(B, message(A, B)))
    assert outcome.reason.word == Reason.CERTIFICATE_REFUSED.disclosed
    known = a.rig.call(lambda: a.rig.router.federation.destinations.find(Domain(B), Protocol.XMPP))
    assert known is not None
    assert known.last_error is not None
    assert known.last_error.reason is Reason.CERTIFICATE_REFUSED
    assert b.service.requests == []
    assert not any(one.port.sources for one in b.streams())


@pytest.mark.parametrize(
    ("key", "condition"),
    [
        ("caps.unauthenticated_per_address", b"conflict"), ("caps.unauthenticated_per_prefix", b"conflict"),
        ("caps.in_total", b"resource-constraint"),
    ],
)  # fmt: skip
def test_streams_count_among_the_connections_of_strangers(lab: Lab, key: str, condition: bytes) -> None:
    """One total for all listeners; who is over it is told so in XMPP (RFC 6120 sections 4.6.3, 4.9.3.3)."""
    b = StreamRouter(lab, B, settings={**CLEAR, key: 2})
    strangers = [socket.create_connection((b.rig.ip, b.stream_port), timeout=15) for _ in range(3)]
    said = b""
    while data := strangers[2].recv(4096):
        said += data
    assert b"<%s xmlns=" % condition in said
    assert said.endswith(b"</stream:stream>")
    for one in strangers:
        one.close()


def test_operators_see_what_is_spoken(lab: Lab) -> None:
    """In the list of links, and in the steps of a laboratory."""
    a, b = routers(lab, CERTIFICATE, tls=True)
    a.outcome(a.send(B, message(A, B)))
    views = b.rig.call(
        lambda: [link_view(one, 0.0, b.rig.router.switch.ways) for one in b.rig.router.hub.sessions.values()]
    )
    assert {view["protocol"] for view in views} == {"xmpp"}
    assert any(view["certificate"] == [A] for view in views)
