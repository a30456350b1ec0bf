"""Tests of a file, and of a folder with one laboratory, are carried out by one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.side_by_side import TOGETHER, scope_of

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("tests/app/test_x.py::test_y[a::b]", "tests/app/test_x.py"),
        ("tests/interop/test_x.py::Class::test_y", "tests/interop/test_x.py"),
        ("tests/interop/edge/test_x.py::test_y", "tests/interop/edge"),
        ("tests/interop/edgeways/test_x.py::test_y", "tests/interop/edgeways/test_x.py"),
    ],
)
def test_scope(nodeid: str, scope: str) -> None:
    """It goes by the file, but for folders that are named."""
    assert scope_of(nodeid) == scope


def test_folders_with_a_shared_laboratory_are_named() -> None:
    """A fixture of a package is built once, so one process has to have all of the package."""
    shared = {
        file.parent.relative_to(HERE.parent).as_posix()
        for file in HERE.rglob("*.py")
        if 'scope="package"' in file.read_text() and file != Path(__file__)
    }
    assert shared == set(TOGETHER)
