"""What reading a stream gives: its tag, its end, a refusal; and how much a peer may send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imxrouter.gateways.xmpp.names import APPLICATION_ERRORS, Condition
from imxrouter.gateways.xmpp.stanza import Element
from imxrouter.model.errors import RouterError

_SIZES: Final = frozenset({"stanza_bytes", "tag_bytes"})
_TOO_BIG: Final = f"<stanza-too-big xmlns='{APPLICATION_ERRORS}'/>".encode()


class XmlRefused(RouterError):
    """The stream must be ended.

    Attributes:
        condition: of the stream error.
        note: words for its text, for log and trace.
        extra: an application's condition beside it, as bytes of XML; mostly empty.
        before: events of the same bytes, from before the fault.
    """

    def __init__(self, condition: Condition, note: str, extra: bytes = b"") -> None:
        super().__init__(f"{condition.value}: {note}")
        self.condition = condition
        self.note = note
        self.extra = extra
        self.before: list[Header | Element | StreamEnd] = []


@dataclass(frozen=True, slots=True)
class XmlLimits:
    """How much one peer may make us hold and do.

    Attributes:
        stanza_bytes: of one element at the first level, and of all before the stream's tag ends.
        tag_bytes: of one tag.
        depth: elements inside each other, the stream's not counted.
        elements: of one element at the first level.
        attributes: of one element.
        namespaces: declarations in scope at one place, those of the stream's tag counted.
        new_names: distinct names that one element at the first level may bring.
    """

    stanza_bytes: int
    tag_bytes: int
    depth: int
    elements: int
    attributes: int
    namespaces: int
    new_names: int

    @property
    def counts(self) -> tuple[int, int, int]:
        """Depth with the stream's own element, elements, and names and values of attributes."""
        return self.depth + 1, self.elements, 2 * self.attributes


#: For strangers. ejabberd takes 8192 bytes and 32 elements before authentication.
BEFORE: Final = XmlLimits(8_192, 4_096, 8, 32, 16, 8, 64)
#: For a peer that has proved a domain; the size is the default of `xmpp.stanza_bytes`.
AFTER: Final = XmlLimits(262_144, 16_384, 64, 4_000, 64, 64, 256)


@dataclass(frozen=True, slots=True)
class Header:
    """The tag that opens a stream (RFC 6120 section 4.7).

    Attributes:
        from_: as written, empty if it is not there; likewise the next two.
        to: see above.
        ident: the attribute `id`.
        version: major and minor; (0, 0) where it is not there, for then the other side knows no features.
        language: `xml:lang`.
        content: the default namespace.
        prefixes: namespace names by prefix, the default not among them.
    """

    from_: str
    to: str
    ident: str
    version: tuple[int, int]
    language: str
    content: str
    prefixes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The stream's tag was closed."""


def over(limit: str) -> XmlRefused:
    """Make the refusal of what is over a limit (RFC 6120 section 4.9.3.14).

    Args:
        limit: the field of `XmlLimits`.
    """
    return XmlRefused(Condition.POLICY_VIOLATION, limit, _TOO_BIG if limit in _SIZES else b"")
