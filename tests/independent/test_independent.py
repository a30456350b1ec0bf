"""The independent implementation federates with a router process of ours, and each refuses what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imxrouter.admin.client import AdminClient, AdminError, AdminUnreachable
from tests.doubles.router_rig import free_port
from tests.doubles.twistd import start_router
from tests.independent import codec as c
from tests.independent.link import CLOSED, DRAINING, Link, Values
from tests.independent.router import FAILURE, INDETERMINANT, SUCCESS, Outcome, Router, message, message_body

ALICE, BOB = "alice@a.example", "bob@b.example"
PATIENCE_S = 15.0
#: For a router process to be there: many tests may start many at once, on few cores.
START_S = 45.0
#: For a response: a request outlives a router that starts again, and is below the window of duplicates, 60 s.
ANSWER_S = 50.0


async def until(true: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - what another process does sets no event here
            await asyncio.sleep(0.01)


class Theirs:
    """A router process of ours that serves b.example, and what its user bob saw."""

    def __init__(self, folder: Path) -> None:
        self.port, self.peer_port = (free_port("127.0.0.1") for _ in range(2))
        self.socket = folder / "admin.sock"
        self.admin = AdminClient(str(self.socket), timeout_s=PATIENCE_S)
        self.bob_saw: list[str] = []
        self._config, self._log = folder / "router.toml", folder / "log"
        self._config.write_text(
            f"""
name = "im.b.example"
lab = true
state_dir = "{folder}/state"
run_dir = "{folder}"
listen.addresses = ["127.0.0.1:{self.port}"]
admin.socket = "{self.socket}"
metrics.listen = ""
trust.default_policy = "dialback"
dial.allow_networks = ["127.0.0.0/8"]
dial.backoff_first_s = 0.1
dial.backoff_cap_s = 0.2
dial.hold_s = 5.0
dns.nameservers = ["127.0.0.1:9"]
dialback.claim_timeout_s = 3.0
links.close_deadline_s = 60.0
limits.sender_burst = 1000
overload.lag_ms = 0
caps.verify_per_target_per_minute = 100000
[[peer]]
domain = "a.example"
addresses = ["127.0.0.1:{self.peer_port}"]
[[peer]]
domain = "m.example"
addresses = ["127.0.0.1:{self.peer_port}"]
[[service]]
name = "home"
kind = "embedded"
users = ["bob"]
[[domain]]
name = "b.example"
service = "home"
"""
        )

    def start(self) -> None:
        """Start it, and watch bob's messages."""
        self.socket.unlink(missing_ok=True)
        self.process = start_router(self._config, self._log)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(AdminUnreachable):
                if self.admin.status()["ready"]:
                    threading.Thread(target=self._watch, daemon=True).start()
                    self._await_watch(deadline)
                    return
            time.sleep(0.05)
        raise AssertionError(f"does not start: {self._log.read_text()[-2000:]}")

    def _await_watch(self, deadline: float) -> None:
        """Bob writes to himself until he sees it: what comes from now on is seen."""
        while time.monotonic() < deadline:
            probe = secrets.token_hex(8)
            self.admin.send(BOB, BOB, probe)
            soon = time.monotonic() + 0.2
            while time.monotonic() < soon:
                if probe in self.bob_saw:
                    return
                time.sleep(0.005)
        raise AssertionError("bob sees nothing")

    def _watch(self) -> None:
        with contextlib.suppress(AdminError, AdminUnreachable, OSError):
            for message in AdminClient(str(self.socket)).watch(BOB):
                self.bob_saw.append(message["text"])

    def end(self, number: signal.Signals) -> None:
        """End it by a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE_S)

    async def send(self, text: str) -> Outcome:
        """A message of bob's to alice."""
        outcome = await asyncio.to_thread(self.admin.send, BOB, ALICE, text)
        return ("success", "failure", "indeterminant").index(outcome["status"]), outcome["reason"]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theirs]:
    """One process for all tests."""
    process = Theirs(tmp_path_factory.mktemp("theirs"))
    process.start()
    yield process
    process.end(signal.SIGKILL)


