"""What is asked and told when presence is in doubt, and what becomes of what failed for now (section 7.7)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from imxrouter.model.operations import SubscriptionState
from imxrouter.model.outcome import SUCCESS, Outcome, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.subscriptions import Subscriptions
from imxrouter.transport.liveness import AGAIN_PER_S, SPREAD_S, STEP_S, Liveness
from imxrouter.transport.pursuit import Cause
from tests.doubles.ways import ways_to

REFUSED = Cause(Reason.CONNECTION_REFUSED)


class Scene:
    """A router whose users watch one user of each of some domains; requests are answered as the test says."""

    def __init__(self, *domains: str) -> None:
        self.now = 1000.0
        self.asked: list[tuple[float, bytes]] = []
        self.told: list[tuple[bytes, Reason, bytes]] = []
        self.answer_asked: Callable[[], Outcome] = lambda: SUCCESS
        self.answer_told: Callable[[], Outcome] = lambda: SUCCESS
        self.answering = b""
        self._soon: list[Callable[[], None]] = []
        self.table = Subscriptions()
        for domain in domains:
            self.watch(domain)
        self._domains = [domain.encode() for domain in domains]
        self.switch = SimpleNamespace(routes={})
        self.lead(leads=True)
        hub = SimpleNamespace(
            now=lambda: self.now, sessions={}, closing=False, together=contextlib.nullcontext,
            settings=SimpleNamespace(link=SimpleNamespace(dead_s=30.0)), switch=self.switch,
        )  # fmt: skip
        reaches = SimpleNamespace(more_links=None, next_try=lambda _domain, now: now + 5.0)
        self.liveness = Liveness(cast("Any", hub), self.table, self, cast("Any", reaches), lambda: 0.5)

    def lead(self, *, leads: bool) -> None:
        """Links lead to all domains, or to none."""
        self.switch.ways = ways_to(*(self._domains if leads else []))

    def watch(self, domain: str, name: bytes = b"") -> None:
        """A user of ours watches one of that domain."""
        key = name or domain.encode()
        self.table.begin(key, b"bob@x.example", b"alice@" + domain.encode(), b"id", self.now)
        self.table.settle(key, SubscriptionState.ACTIVE, 3600, 3600, self.now)

    def tell_unknown(
        self, key: bytes, reason: Reason, domain: bytes, answered: Callable[[Outcome], None]
    ) -> bool:
        """Note it, and answer."""
        self.told.append((key, reason, domain))
        self._soon.append(lambda: answered(self.answer_told()))
        return True

    def subscribe_again(self, key: bytes, answered: Callable[[Outcome], None]) -> bool:
        """Note it, and answer."""
        self.asked.append((self.now, key))

        def answer() -> None:
            self.answering = key
            answered(self.answer_asked())

        self._soon.append(answer)
        return True

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for step in range(round(seconds / STEP_S)):
            self.now += STEP_S
            answers, self._soon = self._soon, []
            for answer in answers:
                answer()
            self.liveness.step(self.now)
            if step % round(1 / STEP_S) == 0:
                self.liveness.tick(self.now)


def test_a_renewal_that_failed_for_now_is_asked_again_after_the_time_that_was_said() -> None:
    """Whatever was said of others of the same domain."""
    scene = Scene("z.example")
    scene.watch("z.example", b"slow")
    waits = {b"slow": 30, b"z.example": 2}
    scene.answer_asked = lambda: failure(Reason.RATE_LIMITED, retry_after_s=waits[scene.answering])
    scene.liveness.begin(scene.now)
    scene.run(100)
    for key, wait_s in waits.items():
        moments = [at for at, asked in scene.asked if asked == key]
        assert len(moments) >= 80 / wait_s, key
        assert all(later - sooner >= wait_s for sooner, later in pairwise(moments)), key


def test_a_renewal_of_which_nobody_knows_is_asked_again() -> None:
    """Its link was lost while others of the domain are up: renewing twice does no harm, not knowing does."""
    scene = Scene("z.example")
    answers = [indeterminant(Reason.LINK_LOST), SUCCESS]
    scene.answer_asked = lambda: answers.pop(0)
    scene.liveness.begin(scene.now)
    scene.run(2 * SPREAD_S)
    assert not answers
    assert AGAIN_PER_S > len(scene.asked) == 2


def test_one_that_failed_for_now_and_was_lost_again_is_asked_once() -> None:
    """The second time would wait for the whole spread, and the domain be in doubt for so long."""
    scene = Scene("z.example")
    scene.lead(leads=False)
    answers = [failure(Reason.RATE_LIMITED, retry_after_s=1), SUCCESS]
    scene.answer_asked = lambda: answers.pop(0)
    scene.liveness.left((b"z.example",))
    scene.run(1.4)
    assert len(scene.asked) == 1
    scene.liveness.left((b"z.example",))
    scene.run(1)
    assert len(scene.asked) == 2
    assert not scene.liveness.doubts(b"z.example")
    scene.run(2 * SPREAD_S)
    assert not answers


def test_a_domain_to_which_a_link_leads_is_not_in_doubt() -> None:
    """Though not all that was lost with the one before is asked for again."""
    scene = Scene("z.example")
    for number in range(10):
        scene.watch("z.example", b"%d" % number)
    scene.lead(leads=False)
    scene.liveness.left((b"z.example",))
    scene.run(1)
    assert scene.liveness.doubts(b"z.example")
    scene.lead(leads=True)
    assert not scene.liveness.doubts(b"z.example")
    before = len(scene.asked)
    scene.run(SPREAD_S)
    assert len(scene.asked) > before


def test_a_watcher_whose_side_was_busy_is_told_later() -> None:
    """Nothing else tells him that what he sees is wrong."""
    scene = Scene("z.example")
    answers = [failure(Reason.BUSY, retry_after_s=5), indeterminant(Reason.ANSWER_TIMEOUT), SUCCESS]
    scene.answer_told = lambda: answers.pop(0)
    scene.answer_asked = lambda: failure(Reason.CONNECTION_REFUSED)
    scene.liveness.failed(b"z.example", REFUSED)
    scene.run(60)
    assert scene.told == [(b"z.example", Reason.CONNECTION_REFUSED, b"z.example")] * 3


def test_nobody_is_told_later_of_what_is_known_again() -> None:
    """The domain came back before his turn."""
    scene = Scene("z.example")
    scene.answer_told = lambda: failure(Reason.BUSY, retry_after_s=20)
    scene.liveness.failed(b"z.example", REFUSED)
    scene.run(10)
    scene.liveness.reached(b"z.example")
    scene.run(60)
    assert len(scene.told) == 1


def test_that_it_is_our_own_network_is_believed_no_longer_than_most_are_lost() -> None:
    """One of those that were lost with the others stays away: it is named then, and so is the next one."""
    names = ["z1.example", "z2.example", "z3.example"]
    scene = Scene(*names)
    for name in names:
        scene.liveness.failed(name.encode(), REFUSED)
    scene.answer_asked = lambda: failure(Reason.CONNECTION_REFUSED)
    scene.run(10)
    assert {reason for _, reason, _ in scene.told} == {Reason.OWN_NETWORK}
    scene.told.clear()
    for name in names[:2]:
        scene.liveness.reached(name.encode())
    scene.run(60)
    assert scene.liveness.own_loss is None
    scene.liveness.failed(b"z3.example", REFUSED)
    scene.run(2)
    assert scene.told == [(b"z3.example", Reason.CONNECTION_REFUSED, b"z3.example")]
    scene.liveness.failed(b"z3.example", REFUSED)
    scene.liveness.failed(b"z1.example", REFUSED)
    scene.run(10)
    assert scene.told[1:] == [(b"z1.example", Reason.CONNECTION_REFUSED, b"z1.example")]
