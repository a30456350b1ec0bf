"""Between records and the operations of the abstract service, for gateways inside this process.

Messages are `translate.py`; here are subscriptions, notifications, attribute queries and foreign forms
(specification sections 7.6 to 7.8 and 7.11). Not used where IMX meets IMX: there the record's own bytes go
on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from struct import Struct
from typing import Final

from imxrouter.formats.pidf import BadPidf, read_pidf, write_pidf
from imxrouter.model.address import Address, BadAddress
from imxrouter.model.attributes import MAX_NAMES, is_attribute_name
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.operations import (
    MAX_SUBSCRIPTION_ID_BYTES,
    MAX_TRANS_ID_BYTES,
    AttributeQuery,
    AttributeValues,
    EndReason,
    Foreign,
    Message,
    Notify,
    Operation,
    Subscribe,
    SubscribeResult,
    SubscriptionState,
    Version,
)
from imxrouter.model.outcome import Outcome
from imxrouter.model.presence import Presence, Unknown
from imxrouter.model.vocabulary import REASON_BY_CODE, Reason
from imxrouter.transport.translate import (
    TranslationError,
    addresses_of,
    attributes_of,
    envelope_of,
    message_to_record,
    record_to_message,
)
from imxrouter.wire.attributes import fitting, read_values, write_attribute, write_values
from imxrouter.wire.errors import RecordTooLarge, WireError
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import (
    DEFAULT_MAX_RECORD,
    HEADER,
    HEADER_BYTES,
    LENGTH_BYTES,
    MESSAGE_ID_BYTES,
    OUTCOME_BYTES,
)
from imxrouter.wire.record import Record, encode_record
from imxrouter.wire.registry import CRITICAL_BIT, FieldType, RecordType

#: Content type of a notification's document unless it says another.
PIDF: Final = "application/pidf+xml"

_END_REASONS: Final = {reason.code: reason for reason in EndReason}
_VERSION_BYTES: Final = 16
#: Bytes of a protocol's name at most (specification section 7.11).
MAX_PROTOCOL_BYTES: Final = 16
_PROTOCOL: Final = re.compile(r"[a-z][a-z0-9]{0,15}\Z")
#: Type and length of fields, and one whole.
_ID_HEAD: Final = FieldType.SUBSCRIPTION_ID.to_bytes(2, "big")
_STATE_HEAD: Final = FieldType.SUBSCRIPTION_STATE.to_bytes(2, "big") + b"\0\2"
_DURATION_HEAD: Final = FieldType.DURATION.to_bytes(2, "big") + b"\0\4"
_VERSION_FIELD: Final = Struct(">HHQQ")


def operation_to_record(operation: Operation) -> Record:
    """The record of any operation, without flags and route tag. Raises `TranslationError`."""
    if isinstance(operation, Message):
        return message_to_record(operation)
    try:
        if isinstance(operation, Subscribe):
            return subscribe_to_record(operation)
        if isinstance(operation, Notify):
            return notify_to_record(operation)
        if isinstance(operation, Foreign):
            return foreign_to_record(operation)
        return query_to_record(operation)
    except WireError as error:
        raise TranslationError(Reason.BAD_RECORD, str(error)) from None


def record_to_operation(record: Record) -> Operation:
    """The operation of a request. Raises `TranslationError`, where its type has none as well."""
    read = _READERS.get(record.type)
    if read is None:
        raise TranslationError(Reason.TYPE_NOT_ENABLED, f"record type 0x{record.type:04x} is no operation")
    return read(record)


# -- subscriptions -------------------------------------------------------------------------------------------


def subscribe_to_record(operation: Subscribe) -> Record:
    """The SUBSCRIBE record. Raises `TranslationError` where an id or a duration is not one."""
    fields = [
        Field(FieldType.SUBSCRIPTION_ID, _checked_id(operation.subscription_id)),
        Field(FieldType.DURATION, _u32(operation.duration_s)),
    ]
    if operation.trans_id:
        fields.append(Field(FieldType.TRANS_ID, operation.trans_id))
    if operation.original_form:
        fields.append(Field(FieldType.ORIGINAL_FORM, operation.original_form))
    return Record(
        RecordType.SUBSCRIBE, hops_left=operation.hops_left, message_id=operation.message_id,
        envelope=envelope_of(operation.watcher, operation.presentity), fields=tuple(fields),
    )  # fmt: skip


def record_to_subscribe(record: Record) -> Subscribe:
    """What a SUBSCRIBE record asks. Raises `TranslationError`."""
    watcher, presentity = addresses_of(record)
    duration = record.value(FieldType.DURATION)
    if duration is None or len(duration) != 4:
        raise TranslationError(Reason.BAD_RECORD, "a subscription without a duration of 4 bytes")
    _check_no_body(record)
    return Subscribe(
        watcher, presentity, record.message_id, subscription_id_of(record), int.from_bytes(duration, "big"),
        record.hops_left, record.value(FieldType.TRANS_ID) or b"",
        record.value(FieldType.ORIGINAL_FORM) or b"",
    )  # fmt: skip


def _check_no_body(record: Record) -> None:
    if record.body:
        raise TranslationError(Reason.BAD_BODY, f"{len(record.body)} bytes of body where none belongs")


def subscription_id_of(record: Record) -> bytes:
    """The subscription's id. Raises `TranslationError` where there is none of 1 to 40 bytes."""
    return _checked_id(record.value(FieldType.SUBSCRIPTION_ID) or b"")


