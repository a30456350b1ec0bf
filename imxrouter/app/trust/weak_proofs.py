"""Proofs that satisfy the policy no longer, because the policy changed: dropped at once (rule 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from imxrouter.link.machine import Side
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.routing.policy import PolicyTable, needed_strength
from imxrouter.switch.ports import Role
from imxrouter.transport.link import Link
from imxrouter.wire.control import Control, Hello

if TYPE_CHECKING:
    from imxrouter.app.parts import Parts

#: For so long after a change proofs are looked at every second: what was being dialled, claimed or verified
#: by the old policy ends within it (14 s for a dial, 30 s for a claim by default, 600 s at most).
LOOKED_AT_S: Final = 90.0


class WeakProofs:
    """Finds them and ends them. It is a `LinkEvents`, for its tick.

    Args:
        router: its parts.
    """

    def __init__(self, router: Parts) -> None:
        self._router = router
        self._until = float("-inf")

    def proofs(self, policies: Mapping[Protocol, PolicyTable]) -> list[tuple[Link, bytes]]:
        """Links with a domain that they prove, which would not satisfy these policies."""
        return [
            (session, domain)
            for session in self._router.hub.sessions.values()
            if session.port.role is Role.PEER
            for domain, proof in session.port.sources.items()
            if _needed(policies[session.protocol], domain) & ~proof[0]
        ]

    def end(self, policies: Mapping[Protocol, PolicyTable]) -> None:
        """End them, for what the domain sends and for what we send it, now and as more of them come."""
        hub = self._router.hub
        self._until = hub.now() + LOOKED_AT_S + hub.settings.claim_deadline_s
        self._end(policies)

    def _end(self, policies: Mapping[Protocol, PolicyTable]) -> None:
        for session, domain in self.proofs(policies):
            if session.side is Side.OPENER:
                self._router.claimer.leave(session, domain)
                session.port.speaks.discard(domain)
            else:
                self._router.verifier.drop_proof(session, domain, Reason.WEAKER_THAN_POLICY)
            close_unused(session)

    def tick(self, now: float) -> None:
        """Once a second."""
        if now < self._until:
            self._end(self._router.gatekeeper.all_policies)

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Nothing is proved yet."""

    def control(self, session: Link, record: Control) -> None:
        """Others judge it."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """Nothing."""

    def lost(self, session: Link) -> None:
        """Its proofs went with it."""


def _needed(policies: PolicyTable, domain: bytes) -> int:
    return needed_strength(policies.policy_for(Domain(domain.decode("ascii"))))


def close_unused(session: Link) -> None:
    """A link that we opened and that leads nowhere any more is closed in order."""
    if session.side is Side.OPENER and session.is_open and not session.reached and not session.port.sources:
        session.close(Reason.IDLE)
