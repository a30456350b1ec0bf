"""Over any interleaving of cut, delay, lateness, restart and lies, what is always true stays true.

No domain is proved without a verified right answer on that link, and an honest one is proved in the end; no
operation passes rule 1; every request ends in exactly one outcome, and the outcome is true; nothing is
delivered twice; figures add up after every step; and when all is over, nothing is kept.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from imxrouter.model.vocabulary import Reason, Status
from tests.properties.judge import Broken
from tests.properties.world import Shape, World

SHAPES: dict[str, Shape] = {
    "two": {"a.example": 1, "b.example": 1},
    "three": {"a.example": 1, "b.example": 1, "c.example": 1},
    "two processes": {"a.example": 1, "b.example": 2},
    "two hosts": {"a.example": 1, "b.example": (1, 1)},
    "more domains": {"a.example": 1, "b.example d.example": 1},
}
EVENTS = [
    *["submit"] * 4, *["pump"] * 5, *["flow"] * 3, *["tick"] * 3, *["answer"] * 3, *["cut"] * 2,
    "freeze", "give_up", *["overtake"] * 2, "thaw", "restart", "close", "drop_proof", "withdraw", "repeat",
    "crowd", "abandon",
]  # fmt: skip
LIES = [*["connect"] * 2, *["play"] * 3, *["lie"] * 6]
ORDERLY = [*["submit"] * 2, "second", *["wait"] * 2, *["pump"] * 2, *["close_used"] * 2, "flow"]

#: An event and the number that decides what it leaves open.
Script = list[tuple[str, int]]

#: Worlds of each soak test; `make soak` with IMXROUTER_SOAK_WORLDS=100000 for a night.
SOAK_WORLDS = int(os.environ.get("IMXROUTER_SOAK_WORLDS", "1000"))


#: The same worlds in each run, few; `make soak` plays many more.
SHORT = settings(
    max_examples=12,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
#: Other worlds in each run; what fails is kept and tried first the next time.
LONG = settings(max_examples=SOAK_WORLDS, suppress_health_check=list(HealthCheck))


def scripts(events: list[str], longest: int, shortest: int) -> st.SearchStrategy[Script]:
    """Rows of events."""
    event = st.tuples(st.sampled_from(events), st.integers(0, 9999))
    return st.lists(event, min_size=shortest, max_size=longest)


def run(shape: str, script: Script, *, liar: bool) -> None:
    """Play a script, heal the world, and look at what must hold."""
    world = World(SHAPES[shape], liar=liar)
    for name, seed in script:
        world.step(name, seed)
    world.heal()
    world.end_proofs()
    world.prove_all()
    world.rest()


def run_in_order(shape: str, script: Script) -> None:
    """Play a script of orderly ends only: each message is delivered, and its sender is told so."""
    world = World(SHAPES[shape], calm=True)
    for name, seed in script:
        world.step(name, seed)
    world.heal()
    world.rest()
    for sent in world.judge.sent.values():
        (outcome,) = sent.outcomes
        as_decided = outcome.ok if sent.decided is Status.SUCCESS else outcome.reason is Reason.NOT_DELIVERED
        if sent.deliveries != 1 or not as_decided:
            raise Broken(f"a link that closed in order cost a message: {sent}")


@pytest.mark.parametrize("shape", SHAPES)
@SHORT
@given(script=scripts(EVENTS, 120, 40))
def test_honest_routers_over_a_bad_network(shape: str, script: Script) -> None:
    """Whatever the network does and whoever restarts."""
    run(shape, script, liar=False)


@pytest.mark.parametrize("shape", SHAPES)
@SHORT
@given(script=scripts(EVENTS + LIES * 2, 150, 50))
def test_a_liar_among_them(shape: str, script: Script) -> None:
    """Whatever somebody says who has a domain, an address, and everything that was ever sent to him."""
    run(shape, script, liar=True)


@pytest.mark.parametrize("shape", SHAPES)
@SHORT
@given(script=scripts(ORDERLY, 80, 20))
def test_links_that_close_in_order_cost_no_message(shape: str, script: Script) -> None:
    """IMX-18: what is in flight finishes, what comes goes elsewhere; a recipient may still refuse."""
    run_in_order(shape, script)


@pytest.mark.soak
@pytest.mark.parametrize("shape", SHAPES)
@LONG
@given(script=scripts(EVENTS, 300, 30))
def test_honest_routers_for_long(shape: str, script: Script) -> None:
    """The long form."""
    run(shape, script, liar=False)


@pytest.mark.soak
@pytest.mark.parametrize("shape", SHAPES)
@LONG
@given(script=scripts(EVENTS + LIES * 2, 400, 30))
def test_a_liar_for_long(shape: str, script: Script) -> None:
    """The long form."""
    run(shape, script, liar=True)
