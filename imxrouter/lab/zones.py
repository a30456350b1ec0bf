"""Zones that answer questions: what a small authoritative name server knows, without the sockets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.node
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone

from imxrouter.discovery import rdata
from imxrouter.model.errors import RouterError

#: CNAMEs followed inside our own zones for one answer.
_MAX_CNAMES = 8

#: Without EDNS an answer over UDP has at most so many octets (RFC 1035 section 4.2.1).
_PLAIN_UDP_OCTETS = 512

#: No answer over UDP is larger, whatever the asker takes; keeps it in one packet.
_MAX_UDP_OCTETS = 1232

#: Questions remembered for whoever watches.
_MAX_ASKED = 1_000

_SOA = "@ 300 IN SOA ns hostmaster 1 3600 600 86400 60"


class BadZone(RouterError):
    """The text is no zone."""


@dataclass
class ZoneBook:
    """Zones by origin.

    Attributes:
        servfail: names (and all below them) that are answered with SERVFAIL.
        silent: names (and all below them) that are not answered.
        asked: questions in the order they came, as `NAME TYPE`, at most the last 1,000.
    """

    servfail: set[dns.name.Name] = field(default_factory=set)
    silent: set[dns.name.Name] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    _zones: dict[dns.name.Name, dns.zone.Zone] = field(default_factory=dict)

    def load(self, text: str, origin: str | None = None) -> dns.name.Name:
        """Add or replace a zone; return its origin.

        The origin is the argument, else the text's `$ORIGIN`. A zone without SOA gets one.

        Raises:
            BadZone: the text is no zone.
        """
        rdata.register()
        try:
            name = dns.name.from_text(origin) if origin else _origin_of(text)
            body = text if " SOA " in text.replace("\t", " ") else f"$ORIGIN {name}\n{_SOA}\n{text}"
            zone = dns.zone.from_text(body, origin=name, relativize=False, check_origin=False)
        except (dns.exception.DNSException, ValueError) as error:
            raise BadZone(f"not a zone: {error}") from None
        self._zones[name] = zone
        return name

    def origins(self) -> list[str]:
        """Return the names of the zones."""
        return [origin.to_text(omit_final_dot=True) for origin in self._zones]

    def answer(self, query: dns.message.Message) -> dns.message.Message | None:
        """Return the response to a query; None where it is left without one."""
        response = dns.message.make_response(query)
        if len(query.question) != 1:
            response.set_rcode(dns.rcode.FORMERR)
            return response
        name, rdtype = query.question[0].name, query.question[0].rdtype
        self.asked.append(f"{name.to_text(omit_final_dot=True)} {dns.rdatatype.to_text(rdtype)}")
        del self.asked[:-_MAX_ASKED]
        if _is_below(name, self.silent):
            return None
        if _is_below(name, self.servfail):
            response.set_rcode(dns.rcode.SERVFAIL)
            return response
        self._fill(response, name, rdtype)
        return response

    def _fill(
        self, response: dns.message.Message, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
    ) -> None:
        for _ in range(_MAX_CNAMES):
            zone = self._zone_of(name)
            if zone is None:
                if not response.answer:
                    response.set_rcode(dns.rcode.REFUSED)
                return
            response.flags |= dns.flags.AA
            node = zone.get_node(name)
            found = _rrset(node, name, rdtype)
            if found is not None:
                response.answer.append(found)
                return
            alias = _rrset(node, name, dns.rdatatype.CNAME)
            if alias is None:
                self._negative(response, zone, name, exists=node is not None)
                return
            response.answer.append(alias)
            name = alias[0].target

    def _negative(
        self, response: dns.message.Message, zone: dns.zone.Zone, name: dns.name.Name, *, exists: bool
    ) -> None:
        """NODATA where the name exists or something stands below it (RFC 8020), else NXDOMAIN."""
        if not exists and not any(held.is_subdomain(name) for held in zone.nodes):
            response.set_rcode(dns.rcode.NXDOMAIN)
        origin = zone.origin or dns.name.root
        soa = _rrset(zone.get_node(origin), origin, dns.rdatatype.SOA)
        if soa is not None:
            response.authority.append(soa)

    def _zone_of(self, name: dns.name.Name) -> dns.zone.Zone | None:
        while True:
            if name in self._zones:
                return self._zones[name]
            if name == dns.name.root:
                return None
            name = name.parent()


def respond(book: ZoneBook, wire: bytes, *, over_tcp: bool) -> bytes | None:
    """Return the answer to a message as octets; None where none is given. Never raises for what comes in."""
    try:
        query = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError):
        return None
    if query.flags & dns.flags.QR:
        return None
    response = book.answer(query)
    if response is None:
        return None
    if over_tcp:
        return response.to_wire(max_size=65535)
    taken = query.payload if query.edns >= 0 else 0
    size = min(max(taken, _PLAIN_UDP_OCTETS), _MAX_UDP_OCTETS)
    try:
        return response.to_wire(max_size=size)
    except dns.exception.TooBig:
        short = dns.message.make_response(query)
        short.flags |= dns.flags.TC
        return short.to_wire()


def _rrset(
    node: dns.node.Node | None, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> dns.rrset.RRset | None:
    if node is None:
        return None
    rdataset = node.get_rdataset(1, rdtype)  # type: ignore[arg-type]  # class IN
    return dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset)) if rdataset else None


def _origin_of(text: str) -> dns.name.Name:
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].upper() == "$ORIGIN":
            return dns.name.from_text(words[1])
    raise BadZone("no $ORIGIN line and no origin given")


def _is_below(name: dns.name.Name, tops: Iterable[dns.name.Name]) -> bool:
    return any(name.is_subdomain(top) for top in tops)
