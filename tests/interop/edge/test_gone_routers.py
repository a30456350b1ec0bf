"""Presence between Alice on Prosody and Bob on ejabberd on each way between the two, when a router is killed.

What they say while one of the routers is gone is shown when it is back, without anybody doing anything: where
XMPP passes it is asked for anew, between routers that speak IMX they subscribe again.
"""

from __future__ import annotations

import time
from typing import Final

import pytest

from tests.interop.edge.numbered import newest
from tests.interop.edge.pairs import WAYS, Pair
from tests.interop.edge.places import Edge
from tests.interop.edge.test_pairs import presence
from tests.interop.edge.whole import WholeRouter
from tests.interop.netlab import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

#: The routers that stand on each way.
BETWEEN: Final = {
    "prosody-behind": ("prosody",),
    "ejabberd-behind": ("ejabberd",),
    "one-router": ("prosody",),
    "imx": ("prosody", "ejabberd"),
}
#: After a router has answered again: its links open, subscriptions are begun again within ten seconds.
RIGHT_S: Final = 25.0


@pytest.mark.parametrize(("way", "killed"), [(way, one) for way in WAYS for one in BETWEEN[way]])
def test_what_is_said_while_a_router_is_gone(
    lab: Edge, whole: dict[str, WholeRouter], way: str, killed: str
) -> None:
    """Each sees the other as he is, within a time that is stated."""
    pair = Pair.fresh(lab, way)
    for one, other in pair.both_ways:
        one.ask("presence", to=other.address, kind="subscribe")
        other.until(presence(one, "subscribe"), "the wish")
        other.ask("presence", to=one.address, kind="subscribed")
        one.until(presence(other, "subscribed"), "the consent")
    _say(pair, "before")
    wait_until(lambda: _shown(pair) == {"before"}, "each sees the other", RIGHT_S)
    gone = whole[killed]  # not in a second that it may forget (docs/operators/state.md)
    wait_until(lambda: not gone.client.status()["store"]["waiting"], "all is written")
    gone.kill()
    _say(pair, "meanwhile")
    time.sleep(1)
    gone.start()
    wait_until(lambda: _shown(pair) == {"meanwhile"}, "each sees what the other said", RIGHT_S)


def _say(pair: Pair, word: str) -> None:
    for one in (pair.alice, pair.bob):
        one.ask("presence", show="away", status=word)


def _shown(pair: Pair) -> set[str]:
    return {newest(one, other.address) for one, other in pair.both_ways}
