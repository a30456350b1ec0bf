"""Attributes on the wire: one field, and the values of a response (specification section 7.8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.operations import Attribute
from imxrouter.wire.attributes import (
    MAX_ATTRIBUTES,
    MAX_VALUES_BYTES,
    fitting,
    read_attribute,
    read_values,
    write_attribute,
    write_values,
)
from imxrouter.wire.errors import WireError
from tests.fuzz import attributes as target

names = st.from_regex(r"\A(?:[a-z0-9-]{1,9}/)?[a-z0-9][a-z0-9.-]{0,20}\Z")
attributes = st.builds(Attribute, names, st.binary(max_size=60), st.integers(0, 0xFFFFFFFF))


@given(attributes)
def test_what_is_written_as_a_field_is_read_again(attribute: Attribute) -> None:
    """Any value, a zero byte included."""
    assert read_attribute(write_attribute(attribute)) == attribute


@given(st.lists(attributes, max_size=20))
def test_what_is_written_as_values_is_read_again(values: list[Attribute]) -> None:
    """In order, the same name twice as well."""
    assert read_values(write_values(values)) == tuple(values)


@given(st.binary(max_size=200))
def test_any_bytes_are_values_or_a_wire_error(data: bytes) -> None:
    """Nothing else, and what is read says the same again."""
    target.check(data)


@pytest.mark.parametrize("seed", target.seeds())
def test_values_cut_anywhere_are_refused_or_whole(seed: bytes) -> None:
    """A body that ends early is never taken for a shorter row of values that were not sent."""
    whole = read_values(seed) if target.is_values(seed) else ()
    for end in range(len(seed)):
        if target.is_values(seed[:end]):
            assert whole[: len(read_values(seed[:end]))] == read_values(seed[:end])


def test_bounds_of_an_answer() -> None:
    """256 values, and no more, written or read."""
    most = [Attribute(f"k{number}", b"") for number in range(MAX_ATTRIBUTES)]
    assert len(read_values(write_values(most))) == MAX_ATTRIBUTES
    with pytest.raises(WireError, match="257"):
        write_values([*most, most[0]])
    with pytest.raises(WireError, match="more than 256"):
        read_values(write_values(most) + write_values(most[:1]))


def test_an_age_that_does_not_fit_is_the_nearest_that_does() -> None:
    """Four bytes."""
    assert read_attribute(write_attribute(Attribute("alias", b"", 1 << 40))).max_age_s == 0xFFFFFFFF
    assert read_attribute(write_attribute(Attribute("alias", b"", -5))).max_age_s == 0


def test_an_answer_is_cut_in_the_order_of_names() -> None:
    """What does not fit is left out, and everything behind it."""
    values = [Attribute(name, bytes(30_000)) for name in ("c", "a", "b")] + [Attribute("d", b"")]
    assert [one.name for one in fitting(values)] == ["a", "b"]
    assert len(write_values(fitting(values))) <= MAX_VALUES_BYTES
    many = [Attribute(f"k{number:03}", b"") for number in range(300)]
    assert len(fitting(many)) == MAX_ATTRIBUTES
    exact = Attribute("a", bytes(20))
    assert fitting([exact], len(write_values([exact]))) == (exact,)
    assert fitting([exact], len(write_values([exact])) - 1) == ()
