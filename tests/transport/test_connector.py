"""The connector: what is dialled, in which order, with which limits, and what is said when it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any, cast

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock

from imxrouter.discovery.guard import DialGuard
from imxrouter.discovery.records import Target
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.transport.connector import ConnectFailed, Connector, DialTerms
from tests.doubles.openings import NO_ROUTE, REFUSED, FinderDouble, OpenerDouble

DOMAIN = Domain("b.example")
ONE = Target("one.b.example", 6490)
TWO = Target("two.b.example", 6491)
V4, OTHER_V4, THIRD_V4 = "8.8.8.1", "8.8.8.2", "8.8.8.3"
V6 = "2600::1"
TWO_HOSTS = {ONE.host: [V4], TWO.host: [OTHER_V4]}


class Rig:
    """A connector between doubles, and one connection that it opens."""

    def __init__(
        self,
        behaviour: Mapping[str, float | Exception | None],
        *targets: Target,
        hosts: Mapping[str, list[str]] | None = None,
    ) -> None:
        self.clock = Clock()
        self.finder = FinderDouble(*(targets or (ONE,)), hosts=hosts or {ONE.host: list(behaviour)})
        self.opener = OpenerDouble(self.clock, behaviour)
        self.guard = DialGuard()
        self.steps: list[tuple[Stage, str]] = []
        self.made: list[Protocol] = []
        self.results: list[Any] = []
        self.running: Deferred[Any] = Deferred()

    def connect(self, terms: DialTerms | None = None) -> None:
        """Start."""
        connector = Connector(self.clock, self.finder, self.guard, self.opener, Random(1))
        self.running = connector.connect(DOMAIN, self._make, terms, self._step)
        self.running.addBoth(self.results.append)

    def _make(self) -> IProtocol:
        self.made.append(Protocol())
        return cast("IProtocol", self.made[-1])

    def _step(self, stage: Stage, text: str, fields: Mapping[str, object]) -> None:
        assert fields["domain"] == DOMAIN.name
        self.steps.append((stage, text))

    @property
    def result(self) -> Any:
        """What came of it."""
        (result,) = self.results
        return result

    @property
    def failure(self) -> ConnectFailed:
        """How it failed."""
        assert isinstance(self.result.value, ConnectFailed)
        return self.result.value

    def at_rest(self) -> bool:
        """Say whether nothing is left on the clock."""
        return self.clock.getDelayedCalls() == []


class LateFinder(FinderDouble):
    """DNS says the addresses of one family so late that the others are given without them."""

    def addresses(self, host: str) -> Deferred[list[str]]:
        """Give the first one, and from then on all."""
        found = super().addresses(host)
        return found if self.asked.count(host) > 1 else found.addCallback(lambda all_: all_[:1])


class TestLateFamily:
    """A family whose addresses come late is tried once the other one's have failed (RFC 8305 section 3)."""

    @pytest.mark.parametrize(("first", "late"), [(V4, V6), (V6, V4)])
    def test_it_is_tried(self, first: str, late: str) -> None:
        """And what is found there is used."""
        rig = Rig({first: REFUSED, late: 0.1})
        rig.finder = LateFinder(ONE, hosts=rig.finder.hosts)
        rig.connect()
        rig.clock.advance(1)
        assert rig.opener.log[-1] == f"0 open {late} {ONE.port}"
        assert rig.result.ip == late
        assert rig.at_rest()

    def test_nothing_new_is_a_failure_as_before(self) -> None:
        """It is asked for once more, and nothing is dialled twice."""
        rig = Rig({V4: REFUSED})
        rig.connect()
        assert rig.failure.reason is Reason.CONNECTION_REFUSED
        assert rig.opener.log == [f"0 open {V4} {ONE.port}"]
        assert rig.finder.asked.count(ONE.host) == 2

    def test_what_is_reached_is_not_asked_for_again(self) -> None:
        """One look-up of a host that answers."""
        rig = Rig({V4: 0.1})
        rig.connect()
        rig.clock.advance(1)
        assert rig.finder.asked.count(ONE.host) == 1


