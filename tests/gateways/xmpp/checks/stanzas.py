"""What the checks of rows share: stanzas as trees, and messages as the page writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from imxrouter.formats.imdn import CONTENT_TYPE as IMDN
from imxrouter.formats.imdn import Disposition, Imdn, Notice, read_imdn, write_imdn
from imxrouter.formats.iscomposing import CONTENT_TYPE as ISCOMPOSING
from imxrouter.formats.iscomposing import read_iscomposing, write_iscomposing
from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.gateways.xmpp.translate.messages import KINDS, NoMessage, Takes, message_of
from imxrouter.model.operations import Attribute, Message
from imxrouter.routing.caps import Refusal

NOW = datetime(2026, 1, 3, tzinfo=UTC)
NEW_ID = bytes(range(0xF0, 0x100))
#: Of a chat state, a receipt and a marker.
NOTES = (
    "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
    "<received xmlns='urn:xmpp:receipts' id='i0'/>",
    "<displayed xmlns='urn:xmpp:chat-markers:0' id='i0'/>",
)
TAKES = Takes()
#: Attributes that are text on the page as they are in the model.
_TEXTS = (
    "instance", "to-instance", "origin-id", "subject", "language", "thread", "thread-parent", "chat-state",
)  # fmt: skip


def tree(text: str, language: str = "") -> Element:
    """A stanza of a server's stream."""
    return tree_of(text.encode(), language=language)


def translated(text: str) -> Message | Refusal | NoMessage:
    """What a message stanza says."""
    return message_of(tree(text), NEW_ID, NOW, TAKES)


def said(text: str) -> Message:
    """The message that a stanza says; it must be one."""
    message = translated(text)
    assert isinstance(message, Message), message
    return message


def shown(message: Message) -> dict[str, str]:
    """A message as the page writes it."""
    found = {
        "source": str(message.source),
        "destination": str(message.destination),
        "message-id": message.message_id.hex(),
        "content-type": message.content_type,
        "content": message.content.decode(),
        "hops-left": str(message.hops_left),
    }
    attributes = message.attributes
    found |= {name: attributes[name].decode() for name in _TEXTS if name in attributes}
    if "kind" in attributes:
        found["kind"] = next(word for word, number in KINDS.items() if attributes["kind"] == bytes([number]))
    if "receipt-requested" in attributes:
        found["receipt-requested"] = attributes["receipt-requested"].decode()
    if "in-reply-to" in attributes:
        found["in-reply-to"] = attributes["in-reply-to"].hex()
    if "sent-at" in attributes:
        when = datetime.fromtimestamp(int.from_bytes(attributes["sent-at"], "big") / 1000, UTC)
        found["sent-at"] = when.strftime("%Y-%m-%dT%H:%M:%SZ")
    found |= {one.name: one.value.decode() for one in message.user_attributes}
    if message.content_type == IMDN:
        told = read_imdn(message.content)
        found["imdn"] = f"{told.notice.value} {told.disposition.value} {told.message_id}"
    if message.content_type == ISCOMPOSING:
        found["iscomposing"] = "active" if read_iscomposing(message.content) else "idle"
    return found


def with_fields(message: Message, fields: Mapping[str, str | None]) -> Message:
    """A message with these fields as the page writes them; None takes one away."""
    attributes = dict(message.attributes)
    for name, value in fields.items():
        if value is None:
            attributes.pop(name, None)
        elif name in _TEXTS:
            attributes[name] = value.encode()
        elif name == "kind":
            attributes[name] = bytes([KINDS[value]])
        elif name == "message-id":
            message = replace(message, message_id=bytes.fromhex(value))
        elif name == "in-reply-to":
            attributes[name] = bytes.fromhex(value)
        elif name == "content-type":
            message = replace(message, content_type=value)
        elif name == "content":
            message = replace(message, content=value.encode())
        elif name == "alias":
            message = replace(message, user_attributes=(Attribute(name, value.encode()),))
        elif name == "imdn":
            notice, disposition, ident = value.split(" ")
            content = write_imdn(Imdn(ident, Notice(notice), Disposition(disposition), NOW))
            message = replace(message, content_type=IMDN, content=content)
        elif name == "iscomposing":
            content = write_iscomposing(active=value == "active")
            message = replace(message, content_type=ISCOMPOSING, content=content)
        else:
            raise AssertionError(f"a message has no {name}")
    return replace(message, attributes=attributes)
