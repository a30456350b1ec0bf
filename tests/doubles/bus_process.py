"""A process on the bus, to be killed: `python -m tests.doubles.bus_process RUN_DIR NUMBER`.

Answers `echo` with the payload, and `hold` never. Writes a line once it listens.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.base import ReactorBase

from imxrouter.transport.bus_unix import UnixBus


def main(run_dir: str, number: str, turning: ReactorBase) -> None:
    """Serve until killed."""

    def listener(kind: str, payload: bytes, reply: Callable[[bytes], None]) -> None:
        if kind == "echo":
            reply(payload)

    bus = UnixBus(turning, int(number), Path(run_dir))
    bus.listen(listener)
    bus.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    turning.run()


if __name__ == "__main__":
    assert isinstance(reactor, ReactorBase)
    main(sys.argv[1], sys.argv[2], reactor)
