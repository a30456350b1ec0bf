"""XMPP with `workers = 2`, in real processes: messages and dial-back at either; presence is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from imxrouter.admin.client import AdminClient
from imxrouter.gateways.xmpp.stanza import Element, Stanza
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import FieldType, RecordType
from tests.app.test_workers import eventually
from tests.doubles.raw_peer import Endpoint, RawPeer, text_message
from tests.doubles.router_rig import free_port, fresh_address, login_key, service_table
from tests.doubles.twistd import start_router
from tests.doubles.xmpp import XmppPeer, key_for
from tests.doubles.xmpp_server import XmppServer

A, B, C, Z = "a.example", "b.example", "c.example", "z.example"
KEY: Final = login_key(7)
#: Connections until each process has one; the system chooses by a hash of the addresses.
TRIES: Final = 40
FILE: Final = """
name = "im.a.example"
role = "aggregator"
lab = true
workers = 2
state_dir = "{folder}/state"
run_dir = "{folder}"
listen.addresses = ["{ip}:{port}"]
metrics.listen = ""
trust.default_policy = "dialback"
trust.xmpp_default = "dialback"
dial.allow_networks = ["127.0.0.0/8"]
dns.nameservers = ["127.0.0.1:{dns}"]
xmpp.listen = ["{ip}:{streams}"]
xmpp.tls = "offered"
overload.lag_ms = 0
xmpp.confirm = "written"
xmpp.inside.listen = ["{ip}:{inside}"]
xmpp.inside.allow = ["{home[0]}/32"]

[[service]]
name = "chat"
kind = "xmpp"
address = "{home[0]}:{home[1]}"

[[service]]
name = "own"
kind = "embedded"
users = ["bob"]

[[domain]]
name = "a.example"
service = "chat"

[[domain]]
name = "b.example"
service = "own"

