"""Alice on Prosody and Bob on ejabberd, and the ways that there are between them.

| way | what is between the two servers |
| --- | --- |
| prosody-behind | the router before Prosody, by XMPP both sides; ejabberd is a server of the net |
| ejabberd-behind | the same the other way round |
| one-router | one router before both |
| imx | a router before each, and IMX between the routers |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.interop.edge.clients import Account
from tests.interop.edge.places import EJABBERD, PROSODY, Edge

#: Hosts of Alice and of Bob.
WAYS: Final = {
    "prosody-behind": (PROSODY.edge, EJABBERD.near),
    "ejabberd-behind": (PROSODY.near, EJABBERD.edge),
    "one-router": (PROSODY.both, EJABBERD.both),
    "imx": (PROSODY.imx, EJABBERD.imx),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two users whom nobody has known before.

    Attributes:
        way: between their servers.
        alice: on Prosody.
        bob: on ejabberd.
    """

    way: str
    alice: Account
    bob: Account

    @classmethod
    def fresh(cls, lab: Edge, way: str) -> Pair:
        """Make both accounts and log them in."""
        hosts = WAYS[way]
        alice, bob = (
            lab.clients.login(lab.fresh(name, host), side.server)
            for name, host, side in zip(("alice", "bob"), hosts, (PROSODY, EJABBERD), strict=True)
        )
        return cls(way, alice, bob)

    @property
    def both_ways(self) -> tuple[tuple[Account, Account], tuple[Account, Account]]:
        """Who says something to whom."""
        return (self.alice, self.bob), (self.bob, self.alice)
