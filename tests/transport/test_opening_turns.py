"""Turns of links that are opened to one host, and to the hosts behind one address."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from imxrouter.transport.opened_links import OpenedLinks
from imxrouter.transport.opening_turns import PORTS_FIRST, PORTS_FULL, UNPROVED_AT_ONCE, Key, OpeningTurns

KEY: Key = (("192.0.2.1", 6490), b"")
NEIGHBOUR: Key = (("192.0.2.1", 6491), b"")
OTHER: Key = (("192.0.2.2", 6490), b"")


class Scene:
    """Turns, and a clock."""

    def __init__(self) -> None:
        self.time = 0.0
        hub = SimpleNamespace(now=lambda: self.time, opened_links=OpenedLinks())
        self.turns = OpeningTurns(cast("Any", hub))

    def waiting(self, key: Key = KEY) -> list[object]:
        """Something that wants a turn; filled once it has it."""
        had: list[object] = []
        self.turns.wait(key).addCallback(had.append)
        return had


def test_so_many_at_a_time() -> None:
    """The next one when one has ended; another host is not concerned, at this address or elsewhere."""
    scene = Scene()
    firsts = [scene.waiting() for _ in range(UNPROVED_AT_ONCE)]
    late, elsewhere, beside = scene.waiting(), scene.waiting(OTHER), scene.waiting(NEIGHBOUR)
    assert all(firsts)
    assert elsewhere
    assert beside
    assert not late
    scene.turns.done(KEY)
    assert late
    assert not scene.turns.waiting


def _dead(scene: Scene, ports: int) -> list[list[object]]:
    """All that may be under way to ports of the address that never answer, the first of each before all."""
    keys: list[Key] = [((KEY[0][0], 1 + number), b"") for number in range(ports)]
    return [scene.waiting(key) for _ in range(UNPROVED_AT_ONCE) for key in keys]


def test_dead_ports_keep_nobody_from_their_neighbour() -> None:
    """However many are dialled at that address: who has nothing under way there gets a turn."""
    scene = Scene()
    dead = _dead(scene, 100)
    assert sum(map(bool, dead)) == PORTS_FIRST * UNPROVED_AT_ONCE  # the bound of an address
    scene = Scene()
    dead = _dead(scene, PORTS_FULL * 2)
    assert sum(map(bool, dead)) == PORTS_FULL * UNPROVED_AT_ONCE
    assert scene.waiting(NEIGHBOUR)
    assert not scene.waiting(NEIGHBOUR)  # a second one has to wait
    assert scene.turns.waiting


def test_a_free_turn_goes_to_whom_has_least() -> None:
    """Not to the one that waits first."""
    scene = Scene()
    dead = _dead(scene, PORTS_FULL * 2)
    first, second = scene.waiting(NEIGHBOUR), scene.waiting(NEIGHBOUR)
    assert first
    for _ in range(2):  # one turn above the bound was the neighbour's
        scene.turns.done(((KEY[0][0], 1), b""))
    assert second
    assert sum(map(bool, dead)) == PORTS_FULL * UNPROVED_AT_ONCE


def test_a_host_without_room_is_left_alone_until_it_said() -> None:
    """Also by those that wait already; another one is not concerned, at this address or elsewhere."""
    scene = Scene()
    scene.turns.rest(KEY[0], 2.0)
    one, verifying, elsewhere = scene.waiting(), scene.waiting((KEY[0], b"net")), scene.waiting(OTHER)
    assert elsewhere
    assert scene.waiting(NEIGHBOUR)
    scene.time = 1.9
    scene.turns.wake()
    assert not one
    assert not verifying
    scene.time = 2.0
    scene.turns.wake()
    assert one
    assert verifying
