"""Forgetting, a little each second, what has had its time, so that no table stays full."""

from __future__ import annotations

from imxrouter.routing.destinations import DestinationTable
from imxrouter.routing.dialling import DialLimits
from imxrouter.routing.limits import SenderRates
from imxrouter.routing.subscriptions import Subscriptions

#: Entries looked at in one second: some 2 ms. A million senders take a bit more than three minutes.
SENDERS_A_TICK = 5_000
DESTINATIONS_A_TICK = 2_000
SUBSCRIPTIONS_A_TICK = 5_000
#: One of the limits' memories is swept this often, whole; the largest has 65,536 entries (some 5 ms).
DIALLING_EVERY_S = 10.0


class Housekeeping:
    """Bounded work at each tick.

    Args:
        rates: senders whose allowance is full again are forgotten.
        destinations: so are domains that nobody wrote to for long.
        subscriptions: so are those that ended.
        dialling: so is what claims used of their limits, and failures past their time.
    """

    def __init__(
        self,
        rates: SenderRates,
        destinations: DestinationTable,
        dialling: DialLimits,
        subscriptions: Subscriptions,
    ) -> None:
        self._rates = rates
        self._destinations = destinations
        self._dialling = dialling
        self._subscriptions = subscriptions
        self._next_dialling = float("-inf")

    def tick(self, now: float) -> None:
        """Do this second's part."""
        self._rates.sweep(now, SENDERS_A_TICK)
        self._destinations.sweep(now, DESTINATIONS_A_TICK)
        self._subscriptions.sweep(now, SUBSCRIPTIONS_A_TICK)
        if now >= self._next_dialling:
            self._next_dialling = now + DIALLING_EVERY_S
            self._dialling.sweep(now)
