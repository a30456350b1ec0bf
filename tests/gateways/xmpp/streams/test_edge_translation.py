"""Stanzas for domains that are reached otherwise than by XMPP, and records of theirs for XMPP."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred

from imxrouter.formats import imdn
from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.gateways.xmpp.streams.deciding import Deciding
from imxrouter.gateways.xmpp.translate.awaited import LATE_S, QUERY_S
from imxrouter.gateways.xmpp.translate.original import ORIGINAL_FORM
from imxrouter.model.address import Address
from imxrouter.model.operations import Foreign, Message
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing.choice import Protocol
from imxrouter.transport.operations import foreign_to_record
from imxrouter.transport.translate import message_to_record, record_to_message
from imxrouter.wire.registry import RecordType
from tests.gateways.xmpp.streams.edge_rig import EdgePair
from tests.gateways.xmpp.streams.rig import A, B, message

ALICE, BOB = Address.parse(f"alice@{A}"), Address.parse(f"bob@{B}")
IDENT = bytes(range(16))


def imx_at_b() -> EdgePair:
    """B's service does not speak XMPP."""
    pair = EdgePair()
    pair.b.spoken[B] = Protocol.IMX
    return pair


def hello(**attributes: bytes) -> Message:
    """From A's user to B's."""
    named = {name.replace("_", "-"): value for name, value in attributes.items()}
    return Message(ALICE, BOB, IDENT, "text/plain; charset=utf-8", b"hello", attributes=named)


def test_a_message_is_translated_and_its_failure_told() -> None:
    """Towards a service without XMPP a stanza is a message of the model; what it answers comes back."""
    pair = imx_at_b()
    pair.b.service.outcome = failure(Reason.BLOCKED, by=B, role="service")
    pair.a.service.send(message("m1", "hello"), A, B)
    pair.settle()
    (record,) = pair.b.service.requests
    assert record.type == RecordType.MESSAGE
    said = record_to_message(record)
    assert (said.source, said.destination, said.content.strip()) == (ALICE, BOB, b"hello")
    (error,) = [tree_of(one) for one in pair.stanzas(pair.a)]
    assert (error.attributes["id"], error.attributes["type"]) == ("m1", "error")
    words = [one.text for child in error.children for one in child.children if one.name == "reason"]
    assert words == ["not-delivered"]  # a block looks like nobody
    assert pair.b.switch.conservation() == []


def test_what_cannot_be_said_otherwise_goes_as_it_is_only_to_who_takes_it() -> None:
    """FOREIGN, or `service-unavailable`."""
    raw = f"<iq from='alice@{A}' to='bob@{B}' id='q' type='get'><query xmlns='urn:x'/></iq>".encode()
    pair = imx_at_b()
    pair.a.service.send(raw, A, B)
    pair.settle()
    assert pair.b.service.requests == []
    (error,) = [tree_of(one) for one in pair.stanzas(pair.a)]
    assert error.children[0].children[0].name == "service-unavailable"
    pair.b.foreign.add(B)
    pair.a.service.send(raw, A, B)
    pair.settle()
    (record,) = pair.b.service.requests
    assert (record.type, record.body) == (RecordType.FOREIGN, b"xmpp\0" + raw)


def test_who_refuses_foreign_forms_is_remembered_for_it() -> None:
    """Only where it says so, and only of those."""
    refused: list[str] = []
    pair = imx_at_b()
    pair.b.again(refused=refused.append)
    pair.b.foreign.add(B)
    pair.b.service.outcome = failure(Reason.TYPE_NOT_ENABLED, by=B, role="service")
    raw = f"<iq from='alice@{A}' to='bob@{B}' id='q' type='get'><query xmlns='urn:x'/></iq>".encode()
    pair.a.service.send(message("m1", "hello"), A, B)
    pair.settle()
    assert refused == []
    pair.a.service.send(raw, A, B)
    pair.settle()
    assert refused == [B]


def foreign(raw: str) -> Foreign:
    """From B's user to A's."""
    return Foreign(BOB, ALICE, IDENT, "xmpp", raw.encode())


