"""A captured byte stream as readable records, for people and scripts (`imxctl decode`).

Secrets of dial-back and logins are cut to their first bytes; bodies, subjects and attribute values are told
by length only (rule 9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from imxrouter.model.vocabulary import REASON_BY_CODE
from imxrouter.wire.errors import WireError
from imxrouter.wire.fields import Field
from imxrouter.wire.framing import judge_length
from imxrouter.wire.layout import (
    FLAG_CRITICAL,
    FLAG_RESPONSE_WANTED,
    FLAG_RETRY,
    HEADER_BYTES,
    LENGTH_BYTES,
    OUTCOME_BYTES,
    TLS_FIRST_BYTE,
)
from imxrouter.wire.record import Record, decode_outcome, decode_record
from imxrouter.wire.registry import Capability, FieldType, field_name, type_name

#: The length field ends here; what a link would take is not known from a capture.
_ANY_LENGTH: Final = 1 << 24
#: A value of an unknown field is shown up to this many bytes.
_SHOWN_BYTES: Final = 64
_KEPT_OF_SECRETS: Final = 4

_FLAG_NAMES: Final = (
    (FLAG_RESPONSE_WANTED, "response-wanted"),
    (FLAG_CRITICAL, "critical"),
    (FLAG_RETRY, "retry"),
)


def describe_stream(data: bytes) -> Iterator[dict[str, object]]:
    """Walk a captured stream, one side of a connection.

    Total: any bytes give dictionaries. The last one holds `error` (and `offset`) where the bytes break or end
    inside a record; a stream that ends with a whole record has none.
    """
    at = 0
    while at < len(data):
        if data[at] == TLS_FIRST_BYTE:
            yield {"offset": at, "error": "a TLS handshake or garbage: records begin with 0x00"}
            return
        if len(data) - at < LENGTH_BYTES:
            yield {"offset": at, "error": f"ends after {len(data) - at} bytes of a length"}
            return
        try:
            size = judge_length(data, at, _ANY_LENGTH)
            if len(data) - at < size:
                yield _cut_short(data, at, size)
                return
            shown = _describe(decode_record(data[at : at + size]))
        except WireError as error:
            yield {"offset": at, "error": str(error)}
            return
        yield {"offset": at, "size": size} | shown
        at += size


def _cut_short(data: bytes, at: int, size: int) -> dict[str, object]:
    shown: dict[str, object] = {"offset": at, "size": size}
    if len(data) - at >= HEADER_BYTES:
        shown["type"] = type_name(int.from_bytes(data[at + 4 : at + 6], "big"))
    return shown | {"error": f"ends after {len(data) - at} of {size} bytes"}


def _describe(record: Record) -> dict[str, object]:
    shown: dict[str, object] = {
        "type": type_name(record.type),
        "flags": _flags(record.flags),
        "hops": record.hops_left,
        "tag": f"{record.route_tag:016x}",
        "id": record.message_id.hex(),
    }
    if record.is_routed:
        envelope = record.envelope
        shown["to"] = _address(envelope.to_local, envelope.to_domain)
        shown["from"] = _address(envelope.from_local, envelope.from_domain)
    shown["fields"] = _fields(record.fields)
    critical = [field_name(field.type) for field in record.fields if field.critical]
    if critical:
        shown["critical"] = critical
    if record.is_routed and record.is_response:
        shown |= _outcome(record)
    else:
        shown["body"] = len(record.body)
    return shown


def _flags(flags: int) -> list[str]:
    names = [name for bit, name in _FLAG_NAMES if flags & bit]
    unknown = flags & ~sum(bit for bit, _ in _FLAG_NAMES)
    return [*names, f"0x{unknown:02x}"] if unknown else names


def _address(local: bytes, domain: bytes) -> str:
    shown = domain.decode("utf-8", "backslashreplace")
    return f"{local.decode('utf-8', 'backslashreplace')}@{shown}" if local else shown


def _outcome(record: Record) -> dict[str, object]:
    if len(record.body) < OUTCOME_BYTES:
        return {"body": len(record.body), "outcome": None}
    try:
        outcome = decode_outcome(record)
    except WireError as error:
        return {"body": len(record.body), "outcome": None, "note": str(error)}
    code = int.from_bytes(record.body[2:4], "big")
    return {
        "outcome": {
            "status": outcome.status.name.lower(),
            "reason": _reason_word(code),
            "retry-after-s": outcome.retry_after_s,
        },
        "body": len(record.body) - OUTCOME_BYTES,
    }


def _reason_word(code: int) -> str:
    known = REASON_BY_CODE.get(code)
    return str(code) if known is None else known.word


def _fields(fields: tuple[Field, ...]) -> dict[str, object]:
    """Name to value; the values of a field that stands several times are a list."""
    shown: dict[str, list[object]] = {}
    for field in fields:
        shown.setdefault(field_name(field.type), []).append(_value(field))
    return {name: values[0] if len(values) == 1 else values for name, values in shown.items()}


def _value(field: Field) -> object:
    reader = _READERS.get(field.number)
    if reader is not None:
        try:
            return reader(field.value)
        except ValueError:
            return f"malformed: {_raw(field.value)}"
    return _raw(field.value)


def _raw(value: bytes) -> str:
    if len(value) <= _SHOWN_BYTES:
        return value.hex()
    return f"{value[:_SHOWN_BYTES].hex()}... ({len(value)} bytes)"


def _secret(value: bytes) -> str:
    return f"{value[:_KEPT_OF_SECRETS].hex()}... ({len(value)} bytes)" if value else "(0 bytes)"


def _length(value: bytes) -> str:
    return f"({len(value)} bytes)"


def _text(value: bytes) -> str:
    shown = value[: 4 * _SHOWN_BYTES].decode("utf-8", "backslashreplace")
    return shown if len(value) <= 4 * _SHOWN_BYTES else f"{shown}... ({len(value)} bytes)"


def _number(*widths: int) -> Callable[[bytes], int]:
    def read(value: bytes) -> int:
        if len(value) not in widths:
            raise ValueError(len(value))
        return int.from_bytes(value, "big")

    return read


def _numbers(value: bytes) -> list[int]:
    if len(value) % 2:
        raise ValueError(len(value))
    return [int.from_bytes(value[at : at + 2], "big") for at in range(0, min(len(value), 64), 2)]


def _capabilities(value: bytes) -> list[str]:
    known = {int(one): one.name.lower() for one in Capability}
    return [known.get(number, str(number)) for number in _numbers(value)]


def _reason(value: bytes) -> str:
    return _reason_word(_number(2)(value))


def _record_type(value: bytes) -> str:
    return type_name(_number(2)(value))


#: LEVEL is a set of bits (specification section 6.4).
_LEVEL_BITS: Final = ((1, "dialback"), (2, "tls"), (4, "certificate"), (8, "bound"))


def level_words(bits: int) -> str:
    """A level in words, such as `dialback+tls`."""
    names = [name for bit, name in _LEVEL_BITS if bits & bit]
    return "+".join([*names, f"0x{bits & 0xF0:02x}"] if bits & 0xF0 else names) or "none"


def _level(value: bytes) -> str:
    return level_words(_number(1)(value))


def _view(value: bytes) -> str:
    bits = _number(1)(value)
    return ("clear", "tls-unbound", "tls-bound")[bits] if bits < 3 else str(bits)


def _decided_by(value: bytes) -> str:
    if not value:
        raise ValueError(0)
    roles = ("router", "service", "peer", "uplink")
    role = roles[value[0]] if value[0] < len(roles) else str(value[0])
    return f"{_text(value[1:])} ({role})"


def _state(value: bytes) -> str:
    if not value:
        raise ValueError(0)
    states = ("pending", "active", "terminated")
    word = states[value[0]] if value[0] < len(states) else str(value[0])
    return word if len(value) < 2 or not value[1] else f"{word} ({value[1]})"


def _version(value: bytes) -> str:
    if len(value) != 16:
        raise ValueError(len(value))
    return f"{int.from_bytes(value[:8], 'big')}.{int.from_bytes(value[8:], 'big')}"


def _unknown(value: bytes) -> str:
    return f"{_reason(value[:2])} at {_text(value[2:])}"


_U8: Final = _number(1)
_U16: Final = _number(2)
_U32: Final = _number(4)
_U64: Final = _number(8)

_READERS: Final[dict[int, Callable[[bytes], object]]] = {
    FieldType.TRANS_ID: _text,
    FieldType.DECIDED_BY: _decided_by,
    FieldType.SUBJECT: _length,
    FieldType.THREAD: _text,
    FieldType.LANGUAGE: _text,
    FieldType.INSTANCE: _text,
    FieldType.ORIGINAL_FORM: _length,
    FieldType.CONTENT_TYPE: _text,
    FieldType.TO_INSTANCE: _text,
    FieldType.KIND: _U8,
    FieldType.THREAD_PARENT: _text,
    FieldType.SENT_AT: _U64,
    FieldType.CHAT_STATE: _text,
    FieldType.ATTRIBUTE: _length,
    FieldType.DURATION: _U32,
    FieldType.SUBSCRIPTION_STATE: _state,
    FieldType.VERSION: _version,
    FieldType.UNKNOWN: _unknown,
    FieldType.ATTRIBUTE_NAME: _text,
    FieldType.VERSIONS: _numbers,
    FieldType.CAPABILITIES: _capabilities,
    FieldType.MAX_RECORD: _U32,
    FieldType.CREDIT_REQUESTS: _U32,
    FieldType.CREDIT_BYTES: _U32,
    FieldType.PING_INTERVAL: _U32,
    FieldType.DEAD_AFTER: _U32,
    FieldType.IDLE_AFTER: _U32,
    FieldType.SOFTWARE: _text,
    FieldType.DUPLICATE_WINDOW: _U32,
    FieldType.CLAIM_NUMBER: _U32,
    FieldType.FROM_DOMAIN: _text,
    FieldType.TO_DOMAIN: _text,
    FieldType.TOKEN: _secret,
    FieldType.SECRET: _secret,
    FieldType.ANSWER: _secret,
    FieldType.FIRST_VIEW: _view,
    FieldType.LEVEL: _level,
    FieldType.REASON: _reason,
    FieldType.RETRY_AFTER: _U32,
    FieldType.DEADLINE: _U32,
    FieldType.TEXT: _text,
    FieldType.TARGET: _text,
    FieldType.REDIRECT_DOMAIN: _text,
    FieldType.SUBJECT_TYPE: _record_type,
    FieldType.ACKNOWLEDGED: _U64,
}
