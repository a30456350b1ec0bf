"""Section 3 of the mapping: messages."""

from __future__ import annotations

from dataclasses import replace

from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.gateways.xmpp.translate.messages import MAX_ATTRIBUTES_BYTES, NoMessage, Takes, message_of
from imxrouter.gateways.xmpp.translate.original import form_of, judge
from imxrouter.gateways.xmpp.translate.saying import stanza_of
from imxrouter.gateways.xmpp.translate.words import SEALS
from imxrouter.model.operations import Message
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.routing.choice import Protocol
from tests.gateways.xmpp.canon import canon
from tests.gateways.xmpp.checks import rule, section
from tests.gateways.xmpp.checks.stanzas import (
    NEW_ID,
    NOTES,
    NOW,
    TAKES,
    said,
    shown,
    translated,
    tree,
    with_fields,
)
from tests.gateways.xmpp.mapping import Row, framed, frames

FRAME = "<message from='alice@a.example/r1' to='bob@b.example' id='i1' type='chat' xml:lang='en'>{}</message>"


@section("3")
def messages(row: Row) -> None:
    """Stanza and message, by the row's direction; what comes back, by its kept."""
    text, fields = framed(row, "message"), row.fields
    if "->" in row.direction:
        message = said(text)
        found = shown(message)
        assert {name: found.get(name) for name in fields} == fields
        back = stanza_of(message, TAKES)
        assert isinstance(back, bytes), back
        assert (canon(back) == canon(text)) is (row.kept == "all"), back
        if row.kept == "original":
            form = form_of(tree(text), message, 65_536)
            assert form is not None
            sent = judge(form, message, Protocol.XMPP, NOW, lambda _domain: False)
            assert isinstance(sent, bytes), sent
            assert canon(sent) == canon(text)
        if row.kept == "meaning":
            again = shown(said(back.decode()))
            assert {name: again.get(name) for name in fields} == fields
    if row.direction == "<-":
        bare = said(f"{frames()['message']}<body>x</body></message>")
        made = stanza_of(with_fields(bare, fields), TAKES)
        assert isinstance(made, bytes), made
        assert canon(made) == canon(text)


def refusal(text: str, takes: Takes = TAKES) -> Reason:
    """Why a stanza is no message."""
    refused = message_of(tree(text), NEW_ID, NOW, takes)
    assert isinstance(refused, Refusal), refused
    return refused.reason


def unsayable(message: Message, takes: Takes = TAKES) -> Reason:
    """Why a message is no stanza."""
    refused = stanza_of(message, takes)
    assert isinstance(refused, Refusal), refused
    return refused.reason


def inside(text: str) -> str:
    """A message stanza with these children."""
    return FRAME.format(text)


@rule("msg-from-long")
def _long_resource() -> None:
    assert "instance" not in said(inside("<body/>").replace("r1", "r" * 256)).attributes
    assert said(inside("<body/>").replace("r1", "r" * 255)).attributes["instance"] == b"r" * 255


@rule("msg-id-long")
def _long_id() -> None:
    text = inside("<body>x</body><request xmlns='urn:xmpp:receipts'/>")
    attributes = said(text.replace("'i1'", f"'{'i' * 256}'")).attributes
    assert "origin-id" not in attributes
    assert "receipt-requested" not in attributes
    assert said(text.replace("'i1'", f"'{'i' * 255}'")).attributes["origin-id"] == b"i" * 255


@rule("msg-groupchat", "msg-omemo-bare", "msg-nothing")
def _foreign() -> None:
    assert translated(inside("<body>x</body>").replace("'chat'", "'groupchat'")) is NoMessage.FOREIGN
    for children in ("", "<encrypted xmlns='urn:xmpp:omemo:2'/>", "<x xmlns='urn:example:unknown'/>"):
        assert translated(inside(children)) is NoMessage.FOREIGN
    for seal in SEALS:
        for note in NOTES:
            assert translated(inside(f"<encrypted xmlns='{seal}'/>{note}")) is NoMessage.FOREIGN
            assert translated(inside(f"{note}<encrypted xmlns='{seal}'/>")) is NoMessage.FOREIGN


