"""A stream as a link: stanzas become records and records stanzas, and each request has one outcome."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from imxrouter.gateways.xmpp.acks import DROPPED_AT_MOST
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.steps import Step
from imxrouter.gateways.xmpp.streams.parts import StreamFailed
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.gateways.xmpp.streams.ways_in import SETTLE_S
from imxrouter.gateways.xmpp.terms import Confirm, StreamTerms, TlsRule
from imxrouter.link.machine import LinkState
from imxrouter.model.limits import Limit
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing.caps import Refusal
from imxrouter.switch import slots
from tests.gateways.xmpp.streams.rig import HEADER, A, B, Router, Wire, alone, joined, message, settle


class Pair:
    """A and B; A opened a stream to B, and its claim is taken."""

    def __init__(self, *, prove: bool = True) -> None:
        self.clock = Clock()
        self.a, self.b = Router(self.clock, A), Router(self.clock, B)
        self.b.trust.true.add((A, B))
        self.a.trust.true.add((B, A))
        self.there(prove=prove)
        if prove:
            self.wires_back = self._back()

    def there(self, *, prove: bool = True) -> None:
        """A's stream to B, or a new one."""
        self.out, self.accepted = self.a.open(B), self.b.accept()
        self.wires = joined(self.out, self.accepted)
        settle(*self.wires)
        if prove:
            self.out.claim(A, B, "key")
            settle(*self.wires)

    def _back(self) -> tuple[Wire, Wire]:
        """B's own stream to A, for what it says."""
        self.back, self.taken = self.b.open(A), self.a.accept()
        wires = joined(self.back, self.taken)
        settle(*wires)
        self.back.claim(B, A, "key")
        settle(*wires)
        return wires

    def pong(self) -> None:
        """B answers A's pings."""
        self.b.pong(self.back)
        settle(*self.wires_back, *self.wires)

    def pass_s(self, seconds: int) -> None:
        """Time passes."""
        for _ in range(seconds):
            self.clock.advance(1)
            for router in (self.a, self.b):
                router.hub.tick()
            settle(*self.wires, *self.wires_back)


def failures_of(session: XmppSession) -> list[BaseException]:
    """What the dialer of a stream is told, once it came to nothing."""
    failed: list[BaseException] = []

    def note(problem: Failure) -> None:
        assert problem.value is not None
        failed.append(problem.value)

    assert session.negotiated is not None
    session.negotiated.addErrback(note)
    return failed


def test_a_claim_opens_the_way() -> None:
    """Negotiation ends with one event on each side, and stanzas of the pair pass from then on."""
    pair = Pair(prove=False)
    assert pair.out.negotiated is None
    assert (pair.out.machine.state, pair.accepted.machine.state) == (LinkState.OPEN, LinkState.OPEN)
    assert (pair.accepted.own, pair.accepted.other) == (B, A)
    pair.out.claim(A, B, "key")
    settle(*pair.wires)
    assert pair.b.trust.heard == [("claim", (A, B, "key"))]
    assert pair.a.trust.heard == [("result", (B, A, DbType.VALID))]


def test_a_stanza_arrives_as_its_very_bytes_and_its_sender_learns_it() -> None:
    """The answer to the ping behind it comes over the other stream, and is the one outcome."""
    pair = Pair()
    number = pair.a.service.send(message(), A, B)
    settle(*pair.wires)
    (request,) = pair.b.service.requests
    assert request.body == b"xmpp\0" + message()
    assert pair.a.service.outcomes == {}
    assert len(pair.a.parts.pings) == 1
    pair.pong()
    assert pair.a.service.outcomes == {number: SUCCESS}
    assert len(pair.a.parts.pings) == 0
    assert pair.a.switch.conservation() == pair.b.switch.conservation() == []


