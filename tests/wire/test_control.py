"""The link's own records as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.wire.control import CONTROLS, Close, Control, Hello, Redirect, decode_control
from imxrouter.wire.errors import UnknownCritical, WireError
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import MAX_RECORD_BEFORE_PROOF
from imxrouter.wire.record import Record, decode_record
from imxrouter.wire.registry import CRITICAL_BIT, FieldType, RecordType
from tests.vectors.load import record_bytes, seeds
from tests.wire.strategies import controls, mutated, own

VECTORS = record_bytes()


@given(controls)
def test_decoding_undoes_encoding(control: Control) -> None:
    """Every field of every kind, present or absent."""
    assert decode_control(decode_record(control.encode())) == control


@given(own | mutated(seeds()))
def test_any_record_gives_a_control_record_or_a_wire_error(source: Record | bytes) -> None:
    """Rule 7: a record of the link's own is typed, unknown, or a `WireError`."""
    try:
        record = decode_record(source) if isinstance(source, bytes) else source
        control = decode_control(record)
    except WireError:
        return
    assert control is None or type(control) is CONTROLS[record.type]


@given(controls, st.integers(0x200, 0x7FFF), st.binary(max_size=20))
def test_an_unknown_field_is_skipped_unless_critical(control: Control, number: int, value: bytes) -> None:
    """IMX-6: extensions pass, what must be understood is refused by name."""
    record = decode_record(control.encode())
    extended = Record(record.type, record.flags, fields=(Field(number, value), *record.fields))
    assert decode_control(extended) == control
    critical = Record(record.type, record.flags, fields=(*record.fields, Field(number | CRITICAL_BIT, value)))
    with pytest.raises(UnknownCritical) as caught:
        decode_control(critical)
    assert caught.value.number == number


@given(controls)
def test_a_known_field_may_be_critical_or_not(control: Control) -> None:
    """The bit asks for understanding; who understands treats both alike."""
    record = decode_record(control.encode())
    for change in (CRITICAL_BIT.__or__, (~CRITICAL_BIT).__and__):
        fields = tuple(Field(change(field.type), field.value) for field in record.fields)
        assert decode_control(Record(record.type, record.flags, fields=fields)) == control


REQUIRED = {
    "ping": 1, "pong": 1, "ack": 1, "close: idle": 1, "redirect": 1, "credit": 2, "claim": 4,
    "proof in clear": 2,
    "claim result: proved": 2, "verify": 6, "verify result: released": 2, "withdraw": 1, "proved": 2,
    "login without TLS": 2, "login result": 1, "the least hello": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_field_is_missed_and_a_second_one_refused(name: str) -> None:
    """Each field of each kind, taken away and doubled."""
    record = decode_record(VECTORS[name])
    missed = 0
    for place, field in enumerate(record.fields):
        without = Record(record.type, fields=record.fields[:place] + record.fields[place + 1 :])
        missed += not _is_control(without)
        many = (record.type, field.number) in {(0x8010, FieldType.NONCE), (5, FieldType.REDIRECT_DOMAIN)}
        assert _is_control(Record(record.type, fields=(*record.fields, field))) == many
    assert missed == REQUIRED[name]


def _is_control(record: Record) -> bool:
    try:
        return decode_control(record) is not None
    except WireError:
        return False


def test_a_target_is_never_cut() -> None:
    """A redirect's target cut short would be another target: the longest fits, a longer one is refused."""
    longest = ".".join(["a" * 63] * 3 + ["b" * 61]) + ":65535"
    assert len(longest) == 259
    assert decode_control(decode_record(Redirect(longest).encode())) == Redirect(longest)
    for bad in (longest + "0", "", "b:", "bücher.example:1"):
        with pytest.raises(WireError):
            Redirect(bad).encode()


def test_a_text_is_cut_where_it_is_too_long() -> None:
    """Words for people are cut, even inside a character, and stay readable."""
    read = decode_control(decode_record(Close(1, text="ü" * 200).encode()))
    assert isinstance(read, Close)
    assert read.text is not None
    assert read.text.startswith("ü" * 127)


def test_our_own_hello_fits_before_proof() -> None:
    """The largest hello we send stays under the limit that holds before any proof."""
    hello = Hello((1,), (1, 2, 3), 2**20, 2**31, 2**31, bytes(16), bytes(8), 1, 1, 1, 1, bytes(32), "x" * 255)
    assert len(hello.encode()) <= MAX_RECORD_BEFORE_PROOF


@pytest.mark.parametrize("raw", [b"\xff" * 255, b"\xff" * 300, b"x" * 254 + "é".encode(), "é".encode() * 200])
def test_a_text_that_is_read_can_be_said(raw: bytes) -> None:
    """What stands for wrong bytes is longer than they are: it is cut, to what is read alike the next time."""
    record = Record(
        RecordType.HELLO, fields=(Field(FieldType.VERSIONS, b"\0\1"), Field(FieldType.SOFTWARE, raw))
    )
    read = decode_control(record)
    assert isinstance(read, Hello)
    assert read.software is not None
    assert len(read.software.encode()) <= 255
    assert decode_control(decode_record(read.encode())) == read
