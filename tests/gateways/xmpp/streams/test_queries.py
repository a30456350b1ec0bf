"""Queries of XMPP joined to the model: cards, what somebody is and can; each way, each answered once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from twisted.internet.defer import Deferred

from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.gateways.xmpp.streams import queries
from imxrouter.gateways.xmpp.streams.deciding import Deciding
from imxrouter.gateways.xmpp.streams.queries import ANSWER_S
from imxrouter.gateways.xmpp.translate.queries import DISCO_INFO, DISCO_ITEMS
from imxrouter.model.address import Address
from imxrouter.model.operations import Attribute, AttributeQuery, AttributeValues
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.presence import Basic, Presence, PresenceTuple
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing.choice import Protocol
from imxrouter.transport.operations import query_to_record, record_to_query, with_result
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Record, encode_record, response_to
from imxrouter.wire.registry import RecordType
from tests.gateways.xmpp.streams.edge_rig import EdgePair
from tests.gateways.xmpp.streams.rig import A, B

ALICE, BOB = Address.parse(f"alice@{A}"), Address.parse(f"bob@{B}")
NUMBERS = count(1)
CARD = "<vCard xmlns='vcard-temp'/>"
INFO = f"<query xmlns='{DISCO_INFO}' node='n'/>"


def values(*attributes: Attribute) -> Outcome:
    """A success with attributes."""
    return Outcome(Status.SUCCESS, result=AttributeValues(attributes))


def imx_at_b(**known: object) -> EdgePair:
    """B's service does not speak XMPP."""
    pair = EdgePair()
    if known:
        pair.b.again(**known)
    pair.b.spoken[B] = Protocol.IMX
    return pair


def asks(pair: EdgePair, inside: str, to: str = f"bob@{B}", kind: str = "get", ident: str = "q") -> Element:
    """Alice asks; what she is answered."""
    before = len(pair.stanzas(pair.a))
    raw = f"<iq from='alice@{A}/desk' to='{to}' id='{ident}' type='{kind}'>{inside}</iq>"
    pair.a.service.send(raw.encode(), A, B)
    pair.settle()
    (answer,) = [tree_of(one) for one in pair.stanzas(pair.a)[before:]]
    assert (answer.attributes["from"], answer.attributes["to"]) == (to, f"alice@{A}/desk")
    assert answer.attributes["id"] == ident
    return answer


def condition(error: Element) -> str:
    """The condition of an error."""
    assert error.attributes["type"] == "error"
    return error.children[0].children[0].name


# -- asked by streams ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inside",
    [CARD, "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:vcard4'/></pubsub>"],
)
def test_the_card_of_a_user_is_asked_for_in_the_name_of_who_wants_it(inside: str) -> None:
    """As a query of the model, so that the user's own rules decide; its values are the card."""
    pair = imx_at_b()
    pair.b.service.outcome = values(Attribute("alias", b"Bobby", 60))
    answer = asks(pair, inside)
    (record,) = pair.b.service.requests
    query = record_to_query(record)
    assert (query.requester, query.owner, query.names) == (ALICE, BOB, ("alias", "vcard"))
    assert answer.attributes["type"] == "result"
    assert "Bobby" in [one.text for one in answer.walk()]
    assert pair.b.switch.conservation() == []
    assert not pair.b.real.told


@pytest.mark.parametrize("reason", [Reason.UNKNOWN_USER, Reason.BLOCKED, Reason.CONSENT_NEEDED])
def test_who_may_see_nothing_is_told_the_same_as_of_nobody(reason: Reason) -> None:
    """Row att-no-user."""
    pair = imx_at_b()
    pair.b.service.outcome = failure(reason, by=B, role="service")
    assert condition(asks(pair, CARD)) == "service-unavailable"


def test_what_a_domain_is_and_can() -> None:
    """Made of its attributes; where it tells none it is answered all the same."""
    pair = imx_at_b()
    told = [values(Attribute("software", b"router 1", 60)), failure(Reason.BLOCKED, by=B, role="service")]

    def tell(request: Record, respond: Callable[[Record], None]) -> None:
        assert record_to_query(request).owner == Address("", BOB.domain)
        outcome = told.pop(0)
        respond(with_result(response_to(request, outcome), outcome))

    pair.b.inside.handlers[RecordType.ATTRIBUTES] = tell
    info = asks(pair, INFO, to=B).children[0]
    assert info.attributes["node"] == "n"
    assert info.children[0].attributes == {"category": "gateway", "type": "imx", "name": "router 1"}
    assert asks(pair, INFO, to=B, ident="r").attributes["type"] == "result"


