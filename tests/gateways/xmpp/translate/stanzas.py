"""Stanzas and messages of every kind, for properties."""

from __future__ import annotations

from html import escape

from hypothesis import strategies as st

from imxrouter.formats.mime import TEXT_PLAIN
from imxrouter.gateways.xmpp.build import is_sayable
from imxrouter.model.address import Address
from imxrouter.model.operations import Message

ALICE, BOB = Address.parse("alice@a.example"), Address.parse("bob@b.example")

TEXTS = st.one_of(
    st.sampled_from(["x", "", "Hi\nthere", "a & <b>", " ", "č", "]]>", "\U0001f600", "0" * 32, "a\tb"]),
    st.text(max_size=12).filter(is_sayable),
)
LANGUAGES = st.sampled_from(["en", "cs", "EN", "de-CH", "not a language!", ""])
JIDS = st.sampled_from(
    ["alice@a.example/r1", "alice@a.example", "a.example", "Alice@A.example/R 1", "o\\27m@a.example",
     "fußball@münchen.example/ž", "alice@@a", "", "alice@a.example/" + "r" * 300, "room@conf.a.example/Nick"]
)  # fmt: skip
IDS = st.sampled_from(["i1", "", "0" * 32, "i" * 300, "' to=\"x\" '", "ž"])
TYPES = st.sampled_from(
    ["chat", "normal", "headline", "groupchat", "error", "shout", "", "get", "set", "result", "subscribe",
     "subscribed", "unsubscribe", "unsubscribed", "unavailable", "probe"]
)  # fmt: skip
_XHTML = "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>{}</body></html>"
_BUSY = (
    "<error type='wait' by='x.example'><reason xmlns='urn:imxrouter:reason:1' retry='9'>busy</reason>"
    "<resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
)
PAYLOADS = st.sampled_from(
    [
        "<request xmlns='urn:xmpp:receipts'/>", "<received xmlns='urn:xmpp:receipts' id='i0'/>",
        "<received xmlns='urn:xmpp:receipts'/>", "<displayed xmlns='urn:xmpp:chat-markers:0' id='i0'/>",
        "<markable xmlns='urn:xmpp:chat-markers:0'/>", "<active xmlns='http://jabber.org/protocol/chatstates'/>",
        "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
        "<gone xmlns='http://jabber.org/protocol/chatstates'/>", "<thread>t1</thread>",
        "<thread parent='t0'>t1</thread>", "<thread/>", "<x xmlns='urn:example:unknown'><y/>z</x>",
        "<origin-id xmlns='urn:xmpp:sid:0' id='o9'/>",
        "<stanza-id xmlns='urn:xmpp:sid:0' id='s' by='b.example'/>",
        "<delay xmlns='urn:xmpp:delay' from='a.example' stamp='2026-01-02T03:04:05Z'/>",
        "<delay xmlns='urn:xmpp:delay' from='b.example' stamp='2026-01-02T03:04:05Z'/>",
        "<nick xmlns='http://jabber.org/protocol/nick'>Al</nick>",
        "<encrypted xmlns='urn:xmpp:omemo:2'>e</encrypted>",
        "<e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'>Content-Type: message/cpim&#13;\n&#13;\nx</e2e>",
        "<e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'>x</e2e>",
        "<fallback xmlns='urn:xmpp:fallback:0' for='urn:ietf:params:xml:ns:xmpp-e2e'><body/></fallback>",
        _XHTML.format("<p>x</p>"),
        _XHTML.format("<p>a<b>b<i>c</i></b></p><ul><li>d</li></ul><script>e</script>"),
        "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
        _BUSY,
        "<p:q xmlns:p='urn:p' p:a='1'/>", "<body>a<b/></body>",
    ]
)  # fmt: skip


def _text_element(name: str) -> st.SearchStrategy[str]:
    def write(text: str, language: str) -> str:
        said = f" xml:lang='{escape(language)}'" if language else ""
        return f"<{name}{said}>{escape(text, quote=False)}</{name}>"

    return st.builds(write, TEXTS, LANGUAGES)


CHILDREN = st.lists(st.one_of(_text_element("body"), _text_element("subject"), PAYLOADS), max_size=5)


