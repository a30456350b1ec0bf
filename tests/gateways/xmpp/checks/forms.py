"""Sections 7.2 and 8 of the mapping: what passes as it is, and what of it is used."""

from __future__ import annotations

from collections.abc import Callable

from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.heard import Header
from imxrouter.gateways.xmpp.names import COMPONENT, SERVER, Condition
from imxrouter.gateways.xmpp.stanza import Stanza, read_stanza, rescoped, tree_of
from imxrouter.gateways.xmpp.streams.one_answer import OneAnswer
from imxrouter.gateways.xmpp.streams.told import Told, ToldTable
from imxrouter.gateways.xmpp.takers import Takers
from imxrouter.gateways.xmpp.translate.awaited import LATE_S, QUERY_S, Awaited
from imxrouter.gateways.xmpp.translate.failures import error_of
from imxrouter.gateways.xmpp.translate.foreign import foreign_of, stanza_of_foreign
from imxrouter.gateways.xmpp.translate.forms import Misfit, without_forged_ids, without_our_ids
from imxrouter.gateways.xmpp.translate.messages import Takes
from imxrouter.gateways.xmpp.translate.original import ORIGINAL_FORM, form_of, judge
from imxrouter.gateways.xmpp.translate.plan import (
    Answer,
    AsForeign,
    Drop,
    Facts,
    Handshake,
    Late,
    Operate,
    Plan,
    Query,
    Refuse,
    Why,
    plan,
)
from imxrouter.gateways.xmpp.xml import AFTER, StreamParser
from imxrouter.model.address import Address
from imxrouter.model.operations import (
    Attribute,
    AttributeQuery,
    AttributeValues,
    Foreign,
    Message,
)
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.routing.attribute_asking import Asked
from imxrouter.routing.caps import Refusal
from imxrouter.routing.choice import Protocol
from imxrouter.switch.forms import ASKED, HANDED_OUT, NOTHING, SET, WHOLE, part_of
from imxrouter.transport.operations import foreign_to_record
from imxrouter.wire.record import encode_record
from tests.gateways.xmpp.canon import canon
from tests.gateways.xmpp.checks import rule
from tests.gateways.xmpp.checks.failures import HERE
from tests.gateways.xmpp.checks.shares import shares_of
from tests.gateways.xmpp.checks.stanzas import NEW_ID, NOW, said, tree

ALICE, BOB = Address.parse("alice@a.example"), Address.parse("bob@b.example")
AT = "from='alice@a.example/r1' to='bob@b.example' id='i1'"
#: Does not come back without its form.
HIDDEN = (
    f"<message {AT} type='chat' xml:lang='en'><body>x</body><x xmlns='urn:example:unknown'>y</x></message>"
)
PLAIN = f"<message {AT} type='chat' xml:lang='en'><body>x</body></message>"


def facts(*, foreign: bool = False, pair: bool = False, forms: bool = True) -> Facts:
    """What a plan depends on."""
    return Facts(NOW, NEW_ID, Takes(), foreign, pair, forms)


def planned(text: str, **known: bool) -> Plan:
    """What becomes of a stanza."""
    return plan(tree(text), facts(**known))


def ours(domain: str) -> bool:
    """Whether a domain is served where things go."""
    return domain == "b.example"


def judged(form: bytes, message: Message, next_hop: Protocol = Protocol.XMPP) -> bytes | Misfit:
    """What becomes of a form."""
    return judge(form, message, next_hop, NOW, ours)


def carried(text: str) -> tuple[Message, bytes]:
    """A message and its form, which it needs."""
    message = said(text)
    form = form_of(tree(text), message, 65_536)
    assert form is not None
    return message, form


# -- 2, 7.2: what is none, iq --------------------------------------------------------------------------------


