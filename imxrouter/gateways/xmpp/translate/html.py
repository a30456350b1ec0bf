"""XHTML-IM (XEP-0071) and `text/html-lite`, each made of the other."""

from __future__ import annotations

import html as entities
import re
from html import escape
from typing import Final
from xml.parsers import expat

from imxrouter.formats.html_lite import BadHtml, sanitise, to_text
from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.build import Unsayable, Xml, element, is_sayable
from imxrouter.gateways.xmpp.translate.words import XHTML, XHTML_IM

_BLANKS: Final = re.compile(r"[ \t\r\n\xa0]+")
_TAG: Final = re.compile(r'<(/?)([a-z]+)(?: href="([^"]*)")?>')
_HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
#: Elements of html-lite that stand in no paragraph.
_BLOCKS: Final = frozenset({"blockquote", "li", "ol", "p", "ul"})
_LISTS: Final = frozenset({"ol", "ul"})
#: What of a style html-lite has an element for (XEP-0071 section 7.6): that, the property, its values.
_STYLES: Final = (
    ("b", "font-weight", frozenset({"bold", "bolder", "600", "700", "800", "900"})),
    ("i", "font-style", frozenset({"italic", "oblique"})),
    ("u", "text-decoration", frozenset({"underline"})),
    ("s", "text-decoration", frozenset({"line-through"})),
)
#: Elements in which nothing but text and formatting stands.
_STYLED: Final = frozenset({
    "a", "abbr", "acronym", "address", "cite", "code", "dfn", "em", "kbd", "p", "q", "samp", "span", "strong",
    "var",
})  # fmt: skip
#: html-lite -> XHTML-IM, start and end, where the names differ (XEP-0071 section 6).
_SPANS: Final = {"u": "underline", "s": "line-through"}
_NAMES: Final = {"b": "strong", "i": "em"}


def html_of(stanza: Element, body: str) -> str:
    """The formatted text of a message as html-lite.

    Args:
        stanza: the message.
        body: its plain text.

    Returns:
        the document, canonical; empty where there is none, it is too large, or it says something else than
        the body (XEP-0071 section 8 rule 2), blanks and line ends aside.
    """
    formatted = next(
        (one for one in stanza.children if (one.namespace, one.name) == (XHTML_IM, "html")), None
    )
    if formatted is None:
        return ""
    bodies = [one for one in formatted.children if (one.namespace, one.name) == (XHTML, "body")]
    inside = next((one for one in bodies if one.language == stanza.language), bodies[0] if bodies else None)
    if inside is None:
        return ""
    try:
        document = sanitise(_Html().read(inside.verbatim()))
        shown = to_text(document)
    except BadHtml:
        return ""
    return document if _squeezed(shown) == _squeezed(body) else ""


def body_of(document: str) -> tuple[str, Xml]:
    """Plain text and XHTML-IM of a document in html-lite.

    Raises:
        BadHtml: it is larger than html-lite allows.
        Unsayable: it has characters that XML has not.
    """
    document = sanitise(document)
    text = to_text(document)
    if not is_sayable(document):
        raise Unsayable("the document")
    return text, element("html", element("body", _xhtml(document), namespace=XHTML), namespace=XHTML_IM)


