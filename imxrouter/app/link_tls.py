"""TLS on links: which certificates are shown, which are trusted, put into the parts that ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from imxrouter.app.certificates import OwnCertificates
from imxrouter.app.targets import TargetDialer
from imxrouter.config.schema import Config
from imxrouter.link.machine import Side
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.policy import Decision, Level
from imxrouter.tls.anchors import anchors_from
from imxrouter.tls.contexts import TlsContexts
from imxrouter.tls.dane import Coverage, Judge
from imxrouter.tls.peer import Anchors, PeerCertificate
from imxrouter.tls.store import CertificateSet
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.federation import Federation
from imxrouter.transport.hub import Hub
from imxrouter.transport.session import LinkSession
from imxrouter.transport.strengths import Judged, Strengths
from imxrouter.transport.tls_ends import TlsEnds
from imxrouter.wire.control import Control, Hello


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
        self.ends: TlsEnds | None = None
        federation.apart.has_certificate = self._has_certificate
        claimer.worth = self._worth
        claimer.worth_returned = self._worth_returned
        claimer.on_reached = self._reached
        hub.events.append(self)

    def follow(self, certificates: OwnCertificates, config: Config) -> None:
        """Show the certificates of the configured folder, whatever they are at each moment.

        Without a folder links of peers and to peers are in clear; one to our uplink may be in TLS all the same.

        Raises:
            BadAnchors: the file of a pinned peer cannot be used.
        """
        pinned = {
            peer.domain: anchors_from((peer.anchor,), certificates.intermediates)
            for peer in config.peers
            if peer.anchor
        }

        def take(contexts: TlsContexts) -> None:
            self.use(contexts, lambda: certificates.anchors, pinned, on_links=bool(config.tls.certificates))

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

    def judge(self, peer: PeerCertificate, domain: Domain, as_client: bool, way: Delegation | None) -> Judged:
        """Judge a peer's certificate for a domain: its chain, by the domain's anchors, names and DNSSEC."""
        result = self.coverage(peer, domain, as_client, way)
        return Judged(result.covers, result.note, result.reason)

    @property
    def certificates(self) -> CertificateSet:
        """Those that are shown; none where there is no TLS."""
        return self.ends.contexts.certificates if self.ends is not None else CertificateSet()

    def coverage(
        self, peer: PeerCertificate, domain: Domain, as_client: bool, way: Delegation | None
    ) -> Coverage:
        """What a certificate counts for, and by what."""
        anchors = self._pinned.get(domain.name)
        if anchors is None:
            if self._anchors is None:
                return Coverage(False, "", Reason.CERTIFICATE_REFUSED, "no authority is trusted")
            anchors = self._anchors()
        judgement = anchors.judge(peer, at=self._wall(), as_client=as_client)
        untrusted = ""
        if judgement.problem is not None:
            untrusted = f"{judgement.problem.value}: {judgement.note}".rstrip(": ")
        return self._dane.judge(domain, peer, way or Delegation(), untrusted=untrusted, at=self._wall())

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
        self._dialer.wake()

    def tick(self, now: float) -> None:
        """What waits for room may be dialled, or has waited long enough."""
        self._dialer.wake()
