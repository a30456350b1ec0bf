"""text/html-lite: the vectors of its specification, and what no input may bring about."""

from __future__ import annotations

import contextlib
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html as lxml_html

from imxrouter.formats.html_lite import (
    DROPPED,
    ELEMENTS,
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_HREF,
    MAX_TAGS,
    SCHEMES,
    BadHtml,
    HtmlFault,
    from_text,
    sanitise,
    to_text,
)
from tests.formats.presence_strategies import CALM
from tests.vectors.load import load

ROOT = Path(__file__).parents[2]
SPECIFICATION = (ROOT / "docs" / "specs" / "text-html-lite.md").read_text("utf-8")
VECTORS = load("html-lite")
CLEAN: dict[str, dict[str, str]] = {one["name"]: one for one in VECTORS["clean"]}
REFUSED: dict[str, dict[str, Any]] = {one["name"]: one for one in VECTORS["refused"]}

#: Section 3 of the specification, as an expression.
CANONICAL = re.compile(
    r"(?:[^<>&\x00-\x08\x0b-\x1f\x7f-\x9f\xa0]|&(?:amp|lt|gt|nbsp);"
    rf"|<br>|</?(?:{'|'.join(sorted(ELEMENTS - {'a', 'br'}))})>"
    r'|<a href="(?:[^"<>&]|&(?:amp|lt|gt|quot|nbsp);)*">|</a>)*\Z'
)


class Seen(HTMLParser):
    """What another parser finds in a document."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.addresses: list[str] = []
        self.other: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element and its attributes."""
        self.elements.add(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name == "href"]

    def handle_comment(self, data: str) -> None:
        """None may be left."""
        self.other.append(data)

    def handle_decl(self, decl: str) -> None:
        """None may be left."""
        self.other.append(decl)

    def handle_pi(self, data: str) -> None:
        """None may be left."""
        self.other.append(data)

    def unknown_decl(self, data: str) -> None:
        """None may be left."""
        self.other.append(data)


def assert_lite(document: str) -> None:
    """Nothing but what section 2 of the specification has, in the form of section 3."""
    assert CANONICAL.match(document), document
    seen = Seen(document)
    assert seen.elements <= ELEMENTS
    assert seen.attributes <= {("a", "href")}
    assert seen.other == []
    for address in seen.addresses:
        assert address.partition(":")[0].lower() in SCHEMES
        assert len(address) <= MAX_HREF
    assert len(document) <= MAX_CHARACTERS


@pytest.mark.parametrize("name", CLEAN)
def test_cleaning(name: str) -> None:
    """As the vectors say; the result is what the specification allows, and stays."""
    cleaned = sanitise(CLEAN[name]["html"])
    assert cleaned == CLEAN[name]["clean"]
    assert_lite(cleaned)
    assert sanitise(cleaned) == cleaned


@pytest.mark.parametrize("name", REFUSED)
def test_refusing(name: str) -> None:
    """By the name that the vectors have; as text too."""
    piece, times = REFUSED[name]["repeat"]
    for function in (sanitise, to_text):
        with pytest.raises(BadHtml) as caught:
            function(piece * times)
        assert caught.value.fault is HtmlFault(REFUSED[name]["fault"])


@pytest.mark.parametrize("one", VECTORS["from_text"], ids=range(len(VECTORS["from_text"])))
def test_from_text(one: dict[str, str]) -> None:
    """As the vectors say; what is made needs no cleaning."""
    assert from_text(one["text"]) == one["html"]
    assert sanitise(one["html"]) == one["html"]


@pytest.mark.parametrize("one", VECTORS["to_text"], ids=range(len(VECTORS["to_text"])))
def test_to_text(one: dict[str, str]) -> None:
    """As the vectors say."""
    assert to_text(one["html"]) == one["text"]


# Whatever strangers send

NAMES = [
    *sorted(ELEMENTS | DROPPED),
    "table", "tr", "td", "caption", "select", "option", "button", "form", "div", "dd", "textarea", "xmp",
    "plaintext", "marquee", "applet", "body", "html", "head", "frameset", "img", "input", "mi",
    "foreignObject", "annotation-xml", "desc",
    "pre", "listing", "font", "nobr", "h1", "ruby", "rt", "SCRIPT", "x-y", "base",
    "link", "meta", "object",
]  # fmt: skip
VALUES = [
    "", "x", "javascript:alert(1)", "JaVaScRiPt:1", " javascript:1", "java\nscript:1", "&#106;avascript:1",
    "data:,x", "https://a.example/", "//evil.example", "/x", "mailto:a@a.example", "<b>", "http:evil", "im:",
    "https://a.example/\"onclick='x", "tel:+1", "vbscript:x", "&quot;><script>", "https://a.example/<!--",
]  # fmt: skip
OTHER = [
    "x", " ", "\n", "&lt;", "&lt;script&gt;", "<!--", "-->", "--!>", "<![CDATA[", "]]>", "&", "<", ">", "'",
    '"', "\x00", "\r", "&#0;", "&#13;", "\xa0", "<?", "?>", "<!", "\ud800", "\u202e",
]  # fmt: skip
ATTRIBUTES = st.tuples(
    st.sampled_from(["href", "HREF", "onclick", "style", "src", "title", "xlink:href", "/", "id", "srcdoc"]),
    st.sampled_from(VALUES),
    st.sampled_from(["'", '"', ""]),
).map(lambda made: f" {made[0]}={made[2]}{made[1]}{made[2]}")
TAGS = st.tuples(
    st.sampled_from(["<", "</", "< "]), st.sampled_from(NAMES), st.lists(ATTRIBUTES, max_size=2)
).map(lambda made: f"{made[0]}{made[1]}{''.join(made[2])}>")
PIECES = st.one_of(TAGS, st.sampled_from(OTHER), st.text(max_size=5))
LETTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\xa0\ufffe\uffff")
DOCUMENTS = st.lists(PIECES, max_size=25).map("".join)


