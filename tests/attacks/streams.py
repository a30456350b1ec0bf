"""A router of a laboratory that takes XMPP streams, and organisations that speak them by hand."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

from imxrouter.tls.own import OwnCertificate
from tests.doubles.raw_peer import PATIENCE_S, Endpoint
from tests.doubles.router_rig import Lab, RouterRig, free_port, fresh_address
from tests.doubles.xmpp import XmppPeer
from tests.doubles.xmpp_server import Conduct, XmppServer


class StreamRouter:
    """A router that takes streams beside links.

    Attributes:
        rig: the router.
        endpoint: where it takes them.
    """

    def __init__(
        self, lab: Lab, domain: str, *, policy: str, certificates: bool = True,
        settings: Mapping[str, object] | None = None,
    ) -> None:  # fmt: skip
        ip = fresh_address()
        self.endpoint: Endpoint = (ip, free_port(ip))
        own = {
            "trust.xmpp_default": policy, "xmpp.tls": "offered", "xmpp.listen": [f"{ip}:{self.endpoint[1]}"]
        }  # fmt: skip
        self.rig: RouterRig = lab.router(
            domain, settings={**own, **(settings or {})}, endpoint=(ip, free_port(ip)),
            certificates=[[domain]] if certificates else None,
        )  # fmt: skip

    def proved(self, domain: str) -> bool:
        """Whether a domain is proved on a stream that it opened."""
        return bool(self.rig.proved(domain))

    def errors(self) -> dict[tuple[str, str], int]:
        """Stream errors counted, by condition and direction."""
        return dict(self.rig.call(lambda: dict(self.rig.router.metrics.xmpp.errors)))

    def brings(self, peer: XmppPeer, domain: str) -> None:
        """Say something on a stream as a user of a domain, and see that it reaches one of ours."""
        sender, recipient = f"alice@{domain}", f"bob@{self.rig.domains[0]}"
        peer.send(f"<message from='{sender}' to='{recipient}' id='1'><body>it is me</body></message>")
        until = monotonic() + PATIENCE_S
        while (sender, "it is me") not in self.rig.inbox(recipient):
            assert monotonic() < until, f"{self.rig.inbox(recipient)}; {peer.log}"


def server(lab: Lab, domain: str, **conduct: Any) -> XmppServer:
    """An honest server of a domain, to which its DNS leads; a context manager."""
    made = XmppServer(domain, fresh_address(), Conduct(**conduct))
    ip, port = made.endpoint
    lab.zones.load(f"$ORIGIN {domain}.\n_xmpp-server._tcp 60 IN SRV 0 0 {port} xmpp\nxmpp 60 IN A {ip}\n")
    return made


def mallory(
    to: StreamRouter, says: str, certificate: OwnCertificate | None = None, *, tls: bool = True, at: str = ""
) -> XmppPeer:
    """Mallory opens a stream with this domain in its header, in TLS unless he does not want to."""
    peer = XmppPeer.connect(to.endpoint, at or fresh_address())
    other = to.rig.domains[0]
    peer.greet(says, other)
    if tls:
        peer.start_tls(other, certificate)
        peer.greet(says, other)
    return peer
