"""Disposition notifications: there and back, and what is none."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.formats.imdn import ALLOWED, BadImdn, Disposition, Imdn, Notice, read_imdn, write_imdn

TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
#: RFC 5438 section 7.2.1.1 has one like it.
OTHER = b"""<?xml version="1.0" encoding="UTF-8"?>
<i:imdn xmlns:i="urn:ietf:params:xml:ns:imdn" xmlns:o="urn:other">
  <i:message-id> 34jk324j </i:message-id>
  <i:datetime>2008-04-04T12:16:49-05:00</i:datetime>
  <o:delivery-notification/>
  <i:display-notification><i:status><o:more/><i:displayed/></i:status></i:display-notification>
</i:imdn>"""


@pytest.mark.parametrize(
    ("notice", "disposition"), [(n, d) for n in Notice for d in sorted(ALLOWED[n], key=str)]
)
def test_there_and_back(notice: Notice, disposition: Disposition) -> None:
    """Each that RFC 5438 allows."""
    said = Imdn("a<b>&'\"", notice, disposition, TIME, "im:bob@b.example")
    assert read_imdn(write_imdn(said)) == said


def test_what_others_write_is_read() -> None:
    """Prefixes, blanks and elements of other namespaces."""
    told = read_imdn(OTHER)
    assert (told.message_id, told.notice, told.disposition) == (
        "34jk324j", Notice.DISPLAY, Disposition.DISPLAYED,
    )  # fmt: skip
    assert told.time == datetime(2008, 4, 4, 17, 16, 49, tzinfo=UTC)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"i:message-id", b"o:message-id"),
        (b"<i:displayed/>", b"<i:delivered/>"),
        (b"<i:displayed/>", b""),
        (b"<i:displayed/>", b"<i:displayed/><i:error/>"),
        (b"o:delivery-notification", b"i:delivery-notification"),
        (b"i:imdn", b"o:imdn"),
        (b"34jk324j", b"x" * 256),
        (b"<?xml", b"<!DOCTYPE x><?xml"),
    ],
)
def test_what_is_none_is_refused(old: bytes, new: bytes) -> None:
    """By this room's error."""
    with pytest.raises(BadImdn):
        read_imdn(OTHER.replace(old, new))


@pytest.mark.parametrize(
    "said",
    [
        Imdn("", Notice.DELIVERY, Disposition.DELIVERED, TIME),
        Imdn("x" * 256, Notice.DELIVERY, Disposition.DELIVERED, TIME),
        Imdn("x", Notice.DISPLAY, Disposition.DELIVERED, TIME),
        Imdn("x", Notice.DELIVERY, Disposition.DELIVERED),
    ],
)
def test_what_is_none_is_not_written(said: Imdn) -> None:
    """Nobody could read it."""
    with pytest.raises(BadImdn):
        write_imdn(said)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(lambda text: OTHER.replace(b"34jk324j", text.encode())),
    )
)
def test_any_bytes_are_one_or_none(raw: bytes) -> None:
    """Total."""
    with contextlib.suppress(BadImdn):
        read_imdn(raw)
