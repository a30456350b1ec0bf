"""Floods from those who proved who they are, and from many strangers (specification 5.3, 11.15; IMX-33)."""

import time
from functools import partial

import pytest

from imxrouter.app.trust import gatekeeper
from imxrouter.app.trust.gatekeeper import Gatekeeper
from imxrouter.model.limits import Limit
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing import caps
from imxrouter.routing.caps import ConnectionRates
from imxrouter.switch.checks import Checks
from imxrouter.transport.byte_link import SLOW_READ_BYTES
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import FieldType, RecordType
from tests.attacks.seams import guarded
from tests.doubles.raw_peer import PATIENCE_S, RawPeer, text_message
from tests.doubles.router_rig import Lab, RouterRig, login_key, service_table

#: Ten requests at once, and then one in five seconds, however long the machine takes for the attack.
TEN, SLOWLY = {"limits.traffic_burst_s": 50.0}, 0.2
#: Rates of senders are not what is attacked here.
FREE = {"limits.sender_rate_per_s": 100_000, "limits.sender_burst": 100_000}


def _flood(link: RawPeer, source: str, to: str, count: int, first: int = 1) -> list[Outcome]:
    """Messages of as many senders, in one write; what each was answered."""
    numbers = range(first, first + count)
    link.send(*(text_message(f"u{number}@{source}", to, "x", number) for number in numbers))
    return [link.outcome() for _ in numbers]


def _refused(rig: RouterRig, limit: Limit) -> int:
    return int(rig.call(lambda: rig.router.switch.book.counts[limit]))


