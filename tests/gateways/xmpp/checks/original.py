"""Section 9 of the mapping: the original form, which goes along with a translation."""

from __future__ import annotations

from dataclasses import replace

from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.gateways.xmpp.translate.forms import MAX_FORM_BYTES, PREFIX, Misfit
from imxrouter.gateways.xmpp.translate.original import ORIGINAL_FORM, form_of, with_form
from imxrouter.gateways.xmpp.translate.plan import Operate
from imxrouter.gateways.xmpp.translate.saying import stanza_of
from imxrouter.routing.choice import Protocol
from imxrouter.routing.domains import ALL_TYPES
from imxrouter.transport.operations import operation_to_record, record_to_operation
from imxrouter.wire.describe import describe_stream
from imxrouter.wire.record import decode_record, encode_record
from imxrouter.wire.registry import FieldType
from tests.gateways.xmpp.canon import canon
from tests.gateways.xmpp.checks import rule
from tests.gateways.xmpp.checks.forms import AT, HIDDEN, PLAIN, carried, judged, planned
from tests.gateways.xmpp.checks.stanzas import TAKES, said, tree
from tests.gateways.xmpp.streams.sides import Sides
from tests.switch.rig import HERE as HERE_DOMAIN
from tests.switch.rig import PEER, Rig


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
