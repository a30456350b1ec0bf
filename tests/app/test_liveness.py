"""Watchers are told when presence cannot be learned, by name of the domain that failed, and it heals.

FCC-2, FCC-3, IMX-7; architecture section 6; specification section 7.7.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from twisted.internet.defer import gatherResults

from imxrouter.model.address import Address
from imxrouter.model.operations import EndReason, Subscribe, SubscribeResult, SubscriptionState
from imxrouter.model.outcome import SUCCESS
from imxrouter.model.presence import Unknown
from imxrouter.model.vocabulary import Reason, Retry, Status
from imxrouter.transport import liveness
from imxrouter.transport.operations import record_to_notify, subscribe_to_record, with_result
from imxrouter.transport.pursuit import Cause
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Record, response_to
from imxrouter.wire.registry import RecordType
from tests.doubles.raw_peer import RawPeer
from tests.doubles.router_rig import Lab, RouterRig, login_key, service_table

BOB, ALICE = Address.parse("bob@x.example"), Address.parse("alice@z.example")
TYPES = ("0x0101", "0x0102", "0x0103")
_numbers = count(1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits ten seconds for a spread of one."""
    monkeypatch.setattr(liveness, "GRACE_S", 0.3)
    monkeypatch.setattr(liveness, "FIRST_AGAIN_S", 0.1)


def settings(**more: object) -> dict[str, object]:
    """Of a laboratory, with quick failures."""
    return {"lab": True, "dial.backoff_first_s": 0.3, "dial.backoff_cap_s": 0.6, **more}


def organisation(lab: Lab, domain: str, number: int, **options: Any) -> tuple[RouterRig, RawPeer]:
    """A router with a scripted service for one domain."""
    key = login_key(number)
    rig = lab.router(
        domain, embedded=False, tables=service_table("own", key, domain, types=TYPES),
        **{"settings": settings(), **options},
    )  # fmt: skip
    return rig, service_of(rig, number)


def service_of(rig: RouterRig, number: int) -> RawPeer:
    """A link of the scripted service."""
    peer = RawPeer.connect(rig.endpoint)
    peer.hello()
    assert peer.log_in(login_key(number)) == 0
    return peer


def subscribe(service: RawPeer, presentity: Address = ALICE, ident: bytes = b"s1") -> None:
    """Bob asks for somebody's presence."""
    number = next(_numbers)
    record = subscribe_to_record(Subscribe(BOB, presentity, number.to_bytes(16, "big"), ident, 600))
    service.send(replace(record, flags=FLAG_RESPONSE_WANTED, route_tag=number))


def grant(service: RawPeer) -> Record:
    """The presentity's service says yes; returns what was asked."""
    request = service.request(15)
    assert request.type == RecordType.SUBSCRIBE
    granted = replace(SUCCESS, result=SubscribeResult(SubscriptionState.ACTIVE, 600))
    service.send(with_result(response_to(request, SUCCESS), granted))
    return request


def unknown(service: RawPeer) -> Unknown:
    """The next request to the watcher's service is the router's word that nobody knows."""
    request = service.request(15)
    told = record_to_notify(request)
    service.answer(request)
    assert isinstance(told.presence, Unknown), told
    assert told.state is SubscriptionState.ACTIVE
    assert told.end_reason is EndReason.NONE
    assert request.envelope.from_local == b""
    return told.presence


@pytest.fixture
def watched(lab: Lab) -> tuple[RouterRig, RawPeer, RouterRig, RawPeer]:
    """Bob of x watches alice of z."""
    x, bobs = organisation(lab, "x.example", 1)
    z, alices = organisation(lab, "z.example", 2)
    subscribe(bobs)
    grant(alices)
    assert bobs.outcome().ok
    return x, bobs, z, alices


def test_a_domain_that_is_gone_is_named_and_comes_back(
    lab: Lab, watched: tuple[RouterRig, RawPeer, RouterRig, RawPeer]
) -> None:
    """Unknown with the reason and the domain; then the router subscribes again in the watcher's name."""
    _, bobs, z, _ = watched
    z.stop()
    told = unknown(bobs)
    assert (told.presentity, told.domain.name) == (ALICE, "z.example")
    assert told.reason in (Reason.SHUTTING_DOWN, Reason.CONNECTION_REFUSED)  # while it goes, or after
    _, alices = organisation(lab, "z.example", 2, endpoint=z.endpoint)
    again = grant(alices)
    assert (again.envelope.from_local, again.value(0x30)) == (b"bob", b"s1")  # type: ignore[arg-type]


