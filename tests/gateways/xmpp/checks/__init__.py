"""What the rows of the mapping are held to: a reader for each section, a check for each rule.

A module here registers itself with `section` and `rule`; `test_mapping_document.py` imports all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.gateways.xmpp.mapping import Row

#: Number of a section (or of the one around it) -> what holds a row of it that is no rule.
SECTIONS: Final[dict[str, Callable[[Row], None]]] = {}
#: Id of a `rule` row, or of a row of transitions -> its check.
CHECKS: Final[dict[str, Callable[[], None]]] = {}


def section(*numbers: str) -> Callable[[Callable[[Row], None]], Callable[[Row], None]]:
    """Say that a function holds the rows of these sections that are no rules."""

    def register(reader: Callable[[Row], None]) -> Callable[[Row], None]:
        for number in numbers:
            assert number not in SECTIONS, number
            SECTIONS[number] = reader
        return reader

    return register


def rule(*idents: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Say that a function checks these rules."""

    def register(check: Callable[[], None]) -> Callable[[], None]:
        for ident in idents:
            assert ident not in CHECKS, ident
            CHECKS[ident] = check
        return check

    return register