def test_what_is_answered_here_asks_nobody() -> None:
    """Items, pings of the domain, changes of somebody else's card."""
    pair = imx_at_b()
    assert asks(pair, f"<query xmlns='{DISCO_ITEMS}'/>").children[0].children == []
    assert asks(pair, "<ping xmlns='urn:xmpp:ping'/>", to=B, ident="2").attributes["type"] == "result"
    card = "<vCard xmlns='vcard-temp'><FN>Mallory</FN></vCard>"
    assert condition(asks(pair, card, kind="set", ident="3")) == "not-allowed"
    assert condition(asks(pair, "<query xmlns='urn:x'/>", ident="4")) == "service-unavailable"
    assert condition(asks(pair, "<ping xmlns='urn:xmpp:ping'/>", ident="5")) == "service-unavailable"
    assert pair.b.service.requests == []


def test_a_user_is_described_to_who_is_shown_him() -> None:
    """And a resource where that one is shown (rows att-disco-user, att-disco-resource)."""
    shown: set[tuple[Address, Address, str]] = set()
    pair = imx_at_b(shown=lambda *asked: asked in shown)
    assert condition(asks(pair, INFO)) == "service-unavailable"
    assert condition(asks(pair, INFO, to=f"bob@{B}/r", ident="2")) == "service-unavailable"
    shown.add((ALICE, BOB, ""))
    assert asks(pair, INFO, ident="3").children[0].children[0].attributes["category"] == "account"
    assert condition(asks(pair, INFO, to=f"bob@{B}/r", ident="4")) == "service-unavailable"
    shown.add((ALICE, BOB, "r"))
    assert asks(pair, INFO, to=f"bob@{B}/r", ident="5").children[0].children[0].attributes["type"] == "pc"


def test_where_nothing_foreign_is_taken_it_is_asked_otherwise() -> None:
    """The first query goes as it is, for it is not known what the domain takes; it has its answer yet."""
    taken: list[str] = []
    pair = imx_at_b(refused=taken.append)
    pair.b.foreign.add(B)
    takes = pair.b.service.take
    types: list[int] = []

    def take(data: bytes) -> None:
        types.append((data[4] << 8) | data[5])
        foreign = types[-1] == RecordType.FOREIGN
        answer = values(Attribute("alias", b"Bobby", 60))
        pair.b.service.outcome = failure(Reason.TYPE_NOT_ENABLED, by=B, role="peer") if foreign else answer
        takes(data)

    pair.b.service.take = take  # type: ignore[method-assign]
    answer = asks(pair, CARD)
    assert types[:2] == [RecordType.FOREIGN, RecordType.ATTRIBUTES]
    assert "Bobby" in [one.text for one in answer.walk()]
    assert taken == [B]
    assert condition(asks(pair, "<query xmlns='urn:x'/>", ident="2")) == "service-unavailable"
    pair.pass_s(70)
    assert len(pair.stanzas(pair.a)) == 2  # each once, and no time-out behind


def test_without_room_to_remember_it_an_iq_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have no answer; so nobody is asked."""
    pair = imx_at_b()
    monkeypatch.setattr(pair.b.real.told, "_most_bytes", 0)
    assert condition(asks(pair, CARD)) == "resource-constraint"
    assert pair.b.service.requests == []


# -- asked of streams ----------------------------------------------------------------------------------------


def wants(pair: EdgePair, *names: str, owner: Address = ALICE) -> int:
    """Bob asks for attributes; the number of his request."""
    number = next(NUMBERS)
    query = AttributeQuery(BOB, owner, number.to_bytes(16, "big"), names)
    pair.b.hub.inject(
        pair.b.service.port, encode_record(query_to_record(query), FLAG_RESPONSE_WANTED, number)
    )
    pair.settle()
    return number


def asked(pair: EdgePair) -> Element:
    """The iq that A's server was given."""
    return tree_of(pair.stanzas(pair.a)[-1])


def answers(pair: EdgePair, iq: Element, inside: str, kind: str = "result", **spelled: str) -> None:
    """A's server answers it."""
    head = {"from": iq.attributes["to"], "to": iq.attributes["from"], "id": iq.attributes["id"]}
    head |= {name.rstrip("_"): value for name, value in spelled.items()}
    said = " ".join(f"{name}='{value}'" for name, value in head.items())
    pair.a.service.send(f"<iq {said} type='{kind}'>{inside}</iq>".encode(), A, B)
    pair.settle()


