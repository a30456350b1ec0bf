"""Ports for what tests start: between being chosen and being bound, nobody else gets one.

The system's own choice (port 0) may be given twice before it is bound, and is of the range from which
outgoing connections take theirs. So ports below that range are counted up, and no two processes of one
network count in the same block: who counts in a block has an abstract unix socket with its name, which
lives in the network namespace and ends with the process.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from typing import Final

from imxrouter.lab.places import Place, is_free

#: Linux gives 32,768 and above to outgoing connections; well-known services are below 10,000.
FIRST: Final = 12_000
BLOCK: Final = 200
BLOCKS: Final = 100
#: From one port to the next: the processes of a router count up from the one that its metrics are given.
STEP: Final = 8


class Ports:
    """The ports of one process.

    Args:
        name: begins the names of the sockets that claim a block.
    """

    def __init__(self, name: str = "imxrouter-tests-ports") -> None:
        self._name = name
        self._blocks: list[int] = []
        self._given: Counter[str] = Counter()
        self._tried = 0

    def take(self, ip: str) -> int:
        """A port of an IPv4 address that is free for TCP and UDP, and was not given before.

        Raises:
            LookupError: none is left.
        """
        while True:
            block, at = divmod(self._given[ip], BLOCK)
            self._given[ip] += STEP
            if block == len(self._blocks):
                self._blocks.append(self._claim())
            port = FIRST + self._blocks[block] * BLOCK + at
            if is_free(Place(ip, port)):
                return port

    def _claim(self) -> int:
        """The next block that is nobody's; other processes began elsewhere."""
        while self._tried < BLOCKS:
            number = (os.getpid() + self._tried) % BLOCKS
            self._tried += 1
            with socket.socket(socket.AF_UNIX) as claim:
                try:
                    claim.bind(f"\0{self._name}-{number}")
                except OSError:
                    continue
                claim.detach()  # open until this process ends
                return number
        raise LookupError("all ports for tests are taken")