def _checked_id(ident: bytes) -> bytes:
    if not 0 < len(ident) <= MAX_SUBSCRIPTION_ID_BYTES:
        raise TranslationError(
            Reason.BAD_RECORD, f"subscription id of {len(ident)} bytes; 1 to {MAX_SUBSCRIPTION_ID_BYTES}"
        )
    return ident


# -- notifications -------------------------------------------------------------------------------------------


def notify_to_record(operation: Notify, teller: Domain | None = None) -> Record:
    """The NOTIFY record.

    Args:
        operation: what is told.
        teller: with `Unknown` presence, the domain whose router says it; the presentity never does.

    Raises:
        TranslationError: a part does not fit in, or `Unknown` presence has no teller.
    """
    presence, document, sender = operation.presence, operation.document, operation.presentity
    state = bytes([operation.state, operation.end_reason.code])
    fields = [
        Field(FieldType.SUBSCRIPTION_ID, _checked_id(operation.subscription_id)),
        Field(FieldType.SUBSCRIPTION_STATE, state),
    ]
    if isinstance(presence, Unknown):
        if teller is None:
            raise TranslationError(Reason.BAD_RECORD, "unknown presence is a router's word only")
        sender = Address("", teller)
        word = presence.reason.code.to_bytes(2, "big") + presence.domain.wire
        fields.append(Field(FieldType.UNKNOWN | CRITICAL_BIT, word))
        fields.append(Field(FieldType.PRESENTITY | CRITICAL_BIT, operation.presentity.wire))
    elif presence is not None and not document:
        document = write_pidf(presence)
    if operation.version is not None:
        version = operation.version
        value = version.epoch.to_bytes(8, "big") + version.number.to_bytes(8, "big")
        fields.append(Field(FieldType.VERSION, value))
    if operation.expires_s is not None:
        fields.append(Field(FieldType.DURATION, _u32(operation.expires_s)))
    if operation.original_form:
        fields.append(Field(FieldType.ORIGINAL_FORM, operation.original_form))
    fields += [Field(FieldType.ATTRIBUTE, write_attribute(one)) for one in operation.attributes]
    return Record(
        RecordType.NOTIFY, hops_left=operation.hops_left, message_id=operation.message_id,
        envelope=envelope_of(sender, operation.watcher), fields=tuple(fields), body=document,
    )  # fmt: skip


def operation_to_bytes(operation: Operation, flags: int, route_tag: int) -> bytes:
    """The record of any operation as bytes. Raises `TranslationError`.

    That of a notification is made in one go, for a user may have 10,000 watchers.
    """
    if not isinstance(operation, Notify) or not _is_usual(operation):
        try:
            return encode_record(operation_to_record(operation), flags, route_tag)
        except RecordTooLarge as error:
            raise TranslationError(Reason.TOO_LARGE, str(error)) from None
        except WireError as error:
            raise TranslationError(Reason.BAD_RECORD, str(error)) from None
    watcher, presentity, ident = operation.watcher, operation.presentity, operation.subscription_id
    to_local, to_domain = watcher.local.encode("utf-8"), watcher.domain.wire
    from_local, from_domain = presentity.local.encode("utf-8"), presentity.domain.wire
    fields = _ID_HEAD + len(ident).to_bytes(2, "big") + ident
    fields += _STATE_HEAD + bytes((operation.state, operation.end_reason.code))
    if operation.version is not None:
        fields += _VERSION_FIELD.pack(
            FieldType.VERSION, _VERSION_BYTES, operation.version.epoch, operation.version.number
        )
    if operation.expires_s is not None:
        fields += _DURATION_HEAD + _u32(operation.expires_s)
    rest = b"".join((to_local, b"@", to_domain, from_local, b"@", from_domain, fields, operation.document))
    head = HEADER.pack(
        HEADER_BYTES - LENGTH_BYTES + len(rest), RecordType.NOTIFY, flags, operation.hops_left, route_tag,
        len(to_local), len(to_domain), len(from_local), len(from_domain), len(fields), 0,
        operation.message_id,
    )  # fmt: skip
    return head + rest


