"""Languages, line ends and choice among several texts (sections 3 and 5 of the mapping)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from imxrouter.formats.xmltree import Element
from imxrouter.model.presence import is_language

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
#: Bytes of an id that an ORIGIN_ID holds (imx-protocol section 12.2); INSTANCE has the same limit.
MAX_SHORT_BYTES: Final = 255


def language_of(element: Element) -> str:
    """The language that holds at an element, in lower case; empty for none, and for what is no tag."""
    return element.language if is_language(element.language) else ""


def chosen(texts: Sequence[Element], language: str) -> Element | None:
    """Of one text in several languages that in the stanza's own, else the first (RFC 6121 section 5.2.3)."""
    wanted = language.lower()
    same = (one for one in texts if one.language.lower() == wanted)
    return next(same, texts[0] if texts else None)


def has_twins(texts: Sequence[Element]) -> bool:
    """Whether two texts are in one language, which RFC 6121 section 5.2.3 does not allow."""
    return len({one.language.lower() for one in texts}) < len(texts)


def one_line(text: str) -> str:
    """A text as an attribute: control characters and line ends are blanks (imx-protocol section 12.5)."""
    return _CONTROL.sub(" ", text)


def unix_lines(text: str) -> str:
    """Line ends as XML has them (XML 1.0 section 2.11)."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def short(text: str) -> bytes:
    """A text that has to fit into 255 bytes; empty where it does not."""
    raw = text.encode("utf-8", "surrogatepass")
    return raw if len(raw) <= MAX_SHORT_BYTES else b""
