"""Users of XMPP servers, and one of the service of another router, who knows only the model; IMX between."""

from __future__ import annotations

import time

import pytest

from tests.interop.edge.clients import Account
from tests.interop.edge.places import EJABBERD, PROSODY, Edge
from tests.interop.edge.test_cards import (  # noqa: F401 - the same, for these two
    test_attributes_of_a_user_of_the_server,
    test_the_card_of_the_routers_user,
)
from tests.interop.edge.test_presence import (  # noqa: F401 - the same, for these two
    test_a_user_of_xmpp_is_watched,
    test_a_user_of_xmpp_watches,
)
from tests.interop.edge.whole import WholeRouter

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

#: Whose user, and before which server the other router stands.
FAR = {"prosody": (PROSODY, "ejabberd"), "ejabberd": (EJABBERD, "prosody")}


@pytest.fixture(params=FAR)
def pair(
    request: pytest.FixtureRequest, lab: Edge, whole: dict[str, WholeRouter]
) -> tuple[Account, WholeRouter]:
    """A fresh user of a server, and the router that is not before it."""
    side, other = FAR[request.param]
    account = lab.clients.login(lab.fresh("alice", side.imx), side.server)
    account.ask("presence")
    return account, whole[other]


def test_messages_errors_and_the_link(pair: tuple[Account, WholeRouter]) -> None:
    """Both ways, each once; the sender is told what became of it; IMX is what is spoken."""
    alice, router = pair
    out, back = (f"{way} {time.monotonic_ns()}" for way in ("out", "back"))
    alice.ask("message", to=router.carol, text=out)
    assert router.until_carol_reads(out)["source"] == alice.address
    outcome = router.client.send(router.carol, alice.address, back)
    assert outcome["status"] == "success", outcome
    alice.until_reads(back, router.carol)
    assert alice.count(back) == 1
    alice.ask("message", to=f"nobody@{router.domain}", text="anybody?", ident="lost")
    error = alice.until(lambda one: (one.get("id"), one.get("type")) == ("lost", "error"), "the error")
    assert error.get("from") == f"nobody@{router.domain}"
    host = alice.address.partition("@")[2]
    outcome = router.client.send(router.carol, f"nobody@{host}", "anybody?")
    assert (outcome["status"], outcome["reason"]) == ("failure", "not-delivered"), outcome
    assert router.spoken([host]) == {"imx"}
