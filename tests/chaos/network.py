"""The network between two organisations, which does what networks and peers do at their worst."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from tests.chaos.witness import STILL_S, Cut, Life, Reader, Witness

#: A side that does not read is no longer read for above this: the kernel's buffers then fill up.
_BUFFER = 65536
_RESET = struct.pack("ii", 1, 0)
#: Time for a late end to take its last bytes before it is cut too.
_GRACE_S = 0.3


class Mode(Enum):
    """How bytes pass, on every connection."""

    PASS = "pass"
    #: peers do not read
    STALL = "stall"
    #: peers send one byte a second
    TRICKLE = "trickle"


@dataclass(eq=False)
class _End:
    """One side of a connection: its process, its socket (None: cut), and what waits to be written to it."""

    life: Life
    sock: socket.socket | None
    out: bytearray = field(default_factory=bytearray)
    reader: Reader = field(default_factory=Reader)
    trickled_at: float = 0.0
    #: what comes for it is thrown away
    loses: bool = False
    #: what comes for it waits until then
    held_until: float = 0.0


@dataclass(eq=False)
class _Pipe:
    near: _End
    far: _End
    #: in flight here: number -> it is a retry
    open: dict[int, bool] = field(default_factory=dict)
    #: requests that went to each side since the last thing went wrong
    carried: Counter[str] = field(default_factory=Counter)
    #: sides that requests ever went to
    used: set[str] = field(default_factory=set)
    ends_at: float = 0.0

    def side(self, side: str) -> _End:
        """The end of one organisation."""
        return self.near if self.near.life.process.startswith(side) else self.far

    @property
    def process(self) -> str:
        """The process of b that it connects to a."""
        return self.side("b").life.process

    def ends(self) -> tuple[tuple[_End, _End], tuple[_End, _End]]:
        """(from, to), in both directions."""
        return (self.near, self.far), (self.far, self.near)


@dataclass
class Door:
    """A port that leads to processes of the other side.

    Attributes:
        owner: the process that dials it.
        targets: process name -> port.
    """

    owner: str
    targets: dict[str, int]
    listening: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    turn: int = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listening.getsockname()[1])


class Network:
    """Doors, connections through them, and one thread that moves bytes.

    Attributes:
        mode: how bytes pass from now on.
        cause: what is going on, for the record of links that end.
        barred: processes of b that no connection is made to, or from.
        witness: everything seen; read it under `lock` or after `close`.
    """

    def __init__(self, doors: list[Door]) -> None:
        self.mode = Mode.PASS
        self.cause = "start"
        self._since: float | None = None
        self.barred: set[str] = set()
        self._single: _Pipe | None = None
        self._lost = 0
        self.witness = Witness()
        self.lock = threading.Lock()
        self._doors = doors
        self._starts: dict[str, int] = {}
        self._pipes: list[_Pipe] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    # -- what a scene does -------------------------------------------------------------------------------

    def begin(self, cause: str, *, silent: bool) -> None:
        """Something goes wrong from now on; silent: routers find links dead before we see them end."""
        with self.lock:
            self.cause, self._since = cause, time.monotonic() if silent else None
            for pipe in self._pipes:
                pipe.carried.clear()

    def passes_again(self) -> None:
        """Everything passes again; whatever was in flight until now may be past its deadline."""
        with self.lock:
            self.mode = Mode.PASS
            for pipe in self._pipes:
                for end, other in pipe.ends():
                    self._pass_unread(pipe, end, other)
                self._note(pipe)

    def started(self, process: str) -> None:
        """A process begins a life."""
        with self.lock:
            self._starts[process] = self._starts.get(process, 0) + 1

    def reset(self) -> None:
        """Reset every connection."""
        with self.lock:
            for pipe in list(self._pipes):
                self._cut(pipe)

    def busiest(self) -> str:
        """The process of b that got the most requests since the last thing went wrong."""
        with self.lock:
            return max((self._busiest(process)[0], process) for process in ("b0", "b1"))[1]

    def single_out(self, process: str, *, alone: bool) -> None:
        """Single out the busiest connection of one process of b, and reset those of the other process.

        No connection is made to the other process. Alone: there is that one connection, and none is made.
        """
        with self.lock:
            self.barred = {"b0", "b1"} - (set() if alone else {process})
            self._single = self._busiest(process)[1]
            for pipe in list(self._pipes):
                if pipe.process != process or (alone and pipe is not self._single):
                    self._cut(pipe)

    def lose_answers(self) -> None:
        """What comes for a on the one connection singled out is thrown away, until it is cut."""
        with self.lock:
            if self._single is not None:
                self._single.side("a").loses = True

    def lost(self) -> int:
        """Answers that were thrown away so far."""
        with self.lock:
            return self._lost

    def retried(self) -> int:
        """Requests that routers sent again so far."""
        with self.lock:
            return self.witness.retries.total()

    def hold(self, seconds: float) -> None:
        """What comes for b on the one connection singled out arrives later."""
        with self.lock:
            if self._single is not None:
                self._single.side("b").held_until = time.monotonic() + seconds

    def cut(self) -> None:
        """Reset the one connection singled out."""
        with self.lock:
            if self._single in self._pipes:
                self._cut(self._single)

    def cut_from_a(self) -> None:
        """A sees the one connection reset; b gets what was sent to it, and is cut then."""
        with self.lock:
            pipe = self._single
            if pipe in self._pipes:
                self._pass_unread(pipe, pipe.side("a"), pipe.side("b"))
                self._note(pipe)
                _close(pipe.side("a"))
                pipe.ends_at = max(pipe.side("b").held_until, time.monotonic()) + _GRACE_S

    def _busiest(self, process: str) -> tuple[int, _Pipe | None]:
        pipes = [pipe for pipe in self._pipes if pipe.process == process]
        found = max(pipes, key=lambda pipe: pipe.carried["b"], default=None)
        return (0, None) if found is None else (found.carried["b"], found)

    def close(self) -> None:
        """Stop."""
        self._stopping.set()
        self._thread.join(30)

    # -- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        for door in self._doors:
            door.listening.setblocking(False)
        looked = time.monotonic()
        while not self._stopping.is_set():
            now = time.monotonic()
            if now - looked > STILL_S:
                with self.lock:
                    self.witness.stills.append((looked, now))
            looked = now
            with selectors.DefaultSelector() as selector:
                with self.lock:
                    for door in self._doors:
                        selector.register(door.listening, selectors.EVENT_READ, door)
                    for pipe in self._pipes:
                        self._watch(selector, pipe)
                ready = selector.select(0.02)
            with self.lock:
                readable = {id(key.data) for key, mask in ready if mask & selectors.EVENT_READ}
                for door in self._doors:
                    if id(door) in readable:
                        self._accept(door)
                for pipe in list(self._pipes):
                    self._move(pipe, readable)
        with self.lock:
            for pipe in list(self._pipes):
                self._cut(pipe)
            for door in self._doors:
                door.listening.close()

    def _watch(self, selector: selectors.BaseSelector, pipe: _Pipe) -> None:
        now = time.monotonic()
        for end, other in pipe.ends():
            if end.sock is None:
                continue
            mask = selectors.EVENT_READ if len(other.out) < _BUFFER and self.mode is not Mode.STALL else 0
            writes = end.out and self.mode is Mode.PASS and end.held_until <= now
            mask |= selectors.EVENT_WRITE if writes else 0
            if mask:
                selector.register(end.sock, mask, end)

    def _life(self, process: str) -> Life:
        return Life(process, self._starts.get(process, 0))

    def _accept(self, door: Door) -> None:
        with contextlib.suppress(OSError):
            near, _ = door.listening.accept()
            door.turn += 1
            names = sorted(door.targets)
            names = names[door.turn % len(names) :] + names[: door.turn % len(names)]
            for name in names if door.owner not in self.barred else ():
                if name in self.barred:
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", door.targets[name]), 1)
                except OSError:
                    continue
                for sock in (near, far):
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pipes.append(_Pipe(_End(self._life(door.owner), near), _End(self._life(name), far)))
                return
            near.close()

    def _move(self, pipe: _Pipe, readable: set[int]) -> None:
        now = time.monotonic()
        try:
            for end, other in pipe.ends():
                if id(end) in readable and end.sock is not None:
                    self._pass(pipe, end, other, _read(end.sock))
            for end in (pipe.near, pipe.far):
                if end.sock is None or self.mode is Mode.STALL or end.held_until > now:
                    continue
                if self.mode is Mode.TRICKLE:
                    _trickle(end, now)
                else:
                    _write(end.sock, end.out)
        except (OSError, EOFError):
            self._cut(pipe)
            return
        if pipe.ends_at and now >= pipe.ends_at:
            self._cut(pipe)

    def _pass(self, pipe: _Pipe, end: _End, other: _End, data: bytes) -> None:
        if other.loses:
            self._lost += sum(is_response for is_response, _, _ in end.reader.feed(data))
            return
        self._see(pipe, end, other, data)
        other.out += data

    def _pass_unread(self, pipe: _Pipe, end: _End, other: _End) -> None:
        for data in _unread(end):
            self._pass(pipe, end, other, data)

    def _see(self, pipe: _Pipe, end: _End, other: _End, data: bytes, *, lost: bool = False) -> None:
        for is_response, is_retry, number in end.reader.feed(data):
            if is_response:
                self.witness.answered += False if lost else pipe.open.pop(number, False)
            else:
                pipe.open[number] = is_retry
                pipe.carried[other.life.process[0]] += 1
                pipe.used.add(other.life.process[0])
                self.witness.request(number, other.life, is_retry=is_retry)

    def _note(self, pipe: _Pipe) -> None:
        now, ends = time.monotonic(), (pipe.near.life, pipe.far.life)
        since = now if self._since is None else self._since
        self.witness.cut(Cut(since, now, self.cause, ends, frozenset(pipe.open), len(pipe.used)))

    def _cut(self, pipe: _Pipe) -> None:
        for end, other in pipe.ends():  # what a router has sent is in flight, though nobody has read it
            for data in _unread(end):
                self._see(pipe, end, other, data, lost=True)
        self._note(pipe)
        self._pipes.remove(pipe)
        for end in (pipe.near, pipe.far):
            _close(end)


def _close(end: _End) -> None:
    if end.sock is None:
        return
    with contextlib.suppress(OSError):
        end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    end.sock.close()
    end.sock = None


def _read(sock: socket.socket) -> bytes:
    try:
        data = sock.recv(_BUFFER)
    except BlockingIOError:
        return b""
    if not data:
        raise EOFError
    return data


def _unread(end: _End) -> Iterator[bytes]:
    """What has left an end's router and waits to be read."""
    with contextlib.suppress(OSError, EOFError):
        while end.sock is not None and (data := _read(end.sock)):
            yield data


def _write(sock: socket.socket, data: bytearray) -> None:
    if data:
        with contextlib.suppress(BlockingIOError):
            del data[: sock.send(data)]


def _trickle(end: _End, now: float) -> None:
    if now - end.trickled_at >= 1.0 and end.out and end.sock is not None:
        end.trickled_at = now
        end.sock.send(bytes(end.out[:1]))
        del end.out[:1]
