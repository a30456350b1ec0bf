"""Each property can fail: in the same worlds a router with one check replaced is noticed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.properties.judge import Broken
from tests.properties.mutations import MUTATIONS, Mutation
from tests.properties.presence_mutations import PRESENCE_MUTATIONS
from tests.properties.test_presence_worlds import EVENTS as PRESENCE
from tests.properties.test_presence_worlds import LIES as PRESENCE_LIES
from tests.properties.test_presence_worlds import run_presence
from tests.properties.test_worlds import EVENTS, LIES, ORDERLY, Script, run, run_in_order, scripts

ALL = MUTATIONS | PRESENCE_MUTATIONS

#: Domains are watched and leave links that stay, and hosts are cut off; little else happens.
LEAVING = [
    *["watch"] * 4, *["publish"] * 3, *["submit"] * 3, *["withdraw"] * 4, *["dark"] * 3, *["flow"] * 5,
    *["second"] * 2, *["pump"] * 2, *["answer"] * 2, "decide",
]  # fmt: skip
#: What may happen to a router of each kind of world, and the longest and the shortest script.
WORLDS = {
    "bad network": (EVENTS, 120, 40),
    "liar": (EVENTS + LIES * 2, 150, 50),
    "in order": (ORDERLY, 80, 20),
    "presence": (PRESENCE, 60, 20),
    "presence that leaves": (LEAVING, 40, 12),
    "presence and a liar": (PRESENCE + PRESENCE_LIES * 2, 80, 30),
}


class Noticed(Exception):
    """The worlds noticed the mutation: no more of them are needed."""


def look_for(mutation: Mutation) -> None:
    """Play worlds until one is broken as the mutation breaks it.

    Raises:
        Noticed: it was found.
    """

    @settings(
        max_examples=mutation.worlds,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    @given(script=scripts(*WORLDS[mutation.world]))
    def play(script: Script) -> None:
        try:
            if mutation.world == "in order":
                run_in_order(mutation.shape, script)
            elif mutation.world.startswith("presence"):
                run_presence(mutation.shape, script, liar="liar" in mutation.world)
            else:
                run(mutation.shape, script, liar=mutation.world == "liar")
        except Broken as broken:
            if re.search(mutation.seen, str(broken)):
                raise Noticed(str(broken)) from broken

    play()


@pytest.fixture
def mutation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mutation]:
    """Carry a mutation out, for one test."""
    chosen = ALL[request.param]
    for change in chosen.changes:
        change(monkeypatch)
    yield chosen
    monkeypatch.undo()


@pytest.mark.parametrize("mutation", [name for name, one in ALL.items() if one.quick], indirect=True)
def test_a_router_without_one_check_is_noticed(mutation: Mutation) -> None:
    """The ones that break a world soon."""
    with pytest.raises(Noticed):
        look_for(mutation)


@pytest.mark.soak
@pytest.mark.parametrize("mutation", [name for name, one in ALL.items() if not one.quick], indirect=True)
def test_a_router_without_one_check_is_noticed_in_time(mutation: Mutation) -> None:
    """All others."""
    with pytest.raises(Noticed):
        look_for(mutation)


@pytest.mark.parametrize("mutation", ALL, indirect=True)
def test_the_place_of_each_check_is_known(mutation: Mutation) -> None:
    """Who rewrites a check says here where it stands now; that it is noticed, the long form shows."""
    assert mutation.changes
