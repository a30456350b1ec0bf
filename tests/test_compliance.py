"""Holds `docs/compliance.md` to the list of requirements and to the tests that exist."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compliance.md"
IDS = ROOT / "tests" / "data" / "requirement-ids.txt"

STATES = {"works", "partly", "not yet"}
# Only a requirement on whole systems may be met elsewhere, and then the row says how or why.
STATES_OF_2779 = STATES | {"by services", "out of scope"}

ROW = re.compile(r"^\| ([A-Z0-9]+-[A-Z0-9.]+) \|(.*)\|$")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the page."""

    id: str
    demand: str
    where: str
    test: str
    state: str


def rows_of(page: str) -> list[Row]:
    """Read the rows of a page.

    Raises:
        ValueError: a row has not five columns.
    """
    rows = []
    for line in page.splitlines():
        match = ROW.match(line)
        if match is None:
            continue
        cells = [cell.strip() for cell in match[2].split("|")]
        if len(cells) != 4:
            raise ValueError(f"{match[1]}: five columns wanted")
        rows.append(Row(match[1], *cells))
    return rows


def row_faults(rows: list[Row], ids: list[str]) -> Iterator[str]:
    """Yield a sentence for each id without exactly one row, and each row that is not sound."""
    found = [row.id for row in rows]
    for missing in sorted(set(ids) - set(found)):
        yield f"{missing}: no row"
    for row in rows:
        if row.id not in ids:
            yield f"{row.id}: not in requirement-ids.txt"
        if found.count(row.id) > 1:
            yield f"{row.id}: more than one row"
        if not row.demand:
            yield f"{row.id}: says no demand"
        yield from state_faults(row)
        yield from reference_faults(row)


def state_faults(row: Row) -> Iterator[str]:
    """Yield a sentence where the state is unknown, or claims more than the row shows."""
    if row.state not in (STATES_OF_2779 if row.id.startswith("2779-") else STATES):
        yield f"{row.id}: {row.state!r} is no state"
    if row.state == "works" and not (quoted(row.where) and quoted(row.test)):
        yield f"{row.id}: works, and names no file or no test"
    if row.state in {"by services", "out of scope"} and not row.where:
        yield f"{row.id}: {row.state}, and does not say how or why"


def reference_faults(row: Row) -> Iterator[str]:
    """Yield a sentence for each test or file that the row names and that is not there."""
    for name in quoted(row.test):
        if not is_test(name):
            yield f"{row.id}: there is no test {name}"
    for name in quoted(row.where):
        if "/" in name and not (ROOT / name).exists():
            yield f"{row.id}: there is no file {name}"


def quoted(cell: str) -> list[str]:
    """Return what stands in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def is_test(name: str) -> bool:
    """Say whether `tests/file.py` or `tests/file.py::[Class::]test` names something that pytest runs."""
    file, *inside = name.split("::")
    path = ROOT / file
    if not (file.startswith("tests/") and path.name.startswith("test_") and path.is_file()):
        return False
    body: list[ast.stmt] = ast.parse(path.read_text()).body
    for wanted in inside:
        node = next((node for node in body if getattr(node, "name", None) == wanted), None)
        if node is None:
            # A state machine of Hypothesis is a test by assignment: TestX = Machine.TestCase
            return inside[-1] == wanted and any(
                isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == wanted for node in body
            )
        body = node.body if isinstance(node, ast.ClassDef) else []
    return True


def known_ids() -> list[str]:
    """Return the ids of all requirements."""
    return IDS.read_text().split()


def test_ids_are_listed_once() -> None:
    """The list names each requirement once."""
    assert len(known_ids()) == len(set(known_ids()))


def test_page_is_sound() -> None:
    """Every requirement has one row, and what a row claims exists."""
    assert list(row_faults(rows_of(PAGE.read_text()), known_ids())) == []


SELF = "`tests/test_compliance.py::test_page_is_sound`"
BAD_PAGES = {
    "no row": ("", "no row"),
    "two rows": ("| X-1 | a | | | not yet |\n| X-1 | a | | | not yet |", "more than one row"),
    "unknown id": ("| X-1 | a | | | not yet |\n| X-2 | a | | | not yet |", "not in requirement-ids.txt"),
    "unknown state": ("| X-1 | a | | | nearly |", "is no state"),
    "state of others": ("| X-1 | a | b | | out of scope |", "is no state"),
    "works without test": ("| X-1 | a | `docs/compliance.md` | | works |", "names no file or no test"),
    "works without place": (f"| X-1 | a | | {SELF} | works |", "names no file or no test"),
    "missing test": ("| X-1 | a | | `tests/test_compliance.py::test_nothing` | partly |", "there is no test"),
    "missing test file": ("| X-1 | a | | `tests/test_nothing.py` | partly |", "there is no test"),
    "not a test file": ("| X-1 | a | | `tests/conftest.py` | partly |", "there is no test"),
    "missing file": ("| X-1 | a | `imxrouter/no/such.py` | | partly |", "there is no file"),
}


@pytest.mark.parametrize("name", BAD_PAGES)
def test_a_bad_page_is_found(name: str) -> None:
    """Each kind of unsound row is reported."""
    page, expected = BAD_PAGES[name]
    faults = list(row_faults(rows_of(page), ["X-1"]))
    assert faults
    assert all(expected in fault for fault in faults)


def test_a_good_row_is_let_through() -> None:
    """A row that works, with its file and its test."""
    page = f"| X-1 | a | `docs/compliance.md` | {SELF} | works |"
    assert list(row_faults(rows_of(page), ["X-1"])) == []
