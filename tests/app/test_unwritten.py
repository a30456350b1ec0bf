"""What users set while the disk is full holds, and the operator is told that it is not written."""

from __future__ import annotations

import pytest

from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.full_disk import fill_disk
from tests.doubles.router_rig import Lab, RouterRig

BOB, ALICE = "bob@b.example", "alice@a.example"
CHANGES = [
    ("presence", BOB, "--publish", "away"),
    ("watchers", BOB, "--block", ALICE),
    ("rules", BOB, "--allow", "a.example"),
    ("rules", BOB, "--let", ALICE, "publish"),
    ("contacts", BOB, "--add", ALICE),
    ("user", BOB, "--set", "alias=Bobby"),
]
WORDS = "not written yet: a restart would lose it"


@pytest.fixture
def bobs(lab: Lab) -> RouterRig:
    """His router."""
    return lab.router("b.example")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_on_a_full_disk(lab: Lab, bobs: RouterRig, change: tuple[str, ...]) -> None:
    """It is made, and the command says that it is not written; with a disk that works it does not."""
    works = ctl(bobs, *change)
    assert (works.exit_code, WORDS in works.output) == (0, False), works.output
    assert ctl_json(bobs, *change)["kept"] is True
    fill_disk(lab, bobs)
    full = ctl(bobs, *change)
    assert full.exit_code == 0, full.output
    assert WORDS in full.stderr
    assert ctl_json(bobs, *change)["kept"] is False


@pytest.mark.parametrize("word", sorted({change[0] for change in CHANGES}))
def test_a_look_on_a_full_disk(lab: Lab, bobs: RouterRig, word: str) -> None:
    """Nothing was changed, so nothing is said."""
    fill_disk(lab, bobs)
    assert WORDS not in ctl(bobs, word, BOB).output
