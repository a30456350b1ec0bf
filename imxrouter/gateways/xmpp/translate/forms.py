"""Stanzas that came beside an envelope, as an original form or as FOREIGN: what both are held to.

Over IMX a peer chooses their bytes. So a form is read within the limits of a stream, and goes on only between
the two that its envelope names, in the envelope's own spelling (section 9 of the mapping, org-envelope).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final

from imxrouter.formats.xmltree import BadXml, Element, escape_attribute
from imxrouter.gateways.xmpp.names import SERVER, STANZAS
from imxrouter.gateways.xmpp.stanza import TAG, tree_of
from imxrouter.gateways.xmpp.translate.jid import BadJid, address_of, parse_jid, to_jid
from imxrouter.gateways.xmpp.translate.words import STANZA_IDS
from imxrouter.model.address import Address
from imxrouter.routing.choice import Protocol

#: What stands before a stanza's bytes (imx-protocol section 7.11).
PREFIX: Final = b"xmpp\0"
#: Bytes of an original form, its prefix included: half of what a record's fields may have (row org-size).
MAX_FORM_BYTES: Final = 32_768
#: One attribute of a start tag, its value as a whole, so that nothing inside of a value is taken for one.
#: In each stanza that has a stanza-id, whatever its prefix: names of elements are never written otherwise.
STANZA_ID: Final = b"stanza-id"
#: What may be an attribute `by`. Its value has no character that could hide another such attribute, nor one
#: that is written otherwise; without the closing quote behind it, it is not known what it is.
_BY: Final = re.compile(rb"""\sby\s*=\s*["']([^\s="'<>&]*)(["'])?""")
_ATTRIBUTE: Final = re.compile(rb"""\s+([^\s=]+)\s*=\s*(?:"[^"]*"|'[^']*')""")


class Misfit(Enum):
    """Why a form is not used; the word of its counter."""

    #: the domain has switched them off
    OFF = "off"
    #: of a protocol that the next hop does not speak
    PROTOCOL = "protocol"
    SIZE = "size"
    PARSE = "parse"
    #: another stanza than its operation is made of
    KIND = "kind"
    #: between others than the envelope says
    ENVELOPE = "envelope"
    #: of type `error`
    ERROR = "error"
    #: says something else than its operation
    DIFFERS = "differs"


def opened(form: bytes, source: Address, destination: Address, next_hop: Protocol) -> Element | Misfit:
    """Read a form that came under an envelope.

    Args:
        form: with its prefix.
        source: of the envelope.
        destination: of the envelope.
        next_hop: what is spoken where it is to be sent.

    Returns:
        the stanza, between these two; or why it is not used. Nothing is raised, whatever the bytes.
    """
    if next_hop is not Protocol.XMPP or not form.startswith(PREFIX):
        return Misfit.PROTOCOL
    if len(form) > MAX_FORM_BYTES:
        return Misfit.SIZE
    tree = parsed(form[len(PREFIX) :])
    if tree is None:
        return Misfit.PARSE
    if tree.namespace != SERVER or tree.name not in STANZAS:
        return Misfit.KIND
    if not is_between(tree, source, destination):
        return Misfit.ENVELOPE
    return tree


def parsed(raw: bytes) -> Element | None:
    """One element of a stream, or None."""
    try:
        return tree_of(raw)
    except BadXml:
        return None


def is_between(tree: Element, source: Address, destination: Address) -> bool:
    """Whether a stanza names these two, by their keys."""
    try:
        from_, _ = address_of(tree.attributes.get("from", ""))
        to, _ = address_of(tree.attributes.get("to", ""))
    except BadJid:
        return False
    return from_.key == source.key and to.key == destination.key


def readdressed(
    tree: Element, source: Address, destination: Address, is_ours: Callable[[str], bool]
) -> bytes | None:
    """The bytes of a stanza, with the envelope's addresses and its own resources.

    Args:
        tree: as `opened` gave it.
        source: of the envelope.
        destination: of the envelope.
        is_ours: whether the domain of a JID is served where the stanza goes: nobody else may give its
            stanza-ids (XEP-0359 section 3 rule 2), so such children are cut out.

    Returns:
        None where an address of the envelope is no JID.
    """
    try:
        said = {
            b"from": str(to_jid(source, parse_jid(tree.attributes["from"]).resource)),
            b"to": str(to_jid(destination, parse_jid(tree.attributes["to"]).resource)),
        }
    except BadJid:
        return None
    raw = without_our_ids(tree, is_ours)
    tag = TAG.match(raw)
    end = tag.end() if tag else 0

    def write(found: re.Match[bytes]) -> bytes:
        wanted = said.get(found[1])
        if wanted is None or tree.attributes[found[1].decode()] == wanted:
            return found[0]
        return b' %s="%s"' % (found[1], escape_attribute(wanted).encode())

    return _ATTRIBUTE.sub(write, raw[:end]) + raw[end:]


def without_our_ids(tree: Element, is_ours: Callable[[str], bool]) -> bytes:
    """The bytes of a stanza without the stanza-ids that only a domain served where it goes may give it."""
    out, at = [], tree.start
    for child in tree.children:
        if _is_stanza_id_of(child, is_ours):
            out.append(tree.raw[at : child.start])
            at = child.end
    return b"".join([*out, tree.raw[at : tree.end]])


def without_forged_ids(raw: bytes, is_ours: Callable[[str], bool]) -> bytes:
    """The same of a stanza that passes: read as a tree only where an attribute may name one of ours.

    Args:
        raw: rooted in `jabber:server`, with `STANZA_ID` in it; what has none is not to be asked about.
        is_ours: whether a domain is served here and is not the sender's own, who may say what it gave.

    Raises:
        BadXml: more than a tree may have.
    """
    return without_our_ids(tree_of(raw), is_ours) if _may_name(raw, is_ours) else raw


def _may_name(raw: bytes, is_ours: Callable[[str], bool]) -> bool:
    """Whether an attribute `by` names a domain of ours, or is not plain enough to know that it does not."""
    return any(not found[2] or _is_ours(found[1].decode(), is_ours) for found in _BY.finditer(raw))


def _is_ours(jid: str, is_ours: Callable[[str], bool]) -> bool:
    try:
        return is_ours(address_of(jid)[0].domain.name)
    except BadJid:
        return False


def _is_stanza_id_of(child: Element, is_ours: Callable[[str], bool]) -> bool:
    named = (child.namespace, child.name) == (STANZA_IDS, "stanza-id")
    return named and _is_ours(child.attributes.get("by", ""), is_ours)
