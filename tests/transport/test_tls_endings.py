"""How connections in TLS end, whatever the other side does: at once, by name, and nothing stays."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import Hello
from imxrouter.wire.registry import PROTOCOL_VERSION
from tests.doubles.router_rig import Lab, RouterRig
from tests.transport.test_tls_links import raw_tls, tls_router

#: Long before any timer of a link; what needs one is not noticed.
AT_ONCE_S = 20.0
TIMERS = {"links.dead_s": 60.0, "dial.hello_timeout_s": 60.0}


def client_hello(name: str = "b.example") -> bytes:
    """The first flight of a TLS client."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["imx"])
    theirs, ours = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(theirs, ours, server_hostname=name).do_handshake()
    return ours.read()


def _send(*parts: bytes) -> Callable[[socket.socket], None]:
    def send(to: socket.socket) -> None:
        for part in parts:
            to.sendall(part)

    return send


def _half_close(to: socket.socket) -> None:
    to.sendall(client_hello()[:50])
    to.shutdown(socket.SHUT_WR)


def _reset(to: socket.socket) -> None:
    to.sendall(client_hello()[:50])
    to.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    to.close()


def _other_message() -> bytes:
    changed = bytearray(client_hello())
    changed[5] = 20  # Finished, where ClientHello belongs
    return bytes(changed)


BROKEN: dict[str, Callable[[socket.socket], None]] = {
    "garbage": _send(b"\x16\x03\x01\x00\x10" + b"x" * 16),
    "one byte and garbage": _send(b"\x16", b"\xff" * 40),
    "a record that is too long": _send(b"\x16\x03\x01\xff\xff" + bytes(60)),
    "an endless first message": _send(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(0x3FFC)),
    "another message first": _send(_other_message()),
    "an alert instead of the end": _send(client_hello(), b"\x15\x03\x03\x00\x02\x02\x28"),
    "data instead of the end": _send(client_hello(), b"\x17\x03\x03\x00\x20" + bytes(32)),
    "clear records after the first flight": _send(client_hello(), Hello((PROTOCOL_VERSION,)).encode()),
    "closed on one side": _half_close,
    "reset": _reset,
}


def _ended(rig: RouterRig) -> list[Reason]:
    reasons: list[Reason] = []
    rig.call(lambda: setattr(rig.router.hub, "on_ended", reasons.append))
    return reasons


@pytest.mark.parametrize("how", BROKEN)
def test_a_handshake_that_breaks(lab: Lab, how: str) -> None:
    """It is told as `tls-failed` in the moment in which it breaks, and the connection is closed."""
    b = tls_router(lab, "b.example", settings=TIMERS)
    reasons = _ended(b)
    with socket.create_connection(b.endpoint, AT_ONCE_S) as link:
        with contextlib.suppress(OSError):  # it may be closed before all is said
            BROKEN[how](link)
        lab.wait_until(lambda: reasons == [Reason.TLS_FAILED], "it is told", AT_ONCE_S)
        with contextlib.suppress(OSError):
            while link.recv(4096):
                pass
    assert b.call(lambda: b.router.gatekeeper.caps.strangers) == 0


def _goodbye(link: ssl.SSLSocket) -> socket.socket:
    link.settimeout(0.0)
    with contextlib.suppress(ssl.SSLError):
        link.unwrap()
    return link


def _corrupt(link: ssl.SSLSocket) -> socket.socket:
    bare = socket.socket(fileno=link.detach())
    bare.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    return bare


def _finish(link: ssl.SSLSocket) -> socket.socket:
    bare = socket.socket(fileno=link.detach())
    bare.shutdown(socket.SHUT_WR)
    return bare


ENDINGS = {"a farewell of TLS": _goodbye, "a record that is no good": _corrupt, "no farewell": _finish}


@pytest.mark.parametrize("how", ENDINGS)
def test_an_open_link_that_its_peer_ends(lab: Lab, how: str) -> None:
    """It is lost at once, not when it has been silent for too long (RFC 8446 section 6.1)."""
    b = tls_router(lab, "b.example", settings=TIMERS)
    reasons = _ended(b)
    with raw_tls(b) as link:
        link.sendall(Hello((PROTOCOL_VERSION,)).encode())
        assert link.recv(4096)
        with ENDINGS[how](link) as rest:
            lab.wait_until(lambda: reasons == [Reason.LINK_LOST], "it is told", AT_ONCE_S)
            rest.settimeout(AT_ONCE_S)
            with contextlib.suppress(OSError):
                while rest.recv(4096):
                    pass
    assert b.call(lambda: b.router.gatekeeper.caps.strangers) == 0


