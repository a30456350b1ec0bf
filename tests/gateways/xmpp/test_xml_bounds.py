"""What a stream may cost: each bound by the one check that holds it, time by counting bytes."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from unittest.mock import ANY

import pytest

from imxrouter.gateways.xmpp import findings, names, tail, xml
from imxrouter.gateways.xmpp.names import Condition
from imxrouter.gateways.xmpp.xml import AFTER, BEFORE, Header, StreamParser, XmlLimits, XmlRefused

from .counting import Counting
from .test_xml import HEADER, chunked, fed

#: For each limit a stanza that only this one is against.
ATTACKS: dict[str, Callable[[XmlLimits], bytes]] = {
    "stanza_bytes": lambda limits: b"<a>%s" % (b"a b > " * (limits.stanza_bytes // 6 + 1)),
    "tag_bytes": lambda limits: b"<a a='%s'/>" % (b"a" * limits.tag_bytes),
    "depth": lambda limits: b"<a>" * (limits.depth + 1),
    "elements": lambda limits: b"<a>%s" % (b"<a/>" * limits.elements),
    "attributes": lambda limits: b"<a%s/>" % b"".join(b" a%d=''" % n for n in range(limits.attributes + 1)),
    "namespaces": lambda limits: b"<a%s/>" % b"".join(
        b" xmlns:a%d='a'" % n for n in range(limits.namespaces)
    ),
    "new_names": lambda limits: b"<a %s>" % b" ".join(b"a%d=''" % n for n in range(16)) + b"".join(
        b"<b%d %s/>" % (m, b" ".join(b"c%dx%d=''" % (m, n) for n in range(16)))
        for m in range(limits.new_names // 17 + 1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("limits", [BEFORE, AFTER])
@pytest.mark.parametrize("name", [one.name for one in fields(XmlLimits)])
def test_each_bound_is_held_by_its_check_alone(name: str, limits: XmlLimits) -> None:
    """It is refused by the name of the limit; without that limit the attack goes through."""
    attack = HEADER + ATTACKS[name](limits)
    with pytest.raises(XmlRefused) as refused:
        StreamParser(limits, names.SERVER).feed(attack)
    assert (refused.value.condition, refused.value.note) == (Condition.POLICY_VIOLATION, name)
    assert (b"stanza-too-big" in refused.value.extra) == name.endswith("_bytes")
    assert [type(event) for event in refused.value.before] == [Header]
    StreamParser(replace(limits, **{name: 1_000_000}), names.SERVER).feed(attack)


@pytest.mark.parametrize("name", [one.name for one in fields(XmlLimits)])
def test_who_has_proved_himself_is_held_to_wider_bounds(name: str) -> None:
    """From the next bytes on: what a stranger may not send is taken, and what nobody may is not."""

    def widened() -> StreamParser:
        parser = StreamParser(BEFORE, names.SERVER, stepwise=True)
        assert [type(one) for one in parser.feed(HEADER)] == [Header]
        parser.widen(AFTER)
        return parser

    with pytest.raises(XmlRefused):
        StreamParser(BEFORE, names.SERVER).feed(HEADER + ATTACKS[name](BEFORE))
    assert widened().feed(ATTACKS[name](BEFORE)) in ([], [ANY])
    with pytest.raises(XmlRefused) as refused:
        widened().feed(ATTACKS[name](AFTER))
    assert refused.value.note == name


def test_a_widened_parser_takes_no_more_steps() -> None:
    """All that came is given at once."""
    parser = StreamParser(BEFORE, names.SERVER, stepwise=True)
    stanzas = b"<message/><presence/><message/>"
    assert [len(parser.feed(HEADER + stanzas)), len(parser.feed(b""))] == [1, 1]
    parser.widen(AFTER)
    assert not parser.is_stepwise
    assert len(parser.feed(stanzas)) == 5


def test_what_was_refused_is_refused_for_ever() -> None:
    """For the same reason, and nothing of it is held; a closed parser reads as little."""
    parser = StreamParser(BEFORE, names.SERVER)
    parser.feed(HEADER)
    told = []
    for data in (b"<a><!-- --></a>", b"<message/>"):
        with pytest.raises(XmlRefused) as refused:
            parser.feed(data)
        told.append(refused.value)
    assert told[0] is told[1]
    closed = StreamParser(BEFORE, names.SERVER)
    closed.feed(HEADER + b"<a>" + b"b" * 100)
    closed.close()
    with pytest.raises(XmlRefused, match="closed"):
        closed.feed(b"<message/>")
    for one in (parser, closed):
        assert one.is_refused
        assert (one.held_bytes, one.names) == (0, 0)


LAUGHS = (
    b"<!DOCTYPE a [<!ENTITY a 'ha'>%s]>"
    % b"".join(b"<!ENTITY %c '%s'>" % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(4))
    + HEADER.partition(b"?>")[2]
    + b"<message><body>&e;</body></message>"
)


def test_without_its_handlers_entities_would_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusals are those of `refuser`: with handlers that say nothing the stream is read."""
    with pytest.raises(XmlRefused, match="a document type"):
        StreamParser(AFTER, names.SERVER).feed(LAUGHS)
    monkeypatch.setattr(xml, "refuser", lambda _words: lambda *_args: None)
    assert len(StreamParser(AFTER, names.SERVER).feed(LAUGHS)) == 2


