"""What the parts of a process use of a link, whatever is spoken on it: our own records, or XMPP."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

import imxrouter.routing.choice
from imxrouter.link.claims import ClaimsMade, ClaimsReceived, MadeClaim, ReceivedClaim
from imxrouter.link.machine import Draining, LinkMachine, LinkState, Side
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.caps import Refusal
from imxrouter.switch.ports import Port
from imxrouter.switch.switch import Switch
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.settings import HubSettings
from imxrouter.wire.control import Claim, ClaimResult, Control, Hello


class Purpose(Enum):
    """Why we have the link."""

    ACCEPTED = "accepted"
    DATA = "data"
    VERIFY = "verify"
    UPLINK = "uplink"
    #: to another host of our own domains, to hand it what we remember
    SIBLING = "sibling"


class Door(Enum):
    """What is taken on a link that somebody opened to us."""

    ANY = "peers and logins of services"
    #: where services have a listener of their own
    PEERS = "peers"
    #: that listener
    SERVICES = "logins of services"
    #: streams of other organisations' XMPP servers
    XMPP = "XMPP servers"
    #: streams of an XMPP server behind us, for which we stand for all the others
    INSIDE = "XMPP server behind the router"
    #: components of XEP-0114 behind us
    COMPONENTS = "XMPP components"


class Machine(Protocol):
    """The life of a link, as far as others than the link itself look at it (`link.machine.LinkMachine`)."""

    @property
    def state(self) -> LinkState:
        """Where the link is in its life."""

    @property
    def peer_closed(self) -> bool:
        """Whether the other side closed first."""

    @property
    def close_received(self) -> object:
        """What the other side said of the end; None before."""

    @property
    def round_trip_s(self) -> float | None:
        """Of the last keep-alive that was answered."""

    @property
    def fenced(self) -> bool:
        """Whether what was sent before the last fence has been read."""

    def heard(self, now: float) -> None:
        """Bytes arrived."""

    def busy(self, now: float) -> None:
        """Something routed, or a claim, passed."""

    def idle_for(self, now: float) -> float:
        """Seconds since something routed, or a claim, passed."""

    def silent_for(self, now: float) -> float:
        """Seconds since anything was heard."""

    def lost(self) -> None:
        """The connection is gone."""


class Link(Protocol):
    """A connection to another router or server. What the attributes mean stands at `byte_link.ByteLink`."""

    number: int
    port: Port
    side: Side
    purpose: Purpose
    door: Door
    remote: tuple[str, int]
    reached: set[bytes]
    redirected: bool
    leaving: bool
    asked_by: bytes
    tls: TlsFacts | None
    refused: Refusal | None
    made: ClaimsMade
    received: ClaimsReceived
    tongue: Tongue | None
    service: str
    opened_at: float
    drop_reason: Reason
    drop_note: str
    reads_less: bool
    bytes_in: int
    bytes_out: int
    transport: Any

    @property
    def machine(self) -> Machine:
        """Its life."""

    @property
    def protocol(self) -> imxrouter.routing.choice.Protocol:
        """What is spoken on it."""

    @property
    def alpn(self) -> bytes:
        """What is named in TLS for the protocol that is spoken."""

    @property
    def challenge(self) -> bytes | None:
        """What a login on it signs; None where nobody can log in by a key."""

    @property
    def peer(self) -> Hello | None:
        """What the other side's hello said; None before it came, and where none is spoken."""

    @property
    def gone(self) -> bool:
        """Whether the connection itself is gone."""

    @property
    def is_open(self) -> bool:
        """Whether new claims and requests may go out."""

    @property
    def unwritten(self) -> int:
        """Bytes that the other side has not read yet."""

    @property
    def has_room_in_s(self) -> float:
        """Where the peer had no room for the link and has some soon: in how many seconds; else 0."""

    def presents(self, domain: bytes) -> bool:
        """Whether the certificate that we showed on this link names a domain of ours."""

    def is_known(self) -> bool:
        """Whether something is proved on it."""

    def name_for_limits(self) -> bytes:
        """The link, for operators."""

    def start(self) -> None:
        """The connection is up: say what is to be said first."""

    def tick(self, now: float) -> None:
        """Look at its timers; about once a second."""

    def write(self, data: bytes) -> None:
        """Write whole records; a link of another protocol says them in its own words."""

    def send(self, control: Control) -> None:
        """Say what a record of the link's own says, where the protocol that is spoken has a word for it."""

    def acknowledge(self, *, force: bool = False) -> bytes:
        """The ACK record that is due, or nothing."""

    def close(self, reason: Reason, *, retry_after_s: int | None = None, text: str | None = None) -> None:
        """Close in order: announced, what is in flight finishes."""

    def end(self, reason: Reason, note: str = "", *, retry_after_s: int | None = None) -> None:
        """End at once, and say why."""

    def turn_away(self, refused: Refusal) -> None:
        """End at once, for there is no room for it, and say so."""

    def drop(self, reason: Reason, note: str) -> None:
        """End the connection after what is written; `machine` has ended already."""

    def abort(self, reason: Reason, note: str) -> None:
        """End without waiting for what is unwritten."""

    def stop_requests(self) -> None:
        """Have the peer send no new request here, and say when it knows."""

    def fence(self) -> None:
        """Ask the peer to say when it has read all that was written until now; `machine.fenced` tells."""

    def settle(self) -> None:
        """While draining: end once nothing is in flight."""

    def cut(self) -> None:
        """End the connection; the link itself has ended before."""

    def write_rest(self) -> None:
        """Write what the switch has put out already."""

    def read_slowly(self, *, pause: bool) -> None:
        """Read less at a time, and with others of its kind; with `pause` nothing until `read_on`."""

    def read_on(self, *, slowly: bool) -> None:
        """Read again, in small pieces or as ever."""

    def read_for(self, size_bytes: int, took_s: float) -> None:
        """A read took so long that the next is to be smaller, or was one of those."""

    def handshaking(self, transport: Any) -> None:
        """TLS begins below the link: nothing is written until it is there."""

    def handshake_done(self, transport: Any, facts: TlsFacts) -> None:
        """TLS is there below the link."""

    def handshake_failed(self, note: str) -> bool:
        """No TLS came of the connection; says whether that was the reason for its end."""


