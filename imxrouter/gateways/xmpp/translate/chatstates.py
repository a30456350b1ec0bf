"""Chat states (XEP-0085) and `application/im-iscomposing+xml` (RFC 7573 section 6)."""

from __future__ import annotations

from typing import Final

from imxrouter.formats.iscomposing import BadIsComposing, read_iscomposing
from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.build import Xml, element
from imxrouter.gateways.xmpp.translate.words import CHATSTATES

#: XEP-0085 section 2.
STATES: Final = frozenset({"active", "composing", "paused", "inactive", "gone"})
COMPOSING: Final = "composing"


def state_of(stanza: Element) -> str:
    """The chat state that a message says; empty for none. Of several the first."""
    return next(
        (one.name for one in stanza.children if one.namespace == CHATSTATES and one.name in STATES), ""
    )


def state_said(content: bytes, said: str) -> str:
    """The chat state of an isComposing document.

    Args:
        content: the document.
        said: the attribute CHAT_STATE beside it; it counts where the document does not say otherwise.

    Returns:
        a state; empty where the document is none. Idle is `active` unless more is said (RFC 7573 section 6).
    """
    try:
        composing = read_iscomposing(content)
    except BadIsComposing:
        return ""
    if said in STATES and (said == COMPOSING) is composing:
        return said
    return COMPOSING if composing else "active"


def state_element(state: str) -> Xml:
    """The element of a state; nothing of a word that is none."""
    return element(state, namespace=CHATSTATES) if state in STATES else Xml("")
