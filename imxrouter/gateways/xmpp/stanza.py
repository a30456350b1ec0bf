"""Elements as they came on a stream: their very bytes, and what those take from the stream around them.

Between two streams with the same content namespace a stanza is passed as it is. What it inherits from the
stream's own tag (prefixes, `xml:lang`) is written on it, so that it means the same wherever it is put. Inside
the router every stanza is in `jabber:server`: without prefix and without `xmlns` it inherits that by
definition, and `tree` gives it so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from xml.parsers import expat

from imxrouter.formats import xmltree
from imxrouter.formats.xmltree import XML, BadXml, escape_attribute
from imxrouter.gateways.xmpp.names import SERVER, STANZAS

#: The key of `xml:lang` among the attributes of an element, here and in `formats.xmltree`.
LANGUAGE: Final = f"{XML} lang"
#: A whole tag, with `>` in values of attributes.
TAG: Final = re.compile(rb"""<[^"'>]*(?:"[^"]*"[^"'>]*|'[^']*'[^"'>]*)*>""")
#: What a tree may be: the limits of the parser of streams for a proved peer, and the element put around it.
TREE: Final = xmltree.Limits(size_bytes=1_048_576, depth=65, elements=4_001, attributes=64, namespaces=128)
_ROOT_NAME: Final = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE: Final = re.compile(rb"""\s([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def _nothing() -> Mapping[str, str]:
    return _NOTHING


@dataclass(slots=True)
class Element:
    """One element at the first level of a stream. Nobody changes it; it is not frozen, for that costs time.

    Attributes:
        namespace: its namespace name, empty for none.
        name: its local name.
        raw: its very bytes, from `<` to `>`.
        attributes: of its start tag, by local name, or `namespace local` for those in a namespace
            (`xml:lang` is `LANGUAGE`).
        content: the namespace that counts as content in it: that of the stream it came on, or its own.
        outer: namespace names by prefix, for the prefixes of the stream's tag that `raw` uses.
        language: `xml:lang` of the stream's tag, empty if there is none.
        touchy: somewhere in `raw` a declaration names the content namespace.
    """

    namespace: str
    name: str
    raw: bytes
    attributes: Mapping[str, str]
    content: str = SERVER
    outer: Mapping[str, str] = field(default_factory=_nothing)
    language: str = ""
    touchy: bool = False

    def tree(self) -> xmltree.Element:
        """Return it as a tree; the content namespace of a stanza is `jabber:server` there.

        Raises:
            BadXml: more than a tree may have (`TREE`), or a namespace name that is neither a URI nor a word.
                Everything else was refused by the parser of the stream.
        """
        return tree_of(self.raw, content=self.content, outer=self.outer, language=self.language)


@dataclass(slots=True)
class Stanza(Element):
    """A message, presence or iq (RFC 6120 section 8)."""

    @property
    def kind(self) -> str:
        """`message`, `presence` or `iq`."""
        return self.name

    @property
    def from_(self) -> str:
        """The sender as it was written, empty if there is none."""
        return self.attributes.get("from", "")

    @property
    def to(self) -> str:
        """The recipient as it was written, empty if there is none."""
        return self.attributes.get("to", "")

    @property
    def ident(self) -> str:
        """The attribute `id`, empty if there is none."""
        return self.attributes.get("id", "")

    @property
    def type(self) -> str:
        """The attribute `type`, empty if there is none."""
        return self.attributes.get("type", "")

    def tree(self) -> xmltree.Element:
        """See `Element.tree`."""
        if self.content == SERVER:
            return Element.tree(self)
        return tree_of(rescoped(self, SERVER))


def tree_of(
    raw: bytes, *, content: str = SERVER, outer: Mapping[str, str] = _NOTHING, language: str = ""
) -> xmltree.Element:
    """Read one element that inherits from a stream.

    Args:
        raw: from `<` to `>`, nothing before and nothing after.
        content: the default namespace around it.
        outer: prefixes declared around it.
        language: `xml:lang` around it.

    Raises:
        BadXml: it is not one element, or see `TREE`.
    """
    wrapped = xmltree.parse(b"%s%s</w>" % (wrapper(content, outer, language), raw), TREE)
    if len(wrapped.children) != 1 or wrapped.parts:
        raise BadXml(xmltree.XmlFault.MALFORMED, "not one element")
    return wrapped.children[0]


def rescoped(stanza: Element, content: str) -> bytes:
    """Return the bytes that mean the same on a stream with this content namespace.

    Nothing but declarations changes: those that it needs from outside are added to its start tag, and those
    that name the old content namespace name the new one. Where nothing is needed these are the very bytes.

    Args:
        stanza: as it came.
        content: the default namespace of the other stream, which has no language of its own and declares no
            prefix that is counted on.
    """
    added = {
        f"xmlns:{prefix}": content if name == stanza.content else name
        for prefix, name in stanza.outer.items()
    }
    if stanza.language and LANGUAGE not in stanza.attributes:
        added["xml:lang"] = stanza.language
    raw = stanza.raw
    if stanza.touchy and content != stanza.content:
        raw = _renamed(stanza, content)
    if not added:
        return raw
    found = _ROOT_NAME.match(raw)
    at = found.end() if found else 0
    return b"%s%s%s" % (raw[:at], _attributes(added.items()), raw[at:])


def readdressed(raw: bytes, name: str, jid: str) -> bytes:
    """The bytes of a stanza with another address, and nothing else changed.

    Args:
        raw: of a stanza, well-formed, with this attribute.
        name: of the attribute, `from` or `to`.
        jid: what it is to be.
    """
    tag = TAG.match(raw)
    for found in _ATTRIBUTE.finditer(raw, 0, tag.end() if tag else 0):
        if found[1] == name.encode():
            start, end = found.span(2)
            return b'%s"%s"%s' % (raw[:start], escape_attribute(jid).encode(), raw[end:])
    return raw


def read_stanza(raw: bytes) -> Stanza:
    """Read a stanza that was kept: elements without prefix and without `xmlns` are in `jabber:server`.

    Raises:
        BadXml: it is not one stanza, or more than a tree may have.
    """
    root = tree_of(raw)
    if root.namespace != SERVER or root.name not in STANZAS:
        raise BadXml(xmltree.XmlFault.MALFORMED, "not a stanza")
    touchy = any(SERVER in one.own.values() for one in root.walk())
    return Stanza(root.namespace, root.name, raw, root.attributes, touchy=touchy)


def _renamed(stanza: Element, content: str) -> bytes:
    """Its bytes with the new name in every declaration of the old content namespace."""
    raw = stanza.raw
    out = bytearray()
    done = 0
    for start, prefixes in _declaring(stanza):
        tag = TAG.match(raw, start)
        for found in _ATTRIBUTE.finditer(raw, start, tag.end() if tag else start):
            name, _, prefix = found[1].partition(b":")
            if name == b"xmlns" and prefix.decode() in prefixes:
                out += b"%s'%s'" % (raw[done : found.start(2)], escape_attribute(content).encode())
                done = found.end(2)
    out += raw[done:]
    return bytes(out)


def _declaring(stanza: Element) -> list[tuple[int, set[str]]]:
    """Where a tag begins that declares its content namespace, and for which prefixes."""
    found: list[tuple[int, set[str]]] = []
    declared: set[str] = set()
    around = wrapper(stanza.content, stanza.outer)
    # What it reads was read before, within the limits of a stream.
    parser = expat.ParserCreate("UTF-8", " ")

    def declare(prefix: str | None, namespace: str | None) -> None:
        if namespace == stanza.content:
            declared.add(prefix or "")

    def start(_name: str, _attributes: dict[str, str]) -> None:
        if declared:
            found.append((parser.CurrentByteIndex - len(around), set(declared)))
            declared.clear()

    parser.Parse(around, False)
    parser.StartNamespaceDeclHandler = declare
    parser.StartElementHandler = start
    parser.Parse(stanza.raw, False)
    parser.StartNamespaceDeclHandler = parser.StartElementHandler = None
    return found


def wrapper(content: str, outer: Mapping[str, str], language: str = "") -> bytes:
    """Write the start of an element `w` to stand around one that inherits.

    Args:
        content: the default namespace.
        outer: prefixes to be declared.
        language: `xml:lang`, empty for none.
    """
    around = {"xmlns": content, **{f"xmlns:{prefix}": name for prefix, name in outer.items()}}
    if language:
        around["xml:lang"] = language
    return b"<w%s>" % _attributes(around.items())


def _attributes(pairs: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f' {name}="{escape_attribute(value)}"' for name, value in pairs).encode()
