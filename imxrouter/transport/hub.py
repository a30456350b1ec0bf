"""The centre of a process: every link's bytes go through the switch here, and out again once per read.

The hub knows links, not domains: what a link may carry is decided by `Claimer`, `Verifier` and `Services`,
which are told of each event through `LinkEvents`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from twisted.logger import Logger

from imxrouter.link.machine import Draining, LinkMachine, Side
from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.routing.gate import Bar
from imxrouter.switch import slots
from imxrouter.switch.ports import MAX_UNACKNOWLEDGED, RETRY_BYTES, Port
from imxrouter.switch.switch import Switch
from imxrouter.transport.byte_link import LONG_READ_S
from imxrouter.transport.first_bytes import FirstBytes
from imxrouter.transport.link import Door, Link, Purpose
from imxrouter.transport.link_timers import LinkTimers
from imxrouter.transport.opened_links import OpenedLinks
from imxrouter.transport.session import LinkSession
from imxrouter.transport.settings import HubSettings
from imxrouter.transport.slowed_links import SlowedLinks
from imxrouter.wire.control import Ack, Control, Credit, Hello
from imxrouter.wire.errors import WireError
from imxrouter.wire.layout import HIGHEST_MAX_RECORD, MAX_RECORD_BEFORE_PROOF
from imxrouter.wire.registry import PROTOCOL_VERSION, Capability

#: DUPLICATE_WINDOW of a hello that does not say it (specification section 5.1).
WINDOW_MS = 60_000
_RECORDS_OUT = slots.RECORDS_OUT

#: A stranger who goes on after so many refused requests and claims is cut off: each costs us more than him.
REFUSED_BEFORE_PROOF = 256
#: Answers, those of refused requests too, that a link may leave unacknowledged; then it is ended (8.1).
UNACKNOWLEDGED_AT_MOST = 2 * MAX_UNACKNOWLEDGED

#: Seconds after which it makes sense to come back to a router that goes out of service.
SHUTTING_DOWN_S = 5


class LinkEvents(Protocol):
    """Who is told of what happens on links."""

    def opened(self, session: Link, peer: Hello | None) -> None:
        """Claims may go: both hellos are there; None where none is spoken."""

    def control(self, session: Link, record: Control) -> None:
        """A legal record of the link's own."""

    def draining(self, session: Link, reason: Reason, by_peer: bool) -> None:
        """No new request goes out on it."""

    def lost(self, session: Link) -> None:
        """It is gone; the switch has forgotten its port."""

    def tick(self, now: float) -> None:
        """About once a second."""


class Sink(Protocol):
    """The far side of a port inside this process."""

    port: Port

    def take(self, data: bytes) -> None:
        """Whole records for the gateway behind the port."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is on the wire.

    Attributes:
        server: 8 bytes of this host, shared by its processes.
        process: number of this process.
        instance: 16 random bytes of this process life.
    """

    server: bytes
    process: int
    instance: bytes