FULL = "<vCard xmlns='vcard-temp'><FN>Alice</FN></vCard>"


def test_attributes_of_a_user_of_xmpp_are_on_his_card() -> None:
    """That the question was read is no answer; the card is, once."""
    pair = imx_at_b()
    number = wants(pair, "alias")
    iq = asked(pair)
    assert (iq.attributes["from"], iq.attributes["to"]) == (str(BOB), str(ALICE))
    assert iq.children[0].namespace == "vcard-temp"
    pair.pass_s(3)
    assert pair.a.server.pinged
    assert number not in pair.b.service.outcomes
    answers(pair, iq, FULL)
    assert pair.b.service.outcomes[number].result == AttributeValues((Attribute("alias", b"Alice", 300),))
    answers(pair, iq, FULL)
    assert pair.b.dropped["unasked"] == 1
    assert len(pair.b.real._attributes) == 0
    assert pair.b.switch.conservation() == []


def test_its_answer_does_not_wait_for_how_its_recipient_is_reached() -> None:
    """It goes no further; what somebody else answers waits behind what his server said before."""
    pair = imx_at_b()
    deciding = pair.b.parts.edge = Deciding(
        pair.b.real, lambda _name: False, lambda _name: None, lambda _name: Deferred(), pair.b.real.settles
    )
    pair.a.service.send(f"<message from='alice@{A}' to='bob@{B}'/>".encode(), A, B)
    number = wants(pair, "alias")
    iq, waiting = asked(pair), deciding.waiting[0]
    assert waiting
    answers(pair, iq, FULL, id="another")
    assert deciding.waiting[0] == waiting + 1
    answers(pair, iq, FULL)
    assert deciding.waiting[0] == waiting + 1
    assert pair.b.service.outcomes[number].ok


def test_an_answer_may_spell_the_addresses_otherwise() -> None:
    """A server writes them as it has them."""
    pair = imx_at_b()
    number = wants(pair)
    answers(pair, asked(pair), FULL, from_=f"ALICE@{A}")
    assert pair.b.service.outcomes[number].ok


@pytest.mark.parametrize("spelled", [{"from_": f"eve@{A}"}, {"to_": f"eve@{B}"}, {"id_": "x"}])
def test_nobody_else_answers(spelled: dict[str, str]) -> None:
    """Not another user of the domain, not for another user, not another question."""
    pair = imx_at_b()
    number = wants(pair)
    iq = asked(pair)
    answers(pair, iq, FULL, **spelled)
    assert number not in pair.b.service.outcomes
    assert pair.b.dropped["unasked"] == 1


def test_an_error_is_the_outcome_and_not_answered() -> None:
    """Its condition becomes the reason; nothing goes back."""
    pair = imx_at_b()
    number = wants(pair)
    error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    count = len(pair.stanzas(pair.a))
    answers(pair, asked(pair), error, "error")
    outcome = pair.b.service.outcomes[number]
    assert (outcome.reason, outcome.decided_by) == (Reason.NOT_DELIVERED, A)
    assert len(pair.stanzas(pair.a)) == count


def test_a_question_without_answer_fails_in_time() -> None:
    """By name, and an answer that comes later changes nothing."""
    pair = imx_at_b()
    number = wants(pair)
    iq = asked(pair)
    pair.pass_s(int(ANSWER_S) - 2)
    assert number not in pair.b.service.outcomes
    pair.pass_s(4)
    outcome = pair.b.service.outcomes[number]
    assert (outcome.status, outcome.reason) == (Status.FAILURE, Reason.ANSWER_TIMEOUT)
    answers(pair, iq, FULL)
    assert pair.b.dropped["unasked"] == 1
    assert len(pair.b.real._attributes) == 0


def test_a_question_that_was_lost_with_its_stream_waits_no_more() -> None:
    """Nobody knows whether it was read; nothing of it stays."""
    pair = imx_at_b()
    number = wants(pair)
    for wire in pair.wires_back:
        wire.loseConnection()
    pair.settle()
    assert pair.b.service.outcomes[number].reason is Reason.LINK_LOST
    pair.pass_s(int(ANSWER_S) + 2)
    assert len(pair.b.real._attributes) == 0
    assert pair.b.switch.conservation() == []