@pytest.mark.parametrize("inside", [b"<!-- a -->", b"<?a b?>"])
def test_without_its_handlers_comments_would_be_taken(monkeypatch: pytest.MonkeyPatch, inside: bytes) -> None:
    """Likewise for comments and processing instructions."""
    data = HEADER + b"<message>%s</message>" % inside
    with pytest.raises(XmlRefused):
        StreamParser(AFTER, names.SERVER).feed(data)
    monkeypatch.setattr(xml, "refuser", lambda _words: lambda *_args: None)
    assert len(StreamParser(AFTER, names.SERVER).feed(data)) == 2


SLOW = {
    "a value of >": b"<message a='%s'/>" % (b">" * 4_000),
    "values of > and quotes": b"<message a='%s' b=\"%s\"/>" % (b'>"' * 1_000, b">'" * 1_000),
    "text of >": b"<message>%s</message>" % (b">" * 8_000),
    "references": b"<message>%s</message>" % (b"&gt;>" * 1_600),
    "characters": b"<message><![CDATA[%s]]></message>" % (b"<>]>" * 1_900),
    "tags": b"<message>%s</message>" % (b"<a/>" * 31),
    "a long tag": b"<message a='%s'/>" % (b"a" * 4_000),
    "an end that waits": b"<message></message%s>" % (b" " * 4_000),
    "many stanzas": b"<a b='>'/>" * 2_000,
}


def looked_at(monkeypatch: pytest.MonkeyPatch, data: bytes, size: int) -> int:
    """How many bytes expat looks at."""
    monkeypatch.setattr(findings, "new_expat", Counting)
    Counting.looked_at = 0
    parser = StreamParser(BEFORE, names.SERVER)
    for piece in chunked(HEADER + data, size):
        parser.feed(piece)
    assert not parser.held_bytes - len(HEADER.partition(b"?>")[2])
    return Counting.looked_at


@pytest.mark.parametrize("size", [1, 2, 13])
@pytest.mark.parametrize("name", SLOW)
def test_the_time_is_linear(monkeypatch: pytest.MonkeyPatch, name: str, size: int) -> None:
    """Whatever it is and however it comes, expat looks at each byte three times at most."""
    data = SLOW[name]
    assert looked_at(monkeypatch, data, size) <= 3 * (len(HEADER) + len(data))


def test_without_looking_for_the_end_of_tags_it_would_be_quadratic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count sees what the check prevents."""
    data = SLOW["a value of >"]

    def noted(self: tail.Tail, token: bytearray) -> None:
        self.begun_bytes = len(token)

    monkeypatch.setattr(tail.Tail, "begun", noted)
    assert looked_at(monkeypatch, data, 1) > 300 * len(data)


def test_a_stream_of_ever_new_names_does_not_grow() -> None:
    """Over the whole stream they are no fault: the parser inside is replaced between two stanzas."""
    parser = StreamParser(AFTER, names.SERVER)
    parser.feed(HEADER)
    seen = 0
    for n in range(1_000):
        raw = b"<message>%s</message>" % b"".join(b"<n%dx%d/>" % (n, m) for m in range(100))
        (event,) = parser.feed(raw)
        assert not isinstance(event, Header)
        seen = max(seen, parser.names)
    assert seen <= xml.MOST_NAMES + AFTER.new_names
    assert 80 < parser.renewals < 130


@pytest.mark.parametrize("size", [1, 3, 31, 47, 10_000])
@pytest.mark.parametrize("name", [b"message", b"presence"])
def test_a_replaced_parser_reads_on_as_the_old_one(
    monkeypatch: pytest.MonkeyPatch, name: bytes, size: int
) -> None:
    """Prefixes and language of the stream's tag, and the beginning of the next stanza, are not lost."""
    monkeypatch.setattr(xml, "MOST_NAMES", 20)
    start = HEADER.replace(b" from=", b" xmlns:p='u:a' xml:lang='de' from=")
    stanzas = [b"<%s id='>%d'><p:n%d/></%s>" % (name, n, n, name) for n in range(200)]
    parser = StreamParser(AFTER, names.SERVER)
    events = [event for piece in chunked(start + b" \n".join(stanzas), size) for event in parser.feed(piece)]
    assert [event.raw for event in events if not isinstance(event, Header | xml.StreamEnd)] == stanzas
    assert all(
        (event.outer, event.language) == ({"p": "u:a"}, "de")
        for event in events
        if not isinstance(event, Header | xml.StreamEnd)
    )
    assert parser.renewals >= (10 if size < 100 else 1)


