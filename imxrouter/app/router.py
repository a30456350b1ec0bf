"""The life of a router process: its parts started in order, and stopped in the reverse one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from imxrouter.admin.server import make_site as admin_site
from imxrouter.app.draining import stopping_state
from imxrouter.app.memory import settle_memory
from imxrouter.app.notify import tell_supervisor
from imxrouter.app.opening import CannotOpen, opening
from imxrouter.app.operators.console import Console
from imxrouter.app.storing import closed_store
from imxrouter.app.whole import Whole
from imxrouter.config.schema import Config
from imxrouter.discovery.finder import Ask
from imxrouter.switch.checks import ALL_CHECKS, Checks
from imxrouter.telemetry.http import make_site as metrics_site
from imxrouter.telemetry.tick import TickMeter
from imxrouter.transport.bus_unix import UnixBus
from imxrouter.transport.draining import DrainState
from imxrouter.transport.liveness import STEP_S
from imxrouter.transport.turns import quicken

#: Seconds for which the thread that writes the state file may run Python before it lets the reactor go on;
#: CPython's own 5 ms can be seen in the delay of messages.
SWITCH_S: Final = 0.0005


class Router(Whole, Service):
    """A router process as a Twisted service: its parts, and their life.

    Args: as of `Parts`.
    """

    log = Logger()

    def __init__(
        self, config: Config, reactor: Any, *, ask: Ask | None = None, checks: Checks = ALL_CHECKS
    ) -> None:
        super().__init__(config, reactor, ask=ask, checks=checks)
        self._tick = LoopingCall(self._on_tick)
        self._tick.clock = reactor
        self._steps = LoopingCall(self._on_step)
        self._steps.clock = reactor
        self._link_steps = 1
        self._tick_meter = TickMeter(self.metrics, reactor, on_lag=self.limiting.measure)

    def startService(self) -> None:
        """Open the sockets: bus, links, metrics, admin; then ready.

        Raises:
            CannotOpen: a directory or socket cannot be used; none is left open.
        """
        config = self.config
        try:
            self._open()
        except CannotOpen:
            self._sockets.close_links()
            self._sockets.close_rest()
            self.bus.close()
            self.store.close(lambda: None)
            raise
        super().startService()  # type: ignore[no-untyped-call]
        sys.setswitchinterval(SWITCH_S)
        quicken(self._reactor)
        tick_s = 1.0 if config.links.ping_s >= 2 else 0.2
        self._link_steps = max(int(tick_s / STEP_S) - 2, 1)
        self._tick.start(tick_s, now=False)
        self._steps.start(STEP_S, now=False)
        self._tick_meter.start()
        self.certificates.begin()
        self._reactor.callLater(0, settle_memory)
        if self.drain.state is DrainState.RUNNING:
            self._in_service()
        places = ", ".join(self.listening())
        self.log.info("{name} listens on {places}", name=config.name, places=places)
        tell_supervisor(f"READY=1\nSTATUS=listens on {places}, serves {len(self.domains)} domain(s)")

    def _open(self) -> None:
        config = self.config
        for key, folder in (("run_dir", config.run_dir), ("state_dir", config.state_dir)):
            with opening(key):
                Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        with opening("state_dir"):
            self.store.start()
            self.draining.begin()
            self.run_time_domains.begin()
            self.access.begin(self.store)
            self.abuse.begin(self.store)
            self.streams.begin(self.store)
            self._remembering.begin()
            self.quality.begin()
            self._kept_subscriptions.begin()
            self.subscriptions.forget_unserved(self.switch.routes)
        for embedded in self.embedded.values():
            embedded.begin(self.store)
        with opening("xmpp.inside.authority"):
            self.behind.begin(Path(config.state_dir))
        if isinstance(self.bus, UnixBus):
            with opening("run_dir"):
                self.bus.start()
            self.processes.tell()  # before anybody's link comes: others answer with what they know
        self._sockets.open(
            config,
            self.hub,
            self.streams,
            self.behind,
            self.components,
            metrics_site(self.metrics, self.ready),
            admin_site(Console(self)),
        )

    def stopService(self) -> Deferred[Any]:
        """Close every link in order, then the sockets; no longer than the close deadline."""
        super().stopService()  # type: ignore[no-untyped-call]
        deadline_s = self.config.drain.deadline_s
        tell_supervisor(stopping_state(deadline_s))
        self.log.info(
            "{name} goes out of service: {count} links to close, {requests} requests in flight",
            name=self.config.name, count=len(self.hub.sessions), requests=len(self.switch.ledger.entries),
        )  # fmt: skip
        return self.draining.stop(deadline_s).addCallback(lambda _: self._close_rest())

    def _on_tick(self) -> None:
        """A failure is logged and the next tick comes: without timers nothing would ever be answered late."""
        try:
            self.hub.tick(self._link_steps)
            self.draining.tick()
            self.access.tick(self._reactor)
            self.figures.tick()
            for embedded in self.embedded.values():
                embedded.tick()
        except Exception:  # noqa: BLE001 - see above
            self.log.failure("tick")

    def _on_step(self) -> None:
        try:
            self.hub.step()
            self.siblings.step()
            self.draining.step()
            self.drain.step(self.hub.now())
            self.behind.step()
            self.liveness.step(self.hub.now())
            self._housekeeping.step(self.hub.now())
            self.limiting.step(self.hub.now())
        except Exception:  # noqa: BLE001 - as in _on_tick
            self.log.failure("step")

    def _close_rest(self) -> Deferred[Any]:
        closing = self._sockets.close_links()
        self.behind.end()
        for call in (self._tick, self._steps):
            if call.running:
                call.stop()
        self._tick_meter.stop()
        self.figures.tick()
        self.quality.end()
        self.certificates.end()
        self.bus.close()
        closing += self._sockets.close_rest()
        closing.append(closed_store(self.store, self._reactor))
        self.log.info("{name} has stopped", name=self.config.name)
        return DeferredList(closing, consumeErrors=True)
