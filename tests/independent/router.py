"""A router: routed records, duplicates, retries, and who is dialled (imx-protocol sections 6 to 8)."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.parser import BytesHeaderParser

from . import codec as c
from .link import CLOSED, NAMES, OPEN, REASONS, Link

_DOMAIN = re.compile(
    rb"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
SUCCESS, FAILURE, INDETERMINANT = 0, 1, 2

Outcome = tuple[int, str]
Deliver = Callable[[c.Record], Awaitable[Outcome]]
Fields = tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a response says (section 7.3)."""

    status: int
    reason: str = "none"
    retry_after_s: int = 0
    fields: Fields = ()
    content: bytes = b""

    @property
    def outcome(self) -> Outcome:
        """Status and reason."""
        return self.status, self.reason

    @property
    def body(self) -> bytes:
        """The body of the response."""
        return c.outcome(self.status, REASONS[self.reason], self.retry_after_s) + self.content

    def first(self, number: int) -> bytes | None:
        """The first value of a field, or None."""
        return next((value for kind, value in self.fields if kind & 0x7FFF == number), None)


Handler = Callable[[c.Record], Awaitable[Answer]]
Addresses = list[tuple[str, int]]


def is_address(address: bytes) -> bool:
    """Say whether an address is one (sections 3.2 and 3.3), as far as it can be said without PRECIS."""
    local, _, domain = address.rpartition(b"@")
    try:
        local.decode()
    except UnicodeDecodeError:
        return False
    return b"@" not in local and bool(_DOMAIN.fullmatch(domain))


def message_body(sender: str, to: str, text: str) -> bytes:
    """The least MIME entity of section 7.1."""
    return f"From: <im:{sender}>\r\nTo: <im:{to}>\r\n\r\n{text}".encode()


def message(sender: str, to: str, text: str) -> c.Record:
    """A message as it begins its way."""
    number, body = secrets.token_bytes(16), message_body(sender, to, text)
    return c.Record(c.MESSAGE, c.WANTED, 110, 0, number, to.encode(), sender.encode(), (), body)


def body_fits(record: c.Record) -> bool:
    """Say whether From and To inside the body equal the envelope's."""
    head = BytesHeaderParser().parsebytes(record.body)
    inside = [
        [str(value).strip("<> ").removeprefix("im:") for value in head.get_all(name, [])]
        for name in ("To", "From")
    ]
    return inside == [[record.to.decode()], [record.sender.decode()]]


@dataclass(slots=True)
class Flight:
    """A request that this side sent: at most one retry (section 8.2)."""

    record: c.Record
    link: Link
    epoch: bytes
    answer: asyncio.Future[Answer]
    retried: bool = False


@dataclass(slots=True)
class Seen:
    """A request in the duplicate memory."""

    digest: bytes
    waiting: list[tuple[Link, c.Record]]
    keep: bool = False
    answer: Answer | None = None
    until: float = 0.0


