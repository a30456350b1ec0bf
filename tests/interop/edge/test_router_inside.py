"""A whole router before Prosody and before ejabberd: its users and the server's write to each other."""

from __future__ import annotations

import time

import pytest

from tests.interop.edge.names import Mode
from tests.interop.edge.places import EJABBERD, PROSODY, Edge
from tests.interop.edge.routers import EdgeRouter, write_both_ways

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

SIDES = {"prosody": PROSODY, "ejabberd": EJABBERD}


@pytest.mark.parametrize("first", ["server", "router"])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("server", SIDES)
def test_users_write_to_each_other(
    lab: Edge, routers: dict[str, EdgeRouter], server: str, mode: Mode, first: str
) -> None:
    """Both ways, whoever connects first; the router's user is told what became of his message."""
    side, router = SIDES[server], routers[server]
    alice = lab.clients.login(lab.fresh("alice", side.inside(mode)), side.server)

    write_both_ways(alice, router, first)


@pytest.mark.parametrize("server", SIDES)
def test_refusals_come_back(lab: Edge, routers: dict[str, EdgeRouter], server: str) -> None:
    """A message to nobody is answered with an error, on both sides."""
    side, router = SIDES[server], routers[server]
    alice = lab.clients.login(lab.fresh("alice", side.inside(Mode.CLEAR)), side.server)
    alice.ask("message", to=f"nobody@{router.domain}", text="anybody?", ident="lost")
    error = alice.until(lambda one: (one.get("id"), one.get("type")) == ("lost", "error"), "the error")
    assert error.get("from") == f"nobody@{router.domain}"
    for _ in range(10):
        outcome = router.client.send(router.carol, f"nobody@{side.inside(Mode.CLEAR)}", "anybody?")
        assert (outcome["status"], outcome["decided_role"]) == ("failure", "service"), outcome


def test_server_that_is_gone(lab: Edge, routers: dict[str, EdgeRouter]) -> None:
    """While its server is gone a message is answered at once; when it is back, messages pass again."""
    router, side = routers["prosody"], PROSODY
    alice = lab.fresh("alice", side.inside(Mode.CLEAR))
    lab.prosody.stop()
    outcome = router.client.send(router.carol, alice, "are you there?")
    assert (outcome["status"], outcome["reason"]) == ("failure", "service-down"), outcome
    lab.prosody.start()
    lab.prosody.ready()
    account = lab.clients.login(alice, side.server)

    def passes() -> bool:
        return router.client.send(router.carol, alice, "and now?")["status"] == "success"

    deadline = time.monotonic() + 40
    while not passes():  # more often than she may send: she would be kept waiting for it
        assert time.monotonic() < deadline
        time.sleep(0.5)
    account.until_reads("and now?", router.carol)