@rule("adr-from-missing", "unk-kind")
def _no_stanza() -> None:
    for text in (
        "<message to='b@b.example'><body/></message>",
        "<iq from='a@a.example' type='get' id='1'><q/></iq>",
    ):
        assert planned(text) == Drop(Why.NO_ADDRESS, Condition.IMPROPER_ADDRESSING)
    for text in (f"<letter {AT}/>", f"<message xmlns='urn:other' {AT}/>"):
        assert planned(text) == Drop(Why.NO_STANZA, Condition.UNSUPPORTED_STANZA_TYPE)


@rule("iq-unknown")
def _unknown_query() -> None:
    text = f"<iq {AT} type='get'><q xmlns='urn:example:unknown'/></iq>"
    assert planned(text) == Query()
    made = error_of(failure(Reason.TYPE_NOT_ENABLED), tree(text), HERE)
    assert made is not None
    (inside,) = tree_of(made).children
    assert (inside.attributes["type"], inside.children[0].name) == ("cancel", "service-unavailable")


@rule("iq-result", "iq-wait")
def _answers() -> None:
    result = f"<iq {AT} type='result'><q xmlns='urn:q'/></iq>"
    assert planned(result) == Answer(None)
    answer = planned(result, foreign=True)
    assert isinstance(answer, Answer)
    assert answer.foreign is not None
    awaited = Awaited[str](QUERY_S)
    alice, bob = "alice@a.example/r1", "bob@b.example"
    assert awaited.sent((bob, alice, "i1"), "bob@b.example", "a.example", "asked", 0.0)
    assert not awaited.sent((bob, alice, "i1"), "bob@b.example", "a.example", "twice", 0.0)
    assert awaited.answered("eve@e.example", bob, "i1", 1.0) is None
    assert awaited.answered(alice, bob, "i2", 1.0) is None
    assert awaited.answered(alice, bob, "i1", 1.0) == "asked"
    assert awaited.answered(alice, bob, "i1", 1.0) is None
    assert awaited.sent((bob, alice, "i3"), "bob@b.example", "a.example", "slow", 0.0)
    assert awaited.due(QUERY_S - 1) == []
    assert awaited.answered(alice, bob, "i3", QUERY_S) is None
    assert [one.value for one in awaited.due(QUERY_S)] == ["slow"]
    assert len(awaited) == 0
    assert not awaited.sent((bob, "c@c.example", ""), "bob@b.example", "c.example", "", 0.0)
    assert shares_of(lambda: Awaited(QUERY_S)) == (312, 1875, 2500, 5000, 10_000)


@rule("iq-passes")
def _one_answer() -> None:
    alice, bob = "alice@a.example/r1", "bob@b.example"
    told, result = (
        Told("iq", alice, bob, "i1", "get", "b.example", "a.example"),
        "<iq from='{}' to='{}' id='i1'/>",
    )
    answer = read_stanza(result.format(bob, alice).encode())
    table = ToldTable()
    one = OneAnswer(table)
    for tag in (1, 2):  # the newest is what is answered
        assert table.add(tag, told, 0.0, one.asked(told, 0.0))
    assert table.take(1) is None
    assert one.answers(answer, 1.0)
    assert table.take(2) is None
    assert one.doubted(told, 0.0)
    assert not one.answers(answer, LATE_S - 1)
    assert one.doubted(told, 0.0)
    assert one.answers(answer, LATE_S)
    assert LATE_S == 120


@rule("err-strange")
def _errors_for_nothing() -> None:
    assert planned(PLAIN.replace("'chat'", "'error'")) == Late()
    remembered = Awaited[bytes](LATE_S)
    assert remembered.answered("bob@b.example", "alice@a.example/r1", "i1", 0.0) is None


@rule("iq-no-id")
def _bad_iq() -> None:
    for text in (
        "<iq from='a@a.example' to='b@b.example' type='get'><q xmlns='urn:q'/></iq>",
        f"<iq {AT} type='get'/>", f"<iq {AT} type='set'><q xmlns='urn:q'/><q xmlns='urn:q'/></iq>",
        f"<iq {AT} type='shout'><q xmlns='urn:q'/></iq>", f"<iq {AT}><q xmlns='urn:q'/></iq>",
    ):  # fmt: skip
        refused = planned(text, foreign=True)
        assert isinstance(refused, Refuse)
        assert refused.outcome.reason is Reason.BAD_RECORD
        made = error_of(refused.outcome, tree(text), HERE)
        assert made is not None
        assert b"bad-request" in made


