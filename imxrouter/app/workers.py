"""`workers = N`: a leader that starts the other processes of the router, and starts them again when they end.

All of them read one file and listen on one port. Process k takes its number from the command line; its
administration socket and its metrics port follow from the number (architecture section 9).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, Final

from msgspec import structs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.internet.stdio import StandardIO
from twisted.logger import Logger

from imxrouter.config.checks import MAX_PROCESS
from imxrouter.config.net import HostPort
from imxrouter.config.schema import Config
from imxrouter.model.errors import RouterError

#: A worker that ended is started again after so many seconds, doubled each time up to the cap.
AGAIN_FIRST_S: Final = 1.0
AGAIN_CAP_S: Final = 30.0
#: One that ran for so long begins at the first wait again.
STEADY_S: Final = 60.0
#: After the drain deadline a worker has this long to go, then it is killed.
GRACE_S: Final = 5.0
#: A process that was started so long ago takes SIGHUP.
LISTENS_S: Final = 5.0

_TWISTD: Final = "from twisted.scripts.twistd import run; run()"


class NoSuchProcess(RouterError):
    """No process can have this number."""


class NoSuchPort(RouterError):
    """The metrics port that a process would take does not exist."""


def as_process(config: Config, number: int) -> Config:
    """The configuration of one process of those that read the same file.

    Args:
        config: as the file has it.
        number: of the process; those after the file's own take the next metrics ports, and sockets with
            their number in the name.

    Raises:
        NoSuchProcess: the number is not 0 to 65535.
        NoSuchPort: the metrics port would be above 65535.
    """
    if not 0 <= number <= MAX_PROCESS:
        raise NoSuchProcess(f"process {number} is not 0 to {MAX_PROCESS}")
    after = number - config.process
    if not after:
        return config
    admin, metrics = config.admin, config.metrics
    if admin.socket:
        path = PurePath(admin.socket)
        admin = structs.replace(admin, socket=str(path.with_stem(f"{path.stem}-{number}")))
    endpoint = metrics.endpoint
    if endpoint is not None and endpoint.port:
        port = endpoint.port + after
        if not 0 < port <= 65535:
            raise NoSuchPort(
                f"metrics.listen: process {number} would take port {port}; choose a lower one in the file"
            )
        metrics = structs.replace(metrics, listen=str(HostPort(endpoint.host, port)))
    return structs.replace(config, process=number, admin=admin, metrics=metrics)


def processes_of(config: Config) -> range:
    """Numbers of all processes that a file starts; none where something else starts them."""
    return range(config.process, config.process + config.workers) if config.workers > 1 else range(0)


def end_with_standard_input(reactor: Any) -> None:
    """Stop when whoever started us is gone: then our standard input ends, however it went."""

    def gone() -> None:
        if reactor.running:  # not where we were told to stop, and close everything ourselves
            reactor.stop()

    StandardIO(_Leash(gone), reactor=reactor)  # type: ignore[no-untyped-call]


class _Leash(Protocol):
    def __init__(self, gone: Callable[[], None]) -> None:
        self._gone = gone

    def connectionLost(self, reason: Any = None) -> None:  # noqa: ARG002 - Twisted's signature
        self._gone()


class Workers(Service):
    """The other processes of a router.

    Args:
        config: of the leader; its `workers` counts the leader too.
        file: the configuration file they all read.
        reactor: starts processes and keeps time.
    """

    log = Logger()

    def __init__(self, config: Config, file: Path, reactor: Any) -> None:
        self._file = file
        self._reactor = reactor
        #: how long links may take to close, seconds; as of the moment it is asked
        self.deadline_s: Callable[[], float] = lambda: config.drain.deadline_s
        first = config.process + 1
        self.workers = [_Worker(number, self) for number in range(first, config.process + config.workers)]

    def startService(self) -> None:
        """Start them all."""
        super().startService()  # type: ignore[no-untyped-call]
        for worker in self.workers:
            worker.start()

    def stopService(self) -> Deferred[Any]:
        """Ask them all to close their links in order; what is still there after the deadline is killed."""
        super().stopService()  # type: ignore[no-untyped-call]
        give_up_s = self.deadline_s() + GRACE_S
        return DeferredList([worker.stop(give_up_s) for worker in self.workers])

    def hang_up(self) -> None:
        """Pass SIGHUP on, which only the leader got: each reads its files again."""
        for worker in self.workers:
            worker.hang_up()

    def spawn(self, worker: _Worker) -> Any:
        """Start one process."""
        words = [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", "imxrouter", "--config", str(self._file),
                 "--process", str(worker.number), "--follow"]  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        return self._reactor.spawnProcess(
            worker, sys.executable, words, environment, childFDs={0: "w", 1: 1, 2: 2}
        )

    def later(self, wait_s: float, what: Callable[[], None]) -> Any:
        """Call after a while."""
        return self._reactor.callLater(wait_s, what)

    def now(self) -> float:
        """Seconds."""
        return float(self._reactor.seconds())


class _Worker(ProcessProtocol):
    """One process, started again whenever it ends, until it is told to stop."""

    def __init__(self, number: int, workers: Workers) -> None:
        self.number = number
        #: how often it was started again
        self.again = 0
        self._workers = workers
        self._process: Any = None
        self._timer: Any = None
        self._began = 0.0
        self._wait_s = AGAIN_FIRST_S
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Start the process."""
        self._timer = None
        self._began = self._workers.now()
        self._process = self._workers.spawn(self)
        self._workers.log.info("worker {number} is process {pid}", number=self.number, pid=self._process.pid)

    def stop(self, give_up_s: float) -> Deferred[None]:
        """End it in order; fires when it has ended."""
        stopped: Deferred[None] = Deferred()
        if self._process is None:
            if self._timer is not None:
                self._timer.cancel()
            stopped.callback(None)
            return stopped
        self._stopped = stopped
        self._signal("TERM")
        self._timer = self._workers.later(give_up_s, lambda: self._signal("KILL"))
        return stopped

    def hang_up(self) -> None:
        """Have it read its files again; one that is being started is told a little later."""
        wait_s = self._began + LISTENS_S - self._workers.now()
        if wait_s > 0:  # the signal would end it
            self._workers.later(wait_s, self.hang_up)
        elif self._process is not None:
            self._signal("HUP")

    def processEnded(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """Start it again, or be done."""
        self._process = None
        if self._stopped is not None:
            if self._timer.active():
                self._timer.cancel()
            self._stopped.callback(None)
            return
        if self._workers.now() - self._began >= STEADY_S:
            self._wait_s = AGAIN_FIRST_S
        self.again += 1
        self._workers.log.error(
            "worker {number} ended ({why}); it is started again in {wait} s",
            number=self.number, why=reason.getErrorMessage(), wait=round(self._wait_s),
        )  # fmt: skip
        self._timer = self._workers.later(self._wait_s, self.start)
        self._wait_s = min(self._wait_s * 2, AGAIN_CAP_S)

    def _signal(self, name: str) -> None:
        try:
            self._process.signalProcess(name)
        except ProcessExitedAlready:
            self._workers.log.debug("worker {number} is gone already", number=self.number)