def test_a_replaced_parser_is_as_strict_with_new_names() -> None:
    """What one element may bring is counted from those that the new one has."""
    parser = StreamParser(AFTER, names.SERVER)
    parser.feed(HEADER)
    n = 0
    while not parser.renewals:
        parser.feed(b"<message>%s</message>" % b"".join(b"<n%dx%d/>" % (n, m) for m in range(100)))
        n += 1
    with pytest.raises(XmlRefused, match="new_names"):
        parser.feed(b"<message>%s</message>" % b"".join(b"<o%d/>" % m for m in range(AFTER.new_names + 20)))


def test_namespaces_are_counted_where_they_are_in_scope() -> None:
    """Up to the bound in one place; a stream may have any number of them, one behind the other."""
    room = BEFORE.namespaces - HEADER.count(b"xmlns")
    parser = StreamParser(BEFORE, names.SERVER)
    parser.feed(HEADER)
    full = b"<a%s/>" % b"".join(b" xmlns:a%d='u'" % n for n in range(room))
    for _ in range(20):
        assert len(parser.feed(full)) == 1
        assert len(parser.feed(b"<message>%s</message>" % (full * 3))) == 1
    with pytest.raises(XmlRefused, match="namespaces"):
        parser.feed(b"<b xmlns='v'>%s</b>" % full)


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_tags_are_measured_outside_of_character_data_alone(size: int) -> None:
    """What looks like a tag in it may be as long as a stanza; behind it a tag may not."""
    long = b"a" * (BEFORE.tag_bytes + 10)
    parser = StreamParser(BEFORE, names.SERVER)
    raw = b"<message><body><![CDATA[<a > <%s]]></body></message>" % long
    for piece in chunked(HEADER + raw[:-1], size):
        parser.feed(piece)
    assert [one.raw for one in parser.feed(raw[-1:]) if not isinstance(one, Header | xml.StreamEnd)] == [raw]
    behind = b"<message><body><![CDATA[a > ]]></body><b a='%s'/>" % long
    with pytest.raises(XmlRefused, match="tag_bytes"):
        fed(parser, chunked(behind, size))


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    """Bytes that are allocated now, those of expat among them."""
    gc.collect()
    tracemalloc.start()

    def now() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    try:
        yield now
    finally:
        tracemalloc.stop()


def test_what_a_thousand_strangers_cost(traced: Callable[[], int]) -> None:
    """A silent one next to nothing, one that said hello less than 24 KiB, one that is as bad as it can 40."""
    before = traced()
    parsers = [StreamParser(BEFORE, names.SERVER) for _ in range(1_000)]
    for parser in parsers:
        parser.feed(b"  ")
    assert (traced() - before) / 1_000 < 2_048
    for parser in parsers:
        parser.feed(HEADER)
    assert (traced() - before) / 1_000 < 24 * 1_024
    for parser in parsers:
        parser.feed(b"<a>%s" % (b"a" * 8_100))
    assert (traced() - before) / 1_000 < 40 * 1_024
    for parser in parsers:
        parser.close()
    assert (traced() - before) / 1_000 < 3_072


def test_a_hundred_thousand_names_over_many_streams_leave_nothing(traced: Callable[[], int]) -> None:
    """No name outlives its stream; lxml would keep each for the life of the process."""

    def stream(number: int) -> None:
        parser = StreamParser(AFTER, names.SERVER)
        parser.feed(HEADER)
        for m in range(5):
            parser.feed(b"<a>%s</a>" % b"".join(b"<n%dx%dx%d/>" % (number, m, n) for n in range(200)))
        parser.close()

    stream(0)
    before = traced()
    for number in range(1, 101):
        stream(number)
    assert traced() - before < 64 * 1_024


def test_a_parser_that_is_closed_is_gone_at_once() -> None:
    """It and expat hold each other; nothing waits for the garbage collector."""

    def make_and_close() -> None:
        parser = StreamParser(BEFORE, names.SERVER)
        parser.feed(HEADER)
        parser.close()

    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(50):
            make_and_close()
        assert tracemalloc.get_traced_memory()[0] - before < 64 * 1_024
    finally:
        tracemalloc.stop()
        gc.enable()