@dataclass
class Router:
    """Serves `domains` and reaches others at the addresses that `where` gives."""

    domains: set[bytes]
    where: Mapping[bytes, Addresses]
    deliver: Deliver
    ping: float = 10.0
    dead: float = 30.0
    hello_timeout: float = 10.0
    claim_deadline: float = 30.0
    answer_timeout: float = 30.0
    window: float = 60.0
    max_record: int = 65536
    max_body: int = 16384
    credit: tuple[int, int] = (4096, 4 << 20)
    links: dict[int, Link] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make what lasts one process life."""
        self.loop = asyncio.get_running_loop()
        self.secret, self.host, self.epoch = (
            secrets.token_bytes(32),
            secrets.token_bytes(8),
            secrets.token_bytes(8),
        )
        self.instance = secrets.token_bytes(16)
        self.flights: dict[int, Flight] = {}
        self.memory: dict[bytes, Seen] = {}
        self.count = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.dropped = 0
        self.dialling: dict[bytes, asyncio.Lock] = {}
        self.handlers: dict[int, Handler] = {c.MESSAGE: self.on_message}
        self.on_lost: Callable[[Link], None] = lambda _: None

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Run something beside."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def listen(self, port: int = 0) -> int:
        """Take links of others."""
        self.server = await self.loop.create_server(lambda: Link(self), "127.0.0.1", port)
        return int(self.server.sockets[0].getsockname()[1])

    async def stop(self, reason: str = "shutting-down") -> None:
        """Close every link in order."""
        self.server.close()
        links = list(self.links.values())
        for link in links:
            link.close(reason)
        for link in links:
            await link.gone.wait()

    def number(self, link: Link) -> int:
        """Name a link."""
        self.count += 1
        self.links[self.count] = link
        return self.count

    def hello(self, *, challenge: bool) -> bytes:
        """This side's HELLO (section 5.1)."""
        extra = ((c.CHALLENGE, secrets.token_bytes(32)),) if challenge else ()
        return c.control(
            c.HELLO,
            (c.VERSIONS, 1), (c.CAPABILITIES, b"\0\1\0\2"), (c.MAX_RECORD, self.max_record),
            (c.CREDIT_REQUESTS, self.credit[0]), (c.CREDIT_BYTES, self.credit[1]),
            (c.ROUTER_INSTANCE, self.instance), (c.LINK_EPOCH, self.epoch),
            (c.PING_INTERVAL, int(self.ping * 1000)), (c.DEAD_AFTER, int(self.dead * 1000)),
            (c.DUPLICATE_WINDOW, int(self.window * 1000)),
            *extra, (c.SOFTWARE, b"independent"),
        )  # fmt: skip

    # Claims.

    def token(self, pair: tuple[bytes, bytes], link: int, claim: int) -> bytes:
        """A token for one claim."""
        key = c.domain_key(self.secret, pair[0])
        return c.mint(key, pair, self.host, link, claim, secrets.token_bytes(16), int(time.time()) + 60)

    def judge(self, pair: tuple[bytes, bytes], token: bytes) -> str:
        """Checks 1 and 2 of section 6.2."""
        if pair[0] not in self.domains:
            return "not-mine"
        return c.judge(token, c.domain_key(self.secret, pair[0]), self.host, pair, time.time())

    def refuse_claim(self, pair: tuple[bytes, bytes]) -> str:
        """Why a claim is refused without dialling (section 6.1), or empty."""
        if not all(_DOMAIN.fullmatch(domain) for domain in pair):
            return "bad-address"
        if pair[1] not in self.domains:
            return "relay-denied"
        return "served-here" if pair[0] in self.domains else ""

    async def verify(self, first: Link, number: int) -> None:
        """Verify a claim by dial-back (sections 6.2 to 6.4)."""
        asked = first.asked[number]
        reason, nonce = "dialback-timeout", b""
        try:
            async with asyncio.timeout(self.claim_deadline):
                reason, nonce = await self.ask(asked.pair, asked.token, asked.secret)
                if reason == "none":
                    await asked.answered.wait()
        except TimeoutError:
            reason = "dialback-timeout"
        first.tell_result(number, reason, (nonce,) if nonce else ())

    async def ask(self, pair: tuple[bytes, bytes], token: bytes, secret: bytes) -> tuple[str, bytes]:
        """Ask the claimed domain's targets one after the other."""
        reason = "not-mine"
        for address in self.where.get(pair[0], [])[:8]:
            try:
                second = await self.reach(pair[0], address)
                reason, nonce = await second.verify(pair, token, secret)
            except OSError:
                reason = "connection-refused"
                continue
            if reason == "not-mine":
                continue
            return (reason if reason in {"none", "link-lost"} else "dialback-refused"), nonce
        return reason, b""

    async def reach(self, domain: bytes, address: tuple[str, int]) -> Link:
        """An open link to an address of a domain, opened by this side."""
        for link in self.links.values():
            if link.opener and link.state == OPEN and link.address == address:
                link.reached.add(domain)
                return link
        _, made = await self.loop.create_connection(lambda: Link(self, {domain}), *address)
        made.address = address
        await made.opened
        return made

    async def way(self, ours: bytes, theirs: bytes) -> Link:
        """A link on which one pair holds; dialled and claimed if there is none, by one at a time.

        Raises:
            OSError: nobody is there, or the claim was refused; its text is the reason.
        """
        reason: OSError = ConnectionError("no-such-domain")
        async with self.dialling.setdefault(theirs, asyncio.Lock()):
            for link in self.links.values():
                if link.state == OPEN and (ours, theirs) in link.send_pairs:
                    return link
            for address in self.where.get(theirs, []):
                try:
                    link = await self.reach(theirs, address)
                    word = await link.claim(ours, theirs)
                except OSError as failed:
                    reason = failed
                    continue
                if word == "none":
                    return link
                reason = ConnectionError(word)
        raise reason

    # Requests that this side sends.

    async def send(self, sender: str, to: str, text: str) -> Outcome:
        """Send a message and wait for what became of it."""
        return await self.request(message(sender, to, text))

    async def request(self, record: c.Record) -> Outcome:
        """Send a routed request: status and reason."""
        return (await self.exchange(record)).outcome

    async def exchange(self, record: c.Record, over: Link | None = None) -> Answer:
        """Send a routed request, over any link or a certain one, and wait for its response."""
        try:
            link = over or await self.way(c.domain_of(record.sender), c.domain_of(record.to))
        except OSError as failed:
            return Answer(FAILURE, str(failed))
        size = len(c.encode(record))
        while not link.has_room(size):
            link.freed.clear()
            await link.freed.wait()
        record = replace(record, tag=secrets.randbits(64) | 1)
        flight = Flight(record, link, link.peer.get(c.LINK_EPOCH, bytes(8)), self.loop.create_future())
        self.flights[record.tag] = flight
        self.put(flight, link, record)
        try:
            return await asyncio.wait_for(flight.answer, self.answer_timeout)
        except TimeoutError:
            return Answer(INDETERMINANT, "answer-timeout")
        finally:
            del self.flights[record.tag]
            flight.link.waiting_out.pop(record.tag, None)

    def put(self, flight: Flight, link: Link, record: c.Record) -> None:
        """Write a request to a link."""
        flight.link = link
        raw = c.encode(record)
        link.waiting_out[record.tag] = len(raw)
        link.write(raw)

    def lost(self, link: Link) -> None:
        """A link ended: what was in flight is retried once, or is not known."""
        del self.links[link.number]
        for flight in list(self.flights.values()):
            if flight.link is link:
                self.start(self.retry(flight))
        self.on_lost(link)

    async def retry(self, flight: Flight) -> None:
        """Send a request once more, to the memory it was first sent to."""
        link, record = flight.link, flight.record
        window = link.told(c.DUPLICATE_WINDOW, 60_000) / 1000
        until = self.loop.time() + window
        if 1 in link.capabilities and window > self.answer_timeout and not flight.retried:
            flight.retried = True
            fields = ((c.EPOCH | 0x8000, flight.epoch), *record.fields)
            again = replace(record, flags=record.flags | c.RETRY, fields=fields)
            while not flight.answer.done() and self.loop.time() < until:
                with suppress(OSError):
                    way = await self.way(c.domain_of(record.sender), c.domain_of(record.to))
                    return self.put(flight, way, again)
                await asyncio.sleep(0.1)
        if not flight.answer.done():
            flight.answer.set_result(Answer(INDETERMINANT, "link-lost"))
        return None

    def on_response(self, link: Link, record: c.Record) -> None:
        """Accept a response only for a request in flight, from a link that may speak (section 7.4)."""
        flight = self.flights.get(record.tag)
        if flight is None or flight.answer.done():
            self.dropped += 1
            return
        sent = flight.record
        right = (record.kind, record.message_id, record.to, record.sender) == (
            sent.kind | c.RESPONSE, sent.message_id, sent.sender, sent.to,
        )  # fmt: skip
        if not right or not (flight.link is link or self.may_come(link, sent.to, sent.sender)):
            self.dropped += 1
            return
        try:
            status, reason, retry_after_s = c.read_outcome(record.body)
        except c.Malformed:
            self.dropped += 1
            return
        flight.link.waiting_out.pop(record.tag, None)
        flight.link.freed.set()
        word, fields = NAMES.get(reason, "peer-failed"), tuple(record.fields)
        flight.answer.set_result(Answer(status, word, retry_after_s, fields, record.body[8:]))

    # Requests that come in.

    def may_come(self, link: Link, sender: bytes, to: bytes) -> bool:
        """Say whether a source may come over a link to a destination (section 6, table)."""
        theirs, ours = c.domain_of(sender), c.domain_of(to)
        return theirs in link.accept_all or (theirs, ours) in link.accept_pairs

    def refuse(self, link: Link, record: c.Record) -> str:
        """The first check of section 7.5 that fails, or empty."""
        critical = (kind & 0x7FFF for kind, _ in record.fields if kind & 0x8000)
        checks = (
            (is_address(record.to) and is_address(record.sender), "bad-address"),
            (c.domain_of(record.to) in self.domains, "relay-denied"),
            (record.kind in self.handlers, "type-not-enabled"),
            (len(record.body) <= self.max_body, "too-large"),
            (self.may_come(link, record.sender, record.to), "not-proved"),
            (record.hops > 0, "too-many-hops"),
            (all(number in c.ROUTED_FIELDS for number in critical), "unknown-critical-field"),
        )
        return next((reason for good, reason in checks if not good), "")

    def on_request(self, link: Link, record: c.Record, size: int) -> None:
        """Answer a request exactly once."""
        retried = bool(record.flags & c.RETRY)
        reason = self.refuse(link, record)
        if reason:
            self.respond(link, record, Answer(INDETERMINANT if retried else FAILURE, reason))
            return
        key = record.message_id + record.to + record.sender
        digest = hashlib.sha256(record.kind.to_bytes(2, "big") + record.body).digest()
        seen = self.memory.get(key)
        if seen is not None and (not seen.until or seen.until > self.loop.time()):
            self.known(link, record, seen, digest)
            return
        if retried and record.first(c.EPOCH) != self.epoch:
            self.respond(link, record, Answer(INDETERMINANT, "epoch-unknown"))
            return
        if len(link.waiting_in) >= self.credit[0] or sum(link.waiting_in.values()) + size > self.credit[1]:
            self.respond(link, record, Answer(INDETERMINANT if retried else FAILURE, "busy"))
            return
        link.waiting_in[record.tag] = size
        self.memory[key] = seen = Seen(digest, [(link, record)], keep=retried)
        self.start(self.hand_over(key, seen, record))

    def known(self, link: Link, record: c.Record, seen: Seen, digest: bytes) -> None:
        """A request whose key is known (section 8.2)."""
        if digest != seen.digest:
            self.respond(link, record, Answer(FAILURE, "id-reused"))
        elif seen.answer is None:
            seen.keep = True
            seen.waiting.append((link, record))
        else:
            self.respond(link, record, seen.answer)

    async def on_message(self, record: c.Record) -> Answer:
        """Give a message to the service."""
        return Answer(*(await self.deliver(record) if body_fits(record) else (FAILURE, "bad-body")))

    async def hand_over(self, key: bytes, seen: Seen, record: c.Record) -> None:
        """Give it to who takes its type, and answer everybody who waits."""
        seen.answer = await self.handlers[record.kind](record)
        seen.until = self.loop.time() + self.window
        self.loop.call_later(self.window, self.expire, key, seen)
        for link, asked in seen.waiting:
            self.respond(link, asked, seen.answer, key)

    def expire(self, key: bytes, seen: Seen) -> None:
        """Forget a request whose window is over."""
        if self.memory.get(key) is seen:
            del self.memory[key]

    def respond(self, link: Link, record: c.Record, answer: Answer, key: bytes = b"") -> None:
        """Write a response, to another link that speaks for its domain if the first is gone.

        `key` is empty where the request is not remembered.
        """
        ours, theirs = c.domain_of(record.to), c.domain_of(record.sender)
        link.waiting_in.pop(record.tag, None)
        over = link
        if link.state == CLOSED:
            others = [
                one for one in self.links.values() if (ours, theirs) in one.send_pairs and one.state == OPEN
            ]
            if not others:
                return
            over = others[0]
            if key in self.memory:
                self.memory[key].keep = True
        trans_id = tuple((kind, value) for kind, value in record.fields if kind & 0x7FFF == c.TRANS_ID)[:1]
        response = c.Record(
            record.kind | c.RESPONSE, record.flags & ~(c.WANTED | c.RETRY), 110, record.tag,
            record.message_id, record.sender, record.to, answer.fields + trans_id, answer.body,
        )  # fmt: skip
        over.sent_responses += 1
        over.unacked.append(key)
        over.write(c.encode(response))
        over.finish()

    def acknowledged(self, key: bytes) -> None:
        """Forget a request whose response was read, unless a copy may be under way."""
        seen = self.memory.get(key)
        if seen is not None and not seen.keep and seen.answer is not None:
            del self.memory[key]
