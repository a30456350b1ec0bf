"""The laboratory of XMPP: two servers by others in namespaces of their own, and what every name leads to.

| namespace | holds | addresses |
| --- | --- | --- |
| n | the public DNS: a name server of all zones, a resolver that asks it; the clients | 192.0.2.53, .54 |
| p | Prosody; its place for a router, whose inside is 10.0.0.9; its resolver | 192.0.2.67; .66, .68 |
| e | ejabberd; the same | 192.0.2.83; .82 |

Each server has three hosts a role, one for each way in which servers prove themselves, so that one start of
each server carries all of them. Names below `free.example` lead to the servers themselves; all others of a
server's hosts lead to the router before it. Some more stand for one way between the two each: see `Side`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from imxrouter.discovery.records import Target, imx_record
from tests.interop.edge.authority import Authorities
from tests.interop.edge.clients import Clients
from tests.interop.edge.ejabberd import Ejabberd
from tests.interop.edge.insides import RESOLVER as DIVERTING
from tests.interop.edge.insides import DivertingResolver, InsideRouter
from tests.interop.edge.log import Log
from tests.interop.edge.names import DIRECT_TLS_PORT, Mode, Side
from tests.interop.edge.prosody import Prosody
from tests.interop.nameservers import authoritative, resolver
from tests.interop.netlab import Network, Place, Program, program, run, wait_until

ServerName = Literal["prosody", "ejabberd"]

#: Where the public DNS answers: what has the zones, and what looks up names for everybody.
NAME_SERVER: Final = "192.0.2.53"
RESOLVER: Final = "192.0.2.54"

PROSODY: Final = Side("p", server="192.0.2.67", router="192.0.2.66", second="192.0.2.68")
#: A router far from both, whose own users they reach as those of any other server.
ROUTER: Final = Side("r", server="", router=RESOLVER)
EJABBERD: Final = Side("e", server="192.0.2.83", router="192.0.2.82")
#: A router that is the gateway of both, and is found by IMX for the hosts that have it.
GATE: Final = Side("g", server="", router=NAME_SERVER)


@dataclass(slots=True)
class Edge:
    """The laboratory, with both servers running.

    Attributes:
        where: its files.
        places: the namespaces, by their letter.
        authorities: who issues certificates.
        prosody: the one server.
        ejabberd: the other.
        clients: users of both.
        insides: what stands before each server, by its letter.
        users: number of users made so far; each test has its own, with lists of their own.
        began: where the logs ended when the test began.
    """

    where: Path
    places: dict[str, Place]
    authorities: Authorities
    prosody: Prosody
    ejabberd: Ejabberd
    clients: Clients
    insides: dict[str, InsideRouter]
    users: int = 0
    began: dict[Log, int] = field(default_factory=dict)

    def note(self) -> None:
        """Note where the logs end: what comes is of the next test."""
        self.began = {log: log.end for log in (self.prosody.log, self.ejabberd.log)}

    def fresh(self, name: str, host: str) -> str:
        """Register a user whom nobody has known before on one of the servers' hosts; returns the address."""
        self.users += 1
        user = f"{name}{self.users}"
        server = self.server_of(host)
        server.register(user, host)
        return f"{user}@{host}"

    def server_of(self, host: str) -> Prosody | Ejabberd:
        """The server that has a host."""
        return self.prosody if host in PROSODY.hosts else self.ejabberd

    def close_streams(self) -> None:
        """End all streams between servers, so that the next stanza opens new ones."""
        self.prosody.close_streams()
        self.ejabberd.close_streams()


def edge(where: Path) -> Iterator[Edge]:
    """Build the laboratory; a generator for a fixture, which takes it down when it is resumed."""
    with Network("x") as network, ExitStack() as undo:
        places = {
            "n": network.add("n", [f"{NAME_SERVER}/24", f"{RESOLVER}/24"], RESOLVER),
            **{
                side.name: network.add(
                    side.name,
                    [f"{one}/24" for one in (side.server, side.router, side.second) if one],
                    DIVERTING,
                )
                for side in (PROSODY, EJABBERD)
            },
        }
        authorities = Authorities.made(where / "authorities")
        serve_names(places["n"], where / "dns", undo, zones())
        resolvers, insides = [], {}
        for side in (PROSODY, EJABBERD):
            name, place = side.name, places[side.name]
            others = {PROSODY.both: PROSODY.second} if side is EJABBERD else {}
            resolvers.append(DivertingResolver(side, place, where / f"resolver-{name}", RESOLVER, others))
            undo.callback(resolvers[-1].kill)
            insides[name] = InsideRouter(side, place, where / f"inside-{name}", authorities)
            undo.callback(insides[name].kill)
        for resolver_of_server in resolvers:  # a server that asks too early takes its resolver for dead
            resolver_of_server.ready()
        prosody = Prosody(PROSODY, places["p"], where / "prosody", authorities)
        ejabberd = Ejabberd(EJABBERD, places["e"], where / "ejabberd", authorities)
        for server in (prosody, ejabberd):  # they take their time: both at once
            undo.callback(server.kill)
            server.start()
        clients = Clients(places["n"], where)
        undo.callback(clients.kill)
        prosody.ready()
        ejabberd.ready()
        clients.ready()
        for inside in insides.values():
            inside.ready()
        yield Edge(where, places, authorities, prosody, ejabberd, clients, insides)


