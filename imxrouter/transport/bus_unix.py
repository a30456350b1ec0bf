"""The bus between the processes of one host: unix sockets in a directory that only their owner can open.

Process N listens on `<run_dir>/bus/N.sock`. A connection is opened when there is something to say and carries
asks and tells one way, answers the other way. N holds a lock on `N.lock` as long as it lives, so that a
socket whose lock is free belongs to nobody and may be removed, without a race against a restart.

A frame is: u32 bytes that follow, u8 op, u8 bytes of kind, u64 correlation, kind, payload.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from typing import Any, Final, cast

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IConsumer,
    IListeningPort,
    IPushProducer,
    IReactorTime,
    IReactorUNIX,
    ITransport,
)
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from imxrouter.transport.bus import MAX_PAYLOAD_BYTES, MAX_QUEUED_BYTES, BusEnd, BusError, Frame, Op

_HEAD: Final = Struct(">IBBQ")
_LENGTH_BYTES: Final = 4
_MAX_FRAME_BYTES: Final = _HEAD.size + 255 + MAX_PAYLOAD_BYTES

#: A connection on the same host is there at once or never; with a full backlog it may wait.
_CONNECT_S: Final = 5.0

#: Others hold our lock for the moment in which they remove a stale socket: so often, and so long apart, a
#: starting process tries again before it says that the number is taken.
_LOCK_TRIES: Final = 20
_LOCK_PAUSE_S: Final = 0.01

#: sun_path of sockaddr_un(7) has 108 bytes, one of them the final zero.
_MAX_PATH_BYTES: Final = 107

_OPS: Final = {op.value: op for op in Op}


def encode_frame(frame: Frame) -> bytes:
    """Return the bytes of a frame."""
    kind = frame.kind.encode("utf-8")
    size = _HEAD.size - _LENGTH_BYTES + len(kind) + len(frame.payload)
    return _HEAD.pack(size, frame.op, len(kind), frame.correlation) + kind + frame.payload


class FrameReader:
    """Cuts a byte stream into frames; a length is judged as soon as it is there."""

    def __init__(self) -> None:
        self._have = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes, return the whole frames.

        Raises:
            BusError: the bytes are no frames of ours.
        """
        self._have += data
        frames, at = [], 0
        while len(self._have) - at >= _LENGTH_BYTES:
            end = at + _LENGTH_BYTES + int.from_bytes(self._have[at : at + _LENGTH_BYTES], "big")
            if not _HEAD.size <= end - at <= _MAX_FRAME_BYTES:
                raise BusError(f"a frame of {end - at} bytes on the bus")
            if len(self._have) < end:
                break
            frames.append(_decode(bytes(self._have[at:end])))
            at = end
        del self._have[:at]
        return frames


def _decode(data: bytes) -> Frame:
    _, number, kind_bytes, correlation = _HEAD.unpack_from(data)
    op, start = _OPS.get(number), _HEAD.size + kind_bytes
    if op is None or start > len(data):
        raise BusError("a malformed frame on the bus")
    try:
        kind = data[_HEAD.size : start].decode("utf-8")
    except UnicodeDecodeError:
        raise BusError("a frame on the bus whose kind is no text") from None
    return Frame(op, correlation, kind, data[start:])


