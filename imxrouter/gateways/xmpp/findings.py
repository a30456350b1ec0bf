"""expat as the parser of streams uses it: how it is made, and what of its findings needs no state."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NoReturn
from xml.parsers import expat

from imxrouter.gateways.xmpp.heard import XmlRefused
from imxrouter.gateways.xmpp.names import DIALBACK, STREAM, Condition
from imxrouter.gateways.xmpp.tail import CDATA

#: Between the parts of a name; it cannot stand in any document.
SEPARATOR: Final = "\x01"
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_VERSION: Final = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})\Z")


def new_expat() -> expat.XMLParserType:
    """Make one that tells names with their namespaces."""
    return expat.ParserCreate("UTF-8", SEPARATOR)


def bare_expat() -> expat.XMLParserType:
    """Make one for a stream, which listens to nothing yet."""
    # UTF-8 whatever the document says: what it says is looked at.
    parser = new_expat()
    # Only so does the dictionary of names grow with expat's own table, whose keys are names as written.
    parser.namespace_prefixes = True
    parser.ordered_attributes = True
    # From expat 2.6 on: else the end of a read could wait for more.
    defer = getattr(parser, "SetReparseDeferralEnabled", None)
    if defer is not None:
        defer(False)
    return parser


def declared_encoding(_version: str, encoding: str | None, _standalone: int) -> None:
    """Refuse another encoding than UTF-8."""
    # `standalone` has no meaning without a document type (XML 1.0 section 2.9).
    if encoding is not None and encoding.lower() != "utf-8":
        raise XmlRefused(Condition.UNSUPPORTED_ENCODING, f"{encoding!r:.40}; UTF-8 is taken")


def begins_no_character(data: bytes) -> bool:
    """Whether the first byte begins nothing in UTF-8, whatever follows it (RFC 3629 section 4)."""
    return 0x80 <= data[0] <= 0xC1 or data[0] >= 0xF5


def is_utf8(data: bytes) -> bool:
    """Whether bytes begin with a character of UTF-8, or may do so when more have come.

    RFC 6120 section 4.9.3.22 has a condition for what is none; what is a character, and may not stand in XML,
    is another fault.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while data and not decoder.decode(data[:1]):
            data = data[1:]
    except UnicodeDecodeError:
        return False
    return True


def is_cdata(token: bytearray) -> bool:
    """Whether a section of character data begins so, as far as its bytes have come."""
    return CDATA.startswith(token[: len(CDATA)])


def version_of(said: str | None) -> tuple[int, int]:
    """Major and minor of a stream's version; (0, 0) where none is said. Raises `XmlRefused` from 2 on."""
    if said is None:
        return (0, 0)
    found = _VERSION.match(said)
    if found is None or int(found[1]) > 1:
        raise XmlRefused(Condition.UNSUPPORTED_VERSION, f"{said!r:.40}")
    return int(found[1]), int(found[2])


def named_of(flat: list[str]) -> Mapping[str, str]:
    """From names and values in turn; a name is `local`, or namespace, local and prefix."""
    if not flat:
        return NOTHING
    named = dict(zip(flat[::2], flat[1::2], strict=True))
    for name in flat[::2]:
        if SEPARATOR in name:
            namespace, local, _prefix = name.split(SEPARATOR)
            named[f"{namespace} {local}"] = named.pop(name)
    return named


def uses_of(prefix: str, uri: str) -> re.Pattern[bytes]:
    """Finds uses of a prefix in names; in values too, which may hold names, if it is not the stream's."""
    word = re.escape(prefix.encode())
    if uri in {STREAM, DIALBACK}:
        return re.compile(rb"</?%s:|\s%s:[^\s=<>]+\s*=" % (word, word))
    return re.compile(rb"(?<![\w.-])%s:" % word)


def refuser(words: str) -> Callable[..., NoReturn]:
    """Make a callback that refuses what it is called for."""

    def refuse(*_args: object) -> NoReturn:
        raise XmlRefused(Condition.RESTRICTED_XML, words)

    return refuse
