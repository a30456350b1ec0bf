"""vCards as XML: what is read is written again, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.formats.xcard import (
    KINDS,
    MAX_CARD_BYTES,
    PROPERTIES,
    VCARD4,
    BadCard,
    Card,
    Property,
    fitting,
    made,
    read_xcard,
    write_xcard,
)
from tests.formats.presence_strategies import CALM, XML_TEXT


@st.composite
def properties(draw: st.DrawFn) -> Property | None:
    """One property with some of its parts, in the order of the schema."""
    name = draw(st.sampled_from(sorted(PROPERTIES)))
    parts = [(part, draw(XML_TEXT).strip()) for part in PROPERTIES[name]]
    return made(name, parts, draw(st.sets(st.sampled_from(sorted(KINDS)), max_size=3)))


CARDS = st.lists(properties(), max_size=6).map(lambda found: tuple(one for one in found if one is not None))


@CALM
@given(CARDS)
def test_a_card_comes_back(card: Card) -> None:
    """Empty parts and a missing name aside."""
    again = read_xcard(write_xcard(card))
    assert again == tuple(one for one in card)
    assert write_xcard(again) == write_xcard(card)


def test_groups_are_opened_and_strangers_are_left_out() -> None:
    """RFC 6351 section 5.2."""
    raw = (
        f'<vcards xmlns="{VCARD4}"><vcard><group name="g"><fn><text>Bob</text></fn></group>'
        '<x-y><text>1</text></x-y><fn xmlns="urn:example:x"><text>no</text></fn>'
        "<tel><parameters><type><text>HOME</text>"
        "</type><pref><integer>1</integer></pref></parameters>"
        "<uri>tel:+1</uri><uri>tel:+2</uri></tel></vcard></vcards>"
    )
    assert read_xcard(raw.encode()) == (
        Property("fn", (("text", "Bob"),)),
        Property("tel", (("uri", "tel:+1"),), frozenset({"home", "pref"})),
    )


@pytest.mark.parametrize("raw", [b"", b"<x/>", b"<vcards/>", b"<!DOCTYPE a><vcard/>", b"<vcard xmlns='x'/>"])
def test_what_is_no_card_is_refused(raw: bytes) -> None:
    """By one error."""
    with pytest.raises(BadCard):
        read_xcard(raw)


def test_pictures_are_left_out_first() -> None:
    """Then whatever is largest; what is left fits."""
    card = (
        Property("fn", (("text", "Bob"),)),
        Property("note", (("text", "n" * 20_000),)),
        Property("photo", (("uri", "data:image/png;base64," + "A" * 20_000),)),
    )
    assert [one.name for one in fitting(card)] == ["fn", "note"]
    huge = (*card[:1], Property("note", (("text", "n" * 40_000),)))
    assert fitting(huge) == card[:1]
    assert len(write_xcard(fitting(card))) <= MAX_CARD_BYTES
