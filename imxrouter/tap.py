"""`twistd imxrouter`: options and the service they make."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver, Logger
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from imxrouter.app.quickstart import quickstart_config
from imxrouter.app.reload.hangup import Hangup
from imxrouter.app.reload.loglines import CannotLog, LogLines
from imxrouter.app.router import Router
from imxrouter.app.workers import Workers, as_process, end_with_standard_input, processes_of
from imxrouter.config.load import load
from imxrouter.config.problems import ConfigError
from imxrouter.model.errors import RouterError

#: What the quickstart says; its users are those of `app.quickstart`.
_TRY = """\
A router with two users, alice and bob, for home.example. In another terminal:
  {imxctl} watch bob@home.example
  {imxctl} send alice@home.example bob@home.example 'Hello Bob'
  {imxctl} status
Steps are shown here as they happen. Ctrl-C stops it, and nothing is kept.
"""


class CannotStartError(UsageError, SystemExit):
    """The text goes to standard error and the exit code is 1.

    twistd shows a plain `UsageError` of `makeService` as a traceback; this one ends it like `sys.exit(text)`.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code: str | int = text


class Options(UsageOptions):
    """Command line of `twistd imxrouter`."""

    synopsis = "[--config FILE | --lab]"
    longdesc = "A border router for instant messages and presence. See docs/operators/configure.md."
    optParameters: ClassVar[list[list[Any]]] = [
        ["config", "c", None, "Configuration file (TOML)."],
        [
            "process", "p", None,
            "Run only this process of those that share the file; it starts no workers.", int,
        ],
    ]  # fmt: skip
    optFlags: ClassVar[list[list[Any]]] = [
        ["lab", None, "Run the quickstart: one router on loopback with two users, nothing kept."],
        ["follow", None, "End when standard input ends; given to workers, so that none outlives its leader."],
    ]

    def postOptions(self) -> None:
        """One of the two must be given."""
        if bool(self["config"]) == bool(self["lab"]):
            raise UsageError("give either --config FILE or --lab")


def makeService(options: Options, reactor: Any = None) -> IService:
    """Build the router.

    Raises:
        CannotStartError: the configuration cannot be used; every problem is listed with what to do.
    """
    if reactor is None:
        from twisted.internet import reactor  # noqa: PLC0415 - installed by twistd only now
    file, loaded = Path(options["config"] or "").absolute(), None
    try:
        if options["lab"]:
            folder = Path(tempfile.mkdtemp(prefix="imxrouter-lab-"))
            reactor.addSystemEventTrigger("after", "shutdown", shutil.rmtree, folder, True)
            config = quickstart_config(folder)
            sys.stderr.write(_TRY.format(imxctl=f"imxctl --socket {config.admin_socket}"))
        else:
            loaded = load(file)
            config = loaded.config
            for warning in loaded.warnings:
                sys.stderr.write(f"warning: {warning}\n")
        if options["process"] is not None:
            config = as_process(config, options["process"])
        router = Router(config, reactor)
        lines = LogLines(config.log, router.mask)
        router.reloading.owners.append(lines.prepare)
        if loaded is not None:
            router.host.numbers = processes_of(loaded.config)
            router.reloading.read_from(lambda: load(file), loaded, config.process - loaded.config.process)
    except CannotLog as error:
        raise CannotStartError(str(error)) from None
    except ConfigError as error:
        raise CannotStartError(str(error)) from None
    except RouterError as error:
        raise CannotStartError(f"cannot start: {error}") from None
    hangup = Hangup(reactor, follows=options["follow"])
    if not options["follow"]:  # a worker is told by its leader, over the bus and not by the signal
        hangup.reads("the configuration", router.reloading.hung_up)
    hangup.reads("certificates", router.certificates.reload)
    service = _Logged(lines, hangup)
    router.setServiceParent(service)  # type: ignore[no-untyped-call]
    if options["follow"]:
        reactor.callWhenRunning(end_with_standard_input, reactor)
    if config.workers > 1 and options["process"] is None:
        router.draining.leads = True
        workers = Workers(config, file, reactor)
        workers.deadline_s = lambda: router.config.drain.deadline_s
        workers.setServiceParent(service)  # type: ignore[no-untyped-call]
        hangup.reads("files of workers", workers.hang_up)
    return service


class _Logged(MultiService):
    """Gives twistd our log observer in place of its own, at the moment it takes the service."""

    def __init__(self, observer: ILogObserver, hangup: Hangup) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.log = Logger("imxrouter.tap")  # of the instance: as a class attribute it takes our name
        self._observer = observer
        self._hangup = hangup

    def startService(self) -> None:
        """Start what is inside.

        Raises:
            CannotStartError: a part of it cannot; said in the log, which twistd sends standard error to.
        """
        self._hangup.start()
        try:
            super().startService()  # type: ignore[no-untyped-call]
        except RouterError as error:
            self.log.critical("cannot start: {why}", why=str(error))
            stopped = CannotStartError(f"cannot start: {error}")
            stopped.code = 1
            raise stopped from None

    def setServiceParent(self, parent: Any) -> None:  # noqa: N802 - Twisted's name
        """Called with the application before twistd starts to log."""
        if hasattr(parent, "setComponent"):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