def test_a_success_waits_a_moment_where_an_error_may_come_on_another_stream() -> None:
    """B says errors on one stream and answers pings on another, which is read first: the error counts."""
    pair = Pair()
    first, wires = pair.back, pair.wires_back
    pair.wires_back = pair._back()  # a second stream of B to A
    with pair.a.hub.together():
        lost, kept = (pair.a.service.send(message(ident), A, B) for ident in "12")
    settle(*pair.wires)
    pair.pong()
    pair.clock.advance(SETTLE_S * 0.9)
    assert pair.a.service.outcomes == {}
    pair.a.edge.settled(pair.out.port, (min(pair.a.switch.ledger.entries),), failure(Reason.NOT_DELIVERED))
    pair.clock.advance(SETTLE_S)
    assert pair.a.service.outcomes[lost].reason is Reason.NOT_DELIVERED
    assert pair.a.service.outcomes[kept] == SUCCESS
    assert pair.a.switch.conservation() == []
    first.close(Reason.SHUTTING_DOWN)
    settle(*wires)
    again = pair.a.service.send(message("3"), A, B)
    settle(*pair.wires)
    pair.pong()
    assert pair.a.service.outcomes[again] == SUCCESS, "the one stream that is left says all in its order"


def test_many_stanzas_of_one_read_are_one_write_and_one_ping() -> None:
    """What is put out together is written together, with one question behind it."""
    pair = Pair()
    with pair.a.hub.together():
        numbers = [pair.a.service.send(message(str(number)), A, B) for number in range(20)]
    (written,) = pair.wires[0].writes
    assert written.count(b"<message") == 20
    assert written.count(b"urn:xmpp:ping") == 1
    pair.wires[0].writes[:] = [written[:1000], written[1000:]]
    settle(*pair.wires)
    assert len(pair.b.service.requests) == 20
    pair.pong()
    assert pair.a.service.outcomes == dict.fromkeys(numbers, SUCCESS)


def test_a_second_ping_waits_a_moment_and_is_sent_then() -> None:
    """Not one for each stanza: those of a moment have one together, without waiting for the next second."""
    pair = Pair()
    pair.a.service.send(message("1"), A, B)
    settle(*pair.wires)
    pair.pong()
    second = pair.a.service.send(message("2"), A, B)
    settle(*pair.wires)
    assert pair.b.pinged == []
    pair.clock.advance(0.06)
    settle(*pair.wires)
    pair.pong()
    assert pair.a.service.outcomes[second] == SUCCESS


def test_what_is_not_confirmed_is_not_known() -> None:
    """Thirty seconds without an answer, and the outcome says so, once."""
    pair = Pair()
    number = pair.a.service.send(message(), A, B)
    settle(*pair.wires)
    pair.b.pinged.clear()
    pair.pass_s(32)
    outcome = pair.a.service.outcomes[number]
    assert (outcome.status, outcome.reason) == (Status.INDETERMINANT, Reason.ANSWER_TIMEOUT)
    assert sum(pair.a.late) == 1


def test_a_domain_that_drops_pings_is_known_for_it() -> None:
    """On some streams in a row; then writing must do, as a new stream to it is told."""
    pair = Pair()
    droppers = pair.a.parts.droppers
    for number in range(DROPPED_AT_MOST):
        assert droppers.confirm(B, pair.clock.seconds()) is Confirm.PING
        pair.a.service.send(message(str(number)), A, B)
        settle(*pair.wires)
        pair.b.pinged.clear()
        for _ in range(32):
            pair.back.put(b" ")  # it speaks, on another stream
            pair.accepted.put(b" ")
            pair.pass_s(1)
        assert pair.out.machine.state is LinkState.CLOSED
        pair.there()
    assert droppers.confirm(B, pair.clock.seconds()) is Confirm.WRITTEN


