"""How much one stream of a stranger holds: measured in a process of its own, by what the kernel gave it.

`python -m tests.gateways.xmpp.streams.memory KIND COUNT` prints bytes for each stream. Sockets are in memory,
so that what the kernel holds for a connection is not in it.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import tempfile
from pathlib import Path

from OpenSSL import SSL
from twisted.internet.task import Clock

from imxrouter.model.domain import Domain
from imxrouter.tls.contexts import TlsContexts
from imxrouter.tls.folder import load_folder
from imxrouter.transport.tls_ends import TlsEnds
from tests.doubles.authority import NOW, Authority
from tests.gateways.xmpp.streams.rig import HEADER, B, Router, Wire, alone

#: Kind -> what the stranger does and no more.
KINDS = ("silent", "header", "half a stanza", "tls", "tls header")
#: As much as a stranger may have us hold of something that is not whole.
HALF = b"<message from='alice@a.example' to='bob@b.example' x='" + b"x" * 3900
_PAGE = 4096


def resident_bytes() -> int:
    """What this process holds now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _tls() -> tuple[TlsEnds, TlsEnds]:
    root = Authority.root()
    folder = Path(tempfile.mkdtemp())
    root.issue(B).write(folder, B)
    theirs = load_folder(folder, NOW, domains=[Domain(B)])
    return TlsEnds(TlsContexts(theirs)), TlsEnds(TlsContexts(theirs))


def _handshake(ends: TlsEnds, wire: Wire, says: bytes) -> None:
    """Be the opener for as long as it takes."""
    end = ends.opening(None, B, ("192.0.2.1", 5269), b"")
    for _ in range(4):
        with contextlib.suppress(SSL.WantReadError):
            end.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            wire.protocol.dataReceived(end.bio_read(1 << 16))
        for data in wire.writes:
            end.bio_write(data)
        wire.writes.clear()
    end.do_handshake()
    if says:
        end.send(says)
        wire.protocol.dataReceived(end.bio_read(1 << 16))
    wire.writes.clear()


def measure(kind: str, count: int) -> float:
    """Bytes for each of so many streams."""
    router = Router(Clock(), B)
    ours, theirs = _tls() if kind.startswith("tls") else (None, None)
    router.hub.first_bytes.maker = ours
    wires: list[Wire] = []

    def come() -> None:
        wire = alone(router.accept())
        wires.append(wire)
        if theirs is not None:
            _handshake(theirs, wire, HEADER if kind == "tls header" else b"")
        elif kind != "silent":
            wire.protocol.dataReceived(HEADER)
            if kind == "half a stanza":
                wire.protocol.dataReceived(HALF)
        wire.writes.clear()

    for _ in range(50):  # what is made once, and room that is left
        come()
    before = resident_bytes()
    for _ in range(count):
        come()
    after = resident_bytes()
    assert len(router.hub.sessions) == count + 50
    return (after - before) / count


if __name__ == "__main__":
    print(f"{measure(sys.argv[1], int(sys.argv[2])):.0f}")  # noqa: T201 - its result
