"""A TCP proxy that does what networks and peers do at their worst."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from enum import Enum

#: A side that does not read is no longer read for above this: the kernel's buffers then fill up.
_BUFFER = 65536
_RESET = struct.pack("ii", 1, 0)


class Mode(Enum):
    """How bytes pass."""

    PASS = "pass"
    #: the peer does not read
    STALL = "stall"
    #: the peer sends one byte a second
    TRICKLE = "trickle"
    #: what comes back is thrown away; the link is cut later
    DROP_ANSWERS = "drop-answers"


@dataclass
class _Pipe:
    near: socket.socket
    far: socket.socket
    to_far: bytearray = field(default_factory=bytearray)
    to_near: bytearray = field(default_factory=bytearray)
    trickled_at: float = 0.0


class Proxy:
    """Listens on a port of its own and connects on to targets in turn.

    Attributes:
        mode: how bytes pass from now on.
        port: where it listens.
    """

    def __init__(self, targets: list[int]) -> None:
        self.mode = Mode.PASS
        self._targets = targets
        self._turn = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._pipes: list[_Pipe] = []
        self._reset = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"proxy {self.port}", daemon=True)
        self._thread.start()

    def reset(self) -> None:
        """Reset every connection."""
        self._reset.set()

    def close(self) -> None:
        """Stop."""
        self._stopping.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with selectors.DefaultSelector() as selector:
                selector.register(self._listening, selectors.EVENT_READ)
                for pipe in self._pipes:
                    self._watch(selector, pipe)
                ready = {key.fd: mask for key, mask in selector.select(0.02)}
            if self._reset.is_set():
                self._reset.clear()
                for pipe in list(self._pipes):
                    self._cut(pipe)
                continue
            if self._listening.fileno() in ready:
                self._accept()
            for pipe in list(self._pipes):
                self._move(pipe, ready)
        for pipe in list(self._pipes):
            self._cut(pipe)
        self._listening.close()

    def _watch(self, selector: selectors.BaseSelector, pipe: _Pipe) -> None:
        for sock, inward, outward in (
            (pipe.near, pipe.to_far, pipe.to_near),
            (pipe.far, pipe.to_near, pipe.to_far),
        ):
            mask = selectors.EVENT_READ if len(inward) < _BUFFER and self.mode is not Mode.STALL else 0
            mask |= selectors.EVENT_WRITE if outward and self.mode in (Mode.PASS, Mode.DROP_ANSWERS) else 0
            if mask:
                selector.register(sock, mask)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            near, _ = self._listening.accept()
            self._turn += 1
            try:
                far = socket.create_connection(
                    ("127.0.0.1", self._targets[self._turn % len(self._targets)]), timeout=1
                )
            except OSError:
                near.close()
                return
            for sock in (near, far):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pipes.append(_Pipe(near, far))

    def _move(self, pipe: _Pipe, ready: dict[int, int]) -> None:
        try:
            if ready.get(pipe.near.fileno(), 0) & selectors.EVENT_READ:
                pipe.to_far += _read(pipe.near)
            if ready.get(pipe.far.fileno(), 0) & selectors.EVENT_READ:
                data = _read(pipe.far)
                pipe.to_near += b"" if self.mode is Mode.DROP_ANSWERS else data
            if self.mode is Mode.TRICKLE:
                self._trickle(pipe)
            elif self.mode is not Mode.STALL:
                _write(pipe.far, pipe.to_far)
                _write(pipe.near, pipe.to_near)
        except (OSError, EOFError):
            self._cut(pipe)

    @staticmethod
    def _trickle(pipe: _Pipe) -> None:
        if time.monotonic() - pipe.trickled_at < 1.0:
            return
        pipe.trickled_at = time.monotonic()
        for sock, data in ((pipe.far, pipe.to_far), (pipe.near, pipe.to_near)):
            if data:
                sock.send(bytes(data[:1]))
                del data[:1]

    def _cut(self, pipe: _Pipe) -> None:
        self._pipes.remove(pipe)
        for sock in (pipe.near, pipe.far):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()


def _read(sock: socket.socket) -> bytes:
    try:
        data = sock.recv(_BUFFER)
    except BlockingIOError:
        return b""
    if not data:
        raise EOFError
    return data


def _write(sock: socket.socket, data: bytearray) -> None:
    if data:
        with contextlib.suppress(BlockingIOError):
            del data[: sock.send(data)]
