"""Routers that take XMPP streams, and servers of others, for attacks on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imxrouter.gateways.xmpp.names import Condition
from imxrouter.link.machine import Side
from imxrouter.model.address import Address
from tests.doubles.raw_peer import Endpoint
from tests.doubles.router_rig import Lab, RouterRig, free_port, fresh_address
from tests.doubles.xmpp import XmppPeer
from tests.doubles.xmpp_server import Conduct, XmppServer


def xmpp_router(
    lab: Lab,
    *domains: str,
    tls: str = "offered",
    certificates: Sequence[Sequence[str]] | None = None,
    **more: Any,
) -> tuple[RouterRig, Endpoint]:
    """A router that takes streams of others, and where."""
    ip = fresh_address()
    endpoint = (ip, free_port(ip))
    settings = {"xmpp.listen": [f"{ip}:{endpoint[1]}"], "xmpp.tls": tls, "trust.xmpp_default": "dialback"}
    rig = lab.router(
        *domains, endpoint=(ip, free_port(ip)), certificates=certificates,
        settings={**settings, **more.pop("settings", {})}, **more,
    )  # fmt: skip
    return rig, endpoint


def publish_xmpp(lab: Lab, domain: str, endpoint: Endpoint) -> None:
    """Let a domain's DNS lead to an XMPP server."""
    ip, port = endpoint
    lab.zones.load(f"$ORIGIN {domain}.\n_xmpp-server._tcp 60 IN SRV 1 1 {port} xmpp1\nxmpp1 60 IN A {ip}\n")


def a_server(lab: Lab, domain: str, conduct: Conduct | None = None) -> XmppServer:
    """A server to which the domain's DNS leads; use as a context manager."""
    server = XmppServer(domain, fresh_address(), conduct)
    publish_xmpp(lab, domain, server.endpoint)
    return server


def a_proved_stream(server: XmppServer, to: Endpoint, domain: str) -> XmppPeer:
    """A stream on which the server's domain is proved by dial-back."""
    peer = server.connect(to)
    peer.open(server.domain, domain)
    peer.claim(server.domain, domain, server.secret)
    assert peer.result() == "valid"
    return peer


def wait_for_message(lab: Lab, rig: RouterRig, user: str) -> None:
    """Wait until a user of the router's own has received something."""
    address = Address.parse(user)

    def came() -> object:
        service = rig.router.embedded_for(address)
        return service is not None and service.inbox(address)

    lab.wait_until(came, f"a message for {user}")


def wait_for_the_end(lab: Lab, rig: RouterRig) -> None:
    """Wait until no connection of others to the router is left."""

    def gone() -> bool:
        return all(one.side is Side.OPENER for one in rig.router.hub.sessions.values())

    lab.wait_until(gone, "the streams are gone")


def refused(peer: XmppPeer, rig: RouterRig, condition: Condition, times: int = 1) -> None:
    """The stream ends with this error, which is counted, and no other is; so for the so-many-th time."""
    assert peer.error() is condition
    errors = rig.call(lambda: dict(rig.router.metrics.xmpp.errors))
    assert errors == {(condition.value, "sent"): times}


def refused_if(guarded: bool, peer: XmppPeer, rig: RouterRig, condition: Condition) -> None:
    """With its check made, the stream ends with this error; without it, it goes on."""
    if guarded:
        refused(peer, rig, condition)
    else:
        peer.expect("features")
