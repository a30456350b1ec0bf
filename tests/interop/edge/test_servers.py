"""Prosody and ejabberd reach each other without any router: the laboratory itself is in order."""

from __future__ import annotations

import time
from typing import Final

import pytest

from tests.interop.edge.clients import Account
from tests.interop.edge.equal import difference
from tests.interop.edge.names import Mode
from tests.interop.edge.places import EJABBERD, PROSODY, Edge

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

#: What nobody on the way understands: an encrypted message in the shape of OMEMO, a name with a prefix.
_SEALED: Final = (
    '<message xmlns="jabber:client" to="{to}" type="chat" id="sealed">'
    '<encrypted xmlns="eu.siacs.conversations.axolotl"><header sid="27183">'
    '<key rid="31415" prekey="true">AAAA</key><iv>BBBB</iv></header><payload>CCCC</payload></encrypted>'
    '<encryption xmlns="urn:xmpp:eme:0" namespace="eu.siacs.conversations.axolotl" name="OMEMO"/>'
    '<store xmlns="urn:xmpp:hints"/><x:y xmlns:x="urn:x:1" x:at="1"> t </x:y></message>'
)

#: What Prosody and ejabberd log when they have taken the other's proof of each way.
_DIALBACK: Final = (
    r"Sending\[s2sin\]: <db:result [^>]*type='valid'",
    "Accepted inbound s2s dialback authentication",
)
_PROOFS: Final = {
    Mode.CLEAR: _DIALBACK,
    Mode.TLS: _DIALBACK,
    Mode.EXTERNAL: ("Accepting SASL EXTERNAL identity", "Accepted inbound s2s EXTERNAL authentication"),
}


def _users(lab: Edge, mode: Mode) -> tuple[Account, Account]:
    alice = lab.fresh("alice", PROSODY.free(mode))
    bob = lab.fresh("bob", EJABBERD.free(mode))
    return lab.clients.login(alice, PROSODY.server), lab.clients.login(bob, EJABBERD.server)


def _exchange(one: Account, two: Account) -> None:
    """A message from one to two and one back; each arrives once."""
    for sender, receiver in ((one, two), (two, one)):
        text = f"to {receiver.address}, {time.monotonic_ns()}"
        sender.ask("message", to=receiver.address, text=text)
        receiver.until_reads(text, sender.address)
        assert receiver.count(text) == 1


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("first", ["prosody", "ejabberd"])
def test_servers_prove_themselves_in_each_way(lab: Edge, mode: Mode, first: str) -> None:
    """A message goes both ways, whoever connects first, and both servers took the proof of that way."""
    alice, bob = _users(lab, mode)
    _exchange(*((alice, bob) if first == "prosody" else (bob, alice)))
    for log, proof in zip((lab.prosody.log, lab.ejabberd.log), _PROOFS[mode], strict=True):
        log.until_says(proof, lab.began[log])
    said = lab.prosody.log.since(lab.began[lab.prosody.log])
    assert ("Stream encrypted" in said) == (mode is not Mode.CLEAR)
    assert ("SASL EXTERNAL identity" in said) == (mode is Mode.EXTERNAL)


def test_sealed_message_arrives_whole(lab: Edge) -> None:
    """What servers do to a stanza that they do not understand is nothing that the comparison minds."""
    alice, bob = _users(lab, Mode.CLEAR)
    for sender, receiver in ((alice, bob), (bob, alice)):
        sent = _SEALED.format(to=receiver.address)
        sender.ask("raw", xml=sent)
        got = receiver.until(lambda one: one.get("id") == "sealed", "the sealed message")
        assert difference(sent, got) is None


def test_subscription_and_presence(lab: Edge) -> None:
    """A user asks to see another, sees him, and no longer once that is taken back."""
    alice, bob = _users(lab, Mode.CLEAR)
    alice.ask("presence", to=bob.address, kind="subscribe")
    bob.until(lambda one: one.get("type") == "subscribe", "a request")
    bob.ask("presence", to=alice.address, kind="subscribed")
    alice.until(lambda one: one.get("type") == "subscribed", "the consent")
    bob.ask("presence", show="dnd", status="busy")
    alice.until(lambda one: one.findtext("{*}show") == "dnd", "that he is busy")
    bob.ask("presence", to=alice.address, kind="unsubscribed")
    alice.until(lambda one: one.get("type") == "unsubscribed", "that it is over")


def test_receipt_card_and_error(lab: Edge) -> None:
    """A receipt comes back, a card is read, and a message to nobody is answered with an error."""
    alice, bob = _users(lab, Mode.EXTERNAL)
    alice.ask("message", to=bob.address, text="did it come?", ident="asked", receipt=True)
    receipt = "{urn:xmpp:receipts}received"
    alice.until(lambda one: [child.get("id") for child in one.iterfind(receipt)] == ["asked"], "the receipt")
    bob.ask("publish_card", name="Bob B.")
    assert alice.ask("card", of=bob.address) == "Bob B."
    alice.ask("message", to=f"nobody@{EJABBERD.free(Mode.EXTERNAL)}", text="anybody?", ident="lost")
    alice.until(lambda one: (one.get("id"), one.get("type")) == ("lost", "error"), "the error")


def test_room(lab: Edge) -> None:
    """Users of both servers talk in rooms of both."""
    alice, bob = _users(lab, Mode.CLEAR)
    for side in (PROSODY, EJABBERD):
        room = f"room{alice.address.partition('@')[0]}@conference.{side.free(Mode.CLEAR)}"
        alice.ask("join", room=room, nick="alice")
        bob.ask("join", room=room, nick="bob")
        text = f"to all in {room}"
        bob.ask("raw", xml=f'<message to="{room}" type="groupchat"><body>{text}</body></message>')
        alice.until_reads(text, room)
