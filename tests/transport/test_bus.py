"""The bus: one behaviour, two engines, and what only sockets can do wrong."""

from __future__ import annotations

import os
import queue
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imxrouter.model.errors import LocalMisuse
from imxrouter.routing.interfaces import Bus
from imxrouter.transport import bus as bus_module
from imxrouter.transport.bus import MAX_PAYLOAD_BYTES, BusEnd, BusError, Frame, Op
from imxrouter.transport.bus_unix import FrameReader, encode_frame
from tests.doubles.bus_rigs import BusRig, MemoryRig, UnixRig
from tests.doubles.reactor_thread import ReactorThread

Heard = queue.SimpleQueue[tuple[str, bytes, Callable[[bytes], None]]]
Answers = queue.SimpleQueue[bytes | None]


@pytest.fixture
def unix(reactor_thread: ReactorThread, tmp_path: Path) -> Iterator[UnixRig]:
    """Give a rig on unix sockets."""
    rig = UnixRig(reactor_thread, tmp_path)
    yield rig
    rig.close()


@pytest.fixture(params=["memory", "unix"])
def rig(request: pytest.FixtureRequest) -> Iterator[BusRig]:
    """Give each engine in turn."""
    if request.param == "unix":
        yield request.getfixturevalue("unix")
    else:
        made = MemoryRig()
        yield made
        made.close()


def listening(rig: BusRig, bus: Bus) -> Heard:
    """Collect what an end hears."""
    heard: Heard = queue.SimpleQueue()
    rig.run(bus.listen, lambda kind, payload, reply: heard.put((kind, payload, reply)))
    return heard


def asked(rig: BusRig, bus: Bus, process: int, payload: bytes = b"?", timeout_s: float = 4.0) -> Answers:
    """Ask, and collect the answers."""
    answers: Answers = queue.SimpleQueue()
    rig.run(bus.ask, process, "verify", payload, answers.put, timeout_s)
    return answers


