"""The small name server: what it answers, and that nothing makes it fall over."""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.lab.dns import main
from imxrouter.lab.zones import BadZone, ZoneBook, respond

ZONE = """$ORIGIN a.example.
$TTL 300
@ IN IMX 1 imx1 port=7000
_x._y IN TXT "deep"
imx1 IN A 192.0.2.1
loop IN CNAME loop
out IN CNAME host.elsewhere.example.
"""


@pytest.fixture
def book() -> ZoneBook:
    """Zones with one zone."""
    zones = ZoneBook()
    zones.load(ZONE)
    return zones


def ask(book: ZoneBook, name: str, rdtype: str) -> dns.message.Message:
    """Ask over TCP, in memory."""
    wire = respond(book, dns.message.make_query(name, rdtype).to_wire(), over_tcp=True)
    assert wire is not None
    return dns.message.from_wire(wire)


def test_answers(book: ZoneBook) -> None:
    """Records, NODATA (also between labels), NXDOMAIN with SOA, REFUSED for what is not ours."""
    assert len(ask(book, "a.example", "TYPE65400").answer) == 1
    assert ask(book, "A.EXAMPLE", "TYPE65400").flags & dns.flags.AA
    for name, code in [
        ("imx1.a.example", "NOERROR"),
        ("_y.a.example", "NOERROR"),
        ("no.a.example", "NXDOMAIN"),
        ("b.example", "REFUSED"),
    ]:
        response = ask(book, name, "TXT")
        assert dns.rcode.to_text(response.rcode()) == code
        assert not response.answer
        assert bool(response.authority) == (code != "REFUSED")


def test_cnames_end(book: ZoneBook) -> None:
    """A loop is bounded, a way out of our zones is left to the asker."""
    assert ask(book, "loop.a.example", "A").answer
    response = ask(book, "out.a.example", "A")
    assert response.rcode() == dns.rcode.NOERROR
    assert len(response.answer) == 1


def test_faults_on_purpose(book: ZoneBook) -> None:
    """SERVFAIL and silence for a name and what is below it."""
    book.servfail.add(dns.name.from_text("bad.a.example"))
    book.silent.add(dns.name.from_text("mute.a.example"))
    assert ask(book, "x.bad.a.example", "A").rcode() == dns.rcode.SERVFAIL
    assert respond(book, dns.message.make_query("mute.a.example", "A").to_wire(), over_tcp=False) is None


def test_zone_may_be_replaced(book: ZoneBook) -> None:
    """The same origin is the same zone."""
    book.load("imx1 300 IN A 192.0.2.9", origin="a.example")
    assert not ask(book, "a.example", "TYPE65400").answer
    assert book.origins() == ["a.example"]


@pytest.mark.parametrize("text", ["", "no zone at all", "$ORIGIN a.example.\n@ IN A x\n"])
def test_bad_zone_is_refused(text: str) -> None:
    """With our error."""
    with pytest.raises(BadZone):
        ZoneBook().load(text)


@given(st.binary(max_size=80))
def test_any_bytes_are_answered_or_dropped(data: bytes) -> None:
    """Nothing raises."""
    book = ZoneBook()
    respond(book, data, over_tcp=False)
    respond(book, dns.message.make_query("a.example", "A").to_wire()[:12] + data, over_tcp=True)


def test_runs_as_a_program(tmp_path: Path) -> None:
    """As `make run` starts it: it says its port and answers there."""
    zone = tmp_path / "zone"
    zone.write_text(ZONE)
    command = [sys.executable, "-m", "imxrouter.lab.dns", "--zone", str(zone), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert select.select([server.stdout], [], [], 20)[0], "it does not start"
            port = int(server.stdout.readline().split()[5])
            for query in (dns.query.udp, dns.query.tcp):
                response = query(dns.message.make_query("a.example", "TYPE65400"), "127.0.0.1", 5, port=port)
                assert len(response.answer) == 1
        finally:
            server.terminate()


def test_program_refuses_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With words and an exit code, before it listens."""
    assert main(["--zone", str(tmp_path / "none")]) == 2
    bad = tmp_path / "bad"
    bad.write_text("nonsense")
    assert main(["--zone", str(bad)]) == 2
    assert main(["--zone", str(bad), "--listen", "nowhere"]) == 2
    assert "No such file" in capsys.readouterr().err
