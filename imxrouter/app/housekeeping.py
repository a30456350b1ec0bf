"""Forgetting, a little each step, what has had its time, so that no table stays full."""

from __future__ import annotations

from collections.abc import Sequence

from imxrouter.routing.destinations import DestinationTable
from imxrouter.routing.dialling import DialLimits
from imxrouter.routing.limits import SenderRates
from imxrouter.routing.subscriptions import Subscriptions

#: Entries looked at in one step, of which there are 20 a second: some 0.1 ms. A million senders take a bit
#: more than three minutes.
SENDERS_A_STEP = 250
DESTINATIONS_A_STEP = 100
SUBSCRIPTIONS_A_STEP = 250
#: One of the limits' memories is swept this often, whole; the largest has 65,536 entries (some 5 ms).
DIALLING_EVERY_S = 10.0


class Housekeeping:
    """Bounded work at each step.

    Args:
        rates: senders whose allowance is full again are forgotten.
        destinations: so are domains that nobody wrote to for long, in each of these.
        subscriptions: so are those that ended.
        dialling: so is what claims used of their limits, and failures past their time.
    """

    def __init__(
        self,
        rates: SenderRates,
        destinations: Sequence[DestinationTable],
        dialling: DialLimits,
        subscriptions: Subscriptions,
    ) -> None:
        self._rates = rates
        self._destinations = destinations
        self._dialling = dialling
        self._subscriptions = subscriptions
        self._next_dialling = float("-inf")

    def step(self, now: float) -> None:
        """Do this step's part."""
        self._rates.sweep(now, SENDERS_A_STEP)
        for table in self._destinations:
            table.sweep(now, DESTINATIONS_A_STEP)
        self._subscriptions.sweep(now, SUBSCRIPTIONS_A_STEP)
        if now >= self._next_dialling:
            self._next_dialling = now + DIALLING_EVERY_S
            self._dialling.sweep(now)
