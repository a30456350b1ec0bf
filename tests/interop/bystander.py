"""Two peers whom a failure elsewhere does not concern, and whether it disturbed them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Final, Self

from tests.interop.presence import Record, Truth, judge
from tests.interop.routers import Organisation, Router

#: Between two rounds, each with a new state and a message in both directions.
_ROUND_S: Final = 2.0


class Bystander:
    """Use as a context, while things happen elsewhere; then `judge`.

    Args:
        ours: the router that the failure does concern.
        peer: the other one.
        truth: of all organisations' users; those of these two go on to publish.
    """

    def __init__(self, ours: Router, peer: Router, truth: Mapping[Organisation, Truth]) -> None:
        self._routers = (ours, peer)
        self._truth = truth
        self._outcomes: list[tuple[float, Any]] = []
        self._problems: list[BaseException] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bystander", daemon=True)
        self._links_before: set[int] = set()
        self._asked_before = 0
        self._since = 0.0

    def __enter__(self) -> Self:
        self._links_before, self._asked_before = self._links(), self._asked()
        assert self._links_before
        assert self._asked_before >= len(self._routers), "those that began are not seen"
        self._since = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_ROUND_S):
            try:
                self._round()
            except BaseException as problem:  # noqa: BLE001 - told where the test looks
                self._problems.append(problem)

    def _round(self) -> None:
        for router, other in (self._routers, self._routers[::-1]):
            self._truth[router.org].publish(router)
            sent = time.monotonic()
            outcome = router.client.send(router.org.address, other.org.address, "all quiet?")
            self._outcomes.append((time.monotonic() - sent, outcome))

    def _links(self) -> set[int]:
        ours, peer = self._routers
        return {link["link"] for link in ours.client.links() if peer.org.domain in link["domains"]}

    def _asked(self) -> int:
        """SUBSCRIBE requests between the two so far, as each saw them come."""
        asked = 0
        for router, other in (self._routers, self._routers[::-1]):
            view = router.client.traces(other.org.address, router.org.address, None)
            assert not view["left_out"], "the search shows no more"
            asked += sum(row["kind"] == "subscribe" for row in view["messages"])
        return asked

    def judge(self, records: Mapping[Organisation, Record], bound_s: float) -> None:
        """See that every state was shown in time, every message passed, and nothing was asked or opened anew.

        Args:
            records: of what the two users were shown.
            bound_s: for how long a watcher may be behind, and how long a message may take.
        """
        assert not self._problems, self._problems
        ours, peer = (router.org for router in self._routers)
        rounds = len(self._outcomes) // 2
        assert rounds >= 3
        for seconds, outcome in self._outcomes:
            assert outcome["status"] == "success", outcome
            assert seconds <= bound_s, outcome
        for org, other in ((ours, peer), (peer, ours)):
            records[org].until_sees(other.address, self._truth[other].number, bound_s)
            judge(records[org], self._truth[other], bound_s, time.monotonic())
            assert not records[org].unknowns(other.address)
            seen = [one for one in records[org].shown[other.address] if one.at >= self._since]
            assert len(seen) >= rounds, f"{org.address} was shown {len(seen)} states in {rounds} rounds"
        assert self._links() >= self._links_before, "a link was lost"
        assert self._asked() == self._asked_before, "subscriptions were asked for again"
