"""What TLS writes: at once where the kernel takes it, in order where it does not, and what is kept for it."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.internet import tcp

from imxrouter.link.machine import Side
from imxrouter.transport import tls_layer
from imxrouter.transport.session import LinkSession
from imxrouter.transport.tls_layer import SWOLLEN_BYTES, Below, below
from imxrouter.wire.control import Hello, Ping
from imxrouter.wire.registry import PROTOCOL_VERSION
from tests.doubles.router_rig import Lab, RouterRig
from tests.transport.test_tls_links import raw_tls, tls_router


class Kernel:
    """A socket that takes so many bytes and no more.

    Attributes:
        room: how many more.
        taken: what it took.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken: list[bytes] = []

    def send(self, data: bytes) -> int:
        """Take what there is room for."""
        if not self.room:
            raise BlockingIOError
        part = data[: self.room]
        self.room -= len(part)
        self.taken.append(part)
        return len(part)


class Connection(tcp.Connection):
    """A TCP connection as far as `Below` looks at it; no reactor writes what is queued."""

    def __init__(self, room: int) -> None:
        self.connected = 1
        self.disconnecting = False
        self.kernel = Kernel(room)
        self.socket = cast("Any", self.kernel)
        self.queued: list[bytes] = []
        self.producers: list[Any] = []

    def write(self, data: bytes) -> None:
        """Queue it."""
        self.queued.append(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """As Twisted's: who is asked for more is asked at once."""
        assert not streaming
        self.producers.append(producer)
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """As Twisted's."""
        self.producers.clear()


def test_what_the_kernel_takes_waits_for_nobody() -> None:
    """It is written in the call, and nothing is said to wait."""
    connection = Connection(100)
    one = Below(connection)
    one.write(b"abc")
    assert (connection.kernel.taken, connection.queued, one.waiting) == ([b"abc"], [], False)


def test_nothing_overtakes_what_waits() -> None:
    """The rest of a write, and all that comes after it, goes through the reactor until it has written all."""
    connection, told = Connection(2), []
    one = Below(connection)
    one.drained = lambda: told.append(one.waiting)
    one.write(b"abc")
    connection.kernel.room = 100
    one.write(b"def")
    assert connection.kernel.taken == [b"ab"]
    assert connection.queued == [b"c", b"def"]
    assert one.waiting
    assert not told
    one.has_drained()
    one.write(b"ghi")
    assert connection.kernel.taken == [b"ab", b"ghi"]
    assert told == [False]


def test_a_connection_that_is_gone_is_not_written_to() -> None:
    """Its socket may be another connection's by then."""
    connection = Connection(100)
    one = Below(connection)
    connection.connected = 0
    one.write(b"abc")
    assert (connection.kernel.taken, connection.queued) == ([], [b"abc"])


def test_what_is_held_goes_out_in_one_piece() -> None:
    """The records of one write are one call of the kernel."""
    connection = Connection(100)
    one = Below(connection)
    one.hold()
    one.write(b"abc")
    one.write(b"def")
    assert connection.kernel.taken == []
    one.let_go()
    assert connection.kernel.taken == [b"abcdef"]


def test_a_connection_that_tls_has_ended_is_let_go() -> None:
    """Twisted ends none that somebody is asked for more for; once all is written nobody is."""
    connection = Connection(100)
    one = Below(connection)
    assert len(connection.producers) == 1
    connection.disconnecting = True
    one.has_drained()
    assert not connection.producers


def _session(rig: RouterRig) -> LinkSession:
    (session,) = (one for one in rig.sessions() if one.side is Side.ACCEPTOR)
    return session


def test_what_a_peer_does_not_read_is_counted_and_comes_in_order(lab: Lab) -> None:
    """Megabytes in many writes, more than the kernel takes; nothing is lost, doubled or turned round."""
    b = tls_router(lab, "b.example")
    pieces = [bytes([number]) * (1000 * number) for number in range(1, 80)]  # 3 MB, below what closes a link
    with raw_tls(b) as link:
        link.sendall(Hello((PROTOCOL_VERSION,)).encode())
        assert link.recv(4096)
        session = _session(b)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        b.call(lambda: session._tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384))
        b.call(lambda: list(map(session.write, pieces)))
        assert b.call(lambda: session.unwritten) > 100_000
        wanted, got = b"".join(pieces), bytearray()
        link.settimeout(10)
        while len(got) < len(wanted):
            data = link.recv(65536)
            assert data
            got += data
        assert bytes(got) == wanted
        lab.wait_until(lambda: session.unwritten == 0, "all is written")
        b.call(lambda: session.write(b"more"))
        assert link.recv(4096) == b"more"
        assert b.call(lambda: session.unwritten) == 0


def test_a_quiet_link_keeps_no_large_buffers(lab: Lab) -> None:
    """Those of the handshake, and of much that came or went, are exchanged when little comes."""
    b = tls_router(lab, "b.example")

    with raw_tls(b) as link:
        link.sendall(Hello((PROTOCOL_VERSION,)).encode())
        assert link.recv(4096)
        session = _session(b)

        def buffers() -> tuple[Any, Any]:
            handle = session.transport.getHandle()
            return handle._into_ssl, handle._from_ssl

        seen = [buffers()]

        def ping() -> None:
            link.sendall(Ping(bytes(8)).encode())
            assert link.recv(4096)
            seen.append(buffers())

        ping()
        b.call(lambda: session.write(bytes(SWOLLEN_BYTES + 1)))
        left = SWOLLEN_BYTES + 1
        while left:
            data = link.recv(left)
            assert data
            left -= len(data)
        ping()
        ping()
    assert seen[0] == seen[1] != seen[2] == seen[3]


def test_no_factory_for_each_connection() -> None:
    """And Twisted's keeps no list of connections here."""
    one = tls_layer._factory(is_client=False)
    assert one is tls_layer._factory(is_client=False) is not tls_layer._factory(is_client=True)
    assert below(object()) is None


def test_reading_goes_on_after_a_pause() -> None:
    """A link over its rate is not read for a while, over TLS too: what resumes it reaches the socket."""

    class Reading(Connection):
        is_read = True

        def pauseProducing(self) -> None:
            self.is_read = False

        def resumeProducing(self) -> None:
            self.is_read = True

    connection = Reading(100)
    one: Any = Below(connection)
    one.pauseProducing()
    assert not connection.is_read
    one.resumeProducing()
    assert connection.is_read
