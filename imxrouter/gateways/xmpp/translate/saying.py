"""Messages of the model to message stanzas (section 3 of the mapping; RFC 3922 section 4.2, RFC 7572)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from imxrouter.formats import imdn, iscomposing
from imxrouter.formats.html_lite import BadHtml
from imxrouter.formats.imdn import Notice
from imxrouter.gateways.xmpp.build import Unsayable, Xml, element, is_sayable, stanza
from imxrouter.gateways.xmpp.names import STANZA_ERRORS
from imxrouter.gateways.xmpp.translate.chatstates import state_element, state_said
from imxrouter.gateways.xmpp.translate.html import body_of
from imxrouter.gateways.xmpp.translate.jid import BadJid, to_jid
from imxrouter.gateways.xmpp.translate.messages import KINDS, Takes
from imxrouter.gateways.xmpp.translate.presence import write_stamp
from imxrouter.gateways.xmpp.translate.receipts import FAILURES, notice_element, read_notice, request_element
from imxrouter.gateways.xmpp.translate.text import unix_lines
from imxrouter.gateways.xmpp.translate.words import DELAY, E2E, FALLBACK, NICK
from imxrouter.model.attributes import is_good
from imxrouter.model.operations import Message
from imxrouter.model.presence import is_language
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal

_WORDS: Final = {number: word for word, number in KINDS.items()}
_CHARSETS: Final = frozenset({"", "utf-8", "us-ascii"})
_TEXT: Final = "text/plain"
_HTML: Final = "text/html-lite"


@dataclass(slots=True)
class _Parts:
    """What is put into a stanza.

    Attributes:
        type_: of the stanza, where the content decides it.
        children: that carry the content.
        is_note: a receipt, a marker or a chat state: nothing is said with it, and nobody asks for a receipt.
        ident: of the stanza, where the content decides it.
    """

    children: tuple[Xml, ...]
    type_: str | None = None
    is_note: bool = False
    ident: str = ""


def stanza_of(message: Message, caps: Takes) -> bytes | Refusal:
    """The stanza that says a message.

    Args:
        message: of the model.
        caps: how large a stanza may be.

    Returns:
        its bytes, or why XMPP cannot say it: it is never said otherwise.
    """
    try:
        parts = _content(message)
        if isinstance(parts, Refusal):
            return parts
        said = stanza(
            "message", *parts.children, *_beside(message, parts),
            to=str(_jid(message, "to-instance")), from_=str(_jid(message, "instance")),
            ident=parts.ident or _ident(message),
            type_=_type(message, parts), language=_language(message),
        )  # fmt: skip
    except BadJid as error:
        return Refusal(error.reason, note=str(error))
    except (Unsayable, UnicodeDecodeError) as error:
        return Refusal(Reason.BAD_BODY, note=f"XMPP cannot say it: {error}")
    if len(said) > caps.stanza_bytes:
        return Refusal(Reason.TOO_LARGE, note=f"a stanza of {len(said)} bytes; {caps.stanza_bytes} are taken")
    return said


# -- addresses, id and type ----------------------------------------------------------------------------------


def _jid(message: Message, attribute: str) -> object:
    address = message.source if attribute == "instance" else message.destination
    resource = _attribute(message, attribute)
    try:
        return to_jid(address, resource)
    except BadJid:
        # An instance of another protocol that is no resource: the address alone.
        return to_jid(address)


def _ident(message: Message) -> str:
    return _attribute(message, "origin-id") or message.message_id.hex()


def _type(message: Message, parts: _Parts) -> str:
    """The type: as it was said, else a conversation unless there is a subject (row msg-kind-none)."""
    if parts.type_ is not None:
        return parts.type_
    number = message.attributes.get("kind", b"")
    word = _WORDS.get(number[0], "") if len(number) == 1 else ""
    if not word:
        word = "normal" if message.attributes.get("subject") else "chat"
    return "" if word == "normal" else word


def _language(message: Message) -> str:
    language = _attribute(message, "language")
    return language if is_language(language) else ""


def _attribute(message: Message, name: str) -> str:
    """An attribute as text; empty where it is none, or nothing that XML can carry."""
    try:
        text = message.attributes.get(name, b"").decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return text if is_sayable(text) else ""


# -- content -------------------------------------------------------------------------------------------------


def _content(message: Message) -> _Parts | Refusal:
    kind, _, rest = message.content_type.partition(";")
    kind = kind.strip().lower()
    if kind == _TEXT and _charset(rest) in _CHARSETS:
        return _Parts(_plain(message))
    if kind == _HTML and _charset(rest) in _CHARSETS:
        try:
            text, formatted = body_of(message.content.decode("utf-8"))
        except BadHtml as error:
            return Refusal(Reason.BAD_BODY, note=str(error))
        return _Parts((element("body", text), formatted))
    if kind == imdn.CONTENT_TYPE:
        return _notice(message) or _sealed(message)
    if kind == iscomposing.CONTENT_TYPE:
        state = state_said(message.content, _attribute(message, "chat-state"))
        return _Parts((state_element(state),), is_note=True) if state else _sealed(message)
    return _sealed(message)


def _charset(parameters: str) -> str:
    for one in parameters.split(";"):
        name, _, value = one.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""


def _plain(message: Message) -> tuple[Xml, ...]:
    text = unix_lines(message.content.decode("utf-8"))
    if not text and message.attributes.get("subject"):
        return ()
    return (element("body", text),)


def _notice(message: Message) -> _Parts | None:
    told = read_notice(message.content)
    if told is None:
        return None
    said = notice_element(told)
    if said is not None:
        return _Parts((said, state_element(_attribute(message, "chat-state"))), is_note=True)
    failure = FAILURES.get(told.disposition)
    if failure is None or told.notice is not Notice.DELIVERY:
        # That it is not known or not told whether it was seen is no failure (RFC 5438 sections 7.2.1.2, 8.1).
        return _Parts((_e2e(message),), is_note=True)
    type_, condition = failure
    error = element(
        "error", element(condition, namespace=STANZA_ERRORS),
        attributes={"type": type_, "by": message.source.domain.name},
    )  # fmt: skip
    return _Parts((error,), "error", is_note=True, ident=told.message_id)


def _sealed(message: Message) -> _Parts:
    """What is no text, byte by byte, and a note for people (RFC 3923 section 3, XEP-0428)."""
    note = element("body", f"[{message.content_type.partition(';')[0].strip()}]")
    fallback = element("fallback", element("body"), namespace=FALLBACK, attributes={"for": E2E})
    return _Parts((note, _e2e(message), fallback))


def _e2e(message: Message) -> Xml:
    content = f"Content-Type: {message.content_type}\r\n\r\n{message.content.decode('utf-8')}"
    return element("e2e", content, namespace=E2E)


# -- what stands beside it -----------------------------------------------------------------------------------


def _beside(message: Message, parts: _Parts) -> tuple[Xml, ...]:
    if parts.type_ == "error":
        return ()
    subject, thread = _attribute(message, "subject"), _attribute(message, "thread")
    children = []
    if subject and not parts.is_note:
        children.append(element("subject", subject))
    if thread:
        parent = _attribute(message, "thread-parent")
        children.append(element("thread", thread, attributes={"parent": parent} if parent else None))
    if not parts.is_note:
        if "receipt-requested" in message.attributes:
            children.append(request_element())
        children.append(state_element(_attribute(message, "chat-state")))
    return (*children, _delay(message), _nick(message))


def _delay(message: Message) -> Xml:
    raw = message.attributes.get("sent-at", b"")
    try:
        when = datetime.fromtimestamp(int.from_bytes(raw, "big") / 1000, UTC) if len(raw) == 8 else None
    except (ValueError, OverflowError, OSError):
        when = None
    if when is None:
        return Xml("")
    domain = message.source.domain.display
    return element("delay", namespace=DELAY, attributes={"from": domain, "stamp": write_stamp(when)})


def _nick(message: Message) -> Xml:
    alias = next((one for one in message.user_attributes if one.name == "alias" and is_good(one)), None)
    return element("nick", alias.value.decode(), namespace=NICK) if alias is not None else Xml("")
