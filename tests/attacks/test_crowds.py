"""Crowds: many who ask for something dear at one time (specification 3.1, 11.15; IMX-33)."""

import contextlib
import itertools
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from imxrouter.model.limits import Limit
from imxrouter.transport import handshakes
from imxrouter.transport.byte_link import SLOW_READ_BYTES
from imxrouter.transport.hub import Hub
from imxrouter.transport.session import LinkSession
from imxrouter.transport.strangers import Accepted, StrangersTurns
from imxrouter.wire.control import Hello
from imxrouter.wire.record import encode_record
from tests.attacks.seams import guarded
from tests.doubles.raw_peer import Endpoint, text_message
from tests.doubles.router_rig import Lab, RouterRig
from tests.transport.test_tls_links import tls_router

CROWD = 30
#: Handshakes of the crowd that may begin at once, then two a second; as many are kept for who is known.
FEW = {
    "caps.handshakes_per_s": 4,
    "caps.handshakes_reserved_share": 0.5,
    "caps.unauthenticated_per_address": 64,
}


def _client_hello() -> bytes:
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["imx"])
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="b.example").do_handshake()
    return out.read()


class Crowd:
    """Connections from one address. `close` ends them."""

    def __init__(self, lab: Lab, to: RouterRig, ip: str, count: int) -> None:
        self.links: list[socket.socket] = []
        at: Endpoint = to.endpoint
        before = lab.thread.call(lambda: to.router.gatekeeper.caps.strangers)
        for _ in range(count):
            link = socket.create_connection(at, 5, (ip, 0))
            link.setblocking(False)
            self.links.append(link)
        wanted = before + count
        lab.wait_until(lambda: to.router.gatekeeper.caps.strangers == wanted, "all are taken")

    def say(self, what: bytes) -> None:
        """All say it."""
        for link in self.links:
            link.sendall(what)

    def answered(self) -> int:
        """How many were answered."""
        count = 0
        for link in self.links:
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                count += bool(link.recv(1, socket.MSG_PEEK))
        return count

    def close(self) -> None:
        """All go."""
        for link in self.links:
            link.close()


@pytest.fixture
def crowds() -> Iterator[list[Crowd]]:
    """Those that are closed after the test."""
    made: list[Crowd] = []
    yield made
    for one in made:
        one.close()


