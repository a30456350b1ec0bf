"""Our own traffic to other organisations: hold, dial, claim, send (architecture section 6).

A request for a remote domain without a way waits here, bounded and for a short time, while a link is dialled
and our domain is proved there. Each request that cannot go is answered with stage, reason and the domain at
which it failed. Verification of strangers never touches the destinations of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.link.claims import ClaimState, MadeClaim
from imxrouter.link.ledger import FROM_DOMAIN, SIZE, TO_DOMAIN, TRIES, Entry
from imxrouter.link.machine import LinkState
from imxrouter.model.domain import BadDomain, Domain
from imxrouter.model.outcome import Outcome, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.destinations import DestinationState, DestinationTable
from imxrouter.routing.hold import HoldBudget, HoldLimits, HoldQueue
from imxrouter.transport.apart import Apart
from imxrouter.transport.dialback import AGAIN_S, Claimer
from imxrouter.transport.dialing import Dialer, DialFailed, Dialled, Endpoint
from imxrouter.transport.hub import SHUTTING_DOWN_S, Hub
from imxrouter.transport.link import Link, Purpose
from imxrouter.transport.more_links import MoreLinks
from imxrouter.transport.pursuit import OUT_OF_SERVICE, OWN_POLICY, Cause, Pursuit, Resting
from imxrouter.transport.session import LinkSession
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
        dialer: opens links.
        claimer: proves our domains on them.
        destinations: what is known of remote domains (state, last error, back-off).
    """

    log = Logger()

    def __init__(self, hub: Hub, dialer: Dialer, claimer: Claimer, destinations: DestinationTable) -> None:
        self._hub = hub
        self._dialer = dialer
        self._claimer = claimer
        self.destinations = destinations
        self._pursuits: dict[bytes, Pursuit] = {}
        self._budget = HoldBudget(hub.settings.hold_total_bytes)
        self.more_links = MoreLinks(hub, dialer, claimer)
        self.apart = Apart(hub, dialer, claimer, self._apart_ended)
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
        self._budget.limit_bytes = hold_total_bytes

    @property
    def held(self) -> tuple[int, int]:
        """Requests that wait for a link now, and their bytes."""
        return self._budget.count, self._budget.used_bytes

    def stop(self) -> None:
        """Answer what waits: no link will be there for it. So is what comes, until `stopped` is false."""
        self.stopped = True
        for pursuit in list(self._pursuits.values()):
            self._fail(pursuit, OUT_OF_SERVICE, SHUTTING_DOWN_S)
        for tag in self.resting.take():
            self._give_up(tag, OUT_OF_SERVICE)

    def oldest_held_s(self, now: float) -> float:
        """How long the request waits that has waited longest; 0 when none does."""
        queues = (queue for pursuit in self._pursuits.values() for queue in pursuit.held.values())
        since = (queue.oldest_since() for queue in queues)
        return max((now - one for one in since if one is not None), default=0.0)

    def held_for(self, domain: Domain) -> int:
        """Requests that wait for one domain."""
        pursuit = self._pursuits.get(domain.wire)
        return pursuit.budget.count if pursuit is not None else 0

    def waiting(self, domain: bytes, from_domain: bytes | None = None) -> Iterator[int]:
        """Tags of the requests that wait for a domain, those of one domain of ours if it is given."""
        pursuit = self._pursuits.get(domain)
        for ours, queue in pursuit.held.items() if pursuit is not None else ():
            if from_domain is None or ours == from_domain:
                yield from queue

    # -- holding -----------------------------------------------------------------------------------------

    def hold(self, tags: list[int], *, rested: bool = False) -> None:
        """Requests without a way: send them if there is one by now, else hold them and dial.

        Args:
            tags: of the requests.
            rested: they are retries that have rested; others rest first, where there is a way for them.
        """
        touched: dict[bytes, None] = {}
        switch, now = self._hub.switch, self._hub.now()
        for tag in tags:
            entry = switch.ledger.entries.get(tag)
            if entry is None:
                continue
            to_domain, from_domain = entry[TO_DOMAIN], entry[FROM_DOMAIN]
            port = switch.way(to_domain, from_domain)
            if port is not None and entry[TRIES] and not rested:
                self.resting.add(tag, now)
                continue
            if port is not None and (switch.bars_now(tag) or switch.forward(tag, port, now)):
                continue
            if to_domain in switch.routes:
                self._give_up(tag, Cause(Reason.SERVICE_DOWN), 30)
                continue
            if self.stopped:
                self._give_up(tag, OUT_OF_SERVICE, SHUTTING_DOWN_S)
                continue
            if not switch.level_is_enough(from_domain, self._claimer.best_level):
                self._give_up(tag, OWN_POLICY)
                continue
            refused = self._offer(tag, to_domain, from_domain, entry[SIZE])
            if refused is None:
                touched[to_domain] = None
                self.on_waiting(entry, 0)
            else:
                self._give_up(tag, Cause(refused), 5)
        for to_domain in touched:
            self._pursue(to_domain)

    def _offer(self, tag: int, to_domain: bytes, from_domain: bytes, size: int) -> Reason | None:
        pursuit = self._pursuits.get(to_domain)
        if pursuit is None:
            try:
                pursuit = self._pursuits[to_domain] = self._new_pursuit(Domain.from_wire(to_domain))
            except BadDomain:
                return Reason.BAD_ADDRESS
        queue = pursuit.held.get(from_domain)
        if queue is None:
            settings = self._hub.settings
            limits = HoldLimits(settings.hold_count, settings.hold_bytes, settings.hold_s)
            queue = pursuit.held[from_domain] = HoldQueue(limits, pursuit.budget)
        self._supersede(tag, pursuit, queue)
        return queue.offer(tag, size, self._hub.now())

    def _supersede(self, tag: int, pursuit: Pursuit, queue: HoldQueue[int]) -> None:
        """Of the notifications of one subscription only the newest waits (architecture section 6)."""
        older = pursuit.replaced_by(tag, self._hub.switch.ledger.entries[tag])
        if older is not None and queue.drop(older):
            self._give_up(older, Cause(Reason.SUPERSEDED))

    def _new_pursuit(self, domain: Domain) -> Pursuit:
        settings = self._hub.settings
        return Pursuit(domain, HoldBudget(settings.hold_bytes, settings.hold_count, self._budget))

    def _forget_if_empty(self, pursuit: Pursuit) -> None:
        if not pursuit.budget.count and not pursuit.dialling:
            self._pursuits.pop(pursuit.domain.wire, None)

    # -- reaching ----------------------------------------------------------------------------------------

    def _pursue(self, to_domain: bytes) -> None:
        pursuit = self._pursuits.get(to_domain)
        if pursuit is None or pursuit.dialling:
            return
        session = self._session_for(to_domain)
        if session is not None:
            pursuit.session = session.number
            if session.is_open:
                self._claim_all(pursuit, session)
            return
        now = self._hub.now()
        destination = self.destinations.open(pursuit.domain, now)
        if destination is None:
            self._fail(pursuit, Cause(Reason.BUSY, "too many domains are being reached"), 5)
        elif destination.state is DestinationState.FAILING and not destination.may_try(now):
            last = destination.last_error
            cause = Cause(last.reason, last.note) if last else Cause(Reason.BACKING_OFF)
            self._fail(pursuit, cause.of_unsent(), destination.retry_after_s(now))
        else:
            destination.connecting(now)
            self._dial(pursuit)

    def _session_for(self, to_domain: bytes) -> Link | None:
        for session in self._hub.opened_links:
            if (
                session.purpose is Purpose.DATA
                and to_domain in session.reached
                and session.machine.state in (LinkState.AWAIT_HELLO, LinkState.OPEN)
                and not session.port.closed
                and not session.leaving
                and self._claimer.worth(session, to_domain).accepted
            ):
                return session
        return None

    def _dial(self, pursuit: Pursuit) -> None:
        pursuit.dialling = True
        self.on_step("dialling", pursuit.domain.wire, "", Reason.NONE)
        dialled = self._dialer.dial(
            pursuit.domain,
            lambda: LinkSession(self._hub, Purpose.DATA),
            reuse=self._reusable,
            skip=frozenset(pursuit.tried),
            own=self._own_of(pursuit),
        )
        dialled.addCallbacks(self._dialled, self._not_dialled, (pursuit,), {}, (pursuit,))
        dialled.addErrback(self._broken, pursuit)

    def _own_of(self, pursuit: Pursuit) -> Domain | None:
        """The domain of ours whose certificate a link presents: the first one that has something to send."""
        ours = next((one for one in pursuit.held if not self.apart.concerns(one, pursuit.domain.wire)), None)
        return Domain(ours.decode("ascii")) if ours is not None else None

    def _reusable(self, endpoint: Endpoint, fits: Callable[[Link], bool]) -> Link | None:
        for session in self._hub.opened_links.to(endpoint):
            usable = session.purpose is Purpose.DATA and not session.redirected and session.is_open
            if usable and fits(session):
                return session
        return None

    def _dialled(self, dialled: Dialled, pursuit: Pursuit) -> None:
        pursuit.dialling = False
        pursuit.tried.add(dialled.endpoint)
        session = dialled.session
        pursuit.session, pursuit.reused = session.number, dialled.reused
        session.reached.add(pursuit.domain.wire)
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
        destination = self.destinations.find(pursuit.domain)
        if destination is not None:
            destination.idle(self._hub.now())
        self._forget_if_empty(pursuit)

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
        retry_after_s = self._verdict(pursuit.domain, cause)
        self._fail(pursuit, cause, retry_after_s)
        self.on_unreachable(pursuit.domain.wire, cause)

    def _verdict(self, domain: Domain, cause: Cause) -> int:
        """Every target failed: remember it, and say it; returns the seconds until the next try."""
        reason, note, now = cause.reason, cause.note, self._hub.now()
        destination = self.destinations.open(domain, now)
        if destination is not None:
            destination.failed(reason, now, note)
        self.log.warn(
            "{domain} cannot be reached: {reason}", domain=domain.name, reason=reason.word,
            stage=reason.stage.value, note=note,
        )  # fmt: skip
        self.on_step("failed", domain.wire, note, reason)
        return destination.retry_after_s(now) if destination is not None else 5

    def unreachable(self, domain: bytes, cause: Cause) -> None:
        """A verdict that somebody else came to: its links are silent, and a new one fails."""
        pursuit = self._pursuits.get(domain)
        if pursuit is not None and pursuit.dialling:
            return  # what dials now says so itself
        retry_after_s = self._verdict(Domain(domain.decode("ascii")), cause)
        if pursuit is not None:
            self._fail(pursuit, cause.of_unsent(), retry_after_s)
        self.on_unreachable(domain, cause)

    def next_try(self, domain: bytes, now: float) -> float:
        """When a domain may be tried again, monotonic seconds."""
        destination = self.destinations.find(Domain(domain.decode("ascii")))
        failing = destination is not None and destination.state is DestinationState.FAILING
        return destination.next_try if failing and destination is not None else now

    def _fail(self, pursuit: Pursuit, cause: Cause, retry_after_s: int) -> None:
        for from_domain in list(pursuit.held):
            self._give_up_all(pursuit, from_domain, cause, retry_after_s)
        self._forget_if_empty(pursuit)

    def _give_up_all(
        self, pursuit: Pursuit, from_domain: bytes, cause: Cause, retry_after_s: int = 0
    ) -> None:
        for tag in pursuit.take(from_domain):
            self._give_up(tag, cause, retry_after_s)

    def _give_up(self, tag: int, cause: Cause, retry_after_s: int = 0) -> None:
        """Answer what waited. A hop is named as it was: the peer where it said so, else this router."""
        entry = self._hub.switch.ledger.entries.get(tag)
        if entry is None:
            return
        outcome: Outcome
        if entry[TRIES]:
            note = " ".join(filter(None, ("the next try failed:", cause.reason.word, cause.note)))
            outcome = indeterminant(Reason.LINK_LOST, role="peer", note=note)
        else:
            role = "peer" if cause.by_peer else "router"
            outcome = failure(cause.reason, role=role, retry_after_s=retry_after_s, note=cause.note)
        self._hub.switch.complete(tag, outcome, self._hub.now())

    # -- claims ------------------------------------------------------------------------------------------

    def _claim_all(self, pursuit: Pursuit, session: Link) -> None:
        worth = self._claimer.worth(session, pursuit.domain.wire)
        for from_domain in list(pursuit.held):
            if self.apart.concerns(from_domain, pursuit.domain.wire):
                continue
            known = session.made.of_pair(from_domain, pursuit.domain.wire)
            ways = self._hub.switch.ways.get(pursuit.domain.wire, {}).get(from_domain, ())
            if known is not None and known.state is ClaimState.PROVED and session.port in ways:
                self._release(pursuit, from_domain)
            elif known is not None and known.state is ClaimState.REFUSED and known.retry_at > self._hub.now():
                if known.reason in ASK_AGAIN or self.apart.takes(session, known):
                    continue
                wait = max(1, round(known.retry_at - self._hub.now()))
                self._give_up_all(pursuit, from_domain, Cause.of_claim(known), wait)
            elif not worth.accepted:
                self._give_up_all(pursuit, from_domain, Cause(worth.reason, worth.note))
            elif self._hub.switch.level_is_enough(from_domain, worth.strength):
                self._claimer.claim(session, from_domain, pursuit.domain.wire)
            elif not self.apart.open(from_domain, pursuit.domain.wire):
                self._give_up_all(pursuit, from_domain, OWN_POLICY)
        self._forget_if_empty(pursuit)

    def _apart_ended(self, from_domain: bytes, to_domain: bytes, cause: Cause) -> None:
        """A link of its own came to nothing: what waits for it is answered."""
        pursuit = self._pursuits.get(to_domain)
        if pursuit is not None:
            self._give_up_all(pursuit, from_domain, cause.of_unsent(), AGAIN_S)
            self._forget_if_empty(pursuit)

    def _claim_settled(self, session: Link, claim: MadeClaim) -> None:
        self.on_settled(session, claim)
        pursuit = self._pursuits.get(claim.to_domain)
        if claim.state is ClaimState.PROVED:
            self._up(claim.to_domain, proved=True)
            if pursuit is not None and session.is_open:
                pursuit.tried.clear()
                pursuit.again = False
                self._release(pursuit, claim.from_domain)
            return
        if self.apart.takes(session, claim):
            return
        destination = self.destinations.find(Domain(claim.to_domain.decode("ascii")))
        if destination is not None:
            cause = Cause.of_claim(claim)
            destination.refused(cause.reason, self._hub.now(), cause.note)
        apart = self.apart.refused(session, claim)
        waits = pursuit is not None and (apart or pursuit.session == session.number)
        if waits and pursuit is not None and claim.reason not in ASK_AGAIN:
            self._give_up_all(pursuit, claim.from_domain, Cause.of_claim(claim), 5)
            self._forget_if_empty(pursuit)

    def _up(self, domain: bytes, *, proved: bool = False) -> None:
        destination = self.destinations.open(Domain(domain.decode("ascii")), self._hub.now())
        if destination is not None:
            destination.up(self._hub.now())
        if proved:
            self.on_reached(domain)

    def _release(self, pursuit: Pursuit, from_domain: bytes) -> None:
        """A way is there: what waited goes out in its order."""
        tags = pursuit.take(from_domain)
        self._forget_if_empty(pursuit)
        for tag in tags:
            if self._hub.switch.bars_now(tag):
                continue
            port = self._hub.switch.way(pursuit.domain.wire, from_domain)
            entry = self._hub.switch.ledger.entries.get(tag)
            if port is None or not self._hub.switch.forward(tag, port, self._hub.now()):
                self._give_up(tag, Cause(Reason.BUSY, "output"), 1)
            elif entry is not None:
                self.on_waiting(entry, port.number)

    def peer_proved(self, session: Link, peer: bytes, ours: bytes) -> None:
        """A peer proved itself: what waits for it may go over its link; a failing one is tried again."""
        if self.destinations.peer_proved(Domain(peer.decode()), self._hub.now()):
            self.log.info("{domain} proved itself; its back-off ends", domain=peer.decode())
        pursuit = self._pursuits.get(peer)
        if pursuit is not None and ours in pursuit.held and session.is_open:
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
                self._up(domain)
                pursuit = self._pursuits.get(domain)
                if pursuit is not None:
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
            self._rest(domain)

    def _leave(self, session: Link, cause: Cause, *, innocent: bool = False) -> None:
        """Go to the next target, or to the same one again where the link was an old one that ended."""
        for domain in tuple(session.reached) if session.purpose is Purpose.DATA else ():
            pursuit = self._pursuits.get(domain)
            if pursuit is None or pursuit.session != session.number:
                continue
            pursuit.session = 0
            innocent = innocent or cause.reason in _IN_ORDER
            if pursuit.reused or (innocent and not pursuit.again):
                pursuit.again = not pursuit.reused  # a target that did nothing wrong gets one more chance
                pursuit.tried.discard(session.remote)
            if pursuit.budget.count and not pursuit.dialling:
                orderly = Cause(Reason.SHUTTING_DOWN, cause.note, cause.by_peer)
                self._next_target(pursuit, orderly if cause.reason in _IN_ORDER else cause)

    def _rest(self, raw: bytes) -> None:
        """A link to the domain went; where it was the last one and nothing waits, the domain is idle."""
        domain = Domain(raw.decode("ascii"))
        destination, pursuit = self.destinations.find(domain), self._pursuits.get(raw)
        if destination is None or destination.state is DestinationState.FAILING:
            return
        if pursuit is not None and (pursuit.dialling or pursuit.budget.count):
            return
        if raw not in self._hub.switch.ways and self._session_for(raw) is None:
            destination.idle(self._hub.now())

    def tick(self, now: float) -> None:
        """What has waited too long is answered; a busy peer gets another link."""
        for pursuit in list(self._pursuits.values()):
            session = self._hub.sessions.get(pursuit.session)
            for from_domain, waiting in list(pursuit.held.items()):
                late = pursuit.why_late(session, from_domain)
                for tag in waiting.expire(now):
                    self._give_up(tag, late, 5)
                if not waiting:
                    pursuit.held.pop(from_domain, None)
            if session is not None and session.is_open:
                self._claim_all(pursuit, session)
            self._forget_if_empty(pursuit)
        self.hold(self.resting.rested(now), rested=True)
        self.apart.tick(now)
        self.more_links.tick(now, self._pursuits)
