"""The life of one link, without I/O: hello, keep-alive, orderly close, redirect (specification section 5).

The opener speaks first. Both directions share one table of states; which records are legal in which state and
from which side is data (`LEGAL`). A missing entry is a protocol error that ends this link only. Inputs return
effects, in order; the transport performs them. Requests and claims are not this machine's business: it hands
the typed record over as `Received` once it is legal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from imxrouter.model.vocabulary import REASON_BY_CODE, Reason
from imxrouter.wire.control import (
    Ack,
    Claim,
    ClaimResult,
    Close,
    Control,
    Credit,
    HandOver,
    Hello,
    Login,
    LoginResult,
    Ping,
    Pong,
    Proof,
    Proved,
    Redirect,
    Verify,
    VerifyResult,
    Withdraw,
    decode_control,
)
from imxrouter.wire.errors import UnknownCritical, WireError
from imxrouter.wire.layout import FLAG_CRITICAL, MAX_RECORD_BEFORE_PROOF
from imxrouter.wire.record import decode_record
from imxrouter.wire.registry import PROTOCOL_VERSION, type_name


class Side(Enum):
    """Who opened the connection."""

    OPENER = "opener"
    ACCEPTOR = "acceptor"


class LinkState(Enum):
    """Where the link is in its life."""

    NEW = "new"
    AWAIT_HELLO = "await-hello"
    OPEN = "open"
    #: A close went out or came in: no new request or claim from us, what is in flight finishes.
    DRAINING = "draining"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Timers of a link, seconds."""

    ping_s: float = 10.0
    dead_s: float = 30.0
    hello_timeout_s: float = 10.0
    idle_s: float = 300.0
    close_deadline_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """Both hellos are there; the link may carry claims and, once proved, requests."""

    peer: Hello


@dataclass(frozen=True, slots=True)
class Received:
    """A legal record of the link's own that the owner of claims, credit or logins must act on."""

    record: Control


@dataclass(frozen=True, slots=True)
class Draining:
    """No new request may go out on this link from now on."""

    reason: Reason
    by_peer: bool
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """End the connection now (after what is written)."""

    reason: Reason
    note: str = ""


Effect = Send | Opened | Received | Draining | Drop

_BEFORE: Final = frozenset({LinkState.AWAIT_HELLO})
_OPEN: Final = frozenset({LinkState.OPEN})
_LIVE: Final = frozenset({LinkState.OPEN, LinkState.DRAINING})
_BOTH: Final = frozenset(Side)
_OPENER: Final = frozenset({Side.OPENER})
_ACCEPTOR: Final = frozenset({Side.ACCEPTOR})

#: Record -> (states in which we take it, sides of ours that may receive it). Specification section 5.6.
LEGAL: Final[dict[type[Control], tuple[frozenset[LinkState], frozenset[Side]]]] = {
    Hello: (_BEFORE, _BOTH),
    Ping: (_LIVE, _BOTH),
    Pong: (_LIVE, _BOTH),
    Ack: (_LIVE, _BOTH),
    Close: (_LIVE | _BEFORE, _BOTH),
    Redirect: (_LIVE, _OPENER),
    Credit: (_LIVE, _BOTH),
    Claim: (_LIVE, _ACCEPTOR),
    Proof: (_LIVE, _ACCEPTOR),
    ClaimResult: (_LIVE, _OPENER),
    Verify: (_LIVE, _ACCEPTOR),
    VerifyResult: (_LIVE, _OPENER),
    Withdraw: (_LIVE, _BOTH),
    Proved: (_LIVE, _OPENER),
    Login: (_OPEN, _ACCEPTOR),
    LoginResult: (_LIVE, _OPENER),
    HandOver: (_LIVE, _ACCEPTOR),
}