def _stanza(
    kind: str, from_: str, to: str, ident: str, type_: str, language: str, children: list[str]
) -> str:
    said = {"from": from_, "to": to, "id": ident, "type": type_, "xml:lang": language}
    written = "".join(f' {name}="{escape(value)}"' for name, value in said.items() if value)
    return f"<{kind}{written}>{''.join(children)}</{kind}>"


#: Of a stream with the default namespace `jabber:server`.
STANZAS = st.builds(
    _stanza,
    st.sampled_from(["message", "message", "presence", "iq"]),
    JIDS,
    JIDS,
    IDS,
    TYPES,
    LANGUAGES,
    CHILDREN,
)
#: Those that people send each other.
TALK = st.builds(
    _stanza,
    st.just("message"),
    st.sampled_from(["alice@a.example/r1", "alice@a.example", "o\\27m@a.example/ž"]),
    st.sampled_from(["bob@b.example/r2", "bob@b.example"]),
    IDS,
    st.sampled_from(["chat", "normal", "headline", ""]),
    st.sampled_from(["en", "cs", ""]),
    st.lists(st.one_of(_text_element("body"), _text_element("subject"), PAYLOADS), max_size=3),
)


def _is_one_line(text: str) -> bool:
    return "\u2028" not in text and "\u2029" not in text


#: Messages that XMPP can say: what comes back is the very message.
_SAID_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12
).filter(is_sayable)
SAYABLE = st.builds(
    lambda content, attributes: Message(
        ALICE, BOB, bytes(range(16)), TEXT_PLAIN, content.encode(),
        attributes={name: value for name, value in attributes.items() if value is not None},
    ),
    _SAID_TEXT,
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from([b"\0", b"\1", b"\2"]),
            "origin-id": _SAID_TEXT.map(str.encode),
        },
        optional={
            "subject": _SAID_TEXT.filter(_is_one_line).map(str.encode),
            "thread": _SAID_TEXT.map(str.encode),
            "language": st.sampled_from([b"en", b"de-CH"]),
            "instance": st.sampled_from([b"r1", "ž".encode()]),
            "to-instance": st.just(b"r2"),
            "receipt-requested": st.just(b""),
            "chat-state": st.sampled_from([b"active", b"paused"]),
            "sent-at": st.just((1_767_323_045_000).to_bytes(8, "big")),
        },
    ),
)  # fmt: skip

_NAMES = ["kind", "origin-id", "subject", "thread", "thread-parent", "language", "instance", "to-instance",
          "receipt-requested", "chat-state", "sent-at", "in-reply-to"]  # fmt: skip
_FAILED = (
    b"<imdn xmlns='urn:ietf:params:xml:ns:imdn'><message-id>i\xc4\x8d'</message-id>"
    b"<datetime>2026-01-02T03:04:05Z</datetime>"
    b"<delivery-notification><status><failed/></status></delivery-notification></imdn>"
)
_CONTENTS = st.one_of(
    st.binary(max_size=20),
    TEXTS.map(str.encode),
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<b>", "</b>", "<ul>", "<li>", "</ul>", "<a href='http://x.example/&quot;'>",
             "</a>", "<br>", "x", "&lt;", "<script>", "<blockquote>", "</blockquote>", "&#0;"]
        ), max_size=10,
    ).map(lambda pieces: "".join(pieces).encode()),
    st.sampled_from(
        [
            _FAILED,
            b"<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>active</state></isComposing>",
            b"From: <im:a@a.example>\r\n\r\nContent-Type: text/plain\r\n\r\n]]>&<",
        ]
    ),
)  # fmt: skip
#: Whatever an operation may hold, of a stranger's router too.
MESSAGES = st.builds(
    lambda type_, content, attributes: Message(
        ALICE, BOB, bytes(range(16)), type_, content, attributes=attributes
    ),
    st.sampled_from(
        [TEXT_PLAIN, "text/html-lite", "text/html-lite; charset=utf-8", "message/cpim", "message/imdn+xml",
         "application/im-iscomposing+xml", "image/png", "text/plain; charset=latin-1", "x/y\r\nA: b", "]]>",
         "\0"]
    ),
    _CONTENTS,
    st.dictionaries(
        st.sampled_from(_NAMES),
        st.one_of(st.binary(max_size=8), TEXTS.map(str.encode), st.sampled_from([b"en", b"gone", b"\0"])),
        max_size=6,
    ),
)  # fmt: skip
