"""text/html-lite: a few tags of HTML for instant messages (`docs/specs/text-html-lite.md`).

What others send is parsed as browsers parse it, by nh3 (ammonia, html5ever), and written again with the
elements, attributes and schemes of the specification only. Beyond that this module bounds what is parsed and
what comes out, and turns it into plain text and back.
"""

from __future__ import annotations

import html as entities
import re
from enum import Enum
from typing import Final

import nh3

from imxrouter.model.errors import RouterError

CONTENT_TYPE: Final = "text/html-lite; charset=utf-8"
ELEMENTS: Final = frozenset(
    {"a", "b", "blockquote", "br", "code", "em", "i", "li", "ol", "p", "s", "strong", "u", "ul"}
)
SCHEMES: Final = frozenset({"http", "https", "im", "mailto", "pres", "sip", "sips", "tel", "xmpp"})
#: What stands in these is no text for a reader; of all other elements the content stays.
DROPPED: Final = frozenset(
    {"iframe", "math", "noembed", "noframes", "noscript", "script", "style", "svg", "template", "title"}
)
#: Before and after, `<br>` not counted. A parser of HTML copies open formatting into each paragraph and
#: compares each attribute with all others: the worst document within these bounds costs some 50 ms, one with
#: twice of each four times as much.
MAX_CHARACTERS: Final = 32_768
MAX_TAGS: Final = 400
#: After; receivers draw recursively.
MAX_DEPTH: Final = 16
MAX_HREF: Final = 2_048

#: Two were enough for two million documents made of misnested pieces.
_ROUNDS: Final = 5
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_HOST: Final = re.compile(r"//[^/\\?#]")
_NO_LINK: Final = re.compile(r"<a>(.*?)</a>", re.DOTALL)
_TAG: Final = re.compile(r'<(/?)([a-z]+)(?: href="([^"]*)")?>')
_BLANKS: Final = re.compile(r"[ \t\n\r\f]+")
_KEPT_BLANK: Final = re.compile(r"(?<![^ \n]) | (?=\n|\Z)")


class HtmlFault(Enum):
    """Why a document was refused."""

    SIZE = "size"
    TAGS = "tags"
    DEPTH = "depth"
    UNSTABLE = "unstable"


class BadHtml(RouterError):
    """The document is refused.

    Attributes:
        fault: the name of the rule it breaks.
    """

    def __init__(self, fault: HtmlFault, words: str) -> None:
        super().__init__(f"{fault.value}: {words}")
        self.fault = fault


def sanitise(html: str) -> str:
    """What may be shown of a document that somebody wrote.

    The result is canonical: sanitised again it stays what it is.

    Raises:
        BadHtml: it is larger than the bounds above, before or after. Nothing else, whatever the text.
    """
    for _ in range(_ROUNDS):
        _check_size(html)
        cleaned = _NO_LINK.sub(r"\1", _CLEANER.clean(_CONTROL.sub("", html)))
        if cleaned == html:
            _check_depth(html)
            return html
        html = cleaned
    raise BadHtml(HtmlFault.UNSTABLE, f"still changing after {_ROUNDS} rounds")


def from_text(text: str) -> str:
    """The document that shows a plain text: line by line, blank by blank.

    Control characters other than line ends and tabs are left out; a tab becomes a blank, as HTML shows it.

    Raises:
        BadHtml: the document would be larger than the bounds above.
    """
    clean = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).replace("\t", " ")
    escaped = entities.escape(clean, quote=False)
    document = _KEPT_BLANK.sub("&nbsp;", escaped.replace("\xa0", "&nbsp;")).replace("\n", "<br>")
    _check_size(document)
    return document


def to_text(html: str) -> str:
    """A document as plain text, for receivers that take nothing else.

    Raises:
        BadHtml: as `sanitise`.
    """
    return _Text().read(sanitise(html))


def _check_size(html: str) -> None:
    if len(html) > MAX_CHARACTERS:
        raise BadHtml(HtmlFault.SIZE, f"{len(html)} characters; at most {MAX_CHARACTERS}")
    tags = html.count("<") - html.count("<br>")
    if tags > MAX_TAGS:
        raise BadHtml(HtmlFault.TAGS, f"{tags} tags; at most {MAX_TAGS}")


