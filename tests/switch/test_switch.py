"""The hot path: rule 1, answers, duplicates, retries, loops, services."""

import pytest

from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.switch import slots
from imxrouter.switch.checks import Checks
from imxrouter.switch.ports import FOREVER, Role
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_RETRY
from imxrouter.wire.record import Envelope, Record, decode_outcome, encode_record, response_to
from tests.switch.rig import ALICE, BOB, EPOCH, FAR, HERE, PEER, Rig, message


def test_a_message_crosses_and_its_answer_returns() -> None:
    """The common case: only route tag and hops change, the answer gets the asker's tag back."""
    rig = Rig()
    sent = message(7)
    rig.feed(rig.peer, sent)
    (passed,) = rig.out(rig.service)
    assert passed.envelope == sent.envelope
    assert passed.body == sent.body
    assert passed.hops_left == 109
    assert passed.route_tag != 7
    rig.answer(rig.service, passed)
    (answer,) = rig.out(rig.peer)
    assert answer.route_tag == 7
    assert answer.message_id == sent.message_id
    assert decode_outcome(answer).ok
    assert rig.switch.conservation() == []


@pytest.mark.parametrize(
    ("checks", "reason"),
    [(Checks(), Reason.NOT_PROVED), (Checks(source=False), None)],
)
def test_a_source_that_is_not_proved_is_refused(checks: Checks, reason: Reason | None) -> None:
    """Rule 1, peer: the source check is what stops a spoofed sender."""
    rig = Rig(checks)
    rig.feed(rig.peer, message(envelope=Envelope(BOB, HERE, ALICE, b"bank.example")))
    if reason is None:
        assert len(rig.out(rig.service)) == 1
    else:
        assert rig.outcome(rig.peer).reason is reason
        assert rig.out(rig.service) == []
    assert rig.switch.conservation() == []


def test_a_domain_served_here_speaks_only_by_its_service() -> None:
    """Rule 1: a source that is ours is refused from outside, even to another domain of ours."""
    rig = Rig()
    rig.serve(b"other.example", rig.service)
    rig.feed(rig.peer, message(envelope=Envelope(BOB, HERE, ALICE, b"other.example")))
    assert rig.outcome(rig.peer).reason is Reason.RELAY_DENIED


@pytest.mark.parametrize("checks", [Checks(), Checks(relay=False)])
def test_nothing_is_relayed(checks: Checks) -> None:
    """Rule 1: from a peer only to domains served here; the relay check is what stops it."""
    rig = Rig(checks)
    rig.feed(rig.peer, message(envelope=Envelope(BOB, FAR, ALICE, PEER)))
    if checks.relay:
        assert rig.outcome(rig.peer).reason is Reason.RELAY_DENIED
    else:
        assert len(rig.switch.held) == 1


def test_a_service_sends_only_as_its_own_domains() -> None:
    """Rule 1, service: what is not bound to it is refused, whatever else is served here."""
    rig = Rig()
    other = rig.port(9, Role.SERVICE)
    rig.serve(b"other.example", other)
    rig.feed(rig.service, message(envelope=Envelope(BOB, FAR, ALICE, b"other.example")))
    assert rig.outcome(rig.service).reason is Reason.NOT_PROVED


def test_domains_served_here_are_switched_inside() -> None:
    """IMX-4: between two services nothing leaves and nothing is held."""
    rig = Rig()
    other = rig.port(9, Role.SERVICE)
    rig.serve(b"other.example", other)
    rig.feed(rig.service, message(envelope=Envelope(BOB, b"other.example", ALICE, HERE)))
    assert len(rig.out(other)) == 1
    assert not rig.switch.held


