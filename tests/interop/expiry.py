"""How subscriptions go on and end, as the presentity's side tells it."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Final

from tests.interop.routers import Organisation, Router

#: Between two looks.
_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Look:
    """What the presentity's side said of a subscription.

    Attributes:
        at: seconds of `time.monotonic`.
        left_s: seconds until it ends; None where there is none.
    """

    at: float
    left_s: float | None


@dataclass(slots=True)
class Life:
    """One subscription, looked at again and again.

    Attributes:
        router: the presentity's.
        watcher: whose user watches.
        looks: in their order.
    """

    router: Router
    watcher: Organisation
    looks: list[Look] = field(default_factory=list)

    def look(self) -> Look:
        """Once more."""
        found = [
            one for one in self.router.user.watchers()["watchers"] if one["watcher"] == self.watcher.address
        ]
        assert len(found) <= 1, found
        assert all(one["state"] == "active" for one in found), found
        self.looks.append(Look(time.monotonic(), found[0]["left_s"] if found else None))
        return self.looks[-1]

    @property
    def renewals(self) -> int:
        """How often its time began anew."""
        left = [look.left_s for look in self.looks if look.left_s is not None]
        return sum(after > before for before, after in itertools.pairwise(left))

    @property
    def end(self) -> float | None:
        """The first look that did not find it."""
        return next((look.at for look in self.looks if look.left_s is None), None)

    def due(self) -> float:
        """When it was to end, by the first look."""
        first = self.looks[0]
        assert first.left_s is not None
        return first.at + first.left_s


def watch(lives: list[Life], seconds: float) -> None:
    """Look at all of them for some time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for life in lives:
            life.look()
        time.sleep(_LOOK_S)