def test_a_dead_stream_is_left_though_its_domain_speaks_on_others() -> None:
    """What is sent goes over a new one then; and that pings are answered there is to the domain's credit."""
    pair = Pair()
    lost = pair.a.service.send(message("1"), A, B)
    pair.wires[0].writes.clear()  # it goes nowhere, like all that is written on it
    for _ in range(45):
        pair.back.put(b"<presence from='juliet@b.example' to='romeo@a.example'/>")
        settle(*pair.wires_back)
        pair.wires[0].writes.clear()
        pair.a.hub.tick()
        pair.clock.advance(1)
    assert pair.a.service.outcomes[lost].reason is Reason.ANSWER_TIMEOUT
    assert not pair.out.port.usable
    assert len(pair.a.parts.pings) == 0
    pair.there()
    arrived = pair.a.service.send(message("2"), A, B)
    settle(*pair.wires)
    pair.pong()
    assert pair.a.service.outcomes[arrived] == SUCCESS
    assert not pair.a.parts.droppers.dropped(B, pair.clock.seconds())


@pytest.mark.parametrize("speaks", [True, False])
def test_stanzas_on_another_stream_tell_who_drops_pings_from_who_is_gone(*, speaks: bool) -> None:
    """Of a domain that speaks the stream ends in order, for it may be dead alone; its pings lose credit."""
    pair = Pair()
    pair.a.service.send(message(), A, B)
    settle(*pair.wires)
    pair.b.pinged.clear()
    for _ in range(32):
        if speaks:
            pair.back.put(b"<presence from='juliet@b.example' to='romeo@a.example'/>")
        pair.pass_s(1)
    assert pair.out.drop_reason is (Reason.NONE if speaks else Reason.KEEPALIVE_TIMEOUT)
    assert pair.a.parts.droppers.dropped(B, pair.clock.seconds()) is speaks


def test_what_is_not_proved_any_more_on_a_stream_does_not_come_on_it() -> None:
    """Though the stream goes on: that nothing comes of that pair says nothing of who is there."""
    pair = Pair(prove=False)
    pair.out.machine.pairs.speak_both_ways()
    pair.out.claim(A, B, "key")
    settle(*pair.wires)
    assert pair.a.parts.ways_in.leads(B, A)
    pair.out.unproved((A, B))
    assert not pair.a.parts.ways_in.leads(B, A)
    assert pair.out.machine.state is LinkState.OPEN


def test_what_nobody_asks_about_is_done_when_it_is_written() -> None:
    """Presence has no answer: no ping goes out for it."""
    pair = Pair()
    number = pair.a.service.send(f"<presence from='alice@{A}' to='bob@{B}'/>".encode(), A, B)
    assert pair.a.service.outcomes == {number: SUCCESS}
    settle(*pair.wires)
    assert pair.b.pinged == []
    assert len(pair.b.service.requests) == 1


def test_what_cannot_be_said_is_answered() -> None:
    """A record that no stanza can say has the outcome that the edge gives."""
    pair = Pair()
    pair.a.edge.refuses = failure(Reason.BAD_BODY)
    number = pair.a.service.send(message(), A, B)
    assert pair.a.service.outcomes[number].reason is Reason.BAD_BODY
    assert pair.wires[0].writes == []


def test_answers_go_to_the_edge() -> None:
    """What became of a stanza that a stream brought is the edge's to tell."""
    pair = Pair()
    pair.b.service.outcome = failure(Reason.TOO_LARGE, role="service")
    pair.a.service.send(message(), A, B)
    settle(*pair.wires)
    (answer,) = pair.b.edge.answers
    assert answer.reason is Reason.TOO_LARGE


def test_a_stream_that_is_lost_leaves_nobody_waiting() -> None:
    """What was written and not confirmed is not known; nothing is sent again."""
    pair = Pair()
    number = pair.a.service.send(message(), A, B)
    pair.wires[0].ended = True
    settle(*pair.wires)
    outcome = pair.a.service.outcomes[number]
    assert (outcome.status, outcome.reason) == (Status.INDETERMINANT, Reason.LINK_LOST)
    assert len(pair.a.parts.pings) == 0
    assert pair.a.held == []
    assert pair.a.switch.conservation() == []


def test_closing_lets_what_is_in_flight_finish() -> None:
    """The end of the stream is said behind what waits for its confirmation, and answered."""
    pair = Pair()
    number = pair.a.service.send(message(), A, B)
    settle(*pair.wires)
    pair.out.close(Reason.IDLE)
    settle(*pair.wires)
    assert pair.out.machine.state is LinkState.DRAINING
    pair.pong()
    settle(*pair.wires)
    assert pair.a.service.outcomes == {number: SUCCESS}
    assert pair.out.number not in pair.a.hub.sessions
    assert pair.accepted.number not in pair.b.hub.sessions
    assert pair.a.errors == pair.b.errors == []