def test_an_uplink_brings_any_source_but_ours() -> None:
    """Rule 1, uplink."""
    rig = Rig()
    uplink = rig.port(5, Role.UPLINK)
    uplink.sources[b"*"] = (0xFF, None, FOREVER, 0.001, 10.0, FOREVER)
    rig.feed(uplink, message(envelope=Envelope(BOB, HERE, ALICE, b"any.example")))
    assert len(rig.out(rig.service)) == 1
    rig.feed(uplink, message(2, envelope=Envelope(BOB, HERE, ALICE, HERE)))
    assert rig.outcome(uplink).reason is Reason.RELAY_DENIED
    rig.feed(uplink, message(3, envelope=Envelope(BOB, FAR, ALICE, b"any.example")))
    assert rig.outcome(uplink).reason is Reason.RELAY_DENIED


def test_a_proof_has_an_end_a_direction_and_a_strength() -> None:
    """Rule 3: expired, for another destination, or weaker than the destination asks."""
    rig = Rig()
    rig.peer.sources[PEER] = (1, None, rig.now - 1, 1.0, 10.0, FOREVER)
    rig.feed(rig.peer, message(1))
    assert rig.outcome(rig.peer).reason is Reason.NOT_PROVED
    rig.prove(rig.peer, PEER, only=frozenset({b"other.example"}))
    rig.feed(rig.peer, message(2))
    assert rig.outcome(rig.peer).reason is Reason.RELAY_DENIED
    rig.prove(rig.peer, PEER, strength=1)
    rig.switch.routes[HERE].level = 3
    rig.feed(rig.peer, message(3))
    assert rig.outcome(rig.peer).reason is Reason.WEAKER_THAN_POLICY


@pytest.mark.parametrize("checks", [Checks(), Checks(answer_link=False)])
def test_an_answer_comes_only_over_a_link_of_the_domain_asked(checks: Checks) -> None:
    """Specification 7.4: any link of that domain may answer, no other; the link check stops the thief."""
    rig = Rig(checks)
    rig.feed(rig.peer, message())
    (passed,) = rig.out(rig.service)
    thief = rig.port(8, Role.PEER)
    rig.prove(thief, b"thief.example")
    rig.answer(thief, passed)
    stolen = rig.out(rig.peer)
    assert len(stolen) == (0 if checks.answer_link else 1)
    if checks.answer_link:
        assert rig.switch.counters[slots.STRAY_RESPONSES] == 1
        second = rig.port(10, Role.SERVICE)
        rig.serve(HERE, rig.service, second)
        rig.answer(second, passed)
        assert len(rig.out(rig.peer)) == 1


def test_late_second_and_altered_answers_change_nothing() -> None:
    """They are dropped and counted."""
    rig = Rig()
    rig.feed(rig.peer, message())
    (passed,) = rig.out(rig.service)
    altered = response_to(passed, failure(Reason.BUSY))
    swapped = Record(
        altered.type,
        0,
        110,
        altered.route_tag,
        altered.message_id,
        Envelope(b"eve", PEER, BOB, HERE),
        (),
        altered.body,
    )
    rig.feed(rig.service, swapped)
    wrong_kind = Record(
        0x8103, 0, 110, altered.route_tag, altered.message_id, altered.envelope, (), altered.body
    )
    rig.feed(rig.service, wrong_kind)
    assert rig.out(rig.peer) == []
    rig.answer(rig.service, passed)
    rig.answer(rig.service, passed)
    assert len(rig.out(rig.peer)) == 1
    assert rig.switch.counters[slots.STRAY_RESPONSES] == 3


def test_a_hop_named_by_a_peer_is_kept_only_if_it_is_its_own() -> None:
    """Architecture 2: a peer cannot blame another domain."""
    rig = Rig()
    far = rig.port(6, Role.PEER)
    rig.prove(far, FAR, only=frozenset({HERE}))
    rig.switch.ways.open(FAR, HERE, far)
    rig.feed(rig.service, message(envelope=Envelope(BOB, FAR, ALICE, HERE)))
    (passed,) = rig.out(far)
    rig.answer(far, passed, failure(Reason.BUSY, by="innocent.example", role="peer", retry_after_s=3))
    outcome = rig.outcome(rig.service)
    assert (outcome.reason, outcome.decided_by) == (Reason.BUSY, "far.example")


