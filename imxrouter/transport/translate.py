"""Between records and the abstract service's messages, for gateways inside this process.

Not used where IMX meets IMX: there the record's own bytes go on.
"""

from __future__ import annotations

from typing import Final

from imxrouter.formats.mime import BadBody, build_body, read_body
from imxrouter.model.address import Address, AddressTooLong, BadAddress
from imxrouter.model.domain import BadDomain
from imxrouter.model.errors import RouterError
from imxrouter.model.operations import MAX_HOPS, MAX_TRANS_ID_BYTES, MESSAGE_ID_BYTES, Attribute, Message
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.attributes import read_attribute, write_attribute
from imxrouter.wire.errors import WireError
from imxrouter.wire.fields import Field, encode_fields
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import FieldType, RecordType

#: Message attribute -> field. None is critical: whoever does not know one still delivers the message.
ATTRIBUTE_FIELDS: Final = {
    "subject": FieldType.SUBJECT,
    "thread": FieldType.THREAD,
    "language": FieldType.LANGUAGE,
    "instance": FieldType.INSTANCE,
    "receipt-requested": FieldType.RECEIPT_REQUESTED,
    "in-reply-to": FieldType.IN_REPLY_TO,
    "origin-id": FieldType.ORIGIN_ID,
    "original-form": FieldType.ORIGINAL_FORM,
    "to-instance": FieldType.TO_INSTANCE,
    "kind": FieldType.KIND,
    "thread-parent": FieldType.THREAD_PARENT,
    "sent-at": FieldType.SENT_AT,
    "chat-state": FieldType.CHAT_STATE,
}
_ATTRIBUTE_OF_FIELD: Final = {int(number): name for name, number in ATTRIBUTE_FIELDS.items()}


class TranslationError(RouterError):
    """There is no such record or message; `reason` is what the sender is answered."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(f"{reason.word}: {why}")
        self.reason = reason


def message_to_record(message: Message) -> Record:
    """The MESSAGE record of a message, without flags and route tag.

    Raises:
        TranslationError: an attribute is not of the registry, or a part is longer than a record can say.
    """
    if len(message.message_id) != MESSAGE_ID_BYTES:
        raise TranslationError(Reason.BAD_RECORD, f"message id of {len(message.message_id)} bytes")
    if len(message.trans_id) > MAX_TRANS_ID_BYTES:
        raise TranslationError(Reason.BAD_RECORD, f"transaction id of {len(message.trans_id)} bytes")
    fields = []
    for name, value in message.attributes.items():
        number = ATTRIBUTE_FIELDS.get(name)
        if number is None:
            raise TranslationError(Reason.BAD_RECORD, f"{name[:40]!r} is no message attribute")
        fields.append(Field(number, value))
    fields += [Field(FieldType.ATTRIBUTE, write_attribute(one)) for one in message.user_attributes]
    if message.trans_id:
        fields.append(Field(FieldType.TRANS_ID, message.trans_id))
    try:
        encode_fields(fields)
        body = build_body(message)
    except WireError as error:
        raise TranslationError(Reason.TOO_LARGE, str(error)) from None
    except BadBody as error:
        raise TranslationError(Reason.BAD_BODY, str(error)) from None
    return Record(
        RecordType.MESSAGE,
        hops_left=min(max(message.hops_left, 0), MAX_HOPS),
        message_id=message.message_id,
        envelope=envelope_of(message.source, message.destination),
        fields=tuple(fields),
        body=body,
    )


def record_to_message(record: Record) -> Message:
    """The message of a MESSAGE record; of a field that stands twice the first counts.

    Raises:
        TranslationError: an address or the body is not valid, or the record is of another type.
    """
    if record.type != RecordType.MESSAGE:
        raise TranslationError(Reason.TYPE_NOT_ENABLED, f"record type 0x{record.type:04x} is no message")
    source, destination = addresses_of(record)
    try:
        body = read_body(record.body, source, destination)
    except BadBody as error:
        raise TranslationError(Reason.BAD_BODY, str(error)) from None
    trans_id = record.value(FieldType.TRANS_ID) or b""
    if len(trans_id) > MAX_TRANS_ID_BYTES:
        raise TranslationError(Reason.BAD_RECORD, f"transaction id of {len(trans_id)} bytes")
    attributes: dict[str, bytes] = {}
    for item in record.fields:
        name = _ATTRIBUTE_OF_FIELD.get(item.number)
        if name is not None:
            attributes.setdefault(name, item.value)
    return Message(
        source, destination, record.message_id, body.content_type, body.content, record.hops_left,
        attributes, trans_id, attributes_of(record),
    )  # fmt: skip


def envelope_of(source: Address, destination: Address) -> Envelope:
    """From and To of a record."""
    return Envelope(
        destination.local.encode("utf-8"), destination.domain.wire,
        source.local.encode("utf-8"), source.domain.wire,
    )  # fmt: skip


def addresses_of(record: Record) -> tuple[Address, Address]:
    """Source and destination of a record. Raises `TranslationError`."""
    to_from = record.envelope
    try:
        return (
            Address.from_wire(to_from.from_local, to_from.from_domain),
            Address.from_wire(to_from.to_local, to_from.to_domain),
        )
    except AddressTooLong as error:
        raise TranslationError(Reason.ADDRESS_TOO_LONG, str(error)) from None
    except (BadAddress, BadDomain) as error:
        raise TranslationError(Reason.BAD_ADDRESS, str(error)) from None


def attributes_of(record: Record) -> tuple[Attribute, ...]:
    """The attributes that came along; one that is malformed is skipped, for nobody asked for it."""
    found = []
    for item in record.fields:
        if item.number == FieldType.ATTRIBUTE:
            try:
                found.append(read_attribute(item.value))
            except WireError:
                continue
    return tuple(found)
