"""Over loopback: A's service speaks the router's own operations, behind B is an XMPP server."""

from __future__ import annotations

import os

import pytest

from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.translate import message_to_record, record_to_message
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import encode_record
from imxrouter.wire.registry import RecordType
from tests.doubles.router_rig import Lab
from tests.gateways.xmpp.streams.lab import StreamRouter

A, B = "a.example", "b.example"
ALICE, BOB = Address.parse(f"alice@{A}"), Address.parse(f"bob@{B}")
TEXT = "text/plain; charset=utf-8"


@pytest.fixture
def both(lab: Lab) -> tuple[StreamRouter, StreamRouter]:
    """A, whose service takes messages and no stanzas, and B."""
    a, b = (StreamRouter(lab, name, certificates=[name]) for name in (A, B))
    a.rig.router.switch.routes[A.encode()].types -= {RecordType.STANZA.value}
    a.service.outcome = b.service.outcome = SUCCESS
    return a, b


def send(a: StreamRouter, number: int) -> None:
    """Alice's message to Bob, as a record of her service."""
    message = Message(ALICE, BOB, os.urandom(16), TEXT, b"hello")
    data = encode_record(message_to_record(message), FLAG_RESPONSE_WANTED, number)
    a.rig.call(lambda: a.rig.router.hub.inject(a.service.port, data))


def test_a_message_becomes_a_stanza_and_its_answer_a_message(both: tuple[StreamRouter, StreamRouter]) -> None:
    """Each service sees its own kind; the outcome is known when the other server has read the stanza."""
    a, b = both
    send(a, 7)
    assert a.outcome(7) == SUCCESS
    tree = tree_of(b.stanzas(1)[0])
    assert (tree.name, tree.attributes["from"], tree.attributes["to"]) == ("message", str(ALICE), str(BOB))
    assert [one.text for one in tree.children if one.name == "body"] == ["hello"]
    reply = f"<message from='{BOB}/desk' to='{ALICE}' type='chat' id='r'><body>well</body></message>"
    number = b.send(A, reply.encode())
    assert b.outcome(number) == SUCCESS
    a.stanzas(1)
    (record,) = a.service.requests
    said = record_to_message(record)
    assert (record.type, said.source, said.destination) == (RecordType.MESSAGE, BOB, ALICE)
    assert said.content.strip() == b"well"
    assert said.attributes["instance"] == b"desk"


def test_a_refusal_of_such_a_service_is_a_stanza_error(both: tuple[StreamRouter, StreamRouter]) -> None:
    """XMPP users learn of it as of any other."""
    a, b = both
    a.service.outcome = failure(Reason.UNKNOWN_USER, by=A, role="service")
    b.send(A, f"<message from='{BOB}' to='{ALICE}' id='r'><body>well</body></message>".encode())
    error = tree_of(b.stanzas(1)[0])
    assert (error.attributes["type"], error.attributes["id"]) == ("error", "r")
    assert (error.attributes["from"], error.attributes["to"]) == (str(ALICE), str(BOB))
