"""The generated pages are what the code says."""

from __future__ import annotations

from pathlib import Path

from imxrouter.telemetry.reference import main

ROOT = Path(__file__).parents[2]


def test_pages_are_current(tmp_path: Path) -> None:
    """The repository equals the generator; an empty tree does not."""
    assert main(["--check", str(ROOT)]) == 0
    assert main(["--check", str(tmp_path)]) == 1
