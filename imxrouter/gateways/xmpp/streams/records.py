"""STANZA records: a stanza's very bytes between gateways of one process (imx-protocol section 7.11)."""

from __future__ import annotations

import re
from functools import lru_cache
from html import unescape
from typing import Final, NamedTuple

from imxrouter.formats.xmltree import BadXml, Element, XmlFault
from imxrouter.gateways.xmpp.stanza import TAG, tree_of
from imxrouter.gateways.xmpp.streams.again import is_said_again
from imxrouter.gateways.xmpp.translate.forms import PREFIX
from imxrouter.gateways.xmpp.translate.jid import BadJid, parse_jid, plain_parts, to_model
from imxrouter.model.operations import MAX_HOPS
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED, HEADER, HEADER_BYTES, LENGTH_BYTES
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import FieldType, RecordType

#: A field of one instance has so many bytes; a longer resource stands in the stanza alone.
MAX_INSTANCE_BYTES: Final = 255
#: Characters of a JID that is remembered.
_REMEMBERED: Final = 256
_INSTANCE: Final = tuple(
    FieldType.INSTANCE.to_bytes(2, "big") + size.to_bytes(2, "big") for size in range(MAX_INSTANCE_BYTES + 1)
)
_STANZA: Final = RecordType.STANZA.value
_ROOT: Final = re.compile(rb"<(?:[^\s:/>]+:)?(message|presence|iq)(?=[\s/>])")
_ATTRIBUTE: Final = re.compile(rb"""\s([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
#: The tag of a message with nothing unusual in it, its type as a group.
_USUAL: Final = re.compile(
    rb"""<message(?: (?:from|to|id|xml:lang)=(?:'[^'<]*+'|"[^"<]*+")"""
    rb"""| type=(?:'([^'<]*+)'|"([^"<]*+)"))*+ ?/?>"""
)
#: Types whose stanza only answers, or only tells: nobody waits for what becomes of it.
_ASKING: Final = frozenset({b"get", b"set"})


class Party(NamedTuple):
    """One end of a stanza, as an envelope has it."""

    local: bytes
    domain: bytes
    resource: bytes


def party_of(jid: str) -> Party:
    """Read a JID.

    Raises:
        BadJid: it is none, or the model has no address for it.
    """
    if not jid:
        raise BadJid(Reason.BAD_ADDRESS, "there is no address")
    return _remembered(jid) if len(jid) <= _REMEMBERED else _party(jid)


def _party(jid: str) -> Party:
    address, resource = plain_parts(jid) or to_model(parse_jid(jid))
    return Party(address.local.encode(), address.domain.wire, resource.encode())


_remembered: Final = lru_cache(maxsize=16_384)(_party)


def stanza_record(raw: bytes, from_: Party, to: Party, new_id: bytes) -> Record:
    """The record that carries a stanza.

    Args:
        raw: its bytes, rooted in `jabber:server`.
        from_: its sender.
        to: its recipient.
        new_id: 16 random bytes: ids of stanzas are not unique, and nothing is sent again.
    """
    fields: tuple[Field, ...] = ()
    if 0 < len(from_.resource) <= MAX_INSTANCE_BYTES:
        fields = (Field(FieldType.INSTANCE, from_.resource),)
    return Record(
        RecordType.STANZA, hops_left=MAX_HOPS, message_id=new_id, fields=fields,
        envelope=Envelope(to.local, to.domain, from_.local, from_.domain), body=PREFIX + raw,
    )  # fmt: skip


def passing_record(raw: bytes, from_: str, to: str, new_id: bytes, tag: int) -> bytes | None:
    """The bytes of a stanza's record whose outcome is wanted, made in one go.

    Args:
        raw: of the stanza, rooted in `jabber:server`.
        from_: its sender, as written.
        to: its recipient, as written.
        new_id: 16 random bytes.
        tag: its route tag.

    Returns:
        None where an address is none, or too long for being remembered: `stanza_record` has to say.
    """
    if not (0 < len(from_) <= _REMEMBERED and 0 < len(to) <= _REMEMBERED):
        return None
    try:
        sender, recipient = _remembered(from_), _remembered(to)
    except BadJid:
        return None
    instance = sender.resource
    field = _INSTANCE[len(instance)] + instance if 0 < len(instance) <= MAX_INSTANCE_BYTES else b""
    rest = b"".join((
        recipient.local, b"@", recipient.domain, sender.local, b"@", sender.domain, field, PREFIX, raw,
    ))  # fmt: skip
    to_local, to_domain, from_local, from_domain = map(len, (*recipient[:2], *sender[:2]))
    return HEADER.pack(
        HEADER_BYTES - LENGTH_BYTES + len(rest), _STANZA, FLAG_RESPONSE_WANTED, MAX_HOPS, tag, to_local,
        to_domain, from_local, from_domain, len(field), 0, new_id,
    ) + rest  # fmt: skip


def stanza_at(record: bytes) -> tuple[int, bytes] | None:
    """Route tag and stanza of a STANZA record; None of all else, and where there is no stanza in it.

    It needs no `decode_record`: where the stanza begins is all that is asked for.

    Args:
        record: a whole one that the switch has taken.
    """
    _, rtype, _, _, tag, to_l, to_d, from_l, from_d, ext, _, _ = HEADER.unpack_from(record)
    at = HEADER_BYTES + to_l + to_d + from_l + from_d + 2 + ext
    if rtype != _STANZA or not record.startswith(PREFIX, at):
        return None
    return tag, record[at + len(PREFIX) :]


def stanza_in(record: Record) -> bytes | None:
    """The bytes of the stanza in a STANZA record; None where there are none."""
    return record.body[len(PREFIX) :] if record.body.startswith(PREFIX) else None


def head_of(raw: bytes) -> Element:
    """The start tag of a stanza alone, as a tree.

    Raises:
        BadXml: it begins with no tag.
    """
    tag = TAG.match(raw)
    if tag is None:
        raise BadXml(XmlFault.MALFORMED, "no tag")
    return tree_of(tag[0] if tag[0].endswith(b"/>") else tag[0][:-1] + b"/>")


def marks_of(raw: bytes) -> tuple[str, str]:
    """The id and the type of a stanza, each empty where it has none; without a tree.

    Args:
        raw: whole stanza, well-formed.
    """
    tag, found = TAG.match(raw), dict[bytes, bytes]()
    if tag is not None:
        found = {one[1]: one[2] or one[3] or b"" for one in _ATTRIBUTE.finditer(tag[0])}
    ident, type_ = (found.get(name, b"").decode("utf-8", "replace") for name in (b"id", b"type"))
    return unescape(ident) if "&" in ident else ident, type_


def is_asked(raw: bytes) -> bool:
    """Whether it matters if a stanza has arrived: a message, an iq that asks, presence that is said again.

    A probe asks, too: what its answers do not name is taken for gone, so it has to be known that it is there.

    Args:
        raw: whole stanza, well-formed.
    """
    usual = _USUAL.match(raw)
    if usual is not None:
        return (usual[1] or usual[2]) != b"error"
    tag, root = TAG.match(raw), _ROOT.match(raw)
    if tag is None or root is None:
        return False
    said = {one[1]: one[2] or one[3] or b"" for one in _ATTRIBUTE.finditer(tag[0])}
    type_ = said.get(b"type", b"")
    if root[1] == b"presence":
        to, word = (one.decode(errors="replace") for one in (said.get(b"to", b""), type_))
        return word == "probe" or is_said_again(to, word)
    return type_ != b"error" if root[1] == b"message" else type_ in _ASKING
