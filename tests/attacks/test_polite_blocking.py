"""Polite blocking: a blocked watcher sees what the watcher of an offline user sees (RFC 2779 section 5.1.15).

Compared record by record, as they stand on the wire: fields, order, outcomes, retry times, and which of them
come at once. Only ids, times that count down and the notifier's version may differ, and do so alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count

import pytest

from imxrouter.model.address import Address
from imxrouter.model.operations import AttributeQuery, Message, Operation, Subscribe
from imxrouter.model.presence import Basic, Presence, PresenceTuple
from imxrouter.routing.rules import Decision, Right
from imxrouter.transport.operations import operation_to_record
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Record, decode_outcome
from imxrouter.wire.registry import FieldType
from tests.attacks.test_presence import embedded
from tests.doubles.raw_peer import RawPeer
from tests.doubles.router_rig import Lab, RouterRig

WATCHER = Address.parse("carol@m.example")
BOB, GHOST = Address.parse("bob@b.example"), Address.parse("eve@b.example")
_numbers = count(1)


@dataclass(frozen=True)
class Seen:
    """What of a record a watcher can tell apart."""

    type: int
    flags: int
    hops_left: int
    fields: tuple[tuple[int, bytes], ...]
    body: bytes
    outcome: object


def seen(record: Record, user: Address) -> Seen:
    """A record without what is random, and with the user's name taken out."""
    local = user.local.encode()
    hidden = {FieldType.VERSION, FieldType.SUBSCRIPTION_ID}
    fields = tuple(
        (item.type, b"" if item.number in hidden else _steady(item).replace(local, b"USER"))
        for item in record.fields
    )
    outcome = None
    if record.is_response:
        outcome = decode_outcome(record)
    return Seen(
        record.type, record.flags, record.hops_left, fields, record.body.replace(local, b"USER"), outcome
    )


def _steady(item: Field) -> bytes:
    """Its value; of seconds that count down only that they are those that were granted, or nearly."""
    left = int.from_bytes(item.value, "big")
    return b"granted" if item.number == FieldType.DURATION and 595 <= left <= 600 else item.value


def ask(link: RawPeer, user: Address, operation: Operation) -> list[Seen]:
    """Ask, and take everything that comes at once, answering each notification."""
    record = operation_to_record(operation)
    link.send(replace(record, flags=FLAG_RESPONSE_WANTED, route_tag=next(_numbers)))
    came = []
    for item in link.drain():
        assert isinstance(item, Record)
        came.append(seen(item, user))
        if not item.is_response:
            link.answer(item)
    link.drain()
    return came


def story(b: RouterRig, link: RawPeer, user: Address) -> list[list[Seen]]:
    """Everything a watcher may try on somebody, while that somebody does things."""

    def ident() -> bytes:
        return next(_numbers).to_bytes(16, "big")

    def change(status: Basic) -> list[Seen]:
        """The user's presence changes, or would, if he were there."""
        if user == BOB:
            shown = Presence(BOB, (PresenceTuple("t1", status),))
            b.call(lambda: embedded(b, BOB).publish(BOB, "desk", shown))
        return [seen(item, user) for item in link.drain() if isinstance(item, Record)]

    return [
        ask(link, user, Subscribe(WATCHER, user, ident(), b"one", 600)),
        change(Basic.OPEN),
        ask(link, user, Subscribe(WATCHER, user, ident(), b"one", 600)),
        ask(link, user, Subscribe(WATCHER, user, ident(), b"two", 0)),
        ask(link, user, AttributeQuery(WATCHER, user, ident(), ("presence",))),
        ask(link, user, AttributeQuery(WATCHER, user, ident(), ("alias",))),
        ask(link, user, AttributeQuery(WATCHER, user, ident())),
        change(Basic.CLOSED),
        ask(link, user, Subscribe(WATCHER, user, ident(), b"one", 0)),
    ]


def rule(b: RouterRig, user: Address, decision: Decision) -> None:
    """The user decides on the watcher, for everything that concerns presence."""
    rights = [Right.SUBSCRIBE, Right.FETCH]
    b.call(lambda: embedded(b, user).set_rule(user, str(WATCHER), rights, decision))


@pytest.mark.parametrize("block", [True, False], ids=["blocked", "allowed: the story can tell"])
def test_a_blocked_watcher_sees_an_offline_user(lab: Lab, block: bool) -> None:
    """Bob is there and blocks; Eve allows and never came. Without the block the stories differ."""
    b = lab.router("b.example", users=("bob", "eve"))
    rule(b, GHOST, Decision.ALLOW)
    rule(b, BOB, Decision.BLOCK if block else Decision.ALLOW)
    link = lab.organisation("m.example").proved_link(b)
    of_bob, of_ghost = story(b, link, BOB), story(b, link, GHOST)
    assert any(of_ghost), "something must have been seen"
    assert (of_bob == of_ghost) is block


@pytest.mark.parametrize("block", [True, False], ids=["blocked", "allowed: the answers can tell"])
def test_a_blocked_sender_learns_what_one_to_nobody_learns(lab: Lab, block: bool) -> None:
    """A message to who blocks is answered as one to an address without an account."""
    b = lab.router("b.example", users=("bob", "eve"))
    decision = Decision.BLOCK if block else Decision.ALLOW
    b.call(lambda: embedded(b, BOB).set_rule(BOB, str(WATCHER), [Right.MESSAGE], decision))
    link = lab.organisation("m.example").proved_link(b)
    nobody = Address.parse("nobody@b.example")

    def write(to: Address) -> list[Seen]:
        ident = next(_numbers).to_bytes(16, "big")
        return ask(link, to, Message(WATCHER, to, ident, "text/plain", b"hello"))

    assert (write(BOB) == write(nobody)) is block
