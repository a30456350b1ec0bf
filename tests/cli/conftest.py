"""The command line beside a double of the administration port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_imxctl import Shell
from tests.doubles.reactor_thread import ReactorThread


@pytest.fixture
def shell(reactor_thread: ReactorThread, tmp_path: Path) -> Iterator[Shell]:
    """Give a shell beside a running double."""
    made = Shell(reactor_thread, tmp_path / "admin.sock")
    yield made
    made.close()