@rule("msg-error")
def _error() -> None:
    assert translated(inside("<body>x</body>").replace("'chat'", "'error'")) is NoMessage.ERROR


@rule("msg-body-control")
def _control() -> None:
    bare = said(inside("<body>x</body>"))
    for char in ("\0", "\x08", "\x1f", "\ufffe"):
        assert unsayable(replace(bare, content=f"a{char}b".encode())) is Reason.BAD_BODY
    assert unsayable(replace(bare, content=b"\xff")) is Reason.BAD_BODY


@rule("msg-charset")
def _other_charsets() -> None:
    bare = said(inside("<body>x</body>"))
    for kind in (
        "text/plain; charset=iso-8859-1",
        'text/plain; charset="ISO-8859-1"',
        "text/html-lite; charset=koi8-r",
    ):
        assert unsayable(replace(bare, content_type=kind, content=b"caf\xe9")) is Reason.BAD_BODY
    for kind in ("text/plain", "text/plain; charset=US-ASCII", 'Text/Plain; format=flowed; charset="utf-8"'):
        made = stanza_of(replace(bare, content_type=kind), TAKES)
        assert made == stanza_of(bare, TAKES)


@rule("msg-lang-stream")
def _language_of_the_stream() -> None:
    text = inside("<body>x</body>").replace(" xml:lang='en'", "")
    message = message_of(tree(text, "de"), NEW_ID, NOW, TAKES)
    assert isinstance(message, Message)
    assert message.attributes["language"] == b"de"
    back = stanza_of(message, TAKES)
    assert isinstance(back, bytes)
    assert tree_of(back).attributes["http://www.w3.org/XML/1998/namespace lang"] == "de"


@rule("msg-langs-same", "msg-mixed")
def _bad_texts() -> None:
    for children in (
        "<body>a</body><body>b</body>", "<body>a</body><body xml:lang='EN'>b</body>", "<body>a<b/></body>",
        "<body>a</body><subject>s</subject><subject>t</subject>",
    ):  # fmt: skip
        assert refusal(inside(children)) is Reason.BAD_RECORD


def _formatted(xhtml: str) -> str:
    return (
        "<html xmlns='http://jabber.org/protocol/xhtml-im'>"
        f"<body xmlns='http://www.w3.org/1999/xhtml'>{xhtml}</body></html>"
    )


@rule("msg-html-lies")
def _formatted_lies() -> None:
    message = said(inside("<body>pay nobody</body>" + _formatted("<p>pay mallory</p>")))
    assert (message.content_type, message.content) == ("text/plain; charset=utf-8", b"pay nobody")


@rule("msg-html-map")
def _formatted_both_ways() -> None:
    bare = said(inside("<body>x</body>"))
    document = b"a<i>b</i><u>c</u><s>d</s>&nbsp;e<p>f</p>g<br>h"
    made = stanza_of(replace(bare, content_type="text/html-lite", content=document), TAKES)
    assert isinstance(made, bytes)
    wanted = (
        "<p>a<em>b</em><span style='text-decoration: underline'>c</span>"
        "<span style='text-decoration: line-through'>d</span>\u00a0e</p><p>f</p><p>g<br/>h</p>"
    )
    plain = "<body>abcd e\n\nf\n\ng\nh</body>"
    assert canon(made) == canon(inside(plain + _formatted(wanted)))
    again = said(made.decode())
    assert again.content.decode() == "<p>a<em>b</em><u>c</u><s>d</s>&nbsp;e</p><p>f</p><p>g<br>h</p>"
    styled = "<p style='font-weight: bold'>a<span style='font-style:italic'>b</span></p>"
    again = said(inside("<body>ab</body>" + _formatted(styled)))
    assert again.content.decode() == "<p><b>a<i>b</i></b></p>"


@rule("msg-html-drop")
def _formatted_with_more() -> None:
    xhtml = (
        "<h1 class='x'>T</h1><p style='color: red' id='i'>a<img src='http://x.example/' alt='b'/>"
        "<font size='7'>c</font></p>"
    )
    message = said(inside("<body>T\n\nabc</body>" + _formatted(xhtml)))
    assert message.content.decode() == "<p><strong>T</strong></p><p>abc</p>"


