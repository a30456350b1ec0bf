"""Copies of one request: whatever is late, on whichever link, one is delivered, and what is said is true."""

from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.switch.core import MAX_JOINED
from imxrouter.switch.ports import Port, Role
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_RETRY
from imxrouter.wire.record import Envelope, Record, decode_outcome, response_to
from tests.switch.rig import ALICE, BOB, EPOCH, FAR, HERE, PEER, Rig, message


def retry(number: int = 1, **changes: object) -> Record:
    """The message of that number, sent again to a memory that covers it."""
    return message(number, flags=0x80 | FLAG_RETRY, fields=(Field(0x8001, EPOCH),), **changes)


def acknowledge_all(rig: Rig, port: Port) -> None:
    """The far side of a link says that it has read every answer."""
    assert rig.switch.acknowledge(port, port.acked + len(port.unacked))


def second_link(rig: Rig, number: int = 7) -> Port:
    """One more link of the peer."""
    port = rig.port(number, Role.PEER)
    rig.prove(port, PEER)
    rig.switch.ways.open(PEER, HERE, port)
    return port


def outgoing(rig: Rig) -> tuple[Port, Record]:
    """A request of ours that went to FAR over a link, with one more link there."""
    far = rig.port(8, Role.PEER)
    rig.prove(far, FAR)
    rig.switch.ways.open(FAR, HERE, far)
    rig.feed(rig.service, message(1, envelope=Envelope(BOB, FAR, ALICE, HERE)))
    (passed,) = rig.out(far)
    return far, passed


def test_what_a_stream_took_is_forgotten_at_once() -> None:
    """Streams do not acknowledge: what was written is all that can be known."""
    rig = Rig()
    for number in (1, 2):
        rig.feed(rig.peer, message(number, message_id=bytes([number] * 16)))
    for passed in rig.out(rig.service):
        rig.answer(rig.service, passed)
    seen, before = rig.switch.memory.seen, rig.peer.acked
    assert len(seen) == len(rig.peer.unacked) == 2
    rig.switch.acknowledge_all(rig.peer)
    assert (len(seen), len(rig.peer.unacked), rig.peer.acked) == (0, 0, before + 2)


def test_a_first_try_that_comes_after_its_retry_was_answered_is_not_delivered() -> None:
    """The answer of a retry is kept for the window, acknowledged or not: the first try may be late."""
    rig = Rig()
    again = second_link(rig)
    rig.feed(again, retry())
    (passed,) = rig.out(rig.service)
    rig.answer(rig.service, passed)
    assert decode_outcome(*rig.out(again)).ok
    acknowledge_all(rig, again)
    rig.feed(rig.peer, message())
    assert rig.out(rig.service) == []
    assert rig.outcome(rig.peer).ok
    acknowledge_all(rig, rig.peer)
    rig.now += 61
    rig.switch.sweep(rig.now, 30)
    assert not rig.memory.seen


def test_an_answer_that_took_another_link_is_kept_for_the_retry_on_a_third() -> None:
    """Acknowledged on the second link, the request may be on its way again over a third one."""
    rig = Rig()
    second, third = second_link(rig, 7), second_link(rig, 8)
    rig.feed(rig.peer, message())
    (passed,) = rig.out(rig.service)
    rig.switch.remove_port(rig.peer, rig.now)
    rig.answer(rig.service, passed)
    assert rig.outcome(second).ok
    acknowledge_all(rig, second)
    rig.feed(third, retry())
    assert rig.out(rig.service) == []
    assert rig.outcome(third).ok


def test_the_same_for_an_answer_that_is_no_plain_success() -> None:
    """As above, by the slow path."""
    rig = Rig()
    second, third = second_link(rig, 7), second_link(rig, 8)
    rig.feed(rig.peer, message())
    (passed,) = rig.out(rig.service)
    rig.switch.remove_port(rig.peer, rig.now)
    rig.answer(rig.service, passed, failure(Reason.UNKNOWN_USER, role="service"))
    assert rig.outcome(second).status is Status.FAILURE
    acknowledge_all(rig, second)
    rig.feed(third, retry())
    assert rig.out(rig.service) == []
    assert rig.outcome(third).status is Status.FAILURE


def test_an_answer_ends_a_request_that_waits_to_be_sent_again() -> None:
    """It was sent once: what answers it over another link of that domain is its answer."""
    rig = Rig()
    far, passed = outgoing(rig)
    other = rig.port(9, Role.PEER)
    rig.prove(other, FAR)
    rig.switch.remove_port(far, rig.now)
    (tag,) = rig.switch.held
    rig.feed(other, response_to(passed, failure(Reason.BUSY)))
    assert rig.outcome(rig.service).reason is Reason.BUSY
    assert not rig.switch.forward(tag, other, rig.now)
    assert rig.switch.conservation() == []


def test_an_answer_comes_back_over_its_own_link_although_the_proof_there_ended() -> None:
    """WITHDRAW takes effect at once for what is new; requests in flight are answered."""
    rig = Rig()
    far, passed = outgoing(rig)
    del far.sources[FAR]
    far.speaks.discard(FAR)
    rig.answer(far, passed)
    assert rig.outcome(rig.service).ok


def test_a_request_that_waits_to_be_sent_again_may_have_been_delivered() -> None:
    """When its time is up nobody can say that it failed."""
    rig = Rig()
    far, _ = outgoing(rig)
    rig.switch.remove_port(far, rig.now)
    rig.now += 31
    rig.switch.sweep(rig.now, 30)
    (answer,) = rig.out(rig.service)
    assert decode_outcome(answer).status is Status.INDETERMINANT
    assert not answer.flags & FLAG_RETRY


def test_a_retry_is_never_refused_as_failed() -> None:
    """The link that brings it may prove nothing; the first try may have passed on a link that did."""
    rig = Rig()
    stranger = rig.port(9, Role.PEER)
    rig.feed(stranger, retry())
    outcome = rig.outcome(stranger)
    assert (outcome.status, outcome.reason) == (Status.INDETERMINANT, Reason.NOT_PROVED)
    rig.rates.wait_s[b"alice@peer.example"] = 4.0
    rig.feed(rig.peer, retry(2))
    outcome = rig.outcome(rig.peer)
    assert (outcome.status, outcome.reason) == (Status.INDETERMINANT, Reason.RATE_LIMITED)
    assert rig.switch.conservation() == []


def test_copies_of_one_request_in_flight_are_bounded() -> None:
    """Rule 5: who repeats himself takes no memory for it."""
    rig = Rig()
    for tag in range(MAX_JOINED + 5):
        rig.feed(rig.peer, message(1, route_tag=tag))
    (passed,) = rig.out(rig.service)
    assert [decode_outcome(one).reason for one in rig.out(rig.peer)] == [Reason.BUSY] * 4
    rig.answer(rig.service, passed)
    assert len(rig.out(rig.peer)) == MAX_JOINED + 1
    assert rig.switch.conservation() == []


def test_what_waited_goes_out_within_the_credit_of_its_link() -> None:
    """Requests and bytes."""
    rig = Rig()
    rig.feed(rig.service, message(1, envelope=Envelope(BOB, FAR, ALICE, HERE), body=bytes(500)))
    (tag,) = rig.switch.held
    far = rig.port(8, Role.PEER)
    far.credit_bytes = 300
    assert not rig.switch.forward(tag, far, rig.now)
    far.credit_bytes = 1000
    assert rig.switch.forward(tag, far, rig.now)
