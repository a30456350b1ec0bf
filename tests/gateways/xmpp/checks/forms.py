"""Sections 7.2, 8 and 9 of the mapping: what passes as it is, and what of it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.heard import Header
from imxrouter.gateways.xmpp.names import COMPONENT, SERVER, Condition
from imxrouter.gateways.xmpp.stanza import Stanza, rescoped, tree_of, undetermined
from imxrouter.gateways.xmpp.takers import Takers
from imxrouter.gateways.xmpp.translate.awaited import LATE_S, QUERY_S, Awaited
from imxrouter.gateways.xmpp.translate.failures import error_of
from imxrouter.gateways.xmpp.translate.foreign import foreign_of, stanza_of_foreign
from imxrouter.gateways.xmpp.translate.forms import (
    MAX_FORM_BYTES,
    PREFIX,
    Misfit,
    without_forged_ids,
    without_our_ids,
)
from imxrouter.gateways.xmpp.translate.messages import Takes
from imxrouter.gateways.xmpp.translate.original import (
    ORIGINAL_FORM,
    form_of,
    judge,
    with_form,
)
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
from imxrouter.gateways.xmpp.translate.saying import stanza_of
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
from imxrouter.routing.domains import ALL_TYPES
from imxrouter.switch.forms import ASKED, HANDED_OUT, NOTHING, SET, WHOLE, part_of
from imxrouter.transport.operations import foreign_to_record, operation_to_record, record_to_operation
from imxrouter.wire.describe import describe_stream
from imxrouter.wire.record import decode_record, encode_record
from imxrouter.wire.registry import FieldType
from tests.gateways.xmpp.canon import canon
from tests.gateways.xmpp.checks import rule
from tests.gateways.xmpp.checks.failures import HERE
from tests.gateways.xmpp.checks.shares import shares_of
from tests.gateways.xmpp.checks.stanzas import NEW_ID, NOW, TAKES, said, tree
from tests.gateways.xmpp.streams.sides import Sides
from tests.switch.rig import HERE as HERE_DOMAIN
from tests.switch.rig import PEER, Rig

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


@rule("pass-lang-header", "pass-lang-back")
def _language_of_streams() -> None:
    for answers in (True, False):
        (header,) = StreamParser(AFTER, SERVER).feed(say.header(SERVER, stream_id="1", answers=answers))
        assert isinstance(header, Header)
        assert header.language == ("en" if answers else "")
    assert b"xml:lang" not in say.header(COMPONENT, from_="c.example", stream_id="1", version=False)
    raw = f"<message {AT}><body>x</body></message>"
    assert canon(undetermined(raw.encode())) == canon(raw.replace("<message", "<message xml:lang='und'"))


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


# -- 9: the original form ------------------------------------------------------------------------------------


@rule("org-what")
def _bytes_of_the_form() -> None:
    raw = f"<message {AT} type='chat'><body>x</body><p:x/></message>"
    root = tree_of(raw.encode(), outer={"p": "urn:p"}, language="en")
    form = form_of(root, said(HIDDEN), 65_536)
    assert form is not None
    assert form.startswith(PREFIX)
    assert canon(form[5:]) == canon(raw.replace("<message", "<message xmlns:p='urn:p' xml:lang='en'"))


@rule("org-when")
def _only_where_it_is_needed() -> None:
    assert form_of(tree(PLAIN), said(PLAIN), 65_536) is None
    assert carried(HIDDEN)[1] == PREFIX + HIDDEN.encode()
    more = "<status>please</status>"
    assert _handshake("", "", "") == ["unsubscribe>"]
    assert _handshake(more, "", "") == [f"subscribe>{more}", "unsubscribe>"]
    assert _handshake("", more, "") == [f"unsubscribed>{more}"]
    assert _handshake("", "", more) == [f"unsubscribe>{more}"]


def _between(by: str, to: str, kind: str, inside: str) -> str:
    return f"from='{by}' to='{to}' type='{kind}'>{inside}</presence>"


def _handshake(asked: str, refused: str, ended: str) -> list[str]:
    """What goes along with operations where Bob asks to watch Alice and one of them ends it again.

    Args:
        asked: what is in the request.
        refused: what is in her refusal; empty where she allows it, and he ends it.
        ended: what is in his end.

    Returns:
        of each form the type and what is in it; each came as it was sent.
    """
    sides = Sides()
    bob, alice = "bob@b.example", "alice@a.example"
    sides.b.says(_between(bob, alice, "subscribe", asked))
    sides.wait(2)
    sides.a.says(_between(alice, bob, "unsubscribed" if refused else "subscribed", refused))
    sides.wait(2)
    if not refused:
        sides.b.says(_between(bob, alice, "unsubscribe", ended))
    sides.wait(3)
    sent = [one.value(FieldType.ORIGINAL_FORM) for side in (sides.b, sides.a) for one in side.records]
    forms = [one.removeprefix(PREFIX).decode() for one in sent if one]
    came = [canon(one) for one in (*sides.a.raw, *sides.b.raw)]
    assert all(canon(form) in came for form in forms)
    return [form.partition(" type='")[2].replace("'>", ">").removesuffix("</presence>") for form in forms]


@rule("org-size")
def _room_for_the_form() -> None:
    message, form = carried(HIDDEN)
    assert form_of(tree(HIDDEN), message, len(form)) == form
    assert form_of(tree(HIDDEN), message, len(form) - 1) is None
    large = HIDDEN.replace(">y<", f">{'y' * (MAX_FORM_BYTES - len(form) + 1)}<")
    assert len(carried(large)[1]) == MAX_FORM_BYTES
    assert form_of(tree(large.replace(">y", ">yy")), message, 1 << 20) is None
    assert judged(form + b" " * MAX_FORM_BYTES, message) is Misfit.SIZE
    assert ORIGINAL_FORM in with_form(message, tree(HIDDEN), 65_536).attributes
    assert ORIGINAL_FORM not in with_form(message, tree(HIDDEN), 2_048).attributes


@rule("org-off")
def _switched_off() -> None:
    operate = planned(HIDDEN, forms=False)
    assert isinstance(operate, Operate)
    assert ORIGINAL_FORM not in operate.operation.attributes


@rule("org-protocol")
def _other_protocols() -> None:
    message, form = carried(HIDDEN)
    assert judged(form, message) == HIDDEN.encode()
    assert judged(form, message, Protocol.SIP) is Misfit.PROTOCOL
    assert judged(form, message, Protocol.IMX) is Misfit.PROTOCOL
    assert judged(b"sip\0" + form[5:], message) is Misfit.PROTOCOL


@rule("org-parse")
def _read_as_a_stanza() -> None:
    message, form = carried(HIDDEN)
    for bad in (
        b"", b"x", form[5:-1], form[5:] * 2, b" " + form[5:],
        form[5:].replace(b"<body>", b"<!-- c --><body>"),
        b"<!DOCTYPE message>" + form[5:], form[5:].replace(b"<body>", b"<?x y?><body>"),
        form[5:].replace(b"<x ", b"<x>" * 80 + b"<x ") + b"</x>" * 80, b"</w><w>",
    ):  # fmt: skip
        assert judged(PREFIX + bad, message) is Misfit.PARSE, bad
    presence = form.replace(b"<message", b"<presence").replace(b"</message", b"</presence")
    assert judged(presence, message) is Misfit.KIND
    assert judged(form.replace(b"<message", b"<message xmlns='urn:x'"), message) is Misfit.KIND


@rule("org-envelope")
def _envelope_wins() -> None:
    message, form = carried(HIDDEN)
    for old, new in ((b"alice@", b"eve@"), (b"bob@", b"eve@"), (b"a.example/r1", b"e.example/r1")):
        assert judged(form.replace(old, new), message) is Misfit.ENVELOPE
    shouted = form.replace(b"bob@b.example'", b"BOB@b.example'")
    sent = judged(shouted, message)
    assert isinstance(sent, bytes)
    assert canon(sent) == canon(HIDDEN)
    # a name in the value of another attribute is none
    hidden = HIDDEN.replace("id='i1'", "id=' to=\"BOB@b.example\" '").replace("'bob@", "'BOB@")
    hidden_message, hidden_form = carried(hidden)
    sent = judged(hidden_form, hidden_message)
    assert isinstance(sent, bytes)
    assert canon(sent) == canon(hidden.replace("'BOB@", "'bob@"))


@rule("org-same")
def _says_the_same() -> None:
    message, form = carried(HIDDEN)
    assert judged(form, message) == HIDDEN.encode()
    for old, new in (
        (b"<body>x<", b"<body>z<"), (b"'chat'", b"'normal'"), (b"'i1'", b"'i2'"), (b"'en'", b"'de'"),
        (b"/r1", b"/r2"),
        (b"<x ", b"<subject>s</subject><x "), (b"<x ", b"<thread>t</thread><x "),
        (b"<x ", b"<request xmlns='urn:xmpp:receipts'/><x "), (b"<body>x</body>", b""),
        (b"<x ", b"<nick xmlns='http://jabber.org/protocol/nick'>Bank</nick><x "),
        (b"<x ", b"<active xmlns='http://jabber.org/protocol/chatstates'/><x "),
    ):  # fmt: skip
        assert judged(form.replace(old, new), message) is Misfit.DIFFERS, new
    attributes = message.attributes
    for changed in (
        replace(message, content=b"z"), replace(message, content_type="text/plain"),
        *(
            replace(message, attributes={key: value for key, value in attributes.items() if key != name})
            for name in attributes
        ),
    ):  # fmt: skip
        assert judged(form, changed) is Misfit.DIFFERS


@rule("org-error")
def _no_error() -> None:
    message, form = carried(HIDDEN)
    assert judged(form.replace(b"'chat'", b"'error'"), message) is Misfit.ERROR


@rule("org-else")
def _own_translation_otherwise() -> None:
    message, form = carried(HIDDEN)
    assert judged(form.replace(b"<body>x", b"<body>pay"), message) is Misfit.DIFFERS
    made = stanza_of(message, TAKES)
    assert isinstance(made, bytes)
    assert canon(made) == canon(PLAIN)


@rule("org-hidden")
def _what_it_is_for() -> None:
    text = HIDDEN.replace("<x xmlns='urn:example:unknown'>", "<x xmlns='urn:xmpp:omemo:2'>")
    message, form = carried(text)
    assert judged(form, message) == text.encode()


@rule("org-private")
def _is_content() -> None:
    """It stands where subjects and bodies stand, and is described by its length alone."""
    message = with_form(said(HIDDEN), tree(HIDDEN), 65_536)
    data = encode_record(operation_to_record(message))
    assert b"urn:example:unknown" in data
    assert "urn:example:unknown" not in str(list(describe_stream(data)))


@rule("org-through")
def _through_a_router() -> None:
    """A record's fields are kept byte by byte; the gateway reads what was sent."""
    message = with_form(said(HIDDEN), tree(HIDDEN), 65_536)
    assert record_to_operation(decode_record(encode_record(operation_to_record(message)))) == message
    sides = Sides()
    hidden = "<x xmlns='urn:example:unknown'/>"
    sides.b.says(_between("bob@b.example", "alice@a.example", "subscribe", hidden))
    sides.wait(2)
    (record,) = sides.b.records
    form = record.value(FieldType.ORIGINAL_FORM)
    assert form is not None
    assert sides.a.raw == [form.removeprefix(PREFIX)]
    between, there = Rig(), replace(record.envelope, to_domain=HERE_DOMAIN, from_domain=PEER)
    between.switch.routes[HERE_DOMAIN].types = ALL_TYPES
    between.feed(between.peer, replace(record, envelope=there))
    (passed,) = between.out(between.service)
    assert passed.value(FieldType.ORIGINAL_FORM) == form
