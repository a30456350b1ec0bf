"""Proofs and logins whose certificate ends while the link lives: they end with it (rule 3).

A dial-back proof that came by a second connection's certificate is not looked at here: it is proved anew
after its maximum age, on a connection whose certificate is judged then. One of an XMPP stream is, for it
holds only together with the certificate of that stream. A login by certificate is judged
again, too, when whom we trust may have changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imxrouter.app.trust.weak_proofs import close_unused
from imxrouter.link.machine import Side
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.ports import Role
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.link import Link
from imxrouter.wire.control import Control, Hello

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts


class EndedCertificates:
    """Finds them and ends them. It is a `LinkEvents`, for its tick.

    Args:
        router: its parts.
    """

    def __init__(self, router: Parts) -> None:
        self._router = router
        router.hub.events.append(self)
        router.certificates.on_swapped.append(lambda _contexts: router.services.judge_anew())

    def tick(self, now: float) -> None:
        """Once a second: a comparison for each link."""
        del now
        at = self._router.link_tls.wall()
        for session in list(self._router.hub.sessions.values()):
            facts = session.tls
            if facts is not None and facts.peer is not None and at > facts.peer.first_end:
                self._judge(session, facts)
        self._router.services.judge_anew(at)
        for name, dialer in self._router.uplinks.dialers.items():
            if dialer.session is not None:
                self._judge_uplink(name, dialer.session, at)

    def _judge_uplink(self, name: str, session: Link, at: float) -> None:
        """Our aggregator is dialled again; a new link is spoken on where it has a new certificate."""
        facts, (uplink, _) = session.tls, self._router.uplinks.terms[name]
        if facts is None or facts.peer is None or at <= facts.peer.first_end or not session.is_open:
            return
        if why_not := self._router.link_tls.why_not_uplink(uplink, facts):
            session.close(Reason.CERTIFICATE_REFUSED, text=why_not)
            session.port.sources.clear()

    def _judge(self, session: Link, facts: TlsFacts) -> None:
        if session.port.role is not Role.PEER:
            return
        for name, proof in list(session.port.sources.items()):
            domain = Domain(name.decode("ascii"))
            if session.side is Side.OPENER:
                if not self._router.gatekeeper.of(session).reached(facts, domain).accepted:
                    self._router.claimer.leave(session, name)
                    session.port.speaks.discard(name)
            elif self._is_bad(session, facts, domain, proof[0], claimed=proof[1] is None):
                self._router.verifier.drop_proof(session, name, Reason.CERTIFICATE_REFUSED)
        close_unused(session)

    def _is_bad(self, session: Link, facts: TlsFacts, domain: Domain, level: int, *, claimed: bool) -> bool:
        """Whether a domain's proof rests on the certificate of a link that it opened, which is not good.

        That may be so all the same: under DANE dates may be without meaning (RFC 7671 section 5.1).
        """
        strengths = self._router.gatekeeper.of(session)
        good = strengths.judged(facts, domain, as_client=True).good
        return not good and strengths.rests_on_certificate(domain, level, claimed=claimed)

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Nothing is proved yet."""

    def control(self, session: Link, record: Control) -> None:
        """Others judge it."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """Nothing."""

    def lost(self, session: Link) -> None:
        """Its proofs went with it."""
