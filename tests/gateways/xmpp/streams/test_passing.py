"""Presence that passes is asked for anew after an outage: probes in the watcher's name, and what is told."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.stanza import read_stanza, tree_of
from imxrouter.gateways.xmpp.streams.again import AgainOutside, PresenceAgain
from imxrouter.gateways.xmpp.streams.passing import PassingOutside, StreamPassing
from imxrouter.gateways.xmpp.streams.records import stanza_in
from imxrouter.gateways.xmpp.subscriptions.kept import TABLE_ENTRIES
from imxrouter.gateways.xmpp.subscriptions.rounds import GRACE_S, SETTLE_S, START_S
from imxrouter.model.outcome import SUCCESS, Outcome, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.store.memory import MemoryStore
from imxrouter.wire.record import Record, response_to
from tests.gateways.xmpp.streams.edge_rig import EdgePair, gate_without
from tests.gateways.xmpp.streams.rig import A, B

ALICE, BOB = f"alice@{A}", f"bob@{B}"
WALL = 1_800_000_000.0
LOST, DOWN = indeterminant(Reason.LINK_LOST), failure(Reason.SERVICE_DOWN, role="service")


class Rig:
    """Alice is ours, Bob elsewhere; what the router says is answered with `outcome`.

    Attributes:
        said: what it handed to the switch, as `type from to`.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.store = MemoryStore(lambda: WALL + self.now, TABLE_ENTRIES)
        self.outcome: Outcome | None = SUCCESS
        self.calm = self.room = self.is_xmpp = self.answers = True
        self.barred = self.held = False
        self.said: list[str] = []
        self.raw: list[bytes] = []
        self.chosen: list[str] = []
        self._random = random.Random(1)
        self.passing = self.made()

    def made(self) -> StreamPassing:
        """As it is after a start."""
        again = PresenceAgain(
            AgainOutside(
                self._submit, lambda: self.room, lambda: self.now, self._random.random, lambda: bytes(16),
                lambda _word: None,
            )
        )  # fmt: skip
        outside = PassingOutside(
            submit=self._submit,
            has_room=lambda: self.room,
            is_calm=lambda: self.calm,
            now=lambda: self.now,
            wall=lambda: WALL + self.now,
            chance=self._random.random,
            random_bytes=self._random.randbytes,
            is_served=lambda name: name == A,
            choose=self._choose,
            bars=lambda _watcher, _presentity: self.barred,
            held=lambda _from, _to: self.held,
            again=again,
        )
        self.passing = StreamPassing(outside, self.store)
        return self.passing

    def _choose(self, name: str, told: Callable[[bool], None]) -> None:
        self.chosen.append(name)
        told(self.is_xmpp)

    def _submit(self, record: Record, respond: Callable[[Record], None]) -> None:
        raw = stanza_in(record)
        assert raw is not None
        head = tree_of(raw).attributes
        self.raw.append(raw)
        self.said.append(f"{head['type']} {head['from']} {head['to']}")
        if self.outcome is not None:
            respond(response_to(record, self.outcome))
        if self.outcome is SUCCESS and self.answers and head["type"] == "probe":
            self.passes(f"from='{head['to']}/desk' to='{head['from']}'")

    def passes(self, text: str, outcome: Outcome = SUCCESS) -> None:
        """A presence comes, and this becomes of it."""
        given = read_stanza(f"<presence {text}/>".encode())
        from_, to = (one.partition("/")[0].rpartition("@")[2] for one in (given.from_, given.to))
        seen = self.passing.came(StanzaIn(given, from_, to))
        assert seen is not None
        self.passing.passed(seen, outcome)

    def friends(self) -> None:
        """Each sees the other."""
        for one, other in ((ALICE, BOB), (BOB, ALICE)):
            self.passes(f"from='{one}' to='{other}' type='subscribe'")
            self.passes(f"from='{other}' to='{one}' type='subscribed'")
            self.passes(f"from='{other}/desk' to='{one}'")

    def wait(self, seconds: float) -> list[str]:
        """What the router says meanwhile."""
        before = len(self.said)
        for _ in range(round(seconds)):
            self.now += 1
            self.passing.tick()
        return self.said[before:]


PROBE = f"probe {ALICE} {BOB}"
PROBE_BACK = f"probe {BOB} {ALICE}"


def test_after_a_start_everybody_is_asked() -> None:
    """From bare JID to bare JID, both ways, once."""
    rig = Rig()
    rig.friends()
    assert rig.wait(10) == []
    rig.made()
    assert sorted(rig.wait(SETTLE_S + START_S)) == [PROBE, PROBE_BACK]
    assert rig.wait(600) == []
    assert rig.chosen == [B]


