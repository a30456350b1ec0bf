"""Whether a stanza arrived as it was sent, for everybody who reads XML.

Not as bytes: servers move attributes, choose prefixes of their own, and write the language of the stream into
stanzas that have none. What is compared is names with their namespaces, attributes and texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Final

from lxml import etree

_LANGUAGE: Final = "{http://www.w3.org/XML/1998/namespace}lang"

#: Namespaces that mean the same stanza on the connection of a client, of a server and of a component.
_CONTENT: Final = frozenset({"jabber:client", "jabber:server", "jabber:component:accept"})


def difference(
    sent: str | etree._Element,
    received: str | etree._Element,
    *,
    ignored: Iterable[str] = ("from", "to"),
    ordered: bool = True,
) -> str | None:
    """Say where two stanzas differ first; None where they do not.

    Args:
        sent: the one, text or tree.
        received: the other.
        ignored: attributes of the stanza itself that servers may write: addresses become full.
        ordered: whether the children of the stanza itself stand in their order: ejabberd writes extensions
            before what it knows of a message.
    """
    one, two = _tree(sent), _tree(received)
    return _differ(*((one, two) if ordered else (_sorted(one), _sorted(two))), "", frozenset(ignored))


def _sorted(stanza: etree._Element) -> etree._Element:
    copy = deepcopy(stanza)
    copy[:] = sorted(copy, key=_name)
    return copy


def _tree(stanza: str | etree._Element) -> etree._Element:
    return etree.fromstring(stanza) if isinstance(stanza, str) else stanza


def _differ(one: etree._Element, two: etree._Element, path: str, ignored: frozenset[str]) -> str | None:
    here = f"{path}/{_name(one)}"
    if _name(one) != _name(two):
        return f"{here} became {_name(two)}"
    first, second = _attributes(one, ignored), _attributes(two, ignored)
    if _LANGUAGE not in first:
        second.pop(_LANGUAGE, None)
    if first != second:
        return f"{here}: attributes {first} became {second}"
    if len(one) != len(two):
        return f"{here}: children {[_name(c) for c in one]} became {[_name(c) for c in two]}"
    if _texts(one) != _texts(two):
        return f"{here}: text {_texts(one)} became {_texts(two)}"
    for before, after in zip(one, two, strict=True):
        found = _differ(before, after, here, frozenset())
        if found is not None:
            return found
    return None


def _name(element: etree._Element) -> str:
    name = etree.QName(element)
    return name.localname if name.namespace in _CONTENT else f"{{{name.namespace or ''}}}{name.localname}"


def _attributes(element: etree._Element, ignored: frozenset[str]) -> dict[str, str]:
    return {str(name): str(value) for name, value in element.attrib.items() if name not in ignored}


def _texts(element: etree._Element) -> list[str]:
    """The text before, between and after the children."""
    return [element.text or "", *(child.tail or "" for child in element)]
