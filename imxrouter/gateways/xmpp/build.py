"""Stanzas and their parts as bytes: the one place that writes XML for stanzas that the router makes itself.

Everything is rooted in `jabber:server`, which a stanza inherits (specification section 7.11): an element
without a namespace of its own has no `xmlns`. Text is escaped here and nowhere else; what XML 1.0 cannot
carry (section 2.2) is refused, never replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from imxrouter.formats.xmltree import XML, Element, escape_attribute, escape_text
from imxrouter.model.errors import RouterError

#: Not of XML 1.0 section 2.2, and halves of surrogate pairs.
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*(?::[A-Za-z_][A-Za-z0-9._-]*)?\Z")
_LANGUAGE: Final = f"{XML} lang"
_ROOT_NAME: Final = re.compile(rb"<[^\s/>]+")


class Unsayable(RouterError):
    """The text has a character that XML cannot carry."""


class Xml(str):
    """Text that is XML already."""

    __slots__ = ()


def is_sayable(text: str) -> bool:
    """Whether XML 1.0 can carry every character."""
    return _NO_XML.search(text) is None


def without_unsayable(text: str) -> str:
    """Leave out what XML cannot carry; for words to people, never for contents."""
    return _NO_XML.sub("", text)


def element(
    name: str, *parts: str | Xml, namespace: str = "", attributes: Mapping[str, str] | None = None
) -> Xml:
    """Write one element.

    Args:
        name: of the element, without a prefix.
        parts: text, which is escaped, and elements, in order.
        namespace: its own; empty where it is that of what it is put into.
        attributes: by name as written (`xml:lang`), in order; one with an empty value is written as well.

    Raises:
        Unsayable: see there.
    """
    said = {"xmlns": namespace, **(attributes or {})} if namespace else attributes or {}
    start = "<" + name + "".join(_attribute(key, value) for key, value in said.items())
    inside = "".join(part if isinstance(part, Xml) else _text(part) for part in parts)
    return Xml(f"{start}>{inside}</{name}>" if inside else f"{start}/>")


def stanza(
    kind: str,
    *parts: Xml,
    to: str,
    from_: str,
    ident: str = "",
    type_: str = "",
    language: str = "",
) -> bytes:
    """Write a stanza.

    Args:
        kind: `message`, `presence` or `iq`.
        parts: its children, in order.
        to: the recipient's JID; left out where empty, and so are the others.
        from_: the sender's JID.
        ident: its id.
        type_: its type.
        language: its `xml:lang`.

    Raises:
        Unsayable: see there.
    """
    said = {"to": to, "from": from_, "id": ident, "type": type_, "xml:lang": language}
    return element(kind, *parts, attributes={key: value for key, value in said.items() if value}).encode()


def form_of(tree: Element) -> bytes:
    """A stanza's very bytes, so that they mean the same wherever the default namespace is `jabber:server`.

    Prefixes and `xml:lang` that it inherits are written on it; nothing else changes (specification 7.11).
    """
    raw = tree.raw[tree.start : tree.end]
    added = {
        f"xmlns:{prefix}": name
        for prefix, name in tree.outer.items()
        if prefix and prefix not in tree.own and prefix.encode() + b":" in raw
    }
    if tree.language and _LANGUAGE not in tree.attributes:
        added["xml:lang"] = tree.language
    if not added:
        return raw
    found = _ROOT_NAME.match(raw)
    at = found.end() if found else 0
    declared = "".join(_attribute(key, value) for key, value in added.items())
    return raw[:at] + declared.encode() + raw[at:]


def _attribute(name: str, value: str) -> str:
    if not _NAME.match(name):
        raise Unsayable(f"{name[:40]!r} is no name")
    return f' {name}="{escape_attribute(_checked(value))}"'


def _text(text: str) -> str:
    return escape_text(_checked(text))


def _checked(text: str) -> str:
    found = _NO_XML.search(text)
    if found is not None:
        raise Unsayable(f"XML cannot carry U+{ord(found[0]):04X}")
    return text
