"""Fuzzes the cleaner of text/html-lite.

Invariant: any text is cleaned or refused as `BadHtml` and nothing else. What is cleaned holds no tag but
those of the specification in their canonical form, and cleaning it again changes nothing; its plain text
needs no cleaning when it is made a document again.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Hashable

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.formats.html_lite import ELEMENTS, SCHEMES, BadHtml, from_text, sanitise, to_text

from tests.vectors.load import load

_ALLOWED = re.compile(
    rf"<br>|</?(?:{'|'.join(sorted(ELEMENTS - {'a', 'br'}))})>|</a>"
    rf'|<a href="(?:{"|".join(sorted(SCHEMES))}):[^"]+">',
    re.IGNORECASE,
)


def seeds() -> list[bytes]:
    """Documents to begin from: those of the vectors."""
    vectors = load("html-lite")
    return [one["html"].encode("utf-8", "replace") for kind in ("clean", "to_text") for one in vectors[kind]]


def check(data: bytes) -> Hashable:
    """One document."""
    try:
        cleaned = sanitise(data.decode("utf-8", "surrogateescape"))
    except BadHtml as error:
        return error.fault
    assert "<" not in _ALLOWED.sub("", cleaned), cleaned
    assert sanitise(cleaned) == cleaned
    text = to_text(cleaned)
    document = from_text(text)
    assert sanitise(document) == document
    return tuple(sorted(set(_ALLOWED.findall(cleaned)), key=len))[:4], text.count("\n")


if __name__ == "__main__":
    sys.exit(engine.main("html_lite", check, seeds()))
