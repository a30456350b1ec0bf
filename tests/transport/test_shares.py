"""What keeps one link, or the timers of many, from taking a whole turn of the reactor."""

from __future__ import annotations

import gc
import itertools
import socket
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from imxrouter.discovery.backend import _Datagrams
from imxrouter.transport.byte_link import LONG_READ_S, READ_BYTES, SLOW_READ_BYTES, ByteLink
from imxrouter.transport.link_timers import LinkTimers
from imxrouter.transport.second_links import SecondLink
from imxrouter.transport.session import LinkSession
from tests.doubles.router_rig import Lab, RouterRig
from tests.transport.test_tls_links import raw_tls, tls_router


@pytest.fixture
def no_collector() -> Iterator[None]:
    """The collector of cycles finds nothing meanwhile."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _gone_without_collector(lab: Lab, b: RouterRig, come: Callable[[], None]) -> list[Any]:
    seen = list[Any]()
    made = ByteLink.connectionMade

    def noted(self: ByteLink) -> None:
        seen.append(weakref.ref(self))
        made(self)

    ByteLink.connectionMade = noted  # type: ignore[method-assign]
    try:
        come()
        lab.wait_until(lambda: seen and not b.router.hub.sessions, "they are gone")
    finally:
        ByteLink.connectionMade = made  # type: ignore[method-assign]
    lab.wait_until(lambda: all(one() is None for one in seen), "nothing of them is left")
    return seen


@pytest.mark.usefixtures("no_collector")
def test_strangers_in_tls_leave_no_circle(lab: Lab) -> None:
    """What a crowd of them leaves would have to be found in one long walk of the collector."""
    b = tls_router(lab, "b.example")

    def come() -> None:
        for _ in range(3):  # after the handshake, in the midst of it, and with what is no TLS
            raw_tls(b).close()
            with socket.create_connection(b.endpoint, 5) as half:
                half.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
            with socket.create_connection(b.endpoint, 5) as wrong:
                wrong.sendall(b"\x16\x03\x01\x00\x05wrong")
                wrong.settimeout(30)
                while wrong.recv(100):
                    pass

    assert len(_gone_without_collector(lab, b, come)) == 9


@pytest.mark.usefixtures("no_collector")
def test_strangers_in_clear_leave_no_circle(lab: Lab) -> None:
    """The same in clear."""
    b = lab.router("b.example")

    def come() -> None:
        for _ in range(3):
            socket.create_connection(b.endpoint, 5).close()

    assert len(_gone_without_collector(lab, b, come)) == 3


def test_timers_of_links_are_looked_at_in_steps(lab: Lab) -> None:
    """Each once, a part of them at a time; one that went meanwhile not at all."""
    b, m = lab.router("b.example"), lab.organisation("m.example")
    links = [m.connect(b) for _ in range(6)]
    looked = list[int]()

    def steps() -> list[int]:
        hub, counts = b.router.hub, list[int]()
        timers = LinkTimers(hub.sessions, lambda one, _now: looked.append(one.number), hub.flush, hub.now)
        timers.begin(3)
        gone = hub.sessions.pop(min(hub.sessions))
        for _ in range(4):
            timers.step()
            counts.append(len(looked))
        hub.sessions[gone.number] = gone
        return counts

    assert b.call(steps) == [1, 3, 5, 5]
    assert len(set(looked)) == 5
    for link in links:
        link.close()


def test_timers_that_take_long_go_on_in_later_turns() -> None:
    """One at a time where each takes long; what the next step brings is done with the rest of this one."""
    turns, looked, clock = list[Callable[[], None]](), list[object](), itertools.count()
    links: Any = {number: SimpleNamespace(number=number) for number in range(6)}
    timers = LinkTimers(links, lambda one, _now: looked.append(one), lambda: None, lambda: next(clock))
    timers.go_on = turns.append
    timers.begin(2)
    timers.step()
    assert (len(looked), len(turns)) == (1, 1)
    timers.step()
    assert (len(looked), len(turns)) == (1, 1)
    for _ in range(5):
        turns.pop()()
    assert (len(looked), len(turns)) == (6, 0)


def test_a_read_that_takes_long_makes_the_next_one_small(lab: Lab) -> None:
    """Down to what takes half as long as is long; up again when reads are quick; never below the least."""
    b = lab.router("b.example")
    lab.organisation("m.example").proved_link(b)
    (session,) = (one for one in b.sessions() if one.port.sources)

    def sizes() -> list[tuple[int, bool]]:
        found, below = [], session.transport
        below.read_freely()
        long_s, quick_s = LONG_READ_S, LONG_READ_S / 1000
        reads = [(READ_BYTES, long_s / 2), (1000, 9 * long_s), (READ_BYTES, 4 * long_s), (8192, long_s / 2)]
        for size, took_s in (*reads, (READ_BYTES, 900 * long_s), *((SLOW_READ_BYTES, quick_s),) * 4):
            session.read_for(size, took_s)
            found.append((below.bufferSize, session.reads_less))
        return found

    whole, eighth, least = READ_BYTES, READ_BYTES // 8, SLOW_READ_BYTES
    assert b.call(sizes) == [
        (whole, False), (whole, False), (eighth, True), (eighth, True), (least, True),
        *((least << n, least << n < whole) for n in range(1, 5)),
    ]  # fmt: skip


class _Below:
    """A transport that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.told.append(name)


def test_a_second_connection_is_looked_at_in_its_turn(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order; more that comes meanwhile stops the reading; what came before the end is not lost."""
    b, turns, seen = lab.router("b.example"), list[Callable[[], None]](), list[bytes]()
    monkeypatch.setattr(LinkSession, "dataReceived", lambda _self, data: seen.append(data))
    monkeypatch.setattr(LinkSession, "connectionLost", lambda _self, _reason=None: seen.append(b"lost"))

    def come() -> list[str]:
        link, below = SecondLink(b.router.hub, turns.append), _Below()
        link.transport = below
        for data in (b"1", b"2", b"3"):
            link.dataReceived(data)
        assert (seen, len(turns)) == ([], 1)
        turns.pop()()
        assert seen == [b"1", b"2", b"3"]
        link.dataReceived(b"4")
        link.connectionLost()
        turns.pop()()
        return below.told

    assert b.call(come) == ["pauseProducing", "resumeProducing"]
    assert seen == [b"1", b"2", b"3", b"4", b"lost"]


def test_forged_answers_wake_nobody_again_and_again() -> None:
    """While the first one waits to be looked at."""
    woken = list[object]()
    box = _Datagrams(None, woken.append)  # type: ignore[arg-type]
    for _ in range(5):
        box.datagramReceived(b"forged", None)
    assert len(woken) == 1


def test_the_kept_part_is_for_who_is_known(lab: Lab) -> None:
    """And it is kept though everything else is used up."""
    half = {"caps.handshakes_per_s": 8, "caps.handshakes_reserved_share": 0.5}
    b = tls_router(lab, "b.example", settings=half)

    def parts() -> tuple[bool, bool]:
        one = b.router.handshakes
        now = b.router.hub.now()
        while (part := one._part(now, known=False)) is not None:
            part.take(b"", now)
        return one._part(now, known=False) is None, one._part(now, known=True) is not None

    assert b.call(parts) == (True, True)
