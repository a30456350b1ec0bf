"""The store of a router: made, closed, and how it is as status and metrics tell it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from imxrouter.admin.views import StoreView
from imxrouter.app import draining, remembering
from imxrouter.app.served import run_time_domains
from imxrouter.app.served.subscribed import SUBSCRIPTIONS
from imxrouter.app.traffic import kept_access, quality
from imxrouter.config.schema import Config
from imxrouter.gateways.embedded import keeping
from imxrouter.gateways.xmpp.subscriptions import kept
from imxrouter.routing.interfaces import StoreHealth, StoreProblem
from imxrouter.store.file import StateFile
from imxrouter.store.sqlite import SqliteStore
from imxrouter.telemetry.metrics import StoreFigures

log = Logger()

#: Reports of both directions; keys begin with the time, so that they are in its order.
ABUSE: Final = "abuse"
MAX_REPORTS: Final = 1_000_000
#: In state_dir.
STATE_FILE: Final = "state.db"
#: How long a stop waits for the disk.
CLOSE_S: Final = 5.0


def make_store(config: Config, reactor: Any, *, shared: bool) -> SqliteStore:
    """The store of a configuration; nothing is opened yet.

    Args:
        config: names the directory.
        reactor: in whose thread it is used.
        shared: other processes of the router use the file too.
    """

    def hand_over(what: Callable[[], None]) -> None:
        reactor.callFromThread(what)

    file = StateFile(Path(config.state_dir) / STATE_FILE, time.time)
    limits = {
        **remembering.TABLE_ENTRIES, **run_time_domains.TABLE_ENTRIES, **kept_access.TABLE_ENTRIES,
        **keeping.TABLE_ENTRIES, **kept.TABLE_ENTRIES, **draining.TABLE_ENTRIES, **quality.TABLE_ENTRIES,
        SUBSCRIPTIONS: config.limits.subscriptions,
        ABUSE: MAX_REPORTS,
    }  # fmt: skip
    store = SqliteStore(file, time.time, hand_over, limits=limits, shared=shared)
    store.on_note = _note
    return store


def closed_store(store: SqliteStore, reactor: Any) -> Deferred[None]:
    """Write what waits and close; fires then, or after `CLOSE_S`: no disk keeps a router from ending."""
    closed: Deferred[None] = Deferred()
    store.close(lambda: closed.callback(None))
    closed.addTimeout(CLOSE_S, reactor)
    text = f"{store.health().path}: the disk took too long to close it"
    return closed.addErrback(lambda _: _note(text, True))


def _note(text: str, bad: bool) -> None:
    (log.warn if bad else log.info)("{text}", text=text)


def store_view(health: StoreHealth) -> StoreView:
    """For `imxctl status`."""
    return StoreView(
        path=health.path, size_bytes=health.size_bytes, entries=health.entries, waiting=health.waiting,
        last_write_at=health.last_write_at, problem=health.problem.value, detail=health.detail,
        refused=health.refused,
    )  # fmt: skip


def store_figures(health: StoreHealth) -> StoreFigures:
    """For `/metrics`."""
    return StoreFigures(
        works=health.works,
        entries=health.entries,
        size_bytes=health.size_bytes,
        waiting=health.waiting,
        last_write_at=health.last_write_at or 0.0,
        refused=health.refused,
        failures={
            problem.value: health.failures.get(problem, 0)
            for problem in StoreProblem
            if problem is not StoreProblem.NONE
        },
    )
