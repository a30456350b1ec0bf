"""The load generator of the bench speaks records as the router's own code reads them."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imxrouter.model.address import Address
from imxrouter.model.operations import Message, Notify, Subscribe, SubscribeResult, SubscriptionState
from imxrouter.model.outcome import SUCCESS, failure
from imxrouter.model.presence import Presence
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.operations import operation_to_record, record_to_operation, result_of
from imxrouter.wire.control import Ack, Ping, Pong, decode_control
from imxrouter.wire.framing import RecordSplitter
from imxrouter.wire.record import Envelope, Record, decode_outcome, decode_record, encode_record, response_to
from imxrouter.wire.registry import RecordType
from tests.bench.tools import Load, NoTool, build_load, joined, plain_forwarder, run_load

HAVE_COMPILER = shutil.which("gcc") is not None or shutil.which("cc") is not None
SHORT = Load(window=32, seconds=0.2, warmup=0.0, addresses=40)


class Bench:
    """A generator, its domains and a thread that plays the router."""

    def __init__(self, folder: Path) -> None:
        self.program = build_load(folder)
        self.from_file, self.to_file = folder / "from", folder / "to"
        self.from_file.write_text("a.example\nb.example\n")
        self.to_file.write_text("".join(f"d{number}.example\n" for number in range(10)))

    def run(
        self, load: Load, senders: list[socket.socket], responders: list[socket.socket]
    ) -> dict[str, object]:
        """Run the generator."""
        return run_load(self.program, load, senders, responders, self.from_file, self.to_file)


@pytest.fixture
def bench(tmp_path: Path) -> Bench | None:
    """Give the bench; None without a compiler, where the advice is all that can be tested."""
    if HAVE_COMPILER:
        return Bench(tmp_path)
    with pytest.raises(NoTool, match="apt install gcc"):
        build_load(tmp_path)
    return None


def answering(end: socket.socket, on_record: Callable[[Record], bytes]) -> threading.Thread:
    """Answer the records that come out of a socket, until it ends."""

    def loop() -> None:
        splitter = RecordSplitter()
        while data := end.recv(65536):
            answers = b"".join(on_record(decode_record(one)) for one in splitter.feed(data))
            if answers:
                end.sendall(answers)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    return thread


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a stack of errors."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoTool, match="apt install gcc"):
        build_load(tmp_path)


def test_both_ends_through_a_plain_forwarder(bench: Bench | None) -> None:
    """Every request is answered with success, on two connections."""
    if bench is None:
        return
    with (
        socket.create_server(("127.0.0.1", 0)) as accepting,
        plain_forwarder(accepting.getsockname()[1]) as (port, _pid),
    ):
        senders, responders = joined(port, accepting, 2)
        result = bench.run(SHORT, senders, responders)
        for end in (*senders, *responders):
            end.close()
    outcomes = result["outcomes"]
    assert isinstance(outcomes, dict)
    assert outcomes["success"] == result["sent"] == result["requests_seen"]
    assert (result["unanswered"], result["unexpected"], result["reasons"]) == (0, 0, {})


def test_the_sending_end_keeps_the_protocol(bench: Bench | None) -> None:
    """Window, distinct ids, acknowledgements, pings; refusals are counted by reason."""
    if bench is None:
        return
    ours, theirs = socket.socketpair()
    responder, idle = socket.socketpair()
    requests: list[Record] = []
    acknowledged: list[int] = []
    pongs: list[bytes] = []

    def on_record(record: Record) -> bytes:
        control = decode_control(record)
        if isinstance(control, Ack):
            acknowledged.append(control.acknowledged)
        if isinstance(control, Pong):
            pongs.append(control.nonce)
        if not record.is_routed:
            return b""
        requests.append(record)
        answer = failure(Reason.BUSY) if len(requests) == 3 else SUCCESS
        return encode_record(response_to(record, answer)) + (
            Ping(b"nonce678").encode() * (len(requests) == 1)
        )

    thread = answering(ours, on_record)
    result = bench.run(Load(window=4, seconds=0.2, warmup=0.0, addresses=20), [theirs], [responder])
    theirs.close()
    thread.join(5)
    idle.close()
    assert len({one.message_id for one in requests}) == len(requests) == result["sent"]
    assert {one.envelope.to_domain for one in requests} == {b"d%d.example" % number for number in range(10)}
    assert len({one.envelope.from_local + one.envelope.from_domain for one in requests}) == 20
    assert {len(one.body) for one in requests} == {200}
    assert acknowledged[-1] == len(requests)
    assert acknowledged == sorted(set(acknowledged))
    assert pongs == [b"nonce678"]
    assert result["reasons"] == {str(Reason.BUSY.code): 1}


def test_the_answering_end_answers_what_it_was_asked(bench: Bench | None) -> None:
    """Same tag and id, addresses swapped, success."""
    if bench is None:
        return
    ours, theirs = socket.socketpair()
    sender, other = socket.socketpair()
    envelope = Envelope(b"bob", b"b.example", b"al", b"a.example")
    request = Record(RecordType.MESSAGE, 0x80 | 0x01, 9, 2**63 + 5, bytes(range(16)), envelope, body=b"hello")
    ours.sendall(encode_record(request))
    bench.run(Load(window=1, seconds=0.1, warmup=0.0, drain=0.0, addresses=1), [sender], [theirs])
    answer = decode_record(ours.recv(65536))
    assert (answer.type, answer.flags, answer.route_tag) == (0x8100, 0x01, 2**63 + 5)
    assert (answer.message_id, answer.envelope) == (request.message_id, envelope.swapped())
    assert decode_outcome(answer) == SUCCESS
    for end in (ours, theirs, sender, other):
        end.close()


@pytest.mark.parametrize("kind", ["subscribe", "notify"])
def test_presence_is_asked_for_and_told(bench: Bench | None, kind: str) -> None:
    """Every subscription once, and notifications about them, as the router's own code reads them."""
    if bench is None:
        return
    ours, theirs = socket.socketpair()
    responder, idle = socket.socketpair()
    requests: list[Record] = []

    def on_record(record: Record) -> bytes:
        if not record.is_routed:
            return b""
        requests.append(record)
        return encode_record(response_to(record, SUCCESS))

    thread = answering(ours, on_record)
    bench.from_file.write_text("a.example\n")
    result = bench.run(replace(SHORT, kind=kind, body=400), [theirs], [responder])
    theirs.close()
    thread.join(5)
    idle.close()
    assert result["unanswered"] == 0
    told = [record_to_operation(one) for one in requests]
    watched = {(str(one.watcher), one.subscription_id) for one in told if not isinstance(one, Message)}  # type: ignore[union-attr]
    assert len(watched) == 40
    if kind == "subscribe":
        assert len(told) == 40
        assert {one.duration_s for one in told if isinstance(one, Subscribe)} == {3600}
    else:
        assert {type(one.presence) for one in told if isinstance(one, Notify)} == {Presence}
        assert {len(one.body) for one in requests} == {400}


