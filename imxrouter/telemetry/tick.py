"""How busy the reactor is: a timer that notes how late it was called.

A timer is late by the turn of work it had to wait for, so the histogram shows turns that were long, on any
reactor and without touching its insides. `last_tick_s` that stands still means a reactor that hangs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from imxrouter.telemetry.metrics import Metrics

#: Four samples a second see a stall of 30 ms with high odds within seconds, and cost nothing.
INTERVAL_S = 0.25


class TickMeter:
    """Measures one reactor into one `Metrics`."""

    def __init__(
        self,
        metrics: Metrics,
        clock: IReactorTime,
        wall_s: Callable[[], float] = time.time,
        on_lag: Callable[[float], object] = lambda _lag_s: None,
    ) -> None:
        self._metrics, self._clock, self._wall_s, self._on_lag = metrics, clock, wall_s, on_lag
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin; may be called again after `stop`."""
        self._metrics.last_tick_s = self._wall_s()
        self._arm()

    def stop(self) -> None:
        """End; does nothing when it does not run."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _arm(self) -> None:
        due_s = self._clock.seconds() + INTERVAL_S
        self._call = self._clock.callLater(INTERVAL_S, self._come_round, due_s)

    def _come_round(self, due_s: float) -> None:
        lag_s = max(0.0, self._clock.seconds() - due_s)
        self._metrics.tick.observe(lag_s)
        self._metrics.last_tick_s = self._wall_s()
        self._arm()
        self._on_lag(lag_s)
