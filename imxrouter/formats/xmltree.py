"""Small XML documents from strangers: a tree, or a refusal by name.

For documents that are read whole (PIDF, IMDN, isComposing), not for streams. A document type is refused
where it begins, so nothing is ever expanded, fetched or defaulted. Comments and processing instructions are
refused too: no peer has a use for them here, and what is kept verbatim stays free of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final, NoReturn
from xml.parsers import expat

from imxrouter.model.errors import RouterError
from imxrouter.model.uris import is_uri

XML: Final = "http://www.w3.org/XML/1998/namespace"

_DECLARED: Final = re.compile(rb"""(?:\xef\xbb\xbf)?<\?xml[^>]{0,200}?encoding\s*=\s*["']([^"']{0,40})["']""")
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_LATIN1: Final = frozenset({"iso-8859-1", "latin1", "latin-1"})
_UNDEFINED_ENTITY: Final = expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]
_LANGUAGE: Final = f"{XML} lang"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:?\Z")
_AFTER_NAME: Final = re.compile(r"[\s/>]")
#: Not of XML 1.0 section 2.2, and halves of surrogate pairs.
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEXT: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_SPECIAL_IN_TEXT: Final = re.compile("[&<>\r]")
_ATTRIBUTE: Final = {**_TEXT, '"': "&quot;", "\t": "&#9;", "\n": "&#10;"}
_SPECIAL_IN_ATTRIBUTE: Final = re.compile('[&<>\r"\t\n]')


class XmlFault(Enum):
    """Why a document was refused."""

    SIZE = "size"
    ENCODING = "encoding"
    DOCUMENT_TYPE = "document-type"
    ENTITY = "entity"
    COMMENT = "comment"
    INSTRUCTION = "processing-instruction"
    DEPTH = "depth"
    ELEMENTS = "elements"
    ATTRIBUTES = "attributes"
    NAMESPACES = "namespaces"
    MALFORMED = "malformed"


class BadXml(RouterError):
    """The document is refused.

    Attributes:
        fault: the name of the rule it breaks.
    """

    def __init__(self, fault: XmlFault, words: str) -> None:
        super().__init__(f"{fault.value}: {words}")
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a document may be.

    Attributes:
        size_bytes: of the whole; the default is the default largest record of a link.
        depth: elements inside each other; the formats read here need six.
        elements: in all.
        attributes: of one element.
        namespaces: in scope at one place; documents of three vendors have under ten.
    """

    size_bytes: int = 65_536
    depth: int = 24
    elements: int = 4_000
    attributes: int = 32
    namespaces: int = 64


LIMITS: Final = Limits()


class Element:
    """One element.

    Attributes:
        namespace: its namespace name, empty for none.
        name: its local name.
        attributes: by local name, or `namespace local` for those in a namespace.
        children: elements in order.
        language: `xml:lang` that holds here, its own or inherited.

    The rest is what the parser notes for `text` and `verbatim`.
    """

    __slots__ = (
        "attributes", "children", "end", "language", "name", "namespace", "outer", "own", "parts", "prefixed",
        "raw", "start",
    )  # fmt: skip

    def __init__(self, name: str, attributes: list[str], raw: bytes, start: int) -> None:
        parts = name.split(" ")
        self.namespace = parts[0] if len(parts) > 1 else ""
        self.name = parts[1] if len(parts) > 1 else name
        self.attributes = _attributes(attributes) if attributes else _NOTHING
        self.children: list[Element] = []
        self.language = ""
        self.parts: list[str] = []
        self.prefixed = len(parts) > 2
        self.raw = raw
        self.start = self.end = start
        self.outer = self.own = _NOTHING

    @property
    def text(self) -> str:
        """All character data directly inside, joined."""
        return "".join(self.parts)

    def walk(self) -> Iterator[Element]:
        """It and everything inside, in document order."""
        waiting = [self]
        while waiting:
            one = waiting.pop()
            yield one
            waiting.extend(reversed(one.children))

    def verbatim(self) -> str:
        """It as it stands in the document, with the namespace declarations that it takes from outside.

        Wherever the result is put it means the same, names inside values (`xsi:type`) included.
        """
        source = self.raw[self.start : self.end]
        added = [
            f' xmlns:{prefix}="{escape_attribute(namespace)}"'
            for prefix, namespace in self.outer.items()
            if prefix and prefix not in self.own and _uses(source, prefix)
        ]
        if self._takes_default():
            added.append(f' xmlns="{escape_attribute(self.outer.get("", ""))}"')
        if self.language and _LANGUAGE not in self.attributes:
            added.append(f' xml:lang="{escape_attribute(self.language)}"')
        text = source.decode("utf-8")
        if not added:
            return text
        at = _AFTER_NAME.search(text, 1)
        where = at.start() if at else len(text)
        return text[:where] + "".join(added) + text[where:]

    def _takes_default(self) -> bool:
        """Whether a name without prefix, its own or inside, means the default namespace of the outside."""
        waiting = [self]
        while waiting:
            one = waiting.pop()
            if "" in one.own:
                continue
            if not one.prefixed:
                return True
            waiting += one.children
        return False


def _attributes(flat: list[str]) -> dict[str, str]:
    """From names and values in turn; a name is `local`, or `namespace local prefix`."""
    names = (name.rpartition(" ")[0] if " " in name else name for name in flat[::2])
    return dict(zip(names, flat[1::2], strict=True))


def _uses(source: bytes, prefix: str) -> bool:
    """Whether the prefix stands before a colon, be it in a name or in a value that may hold a name."""
    wanted = prefix.encode() + b":"
    return wanted in source and re.search(rb"(?<![\w.-])" + re.escape(wanted), source) is not None


