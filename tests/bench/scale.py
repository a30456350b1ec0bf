"""What many idle links cost, and what a second process on the same port gives."""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imxrouter.wire.control import Ping, Pong, decode_control
from imxrouter.wire.errors import WireError
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.record import decode_record
from tests.bench.links import BenchLink, login_on, prove_on

#: Links that stay idle, and seconds for which their keep-alive is watched: two rounds of the default.
IDLE_LINKS = 10_000
WATCHED_S = 20.0


def idle_links(
    endpoint: tuple[str, int], listening: socket.socket, pair: tuple[str, str], count: int = IDLE_LINKS
) -> Iterator[BenchLink]:
    """Open links on which a domain is proved, one after another."""
    allow_files(count)
    for number in range(count):
        link = BenchLink.open(endpoint, f"127.0.{1 + number // 200}.{1 + number % 200}")
        prove_on(link, listening, *pair)
        yield link


def allow_files(count: int) -> None:
    """See to it that this process, and those that it starts, may open so many files, and some more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise OSError(f"{wanted} open files are needed, {hard} are allowed: raise the limit (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def keep_alive(links: list[BenchLink], seconds: float) -> int:
    """Answer the pings of idle links for a while; returns how many came."""
    pings, end_s = 0, time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for link in links:
            link.socket.setblocking(False)
            selector.register(link.socket, selectors.EVENT_READ, (link.socket, RecordSplitter()))
        while (left := end_s - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                connection, splitter = key.data
                data = connection.recv(65536)
                if not data:
                    raise ConnectionError("the router closed an idle link")
                pings += answer_pings(connection, splitter, data)
    return pings


def answer_pings(connection: Any, splitter: RecordSplitter, data: bytes) -> int:
    """Answer the pings in what came on a link; returns how many there were."""
    pings = 0
    for record in splitter.feed(data):
        with contextlib.suppress(WireError):
            control = decode_control(decode_record(record))
            if isinstance(control, Ping):
                connection.sendall(Pong(control.nonce).encode())
                pings += 1
    return pings


def on_each_process(open_one: Callable[[], BenchLink], processes: int) -> list[BenchLink]:
    """Open links until every process that shares the port has one; its epoch in hello tells which it is."""
    links: dict[bytes | None, BenchLink] = {}
    for _ in range(200):
        link = open_one()
        if link.peer.epoch in links:
            link.socket.close()
            continue
        links[link.peer.epoch] = link
        if len(links) == processes:
            return list(links.values())
    raise ConnectionError(f"{processes} processes were started, {len(links)} take links")


def joined_to_each(
    endpoint: tuple[str, int], listening: socket.socket, key: Ed25519PrivateKey, pair: tuple[str, str],
    processes: int,
) -> tuple[list[socket.socket], list[socket.socket]]:  # fmt: skip
    """A proved peer link and a service link at each process; gives senders and responders."""

    def opened() -> BenchLink:
        return BenchLink.open(endpoint)

    responders = on_each_process(opened, processes)
    for link in responders:
        login_on(link, key)
    senders = on_each_process(opened, processes)
    for link in senders:
        prove_on(link, listening, *pair)
    return [link.socket for link in senders], [link.socket for link in responders]