class LinkMachine:
    """One link. Feed it whole records of the link's own and the time; perform the effects it returns.

    Args:
        side: who opened the connection.
        hello: what we say of ourselves.
        settings: timers.
        now: seconds of a monotonic clock.
        random_bytes: source of ping nonces.
    """

    def __init__(
        self,
        side: Side,
        hello: Hello,
        settings: LinkSettings,
        now: float,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.side = side
        self.state = LinkState.NEW
        self.peer: Hello | None = None
        self.version = 0
        self.close_sent: Close | None = None
        self.close_received: Close | None = None
        #: the other side closed first
        self.peer_closed = False
        self._hello = hello
        self._settings = settings
        self._random_bytes = random_bytes
        self._started_at = now
        self._heard_at = now
        self._busy_at = now
        self._pinged_at = now
        self._deadline: float | None = None
        self.round_trip_s: float | None = None
        self._ping_nonce = b""
        self._fence = b""

    def start(self) -> list[Effect]:
        """The connection is up: the opener says hello, the acceptor waits for one."""
        self.state = LinkState.AWAIT_HELLO
        return [Send(self._hello.encode())] if self.side is Side.OPENER else []

    def heard(self, now: float) -> None:
        """Bytes arrived; whatever they are, the peer is alive."""
        self._heard_at = now

    def busy(self, now: float) -> None:
        """A routed record or a claim passed: the link is not idle."""
        self._busy_at = now

    def receive(self, data: bytes, now: float) -> list[Effect]:
        """Take one whole record of the link's own.

        Never raises on any input: what the specification does not allow ends the link with a close record
        that says why, and a `Drop`.
        """
        if self.state in (LinkState.NEW, LinkState.CLOSED):
            return []
        self._heard_at = now
        try:
            record = decode_record(data)
            if self.state is LinkState.AWAIT_HELLO and len(data) > MAX_RECORD_BEFORE_PROOF:
                raise WireError(f"hello of {len(data)} bytes; at most {MAX_RECORD_BEFORE_PROOF}")
            control = decode_control(record)
        except UnknownCritical as error:
            return self._fail(Reason.UNKNOWN_CRITICAL, str(error), error.number)
        except WireError as error:
            return self._fail(Reason.PROTOCOL_ERROR, str(error))
        if control is None:
            if record.flags & FLAG_CRITICAL:
                return self._fail(Reason.UNKNOWN_CRITICAL, f"record {type_name(record.type)}", record.type)
            if self.state is LinkState.AWAIT_HELLO:
                return self._fail(Reason.PROTOCOL_ERROR, f"{type_name(record.type)} before hello")
            return []
        states, sides = LEGAL[type(control)]
        if self.state not in states or self.side not in sides:
            where = f"{self.side.value} in state {self.state.value}"
            return self._fail(Reason.PROTOCOL_ERROR, f"{type_name(record.type)} is not legal for an {where}")
        return self._act(control, now)

    def _act(self, control: Control, now: float) -> list[Effect]:
        if isinstance(control, Hello):
            return self._on_hello(control)
        if isinstance(control, Ping):
            return [Send(Pong(control.nonce).encode())]
        if isinstance(control, Pong):
            if control.nonce == self._ping_nonce:
                self.round_trip_s = now - self._pinged_at
            if control.nonce == self._fence:
                self._fence = b""
            return []
        if isinstance(control, Close):
            return self._on_close(control, now)
        if isinstance(control, Claim | Verify | Proof | ClaimResult):
            self._busy_at = now
        return [Received(control)]

    def _on_hello(self, hello: Hello) -> list[Effect]:
        if PROTOCOL_VERSION not in hello.versions:
            offered = ", ".join(map(str, hello.versions[:8])) or "none"
            return self._fail(
                Reason.VERSION_MISMATCH, f"versions offered: {offered}; spoken: {PROTOCOL_VERSION}"
            )
        self.peer = hello
        self.version = PROTOCOL_VERSION
        self.state = LinkState.OPEN
        answer: list[Effect] = [Send(self._hello.encode())] if self.side is Side.ACCEPTOR else []
        return [*answer, Opened(hello)]

    def _on_close(self, close: Close, now: float) -> list[Effect]:
        self.close_received = close
        self.peer_closed = self.state is not LinkState.DRAINING
        if self.state is LinkState.AWAIT_HELLO:
            self.state = LinkState.CLOSED
            return [Drop(_reason(close.reason), close.text or "")]
        effects: list[Effect] = []
        if self.state is LinkState.OPEN:
            effects.append(Draining(_reason(close.reason), True, close.retry_after_s or 0))
            effects += self._announce(Close(close.reason), now, close.deadline_ms / 1000)
        return effects

    def close(
        self, reason: Reason, now: float, *, retry_after_s: int | None = None, text: str | None = None
    ) -> list[Effect]:
        """Announce an orderly close; what is in flight has until the deadline."""
        if self.state is LinkState.AWAIT_HELLO or self.state is LinkState.NEW:
            return self._fail(reason, text or "", retry_after_s=retry_after_s)
        if self.state is not LinkState.OPEN:
            return []
        deadline_s = self._settings.close_deadline_s
        close = Close(reason.code, int(deadline_s * 1000), retry_after_s, None, text)
        return [Draining(reason, False), *self._announce(close, now, deadline_s)]

    def refuse(
        self, reason: Reason, *, retry_after_s: int | None = None, text: str | None = None
    ) -> list[Effect]:
        """End the link at once with a close record that says why (caps, rate, protocol)."""
        if self.state is LinkState.CLOSED:
            return []
        return self._fail(reason, text or "", retry_after_s=retry_after_s)

    def _announce(self, close: Close, now: float, deadline_s: float) -> list[Effect]:
        self.state = LinkState.DRAINING
        self.close_sent = close
        self._deadline = now + min(max(deadline_s, 0.0), self._settings.close_deadline_s)
        return [Send(close.encode())]

    def settle(self, in_flight: int) -> list[Effect]:
        """While draining: both sides have announced and nothing is in flight, so the link may end."""
        if self.state is not LinkState.DRAINING or in_flight or self.close_received is None:
            return []
        self.state = LinkState.CLOSED
        return [Drop(self._why_drained())]

    def tick(self, now: float) -> list[Effect]:
        """Look at the timers; call it about once a second."""
        if self.state is LinkState.AWAIT_HELLO:
            if now - self._started_at >= self._settings.hello_timeout_s:
                return self._fail(Reason.HELLO_TIMEOUT, f"no hello in {self._settings.hello_timeout_s:g} s")
            return []
        if self.state is LinkState.DRAINING and self._deadline is not None and now >= self._deadline:
            self.state = LinkState.CLOSED
            return [Drop(self._why_drained(), "close deadline")]
        if self.state not in _LIVE:
            return []
        if now - self._heard_at >= self._settings.dead_s:
            self.state = LinkState.CLOSED
            return [Drop(Reason.KEEPALIVE_TIMEOUT, f"silent for {self._settings.dead_s:g} s")]
        if now - max(self._heard_at, self._pinged_at) >= self._settings.ping_s:
            self._pinged_at = now
            self._ping_nonce = self._random_bytes(8)
            return [Send(Ping(self._ping_nonce).encode())]
        return []

    def fence(self) -> list[Effect]:
        """Ask the peer to say when it has read all that was sent until now; `fenced` tells that it has."""
        if self.state not in _LIVE:
            return []
        self._fence = self._random_bytes(8)
        return [Send(Ping(self._fence).encode())]

    @property
    def fenced(self) -> bool:
        """Whether what was sent before the last `fence` has been read; nothing is outstanding without one."""
        return not self._fence

    def idle_for(self, now: float) -> float:
        """Seconds since a routed record or a claim passed."""
        return now - self._busy_at

    def silent_for(self, now: float) -> float:
        """Seconds since anything was heard."""
        return now - self._heard_at

    def lost(self) -> None:
        """The connection is gone."""
        self.state = LinkState.CLOSED

    def _why_drained(self) -> Reason:
        close = self.close_sent or self.close_received
        return Reason.NONE if close is None else _reason(close.reason)

    def _fail(
        self, reason: Reason, note: str, subject_type: int | None = None, retry_after_s: int | None = None
    ) -> list[Effect]:
        self.state = LinkState.CLOSED
        close = Close(reason.code, 0, retry_after_s, subject_type, note[:200] or None)
        self.close_sent = close
        return [Send(close.encode()), Drop(reason, note)]


def _reason(code: int) -> Reason:
    return REASON_BY_CODE.get(code, Reason.PEER_FAILED)
