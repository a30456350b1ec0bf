"""The administration API, end to end over a unix socket."""

from __future__ import annotations

import json
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imxrouter.admin.client import AdminClient
from imxrouter.admin.errors import AdminError, AdminUnreachable, SocketInUse
from imxrouter.admin.server import listen, make_site
from imxrouter.admin.views import MessageView
from tests.doubles.admin_port import DOMAIN, LINK, LOOKUP, PEER, STATUS, PortDouble
from tests.doubles.admin_rig import AdminRig
from tests.doubles.reactor_thread import ReactorThread

HI: MessageView = {
    "at": 1.0, "id": "00", "source": "b@b.example", "destination": "a@a.example",
    "content_type": "text/plain",
    "text": "hi",
}  # fmt: skip


@pytest.fixture
def rig(reactor_thread: ReactorThread, tmp_path: Path) -> Iterator[AdminRig]:
    """Serve a double for one test."""
    made = AdminRig(reactor_thread, tmp_path / "admin.sock")
    yield made
    made.close()


def until(done: Callable[[], bool]) -> None:
    """Wait for another thread, 5 s at most."""
    end_s = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.005)


def raw(rig: AdminRig, request: bytes) -> bytes:
    """Send bytes and read the answer to its end."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(30)
        link.connect(str(rig.path))
        link.sendall(request)
        found = b""
        while chunk := link.recv(65536):
            found += chunk
        return found


def test_answers_come_back_whole(rig: AdminRig) -> None:
    """At once or by a Deferred."""
    client = rig.client
    assert client.status() == STATUS
    assert client.links() == [LINK]
    assert client.peers() == [PEER]
    assert client.domains() == [DOMAIN]
    assert client.dns_lookup("b.example") == LOOKUP
    assert client.dns_records("a.example")["domain"] == "a.example"
    assert client.trace("00" * 16)["steps"][0]["event"] == "accepted"


def test_send_passes_all_of_unicode(rig: AdminRig) -> None:
    """Addresses and text arrive as they were given."""
    assert (
        rig.client.send("älice@a.example", "bob@b.example", "gr\u00fc\u00df dich\n☃")["status"] == "success"
    )
    assert rig.port.calls == [("send", "älice@a.example", "bob@b.example", "grüß dich\n☃")]


def test_domains_are_changed_with_a_diff(rig: AdminRig) -> None:
    """Add, change, remove; names with odd characters survive the path."""
    assert rig.client.domain_add({"name": "c.example", "service": "home"})["action"] == "added"
    assert rig.client.domain_change("bücher.example", {"state": "suspended"})["before"] == {"state": "active"}
    assert rig.client.domain_remove("a/b?c")["name"] == "a/b?c"
    assert rig.port.calls[1][1] == "bücher.example"


def test_errors_say_what_where_and_what_to_do(rig: AdminRig) -> None:
    """An AdminError of the port reaches the client with its kind."""
    with pytest.raises(AdminError) as caught:
        rig.client.send("carol@a.example", "x@b.example", "")
    error = caught.value
    assert (error.kind, error.where, error.what) == ("not-found", "from", "no such user")
    assert error.do
    with pytest.raises(AdminError) as caught:
        rig.client.domain_add({"name": "a.example"})
    assert caught.value.kind == "conflict"


def test_inner_errors_are_not_disclosed(rig: AdminRig) -> None:
    """A bug is a 500 without its text."""
    with pytest.raises(AdminError) as caught:
        rig.client.send("mallory@a.example", "x@b.example", "")
    assert caught.value.kind == "failed"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_line", "body", "status"),
    [
        ("GET /v1/nothing", b"", 404),
        ("GET /", b"", 404),
        ("POST /v1/status", b"", 400),
        ("GET /v1/trace/", b"", 400),
        ("POST /v1/messages", b"{", 400),
        ("POST /v1/messages", b"[]", 400),
        ("POST /v1/messages", b'{"from": 3}', 400),
        ("POST /v1/messages", b"[" * 100_000, 400),
        ("POST /v1/traces", b'{"from": 3}', 400),
        ("POST /v1/traces", b'{"from": "a.example", "since_s": -1}', 400),
        ("POST /v1/traces", b'{"from": "a.example", "since_s": "1"}', 400),
        ("POST /v1/traces", b'{"from": "a.example", "since_s": true}', 400),
        ("POST /v1/checks", b'{"domain": "b.example"}', 400),
        ("GET /v1/domains//doctor", b"", 400),
        ("GET /v1/peers/", b"", 400),
    ],
)
def test_bad_requests_are_refused(rig: AdminRig, request_line: str, body: bytes, status: int) -> None:
    """Each with its status and a JSON error."""
    head = f"{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = raw(rig, head.encode() + body)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(answer.partition(b"\r\n\r\n")[2].splitlines()[-1] if b"chunked" not in answer else
                      answer.partition(b"\r\n\r\n")[2].splitlines()[1])["error"]["what"]  # fmt: skip


def test_watch_streams_until_the_client_leaves(rig: AdminRig) -> None:
    """Messages come as they happen; leaving ends the watch at the router."""
    stream = rig.client.watch("a@a.example")

    def say() -> None:
        for emit in list(rig.port.watchers):
            emit(HI)

    def later() -> None:
        until(lambda: bool(rig.port.watchers))
        rig.thread.call(say)
        rig.thread.call(say)

    helper = threading.Thread(target=later)
    helper.start()
    assert next(stream) == HI
    assert next(stream) == HI
    helper.join()
    stream.close()  # type: ignore[attr-defined]
    until(lambda: ("unwatch", "a@a.example") in rig.port.calls)
    assert rig.port.watchers == []


def test_watch_of_nobody_is_an_error(rig: AdminRig) -> None:
    """The error comes before the stream begins."""
    with pytest.raises(AdminError, match="no such user"):
        next(rig.client.watch("nobody@a.example"))


def test_a_watcher_that_does_not_read_is_bounded(rig: AdminRig) -> None:
    """What does not fit is dropped, counted, and told in the next line."""
    big: MessageView = {**HI, "text": "x" * 10_000}
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(30)
        link.connect(str(rig.path))
        link.sendall(b"GET /v1/watch/a@a.example HTTP/1.0\r\n\r\n")
        until(lambda: bool(rig.port.watchers))

        def flood() -> None:
            for _ in range(2000):
                rig.port.watchers[0](big)

        rig.thread.call(flood)
        lines = link.makefile("rb")
        while lines.readline() not in {b"\r\n", b""}:
            pass
        assert lines.readline() == b"\n"
        count = 1
        lines.readline()
        until_s = time.monotonic() + 30
        dropped = 0
        while not dropped and time.monotonic() < until_s:
            if count > 900:
                rig.thread.call(lambda: rig.port.watchers[0](HI))
            dropped = json.loads(lines.readline()).get("dropped", 0)
            count += 1
        assert dropped > 0
        assert count + dropped >= 2000


def test_only_the_owner_can_open_it(rig: AdminRig) -> None:
    """Mode 0600."""
    assert stat.S_IMODE(rig.path.stat().st_mode) == 0o600


def test_a_live_owner_keeps_its_socket(rig: AdminRig) -> None:
    """A second router is refused and the first still answers."""
    with pytest.raises(SocketInUse):
        rig.thread.call(listen, rig.thread.reactor, rig.path, make_site(PortDouble()))
    assert rig.client.status() == STATUS


def test_a_stale_socket_is_replaced(reactor_thread: ReactorThread, tmp_path: Path) -> None:
    """What a killed process left does not stand in the way; a plain file does."""
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    rig = AdminRig(reactor_thread, path)
    assert rig.client.status() == STATUS
    rig.close()
    path.write_text("a file")
    with pytest.raises(SocketInUse):
        AdminRig(reactor_thread, path)


def test_no_router_is_said_so(tmp_path: Path) -> None:
    """No socket, a stale one, something that speaks no HTTP."""
    with pytest.raises(AdminUnreachable, match="no router listens"):
        AdminClient(str(tmp_path / "none")).status()
    path = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(AdminUnreachable) as caught:
        AdminClient(str(path)).status()
    assert "--socket" in caught.value.do