@rule("unk-child")
def _unknown_child() -> None:
    operate = planned(HIDDEN)
    assert isinstance(operate, Operate)
    assert operate.operation.content == b"x"
    assert b"urn:example:unknown" in operate.operation.attributes[ORIGINAL_FORM]


@rule("prs-odd-type")
def _odd_presence() -> None:
    refused = planned(f"<presence {AT} type='shout'/>", foreign=True)
    assert isinstance(refused, Refuse)
    assert refused.outcome.reason is Reason.BAD_RECORD


@rule("prs-directed")
def _directed() -> None:
    for type_ in ("", " type='unavailable'"):
        assert isinstance(planned(f"<presence {AT}{type_}/>", foreign=True), AsForeign)
        assert planned(f"<presence {AT}{type_}/>") == Drop(Why.DIRECTED)
        assert planned(f"<presence {AT}{type_}/>", pair=True, foreign=True) == Handshake()
        full = f"<presence {AT}{type_}/>".replace("bob@b.example", "bob@b.example/r2")
        assert isinstance(planned(full, pair=True, foreign=True), AsForeign)


# -- 8: passing, FOREIGN -------------------------------------------------------------------------------------


def passed(raw: str, *, language: str = "", outer: dict[str, str] | None = None) -> bytes:
    """A stanza of one server's stream as it is written on another's."""
    around = "".join(f" xmlns:{prefix}='{name}'" for prefix, name in (outer or {}).items())
    root = tree_of(raw.encode(), outer=outer or {}, language=language)
    assert around or not outer
    attributes = {
        name: value for name, value in root.attributes.items() if name in {"from", "to", "id", "type"}
    } | {name: value for name, value in root.attributes.items() if name.endswith(" lang")}
    stanza = Stanza(root.namespace, root.name, raw.encode(), attributes, outer=outer or {}, language=language)
    return rescoped(stanza, "jabber:server")


@rule("pass-all", "pass-muc", "pass-omemo")
def _passes() -> None:
    for raw in (
        f"<presence {AT}><x xmlns='http://jabber.org/protocol/muc'/></presence>",
        f"<message {AT} type='groupchat'><body>hi</body></message>",
        f"<iq {AT} type='set'><pubsub xmlns='http://jabber.org/protocol/pubsub'/></iq>",
        f"<message {AT}><encrypted xmlns='urn:xmpp:omemo:2'><payload>eA==</payload></encrypted></message>",
    ):  # fmt: skip
        assert passed(raw) == raw.encode()


@rule("pass-lang", "pass-prefix")
def _what_the_stream_gave() -> None:
    raw = f"<message {AT}><body>x</body><p:x/></message>"
    made = passed(raw, language="de", outer={"p": "urn:p"})
    assert canon(made) == canon(raw.replace("<message", "<message xmlns:p='urn:p' xml:lang='de'"))


@rule("pass-lang-header")
def _language_of_streams() -> None:
    for answers in (True, False):
        (header,) = StreamParser(AFTER, SERVER).feed(say.header(SERVER, stream_id="1", answers=answers))
        assert isinstance(header, Header)
        assert header.language == ("und" if answers else "")
    assert b"xml:lang" not in say.header(COMPONENT, from_="c.example", stream_id="1", version=False)
    raw = f"<message {AT}><body>x</body></message>".encode()
    _, stanza = StreamParser(AFTER, SERVER).feed(say.header(SERVER, stream_id="1", answers=True) + raw)
    assert isinstance(stanza, Stanza)
    assert rescoped(stanza, SERVER) == raw