class _Builder:
    """The callbacks of one parser."""

    def __init__(self, raw: bytes, limits: Limits) -> None:
        self.root: Element | None = None
        self._raw = raw
        self._limits = limits
        self._open: list[Element] = []
        self._scopes: list[Mapping[str, str]] = [_NOTHING]
        self._declared: dict[str, str] = {}
        self._elements = 0
        # UTF-8 whatever the document says: what it says was looked at before.
        self._parser = parser = expat.ParserCreate("UTF-8", " ")
        parser.namespace_prefixes = True
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartNamespaceDeclHandler = self._declare
        parser.StartDoctypeDeclHandler = _refuser(XmlFault.DOCUMENT_TYPE, "a document type")
        parser.EntityDeclHandler = _refuser(XmlFault.ENTITY, "an entity is declared")
        parser.SkippedEntityHandler = _refuser(XmlFault.ENTITY, "an entity is used")
        parser.CommentHandler = _refuser(XmlFault.COMMENT, "a comment")
        parser.ProcessingInstructionHandler = _refuser(XmlFault.INSTRUCTION, "a processing instruction")

    def run(self) -> Element:
        try:
            self._parser.Parse(self._raw, True)
        except expat.ExpatError as error:
            fault = XmlFault.ENTITY if error.code == _UNDEFINED_ENTITY else XmlFault.MALFORMED
            raise BadXml(fault, f"{expat.errors.messages[error.code]} at line {error.lineno}") from None
        finally:
            # The parser holds our methods: without this its memory would wait for the garbage collector.
            del self._parser
        if self.root is None:
            raise BadXml(XmlFault.MALFORMED, "no element")
        return self.root

    def _declare(self, prefix: str | None, namespace: str | None) -> None:
        # Blanks and look-alikes would let one name pass for two (CVE-2022-25236), and libxml2, which many
        # receivers use, gives up on a document with a name that is no URI. Plain words are harmless.
        if namespace and not is_uri(namespace) and not _WORD.match(namespace):
            raise BadXml(XmlFault.NAMESPACES, f"namespace name {namespace!r:.60}")
        self._declared[prefix or ""] = namespace or ""

    def _start(self, name: str, attributes: list[str]) -> None:
        limits = self._limits
        self._elements += 1
        if self._elements > limits.elements:
            raise BadXml(XmlFault.ELEMENTS, f"more than {limits.elements}")
        if len(attributes) > 2 * limits.attributes:
            raise BadXml(XmlFault.ATTRIBUTES, f"{len(attributes) // 2} on one element")
        element = Element(name, attributes, self._raw, self._parser.CurrentByteIndex)
        element.outer = scope = self._scopes[-1]
        if self._declared:
            element.own = self._declared
            scope = {**scope, **self._declared}
            if len(scope) > limits.namespaces:
                raise BadXml(XmlFault.NAMESPACES, f"more than {limits.namespaces} in scope")
            self._declared = {}
        self._scopes.append(scope)
        if self._open:
            if len(self._open) >= limits.depth:
                raise BadXml(XmlFault.DEPTH, f"more than {limits.depth} elements inside each other")
            parent = self._open[-1]
            parent.children.append(element)
            element.language = element.attributes.get(_LANGUAGE, parent.language)
        else:
            self.root = element
            element.language = element.attributes.get(_LANGUAGE, "")
        self._open.append(element)

    def _text(self, text: str) -> None:
        self._open[-1].parts.append(text)

    def _end(self, _name: str) -> None:
        element = self._open.pop()
        self._scopes.pop()
        at = self._parser.CurrentByteIndex
        # Of `<a/>` expat gives the end here, of `</a>` the beginning.
        empty = not element.children and not element.parts and self._raw[at - 2 : at] == b"/>"
        element.end = at if empty else self._raw.index(b">", at) + 1


def parse(raw: bytes, limits: Limits = LIMITS) -> Element:
    """Read a document.

    Args:
        raw: UTF-8, or ISO-8859-1 where it says so.
        limits: see there.

    Returns:
        Its outermost element.

    Raises:
        BadXml: see `XmlFault`. Nothing else, whatever the bytes, in time linear in their number.
    """
    if len(raw) > limits.size_bytes:
        raise BadXml(XmlFault.SIZE, f"{len(raw)} bytes; at most {limits.size_bytes}")
    if b"\x00" in raw[:4] or raw[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise BadXml(XmlFault.ENCODING, "UTF-16 or UTF-32")
    declared = _DECLARED.match(raw)
    if declared is not None:
        encoding = declared[1].decode("latin-1").strip().lower()
        if encoding in _LATIN1:
            # COMPAT(FreeSWITCH): says so of its documents.
            raw = raw.decode("latin-1").encode("utf-8")
        elif encoding not in _UTF8:
            raise BadXml(XmlFault.ENCODING, f"{encoding!r}; UTF-8 is taken")
    return _Builder(raw, limits).run()


def escape_text(text: str) -> str:
    """Write character data; what XML cannot carry becomes U+FFFD."""
    return _SPECIAL_IN_TEXT.sub(_as_text, _NO_XML.sub("\ufffd", text))


def escape_attribute(text: str) -> str:
    """Write the inside of a value in double quotes; what XML cannot carry becomes U+FFFD."""
    return _SPECIAL_IN_ATTRIBUTE.sub(_as_attribute, _NO_XML.sub("\ufffd", text))


def _as_text(match: re.Match[str]) -> str:
    return _TEXT[match[0]]


def _as_attribute(match: re.Match[str]) -> str:
    return _ATTRIBUTE[match[0]]


def _refuser(fault: XmlFault, words: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object) -> NoReturn:
        raise BadXml(fault, words)

    return refuse
