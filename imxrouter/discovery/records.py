"""What discovery yields, and what a domain publishes to be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from imxrouter.discovery.imxrr import ImxRecord, SrvRecord
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.ports import DEFAULT_IMX_PORT

#: TTL of the records written by `zone_text`: a change of routers is seen within an hour, which is also the
#: longest that this router keeps an answer.
ZONE_TTL_S = 3600


#: Labels of the SRV records of XMPP, and how a connection to their targets becomes TLS (XEP-0368 section 3).
XMPP_LABELS: Final = (("_xmpps-server._tcp", "direct"), ("_xmpp-server._tcp", "starttls"))


class Form(Enum):
    """The form in which a domain publishes its routers, from the first asked for to the last, by protocol."""

    IMX = "imx"
    SVCB = "svcb"
    SRV = "srv"
    XMPP_SRV = "xmpp-srv"
    #: The domain is itself a host: a guess, not something that it publishes.
    XMPP_ADDRESS = "xmpp-address"


@dataclass(frozen=True, slots=True)
class Target:
    """One router of a domain.

    Attributes:
        host: its name, lower-case A-labels without trailing dot.
        port: its TCP port.
        priority: lower is tried first.
        weight: share among equals, SRV only; 0 elsewhere.
        tls: `required`, `optional`, `none`, or None where the record says nothing (policy decides); of an
            XMPP server `direct` or `starttls`, which says how TLS begins, not whether.
        auth: methods it offers, or None where the record says nothing.
        versions: protocol versions it speaks; empty where the record says nothing.
        way: what DNSSEC says of the way to it, once that was asked; None before, and of what is configured.
    """

    host: str
    port: int = DEFAULT_IMX_PORT
    priority: int = 1
    weight: int = 0
    tls: str | None = None
    auth: frozenset[str] | None = None
    versions: tuple[int, ...] = ()
    way: Delegation | None = None


def imx_record(target: Target) -> ImxRecord:
    """Return the record that publishes a target.

    Raises:
        BadDnsRecord: a value is outside its range; priority 0 is for aliases.
    """
    return ImxRecord.make(
        max(target.priority, 1),
        target.host,
        port=target.port,
        tls=target.tls,
        auth=target.auth,
        versions=target.versions or None,
    )


def zone_text(domain: Domain, targets: tuple[Target, ...], *, ttl_s: int = ZONE_TTL_S) -> str:
    """Return what to publish for a domain: all three forms, loadable by BIND, Knot and NSD.

    The IMX record stands in the generic form of RFC 3597, with its readable form as a comment. No target
    gives the records that say "no service".

    Raises:
        BadDnsRecord: a target cannot be published.
    """
    records = [imx_record(target) for target in targets] or [ImxRecord(0, "")]
    services = [srv_record(target) for target in targets] or [SrvRecord(0, 0, 0, "")]
    name = domain.name
    lines = [f"; instant messaging (IMX) for {domain.display}: paste into the zone that holds {name}", ""]
    lines.append("; 1. The IMX record. The number is private until one is assigned, hence the generic form.")
    for record in records:
        lines.append(f"; {name}. IN IMX {record.to_text()}")
        lines.append(f"{name}. {ttl_s} IN TYPE65400 {record.to_generic_text()}")
    lines += ["", "; 2. The same as SVCB, for DNS hosts that take no private types."]
    lines += [f"_imx.{name}. {ttl_s} IN SVCB {record.to_text()}" for record in records]
    lines += ["", "; 3. SRV, for software that knows nothing newer."]
    lines += [
        f"{label}.{name}. {ttl_s} IN SRV {service.to_text()}"
        for label in ("_im._imx", "_pres._imx", "_imx._tcp")
        for service in services
    ]
    return "\n".join(lines) + "\n"


def xmpp_lines(
    domain: Domain, targets: Sequence[Target], *, published: bool, ttl_s: int = ZONE_TTL_S
) -> list[str]:
    """Return what to publish for a domain of which XMPP is spoken here, as lines of a zone file.

    Args:
        domain: whose records.
        targets: its servers; `tls` says how TLS begins there.
        published: the domain is to be found by XMPP; else its record says that it is not, which also keeps
            servers from trying its address (XEP-0368 section 3, RFC 6120 section 3.2.2).
        ttl_s: TTL of the records.

    Raises:
        BadDnsRecord: a target cannot be published.
    """
    if not published or not targets:
        return [f"_xmpp-server._tcp.{domain.name}. {ttl_s} IN SRV {SrvRecord(0, 0, 0, '').to_text()}"]
    return [
        f"{label}.{domain.name}. {ttl_s} IN SRV {srv_record(target).to_text()}"
        for label, tls in XMPP_LABELS
        for target in targets
        if target.tls == tls
    ]


def srv_record(target: Target) -> SrvRecord:
    """Return the SRV record that publishes a target.

    Raises:
        BadDnsRecord: a value is outside its range.
    """
    service = SrvRecord(target.priority, target.weight, target.port, target.host)
    return SrvRecord.parse(service.to_wire())
