"""Going out of service without an error to anyone (specification sections 5.3 to 5.5; IMX-18).

First every link is left one way: who opened a link to us is told where another host is (REDIRECT), then
every peer and service that it may send nothing new here (CREDIT of 0), while what crossed is still passed
on, in both directions. When each has read that, nothing new can come from there, and XMPP is left, which
has no word for it. What was written on streams is answered on others: so first nothing new goes out on any,
until all on them is confirmed; then those end that were opened to us, and those on which both sides speak,
while what crosses is still passed on. When these have ended all links are closed in order, and what is in
flight is answered; the streams on which answers went end last. Nobody has to send anything twice.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from enum import Enum
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from imxrouter.link.claims import ClaimState
from imxrouter.link.machine import LinkState, Side
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.choice import Protocol
from imxrouter.switch.ports import Role
from imxrouter.transport.federation import Federation
from imxrouter.transport.hub import SHUTTING_DOWN_S, Hub
from imxrouter.transport.link import Link, Purpose
from imxrouter.transport.redirecting import Redirector
from imxrouter.wire.control import Control, Hello
from imxrouter.wire.registry import Capability

#: A peer that was told of another host has this long to open a link there before it may send nothing more.
MOVE_S: Final = 1.0
#: What must be done before links are left has so long, and a quarter of the deadline at most.
PREPARE_S: Final = 5.0
#: A link whose other end does not say within this that it has read our word is closed all the same.
FENCE_S: Final = 1.0
#: What was written on streams has so long to be confirmed before those end on which that would be said.
STILL_S: Final = 1.5
#: Streams that are left behind the links have so long to end.
STREAMS_S: Final = 2.5
#: Domains that are looked up for one drain; peers of the others find the other host by their own DNS.
LOOK_UPS: Final = 256


class DrainState(Enum):
    """How far it is."""

    RUNNING = "running"
    #: new work goes elsewhere, what crossed is passed on
    MOVING = "moving"
    #: links close, what is in flight is answered
    CLOSING = "closing"
    DRAINED = "drained"


class Streams(typing.Protocol):
    """Streams of XMPP: what is to be done to all of them, and those that are no links of the hub."""

    @property
    def are_confirmed(self) -> bool:
        """Whether it is known of all that was written to servers of ours what became of it."""

    @property
    def are_still(self) -> bool:
        """Whether nothing new can come from there, after `stop`."""

    def hush(self) -> None:
        """Write nothing new on any: it is refused; what only answers goes out."""

    def stop(self) -> None:
        """Take no new ones; those by which something new may come end in order."""

    def leave(self) -> Deferred[None]:
        """No link is left: end all of them in order; fires when that is done, or has taken too long."""

    def back(self) -> None:
        """In service again, at whatever point this was."""


class NoStreams(Streams):
    """There are none."""

    are_confirmed = are_still = True

    def hush(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""

    def leave(self) -> Deferred[None]:
        """It is done."""
        return succeed(None)

    def back(self) -> None:
        """Nothing to do."""


class Drain:
    """Takes a process out of service, and back. It is a `LinkEvents`.

    Args:
        hub: links of this process.
        federation: what waits for a link.
        redirector: tells peers where to go.
        elsewhere: another host of a domain of ours, as `host:port`; empty where there is none.

    Attributes:
        state: how far it is.
        redirects: links told of another host in this life.
        on_state: told each new state, and when it is `ready`.
        before: asked to do what must be done before links are left; they wait for it, `PREPARE_S` at most.
        ready: nothing new can come here, and nothing waits that could still go.
        streams: of XMPP.
        may_close: asked whether the other processes of the host are as far; until then what they pass on is
            taken, for half of the time at most.
    """

    log = Logger()

    def __init__(
        self,
        hub: Hub,
        federation: Federation,
        redirector: Redirector,
        elsewhere: Callable[[Domain], Deferred[str]],
    ) -> None:
        self._hub = hub
        self._federation = federation
        self._redirector = redirector
        self._elsewhere = elsewhere
        self.state = DrainState.RUNNING
        self.redirects = 0
        self.on_state: Callable[[DrainState], None] = lambda _state: None
        self.before: Callable[[], Deferred[None] | None] = lambda: None
        self.ready = False
        self.may_close: Callable[[], bool] = lambda: True
        self.streams: Streams = NoStreams()
        self._since = self._until = self._fenced_by = self._moved_by = 0.0
        #: links that may still receive requests from the other side: they are being moved
        self._moving: set[int] = set()
        #: numbers of the links that were told to send nothing new
        self._stopped: set[int] = set()
        self._waiting: list[Deferred[None]] = []
        self._preparing = False
        #: when all on streams must be confirmed, and when they must have ended; once that has begun
        self._hushed_by: float | None = None
        self._streams_by: float | None = None
        #: no link is left, streams are on their way out
        self._leaving = False
        hub.expects_verification = self._expects_verification

    # -- what operators and signals ask ------------------------------------------------------------------

    def begin(self, deadline_s: float) -> Deferred[None]:
        """Go out of service; fires when no link is left. What is in flight then is cut.

        Args:
            deadline_s: seconds from now; where it runs already, the earlier end holds.
        """
        done: Deferred[None] = Deferred()
        if self.state is DrainState.DRAINED:
            done.callback(None)
            return done
        self._waiting.append(done)
        now = self._hub.now()
        if self.state is not DrainState.RUNNING:
            self._until = min(self._until, now + deadline_s)
            return done
        self._since, self._until, self._fenced_by = now, now + deadline_s, now + FENCE_S
        self._hub.closing, self.ready = True, False
        self._hushed_by = self._streams_by = None
        self._leaving = False
        self._moving.clear()
        self._stopped.clear()
        self._enter(DrainState.MOVING)
        self._prepare()
        self.step(now)
        return done

    def end(self) -> None:
        """Be in service again; links that are being closed are, new ones are taken."""
        if self.state is DrainState.RUNNING:
            return
        self._hub.closing = self.ready = False
        self._federation.stopped = False
        self.streams.back()
        for session in list(self._hub.sessions.values()):
            if session.number in self._stopped:  # its other end has gone elsewhere
                session.close(Reason.SHUTTING_DOWN)
        self._enter(DrainState.RUNNING)
        self._finish()

    def _enter(self, state: DrainState) -> None:
        self.state = state
        self.log.info(
            "drain: {state}; {links} link(s), {requests} request(s) in flight, {held} held",
            state=state.value, links=len(self._hub.sessions), requests=len(self._hub.switch.ledger.entries),
            held=self._federation.held[0],
        )  # fmt: skip
        self.on_state(state)

    def _finish(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    # -- moving ------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """What must be done first, then the links."""
        first = self.before()
        if first is None:
            self._leave_all()
            return
        self._preparing = True

        def prepared(_result: object) -> None:
            if self._preparing and self.state is DrainState.MOVING:
                self._leave_all()

        first.addErrback(lambda problem: self.log.failure("before the drain", problem))
        first.addCallback(prepared)

    def _leave_all(self) -> None:
        """Tell who can go elsewhere where to, and everybody else to send nothing new."""
        self._preparing = False
        self._moved_by = self._hub.now() + MOVE_S
        wanted: dict[bytes, list[Link]] = {}
        for session in list(self._hub.sessions.values()):
            domains = self._redirectable(session)
            for domain in domains:
                wanted.setdefault(domain, []).append(session)
            if domains and len(wanted) <= LOOK_UPS:
                self._moving.add(session.number)
            elif session.machine.state is LinkState.OPEN and session.protocol is not Protocol.XMPP:
                self._stop(session)
        for domain in list(wanted)[:LOOK_UPS]:
            found = self._elsewhere(Domain.from_wire(domain))
            found.addCallback(self._redirect, domain, wanted[domain])
            found.addErrback(self._nowhere, domain, wanted[domain])

    def _redirectable(self, session: Link) -> set[bytes]:
        """Domains of ours for which the peer opened the link, where it may be told of another host."""
        peer = session.peer
        if session.side is not Side.ACCEPTOR or session.port.role is not Role.PEER or peer is None:
            return set()
        if not session.is_open or Capability.REDIRECT not in peer.capabilities:
            return set()
        return {ours for _, ours in self._hub.switch.ways.of_port(session.port)}

    def _redirect(self, target: str, domain: bytes, sessions: list[Link]) -> None:
        for session in sessions:
            if self.state is not DrainState.MOVING or session.number not in self._moving:
                continue
            if target and session.is_open:
                self.redirects += 1
                self._redirector.redirect(session, target, (domain,), MOVE_S)
            elif session.is_open:
                self._stop(session)

    def _nowhere(self, problem: Failure, domain: bytes, sessions: list[Link]) -> None:
        self.log.info(
            "drain: no other host of {domain} is known: {note}", domain=domain.decode(),
            note=problem.getErrorMessage(),
        )  # fmt: skip
        self._redirect("", domain, sessions)

    def _stop(self, session: Link) -> None:
        self._moving.discard(session.number)
        if session.number not in self._stopped:
            self._stopped.add(session.number)
            self._fenced_by = self._hub.now() + FENCE_S
            session.stop_requests()

    # -- time --------------------------------------------------------------------------------------------

    def step(self, now: float) -> None:
        """Go on where it can; called some twenty times a second."""
        if self.state is DrainState.MOVING:
            if self._preparing and now - self._since >= min(PREPARE_S, (self._until - self._since) / 4):
                self._leave_all()
            if not self._preparing and now >= self._moved_by:
                for number in list(self._moving):
                    session = self._hub.sessions.get(number)
                    self._moving.discard(number)
                    if session is not None and session.machine.state is LinkState.OPEN:
                        self._stop(session)
            if (self._hushed_by is not None or self._may_close(now)) and self._streams_are_still(now):
                self._be_ready()
                if self.may_close() or self._is_late(now):
                    self._close_all()
        if self.state is DrainState.CLOSING:
            for session in list(self._hub.sessions.values()):
                session.settle()
            if not self._leaving and (not self._hub.sessions or now >= self._until):
                self._leave()

    def _be_ready(self) -> None:
        if not self.ready:
            self.ready = True
            self.on_state(self.state)

    def _may_close(self, now: float) -> bool:
        """Whether nothing new can come, and nothing waits that could still go."""
        if now >= self._until:
            return True
        if self._preparing:
            return False
        links = [one for one in self._hub.sessions.values() if one.machine.state is LinkState.OPEN]
        if not any(one.port.sources or one.port.speaks for one in links):
            return not self._federation.held[0] or self._is_late(now)
        if self._moving & {one.number for one in links}:
            return False
        left = [one for one in links if one.protocol is not Protocol.XMPP]
        if now < self._fenced_by and not all(one.machine.fenced for one in left):
            return False
        return not (self._federation.held[0] or self._federation.resting) or self._is_late(now)

    def _streams_are_still(self, now: float) -> bool:
        """After the links: nothing new goes out on streams, and then nothing new comes on them."""
        if self._hushed_by is None:
            self._hushed_by = now + STILL_S
            self.streams.hush()
        if self._streams_by is None:
            done = self.streams.are_confirmed and not any(one.port.sent for one in self._hub_streams())
            if not done and now < self._hushed_by and not self._is_late(now):
                return False
            self._streams_by = now + STREAMS_S
            for session in self._hub_streams(Side.ACCEPTOR):
                self._stop(session)
            self.streams.stop()
        done = self.streams.are_still and not self._hub_streams(Side.ACCEPTOR)
        return done or now >= self._streams_by or self._is_late(now)

    def _hub_streams(self, side: Side | None = None) -> list[Link]:
        streams = [one for one in self._hub.sessions.values() if one.protocol is Protocol.XMPP]
        return [one for one in streams if side is None or one.side is side]

    def _is_late(self, now: float) -> bool:
        """What is held has half of the time: the links need some of it to finish."""
        return now >= (self._since + self._until) / 2

    def _close_all(self) -> None:
        self._enter(DrainState.CLOSING)
        self._federation.stop()
        self._hub.flush()
        for session in list(self._hub.sessions.values()):
            if session.purpose is Purpose.VERIFY:  # carries nothing that a deadline could save
                session.end(Reason.SHUTTING_DOWN)
            else:
                session.close(Reason.SHUTTING_DOWN, retry_after_s=SHUTTING_DOWN_S)

    def _leave(self) -> None:
        for session in list(self._hub.sessions.values()):
            session.abort(Reason.SHUTTING_DOWN, "drain deadline")
        self._leaving = True
        self.streams.leave().addCallback(lambda _: self._done())

    def _done(self) -> None:
        if self._leaving and self.state is DrainState.CLOSING:
            self._enter(DrainState.DRAINED)
            self._finish()

    def _expects_verification(self) -> bool:
        """Whether a claim of ours is pending: what waits for a link still goes out while we move."""
        return self.state is DrainState.MOVING and any(
            made.state in (ClaimState.ASKED, ClaimState.RELEASED)
            for session in self._hub.opened_links
            for made in session.made.claims()
        )

    # -- events ------------------------------------------------------------------------------------------

    def opened(self, session: Link, peer: Hello | None) -> None:
        """A link that is new while we go: we may still send over it, nobody may send to us."""
        del peer
        if self.state is DrainState.MOVING and (
            session.protocol is not Protocol.XMPP or self._hushed_by is not None
        ):
            self._stop(session)
        elif self.state is DrainState.MOVING:
            return
        elif self.state is not DrainState.RUNNING:
            session.close(Reason.SHUTTING_DOWN, retry_after_s=SHUTTING_DOWN_S)

    def control(self, session: Link, record: Control) -> None:
        """Nothing to do."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """Nothing to do."""

    def lost(self, session: Link) -> None:
        """One less."""
        self._moving.discard(session.number)
        self._stopped.discard(session.number)

    def tick(self, now: float) -> None:
        """As `step`."""
        self.step(now)
