"""When two elements are the same although their bytes differ.

Prefixes, quotes, the order of attributes, references to characters, sections of character data and the form
of an empty element do not count. White space, the order of children and text, and prefixes inside of values
do. It is the equality of exclusive C14N with two things that belong to streams: the content namespaces are
one, and what a stanza inherits of `xml:lang` is its own (RFC 6120 section 8.1.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from xml.parsers import expat

from imxrouter.gateways.xmpp.names import SERVER
from imxrouter.gateways.xmpp.stanza import LANGUAGE, Element, tree_of, wrapper

_SEPARATOR: Final = "\x01"

#: Namespace, local name, sorted attributes, children and text in order.
Canonical = tuple[str, str, tuple[tuple[str, str], ...], tuple["Canonical | str", ...]]


class _Builder:
    def __init__(self, content: str) -> None:
        self._content = content
        self._open: list[tuple[str, str, tuple[tuple[str, str], ...], list[Canonical | str]]] = []
        self.root: list[Canonical | str] = []

    def start(self, name: str, flat: list[str]) -> None:
        namespace, local = self._expanded(name)
        named = (" ".join(filter(None, self._expanded(one))) for one in flat[::2])
        attributes = tuple(sorted(zip(named, flat[1::2], strict=True)))
        self._open.append((namespace, local, attributes, []))

    def _expanded(self, name: str) -> tuple[str, str]:
        namespace, _, local = name.rpartition(_SEPARATOR)
        return SERVER if namespace == self._content else namespace, local

    def end(self, _name: str) -> None:
        namespace, local, attributes, parts = self._open.pop()
        around = self._open[-1][3] if self._open else self.root
        around.append((namespace, local, attributes, tuple(parts)))

    def text(self, text: str) -> None:
        parts = self._open[-1][3]
        if parts and isinstance(parts[-1], str):
            parts[-1] += text
        else:
            parts.append(text)


def canonical(
    raw: bytes, *, content: str = SERVER, outer: Mapping[str, str] | None = None, language: str = ""
) -> Canonical:
    """Return what an element says, without how it says it.

    Args:
        raw: the bytes of one element.
        content: the default namespace around it, which is `jabber:server` in the result.
        outer: prefixes declared around it.
        language: `xml:lang` around it.

    Raises:
        BadXml: it is not one element, or more than a tree may have (`stanza.TREE`).
    """
    tree_of(raw, content=content, outer=outer or {})
    builder = _Builder(content)
    parser = expat.ParserCreate("UTF-8", _SEPARATOR)
    parser.ordered_attributes = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.Parse(b"%s%s</w>" % (wrapper(content, outer or {}), raw), True)
    found = builder.root[0][3][0]
    namespace, local, attributes, parts = found if not isinstance(found, str) else ("", "", (), ())
    if language and LANGUAGE not in dict(attributes):
        attributes = tuple(sorted([*attributes, (LANGUAGE, language)]))
    return namespace, local, attributes, parts


def canonical_of(element: Element) -> Canonical:
    """Return what an element of a stream says; see `canonical`."""
    return canonical(element.raw, content=element.content, outer=element.outer, language=element.language)


def equal(one: Element, other: Element) -> bool:
    """Say whether two elements of two streams are the same."""
    return canonical_of(one) == canonical_of(other)