@given(DOCUMENTS)
@settings(CALM, max_examples=1500)
def test_nothing_but_what_is_allowed_is_left(document: str) -> None:
    """Whatever stands in it; once is enough; a browser's parser sees no more than we do."""
    with contextlib.suppress(BadHtml):
        cleaned = sanitise(document)
        assert_lite(cleaned)
        assert sanitise(cleaned) == cleaned
        if cleaned.strip():
            tree = lxml_html.fragment_fromstring(cleaned, create_parent="div")
            assert {one.tag for one in tree.iterdescendants()} <= ELEMENTS


@given(DOCUMENTS)
@settings(CALM, max_examples=300)
def test_text_of_any_document_has_no_markup_left(document: str) -> None:
    """It is bounded, has no control characters, and what looks like a tag in it was text or an address."""
    with contextlib.suppress(BadHtml):
        text = to_text(document)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
        assert to_text(from_text(text)) == text.replace("\xa0", " ")


@given(st.text(LETTERS | st.just("\n")))
@settings(CALM, max_examples=300)
def test_a_text_comes_back(text: str) -> None:
    """Line by line, blank by blank; and by any other parser of HTML."""
    document = from_text(text)
    assert_lite(document)
    assert sanitise(document) == document
    assert to_text(document) == text


@pytest.mark.parametrize(
    "document",
    [
        "<p>" + "".join(f"<b a{at}>" for at in range(198)) + "<p>x" * 198,
        "<ul>" + "".join(f"<i a{at}>" for at in range(198)) + "<li>x" * 198,
        "".join(f"<b a{at}><p>" for at in range(133)) + "</b>" * 133,
        "<a " + " ".join(f"a{at}" for at in range(5_000)) + ">",
        "<b" * 399 + ">" * 30_000,
        "<br>" * 8_000,
        "&amp" * 8_000,
        "<blockquote>" * 400,
        "<table>" * 400,
        "<!--" * 400 + "-" * 30_000,
        "<a href='https://a.example/" + "x" * 32_000 + "'>y</a>",
        "<p>" * 190 + " \t" * 15_000,
    ],
    ids=range(12),
)
def test_no_document_takes_long(document: str) -> None:
    """Those within the bounds that cost most; a second is far more than even a busy machine needs."""
    begun = time.process_time()
    with contextlib.suppress(BadHtml):
        to_text(document)
    assert time.process_time() - begun < 1


def test_bounds_are_exact() -> None:
    """At each of them taken, one above refused."""
    for good, bad, fault in (
        ("x" * MAX_CHARACTERS, "x" * (MAX_CHARACTERS + 1), HtmlFault.SIZE),
        ("<b></b>" * (MAX_TAGS // 2), "<b></b>" * (MAX_TAGS // 2) + "<", HtmlFault.TAGS),
        ("<br>" * 2 * MAX_TAGS, "<br >" * 2 * MAX_TAGS, HtmlFault.TAGS),
        ("<b>" * MAX_DEPTH + "</b>" * MAX_DEPTH, "<i>" * MAX_DEPTH + "<b>x", HtmlFault.DEPTH),
    ):
        assert sanitise(sanitise(good)) == sanitise(good)
        with pytest.raises(BadHtml) as caught:
            sanitise(bad)
        assert caught.value.fault is fault
    link = "https://a.example/".ljust(MAX_HREF, "x")
    assert link in sanitise(f"<a href='{link}'>y</a>")
    assert sanitise(f"<a href='{link}x'>y</a>") == "y"
    with pytest.raises(BadHtml):
        from_text("<" * MAX_CHARACTERS)


# The specification says what the code does


def section(number: str) -> str:
    """The text of one section."""
    found = re.search(rf"^#+ {re.escape(number)}\.? .*?(?=^#+ |\Z)", SPECIFICATION, re.MULTILINE | re.DOTALL)
    assert found is not None, number
    return found[0]


def test_the_specification_lists_what_is_allowed() -> None:
    """Elements, schemes, dropped elements and bounds are those of the code."""
    assert set(re.findall(r"^\| `([a-z]+)` \|", section("2"), re.MULTILINE)) == ELEMENTS
    assert set(re.findall(r"`([a-z]+)`", section("2.1").split("\n\n")[2])) == SCHEMES
    dropped = re.search(r"content:\n(.*?)\.\n", section("4"), re.DOTALL)
    assert dropped is not None
    assert set(re.findall(r"`([a-z]+)`", dropped[1])) == DROPPED
    bounds = re.findall(r"^\| \w+ \| ([\d,]+) \|", section("2.2"), re.MULTILINE)
    assert bounds == [f"{bound:,}" for bound in (MAX_CHARACTERS, MAX_TAGS, MAX_DEPTH)]
    assert f"at most\n  {MAX_HREF:,} characters" in section("2.1")


def test_vectors_name_each_kind_once() -> None:
    """And the specification tells which there are."""
    assert len(CLEAN) == len(VECTORS["clean"])
    for kind in ("clean", "refused", "from_text", "to_text"):
        assert VECTORS[kind]
        assert f"`{kind}`" in section("8")
