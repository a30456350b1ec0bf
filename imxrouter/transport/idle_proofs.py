"""Proofs that nothing uses for long end (architecture 5.3): who needs one again claims again."""

from __future__ import annotations

from collections.abc import Callable

from imxrouter.model.vocabulary import Reason
from imxrouter.switch.ports import FOREVER
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link
from imxrouter.wire.control import Control, Hello

#: Looks within the time after which a proof ends; it may live by one such part longer.
LOOKS = 4


class IdleProofs:
    """Looks from time to time which proved domains the switch saw.

    Args:
        hub: the links.
        drop: ends a proof, and says why.
    """

    def __init__(self, hub: Hub, drop: Callable[[Link, bytes, Reason], None]) -> None:
        self._hub = hub
        self._drop = drop
        self._used_at: dict[int, dict[bytes, float]] = {}
        self._next_look = float("-inf")

    def tick(self, now: float) -> None:
        """Look, when it is time."""
        idle_s = self._hub.settings.proof_idle_s
        if now < self._next_look:
            return
        self._next_look = now + idle_s / LOOKS
        for session in list(self._hub.sessions.values()):
            self._look(session, now, idle_s)

    def _look(self, session: Link, now: float, idle_s: float) -> None:
        used, session.port.used = session.port.used, set()
        proofs = session.port.sources.items()
        # what is limited to some destinations has no claim of its own
        domains = [domain for domain, proof in proofs if proof[2] != FOREVER and proof[1] is None]
        before = self._used_at.get(session.number, {})
        if not domains:
            self._used_at.pop(session.number, None)
            return
        seen = {domain: now if domain in used else before.get(domain, now) for domain in domains}
        self._used_at[session.number] = seen
        for domain, used_at in seen.items():
            if now - used_at >= idle_s:
                self._drop(session, domain, Reason.IDLE)

    def lost(self, session: Link) -> None:
        """Forget the link."""
        self._used_at.pop(session.number, None)

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Nothing is proved yet."""

    def control(self, session: Link, record: Control) -> None:
        """Nothing: the switch sees what uses a proof."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """Its proofs end with it."""
