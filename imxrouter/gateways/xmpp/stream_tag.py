"""The tag that opens a stream: what it must be, and what it says (RFC 6120 sections 4.7 and 4.8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from imxrouter.gateways.xmpp.findings import SEPARATOR, named_of, uses_of, version_of
from imxrouter.gateways.xmpp.heard import Header, XmlRefused
from imxrouter.gateways.xmpp.names import STREAM, Condition
from imxrouter.gateways.xmpp.stanza import LANGUAGE

#: How its name begins, whatever its prefix.
STREAM_TAG: Final = f"{STREAM}{SEPARATOR}stream"

#: A prefix that the tag declares: itself, its namespace, how it stands in bytes, and what finds uses of it.
Outer = tuple[str, str, bytes, re.Pattern[bytes]]


def header_of(name: str, attributes: list[str], declared: Mapping[str, str], content: str) -> Header:
    """Read the tag.

    Args:
        name: namespace, local name and prefix, as expat gives them.
        attributes: names and values in turn.
        declared: namespaces by prefix that it declares; the default one by an empty prefix.
        content: the default namespace that it must have.

    Raises:
        XmlRefused: it opens no such stream.
    """
    prefixes = dict(declared)
    default = prefixes.pop("", "")
    parts = name.split(SEPARATOR)
    if parts[:2] != [STREAM, "stream"] or default != content:
        raise XmlRefused(Condition.INVALID_NAMESPACE, f"{parts[0]!r:.60} with {default!r:.60}")
    if parts[2:] != ["stream"]:
        raise XmlRefused(Condition.BAD_NAMESPACE_PREFIX, "the prefix of the stream is `stream`")
    said = named_of(attributes).get
    return Header(
        said("from", ""), said("to", ""), said("id", ""), version_of(said("version")), said(LANGUAGE, ""),
        default, MappingProxyType(prefixes),
    )  # fmt: skip


def header_again(header: Header, name: str, attributes: list[str]) -> Header | None:
    """What a stream's tag inside of the stream says; None where it is none.

    Args:
        header: of the stream.
        name: of the tag inside, which begins with `STREAM_TAG`.
        attributes: names and values in turn.
    """
    if name.split(SEPARATOR)[1] != "stream":
        return None
    said = named_of(attributes).get
    return replace(header, from_=said("from", ""), to=said("to", ""), ident=said("id", ""))


def outer_of(header: Header) -> list[Outer]:
    """The prefixes that the tag declares, for what is inside of the stream."""
    return [
        (prefix, uri, prefix.encode() + b":", uses_of(prefix, uri)) for prefix, uri in header.prefixes.items()
    ]
