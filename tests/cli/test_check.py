"""`imxctl check` as a process of its own, against listeners and a name server on loopback."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.name
import pytest

from imxrouter.cli.exits import Exit
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason
from imxrouter.wire.control import Close, Hello
from imxrouter.wire.layout import LENGTH
from imxrouter.wire.registry import PROTOCOL_VERSION, Capability
from tests.doubles.checks import STAGES, Checks, ended
from tests.doubles.raw_peer import RawListener, RawPeer
from tests.doubles.reactor_thread import ReactorThread
from tests.doubles.router_rig import Lab, free_port, fresh_address

ROOT = Path(__file__).parents[2]
#: Long enough for a name server in this process, short enough for what must run out.
SHORT = ("--timeout", "1")


@pytest.fixture
def checks(reactor_thread: ReactorThread) -> Iterator[Checks]:
    """Give a way to run checks."""
    made = Checks(reactor_thread)
    yield made
    made.close()


@pytest.fixture
def listener() -> Iterator[RawListener]:
    """Give a listener at an address of its own."""
    made = RawListener(fresh_address())
    yield made
    made.close()


def stage(answer: Any, name: str) -> Any:
    """One stage of an answer."""
    return next(one for one in answer["stages"] if one["stage"] == name)


def assert_failed(code: int, answer: Any, step: str, reason: Reason) -> None:
    """The check failed at that step for that reason, in the words of the registry; nothing went further."""
    assert (code, answer["result"]) == (Exit.FAILED, "failed")
    failure = answer["failure"]
    assert (failure["step"], failure["reason"]) == (step, reason.word)
    assert failure["stage"] == reason.stage.value
    assert failure["remedy"] == REASON_BY_WORD[failure["reason"]].remedy
    assert failure["retry"] == reason.retry.value
    assert failure["what"]
    for name in STAGES[STAGES.index(step) + 1 :]:
        later = stage(answer, name)
        assert later["state"] == "not tried"
        assert later["why"]
        assert later["evidence"] == []


# -- dns ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unfound:
    """A domain that DNS does not lead to."""

    lines: tuple[str, ...]
    reason: Reason
    what: str
    servfail: str = ""
    silent: str = ""


UNFOUND = {
    "no such domain": Unfound((), Reason.NO_SUCH_DOMAIN, "_imx._tcp.b.example SRV"),
    "no record": Unfound(("@ TXT hello",), Reason.NO_IMX_RECORD, "_imx._tcp.b.example SRV"),
    "server failure": Unfound((), Reason.DNS_FAILURE, "b.example IMX", servfail="b.example."),
    "server failure later": Unfound(
        (), Reason.DNS_FAILURE, "_imx.b.example SVCB", servfail="_imx.b.example."
    ),
    "silence": Unfound((), Reason.DNS_TIMEOUT, "b.example IMX", silent="b.example."),
    "no such service": Unfound(("@ IMX 0 .",), Reason.NO_SERVICE, "b.example IMX"),
    "alias loop": Unfound(("@ IMX 0 to", "to IMX 0 @"), Reason.BAD_DNS_RECORD, "to.b.example IMX"),
    "no address": Unfound(("@ IMX 1 im",), Reason.NO_ADDRESS, "im.b.example A, AAAA"),
    "silence about the host": Unfound(
        ("@ IMX 1 im",), Reason.DNS_TIMEOUT, "im.b.example AAAA", silent="im.b.example."
    ),
}


@pytest.mark.parametrize("name", UNFOUND)
def test_what_dns_does_not_lead_to(checks: Checks, name: str) -> None:
    """The question that decided is named, with the reason and what to do; nothing is dialled."""
    case = UNFOUND[name]
    if name != "no such domain":
        checks.zone(*case.lines)
    else:
        checks.zone("other TXT hello", origin="example")
    checks.book.servfail |= {dns.name.from_text(case.servfail)} if case.servfail else set()
    checks.book.silent |= {dns.name.from_text(case.silent)} if case.silent else set()
    code, answer = checks.json("--lab", *(SHORT if case.silent else ()))
    assert_failed(code, answer, "dns", case.reason)
    assert answer["failure"]["what"] == case.what
    assert answer["name_servers"] == [checks.place]
    asked = [one["what"] for one in stage(answer, "dns")["evidence"]]
    assert asked[0] == "b.example IMX"
    assert asked[-1] == case.what or case.what in asked


# -- connect -----------------------------------------------------------------------------------------------


def test_nothing_listens(checks: Checks) -> None:
    """A refused connection is named with address and port."""
    ip = fresh_address()
    port = free_port(ip)
    checks.zone(f"@ IMX 1 im port={port}", f"im A {ip}")
    code, answer = checks.json("--lab")
    assert_failed(code, answer, "connect", Reason.CONNECTION_REFUSED)
    assert answer["failure"]["what"] == f"im.b.example {ip} port {port}"
    (tried,) = stage(answer, "connect")["evidence"]
    assert tried["facts"] == {"host": "im.b.example", "ip": ip, "family": "IPv4", "port": port}
    assert tried["took_s"] >= 0


def test_a_black_hole(checks: Checks) -> None:
    """A host that answers nothing costs the time limit and no more; a full queue drops every SYN."""
    ip = fresh_address()
    with socket.socket() as hole, socket.socket() as first, socket.socket() as second:
        hole.bind((ip, 0))
        hole.listen(0)
        for filling in (first, second):
            filling.setblocking(False)
            filling.connect_ex(hole.getsockname())
        checks.zone(f"@ IMX 1 im port={hole.getsockname()[1]}", f"im A {ip}")
        code, answer = checks.json("--lab", *SHORT)
    assert_failed(code, answer, "connect", Reason.CONNECT_TIMEOUT)
    (tried,) = stage(answer, "connect")["evidence"]
    assert tried["took_s"] >= 1


@pytest.mark.parametrize(
    ("address", "port", "rule"),
    [("A 10.0.0.1", 6490, "private"), ("AAAA ::1", 6490, "loopback"), ("A 8.8.8.8", 25, "low-port")],
)
def test_what_no_router_dials_is_not_dialled(checks: Checks, address: str, port: int, rule: str) -> None:
    """The rule is named, and nothing is sent: no time was taken."""
    checks.zone(f"@ IMX 1 im port={port}", f"im {address}")
    code, answer = checks.json()
    assert_failed(code, answer, "connect", Reason.ADDRESS_REFUSED)
    assert answer["failure"]["note"].startswith(f"{rule}: not dialled")
    (tried,) = stage(answer, "connect")["evidence"]
    assert tried["took_s"] is None


def test_an_address_that_no_router_dials_sees_no_connection(checks: Checks, listener: RawListener) -> None:
    """Without --lab the listener on loopback is left alone."""
    ip, port = listener.endpoint
    checks.zone(f"@ IMX 1 im port={port}", f"im A {ip}")
    code, answer = checks.json()
    assert_failed(code, answer, "connect", Reason.ADDRESS_REFUSED)
    assert listener.take_waiting() == []


# -- peer --------------------------------------------------------------------------------------------------


def _banner(peer: RawPeer) -> None:
    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def _other_version(peer: RawPeer) -> None:
    peer.expect(Hello)
    peer.send(Hello((7, 8)))


def _closes(reason: Reason, retry_after_s: int | None = None) -> Callable[[RawPeer], None]:
    def close(peer: RawPeer) -> None:
        peer.expect(Hello)
        peer.send(Close(reason.code, 0, retry_after_s, None, "as the peer says"))

    return close


def _silence(peer: RawPeer) -> None:
    close = peer.until_closed()
    assert close is not None
    assert close.reason == Reason.HELLO_TIMEOUT.code


def _large_hello(peer: RawPeer) -> None:
    peer.expect(Hello)
    peer.send(LENGTH.pack(4096) + b"\x00\x01" + bytes(100))


def _hangs_up(peer: RawPeer) -> None:
    peer.expect(Hello)
    peer.close()


@dataclass(frozen=True)
class Unmet:
    """A listener that is no router to talk to."""

    script: Callable[[RawPeer], None]
    reason: Reason
    note: str
    by_peer: bool = False
    retry_after_s: int = 0
    first_bytes: str = ""


UNMET = {
    "another protocol": Unmet(
        _banner, Reason.PROTOCOL_ERROR, "record of 1213486164 bytes", first_bytes="HTTP/1.1 400 Bad Request"
    ),
    "another version": Unmet(_other_version, Reason.VERSION_MISMATCH, "versions offered: 7, 8; spoken: 1"),
    "our version refused": Unmet(
        _closes(Reason.VERSION_MISMATCH), Reason.VERSION_MISMATCH, "as the peer says", by_peer=True
    ),
    "over cap": Unmet(
        _closes(Reason.OVER_CAP, 30), Reason.OVER_CAP, "as the peer says", by_peer=True, retry_after_s=30
    ),
    "shutting down": Unmet(
        _closes(Reason.SHUTTING_DOWN, 5), Reason.SHUTTING_DOWN, "as the peer says", by_peer=True,
        retry_after_s=5,
    ),
    "silence": Unmet(_silence, Reason.HELLO_TIMEOUT, "no hello in 1 s"),
    "too large a hello": Unmet(_large_hello, Reason.PROTOCOL_ERROR, "record of 4100 bytes"),
    "hangs up": Unmet(_hangs_up, Reason.LINK_LOST, "said nothing of why"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNMET)
def test_who_is_no_router_to_talk_to(checks: Checks, listener: RawListener, name: str) -> None:
    """What came in place of a hello is told, with who says so and what to do."""
    case = UNMET[name]
    ip, port = listener.endpoint
    checks.zone(f"@ IMX 1 im port={port}", f"im A {ip}")
    words = SHORT if name == "silence" else ()
    code, answer = checks.json("--lab", *words, meanwhile=lambda: case.script(listener.accept()))
    assert_failed(code, answer, "peer", case.reason)
    assert stage(answer, "connect")["state"] == "good"
    assert case.note in answer["failure"]["note"]
    assert answer["failure"]["retry_after_s"] == case.retry_after_s
    (met,) = stage(answer, "peer")["evidence"]
    assert met["facts"]["by_peer"] is case.by_peer
    assert case.first_bytes in met["facts"]["first_bytes"]


# -- what is well ------------------------------------------------------------------------------------------


def test_a_healthy_router(checks: Checks, lab: Lab) -> None:
    """Each stage that can be tried is good, and the router's hello is told; it sees an orderly close."""
    rig = lab.router("b.example", settings={"links.idle_s": 123.0})
    ip, port = rig.endpoint
    checks.zone(f"_imx SVCB 1 im port={port}", f"im A {ip}")
    code, answer = checks.json("--lab")
    assert (code, answer["result"], answer["failure"]) == (Exit.OK, "good", None)
    assert [one["state"] for one in answer["stages"]] == [
        "good", "good", "not tried", "not tried", "good", "not tried",
    ]  # fmt: skip
    dns_stage = stage(answer, "dns")
    assert dns_stage["facts"] == {
        "form": "svcb", "targets": [f"im.b.example:{port}"], "dnssec": False,
        "insecure_at": "b.example IMX", "dane": [],
    }  # fmt: skip
    told = [(one["what"], one["facts"]["answer"]) for one in dns_stage["evidence"]]
    assert told[:2] == [("b.example IMX", "nodata"), ("_imx.b.example SVCB", "records")]
    assert sorted(told[2:]) == [("im.b.example A", "records"), ("im.b.example AAAA", "nodata")]
    assert all(one["took_s"] >= 0 for one in dns_stage["evidence"])
    (hello,) = stage(answer, "peer")["evidence"]
    assert hello["reason"] == ""
    assert hello["facts"]["version"] == PROTOCOL_VERSION
    assert "imxrouter" in hello["facts"]["software"]
    assert len(hello["facts"]["capabilities"]) == len(Capability)
    assert hello["facts"]["idle_s"] == 123.0
    lab.wait_until(lambda: not rig.router.hub.sessions, "the router to see the end of the link")


