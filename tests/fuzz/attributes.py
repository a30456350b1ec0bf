"""Fuzzes the readers of named attributes: the values of a response, and one field.

Invariant: any bytes give attributes or `WireError` and nothing else. What is read has names that may be
written, and written again it is the same bytes; so each body has one meaning. There are never more than 256.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.model.attributes import KEYS, is_attribute_name, is_good
    from imxrouter.model.operations import Attribute
    from imxrouter.wire.attributes import (
        MAX_ATTRIBUTES,
        fitting,
        read_attribute,
        read_values,
        write_attribute,
        write_values,
    )
    from imxrouter.wire.errors import WireError


def seeds() -> list[bytes]:
    """Bodies and fields to begin from."""
    some = [
        Attribute("alias", "Älice".encode(), 3600), Attribute("idle-timeout", b"300", 60),
        Attribute("a.example/hours", b"", 0), Attribute("presence", b"<presence/>" * 9, 1),
    ]  # fmt: skip
    bodies = [write_values(some[:count]) for count in range(len(some) + 1)]
    many = write_values(Attribute(f"k{number}", b"x", number) for number in range(MAX_ATTRIBUTES))
    huge = (5).to_bytes(4, "big") + b"\x01a" + b"\xff\xff\xff\xff" + b"x"
    return [*bodies, many, huge, *(write_attribute(one) for one in some)]


def is_values(data: bytes) -> bool:
    """Whether it is the values of a response."""
    try:
        read_values(data)
    except WireError:
        return False
    return True


def _words(error: WireError) -> str:
    """What is wrong, without the bytes and figures that are."""
    return " ".join(word for word in str(error).split() if word.isalpha())


def check(data: bytes) -> Hashable:
    """The same bytes as values and as a field."""
    try:
        values = read_values(data)
    except WireError as error:
        first: Hashable = _words(error)
    else:
        assert write_values(values) == data
        assert len(values) <= MAX_ATTRIBUTES
        assert all(is_attribute_name(one.name) for one in values)
        assert set(fitting(values)) <= set(values)
        first = len(values), sum(map(is_good, values)), len(data).bit_length()
    try:
        one = read_attribute(data)
    except WireError as error:
        return first, _words(error)
    assert write_attribute(one) == data
    return first, "/" in one.name, one.name in KEYS, is_good(one), min(len(one.value), 9)


if __name__ == "__main__":
    sys.exit(engine.main("attributes", check, seeds()))