def test_a_peer_that_does_not_read_is_shed_then_closed() -> None:
    """What is unread is bounded, as on every link."""
    pair = Pair()
    pair.wires[0].takes = False
    body = "x" * 60_000
    numbers = [pair.a.service.send(message(str(number), body), A, B) for number in range(80)]
    outcomes = [pair.a.service.outcomes[one].reason for one in numbers if one in pair.a.service.outcomes]
    assert Reason.BUSY in outcomes
    assert pair.out.unwritten <= pair.a.hub.settings.unread_bytes
    pair.out.put(b" " * (5 << 20))
    assert pair.out.drop_reason is Reason.UNREAD_ANSWERS
    settle(*pair.wires)
    assert set(numbers) == set(pair.a.service.outcomes)


def test_bytes_are_counted() -> None:
    """On the session and in the counters of the process, both ways."""
    pair = Pair()
    before = pair.b.switch.counters[slots.BYTES_IN], pair.accepted.bytes_in
    pair.a.service.send(message(), A, B)
    written = len(b"".join(pair.wires[0].writes))
    settle(*pair.wires)
    assert pair.b.switch.counters[slots.BYTES_IN] - before[0] == written
    assert pair.accepted.bytes_in - before[1] == written
    assert pair.out.bytes_out == pair.accepted.bytes_in


def test_a_stranger_is_told_why_it_ends() -> None:
    """Header, error and end of the stream come in one write, before anything of theirs is acted on."""
    router = Router(Clock(), B)
    wire = alone(router.accept())
    wire.protocol.dataReceived(HEADER + message())
    (features, error) = wire.writes[0], b"".join(wire.writes)
    assert features.startswith(b"<?xml")
    assert error.endswith(b"</stream:stream>")
    assert b"not-authorized" in error
    assert router.errors == [("not-authorized", "sent")]
    assert router.service.requests == []
    assert wire.ended


@pytest.mark.parametrize(
    ("limit", "condition"),
    [
        (Limit.LINKS, b"resource-constraint"), (Limit.STRANGERS, b"resource-constraint"),
        (Limit.CONNECTION_RATE_ADDRESS, b"resource-constraint"),
        (Limit.STRANGERS_ADDRESS, b"conflict"), (Limit.STRANGERS_NETWORK, b"conflict"),
    ],
)  # fmt: skip
def test_no_room_is_said_in_xmpp(limit: Limit, condition: bytes) -> None:
    """Whoever is over a cap gets a header and a stream error (RFC 6120 sections 4.6.3 and 4.9.3.3)."""
    router = Router(Clock(), B)
    router.hub.admit = lambda _session: Refusal(Reason.OVER_CAP, 30, "too many", limit)
    wire = alone(router.accept())
    (written,) = wire.writes
    assert written.startswith(b"<?xml")
    assert b"<%s xmlns=" % condition in written
    assert b" from='' id=" in written
    assert written.endswith(b"</stream:stream>")
    assert wire.ended


def test_who_says_nothing_is_ended_in_time() -> None:
    """A header is due within ten seconds."""
    router = Router(Clock(), B)
    wire = alone(router.accept())
    for _ in range(11):
        router.clock.advance(1)
        router.hub.tick()
    assert b"connection-timeout" in wire.writes[-1]
    assert wire.ended


def test_a_dialer_learns_what_came_of_its_stream() -> None:
    """A stream error before it is open is its failure, with the reason of the one vocabulary."""
    clock = Clock()
    a, b = Router(clock, A), Router(clock, "c.example")
    out = a.open(B)
    failed = failures_of(out)
    settle(*joined(out, b.accept()))
    (problem,) = failed
    assert isinstance(problem, StreamFailed)
    assert problem.reason is out.drop_reason
    assert "host-unknown" in problem.note
    assert a.errors == [("host-unknown", "received")]
    assert b.errors == [("host-unknown", "sent")]