def _check_depth(canonical: str) -> None:
    depth = 0
    for closing, name, _ in _TAG.findall(canonical):
        if closing:
            depth -= 1
        elif name != "br":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadHtml(HtmlFault.DEPTH, f"more than {MAX_DEPTH} elements inside each other")


def _href(_element: str, _attribute: str, value: str) -> str | None:
    """The address, or None where it does not say plainly where it leads."""
    scheme, _, rest = value.partition(":")
    scheme = scheme.lower()
    if scheme not in SCHEMES or len(value) > MAX_HREF or " " in value or not value.isprintable():
        return None
    if scheme in {"http", "https"}:
        return value if _HOST.match(rest) else None
    return value if rest and not rest.startswith("//") else None


_CLEANER: Final = nh3.Cleaner(
    tags=ELEMENTS,
    clean_content_tags=DROPPED,
    attributes={"a": {"href"}, "*": set()},
    attribute_filter=_href,
    url_schemes=SCHEMES,
    link_rel=None,
)


class _Text:
    """Walks a canonical document and writes text (section 6 of the specification)."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._lines: list[str] = [""]
        self._gap = 0
        self._quotes = 0
        self._lists: list[int | None] = []
        self._bullet = ""
        self._link: tuple[str, int, int] | None = None

    def read(self, canonical: str) -> str:
        at = 0
        for tag in _TAG.finditer(canonical):
            self._lines[-1] += entities.unescape(canonical[at : tag.start()])
            at = tag.end()
            self._tag(bool(tag[1]), tag[2], entities.unescape(tag[3] or ""))
        self._lines[-1] += entities.unescape(canonical[at:])
        self._flush()
        return "".join(self._out)

    def _tag(self, closing: bool, name: str, href: str) -> None:
        if name == "br":
            self._lines.append("")
        elif name == "a":
            self._anchor(closing, href)
        elif name in {"p", "blockquote", "ul", "ol", "li"}:
            self._flush()
            self._block(closing, name)

    def _anchor(self, closing: bool, href: str) -> None:
        if not closing:
            self._link = (href, len(self._lines) - 1, len(self._lines[-1]))
        elif self._link is not None:
            href, line, column = self._link
            self._link = None
            begun = self._lines[line:]
            label = _squeezed(" ".join([begun[0][column:], *begun[1:]])) if begun else ""
            if not label:
                self._lines[-1] += href
            elif href not in {label, "mailto:" + label, "http://" + label, "https://" + label}:
                self._lines[-1] += f" <{href}>"

    def _block(self, closing: bool, name: str) -> None:
        step = -1 if closing else 1
        if name == "li":
            self._want_gap(1)
            self._bullet = "" if closing else self._next_bullet()
            return
        self._want_gap(1 if name in {"ul", "ol"} and len(self._lists) + min(step, 0) > 0 else 2)
        if name == "blockquote":
            self._quotes += step
        elif name in {"ul", "ol"}:
            if closing:
                self._lists.pop()
            else:
                self._lists.append(0 if name == "ol" else None)

    def _next_bullet(self) -> str:
        if not self._lists or self._lists[-1] is None:
            return "- "
        self._lists[-1] += 1
        return f"{self._lists[-1]}. "

    def _want_gap(self, lines: int) -> None:
        self._gap = max(self._gap, lines)

    def _flush(self) -> None:
        lines = [_squeezed(line) for line in self._lines]
        self._lines = [""]
        if self._link is not None:
            self._link = (self._link[0], 0, 0)
        if lines == [""]:
            return
        if self._out:
            self._out.append("\n" * self._gap)
        self._gap = 0
        quote = "> " * self._quotes
        indent = "  " * (len(self._lists) - 1)
        first = quote + indent + self._bullet
        after = quote + indent + " " * len(self._bullet)
        self._bullet = " " * len(self._bullet)
        text = [first + lines[0]]
        text += [after + line if line else after.rstrip(" ") for line in lines[1:]]
        self._out.append("\n".join(text))


def _squeezed(line: str) -> str:
    """Blanks as HTML shows them: runs as one, none at the ends; no-break spaces as they are, as blanks."""
    return _BLANKS.sub(" ", line).strip(" ").replace("\xa0", " ")
