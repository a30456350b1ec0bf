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
_UNDERLINED: Final = re.compile(r"text-decoration\s*:\s*(underline|line-through)")
_TAG: Final = re.compile(r'<(/?)([a-z]+)(?: href="([^"]*)")?>')
_HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
#: Elements of html-lite that stand in no paragraph (XEP-0071 section 6.2: the body holds blocks).
_BLOCKS: Final = frozenset({"blockquote", "ol", "p", "ul"})
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
    if name == "span":
        found = _UNDERLINED.search(attributes.get("style", ""))
        kind = {"underline": "u", "line-through": "s"}[found[1]] if found else ""
        return (f"<{kind}>", f"</{kind}>") if kind else ("", "")
    href = attributes.get("href")
    # What html-lite has not is taken out by its own cleaner.
    return f'<{name} href="{escape(href)}">' if name == "a" and href else f"<{name}>", f"</{name}>"


def _xhtml(document: str) -> Xml:
    """A canonical document of html-lite as XHTML; what stands in no block is put into a paragraph."""
    out: list[str] = []
    depth, loose, at = 0, False, 0

    def settle(*, block: bool) -> None:
        nonlocal loose
        if depth == 0 and loose is block:
            out.append("</p>" if block else "<p>")
            loose = not block

    for tag in _TAG.finditer(document):
        text = document[at : tag.start()]
        if text.strip("\n "):
            settle(block=False)
        out.append(_shown(text))
        at = tag.end()
        closing, name = bool(tag[1]), tag[2]
        is_block = name in _BLOCKS
        if not closing:
            settle(block=is_block)
        out.append(_xhtml_tag(closing, name, entities.unescape(tag[3] or "")))
        if is_block:
            depth += -1 if closing else 1
    if document[at:].strip("\n "):
        settle(block=False)
    out.append(_shown(document[at:]))
    settle(block=True)
    return Xml("".join(out))


def _shown(text: str) -> str:
    return escape(entities.unescape(text), quote=False)


def _xhtml_tag(closing: bool, name: str, href: str) -> str:
    if name == "br":
        return "<br/>"
    if name in _SPANS:
        return "</span>" if closing else f'<span style="text-decoration: {_SPANS[name]}">'
    name = _NAMES.get(name, name)
    if closing:
        return f"</{name}>"
    return f'<{name} href="{escape(href)}">' if href else f"<{name}>"