def test_one_family_broken(checks: Checks, listener: RawListener) -> None:
    """IPv4 leads there, so the domain can be reached; what is wrong with IPv6 is explained all the same."""
    ip, port = listener.endpoint
    checks.zone(f"@ IMX 1 im port={port}", f"im A {ip}", "im AAAA ::1")
    code, answer = checks.json("--lab", meanwhile=lambda: _greet(listener))
    assert (code, answer["result"]) == (Exit.OK, "partly")
    assert stage(answer, "connect")["state"] == "partly"
    assert stage(answer, "peer")["state"] == "good"
    assert [one["facts"]["family"] for one in stage(answer, "connect")["evidence"]] == ["IPv6", "IPv4"]
    failure = answer["failure"]
    assert (failure["step"], failure["reason"]) == ("connect", "connection-refused")
    assert failure["what"] == f"im.b.example ::1 port {port}"


def _greet(listener: RawListener) -> None:
    """Answer the hello; the check must end the link in order."""
    peer = listener.accept()
    assert "imxctl" in (peer.hello().software or "")
    close = peer.until_closed()
    assert close is not None
    assert close.reason == Reason.NONE.code


def test_one_target_broken(checks: Checks, listener: RawListener) -> None:
    """A target without address beside a good one."""
    ip, port = listener.endpoint
    checks.zone(f"@ IMX 1 no port={port}", f"@ IMX 2 im port={port}", f"im A {ip}")
    code, answer = checks.json("--lab", meanwhile=lambda: _greet(listener))
    assert (code, answer["result"]) == (Exit.OK, "partly")
    assert stage(answer, "dns")["state"] == "partly"
    assert answer["failure"]["reason"] == Reason.NO_ADDRESS.word
    assert answer["failure"]["what"] == "no.b.example A, AAAA"