def test_after_a_stream_broke_who_spoke_on_it_is_asked() -> None:
    """And nobody else."""
    rig = Rig()
    rig.friends()
    rig.passing.shaken([(B, A)])
    assert rig.wait(2) == [PROBE]
    rig.passing.shaken([(A, B), ("x.example", A)])
    assert rig.wait(2) == [PROBE_BACK]


def test_a_stream_that_opens_has_lost_answers_asked_for_again() -> None:
    """Of whoever may speak on it: a component may to anybody."""
    for watchers in (A, ""):
        rig = Rig()
        rig.friends()
        rig.answers = False
        rig.passing.shaken([(B, A)])
        assert rig.wait(2) == [PROBE]
        rig.passing.opened("x.example", watchers)
        rig.passing.opened(B, "x.example")
        assert rig.wait(1) == []
        rig.answers = True
        rig.passing.opened(B, watchers)
        assert rig.wait(2) == [PROBE]
        assert rig.wait(600) == []


def test_resources_that_went_meanwhile_are_taken_back() -> None:
    """In the presentity's name, from each that no answer named; what is said is remembered no more."""
    rig = Rig()
    rig.friends()
    rig.passes(f"from='{BOB}/phone' to='{ALICE}'")
    rig.made()
    assert f"unavailable {BOB}/phone {ALICE}" in rig.wait(6)
    rig.made()
    assert sorted(rig.wait(20)) == [PROBE, PROBE_BACK]


def test_an_answer_counts_when_it_comes() -> None:
    """It may be long until it reaches the watcher, and what is said for it would take its place."""
    rig = Rig()
    rig.friends()
    rig.answers = False
    rig.passing.shaken([(B, A)])
    assert rig.wait(2) == [PROBE]
    given = read_stanza(f"<presence from='{BOB}/desk' to='{ALICE}'/>".encode())
    assert rig.passing.came(StanzaIn(given, B, A)) is not None
    assert rig.wait(600) == []


@pytest.mark.parametrize("outcome", [LOST, DOWN])
def test_while_he_cannot_be_asked_the_watcher_is_told(outcome: Outcome) -> None:
    """A presence error from each resource and from the bare JID, once; then he is asked again."""
    rig = Rig()
    rig.friends()
    rig.outcome = outcome
    rig.passing.shaken([(B, A)])
    said = rig.wait(SETTLE_S + GRACE_S + 3)
    errors = [one for one in said if one != PROBE]
    assert errors == [f"error {BOB}/desk {ALICE}", f"error {BOB} {ALICE}"]
    assert b"remote-server-timeout" in rig.raw[rig.said.index(errors[0])]
    assert f"is unknown: {outcome.reason.word} at {B}".encode() in rig.raw[rig.said.index(errors[0])]
    assert set(rig.wait(60)) == {PROBE}
    rig.outcome = SUCCESS
    assert rig.wait(120) == [PROBE]
    assert rig.passing.figures()[2]["unknown"] == 1


@pytest.mark.parametrize(("said", "told"), [(failure(Reason.BUSY), 0), (failure(Reason.SERVICE_DOWN), 1)])
def test_what_has_no_room_says_nothing_of_the_way(said: Outcome, told: int) -> None:
    """It is tried again, and nobody is told that nothing is known."""
    rig = Rig()
    rig.friends()
    rig.outcome = said
    rig.passing.shaken([(B, A)])
    rig.wait(30)
    assert rig.passing.figures()[2]["unknown"] == told
    rig.outcome = SUCCESS
    assert rig.wait(60)[0] == PROBE


def test_who_is_barred_is_told_nothing() -> None:
    """Not even that nothing is known of somebody."""
    rig = Rig()
    rig.friends()
    rig.barred, rig.outcome = True, DOWN
    rig.passing.shaken([(B, A)])
    assert set(rig.wait(30)) == {PROBE}


@pytest.mark.parametrize("how", ["other protocol", "held", "refused"])
def test_who_is_not_to_be_asked_is_not(how: str) -> None:
    """He is reached otherwise now, or their subscription is translated, or a list or rule bars it."""
    rig = Rig()
    rig.friends()
    rig.is_xmpp, rig.held = how != "other protocol", how == "held"
    rig.outcome = failure(Reason.NOT_DELIVERED) if how == "refused" else SUCCESS
    rig.passing.shaken([(B, A)])
    assert rig.wait(60) == ([PROBE] if how == "refused" else [])
    assert rig.passing.figures()[2]["refused"] == 1