def test_a_restart_within_the_grace_is_not_told(
    lab: Lab, watched: tuple[RouterRig, RawPeer, RouterRig, RawPeer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the subscription is renewed, so that what changed meanwhile is learned."""
    monkeypatch.setattr(liveness, "GRACE_S", 30.0)
    _, bobs, z, _ = watched
    z.stop()
    lab.wait_until(lambda: not z.router.hub.sessions, "the end of it")
    _, alices = organisation(lab, "z.example", 2, endpoint=z.endpoint)
    grant(alices)
    assert bobs.requests == []


def test_a_service_that_is_gone_is_named_too(
    lab: Lab, watched: tuple[RouterRig, RawPeer, RouterRig, RawPeer]
) -> None:
    """Its router is there and says so, to watchers elsewhere (IMX-7)."""
    _, bobs, z, alices = watched
    alices.close()
    told = unknown(bobs)
    assert (told.presentity, told.domain.name, told.reason) == (ALICE, "z.example", Reason.SERVICE_DOWN)
    again = grant(service_of(z, 2))
    assert again.envelope.from_local == b"bob"
    assert lab.failures == []


def test_silence_is_noticed_before_the_link_is_dead(lab: Lab) -> None:
    """Half of DEAD_AFTER in silence, and a new connection that is silent as well: that is enough."""
    x, bobs = organisation(
        lab, "x.example", 1,
        settings=settings(**{"links.ping_s": 1.0, "links.dead_s": 4.0, "dial.hello_timeout_s": 1.0}),
    )  # fmt: skip
    z = lab.organisation("z.example")
    subscribe(bobs)
    link = z.accept()
    z.take_claim(link, x)
    grant(link)
    assert bobs.outcome().ok
    told = unknown(bobs)  # from here on z reads nothing
    assert (told.domain.name, told.reason.stage.value) == ("z.example", "peer")
    lab.wait_until(lambda: b"z.example" not in x.router.switch.ways, "the end of the silent link")


def test_a_message_after_the_silence_may_be_sent_again(lab: Lab) -> None:
    """It was never sent, so it fails with a time to try again, and not as what was under way (FCC-3)."""
    x, _ = lab.router("x.example"), lab.router("z.example")
    silent = Cause(Reason.KEEPALIVE_TIMEOUT, "silent for 26 s")
    x.call(lambda: x.router.federation.unreachable(b"z.example", silent))
    outcome = x.send("bob@x.example", str(ALICE)).outcome()
    assert (outcome.status, outcome.reason) == (Status.FAILURE, Reason.UNREACHABLE)
    assert outcome.reason.retry is Retry.LATER
    assert outcome.retry_after_s > 0


def test_the_loss_of_most_is_our_own(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three watched domains of three are lost at once: our own domain is named."""
    monkeypatch.setattr(liveness, "GRACE_S", 3.0)
    x, bobs = organisation(lab, "x.example", 1)
    others = [organisation(lab, f"z{number}.example", 10 + number) for number in range(3)]
    for number, (_, alices) in enumerate(others):
        subscribe(bobs, Address.parse(f"alice@z{number}.example"), b"s%d" % number)
        grant(alices)
        assert bobs.outcome().ok
    for rig, _ in others:
        rig._running = False
    lab.thread.call(lambda: gatherResults([rig.router.stopService() for rig, _ in others]))
    told = [unknown(bobs) for _ in others]
    assert {one.reason for one in told} == {Reason.OWN_NETWORK}
    assert {one.domain.name for one in told} == {"x.example"}
    assert len({one.presentity for one in told}) == 3
    assert x.call(lambda: x.router.liveness.own_loss is not None)


def test_of_a_domain_that_is_served_no_more_nothing_is_asked_or_told(
    watched: tuple[RouterRig, RawPeer, RouterRig, RawPeer],
) -> None:
    """The router would speak for a domain that is not its own; the other side goes on by itself."""
    x, _, z, _ = watched
    x.call(lambda: x.router.domains.remove(BOB.domain))
    assert x.call(lambda: (len(x.router.subscriptions), x.router.store.items("subscriptions"))) == (0, [])
    assert z.call(lambda: len(z.router.subscriptions)) == 1
