"""Over any interleaving of cut, delay, lateness, restart and lies, what is always true stays true.

No domain is proved without a verified right answer on that link, and an honest one is proved in the end; no
operation passes rule 1; every request ends in exactly one outcome, and the outcome is true; nothing is
delivered twice; figures add up after every step; and when all is over, nothing is kept.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.properties.world import World

SHAPES = {
    "two": {"a.example": 1, "b.example": 1},
    "three": {"a.example": 1, "b.example": 1, "c.example": 1},
    "two processes": {"a.example": 1, "b.example": 2},
}
EVENTS = [
    *["submit"] * 4, *["pump"] * 5, *["flow"] * 3, *["tick"] * 3, *["answer"] * 3, *["cut"] * 2,
    "freeze", "thaw", "restart", "close", "drop_proof", "withdraw", "repeat",
]  # fmt: skip
LIES = [*["connect"] * 2, *["play"] * 3, *["lie"] * 6]

#: An event and the number that decides what it leaves open.
Script = list[tuple[str, int]]


def scripts(events: list[str], longest: int) -> st.SearchStrategy[Script]:
    """Rows of events."""
    return st.lists(st.tuples(st.sampled_from(events), st.integers(0, 9999)), min_size=5, max_size=longest)


def run(shape: str, script: Script, *, liar: bool) -> None:
    """Play a script, heal the world, and look at what must hold."""
    world = World(SHAPES[shape], liar=liar)
    for name, seed in script:
        world.step(name, seed)
    world.heal()
    world.prove_all()


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=scripts(EVENTS, 60))
def test_honest_routers_over_a_bad_network(shape: str, script: Script) -> None:
    """Whatever the network does and whoever restarts."""
    run(shape, script, liar=False)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=scripts(EVENTS + LIES * 2, 80))
def test_a_liar_among_them(shape: str, script: Script) -> None:
    """Whatever somebody says who has a domain, an address, and everything that was ever sent to him."""
    run(shape, script, liar=True)
