"""Receipts (XEP-0184), markers (XEP-0333) and late failures as `message/imdn+xml` (RFC 7573 section 7)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from imxrouter.formats.imdn import MAX_ID, BadImdn, Disposition, Imdn, Notice, read_imdn, write_imdn
from imxrouter.formats.pidf import entity
from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.build import Xml, element
from imxrouter.gateways.xmpp.translate.words import MARKERS, RECEIPTS
from imxrouter.model.address import Address

#: An id that this gateway makes of a message id (row msg-id-made).
_OWN_ID: Final = re.compile(r"[0-9a-f]{32}\Z")
#: Elements that say what became of a message, and what they say.
_SAY: Final = {
    (RECEIPTS, "received"): (Notice.DELIVERY, Disposition.DELIVERED),
    (MARKERS, "displayed"): (Notice.DISPLAY, Disposition.DISPLAYED),
}
_SAID_BY: Final = {meaning: name for name, meaning in _SAY.items()}
#: A notice of delivery that is an error to XMPP -> type and condition (row err-late-back).
FAILURES: Final = {
    Disposition.FAILED: ("cancel", "service-unavailable"),
    Disposition.FORBIDDEN: ("cancel", "service-unavailable"),
    Disposition.ERROR: ("wait", "internal-server-error"),
}


def asks_for_receipt(stanza: Element) -> bool:
    """Whether a message wants one, and has an id that a receipt can name (XEP-0184 section 7)."""
    wants = any((one.namespace, one.name) == (RECEIPTS, "request") for one in stanza.children)
    return wants and bool(stanza.attributes.get("id", ""))


def request_element() -> Xml:
    """What asks for a receipt."""
    return element("request", namespace=RECEIPTS)


def notice_of(stanza: Element) -> tuple[str, Notice, Disposition] | None:
    """What a receipt or a marker says, and of which message; None where there is none with an id."""
    for one in stanza.children:
        said = _SAY.get((one.namespace, one.name))
        ident = one.attributes.get("id", "")
        if said is not None and 0 < len(ident) <= MAX_ID:
            return ident, *said
    return None


def imdn_of(ident: str, notice: Notice, disposition: Disposition, recipient: Address, now: datetime) -> bytes:
    """The document that says it.

    Args:
        ident: of the message.
        notice: what is told of it.
        disposition: what became of it.
        recipient: who tells it.
        now: when.

    Raises:
        BadImdn: the id has no character, or too many.
    """
    uri = entity(recipient).replace("pres:", "im:", 1)
    return write_imdn(Imdn(ident, notice, disposition, now, uri))


def own_id(ident: str) -> bytes:
    """The message id of which this gateway made a stanza id; empty where it made none."""
    return bytes.fromhex(ident) if _OWN_ID.match(ident) else b""


def read_notice(content: bytes) -> Imdn | None:
    """A notification; None where the content is none."""
    try:
        return read_imdn(content)
    except BadImdn:
        return None


def notice_element(imdn: Imdn) -> Xml | None:
    """The receipt or marker that says the same; None where XMPP has none."""
    name = _SAID_BY.get((imdn.notice, imdn.disposition))
    if name is None:
        return None
    return element(name[1], namespace=name[0], attributes={"id": imdn.message_id})