def _squeezed(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()


class _Html:
    """Writes XHTML as HTML: empty elements have no end there, and names have no prefix."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._ends: list[str] = []

    def read(self, xhtml: str) -> str:
        parser = expat.ParserCreate("UTF-8", " ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.Parse(xhtml, True)
        return "".join(self._out)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        start, end = "", ""
        if namespace == XHTML:
            start, end = _tags(local, attributes)
        self._out.append(start)
        self._ends.append(end)

    def _end(self, _name: str) -> None:
        self._out.append(self._ends.pop())

    def _text(self, text: str) -> None:
        self._out.append(escape(text, quote=False))


def _tags(name: str, attributes: dict[str, str]) -> tuple[str, str]:
    if name == "img":
        return escape(attributes.get("alt", ""), quote=False), ""
    if name == "br":
        return "<br>", ""
    if name in _HEADINGS:
        return "<p><strong>", "</strong></p>"
    kinds = _kinds(attributes.get("style", "")) if name in _STYLED else []
    inner = "".join(f"<{kind}>" for kind in kinds), "".join(f"</{kind}>" for kind in reversed(kinds))
    if name == "span":
        return inner
    href = attributes.get("href")
    # What html-lite has not is taken out by its own cleaner.
    start = f'<{name} href="{escape(href)}">' if name == "a" and href else f"<{name}>"
    return start + inner[0], f"{inner[1]}</{name}>"


def _kinds(style: str) -> list[str]:
    """Elements of html-lite for what a style says; of a property that it has twice the last counts."""
    pairs = (one.partition(":") for one in style.lower().split(";"))
    said = {name.strip(): set(value.split()) for name, _, value in pairs}
    return [kind for kind, name, values in _STYLES if said.get(name, set()) & values]


def _xhtml(document: str) -> Xml:
    """A canonical document of html-lite as XHTML."""
    writer, at = _Xhtml(), 0
    for tag in _TAG.finditer(document):
        writer.text(document[at : tag.start()])
        at = tag.end()
        writer.tag(bool(tag[1]), tag[2], entities.unescape(tag[3] or ""))
    writer.text(document[at:])
    return writer.end()


class _Xhtml:
    """Writes XHTML: blocks hold what is inline and never the other way round, as HTML may have it.

    So formatting ends before a block begins or ends, and begins again with the next text; what stands in no
    block is put into a paragraph (XEP-0071 section 6.2).
    """

    def __init__(self) -> None:
        self._out: list[str] = []
        #: names of the blocks that are open; empty of one that is not written
        self._blocks: list[str] = []
        #: start and end of the formatting that holds, and how much of it is written now
        self._formats: list[tuple[str, str]] = []
        self._written = 0
        #: how much of it has something in it
        self._used = 0
        #: a paragraph of ours is open
        self._loose = False

    def text(self, text: str) -> None:
        """Write text; blanks between blocks are not shown."""
        if text.strip("\n "):
            self._begin()
        self._out.append(_shown(text))

    def tag(self, closing: bool, name: str, href: str) -> None:
        """Take a tag of the document."""
        if name == "br":
            self._begin()
            self._out.append("<br/>")
        elif name in _BLOCKS:
            self._block(closing, name)
        elif not closing:
            self._formats.append(_format(name, href))
        else:
            self._end_format()

    def end(self) -> Xml:
        """All that was written."""
        self._settle()
        return Xml("".join(self._out))

    def _end_format(self) -> None:
        start, end = self._formats[-1]
        if start.startswith("<a ") and self._used < len(self._formats):
            self._begin()  # the plain text shows where it leads
        self._formats.pop()
        if self._written > len(self._formats):
            self._written -= 1
            self._out.append(end)
        self._used = min(self._used, len(self._formats))

    def _begin(self) -> None:
        """Something that is shown comes: where it must stand, and in which formatting."""
        if not self._loose and not any(self._blocks):
            self._out.append("<p>")
            self._loose = True
        self._out += [start for start, _ in self._formats[self._written :]]
        self._written = self._used = len(self._formats)

    def _block(self, closing: bool, name: str) -> None:
        self._settle()
        if closing:
            written = self._blocks.pop()
            self._out.append(f"</{written}>" if written else "")
            return
        if name == "li" and (not self._blocks or self._blocks[-1] not in _LISTS):
            name = ""
        self._blocks.append(name)
        self._out.append(f"<{name}>" if name else "")

    def _settle(self) -> None:
        """End what may not go on where a block begins or ends."""
        self._out += [end for _, end in reversed(self._formats[: self._written])]
        self._written = 0
        if self._loose:
            self._out.append("</p>")
            self._loose = False


def _shown(text: str) -> str:
    return escape(entities.unescape(text), quote=False)


def _format(name: str, href: str) -> tuple[str, str]:
    """Start and end of an element that stands within text."""
    if name in _SPANS:
        return f'<span style="text-decoration: {_SPANS[name]}">', "</span>"
    name = _NAMES.get(name, name)
    return f'<{name} href="{escape(href)}">' if href else f"<{name}>", f"</{name}>"
