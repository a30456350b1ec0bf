"""MESSAGE records of usual messages, made in one go of what `flat` reads.

Each record is the very one that `plan` and `operation_to_bytes` give; what they would not give at once (a
refusal, a query, formatted text) is left to them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from imxrouter.formats.mime import TEXT_PLAIN
from imxrouter.gateways.xmpp.flat import Flat
from imxrouter.gateways.xmpp.translate.chatstates import STATES
from imxrouter.gateways.xmpp.translate.forms import MAX_FORM_BYTES, PREFIX
from imxrouter.gateways.xmpp.translate.jid import BadJid, parse_jid, plain_parts, to_jid, to_model
from imxrouter.gateways.xmpp.translate.messages import KINDS
from imxrouter.gateways.xmpp.translate.original import ORIGINAL_FORM, room_for_form
from imxrouter.gateways.xmpp.translate.text import short
from imxrouter.model.address import Address
from imxrouter.model.operations import MAX_HOPS
from imxrouter.transport.translate import ATTRIBUTE_FIELDS
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED, HEADER, HEADER_BYTES, LENGTH_BYTES
from imxrouter.wire.registry import RecordType

#: Characters of a JID that is remembered, and how many are: some 1 kB each at most.
_REMEMBERED: Final = 128
_MOST: Final = 16_384
_CONTENT_TYPE: Final = f"Content-Type: {TEXT_PLAIN}\r\n\r\n".encode()
_MESSAGE: Final = RecordType.MESSAGE.value


def _heads(name: str) -> tuple[bytes, ...]:
    """Type and length of the field of an attribute, by its length."""
    number = ATTRIBUTE_FIELDS[name].to_bytes(2, "big")
    return tuple(number + size.to_bytes(2, "big") for size in range(256))


_ORIGIN_ID, _THREAD, _LANGUAGE = _heads("origin-id"), _heads("thread"), _heads("language")
_INSTANCE, _TO_INSTANCE = _heads("instance"), _heads("to-instance")
_FORM: Final = ATTRIBUTE_FIELDS[ORIGINAL_FORM].to_bytes(2, "big")
_REQUEST: Final = _heads("receipt-requested")[0]
_STATES: Final = {one.encode(): _heads("chat-state")[len(one)] + one.encode() for one in STATES}
_KINDS: Final = {word: _heads("kind")[1] + bytes([KINDS.get(word, KINDS["normal"])]) for word in ("", *KINDS)}


class End(NamedTuple):
    """One end of a message, as the parts of a record have it.

    Attributes:
        address: of the model.
        local: its local part.
        domain: its domain.
        name: it as a header of a body has it.
        resource: as an attribute has it; empty where it has none, or a longer one.
        from_field: the field of an attribute, where it sends.
        to_field: likewise, where it receives.
        is_spelled: the gateway writes the JID just so.
    """

    address: Address
    local: bytes
    domain: bytes
    name: bytes
    resource: bytes
    from_field: bytes
    to_field: bytes
    is_spelled: bool


@lru_cache(maxsize=_MOST)
def _end_of(jid: str) -> End | None:
    plain = plain_parts(jid)
    try:
        address, resource = plain or to_model(parse_jid(jid))
        said = short(resource)
        is_spelled = plain is not None or str(to_jid(address, said.decode())) == jid
    except BadJid:
        return None
    sends, receives = (heads[len(said)] + said if said else b"" for heads in (_INSTANCE, _TO_INSTANCE))
    return End(
        address, address.local.encode(), address.domain.wire, str(address).encode(), said, sends, receives,
        is_spelled,
    )  # fmt: skip


class Way(NamedTuple):
    """What holds for all messages from one domain to another that one read brings.

    Attributes:
        translates: they go as MESSAGE; else the rest says nothing.
        max_bytes: of a content; 0 where that is not known.
        forms: original forms are used.
        largest_record: bytes of a record that the way takes.
    """

    translates: bool
    max_bytes: int = 0
    forms: bool = True
    largest_record: int = 0


def usual_record(
    flat: Flat, from_jid: str, to_jid_: str, way: Way, new_id: bytes, tag: int,
    wrote: Callable[[Address, Address], object],
) -> bytes | None:  # fmt: skip
    """The record of a usual message; None where the general way has to say what becomes of it.

    Args:
        flat: what it says.
        from_jid: its sender, as written.
        to_jid_: its recipient, as written.
        way: what holds between their domains.
        new_id: 16 random bytes.
        tag: its route tag.
        wrote: told of both addresses.
    """
    if len(from_jid) > _REMEMBERED or len(to_jid_) > _REMEMBERED:
        return None
    source, destination = _end_of(from_jid), _end_of(to_jid_)
    if source is None or destination is None or (way.max_bytes and len(flat.text) > way.max_bytes):
        return None
    fields = [_KINDS[flat.type], _ORIGIN_ID[len(flat.ident)], flat.ident]
    if flat.thread:
        fields += (_THREAD[len(flat.thread)], flat.thread)
    if flat.language:
        fields += (_LANGUAGE[len(flat.language)], flat.language)
    if flat.state:
        fields.append(_STATES[flat.state])
    if flat.request:
        fields.append(_REQUEST)
    fields += (source.from_field, destination.to_field)
    if way.forms and (flat.form or not (source.is_spelled and destination.is_spelled)):
        fields.append(_form(flat, source, destination, way.largest_record))
    said = b"".join(fields)
    to_local, to_domain, from_local, from_domain = (
        destination.local, destination.domain, source.local, source.domain,
    )  # fmt: skip
    rest = b"".join((
        to_local, b"@", to_domain, from_local, b"@", from_domain, said, b"From: ", source.name, b"\r\nTo: ",
        destination.name, b"\r\n", _CONTENT_TYPE, flat.text,
    ))  # fmt: skip
    wrote(source.address, destination.address)
    return HEADER.pack(
        HEADER_BYTES - LENGTH_BYTES + len(rest), _MESSAGE, FLAG_RESPONSE_WANTED, MAX_HOPS, tag, len(to_local),
        len(to_domain), len(from_local), len(from_domain), len(said), 0, new_id,
    ) + rest  # fmt: skip


def _form(flat: Flat, source: End, destination: End, largest_record: int) -> bytes:
    """The field of its original form; empty where there is no room for it."""
    said = {
        "kind": b"\0", "origin-id": flat.ident, "thread": flat.thread, "language": flat.language,
        "chat-state": flat.state, "instance": source.resource, "to-instance": destination.resource,
    }  # fmt: skip
    taken = sum(len(name) + len(value) for name, value in said.items() if value)
    taken += len("receipt-requested") if flat.request else 0
    size = len(PREFIX) + len(flat.raw)
    if size > min(room_for_form(taken, len(flat.text), largest_record), MAX_FORM_BYTES):
        return b""
    return b"".join((_FORM, size.to_bytes(2, "big"), PREFIX, flat.raw))