def _is_usual(told: Notify) -> bool:
    """Whether nothing of a notification needs a closer look."""
    return (
        not told.attributes
        and not isinstance(told.presence, Unknown)
        and (told.presence is None or bool(told.document))
        and len(told.document) <= DEFAULT_MAX_RECORD
        and len(told.message_id) == MESSAGE_ID_BYTES
        and 0 < len(told.subscription_id) <= MAX_SUBSCRIPTION_ID_BYTES
    )


def record_to_notify(record: Record) -> Notify:
    """What a NOTIFY record tells.

    Raises:
        TranslationError: a field is missing or broken; the document is no PIDF, or another presentity's.
    """
    sender, watcher = addresses_of(record)
    state, end_reason = _state_of(record)
    expires, version = record.value(FieldType.DURATION), record.value(FieldType.VERSION)
    presentity, presence = sender, _unknown_of(record, sender)
    if presence is not None:
        presentity = presence.presentity
    elif record.body and version is None:
        raise TranslationError(Reason.BAD_RECORD, "a state without a version")
    if expires is not None and len(expires) != 4:
        raise TranslationError(Reason.BAD_RECORD, f"a duration of {len(expires)} bytes, not 4")
    return Notify(
        presentity, watcher, record.message_id, subscription_id_of(record), state,
        _version(version) if version is not None else None,
        presence if presence is not None else _presence_of(record, presentity),
        b"" if presence is not None else record.body,
        end_reason,
        int.from_bytes(expires, "big") if expires is not None else None,
        attributes_of(record), record.hops_left, record.value(FieldType.ORIGINAL_FORM) or b"",
    )  # fmt: skip


def _presence_of(record: Record, presentity: Address) -> Presence | None:
    if not record.body:
        return None
    kind = (record.value(FieldType.CONTENT_TYPE) or PIDF.encode()).decode("utf-8", "replace")
    if kind.partition(";")[0].strip().lower() != PIDF:
        raise TranslationError(Reason.BAD_BODY, f"presence as {kind[:60]!r} is not understood")
    try:
        return read_pidf(record.body, presentity)
    except BadPidf as error:
        raise TranslationError(Reason.BAD_BODY, error.fault) from None


def _unknown_of(record: Record, teller: Address) -> Unknown | None:
    word, raw = record.value(FieldType.UNKNOWN), record.value(FieldType.PRESENTITY)
    if word is None and raw is None:
        return None
    local, at, domain = (raw or b"").rpartition(b"@")
    if word is None or len(word) < 3 or not at or teller.local:
        why = "unknown presence needs a reason, a presentity and a domain"
        raise TranslationError(Reason.BAD_RECORD, why)
    try:
        presentity, decided_by = Address.from_wire(local, domain), Domain.from_wire(word[2:])
    except (BadAddress, BadDomain) as error:
        raise TranslationError(Reason.BAD_ADDRESS, str(error)) from None
    reason = REASON_BY_CODE.get(int.from_bytes(word[:2], "big"), Reason.PEER_FAILED)
    return Unknown(presentity, reason, decided_by)


def _state_of(record: Record) -> tuple[SubscriptionState, EndReason]:
    value = record.value(FieldType.SUBSCRIPTION_STATE) or b""
    if len(value) != 2 or value[0] > SubscriptionState.TERMINATED:
        raise TranslationError(Reason.BAD_RECORD, "the state of the subscription is missing, or not one")
    return SubscriptionState(value[0]), _END_REASONS.get(value[1], EndReason.NONE)


