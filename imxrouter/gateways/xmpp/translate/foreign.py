"""What goes as FOREIGN and what never does (section 8 of the mapping; imx-protocol section 7.11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.build import form_of as bytes_of
from imxrouter.gateways.xmpp.names import SERVER, STANZAS
from imxrouter.gateways.xmpp.translate.forms import is_between, parsed, readdressed
from imxrouter.gateways.xmpp.translate.jid import BadJid, address_of, parse_jid
from imxrouter.model.operations import Foreign
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal

#: Name of the protocol in the record.
XMPP: Final = "xmpp"
#: Types of presence that are consents or ask for one: SUBSCRIBE and NOTIFY carry them, and nothing else does.
CONSENTS: Final = frozenset({"subscribe", "subscribed", "unsubscribe", "unsubscribed"})
_TOLD: Final = frozenset({"", "unavailable", "error"})


def may_be_foreign(tree: Element) -> bool:
    """Whether a stanza can be carried as it is (rows for-what, for-never)."""
    if tree.namespace != SERVER or tree.name not in STANZAS:
        return False
    if tree.name != "presence":
        return True
    type_ = tree.attributes.get("type", "")
    if type_ == "probe":
        try:
            return bool(parse_jid(tree.attributes.get("to", "")).resource)
        except BadJid:
            return False
    return type_ in _TOLD


def foreign_of(tree: Element, new_id: bytes) -> Foreign | Refusal:
    """The operation that carries a stanza.

    Args:
        tree: the stanza.
        new_id: 16 random bytes.
    """
    if not may_be_foreign(tree):
        return Refusal(Reason.BAD_BODY, note=f"{tree.name} is no foreign form")
    try:
        source, _ = address_of(tree.attributes.get("from", ""))
        destination, _ = address_of(tree.attributes.get("to", ""))
    except BadJid as error:
        return Refusal(error.reason, note=str(error))
    return Foreign(source, destination, new_id, XMPP, bytes_of(tree))


def stanza_of_foreign(operation: Foreign, is_ours: Callable[[str], bool]) -> bytes | Refusal:
    """The stanza that came as FOREIGN.

    Args:
        operation: as it came.
        is_ours: whether a domain (A-labels) is served where it goes.

    Returns:
        its bytes, in the envelope's addresses; or why it goes nowhere.
    """
    if operation.protocol != XMPP:
        return Refusal(Reason.TYPE_NOT_ENABLED, note=f"a foreign form of {operation.protocol}")
    tree = parsed(operation.content)
    if tree is None:
        return Refusal(Reason.BAD_BODY, note="not one stanza")
    if not may_be_foreign(tree):
        return Refusal(Reason.BAD_BODY, note=f"{tree.name} of this type is no foreign form")
    if not is_between(tree, operation.source, operation.destination):
        return Refusal(Reason.BAD_BODY, note="from and to are not those of the envelope")
    made = readdressed(tree, operation.source, operation.destination, is_ours)
    return made if made is not None else Refusal(Reason.BAD_ADDRESS, note="an address is no JID")
