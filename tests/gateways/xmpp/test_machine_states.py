"""Whatever comes, in whatever order: a stream lets nobody speak who is not proved, and ends once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from imxrouter.gateways.xmpp import say
from imxrouter.gateways.xmpp.effects import (
    AskedExternal,
    ClaimIn,
    ClaimResultIn,
    Drop,
    Effect,
    External,
    Open,
    StanzaIn,
    StartTls,
    TlsFollows,
    VerifyResultIn,
    Write,
)
from imxrouter.gateways.xmpp.machine import StreamMachine
from imxrouter.gateways.xmpp.negotiation import _digest
from imxrouter.gateways.xmpp.pairs import Pairs, Verdict
from imxrouter.gateways.xmpp.say import DbType, Features
from imxrouter.gateways.xmpp.steps import Step, StreamRole
from imxrouter.gateways.xmpp.terms import Confirm, StreamTerms, TlsRule
from imxrouter.link.machine import LinkState, Side
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.attacker import MALLORY, PROCEED, SASL, SM, STARTTLS, auth, header, message
from tests.gateways.xmpp.pipe import OURS, START, THEIRS, chance

DOMAINS = st.sampled_from([OURS, THEIRS, MALLORY, "other.example"])
OFFERS = [
    Features(),
    Features(starttls=True, required=True),
    Features(starttls=True, dialback=True),
    Features(mechanisms=("EXTERNAL",), dialback=True, errors=True, bidi=True),
    Features(mechanisms=("EXTERNAL", "PLAIN"), sm=True),
    Features(sm=True, max_bytes=10_000),
]
WORDS = [
    STARTTLS.encode(),
    PROCEED.encode(),
    b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    auth(THEIRS),
    auth(MALLORY),
    auth(""),
    f"<success {SASL}/>".encode(),
    f"<failure {SASL}><not-authorized/></failure>".encode(),
    f"<challenge {SASL}>=</challenge>".encode(),
    f"<abort {SASL}/>".encode(),
    b"<bidi xmlns='urn:xmpp:bidi'/>",
    f"<enable {SM}/>".encode(),
    f"<enabled {SM}/>".encode(),
    f"<failed {SM}/>".encode(),
    f"<r {SM}/>".encode(),
    f"<resume {SM} h='0' previd='x'/>".encode(),
    b"<handshake>00</handshake>",
    b"<what xmlns='urn:what'/>",
    b"<!-- no -->",
    b"text",
    b" ",
    b"</stream:stream>",
    b"<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
]


class Streams(RuleBasedStateMachine):
    """One stream under every input, and what must hold of it."""

    @initialize(
        role=st.sampled_from(StreamRole),
        rule_=st.sampled_from(TlsRule),
        external=st.booleans(),
        bidi=st.booleans(),
        confirm=st.sampled_from(Confirm),
        direct=st.booleans(),
        steps=st.integers(0, 12),
    )
    def begin(
        self,
        role: StreamRole,
        rule_: TlsRule,
        external: bool,
        bidi: bool,
        confirm: Confirm,
        direct: bool,
        steps: int,
    ) -> None:
        """A stream of any kind."""
        self.now = START
        self.drops = self.opens = 0
        self.closed = False
        self.proved: set[tuple[str, str]] = set()
        self.ours: set[tuple[str, str]] = set()
        self.claims: list[tuple[str, str]] = []
        self.verifies: list[tuple[str, str, str]] = []
        self.settled: list[int] = []
        self.tag = 0
        self.asked = False
        terms = StreamTerms(
            rule_, serves=lambda domain: domain != MALLORY, external=lambda _: external,
            dialback=lambda _: True, secret=lambda _: b"secret", bidi=bidi, confirm=confirm,
        )  # fmt: skip
        self.machine = StreamMachine(role, terms, OURS, THEIRS, START, chance(), tls=direct)
        self.perform(self.machine.start())
        for _ in range(steps):
            self.goes_on()

    def perform(self, effects: list[Effect]) -> None:
        """Look at each effect where it must hold."""
        machine = self.machine
        for at, effect in enumerate(effects):
            assert not self.closed, f"{effect} after the end"
            self.look(effect)
            if isinstance(effect, Drop):
                assert at == len(effects) - 1
                assert machine.state is LinkState.CLOSED
                self.closed = True

    def look(self, effect: Effect) -> None:
        """What one effect may be at this moment."""
        machine = self.machine
        needs_tls = machine.terms.tls is TlsRule.REQUIRED and machine.role in SERVERS
        if needs_tls and not machine.tls:
            assert not isinstance(effect, StanzaIn | ClaimIn | ClaimResultIn | AskedExternal | Open)
            assert not isinstance(effect, Write) or b"<db:" not in effect.data
        if isinstance(effect, StanzaIn) and machine.role in SERVERS:
            pair = (effect.from_, effect.to)
            assert pair in self.proved or (machine.pairs.bidi and pair[::-1] in self.ours)
        elif isinstance(effect, External):
            assert machine.external
            self.ours.add((effect.from_, effect.to))
        elif isinstance(effect, ClaimResultIn):
            self.claims.remove((effect.db.to, effect.db.from_))
        elif isinstance(effect, VerifyResultIn):
            self.verifies.remove((effect.db.to, effect.db.from_, effect.db.stream_id))
        elif isinstance(effect, Drop):
            self.drops += 1
        elif isinstance(effect, Open):
            self.opens += 1
        elif isinstance(effect, AskedExternal):
            assert machine.tls
            assert (effect.from_, effect.to) == (machine.other, machine.own)
            self.asked = True
        elif isinstance(effect, StartTls | TlsFollows):
            assert machine.step is Step.TLS
            assert not machine.tls

    def hear(self, data: bytes) -> None:
        """Bytes come."""
        self.perform(self.machine.receive(data, self.now))

    # -- what the other side may say -----------------------------------------------------------------------

    @rule()
    def goes_on(self) -> None:
        """It does what leads on from here."""
        machine = self.machine
        step, opens = machine.step, machine.side is Side.OPENER
        digest = _digest(machine.stream_id, b"secret")
        proof = "<handshake/>" if opens else f"<handshake>{digest}</handshake>"
        said = {
            Step.HEADER: self.right_header(),
            Step.FEATURES: say.features(self.right_features()),
            Step.PROCEED: PROCEED.encode(),
            Step.NEGOTIATING: STARTTLS.encode(),
            Step.HANDSHAKE: proof.encode(),
            Step.SASL: f"<success {SASL}/>".encode(),
        }
        if step is Step.TLS:
            self.perform(machine.encrypted(self.now))
        elif step is Step.OPEN:
            self.proves()
        elif step is Step.SASL and not opens:
            self.is_decided(granted=True)
        elif step in said:
            self.hear(said[step])

    def right_header(self) -> bytes:
        """The header that leads on."""
        right = header(THEIRS, OURS, "id")
        if self.machine.role in SERVERS:
            return right
        return right.replace(b"jabber:server", b"jabber:component:accept", 1)

    def right_features(self) -> Features:
        """Features as a server has them at this point."""
        if not self.machine.tls and self.machine.terms.tls is not TlsRule.NONE:
            return Features(starttls=True)
        if not self.machine.external:
            return Features(mechanisms=("EXTERNAL",), dialback=True, errors=True, bidi=True)
        return Features(sm=True)

    def proves(self) -> None:
        """On an open stream: by certificate where that is offered, else by dial-back."""
        machine = self.machine
        if machine.role not in SERVERS or machine.pairs:
            return
        if machine.side is Side.OPENER:
            self.claims_and_asks(OURS, THEIRS)
            self.hears_dialback("result", THEIRS, OURS, " type='valid'")
            self.is_proved(OURS, THEIRS, ours=True)
        elif machine.offered.mechanisms and not machine.pairs.claimed_here:
            self.hear((b"<bidi xmlns='urn:xmpp:bidi'/>" if machine.offered.bidi else b"") + auth(THEIRS))
        else:
            self.hears_dialback("result", THEIRS, OURS, "")
            self.is_proved(THEIRS, OURS, ours=False)

    @rule()
    def goes_on_twice(self) -> None:
        """As `goes_on`: right steps are more frequent than wrong ones, or no stream would get far."""
        self.goes_on()
        self.goes_on()

    @rule(
        said=st.one_of(
            st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(b"".join),
            st.builds(header, DOMAINS, DOMAINS, st.just("id")),
            st.sampled_from(OFFERS).map(say.features),
            st.binary(max_size=20),
        )
    )
    def hears_anything(self, said: bytes) -> None:
        """Any words of negotiation, in one read, or none that anybody knows."""
        self.hear(said)

    @rule()
    def hears_right_stanza(self) -> None:
        """A stanza of the pair that is usually proved."""
        self.hear(message(f"x@{THEIRS}", f"y@{OURS}"))

    @rule(from_=DOMAINS, to=DOMAINS)
    def hears_stanza(self, from_: str, to: str) -> None:
        """A stanza."""
        self.hear(message(f"x@{from_}", f"y@{to}"))

    @rule(
        name=st.sampled_from(["result", "verify"]), from_=DOMAINS, to=DOMAINS,
        kind=st.sampled_from(["", " type='valid'", " type='invalid'", " type='error'", " type='?'"]),
    )  # fmt: skip
    def hears_dialback(self, name: str, from_: str, to: str, kind: str) -> None:
        """Any element of dial-back."""
        self.hear(f"<db:{name} from='{from_}' to='{to}' id='i'{kind}>k</db:{name}>".encode())

    @rule(h=st.integers(0, 5))
    def hears_ack(self, h: int) -> None:
        """An acknowledgement."""
        self.hear(f"<a {SM} h='{h}'/>".encode())

    # -- what we may do --------------------------------------------------------------------------------------

    @rule(granted=st.booleans())
    def is_decided(self, granted: bool) -> None:
        """Whether EXTERNAL is granted; where nobody asked, nothing comes of it."""
        machine = self.machine
        effects = machine.authenticated(self.now) if granted else machine.not_authenticated(self.now)
        assert self.asked or not effects
        if effects and granted:
            self.proved.add((machine.other, machine.own))
        self.asked = False
        self.perform(effects)

    @rule(from_=DOMAINS, to=DOMAINS, ours=st.booleans())
    def is_proved(self, from_: str, to: str, ours: bool) -> None:
        """A pair is proved, on a stream that may be used."""
        if self.machine.step is Step.OPEN:
            self.machine.proved((from_, to), ours=ours)
            (self.ours if ours else self.proved).add((from_, to))

    @rule(from_=DOMAINS, to=DOMAINS, ours=st.booleans())
    def is_unproved(self, from_: str, to: str, ours: bool) -> None:
        """It is not any more."""
        self.machine.unproved((from_, to), ours=ours)
        (self.ours if ours else self.proved).discard((from_, to))

    @rule(from_=DOMAINS, to=DOMAINS)
    def claims_and_asks(self, from_: str, to: str) -> None:
        """We claim a domain, and ask about a key."""
        claimed = self.machine.claim(from_, to, "key")
        if claimed and (from_, to) not in self.claims:
            self.claims.append((from_, to))
        asked = self.machine.ask_verify(from_, to, "i", "key")
        if asked and (from_, to, "i") not in self.verifies:
            self.verifies.append((from_, to, "i"))
        self.perform(claimed + asked)
        self.perform(self.machine.answer_claim(to, from_, DbType.VALID))

    @rule(count=st.integers(1, 3))
    def writes(self, count: int) -> None:
        """Stanzas go out."""
        tags = list(range(self.tag, self.tag + count))
        if self.machine.may_write(OURS, THEIRS):
            effects = self.machine.stanzas([message(OURS, THEIRS)] * count, tags, self.now)
            if effects:
                self.tag += count
            self.perform(effects)

    @rule(seconds=st.sampled_from([0.01, 1.0, 9.0, 31.0, 61.0]))
    def waits(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self.perform(self.machine.tick(self.now))

    @rule(
        reason=st.sampled_from([Reason.IDLE, Reason.SHUTTING_DOWN, Reason.NOT_PROVED, None, None, None]),
        how=st.sampled_from(["close", "close", "refuse", "lose"]),
    )
    def ends(self, reason: Reason | None, how: str) -> None:
        """We end it in order, for a fault, or at once; or the connection goes."""
        if reason is None:
            return  # less often
        if how == "close":
            self.perform(self.machine.close(reason, self.now))
        elif how == "refuse":
            self.perform(self.machine.refuse(reason))
        else:
            self.machine.lost()
            self.closed = True

    @rule(in_flight=st.integers(0, 1))
    def settles(self, in_flight: int) -> None:
        """The session looks whether anything is in flight."""
        self.perform(self.machine.settle(in_flight))

    @rule()
    def fences(self) -> None:
        """A fence is asked for, and the ping that is out is answered."""
        self.perform(self.machine.fence())
        self.perform(self.machine.barrier(self.machine.confirmations.barrier, self.now))

    @invariant()
    def holds(self) -> None:
        """At most one end, told; `Open` once; an end means that the parser is gone."""
        machine = getattr(self, "machine", None)
        if machine is None:
            return
        assert self.drops <= 1
        assert self.opens <= 1
        assert (machine.state is LinkState.CLOSED) == self.closed
        assert machine.confirmations.pending <= self.tag
        if self.closed:
            assert machine._parser.held_bytes == 0 or machine._parser.is_refused


SERVERS = {StreamRole.S2S_OUT, StreamRole.S2S_IN, StreamRole.INSIDE_IN}
TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=150, stateful_step_count=40)


def test_the_invariants_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the check of who speaks taken away, the search finds a stanza that nobody proved."""
    monkeypatch.setattr(Pairs, "judge", lambda *_: Verdict.GOOD)
    machine: Any = Streams()
    machine.begin(StreamRole.S2S_IN, TlsRule.NONE, False, False, Confirm.PING, False, 1)
    with pytest.raises(AssertionError):
        machine.hears_stanza(MALLORY, OURS)
