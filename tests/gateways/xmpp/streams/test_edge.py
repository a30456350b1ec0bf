"""Stanzas over two routers: as they are, each with one outcome, each failure told once and never twice."""

from __future__ import annotations

from typing import Any

import pytest

from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.canonical import canonical
from imxrouter.gateways.xmpp.names import SERVER
from imxrouter.gateways.xmpp.stanza import Stanza, tree_of
from imxrouter.gateways.xmpp.streams.records import is_asked
from imxrouter.gateways.xmpp.streams.told import TOLD_S, Question, Told, ToldTable
from imxrouter.gateways.xmpp.subscriptions.passing import Seen
from imxrouter.gateways.xmpp.translate.queries import Wanted
from imxrouter.gateways.xmpp.xml import AFTER, StreamParser
from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.transport.translate import message_to_record
from imxrouter.wire.record import Envelope
from imxrouter.wire.registry import FieldType, RecordType
from tests.gateways.xmpp.streams.edge_rig import EdgePair, gate_without
from tests.gateways.xmpp.streams.rig import A, B, message

ALICE, BOB = Address.parse(f"alice@{A}"), Address.parse(f"bob@{B}")
ENDS = f"from='Alice@{A}/desk \u00e9' to='bob@{B}'".encode()


def test_a_stanza_goes_on_as_it_is() -> None:
    """The very bytes; the envelope is made of bare addresses, and the resource is the instance."""
    pair = EdgePair()
    raw = b"<message %s type='chat' id=\"1\"><body>a > b</body><x xmlns='urn:x'  y='1'/></message>" % ENDS
    number = pair.a.service.send(raw, A, B)
    pair.settle()
    (record,) = pair.b.service.requests
    assert (record.type, record.body) == (RecordType.STANZA, b"xmpp\0" + raw)
    assert record.envelope == Envelope(b"bob", B.encode(), b"alice", A.encode())
    assert record.value(FieldType.INSTANCE) == "desk \u00e9".encode()
    assert pair.a.service.outcomes == {number: SUCCESS}
    assert pair.a.switch.conservation() == pair.b.switch.conservation() == []
    assert not pair.b.said


def test_the_header_of_our_streams_gives_what_others_wrote_no_language() -> None:
    """On a stream that we accepted it goes out as it came, and is read as it was written."""
    pair = EdgePair()
    raw = b"<message %s><body>Ahoj</body></message>" % ENDS
    assert pair.b.real.leaving(pair.accepted, raw) == (raw, True)
    header = say.header(SERVER, from_=B, to=A, stream_id="1", answers=True)
    _header, got = StreamParser(AFTER, SERVER).feed(header + raw)
    assert isinstance(got, Stanza)
    assert got.tree().language == ""


def sid(by: str) -> str:
    """A stanza-id."""
    return f"<stanza-id xmlns='urn:xmpp:sid:0' id='s' by='{by}'/>"


@pytest.mark.parametrize("forged", [f"bob@{B}", B, f"BOB@{B.upper()}/x", f"bob&#64;{B}"])
def test_a_stanza_id_that_only_we_could_give_does_not_pass(forged: str) -> None:
    """Of a message that passes otherwise as it is; the sender's own and those of others stay."""
    pair = EdgePair()
    mine, others = sid(f"room@{A}"), sid("room@conf.c.example")
    whole = "<message %s type='groupchat'><body>a</body>%s</message>"
    raw = whole % (ENDS.decode(), mine + sid(forged) + others)
    pair.a.service.send(raw.encode(), A, B)
    pair.settle()
    assert pair.stanzas(pair.b) == [(whole % (ENDS.decode(), mine + others)).encode()]


def test_without_that_check_a_stanza_id_would_be_forged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one check is away, and the stanza seems to be in the archive of who gets it."""
    monkeypatch.setattr("imxrouter.gateways.xmpp.translate.forms._may_name", lambda *_args: False)
    pair = EdgePair()
    raw = f"<message {ENDS.decode()}><body>a</body>{sid(f'bob@{B}')}</message>".encode()
    pair.a.service.send(raw, A, B)
    pair.settle()
    assert pair.stanzas(pair.b) == [raw]


def test_no_tree_is_made_of_what_names_nobody_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message of a room with an archive has such an id: it costs a search, no more."""
    monkeypatch.setattr("imxrouter.gateways.xmpp.translate.forms.without_our_ids", None)
    pair = EdgePair()
    raw = f"<message {ENDS.decode()}><body>by</body>{sid('room@conf.c.example')}</message>".encode()
    pair.a.service.send(raw, A, B)
    pair.settle()
    assert pair.stanzas(pair.b) == [raw]


