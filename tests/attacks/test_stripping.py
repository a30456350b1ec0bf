"""Down-grades: TLS, its parameter in DNS, or a whole record is taken away (specification 11.14; rule 4).

What a router refuses here it would have to say in clear to whoever stands between. `docs/specs/attacks.md`
lists every attack with its check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from imxrouter.discovery.answers import TYPE_IMX, Answer, Status
from imxrouter.discovery.plan import Plan
from imxrouter.link import claims
from imxrouter.link.claims import ClaimsMade
from imxrouter.link.token import TokenFacts
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing import policy
from imxrouter.routing.policy import Policy, RememberedStrength
from imxrouter.wire.control import Hello, decode_control
from imxrouter.wire.record import decode_record
from imxrouter.wire.registry import RecordType
from tests.attacks.seams import guarded
from tests.attacks.test_tls import router, unbound
from tests.doubles.middle import Middle
from tests.doubles.raw_peer import Endpoint
from tests.doubles.router_rig import Lab, RouterRig, issued
from tests.transport.test_tls_links import cause, end_links

CARD = b"my card number"


def no_tls(direction: str, data: bytes) -> bytes:
    """Cut whoever begins with a TLS handshake."""
    if direction == "in" and data[:1] == b"\x16":
        raise ConnectionAbortedError
    return data


def publish(lab: Lab, endpoint: Endpoint, parameters: str = "") -> None:
    """Let b.example's IMX record lead there."""
    ip, port = endpoint
    lab.zones.load(f"$ORIGIN b.example.\n@ 60 IN IMX 1 im1 port={port} {parameters}\nim1 60 IN A {ip}\n")


def publish_srv(lab: Lab, endpoint: Endpoint) -> None:
    """Let b.example have no IMX record, but an SRV record that leads there."""
    ip, port = endpoint
    lab.zones.load(f"$ORIGIN b.example.\n_imx._tcp 60 IN SRV 1 0 {port} im1\nim1 60 IN A {ip}\n")


def write(a: RouterRig) -> Any:
    """Alice writes to Bob; the outcome."""
    a.forget_dns()
    return a.send("alice@a.example", "bob@b.example", CARD.decode()).outcome()


