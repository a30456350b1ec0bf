"""`twistd imxrouter`: options and the service they make."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

from msgspec import structs
from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from imxrouter.app.quickstart import quickstart_config
from imxrouter.app.router import Router
from imxrouter.config.load import load
from imxrouter.config.problems import ConfigError
from imxrouter.config.sections import Log
from imxrouter.model.errors import RouterError
from imxrouter.telemetry.logs import observer
from imxrouter.telemetry.privacy import AddressMask


class Options(UsageOptions):
    """Command line of `twistd imxrouter`."""

    synopsis = "[--config FILE | --lab]"
    longdesc = "A border router for instant messages and presence. See docs/operators/configure.md."
    optParameters: ClassVar[list[list[Any]]] = [
        ["config", "c", None, "Configuration file (TOML)."],
        ["process", "p", None, "Number of this process; overrides `process` of the file.", int],
    ]
    optFlags: ClassVar[list[list[Any]]] = [
        ["lab", None, "Run the quickstart: one router on loopback with two users, nothing kept."]
    ]

    def postOptions(self) -> None:
        """One of the two must be given."""
        if bool(self["config"]) == bool(self["lab"]):
            raise UsageError("give either --config FILE or --lab")


def makeService(options: Options, reactor: Any = None) -> IService:
    """Build the router.

    Raises:
        UsageError: the configuration is not valid; every problem is listed with what to do.
    """
    if reactor is None:
        from twisted.internet import reactor  # noqa: PLC0415 - installed by twistd only now
    try:
        if options["lab"]:
            config = quickstart_config()
        else:
            loaded = load(Path(options["config"]))
            config = loaded.config
            for warning in loaded.warnings:
                sys.stderr.write(f"warning: {warning}\n")
        if options["process"] is not None:
            config = structs.replace(config, process=options["process"])
        router = Router(config, reactor)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    except RouterError as error:
        raise UsageError(f"cannot start: {error}") from None
    service = _Logged(observer_for(config.log, router.mask))
    router.setServiceParent(service)  # type: ignore[no-untyped-call]
    return service


class _Logged(MultiService):
    """Gives twistd our log observer in place of its own, at the moment it takes the service."""

    def __init__(self, observer: ILogObserver) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:  # noqa: N802 - Twisted's name
        """Called with the application before twistd starts to log."""
        if hasattr(parent, "setComponent"):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]


def observer_for(log: Log, mask: AddressMask) -> ILogObserver:
    """The observer of the [log] table.

    Raises:
        UsageError: the log file cannot be opened.
    """
    if not log.file:
        stream = sys.stderr
    else:
        try:
            stream = Path(log.file).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - open for life
        except OSError as error:
            raise UsageError(f"log.file {log.file}: {error}") from None
    return observer(stream.write, mask, log.format, log.level)
