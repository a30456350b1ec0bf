"""Who is writing: there and back, and what does not say it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.formats.iscomposing import BadIsComposing, read_iscomposing, write_iscomposing

#: As RFC 3994 section 6.2 has it.
OTHER = b"""<?xml version="1.0" encoding="UTF-8"?>
<c:isComposing xmlns:c="urn:ietf:params:xml:ns:im-iscomposing">
  <c:state> active </c:state><c:contenttype>text/plain</c:contenttype><c:refresh>90</c:refresh>
</c:isComposing>"""


@pytest.mark.parametrize("active", [True, False])
def test_there_and_back(active: bool) -> None:
    """Both states."""
    assert read_iscomposing(write_iscomposing(active=active)) is active


def test_what_others_write_is_read() -> None:
    """With all that RFC 3994 has; a state that is not known is idle."""
    assert read_iscomposing(OTHER)
    assert not read_iscomposing(OTHER.replace(b"active", b"thinking"))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"c:state>", b"c:stat>"), (b"im-iscomposing", b"imdn"), (b"</c:isComposing>", b""),
     (b"<c:refresh>", b"<c:state>x</c:state><c:refresh>")],
)  # fmt: skip
def test_what_is_none_is_refused(old: bytes, new: bytes) -> None:
    """By this room's error."""
    with pytest.raises(BadIsComposing):
        read_iscomposing(OTHER.replace(old, new))


@given(st.binary(max_size=80))
def test_any_bytes_are_one_or_none(raw: bytes) -> None:
    """Total."""
    with contextlib.suppress(BadIsComposing):
        read_iscomposing(raw)
