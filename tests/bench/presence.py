"""What subscriptions and notifications cost; a part of `make bench`.

One presentity, everybody else watches him. SUBSCRIBE and NOTIFY pairs go through one router between an IMX
peer link and an IMX service link, with every check on; a notification brings a document of 400 bytes. MESSAGE
pairs with bodies of the same size go the same way in the same run. These figures alone:
`python -m tests.bench --load notifications`.
"""

from __future__ import annotations

import socket
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.task import Clock

from imxrouter.app.served.subscribed import KeptSubscriptions
from imxrouter.model.operations import SubscriptionState
from imxrouter.routing.interfaces import Store
from imxrouter.routing.subscriptions import Subscriptions, subscription_key
from imxrouter.store.file import StateFile
from imxrouter.store.sqlite import SqliteStore
from imxrouter.transport.bus import MemoryExchange
from tests.bench.links import login, prove
from tests.bench.process import cpu_s, rss_kib
from tests.bench.tools import Load, run_load

if TYPE_CHECKING:
    from tests.bench.__main__ import Bench

#: Watchers of one user; each may be told once a second and 20 times at once, which a run never needs.
WATCHERS: Final = 40_000
#: Subscriptions of which the memory is measured: what one domain may have.
SUBSCRIPTIONS: Final = 50_000
#: Bytes of a presence document with two instances, notes and contacts.
DOCUMENT_BYTES: Final = 400
#: Requests without an answer; a router's own grant.
WINDOW: Final = 2_000
#: Runs of which the best counts: others use the machine as well.
RUNS: Final = 3
TYPES: Final = ("message", "0x0101", "0x0102")


class PresenceBench:
    """Runs on what a bench has.

    Args:
        bench: its program, keys and router processes.
        peer: the domain behind the peer link.
    """

    def __init__(self, bench: Bench, peer: str) -> None:
        self._bench = bench
        self._peer = peer
        self._domain = bench.domains[0]
        self._ours = bench.folder / "watchers"
        self._ours.write_text(self._domain + "\n")

    # -- through a router --------------------------------------------------------------------------------

    def figures(self, seconds: float) -> dict[str, float]:
        """Pairs a second and microseconds of router CPU a pair, of each kind; the best of some runs."""
        found: dict[str, list[float]] = {}
        for _ in range(RUNS):
            for words, value in self._once(seconds).items():
                found.setdefault(words, []).append(value)
        return {words: max(some) if "a second" in words else min(some) for words, some in found.items()}

    def _once(self, seconds: float) -> dict[str, float]:
        bench, figures = self._bench, {}
        with bench.router(domains=[self._domain], types=TYPES) as (child, endpoint, listening):
            service = login(endpoint, bench.key)
            peer = prove(endpoint, listening, self._peer, self._domain)
            plans = (
                (Load(WINDOW, seconds=60, warmup=0, kind="subscribe", addresses=WATCHERS), (service, peer)),
                (
                    Load(WINDOW, seconds=seconds, addresses=WATCHERS, body=DOCUMENT_BYTES, kind="notify"),
                    (peer, service),
                ),
            )
            for load, ends in plans:
                figures.update(self._run(load, child.pid, ends))
        with bench.router(domains=[self._domain], types=TYPES) as (child, endpoint, listening):
            ends = (prove(endpoint, listening, self._peer, self._domain), login(endpoint, bench.key))
            load = Load(WINDOW, seconds=seconds, addresses=WATCHERS, body=DOCUMENT_BYTES)
            figures.update(self._run(load, child.pid, ends))
        return figures

    def _run(self, load: Load, pid: int, ends: tuple[socket.socket, socket.socket]) -> dict[str, float]:
        kind = load.kind
        marks: list[float] = []
        files = (self._bench.from_file, self._ours)
        if kind == "subscribe":
            files = (self._ours, self._bench.from_file)
        result = run_load(
            self._bench.program, load, [ends[0]], [ends[1]], *files, lambda _: marks.append(cpu_s(pid))
        )
        if result["outcomes"]["success"] != result["sent"]:
            raise RuntimeError(f"{kind}: not everything was a success: {result}")
        pairs = max(1, result["pairs"])
        return {
            f"{kind} pairs a second": result["pairs_per_s"],
            f"us CPU a {kind} pair": (marks[1] - marks[0]) / pairs * 1e6,
        }

    # -- memory ------------------------------------------------------------------------------------------

    def memory(self) -> dict[str, float]:
        """Bytes of a subscription: of a router's process, after a restart too, and of its parts."""
        bench, figures = self._bench, {}
        config = bench.config([self._domain], TYPES)
        with bench.router(config=config) as (child, endpoint, listening):
            time.sleep(2)
            base = rss_kib(child.pid)
            ends = login(endpoint, bench.key), prove(endpoint, listening, self._peer, self._domain)
            load = Load(WINDOW, seconds=60, warmup=0, kind="subscribe", addresses=SUBSCRIPTIONS)
            self._run(load, child.pid, ends)
            figures["bytes a subscription, subscribed"] = _each(rss_kib(child.pid) - base)
            time.sleep(3)  # they are written down
        with bench.router(config=config) as (child, _, _):
            figures["bytes a subscription, restarted"] = _each(rss_kib(child.pid) - base)
        return {**figures, **parts()}


def _each(kib: int) -> float:
    return kib * 1024 / SUBSCRIPTIONS


# -- parts of it ---------------------------------------------------------------------------------------------


def parts() -> dict[str, float]:
    """Bytes that Python's allocator gave for the table alone, and with what the store keeps of it."""
    figures = {}
    with tempfile.TemporaryDirectory(prefix="imxrouter-bench-") as folder:
        store = SqliteStore(StateFile(Path(folder) / "state.db", time.time), time.time, lambda what: what())
        store.start()
        figures["bytes a subscription in the table"] = _traced(lambda: filled(None))
        figures["bytes a subscription, table and store"] = _traced(lambda: (filled(store), store.flush(60)))
        store.close(lambda: None)
    return figures


def filled(store: Store | None, count: int = SUBSCRIPTIONS) -> Subscriptions:
    """A table with so many granted subscriptions, kept in a store where there is one."""
    table = Subscriptions()
    if store is not None:
        KeptSubscriptions(table, store, MemoryExchange(Clock()).join(0), time.monotonic, time.time).begin()
    now = time.monotonic()
    for number in range(count):
        watcher, presentity = b"u%06d@d0.served.bench.example" % number, b"bob@peer.bench.example"
        ident = b"watching-u%06d" % number
        key = subscription_key(bytes(bytearray(watcher)), bytes(bytearray(presentity)), ident)
        table.begin(key, watcher, bytes(bytearray(presentity)), ident, now)
        table.settle(key, SubscriptionState.ACTIVE, 3600, 3600, now)
    return table


def _traced(make: Callable[[], Any]) -> float:
    tracemalloc.start()
    kept = make()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return size / SUBSCRIPTIONS
