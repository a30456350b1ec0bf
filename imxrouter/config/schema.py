"""The whole configuration, as frozen values. `reference.py` turns these classes into the reference page."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from msgspec import field

from imxrouter.config.access import Access
from imxrouter.config.bounds import Limits, Overload
from imxrouter.config.fields import key
from imxrouter.config.net import HostPort
from imxrouter.config.quality import Objectives
from imxrouter.config.sections import (
    Admin,
    Caps,
    Dial,
    Dns,
    Drain,
    Links,
    Listen,
    Log,
    MetricsListen,
    Section,
)
from imxrouter.config.served import ServedDomain, Service
from imxrouter.config.tls import Tls
from imxrouter.config.trust import Dialback, PinnedPeer, PolicyName, Trust, Uplink, policy_for
from imxrouter.config.xmpp import Xmpp

__all__ = ["Config", "policy_for"]


class Config(Section, frozen=True):
    """The main file. Relative paths in it are relative to the directory it stands in."""

    name: Annotated[
        str,
        key(
            "This router's own name, a host name; shown to peers in hello and in logs.",
            min_length=1,
            example="router.a.example",
        ),
    ]
    role: Annotated[
        Literal["gateway", "aggregator"],
        key("`gateway`: in front of one service; `aggregator`: in front of many."),
    ] = "gateway"
    process: Annotated[
        int,
        key("Number of this process among those that share keys and port; differs on each.", ge=0, le=65535),
    ] = 0
    workers: Annotated[
        int,
        key(
            "Processes that share the port, this one included; it starts the others, one core each.",
            unit="processes",
            ge=1,
            le=64,
        ),
    ] = 1
    state_dir: Annotated[str, key("Directory for what must outlive a restart.", path=True, min_length=1)] = (
        "/var/lib/imxrouter"
    )
    run_dir: Annotated[str, key("Directory for sockets.", path=True, min_length=1)] = "/run/imxrouter"
    domains_dir: Annotated[
        str,
        key(
            "Directory whose `*.toml` files hold more [[domain]] tables; it need not exist. Empty: none.",
            path=True,
        ),
    ] = "domains.d"
    lab: Annotated[
        bool,
        key(
            "A laboratory: loopback may be dialled, and each step of a message is printed. Never on a "
            "public host."
        ),
    ] = False
    listen: Annotated[Listen, key("Where links are taken.")] = field(default_factory=Listen)
    admin: Annotated[Admin, key("The administration socket.")] = field(default_factory=Admin)
    metrics: Annotated[MetricsListen, key("Metrics and health.")] = field(default_factory=MetricsListen)
    dns: Annotated[Dns, key("Look-ups.")] = field(default_factory=Dns)
    dial: Annotated[Dial, key("Dialling and holding.")] = field(default_factory=Dial)
    links: Annotated[Links, key("Every link.")] = field(default_factory=Links)
    caps: Annotated[Caps, key("What strangers may cause.")] = field(default_factory=Caps)
    limits: Annotated[Limits, key("What may be sent, and received.")] = field(default_factory=Limits)
    overload: Annotated[Overload, key("What is left out when there is too much to do.")] = field(
        default_factory=Overload
    )
    access: Annotated[Access, key("Block and allow lists.")] = field(default_factory=Access)
    trust: Annotated[Trust, key("How strongly domains must be proved.")] = field(default_factory=Trust)
    tls: Annotated[Tls, key("Certificates, and whose are trusted.")] = field(default_factory=Tls)
    dialback: Annotated[Dialback, key("Dial-back keys.")] = field(default_factory=Dialback)
    drain: Annotated[Drain, key("Going out of service.")] = field(default_factory=Drain)
    qos: Annotated[Objectives, key("What is expected of every peer, unless its [[peer]] says otherwise.")] = (
        field(default_factory=Objectives)
    )
    log: Annotated[Log, key("Logs and traces.")] = field(default_factory=Log)
    xmpp: Annotated[Xmpp, key("XMPP.")] = field(default_factory=Xmpp)
    services: Annotated[tuple[Service, ...], key("Who answers for domains.")] = field(
        default=(), name="service"
    )
    domains: Annotated[tuple[ServedDomain, ...], key("Domains served here.")] = field(
        default=(), name="domain"
    )
    peers: Annotated[tuple[PinnedPeer, ...], key("Pinned peers.")] = field(default=(), name="peer")
    uplinks: Annotated[tuple[Uplink, ...], key("Our own aggregators.")] = field(default=(), name="uplink")

    @property
    def admin_socket(self) -> str:
        """Path of the administration socket of this process."""
        if self.admin.socket:
            return self.admin.socket
        return str(PurePath(self.run_dir) / (f"admin-{self.process}.sock" if self.process else "admin.sock"))

    @property
    def shares_port(self) -> bool:
        """Whether there are, or may be, several processes of this router on this host."""
        return self.workers > 1 or self.listen.reuse_port

    @property
    def takes_streams(self) -> bool:
        """Whether XMPP servers open streams to this router, from outside or behind it."""
        return bool(self.xmpp.listen or self.xmpp.listen_tls or self.xmpp.inside.listen)

    @property
    def takes_stanzas(self) -> bool:
        """Whether anybody opens streams to this router: servers, or bridges."""
        return self.takes_streams or bool(self.xmpp.components.listen)

    @property
    def taken_at(self) -> tuple[HostPort, ...]:
        """Where connections of others are taken, inside and outside: never dialled by ourselves."""
        xmpp = self.xmpp
        return (
            *self.listen.endpoints, *xmpp.endpoints, *xmpp.tls_endpoints, *xmpp.inside.endpoints,
            *xmpp.components.endpoints,
        )  # fmt: skip

    @property
    def policy_rules(self) -> dict[str, PolicyName]:
        """Domain or `*.zone` -> policy, pinned peers before [trust]; for `policy_for`."""
        rules: dict[str, PolicyName] = {
            entry.domain: entry.policy for entry in self.trust.peers if entry.policy is not None
        }
        rules.update({peer.domain: peer.policy for peer in self.peers if peer.policy is not None})
        return rules
