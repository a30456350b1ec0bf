"""The router under test as a process of its own, with one of its checks taken away where the bench says so.

`python -m tests.bench.router_process CONFIG [CHECK]`. Only the bench and attacks can do that: no
configuration reaches `Checks`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as global_reactor
from twisted.logger import globalLogBeginner

from imxrouter.app.reload.loglines import LogLines
from imxrouter.app.router import Router
from imxrouter.config.load import load
from imxrouter.switch.checks import ALL_CHECKS


def main(arguments: list[str]) -> None:
    """Run until killed."""
    reactor = cast("Any", global_reactor)
    config = load(Path(arguments[0])).config
    checks = replace(ALL_CHECKS, **{arguments[1]: False}) if len(arguments) > 1 else ALL_CHECKS
    router = Router(config, reactor, checks=checks)
    globalLogBeginner.beginLoggingTo([LogLines(config.log, router.mask)], redirectStandardIO=False)
    del config  # 100,000 domains are 30 MB, and twistd does not keep them either
    reactor.callWhenRunning(router.startService)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
