"""Signed zones on this machine: Knot DNS signs them, unbound validates from an anchor of our own.

| zone | is |
| --- | --- |
| `example` | signed; the anchor; holds the DS records of the signed ones |
| `customer.example` | signed; leads to `imx.hoster.example` by an alias |
| `hoster.example` | signed; its routers and their TLSA records |
| `astray.example` | signed; leads to a host in the unsigned zone |
| `peer.example` | signed; a router of its own |
| `plain.example` | not signed; leads to `imx.hoster.example`, and has a host of its own |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.zone

from imxrouter.discovery.answers import TYPE_IMX
from tests.doubles.router_rig import free_port
from tests.interop.nameservers import authoritative, signing, validator
from tests.interop.netlab import Program, wait_until

CHILDREN: Final = ("customer", "hoster", "astray", "peer")
HEAD: Final = (
    "$TTL 300\n@ IN SOA ns.example. hostmaster.example. 1 7200 900 1209600 60\n@ IN NS ns.example.\n"
)


def contents(
    tlsa: str, hoster: tuple[str, int] = ("127.0.0.1", 6490), peer: tuple[str, int] = ("127.0.0.1", 6490)
) -> dict[str, str]:
    """The zones below `example`, without their heads: what the owners publish.

    Args:
        tlsa: the data of the TLSA record of `r1.hoster.example`.
        hoster: address and port of the routers of the hoster.
        peer: address and port of the router of `peer.example`.
    """
    ip, port = hoster
    place = f"00030002{port:04X}"
    return {
        "customer": f"@ IN TYPE65400 {generic('0000' + wire('imx.hoster.example'))}\n",
        "hoster": f"imx IN TYPE65400 {generic('0001' + wire('r1.hoster.example') + place)}\n"
        f"imx IN TYPE65400 {generic('0002' + wire('r2.hoster.example') + place)}\n"
        f"r1 IN A {ip}\nr2 IN A {ip}\n"
        f"_{port}._tcp.r1 IN TLSA {tlsa}\n",
        "peer": f"_imx IN SVCB 1 im.peer.example. port={peer[1]}\nim IN A {peer[0]}\n",
        "astray": f"_imx IN SVCB 1 r.plain.example. port={port}\n",
        "plain": f"_imx IN SVCB 1 r1.hoster.example. port={port}\nr IN A 127.0.0.1\n"
        f"_{port}._tcp.r IN TLSA {tlsa}\n",
    }


def generic(octets: str) -> str:
    """RDATA in the generic form of RFC 3597."""
    return f"\\# {len(octets) // 2} {octets}"


def wire(name: str) -> str:
    """A name's octets, in hexadecimal digits."""
    return (dns.name.from_text(name).to_wire() or b"").hex().upper()