@guarded
def test_a_crowd_that_speaks_at_one_time(
    lab: Lab, crowds: list[Crowd], guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many strangers speak in one turn of the reactor. Check: strangers have a share of each turn.

    A share so small that the first read uses it up: so one is read in a turn, on two listeners too.
    """
    b = lab.router("b.example", settings={"caps.unauthenticated_per_address": 64})
    b.router.strangers_turns._share_s = 1e-9 if guarded else float("inf")
    turn, read_now, reads = StrangersTurns._turn, Accepted.read_now, Counter[int]()
    number = itertools.count()
    now = [next(number)]

    def counted_turn(self: StrangersTurns) -> None:
        now[0] = next(number)
        turn(self)

    def counted_read(self: Accepted) -> object:
        reads[now[0]] += 1
        return read_now(self)

    crowds.append(Crowd(lab, b, lab.organisation("m.example").ip, CROWD))
    monkeypatch.setattr(StrangersTurns, "_turn", counted_turn)
    monkeypatch.setattr(Accepted, "read_now", counted_read)
    b.call(lambda: crowds[0].say(Hello((1,)).encode()[:20]))  # the reactor is here, so all are ready at once
    lab.wait_until(lambda: sum(reads.values()) >= CROWD, "all are read")
    assert (max(reads.values()) == 1) == guarded
    assert (len(reads) >= CROWD) == guarded


@guarded
def test_handshakes_without_end(lab: Lab, crowds: list[Crowd], guarded: bool) -> None:
    """Mallory has one TLS handshake made after the other. Check: a budget of TLS handshakes.

    What waits costs no TLS, and a part is kept for who is known: a peer that was proved before does not wait.
    """
    # of the crowd, and of who is not known, one in ten seconds; whoever waits for five is cut
    slow = {**FEW, "caps.handshakes_per_s": 1, "caps.handshakes_reserved_share": 0.9}
    b, a = tls_router(lab, "b.example", settings=slow), tls_router(lab, "a.example")
    assert a.send("alice@a.example", "bob@b.example").outcome().ok
    if not guarded:
        b.call(lambda: setattr(b.router.hub.first_bytes, "handshakes", None))
    crowds.append(Crowd(lab, b, lab.organisation("m.example").ip, CROWD))
    crowds[0].say(_client_hello())
    if guarded:
        lab.wait_until(lambda: len(b.router.handshakes) > CROWD - 6, "they wait")
        a.call(a.cut)
        assert a.send("alice@a.example", "bob@b.example").outcome().ok
        assert crowds[0].answered() < CROWD / 2
    else:
        lab.wait_until(lambda: crowds[0].answered() == CROWD, "each has its handshake")


@guarded
def test_handshakes_of_one_network_before_others(
    lab: Lab, crowds: list[Crowd], guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory's handshakes wait in numbers when a stranger comes. Check: networks take turns."""
    if not guarded:
        monkeypatch.setattr(handshakes, "_network", lambda _session: b"one for all")
    monkeypatch.setattr(handshakes, "WAIT_S", 1000.0)
    b = tls_router(lab, "b.example", settings={**FEW, "caps.handshakes_per_s": 8})
    crowds.append(Crowd(lab, b, lab.organisation("m.example").ip, 20))
    crowds[0].say(_client_hello())
    lab.wait_until(lambda: len(b.router.handshakes) > 12, "they wait")
    crowds.append(Crowd(lab, b, lab.organisation("n.example").ip, 1))
    crowds[1].say(_client_hello())
    lab.wait_until(crowds[1].answered, "the stranger's turn")
    assert (crowds[0].answered() < 17) == guarded


@guarded
def test_handshakes_that_nobody_makes_wait_for_ever(
    lab: Lab, crowds: list[Crowd], guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory's ClientHellos fill the places of strangers. Check: a handshake is not waited for for long."""
    monkeypatch.setattr(handshakes, "WAIT_S", 0.2 if guarded else 1000.0)
    b = tls_router(
        lab, "b.example", settings={**FEW, "caps.handshakes_per_s": 1, "dial.hello_timeout_s": 100}
    )
    crowds.append(Crowd(lab, b, lab.organisation("m.example").ip, 10))
    crowds[0].say(_client_hello())
    caps = b.router.gatekeeper.caps
    if guarded:
        lab.wait_until(lambda: caps.strangers < 4, "they are cut")
        assert b.call(lambda: b.router.switch.book.counts[Limit.HANDSHAKES]) > 6
    else:
        made = crowds[0].answered()
        lab.wait_until(lambda: crowds[0].answered() > made, "a second's next handshake")  # longer than 0.2 s
        assert b.call(lambda: caps.strangers) == 10


@guarded
def test_handshakes_for_who_has_gone(
    lab: Lab, crowds: list[Crowd], guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory asks for handshakes and hangs up. Check: for who is there no more none is made."""
    if not guarded:
        monkeypatch.setattr(handshakes, "_has_hung_up", lambda _session: False)
    b = tls_router(lab, "b.example", settings={**FEW, "caps.handshakes_per_s": 20})
    maker = b.router.hub.first_bytes.maker
    assert maker is not None
    made, accepting = list[int](), maker.accepting

    def counted(*arguments: Any) -> object:
        made.append(1)
        return accepting(*arguments)

    monkeypatch.setattr(maker, "accepting", counted)
    crowds.append(Crowd(lab, b, lab.organisation("m.example").ip, CROWD))
    crowds[0].say(_client_hello())
    lab.wait_until(lambda: len(b.router.handshakes) > 15, "they wait")
    crowds[0].close()
    lab.wait_until(lambda: b.router.gatekeeper.caps.strangers == 0, "all are gone")
    assert (len(made) < CROWD - 10) == guarded


@guarded
def test_a_proved_link_that_floods(lab: Lab, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proved link pours in what its limits refuse. Check: it is read in small pieces, within a share."""
    if not guarded:
        monkeypatch.setattr(LinkSession, "read_slowly", lambda *_args, **_kw: None)
    received, sizes = Hub.received, list[int]()

    def noted(self: Hub, session: LinkSession, data: bytes) -> None:
        sizes.append(len(data))
        received(self, session, data)

    b = lab.router("b.example", settings={"limits.sender_rate_per_s": 1, "limits.sender_burst": 1})
    link = lab.organisation("m.example").proved_link(b)
    monkeypatch.setattr(Hub, "received", noted)
    numbers = itertools.count(1)
    for at in range(6):
        block = b"".join(
            encode_record(text_message("loud@m.example", "bob@b.example", "x" * 100, next(numbers)))
            for _ in range(150)
        )
        if at == 2:
            sizes.clear()
        b.call(partial(link.send, block))  # the reactor is here: a read finds all of it
        link.drain()
    assert (max(sizes) <= SLOW_READ_BYTES) == guarded
    (session,) = (one for one in b.sessions() if one.port.sources)
    assert b.call(lambda: session.transport.is_free) != guarded
