"""Extension fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.wire.errors import UnknownCritical, WireError
from imxrouter.wire.fields import Field, check_critical, decode_fields, encode_fields, first_value
from imxrouter.wire.layout import MAX_FIELDS
from imxrouter.wire.registry import CRITICAL_BIT
from tests.wire.strategies import fields


@given(fields)
def test_decoding_undoes_encoding(row: tuple[Field, ...]) -> None:
    """Order, critical bits and unknown numbers included."""
    assert decode_fields(encode_fields(row)) == row


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_a_wire_error(data: bytes) -> None:
    """And fields fill their space exactly."""
    try:
        row = decode_fields(data)
    except WireError:
        return
    assert encode_fields(row) == data


def test_as_many_fields_as_allowed() -> None:
    """256, and not one more."""
    assert len(decode_fields(bytes(4 * MAX_FIELDS))) == MAX_FIELDS
    with pytest.raises(WireError):
        decode_fields(bytes(4 * MAX_FIELDS + 4))


def test_the_first_value_counts() -> None:
    """Critical or not; None where there is none."""
    row = (Field(5 | CRITICAL_BIT, b"first"), Field(5, b"second"))
    assert first_value(row, 5) == b"first"
    assert first_value(row, 6) is None


def test_the_first_unknown_critical_field_is_named() -> None:
    """Known ones and harmless ones pass."""
    row = (Field(1 | CRITICAL_BIT, b""), Field(2, b""))
    check_critical(row, frozenset({1}))
    with pytest.raises(UnknownCritical, match="0x0007"):
        check_critical((*row, Field(7 | CRITICAL_BIT, b""), Field(8 | CRITICAL_BIT, b"")), frozenset({1}))