def test_an_answer_passes_only_as_the_answer_to_what_was_asked() -> None:
    """Once, by its addresses and id (row iq-wait)."""
    pair = imx_at_b()
    pair.b.foreign.add(B)
    answer = foreign_to_record(foreign(f"<iq from='bob@{B}' to='alice@{A}' id='q' type='result'/>"))
    before = pair.b.request(answer)
    pair.settle()
    assert pair.b.service.outcomes[before].reason is Reason.BAD_BODY
    query = f"<iq from='alice@{A}' to='bob@{B}' id='q' type='get'><query xmlns='urn:x'/></iq>"
    pair.a.service.send(query.encode(), A, B)
    pair.settle()
    asked = pair.b.request(replace(answer, message_id=bytes(16)))
    pair.settle()
    assert pair.b.service.outcomes[asked] == SUCCESS
    assert [tree_of(one).attributes["type"] for one in pair.stanzas(pair.a)] == ["result"]
    twice = pair.b.request(replace(answer, message_id=bytes(15) + b"2"))
    pair.settle()
    assert pair.b.service.outcomes[twice].reason is Reason.BAD_BODY


def test_the_answer_to_a_foreign_query_goes_back_as_one() -> None:
    """Where no stanza went to that domain yet nobody has asked what it speaks; XMPP is what is taken then."""
    pair = EdgePair()
    query = f"<iq from='bob@{B}' to='alice@{A}' id='q' type='get'><query xmlns='urn:x'/></iq>"
    pair.b.foreign.add(B)
    asked = pair.b.request(foreign_to_record(foreign(query)))
    pair.settle()
    assert pair.b.service.outcomes[asked] == SUCCESS
    assert pair.stanzas(pair.a) == [query.encode()]
    answer = f"<iq from='Alice@{A}' to='bob@{B}' id='q' type='result'/>".encode()
    pair.a.service.send(answer, A, B)
    pair.settle()
    assert [(one.type, one.body) for one in pair.b.service.requests] == [
        (RecordType.FOREIGN, b"xmpp\0" + answer)
    ]
    pair.a.service.send(answer, A, B)  # nobody waits for another one: a stanza as any
    pair.settle()
    assert [one.type for one in pair.b.service.requests] == [RecordType.FOREIGN, RecordType.STANZA]


def test_an_iq_that_nobody_answers_is_answered_in_time() -> None:
    """By the router next to who asked: an iq always has an answer (RFC 6120 section 8.2.3)."""
    pair = imx_at_b()
    pair.b.foreign.add(B)
    query = f"<iq from='alice@{A}' to='bob@{B}' id='q' type='get'><query xmlns='urn:x'/></iq>"
    pair.a.service.send(query.encode(), A, B)
    pair.settle()
    pair.pass_s(int(QUERY_S) - 2)
    assert pair.stanzas(pair.a) == []
    pair.pass_s(4)
    (error,) = [tree_of(one) for one in pair.stanzas(pair.a)]
    assert (error.attributes["id"], error.attributes["type"]) == ("q", "error")
    assert error.children[0].attributes == {"type": "wait"}
    assert error.children[0].children[0].name == "remote-server-timeout"


@pytest.mark.parametrize(
    "raw",
    [
        f"<message from='eve@{A}' to='bob@{B}' type='groupchat'/>",
        f"<message from='alice@c.example' to='bob@{B}' type='groupchat'/>",
        f"<message from='alice@{A}' to='eve@{B}' type='groupchat'/>",
        f"<message from='alice@{A}' type='groupchat'/>",
        f"<message from='alice@{A}' to='bob@{B}' type='groupchat'/></stream:stream>",
        f"<presence from='alice@{A}' to='bob@{B}' type='subscribe'/>",
        "<db:result from='a.example' to='b.example' type='valid'/>",
    ],
)
def test_a_foreign_form_that_is_not_its_envelopes_is_refused(raw: str) -> None:
    """Over IMX a peer chooses the bytes: nothing of them is written on a stream."""
    pair = EdgePair()
    made = replace(foreign(raw), source=ALICE, destination=BOB)
    number = pair.a.request(foreign_to_record(made))
    pair.settle()
    assert pair.a.service.outcomes[number].reason is Reason.BAD_BODY
    assert pair.stanzas(pair.b) == []
    assert pair.wires[0].writes == []