@dataclass
class Signed:
    """The zones, served; use as a context.

    Attributes:
        where: for files.
        bodies: the zones' contents, by their first label.
        ports: where each zone is served by whom signs it.
        anchor: the DNSKEY records of `example`.
    """

    where: Path
    bodies: Mapping[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    anchor: list[str] = field(default_factory=list)
    _undo: ExitStack = field(default_factory=ExitStack)
    _started: int = 0
    _resolvers: dict[int, Program] = field(default_factory=dict)

    def __enter__(self) -> Self:
        children = {f"{label}.example": HEAD + self.bodies[label] for label in CHILDREN}
        port = self.sign(children)
        self.ports = dict.fromkeys(children, port)
        self.ports["plain.example"] = self.serve({"plain.example": HEAD + self.bodies["plain"]})
        self.ports["example"] = self.sign({"example": self.parent({})})
        self.anchor = keys(self.ports["example"], "example")
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def parent(self, ds: Mapping[str, str]) -> str:
        """The text of `example`; `ds` gives other DS data than the right one, or none where it is empty."""
        lines = [HEAD + "ns IN A 127.0.0.1"]
        for label in (*CHILDREN, "plain"):
            lines.append(f"{label} IN NS ns.example.")
            given = {"plain": "", **ds}
            signer = given.get(label)
            if signer is None:
                signer = delegation_signer(self.ports[f"{label}.example"], label)
            if signer:
                lines.append(f"{label} IN DS {signer}")
        return "\n".join(lines) + "\n"

    def sign(self, zones: Mapping[str, str]) -> int:
        """Serve zones that Knot signs; returns the port."""
        port, folder = free_port("127.0.0.1"), self._folder()
        self._run(signing(folder, zones, port), folder)
        for zone in zones:
            wait_until(lambda zone=zone: keys(port, zone), f"{zone} is signed")  # type: ignore[misc]
        return port

    def serve(self, zones: Mapping[str, str]) -> int:
        """Serve zones as they are; returns the port."""
        port, folder = free_port("127.0.0.1"), self._folder()
        self._run(authoritative("knotd", folder, zones, [("127.0.0.1", port)]), folder)
        for zone in zones:
            wait_until(lambda zone=zone: asked(port, zone, "SOA").answer, f"{zone} is served")  # type: ignore[misc]
        return port

    def resolver(
        self,
        others: Mapping[str, int] | None = None,
        *,
        anchor: list[str] | None = None,
        date: str = "",
        port: int = 0,
    ) -> str:
        """Start a validating resolver; `others` are name servers in place of the right ones.

        With a port it takes the place of the one that was started there before.
        """
        if port in self._resolvers:
            self._resolvers[port].kill()
        port, folder = port or free_port("127.0.0.1"), self._folder()
        anchors = self.anchor if anchor is None else anchor
        command = validator(folder, port, {**self.ports, **(others or {})}, anchors, date=date)
        self._resolvers[port] = self._run(command, folder)
        wait_until(
            lambda: asked(port, "version.server", "TXT", "CH").flags & dns.flags.QR, "a resolver answers"
        )
        return f"127.0.0.1:{port}"

    def transferred(self, zone: str) -> str:
        """A signed zone as text, one record a line, by zone transfer; types as Knot DNS knows them."""
        transfer = dns.query.xfr("127.0.0.1", zone, port=self.ports[zone], relativize=False, lifetime=10)
        lines = []
        for name, ttl, rdata in dns.zone.from_xfr(transfer, relativize=False).iterate_rdatas():
            data = generic((rdata.to_wire() or b"").hex()) if rdata.rdtype == TYPE_IMX else rdata.to_text()
            lines.append(f"{name} {ttl} IN {dns.rdatatype.to_text(rdata.rdtype)} {data}\n")
        return re.sub(r"\bIMX\b", "TYPE65400", "".join(lines))

    def _folder(self) -> Path:
        self._started += 1
        folder = self.where / f"dns{self._started}"
        folder.mkdir()
        return folder

    def _run(self, command: list[str], folder: Path) -> Program:
        started = Program(Path(command[0]).name, command, folder / "log")
        self._undo.callback(started.kill)
        return started


def asked(port: int, name: str, rdtype: str, rdclass: str = "IN") -> dns.message.Message:
    """What a server on 127.0.0.1 says; an empty message where it says nothing."""
    query = dns.message.make_query(name, rdtype, rdclass, want_dnssec=True)
    try:
        return dns.query.udp(query, "127.0.0.1", 0.5, port=port)
    except (dns.exception.DNSException, OSError):
        return dns.message.Message()


def keys(port: int, zone: str) -> list[str]:
    """The DNSKEY records of a zone, in text; none where it is not signed yet."""
    answer = asked(port, zone, "DNSKEY").answer
    found = [rrset for rrset in answer if rrset.rdtype == dns.rdatatype.DNSKEY]
    return found[0].to_text().splitlines() if found else []


def delegation_signer(port: int, label: str) -> str:
    """The data of the DS record of a zone below `example`."""
    zone = dns.name.from_text(f"{label}.example")
    rrset = next(
        one for one in asked(port, f"{label}.example", "DNSKEY").answer if one.rdtype == dns.rdatatype.DNSKEY
    )
    return dns.dnssec.make_ds(zone, rrset[0], "SHA256").to_text()
