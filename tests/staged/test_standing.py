"""Failures that no message shows: links of strangers, logins, the disk. Told alike by whoever tells them."""

from __future__ import annotations

import json
import sqlite3
from functools import partial

import pytest
from click.testing import CliRunner

from imxrouter.app import storing
from imxrouter.cli.main import imxctl
from imxrouter.model.vocabulary import Reason
from imxrouter.store.file import StateFile
from imxrouter.store.sqlite import SqliteStore
from imxrouter.wire.control import Close, Hello
from tests.doubles.raw_peer import RawPeer
from tests.doubles.router_rig import RouterRig, login_key, service_table
from tests.staged.scene import Scene

SHORT = {"dial.hello_timeout_s": 0.2, "links.ping_s": 0.2, "caps.proof_timeout_s": 1.0, "lab": True}


def _says_nothing(_peer: RawPeer) -> None:
    """Connect, and that is all."""


def _speaks_tls(peer: RawPeer) -> None:
    peer.send(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(32))


def _speaks_http(peer: RawPeer) -> None:
    peer.send(b"GET / HTTP/1.1\r\nHost: router.b.example\r\n\r\n" + bytes(40))


def _of_another_version(peer: RawPeer) -> None:
    peer.send(Hello((9,)))


def _never_proves(peer: RawPeer) -> None:
    peer.hello()


def _wrong_key(peer: RawPeer) -> None:
    peer.hello()
    assert peer.log_in(login_key(2)) == Reason.LOGIN_FAILED.code


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (_says_nothing, Reason.HELLO_TIMEOUT),
        (_speaks_tls, Reason.TLS_FAILED),
        (_speaks_http, Reason.PROTOCOL_ERROR),
        (_of_another_version, Reason.VERSION_MISMATCH),
        (_never_proves, Reason.NOT_PROVED),
        (_wrong_key, Reason.LOGIN_FAILED),
    ],
)
def test_the_end_of_a_strangers_link_is_told_alike(scene: Scene, does: object, reason: Reason) -> None:
    """By the CLOSE that he gets, by the log line, and by the metric."""
    assert callable(does)
    tables = service_table("office", login_key(1), "c.example")
    b = scene.router("b.example", settings=SHORT, tables=tables)
    peer = scene.peer(b)
    does(peer)
    close = peer.until_closed()
    assert isinstance(close, Close)
    assert close.reason == reason.code
    scene.lab.wait_until(lambda: not b.router.hub.sessions, "the end of the link")
    words = (reason.stage.value, reason.word)
    assert scene.link_ends(b) == {words: 1}
    said = [line for line in scene.lines if "reason" in line]
    assert said, "nothing was logged"
    assert {(line["stage"], line["reason"]) for line in said} == {words}


class Disk:
    """A disk on which the state file may take so many pages."""

    def __init__(self) -> None:
        self.pages = 1_000_000

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Set how much room there is."""
        connection.execute(f"PRAGMA max_page_count = {self.pages}")


def _status(rig: RouterRig) -> tuple[dict[str, object], str]:
    """What `imxctl status` says of the state file: as JSON, and printed."""
    words = ["--socket", rig.router.config.admin_socket]
    view = json.loads(CliRunner().invoke(imxctl, [*words, "--json", "status"]).output)["store"]
    return view, CliRunner().invoke(imxctl, [*words, "status"]).output


def test_a_full_disk_is_told_alike_and_messages_pass(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """By status, by the log line, and by the metric; it heals by itself."""
    disk = Disk()
    monkeypatch.setattr(storing, "StateFile", partial(StateFile, prepare=disk))
    monkeypatch.setattr(storing, "SqliteStore", partial(SqliteStore, retry_s=0.05))
    b = scene.router("b.example")
    disk.pages = 1
    b.call(lambda: b.router.store.put("test", b"key", b"v" * 100_000))
    scene.lab.wait_until(lambda: b.router.store.health().problem.value != "none", "the disk is full")
    view, printed = _status(b)
    assert view["problem"] == "full"
    assert "not written (full)" in printed
    assert scene.sample(b, "imxrouter_store_works") == 0
    assert scene.sample(b, "imxrouter_store_failures_total", problem="full") >= 1
    scene.lab.wait_until(lambda: any("not written (full)" in one["text"] for one in scene.lines), "a line")
    assert scene.say(b, "alice@b.example", "bob@b.example").answer.ok
    disk.pages = 1_000_000
    scene.lab.wait_until(lambda: b.router.store.health().problem.value == "none", "it heals")
    assert scene.sample(b, "imxrouter_store_works") == 1
    assert "not written" not in _status(b)[1]
