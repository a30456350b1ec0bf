"""The hot path's look at fields agrees with the decoder."""

from hypothesis import given
from hypothesis import strategies as st

from imxrouter.wire.errors import WireError
from imxrouter.wire.fields import Field, are_harmless, decode_fields, encode_fields


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=20)), max_size=6), st.binary(max_size=5))
def test_harmless_means_that_the_decoder_finds_nothing_critical(
    fields: list[tuple[int, bytes]], rest: bytes
) -> None:
    """True only where the block decodes and no field is critical; False is never worse than a closer look."""
    data = encode_fields(Field(*one) for one in fields) + rest
    try:
        decoded = decode_fields(data)
    except WireError:
        assert not are_harmless(data, 0, len(data))
        return
    assert are_harmless(data, 0, len(data)) == (not any(field.critical for field in decoded))
