"""The stream machine in the place of either server, in streams of Prosody and ejabberd with each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from imxrouter.gateways.xmpp.effects import ClaimIn, ClaimResultIn, Drop, VerifyIn, VerifyResultIn
from imxrouter.gateways.xmpp.heard import AFTER
from imxrouter.gateways.xmpp.names import SERVER, Condition
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.gateways.xmpp.stanza import Element, Stanza
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
from imxrouter.gateways.xmpp.xml import StreamParser
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.pipe import Party, a_party

DATA: Final = Path(__file__).parents[2] / "data/xmpp-streams.txt"
_NAME: Final = re.compile(rb"<(/?[a-z]+(?::[a-z]+)?)[\s>/]")
_INSIDE: Final = re.compile(
    rb"(<(stream:features|stream:error|failure|message|presence|iq)\b[^>]*(?<!/)>).*?</\2>", re.DOTALL
)
#: What we ask for, and they did not, changes nothing.
_MORE: Final = frozenset({"bidi", "enable"})
_HEADER: Final = (
    b"<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback'"
    b" xmlns:stream='http://etherx.jabber.org/streams'>"
)


@dataclass(frozen=True)
class Line:
    """What one side wrote at once."""

    opens: bool
    tls: bool
    raw: bytes


def streams() -> dict[str, list[Line]]:
    """The streams by their titles."""
    found: dict[str, list[Line]] = {}
    lines: list[Line] = []
    for text in DATA.read_text(encoding="utf-8").splitlines()[3:]:
        if text.startswith("# "):
            lines = found.setdefault(f"{len(found) + 1} {text[2:]}", [])
        elif text:
            who, where, raw = text.split("|", 2)
            lines.append(Line(who == "opens", where == "in TLS", raw.encode()))
    return found


STREAMS: Final = streams()


def names(raw: bytes) -> list[str]:
    """Names of what stands at the first level, headers and ends of streams among them."""
    plain = _INSIDE.sub(rb"\1", raw.replace(b"<?xml version='1.0'?>", b""))
    found = [one.decode() for one in _NAME.findall(plain)]
    return [one for one in found if not one.startswith("/") and one not in _MORE]


def elements(raw: bytes) -> list[Element]:
    """What stands in a line behind its header."""
    parser = StreamParser(AFTER, SERVER)
    body = raw.replace(b"<?xml version='1.0'?>", b"")
    found = parser.feed(body if body.startswith(b"<stream:stream ") else _HEADER + body)
    return [one for one in found if isinstance(one, Element)]


def party(lines: list[Line], *, opens: bool) -> Party:
    """The machine in the place of who opened, or of who accepted."""
    said = b"".join(line.raw for line in lines)
    rule = TlsRule.REQUIRED if b"<starttls" in said else TlsRule.NONE
    external = b"<auth " in said
    own, other = (re.search(rb"%s='([^']*)'" % name, lines[0].raw) for name in (b"from", b"to"))
    if own is None:  # the checker does not say who it is
        own = re.search(rb"<db:verify from='([^']*)'", said)
    assert own
    assert other
    terms = StreamTerms(
        rule, serves=lambda _: True, external=lambda _: external, dialback=lambda _: True, bidi=True, sm=True
    )
    role = StreamRole.S2S_OUT if opens else StreamRole.S2S_IN
    made = a_party(role, own[1].decode() if opens else "", other[1].decode() if opens else "", terms)
    made.grants = b"<success" in said
    return made


def play(lines: list[Line], *, opens: bool, by_bytes: bool) -> tuple[Party, list[str], list[str]]:
    """Feed the other side's lines, do what ours did; what we wrote, and what was written there."""
    ours = party(lines, opens=opens)
    machine = ours.machine
    ours.perform(machine.start())
    tls, wrote, there = False, bytearray(), list[str]()
    for line in lines:
        if line.tls and not tls:
            tls = True
            ours.perform(machine.encrypted(ours.now))
        if line.opens is opens:
            there += names(line.raw)
            _say(ours, line.raw)
        else:
            pieces = [bytes([one]) for one in line.raw] if by_bytes else [line.raw]
            for piece in pieces:
                _hear(ours, piece)
        wrote += ours.out
        ours.out.clear()
    return ours, names(bytes(wrote)), there


