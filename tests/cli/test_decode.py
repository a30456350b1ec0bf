"""`imxctl decode`: a captured stream as readable records."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from imxrouter.cli.exits import Exit
from imxrouter.cli.main import imxctl
from imxrouter.wire.control import Ping, Withdraw

STREAM = Ping(nonce=b"12345678").encode() + Withdraw(b"a.example", 3).encode()


def test_decode_shows_each_record(tmp_path: Path) -> None:
    """From a file and from standard input; with --json one object a line."""
    file = tmp_path / "stream"
    file.write_bytes(STREAM)
    shown = CliRunner().invoke(imxctl, ["decode", str(file)])
    assert shown.exit_code == 0
    ping, withdraw = shown.output.splitlines()
    assert ping.split()[:2] == ["0", "ping"]
    assert "nonce=3132333435363738" in ping
    assert withdraw.split()[1] == "withdraw"
    assert "a.example" in withdraw
    piped = CliRunner().invoke(imxctl, ["decode", "--json"], input=STREAM)
    assert [json.loads(line)["type"] for line in piped.output.splitlines()] == ["ping", "withdraw"]


def test_decode_says_where_the_bytes_break() -> None:
    """What is no IMX stream, or ends inside a record, exits with 1 and says what to feed it."""
    wrong = CliRunner().invoke(imxctl, ["decode", "-"], input=b"GET / HTTP/1.0\r\n\r\n")
    assert wrong.exit_code == Exit.FAILED
    assert "at byte 0: " in wrong.output
    assert "one direction of a link" in wrong.output
    short = CliRunner().invoke(imxctl, ["decode", "--json"], input=STREAM[:-1])
    assert short.exit_code == Exit.FAILED
    assert "error" in json.loads(short.output.splitlines()[-1])


def test_decode_steers_no_terminal() -> None:
    """Control characters that a peer chose are shown as escapes."""
    shown = CliRunner().invoke(imxctl, ["decode"], input=Withdraw(b"\x1b[31m.example", 3).encode())
    assert "\x1b" not in shown.output
