"""What one connection to a domain is asked for, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed

from imxrouter.discovery.finder import Found
from imxrouter.discovery.records import Target
from imxrouter.discovery.search import Purpose
from imxrouter.model.domain import Domain
from imxrouter.model.errors import RouterError
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.policy import Decision, Level
from imxrouter.tls.facts import TlsFacts
from imxrouter.transport.encryption import EncryptedSocket
from imxrouter.transport.opening import Endpoint, OpenedSocket


@dataclass(frozen=True, slots=True)
class ConnectLimits:
    """Bounds of one connection to a domain.

    Attributes:
        dns_s: for the look-up of the domain, and for that of each target's addresses.
        connect_s: for one attempt.
        handshake_s: for the TLS handshake of a connection that is there.
        negotiation_s: for what must be said on one before it is of use; two targets fit into `total_s`.
        total_s: for everything together but a turn; below the 15 s for which messages are held.
        turn_s: for a turn, where many links are opened to one address one after the other.
        race_delay_s: head start of an attempt (RFC 8305 section 8 recommends 250 ms).
        targets: targets tried.
        stranger_attempts: attempts where a stranger's word makes us dial; `admit_target` may allow fewer.
    """

    dns_s: float = 10.0
    connect_s: float = 5.0
    handshake_s: float = 5.0
    negotiation_s: float = 6.0
    total_s: float = 14.0
    turn_s: float = 15.0
    race_delay_s: float = 0.25
    targets: int = 8
    stranger_attempts: int = 4


@dataclass(frozen=True, slots=True)
class Attempt:
    """One target or address that came to nothing.

    Attributes:
        host: the target's name.
        ip: the address; empty where it did not come to that.
        port: the target's port.
        reason: why.
        seconds: how long it took.
        note: an operator's detail.
    """

    host: str
    ip: str
    port: int
    reason: Reason
    seconds: float = 0.0
    note: str = ""


class NotNegotiated(RouterError):
    """A connection that is there is of no use; says why."""

    def __init__(self, reason: Reason, note: str = "") -> None:
        super().__init__(f"{reason.word}: {note}".rstrip(": "))
        self.reason = reason
        self.note = note


class ConnectFailed(RouterError):
    """No connection to a domain.

    Attributes:
        reason: of the most telling attempt.
        domain: whom it was for.
        note: an operator's detail.
        attempts: everything that was tried, in the order in which it failed.
        exhausted: every endpoint was one that the caller wanted skipped.
    """

    def __init__(
        self,
        reason: Reason,
        domain: Domain,
        note: str = "",
        attempts: Sequence[Attempt] = (),
        *,
        exhausted: bool = False,
    ) -> None:
        super().__init__(f"{domain}: {reason.word}{f': {note}' if note else ''}")
        self.reason = reason
        self.domain = domain
        self.note = note
        self.attempts = tuple(attempts)
        self.exhausted = exhausted


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection to one of a domain's targets.

    Attributes:
        protocol: what the factory made, connected; or what `reuse` gave.
        target: the target reached; for a pin its address and port.
        ip: the address connected to.
        port: the port connected to.
        found: what discovery said; None for a pin.
        reused: it was open before.
    """

    protocol: Any
    target: Target
    ip: str
    port: int
    found: Found | None
    reused: bool = False


#: Makes the TLS handshake of a connection, within so many seconds.
Encrypt = Callable[[OpenedSocket, float], Deferred[EncryptedSocket]]


def _no_end() -> None:
    """Nobody waits for it."""


#: What a connection counts for of which nothing is asked, or not yet.
UNASKED: Final = Decision(Level.DIALBACK, int(Level.DIALBACK))


@dataclass(frozen=True, slots=True)
class DialTerms:
    """What may differ from one connection to the next.

    Attributes:
        purpose: `im`, `pres` or `xmpp`.
        strangers_word: a stranger made us dial: few attempts, each asked of `admit_target`.
        filter_target: returns why a target is not to be tried, or None.
        pins: configured addresses; they replace discovery, race in random order, and are not guarded,
            because the operator named them.
        skip: endpoints not to be tried.
        reuse: an open connection to that very endpoint that does for the target, or None.
        only: the one target to be tried; discovery is not asked, the guard is.
        promised: TLS can be spoken where DNSSEC promises it, though nothing else asks for it.
        encrypt: makes the TLS handshake with a target on a connection that is there, within so many seconds;
            None where the target is spoken to in clear.
        identify: judges what a connection to a target is worth, before anything is said there.
        negotiate: prepares a protocol before it gets its connection to a target. What it returns fires when
            that is of use, and fails with `NotNegotiated` where it is not: the next target is tried. Whoever
            cancels it ends the connection. None: it is of use at once.
        turn: fires when these endpoints may be dialled, with what is called when that has ended.
        admit_target: asked before each attempt on a stranger's word; a reason refuses it.
        failed_connect: told after each attempt on a stranger's word that failed.
    """

    purpose: Purpose = "im"
    strangers_word: bool = False
    filter_target: Callable[[Target], Reason | None] = lambda _target: None
    pins: tuple[Endpoint, ...] = ()
    skip: AbstractSet[Endpoint] = frozenset()
    reuse: Callable[[Endpoint, Target], object | None] = lambda _endpoint, _target: None
    only: Target | None = None
    encrypt: Callable[[Target], Encrypt | None] = lambda _target: None
    promised: bool = False
    identify: Callable[[Target, TlsFacts | None], Decision] = lambda _target, _facts: UNASKED
    negotiate: Callable[[Target, Any], Deferred[None] | None] = lambda _target, _protocol: None
    turn: Callable[[Sequence[Endpoint]], Deferred[Callable[[], None]]] = lambda _endpoints: succeed(_no_end)
    admit_target: Callable[[str, int], Reason | None] = lambda _ip, _port: None
    failed_connect: Callable[[str, int, Reason], None] = lambda _ip, _port, _reason: None
