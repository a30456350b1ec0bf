"""A peer that lies: with a domain and an address of its own, it says on its links whatever it has learnt.

Its domain has two addresses. It knows the tokens, secrets, nonces, answers, epochs and route tags that
honest routers sent it, and of what they said to each other the tokens and every request. It can play by the
rules where that helps it, and otherwise says any record at any time. DNS leads to its address also for a
domain that an honest router serves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from imxrouter.model.outcome import SUCCESS, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.control import (
    Ack,
    Claim,
    ClaimResult,
    Close,
    Control,
    Credit,
    Hello,
    Proof,
    Proved,
    Redirect,
    Verify,
    VerifyResult,
    Withdraw,
)
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED, FLAG_RETRY, RESPONSE_BIT
from imxrouter.wire.record import Envelope, Record, encode_record, response_to
from imxrouter.wire.registry import CRITICAL_BIT, Capability, FieldType
from tests.properties.judge import LIARS_DOMAIN, LIARS_DOMAINS
from tests.properties.net import End, Endpoint
from tests.properties.truth import Ear

if TYPE_CHECKING:
    from tests.properties.world import World

T = TypeVar("T")
Move = Callable[["LiarsLink"], Control | Record | bytes | None]


class LiarsLink:
    """The liar's protocol on one connection: it only listens and remembers.

    Attributes:
        claims: what the other side claimed here.
        asks: verifications that came here and have no result.
        last_ask: number of the last one.
        said: what the liar claimed here.
    """

    def __init__(self, liar: Liar, *, opener: bool) -> None:
        self.opener = opener
        self.end: End
        self.claims: list[Claim] = []
        self.asks: list[Verify] = []
        self.last_ask = 0
        self.said: list[Claim] = []
        self._liar = liar
        self._ear = Ear()

    def makeConnection(self, end: End) -> None:
        """The connection is up."""
        self.end = end
        self._liar.links.append(self)
        if self.opener:
            self._liar.say(self, self._liar.hello())

    def dataReceived(self, data: bytes) -> None:
        """Remember everything of use."""
        for record, control in self._ear.feed(data):
            if record.is_routed:
                self._liar.routed(self, record)
                continue
            self._liar.heard.append((self, control))
            if isinstance(control, Hello) and not self.opener:
                self._liar.say(self, self._liar.hello())
            if isinstance(control, Hello):
                self._liar.epochs.append(control.epoch or b"")
            elif isinstance(control, Claim):
                self.claims.append(control)
                self._liar.tokens.append(control.token)
            elif isinstance(control, Verify):
                self.asks.append(control)
                self.last_ask = control.number
                self._liar.tokens.append(control.token)
                self._liar.answers.append(control.secret)
            elif isinstance(control, Proof):
                self._liar.answers.append(control.answer)
            elif isinstance(control, VerifyResult) and control.nonce:
                self._liar.nonces.append(control.nonce)
            elif isinstance(control, ClaimResult):
                self._liar.nonces.extend(control.nonces)

    def connectionLost(self, _why: Any) -> None:
        """It is gone."""
        self._liar.links.remove(self)


class Liar:
    """The lying party.

    Args:
        world: where it lives.
        endpoint: where DNS says that its domains are.
    """

    def __init__(self, world: World, endpoint: Endpoint) -> None:
        self.world = world
        self.domain = LIARS_DOMAIN
        self.ip = endpoint[0]
        self.alive = True
        self.links: list[LiarsLink] = []
        self.heard: list[tuple[LiarsLink, Control | None]] = []
        self.tokens = [b"a token of nobody"]
        self.answers = [bytes(32)]
        self.nonces = [bytes(16)]
        self.epochs = [bytes(8)]
        self.requests: list[tuple[LiarsLink, Record]] = []
        #: what honest routers said to each other
        self.stolen: deque[Claim] = deque(maxlen=8)
        self.overheard: deque[Record] = deque(maxlen=8)
        self.plans: list[Callable[[], None]] = [
            self.impersonate, self.replay, self.misdirect, self.pretend, self.steal, self.meddle,
            self.answer_for_others, self.crowd, self.sign_off, self.disown,
        ]  # fmt: skip
        anywhere: list[Move] = [self._withdraw, self._request, self._request, self._response, self._response]
        #: what the opener of a link may say, what its acceptor may, and what nobody may
        self._opener = [
            self._claim,
            self._claim,
            self._proof,
            self._proof,
            self._verify,
            self._verify,
            *anywhere,
        ]
        self._acceptor = [self._asked, self._result, self._result, self._proved, self._proved, *anywhere]
        self._nobody: list[Move] = [self._other, self._garbage]

    def accept(self) -> LiarsLink:
        """Somebody connects to us."""
        return LiarsLink(self, opener=False)

    def hello(self) -> Hello:
        """A hello like anybody's."""
        return Hello(
            (1,), (Capability.DUPLICATES, Capability.ACKNOWLEDGE), 65536, 100, 100_000,
            self.world.secrets.randbytes(16), self._any(self.epochs), duplicate_window_ms=60_000,
        )  # fmt: skip

    def say(self, link: LiarsLink, what: Control | Record | bytes) -> None:
        """Write something."""
        data = what if isinstance(what, bytes) else what.encode() if isinstance(what, Control) else b""
        link.end.write(data or encode_record(what))  # type: ignore[arg-type]

    def routed(self, link: LiarsLink, record: Record) -> None:
        """A routed record came: only what was meant for our domain may come here."""
        if not record.is_response:
            self.world.judge.reached_liar(record)
            self.requests.append((link, record))

    def overhear(self, record: Record, control: Control | None) -> None:
        """An honest router said something, to whomever."""
        if isinstance(control, Claim):
            self.stolen.append(control)
        elif record.is_routed and not record.is_response:
            self.overheard.append(record)

    # -- moves -------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Open a connection to anybody."""
        endpoint = self._any([one for places in self.world.addresses.values() for one in places])
        if self not in self.world.net.listening[endpoint] and len(self.links) <= 5:
            self.connect_to(endpoint)

    def connect_to(self, endpoint: Endpoint) -> None:
        """Open a connection."""

        def connected(end: End | None) -> None:
            if end is not None:
                link = end.protocol = LiarsLink(self, opener=True)
                link.makeConnection(end)

        self.world.net.connect(self, endpoint).addCallback(connected)

    def lie(self) -> None:
        """Say anything on any link."""
        if self.links:
            link = self._any(self.links)
            moves = self._opener if link.opener else self._acceptor
            if self.world.chance.random() < 0.06:  # it ends the link, mostly
                moves = self._any([self._opener, self._acceptor, self._nobody])
            what = self._any(moves)(link)
            if what is not None:
                self.say(link, what)

    def play_along(self) -> None:
        """Do what an honest router would: answer verifications, verify claims, answer requests."""
        for link in self.links:
            for ask in link.asks:
                self.say(link, VerifyResult(ask.number, 0, self.world.secrets.randbytes(16)))
                for first in self.links:
                    for claim in first.said:
                        if claim.token == ask.token:
                            self.say(first, Proof(claim.number, ask.secret))
            link.asks.clear()
            for claim in link.claims:
                for second in self.links:
                    if second.opener:
                        secret = self.world.secrets.randbytes(32)
                        self.say(
                            second, Verify(7, claim.from_domain, claim.to_domain, claim.token, secret, 0)
                        )
                self.say(link, ClaimResult(claim.number, 0, 1, None, tuple(self.nonces[-2:])))
            if link.opener and len(link.said) < len(LIARS_DOMAINS):
                self._claim_own(link)
        for link, request in self.requests:
            if link in self.links:
                self.say(link, response_to(request, SUCCESS))
        self.requests.clear()

    def impersonate(self) -> None:
        """Present what an honest router claims towards us to somebody else, as if we were that router."""
        for link in self.links:
            for claim in link.claims[-2:]:
                for other in self.links:
                    domain = self._domain_at(other)
                    if other.opener and domain is not None and domain != claim.from_domain:
                        stolen = Claim(self._number(), claim.from_domain, domain, claim.token)
                        other.said.append(stolen)
                        self.say(other, stolen)

    def replay(self) -> None:
        """Say every answer and nonce we know wherever one may be waited for."""
        for link in self.links:
            for claim in link.said[-3:]:
                for answer in self.answers[-3:]:
                    self.say(link, Proof(claim.number, answer))
            for claim in link.claims[-2:]:
                self.say(link, ClaimResult(claim.number, 0, 15, None, tuple(self.nonces[-6:])))
            for ask in link.asks:
                self.say(link, VerifyResult(ask.number, 0, self.nonces[-1]))

    def misdirect(self) -> None:
        """Answer a verification of a claim of ours on every link but the one that carries the claim."""
        for link in self.links:
            for ask in link.asks:
                self.say(link, VerifyResult(ask.number, 0, self.world.secrets.randbytes(16)))
                right = [one for one in self.links if any(claim.token == ask.token for claim in one.said)]
                for number in {claim.number for one in right for claim in one.said}:
                    for other in self.links:
                        if other.opener and other not in right:
                            self.say(other, Proof(number, ask.secret))
            link.asks.clear()

    def pretend(self) -> None:
        """Write in others' names, and to others' domains; say that others took us."""
        for link in self.links:
            if not link.opener:
                self.say(link, Proved(self._domain(), self._domain()))
            self.say(link, self._routed(self._domain(), self._any([*self.world.addresses])))
            self.say(link, self._routed(self._domain_at(link) or self._domain(), self.domain))
            self.say(link, self._routed(self._domain(), self.domain))
            self.say(link, self._routed(self._any([*self.world.addresses]), self.domain))

    def steal(self) -> None:
        """Present a token that somebody said to somebody to its maker, to be taken for whom it was meant."""
        for link in self.links:
            for claim in self.stolen:
                if link.opener and self._domain_at(link) == claim.from_domain:
                    secret = self._any(self.answers)
                    pair = claim.from_domain, claim.to_domain
                    self.say(link, Verify(self._number(), *pair, claim.token, secret, 0))

    def meddle(self) -> None:
        """Say the result of a verification that somebody else was asked for; numbers can be guessed."""
        for link in self.links:
            for number in range(link.last_ask + 1, link.last_ask + 4):
                if not link.opener:
                    reason = self._any([Reason.NONE, Reason.BAD_TOKEN, Reason.NOT_MINE])
                    self.say(link, VerifyResult(number, reason.code, self._any(self.nonces)))

    def answer_for_others(self) -> None:
        """Answer requests that others were sent."""
        outcome = self._any([SUCCESS, failure(Reason.BUSY, retry_after_s=7)])
        for link in self.links:
            for request in self.overheard:
                self.say(link, response_to(request, outcome))

    def crowd(self) -> None:
        """Send more than anybody granted, in our own name."""
        for link in self.links:
            domain = self._domain_at(link)
            if domain is not None:
                for _ in range(20):
                    self.say(link, self._routed(domain, self.domain))

    def sign_off(self) -> None:
        """Send requests and something that ends the link, all at once."""
        links = [link for link in self.links if link.opener]
        if links:
            link = self._any(links)
            requests = [encode_record(self._request(link)) for _ in range(3)]
            self.say(link, b"".join(requests) + bytes([0xFF]) * 8)

    def disown(self) -> None:
        """Say that another host of ours made the claims we are asked of, and hang up."""
        asked = [link for link in self.links if link.asks]
        for link in asked:
            for ask in link.asks:
                self.say(link, VerifyResult(ask.number, Reason.NOT_MINE.code))
            link.end.loseConnection()
        for link in self.links:
            if not asked and link.opener:
                self._claim_own(link)

    def _domain_at(self, link: LiarsLink) -> bytes | None:
        """Whose router is at the other end of a link that we opened."""
        places = self.world.addresses.items()
        return next((domain for domain, where in places if link.end.remote in where), None)

    def _claim_own(self, link: LiarsLink) -> None:
        domain = self._domain_at(link)
        if domain is not None:
            own = self.domain if not link.said else self._any(sorted(LIARS_DOMAINS))
            link.said.append(Claim(self._number(), own, domain, self.world.secrets.randbytes(40)))
            self.say(link, link.said[-1])

    def _any(self, things: list[T]) -> T:
        return self.world.chance.choice(things)

    def _domain(self) -> bytes:
        return self._any([*self.world.addresses, b"nobody.example"])

    def _number(self) -> int:
        return self.world.chance.randint(1, 4)

    def _claim(self, link: LiarsLink) -> Control:
        claim = Claim(self._number(), self._domain(), self._domain(), self._any(self.tokens))
        link.said.append(claim)
        return claim

    def _proof(self, _link: LiarsLink) -> Control:
        return Proof(self._number(), self._any(self.answers))

    def _verify(self, link: LiarsLink) -> Control:
        claims = [claim for one in self.links for claim in one.claims]
        if claims and self.world.chance.random() < 0.7:
            claim = self._any(claims)
            secret = self._any(self.answers)
            pair = [claim.from_domain, claim.to_domain]
            if self.world.chance.random() < 0.5:
                pair[self.world.chance.randint(0, 1)] = self._domain()
            return Verify(self._number(), pair[0], pair[1], claim.token, secret, 0)
        del link
        return Verify(
            self._number(), self._domain(), self._domain(), self._any(self.tokens), bytes(32),
            self.world.chance.randint(0, 2),
        )  # fmt: skip

    def _asked(self, link: LiarsLink) -> Control | None:
        number = self._any(link.asks).number if link.asks else self.world.chance.randint(1, 20)
        reason = self._any([Reason.NONE, Reason.NOT_MINE, Reason.BAD_TOKEN])
        return VerifyResult(number, reason.code, self._any([*self.nonces, None]))

    def _result(self, _link: LiarsLink) -> Control:
        reason = self._any([Reason.NONE, Reason.NONE, Reason.DIALBACK_REFUSED])
        nonces = tuple(self.world.chance.sample(self.nonces, min(len(self.nonces), 2)))
        return ClaimResult(self._number(), reason.code, self.world.chance.randint(0, 15), None, nonces)

    def _proved(self, _link: LiarsLink) -> Control:
        return Proved(self._domain(), self._domain())

    def _withdraw(self, _link: LiarsLink) -> Control:
        return Withdraw(self._domain())

    def _other(self, _link: LiarsLink) -> Control:
        number = self.world.chance.randint(0, 5)
        return self._any([
            Close(Reason.IDLE.code, 1000), Redirect("192.0.2.1:6481", (self._domain(),)), Ack(number),
            Credit(number, number * 500),
        ])  # fmt: skip

    def _request(self, _link: LiarsLink) -> Record:
        return self._routed(self._domain(), self._domain())

    def _routed(self, to_domain: bytes, from_domain: bytes) -> Record:
        chance = self.world.chance
        flags, fields = FLAG_RESPONSE_WANTED, tuple[Field, ...]()
        if chance.random() < 0.3:
            flags |= FLAG_RETRY
            fields = (Field(FieldType.EPOCH | CRITICAL_BIT, self._any(self.epochs)),)
        ident = self.requests[-1][1].message_id if self.requests and chance.random() < 0.5 else None
        return Record(
            0x0100, flags, chance.choice([0, 1, 110, 255]), chance.getrandbits(8),
            ident or chance.getrandbits(8).to_bytes(16, "big"),
            Envelope(b"bob", to_domain, b"alice", from_domain), fields,
            b"From: <im:alice@" + from_domain + b">\r\nTo: <im:bob@" + to_domain + b">\r\n\r\nlies",
        )  # fmt: skip

    def _response(self, _link: LiarsLink) -> Record | None:
        known = [*(record for _, record in self.requests), *self.overheard]
        if not known:
            return None
        request = self._any(known)
        outcome = self._any([SUCCESS, failure(Reason.BUSY, retry_after_s=7), indeterminant(Reason.LINK_LOST)])
        answer = response_to(request, outcome)
        if self.world.chance.random() < 0.3:
            tag = request.route_tag + self.world.chance.choice([-1 << 16, 1 << 16, 1])
            answer = Record(
                0x0100 | RESPONSE_BIT, 0, 110, tag % (1 << 64), answer.message_id, answer.envelope,
                answer.fields, answer.body,
            )  # fmt: skip
        return answer

    def _garbage(self, _link: LiarsLink) -> bytes:
        return self.world.secrets.randbytes(self.world.chance.randint(1, 80))