@guarded
@pytest.mark.parametrize("rule", ["dialback+tls", "dialback+certificate"])
def test_stripped_tls(lab: Lab, guarded: bool, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every TLS handshake on the way is cut. Check: who needs TLS does not go on without."""
    if not guarded:
        monkeypatch.setattr(policy, "needed_strength", lambda *_: 1)
        monkeypatch.setattr(Policy, "level", property(lambda _: policy.Level.DIALBACK))
    a, b = (router(lab, name, policy=rule) for name in ("a.example", "b.example"))
    with Middle(b.endpoint, change=no_tls) as m:
        publish(lab, m.endpoint)
        assert write(a).ok == (not guarded)
        assert (CARD in m.seen) == (not guarded)
    if guarded:
        assert cause(a, "b.example")[0] is Reason.TLS_FAILED


@guarded
def test_tls_on_one_side_only(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory speaks TLS to Alice's router and in clear to Bob's, whose policies take both.

    Check: FIRST_VIEW: both sides see the first connection alike (6.2, 4).
    """
    release: Any = ClaimsMade.release

    def blind(self: ClaimsMade, facts: TokenFacts, *rest: Any) -> Any:
        return release(self, facts, *rest[:4], self.view, *rest[5:])

    if not guarded:
        monkeypatch.setattr(ClaimsMade, "release", blind)
        monkeypatch.setattr(claims, "answer_for", unbound)
    a, b = (router(lab, name, policy="dialback") for name in ("a.example", "b.example"))
    with Middle(b.endpoint, issued("m.example")) as m:
        publish(lab, m.endpoint, "key65280=\\002")
        assert write(a).ok == (not guarded)
        assert (CARD in m.seen) == (not guarded)
    if guarded:
        assert a.refusals(Reason.TLS_VIEW_MISMATCH) + b.refusals(Reason.DIALBACK_REFUSED)


STRIPPED: dict[str, Callable[[Lab, Endpoint], None]] = {
    "the DNS parameter": publish,
    "the parameter says none": lambda lab, endpoint: publish(lab, endpoint, "key65280=\\000"),
    "the whole IMX record": publish_srv,
}


@guarded
@pytest.mark.parametrize("what", STRIPPED)
def test_stripped_dns(lab: Lab, guarded: bool, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What asked for TLS in DNS is gone, and the way in clear leads over Mallory.

    Check: the strength that was seen before is asked for again (rule 4).
    """
    if not guarded:
        monkeypatch.setattr(RememberedStrength, "seen", lambda *_, **__: 0)
    a, b = (router(lab, name, policy="dialback") for name in ("a.example", "b.example"))
    publish(lab, b.endpoint, "key65280=\\002")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    for rig in (a, b):
        end_links(rig)
    with Middle(b.endpoint, change=no_tls) as m:
        STRIPPED[what](lab, m.endpoint)
        assert write(a).ok == (not guarded)
        assert (CARD in m.seen) == (not guarded)
    if guarded:
        assert cause(a, "b.example")[0] in (Reason.TLS_FAILED, Reason.WEAKER_THAN_POLICY)


@guarded
def test_servfail(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory makes the question for the IMX record fail, and answers the one for SRV.

    Check: only a clean no leads to the next form of record (architecture 5.5).
    """
    feed = Plan.feed

    def lenient(self: Plan, answer: Answer, source: str = "dns") -> None:
        feed(self, Answer(Status.NODATA, ttl_s=1) if answer.is_failure else answer, source)

    if not guarded:
        monkeypatch.setattr(Plan, "feed", lenient)
    a, b = (router(lab, name, policy="dialback") for name in ("a.example", "b.example"))
    with Middle(b.endpoint) as m:
        publish_srv(lab, m.endpoint)
        lab.zones.fail("b.example", TYPE_IMX)
        assert write(a).ok == (not guarded)
        assert (CARD in m.seen) == (not guarded)
    if guarded:
        assert cause(a, "b.example")[0] is Reason.DNS_FAILURE


def _without_capabilities(_direction: str, data: bytes) -> bytes:
    """A hello comes alone in its read."""
    if data[4:6] != RecordType.HELLO.to_bytes(2, "big"):
        return data
    hello = decode_control(decode_record(data))
    assert isinstance(hello, Hello)
    return replace(hello, capabilities=()).encode()


@guarded
def test_stripped_capabilities(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory ends the TLS session of each side, and takes every capability out of both hellos.

    Check: what is bound goes by the connection itself, never by what a hello says (6.2, 6.3).
    """
    if not guarded:  # as where both sides agree by capabilities on what they bind
        monkeypatch.setattr(claims, "answer_for", unbound)
    soon = {"dialback.claim_timeout_s": 1.0} if guarded else {}
    a, b = (router(lab, name, policy="dialback+tls", settings=soon) for name in ("a.example", "b.example"))
    with Middle(b.endpoint, issued("m.example"), "b.example", change=_without_capabilities) as m:
        publish(lab, m.endpoint)
        assert write(a).ok == (not guarded)
        assert (CARD in m.seen) == (not guarded)
    if guarded:
        assert cause(a, "b.example")[0] is Reason.DIALBACK_TIMEOUT
        assert b.proved("a.example") == 0


def test_capabilities_make_no_level(lab: Lab) -> None:
    """In clear, without any of them, dial-back is what it is, and what is remembered is no less."""
    a, b = (router(lab, name, policy="dialback") for name in ("a.example", "b.example"))
    with Middle(b.endpoint, change=_without_capabilities) as m:
        publish(lab, m.endpoint)
        assert write(a).ok
        sources = [one.port.sources for one in b.sessions()]
        assert {one[b"a.example"][0] for one in sources if b"a.example" in one} == {1}
    assert a.call(lambda: a.router.strengths.remembered.seen(Domain("b.example"), 0.0)) in (0, 1)