class TestBothEngines:
    """What the rest of the router relies on."""

    def test_an_ask_is_answered(self, rig: BusRig) -> None:
        """With the bytes of the other process."""
        one, two = rig.join(1), rig.join(2)
        heard = listening(rig, two)
        answers = asked(rig, one, 2, b"token")
        kind, payload, reply = rig.take(heard)
        assert (kind, payload) == ("verify", b"token")
        rig.run(reply, b"released")
        assert rig.take(answers) == b"released"

    def test_a_tell_arrives_and_its_reply_goes_nowhere(self, rig: BusRig) -> None:
        """The other process need not know whether somebody waits."""
        one, two = rig.join(1), rig.join(2)
        heard = listening(rig, two)
        rig.run(one.tell, 2, "response", b"record")
        kind, payload, reply = rig.take(heard)
        assert (kind, payload) == ("response", b"record")
        rig.run(reply, b"ignored")

    def test_what_is_told_keeps_its_order(self, rig: BusRig) -> None:
        """Also what was said before the connection was there."""
        one, two = rig.join(1), rig.join(2)
        heard = listening(rig, two)

        def burst() -> None:
            for number in range(100):
                one.tell(2, "n", bytes([number]))

        rig.run(burst)
        assert [rig.take(heard)[1][0] for _ in range(100)] == list(range(100))

    def test_both_ask_each_other_at_once(self, rig: BusRig) -> None:
        """Directions do not disturb each other."""
        one, two = rig.join(1), rig.join(2)
        for end, word in ((one, b"one"), (two, b"two")):
            rig.run(end.listen, lambda _kind, payload, reply, word=word: reply(word + payload))
        first, second = asked(rig, one, 2, b"!"), asked(rig, two, 1, b"?")
        assert (rig.take(first), rig.take(second)) == (b"two!", b"one?")

    def test_a_process_can_ask_itself(self, rig: BusRig) -> None:
        """Whoever hands over need not know that it is its own."""
        one = rig.join(1)
        rig.run(one.listen, lambda _kind, payload, reply: reply(payload[::-1]))
        assert rig.take(asked(rig, one, 1, b"abc")) == b"cba"

    def test_only_the_first_reply_counts(self, rig: BusRig) -> None:
        """A second one changes nothing, for this ask and the next."""
        one, two = rig.join(1), rig.join(2)
        rig.run(two.listen, lambda _kind, _payload, reply: (reply(b"first"), reply(b"second")))
        answers = asked(rig, one, 2)
        assert rig.take(answers) == b"first"
        assert rig.take(asked(rig, one, 2)) == b"first"
        assert answers.empty()

    def test_silence_ends_with_none_and_a_late_reply_is_dropped(self, rig: BusRig) -> None:
        """Each ask is answered once."""
        one, two = rig.join(1), rig.join(2)
        heard = listening(rig, two)
        answers = asked(rig, one, 2, timeout_s=0.05)
        reply = rig.take(heard)[2]
        assert rig.take(answers) is None
        rig.run(reply, b"late")
        next_answers = asked(rig, one, 2)
        rig.run(rig.take(heard)[2], b"in time")
        assert rig.take(next_answers) == b"in time"
        assert answers.empty()

    def test_nobody_there_is_none_but_never_from_inside_ask(self, rig: BusRig) -> None:
        """The asking code is not re-entered."""
        one = rig.join(1)
        order: queue.SimpleQueue[str] = queue.SimpleQueue()

        def ask() -> None:
            one.ask(9, "verify", b"", lambda answer: order.put("answered" if answer is None else "?"), 4.0)
            one.tell(9, "response", b"lost")
            order.put("asked")

        rig.run(ask)
        assert [rig.take(order), rig.take(order)] == ["asked", "answered"]

    def test_one_who_does_not_listen_yet_answers_none(self, rig: BusRig) -> None:
        """At once, not after the time-out."""
        one, _two = rig.join(1), rig.join(2)
        assert rig.take(asked(rig, one, 2, timeout_s=60)) is None

    def test_a_failing_listener_answers_none_and_goes_on(self, rig: BusRig) -> None:
        """One bad question does not end the bus."""
        one, two = rig.join(1), rig.join(2)

        def listener(_kind: str, payload: bytes, reply: Callable[[bytes], None]) -> None:
            reply(bytes([10 // payload[0]]))

        rig.run(two.listen, listener)
        assert rig.take(asked(rig, one, 2, b"\0", timeout_s=60)) is None
        assert rig.take(asked(rig, one, 2, b"\5")) == b"\2"

    def test_the_largest_payload_passes_and_one_byte_more_does_not(self, rig: BusRig) -> None:
        """In both directions."""
        one, two = rig.join(1), rig.join(2)
        rig.run(two.listen, lambda _kind, payload, reply: reply(payload + b"x" * (payload[:1] == b"+")))
        largest = bytes(MAX_PAYLOAD_BYTES)
        assert rig.take(asked(rig, one, 2, largest)) == largest
        assert rig.take(asked(rig, one, 2, largest + b"x", timeout_s=60)) is None
        assert rig.take(asked(rig, one, 2, b"+" + largest[1:], timeout_s=60)) is None
        assert rig.take(asked(rig, one, 2, b"still here")) == b"still here"

    def test_what_waits_for_one_process_is_bounded(self, rig: BusRig) -> None:
        """More is refused at once and counted; what was taken arrives."""
        one, two = rig.join(1), rig.join(2)
        rig.run(two.listen, lambda _kind, payload, reply: reply(payload[:1]))
        answers: Answers = queue.SimpleQueue()

        def burst() -> None:
            for _ in range(8):
                one.ask(2, "verify", bytes(MAX_PAYLOAD_BYTES - 100), answers.put, 4.0)

        rig.run(burst)
        found = [rig.take(answers) for _ in range(8)]
        assert (found.count(b"\0"), found.count(None)) == (2, 6)
        assert isinstance(one, BusEnd)
        assert one.dropped == 6

    def test_asks_without_an_answer_are_bounded(self, rig: BusRig, monkeypatch: pytest.MonkeyPatch) -> None:
        """The one too many is answered None at once; room comes back with each answer."""
        monkeypatch.setattr(bus_module, "MAX_PENDING_ASKS", 2)
        one, two = rig.join(1), rig.join(2)
        heard = listening(rig, two)
        waiting = [asked(rig, one, 2), asked(rig, one, 2)]
        assert rig.take(asked(rig, one, 2, timeout_s=60)) is None
        for _ in waiting:
            rig.run(rig.take(heard)[2], b"ok")
        assert [rig.take(answers) for answers in waiting] == [b"ok", b"ok"]
        again = asked(rig, one, 2)
        rig.run(rig.take(heard)[2], b"room")
        assert rig.take(again) == b"room"

    def test_one_who_leaves_fails_what_it_was_asked(self, rig: BusRig) -> None:
        """And can come back."""
        one, two = rig.join(1), rig.join(2)
        heard = listening(rig, two)
        answers = asked(rig, one, 2, timeout_s=60)
        rig.take(heard)
        rig.run(two.close)
        assert rig.take(answers) is None
        rig.rest()
        heard = listening(rig, rig.join(2))
        again = asked(rig, one, 2)
        rig.run(rig.take(heard)[2], b"back")
        assert rig.take(again) == b"back"

    def test_closing_answers_ones_own_asks_with_none(self, rig: BusRig) -> None:
        """Before it returns; later asks too are answered, and closing twice is allowed."""
        one, two = rig.join(1), rig.join(2)
        listening(rig, two)
        answers = asked(rig, one, 2, timeout_s=60)
        rig.run(one.close)
        assert answers.get_nowait() is None
        rig.run(one.close)
        assert rig.take(asked(rig, one, 2, timeout_s=60)) is None

    def test_peers_are_the_others(self, rig: BusRig) -> None:
        """Never oneself, and not one who left."""
        one, two, _three = rig.join(1), rig.join(2), rig.join(3)
        assert rig.run(one.peers) == {2, 3}
        rig.run(two.close)
        rig.rest()
        assert rig.run(one.peers) == {3}

    def test_a_number_is_taken_once(self, rig: BusRig) -> None:
        """Two processes with one number would get each other's answers."""
        rig.join(1)
        with pytest.raises(BusError):
            rig.join(1)

    def test_a_kind_has_a_length(self, rig: BusRig) -> None:
        """A bug of ours, so it is loud."""
        one = rig.join(1)
        with pytest.raises(LocalMisuse):
            rig.run(one.tell, 1, "k" * 256, b"")


class TestSockets:
    """Files, dead processes and foreign bytes."""

    def test_only_the_owner_can_connect(self, unix: UnixRig) -> None:
        """Directory 0700, socket 0600, also where the directory was open before."""
        folder = unix.run_dir / "bus"
        folder.mkdir(mode=0o755)
        unix.join(1)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "1.sock").stat().st_mode) == 0o600

    def test_a_link_in_place_of_the_directory_is_refused(self, unix: UnixRig, tmp_path: Path) -> None:
        """It could lead anywhere."""
        (tmp_path / "elsewhere").mkdir()
        (unix.run_dir / "bus").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(BusError):
            unix.join(1)

    def test_a_path_too_long_for_a_socket_is_said(self, unix: UnixRig) -> None:
        """The system's own words name neither path nor limit."""
        unix.run_dir = unix.run_dir / ("d" * 110)
        unix.run_dir.mkdir()
        with pytest.raises(BusError, match="shorter run_dir"):
            unix.join(1)

    def test_the_socket_of_a_dead_process_is_removed(self, unix: UnixRig) -> None:
        """By whoever calls it or looks around, and by whoever takes its number."""
        one = unix.join(1)
        paths = [unix.run_dir / "bus" / f"{number}.sock" for number in (2, 3, 4)]
        for path in paths:
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(path))
        assert unix.take(asked(unix, one, 2, timeout_s=60)) is None
        heard = listening(unix, unix.join(3))
        assert [path.exists() for path in paths] == [False, True, True]
        assert unix.run(one.peers) == {3}
        assert not paths[2].exists()
        unix.run(one.tell, 3, "response", b"here")
        assert unix.take(heard)[1] == b"here"

    def test_foreign_bytes_end_their_connection_only(self, unix: UnixRig) -> None:
        """Too long, unknown, or cut short."""
        one, two = unix.join(1), unix.join(2)
        unix.run(two.listen, lambda _kind, payload, reply: reply(payload))
        path = str(unix.run_dir / "bus" / "2.sock")
        for data in (b"\xff" * 64, encode_frame(Frame(Op.TELL, 0, "x", b"")).replace(b"\x04", b"\x09")):
            with socket.socket(socket.AF_UNIX) as foreign:
                foreign.settimeout(30)
                foreign.connect(path)
                foreign.sendall(data)
                assert foreign.recv(1) == b""
        assert unix.take(asked(unix, one, 2, b"fine")) == b"fine"

    def test_a_killed_process_fails_its_asks_and_can_return(self, unix: UnixRig) -> None:
        """It had no time to say so; whoever was connected removes its socket."""
        one = unix.join(1)
        for _ in range(2):
            held: Answers = queue.SimpleQueue()
            answers: Answers = queue.SimpleQueue()
            with spawned(unix.run_dir, 7):
                unix.run(one.ask, 7, "hold", b"", held.put, 60.0)
                unix.run(one.ask, 7, "echo", b"hello", answers.put, 5.0)
                assert unix.take(answers) == b"hello"
            assert unix.take(held) is None
            assert unix.run(one.peers) == frozenset()

    def test_a_live_number_cannot_be_taken_by_another_process(self, unix: UnixRig) -> None:
        """The lock belongs to the process, not to the file."""
        with spawned(unix.run_dir, 1), pytest.raises(BusError, match="another process 1"):
            unix.join(1)
        unix.join(1)