def test_questions_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One requester has a 32nd of the room; his next question is answered `busy`."""
    monkeypatch.setattr(queries, "MAX_WAITING", 64)
    pair = imx_at_b()
    pair.b.again()
    numbers = [wants(pair) for _ in range(3)]
    assert [number in pair.b.service.outcomes for number in numbers] == [False, False, True]
    assert pair.b.service.outcomes[numbers[2]].reason is Reason.BUSY


def test_presence_is_told_to_who_may_see_it_anyway() -> None:
    """Beside the card, or alone; without a card it is what there is (row att-presence)."""
    state = Presence(ALICE, (PresenceTuple("t", Basic.OPEN),))
    pair = imx_at_b(state=lambda who, whom: state if (who, whom) == (BOB, ALICE) else None)
    alone = wants(pair, "presence")
    found = pair.b.service.outcomes[alone].result
    assert isinstance(found, AttributeValues)
    assert [one.name for one in found.attributes] == ["presence"]
    assert pair.stanzas(pair.a) == []
    both = wants(pair)
    answers(pair, asked(pair), FULL)
    found = pair.b.service.outcomes[both].result
    assert isinstance(found, AttributeValues)
    assert sorted(one.name for one in found.attributes) == ["alias", "presence", "vcard"]
    bare = wants(pair)
    error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    answers(pair, asked(pair), error, "error")
    assert pair.b.service.outcomes[bare].ok


def test_presence_is_told_only_where_it_is_asked_for_and_of_users() -> None:
    """Who asks for a name is not told where somebody is; a domain is nowhere."""
    state = Presence(ALICE, (PresenceTuple("t", Basic.OPEN),))
    pair = imx_at_b(state=lambda *_asked: state)
    number = wants(pair, "alias")
    answers(pair, asked(pair), FULL)
    assert pair.b.service.outcomes[number].result == AttributeValues((Attribute("alias", b"Alice", 300),))
    domain = wants(pair, owner=Address("", ALICE.domain))
    answers(pair, asked(pair), f"<query xmlns='{DISCO_INFO}'/>")
    assert pair.b.service.outcomes[domain].result == AttributeValues(())


def test_presence_does_not_hide_why_there_is_no_card() -> None:
    """Only that there is nobody, or nothing, is no failure beside it."""
    state = Presence(ALICE, (PresenceTuple("t", Basic.OPEN),))
    pair = imx_at_b(state=lambda *_asked: state)
    number = wants(pair)
    error = "<error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    answers(pair, asked(pair), error, "error")
    outcome = pair.b.service.outcomes[number]
    assert (outcome.status, outcome.reason) == (Status.FAILURE, Reason.BUSY)


def test_a_question_that_cannot_leave_is_answered_at_once() -> None:
    """Nobody will answer it, so nothing waits for that."""
    pair = imx_at_b()
    pair.b.real.hushed = True
    number = wants(pair)
    assert pair.b.service.outcomes[number].reason is Reason.SHUTTING_DOWN
    assert len(pair.b.real._attributes) == 0


def test_an_answer_that_nobody_can_read_is_one() -> None:
    """Of a namespace that is no name no document is made; the question has its outcome, by who answered."""
    pair = imx_at_b()
    number = wants(pair)
    answers(pair, asked(pair), "<y xmlns='a b'/>")
    outcome = pair.b.service.outcomes[number]
    assert (outcome.reason, outcome.decided_by, outcome.decided_role) == (Reason.BAD_BODY, A, "peer")
    assert len(pair.b.real._attributes) == 0


def test_a_domain_of_xmpp_tells_what_it_is() -> None:
    """Name of its software, where abuse is reported; what it has no word for is not asked."""
    pair = imx_at_b()
    domain = Address("", ALICE.domain)
    number = wants(pair, owner=domain)
    iq = asked(pair)
    assert (iq.attributes["to"], iq.children[0].namespace) == (A, DISCO_INFO)
    contacts = (
        "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'>"
        "<value>http://jabber.org/network/serverinfo</value></field>"
        "<field var='abuse-addresses'><value>mailto:abuse@a.example</value></field></x>"
    )
    identity = "<identity category='pubsub' type='pep'/><identity category='server' type='im' name='S'/>"
    answers(pair, iq, f"<query xmlns='{DISCO_INFO}'>{identity}{contacts}</query>")
    result = pair.b.service.outcomes[number].result
    assert isinstance(result, AttributeValues)
    assert {one.name: one.value for one in result.attributes} == {
        "software": b"S", "abuse-contact": b"mailto:abuse@a.example",
    }  # fmt: skip
    none = wants(pair, "max-message-size", owner=domain)
    assert pair.b.service.outcomes[none].result == AttributeValues(())
