"""Presence states and documents for tests: what Hypothesis draws, and the schema that judges."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from lxml import etree

from imxrouter.formats.pidf import DATA_MODEL, PIDF, RPID
from imxrouter.formats.xmltree import escape_attribute, escape_text
from imxrouter.model.address import Address
from imxrouter.model.presence import (
    ACTIVITIES,
    Activities,
    Basic,
    Contact,
    Extension,
    Note,
    Person,
    Presence,
    PresenceTuple,
)

#: For slow strategies on machines with other work to do.
CALM = settings(suppress_health_check=[HealthCheck.too_slow])
SCHEMAS = Path(__file__).parents[1] / "data" / "schemas"
FOREIGN = "urn:example:foreign"

#: Whatever XML 1.0 can carry.
XML_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff").filter(
        lambda char: char >= " " or char in "\t\n\r"
    ),
    max_size=20,
)
LANGUAGES = st.sampled_from(["", "", "en", "de", "fr-CA", "zh-Hant-TW"])
NOTES = st.builds(Note, XML_TEXT, LANGUAGES)
TIMES = st.none() | st.integers(-(10**15), 4 * 10**15).map(
    lambda micro: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micro)
)
IDS = st.from_regex(r"[A-Za-z_][A-Za-z0-9._-]{0,6}", fullmatch=True)
URIS = st.from_regex(
    r"(sip|im|tel|mailto|pres):([a-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})([a-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-F]{2}){0,20}"
    r"|https?://[a-z0-9.-]{1,12}(:[0-9]{1,5})?(/[a-z0-9._~:@/-]{0,9})?(\?[a-z=&/?]{0,9})?(#[a-z]{0,5})?",
    fullmatch=True,
)
CONTACTS = st.none() | st.builds(Contact, URIS, st.none() | st.integers(0, 1000))


@st.composite
def foreign(draw: st.DrawFn, *, marks: bool = False) -> Extension:
    """An element of another namespace that stands on its own, as a reader makes one."""
    name = draw(st.sampled_from(["mood", "x", "status"]))
    inner = draw(
        st.sampled_from(["", "<f:in/>", "<f:in>&lt;</f:in>t", "<plain xmlns=''/>", "<![CDATA[</f:x>]]>"])
    )
    text = escape_text(draw(XML_TEXT).replace(":", ""))
    value = escape_attribute(draw(XML_TEXT).replace(":", ""))
    marked = marks and draw(st.booleans())
    mark = ' q:mustUnderstand="1" xmlns:q="urn:ietf:params:xml:ns:pidf"' if marked else ""
    xml = f'<f:{name} xmlns:f="{FOREIGN}"{mark} k="{value}">{text}{inner}</f:{name}>'
    return Extension(FOREIGN, name, xml, marked)


def few(strategy: st.SearchStrategy[object], most: int = 2) -> st.SearchStrategy[tuple[object, ...]]:
    """A short tuple of them."""
    return st.lists(strategy, max_size=most).map(tuple)


ACTIVITY = st.builds(
    Activities,
    st.lists(st.sampled_from(sorted(ACTIVITIES)), min_size=1, max_size=2).map(tuple),
    few(NOTES),
    few(NOTES),
    TIMES,
    TIMES,
    few(foreign()),
)
TUPLES = st.builds(
    PresenceTuple,
    IDS,
    st.sampled_from(Basic),
    CONTACTS,
    few(NOTES),
    TIMES,
    few(ACTIVITY, 1),
    few(foreign(marks=True)),
    few(foreign(marks=True), 1),
)
PERSONS = st.builds(Person, IDS, few(ACTIVITY), few(NOTES), TIMES, few(foreign()))
ADDRESSES = st.sampled_from(
    ["alice@a.example", "Straße@bücher.example", "a/b?c#d%e&f@a.example", "o'neil+x=y@a.example", "a.example"]
).map(Address.parse)


@st.composite
def states(draw: st.DrawFn) -> Presence:
    """Any state."""
    tuples = draw(st.lists(TUPLES, max_size=3, unique_by=lambda one: one.id))
    used = {one.id for one in tuples}
    persons = draw(
        st.lists(PERSONS.filter(lambda one: one.id not in used), max_size=2, unique_by=lambda one: one.id)
    )
    return Presence(
        draw(ADDRESSES),
        tuple(tuples),
        tuple(draw(st.lists(NOTES, max_size=2))),
        tuple(persons),
        tuple(draw(st.lists(foreign(marks=True), max_size=2))),
    )


def pidf_schema() -> etree.XMLSchema:
    """`pidf.xsd`, compiled; what it imports comes from our own directory, never from the network."""
    text = (SCHEMAS / "pidf.xsd").read_text("utf-8")
    imported = "http://www.w3.org/2001/xml.xsd"
    assert text.count(imported) == 1
    return etree.XMLSchema(etree.fromstring(text.replace(imported, str(SCHEMAS / "xml.xsd")).encode()))


SCHEMA = pidf_schema()
DATA = json.loads((Path(__file__).parent / "data" / "pidf.json").read_text("utf-8"))
DOCUMENTS: dict[str, dict[str, Any]] = {one["name"]: one for one in DATA["documents"]}
REFUSED: dict[str, dict[str, str]] = {one["name"]: one for one in DATA["refused"]}
ALICE = Address.parse("alice@a.example")


def presence(inside: str, attributes: str = "") -> bytes:
    """A document about Alice with this inside."""
    return (
        f'<presence xmlns="{PIDF}" xmlns:dm="{DATA_MODEL}" xmlns:rpid="{RPID}" '
        f'entity="pres:alice@a.example" {attributes}>{inside}</presence>'
    ).encode()


def assert_valid(document: bytes) -> None:
    """The schema of RFC 3863 holds."""
    SCHEMA.assertValid(etree.fromstring(document))