@pytest.mark.parametrize("what", ["calm", "room"])
def test_what_is_asked_waits_while_there_is_too_much_to_do(what: str) -> None:
    """Messages, and what users do, come first."""
    rig = Rig()
    rig.friends()
    setattr(rig, what, False)
    rig.passing.shaken([(B, A)])
    assert rig.wait(60) == []
    setattr(rig, what, True)
    assert rig.wait(1) == [PROBE]


def test_while_the_router_is_out_of_service_nobody_is_asked() -> None:
    """Nor told anything, for that would open streams; when it is back everybody is asked."""
    rig = Rig()
    rig.friends()
    rig.passing.shaken([(B, A)])
    assert rig.wait(2) == [PROBE]
    rig.passing.rest(rests=True)
    rig.passing.shaken([(B, A), (A, B)])
    assert rig.wait(600) == []
    rig.passing.rest(rests=False)
    assert sorted(rig.wait(SETTLE_S + START_S)) == [PROBE, PROBE_BACK]


def test_what_was_refused_makes_no_pair() -> None:
    """A list or a rule barred it, so it did not pass."""
    rig = Rig()
    rig.passes(f"from='{ALICE}' to='{BOB}' type='subscribe'", failure(Reason.NOT_DELIVERED))
    rig.passes(f"from='{ALICE}' to='{BOB}' type='subscribed'", failure(Reason.BLOCKED))
    assert len(rig.passing.pairs) == 0


def test_domains_that_are_served_no_more() -> None:
    """Nobody is asked for their users."""
    rig = Rig()
    rig.friends()
    assert rig.passing.figures()[:2] == (2, 0)
    rig.passing.pairs._is_served = lambda _name: False
    rig.passing.removed()
    assert rig.passing.figures()[:2] == (0, 0)


# -- with real switches and streams ------------------------------------------------------------------------


class Between:
    """Two routers; Bob, of the second one, watches Alice, and its pairs are looked after."""

    def __init__(self) -> None:
        self.pair = EdgePair()
        self.b = b = self.pair.b
        store = MemoryStore(lambda: WALL + self.pair.clock.seconds(), TABLE_ENTRIES)
        outside = PassingOutside(
            submit=b._submit,
            has_room=lambda: b.inside.room > 0,
            is_calm=lambda: True,
            now=self.pair.clock.seconds,
            wall=lambda: WALL + self.pair.clock.seconds(),
            chance=lambda: 0.0,
            random_bytes=random.randbytes,
            is_served=lambda name: name == B,
            choose=lambda _name, told: told(True),
            bars=lambda _watcher, _presentity: False,
            held=lambda _from, _to: False,
            again=b.real._presence._again,  # type: ignore[arg-type]
        )
        self.passing = StreamPassing(outside, store)
        b.again(seen=self.passing.came, passed=self.passing.passed)

    def wishes(self) -> None:
        """Bob's server asks, and that is handed on."""
        given = read_stanza(f"<presence from='{BOB}' to='{ALICE}' type='subscribe'/>".encode())
        seen = self.passing.came(StanzaIn(given, B, A))
        assert seen is not None
        self.passing.passed(seen, SUCCESS)

    def says(self, text: str) -> None:
        """Alice's service says something to Bob, which comes by a stream."""
        self.pair.a.service.send(f"<presence {text} to='{BOB}'/>".encode(), A, B)
        self.pair.settle()

    def wait(self, seconds: int) -> list[bytes]:
        """What Alice's service is given meanwhile."""
        before = len(self.pair.stanzas(self.pair.a))
        for _ in range(seconds):
            self.pair.pass_s(1)
            self.passing.tick()
            self.pair.settle()
        return self.pair.stanzas(self.pair.a)[before:]


def test_what_a_stream_brings_is_learned_and_asked_for() -> None:
    """The probe goes the way of every stanza to her domain, and arrives once."""
    between = Between()
    between.wishes()
    between.says(f"from='{ALICE}' type='subscribed'")
    between.says(f"from='{ALICE}/desk'")
    (pair,) = between.passing.pairs.all()
    assert (pair.granted, pair.shown) == (True, ("desk",))
    between.passing.shaken([(A, B)])
    (probe,) = between.wait(3)
    head = tree_of(probe).attributes
    assert (head["from"], head["to"], head["type"]) == (BOB, ALICE, "probe")


def test_nothing_is_learned_of_what_a_list_bars() -> None:
    """Alice is blocked: what she says does not pass, and he does not ask for her."""
    between = Between()
    between.wishes()
    between.says(f"from='{ALICE}' type='subscribed'")
    between.b.switch.guard(gate_without(ALICE))
    between.says(f"from='{ALICE}/desk'")
    (pair,) = between.passing.pairs.all()
    assert pair.shown == ()
    between.passing.shaken([(A, B)])
    assert between.wait(5) == []
    assert between.passing.counts["refused"] == 1
