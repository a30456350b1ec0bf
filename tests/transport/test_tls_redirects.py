"""Redirects of links in TLS: never to less, and by certificate where DNS does not list the target (5.5)."""

from __future__ import annotations

from functools import partial

import pytest

from imxrouter.link.machine import Side
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.transport.session import LinkSession
from tests.doubles.raw_peer import Endpoint
from tests.doubles.router_rig import Lab, RouterRig, issued

STRICT = {"trust.default_policy": "dialback+certificate"}


def host(lab: Lab, *, by: str = "laboratory", **settings: object) -> RouterRig:
    """One more host of a.example, which DNS does not know yet."""
    rig = lab.router("a.example", publish=False, settings={**STRICT, **settings}, certificates=[])
    rig.use_tls([issued("a.example", by=by)])
    return rig


def publish(lab: Lab, *endpoints: Endpoint, tls: bool = False) -> None:
    """Let a.example lead to these hosts, and say that they speak TLS only."""
    text, more = "$ORIGIN a.example.\n", " key65280=\\002" if tls else ""
    for number, (ip, port) in enumerate(endpoints, 1):
        text += f"@ 60 IN IMX 1 im{number} port={port}{more}\nim{number} 60 IN A {ip}\n"
    lab.zones.load(text)


def redirect(rig: RouterRig, target: str) -> None:
    """Send the link that came in elsewhere."""

    def send() -> None:
        for session in list(rig.router.hub.sessions.values()):
            if session.side is Side.ACCEPTOR:
                rig.router.redirector.redirect(session, target, (b"a.example",), 1.0)

    rig.call(send)


def _end_accepted(rig: RouterRig) -> None:
    """The link on which it verified us carries as much, and then nothing need move."""
    for session in list(rig.router.hub.sessions.values()):
        if session.side is Side.ACCEPTOR:
            session.end(Reason.IDLE)


def opened(rig: RouterRig) -> list[LinkSession]:
    """Links that were opened at a peer's word."""
    return [one for one in rig.sessions() if one.redirected]


@pytest.mark.parametrize("by", ["laboratory", "stranger"])
def test_a_target_that_dns_does_not_list(lab: Lab, by: str) -> None:
    """It is enough that its certificate is good for the domain, where certificates are asked for."""
    first, second = host(lab), host(lab, by=by)
    publish(lab, first.endpoint)
    lab.zones.load(f"$ORIGIN hosts.example.\nim 60 IN A {second.ip}\n")
    b = lab.router("b.example", settings=STRICT, certificates=[["b.example"]])
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    b.call(partial(_end_accepted, b))
    redirect(first, f"im.hosts.example:{second.endpoint[1]}")
    if by == "stranger":
        lab.wait_until(lambda: b.router.redirector.refused, "it is ignored")
        assert opened(b) == []
        assert second.counter(slots.BYTES_IN) == 0
        return
    sessions = b.router.hub.sessions

    def moved() -> bool:
        return {one.redirected for one in sessions.values() if one.side is Side.OPENER} == {True}

    lab.wait_until(moved, "it moves")
    first.stop()
    assert b.send("bob@b.example", "alice@a.example", "two").outcome().ok
    assert second.inbox("alice@a.example") == [("bob@b.example", "two")]


def test_a_target_that_is_worth_less_than_the_old_link(lab: Lab) -> None:
    """DNS lists it, and it shows a certificate that is no good: nothing is said there, the old link stays."""
    first = host(lab)
    second = host(lab, by="stranger")
    publish(lab, first.endpoint)
    b = lab.router(
        "b.example", settings={"trust.default_policy": "dialback+tls"}, certificates=[["b.example"]]
    )
    assert b.send("bob@b.example", "alice@a.example").outcome().ok
    b.call(partial(_end_accepted, b))
    publish(lab, first.endpoint, second.endpoint)
    redirect(first, f"im2.a.example:{second.endpoint[1]}")
    lab.wait_until(lambda: b.router.redirector.refused, "it is ignored")
    assert opened(b) == []
    assert second.counter(slots.BYTES_IN) == 0
