"""Work that can wait: one piece in each turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from imxrouter.app.turns import Turns


class Scene:
    """A reactor that goes round when it is told to, and what was done in it."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.done: list[str] = []
        self.turns = Turns(self, self._together)

    def callLater(self, delay_s: float, what: Callable[[], None]) -> None:  # noqa: N802 - Twisted's name
        """As the reactor's: what is called for in a turn comes in the next one."""
        assert delay_s == 0
        self.calls.append(what)

    @contextmanager
    def _together(self) -> Iterator[None]:
        self.done.append("(")
        yield
        self.done.append(")")

    def add(self, word: str) -> None:
        """Have a word written in a turn of its own."""
        self.turns.later(lambda: self.done.append(word))

    def turn(self) -> str:
        """Let the reactor go round once; gives what was done."""
        before = len(self.done)
        calls, self.calls = self.calls, []
        for call in calls:
            call()
        return "".join(self.done[before:])


def test_one_piece_is_done_in_a_turn() -> None:
    """In order, what it sends together; nothing at once, and nothing is left to do in the end."""
    scene = Scene()
    scene.add("a")
    scene.add("b")
    assert scene.done == []
    assert (scene.turn(), scene.turn(), scene.turn()) == ("(a)", "(b)", "")
    assert not scene.calls
    scene.add("c")
    assert scene.turn() == "(c)"


def test_what_a_piece_asks_for_comes_after_the_others() -> None:
    """It has no turn in the same one."""
    scene = Scene()
    scene.turns.later(lambda: scene.add("again"))
    scene.add("other")
    assert (scene.turn(), scene.turn(), scene.turn()) == ("()", "(other)", "(again)")


def test_a_piece_that_fails_keeps_no_other_back() -> None:
    """The reactor is told, and goes on."""
    scene = Scene()

    def fails() -> None:
        raise ZeroDivisionError

    scene.turns.later(fails)
    scene.add("next")
    with pytest.raises(ZeroDivisionError):
        scene.turn()
    assert scene.turn() == "(next)"
