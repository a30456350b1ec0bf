"""Configuration reloads under load: no message fails, no link ends, memory does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.router_rig import Lab
from tests.reload.scene import Scene, rounds

#: What a process may have more at the end than when it had been through some reloads.
GROWTH_KIB = 4096


@pytest.fixture
def scene(lab: Lab) -> Iterator[Scene]:
    """Both sides, with links between them."""
    folder = lab.folder / "p"
    folder.mkdir()
    made = Scene(lab, Path(folder))
    try:
        made.begin()
        yield made
    finally:
        made.end()


def judge(scene: Scene, count: int, each: int) -> None:
    """Reload, and hold what must hold to the figures."""
    figures = list(rounds(scene, count, each, print))
    scene.settle()
    assert scene.link_numbers() == scene.links
    assert scene.reloads == {"refused": count // 10, "applied": count - count // 10}
    assert scene.console.config()["reloads"]["failed"] == 0
    assert scene.sent > count
    settled = figures[len(figures) // 4]
    assert figures[-1] - settled < GROWTH_KIB, figures


def test_reloads_under_load(scene: Scene) -> None:
    """The short form."""
    judge(scene, 20, 5)


@pytest.mark.soak
def test_many_reloads_under_load(scene: Scene) -> None:
    """Many times what is asked for, with the memory after each 100."""
    judge(scene, 1000, 100)
