"""Extension fields: u16 type with the top bit critical, u16 length, value (specification section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from imxrouter.wire.errors import UnknownCritical, WireError
from imxrouter.wire.layout import MAX_FIELDS
from imxrouter.wire.registry import CRITICAL_BIT, field_name


class Field(NamedTuple):
    """One extension field as it stands on the wire; the type keeps its critical bit."""

    type: int
    value: bytes

    @property
    def number(self) -> int:
        """The type without the critical bit."""
        return self.type & ~CRITICAL_BIT

    @property
    def critical(self) -> bool:
        """Whether a receiver that does not know the field must refuse the record."""
        return bool(self.type & CRITICAL_BIT)


def encode_fields(fields: Iterable[Field]) -> bytes:
    """Put fields one after the other.

    Raises:
        WireError: more than 256 fields, or more than 65,535 bytes in one or in all.
    """
    parts = []
    for field in fields:
        if len(field.value) > 0xFFFF:
            raise WireError(f"field {field_name(field.type)} of {len(field.value)} bytes; at most 65535")
        parts.append(field.type.to_bytes(2, "big") + len(field.value).to_bytes(2, "big") + field.value)
    if len(parts) > MAX_FIELDS:
        raise WireError(f"{len(parts)} fields; at most {MAX_FIELDS}")
    encoded = b"".join(parts)
    if len(encoded) > 0xFFFF:
        raise WireError(f"{len(encoded)} bytes of fields; at most 65535")
    return encoded


def iterate_fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    """Walk the fields in `data[start:end]`; raises `WireError` where they do not fill it exactly."""
    count = 0
    while start < end:
        count += 1
        if count > MAX_FIELDS:
            raise WireError(f"more than {MAX_FIELDS} fields")
        if end - start < 4:
            raise WireError(f"{end - start} bytes left where a field header needs 4")
        size = (data[start + 2] << 8) | data[start + 3]
        value_end = start + 4 + size
        if value_end > end:
            raise WireError(f"field of {size} bytes where {end - start - 4} are left")
        yield Field((data[start] << 8) | data[start + 1], data[start + 4 : value_end])
        start = value_end


def are_harmless(data: bytes, at: int, end: int) -> bool:
    """Whether fields fill `data[at:end]` exactly and none is critical, so that nobody need look closer.

    For the hot path: no slice, no object. False says nothing but that `iterate_fields` must judge.
    """
    count = 0
    while end - at >= 4:
        if data[at] & 0x80 or count == MAX_FIELDS:
            return False
        count += 1
        at += 4 + (data[at + 2] << 8 | data[at + 3])
    return at == end


def decode_fields(data: bytes) -> tuple[Field, ...]:
    """All fields of an encoded block. Raises `WireError`."""
    return tuple(iterate_fields(data, 0, len(data)))


def check_critical(fields: Iterable[Field], known: frozenset[int]) -> None:
    """Raise `UnknownCritical` for the first critical field whose number is not in `known`."""
    for field in fields:
        if field.critical and field.number not in known:
            raise UnknownCritical("field", field.number)


def first_value(fields: Iterable[Field], number: int) -> bytes | None:
    """The value of the first field of that number, critical or not; None where there is none."""
    for field in fields:
        if field.number == number:
            return field.value
    return None
