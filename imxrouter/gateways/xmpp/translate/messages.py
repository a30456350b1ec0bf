"""Message stanzas to messages of the model (section 3 of the mapping; RFC 3922 section 4.1, RFC 7572, 7573).

What a stanza has beside its meaning is not here: it goes on in the original form (`original.py`). The other
direction is `saying.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from imxrouter.formats import html_lite, imdn, iscomposing
from imxrouter.formats.mime import TEXT_PLAIN
from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.names import SERVER
from imxrouter.gateways.xmpp.translate.chatstates import COMPOSING, state_of
from imxrouter.gateways.xmpp.translate.html import html_of
from imxrouter.gateways.xmpp.translate.jid import BadJid, address_of
from imxrouter.gateways.xmpp.translate.presence import read_stamp
from imxrouter.gateways.xmpp.translate.receipts import asks_for_receipt, imdn_of, notice_of, own_id
from imxrouter.gateways.xmpp.translate.text import chosen, has_twins, language_of, one_line, short
from imxrouter.gateways.xmpp.translate.words import DELAY, E2E, FALLBACK, NICK, SEALS, STANZA_IDS
from imxrouter.model.address import Address
from imxrouter.model.attributes import BadAttribute, text_attribute
from imxrouter.model.operations import Attribute, Message
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal

#: How a message is shown, and its number (imx-protocol section 7.1).
KINDS: Final = {"normal": 0, "chat": 1, "headline": 2}
#: A stamp so far ahead of us is a broken clock, or a lie (row msg-delay-future).
AHEAD: Final = timedelta(seconds=60)
#: Bytes of all attributes of a message together: they share a record's 65,535 bytes of fields with its
#: original form, which has half of them.
MAX_ATTRIBUTES_BYTES: Final = 16_384
#: Bytes of a name to show (nick).
MAX_NICK: Final = 255
#: A MIME header of one field, its empty line, the content (RFC 3923 section 3). XML readers make LF of CRLF
#: where it was not written as a reference.
_E2E: Final = re.compile(r"content-type:[ \t]*([^\r\n]+?)[ \t]*(\r?\n)\2", re.IGNORECASE)
_CONTENT_TYPE: Final = re.compile(
    r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+(?:[ \t]*;[\x20-\x7e]*)?\Z", re.IGNORECASE
)


class NoMessage(Enum):
    """A message stanza that is no message of the model."""

    #: of type `error`: an outcome, or a late failure
    ERROR = "error"
    #: of type `groupchat`, or with nothing in it that is known here: a foreign form
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Takes:
    """What is known of where a message goes.

    Attributes:
        max_bytes: of a content (attribute `max-message-size`); 0 where that is not known.
        html: formatted text may be sent as `text/html-lite`; else the plain text alone.
        stanza_bytes: of a stanza, towards XMPP.
    """

    max_bytes: int = 0
    html: bool = True
    stanza_bytes: int = 262_144


@dataclass(frozen=True, slots=True)
class _Content:
    kind: str
    data: bytes
    language: str
    is_note: bool = False


def message_of(stanza: Element, new_id: bytes, now: datetime, takes: Takes) -> Message | Refusal | NoMessage:
    """What a message stanza says.

    Args:
        stanza: whose content namespace is `jabber:server`.
        new_id: 16 random bytes.
        now: of the clock, with its zone.
        takes: the destination.

    Returns:
        the message; why there is none; or what the stanza is instead.
    """
    type_ = stanza.attributes.get("type", "")
    if type_ == "error":
        return NoMessage.ERROR
    if type_ == "groupchat":
        return NoMessage.FOREIGN
    try:
        source, resource = address_of(stanza.attributes.get("from", ""))
        destination, to_resource = address_of(stanza.attributes.get("to", ""))
    except BadJid as error:
        return Refusal(error.reason, note=str(error))
    content = _content_of(stanza, source, now, takes)
    if not isinstance(content, _Content):
        return content
    attributes = _attributes_of(stanza, content, destination, now)
    attributes |= {
        name: short(text)
        for name, text in (("instance", resource), ("to-instance", to_resource))
        if text and short(text)
    }
    if sum(map(len, attributes.values())) > MAX_ATTRIBUTES_BYTES:
        return Refusal(Reason.TOO_LARGE, note="subject, thread and the like together")
    if takes.max_bytes and len(content.data) > takes.max_bytes:
        return Refusal(
            Reason.TOO_LARGE, note=f"{len(content.data)} bytes; the destination takes {takes.max_bytes}"
        )
    return Message(
        source, destination, new_id, content.kind, content.data, attributes=attributes,
        user_attributes=_user_attributes(stanza),
    )  # fmt: skip


# -- content -------------------------------------------------------------------------------------------------


def _content_of(
    stanza: Element, source: Address, now: datetime, takes: Takes
) -> _Content | Refusal | NoMessage:
    own = [one for one in stanza.children if one.namespace == SERVER]
    bodies = [one for one in own if one.name == "body"]
    subjects = [one for one in own if one.name == "subject"]
    for texts in (bodies, subjects):
        if has_twins(texts) or any(one.children for one in texts):
            return Refusal(Reason.BAD_RECORD, note="two texts in one language, or elements in one")
    body = chosen(bodies, stanza.language)
    sealed = _sealed(stanza, body)
    if sealed is not None:
        return sealed
    if body is not None:
        document = html_of(stanza, body.text) if takes.html else ""
        if document:
            return _Content(html_lite.CONTENT_TYPE, document.encode(), language_of(body))
        return _Content(TEXT_PLAIN, body.text.encode(), language_of(body))
    if subjects:
        return _Content(TEXT_PLAIN, b"", language_of(stanza))
    return _note_of(stanza, source, now)


def _note_of(stanza: Element, source: Address, now: datetime) -> _Content | NoMessage:
    """A receipt, a marker or a chat state, where it is all that is said: no text that is sealed beside it."""
    if any(one.namespace in SEALS for one in stanza.children):
        return NoMessage.FOREIGN
    notice, state = notice_of(stanza), state_of(stanza)
    if notice is not None:
        told = imdn_of(*notice, source, now)
        return _Content(imdn.CONTENT_TYPE, told, language_of(stanza), is_note=True)
    if state:
        told = iscomposing.write_iscomposing(active=state == COMPOSING)
        return _Content(iscomposing.CONTENT_TYPE, told, language_of(stanza), is_note=True)
    return NoMessage.FOREIGN


def _sealed(stanza: Element, body: Element | None) -> _Content | None:
    """A content that is no text, as it stands in `<e2e/>` (rows msg-cpim, msg-e2e-plain)."""
    found = next((one for one in stanza.children if (one.namespace, one.name) == (E2E, "e2e")), None)
    if found is None or found.children:
        return None
    header = _E2E.match(found.text)
    if header is None or not _CONTENT_TYPE.match(header[1]):
        return None
    is_fallback = any(
        (one.namespace, one.name) == (FALLBACK, "fallback") and one.attributes.get("for") == E2E
        for one in stanza.children
    )
    if body is not None and not is_fallback:
        return None
    return _Content(header[1], found.text[header.end() :].encode(), language_of(stanza))


# -- attributes ----------------------------------------------------------------------------------------------


def _attributes_of(
    stanza: Element, content: _Content, destination: Address, now: datetime
) -> dict[str, bytes]:
    own = [one for one in stanza.children if one.namespace == SERVER]
    subject = chosen([one for one in own if one.name == "subject"], stanza.language)
    thread = next((one for one in own if one.name == "thread"), None)
    kind = KINDS.get(stanza.attributes.get("type", ""), KINDS["normal"])
    ident = _ident_of(stanza)
    notice = notice_of(stanza) if content.is_note else None
    found = {
        "kind": bytes([kind]),
        "origin-id": ident,
        "subject": one_line(subject.text).encode() if subject is not None else b"",
        "thread": thread.text.encode() if thread is not None else b"",
        "thread-parent": thread.attributes.get("parent", "").encode() if thread is not None else b"",
        "language": content.language.encode(),
        "chat-state": state_of(stanza).encode(),
        "sent-at": _sent_at(stanza, destination, now),
        "in-reply-to": own_id(notice[0]) if notice is not None else b"",
    }
    attributes = {name: value for name, value in found.items() if value}
    # A receipt of a receipt would never end (RFC 5438 section 7.2.1).
    if ident and not content.is_note and asks_for_receipt(stanza):
        attributes["receipt-requested"] = b""
    return attributes


def _ident_of(stanza: Element) -> bytes:
    """The stanza's own id, or its origin id (XEP-0359) where it has no other; nothing over 255 bytes."""
    ident = stanza.attributes.get("id", "")
    if not ident:
        origin = (one for one in stanza.children if (one.namespace, one.name) == (STANZA_IDS, "origin-id"))
        ident = next((one.attributes.get("id", "") for one in origin), "")
    return short(ident)


def _sent_at(stanza: Element, destination: Address, now: datetime) -> bytes:
    """When the stanza was sent, if somebody kept it (XEP-0203); nobody says so in the recipient's name."""
    for one in stanza.children:
        if (one.namespace, one.name) != (DELAY, "delay"):
            continue
        when = read_stamp(one.attributes.get("stamp", ""))
        if when is None or when > now + AHEAD or when.timestamp() < 0:
            continue
        by = one.attributes.get("from", "")
        try:
            if by and address_of(by)[0].domain == destination.domain:
                continue
        except BadJid:
            continue
        return int(when.astimezone(UTC).timestamp() * 1000).to_bytes(8, "big")
    return b""


def _user_attributes(stanza: Element) -> tuple[Attribute, ...]:
    """The name to show that came along (XEP-0172), to be kept by nobody."""
    nick = next((one.text for one in stanza.children if (one.namespace, one.name) == (NICK, "nick")), "")
    if not nick or len(nick.encode()) > MAX_NICK:
        return ()
    try:
        return (text_attribute("alias", nick, 0),)
    except BadAttribute:
        return ()
