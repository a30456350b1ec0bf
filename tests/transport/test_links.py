"""Links, claims and held requests where one thing happens in the middle of another; no sockets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imxrouter.link.machine import LinkState, Side
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.transport.session import LinkSession
from imxrouter.wire.control import ClaimResult, Close, Control, Verify, VerifyResult, decode_control
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.record import Envelope, Record, decode_outcome, decode_record, encode_record
from tests.properties.judge import Broken, Sent
from tests.properties.net import Connection, End
from tests.properties.nodes import Process
from tests.properties.world import World

A, B = b"a.example", b"b.example"


def world() -> tuple[World, Process, Process]:
    """Two routers that have not met."""
    made = World({"a.example": 1, "b.example": 1}, calm=True)
    first, second = made.processes
    return made, first, second


def good_second(world: World) -> None:
    """Everything arrives, services take everything, a second passes."""
    world.step("flow", 1)
    for process in world.living:
        world.answer(process, always=True)
    world.step("flow", 1)
    world.tick()


def ask(world: World) -> Sent:
    """One message from A to B."""
    sent = world.submit(world.processes[0], B)
    sent.decided = Status.SUCCESS
    return sent


def under_way(end: End) -> list[Record]:
    """Records written at an end and not yet arrived."""
    return [decode_record(one) for one in RecordSplitter(1 << 20).feed(b"".join(end.queue))]


def controls(end: End) -> list[Control | None]:
    """The same, the link's own records only."""
    return [decode_control(one) for one in under_way(end) if not one.is_routed]


def dial(world: World) -> Connection:
    """Let the one attempt to connect succeed."""
    world.net.complete(0)
    return world.net.connections[-1]


def arrive(*ends: End) -> None:
    """Everything written at these ends arrives, in turns, until nothing is under way from them."""
    while any(end.can_deliver for end in ends):
        for end in ends:
            if end.can_deliver:
                end.deliver(1 << 30)


def asked(world: World) -> tuple[Connection, Connection]:
    """A message waits, its claim is made, and its verification was answered: nothing of that has arrived."""
    ask(world)
    first = dial(world)
    arrive(*first.ends)
    second = dial(world)
    arrive(second.opener)
    arrive(second.acceptor)
    second.opener.deliver(1 << 30)
    assert any(isinstance(one, VerifyResult) for one in controls(second.acceptor))
    return first, second


def session_at(end: End) -> LinkSession:
    """The session of an end."""
    assert isinstance(end.protocol, LinkSession)
    return end.protocol


def test_an_answer_that_came_proves_though_the_second_connection_is_lost() -> None:
    """Specification 6.2: then without a nonce, and at once."""
    made, _, b = world()
    first, second = asked(made)
    arrive(first.opener)
    second.acceptor.truncate(0)
    arrive(second.acceptor)
    (result,) = (one for one in controls(first.acceptor) if isinstance(one, ClaimResult))
    assert (result.reason, result.nonces) == (0, ())
    assert A in session_at(first.acceptor).port.sources
    assert b.verifier._by_claim == {}


def test_an_answer_on_its_way_proves_though_the_question_must_be_put_again() -> None:
    """The second asking is refused, for the answer was released; it may still be under way."""
    made, a, b = world()
    made.addresses[A].append(("192.0.2.9", 6481))
    made.net.listening["192.0.2.9", 6481] = [a]
    first, second = asked(made)
    second.acceptor.truncate(0)
    arrive(second.acceptor)
    arrive(*dial(made).ends)
    (verification,) = b.verifier._by_claim.values()
    assert verification.fails_at is not None
    arrive(first.opener)
    assert A in session_at(first.acceptor).port.sources


@pytest.mark.parametrize(
    ("reason", "nonce"),
    [(Reason.NONE, b"some other nonce"), (Reason.NOT_MINE, None), (Reason.BAD_TOKEN, None)],
)
def test_the_result_of_a_question_on_a_lost_link_is_not_taken_on_the_next(
    reason: Reason, nonce: bytes | None
) -> None:
    """Specification 6.2: whoever is asked answers for what it was asked, on that very connection."""
    made, a, b = world()
    made.addresses[A].append(("192.0.2.9", 6481))
    made.net.listening["192.0.2.9", 6481] = [a]
    ask(made)
    first = dial(made)
    arrive(*first.ends)
    lost = dial(made)
    arrive(lost.opener)
    arrive(lost.acceptor)
    (old,) = (one for one in controls(lost.opener) if isinstance(one, Verify))
    lost.opener.truncate(0)
    lost.acceptor.truncate(0)
    arrive(lost.acceptor)
    (verification,) = b.verifier._by_claim.values()
    third = dial(made)
    arrive(third.opener)
    third.acceptor.deliver(1 << 30)
    third.acceptor.queue.append(VerifyResult(old.number, reason.code, nonce).encode())
    arrive(third.acceptor)
    assert list(b.verifier._asked.values()) == [verification]
    assert (verification.nonces, verification.targets, verification.fails_at) == ((), 2, None)
    assert made.net.dialling == []
    arrive(*third.ends)
    arrive(first.opener)
    (result,) = (one for one in controls(first.acceptor) if isinstance(one, ClaimResult))
    assert result.reason == 0
    assert len(result.nonces) == 1
    assert nonce not in result.nonces