{more}"""
ZONE: Final = """$ORIGIN z.example.
@ 60 IN SOA ns hostmaster 1 60 60 60 1
_xmpp-server._tcp 60 IN SRV 0 0 {0[1]} xs
xs 60 IN A {0[0]}
"""


class House:
    """A router with two processes, the server of a.example behind it, and that of z.example outside."""

    def __init__(self, folder: Path, home: XmppServer, server: XmppServer, dns: int) -> None:
        self.home, self.server = home, server
        ip, tables = fresh_address(), service_table("shop", KEY, C, types=["subscribe", "notify"])
        self.links = (ip, free_port(ip))
        self.streams, self.inside = (ip, free_port(ip)), (ip, free_port(ip))
        self.consoles = [
            AdminClient(f"{folder}/{name}", timeout_s=10) for name in ("admin.sock", "admin-1.sock")
        ]
        self.file = folder / "imxrouter.toml"
        self.file.write_text(
            FILE.format(
                folder=folder, ip=ip, port=self.links[1], dns=dns, streams=self.streams[1],
                inside=self.inside[1], home=home.endpoint, more=tables,
            )
        )  # fmt: skip

    def at_both(self, server: XmppServer, to: Endpoint, begin: Callable[[XmppPeer], None]) -> list[XmppPeer]:
        """Open streams from a server until each process has one; one at each."""
        found: dict[int, XmppPeer] = {}
        for _ in range(TRIES):
            peer = server.connect(to)
            begin(peer)
            found.setdefault(self._process_of(peer), peer)
            if len(found) == len(self.consoles):
                return [found[0], found[1]]
        raise AssertionError(f"in {TRIES} tries there were only {list(found)}")

    def _process_of(self, peer: XmppPeer) -> int:
        ip, port = peer.at

        def which() -> list[int]:
            return [
                number
                for number, one in enumerate(self.consoles)
                if any(link["address"] == f"{ip}:{port}" for link in one.links())
            ]

        return int(eventually(lambda: [f"{one}" for one in which()], f"nobody has {ip}:{port}")[0])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """All of it runs."""
    folder = tmp_path_factory.mktemp("w")
    dns = free_port("127.0.0.1")
    with XmppServer(A, fresh_address()) as home, XmppServer(Z, fresh_address()) as server:
        (folder / "zone").write_text(ZONE.format(server.endpoint))
        house = House(folder, home, server, dns)
        command = [sys.executable, "-m", "imxrouter.lab.dns", "--zone", str(folder / "zone")]
        with (
            subprocess.Popen(
                [*command, "--listen", f"127.0.0.1:{dns}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as names,
            start_router(house.file, folder / "log") as router,
        ):
            try:
                assert names.stdout is not None
                assert b"name server on" in names.stdout.readline()
                eventually(lambda: [one.status() for one in house.consoles], "both answer")
                yield house
            finally:
                router.terminate()
                router.wait(60)
                names.kill()
        assert "Traceback" not in (folder / "log").read_text()


def proved_by(own: str, other: str, secret: bytes) -> Callable[[XmppPeer], None]:
    """Open a stream and prove its domain by dial-back."""

    def begin(peer: XmppPeer) -> None:
        peer.open(own, other)
        peer.claim(own, other, secret)
        assert peer.result() == "valid"

    return begin


def came(server: XmppServer, ident: str) -> Stanza:
    """Wait for the stanza with this id."""
    server.wait_for(lambda one: any(each.ident == ident for each in one.stanzas))
    (found,) = [one for one in server.stanzas if one.ident == ident]
    return found


def message(from_: str, to: str, ident: str) -> str:
    """A message."""
    return f"<message from='{from_}' to='{to}' id='{ident}' type='chat'><body>{ident}</body></message>"


def test_messages_pass_at_either_process(house: House) -> None:
    """What comes from outside at any of them reaches the server behind, and what this says the outside."""
    outside = house.at_both(house.server, house.streams, proved_by(Z, A, house.server.secret))
    inside = house.at_both(house.home, house.inside, proved_by(A, Z, b"any key"))
    for number, (from_z, from_a) in enumerate(zip(outside, inside, strict=True)):
        from_z.send(message(f"carol@{Z}/r", f"alice@{A}", f"in{number}"))
        assert came(house.home, f"in{number}").from_ == f"carol@{Z}/r"
        from_a.send(message(f"alice@{A}/r", f"carol@{Z}", f"out{number}"))
        assert came(house.server, f"out{number}").from_ == f"alice@{A}/r"


def test_a_key_of_one_process_is_known_at_the_other(house: House) -> None:
    """The server outside asks on a connection of its own, and the system chooses who answers it."""
    (from_a, _) = house.at_both(house.home, house.inside, proved_by(A, Z, b"any key"))
    from_a.send(message(f"alice@{A}/r", f"carol@{Z}", "claims"))
    came(house.server, "claims")
    claims = [
        (peer.ident, one.tree().text.strip())
        for peer in house.server.peers for one in peer.log
        if isinstance(one, Element) and one.name == "result" and "type" not in one.attributes
    ]  # fmt: skip
    assert claims
    asking = house.at_both(house.server, house.streams, lambda peer: opened(peer, Z, A))
    for ident, key in claims:
        said = [peer.ask(Z, A, ident, key) for peer in asking]
        wrong = [peer.ask(Z, A, ident, key_for(b"a guess", Z, A, ident)) for peer in asking]
        assert (said, wrong) == (["valid"] * 2, ["invalid"] * 2)


def test_presence_with_another_protocol_is_refused_at_once_by_either(house: House) -> None:
    """Its machine would be in one process only; between servers of XMPP it passes as it is."""
    for number, stream in enumerate(house.at_both(house.home, house.inside, proved_by(A, B, b"any key"))):
        stream.send(f"<presence from='alice@{A}' to='bob@{B}' id='s{number}' type='subscribe'/>")
        answer = came(house.home, f"s{number}")
        assert (answer.type, b"service-unavailable" in answer.raw) == ("error", True), answer.raw
    for number, stream in enumerate(house.at_both(house.home, house.inside, proved_by(A, Z, b"any key"))):
        stream.send(f"<presence from='alice@{A}' to='carol@{Z}' id='p{number}' type='subscribe'/>")
        assert came(house.server, f"p{number}").type == "subscribe"

    shop = logged_in(house)
    shop.send(_subscribe(1))
    outcome = shop.outcome()
    shop.close()
    assert (outcome.reason, outcome.decided_role) == (Reason.TYPE_NOT_ENABLED, "service")


def test_messages_between_streams_and_a_service_with_one_link(house: House) -> None:
    """The service is logged in at one process; streams are at both."""
    shop = logged_in(house)
    for number, stream in enumerate(house.at_both(house.home, house.inside, proved_by(A, C, b"any key"))):
        stream.send(message(f"alice@{A}/r", f"desk@{C}", f"shop{number}"))
        request = shop.request()
        assert request.body.endswith(f"shop{number}".encode())
        shop.answer(request)
    shop.send(text_message(f"desk@{C}", f"alice@{A}", "hello", 9))
    assert shop.outcome().ok
    shop.close()
    house.home.wait_for(lambda one: any(b"hello" in each.raw for each in one.stanzas))


def logged_in(house: House) -> RawPeer:
    """A link of the shop's service."""
    link = RawPeer.connect(house.links)
    link.hello()
    assert link.log_in(KEY) == 0
    return link


def _subscribe(number: int) -> Record:
    """The shop wants to watch a user of XMPP."""
    envelope = Envelope(b"alice", A.encode(), b"desk", C.encode())
    fields = (Field(FieldType.SUBSCRIPTION_ID, b"s"), Field(FieldType.DURATION, (600).to_bytes(4, "big")))
    return Record(RecordType.SUBSCRIBE, 0x80, 110, number, number.to_bytes(16, "big"), envelope, fields)


def opened(peer: XmppPeer, own: str, other: str) -> None:
    """Negotiate and prove nothing."""
    peer.open(own, other)