def test_without_that_check_a_foreign_form_would_forge(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one check is away, and another user's stanza goes out under the envelope of the first."""
    monkeypatch.setattr("imxrouter.gateways.xmpp.translate.foreign.is_between", lambda *_args: True)
    monkeypatch.setattr(
        "imxrouter.gateways.xmpp.translate.foreign.readdressed",
        lambda tree, *_args: tree.raw[tree.start : tree.end],
    )
    pair = EdgePair()
    raw = f"<message from='eve@{A}' to='bob@{B}' type='groupchat'/>"
    pair.a.request(foreign_to_record(replace(foreign(raw), source=ALICE, destination=BOB)))
    pair.settle()
    assert pair.stanzas(pair.b) == [raw.encode()]


def test_a_message_of_the_model_is_said_as_a_stanza() -> None:
    """And its outcome is that of the stanza."""
    pair = EdgePair()
    number = pair.a.request(message_to_record(hello()))
    pair.settle()
    (raw,) = pair.stanzas(pair.b)
    tree = tree_of(raw)
    assert (tree.attributes["from"], tree.attributes["to"]) == (str(ALICE), str(BOB))
    assert [one.text for one in tree.children if one.name == "body"] == ["hello"]
    assert pair.a.service.outcomes[number] == SUCCESS


def test_an_original_form_is_used_where_it_says_the_same() -> None:
    """Else the message itself is said, and the reason is counted."""
    inside = "<body>hello</body><x xmlns='urn:x'/>"
    raw = f"<message from='{ALICE}' to='{BOB}' type='chat' id='o'>{inside}</message>"
    pair = imx_at_b()
    pair.a.service.send(raw.encode(), A, B)
    pair.settle()
    said = record_to_message(pair.b.service.requests[0])
    assert ORIGINAL_FORM in said.attributes
    other = EdgePair()
    other.a.request(message_to_record(replace(said, message_id=IDENT)))
    other.settle()
    assert other.stanzas(other.b) == [raw.encode()]
    assert not other.a.dropped
    forged = replace(said, content=b"good bye", message_id=bytes(16))
    other.a.request(message_to_record(forged))
    other.settle()
    assert b"good bye" in other.stanzas(other.b)[1]
    assert b"hello" not in other.stanzas(other.b)[1]
    assert other.a.dropped == {"form-differs": 1}
    off = EdgePair()
    off.a.again(forms=lambda _domain: False)
    off.a.request(message_to_record(replace(said, message_id=IDENT)))
    off.settle()
    assert b"urn:x" not in off.stanzas(off.b)[0]
    assert off.a.dropped == {"form-off": 1}


def error_for(raw: bytes) -> bytes:
    """What the recipient's server says of a message."""
    attributes = tree_of(raw).attributes
    return (
        f"<message from='{attributes['to']}' to='{attributes['from']}' id='{attributes['id']}' type='error'>"
        "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ).encode()


def imx_at_a() -> EdgePair:
    """A's service does not speak XMPP; its messages reach B's XMPP."""
    pair = EdgePair()
    pair.a.spoken[A] = Protocol.IMX
    return pair


def test_an_error_that_comes_before_the_confirmation_is_the_outcome() -> None:
    """Of the message that it names by addresses and id; nobody is told twice."""
    pair = imx_at_a()
    number = pair.a.request(message_to_record(hello()))
    raw = pair.wires[0].writes[0]
    pair.wires[0].writes.clear()
    stanza = raw[: raw.index(b"</message>") + 10]
    pair.b.service.send(error_for(stanza), B, A)
    pair.settle()
    outcome = pair.a.service.outcomes[number]
    assert (outcome.status, outcome.reason, outcome.decided_by) == (Status.FAILURE, Reason.NOT_DELIVERED, B)
    assert pair.a.service.requests == []
    assert pair.a.switch.conservation() == []


@pytest.mark.parametrize("spelled", [f"Bob@{B}", f"bob@{B.upper()}", f"bob@{B}."])
def test_an_error_may_spell_the_addresses_otherwise(spelled: str) -> None:
    """A server writes them as it has them; else the message would succeed, for the ping is answered."""
    pair = imx_at_a()
    number = pair.a.request(message_to_record(hello()))
    raw = pair.wires[0].writes[0]
    error = error_for(raw[: raw.index(b"</message>") + 10])
    pair.b.service.send(error.replace(f"bob@{B}".encode(), spelled.encode()), B, A)
    pair.settle()
    assert pair.a.service.outcomes[number].reason is Reason.NOT_DELIVERED
    assert pair.a.service.requests == []


def failed_before_the_ping_is_answered(pair: EdgePair) -> None:
    """A message of A's leaves, B's server says an error and then that it read the ping."""
    number = pair.a.request(message_to_record(hello()))
    raw = pair.wires[0].writes[0]
    assert b"<ping" in raw
    pair.b.service.send(error_for(raw[: raw.index(b"</message>") + 10]), B, A)
    pair.settle()
    assert pair.out.machine.confirmations.pending == 0  # the ping was answered
    assert pair.a.service.outcomes[number].reason is Reason.NOT_DELIVERED
    assert pair.a.switch.conservation() == []


def test_an_error_is_the_outcome_whatever_the_sender_is_reached_by() -> None:
    """A publishes XMPP too; the message came otherwise, and so its error does not go on as a stanza."""
    pair = EdgePair()
    failed_before_the_ping_is_answered(pair)
    assert pair.a.service.requests == []


def test_an_error_does_not_wait_for_how_its_recipient_is_reached() -> None:
    """The answer to the ping, which comes behind it, would be taken for the success of the message."""
    pair = imx_at_a()
    asked: list[str] = []

    def choose(name: str) -> Deferred[Protocol]:
        asked.append(name)
        return Deferred()

    pair.a.parts.edge = Deciding(
        pair.a.real, lambda _name: False, lambda _name: None, choose, pair.a.real.settles
    )
    pair.b.service.send(error_for(message("9")), B, A)  # answers nothing: it waits as all does
    pair.settle()
    assert asked == [A]
    failed_before_the_ping_is_answered(pair)
    assert asked == [A]


def test_an_error_that_comes_later_is_a_message_about_it() -> None:
    """A notification that it failed, for two minutes (row err-late); what answers nothing is dropped."""
    pair = imx_at_a()
    number = pair.a.request(message_to_record(hello()))
    pair.settle()
    assert pair.a.service.outcomes[number] == SUCCESS
    (raw,) = pair.stanzas(pair.b)
    pair.b.service.send(error_for(raw), B, A)
    pair.settle()
    (record,) = pair.a.service.requests
    told = record_to_message(record)
    assert (told.source, told.destination, told.content_type) == (BOB, ALICE, imdn.CONTENT_TYPE)
    assert told.attributes["in-reply-to"] == IDENT
    pair.b.service.send(error_for(raw), B, A)
    pair.settle()
    assert len(pair.a.service.requests) == 1
    assert pair.a.dropped["unasked"] == 1


def test_a_late_error_is_told_for_two_minutes() -> None:
    """Then what was sent is forgotten."""
    pair = imx_at_a()
    pair.a.request(message_to_record(hello()))
    pair.settle()
    (raw,) = pair.stanzas(pair.b)
    pair.pass_s(int(LATE_S) + 2)
    pair.b.service.send(error_for(raw), B, A)
    pair.settle()
    assert pair.a.service.requests == []


def test_what_is_not_translated_is_refused_and_not_lost() -> None:
    """Presence that asks for a consent has an answer, whoever is behind."""
    pair = imx_at_b()
    pair.a.service.send(f"<presence from='alice@{A}' to='bob@{B}' type='subscribe'/>".encode(), A, B)
    pair.a.service.send(f"<presence from='alice@{A}' to='bob@{B}'/>".encode(), A, B)
    pair.settle()
    (error,) = [tree_of(one) for one in pair.stanzas(pair.a)]
    assert (error.name, error.attributes["type"]) == ("presence", "error")
    assert pair.b.dropped == {"directed": 1}


def test_a_stanza_that_is_larger_than_the_peer_takes_is_refused() -> None:
    """It said so in its features (XEP-0478); else it would end the stream."""
    pair = EdgePair()
    pair.out.machine.features = replace(pair.out.machine.features, max_bytes=500)
    number = pair.a.service.send(message("1", "a" * 600), A, B)
    small = pair.a.service.send(message("2", "a"), A, B)
    pair.settle()
    assert pair.a.service.outcomes[number].reason is Reason.TOO_LARGE
    assert pair.a.service.outcomes[small] == SUCCESS


def _asked_as_it_is(pair: EdgePair) -> int:
    """A query of A's user goes on as it is, and what became of that is not known; its route tag."""
    pair.b.foreign.add(B)
    pair.b.service.outcome = None
    query = f"<iq from='alice@{A}' to='bob@{B}' id='q' type='get'><query xmlns='urn:x'/></iq>"
    pair.a.service.send(query.encode(), A, B)
    pair.settle()
    (tag,) = pair.b.switch.ledger.entries
    return tag


def test_an_iq_that_has_its_answer_is_told_no_failure() -> None:
    """The answer may come before the outcome of the query, which is then lost; an iq has one answer."""
    pair = imx_at_b()
    tag = _asked_as_it_is(pair)
    pair.b.request(foreign_to_record(foreign(f"<iq from='bob@{B}' to='alice@{A}' id='q' type='result'/>")))
    pair.settle()
    assert [tree_of(one).attributes["type"] for one in pair.stanzas(pair.a)] == ["result"]
    pair.b.real.settled(pair.b.service.port, (tag,), failure(Reason.LINK_LOST, role="peer"))
    pair.settle()
    assert len(pair.stanzas(pair.a)) == 1


def test_an_iq_that_was_answered_in_time_is_told_no_failure() -> None:
    """The outcome of the query may come when the router has answered in the place of who was asked."""
    pair = imx_at_b()
    tag = _asked_as_it_is(pair)
    pair.clock.advance(QUERY_S + 1)
    pair.b.real.tick()  # the switch waits longer: links.answer_timeout_s may be 600
    pair.settle()
    (error,) = [tree_of(one) for one in pair.stanzas(pair.a)]
    assert error.children[0].children[0].name == "remote-server-timeout"
    pair.b.real.settled(pair.b.service.port, (tag,), failure(Reason.ANSWER_TIMEOUT, role="peer"))
    pair.settle()
    assert len(pair.stanzas(pair.a)) == 1


def test_an_answer_that_is_too_large_leaves_its_question_open() -> None:
    """Who sent it is told, but who asked is not; he is told in time that there is no answer."""
    pair = imx_at_b()
    _asked_as_it_is(pair)
    pair.back.machine.features = replace(pair.back.machine.features, max_bytes=500)
    inside = f"<query xmlns='urn:x'>{'a' * 600}</query>"
    raw = f"<iq from='bob@{B}' to='alice@{A}' id='q' type='result'>{inside}</iq>"
    number = pair.b.request(foreign_to_record(foreign(raw)))
    pair.settle()
    assert pair.b.service.outcomes[number].reason is Reason.TOO_LARGE
    assert pair.stanzas(pair.a) == []
    pair.clock.advance(QUERY_S + 1)
    pair.b.real.tick()
    pair.settle()
    (error,) = [tree_of(one) for one in pair.stanzas(pair.a)]
    assert (error.attributes["id"], error.attributes["type"]) == ("q", "error")


def test_a_message_that_no_stanza_says_there_is_refused() -> None:
    """It is larger than the peer takes, said in whatever way; the next one goes."""
    pair = EdgePair()
    pair.out.machine.features = replace(pair.out.machine.features, max_bytes=500)
    number = pair.a.request(message_to_record(replace(hello(), content=b"a" * 600)))
    small = pair.a.request(message_to_record(replace(hello(), message_id=bytes(16))))
    pair.settle()
    assert pair.a.service.outcomes[number].reason is Reason.TOO_LARGE
    assert pair.a.service.outcomes[small] == SUCCESS
    assert len(pair.stanzas(pair.b)) == 1
