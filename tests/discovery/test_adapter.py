"""The resolver adapter over real UDP and TCP sockets on 127.0.0.1."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from imxrouter.discovery.adapter import BadNameServer, NameServerAsker, is_loopback, parse_server
from imxrouter.discovery.answers import TYPE_A, TYPE_IMX, TYPE_SRV, TYPE_SVCB, Answer, Status
from imxrouter.discovery.imxrr import ImxRecord
from imxrouter.discovery.rdata import imx_from_text
from imxrouter.lab.dns import LabDns
from imxrouter.lab.zones import ZoneBook
from tests.doubles.reactor_thread import ReactorThread

ZONE = """$ORIGIN a.example.
$TTL 300
@ IN TYPE65400 \\# 18 000104696D78310161076578616D706C6500
_imx IN SVCB 1 imx1 port=7000
_im._imx IN SRV 1 2 7000 imx1
imx1 IN A 192.0.2.1
alias IN CNAME imx1
broken IN CNAME nothing
big IN TXT "x"
""" + "".join(f"big IN A 192.0.{n // 200}.{n % 200}\n" for n in range(400))

Respond = Callable[[bytes], list[bytes]]


@pytest.fixture
def lab(reactor_thread: ReactorThread) -> Iterator[LabDns]:
    """A name server for the zone."""
    book = ZoneBook()
    book.load(ZONE)
    server = LabDns(reactor_thread.reactor, book)
    server.port = reactor_thread.call(server.start)  # type: ignore[attr-defined]
    yield server
    reactor_thread.call(server.stop)


@pytest.fixture
def ask(reactor_thread: ReactorThread, lab: LabDns) -> Callable[[str, int], Answer]:
    """Ask it one question and wait."""
    asker = NameServerAsker(reactor_thread.reactor, [f"127.0.0.1:{lab.port}"])  # type: ignore[attr-defined]
    return lambda name, rdtype: reactor_thread.call(asker.ask, name, rdtype)


@contextmanager
def udp_server(respond: Respond) -> Iterator[int]:
    """Answer each datagram with those that `respond` gives; yield the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                query, peer = server.recvfrom(65535)
                if query == b"stop":
                    return
                for answer in respond(query):
                    server.sendto(answer, peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stopper:
                stopper.sendto(b"stop", ("127.0.0.1", port))
            thread.join(30)


def one(reactor_thread: ReactorThread, port: int, rdtype: int, **kwargs: Any) -> Answer:
    """Ask a server on a port for `a.example`."""
    asker = NameServerAsker(reactor_thread.reactor, [f"127.0.0.1:{port}"], **kwargs)
    return reactor_thread.call(asker.ask, "a.example", rdtype)  # type: ignore[no-any-return]


def raw_answer(query: bytes, rdtype: int, rdata: bytes, flags: int = 0) -> bytes:
    """An answer with one record of any bytes."""
    question_end = query.index(b"\0", 12) + 5
    head = query[:2] + struct.pack("!HHHHH", 0x8180 | flags, 1, 1, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", rdtype, 1, 300, len(rdata)) + rdata
    return head + query[12:question_end] + record


def test_records_of_each_form(ask: Callable[[str, int], Answer]) -> None:
    """RDATA comes as octets that our parser reads; TTL and owner with it."""
    answer = ask("a.example", TYPE_IMX)
    assert answer == Answer(
        Status.RECORDS, (imx_from_text("1 imx1.a.example.").to_wire(),), "a.example", 300.0
    )
    assert ImxRecord.parse(ask("_imx.a.example", TYPE_SVCB).rdatas[0]).port == 7000
    assert ask("_im._imx.a.example", TYPE_SRV).status is Status.RECORDS


def test_cname_is_followed(ask: Callable[[str, int], Answer]) -> None:
    """The owner is where it leads."""
    answer = ask("alias.a.example", TYPE_A)
    assert (answer.owner, answer.rdatas) == ("imx1.a.example", (b"\xc0\x00\x02\x01",))
    assert ask("broken.a.example", TYPE_A).status is Status.NXDOMAIN


def test_clean_noes_with_their_ttl(ask: Callable[[str, int], Answer]) -> None:
    """NXDOMAIN and NODATA are told apart; the TTL is the SOA's."""
    missing, empty = ask("none.a.example", TYPE_IMX), ask("imx1.a.example", TYPE_IMX)
    assert (missing.status, missing.ttl_s) == (Status.NXDOMAIN, 60)
    assert (empty.status, empty.ttl_s) == (Status.NODATA, 60)
    assert ask("_tcp.none.a.example", TYPE_IMX).status is Status.NXDOMAIN


def test_truncated_answer_is_asked_again_over_tcp(ask: Callable[[str, int], Answer], lab: LabDns) -> None:
    """400 addresses do not fit into a datagram."""
    assert len(ask("big.a.example", TYPE_A).rdatas) == 400
    assert lab.book.asked[-2:] == ["big.a.example A"] * 2


def test_server_failure_and_silence(reactor_thread: ReactorThread, lab: LabDns) -> None:
    """Told apart, with server and code."""
    port = lab.port  # type: ignore[attr-defined]
    lab.book.servfail.add(dns.name.from_text("a.example"))
    answer = one(reactor_thread, port, TYPE_IMX, question_s=0.5)
    assert answer.status in {Status.FAILURE, Status.TIMEOUT}
    assert "SERVFAIL" in answer.note
    assert answer.status is Status.FAILURE
    lab.book.servfail.clear()
    lab.book.silent.add(dns.name.from_text("a.example"))
    assert one(reactor_thread, port, TYPE_IMX, question_s=0.3).status is Status.TIMEOUT


def test_closed_port_is_a_failure(reactor_thread: ReactorThread) -> None:
    """Nothing waits for a server that is not there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    answer = one(reactor_thread, port, TYPE_IMX)
    assert answer.status is Status.FAILURE
    assert "refused" in answer.note


def test_next_server_is_asked(reactor_thread: ReactorThread, lab: LabDns) -> None:
    """A refused port costs no time-out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    servers = [f"127.0.0.1:{port}", f"127.0.0.1:{lab.port}"]  # type: ignore[attr-defined]
    asker = NameServerAsker(reactor_thread.reactor, servers)
    assert reactor_thread.call(asker.ask, "a.example", TYPE_IMX).status is Status.RECORDS


@pytest.mark.parametrize("rdtype", [TYPE_IMX, TYPE_SVCB, TYPE_SRV])
def test_malformed_record_is_told_from_silence(reactor_thread: ReactorThread, rdtype: int) -> None:
    """A broken record is the domain's fault, and said at once."""
    with udp_server(lambda query: [raw_answer(query, rdtype, b"\0")]) as port:
        answer = one(reactor_thread, port, rdtype)
    assert answer.status is Status.MALFORMED


def test_forged_answers_are_passed_over(reactor_thread: ReactorThread) -> None:
    """Another id, another question, a query, garbage: the real answer behind them is taken."""

    def respond(query: bytes) -> list[bytes]:
        good = raw_answer(query, TYPE_A, b"\xc0\0\2\1")
        other_id = bytes([query[0] ^ 1]) + good[1:]
        other_name = good.replace(b"\x01a\x07example", b"\x01b\x07example")
        return [b"", b"\xff" * 9, query, other_id, other_name, good[:5], good]

    with udp_server(respond) as port:
        answer = one(reactor_thread, port, TYPE_A)
    assert answer.rdatas == (b"\xc0\0\2\1",)


def test_ids_and_ports_differ(reactor_thread: ReactorThread) -> None:
    """What a forger would have to guess is not the same twice."""
    seen: list[bytes] = []

    def respond(query: bytes) -> list[bytes]:
        seen.append(query[:2])
        return [raw_answer(query, TYPE_A, b"\xc0\0\2\1")]

    with udp_server(respond) as port:
        for _ in range(8):
            one(reactor_thread, port, TYPE_A)
    assert len(set(seen)) >= 7


def test_ad_bit_counts_where_the_way_is_trusted(reactor_thread: ReactorThread) -> None:
    """A resolver on this machine is, unless configuration says that it does not validate."""
    with udp_server(lambda query: [raw_answer(query, TYPE_A, b"\xc0\0\2\1", int(dns.flags.AD))]) as port:
        assert one(reactor_thread, port, TYPE_A).secure
        assert not one(reactor_thread, port, TYPE_A, trust_ad="never").secure
    with udp_server(lambda query: [raw_answer(query, TYPE_A, b"\xc0\0\2\1")]) as port:
        assert not one(reactor_thread, port, TYPE_A).secure


def test_query_asks_for_ad_and_small_datagrams(reactor_thread: ReactorThread) -> None:
    """RD and AD are set, EDNS says 1232."""
    seen: list[dns.message.Message] = []

    def respond(query: bytes) -> list[bytes]:
        seen.append(dns.message.from_wire(query))
        return [raw_answer(query, TYPE_A, b"\xc0\0\2\1")]

    with udp_server(respond) as port:
        one(reactor_thread, port, TYPE_A)
    assert seen[0].flags & dns.flags.AD
    assert seen[0].flags & dns.flags.RD
    assert seen[0].payload == 1232


def test_cancelling_ends_the_question(reactor_thread: ReactorThread, lab: LabDns) -> None:
    """No other server is asked, no timer stays."""
    lab.book.silent.add(dns.name.from_text("a.example"))
    asker = NameServerAsker(reactor_thread.reactor, [f"127.0.0.1:{lab.port}"])  # type: ignore[attr-defined]

    def ask_and_cancel() -> Deferred[Answer]:
        asking = asker.ask("a.example", TYPE_IMX)
        reactor_thread.reactor.callLater(0.05, asking.cancel)
        return asking

    def timers() -> Deferred[int]:  # once what is done in the reactor's next turns is done
        reactor = reactor_thread.reactor
        return deferLater(reactor, 0.05, lambda: len(reactor.getDelayedCalls()))

    before = reactor_thread.call(timers)
    with pytest.raises(CancelledError):
        reactor_thread.call(ask_and_cancel)
    assert reactor_thread.call(timers) <= before
    assert lab.book.asked == ["a.example IMX"]


def test_names_that_dns_cannot_hold_are_failures(ask: Callable[[str, int], Answer]) -> None:
    """Not exceptions."""
    assert ask("a" * 64 + ".example", TYPE_A).status is Status.FAILURE
    assert ask("a..example", TYPE_A).status is Status.FAILURE


def test_servers_as_they_are_written() -> None:
    """With and without a port, both families."""
    assert parse_server("192.0.2.1") == ("192.0.2.1", 53)
    assert parse_server("192.0.2.1:5353") == ("192.0.2.1", 5353)
    assert parse_server("2001:db8::1") == ("2001:db8::1", 53)
    assert parse_server("[2001:db8::1]:5353") == ("2001:db8::1", 5353)
    assert parse_server("[2001:db8::1]") == ("2001:db8::1", 53)
    for bad in ("", "ns.example", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:0", "192.0.2.1:70000", "[::1]x"):
        with pytest.raises(BadNameServer):
            parse_server(bad)


def test_resolv_conf(tmp_path: Path) -> None:
    """Read where no server is configured; an empty or missing one is an error with its path."""
    path = tmp_path / "resolv.conf"
    path.write_text("search example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n")
    asker = NameServerAsker(None, resolv_conf=str(path))
    assert asker.servers == ("192.0.2.53:53", "[2001:db8::53]:53")
    path.write_text("search example\n")
    for name in (str(path), str(tmp_path / "none")):
        with pytest.raises(BadNameServer, match=name):
            NameServerAsker(None, resolv_conf=name)


def test_only_loopback_is_this_machine() -> None:
    """All of 127.0.0.0/8 and ::1; not what only looks like it."""
    for here in ("127.0.0.1", "127.255.0.3", "::1"):
        assert is_loopback(here)
        assert NameServerAsker(None, [here]).trusts_ad
    for elsewhere in ("192.0.2.1", "128.0.0.1", "::ffff:127.0.0.1", "fe80::1", "::"):
        assert not is_loopback(elsewhere)
        assert not NameServerAsker(None, [elsewhere]).trusts_ad
    assert not NameServerAsker(None, ["127.0.0.1", "192.0.2.1"]).trusts_ad
    assert not NameServerAsker(None, ["127.0.0.1"], trust_ad="never").trusts_ad


def test_signatures_are_asked_for_where_they_count(reactor_thread: ReactorThread) -> None:
    """DO, for resolvers that tell AD only then."""
    seen: list[dns.message.Message] = []

    def respond(query: bytes) -> list[bytes]:
        seen.append(dns.message.from_wire(query))
        return [raw_answer(query, TYPE_A, b"\xc0\0\2\1")]

    with udp_server(respond) as port:
        one(reactor_thread, port, TYPE_A)
        one(reactor_thread, port, TYPE_A, trust_ad="never")
    assert [bool(query.ednsflags & dns.flags.DO) for query in seen] == [True, False]


def test_a_failure_is_not_undone_by_a_server_that_does_not_validate(reactor_thread: ReactorThread) -> None:
    """One resolver finds a forgery, the next passes it on: that is a failure, not an unsigned zone."""

    def servfail(query: bytes) -> list[bytes]:
        return [query[:2] + b"\x81\x82" + query[4:]]

    def forged(query: bytes) -> list[bytes]:
        return [raw_answer(query, TYPE_A, b"\xc0\0\2\1")]

    def validated(query: bytes) -> list[bytes]:
        return [raw_answer(query, TYPE_A, b"\xc0\0\2\1", int(dns.flags.AD))]

    def ask(*ports: int, **kwargs: Any) -> Answer:
        asker = NameServerAsker(reactor_thread.reactor, [f"127.0.0.1:{port}" for port in ports], **kwargs)
        return reactor_thread.call(asker.ask, "a.example", TYPE_A)  # type: ignore[no-any-return]

    with udp_server(servfail) as bad, udp_server(forged) as other, udp_server(validated) as good:
        assert ask(bad, other, question_s=1.0).status is Status.FAILURE
        assert ask(bad, good).secure
        assert ask(other, bad).status is Status.RECORDS
        assert ask(bad, other, trust_ad="never").status is Status.RECORDS
