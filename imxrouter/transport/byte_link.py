"""The bytes of a link: a TCP connection, TLS below it where there is any, reading within limits, writing.

What is said on it is the business of who builds on this: `session.LinkSession` for records of our own.
"""

from __future__ import annotations

from typing import Any, cast

from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from imxrouter.link.answer import ConnectionView
from imxrouter.link.claims import ClaimsMade, ClaimsReceived
from imxrouter.link.machine import LinkState, Side
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.switch import slots
from imxrouter.switch.ports import Port, Role
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.link import Centre, Door, Link, Machine, Purpose, Tongue
from imxrouter.transport.strangers import Accepted
from imxrouter.transport.strengths import SERVICE_OF
from imxrouter.transport.tls_layer import Below, below, close_encrypted, failure_words

#: A link that goes on above its rate is read in pieces of this size, and within a share of each turn of the
#: reactor: refusing what is in one takes a millisecond.
SLOW_READ_BYTES = 4096
READ_BYTES = tcp.Connection.bufferSize
#: Where one read keeps the others waiting for longer, the next one is smaller, to take half of that. A whole
#: read of messages that just pass takes a third of it.
LONG_READ_S = 0.004


def _nothing(_record: bytes) -> None:
    """What becomes of a record of a link that is gone."""


@implementer(IPullProducer)
class ByteLink(TwistedProtocol):
    """A connection of the hub's: accepted, or made by a connector.

    Who builds on it has a `machine`, writes what it says by `put`, and ends by `drop` where the machine has.

    Attributes:
        number: the port's number.
        remote: (address, port) actually connected.
        reached: domains whose own DNS (or pin) led to this address; openers only.
        door: what is taken on it, where it was opened to us.
        redirected: opened at a peer's word; serves no verification and obeys no further redirect.
        leaving: the peer takes no new requests here (CREDIT of 0), and will close in order.
        asked_by: network (prefix) of the stranger whose claim made us open it; empty for our own traffic.
        tls: what the TLS handshake came to; None in clear.
        refused: no room for it: the reason, and seconds; told once it is known how.
        service: the service that logged in on it, or that it is an uplink to.
        tongue: how claims are said on it; None: as records of the link's own.
    """

    # More than thirty attributes: a dictionary of them takes 1.3 kB.
    __slots__ = (
        "_below", "_direct", "_gone", "_hub", "_mute", "_tcp", "_unwritten", "asked_by", "bytes_in",
        "bytes_out", "door", "drop_note", "drop_reason", "leaving", "machine", "made", "number", "opened_at",
        "port", "purpose", "reached", "reads_less", "received", "redirected", "refused", "remote",
        "service", "side", "tls", "tongue",
    )  # fmt: skip

    transport: Any  # a TCP connection; its interface has no producers
    machine: Machine

    def __init__(self, hub: Centre, purpose: Purpose, door: Door, *, redirected: bool = False) -> None:
        self._hub = hub
        self.purpose = purpose
        self.door = door
        self.redirected = redirected
        self.side = Side.ACCEPTOR if purpose is Purpose.ACCEPTED else Side.OPENER
        self.number = hub.next_port_number()
        self.port = Port(self.number, Role.UPLINK if purpose is Purpose.UPLINK else Role.PEER, _nothing)
        self.remote: tuple[str, int] = ("", 0)
        self.reached: set[bytes] = set()
        self.leaving = False
        self.asked_by = b""
        self.tls: TlsFacts | None = None
        self.refused: Refusal | None = None
        self.made = ClaimsMade(deadline_s=hub.settings.claim_deadline_s)
        self.received = ClaimsReceived(
            limit=hub.settings.claims_per_link,
            before_proof=hub.settings.claims_before_proof,
            deadline_s=hub.settings.claim_deadline_s,
        )
        self.tongue: Tongue | None = None
        self.service = ""
        self.opened_at = hub.now()
        self.drop_reason = Reason.LINK_LOST
        self.drop_note = ""
        #: the last reads took long, so they are smaller
        self.reads_less = False
        self.bytes_in = 0
        self.bytes_out = 0
        self._unwritten = 0
        self._direct = False
        self._gone = False
        #: nothing is written: the connection is gone, or its handshake is under way
        self._mute = False
        self._tcp: Any = None
        self._below: Below | None = None

    @property
    def _link(self) -> Link:
        """What it is for others."""
        return cast("Link", self)

    # -- Twisted calls these -----------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """The connection is up."""
        peer = self.transport.getPeer()
        self.remote = (peer.host, peer.port)
        self.transport.setTcpNoDelay(True)
        self._direct = type(self.transport) in (Accepted, tcp.Server, tcp.Client)
        self._stands_on(self.transport)
        if self._below is None:
            self._tcp.registerProducer(self, False)
        if isinstance(self._tcp, Accepted):
            self._tcp.is_known = self.is_known
        self._hub.connected(self._link)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        if self._gone:
            return
        self._gone = self._mute = True
        if isinstance(reason.value, SSL.Error) and not self.drop_note:
            self.drop_note = failure_words(reason)
        self.machine.lost()
        self._hub.lost(self._link)
        self.port.on_control = _nothing  # else a circle is left, which the collector of cycles must find

    def _stands_on(self, transport: Any) -> None:
        self._below = below(transport)
        self._tcp = transport
        if self._below is not None:
            self._tcp = self._below.transport
            self._below.drained = self.resumeProducing

    def handshaking(self, transport: Any) -> None:
        """TLS begins below an accepted link: nothing is written until it is there."""
        self._mute, self._direct = True, False
        self.transport = transport
        self._stands_on(transport)

    def handshake_done(self, transport: Any, facts: TlsFacts) -> None:
        """TLS is there below an accepted link."""
        self.transport, self._mute = transport, self._gone
        self.encrypted(facts)

    def handshake_failed(self, note: str, reason: Reason = Reason.TLS_FAILED) -> bool:
        """No TLS came of an accepted connection; says whether that was the reason for its end."""
        decided = not self._gone and self.machine.state is not LinkState.CLOSED
        if decided:
            self.drop_reason, self.drop_note = reason, note
        self.connectionLost()
        return decided

    def encrypted(self, facts: TlsFacts) -> None:
        """What the TLS handshake came to; from now on claims are bound to it where it is TLS 1.3."""
        self.tls = facts
        view = ConnectionView.TLS_BOUND if facts.exporter else ConnectionView.TLS_UNBOUND
        for claims in (self.made, self.received):
            claims.view, claims.exporter = view, facts.exporter

    def presents(self, domain: bytes) -> bool:
        """Whether the certificate that we showed on this link names a domain of ours."""
        own = self.tls.own if self.tls is not None else None
        service = SERVICE_OF[self._link.protocol]
        return own is not None and own.covers(Domain(domain.decode("ascii")), service)

    def pauseProducing(self) -> None:
        """Nothing: what is not written is counted, never paused for (architecture section 7)."""

    def resumeProducing(self) -> None:
        """All that the kernel did not take at once is written."""
        self._unwritten = 0
        self.port.shedding = False

    def stopProducing(self) -> None:
        """The transport ends."""

    # -- being read ---------------------------------------------------------------------------------------

    def is_known(self) -> bool:
        """Whether something is proved on it."""
        return bool(self.port.sources or self.port.speaks or self.service)

    @property
    def unwritten(self) -> int:
        """Bytes that the other side has not read yet."""
        return self._unwritten

    def name_for_limits(self) -> bytes:
        """The link, for operators: its number and where it leads."""
        return f"link {self.number} of {self.remote[0]}".encode()

    def read_slowly(self, *, pause: bool) -> None:
        """Read less at a time, and with others of its kind; with `pause` nothing until `read_on`."""
        if not self._gone and not self.port.closed:
            if pause:
                self.transport.pauseProducing()
            self._read_gently(True)

    def read_on(self, *, slowly: bool) -> None:
        """Read again, in small pieces or as ever."""
        if self._gone or self.port.closed:
            return
        if not slowly:
            self._read_gently(False)
        self.transport.resumeProducing()

    def _read_gently(self, gently: bool) -> None:
        below = self._tcp
        if isinstance(below, Accepted):
            if not self.is_known():  # it is read with the strangers
                return
            if gently:
                below.read_in_turns(SLOW_READ_BYTES)
            elif not below.is_free:
                below.read_freely(SLOW_READ_BYTES)
        elif self._direct:
            below.bufferSize = SLOW_READ_BYTES
        self.reads_less = not gently  # they grow again as long as they are quick

    def read_for(self, size_bytes: int, took_s: float) -> None:
        """A read took so long that the next is to be smaller, or was one of those: it may grow again."""
        below = self._tcp
        if self._gone or (isinstance(below, Accepted) and not below.is_free):
            return
        fits = int(size_bytes * LONG_READ_S / 2 / max(took_s, 1e-6))
        if took_s > LONG_READ_S and size_bytes > SLOW_READ_BYTES:
            self.reads_less = True
            below.bufferSize = max(fits, SLOW_READ_BYTES)
        elif self.reads_less and fits >= 2 * below.bufferSize:
            below.bufferSize = min(below.bufferSize * 2, READ_BYTES)
            self.reads_less = below.bufferSize < READ_BYTES

    # -- writing -----------------------------------------------------------------------------------------

    def put(self, data: bytes) -> None:
        """Write bytes; a peer that does not read is first shed, then closed.

        As long as nothing waits, the kernel is asked directly: a turn through the reactor's writer list costs
        two system calls and a wake-up for each write.
        """
        if self._mute:
            return
        self.bytes_out += len(data)
        self._hub.switch.counters[slots.BYTES_OUT] += len(data)
        if not self._unwritten and self._direct:
            try:
                sent = self.transport.socket.send(data)
            except OSError:  # would block, or broken: the transport's write sees which
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        self.transport.write(data)
        if self._below is not None and not self._below.waiting:
            return
        self._unwritten += len(data)
        settings = self._hub.settings
        if self._unwritten > settings.unread_bytes:
            self.abort(Reason.UNREAD_ANSWERS, f"{self._unwritten} bytes were not read")
        elif self._unwritten > settings.output_high_bytes:
            self.port.shedding = True

    # -- the end -------------------------------------------------------------------------------------------

    def drop(self, reason: Reason, note: str) -> None:
        """End the connection after what is written; `machine` has ended already."""
        self.drop_reason, self.drop_note = reason, note
        self.port.closed = True
        self.port.usable = False
        self.write_rest()
        if not self._gone:
            self._tcp.unregisterProducer()
            if self.tls is None:
                self.transport.loseConnection()
            else:
                close_encrypted(self.transport)
            self._hub.ending(self._link)

    def abort(self, reason: Reason, note: str) -> None:
        """End without waiting for what is unwritten."""
        self.drop_reason, self.drop_note = reason, note
        self.port.closed = True
        self._hub.leave(self._link)
        self.machine.lost()
        if not self._gone:
            self.transport.abortConnection()

    def write_rest(self) -> None:
        """What the switch has put out already: answers of requests that came before the end."""
        chunks, self.port.out = self.port.out, []
        if chunks:
            self._link.write(b"".join(chunks))

    def cut(self) -> None:
        """End the connection without waiting for what is unwritten; the link itself has ended before."""
        if not self._gone:
            self._tcp.abortConnection()

    @property
    def gone(self) -> bool:
        """Whether the connection itself is gone."""
        return self._gone

    @property
    def is_open(self) -> bool:
        """Whether new claims and requests may go out."""
        return self.machine.state is LinkState.OPEN and not self.leaving