def test_duplicates_join_repeat_or_are_refused() -> None:
    """Specification 8.2: in flight, finished, and one id for two contents."""
    rig = Rig()
    rig.feed(rig.peer, message(1))
    (passed,) = rig.out(rig.service)
    rig.feed(rig.peer, message(1, route_tag=50))
    rig.feed(rig.peer, message(1, route_tag=51, body=b"other"))
    assert rig.outcome(rig.peer).reason is Reason.ID_REUSED
    rig.answer(rig.service, passed)
    assert [record.route_tag for record in rig.out(rig.peer)] == [1, 50]
    rig.feed(rig.peer, message(1, route_tag=52))
    assert [record.route_tag for record in rig.out(rig.peer)] == [52]
    assert rig.out(rig.service) == []
    assert rig.switch.conservation() == []


def test_acknowledged_answers_are_forgotten_at_once() -> None:
    """The memory holds what is unacknowledged, not rate times window."""
    rig = Rig()
    for number in range(1, 51):
        rig.feed(rig.peer, message(number))
        for passed in rig.out(rig.service):
            rig.answer(rig.service, passed)
    assert len(rig.memory.seen) == 50
    assert rig.switch.acknowledge(rig.peer, 50)
    assert len(rig.memory.seen) == 0
    assert not rig.switch.acknowledge(rig.peer, 51)


def test_a_full_duplicate_memory_refuses_and_evicts_nothing() -> None:
    """Rule 5."""
    rig = Rig(memory_limit=2)
    for number in (1, 2, 3):
        rig.feed(rig.peer, message(number))
    assert len(rig.out(rig.service)) == 2
    assert rig.outcome(rig.peer).reason is Reason.BUSY


def test_a_retry_repeats_the_epoch_it_was_first_sent_to() -> None:
    """A memory that does not cover the epoch answers indeterminant and does not deliver."""
    rig = Rig()
    stranger = message(1, flags=0x80 | FLAG_RETRY, fields=(Field(0x8001, b"epoch-99"),))
    rig.feed(rig.peer, stranger)
    outcome = rig.outcome(rig.peer)
    assert (outcome.status, outcome.reason) == (Status.INDETERMINANT, Reason.EPOCH_UNKNOWN)
    assert rig.out(rig.service) == []
    rig.feed(rig.peer, message(2))
    rig.feed(rig.peer, message(2, flags=0x80 | FLAG_RETRY, fields=(Field(0x8001, EPOCH),), route_tag=9))
    (passed,) = rig.out(rig.service)
    rig.answer(rig.service, passed)
    assert [record.route_tag for record in rig.out(rig.peer)] == [2, 9]
    rig.feed(rig.peer, message(3, flags=0x80 | FLAG_RETRY, fields=(Field(0x8001, EPOCH),)))
    (fresh,) = rig.out(rig.service)
    assert fresh.fields == ()
    assert not fresh.flags & FLAG_RETRY
    assert rig.switch.conservation() == []


def test_a_lost_link_makes_one_retry_then_indeterminant() -> None:
    """BEY-3: retried once under the same id with the first epoch; never silently lost."""
    rig = Rig()
    far = rig.port(6, Role.PEER)
    rig.prove(far, FAR)
    rig.switch.ways.open(FAR, HERE, far)
    rig.feed(rig.service, message(envelope=Envelope(BOB, FAR, ALICE, HERE)))
    (first,) = rig.out(far)
    rig.switch.remove_port(far, rig.now)
    (tag,) = rig.switch.held
    again = rig.port(7, Role.PEER)
    rig.prove(again, FAR)
    assert rig.switch.forward(tag, again, rig.now)
    (second,) = rig.out(again)
    assert second.message_id == first.message_id
    assert second.flags & FLAG_RETRY
    assert second.fields == (Field(0x8001, b"peer-006"),)
    rig.switch.remove_port(again, rig.now)
    outcome = rig.outcome(rig.service)
    assert (outcome.status, outcome.reason) == (Status.INDETERMINANT, Reason.LINK_LOST)
    assert outcome.decided_by == "far.example"
    assert rig.switch.conservation() == []


