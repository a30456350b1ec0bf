"""Certificates are exchanged a thousand times while connections come, go and stay: nothing fails or grows."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from OpenSSL import SSL

from imxrouter.model.domain import Domain
from imxrouter.tls.contexts import TlsContexts
from imxrouter.tls.folder import load_folder
from imxrouter.tls.peer import Anchors
from imxrouter.tls.store import Certificates
from tests.doubles.authority import NOW, Authority
from tests.tls.test_contexts import Ends, accepting, pump

ROOT = Authority.root()
#: A context takes about 20 kB: one that stays for each exchange would show at once.
ALLOWED_KB = 2000


def resident_kb() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def exchange(folder: Path, rounds: int) -> int:
    """Renew one certificate at each round and connect; returns by how many kB the second half grew."""
    store, anchors = Certificates(), Anchors([ROOT.certificate], partial=False)
    versions = [ROOT.issue("a.example", key=None) for _ in range(2)]
    ROOT.issue("b.example").write(folder, "b.example")
    opening: TlsContexts | None = None
    taking: TlsContexts | None = None
    stays: Ends | None = None
    half = 0
    for number in range(rounds):
        versions[number % 2].write(folder, "a.example")
        assert store.swap(load_folder(folder, NOW, current=store.current))
        for old in (opening, taking):
            if old is not None:
                old.retire()
        opening, taking = TlsContexts(store.current), TlsContexts(store.current)
        if stays is not None:  # opened with the set before; it goes on
            stays.opener.send(b"on")
            pump(stays.opener, stays.acceptor)
            assert stays.acceptor.recv(2) == b"on"
        for server_name, own in (("a.example", "b.example"), ("b.example", "a.example")):
            ends = Ends(opening.open(Domain(own), server_name, "192.0.2.1", 6490), accepting(taking))
            mine, other = ends.shake()
            opening.keep_session(ends.opener, server_name, "192.0.2.1", 6490)
            for facts, name in ((mine, server_name), (other, own)):
                assert facts.peer is not None
                assert facts.peer.names == (name,)
                assert anchors.judge(facts.peer, at=NOW, as_client=True).problem is None
            stays = ends
        if number == rounds // 2:
            gc.collect()
            half = resident_kb()
    gc.collect()
    return resident_kb() - half


def test_forty_exchanges(tmp_path: Path) -> None:
    """The short form."""
    assert exchange(tmp_path, 40) < ALLOWED_KB
    assert not SSL.Connection._reverse_mapping or len(SSL.Connection._reverse_mapping) < 1000


@pytest.mark.soak
def test_a_thousand_exchanges(tmp_path: Path) -> None:
    """The long one, with its figure."""
    grown = exchange(tmp_path, 1000)
    print(f"grown by {grown} kB in the last 500 of 1,000 exchanges")  # noqa: T201
    assert grown < ALLOWED_KB
