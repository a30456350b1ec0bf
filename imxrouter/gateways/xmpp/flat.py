"""Usual messages, read from their bytes by one expression each: most of what people write is so.

A body, and beside it nothing but a thread, a chat state, a wish for a receipt, ids and marks. Whatever is
not exactly so is no usual message and takes the general way. Both give the same where both are taken: a
property holds them together.
"""

from __future__ import annotations

import re
from itertools import permutations
from typing import Final, NamedTuple

from imxrouter.gateways.xmpp.heard import XmlLimits
from imxrouter.gateways.xmpp.stanza import LANGUAGE, Stanza

#: Types that a usual message has; the others mean something else, or nothing.
TYPES: Final = frozenset({"", "chat", "normal", "headline"})
#: Elements that may stand behind the body, for a message to be read without an XML parser.
MOST_BESIDE: Final = 8
_ATTRIBUTES: Final = frozenset({"from", "to", "id", "type", LANGUAGE})
#: `xml:lang` as it stands in a tag and need not be escaped.
_TAG: Final = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*\Z")

# Characters below are those that XML neither forbids nor changes when it reads them. No expression goes back
# (`*+`): it is nine times as fast so, and linear.
_VALUE: Final = rb"(?:'[^'<>&\x00-\x1f]*+'|\"[^\"<>&\x00-\x1f]*+\")"
_TEXT: Final = rb"[^<>&\x00-\x08\x0b-\x1f]"
_REFERENCE: Final = rb"&(?:amp|lt|gt|apos|quot);"
_HEAD: Final = rb"<message(?:[ ](?:from|to|id|type|xml:lang)=%s)++>" % _VALUE


def _empty(name: bytes, namespace: bytes, *attributes: bytes) -> bytes:
    """An expression for an empty element, its attributes in any order."""
    said = [
        rb"xmlns=(?:'%s'|\"%s\")" % (namespace, namespace),
        *(rb"%s=%s" % (one, _VALUE) for one in attributes),
    ]
    orders = (b"".join(b"[ ]" + one for one in order) for order in permutations(said))
    return rb"<%s(?:%s)[ ]?/>" % (name, b"|".join(orders))


_STATES: Final = _empty(
    b"(?:active|composing|paused|inactive|gone)", rb"http://jabber\.org/protocol/chatstates"
)
_REQUEST: Final = _empty(b"request", b"urn:xmpp:receipts")
#: What XMPP means by these is not in the model, so they go on in the original form.
_MORE: Final = b"|".join(
    (
        _empty(b"origin-id", b"urn:xmpp:sid:0", b"id"), _empty(b"stanza-id", b"urn:xmpp:sid:0", b"id", b"by"),
        _empty(b"markable", b"urn:xmpp:chat-markers:0"), _empty(b"store", b"urn:xmpp:hints"),
    )
)  # fmt: skip
_BODY: Final = rb"<body>(%s*+(?:%s%s*+)*+)</body>" % (_TEXT, _REFERENCE, _TEXT)
_THREAD: Final = rb"<thread>(%s++)</thread>" % _TEXT

_WHOLE: Final = re.compile(
    rb"(<message(?:[ ](?:from|to|id|type|xml:lang)=%s)++>)%s(?:%s|%s|%s|%s){0,%d}</message>"
    % (_VALUE, _BODY, _THREAD, _REQUEST, _STATES, _MORE, MOST_BESIDE)
)
_ATTRIBUTE: Final = re.compile(r" ([a-z:]+)=(?:'([^']*+)'|\"([^\"]*+)\")")
#: Where no other quotes stand in the tag.
_SINGLE: Final = re.compile(r" ([a-z:]+)='([^']*+)'")
#: Code points that are none of XML's (section 2.2) and that UTF-8 can say; so it can no halves of surrogates.
_NO_CHARACTERS: Final = (b"\xef\xbf\xbe", b"\xef\xbf\xbf")
_PLAIN: Final = re.compile(rb"%s%s</message>\Z" % (_HEAD, _BODY))
_START: Final = re.compile(_HEAD)
_CHILD: Final = re.compile(rb"%s|%s|(%s)|(%s)|(%s)" % (_BODY, _THREAD, _REQUEST, _STATES, _MORE))
_END: Final = b"</message>"
_WORD: Final = re.compile(rb"[a-z]+")
#: The groups of `_CHILD`; those of the first four stand in a stanza of ours in this order (`saying.py`).
_BODY_AT, _THREAD_AT, _REQUEST_AT, _STATE_AT, _MORE_AT = range(1, 6)
_REFERENCES: Final = (
    (b"&lt;", b"<"),
    (b"&gt;", b">"),
    (b"&apos;", b"'"),
    (b"&quot;", b'"'),
    (b"&amp;", b"&"),
)