@pytest.mark.parametrize("how", ["lost", "aborted"])
def test_a_dialer_is_not_left_waiting(how: str) -> None:
    """Whatever ends a stream before it is open is its failure."""
    a = Router(Clock(), A)
    out = a.open(B)
    failed = failures_of(out)
    wire = alone(out)
    if how == "lost":
        wire.ended = True
        wire.bring()
    else:
        out.abort(Reason.CONNECT_TIMEOUT, "too slow")
    assert len(failed) == 1


def test_clear_text_where_tls_is_due_is_refused() -> None:
    """At a listener where TLS comes first, who begins in clear is told so."""
    router = Router(Clock(), B)
    session = XmppSession(router.hub, router.accept().role, router.parts, only_tls=True)
    wire = alone(session)
    wire.protocol.dataReceived(HEADER)
    assert session.drop_reason is Reason.TLS_FAILED
    assert b"<stream:features" not in b"".join(wire.writes)
    assert wire.ended


def test_clear_text_behind_the_begin_of_tls_is_refused() -> None:
    """After `<proceed/>` nothing but a ClientHello is taken."""
    router = Router(Clock(), B)
    router.terms = lambda _session: StreamTerms(tls=TlsRule.REQUIRED, serves=lambda name: name == B)
    session = router.accept()
    wire = alone(session)
    wire.protocol.dataReceived(HEADER)
    wire.protocol.dataReceived(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    assert wire.writes[-1] == b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    wire.protocol.dataReceived(HEADER)
    assert session.drop_reason is Reason.TLS_FAILED
    assert wire.ended


@pytest.mark.parametrize("goes_on", [True, False])
def test_what_is_sent_while_a_stream_begins_anew_waits(goes_on: bool) -> None:
    """A pair may be proved before the stream is there again: it goes out then, or has not gone at all."""
    pair = Pair()
    pair.out.machine.step = Step.HEADER
    number = pair.a.service.send(message(), A, B)
    assert pair.wires[0].writes == []
    assert pair.a.service.outcomes == {}
    if goes_on:
        pair.out.machine.step = Step.OPEN
        pair.out.perform([])
        settle(*pair.wires)
        assert len(pair.b.service.requests) == 1
        pair.pong()
        assert pair.a.service.outcomes == {number: SUCCESS}
    else:
        pair.wires[0].ended = True
        settle(*pair.wires)
        outcome = pair.a.service.outcomes[number]
        assert (outcome.status, outcome.reason) == (Status.FAILURE, Reason.LINK_LOST)
    assert pair.a.switch.conservation() == []


def test_what_has_waited_goes_on_unless_its_stream_is_gone() -> None:
    """Whoever puts stanzas off gives them back; of a stream that is gone they are not taken."""
    pair = Pair()
    waiting: list[StanzaIn] = []

    def put_off(_session: object, stanzas: Sequence[StanzaIn]) -> bytes:
        waiting.extend(stanzas)
        return b""

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pair.b.edge, "records_of", put_off)
        pair.a.service.send(message(), A, B)
        settle(*pair.wires)
    waiting = [one for one in waiting if one.stanza.kind == "message"]
    assert len(waiting) == 1
    assert pair.b.service.requests == []
    pair.accepted.bring(waiting)
    assert len(pair.b.service.requests) == 1
    pair.accepted.abort(Reason.LINK_LOST, "cut")
    pair.accepted.bring(waiting)
    assert len(pair.b.service.requests) == 1


def test_who_goes_closes_what_others_opened_and_not_his_own() -> None:
    """Nothing new comes on the one; the other stays, for what was written there is asked about."""
    pair = Pair()
    pair.accepted.stop_requests()
    assert pair.accepted.machine.step is Step.DRAINING
    assert pair.accepted.port.usable is False
    other = Pair()
    other.out.stop_requests()
    settle(*other.wires)
    assert other.out.machine.state is LinkState.OPEN
