"""Named attributes on the wire: one field, or the values in a response (specification section 7.8)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from imxrouter.model.attributes import is_attribute_name
from imxrouter.model.operations import Attribute
from imxrouter.wire.errors import WireError
from imxrouter.wire.layout import ADDRESSES_OFFSET, DEFAULT_MAX_RECORD, OUTCOME_BYTES

#: Attributes in one answer at most.
MAX_ATTRIBUTES: Final = 256
_AGE_BYTES: Final = 4
#: Age, length of the name, length of the value.
_FRAME_BYTES: Final = _AGE_BYTES + 1 + 4
#: The longest envelope, and DECIDED_BY and TRANS_ID beside it.
_BESIDE_BYTES: Final = 4 * 255 + 2 + 4 + 254 + 4 + 40
#: Bytes of the values that fit into a record of the default size, whatever stands beside them.
MAX_VALUES_BYTES: Final = DEFAULT_MAX_RECORD - ADDRESSES_OFFSET - _BESIDE_BYTES - OUTCOME_BYTES


def write_attribute(attribute: Attribute) -> bytes:
    """The value of an ATTRIBUTE field: u32 seconds it may be kept, name, 0x00, value. Raises `WireError`."""
    _check(attribute.name)
    return _age(attribute) + attribute.name.encode("ascii") + b"\0" + attribute.value


def read_attribute(value: bytes) -> Attribute:
    """What an ATTRIBUTE field says. Raises `WireError`."""
    name, end, rest = value[_AGE_BYTES:].partition(b"\0")
    if not end:
        raise WireError(f"an attribute of {len(value)} bytes without the end of its name")
    return Attribute(_name(name), rest, int.from_bytes(value[:_AGE_BYTES], "big"))


def fitting(attributes: Iterable[Attribute], most_bytes: int = MAX_VALUES_BYTES) -> tuple[Attribute, ...]:
    """As many as an answer holds, in the order of their names; the first too many ends it.

    Args:
        attributes: in any order.
        most_bytes: for all of them as `write_values` writes them.
    """
    kept: list[Attribute] = []
    for attribute in sorted(attributes, key=lambda one: one.name):
        most_bytes -= _FRAME_BYTES + len(attribute.name) + len(attribute.value)
        if most_bytes < 0 or len(kept) == MAX_ATTRIBUTES:
            break
        kept.append(attribute)
    return tuple(kept)


def write_values(attributes: Iterable[Attribute]) -> bytes:
    """The values of an ATTRIBUTES response: each u32 age, u8 length and name, u32 length and value.

    Raises:
        WireError: there are too many, or a name is none.
    """
    parts = []
    for attribute in attributes:
        _check(attribute.name)
        name = attribute.name.encode("ascii")
        parts.append(_age(attribute) + bytes([len(name)]) + name)
        parts.append(len(attribute.value).to_bytes(4, "big") + attribute.value)
    if len(parts) > 2 * MAX_ATTRIBUTES:
        raise WireError(f"{len(parts) // 2} attributes; at most {MAX_ATTRIBUTES}")
    return b"".join(parts)


def read_values(body: bytes) -> tuple[Attribute, ...]:
    """The values that a response has after its outcome. Raises `WireError` where they do not fill it."""
    found: list[Attribute] = []
    at, end = 0, len(body)
    while at < end:
        if len(found) == MAX_ATTRIBUTES:
            raise WireError(f"more than {MAX_ATTRIBUTES} attributes")
        name_at = at + _AGE_BYTES + 1
        value_at = name_at + (body[name_at - 1] if name_at <= end else 0) + 4
        if value_at > end:
            raise WireError(f"{end - at} bytes left where an attribute begins")
        size = int.from_bytes(body[value_at - 4 : value_at], "big")
        if value_at + size > end:
            raise WireError(f"a value of {size} bytes where {end - value_at} are left")
        age = int.from_bytes(body[at : at + _AGE_BYTES], "big")
        name = _name(body[name_at : value_at - 4])
        found.append(Attribute(name, body[value_at : value_at + size], age))
        at = value_at + size
    return tuple(found)


def _age(attribute: Attribute) -> bytes:
    return min(max(attribute.max_age_s, 0), 0xFFFFFFFF).to_bytes(_AGE_BYTES, "big")


def _name(raw: bytes) -> str:
    name = raw.decode("ascii", "replace")
    _check(name)
    return name


def _check(name: str) -> None:
    if not is_attribute_name(name):
        raise WireError(f"{name[:40]!r} is no attribute name")