class TestRace:
    """Addresses of one target."""

    def test_the_first_address_is_taken_when_it_is_quick(self) -> None:
        """Nobody else is disturbed."""
        rig = Rig({V6: 0.1, V4: 0.1})
        rig.connect()
        rig.clock.advance(0.2)
        assert (rig.result.ip, rig.result.port, rig.result.target, rig.result.reused) == (
            V6,
            6490,
            ONE,
            False,
        )
        assert rig.opener.log == [f"0 open {V6} 6490"]
        assert rig.opener.sockets[0].protocol is cast("Any", rig.made[0]) is rig.result.protocol
        assert rig.at_rest()

    def test_the_other_family_starts_after_250_ms_and_may_win(self) -> None:
        """RFC 8305; the loser is cancelled and gets no protocol."""
        rig = Rig({V6: None, V4: 0.05})
        rig.connect()
        rig.clock.pump([0.249, 0.001, 0.05])
        assert rig.opener.log == [f"0 open {V6} 6490", f"250 open {V4} 6490", f"300 cancel {V6} 6490"]
        assert rig.result.ip == V4
        assert len(rig.made) == 1
        assert rig.at_rest()

    def test_a_failure_starts_the_next_at_once(self) -> None:
        """Waiting for the head start would help nobody."""
        rig = Rig({V6: NO_ROUTE, V4: REFUSED, OTHER_V4: 0.0})
        rig.connect()
        rig.clock.advance(0)
        assert rig.opener.log == [f"0 open {V6} 6490", f"0 open {V4} 6490", f"0 open {OTHER_V4} 6490"]
        assert rig.result.ip == OTHER_V4
        assert rig.at_rest()

    def test_a_loser_that_connects_all_the_same_is_closed(self) -> None:
        """Cancelling may come too late."""
        rig = Rig({V6: 0.3, V4: 0.04})
        rig.opener.deaf = True
        rig.connect()
        rig.clock.pump([0.25, 0.04])
        assert rig.result.ip == V4
        assert [socket.protocol is None for socket in rig.opener.sockets] == [True, False]

    def test_an_attempt_has_a_time_limit(self) -> None:
        """After it the attempt is cancelled and counts as timed out."""
        rig = Rig({V4: None})
        rig.connect()
        rig.clock.pump([4.9, 0.1])
        assert rig.opener.log[-1] == f"5000 cancel {V4} 6490"
        assert [(one.ip, one.reason, one.seconds) for one in rig.failure.attempts] == [
            (V4, Reason.CONNECT_TIMEOUT, 5.0)
        ]
        assert rig.at_rest()

    def test_cancelling_ends_every_attempt(self) -> None:
        """Nothing is left on the clock."""
        rig = Rig({V6: None, V4: None})
        rig.connect()
        rig.clock.advance(0.3)
        rig.running.cancel()
        assert isinstance(rig.result.value, CancelledError)
        assert sorted(rig.opener.log[-2:]) == [f"300 cancel {V6} 6490", f"300 cancel {V4} 6490"]
        assert rig.at_rest()


