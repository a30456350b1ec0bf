"""The original form of an operation: made where it does not come back otherwise, used where it says it too.

Section 9 of the mapping. A router that receives a form translates it itself, and uses it only where that
gives the very operation that came with it: so nothing passes in a form that rules and limits did not see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from imxrouter.formats import html_lite, imdn, iscomposing
from imxrouter.formats.iscomposing import BadIsComposing, read_iscomposing
from imxrouter.formats.mime import TEXT_PLAIN
from imxrouter.formats.xmltree import BadXml, Element
from imxrouter.gateways.xmpp.build import form_of as bytes_of
from imxrouter.gateways.xmpp.canonical import canonical
from imxrouter.gateways.xmpp.names import SERVER
from imxrouter.gateways.xmpp.stanza import LANGUAGE
from imxrouter.gateways.xmpp.translate.chatstates import STATES
from imxrouter.gateways.xmpp.translate.forms import MAX_FORM_BYTES, PREFIX, Misfit, opened, readdressed
from imxrouter.gateways.xmpp.translate.jid import BadJid, to_jid
from imxrouter.gateways.xmpp.translate.messages import Takes, message_of
from imxrouter.gateways.xmpp.translate.receipts import read_notice
from imxrouter.gateways.xmpp.translate.saying import stanza_of
from imxrouter.gateways.xmpp.translate.words import (
    CHATSTATES,
    DELAY,
    E2E,
    FALLBACK,
    MARKERS,
    NICK,
    RECEIPTS,
    XHTML_IM,
)
from imxrouter.model.operations import Attribute, Message
from imxrouter.routing.choice import Protocol

#: Name of the attribute of a message.
ORIGINAL_FORM: Final = "original-form"
#: Bytes of fields that a record has beside a message's attributes: epoch, transaction id, heads of fields.
_BESIDE: Final = 1_024
#: Bytes of a record beside its fields and its content: header, longest addresses, MIME header.
_AROUND: Final = 2_048
_MAX_FIELDS: Final = 65_535
#: As the destination's own router has them, which judges a form.
_ANYTHING: Final = Takes()

#: What a stanza is made of by this gateway; whatever else is in one needs its form.
_SAID: Final = frozenset({
    (SERVER, "body"), (SERVER, "subject"), (SERVER, "thread"), (RECEIPTS, "request"), (RECEIPTS, "received"),
    (MARKERS, "displayed"), (XHTML_IM, "html"), (E2E, "e2e"), (FALLBACK, "fallback"), (DELAY, "delay"),
    (NICK, "nick"), *((CHATSTATES, state) for state in STATES),
})  # fmt: skip
_ATTRIBUTES: Final = frozenset({"from", "to", "id", "type", LANGUAGE})

#: What of an operation must be the same.
Said = tuple[object, ...]


def with_form(message: Message, tree: Element, largest_record: int) -> Message:
    """A message with its original form, if it needs one and there is room.

    Args:
        message: what the stanza was translated to.
        tree: the stanza.
        largest_record: bytes of a record that the way takes.
    """
    taken = sum(len(name) + len(value) for name, value in message.attributes.items())
    taken += sum(len(one.name) + len(one.value) + 16 for one in message.user_attributes)
    form = form_of(tree, message, room_for_form(taken, len(message.content), largest_record))
    if form is None:
        return message
    return replace(message, attributes={**message.attributes, ORIGINAL_FORM: form})


def room_for_form(taken: int, content: int, largest_record: int) -> int:
    """Bytes that there are for an original form.

    Args:
        taken: bytes of names and values of the message's attributes.
        content: bytes of its content.
        largest_record: bytes of a record that the way takes.
    """
    return min(_MAX_FIELDS - taken - _BESIDE, largest_record - content - taken - _AROUND)


def form_of(tree: Element, message: Message, room_bytes: int) -> bytes | None:
    """The original form of a message.

    Args:
        tree: the stanza.
        message: what it was translated to.
        room_bytes: that there are for it.

    Returns:
        None where the message gives the same stanza again, canonically, and where there is no room.
    """
    has_more = any(
        (one.namespace, one.name) not in _SAID for one in tree.children
    ) or not _ATTRIBUTES.issuperset(tree.attributes)
    if not has_more and _is_plain(tree, message):
        return None
    raw = bytes_of(tree)
    if len(PREFIX) + len(raw) > min(room_bytes, MAX_FORM_BYTES):
        return None
    return PREFIX + raw if has_more or not _comes_back(raw, message) else None


def _is_plain(tree: Element, message: Message) -> bool:
    """Whether a stanza of a body alone comes back, seen without writing it: most of them are so."""
    if len(tree.children) != 1 or tree.parts or message.content_type != TEXT_PLAIN:
        return False
    (body,), attributes = tree.children, tree.attributes
    ident, type_ = attributes.get("id", ""), attributes.get("type", "")
    return (
        body.name == "body"
        and not body.attributes
        and tree.language == message.attributes.get("language", b"").decode()
        and bool(ident)
        and ident.encode() == message.attributes.get("origin-id")
        and type_ in {"", "chat", "headline"}
        and ("type" not in attributes or bool(type_))
        and b"\r" not in message.content
        and _is_spelled(attributes.get("from", ""), message, "instance")
        and _is_spelled(attributes.get("to", ""), message, "to-instance")
    )


def _is_spelled(jid: str, message: Message, attribute: str) -> bool:
    """Whether a JID stands as the gateway would write it."""
    address = message.source if attribute == "instance" else message.destination
    try:
        return str(to_jid(address, message.attributes.get(attribute, b"").decode())) == jid
    except BadJid:
        return False


def _comes_back(raw: bytes, message: Message) -> bool:
    back = stanza_of(message, _ANYTHING)
    try:
        return isinstance(back, bytes) and canonical(back) == canonical(raw)
    except BadXml:
        return True


def judge(
    form: bytes, message: Message, next_hop: Protocol, now: datetime, is_ours: Callable[[str], bool]
) -> bytes | Misfit:
    """Whether the original form of a message may be sent in its place.

    Args:
        form: value of the attribute.
        message: that it came with.
        next_hop: what is spoken where it is to be sent.
        now: of the clock, with its zone.
        is_ours: whether a domain (A-labels) is served where it goes.

    Returns:
        the stanza to be sent, or why the router's own translation is.
    """
    tree = opened(form, message.source, message.destination, next_hop)
    if isinstance(tree, Misfit):
        return tree
    if tree.name != "message":
        return Misfit.KIND
    if tree.attributes.get("type") == "error":
        return Misfit.ERROR
    html = message.content_type == html_lite.CONTENT_TYPE
    said = message_of(tree, message.message_id, now, Takes(html=html))
    if not isinstance(said, Message) or as_said(said) != as_said(message):
        return Misfit.DIFFERS
    return readdressed(tree, message.source, message.destination, is_ours) or Misfit.ENVELOPE


def as_said(message: Message) -> Said:
    """What of a message must be the same for its form to be used; the time in a receipt is not."""
    attributes = {name: value for name, value in message.attributes.items() if name != ORIGINAL_FORM}
    nick = tuple(_as_told(one) for one in message.user_attributes)
    return message.content_type, _meaning(message), sorted(attributes.items()), nick


def _as_told(attribute: Attribute) -> tuple[str, bytes]:
    return attribute.name, attribute.value


def _meaning(message: Message) -> object:
    if message.content_type == imdn.CONTENT_TYPE:
        told = read_notice(message.content)
        return message.content if told is None else (told.message_id, told.notice, told.disposition)
    if message.content_type == iscomposing.CONTENT_TYPE:
        try:
            return read_iscomposing(message.content)
        except BadIsComposing:
            return message.content
    return message.content