@pytest.mark.parametrize(
    "raw",
    [
        b"<message %s id='1'><body>a</body></message>" % ENDS,
        b"<message %s id='1' type='groupchat'><subject>a</subject></message>" % ENDS,
        b"<iq %s id='1' type='get'><query xmlns='urn:x'/></iq>" % ENDS,
        b"<iq %s id='1' type='set'><query xmlns='urn:x'/></iq>" % ENDS,
        b"<presence %s id='1' type='subscribe'/>" % ENDS,
    ],
)
def test_a_failure_behind_the_other_router_comes_back_as_a_stanza_error(raw: bytes) -> None:
    """Once, over the other direction's stream, with the addresses swapped and the sender's id."""
    pair = EdgePair()
    pair.b.service.outcome = failure(Reason.UNKNOWN_USER, by=B, role="service")
    pair.a.service.send(raw, A, B)
    pair.settle()
    (error,) = [tree_of(one) for one in pair.stanzas(pair.a)]
    assert error.name == tree_of(raw).name
    assert error.attributes == {
        "from": f"bob@{B}",
        "to": f"Alice@{A}/desk \u00e9",
        "id": "1",
        "type": "error",
    }
    conditions = [one.name for child in error.children for one in child.children]
    assert conditions[0] == "service-unavailable"
    assert len(pair.b.said) == 1
    assert not pair.a.said
    assert pair.a.switch.conservation() == pair.b.switch.conservation() == []


@pytest.mark.parametrize(
    "raw",
    [
        b"<message %s id='1' type='error'><body>a</body></message>" % ENDS,
        b"<message %s id='1' type='headline'><body>a</body></message>" % ENDS,
        b"<message %s><composing xmlns='http://jabber.org/protocol/chatstates'/></message>" % ENDS,
        b"<message %s><received xmlns='urn:xmpp:receipts' id='1'/></message>" % ENDS,
        b"<iq %s id='1' type='result'/>" % ENDS,
        b"<iq %s id='1' type='error'/>" % ENDS,
        b"<presence %s/>" % ENDS,
        b"<presence %s type='unavailable'/>" % ENDS,
        b"<presence %s type='error'/>" % ENDS,
    ],
)
def test_an_error_is_never_told_of_what_must_not_be_answered(raw: bytes) -> None:
    """Else two servers could answer each other for ever (RFC 6120 section 8.3.1)."""
    pair = EdgePair()
    pair.b.service.outcome = failure(Reason.UNKNOWN_USER, by=B, role="service")
    pair.a.service.send(raw, A, B)
    pair.settle()
    assert pair.stanzas(pair.b) == [raw]
    assert pair.stanzas(pair.a) == []
    assert not pair.b.said