class TestTargets:
    """Fail-over from one target to the next."""

    def test_targets_are_tried_in_the_finders_order(self) -> None:
        """The next one only when the one before has failed."""
        rig = Rig({V4: REFUSED, OTHER_V4: 0.1}, ONE, TWO, hosts=TWO_HOSTS)
        rig.connect()
        rig.clock.advance(0.1)
        assert (rig.result.target, rig.result.ip, rig.result.port) == (TWO, OTHER_V4, 6491)
        assert rig.finder.asked == ["b.example im", ONE.host, ONE.host, TWO.host]

    def test_the_most_telling_failure_is_reported(self) -> None:
        """A host that refuses says more than one without an address or a route."""
        lost = Target("lost.b.example")
        rig = Rig({V4: NO_ROUTE, OTHER_V4: REFUSED}, lost, ONE, TWO, hosts=TWO_HOSTS)
        rig.connect()
        assert rig.failure.reason is Reason.CONNECTION_REFUSED
        assert [(one.host, one.reason) for one in rig.failure.attempts] == [
            (lost.host, Reason.NO_ADDRESS),
            (ONE.host, Reason.UNREACHABLE),
            (TWO.host, Reason.CONNECTION_REFUSED),
        ]
        assert rig.failure.domain == DOMAIN
        assert f"{OTHER_V4} port 6491" in rig.failure.note

    def test_at_most_eight_targets_are_tried(self) -> None:
        """Whatever the finder gives."""
        targets = [Target(f"host{number}.b.example") for number in range(20)]
        rig = Rig({}, *targets)
        rig.connect()
        assert len(rig.failure.attempts) == 8
        assert rig.failure.reason is Reason.NO_ADDRESS

    def test_a_target_that_is_an_address_is_refused(self) -> None:
        """Only a name has addresses that its owner published."""
        rig = Rig({V4: 0.1}, Target(V4))
        rig.connect()
        assert rig.failure.reason is Reason.ADDRESS_REFUSED
        assert rig.opener.log == []

    def test_a_target_can_be_filtered(self) -> None:
        """By policy, before its addresses are looked up."""
        rig = Rig({OTHER_V4: 0.0}, ONE, TWO, hosts=TWO_HOSTS)
        rig.connect(
            DialTerms(filter_target=lambda target: Reason.WEAKER_THAN_POLICY if target is ONE else None)
        )
        rig.clock.advance(0)
        assert rig.result.target is TWO
        assert ONE.host not in rig.finder.asked

    def test_skipped_endpoints_are_not_dialled(self) -> None:
        """The caller has tried them; when none is left it is told so."""
        rig = Rig({V4: 0.0, OTHER_V4: 0.0}, ONE, TWO, hosts=TWO_HOSTS)
        rig.connect(DialTerms(skip={(V4, 6490)}))
        rig.clock.advance(0)
        assert rig.result.target is TWO
        rig.results.clear()
        rig.connect(DialTerms(skip={(V4, 6490), (OTHER_V4, 6491)}))
        assert rig.failure.exhausted
        assert rig.failure.attempts == ()

    def test_an_open_connection_is_used_again(self) -> None:
        """By address and port, never by name; nothing is dialled."""
        rig = Rig({V4: 0.0})
        link = object()
        rig.connect(DialTerms(reuse=lambda endpoint, _: link if endpoint == (V4, 6490) else None))
        assert (rig.result.protocol, rig.result.reused) == (link, True)
        assert (rig.opener.log, rig.made) == ([], [])


class TestDiscovery:
    """What the look-up says is what the caller is told."""

    def test_a_failed_look_up_keeps_its_reason(self) -> None:
        """NO_IMX_RECORD and DNS_FAILURE lead to different decisions."""
        rig = Rig({})
        rig.finder.reason = Reason.NO_IMX_RECORD
        rig.connect()
        assert (rig.failure.reason, rig.failure.attempts) == (Reason.NO_IMX_RECORD, ())
        assert "b.example IMX" in rig.failure.note

    def test_the_look_up_has_a_time_limit(self) -> None:
        """A silent resolver is a time-out of DNS."""
        rig = Rig({})
        rig.finder.silent = True
        rig.connect()
        rig.clock.advance(10)
        assert rig.failure.reason is Reason.DNS_TIMEOUT
        assert rig.at_rest()

    def test_the_look_up_of_addresses_has_one_too(self) -> None:
        """And the next target is tried."""
        rig = Rig({OTHER_V4: 0.0}, ONE, TWO, hosts={ONE.host: [], TWO.host: [OTHER_V4]})
        rig.connect()
        rig.clock.pump([10, 0])
        assert rig.result.target is TWO

    def test_everything_together_has_a_time_limit(self) -> None:
        """The reason is that of what was tried."""
        hosts = {f"host{number}.b.example": [f"8.8.8.{number}"] for number in range(1, 6)}
        rig = Rig({}, *map(Target, hosts), hosts=hosts)
        rig.connect()
        rig.clock.pump([5, 5, 4])
        assert rig.failure.reason is Reason.CONNECT_TIMEOUT
        assert "14 s" in rig.failure.note
        assert len(rig.failure.attempts) == 2
        assert rig.at_rest()

    def test_the_purpose_reaches_the_finder(self) -> None:
        """Presence may have routers of its own."""
        rig = Rig({V4: 0.0})
        rig.connect(DialTerms(purpose="pres"))
        assert rig.finder.asked[0] == "b.example pres"


