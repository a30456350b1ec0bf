"""`imxctl check` from outside and a router that sends a message name the same stage and reason."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import dns.name
import pytest
from click.testing import CliRunner

from imxrouter.cli.exits import Exit
from imxrouter.cli.main import imxctl
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import Close, Hello
from imxrouter.wire.layout import LENGTH
from tests.doubles.checks import Checks
from tests.doubles.raw_peer import RawListener, RawPeer
from tests.doubles.router_rig import Lab, RouterRig, fresh_address

Script = Callable[[RawPeer], None]


def _says(*items: Any) -> Script:
    def say(peer: RawPeer) -> None:
        peer.expect(Hello)
        peer.send(*items)

    return say


def _hangs_up(peer: RawPeer) -> None:
    peer.expect(Hello)
    peer.close()


@dataclass(frozen=True)
class Staged:
    """A failure at a remote domain: what DNS says, and what the listener does that it leads to."""

    reason: Reason
    lines: tuple[str, ...] = ("@ IMX 1 im port={port}", "im A {ip}")
    script: Script | None = None
    servfail: str = ""
    silent: str = ""


STAGED = {
    "no such service": Staged(Reason.NO_SERVICE, ("@ IMX 0 .",)),
    "no record": Staged(Reason.NO_IMX_RECORD, ("@ TXT hello",)),
    "alias loop": Staged(Reason.BAD_DNS_RECORD, ("@ IMX 0 to", "to IMX 0 @")),
    "no address": Staged(Reason.NO_ADDRESS, ("@ IMX 1 im",)),
    "server failure": Staged(Reason.DNS_FAILURE, servfail="b.example."),
    "silence of DNS": Staged(Reason.DNS_TIMEOUT, silent="b.example."),
    "private address": Staged(Reason.ADDRESS_REFUSED, ("@ IMX 1 im", "im A 10.0.0.1")),
    "nothing listens": Staged(Reason.CONNECTION_REFUSED),
    "another protocol": Staged(Reason.PROTOCOL_ERROR, script=_says(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
    "too large a hello": Staged(
        Reason.PROTOCOL_ERROR, script=_says(LENGTH.pack(4096) + b"\x00\x01" + bytes(100))
    ),
    "another version": Staged(Reason.VERSION_MISMATCH, script=_says(Hello((7,)))),
    "over cap": Staged(Reason.OVER_CAP, script=_says(Close(Reason.OVER_CAP.code, 0, 30))),
    "shutting down": Staged(Reason.SHUTTING_DOWN, script=_says(Close(Reason.SHUTTING_DOWN.code, 0, 5))),
    "silence after connecting": Staged(Reason.HELLO_TIMEOUT, script=_says()),
    "hangs up": Staged(Reason.LINK_LOST, script=_hangs_up),
}


@contextmanager
def _played(listener: RawListener, script: Script) -> Iterator[None]:
    """Play a script to everybody who comes."""
    stopping = threading.Event()

    def play() -> None:
        while not stopping.is_set():
            with suppress(TimeoutError, OSError):
                script(listener.accept(0.1))

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _sent(rig: RouterRig) -> Any:
    """What the operator is told of a message that a router could not deliver."""
    words = ["--socket", rig.router.config.admin_socket, "--json", "send"]
    result = CliRunner().invoke(imxctl, [*words, "alice@a.example", "bob@b.example", "x"])
    assert result.exit_code == Exit.FAILED, result.output
    return json.loads(result.output)


@pytest.mark.parametrize("name", STAGED)
def test_both_use_the_same_words(lab: Lab, name: str) -> None:
    """The operator who reads one and tries the other need not translate."""
    case = STAGED[name]
    listener = RawListener(fresh_address())
    ip, port = listener.endpoint
    lab.zones.load("$ORIGIN b.example.\n$TTL 60\n" + "\n".join(case.lines).format(ip=ip, port=port))
    book = lab.zones._book
    book.servfail |= {dns.name.from_text(case.servfail)} if case.servfail else set()
    book.silent |= {dns.name.from_text(case.silent)} if case.silent else set()
    if case.script is None:
        listener.close()
    a = lab.router("a.example", settings={"dial.hello_timeout_s": 1.0})
    checks = Checks(lab.thread, book)
    words = [] if case.reason is Reason.ADDRESS_REFUSED else ["--lab"]
    words += ["--timeout", "1"] if case.reason in {Reason.DNS_TIMEOUT, Reason.HELLO_TIMEOUT} else []
    try:
        with _played(listener, case.script or (lambda _peer: None)):
            sent = _sent(a)
            code, answer = checks.json(*words)
    finally:
        checks.close()
        listener.close()
    failure = answer["failure"]
    assert (sent["stage"], sent["reason"]) == (case.reason.stage.value, case.reason.word)
    assert (failure["stage"], failure["reason"]) == (sent["stage"], sent["reason"])
    assert (code, failure["remedy"], failure["retry"]) == (Exit.FAILED, case.reason.remedy, sent["retry"])
