"""`imxctl policy explain` of stanzas: what each kind costs whoever sends it, and the way that it takes."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from imxrouter.app.operators.explaining import KINDS
from imxrouter.cli.policy import explain
from tests.app.test_choice_inside import XMPP, World
from tests.doubles.ctl import ctl_json
from tests.doubles.router_rig import Lab

CAROL, BOB = "carol@a.example", "bob@z.example"


def test_the_kinds_are_those_of_the_command() -> None:
    """What can be asked for has an answer."""
    (kinds,) = [one.type for one in explain.params if one.name == "kind"]
    assert list(kinds.choices) == list(KINDS)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "cost"),
    [
        ("message", "0% of his burst is used (5 a second)"),
        ("iq-get", "0% of his burst is used (5 a second); this costs 1/100 of a message (500 a second)"),
        ("iq-set", "0% of his burst is used (5 a second); this costs 1/20 of a message (100 a second)"),
        ("groupchat", ("0% of the burst of a.example as a whole is used (5 a second);"
                       " this costs 1/1000 of a message (5000 a second)")),
        ("presence", "it costs the sender nothing"),
    ],
)  # fmt: skip
def test_what_a_stanza_costs(lab: Lab, kind: str, cost: str) -> None:
    """As the limits page has it; a stanza between two XMPP servers goes by a stream."""
    with ExitStack() as stack:
        world = World(lab, stack)
        world.publish(XMPP)
        assert world.write()
        told = ctl_json(world.a, "policy", "explain", CAROL, BOB, "--kind", kind)
        steps = {one["step"]: one for one in told["steps"]}
        assert told["verdict"] != "refuse", told
        assert steps["limit sender"]["text"] == cost
        if kind != "message":
            assert steps["way"]["text"] == "over a link to z.example that is up (XMPP)"