class Service:
    """Takes what is for alice; `before_answer` runs once, between a message and its answer."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.before_answer: Callable[[], None] = lambda: None
        self.gate = asyncio.Event()
        self.gate.set()

    async def deliver(self, record: c.Record) -> Outcome:
        """Answer when the gate is open."""
        self.got.append(record.body.rpartition(b"\r\n")[2])
        before, self.before_answer = self.before_answer, lambda: None
        before()
        await self.gate.wait()
        return SUCCESS, "none"


@contextlib.asynccontextmanager
async def running(theirs: Theirs, *domains: bytes) -> AsyncIterator[tuple[Router, Service]]:
    """An independent router for some domains."""
    service = Service()
    where = {b"b.example": [("127.0.0.1", theirs.port)]}
    ours = Router(set(domains or (b"a.example",)), where, service.deliver, answer_timeout=ANSWER_S)
    await ours.listen(theirs.peer_port)
    try:
        yield ours, service
    finally:
        service.gate.set()
        async with asyncio.timeout(PATIENCE_S):
            await ours.stop()


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_messages_pass_in_both_directions(theirs: Theirs, first: str) -> None:
    """Whoever connects first; two connections and one claim are enough for both."""

    async def story() -> None:
        async with running(theirs) as (ours, service):
            steps = {"ours": lambda: ours.send(ALICE, BOB, first), "theirs": lambda: theirs.send(first)}
            order = ["ours", "theirs"] if first == "ours" else ["theirs", "ours"]
            assert [await steps[name]() for name in order] == [(SUCCESS, "none")] * 2
            assert service.got == [first.encode()]
            await until(lambda: theirs.bob_saw[-1:] == [first])
            assert len(ours.links) == 2
            await until(lambda: first == "ours" or not any(link.unacked for link in ours.links.values()))

    asyncio.run(story())


def test_orderly_close_finishes_what_is_in_flight(theirs: Theirs) -> None:
    """A CLOSE while a message waits: it is answered on its old link, the next one takes a new link."""

    async def story() -> None:
        async with running(theirs) as (ours, service):
            service.gate.clear()
            waiting = asyncio.create_task(theirs.send("in flight"))
            await until(lambda: service.got)
            old = list(ours.links.values())
            for link in old:
                link.close("shutting-down")
            assert await ours.send(ALICE, BOB, "meanwhile") == (SUCCESS, "none")
            service.gate.set()
            assert await waiting == (SUCCESS, "none")
            await until(lambda: all(link.state == CLOSED for link in old))
            assert await theirs.send("later") == (SUCCESS, "none")
            assert service.got == [b"in flight", b"later"]

    asyncio.run(story())


def test_their_orderly_close_finishes_what_is_in_flight(theirs: Theirs) -> None:
    """They go out of service while a message waits: it is answered, and they end long before the deadline."""

    async def story() -> None:
        async with running(theirs) as (ours, service):
            service.gate.clear()
            waiting = asyncio.create_task(theirs.send("last"))
            await until(lambda: service.got)
            old = list(ours.links.values())
            theirs.process.send_signal(signal.SIGTERM)
            await until(lambda: all(link.state == DRAINING for link in old if link.waiting_in))
            service.gate.set()
            assert await waiting == (SUCCESS, "none")
            await asyncio.to_thread(theirs.process.wait, PATIENCE_S)
            assert {link.close_reason for link in old} == {"shutting-down"}
            await asyncio.to_thread(theirs.start)

    asyncio.run(story())


def test_lost_request_is_delivered_by_its_retry(theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link dies with the request on its way: the retry names the memory, which does not know it."""

    async def story() -> None:
        async with running(theirs) as (ours, _):
            link = await ours.way(b"a.example", b"b.example")
            monkeypatch.setattr(link, "write", lambda *_: None)
            sending = asyncio.create_task(ours.send(ALICE, BOB, "never arrived"))
            await until(lambda: ours.flights)
            abort(link)
            assert await sending == (SUCCESS, "none")
            await until(lambda: theirs.bob_saw[-1:] == ["never arrived"])

    asyncio.run(story())


