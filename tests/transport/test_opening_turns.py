"""Turns of links that are opened to one address."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from imxrouter.transport.opened_links import OpenedLinks
from imxrouter.transport.opening_turns import UNPROVED_AT_ONCE, OpeningTurns

KEY = ("192.0.2.1", b"")
OTHER = ("192.0.2.2", b"")


class Scene:
    """Turns, and a clock."""

    def __init__(self) -> None:
        self.time = 0.0
        hub = SimpleNamespace(now=lambda: self.time, opened_links=OpenedLinks())
        self.turns = OpeningTurns(cast("Any", hub))

    def waiting(self, key: tuple[str, bytes] = KEY) -> list[object]:
        """Something that wants a turn; filled once it has it."""
        had: list[object] = []
        self.turns.wait(key).addCallback(had.append)
        return had


def test_so_many_at_a_time() -> None:
    """The next one when one has ended; another address is not concerned."""
    scene = Scene()
    firsts = [scene.waiting() for _ in range(UNPROVED_AT_ONCE)]
    late, elsewhere = scene.waiting(), scene.waiting(OTHER)
    assert all(firsts)
    assert elsewhere
    assert not late
    scene.turns.done(KEY)
    assert late
    assert not scene.turns.waiting


def test_an_address_without_room_is_left_alone_until_it_said() -> None:
    """Also by those that wait already; another address is not concerned."""
    scene = Scene()
    scene.turns.rest(KEY[0], 2.0)
    one, verifying, elsewhere = scene.waiting(), scene.waiting((KEY[0], b"net")), scene.waiting(OTHER)
    assert elsewhere
    scene.time = 1.9
    scene.turns.wake()
    assert not one
    assert not verifying
    scene.time = 2.0
    scene.turns.wake()
    assert one
    assert verifying