@rule("msg-cpim-binary")
def _binary() -> None:
    bare = said(inside("<body>x</body>"))
    for content in (b"\xff\xfe", b"a\0b"):
        assert unsayable(replace(bare, content_type="message/cpim", content=content)) is Reason.BAD_BODY
        assert unsayable(replace(bare, content_type="image/png", content=content)) is Reason.BAD_BODY


@rule("msg-e2e-plain")
def _e2e_without_a_header() -> None:
    e2e = "<e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'>{}</e2e>"
    assert said(inside("<body>b</body>" + e2e.format("Content-Type: a/b\n\nx"))).content == b"b"
    assert said(inside("<body>b</body>" + e2e.format("no header"))).content == b"b"
    assert translated(inside(e2e.format("no header"))) is NoMessage.FOREIGN
    assert translated(inside(e2e.format("Content-Type: a/b\nContent-ID: 1\n\nx"))) is NoMessage.FOREIGN
    assert said(inside(e2e.format("Content-Type: a/b\n\nx"))).content_type == "a/b"


@rule("msg-receipt-of-receipt")
def _receipt_of_a_receipt() -> None:
    request = "<request xmlns='urn:xmpp:receipts'/>"
    for note in (
        "<received xmlns='urn:xmpp:receipts' id='i0'/>",
        "<displayed xmlns='urn:xmpp:chat-markers:0' id='i0'/>",
    ):
        message = said(inside(note + request))
        assert "receipt-requested" not in message.attributes
        asked = replace(message, attributes={**message.attributes, "receipt-requested": b""})
        made = stanza_of(asked, TAKES)
        assert isinstance(made, bytes)
        assert b"request" not in made


@rule("msg-delay-forged", "msg-delay-future")
def _delays_that_lie() -> None:
    for by, stamp in (
        ("b.example", "2026-01-02T03:04:05Z"), ("bob@b.example", "2026-01-02T03:04:05Z"),
        ("a.example", "2026-01-03T00:01:01Z"), ("a.example", "yesterday"),
    ):  # fmt: skip
        message = said(inside(f"<body>x</body><delay xmlns='urn:xmpp:delay' from='{by}' stamp='{stamp}'/>"))
        assert "sent-at" not in message.attributes


@rule("msg-carbon")
def _carbons() -> None:
    forwarded = (
        "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='eve@e.example'>"
        "<body>forged</body></message></forwarded>"
    )
    for name, namespace in (
        ("sent", "urn:xmpp:carbons:2"), ("received", "urn:xmpp:carbons:2"), ("result", "urn:xmpp:mam:2"),
    ):  # fmt: skip
        wrapped = f"<{name} xmlns='{namespace}' id='1'>{forwarded}</{name}>"
        assert translated(inside(wrapped)) is NoMessage.FOREIGN
        assert said(inside("<body>x</body>" + wrapped)).content == b"x"


@rule("msg-size")
def _size() -> None:
    text = inside("<body>12345</body>")
    assert refusal(text, Takes(max_bytes=4)) is Reason.TOO_LARGE
    assert isinstance(message_of(tree(text), NEW_ID, NOW, Takes(max_bytes=5)), Message)


@rule("msg-attributes-size")
def _size_of_attributes() -> None:
    text = inside(f"<body/><subject>{'s' * MAX_ATTRIBUTES_BYTES}</subject>")
    assert refusal(text) is Reason.TOO_LARGE


@rule("msg-stanza-size")
def _size_of_a_stanza() -> None:
    message = said(inside("<body>x</body>"))
    made = stanza_of(message, TAKES)
    assert isinstance(made, bytes)
    assert unsayable(message, Takes(stanza_bytes=len(made) - 1)) is Reason.TOO_LARGE
    assert stanza_of(message, Takes(stanza_bytes=len(made))) == made


@rule("msg-hops")
def _hops() -> None:
    assert said(inside("<body>x</body>")).hops_left == 110
