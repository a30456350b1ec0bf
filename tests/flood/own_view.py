"""A router that notes how long it keeps honest messages itself; stands in place of `twistd`.

A message waits in the router for the turn of the reactor that is under way when it comes, then for what is
read before it in the next one, and is looked at. For each read of a link of the honest ones that is noted in
the directory of the configuration: monotonic time, then seconds of the wall clock, and of processor time,
since the beginning of the turn and of the one before, if the process did not rest between. The second says
what the router is the reason for; the first also contains what other processes took of its core.
"""

from __future__ import annotations

import struct
import sys
import time
from pathlib import Path
from typing import Any, Final

from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link
from imxrouter.wire.layout import FIRST_ROUTED_TYPE, RESPONSE_BIT

NOTE: Final = struct.Struct("=ddd")
NAME: Final = "own.bin"
#: Only who is honest comes from there, or is dialled there.
_HONEST: Final = "127.0.0.1"
#: Whoever waits for longer in the poll was resting.
_REST_S: Final = 0.00005


class Poller:
    """Stands before the reactor's, and knows when its turns begin."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._wall = self._cpu = self._before_wall = self._before_cpu = 0.0

    def poll(self, *arguments: Any) -> Any:
        """A turn ends, and the next one begins."""
        began, cpu = time.perf_counter(), time.thread_time()
        ready = self._inner.poll(*arguments)
        ended = time.perf_counter()
        rested = ended - began > _REST_S
        self._before_wall = 0.0 if rested else began - self._wall
        self._before_cpu = 0.0 if rested else cpu - self._cpu
        self._wall, self._cpu = ended, time.thread_time()
        return ready

    def waited(self) -> tuple[float, float]:
        """How long who is served now was kept at most: wall, processor."""
        return (
            time.perf_counter() - self._wall + self._before_wall,
            time.thread_time() - self._cpu + self._before_cpu,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def main() -> None:
    """Run."""
    from twisted.internet import epollreactor  # noqa: PLC0415 - before anything takes the reactor

    epollreactor.install()  # type: ignore[no-untyped-call]
    from twisted.internet import reactor  # noqa: PLC0415 - as above
    from twisted.scripts.twistd import run  # noqa: PLC0415 - as above

    poller = Poller(reactor._poller)  # type: ignore[attr-defined]
    reactor._poller = poller  # type: ignore[attr-defined]
    notes = Path(sys.argv[-1]).with_name(NAME).open("ab", buffering=0)
    received = Hub.received

    def noting(self: Hub, session: Link, data: bytes) -> None:
        received(self, session, data)
        kind = int.from_bytes(data[4:6], "big") & ~RESPONSE_BIT
        if session.remote[0] == _HONEST and kind >= FIRST_ROUTED_TYPE:
            notes.write(NOTE.pack(time.monotonic(), *poller.waited()))

    Hub.received = noting  # type: ignore[method-assign]
    sys.argv[0] = "twistd"
    run()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
