"""Formatted text both ways: what is kept, what is left out, and that nothing in it becomes something else."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from imxrouter.formats.html_lite import sanitise
from imxrouter.formats.xmltree import parse
from imxrouter.gateways.xmpp.build import Unsayable
from imxrouter.gateways.xmpp.translate.html import body_of, html_of

XHTML = "http://www.w3.org/1999/xhtml"
BODY = f"<body xmlns='{XHTML}'>{{}}</body>"


def read(xhtml: str, body: str, *, more: str = "", language: str = "") -> str:
    """What becomes of the body of a formatted message."""
    lang = f" xml:lang='{language}'" if language else ""
    inside = f"<html xmlns='http://jabber.org/protocol/xhtml-im'>{more}{BODY.format(xhtml)}</html>"
    return html_of(parse(f"<message xmlns='jabber:server'{lang}>{inside}</message>".encode()), body)


def written(document: str) -> tuple[str, str]:
    """The plain text, and what is inside of the formatted body."""
    text, xml = body_of(document)
    if xml.endswith('<body xmlns="http://www.w3.org/1999/xhtml"/></html>'):
        return text, ""
    inside = re.fullmatch(f'<html xmlns="[^"]*"><body xmlns="{XHTML}">(.*)</body></html>', xml, re.DOTALL)
    assert inside is not None, xml
    return text, inside[1]


@pytest.mark.parametrize(
    ("xhtml", "body", "document"),
    [
        # links: to where they plainly lead, or none
        ("<a href='http://x.example/?a=1&amp;b=2'>here</a>", "here <http://x.example/?a=1&b=2>",
         '<a href="http://x.example/?a=1&amp;b=2">here</a>'),
        ("<a href='xmpp:bob@b.example'>Bob</a>", "Bob <xmpp:bob@b.example>",
         '<a href="xmpp:bob@b.example">Bob</a>'),
        ("<a href='http://x.example'>http://x.example</a>", "http://x.example",
         '<a href="http://x.example">http://x.example</a>'),
        ("<a href='javascript:alert(1)'>here</a>", "here", "here"),
        ("<a href='data:text/html,x'>here</a>", "here", "here"),
        ("<a href='http://x.example/&quot;onclick=&quot;y'>a</a>", 'a <http://x.example/"onclick="y>',
         '<a href="http://x.example/&quot;onclick=&quot;y">a</a>'),
        ("<a name='n'>a</a>", "a", "a"),
        ("<p href='http://x.example'>a</p>", "a", "<p>a</p>"),
        # a link that the plain text does not show would lead programs of two kinds to two places
        ("<a href='http://evil.example'>http://bank.example</a>", "http://bank.example", ""),
        # styles: those that there are elements for, each once, and not around blocks
        ("<span style='Font-Weight : BOLD; text-decoration:line-through underline'>a</span>", "a",
         "<b><u><s>a</s></u></b>"),
        ("<span style='font-weight:700;color:red'>a</span>", "a", "<b>a</b>"),
        ("<span style='font-weight: bold; font-weight: normal'>a</span>", "a", "a"),
        ("<span style='font-style: normal; text-decoration: none'>a</span>", "a", "a"),
        ("<span style='x-font-weight: bold; content: bold'>a</span>", "a", "a"),
        ("<em style='font-weight: bold'>a</em>", "a", "<em><b>a</b></em>"),
        ("<a href='http://x.example' style='font-style:oblique'>http://x.example</a>", "http://x.example",
         '<a href="http://x.example"><i>http://x.example</i></a>'),
        ("<blockquote style='font-weight: bold'><p>a</p></blockquote>", "> a",
         "<blockquote><p>a</p></blockquote>"),
        ("<span style=':;;:bold;font-weight'>a</span>", "a", "a"),
        # what has no place
        ("a<img src='http://x.example/i' alt='pic'/>b", "apicb", "apicb"),
        ("a<img src='http://x.example/i' alt='&lt;b&gt;'/>", "a<b>", "a&lt;b&gt;"),
        ("a<img src='http://x.example/i'/>b", "ab", "ab"),
        ("a<script>b</script><style>c</style>", "a", "a"),
        ("<span style='color: red'>a</span>", "a", "a"),
        ("<span>a</span>", "a", "a"),
        ("<p style='text-decoration: underline'>a</p>", "a", "<p><u>a</u></p>"),
        ("<ul><li style='text-decoration: underline'>a</li></ul>", " - a", "<ul><li>a</li></ul>"),
        ("<em onclick='x()'>a</em>", "a", "<em>a</em>"),
        # what has
        ("<span style='font-size: 9px; text-decoration : line-through'>a</span>", "a", "<s>a</s>"),
        ("<ol><li>a</li><li>b<ul><li>c</li></ul></li></ol>", "1. a\n2. b\n - c",
         "<ol><li>a</li><li>b<ul><li>c</li></ul></li></ol>"),
        ("<blockquote>a</blockquote><pre>b</pre>", "> a b", "<blockquote>a</blockquote>b"),
        ("a &lt;b&gt; &amp;amp; c", "a <b> &amp; c", "a &lt;b&gt; &amp;amp; c"),
        # elements of other namespaces are none of HTML
        ("a<b xmlns='urn:x'>c</b>", "ac", "ac"),
        ("<x:p xmlns:x='http://www.w3.org/1999/xhtml'>a</x:p>", "a", "<p>a</p>"),
        # it says something else, or nothing
        ("<p>b</p>", "a", ""),
        ("<p>a</p>", "", ""),
    ],
)  # fmt: skip
def test_what_is_read(xhtml: str, body: str, document: str) -> None:
    """XEP-0071 sections 6 to 8; text-html-lite sections 2 to 4."""
    assert read(xhtml, body) == document


def test_no_body_is_nothing() -> None:
    """As is a body of another namespace."""
    for inside in ("", "<body>a</body>", f"<p xmlns='{XHTML}'>a</p>"):
        message = f"<message xmlns='jabber:server'><html xmlns='http://jabber.org/protocol/xhtml-im'>{inside}"
        assert html_of(parse(f"{message}</html></message>".encode()), "a") == ""
    assert html_of(parse(b"<message xmlns='jabber:server'><html>a</html></message>"), "a") == ""


def test_the_body_in_the_language_of_the_message() -> None:
    """Of several the one that stands beside the plain text (XEP-0071 section 4), else the first."""
    czech = f"<body xmlns='{XHTML}' xml:lang='cs'><p>Ahoj</p></body>"
    assert read("<p>Hi</p>", "Hi", more=czech, language="en") == "<p>Hi</p>"
    assert read("<p>Hi</p>", "Ahoj", more=czech, language="cs") == "<p>Ahoj</p>"
    assert read("<p>Hi</p>", "Ahoj", more=czech, language="de") == ""
    english = f"<body xmlns='{XHTML}' xml:lang='fr'><p>Hi</p></body>"
    assert read("<p>Hi</p>", "Ahoj", more=czech + english, language="it") == ""


@pytest.mark.parametrize(
    ("document", "text", "xhtml"),
    [
        ('<a href="http://x.example/?a=1&amp;b=%22">here</a>', "here <http://x.example/?a=1&b=%22>",
         '<p><a href="http://x.example/?a=1&amp;b=%22">here</a></p>'),
        ('<p><a href="http://x.example/&quot;&gt;&lt;i">a</a></p>', 'a <http://x.example/"><i>',
         '<p><a href="http://x.example/&quot;&gt;&lt;i">a</a></p>'),
        ('<a href="javascript:x">a</a>', "a", "<p>a</p>"),
        ("a &lt;script&gt; &amp;amp; b", "a <script> &amp; b", "<p>a &lt;script&gt; &amp;amp; b</p>"),
        ("<p>a</p>", "a", "<p>a</p>"),
        ("<p>a</p>tail", "a\n\ntail", "<p>a</p><p>tail</p>"),
        ("<p>a</p> \n<p>b</p>", "a\n\nb", "<p>a</p> \n<p>b</p>"),
        ("<ul><li>a</li></ul>", "- a", "<ul><li>a</li></ul>"),
        ("<blockquote><p>a</p>b</blockquote>", "> a\n\n> b", "<blockquote><p>a</p>b</blockquote>"),
        ("<code>a</code>", "a", "<p><code>a</code></p>"),
        # HTML has blocks inside of what is inline; written as it stands it was no XML
        ("<b><p>a</p></b>", "a", "<p><strong>a</strong></p>"),
        ("x<i>y<ul><li>z</li></ul></i>w", "xy\n\n- z\n\nw",
         "<p>x<em>y</em></p><ul><li><em>z</em></li></ul><p>w</p>"),
        ('<a href="http://x.example/"><p>a</p><p>b</p></a>', "a\n\nb\n\nhttp://x.example/",
         '<p><a href="http://x.example/">a</a></p><p><a href="http://x.example/">b</a></p>'),
        ("<b><br>a</b><b></b>", "\na", "<p><strong><br/>a</strong></p>"),
        # an item of no list
        ("<li>a</li>b<blockquote><li>c</li></blockquote>", "- a\nb\n\n> - c",
         "<p>a</p><p>b</p><blockquote>c</blockquote>"),
        ("<b> </b>", "", " "),
        ('<b></b><a href="http://x.example/"></a>', "http://x.example/", '<p><a href="http://x.example/"></a></p>'),
        ("<b>a</b><i>b</i><strong>c</strong>", "abc",
         "<p><strong>a</strong><em>b</em><strong>c</strong></p>"),
    ],
)  # fmt: skip
def test_what_is_written(document: str, text: str, xhtml: str) -> None:
    """The body holds blocks (XEP-0071 section 6.2)."""
    assert written(document) == (text, xhtml)


@pytest.mark.parametrize("odd", ["\0", "\x0b", "\ufffe"])
def test_characters_that_xml_has_not(odd: str) -> None:
    """The cleaner leaves them out; a reference to one cannot be said either."""
    assert written(f"a{odd}b") == ("ab", "<p>ab</p>")
    with contextlib.suppress(Unsayable):
        assert odd not in "".join(written(f"a&#{ord(odd)};b"))


_PIECES = st.sampled_from(
    ["<p>", "</p>", "<b>", "</b>", "<i>", "</i>", "<u>", "</u>", "<s>", "</s>", "<ul>", "</ul>", "<li>",
     "</li>", "<br>", "<blockquote>", "</blockquote>", '<a href="http://x.example/&quot;&lt;">', "</a>", "a",
     " ", "&lt;", "</ol>", "&nbsp;", "č", "\n", "<em>", "</em>", "&amp;amp;", "]]>", "<ol>", "<code>"]
)  # fmt: skip
_ALLOWED = {"p", "strong", "em", "span", "ul", "ol", "li", "br", "blockquote", "a", "code"}
_KEPT = {"a": {"href"}, "span": {"style"}}


@given(st.lists(_PIECES, max_size=30).map("".join))
def test_what_is_written_is_good(html: str) -> None:
    """XML of the elements that XEP-0071 recommends, blocks at its top, whatever is inside of what."""
    document = sanitise(html)
    text, inside = written(document)
    root = etree.fromstring(BODY.format(inside))
    for one in root.iterdescendants():
        name = etree.QName(one)
        assert name.namespace == XHTML
        assert name.localname in _ALLOWED
        assert set(one.attrib) <= _KEPT.get(name.localname, set())
    assert {etree.QName(one).localname for one in root} <= {"p", "ul", "ol", "blockquote"}
    assert not "".join([root.text or "", *(one.tail or "" for one in root)]).strip("\n ")
    if not re.search("<a |<li>", html):
        shown = "".join(map(str, root.itertext()))
        assert "".join(shown.split()) == "".join(re.sub("(^|\n)[> ]+", "", text).split())


_INLINE = st.lists(
    st.sampled_from(
        ["a", "b c", "<b>d</b>", "<u>e<s>f</s></u>", "&lt;g&gt;", "<br>", '<a href="im:h@i.example">h</a>']
    ),
    min_size=1, max_size=5,
).map(lambda parts: f"x{''.join(parts)}y")  # fmt: skip
_BLOCK = st.one_of(
    _INLINE.map(lambda inside: f"<p>{inside}</p>"),
    _INLINE.map(lambda inside: f"<blockquote>{inside}</blockquote>"),
    st.lists(_INLINE, min_size=1, max_size=3).map(
        lambda items: f"<ol>{''.join(f'<li>{one}</li>' for one in items)}</ol>"
    ),
)


@given(st.lists(_BLOCK, min_size=1, max_size=4).map("".join))
def test_what_people_write_comes_back(html: str) -> None:
    """All of it, `b` and `i` as what XEP-0071 has for them."""
    document = sanitise(html)
    text, inside = written(document)
    assert read(inside, text) == document.replace("<b>", "<strong>").replace("</b>", "</strong>")
