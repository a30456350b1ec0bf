"""Presence documents: those of the RFCs and of deployed software, round trips, and the schema."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from lxml import etree

from imxrouter.formats.pidf import (
    DATA_MODEL,
    PIDF,
    RPID,
    BadPidf,
    entity,
    read_entity,
    read_pidf,
    write_pidf,
)
from imxrouter.model.address import Address
from imxrouter.model.presence import (
    Activities,
    Basic,
    Contact,
    Note,
    Person,
    Presence,
    PresenceTuple,
    offline,
)
from tests.formats.presence_strategies import (
    ADDRESSES,
    ALICE,
    CALM,
    DOCUMENTS,
    assert_valid,
    presence,
    states,
)


def only_tuple(inside: str) -> PresenceTuple:
    """The one tuple of a document with this inside the tuple."""
    (one,) = read_pidf(presence(f'<tuple id="t1">{inside}</tuple>')).tuples
    return one


def outline(state: Presence) -> dict[str, Any]:
    """A state as the vectors tell it."""
    return {
        "presentity": str(state.presentity),
        "status": state.status.value,
        "tuples": [
            {
                "id": one.id,
                "basic": one.basic.value,
                "status": one.status.value,
                "contact": [one.contact.uri, one.contact.priority] if one.contact else None,
                "notes": [[note.language, note.text] for note in one.notes],
                "timestamp": one.timestamp.isoformat() if one.timestamp else None,
                "activities": [list(each.names) for each in one.activities],
                "extensions": [f"{each.namespace} {each.name}" for each in one.extensions],
                "status_extensions": [f"{each.namespace} {each.name}" for each in one.status_extensions],
            }
            for one in state.tuples
        ],
        "notes": [[note.language, note.text] for note in state.notes],
        "persons": [
            {
                "id": one.id,
                "activities": [list(each.names) for each in one.activities],
                "notes": [[note.language, note.text] for note in one.notes],
                "extensions": [f"{each.namespace} {each.name}" for each in one.extensions],
            }
            for one in state.persons
        ],
        "extensions": [f"{each.namespace} {each.name}" for each in state.extensions],
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_says_what_its_vector_says(name: str) -> None:
    """Those of the RFCs, and shapes that deployed software writes."""
    assert outline(read_pidf(DOCUMENTS[name]["xml"].encode())) == DOCUMENTS[name]["state"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_written_validly_and_loses_nothing(name: str) -> None:
    """Although some came in a form that the schema refuses."""
    state = read_pidf(DOCUMENTS[name]["xml"].encode())
    written = write_pidf(state)
    assert_valid(written)
    assert read_pidf(written) == state


@given(states())
@settings(CALM, max_examples=200)
def test_what_is_written_is_valid_and_reads_back(state: Presence) -> None:
    """Every part, foreign elements to the letter."""
    written = write_pidf(state)
    assert_valid(written)
    assert read_pidf(written, state.presentity) == state


@given(states())
@settings(CALM, max_examples=50)
def test_two_engines_see_the_same_text(state: Presence) -> None:
    """libxml2 finds the notes that we meant."""
    root = etree.fromstring(write_pidf(state))
    found = [note.text or "" for note in root.iterfind(f"{{{PIDF}}}note")]
    assert found == [note.text for note in state.notes]


def test_the_same_state_gives_the_same_bytes() -> None:
    """An offline user and one who hides cannot be told apart by the document."""
    first = write_pidf(offline(ALICE))
    assert first == write_pidf(offline(Address.parse("alice@a.example")))
    assert (
        first
        == (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="{PIDF}" entity="pres:alice@a.example">'
            '<tuple id="offline"><status><basic>closed</basic></status></tuple></presence>\n'
        ).encode()
    )


def test_a_full_document_looks_like_this() -> None:
    """In the order of the schema, times in UTC, priorities with three digits."""
    noon = datetime(2026, 3, 1, 13, 0, 0, tzinfo=timezone(timedelta(hours=1)))
    state = Presence(
        ALICE,
        (PresenceTuple("desk", Basic.OPEN, Contact("im:alice@a.example", 800), (Note("Büro", "de"),), noon),),
        (Note("a < b & c"),),
        (
            Person(
                "me", (Activities(("meeting",), (Note("tea"),), (Note("long"),), noon),), (Note("hm", "en"),)
            ),
        ),
    )
    written = write_pidf(state)
    assert_valid(written)
    assert written.decode() == (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="{PIDF}" xmlns:dm="{DATA_MODEL}" '
        f'xmlns:rpid="{RPID}" entity="pres:alice@a.example">'
        '<tuple id="desk"><status><basic>open</basic></status>'
        '<contact priority="0.800">im:alice@a.example</contact><note xml:lang="de">Büro</note>'
        "<timestamp>2026-03-01T12:00:00Z</timestamp></tuple><note>a &lt; b &amp; c</note>"
        '<dm:person id="me"><rpid:activities from="2026-03-01T12:00:00Z"><rpid:note>long</rpid:note>'
        '<rpid:meeting/><rpid:other>tea</rpid:other></rpid:activities><dm:note xml:lang="en">hm</dm:note>'
        "</dm:person></presence>\n"
    )


@pytest.mark.parametrize("char", ["\x00", "\x0b", "\x1f", "\ufffe", "\uffff", "\ud800"])
def test_what_xml_cannot_carry_is_replaced(char: str) -> None:
    """A note from another protocol cannot make a document that nobody reads."""
    written = write_pidf(Presence(ALICE, (), (Note(f"a{char}b"),)))
    assert_valid(written)
    assert read_pidf(written).notes == (Note("a\ufffdb"),)


@pytest.mark.parametrize("text", ["a\rb", "a\r\nb", " a\tb\n", "]]>", "<![CDATA[", "&amp;"])
def test_text_comes_back_as_it_was(text: str) -> None:
    """Line ends and blanks included."""
    assert read_pidf(write_pidf(Presence(ALICE, (), (Note(text),)))).notes == (Note(text),)


# whose state


@given(ADDRESSES)
@settings(CALM)
def test_an_entity_reads_back(address: Address) -> None:
    """Characters that mean something in an URI are escaped."""
    assert read_entity(entity(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "pres:alice@a.example",
        "PRES:alice@A.Example",
        "pres:%61lice@a.example",
        "pres:alice@a.example?subject=x",
        "im:alice@a.example",
        "sip:alice@a.example",
        "sips:alice@a.example;transport=tcp?Header=x",
    ],
)
def test_entities_of_alice(text: str) -> None:
    """A SIP client names its account."""
    assert read_entity(text) == ALICE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice@a.example",
        "pres:",
        "pres:alice@",
        "pres:@a.example",
        "pres:a@b@a.example",
        "pres:a%40b@a.example",
        "pres:%ff@a.example",
        "http://a.example/",
        "sip:alice@a.example:5060",
        "pres:alice@a.example@",
        "pres:" + "a" * 300 + "@a.example",
    ],
)
def test_an_entity_that_is_none(text: str) -> None:
    """Refused by that name."""
    with pytest.raises(BadPidf) as caught:
        read_entity(text)
    assert caught.value.fault == "presentity"


def test_a_document_about_somebody_else_is_refused() -> None:
    """False presence: the document must be about whom the envelope names, in any spelling of the address."""
    document = presence("")
    assert read_pidf(document, Address.parse("Alice@a.example")).presentity == Address.parse(
        "Alice@a.example"
    )
    for other in ("bob@a.example", "alice@b.example", "a.example"):
        with pytest.raises(BadPidf) as caught:
            read_pidf(document, Address.parse(other))
        assert caught.value.fault == "presentity"


# what must be understood (RFC 3863 section 4.2.3)

MARK = "f:in xmlns:f='urn:example:f' p:mustUnderstand='{}' xmlns:p='urn:ietf:params:xml:ns:pidf'"


@pytest.mark.parametrize("value", ["1", "true", " true "])
def test_a_tuple_with_a_mark_is_kept_and_not_believed(value: str) -> None:
    """In the tuple itself or in its status; written again as it came."""
    mark = MARK.format(value)
    for inside in (
        f"<status><basic>open</basic></status><{mark}/>",
        f"<status><basic>open</basic><{mark}/></status>",
    ):
        one = only_tuple(inside)
        assert (one.basic, one.status) == (Basic.OPEN, Basic.UNKNOWN)
        written = write_pidf(Presence(ALICE, (one,)))
        assert_valid(written)
        assert read_pidf(written).tuples == (one,)


@pytest.mark.parametrize("value", ["0", "false"])
def test_a_mark_that_is_off_changes_nothing(value: str) -> None:
    """As if it were not there."""
    assert only_tuple(f"<status><basic>open</basic></status><{MARK.format(value)}/>").status is Basic.OPEN


def test_a_mark_on_the_whole_document() -> None:
    """Then nothing of it is believed, and all of it is kept."""
    state = read_pidf(
        presence(f'<tuple id="t"><status><basic>open</basic></status></tuple><{MARK.format(1)}/>')
    )
    assert (state.tuples[0].status, state.status) == (Basic.OPEN, Basic.UNKNOWN)
    assert read_pidf(write_pidf(state)) == state


def test_a_mark_deep_in_an_extension_is_no_business_of_ours() -> None:
    """It speaks to whoever handles the extension (RFC 3863 section 4.3, the last example)."""
    inside = f"<status><basic>open</basic></status><f:out xmlns:f='urn:example:f'><{MARK.format(1)}/></f:out>"
    assert only_tuple(inside).status is Basic.OPEN


def test_a_mark_in_what_we_know_makes_it_unknown() -> None:
    """Activities, and the person around them if they must be understood."""
    plain = f"<rpid:activities><rpid:away/><{MARK.format(1)}/></rpid:activities>"
    (person,) = read_pidf(presence(f'<dm:person id="p">{plain}</dm:person>')).persons
    assert person.activities == ()
    assert [one.name for one in person.extensions] == ["activities"]
    marked = plain.replace(
        "<rpid:activities>", "<rpid:activities q:mustUnderstand='1' xmlns:q='" + PIDF + "'>"
    )
    for inside in (marked, f"<{MARK.format(1)}/>"):
        state = read_pidf(presence(f'<dm:person id="p">{inside}</dm:person>'))
        assert state.persons == ()
        assert [one.name for one in state.extensions] == ["person"]
        assert read_pidf(write_pidf(state)) == state


def test_a_mark_on_what_we_know_is_met() -> None:
    """We do understand it."""
    mark = f"q:mustUnderstand='1' xmlns:q='{PIDF}'"
    inside = f"<rpid:activities {mark}><rpid:away {mark}/></rpid:activities>"
    (person,) = read_pidf(presence(f'<dm:person id="p">{inside}</dm:person>')).persons
    assert person.activities[0].names == ("away",)


# names and namespaces


def test_known_names_in_a_foreign_element_mean_nothing() -> None:
    """RFC 3863 section 4.2.3: all of its content is passed over."""
    inside = (
        "<status/><f:x xmlns:f='urn:example:f'><basic>open</basic><status><basic>open</basic></status></f:x>"
    )
    assert only_tuple(inside).basic is Basic.UNKNOWN


def test_a_foreign_element_takes_its_namespaces_along() -> None:
    """Those of names, those of names inside values, and the default one; and the language."""
    document = (
        f'<p:presence xmlns:p="{PIDF}" xmlns="urn:example:default" xmlns:v="urn:example:v" '
        'xmlns:unused="urn:example:u" xml:lang="de" entity="pres:alice@a.example">'
        '<p:tuple id="t"><p:status/><q:x xmlns:q="urn:example:q" kind="v:name"><y/></q:x></p:tuple>'
        "</p:presence>"
    )
    (one,) = read_pidf(document.encode()).tuples[0].extensions
    assert one.xml == (
        '<q:x xmlns:v="urn:example:v" xmlns="urn:example:default" xml:lang="de" xmlns:q="urn:example:q" '
        'kind="v:name"><y/></q:x>'
    )


@pytest.mark.parametrize(
    "inside",
    [
        "<x xmlns=''/>",
        f"<f:x xmlns:f='urn:example:f'><p:presence xmlns:p='{PIDF}'/></f:x>",
        "<f:x xmlns:f='urn:example:f' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:type='x'/>",
        "<f:x xmlns:f='urn:example:f' xml:lang='!'/>",
        "<f:x xmlns:f='urn:example:f'><unknown xmlns:p='" + PIDF + "' p:mustUnderstand='perhaps'/></f:x>",
        "<unknown/>",
    ],
)
def test_what_the_schema_has_no_place_for_is_left_out(inside: str) -> None:
    """So that what we write stays valid; the rest of the document is not touched."""
    state = read_pidf(presence(f'<tuple id="t"><status><basic>open</basic></status>{inside}</tuple>{inside}'))
    assert state == Presence(ALICE, (PresenceTuple("t", Basic.OPEN),))
    assert_valid(write_pidf(state))


def test_a_language_is_inherited() -> None:
    """XML 1.0 section 2.12; a tag that is none is dropped."""
    state = read_pidf(
        presence("<note>a</note><note xml:lang='fr'>b</note><note xml:lang='!'>c</note>", "xml:lang='de'")
    )
    assert state.notes == (Note("a", "de"), Note("b", "fr"), Note("c"))


# values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2001-10-27T16:49:29Z", datetime(2001, 10, 27, 16, 49, 29, tzinfo=UTC)),
        ("2001-10-27t16:49:29z", datetime(2001, 10, 27, 16, 49, 29, tzinfo=UTC)),
        (" 2001-10-27T16:49:29.5+02:00\n", datetime(2001, 10, 27, 14, 49, 29, 500_000, tzinfo=UTC)),
        ("2001-10-27T16:49:29.123456789-11:30", datetime(2001, 10, 28, 4, 19, 29, 123_456, tzinfo=UTC)),
        ("2001-10-27T16:49:29", datetime(2001, 10, 27, 16, 49, 29, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times(text: str, expected: datetime) -> None:
    """Any zone, any fraction, leap seconds."""
    assert only_tuple(f"<status/><timestamp>{text}</timestamp>").timestamp == expected


@pytest.mark.parametrize(
    ("priority", "expected"),
    [("0", 0), ("1", 1000), ("0.8", 800), ("0.65", 650), ("0.007", 7), ("1.000", 1000), ("0.", 0)],
)
def test_priorities(priority: str, expected: int) -> None:
    """All forms of RFC 3863 section 4.4."""
    one = only_tuple(f'<status/><contact priority="{priority}">im:a@a.example</contact>')
    assert one.contact == Contact("im:a@a.example", expected)


def test_contacts_of_the_world() -> None:
    """An IRI and a bracketed address outside of an authority take the form that the schema allows."""
    for text, expected in (
        ("sip:jörg@a.example", "sip:j%C3%B6rg@a.example"),
        ("sip:a@[2001:db8::1]:5060;transport=tcp", "sip:a@%5B2001:db8::1%5D:5060;transport=tcp"),
        ("http://[2001:db8::1]/", "http://[2001:db8::1]/"),
    ):
        one = only_tuple(f"<status/><contact>{text}</contact>")
        assert one.contact == Contact(expected)
        assert_valid(write_pidf(Presence(ALICE, (one,))))
