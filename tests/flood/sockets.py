"""Thousands of connections of one process, each from a chosen address; without Twisted, and cheap."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from typing import Any, Final

_READ_BYTES: Final = 1 << 16
#: Bytes that a connection may have unwritten before its owner writes no more.
OUT_HIGH: Final = 1 << 18


class Connection:
    """One end of a connection; what comes goes to `took`.

    Attributes:
        out: bytes to be written.
        closed: it is gone.
    """

    __slots__ = ("_loop", "closed", "connected", "fileno", "out", "sock")

    def __init__(self, loop: Loop, sock: Any, *, connected: bool) -> None:
        self._loop = loop
        self.sock = sock
        self.fileno: int = sock.fileno()
        self.connected = connected
        self.closed = False
        self.out = bytearray()
        loop.add(self)

    def ready(self) -> None:
        """The connection is up."""

    def took(self, data: bytes) -> None:
        """Bytes came."""

    def readable(self) -> None:
        """There is something to read, or the end."""
        try:
            data = self.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.took(data)
        else:
            self.close()

    def gone(self) -> None:
        """It ended."""

    def write(self, data: bytes) -> None:
        """Write, now or as soon as the other side reads."""
        was_empty = not self.out
        self.out += data
        if was_empty and self.connected and not self.closed:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        try:
            while self.out:
                del self.out[: self.sock.send(self.out[: 1 << 16])]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._loop.wants(self)

    def close(self) -> None:
        """Cut it."""
        if not self.closed:
            self.closed = True
            self._loop.remove(self)
            self.sock.close()
            self.gone()


class Loop:
    """Waits for them all."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._masks: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def connections(self) -> list[Connection]:
        """All of them."""
        return list(self._connections.values())

    def add(self, one: Connection) -> None:
        """Watch a connection."""
        self._connections[one.fileno] = one
        self._masks[one.fileno] = select.EPOLLIN | (0 if one.connected else select.EPOLLOUT)
        self._poll.register(one.fileno, self._masks[one.fileno])

    def wants(self, one: Connection) -> None:
        """It has something to write, or nothing any more."""
        mask = select.EPOLLIN | (select.EPOLLOUT if one.out or not one.connected else 0)
        if not one.closed and self._masks[one.fileno] != mask:
            self._masks[one.fileno] = mask
            self._poll.modify(one.fileno, mask)

    def remove(self, one: Connection) -> None:
        """Watch it no more."""
        if self._connections.pop(one.fileno, None) is not None:
            del self._masks[one.fileno]
            self._poll.unregister(one.fileno)

    def turn(self, rest_s: float) -> None:
        """Serve what is ready; waits so long where nothing is."""
        for number, events in self._poll.poll(rest_s, 512):
            one = self._connections.get(number)
            if one is not None:
                self._serve(one, events)

    def _serve(self, one: Connection, events: int) -> None:
        if not one.connected and events & (select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP):
            if one.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                one.close()
                return
            one.connected = True
            one.ready()
        if one.closed:
            return
        if events & select.EPOLLOUT:
            one.flush()
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and not one.closed:
            one.readable()


def dialled(to: tuple[str, int], source: str) -> socket.socket | None:
    """A connection that is being made from an address; None where the system gives none now."""
    sock = socket.socket()
    sock.setblocking(False)
    try:
        # only so are the ports of an address used for several of its connections (ip(7))
        sock.setsockopt(socket.IPPROTO_IP, _BIND_WITHOUT_PORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((source, 0))
        with contextlib.suppress(BlockingIOError):
            sock.connect(to)
    except OSError as error:
        sock.close()
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EMFILE, errno.ECONNREFUSED, errno.ECONNRESET):
            raise
        return None
    return sock


#: IP_BIND_ADDRESS_NO_PORT of Linux, which the standard library does not name.
_BIND_WITHOUT_PORT: Final = 24
