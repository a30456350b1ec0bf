"""Attempts to silence an honest domain: by its name, its address, its cap, its zone (specification 11.12).

In each, Mallory does what he can from addresses of his own, and Alice's real router must still prove itself
and deliver. With the one rule that prevents it replaced, the same attack silences her.
"""

from typing import Any

import pytest

from imxrouter.app.trust.gatekeeper import Gatekeeper
from imxrouter.link.duplicates import DuplicateMemory
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import REASON_BY_CODE, Reason
from imxrouter.routing import dialling
from imxrouter.routing.buckets import FairTotal
from imxrouter.routing.caps import ConnectionCaps
from imxrouter.routing.dialling import DialLimits
from imxrouter.routing.prefixes import address_keys
from imxrouter.transport import verify_room
from imxrouter.transport.link import Purpose
from imxrouter.transport.session import LinkSession
from imxrouter.transport.trust import Verdict
from imxrouter.wire.control import Claim, ClaimResult, Verify, VerifyResult
from tests.attacks.seams import guarded
from tests.doubles.raw_peer import SOME_TOKEN, Endpoint, text_message
from tests.doubles.router_rig import Lab, RawOrganisation, RouterRig, free_port


def _claim(m: RawOrganisation, b: RouterRig, domain: str) -> Reason:
    """Mallory claims a domain on a new link, which stays open; the result."""
    link = m.connect(b)
    link.send(Claim(1, domain.encode(), b"b.example", SOME_TOKEN))
    return REASON_BY_CODE[link.find(ClaimResult).reason]


def _alice(lab: Lab, guarded: bool, domain: str = "a.example", endpoint: Endpoint | None = None) -> RouterRig:
    """Alice's router. It asks again where it is told to; where that is in vain it soon gives up."""
    return lab.router(domain, endpoint=endpoint, settings={"dial.hold_s": 10.0 if guarded else 1.0})


def _alice_is_heard(a: RouterRig, b: RouterRig, guarded: bool, domain: str = "a.example") -> None:
    """Alice's router proves itself and her message arrives; without the rule it does not."""
    before = b.inbox("bob@b.example").count((f"alice@{domain}", "still here"))
    outcome = a.send(f"alice@{domain}", "bob@b.example", "still here").outcome()
    assert outcome.ok == guarded, outcome
    assert b.inbox("bob@b.example").count((f"alice@{domain}", "still here")) == before + guarded


def _end_verifying_links(b: RouterRig) -> None:
    """End the links that the next verification would be asked over again."""
    for session in list(b.router.hub.sessions.values()):
        if session.purpose is Purpose.VERIFY:
            session.abort(Reason.IDLE, "end of a test's step")


