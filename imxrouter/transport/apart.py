"""Links that a domain of ours needs for itself: the one that others use does not do for it.

Its own policy asks for more than the link is worth, or the peer asks for the certificate of the claimed
domain and the link presents another one (specification section 6.4, policy `certificate`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.link.claims import ClaimState, MadeClaim
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.transport.dialback import AGAIN_S, Claimer
from imxrouter.transport.dialing import DialFailed, Dialled, Reach, no_reuse
from imxrouter.transport.hub import Hub
from imxrouter.transport.link import Link
from imxrouter.transport.pursuit import Cause

#: A domain of ours, a remote domain, and the protocol by which it is reached.
Pair = tuple[bytes, bytes, Protocol]
#: What is told of a pair whose link did not come, or ended before its claim was settled.
Ended = Callable[[bytes, bytes, Protocol, Cause], None]


class Apart:
    """Opens such links, and claims the one domain there.

    Args:
        hub: links of this process.
        reaches: how domains are reached, by protocol.
        claimer: proves our domains on them.
        ended: told where nothing came of one.
    """

    log = Logger()

    def __init__(self, hub: Hub, reaches: Mapping[Protocol, Reach], claimer: Claimer, ended: Ended) -> None:
        self._hub = hub
        self._reaches = reaches
        self._claimer = claimer
        self._ended = ended
        #: number of the link on which the pair is claimed; 0: it is dialled
        self._links: dict[Pair, int] = {}
        #: pairs for which nothing came of it, and until when that is remembered
        self._in_vain: dict[Pair, float] = {}
        #: whether we have a certificate for a domain of ours
        self.has_certificate: Callable[[bytes], bool] = lambda _domain: False

    def concerns(self, from_domain: bytes, to_domain: bytes, protocol: Protocol = Protocol.IMX) -> bool:
        """Whether the pair has, or is to have, a link of its own."""
        return (from_domain, to_domain, protocol) in self._links

    def takes(self, session: Link, claim: MadeClaim) -> bool:
        """Open one where a claim was refused because its link presents another certificate of ours."""
        if claim.reason is not Reason.CERTIFICATE_REFUSED or not claim.told or session.tls is None:
            return False
        if session.presents(claim.from_domain) or not self.has_certificate(claim.from_domain):
            return False
        return self.open(claim.from_domain, claim.to_domain, session.protocol)

    def refused(self, session: Link, claim: MadeClaim) -> bool:
        """A claim was refused; says whether on the pair's own link, which is the pair's no more."""
        pair = (claim.from_domain, claim.to_domain, session.protocol)
        if self._links.get(pair) != session.number:
            return False
        del self._links[pair]
        self._in_vain[pair] = self._hub.now() + AGAIN_S
        return True

    def open(self, from_domain: bytes, to_domain: bytes, protocol: Protocol = Protocol.IMX) -> bool:
        """Open one for a pair; False where that came to nothing a moment ago."""
        pair = (from_domain, to_domain, protocol)
        if pair in self._links:
            return True
        if self._in_vain.get(pair, 0.0) > self._hub.now():
            return False
        self._links[pair] = 0
        route, reach = self._hub.switch.routes.get(from_domain), self._reaches[protocol]
        own, peer = Domain(from_domain.decode("ascii")), Domain(to_domain.decode("ascii"))
        dialled: Deferred[Dialled] = reach.dialer.dial(
            peer,
            lambda: reach.make(own, peer),
            reuse=no_reuse,
            own=own,
            need=route.level if route is not None else 0,
        )
        dialled.addCallbacks(self._dialled, self._failed, (pair,), {}, (pair,))
        dialled.addErrback(self._broken, pair)
        return True

    def _dialled(self, dialled: Dialled, pair: Pair) -> None:
        session = dialled.session
        session.reached.add(pair[1])
        self._hub.switch.ways.restrict(pair[1], session.port, dialled.only)
        self._links[pair] = session.number
        if session.port.closed:
            self.lost(session)
        elif session.is_open:
            self.opened(session)

    def _failed(self, problem: Failure, pair: Pair) -> None:
        error = problem.value
        if not isinstance(error, DialFailed):
            problem.raiseException()
        self._came_to_nothing(pair, Cause(error.reason, error.note))

    def _broken(self, problem: Failure, pair: Pair) -> None:
        self.log.failure("a link of its own for {domain}", problem, domain=pair[0].decode("ascii"))
        self._came_to_nothing(pair, Cause(Reason.UNREACHABLE, "internal failure"))

    def _came_to_nothing(self, pair: Pair, cause: Cause) -> None:
        self._links.pop(pair, None)
        self._in_vain[pair] = self._hub.now() + AGAIN_S
        self._ended(*pair, cause)

    def opened(self, session: Link) -> None:
        """Claim the domain whose link it is."""
        for pair, number in list(self._links.items()):
            if number == session.number:
                self._claimer.claim(session, *pair[:2])

    def lost(self, session: Link) -> None:
        """A link ended; the pair gets another one when it is needed."""
        for pair, number in list(self._links.items()):
            if number == session.number:
                made = session.made.of_pair(*pair[:2])
                if made is not None and made.state is ClaimState.PROVED:
                    del self._links[pair]
                else:
                    self._came_to_nothing(pair, Cause.of_link(session))

    def tick(self, now: float) -> None:
        """Forget what came to nothing some time ago."""
        self._in_vain = {pair: until for pair, until in self._in_vain.items() if until > now}
