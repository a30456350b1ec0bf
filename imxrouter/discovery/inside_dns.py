"""What a resolver is told so that a server takes this router for every outside domain.

The server asks that resolver alone. For every name but those of its own it is answered with the address of
the router's inside listener; then no outside domain stands in any file of the server.

Facts that shape the texts. unbound (`local-zone`), BIND (response policy zones) and dnsmasq (`/domain/`)
match by the end of a name, so they cannot say "every `_xmpp-server._tcp`": they divert everything but what is
passed. Knot Resolver matches by a pattern and diverts those names alone. dnsmasq has no SRV record for every
name: a server then takes the address of the domain itself, at port 5269 (RFC 6120 section 3.2.2). An address
of the other family is answered with "no data": an error would end the server's search.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from imxrouter.model.errors import RouterError
from imxrouter.model.resolvers import ResolverName

#: The port of servers where no SRV record names another (RFC 6120 section 3.2.2).
FALLBACK_PORT: Final = 5269

#: A change of the inside listener's address is followed within a minute.
TTL_S: Final = 60

#: The name that diverted SRV records lead to; `.inside` is nobody's.
_TARGET: Final = "router.inside."

#: A wire-form name of one label is its length, then its letters.
_TARGET_WIRE: Final = r"\006router\006inside\000"


class CannotDivert(RouterError):
    """A resolver cannot do what was asked of it; says why, and what to do."""

    def __init__(self, what: str, do: str) -> None:
        super().__init__(f"{what}; {do}")
        self.what = what
        self.do = do


@dataclass(frozen=True, slots=True)
class Diversion:
    """What is to be led where.

    Attributes:
        addresses: of the router's inside listener, IPv4 or IPv6.
        port: of that listener.
        own: domains that the server itself serves; they and what is below them are answered as published.
        passes: further domains that are answered as published.
        upstreams: address and port of the resolvers that know what is published; empty: the resolver asks the
            root by itself.
        listen: the address at whose port 53 the resolver answers.
        clients: networks that may ask it, besides its own host.
    """

    addresses: tuple[str, ...]
    port: int
    own: tuple[str, ...]
    passes: tuple[str, ...] = ()
    upstreams: tuple[tuple[str, int], ...] = ()
    listen: str = "127.0.0.54"
    clients: tuple[str, ...] = ()

    @property
    def published(self) -> tuple[str, ...]:
        """All domains that are answered as published, each once."""
        return tuple(dict.fromkeys((*self.own, *self.passes)))

    @property
    def records(self) -> list[tuple[str, str]]:
        """Type and address of each of the router's addresses."""
        return [("AAAA" if ":" in address else "A", address) for address in self.addresses]


@dataclass(frozen=True, slots=True)
class ResolverFile:
    """A file for a resolver.

    Attributes:
        path: where it usually stands.
        text: what it holds.
    """

    path: str
    text: str


def resolver_file(resolver: ResolverName, diversion: Diversion) -> ResolverFile:
    """Return the file that makes a resolver divert.

    Raises:
        CannotDivert: dnsmasq is asked for another port than 5269, or has nobody to ask.
    """
    path, comment, check, write = _WRITERS[resolver]
    head = [
        f"Put this into {path}; {check}",
        "For the XMPP server alone: the other programs of its host must not ask here.",
        f"Every domain but {', '.join(diversion.published) or 'none'} leads to this router.",
    ]
    lines = [f"{comment} {line}" for line in head] + write(diversion)
    return ResolverFile(path, "\n".join(lines) + "\n")


def _unbound(to: Diversion) -> list[str]:
    lines = ["server:", f"    interface: {to.listen}"]
    lines += [f"    access-control: {network} allow" for network in to.clients]
    lines += ['    module-config: "iterator"  # what is made up here cannot be validated']
    if any(_is_loopback(address) for address, _ in to.upstreams):
        lines.append("    do-not-query-localhost: no")
    lines.append('    local-zone: "." redirect')
    lines += [f'    local-data: ". {TTL_S} IN {kind} {address}"' for kind, address in to.records]
    lines.append(f'    local-data: ". {TTL_S} IN SRV 0 0 {to.port} {_TARGET}"')
    lines += [f'    local-zone: "{domain}." transparent' for domain in to.published]
    if to.upstreams:
        lines += ["forward-zone:", '    name: "."']
        lines += [f"    forward-addr: {address}@{port}" for address, port in to.upstreams]
    return lines


def _dnsmasq(to: Diversion) -> list[str]:
    if to.port != FALLBACK_PORT:
        what = f"dnsmasq has no SRV record for every name, and the inside listener is at port {to.port}"
        raise CannotDivert(what, f"listen at port {FALLBACK_PORT}, or choose another resolver")
    if not to.upstreams:
        raise CannotDivert("dnsmasq asks other resolvers only", "name one: --upstream ADDRESS")
    lines = ["port=53", f"listen-address={to.listen}", "bind-interfaces", "no-resolv", "no-hosts"]
    lines += [f"address=/#/{address}" for address in to.addresses]
    lines.append("local=/#/")
    lines += [
        f"server=/{domain}/{address}#{port}" for domain in to.published for address, port in to.upstreams
    ]
    return lines