def test_a_host_that_disowns_a_claim_and_hangs_up_makes_no_second_dial() -> None:
    """The next host is being dialled already."""
    made, a, b = world()
    made.addresses[A].append(("192.0.2.9", 6481))
    made.net.listening["192.0.2.9", 6481] = [a]
    ask(made)
    first = dial(made)
    arrive(*first.ends)
    second = dial(made)
    arrive(second.opener)
    arrive(second.acceptor)
    (question,) = (one for one in controls(second.opener) if isinstance(one, Verify))
    second.acceptor.queue.append(VerifyResult(question.number, Reason.NOT_MINE.code).encode())
    second.acceptor.deliver(1 << 30)
    assert len(made.net.dialling) == 1
    second.acceptor.truncate(0)
    arrive(second.acceptor)
    assert len(made.net.dialling) == 1
    (verification,) = b.verifier._by_claim.values()
    assert (verification.targets, verification.doubtful, b.verifier._asked) == (2, False, {})


def test_a_claim_withdrawn_while_it_is_verified_proves_nothing() -> None:
    """Its answer may have come before the word that ends it."""
    made, a, b = world()
    first, second = asked(made)
    a.claimer.withdraw(A)
    arrive(first.opener)
    arrive(second.acceptor)
    assert session_at(first.acceptor).port.sources == {}
    assert b.verifier._by_claim == {}
    assert b.trust.running == set()
    assert not any(isinstance(one, ClaimResult) for one in controls(first.acceptor))


def test_a_withdrawal_is_not_answered_and_spares_what_was_claimed_after_it() -> None:
    """What was claimed anew has a result of its own."""
    made, a, _ = world()
    one = ask(made)
    good_second(made)
    assert one.outcomes
    a.claimer.withdraw(A)
    two = ask(made)
    good_second(made)
    good_second(made)
    assert [outcome.ok or outcome.reason for outcome in two.outcomes] == [True]


def test_the_token_of_a_lost_connection_is_no_refused_one() -> None:
    """Nobody tried to deceive: nothing of it is remembered, the domain may claim again at once."""
    made, a, b = world()
    ask(made)
    first = dial(made)
    arrive(*first.ends)
    session_at(first.opener).abort(Reason.LINK_LOST, "cut")
    first.opener.truncate(0)
    made.clock.advance(0)
    while made.net.dialling:
        connection = dial(made)
        if connection.opener.party is b:
            arrive(*connection.ends)
    assert b.trust.ended == [Reason.LINK_LOST]
    assert a.hub.sessions


def test_what_waits_moves_when_its_link_drains() -> None:
    """A close that arrives before the claim's result costs the message nothing but a connection."""
    made, a, b = world()
    one = ask(made)
    good_second(made)
    assert one.outcomes
    link = next(each for each in b.hub.sessions.values() if each.port.sources and each.side is Side.ACCEPTOR)
    a.claimer.withdraw(A)
    two = ask(made)
    link.close(Reason.IDLE)
    for _ in range(3):
        good_second(made)
    assert [outcome.ok or outcome.reason for outcome in two.outcomes] == [True]


def test_a_draining_link_ends_when_its_last_answer_has_gone() -> None:
    """Both ways, without waiting for a timer; what comes while it drains is served."""
    made, a, b = world()
    good = ask(made)
    good_second(made)
    assert good.outcomes
    waiting = ask(made)
    made.flow()
    (link,) = [each for each in a.hub.sessions.values() if each.port.sent]
    link.close(Reason.SHUTTING_DOWN)
    made.flow()
    assert link.machine.state is LinkState.DRAINING
    for process in made.living:
        made.answer(process, always=True)
    made.flow()
    assert waiting.outcomes
    assert link.number not in a.hub.sessions
    assert not any(each.machine.state is LinkState.DRAINING for each in b.hub.sessions.values())


