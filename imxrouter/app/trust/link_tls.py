"""TLS on links: which certificates are shown, which are trusted, put into the parts that ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from imxrouter.app.trust.targets import TargetDialer
from imxrouter.config.schema import Config
from imxrouter.config.trust import Uplink
from imxrouter.link.machine import Side
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.probe.encrypted import TlsProbe
from imxrouter.routing.choice import Protocol
from imxrouter.routing.policy import Decision, Level
from imxrouter.tls.anchors import anchors_from
from imxrouter.tls.contexts import TlsContexts
from imxrouter.tls.facts import TlsFacts
from imxrouter.tls.identity import Service
from imxrouter.tls.peer import Anchors, Intermediates, PeerCertificate
from imxrouter.tls.store import CertificateSet
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.encryption import HandshakeFailed
from imxrouter.transport.federation import Federation
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link
from imxrouter.transport.strengths import SERVICE_OF, Judged, Strengths, judge_certificate
from imxrouter.transport.tls_ends import TlsEnds
from imxrouter.transport.wanted import Wanted
from imxrouter.wire.control import Control, Hello

if TYPE_CHECKING:
    from imxrouter.app.trust.certificates import OwnCertificates


class LinkTls:
    """Ties the TLS room to the links. Without `use` there is no TLS: none is offered and none is opened.

    Args:
        hub: links of this process.
        strengths: decides what links are worth.
        xmpp_strengths: decides what XMPP streams are worth.
        dialer: opens links.
        claimer: proves our domains.
        federation: reaches remote domains.
        wall: seconds since 1970.

    Attributes:
        wall: the same.
    """

    def __init__(
        self,
        hub: Hub,
        strengths: Strengths,
        xmpp_strengths: Strengths,
        dialer: TargetDialer,
        claimer: Claimer,
        federation: Federation,
        wall: Callable[[], float],
    ) -> None:
        self._hub = hub
        self._strengths = strengths
        self._by_protocol = {one.protocol: one for one in (strengths, xmpp_strengths)}
        self._dialer = dialer
        self._claimer = claimer
        self.wall = wall
        self._anchors: Callable[[], Anchors] | None = None
        self.pinned: Mapping[str, Anchors] = {}
        self._uplinks: dict[str, Anchors] = {}
        self.ends: TlsEnds | None = None
        #: told of each certificate that was found good: the domain, and when it ends (seconds since 1970)
        self.on_good: Callable[[str, float], object] = lambda _domain, _ends: None
        federation.apart.has_certificate = self._has_certificate
        claimer.worth = self._worth
        claimer.worth_returned = self._worth_returned
        claimer.on_reached = self._reached
        hub.events.insert(0, self)  # before what dials again when a link is lost

    def follow(self, certificates: OwnCertificates, config: Config) -> None:
        """Show the certificates of the configured folder, whatever they are at each moment.

        Without a folder links of peers and to peers are in clear; one to our uplink may be in TLS.

        Raises:
            BadAnchors: the file of a pinned peer cannot be used.
        """
        self.pinned = pinned_anchors(config, certificates.intermediates)
        on_links = bool(config.tls.certificates)  # not in `take`, which would keep the whole configuration

        def take(contexts: TlsContexts) -> None:
            self.use(contexts, lambda: certificates.anchors, on_links=on_links)

        take(certificates.contexts)
        certificates.on_swapped.append(take)
        self._hub.first_bytes.clear = config.listen.tls != "only"

    def use(
        self,
        contexts: TlsContexts,
        anchors: Callable[[], Anchors],
        pinned: Mapping[str, Anchors] | None = None,
        *,
        on_links: bool = True,
    ) -> None:
        """Show these certificates and trust these authorities from now on.

        Args:
            contexts: with our certificates.
            anchors: whom to trust.
            pinned: whom to trust instead for single domains, by name; None: as before.
            on_links: whether there is TLS on links of peers; it is offered where there is a certificate.
        """
        self._anchors = anchors
        if pinned is not None:
            self.pinned = pinned
        if self.ends is None:
            self.ends = TlsEnds(contexts)
        self.ends.contexts = contexts
        self._dialer.maker = self.ends
        for strengths in self._by_protocol.values():
            strengths.judge = partial(self.judge, service=SERVICE_OF[strengths.protocol])
            strengths.tls = on_links
        self._hub.first_bytes.maker = self.ends if on_links and contexts.offers_tls else None
        self._claimer.best_level = Level.DIALBACK_CERTIFICATE if on_links else Level.DIALBACK

    @property
    def certificates(self) -> CertificateSet:
        """Those that are shown; none where there is no TLS."""
        return self.ends.contexts.certificates if self.ends is not None else CertificateSet()

    def judge(
        self, peer: PeerCertificate, domain: Domain, as_client: bool, way: Delegation | None = None,
        service: Service = Service.IMX,
    ) -> Judged:  # fmt: skip
        """Judge a peer's certificate for a domain: its chain, by the domain's anchors, names and DNSSEC."""
        anchors = self.pinned.get(domain.name)
        judged = self._judge_by(anchors, peer, domain, way, as_client=as_client, service=service)
        if judged.good:
            self.on_good(domain.name, peer.not_after)
        return judged

    def judge_own(
        self, shown: PeerCertificate, domain: Domain, way: Delegation, service: Service = Service.IMX
    ) -> Judged:
        """Judge a certificate of ours as a peer does who trusts whom we trust."""
        return self._judge_by(None, shown, domain, way, as_client=False, service=service)

    def _judge_by(
        self,
        anchors: Anchors | None,
        peer: PeerCertificate,
        domain: Domain,
        way: Delegation | None = None,
        *,
        as_client: bool,
        service: Service = Service.IMX,
    ) -> Judged:
        if anchors is None:
            if self._anchors is None:
                return Judged(False, "no authority is trusted")
            anchors = self._anchors()
        return judge_certificate(
            anchors, peer, domain, self.wall(), as_client=as_client, way=way, service=service
        )

    def why_not(self, peer: PeerCertificate, domain: Domain) -> str:
        """Why a client certificate is no good for a domain; empty where it is good."""
        judged = self.judge(peer, domain, True)
        return "" if judged.good else judged.note

    def uplink_opener(self, uplink: Uplink, own: Domain | None) -> Callable[[Link], Deferred[object]]:
        """What connects a link to our uplink, and judges who is there.

        Raises:
            BadAnchors: the uplink's file cannot be used.
        """
        name = Domain.parse(uplink.server_name) if uplink.server_name else None
        if name is not None and uplink.anchor:
            self._uplinks[name.name] = anchors_from((uplink.anchor,))

        def judge(facts: TlsFacts) -> None:
            why_not = self.why_not_uplink(uplink, facts)
            if why_not:
                raise HandshakeFailed(why_not, Reason.CERTIFICATE_REFUSED)

        def open_link(session: Link) -> Deferred[object]:
            server_name = name.name if name is not None else ""
            return self._dialer.open(session, uplink.endpoint, server_name, own, judge)

        return open_link

    def why_not_uplink(self, uplink: Uplink, facts: TlsFacts) -> str:
        """Why who is there is not our uplink; empty where it is, and where no name is asked for."""
        if not uplink.server_name:
            return ""
        anchors = self._uplinks.get(Domain.parse(uplink.server_name).name)
        return self.why_not_server(uplink.server_name, anchors, facts)

    def why_not_server(self, server_name: str, anchors: Anchors | None, facts: TlsFacts) -> str:
        """Why who is there is not a server that is configured; empty where it is.

        Args:
            server_name: the domain that its certificate must name.
            anchors: whom to trust for it; None: as for everybody.
            facts: of the handshake.
        """
        if facts.peer is None:
            return "no certificate was presented"
        judged = self._judge_by(anchors, facts.peer, Domain.parse(server_name), as_client=False)
        return "" if judged.good else judged.note

    def probe(self) -> TlsProbe | None:
        """How a check of this router speaks TLS: as its links do."""
        ends = self.ends
        if ends is None or not self._strengths.tls:
            return None
        return TlsProbe(
            lambda domain, target: Wanted(self._strengths, domain).in_tls(target),
            lambda name, endpoint, alpn: ends.opening(None, name, endpoint, alpn),
            partial(self._judge_probed, self._strengths),
            partial(self._judge_probed, self._by_protocol[Protocol.XMPP]),
            lambda domain, target: Wanted(self._strengths, domain).filter(target),
        )

    def _judge_probed(
        self, strengths: Strengths, facts: TlsFacts, domain: Domain, way: Delegation | None
    ) -> Judged:
        """Judge what a check met as a link of ours would be: by policy and memory, too."""
        facts = replace(facts, ways={} if way is None else {domain.name: way})
        decision = strengths.reached(facts, domain)
        judged = strengths.judged(facts, domain, as_client=False)
        same = decision.reason is judged.reason and judged.note
        return Judged(decision.accepted, judged.note if same else decision.note, decision.reason, judged.by)

    def _has_certificate(self, domain: bytes) -> bool:
        if self.ends is None or not self._strengths.tls:
            return False
        return self.ends.contexts.certificates.for_domain(Domain(domain.decode("ascii"))) is not None

    def _worth(self, session: Link, domain: bytes) -> Decision:
        strengths = self._by_protocol[session.protocol]
        return strengths.reached(session.tls, Domain(domain.decode("ascii")))

    def _worth_returned(self, first: Link, second: Link, domain: bytes) -> Decision:
        return self._strengths.returned(first.tls, second.tls, Domain(domain.decode("ascii")))

    def _reached(self, session: Link, domain: bytes) -> None:
        self._by_protocol[session.protocol].note_reached(session.tls, Domain(domain.decode("ascii")))
        self._dialer.wake()

    # -- events ------------------------------------------------------------------------------------------

    def opened(self, session: Link, peer: Hello | None) -> None:
        """The other side has spoken: its session can be resumed."""
        del peer
        if self.ends is not None and session.tls is not None and session.side is Side.OPENER:
            name = session.tls.server_name
            self.ends.keep(session.transport.getHandle(), name, session.remote)

    def control(self, session: Link, record: Control) -> None:
        """Nothing."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """Nothing."""

    def lost(self, session: Link) -> None:
        """A link is gone: what waits for room may be dialled, but not where there was none for this one."""
        refused = session.drop_reason.stage in (Stage.TLS, Stage.POLICY, Stage.IDENTITY)
        if refused and self.ends is not None and session.tls is not None and session.side is Side.OPENER:
            handle = session.transport.getHandle()
            if handle is not None:
                self.ends.forget(handle, session.tls.server_name, session.remote)
        self._dialer.refused(session)
        self._dialer.wake()

    def tick(self, now: float) -> None:
        """What waits for room may be dialled, or has waited long enough."""
        del now
        self._dialer.wake()


def pinned_anchors(config: Config, known: Intermediates) -> dict[str, Anchors]:
    """Whom to trust for pinned peers instead of `tls.trust`, by domain.

    Raises:
        BadAnchors: a file cannot be used.
    """
    return {peer.domain: anchors_from((peer.anchor,), known) for peer in config.peers if peer.anchor}


def others_trusted(before: Mapping[str, Anchors], after: Mapping[str, Anchors]) -> set[str]:
    """Pinned domains for which others are trusted than before."""
    prints = [{name: one.fingerprints for name, one in table.items()} for table in (before, after)]
    return {
        name for name in prints[0].keys() | prints[1].keys() if prints[0].get(name) != prints[1].get(name)
    }
