"""Usual messages take a short way, which gives the very records of the general one."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.gateways.xmpp.flat import read_flat
from imxrouter.gateways.xmpp.heard import AFTER
from imxrouter.gateways.xmpp.names import COMPONENT, SERVER, STREAM
from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.gateways.xmpp.streams.records import party_of, passing_record, stanza_at, stanza_record
from imxrouter.gateways.xmpp.streams.usual import Way, usual_record
from imxrouter.gateways.xmpp.translate.messages import Takes
from imxrouter.gateways.xmpp.translate.plan import Facts, Operate, plan
from imxrouter.gateways.xmpp.xml import StreamParser
from imxrouter.model.address import Address
from imxrouter.model.outcome import SUCCESS
from imxrouter.transport.operations import operation_to_bytes
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import (
    decode_record,
    encode_record,
    plain_success_to,
    read_plain_success,
    response_to,
)
from imxrouter.wire.registry import RecordType
from tests.gateways.xmpp.streams.edge_rig import NOW
from tests.gateways.xmpp.translate.stanzas import STANZAS, TALK, TEXTS

IDENT = bytes(range(16))
_FROM = ("alice@a.example/r1", "alice@a.example/r1", "A@A.example/R 1", "o\\27m@a.example/ž")
_TO = ("bob@b.example", "bob@b.example/r2", "b.example", "bob@b.example/" + "r" * 60)
_IDS = ("m1", "ž", "i" * 255)
_USUAL = [
    "<thread>t1</thread>", "<thread>č</thread>",
    "<active xmlns='http://jabber.org/protocol/chatstates'/>",
    '<composing xmlns="http://jabber.org/protocol/chatstates" />',
    "<request xmlns='urn:xmpp:receipts'/>", "<request xmlns='urn:xmpp:receipts' />",
]  # fmt: skip
_MORE = [
    "<origin-id xmlns='urn:xmpp:sid:0' id='o9'/>", "<origin-id id='o9' xmlns='urn:xmpp:sid:0'/>",
    "<stanza-id by='a.example' xmlns='urn:xmpp:sid:0' id='s'/>",
    "<markable xmlns='urn:xmpp:chat-markers:0'/>", "<store xmlns='urn:xmpp:hints'/>",
]  # fmt: skip
_ODD = [
    *_USUAL, *_MORE, "<thread>" + "t" * 300 + "</thread>", "<thread/>", "<body>again</body>",
    "<subject>s</subject>", " ",
]  # fmt: skip


def _written(said: dict[str, str], text: str, before: list[str], behind: list[str]) -> str:
    attributes = "".join(f" {name}={quoted}" for name, quoted in said.items())
    body = f"<body>{text}</body>"
    return f"<message{attributes}>{''.join(before)}{body}{''.join(behind)}</message>"


def _one_of(*values: str) -> st.SearchStrategy[str]:
    quoted = [quote + escape(value) + quote for value in values for quote in "'\""]
    return st.sampled_from(quoted)


def _messages(
    idents: tuple[str, ...], types: tuple[str, ...], languages: tuple[str, ...],
    bodies: st.SearchStrategy[str], children: list[str],
) -> st.SearchStrategy[str]:  # fmt: skip
    said = st.fixed_dictionaries(
        {
            "from": _one_of(*_FROM),
            "to": _one_of(*_TO),
            "id": _one_of(*idents),
        },
        optional={"type": _one_of(*types), "xml:lang": _one_of(*languages)},
    )
    some = st.lists(st.sampled_from(children), max_size=3, unique_by=lambda child: child[:6])
    return st.builds(_written, said, bodies, st.one_of(st.just([]), some), some)


_SAYABLE = TEXTS.filter(lambda text: "\r" not in text).map(lambda text: escape(text, quote=False))
_BODIES = st.one_of(_SAYABLE, st.sampled_from(["a &apos;b&apos; &quot;", "&amp;lt;", "x" * 900]))
USUAL = _messages(_IDS, ("chat", "normal", "headline", ""), ("en", "de-CH"), _BODIES, _USUAL + _MORE)
ODD = _messages(
    ("m1", "i" * 256, "", "a&b"), ("chat", "", "shout", "error"), ("en", "", "not a language!"),
    st.one_of(_BODIES, st.sampled_from(["&#65;", "a\rb", "a>b", "<![CDATA[x]]>"])), _ODD,
)  # fmt: skip


def read(raw: str, language: str = "", content: str = SERVER) -> Stanza | None:
    """The stanza that the parser of a stream makes of it; None where it refuses it."""
    lang = f" xml:lang='{language}'" if language else ""
    parser = StreamParser(AFTER, content)
    header = f"<stream:stream xmlns='{content}' xmlns:stream='{STREAM}'{lang} version='1.0'>"
    parser.feed(header.encode())
    events = parser.feed(raw.encode())
    stanza = events[-1] if events else None
    return stanza if isinstance(stanza, Stanza) else None


def usual(stanza: Stanza, way: Way) -> tuple[bytes | None, list[tuple[Address, Address]]]:
    """The record that the short way makes, and whom it named."""
    named: list[tuple[Address, Address]] = []
    flat = read_flat(stanza)
    if flat is None:
        return None, named
    made = usual_record(flat, stanza.from_, stanza.to, way, IDENT, 7, lambda *both: named.append(both))
    return made, named


def check(stanza: Stanza, way: Way) -> bool:
    """Both ways give one record, byte by byte, where the short one is taken; whether it is."""
    made, named = usual(stanza, way)
    if made is None:
        return False
    takes = Takes(max_bytes=way.max_bytes)
    planned = plan(
        stanza.tree(), Facts(NOW, IDENT, takes, forms=way.forms, largest_record=way.largest_record)
    )
    assert isinstance(planned, Operate)
    assert made == operation_to_bytes(planned.operation, FLAG_RESPONSE_WANTED, 7)
    assert named == [(planned.operation.source, planned.operation.destination)]
    return True


@given(
    st.one_of(USUAL, ODD, ODD, TALK, STANZAS),
    st.sampled_from(["", "", "", "de", "no tag"]),
    st.sampled_from([SERVER, COMPONENT]),
    st.builds(
        Way, st.just(True), st.sampled_from([0, 0, 3]), st.booleans(), st.sampled_from([65_536, 2_500])
    ),
)
def test_both_ways_give_one_record(raw: str, language: str, content: str, way: Way) -> None:
    """Whatever comes."""
    stanza = read(raw, language, content)
    if stanza is not None:
        check(stanza, way)


def test_usual_messages_of_all_kinds_take_the_short_way() -> None:
    """In each order of what stands in them: and it gives what the general one gives."""
    chance = Random(7)
    beside = [_USUAL[1], _USUAL[3], _USUAL[4], _MORE[1], _MORE[2], _MORE[3]]
    for order in [order for size in range(4) for order in permutations(beside, size)] * 3:
        children = list(order)
        split = chance.randint(0, len(children)) if chance.random() < 0.3 else 0
        said = {"from": chance.choice(_FROM), "to": chance.choice(_TO), "id": chance.choice(_IDS)}
        said["type"] = chance.choice(["chat", "chat", "chat", "normal", "headline", ""])
        said["xml:lang"] = chance.choice(["", "", "en", "de-CH"])
        quoted = {name: f"'{value}'" for name, value in said.items() if value or (name == "type" and split)}
        raw = _written(quoted, chance.choice(["x", "it&apos;s &amp;lt;"]), children[:split], children[split:])
        stanza = read(raw, chance.choice(["", "", "de"]), chance.choice([SERVER, COMPONENT]))
        assert stanza is not None
        assert check(stanza, Way(True, 0, chance.random() < 0.8, chance.choice([65_536, 65_536, 2_500]))), raw


def _message(*children: str, said: str = "type='chat' id='m1'", text: str = "hello") -> str:
    return (
        f"<message from='alice@a.example/r1' to='bob@b.example' {said}><body>{text}</body>"
        f"{''.join(children)}</message>"
    )


def test_what_people_write_is_usual() -> None:
    """As clients write it: else the short way would be none."""
    state = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
    request, markable = "<request xmlns='urn:xmpp:receipts'/>", "<markable xmlns='urn:xmpp:chat-markers:0'/>"
    for raw in (
        _message(),
        _message(text="it&apos;s"),
        _message(text="žluťoučký \U0001f600"),
        _message(said="id='m1'"),
        _message(said="xml:lang='en' type='chat' id='m1'"),
        _message("<thread>t</thread>", request, state),
        _message(state, request, markable),
        _message("<origin-id xmlns='urn:xmpp:sid:0' id='m1'/>",
                 "<stanza-id xmlns='urn:xmpp:sid:0' by='alice@a.example' id='9'/>"),
    ):  # fmt: skip
        stanza = read(raw)
        assert stanza is not None
        assert usual(stanza, Way(True, 0, True, 65_536))[0] is not None, raw


def test_what_is_not_usual_is_left() -> None:
    """Another meaning, or more than is looked at."""
    for raw in (
        _message(said="type='error' id='m1'"),
        _message(said="type='groupchat' id='m1'"),
        _message(said="type='chat'"),
        _message("<subject>s</subject>"),
        _message("<nick xmlns='http://jabber.org/protocol/nick'>Al</nick>"),
        _message("<thread parent='t0'>t1</thread>"),
        _message("<active xmlns='urn:example:other'/>"),
        _message("<thread>t1</thread>", "<thread>t2</thread>"),
        _message(text="&#65;"),
        _message(said="xmlns:x='urn:x' type='chat' id='m1'"),
        _message().replace("message", "presence"),
    ):
        stanza = read(raw)
        assert stanza is not None
        assert usual(stanza, Way(True, 0, True, 65_536))[0] is None, raw


@pytest.mark.parametrize("from_", [*_FROM, "a.example", "alice@a.example/" + "r" * 230, "ž@a.example/č"])
@pytest.mark.parametrize("to", [*_TO, "BOB@b.example"])
def test_what_passes_gets_the_same_record_at_once(from_: str, to: str) -> None:
    """And its success is the one that the switch would have been answered."""
    raw = b"<message><body>x</body></message>"
    made = passing_record(raw, from_, to, IDENT, 7)
    record = stanza_record(raw, party_of(from_), party_of(to), IDENT)
    assert made == encode_record(record, FLAG_RESPONSE_WANTED, 7)
    answer = encode_record(response_to(decode_record(made), SUCCESS), route_tag=9)
    assert plain_success_to(made, 9) == answer
    assert read_plain_success(answer) == (9, IDENT)
    assert stanza_at(made) == (7, raw)


def test_what_holds_no_stanza_is_not_taken_for_one() -> None:
    """An answer, another type of request, and a record whose body is something else."""
    record = stanza_record(b"<message/>", party_of(_FROM[0]), party_of("b@b.example"), IDENT)
    assert stanza_at(encode_record(record)) == (0, b"<message/>")
    assert stanza_at(encode_record(response_to(record, SUCCESS))) is None
    assert stanza_at(encode_record(replace(record, type=RecordType.FOREIGN))) is None
    assert stanza_at(encode_record(replace(record, body=b"<message/>"))) is None


def test_who_is_nobody_gets_no_record_at_once() -> None:
    """The general way says why."""
    for from_, to in (
        ("", "b@b.example"),
        ("a@@a", "b@b.example"),
        ("a@a.example/" + "r" * 300, "b@b.example"),
    ):
        assert passing_record(b"<message/>", from_, to, IDENT, 7) is None