def test_without_that_check_errors_would_be_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that fails is answered by an error as soon as the one rule is away."""
    monkeypatch.setattr("imxrouter.gateways.xmpp.streams.told._may_be_answered", lambda *_given: True)
    monkeypatch.setattr("imxrouter.gateways.xmpp.streams.told.may_be_answered", lambda _given: True)
    monkeypatch.setattr("imxrouter.gateways.xmpp.translate.failures.may_be_answered", lambda _given: True)
    pair = EdgePair()
    pair.a.service.outcome = pair.b.service.outcome = failure(Reason.UNKNOWN_USER, by=B, role="service")
    pair.a.service.send(b"<message %s id='1' type='error'/>" % ENDS, A, B)
    with pytest.raises(AssertionError, match="they never come to rest"):
        pair.settle()


@pytest.mark.parametrize("to", [f"a b@{B}", f"@{B}", f"bob@{B}/"])
def test_a_recipient_that_is_no_jid_is_refused(to: str) -> None:
    """Its sender is told, by the name that he used."""
    pair = EdgePair()
    pair.a.service.send(f"<message from='alice@{A}' to='{to}' id='1'><body/></message>".encode(), A, B)
    pair.settle()
    assert pair.stanzas(pair.b) == []
    (record,) = pair.b.said
    error = tree_of(record.body.partition(b"\0")[2])
    assert error.attributes == {"from": to, "to": f"alice@{A}", "id": "1", "type": "error"}
    assert error.children[0].children[0].name == "jid-malformed"


@pytest.mark.parametrize("from_", [f"a b@{A}", f"@{A}", f"alice@{A}/"])
def test_a_sender_that_is_no_jid_reaches_nobody(from_: str) -> None:
    """No envelope can be made for it; its server is told."""
    pair = EdgePair()
    pair.a.service.send(f"<message from='{from_}' to='bob@{B}' id='1'><body/></message>".encode(), A, B)
    pair.settle()
    assert pair.stanzas(pair.b) == []
    assert len(pair.b.said) == 1


def test_a_ping_of_a_domain_without_xmpp_is_answered_behind_what_came_before() -> None:
    """So who asks behind a batch knows that all of it has been taken."""
    pair = EdgePair()
    pair.b.spoken[B] = Protocol.IMX
    ping = f"<iq type='get' from='{A}' to='{B}' id='p1'><ping xmlns='urn:xmpp:ping'/></iq>".encode()
    with pair.a.hub.together():
        pair.a.service.send(message("1"), A, B)
        pair.a.service.send(ping, A, B)
    pair.settle()
    (record,) = pair.b.service.requests
    assert record.type == RecordType.MESSAGE
    answers = [one for one in pair.stanzas(pair.a) if b"p1" in one]
    assert [canonical(one) for one in answers] == [
        canonical(f"<iq from='{B}' to='{A}' id='p1' type='result'/>".encode())
    ]


def test_a_ping_of_a_domain_behind_xmpp_goes_to_it() -> None:
    """Its own server answers."""
    pair = EdgePair()
    ping = f"<iq type='get' from='{A}' to='{B}' id='p1'><ping xmlns='urn:xmpp:ping'/></iq>".encode()
    pair.a.service.send(ping, A, B)
    pair.settle()
    assert pair.b.server.pinged > 0
    assert not pair.b.said
    assert any(b"p1" in one for one in pair.stanzas(pair.a))


def test_the_answer_to_a_barrier_goes_no_further() -> None:
    """It settles what it was asked about, and nobody behind sees it."""
    pair = EdgePair()
    pair.b.spoken[B] = Protocol.IMX
    number = pair.a.service.send(message(), A, B)
    pair.settle()
    assert pair.a.service.outcomes == {number: SUCCESS}
    assert len(pair.a.parts.pings) == 0
    assert pair.stanzas(pair.a) == []


def test_an_answer_of_somebody_else_settles_nothing() -> None:
    """Its domain must be the one that was asked, proved on the stream that brought it."""
    pair = EdgePair()
    pair.a.service.send(message(), A, B)
    (written,) = pair.wires[0].writes
    ident = written.rpartition(b" id=")[2][1:33].decode()
    assert len(pair.a.parts.pings) == 1
    assert not pair.a.parts.pings.answer(ident, "c.example", A)
    assert not pair.a.parts.pings.answer(ident, B, "c.example")
    assert pair.a.parts.pings.answer(ident, B, A)


def test_what_the_switch_cannot_take_back_is_dropped_and_counted() -> None:
    """Errors of the router wait nowhere without a bound."""
    pair = EdgePair()
    pair.b.room = False
    pair.b.service.outcome = failure(Reason.UNKNOWN_USER, by=B, role="service")
    pair.a.service.send(message(), A, B)
    pair.settle()
    assert pair.b.dropped == {"no-room": 1}
    assert pair.stanzas(pair.a) == []


def test_nothing_is_remembered_of_what_has_been_answered_nor_of_a_stream_that_is_gone() -> None:
    """What is kept is bounded by what is in flight on streams that are there."""
    pair = EdgePair()
    pair.b.service.outcome = None
    pair.a.service.send(message("1"), A, B)
    pair.settle()
    assert len(pair.b.real.told) == 1
    (entry,) = pair.b.switch.ledger.entries
    pair.b.real.settled(pair.b.service.port, (entry,), SUCCESS)
    pair.settle()
    assert len(pair.b.real.told) == 0
    pair.a.service.send(message("2"), A, B)
    pair.settle()
    pair.accepted.abort(Reason.LINK_LOST, "gone")
    pair.settle()
    pair.b.real.told.tick(pair.clock.seconds() + TOLD_S)
    assert len(pair.b.real.told) == 0


def test_what_nobody_answers_is_forgotten_in_time() -> None:
    """Of stanzas both ways, and of presence, whose streams are gone: a tick of the edge is enough."""
    pair = EdgePair()
    pair.b.again(seen=lambda _got: Seen("", f"alice@{A}", "", f"bob@{B}", False, A, B, 0.0))
    edge, pair.b.service.outcome = pair.b.real, None
    for raw in (message("1"), b"<presence %s/>" % ENDS):
        pair.a.service.send(raw, A, B)
    pair.b.request(message_to_record(Message(BOB, ALICE, bytes(16), "text/plain", b"hello")))
    pair.settle()
    pair.accepted.abort(Reason.LINK_LOST, "gone")
    pair.settle()

    def kept() -> list[int]:
        return [len(edge.told), *edge._presence.waiting, len(edge._messages._sent)]

    assert kept() == [1, 1, 1, 1]
    (going,) = edge._presence._going.values()
    assert edge._presence._again is not None
    edge._presence._again._end(going)  # another one went since
    pair.clock.advance(TOLD_S - 1)
    edge.tick()
    assert kept() == [1, 0, 1, 0]
    pair.clock.advance(1)
    edge.tick()
    assert kept() == [0, 0, 0, 0]


def test_nothing_that_a_stream_brought_is_remembered_for_copies_of_it() -> None:
    """It has an id of the router's own, which comes once: a busy server would else fill the memory."""
    pair = EdgePair()
    for number in range(5):
        pair.a.service.send(message(str(number)), A, B)
    pair.settle()
    assert len(pair.b.service.requests) == 5
    assert not pair.b.switch.memory.seen
    pair.b.service.outcome = failure(Reason.BUSY)
    pair.a.service.send(message("5"), A, B)
    pair.settle()
    assert not pair.b.switch.memory.seen


