"""The scene of a staged failure."""

from collections.abc import Iterator

import pytest

from tests.doubles.router_rig import Lab
from tests.staged.scene import Scene


@pytest.fixture
def scene(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Give a laboratory whose log is read."""
    with Scene(lab, monkeypatch) as made:
        yield made