@rule("pass-sid", "msg-stanza-id")
def _stanza_ids() -> None:
    sid = "<stanza-id xmlns='urn:xmpp:sid:0' id='s1' by='{}'/>"
    text = PLAIN.replace(
        "</message>", sid.format("bob@b.example") + sid.format("room@conf.c.example") + "</message>"
    )
    wanted = PLAIN.replace("</message>", sid.format("room@conf.c.example") + "</message>")
    assert without_our_ids(tree(text), ours) == wanted.encode()
    assert without_forged_ids(text.encode(), ours) == wanted.encode()
    message, form = carried(text)
    assert judged(form, message) == wanted.encode()
    foreign = foreign_of(tree(text.replace("'chat'", "'groupchat'")), NEW_ID)
    assert isinstance(foreign, Foreign)
    assert stanza_of_foreign(foreign, ours) == wanted.replace("'chat'", "'groupchat'").encode()


@rule("pass-muc-from")
def _from_a_room() -> None:
    text = f"<message {AT} type='groupchat'><body>x</body></message>"
    text = text.replace("alice@a.example/r1", "room@conf.a.example/Nick Name")
    foreign = planned(text, foreign=True)
    assert isinstance(foreign, AsForeign)
    assert str(foreign.operation.source) == "room@conf.a.example"


@rule("pass-long")
def _long_local_parts() -> None:
    text = PLAIN.replace("alice@", f"{'a' * 256}@")
    refused = planned(text, foreign=True)
    assert isinstance(refused, Refuse)
    assert refused.outcome.reason is Reason.ADDRESS_TOO_LONG


@rule("for-record")
def _record() -> None:
    text = f"<iq {AT} type='get'><q xmlns='urn:q'/></iq>"
    assert planned(text) == Query()
    sent = planned(text, foreign=True)
    assert isinstance(sent, AsForeign)
    assert (sent.operation.protocol, sent.operation.content) == ("xmpp", text.encode())
    assert (sent.operation.source, sent.operation.destination) == (ALICE, BOB)
    assert stanza_of_foreign(sent.operation, ours) == text.encode()
    message = planned(f"<message {AT} type='groupchat'><body>x</body></message>")
    assert isinstance(message, Refuse)
    assert message.outcome.reason is Reason.TYPE_NOT_ENABLED


@rule("for-takes")
def _who_takes_it() -> None:
    asked: list[AttributeQuery] = []
    told: list[Callable[[Asked], None]] = []

    def ask(query: AttributeQuery, answer: Callable[[Asked], None]) -> None:
        asked.append(query)
        told.append(answer)

    takers = Takers(ask, lambda: NEW_ID, lambda: 0.0)
    own, there = ALICE.domain, BOB.domain
    assert takers.of(own, there).foreign
    values = AttributeValues((Attribute("foreign-forms", b"xmpp", 600),))
    told[0](Asked(Outcome(Status.SUCCESS, result=values)))
    assert takers.of(own, there).foreign
    takers.refused(there)
    assert not takers.of(own, there).foreign
    assert "foreign-forms" in asked[0].names
    assert len(asked) == 1


@rule("for-what", "for-access")
def _what_goes() -> None:
    full = AT.replace("bob@b.example", "bob@b.example/r2")
    for text in (
        f"<iq {AT} type='get'><q xmlns='urn:q'/></iq>", f"<iq {AT} type='set'><q xmlns='urn:q'/></iq>",
        f"<message {AT} type='groupchat'><body>x</body></message>",
        f"<message {AT}><x xmlns='urn:x'/></message>",
        f"<presence {AT}/>", f"<presence {AT} type='unavailable'/>", f"<presence {AT} type='error'/>",
        f"<presence {full} type='probe'/>",
    ):  # fmt: skip
        sent = planned(text, foreign=True)
        assert isinstance(sent, AsForeign), text
        assert stanza_of_foreign(sent.operation, ours) == text.encode()


@rule("for-never")
def _what_never_goes() -> None:
    for type_ in ("subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe"):
        text = f"<presence {AT} type='{type_}'/>"
        assert planned(text, foreign=True) == Handshake()
        assert isinstance(foreign_of(tree(text), NEW_ID), Refusal)
        arrived = stanza_of_foreign(Foreign(ALICE, BOB, NEW_ID, "xmpp", text.encode()), ours)
        assert isinstance(arrived, Refusal)
        assert arrived.reason is Reason.BAD_BODY