def test_answers_of_requests_before_the_error_are_written_before_the_link_ends() -> None:
    """What was complete before bytes that are no record is done."""
    made, _, b = world()
    ask(made)
    first = dial(made)
    arrive(*first.ends)
    request = encode_record(Record(0x0100, 0x80, 9, 7, bytes(16), Envelope(b"u", B, b"u", A), (), b"text"))
    session_at(first.acceptor).dataReceived(request + b"\xff" * 60)
    answer, close = under_way(first.acceptor)[-2:]
    assert decode_outcome(answer).reason is Reason.NOT_PROVED
    assert isinstance(decode_control(close), Close)
    assert b.switch.conservation() == []


def test_a_link_that_is_given_up_takes_no_request_before_the_kernel_says_so() -> None:
    """Aborted and not yet gone, it is no way any more: what comes waits for another."""
    made, a, _ = world()
    one = ask(made)
    good_second(made)
    assert one.outcomes
    for link in list(a.hub.sessions.values()):
        link.abort(Reason.UNREAD_ANSWERS, "for this test")
    two = ask(made)
    assert two.outcomes == []
    assert a.federation.held[0] == 1
    good_second(made)
    good_second(made)
    assert [outcome.ok or outcome.reason for outcome in two.outcomes] == [True]


def test_a_busy_peer_gets_one_more_link_that_carries_the_same_domains() -> None:
    """IMX-14: by load, and not more often than twice a minute."""
    made, a, _ = world()
    one = ask(made)
    good_second(made)
    assert one.outcomes
    for link in a.hub.sessions.values():
        link.port.credit_requests = 4
    waiting = [ask(made) for _ in range(7)]
    for _ in range(3):
        made.flow()
        made.tick()
    mine = [each for each in a.hub.sessions.values() if B in each.reached]
    assert len(mine) == 2
    assert all(each.port in a.switch.ways[B][A] for each in mine)
    for process in made.living:
        made.answer(process, always=True)
    made.flow()
    assert all(each.outcomes for each in waiting)


def test_a_gateway_that_fails_keeps_nobody_else_waiting() -> None:
    """Its error is logged; the ports after it are written to."""
    made, a, _ = world()
    one = ask(made)
    good_second(made)
    assert one.outcomes

    a.gateway._splitter = None  # type: ignore[assignment]
    two = ask(made)
    with pytest.raises(Broken, match="an answer came and was not taken"):
        good_second(made)  # the judge holds the failing gateway to its duty
    assert two.deliveries == 1
    assert a.switch.conservation() == []


def test_a_part_whose_timers_fail_stops_no_others() -> None:
    """It is logged; every other link and part has its tick."""
    made, a, _ = world()
    waiting = ask(made)
    a.claimer.tick = None  # type: ignore[assignment]
    a.federation.destinations.find = None  # type: ignore[assignment]
    for _ in range(14):
        made.tick()
    assert waiting.outcomes


def test_a_retry_does_not_go_down_with_the_second_link_of_a_dying_peer() -> None:
    """All links of a process go, one a moment after the other: the one retry waits for that, and dials."""
    made, _, _ = world()
    one = ask(made)
    good_second(made)
    assert one.outcomes
    old = [each for each in made.net.connections if not each.over]
    assert len(old) == 2
    two = ask(made)
    chosen = [each for each in old if any(record.is_routed for end in each.ends for record in under_way(end))]
    assert len(chosen) == 1
    for each in (*chosen, *(other for other in old if other not in chosen)):
        for end in each.ends:
            end.truncate(0)
        each.cut(made.chance)
        arrive(*each.ends)
    assert not two.outcomes
    for _ in range(3):
        good_second(made)
    assert [outcome.status is Status.INDETERMINANT for outcome in two.outcomes] == [False]
    assert two.deliveries == 1


def test_a_claim_of_a_process_that_is_gone_is_no_refused_one() -> None:
    """Its token is ours and nobody else's: the peer remembers nothing against the domain."""
    made, a, b = world()
    a.hub.identity = replace(a.hub.identity, process=9)
    ask(made)
    arrive(*dial(made).ends)
    a.hub.identity = replace(a.hub.identity, process=0)  # process 9, which made the claim, is gone
    second = dial(made)
    for _ in range(7):
        arrive(*second.ends)
        made.tick()
    assert b.trust.ended == [Reason.LINK_LOST]
