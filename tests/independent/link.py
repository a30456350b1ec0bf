"""One link: hello, keep-alive, flow control, claims, close (imx-protocol sections 5 and 6), in clear."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import codec as c

if TYPE_CHECKING:
    from .router import Router

_PAGE = Path(__file__).parents[2] / "docs/specs/imx-protocol.md"
#: The registry of reasons, as the page prints it (section 9).
REASONS = {word: int(code) for code, word in re.findall(r"(?m)^\| (\d+) \| `([a-z-]+)`", _PAGE.read_text())}
NAMES = {number: name for name, number in REASONS.items()}

Values = dict[int, list[bytes]]

NEW, OPEN, DRAINING, CLOSED = "new", "open", "draining", "closed"

#: Who may send a record; all but HELLO, CLOSE and LOGIN are taken when open and when draining (section 5.6).
OPENER_ONLY = frozenset({c.CLAIM, c.PROOF, c.VERIFY, c.LOGIN, c.HAND_OVER})
ACCEPTOR_ONLY = frozenset({c.REDIRECT, c.CLAIM_RESULT, c.VERIFY_RESULT, c.PROVED, c.LOGIN_RESULT})


@dataclass(slots=True)
class Claim:
    """A claim that this side made."""

    pair: tuple[bytes, bytes]
    token: bytes
    result: asyncio.Future[str]
    released: bool = False
    nonces: dict[bytes, Link] = field(default_factory=dict)


@dataclass(slots=True)
class Asked:
    """A claim that the other side made."""

    pair: tuple[bytes, bytes]
    token: bytes
    secret: bytes
    answered: asyncio.Event = field(default_factory=asyncio.Event)


class Link(asyncio.Protocol):
    """One connection. `reached` is the set of domains an opener reached; None makes it an acceptor."""

    def __init__(self, router: Router, reached: set[bytes] | None = None) -> None:
        self.router = router
        self.number = router.number(self)
        self.opener, self.reached = reached is not None, reached or set()
        self.state, self.buffer = NEW, bytearray()
        self.opened: asyncio.Future[None] = router.loop.create_future()
        self.gone = asyncio.Event()
        self.send_pairs: set[tuple[bytes, bytes]] = set()  # (ours, theirs)
        self.accept_pairs: set[tuple[bytes, bytes]] = set()  # (theirs, ours)
        self.accept_all: set[bytes] = set()  # theirs, proved here by their claim
        self.proved = False
        self.claims: dict[int, Claim] = {}
        self.asked: dict[int, Asked] = {}
        self.verifying: dict[int, asyncio.Future[tuple[str, bytes]]] = {}
        self.claim_count = 0
        self.waiting_out: dict[int, int] = {}  # route tag -> bytes
        self.waiting_in: dict[int, int] = {}
        self.freed = asyncio.Event()
        self.read_responses = self.told_responses = self.sent_responses = self.acked = 0
        self.unacked: deque[bytes] = deque()
        self.peer: dict[int, bytes] = {}
        self.capabilities: list[int] = []
        self.credit = (1024, 1 << 20)
        self.heard = router.loop.time()
        self.close_reason = ""
        self.timers: list[asyncio.TimerHandle] = []
        self.address = ("", 0)
        self.answered = False

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello if this side opened it."""
        self.transport = transport
        if self.opener:
            self.write(self.router.hello(challenge=False))
        self.later(self.router.hello_timeout, self.check_hello)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """It ended, with a CLOSE or without."""
        self.state = CLOSED
        for timer in self.timers:
            timer.cancel()
        lost = ConnectionError(self.close_reason or "link-lost")
        waiting: list[asyncio.Future[None] | asyncio.Future[tuple[str, bytes]]] = [
            self.opened,
            *self.verifying.values(),
        ]
        for future in waiting:
            if not future.done():
                future.set_exception(lost)
                future.exception()
        for claim in self.claims.values():
            if not claim.result.done():
                claim.result.set_result("link-lost")
        self.gone.set()
        self.freed.set()
        self.router.lost(self)

    def data_received(self, data: bytes) -> None:
        """Take what came, record by record; the first that is malformed ends the link."""
        self.heard = self.router.loop.time()
        self.buffer += data
        try:
            while self.state != CLOSED and len(self.buffer) >= 4:
                limit = self.router.max_record if self.proved else 1280
                size = c.check_length(self.buffer, limit)
                if len(self.buffer) < size:
                    break
                raw = bytes(self.buffer[:size])
                del self.buffer[:size]
                self.take(c.decode(raw), size)
        except c.Malformed:
            self.fail("protocol-error")
        except c.UnknownCritical as unknown:
            self.fail("unknown-critical-field", int(unknown.args[0]))

    def take(self, record: c.Record, size: int) -> None:
        """One whole record: is it legal here, and whose is it."""
        if record.routed:
            if self.state == NEW:
                raise c.Malformed("before hello")
            if record.kind & c.RESPONSE:
                self.on_response(record)
            else:
                self.router.on_request(self, record, size)
            return
        if (self.state == NEW and record.kind not in {c.HELLO, c.CLOSE}) or (
            self.state != NEW and record.kind == c.HELLO
        ):
            raise c.Malformed("not now")
        if record.kind in (ACCEPTOR_ONLY if not self.opener else OPENER_ONLY):
            raise c.Malformed("not from that side")
        values = c.read_control(record)
        if values is not None:
            HANDLERS[record.kind](self, values)

    def write(self, *records: bytes) -> None:
        """Write records, an acknowledgement that is due before them."""
        if self.state == CLOSED:
            return
        if self.read_responses > self.told_responses and 2 in self.capabilities:
            self.told_responses = self.read_responses
            records = (c.control(c.ACK, (c.ACKNOWLEDGED, self.read_responses)), *records)
        if records:
            assert isinstance(self.transport, asyncio.WriteTransport)
            self.transport.write(b"".join(records))

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after some time, unless the link is gone."""
        self.timers = [timer for timer in self.timers if timer.when() > self.router.loop.time()]
        self.timers.append(self.router.loop.call_later(seconds, call))

    # Hello, keep-alive, credit.

    def check_hello(self) -> None:
        """End a link without a hello in time."""
        if self.state == NEW:
            self.fail("hello-timeout")

    def on_hello(self, values: Values) -> None:
        """The other side's hello; an acceptor answers."""
        if 1 not in c.u16s(values[c.VERSIONS][0]):
            self.fail("version-mismatch")
            return
        self.peer = {number: found[0] for number, found in values.items()}
        self.capabilities = c.u16s(self.peer.get(c.CAPABILITIES, b""))
        self.credit = (self.told(c.CREDIT_REQUESTS, 1024), self.told(c.CREDIT_BYTES, 1 << 20))
        if not self.opener:
            self.write(self.router.hello(challenge=True))
        self.state = OPEN
        self.opened.set_result(None)
        self.later(self.router.ping, self.tick)

    def told(self, number: int, default: int) -> int:
        """A number of the peer's hello."""
        return int.from_bytes(self.peer[number], "big") if number in self.peer else default

    def tick(self) -> None:
        """Ping, and judge silence (section 5.2)."""
        silent = self.router.loop.time() - self.heard
        if silent >= self.router.dead:
            self.close_reason = "keepalive-timeout"
            self.drop()
            return
        if silent >= self.router.ping:
            self.write(c.control(c.PING, (c.NONCE, secrets.token_bytes(8))))
        self.later(self.router.ping / 2, self.tick)

    def on_ping(self, values: Values) -> None:
        """Answer at once."""
        self.write(c.control(c.PONG, (c.NONCE, values[c.NONCE][0])))

    def on_credit(self, values: Values) -> None:
        """Both limits are replaced."""
        requests, size = values[c.CREDIT_REQUESTS][0], values[c.CREDIT_BYTES][0]
        self.credit = (int.from_bytes(requests, "big"), int.from_bytes(size, "big"))
        self.freed.set()

    def has_room(self, size: int) -> bool:
        """Say whether the peer's credit has room for one more request."""
        used = sum(self.waiting_out.values())
        return len(self.waiting_out) < self.credit[0] and used + size <= self.credit[1]

    # Responses and their acknowledgement.

    def on_response(self, record: c.Record) -> None:
        """Count what was read, whatever becomes of it; tell within a second (section 8.1)."""
        if self.read_responses == self.told_responses:
            self.later(0.5, self.write)
        self.read_responses += 1
        self.router.on_response(self, record)
        self.finish()

    def on_ack(self, values: Values) -> None:
        """Forget what the peer has read."""
        number = int.from_bytes(values[c.ACKNOWLEDGED][0], "big")
        if not self.acked <= number <= self.sent_responses:
            raise c.Malformed("acknowledged what was not sent")
        for _ in range(number - self.acked):
            self.router.acknowledged(self.unacked.popleft())
        self.acked = number

    # The end.

    def settled(self) -> bool:
        """Say whether no request is in flight; a pending claim is not waited for."""
        return not (self.waiting_in or self.waiting_out)

    def close(self, reason: str) -> None:
        """End it in order (section 5.4)."""
        if self.state == OPEN:
            self.state, self.close_reason, self.answered = DRAINING, reason, False
            self.write(c.control(c.CLOSE, (c.REASON, REASONS[reason]), (c.DEADLINE, 10_000)))
            self.later(10, self.drop)
        elif self.state == NEW:
            self.fail(reason)

    def on_close(self, values: Values) -> None:
        """The other side ends it, or answers this side's CLOSE."""
        announced = int.from_bytes(values.get(c.DEADLINE, [b""])[0], "big")
        if self.state == DRAINING:
            self.answered = True
        else:
            self.close_reason = NAMES.get(int.from_bytes(values[c.REASON][0], "big"), "peer-failed")
            if self.state == NEW or not announced:
                self.drop()
                return
            self.state, self.answered = DRAINING, True
            self.write(c.control(c.CLOSE, (c.REASON, values[c.REASON][0]), (c.DEADLINE, 0)))
            self.later(min(announced / 1000, 10), self.drop)
        self.finish()

    def finish(self) -> None:
        """Close the connection when both CLOSEs have passed and nothing is in flight."""
        if self.state == DRAINING and self.answered and self.settled():
            self.write()
            self.drop()

    def fail(self, reason: str, subject: int | None = None) -> None:
        """End it at once, and say why."""
        named = () if subject is None else ((c.SUBJECT_TYPE, subject),)
        self.close_reason = reason
        self.write(c.control(c.CLOSE, (c.REASON, REASONS[reason]), (c.DEADLINE, 0), *named))
        self.drop()

    def drop(self) -> None:
        """Close the connection after what is written."""
        self.state = CLOSED
        self.transport.close()

    # Claims: as the claimer.

    async def claim(self, ours: bytes, theirs: bytes) -> str:
        """Claim a domain of this side; a reason, `none` when proved (section 6.1)."""
        self.claim_count += 1
        number = self.claim_count
        token = self.router.token((ours, theirs), self.number, number)
        claim = self.claims[number] = Claim((ours, theirs), token, self.router.loop.create_future())
        about = ((c.CLAIM_NUMBER, number), (c.FROM_DOMAIN, ours), (c.TO_DOMAIN, theirs), (c.TOKEN, token))
        self.write(c.control(c.CLAIM, *about))
        try:
            return await asyncio.wait_for(claim.result, self.router.claim_deadline)
        except TimeoutError:
            return "dialback-timeout"
        finally:
            del self.claims[number]

    def on_verify(self, values: Values) -> None:
        """Is a claim of this side true? Release its answer on the first connection (sections 6.2, 6.3)."""
        pair = (values[c.FROM_DOMAIN][0], values[c.TO_DOMAIN][0])
        reason, nonce = self.router.judge(pair, values[c.TOKEN][0]), b""
        if not reason:
            reason, nonce = self.release(pair, values)
        extra = ((c.NONCE, nonce),) if nonce else ()
        number = values[c.CLAIM_NUMBER][0]
        self.write(c.control(c.VERIFY_RESULT, (c.CLAIM_NUMBER, number), (c.REASON, REASONS[reason]), *extra))

    def release(self, pair: tuple[bytes, bytes], values: Values) -> tuple[str, bytes]:
        """Checks 3 and 4, and the answer."""
        token = values[c.TOKEN][0]
        number = int.from_bytes(token[18:22], "big")
        first = self.router.links.get(int.from_bytes(token[14:18], "big"))
        if first is None or first.state == CLOSED:
            return "link-lost", b""
        claim = first.claims.get(number)
        if claim is None or claim.pair != pair or claim.token != token or claim.released:
            return "bad-token", b""
        if values[c.FIRST_VIEW][0] != b"\0":
            claim.result.set_result("tls-view-mismatch")
            return "tls-view-mismatch", b""
        nonce = secrets.token_bytes(16)
        claim.released = True
        claim.nonces[nonce] = self
        answer = c.answer(0, values[c.SECRET][0], b"", pair, token)
        first.write(c.control(c.PROOF, (c.CLAIM_NUMBER, number), (c.ANSWER, answer)))
        return "none", nonce

    def on_claim_result(self, values: Values) -> None:
        """What became of a claim; its nonces prove the verifier on its own connection (section 6.4)."""
        claim = self.claims.get(int.from_bytes(values[c.CLAIM_NUMBER][0], "big"))
        if claim is None or claim.result.done():
            return
        reason = NAMES.get(int.from_bytes(values[c.REASON][0], "big"), "peer-failed")
        if reason == "none" and not claim.released:
            reason = "protocol-error"
        if reason == "none":
            ours, theirs = claim.pair
            self.prove(ours, theirs)
            for nonce in values.get(c.NONCE, []):
                second = claim.nonces.pop(nonce, None)
                if second is not None and second.state != CLOSED:
                    second.prove(ours, theirs)
                    second.write(c.control(c.PROVED, (c.FROM_DOMAIN, theirs), (c.TO_DOMAIN, ours)))
        claim.result.set_result(reason)

    def prove(self, ours: bytes, theirs: bytes) -> None:
        """Both directions of one pair hold on this link."""
        self.send_pairs.add((ours, theirs))
        self.accept_pairs.add((theirs, ours))
        self.proved = True

    def on_proved(self, values: Values) -> None:
        """A verification that this side made proved it: the connection may carry data."""
        ours, theirs = values[c.FROM_DOMAIN][0], values[c.TO_DOMAIN][0]
        if theirs in self.reached and ours in self.router.domains:
            self.prove(ours, theirs)

    # Claims: as the verifier.

    def on_claim(self, values: Values) -> None:
        """Refuse a claim without dialling, or verify it."""
        number = int.from_bytes(values[c.CLAIM_NUMBER][0], "big")
        pair = (values[c.FROM_DOMAIN][0], values[c.TO_DOMAIN][0])
        reason = self.router.refuse_claim(pair)
        if not reason and self.state == DRAINING:
            reason = "shutting-down"
        if any(asked.pair[0] == pair[0] for asked in self.asked.values()) or number in self.asked:
            reason = reason or "too-many-claims"
        if reason:
            self.tell_result(number, reason)
            return
        self.asked[number] = Asked(pair, values[c.TOKEN][0], secrets.token_bytes(32))
        self.router.start(self.router.verify(self, number))

    def on_proof(self, values: Values) -> None:
        """An answer: compared in constant time; a wrong one changes nothing."""
        asked = self.asked.get(int.from_bytes(values[c.CLAIM_NUMBER][0], "big"))
        if asked is not None and hmac.compare_digest(asked.secret, values[c.ANSWER][0]):
            asked.answered.set()

    def tell_result(self, number: int, reason: str, nonces: tuple[bytes, ...] = ()) -> None:
        """Settle a claim of the other side (section 6.4)."""
        asked = self.asked.pop(number, None)
        extra: list[tuple[int, bytes | int]] = [(c.NONCE, nonce) for nonce in nonces]
        if asked is not None and reason == "none":
            self.accept_all.add(asked.pair[0])
            self.send_pairs.add((asked.pair[1], asked.pair[0]))
            self.proved = True
            extra.insert(0, (c.LEVEL, 1))
        self.write(c.control(c.CLAIM_RESULT, (c.CLAIM_NUMBER, number), (c.REASON, REASONS[reason]), *extra))

    async def verify(self, pair: tuple[bytes, bytes], token: bytes, secret: bytes) -> tuple[str, bytes]:
        """Ask the claimed domain over this link: reason and nonce.

        Raises:
            ConnectionError: the link was lost before a result.
        """
        self.claim_count += 1
        number = self.claim_count
        result: asyncio.Future[tuple[str, bytes]] = self.router.loop.create_future()
        self.verifying[number] = result
        about = ((c.CLAIM_NUMBER, number), (c.FROM_DOMAIN, pair[0]), (c.TO_DOMAIN, pair[1]), (c.TOKEN, token))
        self.write(c.control(c.VERIFY, *about, (c.SECRET, secret), (c.FIRST_VIEW, 0)))
        try:
            return await result
        finally:
            del self.verifying[number]

    def on_verify_result(self, values: Values) -> None:
        """The claimed domain's word."""
        result = self.verifying.get(int.from_bytes(values[c.CLAIM_NUMBER][0], "big"))
        if result is not None and not result.done():
            reason = NAMES.get(int.from_bytes(values[c.REASON][0], "big"), "dialback-refused")
            result.set_result((reason, values.get(c.NONCE, [b""])[0]))

    def withdraw(self, domain: bytes) -> None:
        """End what holds of a domain on this link (section 6.5)."""
        self.write(c.control(c.WITHDRAW, (c.FROM_DOMAIN, domain)))
        self.forget(domain)

    def on_withdraw(self, values: Values) -> None:
        """The other side ends it."""
        self.forget(values[c.FROM_DOMAIN][0])

    def forget(self, domain: bytes) -> None:
        """Neither send nor accept for the domain here any more."""
        self.send_pairs = {pair for pair in self.send_pairs if domain not in pair}
        self.accept_pairs = {pair for pair in self.accept_pairs if domain not in pair}
        self.accept_all.discard(domain)

    def on_login(self, _: Values) -> None:
        """Nobody is known here."""
        self.write(c.control(c.LOGIN_RESULT, (c.REASON, REASONS["login-failed"])))
        self.fail("login-failed")


HANDLERS: dict[int, Callable[[Link, Values], None]] = {
    c.HELLO: Link.on_hello, c.PING: Link.on_ping, c.PONG: lambda *_: None, c.ACK: Link.on_ack,
    c.CLOSE: Link.on_close, c.REDIRECT: lambda *_: None, c.CREDIT: Link.on_credit, c.CLAIM: Link.on_claim,
    c.CLAIM_RESULT: Link.on_claim_result, c.PROOF: Link.on_proof, c.VERIFY: Link.on_verify,
    c.VERIFY_RESULT: Link.on_verify_result, c.WITHDRAW: Link.on_withdraw, c.PROVED: Link.on_proved,
    c.LOGIN: Link.on_login, c.LOGIN_RESULT: lambda *_: None,
}  # fmt: skip
