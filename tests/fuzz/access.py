"""Patterns of block and allow lists, and bodies of abuse reports: any text gives a value or the room's error.

The invariant: what is read reads the same from its own form, and a pattern names a key in linear time.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.model.abuse import AbuseType, BadReport, Report
    from imxrouter.model.address import Address
    from imxrouter.model.patterns import BadPattern, Pattern, Rank


def check(data: bytes) -> Hashable:
    """Read it as a pattern and as a report; returns what kind of input it was."""
    return _pattern(data), _report(data)


def _pattern(data: bytes) -> Hashable:
    try:
        pattern = Pattern.parse(data.decode("utf-8", "replace"))
    except BadPattern as error:
        return str(error).rpartition(":")[2][:12]
    again = Pattern.parse(pattern.text)
    assert (again.key, again.where, again.rank) == (pattern.key, pattern.where, pattern.rank), pattern
    if pattern.rank is Rank.LOCAL:
        assert pattern.matches_local(b"x".join(pattern.pieces)) or len(pattern.pieces) == 1
        pattern.matches_local(b"ab" * 100)
    return pattern.rank, len(pattern.pieces), pattern.where[:2]


def _report(data: bytes) -> Hashable:
    try:
        report = Report.decode(data)
    except BadReport as error:
        return str(error).partition(":")[0][:12]
    assert Report.decode(report.encode()) == report
    return report.kind, bool(report.message_id), bool(report.text)


def seeds() -> list[bytes]:
    """One of each kind."""
    report = Report(
        AbuseType.SPAM, Address.parse("eve@m.example"), Address.parse("bob@b.example"), 1, bytes(16), "words"
    )
    patterns = ("eve@m.example", "a*b*c@.m.example", "*@m.example", ".m.example", "*.example", "*", "é*@ü.de")
    return [*(text.encode() for text in patterns), report.encode()]


if __name__ == "__main__":
    sys.exit(engine.main("access", check, seeds()))
