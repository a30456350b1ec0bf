"""Two routers that speak XMPP to each other: each policy proves both, and what changes ends proofs."""

from __future__ import annotations

import time

import pytest

from imxrouter.app.traffic.rules import strength_words
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.link.machine import Side
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing.choice import Protocol
from tests.doubles.ctl import ctl_json
from tests.doubles.reload_rig import Reloadable
from tests.doubles.router_rig import Lab, RouterRig, free_port, fresh_address

A, B = "a.example", "b.example"
POLICIES = ["dialback", "dialback+tls", "certificate", "dialback+certificate"]


def stream_router(lab: Lab, domain: str, policy: str, *, tls: bool = True) -> RouterRig:
    """A router that is found by its domain's XMPP record, and by nothing else."""
    ip = fresh_address()
    port = free_port(ip)
    made = lab.router(
        domain,
        publish=False,
        endpoint=(ip, free_port(ip)),
        certificates=[[domain]] if tls else None,
        settings={
            "xmpp.listen": [f"{ip}:{port}"], "xmpp.tls": "offered", "trust.xmpp_default": policy,
            "dial.allow_ports_below_1024": [],
        },
    )  # fmt: skip
    lab.zones.load(f"$ORIGIN {domain}.\n_xmpp-server._tcp 60 IN SRV 0 0 {port} xmpp\nxmpp 60 IN A {ip}\n")
    return made


def streams(rig: RouterRig, side: Side) -> list[XmppSession]:
    """The streams that a router opened, or accepted."""
    sessions = rig.call(lambda: list(rig.router.hub.sessions.values()))
    return [one for one in sessions if isinstance(one, XmppSession) and one.side is side]


def exchanged(a: RouterRig, b: RouterRig) -> list[Outcome]:
    """Messages both ways, and what became of them."""
    return [
        a.send(f"alice@{A}", f"bob@{B}", "hello").outcome(),
        b.send(f"bob@{B}", f"alice@{A}", "hello yourself").outcome(),
    ]


@pytest.mark.parametrize("policy", POLICIES)
def test_both_prove_themselves(lab: Lab, policy: str) -> None:
    """As the policy asks, on A's stream; the strength is remembered as that of XMPP, and of nothing else."""
    a, b = stream_router(lab, A, policy), stream_router(lab, B, policy)
    assert [one.status for one in exchanged(a, b)] == [Status.SUCCESS, Status.SUCCESS]
    assert b.inbox(f"bob@{B}") == [(f"alice@{A}", "hello")]
    assert a.inbox(f"alice@{A}") == [(f"bob@{B}", "hello yourself")]
    for rig, other, side in ((a, B, Side.OPENER), (b, A, Side.ACCEPTOR)):
        (one,) = [one for one in streams(rig, side) if one.port.sources]
        assert set(one.port.sources) == {other.encode()}
        assert one.machine.external is (policy == "certificate")
        assert one.tls is not None
        memory, now = rig.router.gatekeeper.remembered, rig.call(rig.router.hub.now)
        reached = side is Side.OPENER
        seen = memory.seen(Domain(other), now, reached=reached, protocol=Protocol.XMPP)
        words = "certificate" if policy == "certificate" else "dialback+certificate"
        assert strength_words(seen) == words
        shown = ctl_json(rig, "peers", "show", other)
        assert (shown["required"], shown["remembered"]) == (policy, words)
        assert shown["required_by"] == f'[trust] xmpp_default = "{policy}"'
        assert memory.seen(Domain(other), now) == 0


def test_in_clear_where_both_take_it(lab: Lab) -> None:
    """Without any TLS, by dial-back alone."""
    a, b = (stream_router(lab, name, "dialback", tls=False) for name in (A, B))
    assert [one.status for one in exchanged(a, b)] == [Status.SUCCESS, Status.SUCCESS]
    assert all(one.tls is None for one in streams(a, Side.ACCEPTOR))


def test_in_clear_where_one_asks_for_more(lab: Lab) -> None:
    """Each end says why: the one that it was asked for less than policy, the other what it was told."""
    a, b = stream_router(lab, A, "dialback", tls=False), stream_router(lab, B, "dialback+tls")
    sent = a.send(f"alice@{A}", f"bob@{B}").outcome()
    assert sent.status is Status.FAILURE
    assert sent.reason is Reason.WEAKER_THAN_POLICY
    assert b.refusals(Reason.WEAKER_THAN_POLICY) >= 1
    assert b.inbox(f"bob@{B}") == []


def test_a_stronger_policy_keeps_what_has_all_that_it_asks(lab: Lab) -> None:
    """Dial-back in TLS with a certificate has what a certificate alone proves: the stream goes on."""
    a, b = stream_router(lab, A, "dialback+tls"), stream_router(lab, B, "dialback+tls")
    exchanged(a, b)
    before = [one for one in streams(b, Side.ACCEPTOR) if one.port.sources]
    Reloadable(b).edit(('trust.xmpp_default = "dialback+tls"', 'trust.xmpp_default = "certificate"')).reload()
    assert [one.status for one in exchanged(a, b)] == [Status.SUCCESS, Status.SUCCESS]
    assert [one for one in streams(b, Side.ACCEPTOR) if one.port.sources] == before


def test_a_proof_that_is_too_weak_after_a_reload(lab: Lab) -> None:
    """Proved in TLS without a certificate of its own: a policy that wants one ends it at once."""
    a, b = stream_router(lab, A, "dialback+tls"), stream_router(lab, B, "dialback+tls")
    a.use_tls([lab.issue("other.example")])
    assert a.send(f"alice@{A}", f"bob@{B}").outcome().status is Status.SUCCESS
    (before,) = [one for one in streams(b, Side.ACCEPTOR) if one.port.sources]
    Reloadable(b).edit(('trust.xmpp_default = "dialback+tls"', 'trust.xmpp_default = "certificate"')).reload()
    lab.wait_until(lambda: before.gone, "the stream ends")
    assert before.drop_reason is Reason.WEAKER_THAN_POLICY
    assert not b.proved(A)


def test_a_domain_that_is_served_no_more(lab: Lab) -> None:
    """Its streams end in order, those that it opened and those that came for it."""
    a, b = stream_router(lab, A, "certificate"), stream_router(lab, B, "certificate")
    exchanged(a, b)
    streams_of_a = [*streams(a, Side.OPENER), *streams(a, Side.ACCEPTOR)]
    assert streams_of_a
    a.call(lambda: a.router.domains.remove(Domain(A)))
    lab.wait_until(lambda: all(one.port.closed for one in streams_of_a), "the streams end")
    assert {one.drop_reason for one in streams_of_a} <= {Reason.IDLE, Reason.NONE, Reason.LINK_LOST}


@pytest.mark.parametrize("policy", ["certificate", "dialback+certificate"])
def test_the_certificate_of_the_stream_ends(lab: Lab, policy: str) -> None:
    """What rests on it ends with it, dial-back too, for that is not bound to the stream without it."""
    a, b = stream_router(lab, A, policy), stream_router(lab, B, policy)
    exchanged(a, b)
    (before,) = [one for one in streams(b, Side.ACCEPTOR) if one.port.sources]
    ahead = time.time() + 100 * 86_400.0
    b.call(lambda: setattr(b.router.link_tls, "wall", lambda: ahead))
    lab.wait_until(lambda: before.gone, "the stream ends")
    assert before.drop_reason is Reason.CERTIFICATE_REFUSED
    assert not b.proved(A)
