"""Figures of the bench that have a budget say whether it held."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.__main__ import BUDGETS, IN_FLIGHT_TIMES, SATURATION_US, Figures, judged, show, show_more

SCALING = Path(__file__).parents[1] / "docs" / "scaling.md"


def test_what_is_over_its_budget_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """At most for costs, at least for what is done in a second; nothing is said of other figures."""
    assert judged(8.0, 8.0, "us") == "  budget at most 8 us"
    assert judged(8.1, 8.0, "us") == "  budget at most 8 us: NOT HELD"
    assert judged(59_000, 60_000, least=True) == "  budget at least 60,000: NOT HELD"
    show_more(
        {"us CPU a notify pair": 16.0, "notify pairs a second": 70_000.0, "us CPU a message pair": 99.0}
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("NOT HELD") for line in lines] == [True, False, False]
    assert ["budget" in line for line in lines] == [True, True, False]


def test_pairs_are_judged_in_their_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Saturation by microseconds, 16 in flight by the plain forwarder of the same run."""
    more = {"not_success": {}, "reasons": {}, "core": 1.0, "generator_us": 0.3}
    label = "16 in flight on 4 links"
    show([
        Figures("router, all checks", "saturation", 9.0, 1.0, 1.0, 1.0, more),
        Figures("router, all checks", label, 7.0, 1.0, 1.0, 1.0, more),
        Figures("Twisted forwarder", label, 2.2, 1.0, 1.0, 1.0, more),
    ])  # fmt: skip
    told = [line for line in capsys.readouterr().out.splitlines() if "budget" in line]
    assert [line.endswith("NOT HELD") for line in told] == [True, False]


def test_the_page_states_the_same_budgets() -> None:
    """`docs/scaling.md` is what operators read."""
    text = SCALING.read_text()
    for value in (*BUDGETS.values(), SATURATION_US, IN_FLIGHT_TIMES):
        assert f"budget {value:,g}" in text
