"""Whom the organisations' users watch, what they are shown and when, and whether that was right.

Every state of a user has a number, in its note. A `Record` writes down what a watcher is shown; `judge`
compares it with the `Truth` by one clock, that of this test.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from imxrouter.admin.errors import AdminError
from imxrouter.admin.user_views import StateView, SubscriptionView
from imxrouter.admin.views import AttributesView
from imxrouter.model.errors import RouterError
from tests.interop.netlab import wait_until
from tests.interop.routers import Organisation, Router

#: Pause before a record whose router is gone asks it again.
_AGAIN_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Shown:
    """What a watcher was shown from a moment on.

    Attributes:
        at: seconds of `time.monotonic`.
        number: of the state; None where none is shown.
        unknown: the router's word that nobody knows, if it is that.
    """

    at: float
    number: int | None
    unknown: StateView | None = None


@dataclass(slots=True)
class Truth:
    """How a user is: the numbers of his states, and since when.

    Attributes:
        org: the user's organisation.
        changes: (moment, number) in their order; None as number while his router is gone.
    """

    org: Organisation
    changes: list[tuple[float, int | None]] = field(default_factory=list)
    number: int = 0

    def publish(self, router: Router) -> int:
        """Let the user say something new; returns its number. It is true once the router has taken it."""
        self.number += 1
        notes = [{"text": str(self.number), "language": ""}]
        router.user.publish({"instance": "desk", "status": "open", "notes": notes})
        self.changes.append((time.monotonic(), self.number))
        return self.number

    def gone(self) -> None:
        """From now on nobody can know."""
        self.changes.append((time.monotonic(), None))

    def back(self) -> None:
        """From now on his last state can be known again."""
        self.changes.append((time.monotonic(), self.number))

    def at(self, moment: float) -> int | None:
        """What was true then; None while it could not be known."""
        return next((number for since, number in reversed(self.changes) if since <= moment), None)

    def stale(self, number: int, moment: float) -> float:
        """For how long what a watcher is shown at a moment has not been true."""
        true = self.at(moment)
        if true is not None and number >= true:
            return 0.0
        ends = [
            since
            for (_, before), (since, _) in zip(self.changes, self.changes[1:], strict=False)
            if before is not None and number >= before and since <= moment
        ]
        return moment - max(ends, default=self.changes[0][0])


class Record:
    """Writes down what a user is shown of all whom he watches, over restarts of his router.

    Args:
        router: the user's.
    """

    def __init__(self, router: Router) -> None:
        self.router = router
        self.shown: dict[str, list[Shown]] = {}
        self.renewals: dict[str, int] = {}
        self._left_s: dict[str, float] = {}
        self._over = threading.Event()
        threading.Thread(target=self._follow, name=f"record of {router.name}", daemon=True).start()

    def stop(self) -> None:
        """Take nothing more; the thread ends with the router."""
        self._over.set()

    def _follow(self) -> None:
        while not self._over.is_set():
            try:
                for view in self.router.user.follow():
                    self._take(view)
            except (AdminError, RouterError, OSError):
                for shown in self.shown.values():
                    shown.append(Shown(time.monotonic(), None))
            self._over.wait(_AGAIN_S)

    def _take(self, view: SubscriptionView) -> None:
        if not self._over.is_set():
            self.shown.setdefault(view["presentity"], []).append(shown_in(view["presence"]))

    def last(self, presentity: str) -> Shown:
        """What he is shown now."""
        shown = self.shown.get(presentity)
        return shown[-1] if shown else Shown(0.0, None)

    def until_sees(self, presentity: str, number: int, seconds: float) -> float:
        """Wait until he is shown a state; returns the moment since when he is."""
        wait_until(
            lambda: self.last(presentity).number == number,
            f"{self.router.org.address} sees state {number} of {presentity}", seconds,
        )  # fmt: skip
        return self.last(presentity).at

    def until_unknown(self, presentity: str, seconds: float) -> Shown:
        """Wait until he is told that nobody knows."""
        wait_until(
            lambda: self.last(presentity).unknown is not None,
            f"{self.router.org.address} is told that {presentity} is unknown", seconds,
        )  # fmt: skip
        return self.last(presentity)

    def unknowns(self, presentity: str, since: float = 0.0) -> list[Shown]:
        """How often he was told that nobody knows."""
        return [one for one in self.shown.get(presentity, []) if one.unknown is not None and one.at >= since]


def shown_in(state: StateView | None) -> Shown:
    """What a view of a subscription shows, now."""
    now = time.monotonic()
    if state is None:
        return Shown(now, None)
    if state["status"] == "unknown":
        return Shown(now, None, state)
    return Shown(now, int(state["notes"][0]["text"]) if state["notes"] else 0)


def judge(record: Record, truth: Truth, bound_s: float, until: float) -> float:
    """See that a watcher was never shown an older state after a newer one, nor a wrong one for too long.

    That nobody knows is never wrong.

    Args:
        record: of the watcher.
        truth: of whom he watches.
        bound_s: for how long he may be wrong.
        until: the end of what is judged, seconds of `time.monotonic`.

    Returns:
        the longest time for which he was wrong.
    """
    user = truth.org.address
    shown = list(record.shown[user])
    numbers = [one.number for one in shown if one.number is not None]
    assert numbers == sorted(numbers), f"{record.router.org.address} saw of {user}: {numbers}"
    longest = 0.0
    for one, end in zip(shown, [*(after.at for after in shown[1:]), until], strict=True):
        if one.number is not None:
            moments = [end, *(since - 1e-6 for since, _ in truth.changes if one.at < since < end)]
            wrong = max(truth.stale(one.number, moment) for moment in moments)
            assert wrong <= bound_s, (
                f"{record.router.org.address} was shown state {one.number} of {user} for {wrong:.1f} s after "
                f"it was over; {bound_s:g} s is the bound. Truth: {truth.changes}, shown: {shown}"
            )
            longest = max(longest, wrong)
    return longest


def may_be_watched(router: Router) -> None:
    """Everybody may see an organisation's user."""
    router.user.set_rule("*", ["subscribe", "fetch"], "allow")


def values(answer: AttributesView) -> dict[str, str]:
    """The attributes of an answer."""
    return {one["name"]: one["value"] for one in answer["values"]}


def others(org: Organisation, among: Iterable[Organisation]) -> list[Organisation]:
    """All but one."""
    return [one for one in among if one is not org]