class Tongue(Protocol):
    """How claims, verifications and their results are said on links of one protocol.

    `Claimer` and `Verifier` decide; this says it, and tells what is different where another protocol does not
    do as ours does. There is one for all links of a protocol. What comes is told to them by the same one.

    Attributes:
        protocol: which.
        renews: a proof of ours is renewed by another claim before it ends; else it ends with the link.
    """

    protocol: imxrouter.routing.choice.Protocol
    renews: bool

    def token(self, session: Link, from_domain: bytes, to_domain: bytes) -> bytes:
        """What proves that a claim is ours: the token of a CLAIM, the key of a db:result."""

    def claim(self, session: Link, made: MadeClaim) -> None:
        """Ask the peer to verify a claim of ours."""

    def result_is_proof(self, session: Link, result: ClaimResult) -> bool:
        """Whether the peer may take the claim of the result without dial-back."""

    def result(
        self, first: Link, claim: Claim | ReceivedClaim, reason: Reason, level: int,
        nonces: tuple[bytes, ...], retry_after_s: int,
    ) -> None:  # fmt: skip
        """Tell what became of a claim that the peer made; `NONE`: its domain is proved from now on."""

    def answers(self, first: Link) -> bool:
        """Whether what is for a domain that proved itself on a link may be sent there as well."""

    def second(self, own: Domain, peer: Domain, go_on: Callable[[Callable[[], None]], None]) -> Link:
        """Make a link that is opened only to verify; `go_on` does something in a turn with room for it."""

    def may_ask(self, second: Link, own: Domain, peer: Domain) -> bool:
        """Whether an open link, whose protocol is this one, can carry the question for these domains."""

    def verify(self, second: Link, number: int, claim: ReceivedClaim, first: Link) -> None:
        """Ask whether a claim that came on the first connection is the peer's own."""

    def carries(self, session: Link, domain: bytes) -> bool:
        """Whether a link that is in use for no way of the domain's must be told when it is withdrawn."""

    def withdraw(self, session: Link, domain: bytes, reason: Reason) -> None:
        """A domain of ours is served here no longer, or the proof of one of theirs has ended."""


class Centre(Protocol):
    """What a link asks of its process, and tells it: `Hub`."""

    switch: Switch
    random_bytes: Callable[[int], bytes]

    @property
    def settings(self) -> HubSettings:
        """Limits and times of the moment."""

    def now(self) -> float:
        """Seconds of the monotonic clock."""

    def next_port_number(self) -> int:
        """A number that no other port has."""

    def new_machine(self, side: Side, challenge: bytes | None) -> LinkMachine:
        """A link machine that says hello as this process."""

    def connected(self, session: Link) -> None:
        """A connection is up."""

    def begun(self, session: Link, data: bytes) -> bool:
        """The first bytes came on an accepted link; whether they are the link's own, in clear."""

    def received(self, session: Link, data: bytes) -> None:
        """Whole and begun records came."""

    def opened(self, session: Link, peer: Hello) -> None:
        """Both hellos are there."""

    def stream_opened(self, session: Link, largest: int) -> None:
        """Nothing is left to negotiate but claims, where no hello is spoken.

        Args:
            session: the link.
            largest: the largest request that the other side takes, bytes.
        """

    def control(self, session: Link, record: Control) -> None:
        """A legal record of the link's own."""

    def draining(self, session: Link, effect: Draining) -> None:
        """No new request goes out on it."""

    def flush(self) -> None:
        """Write what the switch put out."""

    def count(self, reason: Reason) -> None:
        """Count a refusal outside the hot path."""

    def leave(self, session: Link) -> None:
        """It is as good as gone."""

    def ending(self, session: Link) -> None:
        """It ends on our word."""

    def lost(self, session: Link) -> None:
        """The connection is gone."""
