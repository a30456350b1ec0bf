"""Transparent placement: a server whose resolver the router's file leads, and domains that no file names."""

from __future__ import annotations

import time
from typing import Final

import pytest

from tests.interop.edge.clients import Account
from tests.interop.edge.insides import InsideRouter
from tests.interop.edge.log import Log
from tests.interop.edge.names import Mode, Side
from tests.interop.edge.places import EJABBERD, PROSODY, Edge

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

SIDES: Final = {"prosody": PROSODY, "ejabberd": EJABBERD}

#: What the servers log when they have taken our proof of each way.
_BY_DIALBACK: Final = {
    "prosody": r"Sending\[s2sin\]: <db:result [^>]*type='valid'",
    "ejabberd": "Accepted inbound s2s dialback authentication",
}
_BY_CERTIFICATE: Final = {
    "prosody": "Accepting SASL EXTERNAL identity",
    "ejabberd": "Accepted inbound s2s EXTERNAL authentication",
}


def to_router(inside: InsideRouter, alice: Account, outside: str) -> None:
    """A user of the server writes to an outside one."""
    text = f"out {time.monotonic_ns()}"
    alice.ask("message", to=f"bob@{outside}", text=text)
    stanza = inside.until_gets(text)
    assert f"bob@{outside}" in stanza
    assert alice.address in stanza


def from_router(inside: InsideRouter, alice: Account, outside: str) -> None:
    """An outside user writes to one of the server's; the server says that it has read it."""
    text = f"in {time.monotonic_ns()}"
    stanza = f"<message from='bob@{outside}' to='{alice.address}' type='chat' id='{time.monotonic_ns()}'>"
    outcome = inside.send(f"{stanza}<body>{text}</body></message>", outside, alice.address.partition("@")[2])
    assert outcome["status"] == "SUCCESS", outcome
    alice.until_reads(text, f"bob@{outside}")
    assert alice.count(text) == 1


def log_of(lab: Edge, server: str) -> Log:
    """A server's log."""
    return lab.prosody.log if server == "prosody" else lab.ejabberd.log


@pytest.mark.parametrize("first", ["server", "router"])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("server", SIDES)
def test_domain_in_no_file(lab: Edge, server: str, mode: Mode, first: str) -> None:
    """Messages pass both ways, whoever connects first, by each proof; the domain is named nowhere."""
    side: Side = SIDES[server]
    inside = lab.insides[side.name]
    outside = inside.new_domain(trusted=mode is Mode.EXTERNAL)
    address = lab.fresh("alice", side.inside(mode))
    alice = lab.clients.login(address, side.server)
    ways = [to_router, from_router]
    for way in ways if first == "server" else reversed(ways):
        way(inside, alice, outside)
    proof = (_BY_CERTIFICATE if mode is Mode.EXTERNAL else _BY_DIALBACK)[server]
    log = log_of(lab, server)
    log.until_says(proof, lab.began[log])
    if server == "prosody":
        assert ("Stream encrypted" in log.since(lab.began[log])) == (mode is not Mode.CLEAR)
    files = [path for path in lab.where.rglob("*") if path.suffix in {".lua", ".yml", ".conf", ".zone"}]
    assert len(files) >= 6
    assert not [path for path in files if outside in path.read_text()]