def _say(ours: Party, raw: bytes) -> None:
    """What a session would have had said at this point."""
    machine = ours.machine
    for one in elements(raw):
        said = one.attributes
        text = one.tree().text.strip()
        if isinstance(one, Stanza):
            pair = (one.from_.partition("@")[2].partition("/")[0], one.to.partition("@")[2].partition("/")[0])
            assert machine.may_write(*pair)
            ours.perform(machine.stanzas([one.raw], [None], ours.now))
        elif one.name == "result" and "type" not in said:
            ours.perform(machine.claim(said["from"], said["to"], text))
        elif one.name == "verify" and "type" not in said:
            ours.perform(machine.ask_verify(said["from"], said["to"], said["id"], text))
    if b"<system-shutdown" in raw:
        ours.perform(machine.refuse(Reason.SHUTTING_DOWN))
    elif raw == b"</stream:stream>":
        ours.perform(machine.close(Reason.IDLE, ours.now))
        ours.perform(machine.settle(0))


def _hear(ours: Party, raw: bytes) -> None:
    """What a session would do with what comes: claims and questions have the answer that they had."""
    effects = ours.machine.receive(raw, ours.now)
    for effect in effects:
        if isinstance(effect, ClaimIn):
            ours.seen.append(effect)
            ours.machine.proved((effect.db.from_, effect.db.to))
            ours.perform(ours.machine.answer_claim(effect.db.to, effect.db.from_, DbType.VALID))
        elif isinstance(effect, VerifyIn):
            db = effect.db
            ours.seen.append(effect)
            kind = DbType.INVALID if db.key == "00" else DbType.VALID
            ours.perform(ours.machine.answer_verify(db.to, db.from_, db.stream_id, kind))
        else:
            ours.perform([effect])


@pytest.mark.parametrize("title", STREAMS)
@pytest.mark.parametrize("opens", [True, False], ids=["who opens", "who accepts"])
@pytest.mark.parametrize("by_bytes", [False, True], ids=["reads", "bytes"])
def test_we_say_what_they_said(title: str, *, opens: bool, by_bytes: bool) -> None:
    """The same elements in the same order; what they wrote is taken; an end is an end for the same reason."""
    lines = STREAMS[title]
    ours, wrote, there = play(lines, opens=opens, by_bytes=by_bytes)
    if title.endswith("starttls, failure") and not opens:
        assert wrote == ["stream:stream", "stream:features", "proceed"]  # it had no certificate; we do
        return
    assert wrote == there
    stanzas = [one for line in lines if line.opens is not opens for one in elements(line.raw)]
    assert ours.stanzas == [one.raw for one in stanzas if isinstance(one, Stanza)]
    said = b"".join(line.raw for line in lines if line.opens is not opens)
    told = [one for one in ours.seen if isinstance(one, Drop)]
    if b"<system-shutdown" in said:
        assert told == [
            Drop(Reason.SHUTTING_DOWN, Condition.SYSTEM_SHUTDOWN, "system-shutdown: Received SIGTERM")
        ]
    elif b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'" in said:
        assert [one.reason for one in told] == [Reason.WEAKER_THAN_POLICY]
    answers = (
        len(re.findall(rb"<db:result [^>]*type=", said)),
        len(re.findall(rb"<db:verify [^>]*type=", said)),
    )
    assert (len(ours.of(ClaimResultIn)), len(ours.of(VerifyResultIn))) == answers


def test_the_streams_have_all_there_is() -> None:
    """Both servers at both ends, each way of proof, and an end in each direction."""
    said = DATA.read_bytes()
    assert len(STREAMS) >= 10
    for wanted in (
        b"<success",
        b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'",
        b"type='invalid'",
        b"<sm ",
    ):
        assert wanted in said
    assert {title.split()[1] for title in STREAMS} == {"Prosody", "ejabberd", "A"}
