"""Which original forms are used: what differs in meaning is not, and what differs in spelling is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from imxrouter.formats import imdn, iscomposing
from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.gateways.xmpp.translate.forms import PREFIX, Misfit
from imxrouter.gateways.xmpp.translate.messages import Takes, message_of
from imxrouter.gateways.xmpp.translate.original import form_of, judge
from imxrouter.model.operations import Message
from imxrouter.routing.choice import Protocol

NOW = datetime(2026, 1, 3, tzinfo=UTC)
NEW_ID = bytes(range(16))
ENDS = "from='alice@a.example/r1' to='bob@b.example'"
PLAIN = f"<message {ENDS} id='i1' type='chat' xml:lang='en'><body>x</body></message>"
RECEIPT = f"<message {ENDS} id='i1'><received xmlns='urn:xmpp:receipts' id='i0'/><x xmlns='urn:x'/></message>"
TYPING = (
    f"<message {ENDS} id='i1'><composing xmlns='http://jabber.org/protocol/chatstates'/>"
    "<x xmlns='urn:x'/></message>"
)


def ours(_domain: str) -> bool:
    """Nothing is served here."""
    return False


def said(stanza: str, now: datetime = NOW) -> Message:
    """What a stanza says."""
    message = message_of(tree_of(stanza.encode()), NEW_ID, now, Takes())
    assert isinstance(message, Message)
    return message


def judged(form: str, message: Message) -> bytes | Misfit:
    """What is sent of a form."""
    return judge(PREFIX + form.encode(), message, Protocol.XMPP, NOW, ours)


@pytest.mark.parametrize("stanza", [RECEIPT, TYPING])
def test_what_was_told_at_another_time_is_the_same(stanza: str) -> None:
    """A receipt is made anew by each router that reads it: the moment in it is no part of what it says."""
    before = said(stanza, datetime(2026, 1, 2, tzinfo=UTC))
    assert judged(stanza, before) == stanza.encode()


def test_a_receipt_for_something_else_is_another() -> None:
    """As is a state of typing, and content that is neither."""
    message = said(RECEIPT)
    assert message.content_type == imdn.CONTENT_TYPE
    assert judged(RECEIPT.replace("'i0'", "'i9'"), message) is Misfit.DIFFERS
    assert judged(RECEIPT, replace(message, content=b"?")) is Misfit.DIFFERS
    typing = said(TYPING)
    assert typing.content_type == iscomposing.CONTENT_TYPE
    assert judged(TYPING.replace("composing ", "paused "), typing) is Misfit.DIFFERS
    assert judged(TYPING, replace(typing, content=b"?")) is Misfit.DIFFERS


@pytest.mark.parametrize(
    "changed",
    [
        PLAIN.replace("<body>", "<body xml:lang='cs'>"),
        PLAIN.replace("</body>", "</body> "),
        PLAIN.replace("x</body>", "x&#13;</body>"),
        PLAIN.replace("x</body>", "x</body><y xmlns='urn:y'/>"),
        PLAIN.replace("alice@", "Alice@"),
        PLAIN.replace("alice@a.example", "alice@A.Example"),
        PLAIN.replace("bob@b.example", "bob@B.example"),
        PLAIN.replace("type='chat'", "type='shout'"),
        PLAIN.replace("type='chat'", "type='normal'"),
        PLAIN.replace("type='chat'", "type=''"),
        PLAIN.replace("type='chat'", "type='chat' odd='1'"),
        PLAIN.replace(" id='i1'", ""),
        PLAIN.replace(" id='i1'", f" id='{'i' * 300}'"),
        PLAIN.replace("xml:lang='en'", "xml:lang='not one!'"),
    ],
)
def test_what_does_not_come_back_by_itself_goes_along(changed: str) -> None:
    """And of the plainest nothing does."""
    assert form_of(tree_of(PLAIN.encode()), said(PLAIN), 65_536) is None
    form = form_of(tree_of(changed.encode()), said(changed), 65_536)
    assert form is not None
    assert form.startswith(PREFIX)
