"""Our own traffic to other organisations: hold, dial, claim, send (architecture section 6).

A request for a remote domain without a way waits here, bounded and for a short time, while the protocol is
chosen, a link is dialled and our domain is proved there. Each request that cannot go is answered with stage,
reason and the domain at which it failed. Verification of strangers never touches the destinations of this
module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.link.claims import ClaimState, MadeClaim
from imxrouter.link.ledger import FROM_DOMAIN, TO_DOMAIN, TRIES, TYPE, Entry
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Choice, NoChoice, Protocol, Uri
from imxrouter.routing.destinations import DestinationTable
from imxrouter.switch.ways import STANZA
from imxrouter.transport.apart import Apart
from imxrouter.transport.choosing import Chosen, protocol_of
from imxrouter.transport.dialback import AGAIN_S, Claimer
from imxrouter.transport.dialing import DialFailed, Dialled, Reach, no_reuse
from imxrouter.transport.holding import Holding
from imxrouter.transport.hub import SHUTTING_DOWN_S, Hub
from imxrouter.transport.link import Link, Purpose
from imxrouter.transport.more_links import MoreLinks
from imxrouter.transport.pursuit import (
    NOT_BY_STREAMS,
    NOT_FOUND_IN_TIME,
    OUT_OF_SERVICE,
    OWN_POLICY,
    Cause,
    Key,
    Pursuit,
    Resting,
)
from imxrouter.transport.standing import Standing
from imxrouter.transport.usable_links import UsableLinks
from imxrouter.wire.control import Control, Hello

#: Targets tried for one destination before it has failed.
MAX_TARGETS = 8
#: Ends of a link that say nothing about why it could not be used.
_IN_ORDER = frozenset({Reason.NONE, Reason.IDLE, Reason.REDIRECTED})

#: A claim refused for one of these is made again when the peer said, as long as something waits for it.
ASK_AGAIN = frozenset({Reason.DIAL_LIMIT, Reason.TOO_MANY_CLAIMS})


class Federation:
    """Reaches remote domains for our senders.

    Args:
        hub: links of this process.
        reaches: how domains are reached, by protocol; read each time.
        claimer: proves our domains on links.
        destinations: what is known of remote domains (state, last error, back-off).

    Attributes:
        holding: what waits.
        presence: back-off of domains whose hosts for presence alone could not be reached, and of no other.
        chosen: by which protocol each domain is reached.
    """

    log = Logger()

    def __init__(
        self,
        hub: Hub,
        reaches: Mapping[Protocol, Reach],
        claimer: Claimer,
        destinations: DestinationTable,
    ) -> None:
        self._hub = hub
        self._reaches = reaches
        self._claimer = claimer
        self._links = UsableLinks(hub, claimer)
        self._standing = Standing(hub, destinations)
        self.destinations, self.presence = self._standing.destinations, self._standing.presence
        self.holding = Holding(hub)
        self.chosen = Chosen(hub.switch.ways)
        self.more_links = MoreLinks(hub, reaches, claimer)
        self.apart = Apart(hub, reaches, claimer, self._apart_ended)
        self.resting = Resting()
        self.on_step: Callable[[str, bytes, str, Reason], None] = lambda *_: None
        #: told (entry, link) of a request that is held (link 0), or leaves over a link after it was held
        self.on_waiting: Callable[[Entry, int], None] = lambda *_: None
        #: told (domain, cause) of each verdict: every target of it failed
        self.on_unreachable: Callable[[bytes, Cause], None] = lambda *_: None
        #: told of each claim of ours that was settled, and its link
        self.on_settled: Callable[[Link, MadeClaim], None] = lambda *_: None
        #: going out of service: what waits, and what comes, is answered
        self.stopped = False
        #: told each domain to which something of ours was proved, and each that proved itself
        self.on_reached: Callable[[bytes], None] = lambda _domain: None
        claimer.on_settled = self._claim_settled
        hub.hold = self.hold

    def change(self, hold_total_bytes: int) -> None:
        """Hold more or less in all; what waits stays."""
        self.holding.budget.limit_bytes = hold_total_bytes

    @property
    def held(self) -> tuple[int, int]:
        """Requests that wait for a link now, and their bytes."""
        return self.holding.budget.count, self.holding.budget.used_bytes

    def stop(self) -> None:
        """Answer what waits: no link will be there for it. So is what comes, until `stopped` is false."""
        self.stopped = True
        for pursuit in list(self.holding.pursuits.values()):
            self.holding.fail(pursuit, OUT_OF_SERVICE, SHUTTING_DOWN_S)
        for tag in self.resting.take():
            self.holding.give_up(tag, OUT_OF_SERVICE)

    # -- holding -----------------------------------------------------------------------------------------

    def hold(self, tags: list[int], *, rested: bool = False) -> None:
        """Requests without a way: send them if there is one by now, else hold them and dial.

        Args:
            tags: of the requests.
            rested: they are retries that have rested; others rest first, where there is a way for them.
        """
        touched: dict[Key, None] = {}
        switch, now = self._hub.switch, self._hub.now()
        for tag in tags:
            entry = switch.ledger.entries.get(tag)
            if entry is None:
                continue
            to_domain, from_domain = entry[TO_DOMAIN], entry[FROM_DOMAIN]
            lane = switch.presence.lane_of(entry)
            port = switch.way(to_domain, from_domain, rtype=entry[TYPE], lane=lane)
            if port is not None and entry[TRIES] and not rested:
                self.resting.add(tag, now)
                continue
            if port is not None and (switch.bars_now(tag) or switch.forward(tag, port, now)):
                continue
            if to_domain in switch.routes:
                self.holding.give_up(tag, Cause(Reason.SERVICE_DOWN), 30)
                continue
            if self.stopped:
                self.holding.give_up(tag, OUT_OF_SERVICE, SHUTTING_DOWN_S)
                continue
            if not switch.level_is_enough(from_domain, self._claimer.best_level):
                self.holding.give_up(tag, OWN_POLICY)
                continue
            key = self.chosen.key(to_domain, entry[TYPE], lane)
            refused = self.holding.offer(tag, key)
            if refused is None:
                touched[key] = None
                self.on_waiting(entry, 0)
            else:
                self.holding.give_up(tag, Cause(refused), 5)
        for key in touched:
            self._pursue(key)

    # -- choosing ----------------------------------------------------------------------------------------

    def _choose(self, pursuit: Pursuit) -> None:
        """Which protocol it is to be; what waits for the domain waits for that, too."""
        pursuit.dialling, pursuit.last = True, NOT_FOUND_IN_TIME
        choosing = self.chosen.choose(pursuit.domain, pursuit.uri)
        choosing.addCallback(self._decided, pursuit).addErrback(self._broken, pursuit)

    def _decided(self, choice: Choice | NoChoice, pursuit: Pursuit) -> None:
        pursuit.dialling = False
        if isinstance(choice, Choice) and choice.protocol is None:  # it came to be served here meanwhile
            tags = [tag for ours in list(pursuit.held) for tag in pursuit.take(ours)]
            self.holding.forget_if_empty(pursuit)
            self.hold(tags)
            return
        protocol = protocol_of(choice)
        if isinstance(choice, Choice) and self.chosen.several:
            words = self.chosen.words(pursuit.domain, choice, pursuit.uri)
            self.on_step("chosen", pursuit.domain.wire, words, Reason.NONE)
        uri = self.chosen.place(pursuit.domain, pursuit.uri, choice)
        pursuit = self.holding.decide(pursuit, protocol, uri)
        if isinstance(choice, Choice) and protocol is Protocol.XMPP:
            self._release_to_streams(pursuit)
        self._pursue(pursuit.key, choice)

    def _release_to_streams(self, pursuit: Pursuit) -> None:
        """What has a stream, such as one that the peer opened for both directions, has no other one opened.

        It waited all the same: streams carry what is to be chosen for only while the choice holds.
        """
        for ours in list(pursuit.held):
            if self._hub.switch.way(pursuit.domain.wire, ours, rtype=STANZA) is not None:
                self._release(pursuit, ours)

    # -- reaching ----------------------------------------------------------------------------------------

    def _pursue(self, key: Key, choice: Choice | NoChoice | None = None) -> None:
        pursuit = self.holding.pursuits.get(key)
        if pursuit is None or pursuit.dialling:
            return
        if pursuit.protocol is None:
            self._choose(pursuit)
            return
        if pursuit.protocol is Protocol.XMPP and not self.chosen.may_stream(pursuit.domain.wire):
            self.holding.fail(pursuit, NOT_BY_STREAMS, 0)
            return
        session = self._links.reaching(pursuit.domain.wire, pursuit.protocol, pursuit.uri)
        if session is not None:
            pursuit.session = session.number
            if session.is_open:
                self._claim_all(pursuit, session)
            return
        held_back = self._standing.holds_back(pursuit.domain, pursuit.protocol, pursuit.uri)
        if held_back is not None:
            self.holding.fail(pursuit, *held_back)
        elif isinstance(choice, NoChoice):
            why = self.chosen.why(pursuit.domain, choice, pursuit.uri)
            self._failed(pursuit, Cause(choice.reason, why))
        elif pursuit.protocol not in self._reaches:
            self._failed(pursuit, Cause(Reason.BLOCKED, f"{pursuit.protocol.value} is not spoken here"))
        else:
            self._standing.connecting(pursuit.domain, pursuit.protocol, pursuit.uri)
            self._dial(pursuit)

    def _dial(self, pursuit: Pursuit) -> None:
        pursuit.dialling = True
        self.on_step("dialling", pursuit.domain.wire, "", Reason.NONE)
        reach, own = self._reaches[pursuit.protocol or Protocol.IMX], self._own_of(pursuit)
        dialled = reach.dialer.dial(
            pursuit.domain,
            lambda: reach.make(own, pursuit.domain),
            reuse=self._links.to if reach.shares else no_reuse,
            skip=frozenset(pursuit.tried),
            own=own,
            presence=pursuit.uri is Uri.PRES,
        )
        dialled.addCallbacks(self._dialled, self._not_dialled, (pursuit,), {}, (pursuit,))
        dialled.addErrback(self._broken, pursuit)

    def _own_of(self, pursuit: Pursuit) -> Domain | None:
        """The domain of ours whose certificate a link presents: the first one that has something to send."""
        ours = next((one for one in pursuit.held if not self._is_apart(pursuit, one)), None)
        return Domain(ours.decode("ascii")) if ours is not None else None

    def _is_apart(self, pursuit: Pursuit, ours: bytes) -> bool:
        return self.apart.concerns(ours, pursuit.domain.wire, pursuit.protocol or Protocol.IMX)

    def _dialled(self, dialled: Dialled, pursuit: Pursuit) -> None:
        pursuit.dialling = False
        pursuit.tried.add(dialled.endpoint)
        session = dialled.session
        pursuit.session, pursuit.reused = session.number, dialled.reused
        session.reached.add(pursuit.domain.wire)
        self._hub.switch.ways.restrict(pursuit.domain.wire, session.port, dialled.only)
        if session.port.closed:
            self._next_target(pursuit, Cause.of_link(session))
        elif session.is_open:
            self._claim_all(pursuit, session)

    def _not_dialled(self, problem: Failure, pursuit: Pursuit) -> None:
        pursuit.dialling = False
        failed = problem.value
        if not isinstance(failed, DialFailed):
            problem.raiseException()
        exhausted = failed.exhausted and pursuit.tried
        cause = pursuit.last if exhausted else Cause(failed.reason, failed.note)
        if failed.reason is Reason.DIAL_LIMIT or (pursuit.tried and pursuit.last.soon):
            self._dial_again(pursuit, cause)
        else:
            self._failed(pursuit, cause)

    def _dial_again(self, pursuit: Pursuit, cause: Cause) -> None:
        """There was no room, here or there, which is no failure of the domain: what is held waits on."""
        pursuit.tried.clear()
        pursuit.last = cause
        if pursuit.budget.count:
            self._dial(pursuit)
            return
        self._standing.idle(pursuit.domain, pursuit.protocol or Protocol.IMX, pursuit.uri)
        self.holding.forget_if_empty(pursuit)

    def _broken(self, problem: Failure, pursuit: Pursuit) -> None:
        pursuit.dialling = False
        self.log.failure("dialling {domain}", problem, domain=pursuit.domain.name)
        self._failed(pursuit, Cause(Reason.UNREACHABLE, "internal failure"))

    def _next_target(self, pursuit: Pursuit, cause: Cause) -> None:
        pursuit.last = cause
        if len(pursuit.tried) < MAX_TARGETS:
            self._dial(pursuit)
        else:
            self._failed(pursuit, cause)

    def _failed(self, pursuit: Pursuit, cause: Cause) -> None:
        pursuit.tried.clear()
        pursuit.again = False
        protocol = pursuit.protocol or Protocol.IMX
        retry_after_s = self._verdict(pursuit.domain, protocol, cause, pursuit.uri)
        self.holding.fail(pursuit, cause, retry_after_s)
        self.on_unreachable(pursuit.domain.wire, cause)

    def _verdict(self, domain: Domain, protocol: Protocol, cause: Cause, uri: Uri = Uri.IM) -> int:
        """Every target failed: remember it, and say it; returns the seconds until the next try."""
        reason, note = cause.reason, cause.note
        retry_after_s = self._standing.failed(domain, protocol, uri, cause)
        self.log.warn(
            "{domain} cannot be reached{service}: {reason}", domain=domain.name, reason=reason.word,
            stage=reason.stage.value, note=note, service=" for presence" if uri is Uri.PRES else "",
        )  # fmt: skip
        self.on_step("failed", domain.wire, note, reason)
        return retry_after_s

    def unreachable(self, domain: bytes, cause: Cause) -> None:
        """A verdict that somebody else came to: its links are silent, and a new one fails."""
        pursuits, protocol = self.holding.of(domain), self._used_for(domain)
        if any(one.dialling for one in pursuits):
            return  # what dials now says so itself
        retry_after_s = self._verdict(Domain(domain.decode("ascii")), protocol, cause)
        for pursuit in pursuits:
            self.holding.fail(pursuit, cause.of_unsent(), retry_after_s)
        self.on_unreachable(domain, cause)

    def _used_for(self, domain: bytes) -> Protocol:
        """By which protocol a domain is reached now, or was last."""
        return self.chosen.known(domain) or Protocol.IMX

    def next_try(self, domain: bytes, now: float) -> float:
        """When a domain may be tried again, monotonic seconds."""
        return self._standing.next_try(domain, self._used_for(domain), now)

    # -- claims ------------------------------------------------------------------------------------------

    def _claim_all(self, pursuit: Pursuit, session: Link) -> None:
        domain = pursuit.domain.wire
        worth = self._claimer.worth(session, domain)
        for from_domain in list(pursuit.held):
            if self._is_apart(pursuit, from_domain):
                continue
            known = session.made.of_pair(from_domain, domain)
            carries = self._hub.switch.ways.carries(domain, from_domain, session.port)
            if known is not None and known.state is ClaimState.PROVED and carries:
                self._release(pursuit, from_domain)
            elif known is not None and known.state is ClaimState.REFUSED and known.retry_at > self._hub.now():
                if known.reason in ASK_AGAIN or self.apart.takes(session, known):
                    continue
                wait = max(1, round(known.retry_at - self._hub.now()))
                self.holding.give_up_all(pursuit, from_domain, Cause.of_claim(known), wait)
            elif not worth.accepted:
                self.holding.give_up_all(pursuit, from_domain, Cause(worth.reason, worth.note))
            elif self._hub.switch.level_is_enough(from_domain, worth.strength):
                self._claimer.claim(session, from_domain, domain)
            elif not self.apart.open(from_domain, domain, session.protocol):
                self.holding.give_up_all(pursuit, from_domain, OWN_POLICY)
        self.holding.forget_if_empty(pursuit)

    def _apart_ended(self, from_domain: bytes, to_domain: bytes, protocol: Protocol, cause: Cause) -> None:
        """A link of its own came to nothing: what waits for it is answered."""
        for pursuit in self.holding.by(to_domain, protocol):
            self.holding.give_up_all(pursuit, from_domain, cause.of_unsent(), AGAIN_S)
            self.holding.forget_if_empty(pursuit)

    def _claim_settled(self, session: Link, claim: MadeClaim) -> None:
        self.on_settled(session, claim)
        protocol = session.protocol
        pursuits = self.holding.by(claim.to_domain, protocol, session.port)
        if claim.state is ClaimState.PROVED:
            self._standing.up(claim.to_domain, protocol)
            self.on_reached(claim.to_domain)
            self._standing.presence_reached(claim.to_domain, session)
            for pursuit in pursuits if session.is_open else ():
                pursuit.tried.clear()
                pursuit.again = False
                self._release(pursuit, claim.from_domain)
            return
        if self.apart.takes(session, claim):
            return
        self._standing.claim_refused(claim.to_domain, protocol, Cause.of_claim(claim))
        apart = self.apart.refused(session, claim)
        for pursuit in pursuits if claim.reason not in ASK_AGAIN else ():
            if apart or pursuit.session == session.number:
                self.holding.give_up_all(pursuit, claim.from_domain, Cause.of_claim(claim), 5)
                self.holding.forget_if_empty(pursuit)

    def _release(self, pursuit: Pursuit, from_domain: bytes) -> None:
        """A way is there: what waited goes out in its order, over links of the protocol it waited for."""
        tags, domain = pursuit.take(from_domain), pursuit.domain.wire
        self.holding.forget_if_empty(pursuit)
        for tag in tags:
            entry = self._hub.switch.ledger.entries.get(tag)
            if entry is None or self._hub.switch.bars_now(tag):
                continue
            rtype = STANZA if pursuit.protocol is Protocol.XMPP else entry[TYPE]
            lane = self._hub.switch.presence.lane_of(entry)
            port = self._hub.switch.way(domain, from_domain, rtype=rtype, lane=lane)
            if port is None or not self._hub.switch.forward(tag, port, self._hub.now()):
                self.holding.give_up(tag, Cause(Reason.BUSY, "output"), 1)
            else:
                self.on_waiting(entry, port.number)

    def peer_proved(self, session: Link, peer: bytes, ours: bytes) -> None:
        """A peer proved itself: what waits for it may go over its link; a failing one is tried again."""
        protocol = session.protocol
        if self._standing.proved_itself(peer, session):
            self.log.info("{domain} proved itself; its back-off ends", domain=peer.decode())
        carries = self._hub.switch.ways.carries(peer, ours, session.port)
        waiting = self.holding.by(peer, protocol, session.port)
        if protocol is Protocol.IMX:
            waiting += self.holding.by(peer, None, session.port)
        for pursuit in waiting:
            if carries and ours in pursuit.held and session.is_open:
                self._release(pursuit, ours)
        self.on_reached(peer)

    # -- events ------------------------------------------------------------------------------------------

    def opened(self, session: Link, peer: Hello | None) -> None:
        """A link of ours is open: claim for everything that waits for its domains."""
        del peer
        if session.purpose is Purpose.DATA:
            self.more_links.opened(session)
            self.apart.opened(session)
            for domain in session.reached:
                self._standing.up(domain, session.protocol)
                for pursuit in self.holding.by(domain, session.protocol, session.port):
                    self._claim_all(pursuit, session)

    def control(self, session: Link, record: Control) -> None:
        """Nothing here; redirects are `redirecting.py`."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """The link takes nothing new: what waits for it goes on elsewhere, now."""
        self._leave(session, Cause(reason, "closed in order", by_peer), innocent=not by_peer)

    def lost(self, session: Link) -> None:
        """A link went away: what waits for it goes on elsewhere."""
        self.more_links.lost(session)
        self.apart.lost(session)
        self._leave(session, Cause.of_link(session))
        for domain in session.reached if session.purpose is Purpose.DATA else ():
            self._rest(domain, session.protocol)

    def _leave(self, session: Link, cause: Cause, *, innocent: bool = False) -> None:
        """Go to the next target, or to the same one again where the link was an old one that ended."""
        for domain in tuple(session.reached) if session.purpose is Purpose.DATA else ():
            for pursuit in self.holding.by(domain, session.protocol):
                if pursuit.session == session.number:
                    self._leave_one(pursuit, session, cause, innocent=innocent)

    def _leave_one(self, pursuit: Pursuit, session: Link, cause: Cause, *, innocent: bool) -> None:
        pursuit.session = 0
        innocent = innocent or cause.reason in _IN_ORDER
        if pursuit.reused or (innocent and not pursuit.again):
            pursuit.again = not pursuit.reused  # a target that did nothing wrong gets one more chance
            pursuit.tried.discard(session.remote)
        if pursuit.budget.count and not pursuit.dialling:
            orderly = Cause(Reason.SHUTTING_DOWN, cause.note, cause.by_peer)
            self._next_target(pursuit, orderly if cause.reason in _IN_ORDER else cause)

    def _rest(self, domain: bytes, protocol: Protocol) -> None:
        """A link to the domain went; where it was the last one and nothing waits, the domain is idle."""
        waiting, ways = self.holding.by(domain, protocol), self._hub.switch.ways
        if self._standing.is_failing(domain, protocol):
            return
        there = ways if protocol is Protocol.IMX else ways.streams
        if domain in there or any(one.dialling or one.budget.count for one in waiting):
            return
        if self._links.reaching(domain, protocol) is None:
            self._standing.idle(Domain(domain.decode("ascii")), protocol)

    def tick(self, now: float) -> None:
        """What has waited too long is answered; a busy peer gets another link; old choices are made anew."""
        for pursuit in list(self.holding.pursuits.values()):
            session = self._hub.sessions.get(pursuit.session)
            self.holding.expire(pursuit, session, now)
            if session is not None and session.is_open:
                self._claim_all(pursuit, session)
            self.holding.forget_if_empty(pursuit)
        self.hold(self.resting.rested(now), rested=True)
        self.chosen.tick()
        self.apart.tick(now)
        self.more_links.tick(now, {domain for domain, *_ in self.holding.pursuits})
