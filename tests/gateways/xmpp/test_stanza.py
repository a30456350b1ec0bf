"""Stanzas are passed as they are, and mean the same on the other stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from imxrouter.formats.xmltree import XML, BadXml, Element
from imxrouter.gateways.xmpp import names
from imxrouter.gateways.xmpp.canonical import canonical, canonical_of, equal
from imxrouter.gateways.xmpp.stanza import Stanza, read_stanza, rescoped
from imxrouter.gateways.xmpp.translate.forms import PREFIX, opened
from imxrouter.gateways.xmpp.xml import AFTER, Header, StreamParser
from imxrouter.model.address import Address
from imxrouter.routing.choice import Protocol

from .strategies import Case, cases, opening

CONTENTS = (names.SERVER, names.COMPONENT)


def stanza_of(start: bytes, raw: bytes, content: str, size: int = 65_536) -> Stanza:
    """What the parser makes of one stanza on a stream."""
    parser = StreamParser(AFTER, content)
    data = start + raw
    events = [event for at in range(0, len(data), size) for event in parser.feed(data[at : at + size])]
    assert len(events) == 2
    assert isinstance(events[0], Header)
    assert isinstance(events[1], Stanza)
    return events[1]


def c14n(start: bytes, raw: bytes, content: str) -> str:
    """The judge: C14N 2.0 by lxml, with the content namespace and the language as streams have them."""
    parser = etree.XMLParser(resolve_entities=False, huge_tree=True)
    root = etree.fromstring(start + raw + b"</stream:stream>", parser)
    child = root[0]
    language = root.get(f"{{{XML}}}lang")
    if language and child.get(f"{{{XML}}}lang") is None:
        child.set(f"{{{XML}}}lang", language)
    alone = etree.tostring(child, with_tail=False, encoding="unicode")
    said: str = etree.canonicalize(alone, rewrite_prefixes=True)
    return said.replace(f'"{content}"', f'"{names.SERVER}"')


@given(cases(), st.sampled_from(CONTENTS), st.integers(1, 50))
def test_a_stanza_means_the_same_on_another_stream(case: Case, content: str, size: int) -> None:
    """Both judges say so, whatever the chunks, and what inherits nothing special is the very bytes."""
    stanza = stanza_of(case.opening, case.stanza, case.content, size)
    assert stanza.raw == case.stanza
    passed = rescoped(stanza, content)
    other = opening(content, {}, "")
    assert c14n(other, passed, content) == c14n(case.opening, case.stanza, case.content)
    again = stanza_of(other, passed, content)
    assert equal(again, stanza)
    assert rescoped(again, content) == passed
    if content == case.content and not stanza.outer and not stanza.language:
        assert passed == case.stanza


@given(cases(), cases())
def test_the_two_judges_agree(one: Case, other: Case) -> None:
    """Our tuples are equal exactly when the canonical forms are."""
    stanzas = [stanza_of(case.opening, case.stanza, case.content) for case in (one, other)]
    forms = [c14n(case.opening, case.stanza, case.content) for case in (one, other)]
    assert equal(*stanzas) == (forms[0] == forms[1])


@given(cases())
def test_the_tree_is_that_of_the_canonical_form(case: Case) -> None:
    """Names, attributes and text of the tree are those of the other reader."""
    stanza = stanza_of(case.opening, case.stanza, case.content)
    tree = stanza.tree()
    namespace, name, attributes, parts = canonical_of(stanza)
    assert (tree.namespace, tree.name) == (namespace, name) == (names.SERVER, stanza.kind)
    assert tree.text == "".join(part for part in parts if isinstance(part, str))
    assert len(tree.children) == sum(not isinstance(part, str) for part in parts)
    said = dict(attributes)
    if stanza.content == names.SERVER:
        said.pop(f"{XML} lang", None)
        assert said.items() == {k: v for k, v in tree.attributes.items() if k != f"{XML} lang"}.items()
    assert tree.language == dict(attributes).get(f"{XML} lang", "")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b"<message a='1' b='2'/>", b'<message b="2"\n a="&#49;"></message>', True),
        (b"<message><x xmlns='u:a'/></message>", b"<message><p:x xmlns:p='u:a'/></message>", True),
        (b"<message><![CDATA[a<]]>b</message>", b"<message>a&lt;b</message>", True),
        (b"<message/>", b"<message xmlns='jabber:server'/>", True),
        (b"<message/>", b"<message xmlns='jabber:client'/>", False),
        (b"<message><x/> </message>", b"<message> <x/></message>", False),
        (b"<message><x/><y/></message>", b"<message><y/><x/></message>", False),
        (b"<message a='1'/>", b"<message a='2'/>", False),
        (b"<message xmlns:p='u:a' p:a='1'/>", b"<message a='1'/>", False),
        (b"<message><x xmlns=''/></message>", b"<message><x/></message>", False),
        (b"<message xml:lang='de'/>", b"<message/>", False),
    ],
)
def test_what_counts(one: bytes, other: bytes, same: bool) -> None:
    """The ways of writing do not, everything else does."""
    assert (canonical(one) == canonical(other)) is same


def test_an_inherited_language_is_the_stanzas_own() -> None:
    """RFC 6120 section 8.1.5; where it is passed it is written."""
    stanza = stanza_of(opening(names.SERVER, {}, "de"), b"<message><body/></message>", names.SERVER)
    assert rescoped(stanza, names.SERVER) == b'<message xml:lang="de"><body/></message>'
    own = stanza_of(opening(names.SERVER, {}, "de"), b"<message xml:lang=''/>", names.SERVER)
    assert rescoped(own, names.SERVER) == own.raw


@pytest.mark.parametrize("said", ["und", "Und", ""])
def test_a_stream_whose_language_is_not_known_gives_none(said: str) -> None:
    """`und` stands where a tag must, and says nothing (RFC 5646 section 4.1)."""
    raw = b"<message><body>a</body></message>"
    stanza = stanza_of(opening(names.SERVER, {}, said), raw, names.SERVER)
    assert rescoped(stanza, names.SERVER) == raw
    assert not stanza.tree().language


def test_prefixes_of_the_stream_are_declared_again_where_they_are_used() -> None:
    """Also in a value that may hold a name; a word of a text that looks like the stream's own is none."""
    start = opening(names.SERVER, {"db": names.DIALBACK, "p": "u:a"}, "")
    text = b"<message><body>see db:result and stream:error</body></message>"
    assert rescoped(stanza_of(start, text, names.SERVER), names.SERVER) == text
    value = b"<iq><x type='p:int'/></iq>"
    assert rescoped(stanza_of(start, value, names.SERVER), names.SERVER) == value.replace(
        b"<iq>", b'<iq xmlns:p="u:a">'
    )
    name = b"<iq><db:x/></iq>"
    assert b"xmlns:db=" in rescoped(stanza_of(start, name, names.SERVER), names.SERVER)


