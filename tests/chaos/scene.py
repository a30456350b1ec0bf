"""Two organisations, the network between them, services that load them, and what goes wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.chaos.load import Count, Load
from tests.chaos.network import Door, Mode, Network
from tests.chaos.routers import ANSWER_TIMEOUT_S, DEAD_S, RouterProcess
from tests.chaos.service import Plan
from tests.chaos.verdict import Event, Verdict
from tests.doubles.router_rig import free_port

A, B = "a.chaos.example", "b.chaos.example"
#: Longer than hold and answer times of the routers together, on a slow machine too.
SETTLE_S = 30.0
#: Messages without an outcome at each sending service. A router answers `busy` above half of its credit
#: where all goes to one domain.
WINDOW = 32
#: A process starts in about one second, more under load; back-off here ends after half a second.
RECOVERED_S = 40.0
#: Between two events.
PAUSE_S = 0.2
#: Events in which nothing passes.
SILENT = ("peer stops reading", "one byte a second")
#: How long answers are lost: the window fills up in this time.
_LOST_S = 0.15
#: What an event waits for comes in less, unless a process stands still.
_COMES_S = 3.0


class Scene:
    """A with one process; B with two behind one port, as one host. Services at all three.

    Args:
        folder: for files.
        rate: messages a second from a to b.
        back: messages a second from b to a.
        mutants: process -> the check taken away there.
    """

    def __init__(self, folder: Path, rate: float, back: float, mutants: dict[str, str] | None = None) -> None:
        key = Ed25519PrivateKey.generate()
        ports = {name: free_port("127.0.0.1") for name in ("a", "b0", "b1")}
        to_b = Door("a", {"b0": ports["b0"], "b1": ports["b1"]})
        to_a = [Door(name, {"a": ports["a"]}) for name in ("b0", "b1")]
        self.network = Network([to_b, *to_a])
        self.routers = {
            "a": RouterProcess(folder, A, B, to_b.port, key, 0, ports["a"]),
            "b0": RouterProcess(folder, B, A, to_a[0].port, key, 0, ports["b0"]),
            "b1": RouterProcess(folder, B, A, to_a[1].port, key, 1, ports["b1"]),
        }
        self.load: Load | None = None
        #: how long after the last event every message succeeded again; None: not within `RECOVERED_S`
        self.recovered_s: float | None = None
        self.events = [Event(time.monotonic(), "start", Count(0, 0))]
        try:
            for name, router in self.routers.items():
                router.mutant = (mutants or {}).get(name, "")
                self.network.started(name)
                router.start()
            for router in self.routers.values():
                router.wait()
            both = (ports["b0"], ports["b1"])
            self.load = Load(key, [
                Plan("source", (ports["a"],), (A, B), 0, rate, WINDOW),
                Plan("back", both, (B, A) if back else None, 1, back, WINDOW),
                Plan("sink0", (ports["b0"],)),
                Plan("sink1", (ports["b1"],)),
            ])  # fmt: skip
        except BaseException:
            self.close()
            raise

    # -- events ------------------------------------------------------------------------------------------

    def happen(self, name: str) -> None:
        """Let one thing go wrong, and be right again."""
        self.events.append(Event(time.monotonic(), name, self._load.count()))
        self.network.begin(name, silent=name in SILENT)
        events: dict[str, Callable[[], None]] = {
            "reset": self.network.reset,
            "peer stops reading": lambda: self._mode(Mode.STALL, DEAD_S + 0.3),
            "one byte a second": lambda: self._mode(Mode.TRICKLE, ANSWER_TIMEOUT_S + 0.7),
            "answers lost, same process": lambda: self._answers_lost(elsewhere=False),
            "answers lost, other process": lambda: self._answers_lost(elsewhere=True),
            "first try is late": lambda: self._late_first(away=False),
            "first try is late, service away": lambda: self._late_first(away=True),
            "answers lost, nobody there": self._nobody_there,
            "kill a": lambda: self._kill("a"),
            "kill b0": lambda: self._kill("b0"),
            "kill b1": lambda: self._kill("b1"),
            "source lost": lambda: self._service("source"),
            "back lost": lambda: self._service("back"),
            "sink lost": lambda: self._service("sink0"),
        }
        events[name]()
        for one in self.routers.values():
            one.note_memory()

    def _mode(self, mode: Mode, seconds: float) -> None:
        self.network.mode = mode
        time.sleep(seconds)
        self.network.passes_again()

    def _single_out(self, *, alone: bool) -> str:
        for router in self.routers.values():
            router.wait()
        time.sleep(0.1)
        busiest = self.network.busiest()
        self.network.single_out(busiest, alone=alone)
        time.sleep(0.1)
        return busiest

    def _answers_lost(self, *, elsewhere: bool) -> None:
        """One link's answers are lost, then the link: retries go over another, to the same process or not."""
        process = self._single_out(alone=elsewhere)
        lost = self.network.lost()
        self.network.lose_answers()
        self._comes(lambda: self.network.lost() > lost)
        self.network.barred = {process} if elsewhere else {"b0", "b1"} - {process}
        retried = self.network.retried()
        self.network.cut()
        self._comes(lambda: self.network.retried() > retried)
        self.network.barred = set()

    def _comes(self, holds: Callable[[], bool]) -> None:
        """Wait for what needs the routers' turn, however slow; and at least as long as all of it takes."""
        until = time.monotonic() + _COMES_S
        time.sleep(_LOST_S)
        while not holds() and time.monotonic() < until:
            time.sleep(0.01)

    def _late_first(self, *, away: bool) -> None:
        """Requests are under way when their sender loses the link; retries overtake them.

        Where services are away, retries find none, and the first tries find one later.
        """
        self._single_out(alone=False)
        self.network.hold(4 * _LOST_S)
        time.sleep(_LOST_S)
        for name in ("back", "sink0", "sink1") if away else ():
            self._load.away(name, 2 * _LOST_S)  # longer than a retry rests
        self.network.cut_from_a()
        time.sleep(4 * _LOST_S)
        self.network.barred = set()

    def _nobody_there(self) -> None:
        """Answers are lost, and then b cannot be reached at all."""
        self._single_out(alone=True)
        self.network.lose_answers()
        time.sleep(_LOST_S)
        self.network.cut()
        time.sleep(2 * _LOST_S)
        self.network.barred = set()

    def _kill(self, name: str) -> None:
        router = self.routers[name]
        router.kill()
        time.sleep(0.2)
        self.network.started(name)
        router.start()

    def _service(self, name: str) -> None:
        self._load.cut(name, 0.2)
        time.sleep(0.4)

    @property
    def _load(self) -> Load:
        assert self.load is not None
        return self.load

    # -- the end -----------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Go on until messages pass again and all succeed; say how long it took."""
        began, before = time.monotonic(), self._load.count()
        while time.monotonic() < began + RECOVERED_S:
            time.sleep(0.25)
            now = self._load.count()
            if now.lost == before.lost and now.succeeded > before.succeeded:
                self.recovered_s = time.monotonic() - began
                return
            before = now

    def settle(self) -> None:
        """No new message; everything has its outcome within every time-out."""
        self._load.hush()
        for router in self.routers.values():
            router.wait()
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until and self._load.count().waiting:
            time.sleep(0.1)
        while time.monotonic() < until and any(one.figures()["in_flight"] for one in self.routers.values()):
            time.sleep(0.1)

    def verdict(self) -> Verdict:
        """Everything that is known of this scene; it ends."""
        for one in self.routers.values():
            one.note_memory()
        lives = {name: [*one.ended, one.figures()] for name, one in self.routers.items()}
        peak = max(one.peak_kib for one in self.routers.values())
        report = self._load.report()
        self.network.close()
        tracebacks = [line for one in self.routers.values() for line in one.tracebacks()]
        return Verdict(report, self.network.witness, self.events, lives, peak, tracebacks, self.recovered_s)

    def close(self) -> None:
        """End everything that was started here."""
        for router in self.routers.values():
            router.end()
        if self.load is not None:
            self.load.close()
        self.network.close()


def play(
    folder: Path, events: list[str], rate: float, back: float, mutants: dict[str, str] | None = None
) -> Verdict:
    """Run a row of events under load."""
    scene = Scene(folder, rate, back, mutants)
    try:
        time.sleep(0.4)
        for name in events:
            scene.happen(name)
            time.sleep(PAUSE_S)
        scene.recover()
        scene.settle()
        return scene.verdict()
    finally:
        scene.close()
