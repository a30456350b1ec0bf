"""One more link to a peer that has some: by load, or because those are silent (IMX-14; architecture 6)."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.link.machine import LinkState
from imxrouter.model.domain import Domain
from imxrouter.routing.choice import Protocol
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.dialing import DialFailed, Dialled, Reach, no_reuse
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link, Purpose
from imxrouter.transport.pursuit import Cause

#: One more link to a busy peer is opened at most this often; the peer may have a cap, and says so by closing.
MORE_LINKS_EVERY_S = 30.0


class MoreLinks:
    """Opens them, and claims on them what the others carry.

    Args:
        hub: links of this process.
        reaches: how domains are reached, by protocol.
        claimer: proves our domains on them.
    """

    log = Logger()

    def __init__(self, hub: Hub, reaches: Mapping[Protocol, Reach], claimer: Claimer) -> None:
        self._hub = hub
        self._reaches = reaches
        self._claimer = claimer
        #: numbers of such links that are not open yet
        self._more: set[int] = set()
        self._more_after: dict[bytes, float] = {}

    def opened(self, session: Link) -> None:
        """Claim on one more link what the others carry."""
        if session.number in self._more:
            self._more.discard(session.number)
            for domain in session.reached:
                worth = self._claimer.worth(session, domain)
                for ours in self._sources(domain, session.protocol):
                    if worth.accepted and self._hub.switch.level_is_enough(ours, worth.strength):
                        self._claimer.claim(session, ours, domain)

    def lost(self, session: Link) -> None:
        """It came to nothing, or has ended."""
        self._more.discard(session.number)

    def tick(self, now: float, pursued: Container[bytes]) -> None:
        """More links are opened by load, never by user, and few (IMX-14); not to a domain that is dialled."""
        links: dict[bytes, int] = {}
        idle: set[bytes] = set()
        for session in self._hub.opened_links:
            shares = self._reaches[session.protocol].shares
            if shares and session.purpose is Purpose.DATA and session.machine.state is not LinkState.DRAINING:
                is_busy = session.port.sent * 2 > session.port.credit_requests
                for domain in session.reached:
                    links[domain] = links.get(domain, 0) + 1
                    if not is_busy:
                        idle.add(domain)
        self._more_after = {domain: at for domain, at in self._more_after.items() if at > now}
        for domain, count in links.items():
            crowded = domain not in idle and count < self._hub.settings.links_per_peer
            if crowded and domain not in pursued and domain not in self._more_after:
                self._more_after[domain] = now + MORE_LINKS_EVERY_S
                self.open(domain, lambda _cause, _session: None)

    def _sources(self, domain: bytes, protocol: Protocol) -> list[bytes]:
        """Domains of ours that send to a remote one by a protocol."""
        ways = self._hub.switch.ways
        return list((ways if protocol is Protocol.IMX else ways.streams).get(domain, ()))

    def open(
        self,
        domain: bytes,
        ended: Callable[[Cause | None, Link | None], None],
        protocol: Protocol = Protocol.IMX,
    ) -> None:
        """Open one more link; where that fails nothing changes for the others.

        Args:
            domain: of the peer.
            ended: gets the link once it is connected (its hello may not be there yet), or why it was not.
            protocol: by which it is reached.
        """

        def connected(dialled: Dialled) -> None:
            session = dialled.session
            session.reached.add(domain)
            self._hub.switch.ways.restrict(domain, session.port, dialled.only)
            self._more.add(session.number)
            if session.is_open:
                self.opened(session)
            ended(None, session)

        def failed(problem: Failure) -> None:
            error = problem.value
            if not isinstance(error, DialFailed):
                problem.raiseException()
            ended(Cause(error.reason, error.note), None)

        ours, reach = next(iter(self._sources(domain, protocol)), None), self._reaches[protocol]
        own, peer = Domain(ours.decode("ascii")) if ours is not None else None, Domain(domain.decode("ascii"))
        dialled = reach.dialer.dial(peer, lambda: reach.make(own, peer), reuse=no_reuse, own=own)
        dialled.addCallbacks(connected, failed)
        dialled.addErrback(lambda problem: self.log.failure("one more link", problem))