@contextmanager
def spawned(run_dir: Path, number: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process on the bus and wait until it listens; it does not outlive the block."""
    command = [sys.executable, "-m", "tests.doubles.bus_process", str(run_dir), str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ)) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            yield child
        finally:
            child.kill()


class TestFrames:
    """Cutting the stream."""

    FRAMES = (
        Frame(Op.ASK, 1, "verify", b"token"),
        Frame(Op.ANSWER, 2**64 - 1, "", b"\0" * 70_000),
        Frame(Op.NO_ANSWER, 3),
        Frame(Op.TELL, 0, "ü" * 127, b""),
    )

    @pytest.mark.parametrize("size", [1, 7, 65536, 10**6])
    def test_frames_survive_any_cut(self, size: int) -> None:
        """Byte by byte, and all at once."""
        stream = b"".join(map(encode_frame, self.FRAMES))
        reader, found = FrameReader(), []
        for at in range(0, len(stream), size):
            found += reader.feed(stream[at : at + size])
        assert tuple(found) == self.FRAMES

    def test_a_length_is_judged_when_it_is_there(self) -> None:
        """Before anything of the frame is kept."""
        with pytest.raises(BusError):
            FrameReader().feed((MAX_PAYLOAD_BYTES + 1000).to_bytes(4, "big"))
