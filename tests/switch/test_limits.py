"""Rate, size, credit, hops and what does not read: each refusal by its name."""

import pytest

from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.traffic import FREE, LinkMeter, Meter, TrafficRate
from imxrouter.switch import slots
from imxrouter.switch.limiting import TOLD_A_SECOND
from imxrouter.switch.ports import Role, bound_proof
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, decode_outcome
from tests.switch.rig import ALICE, BOB, HERE, PEER, Rig, message


def test_hops_end() -> None:
    """0 fails, more than the maximum is clamped."""
    rig = Rig()
    rig.feed(rig.peer, message(1, hops_left=0))
    assert rig.outcome(rig.peer).reason is Reason.TOO_MANY_HOPS
    rig.feed(rig.peer, message(2, hops_left=255))
    (passed,) = rig.out(rig.service)
    assert passed.hops_left == 109


def test_limits_are_named() -> None:
    """Rate with the time to wait, size, type, suspended, address, unknown critical field."""
    rig = Rig()
    rig.rates.wait_s[b"alice@peer.example"] = 2.5
    rig.feed(rig.peer, message(1, envelope=Envelope(BOB, HERE, b"ALICE", PEER)))
    outcome = rig.outcome(rig.peer)
    assert outcome.reason is Reason.RATE_LIMITED
    assert outcome.retry_after_s == 5
    rig.rates.wait_s.clear()
    rig.feed(rig.peer, message(2, body=bytes(6000)))
    assert rig.outcome(rig.peer).reason is Reason.TOO_LARGE
    rig.feed(rig.peer, message(3, type=0x0777))
    assert rig.outcome(rig.peer).reason is Reason.TYPE_NOT_ENABLED
    rig.feed(rig.peer, message(4, envelope=Envelope(b"b\x00b", HERE, ALICE, PEER)))
    assert rig.outcome(rig.peer).reason is Reason.BAD_ADDRESS
    rig.feed(rig.peer, message(5, fields=(Field(0x8FFF, b""),)))
    assert rig.outcome(rig.peer).reason is Reason.UNKNOWN_CRITICAL
    rig.feed(rig.peer, message(6, fields=(Field(0x0FFF, b"kept"),)))
    (passed,) = rig.out(rig.service)
    assert passed.fields == (Field(0x0FFF, b"kept"),)
    rig.switch.routes[HERE].suspended = True
    rig.feed(rig.peer, message(7))
    assert rig.outcome(rig.peer).reason is Reason.SERVICE_DOWN
    assert slots.refusals(rig.switch.counters, Reason.SUSPENDED) == 1
    assert rig.switch.conservation() == []


def test_operators_are_told_which_limit_it_is() -> None:
    """The sender is told a word that names no limit; what is traced names it."""
    rig = Rig()
    settled: list[tuple[str, str]] = []
    rig.switch.on_settled = lambda _entry, outcome: settled.append((outcome.reason.word, outcome.note))
    rig.switch.routes[HERE].meter = Meter(TrafficRate.of(1, 0), Limit.DOMAIN_IN, HERE)
    for number in range(1, 4):
        rig.feed(rig.peer, message(number))
    rig.out(rig.service)
    assert rig.outcome(rig.peer).reason is Reason.BUSY
    rig.rates.wait_s[b"mallory@peer.example"] = 2.5
    rig.switch.routes[HERE].meter = None
    rig.feed(rig.peer, message(4, envelope=Envelope(BOB, HERE, b"mallory", PEER)))
    assert rig.outcome(rig.peer).reason is Reason.RATE_LIMITED
    assert settled == [("over-rate", "domain-in"), ("rate-limited", "sender")]
    assert rig.switch.book.counts[Limit.DOMAIN_IN] == 1


def test_the_wait_is_told_to_everybody() -> None:
    """Of many refusals in a second only some are traced; all say when to try again, in steps of 5 s."""
    rig = Rig()
    settled: list[str] = []
    rig.switch.on_settled = lambda _entry, outcome: settled.append(outcome.note)
    rig.peer.meter = LinkMeter(FREE, b"m")
    rig.rates.wait_s[b"alice@peer.example"] = 7.5
    for number in range(1, 3 * TOLD_A_SECOND):
        rig.feed(rig.peer, message(number))
    answers = [decode_outcome(record) for record in rig.out(rig.peer)]
    assert len(answers) == 3 * TOLD_A_SECOND - 1
    assert {(one.reason, one.retry_after_s) for one in answers} == {(Reason.RATE_LIMITED, 10)}
    assert len(settled) == TOLD_A_SECOND


