"""The generator of stanzas of the bench: what it writes, what it counts, and that pings are answered."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from imxrouter.formats.xmltree import parse
from tests.bench.tools import Load, StanzaEnds, build_load, joined, plain_forwarder, run_stanzas

pytestmark = pytest.mark.skipif(
    not (shutil.which("gcc") or shutil.which("cc")), reason="the generator needs a C compiler"
)
SHORT = Load(window=64, seconds=0.2, warmup=0.0, addresses=40)


class Bench:
    """A generator and its domains."""

    def __init__(self, folder: Path) -> None:
        self.program = build_load(folder, "stanzas")
        self.from_file, self.to_file = folder / "from", folder / "to"
        self.from_file.write_text("a.example\nb.example\n")
        self.to_file.write_text("".join(f"d{number}.example\n" for number in range(10)))

    def run(self, load: Load, ends: StanzaEnds) -> dict[str, Any]:
        """Run the generator."""
        return run_stanzas(self.program, load, ends, self.from_file, self.to_file)


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_all_that_is_written_arrives_through_a_plain_forwarder(bench: Bench) -> None:
    """On two streams, each message counted once."""
    with (
        socket.create_server(("127.0.0.1", 0)) as accepting,
        plain_forwarder(accepting.getsockname()[1]) as (port, _pid),
    ):
        senders, receivers = joined(port, accepting, 2)
        result = bench.run(SHORT, StanzaEnds(senders, receivers))
        for end in (*senders, *receivers):
            end.close()
    assert result["outcomes"] == {"success": result["sent"], "failure": 0, "indeterminant": 0}
    assert result["sent"] > 0
    assert result["unexpected"] == 0
    assert 0 < result["latency_us"]["p50"] <= result["latency_us"]["max"]


def test_messages_are_well_formed_distinct_and_bounded_by_the_window(bench: Bench) -> None:
    """What nobody delivers stays under way; the window is not passed."""
    ours, theirs = socket.socketpair()
    idle, receiver = socket.socketpair()
    load = Load(window=10, seconds=0.1, warmup=0.0, drain=0.0, addresses=40)
    result = bench.run(load, StanzaEnds([theirs], [receiver]))
    theirs.close()
    said = b"".join(iter(lambda: ours.recv(65536), b""))
    root = parse(b"<s>" + said + b"</s>")
    messages = root.children
    assert len(messages) == result["sent"] == result["outcomes"]["indeterminant"] == 10
    assert len({one.attributes["id"] for one in messages}) == 10
    assert {one.attributes["from"].partition("@")[2] for one in messages} == {"a.example/r", "b.example/r"}
    assert {len(one.children[0].text) for one in messages} == {200}
    for end in (ours, idle, receiver):
        end.close()


def test_errors_pings_and_strange_ids_are_told_apart(bench: Bench) -> None:
    """A failure is one; a ping is answered where it is wanted; an id of nobody is counted."""
    ours, sender = socket.socketpair()
    far, receiver = socket.socketpair()
    back, answers = socket.socketpair()

    def play() -> None:
        data = b""
        while data.count(b"</message>") < 3:
            data += ours.recv(65536)
        first, second, third = re.findall(rb"id='(b7-[0-9a-f]{16})'", data)[:3]
        far.sendall(b'<message id="%s" to="x"><body>a</body></message>' % first)
        far.sendall(b"<message id='b7-00000000000fffff'/><message id='other'/>")
        far.sendall(
            b"<iq type='get' from='a.example' to='d0.example' id='p1'><ping xmlns='urn:xmpp:ping'/></iq>"
        )
        ours.sendall(b"<message type='error' id='%s'/>" % second)
        far.sendall(b"<message from='a' i" + b"d='%s'/>" % third)

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    load = Load(window=3, rate=30.0, seconds=0.3, warmup=0.0, drain=0.0, addresses=3)
    result = bench.run(load, StanzaEnds([sender], [receiver], [answers]))
    thread.join(5)
    assert (result["outcomes"]["success"], result["outcomes"]["failure"]) == (2, 1)
    assert result["unexpected"] == 2
    assert back.recv(4096) == b"<iq type='result' from='d0.example' to='a.example' id='p1'/>"
    for end in (ours, sender, far, receiver, back, answers):
        end.close()