class TestGuard:
    """Addresses that are not dialled."""

    @pytest.mark.parametrize("ip", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
    def test_a_refused_address_is_not_dialled_and_the_next_is(self, ip: str) -> None:
        """In each of its forms."""
        rig = Rig({ip: 0.0, V4: 0.0})
        rig.connect()
        rig.clock.advance(0)
        assert rig.opener.log == [f"0 open {V4} 6490"]
        assert rig.result.ip == V4

    def test_only_refused_addresses_are_a_refusal(self) -> None:
        """With the rule in the note."""
        rig = Rig({"127.0.0.1": 0.0})
        rig.connect()
        assert rig.failure.reason is Reason.ADDRESS_REFUSED
        assert "loopback" in rig.failure.note

    @pytest.mark.parametrize(("port", "dialled"), [(443, True), (25, False), (1023, False), (1024, True)])
    def test_low_ports_are_dialled_only_if_allowed(self, port: int, dialled: bool) -> None:
        """Nobody shall make us talk to a mail server."""
        rig = Rig({V4: 0.0}, replace(ONE, port=port))
        rig.connect()
        assert bool(rig.opener.log) is dialled

    def test_the_address_connected_to_is_judged(self) -> None:
        """Whatever lies between may have led elsewhere."""
        rig = Rig({V4: 0.0})
        rig.opener.lands_at = ("127.0.0.1", 6490)
        rig.connect()
        rig.clock.advance(0)
        assert rig.failure.reason is Reason.ADDRESS_REFUSED
        assert rig.opener.sockets[0].closed
        assert rig.made == []


class TestPins:
    """Configured addresses."""

    def test_pins_replace_discovery_and_the_guard(self) -> None:
        """The operator named them."""
        rig = Rig({"127.0.0.1": 0.0})
        rig.connect(DialTerms(pins=(("127.0.0.1", 25),)))
        rig.clock.advance(0)
        assert (rig.result.ip, rig.result.port, rig.result.found) == ("127.0.0.1", 25, None)
        assert rig.result.target == Target("127.0.0.1", 25)
        assert rig.finder.asked == []

    def test_pins_race_in_random_order(self) -> None:
        """Each is as good as the other."""
        first: set[str] = set()
        for seed in range(40):
            rig = Rig({V4: 0.0, OTHER_V4: 0.0})
            pins = ((V4, 6490), (OTHER_V4, 6490))
            connector = Connector(rig.clock, rig.finder, rig.guard, rig.opener, Random(seed))
            connector.connect(DOMAIN, lambda: cast("IProtocol", Protocol()), DialTerms(pins=pins))
            first.add(rig.opener.log[0])
        assert len(first) == 2

    def test_when_all_pins_fail_their_attempts_are_listed(self) -> None:
        """There is nothing to fall back to."""
        rig = Rig({V4: REFUSED, OTHER_V4: NO_ROUTE})
        rig.connect(DialTerms(pins=((V4, 1), (OTHER_V4, 2))))
        assert rig.failure.reason is Reason.CONNECTION_REFUSED
        assert {(one.ip, one.port) for one in rig.failure.attempts} == {(V4, 1), (OTHER_V4, 2)}


class TestStrangersWord:
    """Dialling that a stranger caused."""

    def test_at_most_four_attempts(self) -> None:
        """However many targets and addresses he published."""
        many = [f"203.0.112.{n}" for n in range(1, 9)]
        rig = Rig(dict.fromkeys(many, REFUSED), hosts={ONE.host: many})
        rig.connect(DialTerms(strangers_word=True))
        assert len(rig.opener.log) == 4
        assert rig.failure.reason is Reason.CONNECTION_REFUSED

    def test_they_count_over_all_targets(self) -> None:
        """And no address of a target after them is looked up."""
        third = Target("three.b.example")
        hosts = {ONE.host: [V6, V4], TWO.host: ["2600::2", OTHER_V4], third.host: [THIRD_V4]}
        down = dict.fromkeys([V6, V4, "2600::2", OTHER_V4], REFUSED)
        rig = Rig({**down, THIRD_V4: 0.0}, ONE, TWO, third, hosts=hosts)
        rig.connect(DialTerms(strangers_word=True))
        assert rig.failure.reason is Reason.CONNECTION_REFUSED
        assert third.host not in rig.finder.asked

    def test_a_host_that_is_down_with_both_its_addresses_does_not_hide_the_next(self) -> None:
        """One host of two down is no reason to refuse a domain."""
        hosts = {ONE.host: [V6, V4], TWO.host: [OTHER_V4]}
        rig = Rig({V6: REFUSED, V4: REFUSED, OTHER_V4: 0.0}, ONE, TWO, hosts=hosts)
        rig.connect(DialTerms(strangers_word=True))
        rig.clock.advance(0)
        assert rig.result.ip == OTHER_V4

    def test_each_attempt_is_asked_for_and_its_failure_told(self) -> None:
        """A refused one is not dialled and uses up no attempt."""
        asked: list[str] = []
        told: list[tuple[str, int, Reason]] = []

        def admit(ip: str, _port: int) -> Reason | None:
            asked.append(ip)
            return Reason.DIAL_LIMIT if ip == V6 else None

        rig = Rig({V6: 0.0, V4: REFUSED, OTHER_V4: 0.0})
        rig.connect(
            DialTerms(strangers_word=True, admit_target=admit, failed_connect=lambda *what: told.append(what))
        )
        rig.clock.advance(0)
        assert asked == [V6, V4, OTHER_V4]
        assert told == [(V4, 6490, Reason.CONNECTION_REFUSED)]
        assert rig.result.ip == OTHER_V4

    def test_a_guarded_address_is_not_even_asked_for(self) -> None:
        """It would use up somebody's limit."""
        asked: list[str] = []
        rig = Rig({"127.0.0.1": 0.0})
        rig.connect(DialTerms(strangers_word=True, admit_target=lambda ip, _port: asked.append(ip)))
        assert asked == []

    def test_our_own_traffic_is_not_asked_for(self) -> None:
        """Strangers' limits are none of its business."""
        told: list[object] = []
        rig = Rig({V4: REFUSED})
        rig.connect(
            DialTerms(
                admit_target=lambda *what: told.append(what), failed_connect=lambda *what: told.append(what)
            )
        )
        assert told == []
        assert rig.failure.reason is Reason.CONNECTION_REFUSED


class TestTurns:
    """Many links to one address are opened one after the other."""

    def test_a_turn_is_not_counted_as_the_others_slowness(self) -> None:
        """The limit for everything stands still meanwhile, and goes on with what was left."""
        turn: Deferred[Any] = Deferred()
        rig = Rig({V4: 4.0})
        rig.connect(DialTerms(turn=lambda _: turn))
        rig.clock.pump([1.0] * 14)
        ended: list[bool] = []
        turn.callback(lambda: ended.append(True))
        rig.clock.pump([1.0] * 4)
        assert rig.result.ip == V4
        assert ended == [True]
        assert rig.clock.getDelayedCalls() == []

    def test_no_turn_is_a_limit_and_not_the_address(self) -> None:
        """Nothing is dialled then."""
        gone: list[object] = []
        rig = Rig({V4: 0.0})
        rig.connect(DialTerms(turn=lambda _: Deferred(gone.append)))
        rig.clock.pump([1.0] * 16)
        assert rig.failure.reason is Reason.DIAL_LIMIT
        assert "no turn within 15 s" in rig.failure.note
        assert len(gone) == 1
        assert rig.clock.getDelayedCalls() == []


def test_each_step_is_told() -> None:
    """So that a laboratory can show it."""
    rig = Rig({V6: REFUSED, V4: 0.1})
    rig.connect()
    rig.clock.advance(0.1)
    assert rig.steps == [
        (Stage.DNS, "looking up the routers of b.example"),
        (Stage.DNS, "found by IMX: one.b.example:6490"),
        (Stage.DNS, f"one.b.example has {V6}, {V4}"),
        (Stage.CONNECT, f"connecting to {V6} port 6490"),
        (Stage.CONNECT, f"one.b.example ({V6}) port 6490: connection-refused"),
        (Stage.CONNECT, f"connecting to {V4} port 6490"),
        (Stage.CONNECT, f"connected to {V4} port 6490"),
    ]
