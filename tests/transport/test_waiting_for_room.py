"""Dials that wait: for their turn at one address, and for room among the links that only verify."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.dialling import Permit
from imxrouter.routing.prefixes import address_keys
from imxrouter.transport.dialing import DialFailed, Dialled
from imxrouter.transport.opening_turns import UNPROVED_AT_ONCE, OpeningTurns
from imxrouter.transport.verify_room import WAIT_S, VerifyRoom

PLACE = (("192.0.2.1", 6490), b"")


def _hub(**settings: int) -> Any:
    links = SimpleNamespace(at=lambda _ip: [], to=lambda _endpoint: [], verifying=list)
    hub = SimpleNamespace(opened_links=links, settings=SimpleNamespace(**settings), time=0.0)
    hub.now = lambda: hub.time
    return hub


def test_hundreds_whose_turn_comes_at_once_do_not_call_each_other() -> None:
    """They find one link that does for all, and are done in the same call."""
    turns, used, there = OpeningTurns(_hub()), [], Deferred[None]()

    async def dial(number: int) -> None:
        await turns.wait(PLACE)
        try:
            if number < UNPROVED_AT_ONCE:
                await there
            used.append(number)
        finally:
            turns.done(PLACE)

    dials = [Deferred.fromCoroutine(dial(number)) for number in range(2000)]
    assert used == []
    there.callback(None)
    assert sorted(used) == list(range(2000))
    assert [one.result for one in dials] == [None] * 2000
    assert not turns.waiting


class Verifications:
    """Dials of claims that wait for room; `used` are those that got it."""

    def __init__(self, links: int = 16) -> None:
        self.hub = _hub(verify_links=links)
        self.room = VerifyRoom(self.hub)
        self.used: list[tuple[str, int]] = []
        self.ended: dict[tuple[str, int], Reason] = {}
        self.claimed: set[int] = set()
        self._next = 0

    def claim(self, ip: str) -> Permit:
        """Dial for a claim that comes from an address."""
        self._next += 1
        permit = Permit(address_keys(ip), Domain(f"d{self._next}.example"), self._next, known=False)
        who = (ip, self._next)
        self.claimed.add(self._next)

        def dial() -> Deferred[Dialled]:
            if not self.room.take(permit):
                return fail(DialFailed(Reason.DIAL_LIMIT, "no room"))
            self.used.append(who)
            return Deferred()

        def ended(problem: Any) -> None:
            self.ended[who] = problem.value.reason

        self.room.dial(permit, dial, lambda: permit.link in self.claimed).addErrback(ended)
        return permit


def test_no_network_waits_behind_another() -> None:
    """One fills its part and hundreds of its claims wait; who comes later from elsewhere has room at once."""
    all_of = Verifications(links=16)
    for _ in range(100):
        all_of.claim("192.0.2.1")
    assert len(all_of.used) == 4
    for ip in ("198.51.100.1", "198.51.100.2", "203.0.113.1"):
        all_of.claim(ip)
    assert [ip for ip, _ in all_of.used[4:]] == ["198.51.100.1", "198.51.100.2", "203.0.113.1"]
    full = [all_of.claim("203.0.113.2") for _ in range(5)]
    assert len(all_of.used) == 7 + 3  # of one network with 203.0.113.1
    all_of.room.opened(full[0])
    all_of.room.wake()
    assert all_of.used[-1][0] == "203.0.113.2"
    assert all_of.ended == {}


def test_waiting_ends_by_name_and_dials_nothing() -> None:
    """Whoever waited too long is told, in the order of time, however many wait; nobody is dialled for it."""
    all_of = Verifications(links=16)
    for _ in range(50):
        all_of.claim("192.0.2.1")
    used = list(all_of.used)
    all_of.hub.time = WAIT_S
    all_of.room.wake()
    assert all_of.used == used
    assert len(all_of.ended) == 50 - len(used)
    assert set(all_of.ended.values()) == {Reason.DIAL_LIMIT}
    assert not all_of.room.waiting


@pytest.mark.parametrize("room", [True, False])
def test_nobody_is_dialled_for_a_claim_that_has_ended(room: bool) -> None:
    """Its link is gone, or it was withdrawn: it gives up its place in the row."""
    all_of = Verifications(links=16)
    permits = [all_of.claim("192.0.2.1") for _ in range(6)]
    used = list(all_of.used)
    all_of.claimed.clear()
    if room:
        all_of.room.opened(permits[0])
    all_of.room.wake()
    assert all_of.used == used
    assert not all_of.room.waiting