def test_the_rate_is_one_for_all_spellings() -> None:
    """Architecture 2: `Alice` cannot slip past a limit on `alice`."""
    rig = Rig()
    for number, spelling in enumerate((b"alice", b"Alice", b"ALICE"), 1):
        rig.feed(rig.peer, message(number, envelope=Envelope(BOB, HERE, spelling, PEER)))
    assert list(rig.rates.arrivals) == [b"alice@peer.example"]


def test_credit_is_counted_and_shared() -> None:
    """Unanswered requests per link are bounded, and one destination leaves room for others."""
    rig = Rig()
    rig.peer.granted_requests = 8
    other = rig.port(9, Role.SERVICE)
    rig.serve(b"other.example", other)
    for number in range(1, 9):
        rig.feed(rig.peer, message(number))
    passed = rig.out(rig.service)
    assert len(passed) == 5  # half of the credit, then no more than a quarter of it
    assert {decode_outcome(r).reason for r in rig.out(rig.peer)} == {Reason.BUSY}
    for number in range(11, 15):
        rig.feed(rig.peer, message(number, envelope=Envelope(BOB, b"other.example", ALICE, PEER)))
    assert len(rig.out(other)) == 2
    for one in passed:
        rig.answer(rig.service, one)
    assert rig.peer.in_flight == 2
    assert rig.switch.conservation() == []


def test_a_destination_that_does_not_read_is_shed() -> None:
    """Its requests are answered `busy`; nobody waits."""
    rig = Rig()
    rig.service.shedding = True
    rig.feed(rig.peer, message())
    assert rig.outcome(rig.peer).reason is Reason.BUSY


@pytest.mark.parametrize(("size", "passes"), [(100, True), (101, False)])
@pytest.mark.parametrize("outward", [False, True])
def test_the_largest_body_is_exact_both_ways(size: int, passes: bool, outward: bool) -> None:
    """What a domain served here is sent, and what it sends; addresses and fields do not count."""
    rig = Rig()
    port, back = (rig.service, rig.peer) if outward else (rig.peer, rig.service)
    if outward:
        rig.switch.ways.open(PEER, HERE, rig.peer)
        rig.service.sources[HERE] = bound_proof(0.001, 10.0, 100)
        envelope = Envelope(BOB, PEER, ALICE, HERE)
    else:
        rig.switch.routes[HERE].max_bytes = 100
        envelope = Envelope(BOB, HERE, ALICE, PEER)
    rig.feed(port, message(1, envelope=envelope, body=bytes(size), fields=(Field(0x0FFE, bytes(300)),)))
    if passes:
        assert len(rig.out(back)) == 1
    else:
        assert rig.outcome(port).reason is Reason.TOO_LARGE
        assert rig.out(back) == []


def test_nothing_larger_than_the_peer_takes_is_sent() -> None:
    """Specification 4.3: it would end the link and lose what is in flight there."""
    rig = Rig()
    rig.service.largest = 400
    rig.feed(rig.peer, message(1, body=bytes(500)))
    assert rig.outcome(rig.peer).reason is Reason.TOO_LARGE
    other = rig.port(9, Role.SERVICE)
    rig.serve(HERE, rig.service, other)
    for number in (2, 3):
        rig.feed(rig.peer, message(number, body=bytes(500)))
    assert len(rig.out(other)) == 2
    assert rig.out(rig.service) == []
    assert rig.switch.conservation() == []


def test_the_maximum_of_hops_is_configured() -> None:
    """CPIM-3: what comes in with more is cut down."""
    rig = Rig()
    rig.switch.max_hops = 5
    rig.feed(rig.peer, message(1, hops_left=110))
    (passed,) = rig.out(rig.service)
    assert passed.hops_left == 4