def most_bytes(limits: XmlLimits) -> int:
    """Bytes that a message may have which is read without an XML parser.

    Args:
        limits: of the stream.

    Returns:
        0 where a usual message could be over one of them.
    """
    room = limits.depth > 1 and limits.elements > MOST_BESIDE + 1 and limits.attributes > 4
    room = room and limits.namespaces >= 8 and limits.new_names >= 32
    return min(limits.stanza_bytes, limits.tag_bytes) if room else 0


def read_whole(data: bytes, at: int, most_bytes: int) -> tuple[bytes, dict[str, str]] | None:
    """Read a usual message from the bytes of a stream, as an XML parser would.

    Args:
        data: of the stream.
        at: where in them a stanza begins.
        most_bytes: that it may have.

    Returns:
        its bytes and attributes; None where no whole usual message stands there, whatever else does.
    """
    found = _WHOLE.match(data, at)
    if found is None or found.end() - at > most_bytes:
        return None
    raw = found[0]
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            return None
        if any(one in raw for one in _NO_CHARACTERS):
            return None
    tag = found[1].decode()
    if '"' not in tag:
        named = _SINGLE.findall(tag)
        said = dict(named)
    else:
        named = _ATTRIBUTE.findall(tag)
        said = {name: one or other for name, one, other in named}
    if len(said) < len(named):
        return None
    language = said.pop("xml:lang", None)
    if language is not None:
        said[LANGUAGE] = language
    return raw, said


class Flat(NamedTuple):
    """What a usual message says, as bytes of UTF-8.

    Attributes:
        text: of its body.
        ident: its id, 1 to 255 bytes.
        type: its type, one of `TYPES`.
        language: what holds in it; empty for none.
        thread: 1 to 255 bytes; empty for none.
        state: its chat state; empty for none.
        request: a receipt is asked for.
        form: its bytes as they mean the same in any stream of servers, where it says more than this, or in
            another order than the gateway would; else empty, unless its addresses are spelled otherwise.
        raw: those bytes in any case.
    """

    text: bytes
    ident: bytes
    type: str
    language: bytes
    thread: bytes
    state: bytes
    request: bool
    form: bytes
    raw: bytes


def read_flat(stanza: Stanza) -> Flat | None:
    """Read a usual message; None of everything else.

    Args:
        stanza: as the parser of a stream gave it.
    """
    raw, said = stanza.raw, stanza.attributes
    if stanza.outer or not _ATTRIBUTES.issuperset(said):
        return None
    ident, type_ = said.get("id", "").encode(), said.get("type", "")
    if not 0 < len(ident) <= 255 or type_ not in TYPES:
        return None
    language = said.get(LANGUAGE)
    if language is None and stanza.language:
        language = stanza.language
        whole = b'<message xml:lang="%s"%s' % (language.encode(), raw[len("<message") :])
    else:
        whole = raw
    if language is not None and not _TAG.match(language):
        return None
    found = _PLAIN.match(raw)
    if found is not None:
        text, thread, state, request, same = found[1], b"", b"", False, True
    else:
        children = _children(raw)
        if children is None:
            return None
        text, thread, state, request, same = children
    if b"&" in text:
        for reference, character in _REFERENCES:
            text = text.replace(reference, character)
    # `normal` is said by no type, and an empty type is none.
    same = same and (type_ in _SAID or "type" not in said)
    return Flat(
        text, ident, type_, (language or "").encode(), thread, state, request, b"" if same else whole, whole
    )


_SAID: Final = frozenset({"chat", "headline"})


def _children(raw: bytes) -> tuple[bytes, bytes, bytes, bool, bool] | None:
    """Text, thread, chat state, whether a receipt is asked for, and whether a stanza of ours would be so."""
    start = _START.match(raw)
    if start is None:
        return None
    at, end = start.end(), len(raw) - len(_END)
    groups: list[int] = []
    text = thread = state = b""
    while at < end:
        child = _CHILD.match(raw, at, end)
        if child is None or child.lastindex is None:
            return None
        group = child.lastindex
        if group in groups and group != _MORE_AT:
            return None  # which of two counts is not decided here
        groups.append(group)
        if group == _BODY_AT:
            text = child[group]
        elif group == _THREAD_AT:
            thread = child[group]
        elif group == _STATE_AT:
            word = _WORD.match(raw, at + 1)
            state = word[0] if word is not None else b""
        at = child.end()
    if at != end or not raw.endswith(_END) or _BODY_AT not in groups or len(thread) > 255:
        return None
    same = _MORE_AT not in groups and groups == sorted(groups)
    return text, thread, state, _REQUEST_AT in groups, same