def test_a_subscription_is_granted_as_asked_for(bench: Bench | None) -> None:
    """By the answering end: active, for as long."""
    if bench is None:
        return
    ours, theirs = socket.socketpair()
    sender, other = socket.socketpair()
    asked = Subscribe(Address.parse("al@a.example"), Address.parse("bob@b.example"), bytes(16), b"s1", 600)
    ours.sendall(encode_record(replace(operation_to_record(asked), flags=0x80)))
    bench.run(Load(window=1, seconds=0.1, warmup=0.0, drain=0.0, addresses=1), [sender], [theirs])
    answer = decode_record(ours.recv(65536))
    result = result_of(answer, decode_outcome(answer)).result
    assert result == SubscribeResult(SubscriptionState.ACTIVE, 600)
    for end in (ours, theirs, sender, other):
        end.close()


def test_a_constant_rate_is_kept(bench: Bench | None) -> None:
    """What is sent follows from time alone."""
    if bench is None:
        return
    (one, two) = socket.socketpair()
    result = bench.run(Load(rate=500, seconds=0.4, warmup=0.0, addresses=5), [one], [two])
    sent, left_out = result["sent"], result["not_sent"]
    assert isinstance(sent, int)
    assert isinstance(left_out, int)
    assert 100 <= sent + left_out <= 202  # a busy machine may cut the end, never add to it
    one.close()
    two.close()