#: Certificates are not looked at; made once, for its making reads every authority of the system.
CLIENT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CLIENT.check_hostname, CLIENT.verify_mode = False, ssl.CERT_NONE
CLIENT.set_alpn_protocols(["imx"])
#: What one connection is made of.
KINDS = {
    "LinkSession",
    "_Layer",
    "Below",
    "Connection",
    "_Gate",
    "TlsFacts",
    "PeerCertificate",
    "Accepted",
}


def _alive() -> Counter[str]:
    gc.collect()
    return Counter(name for one in gc.get_objects() if (name := type(one).__name__) in KINDS)


def _come_and_go(lab: Lab, b: RouterRig, times: int) -> None:
    """Links that say hello and end, handshakes that break."""
    for number in range(times):
        with (
            socket.create_connection(b.endpoint, AT_ONCE_S) as plain,
            CLIENT.wrap_socket(plain, server_hostname="b.example") as link,
        ):
            link.sendall(Hello((PROTOCOL_VERSION,)).encode())
            assert link.recv(4096)
        with contextlib.suppress(OSError), socket.create_connection(b.endpoint, AT_ONCE_S) as broken:
            list(BROKEN.values())[number % len(BROKEN)](broken)
            while broken.recv(4096):
                pass
    lab.wait_until(lambda: not b.router.hub.sessions and not b.router.hub._leaving, "all are gone")


def test_nothing_stays_of_a_link_that_has_ended(lab: Lab) -> None:
    """300 links and 300 handshakes that broke leave no object behind."""
    rates = ("caps.connections_per_address_per_minute", "caps.connections_per_prefix_per_minute")
    b = tls_router(lab, "b.example", settings={**TIMERS, **dict.fromkeys(rates, 60_000.0)})
    _come_and_go(lab, b, 20)
    before = b.call(_alive)
    _come_and_go(lab, b, 300)
    assert not b.call(_alive) - before


@pytest.mark.parametrize("seed", range(3))
def test_any_bytes_after_the_first_one(lab: Lab, seed: int) -> None:
    """Changed, cut and shuffled handshakes in pieces of any size end the connection, and log no traceback."""
    b, chance = tls_router(lab, "b.example", settings=TIMERS), Random(seed)
    for _ in range(60):
        raw = bytearray(_first_flight(chance))
        for _ in range(chance.choice((0, 1, 1, 4, 40))):
            raw[chance.randrange(1, len(raw))] = chance.randrange(256)
        raw = raw[: chance.choice((len(raw), chance.randrange(1, len(raw))))]
        raw += chance.randbytes(chance.choice((0, 1, 200)))
        with contextlib.suppress(OSError), socket.create_connection(b.endpoint, AT_ONCE_S) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while raw:
                size = chance.choice((1, 3, 50, len(raw)))
                link.sendall(raw[:size])
                del raw[:size]
    caps = b.router.gatekeeper.caps  # the kernel may hold some back after the last of the others has gone
    lab.wait_until(lambda: not b.router.hub.sessions and not caps.strangers, "all are gone", AT_ONCE_S)
    with raw_tls(b) as link:  # and it takes the next one
        link.sendall(Hello((PROTOCOL_VERSION,)).encode())
        assert link.recv(4096)


def _first_flight(chance: Random) -> bytes:
    name = chance.choice(
        ("b.example", "B.EXAMPLE", "x" * 60 + ".example", "xn--nxasmq6b.example", "a..b", "1.2.3.4")
    )
    theirs, ours = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError, ValueError, UnicodeError):
        CLIENT.wrap_bio(theirs, ours, server_hostname=name).do_handshake()
    return ours.read() or client_hello()


def test_a_first_message_byte_by_byte(lab: Lab) -> None:
    """However it is cut, it is one handshake."""
    b = tls_router(lab, "b.example", settings=TIMERS)
    theirs, ours = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = CLIENT.wrap_bio(theirs, ours, server_hostname="b.example")
    with socket.create_connection(b.endpoint, AT_ONCE_S) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(20):
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in ours.read():
                    link.sendall(bytes([byte]))
                theirs.write(link.recv(8192))
        session.write(Hello((PROTOCOL_VERSION,)).encode())
        link.sendall(ours.read())
        while True:
            theirs.write(link.recv(8192))
            with contextlib.suppress(ssl.SSLWantReadError):
                assert session.read(4096)
                break