def zones() -> dict[str, str]:
    """The text of the public zone of all that has a name here."""
    records = []
    for side in (PROSODY, EJABBERD):
        for mode in Mode:
            records += host_records(side.free(mode), side.server)
            records += host_records(side.inside(mode), side.router)
        records += host_records(side.edge, side.router) + host_records(side.near, side.server) + _by_imx(side)
        records += _direct_records(side.direct, side.server)
        for host in side.bidi.values():
            records += host_records(host, side.server)
    for mode in Mode:
        records += host_records(ROUTER.free(mode), ROUTER.router)
    records += host_records(ROUTER.bidi[Mode.TLS], ROUTER.router)
    records += _leads_to(GATE, GATE.home, PROSODY.gated, EJABBERD.gated)
    # no operator is to do this: here strangers find the way to a gateway
    records += host_records(PROSODY.gateway, PROSODY.server)
    records += _direct_records(ROUTER.direct, ROUTER.router)
    head = ["$ORIGIN example.", "$TTL 1", "@ IN SOA ns hostmaster 1 7200 900 1209600 1", "@ IN NS ns"]
    return {"example": "\n".join([*head, f"ns IN A {NAME_SERVER}", *records]) + "\n"}


def host_records(host: str, address: str) -> list[str]:
    """Records of a host of a server, and its rooms, which are found by their address alone."""
    return [
        f"_xmpp-server._tcp.{host}. IN SRV 0 0 5269 to.{host}.",
        f"to.{host}. IN A {address}",
        f"conference.{host}. IN A {address}",
    ]


def _direct_records(host: str, address: str) -> list[str]:
    """Records of a host that is reached by TLS from the first byte, and in no other way.

    Nobody listens where the first two records lead; the third is met by who goes on.
    """
    return [
        f"_xmpps-server._tcp.{host}. IN SRV 1 9 {DIRECT_TLS_PORT + 1} to.{host}.",
        f"_xmpps-server._tcp.{host}. IN SRV 2 9 {DIRECT_TLS_PORT + 2} to.{host}.",
        f"_xmpps-server._tcp.{host}. IN SRV 3 0 {DIRECT_TLS_PORT} to.{host}.",
        f"to.{host}. IN A {address}",
    ]


def _by_imx(side: Side) -> list[str]:
    """What is reached by IMX alone: a host and its rooms, and the domain of the router's own users."""
    return _leads_to(side, side.imx, f"conference.{side.imx}", side.home)


def _leads_to(side: Side, *names: str) -> list[str]:
    """Records that lead to a router, by IMX."""
    router = f"router.{side.name}.example"
    record = imx_record(Target(router, tls="required")).to_generic_text()
    return [f"{router}. IN A {side.router}", *(f"{name}. IN TYPE65400 {record}" for name in names)]


def serve_names(place: Place, folder: Path, undo: ExitStack, zones: dict[str, str]) -> None:
    """Start the public DNS with these zones and wait until it answers."""
    folder.mkdir()
    for command in (
        authoritative("nsd", folder, zones, [(NAME_SERVER, 53)]),
        resolver(folder, RESOLVER, {"example": [NAME_SERVER]}, allow="192.0.2.0/24"),
    ):
        name = Path(command[0]).name
        server = Program(name, place.command(*command), folder / f"{name}.log")
        undo.callback(server.kill)
    ask = [program("dig"), "+short", "+tries=1", "+time=1", f"@{RESOLVER}", "ns.example", "A"]
    wait_until(
        lambda: run(*place.command(*ask), check=False).stdout.strip() == NAME_SERVER, "the public DNS answers"
    )
