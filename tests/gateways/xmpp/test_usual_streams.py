"""Usual messages are read without expat, and what is found is what expat would find."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from imxrouter.gateways.xmpp import names
from imxrouter.gateways.xmpp.flat import read_whole
from imxrouter.gateways.xmpp.stanza import LANGUAGE, Stanza
from imxrouter.gateways.xmpp.xml import AFTER, Event, StreamParser, XmlRefused

HEADER = (
    b"<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:p='urn:p'"
    b" xmlns:stream='http://etherx.jabber.org/streams' xml:lang='de' version='1.0'>"
)
SAID = "from='a@a.example/r' to='b@b.example' type='chat' id='1'"
REQUEST = "<request xmlns='urn:xmpp:receipts'/>"
ACTIVE = '<active xmlns="http://jabber.org/protocol/chatstates"/>'
ORIGIN = "<origin-id xmlns='urn:xmpp:sid:0' id='1'/>"
STANZA_ID = "<stanza-id by='a.example' id='2' xmlns='urn:xmpp:sid:0' />"
USUAL = tuple(
    one.encode()
    for one in (
        f"<message {SAID}><body>hello</body></message>",
        f"<message {SAID} xml:lang='en'><body>it&apos;s &lt;3 žluťoučký \U0001f600\n</body></message>",
        '<message to="b@b.example" from="o\'x@a.example"><body></body><thread>t</thread></message>',
        f"<message {SAID}><body>x</body>{REQUEST}{ACTIVE}</message>",
        f"<message {SAID}><body>x</body>{ORIGIN}{STANZA_ID}</message>",
    )
)
ODD = (
    b"<message from='a@a.example' to='b@b.example' type='error' id='1'/>",
    b"<message from='a@a.example' to='b@b.example'\n><body>x</body></message >",
    b"<message id='a>b' />",
    b"<message><body>p:x</body></message>",
    b"<message id='1'><body>p:x db: </body></message>",
    b"<message id='1'><body><![CDATA[</message>]]></body></message>",
    b"<message id='1'><x xmlns='urn:x'><message id='2'><body>x</body></message></x></message>",
    b"<message id='1' id='2'><body>x</body></message>",
    b"<message id='1'><body>x]]></body></message>",
    b"<message id='1'><body>\xef\xbf\xbf</body></message>",
    b"<message id='1'><body>\xed\xa0\x80</body></message>",
    b"<message id='1'><body>\xc3</body></message>",
    b"<message id='1'><body>&x;</body></message>",
    b"<message id='1'><body>\x00</body></message>",
    b"<message id='1' xmlns='jabber:server'><body>x</body></message>",
    b"<iq id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>", b"<presence/>", b" \n", b"x",
    b"<message id='1'><body>" + b"x" * 2_000 + b"</body></message>",
)  # fmt: skip
#: Whatever was begun is ended, or refused.
END = b"'></x></body></message></stream:stream>"


def by_expat() -> StreamParser:
    """A parser that never takes the short way."""
    parser = StreamParser(AFTER, names.SERVER)
    parser._usual_bytes = 0
    return parser


def events_of(parser: StreamParser, pieces: list[bytes]) -> tuple[list[Event], names.Condition | None]:
    """All events, and how the stream was refused in the end."""
    events: list[Event] = []
    try:
        for piece in pieces:
            found = parser.feed(piece)
            events += found
            while found:
                found = parser.feed(b"")
                events += found
    except XmlRefused as error:
        # of text and an end tag that do not belong there, the pieces decide which is seen first
        is_format = error.condition is names.Condition.BAD_FORMAT
        return events + error.before, names.Condition.NOT_WELL_FORMED if is_format else error.condition
    return events, None


def spoilt(chance: Random, data: bytes) -> bytes:
    """The same with a byte changed, taken out or put in."""
    at = chance.randrange(len(data))
    put = chance.choice([b"", b"<", b">", b"&", b"'", b'"', b"/", b" ", b"\xff", b"\x01", b"x", b"\r"])
    return data[:at] + put + data[at + chance.randint(0, 1) :]


def test_both_ways_find_the_same() -> None:
    """Whatever comes, in whatever pieces."""
    chance = Random(11)
    short = 0
    for _ in range(4_000):
        stanzas = [
            chance.choice(USUAL if chance.random() < 0.7 else ODD) for _ in range(chance.randint(1, 5))
        ]
        body = b"".join(stanzas)
        if chance.random() < 0.4:
            body = spoilt(chance, body)
        whole = HEADER + body + END
        cuts = sorted(chance.sample(range(len(whole)), chance.choice([0, 1, 1, 3, 8])))
        pieces = [whole[one:other] for one, other in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        wanted = events_of(by_expat(), pieces)
        assert events_of(StreamParser(AFTER, names.SERVER), pieces) == wanted, pieces
        short += sum(isinstance(one, Stanza) for one in wanted[0])
    assert short > 4_000


def test_usual_messages_are_found_so() -> None:
    """Else the short way would be none."""
    for raw in USUAL:
        found = read_whole(b"xx" + raw + raw, 2, 1_000)
        assert found is not None
        assert found[0] == raw
        assert read_whole(raw, 0, len(raw) - 1) is None
    assert read_whole(USUAL[1], 0, 1_000) == (
        USUAL[1], {"from": "a@a.example/r", "to": "b@b.example", "type": "chat", "id": "1", LANGUAGE: "en"}
    )  # fmt: skip
    for raw in ODD:
        if not raw.startswith(b"<message><body>p") and b"p:x db:" not in raw and len(raw) < 2_000:
            assert read_whole(raw, 0, 1_000) is None, raw


def test_each_comes_with_its_last_byte() -> None:
    """Whichever way it is read."""
    for raw in (*USUAL, ODD[0], ODD[1], ODD[2], ODD[4]):
        parser = StreamParser(AFTER, names.SERVER)
        parser.feed(HEADER)
        for cut in (1, 9, len(raw) // 2, len(raw) - 1):
            assert not parser.feed(raw[:cut])
            assert len(parser.feed(raw[cut:] + USUAL[0])) == 2
            assert parser.held_bytes == len(HEADER)


@pytest.mark.parametrize(
    "limits",
    [
        replace(AFTER, stanza_bytes=40), replace(AFTER, tag_bytes=40), replace(AFTER, depth=1),
        replace(AFTER, elements=2), replace(AFTER, attributes=3), replace(AFTER, namespaces=3),
    ],
)  # fmt: skip
def test_no_limit_is_gone_around(limits: object) -> None:
    """Both ways refuse the same under narrow limits."""
    assert isinstance(limits, type(AFTER))
    raw = USUAL[3]
    short, long = StreamParser(AFTER, names.SERVER), StreamParser(AFTER, names.SERVER)
    for parser in (short, long):
        parser.feed(HEADER)
        parser.widen(limits)
    long._usual_bytes = 0
    assert events_of(short, [raw]) == events_of(long, [raw])
    assert short.is_refused