@rule("for-rate")
def _what_costs_less_or_nothing() -> None:
    assert (NOTHING, HANDED_OUT, ASKED, SET, WHOLE) == (0, 1 / 1000, 1 / 100, 1 / 20, 1)
    full = AT.replace("bob@b.example", "bob@b.example/r2")
    for text, part in (
        (f"<presence {AT}/>", NOTHING), (f"<presence {AT} type='unavailable'/>", NOTHING),
        (f"<presence {AT} type='probe'/>", NOTHING), (f"<presence {AT} type='subscribe'/>", WHOLE),
        (f"<iq {AT} type='result'/>", NOTHING), (f"<iq {AT} type='error'/>", NOTHING),
        (f"<iq {AT} type='get'/>", ASKED), (f"<iq {AT} type='set'/>", SET),
        (f"<iq {AT} type='set'><jingle xmlns='urn:xmpp:jingle:1' action='transport-info'/></iq>", SET),
        (f"<iq {AT} type='set'><jingle xmlns='urn:xmpp:jingle:1' action='session-initiate'/></iq>", WHOLE),
        (f"<iq {AT} type='set'><si xmlns='http://jabber.org/protocol/si'/></iq>", WHOLE),
        (f"<iq {AT} type='set'><x xmlns='http://jabber.org/protocol/rosterx'/></iq>", WHOLE),
        (f"<iq {AT} type='set'><jingle action='session-&#105;nitiate'/></iq>", WHOLE),
        (f"<message {AT} type='groupchat'/>", WHOLE),
        (f"<message {full} type='groupchat'/>", HANDED_OUT), (f"<message {full} type='chat'/>", WHOLE),
        (f"<message {full}><result xmlns='urn:xmpp:mam:2'/></message>", HANDED_OUT),
        (f"<message {full}><result xmlns='urn:xmpp:mam:2'/><body>x</body></message>", WHOLE),
    ):  # fmt: skip
        carried = foreign_to_record(Foreign(ALICE, BOB, NEW_ID, "xmpp", text.encode()))
        assert part_of(encode_record(carried)) == part, text


@rule("for-envelope")
def _envelope() -> None:
    good = f"<iq {AT} type='get'><q xmlns='urn:q'/></iq>"
    for bad in (
        good.replace("alice@", "eve@"), good.replace("bob@", "eve@"), good.replace("to='bob@b.example'", ""),
        good.replace("alice@a.example/r1", "@a.example"), good + good, f" {good}",
        "", "<iq>", "x", f"<!-- -->{good}",
        good.replace("<iq ", "<iq xmlns='urn:other' "), good.replace("iq", "ip"),
    ):  # fmt: skip
        refused = stanza_of_foreign(Foreign(ALICE, BOB, NEW_ID, "xmpp", bad.encode()), ours)
        assert isinstance(refused, Refusal), bad
        assert refused.reason is Reason.BAD_BODY
    spelled = stanza_of_foreign(
        Foreign(ALICE, BOB, NEW_ID, "xmpp", good.replace("alice", "ALICE").encode()), ours
    )
    assert spelled == good.replace("from='alice@a.example/r1'", 'from="alice@a.example/r1"').encode() or (
        isinstance(spelled, bytes) and canon(spelled) == canon(good)
    )


@rule("for-fail")
def _failures_of_foreign() -> None:
    told = {
        text: error_of(failure(Reason.BUSY), tree(text), HERE) is not None
        for text in (
            f"<iq {AT} type='get'><q/></iq>", f"<message {AT} type='groupchat'><body>x</body></message>",
            f"<iq {AT} type='result'/>", f"<presence {AT}/>", f"<presence {AT} type='error'/>",
        )
    }  # fmt: skip
    assert list(told.values()) == [True, True, False, False, False]