def _kresd(to: Diversion) -> list[str]:
    ask = ", ".join(f"'{address}@{port}'" for address, port in to.upstreams)
    as_published = f"policy.STUB({{{ask}}})" if ask else "policy.PASS"
    port = "".join(f"\\{byte:03d}" for byte in to.port.to_bytes(2, "big"))
    srv = f"{{[kres.type.SRV] = {{ rdata = '\\000\\000\\000\\000{port}{_TARGET_WIRE}', ttl = {TTL_S} }}}}"
    found = ", ".join(
        f"[kres.type.{kind}] = {{ rdata = kres.str2ip('{address}'), ttl = {TTL_S} }}"
        for kind, address in to.records
    )
    lines = [
        f"net.listen('{to.listen}', 53, {{ kind = 'dns' }})",
        "modules = { 'policy' }",
    ]
    if to.published:
        domains = ", ".join(f"'{domain}.'" for domain in to.published)
        lines.append(f"policy.add(policy.suffix({as_published}, policy.todnames({{ {domains} }})))")
    lines += [
        "-- names as they are on the wire: each label after its length",
        f"policy.add(policy.pattern(policy.ANSWER({srv}, true), '^\\012_xmpp%-server\\004_tcp'))",
        "-- no TLS from the first byte on inside: one way in is enough",
        "policy.add(policy.pattern(policy.ANSWER({}, true), '^\\013_xmpps%-server\\004_tcp'))",
        f"policy.add(policy.domains(policy.ANSWER({{{found}}}, true), policy.todnames({{ '{_TARGET}' }})))",
    ]
    if ask:
        lines.append(f"policy.add(policy.all({as_published}))")
    return lines


def _rpz(to: Diversion) -> list[str]:
    clients = "".join(f" {network};" for network in to.clients)
    forward = "".join(f" {address} port {port};" for address, port in to.upstreams)
    options = [
        f"listen-on {{ {'none' if ':' in to.listen else to.listen}; }};",
        f"listen-on-v6 {{ {to.listen if ':' in to.listen else 'none'}; }};",
        f"recursion yes; allow-query {{ localhost;{clients} }};",
        # what is made up here cannot be validated; without the second line a look-up that fails wins
        "dnssec-validation no; empty-zones-enable no;",
        'response-policy { zone "inside.rpz"; } qname-wait-recurse no break-dnssec yes;',
        *([f"forwarders {{{forward} }}; forward only;"] if forward else []),
    ]
    named = ["options {", *(f"    {line}" for line in options), "};"]
    named.append('zone "inside.rpz" { type primary; file "inside.rpz.zone"; allow-query { none; }; };')
    lines = ["; In named.conf:", *(f";   {line}" for line in named)]
    lines += [
        f"$TTL {TTL_S}",
        "@ IN SOA localhost. root.localhost. 1 3600 600 86400 60",
        "@ IN NS localhost.",
    ]
    for domain in to.published:
        lines += [f"{domain} CNAME rpz-passthru.", f"*.{domain} CNAME rpz-passthru."]
    diverted = [*to.records, ("SRV", f"0 0 {to.port} {_TARGET}")]
    owners = ["*"] + [owner for zone in _above(to.published) for owner in (zone, f"*.{zone}")]
    return lines + [f"{owner} IN {kind} {data}" for owner in owners for kind, data in diverted]


def _above(domains: tuple[str, ...]) -> list[str]:
    """The zones above domains, as far as they are not passed themselves.

    They exist in a zone that names what is below them, so the wildcard of all names does not reach the others
    there (RFC 4592 section 2.2.1): with `a.example` passed, `b.example` would be answered as published.
    """
    found = {}
    for domain in domains:
        labels = domain.split(".")
        zones = [".".join(labels[n:]) for n in range(len(labels))]
        if not any(zone in domains for zone in zones[1:]):
            found.update(dict.fromkeys(zones[1:]))
    return sorted(found)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


#: Resolver -> the usual place of its file, how a comment begins, how the file is checked, what writes it.
_WRITERS: Final[Mapping[ResolverName, tuple[str, str, str, Callable[[Diversion], list[str]]]]] = {
    "unbound": (
        "/etc/unbound/unbound.conf.d/xmpp-inside.conf",
        "#",
        "`unbound-checkconf` checks it.",
        _unbound,
    ),
    "dnsmasq": ("/etc/dnsmasq.d/xmpp-inside.conf", "#", "`dnsmasq --test` checks it.", _dnsmasq),
    "kresd": ("/etc/knot-resolver/kresd.conf", "--", "`kresd -c FILE` says what is wrong.", _kresd),
    "rpz": ("/var/cache/bind/inside.rpz.zone", ";", "`named-checkconf -z` checks it.", _rpz),
}