@guarded
def test_refused_tokens(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory's claims of Alice's domain are refused by her router, again and again.

    Check: a refused token is remembered for its source and the domain together, never for the domain alone.
    """
    if not guarded:

        def for_the_domain(
            limits: DialLimits, source_ip: str, domain: Domain, now: float, reason: Reason
        ) -> float:
            del source_ip
            limits.failed_dns(domain, 60.0, reason, now)
            return 60.0

        monkeypatch.setattr(DialLimits, "refused_token", for_the_domain)
    a, b, m = _alice(lab, guarded), lab.router("b.example"), lab.organisation("m.example")
    asked: list[Verify] = []
    verify = a.router.claimer.verify

    def counted(second: LinkSession, one: Verify) -> None:
        asked.append(one)
        verify(second, one)

    monkeypatch.setattr(a.router.claimer, "verify", counted)
    assert {_claim(m, b, "a.example") for _ in range(11)} == {Reason.NOT_MINE}
    assert len(asked) == 1
    _alice_is_heard(a, b, guarded)


@guarded
def test_failed_connections(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory's own domain leads to a dead port of Alice's host.

    Check: a failed connection is remembered for address and port.
    """
    if not guarded:
        monkeypatch.setattr(dialling, "_endpoint", lambda ip, _port: address_keys(ip).host)
    a, b, m = _alice(lab, guarded), lab.router("b.example"), lab.organisation("m.example")
    lab.publish("m.example", (a.ip, free_port(a.ip)))
    assert _claim(m, b, "m.example") is Reason.CONNECTION_REFUSED
    _alice_is_heard(a, b, guarded)


@guarded
def test_own_traffic(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory claims Alice's domain while her host is down; then it is up and Bob writes to her.

    Check: what a claim made us dial changes nothing for our own destinations.
    """
    b, m = lab.router("b.example"), lab.organisation("m.example")
    if not guarded:
        done = Gatekeeper.done

        def told(keeper: Gatekeeper, session: LinkSession, domain: Domain, reason: Reason) -> None:
            done(keeper, session, domain, reason)
            destination = b.router.federation.destinations.open(domain, b.router.hub.now())
            assert destination is not None
            destination.failed(reason, b.router.hub.now())
            destination.next_try += 60.0

        monkeypatch.setattr(Gatekeeper, "done", told)
    a = _alice(lab, guarded)
    a.stop()
    assert _claim(m, b, "a.example") is Reason.CONNECTION_REFUSED
    again = _alice(lab, guarded, endpoint=a.endpoint)
    assert b.send("bob@b.example", "alice@a.example").outcome().ok == guarded
    assert len(again.inbox("alice@a.example")) == guarded


@guarded
def test_limit_of_a_source(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory makes more claims than his address may. Check: the limit is that of his address."""
    if not guarded:
        admit = DialLimits.admit

        def as_one(limits: DialLimits, source_ip: str, domain: Domain, now: float, *, link: int = 0) -> Any:
            del source_ip
            return admit(limits, "127.0.0.1", domain, now, link=link)

        monkeypatch.setattr(DialLimits, "admit", as_one)
    settings = {"caps.verify_per_source_per_minute": 16.0}
    a, b, m = (
        _alice(lab, guarded),
        lab.router("b.example", settings=settings),
        lab.organisation("m.example"),
    )
    reasons = [_claim(m, b, f"d{number}.example") for number in range(6)]
    assert set(reasons) == {Reason.NO_SUCH_DOMAIN, Reason.DIAL_LIMIT}
    _alice_is_heard(a, b, guarded)


@guarded
def test_limit_of_a_target(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Domains of Mallory's lead to Alice's router, until no more may be dialled there.

    Check: who calls from the address that is to be dialled has a limit of its own there.
    """
    if not guarded:
        monkeypatch.setattr(dialling, "_target_kind", lambda *_: b"o")
    settings = {"caps.verify_per_target_per_minute": 16.0}
    a, b = _alice(lab, guarded), lab.router("b.example", settings=settings)
    reasons = []
    for number in range(8):
        m = lab.organisation(f"m{number}.example")
        lab.publish(f"m{number}.example", a.endpoint)
        reasons.append(_claim(m, b, f"m{number}.example"))
        b.call(lambda: _end_verifying_links(b))
    assert set(reasons) == {Reason.NOT_MINE, Reason.DIAL_LIMIT}
    _alice_is_heard(a, b, guarded)


@guarded
def test_cap_of_a_peer(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory opens as many links as Alice's domain may have, and claims it on each.

    Check: caps count what is proved, not what is claimed.
    """
    if not guarded:
        may_claim = Gatekeeper.may_claim

        def counted(keeper: Gatekeeper, session: LinkSession, domain: Domain, to_domain: Domain) -> Verdict:
            refused = keeper.caps.proved(session.number, domain)
            if refused is not None:
                return Verdict(refused.reason, refused.retry_after_s)
            return may_claim(keeper, session, domain, to_domain)

        monkeypatch.setattr(Gatekeeper, "may_claim", counted)
    b = lab.router("b.example", settings={"caps.in_per_peer": 2})
    a, m = _alice(lab, guarded), lab.organisation("m.example")
    for _ in range(3):
        assert _claim(m, b, "a.example") is not Reason.NONE
    _alice_is_heard(a, b, guarded)


@guarded
def test_connections_of_strangers(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory opens every connection he may and proves nothing. Check: the cap is that of his address."""
    if not guarded:
        opened = ConnectionCaps.opened
        monkeypatch.setattr(
            ConnectionCaps, "opened", lambda caps, link, _ip, **more: opened(caps, link, "127.0.0.1", **more)
        )
    b = lab.router("b.example", settings={"caps.unauthenticated_per_address": 4})
    a, m = _alice(lab, guarded), lab.organisation("m.example")
    for _ in range(4):
        m.connect(b)
    closed = m.connect(b, hello=False).until_closed()
    assert closed is not None
    assert closed.reason == Reason.OVER_CAP.code
    assert closed.retry_after_s
    _alice_is_heard(a, b, guarded)


@guarded
def test_total_of_verifications(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory uses up what may be verified in all. Check: the total is shared out among networks."""
    if not guarded:
        wait, take = FairTotal.wait, FairTotal.take
        monkeypatch.setattr(
            FairTotal, "wait", lambda one, _group, now, known: wait(one, b"", now, known=known)
        )
        monkeypatch.setattr(
            FairTotal, "take", lambda one, _group, now, known: take(one, b"", now, known=known)
        )
    b = lab.router("b.example", settings={"caps.verify_per_s": 1.0})
    a, m = _alice(lab, guarded), lab.organisation("m.example")
    reasons = [_claim(m, b, f"d{number}.example") for number in range(8)]
    assert set(reasons) == {Reason.NO_SUCH_DOMAIN, Reason.DIAL_LIMIT}
    _alice_is_heard(a, b, guarded)


@guarded
def test_limit_of_a_zone(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory claims names in the zone of Alice's hoster, from several networks, until none may be verified.

    Check: a domain that was proved before has a limit of its own.
    """
    if not guarded:
        monkeypatch.setattr(DialLimits, "proved", lambda *_: None)
    domain = "alice.hoster.example"
    b = lab.router("b.example", settings={"caps.verify_per_zone_per_minute": 16.0})
    a = _alice(lab, guarded, domain)
    _alice_is_heard(a, b, True, domain)
    a.stop()
    reasons = [_claim(lab.organisation(f"m{n}.example"), b, f"n{n}.hoster.example") for n in range(6)]
    assert set(reasons) == {Reason.NO_SUCH_DOMAIN, Reason.DIAL_LIMIT}
    _alice_is_heard(_alice(lab, guarded, domain, endpoint=a.endpoint), b, guarded, domain)


@guarded
def test_memory_of_duplicates(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory, proved for a domain of his own, acknowledges nothing, so that all his ids are remembered.

    Check: in a memory that is half full nobody holds more than a share.
    """
    if not guarded:
        monkeypatch.setattr(DuplicateMemory, "is_crowded", lambda _: False)
    b, m = lab.router("b.example", settings={"links.duplicate_entries": 160}), lab.organisation("m.example")
    link, reasons = m.proved_link(b), []
    for number in range(200):
        link.send(text_message(f"m{number % 20}@m.example", "bob@b.example", "x", number))
        reasons.append(link.outcome().reason)
    assert reasons.count(Reason.BUSY) == (120 if guarded else 40)
    _alice_is_heard(_alice(lab, guarded), b, guarded)


@guarded
def test_links_that_only_verify(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory's hosts take our verifications and never answer, until no more of such links may be open.

    Check: one network causes a quarter of them at most.
    """
    if not guarded:
        monkeypatch.setattr(verify_room, "NETWORK_PART", 1)
    b = lab.router("b.example", settings={"dial.verify_links": 8})
    m, reasons = lab.organisation("m.example"), []
    for number in range(9):
        host = lab.organisation(f"m{number}.example")
        link = m.connect(b)
        link.send(Claim(1, host.domain.encode(), b"b.example", SOME_TOKEN))
        if number < (2 if guarded else 6):
            host.accept().expect(Verify)
        else:
            reasons.append(REASON_BY_CODE[link.expect(ClaimResult).reason])
    assert set(reasons) == {Reason.DIAL_LIMIT}
    _alice_is_heard(_alice(lab, guarded), b, guarded)


def test_a_link_that_rests_gives_way(lab: Lab) -> None:
    """Links over which a claim was refused, and that the other side keeps open, take nobody's room."""
    b, m = lab.router("b.example", settings={"dial.verify_links": 8}), lab.organisation("m.example")
    seconds = []
    for number in range(5):
        host = lab.organisation(f"m{number}.example")
        link = m.connect(b)
        link.send(Claim(1, host.domain.encode(), b"b.example", SOME_TOKEN))
        seconds.append(host.accept())
        seconds[-1].send(VerifyResult(seconds[-1].expect(Verify).number, Reason.BAD_TOKEN.code))
        assert link.expect(ClaimResult).reason == Reason.DIALBACK_REFUSED.code
    for second in seconds[:3]:
        closed = second.until_closed()
        assert closed is not None
        assert closed.reason == Reason.IDLE.code