def test_only_the_content_namespace_of_the_stream_is_changed() -> None:
    """Carbons and archives carry `jabber:client` inside, which stays (XEP-0297)."""
    raw = (
        b"<message xmlns='jabber:server'><forwarded xmlns='urn:xmpp:forward:0'>"
        b"<message xmlns='jabber:client'><body/></message><iq xmlns='jabber:server'/></forwarded></message>"
    )
    stanza = stanza_of(opening(names.SERVER, {}, ""), raw, names.SERVER)
    assert rescoped(stanza, names.SERVER) == raw
    passed = rescoped(stanza, names.COMPONENT)
    assert passed == raw.replace(b"jabber:server", b"jabber:component:accept")


def test_a_component_may_say_jabber_client() -> None:
    """COMPAT(Prosody): takes it on the root of a component's stanza, so libraries send it."""
    raw = b"<message xmlns='jabber:client'><body>a</body></message>"
    stanza = stanza_of(opening(names.COMPONENT, {}, ""), raw, names.COMPONENT)
    assert canonical(rescoped(stanza, names.SERVER)) == canonical(b"<message><body>a</body></message>")
    assert stanza.tree().namespace == names.SERVER


ENVELOPE = Address.parse("a@a.example"), Address.parse("b@b.example")
GOOD = b"<message from='a@a.example/x' to='b@b.example'><body>a</body></message>"


@pytest.mark.parametrize(
    ("raw", "good"),
    [
        (GOOD, True),
        (GOOD.replace(b"<message", b"<message xmlns='jabber:server'"), True),
        (GOOD.replace(b"<message", b"<message xmlns='jabber:client'"), False),
        (GOOD.replace(b"message", b"stream"), False),
        (GOOD.replace(b"a@a.example/x", b"a@c.example/x"), False),
        (GOOD.replace(b"a@a.example/x", b"c@a.example/x"), False),
        (GOOD.replace(b"b@b.example", b"b@c.example"), False),
        (GOOD.replace(b" to='b@b.example'", b""), False),
        (GOOD.replace(b" from=", b" xmlns:p='u:a' p:from="), False),
        (GOOD + GOOD, False),
        (GOOD + b"</stream:stream>", False),
        (GOOD + b"</w><w>" + GOOD, False),
        (GOOD + b"a", False),
        (b"a" + GOOD, False),
        (GOOD + b"<", False),
        (b"<?xml version='1.0'?>" + GOOD, False),
        (b"<!DOCTYPE a>" + GOOD, False),
        (GOOD.replace(b"a<", b"&b;<"), False),
        (GOOD.replace(b"<body>", b"<!-- --><body>"), False),
        (GOOD.replace(b"<body>", b"<stream:error/><body>"), False),
        (GOOD.replace(b"<body>a</body>", b"<a>" * 70 + b"</a>" * 70), False),
        (GOOD.replace(b"<body>a", b"<body>" + b"a" * 1_048_576), False),
        (b"", False),
    ],
)
def test_an_original_form_must_agree_with_its_envelope(raw: bytes, good: bool) -> None:
    """One stanza between the same two, and nothing that the stream around it could be broken with."""
    assert isinstance(opened(PREFIX + raw, *ENVELOPE, Protocol.XMPP), Element) is good


@given(cases())
def test_what_was_kept_can_be_read_again(case: Case) -> None:
    """The form of records: bytes in `jabber:server`; from there it goes on to any stream."""
    stanza = stanza_of(case.opening, case.stanza, case.content)
    kept = read_stanza(rescoped(stanza, names.SERVER))
    assert equal(kept, stanza)
    passed = rescoped(kept, names.COMPONENT)
    assert canonical(passed, content=names.COMPONENT) == canonical_of(stanza)


@pytest.mark.parametrize("raw", [b"<a/>", b"<message xmlns='u:a'/>", b"", b"<message/><message/>"])
def test_what_is_no_stanza_is_not_read(raw: bytes) -> None:
    """Nothing but one message, presence or iq."""
    with pytest.raises(BadXml):
        read_stanza(raw)
