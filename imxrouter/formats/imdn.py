"""Disposition notifications: message/imdn+xml (RFC 5438 sections 5 and 12.1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from imxrouter.formats.xmltree import BadXml, Element, Limits, escape_text, parse
from imxrouter.model.errors import RouterError

CONTENT_TYPE: Final = "message/imdn+xml"
NAMESPACE: Final = "urn:ietf:params:xml:ns:imdn"
#: Characters of a message id; it is an id of a foreign protocol, which has 255 bytes at most (ORIGIN_ID).
MAX_ID: Final = 255
#: One message's notification; with a subject and three addresses it has under 2 KiB.
LIMITS: Final = Limits(size_bytes=8_192, depth=6, elements=64)


class Notice(Enum):
    """What a notification is about (RFC 5438 section 5); the value is the name of its element."""

    DELIVERY = "delivery-notification"
    DISPLAY = "display-notification"
    PROCESSING = "processing-notification"


class Disposition(Enum):
    """What became of the message (RFC 5438 section 12.1.1); the value is the name of its element."""

    DELIVERED = "delivered"
    FAILED = "failed"
    DISPLAYED = "displayed"
    PROCESSED = "processed"
    STORED = "stored"
    FORBIDDEN = "forbidden"
    ERROR = "error"


#: What may stand in which (RFC 5438 section 12.1.1).
ALLOWED: Final = {
    Notice.DELIVERY: frozenset(
        {Disposition.DELIVERED, Disposition.FAILED, Disposition.FORBIDDEN, Disposition.ERROR}
    ),
    Notice.DISPLAY: frozenset({Disposition.DISPLAYED, Disposition.FORBIDDEN, Disposition.ERROR}),
    Notice.PROCESSING: frozenset(
        {Disposition.PROCESSED, Disposition.STORED, Disposition.FORBIDDEN, Disposition.ERROR}
    ),
}


class BadImdn(RouterError):
    """The document is no notification; says why."""


@dataclass(frozen=True, slots=True)
class Imdn:
    """One notification.

    Attributes:
        message_id: of the message that it is about, as its sender gave it; 1 to 255 characters.
        notice: of which kind.
        disposition: what became of the message.
        time: when the message was sent, or this was made where that is not known; None where it was not read.
        recipient: URI of who is told about, empty where it is not said.
    """

    message_id: str
    notice: Notice
    disposition: Disposition
    time: datetime | None = None
    recipient: str = ""


def write_imdn(imdn: Imdn) -> bytes:
    """Write a notification.

    Raises:
        BadImdn: its disposition is none of its kind, it has no id or too long a one, or no time.
    """
    _check(imdn)
    if imdn.time is None:
        raise BadImdn("a notification says when")
    stamp = imdn.time.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat() + "Z"
    recipient = f"<recipient-uri>{escape_text(imdn.recipient)}</recipient-uri>" if imdn.recipient else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<imdn xmlns="{NAMESPACE}">'
        f"<message-id>{escape_text(imdn.message_id)}</message-id><datetime>{stamp}</datetime>{recipient}"
        f"<{imdn.notice.value}><status><{imdn.disposition.value}/></status></{imdn.notice.value}></imdn>\n"
    ).encode()


def read_imdn(raw: bytes) -> Imdn:
    """Read a notification; elements of other namespaces are passed over (RFC 5438 section 12.1.1).

    Raises:
        BadImdn: see there. Nothing else, whatever the bytes, in time linear in their number.
    """
    try:
        root = parse(raw, LIMITS)
    except BadXml as error:
        raise BadImdn(str(error)) from None
    if (root.namespace, root.name) != (NAMESPACE, "imdn"):
        raise BadImdn(f"the root is {root.name[:40]!r}")
    own = [one for one in root.children if one.namespace == NAMESPACE]
    notices = [(notice, one) for one in own for notice in Notice if notice.value == one.name]
    if len(notices) != 1:
        raise BadImdn(f"{len(notices)} notifications, not one")
    notice, element = notices[0]
    imdn = Imdn(
        _text(own, "message-id"), notice, _disposition(element), _time(_text(own, "datetime")),
        _text(own, "recipient-uri"),
    )  # fmt: skip
    _check(imdn)
    return imdn


def _check(imdn: Imdn) -> None:
    if imdn.disposition not in ALLOWED[imdn.notice]:
        raise BadImdn(f"{imdn.disposition.value} in a {imdn.notice.value}")
    if not 0 < len(imdn.message_id) <= MAX_ID:
        raise BadImdn(f"an id of {len(imdn.message_id)} characters")


def _text(own: list[Element], name: str) -> str:
    return next((one.text.strip() for one in own if one.name == name), "")


def _disposition(notice: Element) -> Disposition:
    found = [
        disposition
        for status in notice.children
        if (status.namespace, status.name) == (NAMESPACE, "status")
        for one in status.children
        if one.namespace == NAMESPACE
        for disposition in Disposition
        if disposition.value == one.name
    ]
    if len(found) != 1:
        raise BadImdn(f"{len(found)} dispositions, not one")
    return found[0]


def _time(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
        return when.astimezone(UTC) if when.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