def test_lost_answer_is_no_second_delivery(theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link dies between delivery and answer; the retry gets the first one's answer, both ways."""

    async def story() -> None:
        async with running(theirs) as (ours, service):
            link = await ours.way(b"a.example", b"b.example")
            monkeypatch.setattr(link, "data_received", lambda _: None)
            sending = asyncio.create_task(ours.send(ALICE, BOB, "once"))
            await until(lambda: theirs.bob_saw[-1:] == ["once"])
            abort(link)
            assert await sending == (SUCCESS, "none")
            assert await ours.send(ALICE, BOB, "twice") == (SUCCESS, "none")
            await until(lambda: theirs.bob_saw[-1:] == ["twice"])
            assert theirs.bob_saw[-2:] == ["once", "twice"]

            service.before_answer = lambda: lose_asking_links(ours)
            assert await theirs.send("thrice") == (SUCCESS, "none")
            assert service.got == [b"thrice"]

    asyncio.run(story())


def abort(link: Link) -> None:
    """Lose a connection."""
    assert isinstance(link.transport, asyncio.WriteTransport)
    link.transport.abort()


def lose_asking_links(ours: Router) -> None:
    """Lose every link over which an unanswered request came."""
    for link in list(ours.links.values()):
        if link.waiting_in:
            abort(link)


def test_retry_to_a_new_memory_is_indeterminant(theirs: Theirs) -> None:
    """A side that lost its memory says `epoch-unknown` and does not deliver; so do both of them."""

    async def story() -> None:
        async with running(theirs) as (ours, service):

            def forget() -> None:
                ours.epoch = secrets.token_bytes(8)
                ours.memory.clear()
                lose_asking_links(ours)

            service.before_answer = forget
            assert await theirs.send("forgotten") == (INDETERMINANT, "epoch-unknown")
            assert service.got == [b"forgotten"]

            await ours.way(b"a.example", b"b.example")
            theirs.process.send_signal(signal.SIGSTOP)
            sending = asyncio.create_task(ours.send(ALICE, BOB, "to the dead"))
            await until(lambda: ours.flights)
            theirs.end(signal.SIGKILL)
            await asyncio.to_thread(theirs.start)
            assert await sending == (INDETERMINANT, "epoch-unknown")
            assert await ours.send(ALICE, BOB, "to the living") == (SUCCESS, "none")
            await until(lambda: theirs.bob_saw[-1:] == ["to the living"])
            assert "to the dead" not in theirs.bob_saw

    asyncio.run(story())


def test_wrong_proofs_are_refused(theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain that its own router does not confirm, and an answer that is not the secret."""
    release = Link.release

    def answer_wrong(link: Link, pair: tuple[bytes, bytes], values: Values) -> tuple[str, bytes]:
        return release(link, pair, values | {c.SECRET: [bytes(32)]})

    async def story() -> None:
        async with running(theirs) as (ours, _):
            assert await ours.send("eve@m.example", BOB, "not ours") == (FAILURE, "not-mine")
            monkeypatch.setattr(Link, "release", answer_wrong)
            assert await ours.send(ALICE, BOB, "wrong answer") == (FAILURE, "dialback-timeout")
            monkeypatch.undo()
            assert await ours.send(ALICE, BOB, "right answer") == (SUCCESS, "none")
            assert not {"not ours", "wrong answer"} & set(theirs.bob_saw)

    asyncio.run(story())


def test_a_success_that_nobody_verified_proves_nothing(
    theirs: Theirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verifier that never asked gets no message, and what it sends is not taken."""

    async def lie(link: Link, number: int) -> None:
        link.tell_result(number, "none", (bytes(16),))

    async def story() -> None:
        async with running(theirs) as (ours, service):
            monkeypatch.setattr(ours, "verify", lie)
            assert (await theirs.send("unverified"))[0] == FAILURE
            assert not service.got
            proved_by_the_lie = [link for link in ours.links.values() if link.send_pairs and not link.opener]
            assert proved_by_the_lie
            assert await ours.send(ALICE, BOB, "as if proved") == (FAILURE, "not-proved")

    asyncio.run(story())


def test_requests_are_refused_by_name(theirs: Theirs) -> None:
    """Each check of section 7.5 that a proved peer can fail, and what is no fault."""

    async def story() -> None:
        async with running(theirs) as (ours, _):
            plain, unknown = message(ALICE, BOB, ""), 0x7F00
            ignored = replace(plain, fields=((unknown, b""),))
            assert await ours.request(ignored) == (SUCCESS, "none")
            faults = {
                "unknown-critical-field": replace(plain, fields=((unknown | 0x8000, b""),)),
                "too-many-hops": replace(plain, hops=0),
                "too-large": replace(plain, body=plain.body + bytes(40_000)),
                "bad-body": replace(plain, body=message_body("eve@a.example", BOB, "")),
                "type-not-enabled": replace(plain, kind=0x7ABC),
                "not-delivered": message(ALICE, "nobody@b.example", ""),
                "bad-address": replace(plain, to=b"b\xffb@b.example"),
            }
            for reason, record in faults.items():
                told = await ours.request(replace(record, message_id=secrets.token_bytes(16)))
                assert told == (FAILURE, reason)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (c.encode(c.Record(c.PING, fields=((c.NONCE, bytes(8)), (0xFF00, b"")))), "unknown-critical-field"),
        (c.encode(c.Record(0x00F0, c.CRITICAL)), "unknown-critical-field"),
        ((65536 + 1 - 4).to_bytes(4, "big"), "protocol-error"),
        (c.control(c.ACK, (c.ACKNOWLEDGED, 1 << 40)), "protocol-error"),
        (c.control(c.PROVED, (c.FROM_DOMAIN, b"b.example"), (c.TO_DOMAIN, b"a.example")), "protocol-error"),
    ],
)  # fmt: skip
def test_links_are_ended_by_name(theirs: Theirs, record: bytes, reason: str) -> None:
    """A proved link ends with the reason, and the next message takes a new one."""

    async def story() -> None:
        async with running(theirs) as (ours, _):
            link = await ours.way(b"a.example", b"b.example")
            assert link.opener
            link.write(record)
            await asyncio.wait_for(link.gone.wait(), PATIENCE_S)
            assert link.close_reason == reason
            assert await ours.send(ALICE, BOB, "next") == (SUCCESS, "none")

    asyncio.run(story())
