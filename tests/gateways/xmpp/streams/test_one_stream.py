"""How many streams two domains have: what one that is there does, no other one is opened for."""

from __future__ import annotations

import os
from typing import Final

import pytest

from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from imxrouter.model.outcome import SUCCESS
from imxrouter.transport.translate import message_to_record
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import encode_record
from imxrouter.wire.registry import RecordType
from tests.doubles.router_rig import Lab
from tests.gateways.xmpp.streams.lab import StreamRouter

A, B = "a.example", "b.example"
ALICE, BOB = Address.parse(f"alice@{A}"), Address.parse(f"bob@{B}")
_IN, _OUT = StreamRole.S2S_IN, StreamRole.S2S_OUT
#: Policy, and the streams of A's when B was the first to write: one verifies where keys are asked for.
_STREAMS: Final = {"certificate": [_IN], "dialback+tls": [_IN, _OUT], "dialback+certificate": [_IN, _OUT]}


def pair(lab: Lab, policy: str) -> tuple[StreamRouter, StreamRouter]:
    """A, whose service takes messages and no stanzas, and B."""
    settings = {"trust.xmpp_default": policy}
    a, b = (StreamRouter(lab, name, certificates=[name], settings=dict(settings)) for name in (A, B))
    a.rig.router.switch.routes[A.encode()].types -= {RecordType.STANZA.value}
    a.service.outcome = b.service.outcome = SUCCESS
    return a, b


def write(a: StreamRouter, number: int) -> None:
    """Alice's message to Bob, as a record of her service; it arrives."""
    message = Message(ALICE, BOB, os.urandom(16), "text/plain; charset=utf-8", b"hello")
    data = encode_record(message_to_record(message), FLAG_RESPONSE_WANTED, number)
    a.rig.call(lambda: a.rig.router.hub.inject(a.service.port, data))
    assert a.outcome(number) == SUCCESS


def answer(b: StreamRouter, ident: str) -> None:
    """Bob's stanza to Alice; it arrives."""
    raw = f"<message from='{BOB}/desk' to='{ALICE}' type='chat' id='{ident}'><body>well</body></message>"
    assert b.outcome(b.send(A, raw.encode())) == SUCCESS


def roles(router: StreamRouter) -> list[StreamRole]:
    """Of its streams, in the order in which they came to be."""
    return [one.role for one in sorted(router.streams(), key=lambda one: one.number)]


@pytest.mark.parametrize("policy", _STREAMS)
def test_none_is_opened_beside_one_for_both_directions(lab: Lab, policy: str) -> None:
    """B writes first, on a stream that is for both: what A answers goes there, also when it chooses anew."""
    a, b = pair(lab, policy)
    answer(b, "first")
    for number in (7, 8):
        write(a, number)
        assert roles(a) == _STREAMS[policy]
        a.rig.call(a.rig.router.chooser.forget)  # as when its time is over
        a.rig.call(a.rig.router.federation.chosen.tick)
    answer(b, "second")
    assert roles(a) == _STREAMS[policy]
    assert a.rig.conservation() == b.rig.conservation() == []