def test_without_recognition_of_duplicates_nothing_is_retried() -> None:
    """Specification 8.2: towards such a service, indeterminant at once."""
    rig = Rig()
    rig.service.epoch = None
    rig.feed(rig.peer, message())
    rig.out(rig.service)
    rig.switch.remove_port(rig.service, rig.now)
    assert not rig.switch.held
    assert rig.outcome(rig.peer).status is Status.INDETERMINANT


@pytest.mark.parametrize("checks", [Checks(), Checks(loop=False)])
def test_a_loop_is_refused_at_once(checks: Checks) -> None:
    """The same id in flight with fewer hops left from another role (CPIM-3)."""
    rig = Rig(checks)
    uplink = rig.port(5, Role.UPLINK)
    uplink.sources[b"*"] = (0xFF, None, FOREVER, 0.001, 10.0, FOREVER)
    rig.feed(rig.peer, message())
    (passed,) = rig.out(rig.service)
    rig.feed(uplink, message(hops_left=passed.hops_left - 1, route_tag=4))
    if checks.loop:
        assert rig.outcome(uplink).reason is Reason.LOOP
    else:
        assert rig.out(uplink) == []


def test_a_service_without_a_link_is_down() -> None:
    """And the answer says when to try again."""
    rig = Rig()
    rig.switch.routes[HERE].ports.clear()
    rig.feed(rig.peer, message())
    outcome = rig.outcome(rig.peer)
    assert outcome.reason is Reason.SERVICE_DOWN
    assert outcome.retry_after_s > 0


def test_an_answer_whose_asker_is_gone_takes_another_link_or_waits_for_the_retry() -> None:
    """IMX-21 and BEY-3."""
    rig = Rig()
    rig.feed(rig.peer, message(1))
    rig.feed(rig.peer, message(2))
    one, two = rig.out(rig.service)
    rig.switch.remove_port(rig.peer, rig.now)
    rig.answer(rig.service, one)
    for_others, again = rig.port(10, Role.PEER), rig.port(11, Role.PEER)
    for link, ours in ((for_others, FAR), (again, HERE)):
        rig.prove(link, PEER)
        rig.switch.ways.open(PEER, ours, link)
    rig.answer(rig.service, two)
    assert [record.route_tag for record in rig.out(again)] == [2]
    assert rig.out(for_others) == []  # where we do not speak for HERE, the asker would drop it
    rig.feed(again, message(1, flags=0x80 | FLAG_RETRY, fields=(Field(0x8001, EPOCH),), route_tag=21))
    assert [record.route_tag for record in rig.out(again)] == [21]
    assert rig.out(rig.service) == []
    assert rig.switch.conservation() == []


def test_responses_of_another_process_are_handed_over() -> None:
    """The tag says which process asked."""
    rig = Rig(process=3)
    elsewhere = Record(0x8100, 0, 110, 4 << 48, bytes(16), Envelope(ALICE, PEER, BOB, HERE), (), bytes(8))
    rig.feed(rig.service, elsewhere)
    ((process, data, speaks),) = rig.switch.foreign
    assert (process, data) == (4, encode_record(elsewhere))
    assert HERE in speaks


def test_late_requests_become_indeterminant() -> None:
    """Nothing waits without a deadline."""
    rig = Rig()
    rig.feed(rig.peer, message())
    rig.out(rig.service)
    rig.switch.sweep(rig.now + 31, 30.0)
    outcome = rig.outcome(rig.peer)
    assert (outcome.status, outcome.reason) == (Status.INDETERMINANT, Reason.ANSWER_TIMEOUT)
    assert rig.switch.conservation() == []
