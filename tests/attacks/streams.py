"""A router of a laboratory that takes XMPP streams, and organisations that speak them by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

from imxrouter.app.trust.stream_trust import stream_trust
from imxrouter.app.xmpp import StreamRules
from imxrouter.gateways.xmpp.acks import PingDroppers
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.steps import StreamRole
from imxrouter.gateways.xmpp.streams.dialer import StreamDialer
from imxrouter.gateways.xmpp.streams.listener import StreamFactory
from imxrouter.gateways.xmpp.streams.parts import StreamLink, StreamParts
from imxrouter.gateways.xmpp.streams.session import XmppSession
from imxrouter.routing.choice import Protocol
from imxrouter.tls.own import OwnCertificate
from imxrouter.transport.dialing import Reach
from imxrouter.transport.link import Door, Link, Purpose
from tests.doubles.raw_peer import Endpoint
from tests.doubles.router_rig import Lab, RouterRig, fresh_address
from tests.doubles.xmpp import XmppPeer
from tests.doubles.xmpp_server import Conduct, XmppServer


class NoEdge:
    """Takes stanzas and routes none: what is attacked here is who may bring them."""

    def __init__(self) -> None:
        self.brought: list[StanzaIn] = []

    def records_of(self, session: StreamLink, stanzas: Sequence[StanzaIn]) -> bytes:
        """Keep them."""
        del session
        self.brought += stanzas
        return b""


class StreamRouter:
    """A router that takes streams beside links.

    Attributes:
        rig: the router.
        endpoint: where it takes them.
        edge: what came.
    """

    def __init__(self, lab: Lab, domain: str, *, policy: str, certificates: bool = True,
        settings: Mapping[str, object] | None = None,
    ) -> None:  # fmt: skip
        settings = {"trust.xmpp_default": policy, "xmpp.tls": "offered", **(settings or {})}
        self.rig: RouterRig = lab.router(
            domain, settings=settings, certificates=[[domain]] if certificates else None
        )
        self._lab, self.edge = lab, NoEdge()
        self.endpoint: Endpoint = self.rig.call(self._listen)

    def _listen(self) -> Endpoint:
        reactor, router = self._lab.thread.reactor, self.rig.router
        rules = StreamRules(
            router.hub, router.xmpp_strengths, lambda: router.config, PingDroppers(),
            router.gatekeeper.shuts_out,
        )  # fmt: skip
        parts = StreamParts(
            cast("Any", self.edge), cast("Any", None), None, rules.terms, reactor.callLater,
            maker=router.dialer.maker,
        )  # fmt: skip

        def second(own: str, other: str) -> Link:
            made = XmppSession(
                router.hub, StreamRole.S2S_OUT, parts, purpose=Purpose.VERIFY, own=own, other=other
            )
            return cast("Link", made)

        trust = stream_trust(router, second, lambda then: reactor.callLater(0, then))
        parts.trust, parts.tongue = trust, trust.tongue
        dialer = StreamDialer(
            reactor, router.xmpp_strengths, router.dialer.reach, lambda: router.dialer.maker
        )
        router.verifier.dialers[Protocol.XMPP] = dialer
        router.reaches[Protocol.XMPP] = Reach(
            dialer, lambda own, peer: second(str(own), peer.name), shares=False
        )
        factory = StreamFactory(router.hub, parts, Door.XMPP)
        port = reactor.listenTCP(0, factory, interface=self.rig.ip)
        return (self.rig.ip, port.getHost().port)

    def proved(self, domain: str) -> bool:
        """Whether a domain is proved on a stream."""
        return bool(self.rig.proved(domain))


def server(lab: Lab, domain: str, **conduct: Any) -> AbstractContextManager[XmppServer]:
    """An honest server of a domain, to which its DNS leads."""
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
