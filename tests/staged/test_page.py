"""The table is complete, and the page for operators is made from it."""

import re

from imxrouter.config.reference import page as configuration_page
from imxrouter.model.vocabulary import Reason
from tests.layout import ROOT
from tests.staged.page import PAGE, page, staged_reasons
from tests.staged.table import CASES, LINK_CASES, UNSTAGED


def test_every_reason_is_staged_or_says_why_not() -> None:
    """And none says why not although it is."""
    assert staged_reasons() | set(UNSTAGED) == set(Reason)
    assert staged_reasons() & set(UNSTAGED) == set()


def test_names_are_unique() -> None:
    """They are the ids of the tests."""
    names = [*(case.name for case in CASES), *(case.name for case in LINK_CASES)]
    assert len(names) == len(set(names))


def test_the_page_is_current() -> None:
    """It is what `python -m tests.staged.page` writes."""
    assert (ROOT / PAGE).read_text("utf-8") == page(), "run python -m tests.staged.page"


def test_remedies_name_keys_that_exist() -> None:
    """A table and a key of it, as in `dial.hold_count`."""
    text = configuration_page()
    keys = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    tables = r"\b((?:caps|dial|dialback|dns|limits|links|trust)\.(\w+))"
    named = [found for reason in Reason for found in re.findall(tables, reason.remedy)]
    assert len(named) > 8
    assert [whole for whole, key in named if key not in keys and f"[[{whole}]]" not in text] == []
