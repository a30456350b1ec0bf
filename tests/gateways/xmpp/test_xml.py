"""The parser of streams: what it finds, however the bytes come, and what it does not take."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from imxrouter.gateways.xmpp import names
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.stanza import LANGUAGE, Element, Stanza
from imxrouter.gateways.xmpp.xml import (
    BEFORE,
    Event,
    Header,
    StreamEnd,
    StreamParser,
    XmlRefused,
)

HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback'"
    b" xmlns:stream='http://etherx.jabber.org/streams' from='a.example' to='b.example' version='1.0'>"
)
MESSAGE = (
    b"<message from='x@a.example' to='y@b.example' type='chat' id='1'><body>1 > \xe2\x82\xac</body></message>"
)
STREAM = (
    HEADER,
    b"<stream:features><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback></stream:features>",
    b"  \n",
    b"<db:result from='a.example' to=\"b.example\">k>e'y&amp;</db:result>",
    MESSAGE,
    b"<presence/>",
    b"<presence></presence>",
    b"<iq id='a>b' type='get'\n xml:lang='de' ><x xmlns='u:\"' a='/>'/><!></iq>".replace(b"<!>", b""),
    b"<message><body>/></body></message>",
    b"<message>/></message>",
    b"<message><body><![CDATA[<a>]]]]><![CDATA[> & <b/>]]></body></message>",
    b"<m:message xmlns:m='jabber:server'/>",
    b"<r xmlns='urn:xmpp:sm:3'/>",
    b"\r\n\t</stream:stream>",
)
WHOLE = b"".join(STREAM)


def chunked(data: bytes, size: int) -> Iterator[bytes]:
    """The bytes in pieces of one size."""
    return (data[at : at + size] for at in range(0, len(data), size))


def fed(parser: StreamParser, pieces: Iterator[bytes] | list[bytes]) -> list[Event]:
    """All events of a stepwise or an ordinary parser."""
    events: list[Event] = []
    for piece in pieces:
        found = parser.feed(piece)
        events += found
        while found:
            found = parser.feed(b"")
            events += found
    return events


def test_what_a_stream_is_made_of() -> None:
    """The tag, each element with its very bytes and what its tag says, the end."""
    header, *elements, end = fed(StreamParser(BEFORE, names.SERVER), [WHOLE])
    assert header == Header(
        "a.example", "b.example", "", (1, 0), "", names.SERVER,
        {"db": names.DIALBACK, "stream": names.STREAM},
    )  # fmt: skip
    assert end == StreamEnd()
    assert all(isinstance(one, Element) for one in elements)
    assert [one.raw for one in elements if isinstance(one, Element)] == [
        piece for piece in STREAM[1:-1] if piece.strip()
    ]
    assert [(type(one), one.name) for one in elements if isinstance(one, Element)] == [
        (Element, "features"), (Element, "result"), (Stanza, "message"), (Stanza, "presence"),
        (Stanza, "presence"), (Stanza, "iq"), (Stanza, "message"), (Stanza, "message"), (Stanza, "message"),
        (Stanza, "message"), (Element, "r"),
    ]  # fmt: skip
    result, message, iq, prefixed = elements[1], elements[2], elements[5], elements[-2]
    assert isinstance(result, Element)
    assert (result.namespace, result.attributes) == (names.DIALBACK, {"from": "a.example", "to": "b.example"})
    assert result.tree().text == "k>e'y&"
    assert isinstance(message, Stanza)
    assert (message.kind, message.from_, message.to) == ("message", "x@a.example", "y@b.example")
    assert (message.type, message.ident, message.touchy) == ("chat", "1", False)
    assert isinstance(iq, Stanza)
    assert iq.attributes == {"id": "a>b", "type": "get", LANGUAGE: "de"}
    assert isinstance(prefixed, Stanza)
    assert prefixed.touchy


@pytest.mark.parametrize("stepwise", [False, True])
def test_the_chunking_does_not_matter(stepwise: bool) -> None:
    """Pieces of every size from one byte up, and random ones, give the same events."""
    wanted = fed(StreamParser(BEFORE, names.SERVER), [WHOLE])
    for size in range(1, len(WHOLE) + 1):
        assert fed(StreamParser(BEFORE, names.SERVER, stepwise=stepwise), chunked(WHOLE, size)) == wanted, (
            size
        )
    chance = random.Random(1)
    for _ in range(200):
        cuts = sorted(chance.sample(range(len(WHOLE)), 9))
        pieces = [WHOLE[a:b] for a, b in zip([0, *cuts], [*cuts, len(WHOLE)], strict=True)]
        assert fed(StreamParser(BEFORE, names.SERVER, stepwise=stepwise), pieces) == wanted


def test_a_stepwise_parser_stops_behind_each_element() -> None:
    """So what follows can be read by another one, or be found where nothing may be."""
    parser = StreamParser(BEFORE, names.SERVER, stepwise=True)
    events = parser.feed(HEADER + b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" + HEADER)
    assert [type(event) for event in events] == [Header]
    events = parser.feed(b"")
    assert [event.name for event in events if isinstance(event, Element)] == ["success"]
    assert parser.rest() == HEADER
    assert parser.rest() == b""
    assert parser.feed(b"") == []


REFUSED = {
    "entities": (
        b"<!DOCTYPE a [<!ENTITY b 'bbbb'><!ENTITY c '&b;&b;'>]>" + HEADER,
        Condition.RESTRICTED_XML,
    ),
    "external document type": (
        b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'>" + HEADER,
        Condition.RESTRICTED_XML,
    ),
    "document type inside": (HEADER + b"<!DOCTYPE a>", Condition.RESTRICTED_XML),
    "document type in a stanza": (HEADER + b"<message><!DOCTYPE a [ ]>", Condition.RESTRICTED_XML),
    "entity": (HEADER + b"<message>&b;</message>", Condition.RESTRICTED_XML),
    "entity in a value": (HEADER + b"<message a='&b;'></message>", Condition.RESTRICTED_XML),
    "comment": (HEADER + b"<message><!-- a --></message>", Condition.RESTRICTED_XML),
    "comment between": (HEADER + b"<!-- a -->", Condition.RESTRICTED_XML),
    "comment before": (b"<!-- a -->" + HEADER, Condition.RESTRICTED_XML),
    "instruction": (HEADER + b"<message><?a b?></message>", Condition.RESTRICTED_XML),
    "instruction before": (b"<?a b?>" + HEADER, Condition.RESTRICTED_XML),
    "instruction that goes on": (b"<?xml a='>" + b">" * 100, Condition.RESTRICTED_XML),
    "comment that goes on": (b"<!-- >" + b">" * 100, Condition.RESTRICTED_XML),
    "declaration twice": (HEADER + b"<?xml version='1.0'?>", Condition.NOT_WELL_FORMED),
    "wrong end": (HEADER + b"<message></iq>", Condition.NOT_WELL_FORMED),
    "attribute twice": (HEADER + b"<message a='1' a='2'/>", Condition.NOT_WELL_FORMED),
    "unbound prefix": (HEADER + b"<a:b/>", Condition.NOT_WELL_FORMED),
    "not UTF-8": (HEADER + b"<message>\xff</message>", Condition.UNSUPPORTED_ENCODING),
    "not UTF-8 in a value": (HEADER + b"<message a='\xe9t\xe9'/>", Condition.UNSUPPORTED_ENCODING),
    "not UTF-8 in a name": (HEADER + b"<caf\xe9/>", Condition.UNSUPPORTED_ENCODING),
    "not UTF-8 in the end of an element": (HEADER + b"<a></a\xe9><a/>", Condition.UNSUPPORTED_ENCODING),
    "not UTF-8 in characters": (HEADER + b"<a><![CDATA[\x80]]></a>", Condition.UNSUPPORTED_ENCODING),
    "not UTF-8 between": (HEADER + b"<message/> \xff<message/>", Condition.UNSUPPORTED_ENCODING),
    "not UTF-8 behind text": (HEADER + b"<message/>a\xff<message/>", Condition.BAD_FORMAT),
    "not UTF-8 in the header": (
        HEADER.replace(b" version=", b" to='\xe9' version="),
        Condition.UNSUPPORTED_ENCODING,
    ),
    "not UTF-8 at first": (b"\xe9\x80<a/>", Condition.NOT_WELL_FORMED),
    "another encoding at first": (b"\x80<a/>", Condition.UNSUPPORTED_ENCODING),
    "a longer form than needed": (HEADER + b"<message>\xc0\x80</message>", Condition.UNSUPPORTED_ENCODING),
    "a surrogate": (HEADER + b"<message>\xed\xa0\x80</message>", Condition.UNSUPPORTED_ENCODING),
    "beyond the last character": (
        HEADER + b"<message>\xf4\x90\x80\x80</message>",
        Condition.UNSUPPORTED_ENCODING,
    ),
    "half a character": (HEADER + b"<message>\xe2\x82</message>", Condition.UNSUPPORTED_ENCODING),
    "U+FFFF": (HEADER + "<message>\uffff</message>".encode(), Condition.NOT_WELL_FORMED),
    "U+FEFF at first": ("\ufeff".encode() + HEADER, Condition.NOT_WELL_FORMED),
    "a character that is of no name": (HEADER + "<caf\u00d7/>".encode(), Condition.NOT_WELL_FORMED),
    "not a character": (HEADER + b"<message>&#1;</message>", Condition.NOT_WELL_FORMED),
    "NUL": (HEADER + b"<message>\x00</message>", Condition.NOT_WELL_FORMED),
    "no XML": (b"GET / HTTP/1.1\r\n\r\n", Condition.NOT_WELL_FORMED),
    "UTF-16": ("\ufeff<a/>".encode("utf-16-be"), Condition.UNSUPPORTED_ENCODING),
    "UTF-32": ("<a/>".encode("utf-32-be"), Condition.UNSUPPORTED_ENCODING),
    "another encoding": (
        b"<?xml version='1.0' encoding='latin-1'?>" + HEADER,
        Condition.UNSUPPORTED_ENCODING,
    ),
    "another root": (b"<html></html>", Condition.INVALID_NAMESPACE),
    "another content": (HEADER.replace(b"jabber:server'", b"jabber:client'"), Condition.INVALID_NAMESPACE),
    "another name": (HEADER.replace(b"<stream:stream", b"<stream:scream"), Condition.INVALID_NAMESPACE),
    "another prefix": (
        HEADER.replace(b"<stream:", b"<s:").replace(b"xmlns:stream", b"xmlns:s"),
        Condition.BAD_NAMESPACE_PREFIX,
    ),
    "version 2": (HEADER.replace(b" version='1.0'>", b" version='2.0'>"), Condition.UNSUPPORTED_VERSION),
    "no version": (HEADER.replace(b" version='1.0'>", b" version='x'>"), Condition.UNSUPPORTED_VERSION),
    "text between": (HEADER + b"a<message/>", Condition.BAD_FORMAT),
    "text behind": (HEADER + b"<message/>a>", Condition.BAD_FORMAT),
    "text and a stanza": (HEADER + b"<message/>a<message/>", Condition.BAD_FORMAT),
    "text and the end": (HEADER + b"<message/>a</stream:stream>", Condition.BAD_FORMAT),
    "characters between": (HEADER + b"<message/><![CDATA[ ]]><message/>", Condition.BAD_FORMAT),
    "behind the end": (HEADER + b"</stream:stream><a/>", Condition.NOT_WELL_FORMED),
    "too deep": (HEADER + b"<a>" * 9, Condition.POLICY_VIOLATION),
    "too many elements": (HEADER + b"<a>" + b"<a/>" * 32, Condition.POLICY_VIOLATION),
    "too many attributes": (
        HEADER + b"<a%s/>" % b"".join(b" a%d=''" % n for n in range(17)),
        Condition.POLICY_VIOLATION,
    ),
    "too many namespaces": (
        HEADER + b"<a%s/>" % b"".join(b" xmlns:a%d='a'" % n for n in range(6)),
        Condition.POLICY_VIOLATION,
    ),
    "too many names": (
        HEADER + b"<a>" + b"".join(b"<%d/>" % n for n in range(31)).replace(b"<", b"<e") * 2,
        Condition.POLICY_VIOLATION,
    ),
    "too long": (HEADER + b"<a>%s</a>" % (b" " * 8_192), Condition.POLICY_VIOLATION),
    "too long a tag": (HEADER + b"<a a='%s'/>" % (b" " * 4_096), Condition.POLICY_VIOLATION),
    "too long a tag of >": (HEADER + b"<a a='%s'/>" % (b">" * 4_096), Condition.POLICY_VIOLATION),
    "too long an end": (HEADER + b"<a></a%s>" % (b" " * 4_096), Condition.POLICY_VIOLATION),
}


@pytest.mark.parametrize("size", [1, 2, 7, 100, 65_536])
@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str, size: int) -> None:
    """Each by its condition, in whatever pieces it comes; and for ever."""
    data, condition = REFUSED[name]
    parser = StreamParser(BEFORE, names.SERVER)
    with pytest.raises(XmlRefused) as refused:
        fed(parser, chunked(data, size))
    assert refused.value.condition is condition, refused.value
    with pytest.raises(XmlRefused):
        parser.feed(HEADER)
    assert not parser.held_bytes
