"""Every row of `docs/specs/xmpp-mapping.md` holds: read from the page, in the directions that it names."""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp import checks
from tests.gateways.xmpp.checks import CHECKS, SECTIONS
from tests.gateways.xmpp.mapping import Row, rows, spans, transitions
from tests.gateways.xmpp.not_yet import NOT_YET

for _module in sorted(Path(checks.__file__).parent.glob("[a-z]*.py")):
    import_module(f"{checks.__name__}.{_module.stem}")

ROWS = rows()
TRANSITIONS = transitions()
BY_ID: dict[str, Row] = {row.ident: row for row in ROWS}


def hold(ident: str) -> None:
    """Check a row."""
    row = BY_ID.get(ident)
    if row is None or row.direction == "rule":
        assert ident in CHECKS, f"no check for {ident}"
        CHECKS[ident]()
        return
    reader = SECTIONS.get(row.section) or SECTIONS.get(row.section.partition(".")[0])
    assert reader is not None, f"nobody reads section {row.section}"
    reader(row)


@pytest.mark.parametrize("ident", [row.ident for row in ROWS] + [row.ident for row in TRANSITIONS])
def test_a_row_holds(ident: str) -> None:
    """And one that is named as missing does not, so that the list only shrinks."""
    if ident not in NOT_YET:
        hold(ident)
        return
    with pytest.raises(AssertionError):
        hold(ident)


def test_each_id_stands_once() -> None:
    """It names the test."""
    twice = [one for one, n in Counter([*BY_ID, *(row.ident for row in TRANSITIONS)]).items() if n > 1] + [
        one for one, n in Counter(row.ident for row in ROWS).items() if n > 1
    ]
    assert twice == []


def test_every_check_has_its_row() -> None:
    """A rule that no page tells is none."""
    known = {row.ident for row in ROWS if row.direction == "rule"} | {row.ident for row in TRANSITIONS}
    assert set(CHECKS) <= known
    assert set(NOT_YET) <= set(BY_ID) | {row.ident for row in TRANSITIONS}


def _reasons(section: str) -> Counter[str]:
    return Counter(
        span.removeprefix("reason=")
        for row in ROWS
        if row.section == section
        for span in row.model_spans
        if span.startswith("reason=")
    )


def test_each_disclosed_reason_stands_once() -> None:
    """In the table of what senders are told; and none beside them."""
    assert _reasons("4.1") == Counter({reason.disclosed: 1 for reason in Reason})


#: RFC 6120 section 8.3.3, and one that it took over from RFC 3920 section 9.3.3.
CONDITIONS = [
    "bad-request",
    "conflict",
    "feature-not-implemented",
    "forbidden",
    "gone",
    "internal-server-error",
    "item-not-found",
    "jid-malformed",
    "not-acceptable",
    "not-allowed",
    "not-authorized",
    "policy-violation",
    "recipient-unavailable",
    "redirect",
    "registration-required",
    "remote-server-not-found",
    "remote-server-timeout",
    "resource-constraint",
    "service-unavailable",
    "subscription-required",
    "undefined-condition",
    "unexpected-request",
    "payment-required",
]


def test_each_condition_stands_once() -> None:
    """Beside the one that is told apart by its type."""
    named = [span for row in ROWS if row.section == "4.2" for span in spans(row.xmpp)]
    assert Counter(span for span in named if "/" not in span) == Counter(CONDITIONS)
    assert {span.partition("/")[2] for span in named if "/" in span} <= set(CONDITIONS)
