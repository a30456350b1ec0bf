"""Fixtures of the tests against software by others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.federation import Federation, federation

#: Lines of each log that a failed test shows.
_TAIL_LINES = 40


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Three organisations; their names are served, none of their routers runs."""
    yield from federation(tmp_path_factory.mktemp("lab"))


@pytest.fixture
def lab(laboratory: Federation, request: pytest.FixtureRequest) -> Iterator[Federation]:
    """The laboratory, everything cold; afterwards the routers' books are checked."""
    for log in laboratory.where.glob("*.log"):
        log.unlink()
    for state in laboratory.where.glob("*/state"):
        shutil.rmtree(state)
    yield laboratory
    failed = getattr(request.node, "failed", False)
    try:
        if not failed:
            laboratory.stop()
    finally:
        laboratory.abandon()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show the ends of the routers' logs with a failed test."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        item.failed = True  # type: ignore[attr-defined]
        lab = item.funcargs.get("lab") or item.funcargs.get("laboratory")
        if isinstance(lab, Federation):
            for log in sorted(lab.where.glob("*.log")):
                lines = log.read_text(errors="replace").splitlines()
                report.sections.append((f"end of {log}", "\n".join(lines[-_TAIL_LINES:])))
    return report
