"""What the scene says to a process with a loop of its own: lines of JSON come in and go out."""

from __future__ import annotations

import json
import os
import sys
from typing import Protocol

from tests.flood.sockets import Connection, Loop


class Obeying(Protocol):
    """Who is told what to do: a command is the name of a method, with its arguments by name."""

    loop: Loop


class _Input:
    """Standard input, read like a socket."""

    def __init__(self) -> None:
        os.set_blocking(sys.stdin.fileno(), False)

    def fileno(self) -> int:
        """For the loop."""
        return sys.stdin.fileno()

    def recv(self, most: int) -> bytes:
        """Bytes that are there."""
        return os.read(sys.stdin.fileno(), most)

    def close(self) -> None:
        """It is the process's own."""


class Commands(Connection):
    """What the scene says, until its end, which is that of the process."""

    __slots__ = ("_lines", "_owner")

    def __init__(self, owner: Obeying) -> None:
        self._owner = owner
        self._lines = bytearray()
        super().__init__(owner.loop, _Input(), connected=True)

    def took(self, data: bytes) -> None:
        """Do what each line says."""
        self._lines += data
        while b"\n" in self._lines:
            line, _, self._lines = self._lines.partition(b"\n")
            command = json.loads(line)
            said = getattr(self._owner, command.pop("do"))(**command)
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()

    def gone(self) -> None:
        """The scene has ended."""
        os._exit(0)