class Hub:
    """Links and ports of one process.

    Args:
        monotonic: seconds of a clock that never goes back.
        switch: the hot path.
        settings: limits and times.
        identity: who we are on the wire.
        random_bytes: for nonces and challenges.
    """

    log = Logger()

    def __init__(
        self,
        monotonic: Callable[[], float],
        switch: Switch,
        settings: HubSettings,
        identity: Identity,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._monotonic = monotonic
        self.switch = switch
        self.settings = settings
        self.identity = identity
        self.random_bytes = random_bytes
        self.sessions: dict[int, Link] = {}
        #: those of them that we opened
        self.opened_links = OpenedLinks()
        self.events: list[LinkEvents] = []
        #: asked for each address and door before anything is made for a connection: whether it is just closed
        self.turns_away: Callable[[str, Door], bool] = lambda _address, _door: False
        #: asked before a stranger's connection is taken: None, or (reason, retry after seconds)
        self.admit: Callable[[Link], Refusal | None] = lambda _session: None
        #: whether a link is not closed for being idle
        self.keeps: Callable[[Link], bool] = lambda _session: False
        #: told the tags of requests that wait for a link
        self.hold: Callable[[list[int]], None] = lambda _tags: None
        #: answers requests that may not pass
        self.bar: Callable[[list[tuple[int, Bar]]], None] = self._bar
        #: told why each link ended
        self.on_ended: Callable[[Reason], None] = lambda _reason: None
        #: told responses for other processes
        self.hand_over: Callable[[int, bytes, frozenset[bytes]], None] = lambda *_: None
        #: looks at each link about once a second
        self.timers = LinkTimers(self.sessions, self._tick_link, self.flush, monotonic)
        #: what becomes of a connection, by its first byte
        self.first_bytes = FirstBytes(self.count)
        #: links that have ended on our word, and when whoever does not read their last bytes is cut
        self._leaving: dict[int, tuple[Link, float]] = {}
        self._sinks: dict[int, Sink] = {}
        #: links that are over their rate
        self.slowed = SlowedLinks(self.sessions)
        self._next_port = 1
        self._flushing = False
        #: while things are done together: what is submitted, by port
        self._submitted: dict[int, tuple[Port, list[bytes], list[Callable[[], None]]]] | None = None
        #: out of service, or going: no new link, nothing new on those that are there
        self.closing = False
        #: whether somebody may connect all the same, to verify a claim of ours
        self.expects_verification: Callable[[], bool] = lambda: False

    # -- making ------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return self._monotonic()

    def next_port_number(self) -> int:
        """A number no other port of this process life has."""
        number = self._next_port
        self._next_port += 1
        return number

    def new_machine(self, side: Side, challenge: bytes | None) -> LinkMachine:
        """A link machine that says hello as this process."""
        settings, link = self.settings, self.settings.link
        hello = Hello(
            versions=(PROTOCOL_VERSION,),
            capabilities=(Capability.DUPLICATES, Capability.ACKNOWLEDGE, Capability.REDIRECT),
            max_record=settings.max_record_bytes,
            credit_requests=settings.credit_requests,
            credit_bytes=settings.credit_bytes,
            instance=self.identity.instance,
            epoch=self.switch.memory.epoch,
            ping_ms=int(link.ping_s * 1000),
            dead_ms=int(link.dead_s * 1000),
            idle_ms=int(link.idle_s * 1000),
            duplicate_window_ms=int(settings.duplicate_window_s * 1000),
            challenge=challenge,
            software=settings.software,
        )
        return LinkMachine(side, hello, link, self.now(), self.random_bytes)

    def accept(self, door: Door = Door.ANY) -> LinkSession:
        """The protocol of a connection that somebody opened to us, and what it may be for."""
        return LinkSession(self, Purpose.ACCEPTED, door=door)

    # -- what sessions tell ------------------------------------------------------------------------------

    def connected(self, session: Link) -> None:
        """A connection is up."""
        self.sessions[session.number] = session
        if session.side is Side.OPENER:
            self.opened_links.add(session)
        port = session.port
        port.granted_requests = self.settings.credit_requests
        port.granted_bytes = self.settings.credit_bytes
        port.meter = self.switch.traffic.of_link(session.name_for_limits())
        self.switch.add_port(port)
        if session.side is Side.ACCEPTOR:
            refused = self._refusal(session)
            if refused is not None:
                self.switch.counters[slots.REASON_SLOT[refused.reason]] += 1
                session.start()
                self.first_bytes.refuse(session, refused)
                return
        session.start()

    def _refusal(self, session: Link) -> Refusal | None:
        """Why a stranger's connection is not taken, and when to come again."""
        if self.closing and not self.expects_verification():
            return Refusal(Reason.SHUTTING_DOWN, SHUTTING_DOWN_S)
        return self.admit(session)

    def begun(self, session: Link, data: bytes) -> bool:
        """The first bytes came; whether they are the link's own, in clear."""
        return self.first_bytes.take(session, data, self.now())

    def received(self, session: Link, data: bytes) -> None:
        """Bytes of a link: through the switch, then everything that became of them goes out."""
        now, port, machine, switch = self._monotonic(), session.port, session.machine, self.switch
        machine.heard(now)
        before = port.responses_read + port.in_flight
        counters, tally = switch.counters, switch.tally
        put = counters[_RECORDS_OUT] - tally.apart
        try:
            switch.receive(port, data, now)
        except WireError as error:
            session.end(Reason.PROTOCOL_ERROR, str(error))
        if port.responses_read + port.in_flight != before:
            machine.busy(now)
        if port.refused > REFUSED_BEFORE_PROOF and not port.sources:
            session.end(Reason.NOT_PROVED, "too much without a proof")
        if len(port.unacked) > UNACKNOWLEDGED_AT_MOST:
            session.end(Reason.UNREAD_ANSWERS, "answers are not acknowledged")
        put = counters[_RECORDS_OUT] - tally.apart - put
        runs = tally.taken_runs() if tally.runs else ()
        self.flush()
        if put or runs:
            took_s = self._monotonic() - now
            tally.wrote(put, now, took_s, runs)
            if took_s > LONG_READ_S or session.reads_less:
                session.read_for(len(data), took_s)
        session.settle()
        meter = port.meter
        if meter is not None and (meter.insists or meter.troubled):
            self.slowed.slow(session, now, pause=meter.insists)

    def opened(self, session: Link, peer: Hello) -> None:
        """Both hellos are there."""
        port = session.port
        port.credit_requests, port.credit_bytes = peer.credit_requests, peer.credit_bytes
        peer_takes = min(max(peer.max_record, MAX_RECORD_BEFORE_PROOF), HIGHEST_MAX_RECORD)
        port.largest = peer_takes - RETRY_BYTES
        # a retry of ours may come until the request's deadline; a memory that ends before covers nothing
        window_ms = WINDOW_MS if peer.duplicate_window_ms is None else peer.duplicate_window_ms
        covers = window_ms > self.settings.answer_timeout_s * 1000
        port.epoch = peer.epoch if covers and Capability.DUPLICATES in peer.capabilities else None
        port.acknowledges = Capability.ACKNOWLEDGE in peer.capabilities
        for one in self.events:
            one.opened(session, peer)

    def stream_opened(self, session: Link, largest: int) -> None:
        """Nothing is left to negotiate but claims, where no hello is spoken: limits are our own.

        Args:
            session: the link.
            largest: the largest request that the other side takes, bytes.
        """
        port = session.port
        port.credit_requests, port.credit_bytes = self.settings.credit_requests, self.settings.credit_bytes
        port.largest = largest
        for one in self.events:
            one.opened(session, None)

    def control(self, session: Link, record: Control) -> None:
        """A legal record of the link's own."""
        if isinstance(record, Ack):
            if not self.switch.acknowledge(session.port, record.acknowledged):
                session.end(Reason.PROTOCOL_ERROR, "acknowledges what was never sent")
            return
        if isinstance(record, Credit):
            self._credit(session, record)
        for one in self.events:
            one.control(session, record)

    def _credit(self, session: Link, record: Credit) -> None:
        """New limits; none at all mean that new work goes elsewhere, as on a close (specification 5.3)."""
        port = session.port
        port.credit_requests, port.credit_bytes = record.credit_requests, record.credit_bytes
        if not record.credit_requests and not session.leaving:
            session.leaving = True
            session.write_rest()  # what was sent before leaves before anything that answers this record
            self.draining(session, Draining(Reason.SHUTTING_DOWN, by_peer=True))

    def draining(self, session: Link, effect: Draining) -> None:
        """No new request goes out on the link."""
        self.switch.stop_using(session.port)
        for one in self.events:
            one.draining(session, effect.reason, effect.by_peer)

    def leave(self, session: Link) -> None:
        """The link is as good as gone: nothing new goes over it."""
        self.switch.stop_using(session.port)

    def ending(self, session: Link) -> None:
        """The link ends on our word; its port is forgotten now, not when the kernel has said goodbye."""
        self._leaving[session.number] = (session, self.now() + self.settings.link.close_deadline_s)
        self.lost(session)

    def lost(self, session: Link) -> None:
        """The connection is gone."""
        if session.gone:
            self._leaving.pop(session.number, None)
        if self.sessions.pop(session.number, None) is None:
            return
        self.opened_links.remove(session)
        self.first_bytes.lost(session)
        reason, note = session.drop_reason, session.drop_note
        why = reason if reason.disclosed == Reason.LINK_LOST.word else Reason.LINK_LOST
        self.switch.remove_port(session.port, self.now(), why, f"{reason.word}: {note}".strip(": "))
        self.log.info(
            "link {link} to {address} ended: {reason}", link=session.number, address=session.remote[0],
            reason=reason.word, stage=reason.stage.value, note=note,
        )  # fmt: skip
        self.on_ended(reason)
        for one in self.events:
            one.lost(session)
        self.flush()

    def _bar(self, barred: list[tuple[int, Bar]]) -> None:
        for tag, bar in barred:
            self.switch.complete(tag, failure(bar.reason, note=bar.note), self.now())

    # -- output ------------------------------------------------------------------------------------------

    def attach(self, sink: Sink) -> None:
        """Connect a gateway inside this process to its port."""
        self._sinks[sink.port.number] = sink
        self.switch.add_port(sink.port)

    def detach(self, sink: Sink, why: Reason, note: str) -> None:
        """Let go of one that is gone; what is under way there is answered for that reason."""
        self._sinks.pop(sink.port.number, None)
        self.switch.remove_port(sink.port, self.now(), why, note)

    def flush(self) -> None:
        """Write what the switch put out, until nothing is left; a nested call leaves it to the outer one."""
        switch = self.switch
        if self._flushing or not (switch.dirty or switch.held or switch.foreign or switch.barred):
            return
        self._flushing = True
        try:
            while switch.dirty or switch.held or switch.foreign or switch.barred:
                if switch.barred:
                    barred, switch.barred = switch.barred, []
                    self.bar(barred)
                for port in switch.take_dirty():
                    self._write(port)
                if switch.held:
                    held, switch.held = switch.held, []
                    self.hold(held)
                if switch.foreign:
                    foreign, switch.foreign = switch.foreign, []
                    for process, record, speaks in foreign:
                        self.hand_over(process, record, speaks)
        finally:
            self._flushing = False

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is submitted meanwhile is taken at the end, and all is written then, once for each link."""
        if self._submitted is not None:
            yield
            return
        outer, self._flushing, self._submitted = self._flushing, True, {}
        try:
            yield
        finally:
            submitted, self._submitted, self._flushing = self._submitted, None, outer
            for port, records, taken in submitted.values():
                self.inject(port, b"".join(records), *taken)
            self.flush()

    def _write(self, port: Port) -> None:
        chunks, port.out = port.out, []
        session = self.sessions.get(port.number)
        if session is not None:
            ack = session.acknowledge(force=True)
            if ack:
                chunks.append(ack)
            session.write(bytes(chunks[0]) if len(chunks) == 1 else b"".join(chunks))
            return
        sink = self._sinks.get(port.number)
        if sink is not None:
            answered = port.acked + len(port.unacked)
            try:
                sink.take(b"".join(chunks))
            except Exception:  # noqa: BLE001 - one gateway's bug must not keep the others from being written to
                self.log.failure("gateway of port {link}", link=port.number)
            self.switch.acknowledge(port, answered)

    def tick(self, steps: int = 0) -> None:
        """Once a second: timers of links, late requests, the duplicate window.

        Args:
            steps: timers of links are looked at in so many calls of `step`, for those of a thousand links
                take 10 ms; 0: now.
        """
        now = self.now()
        self.switch.sweep(now, self.settings.answer_timeout_s)
        self.flush()
        self.timers.begin(steps)
        if not steps:
            self.step()
        for session, until in list(self._leaving.values()):
            if now >= until:
                self._leaving.pop(session.number, None)
                session.cut()
        for one in self.events:
            try:
                one.tick(now)
            except Exception:  # noqa: BLE001 - one part's failure must not stop the timers of the others
                self.log.failure("timers of {part}", part=type(one).__name__)
        self.flush()

    def step(self) -> None:
        """Begin handshakes that wait, and look at the timers of some of the links of this second."""
        if self.first_bytes.handshakes is not None:
            self.first_bytes.handshakes.step()
        self.timers.step()

    def _tick_link(self, session: Link, now: float) -> None:
        ack = session.acknowledge(force=True)
        if ack:
            session.write(ack)
        if session.refused is not None:
            self.first_bytes.waited(session, now)
        session.tick(now)
        session.settle()
        self._close_idle(session, now)

    def _close_idle(self, session: Link, now: float) -> None:
        settings = self.settings
        if not session.is_open or session.purpose is Purpose.UPLINK or session.service:
            return
        limit = settings.verify_idle_s if session.purpose is Purpose.VERIFY else settings.link.idle_s
        port = session.port
        if session.machine.idle_for(now) >= limit and not port.in_flight and not port.sent:
            if not self.keeps(session):
                session.close(Reason.IDLE)
        elif not port.sources and not port.speaks and now - session.opened_at > settings.proof_timeout_s:
            session.close(Reason.NOT_PROVED, text="no proof in time")

    def count(self, reason: Reason) -> None:
        """Count a refusal outside the hot path."""
        self.switch.counters[slots.REASON_SLOT[reason]] += 1

    def submit(self, port: Port, record: bytes, taken: Callable[[], None]) -> None:
        """Take a request of a gateway, at the end of what is done `together`.

        Args:
            port: of the gateway.
            record: one that is legal and within the port's `max_record`.
            taken: called when the switch has it, and before anything is written.
        """
        if self._submitted is None:
            self.inject(port, record, taken)
            return
        _, records, waiting = self._submitted.setdefault(port.number, (port, [], []))
        records.append(record)
        waiting.append(taken)

    def inject(self, port: Port, data: bytes, *taken: Callable[[], None]) -> None:
        """Take whole records from inside this process now; `taken` are called before anything is written."""
        now, switch = self._monotonic(), self.switch
        counters, tally = switch.counters, switch.tally
        put = counters[_RECORDS_OUT] - tally.apart
        switch.receive(port, data, now)
        put = counters[_RECORDS_OUT] - tally.apart - put
        runs = tally.taken_runs() if tally.runs else ()
        for tell in taken:
            tell()
        self.flush()
        if put or runs:
            tally.wrote(put, now, self._monotonic() - now, runs)
