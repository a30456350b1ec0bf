"""A Twisted reactor that runs in a thread of its own, for tests that use real sockets.

One for the whole run: a Twisted reactor cannot be started twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ParamSpec

from twisted.internet import reactor as global_reactor
from twisted.internet.threads import blockingCallFromThread

P = ParamSpec("P")

#: A test that waits longer than this for a reactor to begin or end hangs.
_START_S = 60


class ReactorThread:
    """Runs the reactor; `call` does something in it and waits.

    Attributes:
        reactor: the reactor; use its methods only inside `call`.
    """

    def __init__(self) -> None:
        self.reactor: Any = global_reactor
        self._thread = threading.Thread(target=self._run, name="reactor", daemon=True)

    def start(self) -> None:
        """Start the thread and wait until the reactor turns."""
        turning = threading.Event()
        self.reactor.callWhenRunning(turning.set)
        self._thread.start()
        if not turning.wait(_START_S):
            raise RuntimeError("the reactor did not start")

    def stop(self) -> None:
        """Stop the reactor and wait for its thread."""
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(_START_S)

    def call(self, fn: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call a function in the reactor's thread; wait for its value, or for its Deferred's, and return it.

        Raises:
            Exception: whatever the function or its Deferred fails with.
        """
        return blockingCallFromThread(self.reactor, fn, *args, **kwargs)

    def _run(self) -> None:
        self.reactor.run(installSignalHandlers=False)