def _version(value: bytes) -> Version:
    if len(value) != _VERSION_BYTES:
        raise TranslationError(Reason.BAD_RECORD, f"a version of {len(value)} bytes, not {_VERSION_BYTES}")
    return Version(int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big"))


# -- attributes ----------------------------------------------------------------------------------------------


def query_to_record(operation: AttributeQuery) -> Record:
    """The ATTRIBUTES record. Raises `TranslationError` where a name is none, or there are too many."""
    _check_names(operation.names)
    fields = tuple(Field(FieldType.ATTRIBUTE_NAME, name.encode("utf-8")) for name in operation.names)
    return Record(
        RecordType.ATTRIBUTES, hops_left=operation.hops_left, message_id=operation.message_id,
        envelope=envelope_of(operation.requester, operation.owner), fields=fields,
    )  # fmt: skip


def record_to_query(record: Record) -> AttributeQuery:
    """What an ATTRIBUTES record asks for. Raises `TranslationError`."""
    requester, owner = addresses_of(record)
    _check_no_body(record)
    names = tuple(
        item.value.decode("utf-8", "replace")
        for item in record.fields
        if item.number == FieldType.ATTRIBUTE_NAME
    )
    _check_names(names)
    return AttributeQuery(requester, owner, record.message_id, names, record.hops_left)


def _check_names(names: tuple[str, ...]) -> None:
    if len(names) > MAX_NAMES:
        raise TranslationError(Reason.BAD_RECORD, f"{len(names)} attribute names; at most {MAX_NAMES}")
    for name in names:
        if not is_attribute_name(name):
            raise TranslationError(Reason.BAD_RECORD, f"{name[:40]!r} is no attribute name")


# -- foreign forms -------------------------------------------------------------------------------------------


def foreign_to_record(operation: Foreign) -> Record:
    """The FOREIGN record. Raises `TranslationError` where its protocol has no name, or it is empty."""
    if not _PROTOCOL.match(operation.protocol) or not operation.content:
        raise TranslationError(Reason.BAD_BODY, f"a foreign form of {operation.protocol[:40]!r}")
    if len(operation.trans_id) > MAX_TRANS_ID_BYTES:
        raise TranslationError(Reason.BAD_RECORD, f"transaction id of {len(operation.trans_id)} bytes")
    fields = (Field(FieldType.TRANS_ID, operation.trans_id),) if operation.trans_id else ()
    return Record(
        RecordType.FOREIGN, hops_left=operation.hops_left, message_id=operation.message_id,
        envelope=envelope_of(operation.source, operation.destination), fields=fields,
        body=operation.protocol.encode() + b"\0" + operation.content,
    )  # fmt: skip


def record_to_foreign(record: Record) -> Foreign:
    """What a FOREIGN record carries; the form itself is not read. Raises `TranslationError`."""
    source, destination = addresses_of(record)
    protocol, nul, content = record.body.partition(b"\0")
    name = protocol[: MAX_PROTOCOL_BYTES + 1].decode("latin-1")
    if not nul or not content or not _PROTOCOL.match(name):
        raise TranslationError(Reason.BAD_BODY, "no name of a protocol, or nothing behind it")
    trans_id = record.value(FieldType.TRANS_ID) or b""
    if len(trans_id) > MAX_TRANS_ID_BYTES:
        raise TranslationError(Reason.BAD_RECORD, f"transaction id of {len(trans_id)} bytes")
    return Foreign(source, destination, record.message_id, name, content, record.hops_left, trans_id)


# -- answers -------------------------------------------------------------------------------------------------


def with_result(response: Record, outcome: Outcome) -> Record:
    """A response that also has what a success brings (specification sections 7.6 and 7.8)."""
    result = outcome.result
    if isinstance(result, SubscribeResult):
        state = Field(FieldType.SUBSCRIPTION_STATE, bytes([result.state, 0]))
        duration = Field(FieldType.DURATION, _u32(result.duration_s))
        return replace(response, fields=(*response.fields, state, duration))
    if isinstance(result, AttributeValues):
        return replace(response, body=response.body + write_values(fitting(result.attributes)))
    return response


def result_of(response: Record, outcome: Outcome) -> Outcome:
    """The outcome of a response, with what a success brings; without it where that cannot be read."""
    if not outcome.ok:
        return outcome
    left = response.value(FieldType.RATE_LEFT)
    if left is not None and len(left) == 4:
        outcome = replace(outcome, left=int.from_bytes(left, "big"))
    if response.type == RecordType.SUBSCRIBE_RESPONSE:
        return replace(outcome, result=subscribe_result_of(response))
    if response.type == RecordType.ATTRIBUTES_RESPONSE:
        try:
            return replace(outcome, result=AttributeValues(read_values(response.body[OUTCOME_BYTES:])))
        except WireError:
            return outcome
    return outcome


def subscribe_result_of(response: Record) -> SubscribeResult | None:
    """State and duration of a SUBSCRIBE response; None where they are missing."""
    duration = response.value(FieldType.DURATION) or b""
    try:
        state, _ = _state_of(response)
    except TranslationError:
        return None
    return SubscribeResult(state, int.from_bytes(duration, "big")) if len(duration) == 4 else None


def _u32(number: int) -> bytes:
    if not 0 <= number <= 0xFFFFFFFF:
        raise TranslationError(Reason.BAD_RECORD, f"{number} does not fit into a duration")
    return number.to_bytes(4, "big")


_READERS: Final[dict[int, Callable[[Record], Operation]]] = {
    RecordType.MESSAGE: record_to_message,
    RecordType.SUBSCRIBE: record_to_subscribe,
    RecordType.NOTIFY: record_to_notify,
    RecordType.ATTRIBUTES: record_to_query,
    RecordType.FOREIGN: record_to_foreign,
}