def told(number: int, sender: str) -> Told:
    """Of a stanza of a sender's domain."""
    return Told("message", f"{number}@{sender}", f"bob@{B}", str(number), "", B, sender)


def test_what_is_remembered_is_bounded_and_nobody_has_all_of_it() -> None:
    """In bytes, for the addresses are the peer's; one domain has a quarter."""
    table = ToldTable(10.0, 40_000)
    kept = sum(table.add(number, told(number, A), 0.0) for number in range(1_000))
    assert 15 < kept < 25
    assert table.add(2_000, told(1, "c.example"), 5.0)
    assert not table.add(2_001, told(1, "x" * 10_000), 5.0)
    table.tick(11.0)
    assert len(table) == 1
    assert table.add(2_002, told(1, A), 11.0)
    assert table.take(2_002) == told(1, A)
    assert table.take(2_002) is None


SMALL = Told("iq", "a@x", "b@y", "1", "get", B, "", Question(Wanted.DOMAIN_INFO, "n", ""))
#: 400 bytes, and two for each character of addresses, id, type and node.
SMALL_BYTES = 400 + 2 * (3 + 3 + 1 + 3 + 1)


def test_the_room_is_used_up_to_the_byte_and_given_back() -> None:
    """A quarter of it by one domain, all of it by four; what is taken out makes room for as much."""
    table = ToldTable(10.0, 4 * SMALL_BYTES)
    senders = [f"{number}.example" for number in range(5)]
    for _ in range(3):
        for tag, sender in enumerate(senders[:4]):
            assert table.add(tag, SMALL._replace(sender=sender), 0.0)
            assert not table.add(9, SMALL._replace(sender=sender), 0.0)
        assert not table.add(9, SMALL._replace(sender=senders[4]), 0.0)
        assert table.take(0) is not None
        assert table.add(9, SMALL._replace(sender=senders[4]), 0.0)
        assert [table.take(tag) is not None for tag in (9, 1, 2, 3)] == [True] * 4