@implementer(IPushProducer)
class _Connection(Protocol):
    """Frames in, frames out; what waits to be written is bounded."""

    transport: ITransport

    def __init__(
        self, take: Callable[[Frame, Callable[[Frame], None]], None], gone: Callable[[_Connection], None]
    ) -> None:
        self._take = take
        self._gone = gone
        self._reader = FrameReader()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._ready = False
        self._aborted = False

    def send(self, frame: Frame) -> bool:
        """Write or queue a frame; False when too much waits."""
        data = encode_frame(frame)
        if self._ready:
            self.transport.write(data)
            return True
        if self._waiting_bytes + len(data) > MAX_QUEUED_BYTES:
            return False
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        return True

    def answer(self, frame: Frame) -> None:
        """Send an answer back; one who does not read its answers is cut off, and learns it by that."""
        if not self.send(frame):
            self.abort()

    def abort(self) -> None:
        """Cut the connection, also one that is not there yet."""
        self._aborted = True
        if self.transport is not None:
            cast("Any", self.transport).abortConnection()

    def connectionMade(self) -> None:
        """Connected: write what waits."""
        if self._aborted:
            self.abort()
            return
        cast("IConsumer", self.transport).registerProducer(self, True)
        self.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        try:
            frames = self._reader.feed(data)
        except BusError:
            self.abort()
            return
        for frame in frames:
            self._take(frame, self.answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """The connection is gone."""
        self._ready = False
        self._waiting.clear()
        self._waiting_bytes = MAX_QUEUED_BYTES  # takes nothing any more
        self._gone(self)

    def pauseProducing(self) -> None:
        """The kernel takes no more: queue."""
        self._ready = False

    def resumeProducing(self) -> None:
        """Write what waits, as far as the kernel takes it."""
        self._ready = True
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for at, data in enumerate(waiting):
            if not self._ready:
                self._waiting = waiting[at:]
                self._waiting_bytes = sum(map(len, self._waiting))
                return
            self.transport.write(data)

    def stopProducing(self) -> None:
        """The transport ends."""


class _Caller(ClientFactory):
    """Makes the one connection that a call of `connectUNIX` is for."""

    noisy = False

    def __init__(self, connection: _Connection, failed: Callable[[_Connection], None]) -> None:
        self._connection = connection
        self._failed = failed

    def buildProtocol(self, addr: object) -> _Connection:  # noqa: ARG002 - Twisted's signature
        """Give the connection its transport."""
        return self._connection

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:  # noqa: ARG002 - as above
        """Nobody is there."""
        self._failed(self._connection)


class _Listener(Factory):
    """Makes a connection for each process that calls."""

    noisy = False

    def __init__(self, make: Callable[[], _Connection]) -> None:
        self._make = make

    def buildProtocol(self, addr: object) -> _Connection:  # noqa: ARG002 - Twisted's signature
        """Take a caller."""
        return self._make()


class UnixBus(BusEnd):
    """One process's end. `start` before use.

    Args:
        reactor: clock and unix sockets.
        process: number of this process on its host.
        run_dir: the router's run directory; sockets live in `bus` below it.
        log: where failures are told.
    """

    def __init__(self, reactor: Any, process: int, run_dir: Path, log: Logger | None = None) -> None:
        super().__init__(cast("IReactorTime", reactor), process, log)
        self._unix = cast("IReactorUNIX", reactor)
        self._folder = run_dir / "bus"
        self._lock_fd = -1
        self._port: IListeningPort | None = None
        self._out: dict[int, _Connection] = {}
        self._in: set[_Connection] = set()

    def start(self) -> None:
        """Take the process's number and listen.

        Raises:
            BusError: another live process has the number, or the directory is not ours alone.
        """
        make_private_folder(self._folder)
        path = self._path(self.process)
        if len(os.fsencode(path)) > _MAX_PATH_BYTES:
            raise BusError(f"{path} is longer than {_MAX_PATH_BYTES} bytes; choose a shorter run_dir")
        self._lock_fd = self._lock()
        path.unlink(missing_ok=True)  # ours now, and left by one that died
        try:
            self._port = self._unix.listenUNIX(str(path), cast("Any", _Listener(self._accept)), mode=0o600)
        except CannotListenError as error:
            os.close(self._lock_fd)
            raise BusError(f"cannot listen on {path}: {error.socketError}") from None

    def peers(self) -> frozenset[int]:
        """Return the processes that live and listen; sockets of dead ones are removed on the way."""
        names = (path.stem for path in self._folder.glob("*.sock"))
        others = {int(name) for name in names if name.isascii() and name.isdigit()} - {self.process}
        return frozenset(process for process in others if not self._remove_stale(process))

    def _send(self, process: int, frame: Frame) -> bool:
        connection = self._out.get(process)
        if connection is None:
            path = self._path(process)
            if not path.exists():
                return False
            connection = _Connection(self._take, lambda gone: self._cut(process, gone))
            self._out[process] = connection
            caller = _Caller(connection, lambda gone: self._cut(process, gone))
            self._unix.connectUNIX(str(path), cast("Any", caller), timeout=_CONNECT_S)
        return connection.send(frame)

    def _accept(self) -> _Connection:
        connection = _Connection(self._take, self._in.discard)
        self._in.add(connection)
        return connection

    def _cut(self, process: int, connection: _Connection) -> None:
        """A connection of ours failed or ended; the next thing to say opens a new one."""
        if self._out.get(process) is connection:
            del self._out[process]
            self._remove_stale(process)
            self._lost(process)

    def _leave(self) -> None:
        for connection in [*self._out.values(), *self._in]:
            connection.abort()
        if self._port is not None:
            # Twisted removes the socket; only then is the number free.
            done = cast("Any", self._port.stopListening())
            if done is None:
                os.close(self._lock_fd)
            else:
                done.addBoth(lambda _: os.close(self._lock_fd))
            self._port = None

    # -- files -------------------------------------------------------------------------------------------

    def _path(self, process: int) -> Path:
        return self._folder / f"{process}.sock"

    def _lock(self) -> int:
        path = self._folder / f"{self.process}.lock"
        for _ in range(_LOCK_TRIES):
            fd = _try_lock(path)
            if fd is not None:
                return fd
            time.sleep(_LOCK_PAUSE_S)  # at start only, before anything is served
        raise BusError(f"another process {self.process} uses {self._folder}")

    def _remove_stale(self, process: int) -> bool:
        """Remove the socket of a process that is dead; say whether it is.

        One that was just killed may keep its lock for a moment after its connections ended.
        """
        fd = _try_lock(self._folder / f"{process}.lock")
        if fd is None:
            return False
        try:
            self._path(process).unlink(missing_ok=True)
        finally:
            os.close(fd)
        return True


def make_private_folder(folder: Path) -> None:
    """Make a directory of mode 0700, or check that one that is there is ours, and close it to others.

    Raises:
        BusError: it is no directory, or belongs to somebody else.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise BusError(f"{folder} is not a directory of this user")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def _try_lock(path: Path) -> int | None:
    """Take a lock file; the lock ends when the descriptor is closed, or with the process."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