@guarded
def test_connecting_again_and_again(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory opens connections and closes them at once. Check: new ones of an address in a minute."""
    if not guarded:
        monkeypatch.setattr(ConnectionRates, "opened", lambda *_: None)
    b = lab.router("b.example", settings={"caps.connections_per_address_per_minute": 5})
    m = lab.organisation("m.example")
    for _ in range(5 if guarded else 12):
        m.connect(b).close()
    if guarded:
        closed = m.connect(b, hello=False).until_closed()
        assert closed is not None
        assert closed.reason == Reason.OVER_CAP.code
        assert 0 < (closed.retry_after_s or 0) <= 12
    assert _refused(b, Limit.CONNECTION_RATE_ADDRESS) == guarded
    lab.organisation("a.example").proved_link(b)  # another address does not notice


@guarded
def test_refused_and_back_at_once(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory is over his cap and connects again and again. Check: refused connections that are told so.

    The first ones of a second are told; for the others nothing is made, they are closed.
    """
    monkeypatch.setattr(gatekeeper, "TOLD_PER_S", 0.01)  # eight in half an hour
    if not guarded:
        monkeypatch.setattr(Gatekeeper, "turns_away", lambda *_: False)
    b = lab.router("b.example", settings={"caps.unauthenticated_per_address": 2})
    m = lab.organisation("m.example")
    for _ in range(2):
        m.connect(b)
    made = b.call(b.router.hub.next_port_number)
    told = [m.connect(b, hello=False).until_closed() for _ in range(20)]
    assert sum(one is not None for one in told) == (8 if guarded else 20)
    assert b.call(b.router.hub.next_port_number) - made - 1 == (8 if guarded else 20)
    assert _refused(b, Limit.STRANGERS_ADDRESS) == 20
    lab.organisation("a.example").proved_link(b)  # another address does not notice


@guarded
def test_strangers_from_many_networks(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory fills all places of strangers from many networks. Check: the last ones are kept for peers."""
    if not guarded:
        monkeypatch.setattr(caps, "RESERVED_PARTS", 1 << 30)
    b = lab.router("b.example", settings={"caps.unauthenticated_total": 16})
    a = lab.organisation("a.example")
    a.proved_link(b).close()
    lab.wait_until(lambda: not b.router.gatekeeper.caps._open, "Alice is gone")
    for number in range(5):
        m = lab.organisation(f"m{number}.example")
        for _ in range(4):
            m.connect(b, hello=False)
    lab.wait_until(lambda: b.router.gatekeeper.caps.strangers == (14 if guarded else 16), "all he may have")
    link = a.connect(b, hello=False)
    if guarded:
        link.hello()
        assert a.prove(link, "b.example").reason == 0
    else:
        closed = link.until_closed()
        assert closed is not None
        assert closed.reason == Reason.OVER_CAP.code


@guarded
def test_a_peer_over_its_rate(lab: Lab, guarded: bool) -> None:
    """A proved domain sends all it can, of many users and on two links. Check: the rate of a peer."""
    settings = {**TEN, **FREE, "limits.peer_records_per_s": SLOWLY}
    b = lab.router("b.example", settings=settings, checks=Checks(traffic=guarded))
    m = lab.organisation("m.example")
    links = [m.proved_link(b), m.proved_link(b)]
    outcomes = [
        one
        for at, link in enumerate(links)
        for one in _flood(link, "m.example", "bob@b.example", 30, 99 * at + 1)
    ]
    passed = sum(one.ok for one in outcomes)
    if guarded:
        assert 10 <= passed < 30
        assert {one.reason for one in outcomes if not one.ok} == {Reason.BUSY}  # not told which limit it is
        assert all(one.retry_after_s == 5 for one in outcomes if not one.ok)
        assert b.router.switch.book.worst(Limit.PEER_RATE)[0][0] == b"m.example"
    else:
        assert passed == 60
    other = lab.organisation("a.example").proved_link(b)
    assert _flood(other, "a.example", "bob@b.example", 1)[0].ok


@guarded
def test_a_link_over_its_rate(lab: Lab, guarded: bool) -> None:
    """One link brings more than it may, and goes on. Check: it is refused, then read slowly."""
    settings = {**TEN, **FREE, "limits.link_records_per_s": 1, "limits.traffic_burst_s": 20.0}
    b = lab.router("b.example", settings=settings, checks=Checks(traffic=guarded))
    link = lab.organisation("m.example").proved_link(b)
    passed = 0
    for at in range(20):
        passed += sum(one.ok for one in _flood(link, "m.example", "bob@b.example", 10, 100 * at + 1))
    if guarded:
        assert passed < 160
        assert _refused(b, Limit.LINK_RATE) == 200 - passed
    else:
        assert passed == 200
    (session,) = (one for one in b.sessions() if one.port.sources)
    meter = session.port.meter
    assert meter is not None
    if guarded:
        assert b.call(lambda: session.transport.bufferSize) == SLOW_READ_BYTES
    else:
        assert not meter.insists
        assert not meter.troubled


@guarded
def test_a_tenant_over_its_rate(lab: Lab, guarded: bool) -> None:
    """A customer floods from two of his domains. Check: requests a second of a tenant; others go on."""
    keys = login_key(1), login_key(2)
    tables = service_table("shop", keys[0], "shop.example", "store.example").replace(
        'service = "shop"', 'service = "shop"\ntenant = "shop"'
    )
    tables += service_table("other", keys[1], "other.example")
    tables += '[[limits.tenants]]\nname = "shop"\nrecords_per_s = 0.2\n'
    settings = {**TEN, **FREE, "lab": True}
    b = lab.router("b.example", tables=tables, settings=settings, checks=Checks(traffic=guarded))
    shop, other = (lab.organisation(f"{name}.example").connect(b) for name in ("any", "some"))
    assert [shop.log_in(keys[0]), other.log_in(keys[1])] == [0, 0]
    outcomes = _flood(shop, "shop.example", "bob@b.example", 20)
    outcomes += _flood(shop, "store.example", "bob@b.example", 20, 100)
    passed = sum(one.ok for one in outcomes)
    assert 10 <= passed < 30 if guarded else passed == 40
    assert _refused(b, Limit.TENANT_OUT) == 40 - passed
    assert all(one.ok for one in _flood(other, "other.example", "bob@b.example", 20))


@guarded
def test_one_recipient_is_flooded(lab: Lab, guarded: bool) -> None:
    """Many senders of many domains write to Bob. Check: messages to one recipient, and a part for friends."""
    settings = {
        **FREE, "limits.recipient_rate_per_s": 0.1, "limits.recipient_burst": 20,
        "limits.recipient_strangers_rate_per_s": 0.02,
    }  # fmt: skip
    b = lab.router(
        "b.example", settings=settings, checks=Checks(recipient=guarded),
        tables='[[peer]]\ndomain = "friend.example"\n',
    )  # fmt: skip
    outcomes: list[Outcome] = []
    for name in ("m.example", "n.example"):
        outcomes += _flood(lab.organisation(name).proved_link(b), name, "bob@b.example", 20)
    passed = sum(one.ok for one in outcomes)
    if guarded:
        assert passed <= 6
        refused = [one for one in outcomes if not one.ok]
        assert {(one.reason, one.retry_after_s) for one in refused} == {(Reason.BUSY, 5)}
        assert b.refusals(Reason.RECIPIENT_LIMIT) == len(refused)
    else:
        assert passed == 40
    friend = lab.organisation("friend.example").proved_link(b)
    assert all(one.ok for one in _flood(friend, "friend.example", "bob@b.example", 5))
    assert _flood(friend, "friend.example", "alice@b.example", 1)[0].ok


@guarded
def test_a_sender_who_does_not_wait(lab: Lab, guarded: bool) -> None:
    """A sender goes on without a pause, for what gets through in spite. Check: refused messages count."""
    settings = {
        "limits.sender_rate_per_s": 1 if guarded else 100,
        "limits.sender_burst": 5,
        "limits.cooldown_s": 60,
        "limits.link_records_per_s": 0,
    }
    b = lab.router("b.example", settings=settings, checks=Checks(cooldown=guarded))
    link = lab.organisation("m.example").proved_link(b)
    outcomes: list[Outcome] = []
    until, waits = time.monotonic() + PATIENCE_S, 0
    while time.monotonic() < until and sum(one.ok for one in outcomes) < 15 and waits < 60:
        first = len(outcomes) + 1
        link.send(*(text_message("mallory@m.example", "bob@b.example", "x", first + n) for n in range(20)))
        outcomes += [link.outcome() for _ in range(20)]
        waits = outcomes[-1].retry_after_s or 0
    assert (sum(one.ok for one in outcomes) < 15) == guarded
    assert {one.reason for one in outcomes if not one.ok} == {Reason.RATE_LIMITED}
    assert (waits == 60) == guarded


def test_a_sender_is_warned_before_he_is_refused(lab: Lab) -> None:
    """The answer of a delivered message says how many more he may send."""
    settings = {"limits.sender_rate_per_s": 0.01, "limits.sender_burst": 5}
    b = lab.router("b.example", settings=settings)
    link = lab.organisation("m.example").proved_link(b)
    left = []
    for number in range(1, 7):
        link.send(text_message("mallory@m.example", "bob@b.example", "x", number))
        answer = link.expect(Record)
        told = answer.value(FieldType.RATE_LEFT)
        left.append(int.from_bytes(told, "big") if told is not None else None)
    assert left == [None, None, None, None, 0, None]
    assert len(b.inbox("bob@b.example")) == 5


def _query(number: int) -> Record:
    envelope = Envelope(b"bob", b"b.example", b"mallory", b"m.example")
    return Record(RecordType.ATTRIBUTES, 0x80, 110, number, number.to_bytes(16, "big"), envelope)


def _subscribe(number: int, duration_s: int, ident: bytes) -> Record:
    envelope = Envelope(b"bob", b"b.example", b"mallory", b"m.example")
    fields = (
        Field(FieldType.SUBSCRIPTION_ID, ident),
        Field(FieldType.DURATION, duration_s.to_bytes(4, "big")),
    )
    return Record(RecordType.SUBSCRIBE, 0x80, 110, number, number.to_bytes(16, "big"), envelope, fields)


def _measure_late(rig: RouterRig, times: int) -> None:
    for _ in range(times):
        rig.router.limiting.measure(61.0)


@guarded
def test_more_than_the_router_can_do(lab: Lab, guarded: bool) -> None:
    """Everybody asks for everything. Check: presence is shed first, then what begins, then messages."""
    settings = {"overload.lag_ms": 60_000, "overload.calm_s": 600}  # nothing is so late but what is said here
    b = lab.router("b.example", settings=settings, checks=Checks(shedding=guarded))
    link = lab.organisation("m.example").proved_link(b)
    busy = [[False, False, False], [True, False, False], [True, True, False], [True, True, True]]
    for number, (late, expected) in enumerate(zip((0, 2, 2, 8), busy, strict=True)):
        # in one turn, for the router's own look in between would break the row
        b.call(partial(_measure_late, b, late))
        asked = (_query(100 + number), _subscribe(200 + number, 600, b"s%d" % number))
        said = []
        for one in (*asked, text_message("mallory@m.example", "bob@b.example", "x", 300 + number)):
            link.send(one)
            said.append(link.outcome().reason is Reason.BUSY)
        assert said == (expected if guarded else [False] * 3)
    assert b.router.limiting.overload.level == 6
    for number, duration_s in ((400, 600), (401, 0)):  # what was begun before may be renewed, and ended
        link.send(_subscribe(number, duration_s, b"s0"))
        assert link.outcome().ok