def test_what_one_domain_still_has_counts_when_some_of_it_is_answered() -> None:
    """Else it had all of the room, a stanza at a time."""
    table = ToldTable(10.0, 8 * SMALL_BYTES)
    sender = SMALL._replace(sender=A)
    assert [table.add(tag, sender, 0.0) for tag in (1, 2, 3)] == [True, True, False]
    assert table.take(1) is not None
    assert [table.add(tag, sender, 0.0) for tag in (3, 4)] == [True, False]


@pytest.mark.parametrize("longer", ["from_", "to", "ident", "type", "question"])
def test_all_that_a_peer_chooses_counts(longer: str) -> None:
    """One character more of any of it has no room where there was just enough."""
    table = ToldTable(10.0, 4 * SMALL_BYTES)
    question = Question(Wanted.DOMAIN_INFO, "nn", "")
    more: Any = question if longer == "question" else f"{getattr(SMALL, longer)}x"
    assert not table.add(1, SMALL._replace(**{longer: more}), 0.0)
    assert table.add(1, SMALL, 0.0)


@pytest.mark.parametrize(
    ("raw", "asked"),
    [
        (b"<message/>", True),
        (b"<message type='chat'>", True),
        (b"<m:message xmlns:m='jabber:server' type=\"error\"/>", False),
        (b"<message x='type=' type = 'error'/>", False),
        (b"<message a=\" type='error'\"/>", True),
        (b"<presence to='a@a.example'/>", True),
        (b"<presence type='subscribe' to='a@a.example'/>", True),
        (b"<presence type='probe' to='a@a.example'/>", True),
        (b"<presence type='error' to='a@a.example'/>", False),
        (b"<presence to='room@a.example/nick'/>", False),
        (b"<iq type='get'/>", True),
        (b"<iq type='set'/>", True),
        (b"<iq type='result'/>", False),
        (b"<iq type='error'/>", False),
        (b"<messages/>", False),
    ],
)
def test_for_which_stanzas_somebody_waits(raw: bytes, asked: bool) -> None:
    """Messages and questions; for the rest it is enough that they are written."""
    assert is_asked(raw) is asked


def test_presence_that_passes_is_said_again_where_it_does_not_arrive() -> None:
    """Until the service behind takes it; the sender is told nothing. A message is sent once."""
    pair = EdgePair()
    pair.b.service.outcome = failure(Reason.SERVICE_DOWN, role="service")
    for raw in (f"<presence {ENDS.decode()}/>", f"<message {ENDS.decode()}><body>a</body></message>"):
        pair.a.service.send(raw.encode(), A, B)
    pair.settle()
    for _ in range(3):
        pair.clock.advance(1)
        pair.b.real.tick()
        pair.settle()
    came = [one.body for one in pair.b.service.requests]
    assert [body.count(b"<presence") for body in came] == [1, 0, 1, 1]
    assert [one.split()[0] for one in pair.stanzas(pair.a)] == [b"<message"]
    pair.b.service.outcome = SUCCESS
    for _ in range(30):
        pair.clock.advance(1)
        pair.b.real.tick()
        pair.settle()
    assert len(pair.b.service.requests) == 5


@pytest.mark.parametrize("type_", ["", "subscribe", "subscribed"])
def test_presence_that_is_said_again_is_judged_as_its_senders(type_: str) -> None:
    """A block holds for it as for what he sends himself: he said it while nobody could be reached."""
    pair = EdgePair()
    route = pair.b.switch.routes[B.encode()]
    ports, route.ports = route.ports, []
    pair.b.switch.guard(gate_without(f"alice@{A}"))
    pair.a.service.send(f"<presence {ENDS.decode()} type='{type_}'/>".encode(), A, B)
    pair.settle()
    route.ports = ports
    for _ in range(30):
        pair.clock.advance(1)
        pair.b.real.tick()
        pair.settle()
    assert pair.stanzas(pair.b) == []
    assert pair.b.dropped["presence-again"] == 1
