"""Reloads of configuration and certificates under load: nothing fails, no link ends, memory does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.router_rig import Lab
from tests.reload.scene import Scene, rounds

#: What a process may have more at the end than when it had been through a quarter of the reloads.
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


def judge(scene: Scene, reloads: int, certificates: int, each: int) -> None:
    """Reload both, and hold what must hold to the figures."""
    first = list(rounds(scene, scene.reload, reloads, each, "configuration"))
    second = list(rounds(scene, scene.reload_certificates, certificates, each, "certificates"))
    scene.settle()
    assert scene.link_numbers() == scene.links
    assert scene.reloads == {"refused": reloads // 10, "applied": reloads - reloads // 10}
    assert scene.certificates == {
        "refused": certificates // 10, "swapped": certificates - certificates // 10,
    }  # fmt: skip
    assert scene.handshakes == certificates
    assert scene.console.config()["reloads"]["failed"] == 0
    assert scene.sent > reloads + certificates
    for figures in (first, second):
        assert figures[-1] - figures[len(figures) // 4] < GROWTH_KIB, figures


def test_reloads_under_load(scene: Scene) -> None:
    """The short form."""
    judge(scene, 20, 20, 5)


@pytest.mark.soak
def test_many_reloads_under_load(scene: Scene) -> None:
    """Many times what is asked for, with the memory after each 100."""
    judge(scene, 1000, 1000, 100)
