"""Over any interleaving of cut, delay, restart, carelessness and lies, presence is neither false nor told on.

No notification reaches a watcher without a live subscription of his, nor leaves for whom nobody subscribed;
nobody is shown an older state than before; a host that is cut off is shown as unknown in time; in the end
each watcher sees what was published last; tables are bounded, and empty when all has expired.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.properties.presence_world import PresenceWorld
from tests.properties.test_worlds import LONG, SHAPES, SHORT, Script, scripts

#: One host for each organisation: what one host passed on, another one of it does not know.
PRESENCE_SHAPES = ["two", "three", "two processes", "more domains"]
EVENTS = [
    *["watch"] * 3, *["unwatch"] * 2, "fetch", *["publish"] * 4, "decide", *["stray"] * 2, "restart_service",
    "submit", *["pump"] * 4, *["flow"] * 3, *["second"] * 2, *["tick"] * 3, *["answer"] * 2, *["cut"] * 2,
    "freeze", "give_up", "overtake", "thaw", "restart", "close", "drop_proof", "withdraw", "dark",
]  # fmt: skip
#: Fewer of the same worlds in each run: they are longer.
FEW = settings(SHORT, max_examples=6)
LIES = [*["connect"] * 2, *["play"] * 4, *["lie"] * 5]


def run_presence(shape: str, script: Script, *, liar: bool) -> None:
    """Play a script, heal the world, and look at what must hold."""
    world = PresenceWorld(SHAPES[shape], liar=liar)
    for name, seed in script:
        world.step(name, seed)
    world.heal()
    world.come_right()
    world.end_watching()
    world.rest()


@pytest.mark.parametrize("shape", PRESENCE_SHAPES)
@FEW
@given(script=scripts(EVENTS, 60, 20))
def test_presence_over_a_bad_network(shape: str, script: Script) -> None:
    """Whatever the network does and whoever restarts."""
    run_presence(shape, script, liar=False)


@pytest.mark.parametrize("shape", PRESENCE_SHAPES)
@FEW
@given(script=scripts(EVENTS + LIES * 2, 80, 30))
def test_presence_with_a_liar(shape: str, script: Script) -> None:
    """Whatever somebody says who has a domain, and knows every id."""
    run_presence(shape, script, liar=True)


@pytest.mark.soak
@pytest.mark.parametrize("shape", PRESENCE_SHAPES)
@LONG
@given(script=scripts(EVENTS, 200, 20))
def test_presence_for_long(shape: str, script: Script) -> None:
    """The long form."""
    run_presence(shape, script, liar=False)


@pytest.mark.soak
@pytest.mark.parametrize("shape", PRESENCE_SHAPES)
@LONG
@given(script=scripts(EVENTS + LIES * 2, 250, 30))
def test_presence_with_a_liar_for_long(shape: str, script: Script) -> None:
    """The long form."""
    run_presence(shape, script, liar=True)