# -- the command -------------------------------------------------------------------------------------------


def test_people_read_the_stages_in_order(checks: Checks, listener: RawListener) -> None:
    """Each stage on a line of its own with what was seen below it; the first failure at the end."""
    ip, port = listener.endpoint
    listener.close()
    checks.zone(f"@ IMX 1 im port={port}", f"im A {ip}")
    code, out, errors = checks.text("--lab")
    assert code == Exit.FAILED
    lines = out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == STAGES
    assert f"b.example IMX: 1 im.b.example. port={port}" in out
    assert f"im.b.example {ip} port {port}: connection-refused" in out
    assert "im.b.example AAAA: nodata" in out
    assert [line for line in lines if "not tried" in line and line.startswith("tls")]
    assert f"connection-refused at stage connect: im.b.example {ip} port {port}" in errors
    assert Reason.CONNECTION_REFUSED.remedy in errors


def test_what_a_peer_says_does_not_steer_the_terminal(checks: Checks, listener: RawListener) -> None:
    """Control characters of a hello are escaped, and the hello is told in words."""
    ip, port = listener.endpoint
    checks.zone(f"@ IMX 1 im port={port}", f"im A {ip}")
    running = checks.start("--lab")
    peer = listener.accept()
    peer.expect(Hello)
    peer.send(Hello((PROTOCOL_VERSION,), (2, 99), software="\x1b[2Jevil", idle_ms=60_000))
    code, out, errors = ended(running)
    assert (code, errors) == (Exit.OK, "")
    assert "\x1b" not in out
    assert "\\x1b[2Jevil" in out
    assert f"im.b.example {ip} port {port}: good\n" in out
    assert "capabilities=acknowledge,99" in out
    assert "idle_s=60.0" in out
    assert out.splitlines()[-1] == "b.example: good"


def test_an_interrupted_check(checks: Checks, listener: RawListener) -> None:
    """The code for it, and no half of an answer."""
    ip, port = listener.endpoint
    checks.zone(f"@ IMX 1 im port={port}", f"im A {ip}")
    running = checks.start("--lab", "--json", "--timeout", "600")
    listener.accept().expect(Hello)
    running.send_signal(signal.SIGINT)
    assert ended(running) == (Exit.INTERRUPTED, "", "")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["b..example"], "b..example"),
        (["b.example", "--timeout", "0"], "0<x<=600"),
        (["b.example", "--nameserver", "nowhere"], "name server 'nowhere'"),
    ],
)
def test_a_wrong_command_line(words: list[str], what: str) -> None:
    """The code for it, and what is wrong."""
    command = [sys.executable, "-m", "imxrouter.cli.main", "check", "--json", *words]
    answer = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert answer.returncode == Exit.USAGE
    assert what in json.loads(answer.stdout)["error"]["what"]


def test_other_commands_start_without_twisted() -> None:
    """Loading it takes longer than most commands do."""
    text = "import sys, imxrouter.cli.main; sys.exit('twisted' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=False).returncode == 0
