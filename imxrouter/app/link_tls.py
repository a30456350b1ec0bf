"""TLS on links: which certificates are shown, which are trusted, put into the parts that ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from twisted.internet.defer import Deferred

from imxrouter.app.certificates import OwnCertificates
from imxrouter.app.targets import TargetDialer
from imxrouter.config.schema import Config
from imxrouter.config.served import Service
from imxrouter.config.trust import Uplink
from imxrouter.link.machine import Side
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.policy import Decision, Level
from imxrouter.tls.anchors import anchors_from
from imxrouter.tls.contexts import TlsContexts
from imxrouter.tls.dane import Coverage, Judge
from imxrouter.tls.facts import TlsFacts
from imxrouter.tls.peer import Anchors, PeerCertificate
from imxrouter.tls.store import CertificateSet
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.encryption import HandshakeFailed
from imxrouter.transport.federation import Federation
from imxrouter.transport.hub import Hub
from imxrouter.transport.services import ServiceNamed
from imxrouter.transport.session import LinkSession
from imxrouter.transport.strengths import Judged, Strengths
from imxrouter.transport.tls_ends import TlsEnds
from imxrouter.wire.control import Control, Hello

#: How a service's certificate is pinned in the configuration.
PIN = "sha256:"


class LinkTls:
    """Ties the TLS room to the links. Without `use` there is no TLS: none is offered and none is opened.

    Args:
        hub: links of this process.
        strengths: decides what links are worth.
        dialer: opens links.
        claimer: proves our domains.
        federation: reaches remote domains.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        hub: Hub,
        strengths: Strengths,
        dialer: TargetDialer,
        claimer: Claimer,
        federation: Federation,
        wall: Callable[[], float],
    ) -> None:
        self._hub = hub
        self._strengths = strengths
        self._dialer = dialer
        self._claimer = claimer
        self._wall = wall
        self._dane = Judge()
        self._anchors: Callable[[], Anchors] | None = None
        self._pinned: Mapping[str, Anchors] = {}
        self._uplinks: dict[str, Anchors] = {}
        self.ends: TlsEnds | None = None
        federation.apart.has_certificate = self._has_certificate
        claimer.worth = self._worth
        claimer.worth_returned = self._worth_returned
        claimer.on_reached = self._reached
        hub.events.append(self)

    def follow(self, certificates: OwnCertificates, config: Config) -> None:
        """Show the certificates of the configured folder, whatever they are at each moment.

        Without a folder links of peers and to peers are in clear; one to our uplink may be in TLS.

        Raises:
            BadAnchors: the file of a pinned peer cannot be used.
        """
        pinned = {
            peer.domain: anchors_from((peer.anchor,), certificates.intermediates)
            for peer in config.peers
            if peer.anchor
        }

        on_links = bool(config.tls.certificates)  # not `config` itself, whose tables are let go

        def take(contexts: TlsContexts) -> None:
            self.use(contexts, lambda: certificates.anchors, pinned, on_links=on_links)

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
            pinned: whom to trust instead for single domains, by name.
            on_links: whether there is TLS on links of peers; it is offered where there is a certificate.
        """
        self._anchors, self._pinned = anchors, pinned or {}
        if self.ends is None:
            self.ends = TlsEnds(contexts)
        self.ends.contexts = contexts
        self._dialer.maker = self.ends
        self._strengths.judge = self.judge
        self._strengths.tls = on_links
        self._hub.first_bytes.maker = self.ends if on_links and contexts.offers_tls else None
        self._claimer.best_level = Level.DIALBACK_CERTIFICATE if on_links else Level.DIALBACK

    @property
    def certificates(self) -> CertificateSet:
        """Those that are shown; none where there is no TLS."""
        return self.ends.contexts.certificates if self.ends is not None else CertificateSet()

    def judge(
        self, peer: PeerCertificate, domain: Domain, as_client: bool, way: Delegation | None = None
    ) -> Judged:
        """Judge a peer's certificate for a domain: its chain, by the domain's anchors, names and DNSSEC."""
        return _judged(self.coverage(peer, domain, as_client, way))

    def coverage(
        self, peer: PeerCertificate, domain: Domain, as_client: bool, way: Delegation | None
    ) -> Coverage:
        """What a certificate counts for, and by what."""
        return self._covers(self._pinned.get(domain.name), peer, domain, way, as_client=as_client)

    def _covers(
        self,
        anchors: Anchors | None,
        peer: PeerCertificate,
        domain: Domain,
        way: Delegation | None = None,
        *,
        as_client: bool,
    ) -> Coverage:
        if anchors is None:
            if self._anchors is None:
                return Coverage(False, "", Reason.CERTIFICATE_REFUSED, "no authority is trusted")
            anchors = self._anchors()
        judgement = anchors.judge(peer, at=self._wall(), as_client=as_client)
        untrusted = ""
        if judgement.problem is not None:
            untrusted = f"{judgement.problem.value}: {judgement.note}".rstrip(": ")
        return self._dane.judge(domain, peer, way or Delegation(), untrusted=untrusted, at=self._wall())

    def service_finder(self, services: Iterable[Service]) -> Callable[[PeerCertificate], ServiceNamed]:
        """What finds the service that logs in by a client certificate."""
        pinned: dict[bytes, str] = {}
        named: dict[Domain, str] = {}
        for service in services:
            if service.certificate.startswith(PIN):
                pinned[bytes.fromhex(service.certificate.removeprefix(PIN))] = service.name
            elif service.certificate:
                named[Domain.parse(service.certificate)] = service.name

        def find(peer: PeerCertificate) -> ServiceNamed:
            if peer.fingerprint in pinned:
                return ServiceNamed(pinned[peer.fingerprint])
            for domain, name in named.items():
                if peer.covers(domain):
                    judged = self.judge(peer, domain, True)
                    return ServiceNamed(name) if judged.good else ServiceNamed(why=judged.note)
            return ServiceNamed()

        return find

    def uplink_opener(self, uplink: Uplink, own: Domain | None) -> Callable[[LinkSession], Deferred[object]]:
        """What connects a link to our uplink, and judges who is there.

        Raises:
            BadAnchors: the uplink's file cannot be used.
        """
        name = Domain.parse(uplink.server_name) if uplink.server_name else None
        if name is not None and uplink.anchor:
            self._uplinks[name.name] = anchors_from((uplink.anchor,))

        def judge(facts: TlsFacts) -> None:
            if name is None:
                return
            judged = Judged(False, "no certificate was presented")
            if facts.peer is not None:
                judged = _judged(
                    self._covers(self._uplinks.get(name.name), facts.peer, name, as_client=False)
                )
            if not judged.good:
                raise HandshakeFailed(judged.note, Reason.CERTIFICATE_REFUSED)

        def open_link(session: LinkSession) -> Deferred[object]:
            server_name = name.name if name is not None else ""
            return self._dialer.open(session, uplink.endpoint, server_name, own, judge)

        return open_link

    def _has_certificate(self, domain: bytes) -> bool:
        if self.ends is None or not self._strengths.tls:
            return False
        return self.ends.contexts.certificates.for_domain(Domain(domain.decode("ascii"))) is not None

    def _worth(self, session: LinkSession, domain: bytes) -> Decision:
        return self._strengths.reached(session.tls, Domain(domain.decode("ascii")))

    def _worth_returned(self, first: LinkSession, second: LinkSession, domain: bytes) -> Decision:
        return self._strengths.returned(first.tls, second.tls, Domain(domain.decode("ascii")))

    def _reached(self, session: LinkSession, domain: bytes) -> None:
        self._strengths.note_reached(session.tls, Domain(domain.decode("ascii")))

    # -- events ------------------------------------------------------------------------------------------

    def opened(self, session: LinkSession, peer: Hello) -> None:
        """The other side has spoken: its session can be resumed."""
        del peer
        if self.ends is not None and session.tls is not None and session.side is Side.OPENER:
            name = session.tls.server_name
            self.ends.keep(session.transport.getHandle(), name, session.remote)

    def control(self, session: LinkSession, record: Control) -> None:
        """Nothing."""

    def draining(self, session: LinkSession, reason: Reason, by_peer: bool) -> None:
        """Nothing."""

    def lost(self, session: LinkSession) -> None:
        """A link is gone: what waits for room may be dialled."""
        del session
        self._dialer.wake()

    def tick(self, now: float) -> None:
        """What waits for room may be dialled, or has waited long enough."""
        del now
        self._dialer.wake()


def _judged(coverage: Coverage) -> Judged:
    return Judged(coverage.covers, coverage.note, coverage.reason)
