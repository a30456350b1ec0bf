"""Outages of peers: begin, end, whose they are; no second is lost or counted twice (FCC-2, FCC-7)."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model import quality
from imxrouter.model.quality import Cells
from imxrouter.model.vocabulary import Reason
from imxrouter.telemetry import outages as module
from imxrouter.telemetry.outages import FLAP_S, PER_PEER, Outage, Outages

Z = b"z.example"
REFUSED = Reason.CONNECTION_REFUSED


class Story:
    """An `Outages`, a clock, and everything that it told."""

    def __init__(self, quiet_s: float = 900.0) -> None:
        self.outages = Outages(quiet_s)
        self.now = 1_000_000.0
        self.told: list[tuple[bytes, str]] = []
        self.counted: dict[bytes, Cells] = {}
        self.outages.on_change = lambda domain, _outage, what: self.told.append((domain, what))

    def fail(self, *domains: bytes, reason: Reason = REFUSED) -> None:
        """A verdict on each."""
        for domain in domains:
            self.outages.failed(domain, reason, self.now)

    def reach(self, *domains: bytes) -> None:
        """Each is reached."""
        for domain in domains:
            self.outages.reached(domain, self.now)

    def wait(self, seconds: int, *, failing: bytes = b"", own: bool = False) -> None:
        """Time passes, second by second; a try of one fails each minute."""
        for second in range(1, seconds + 1):
            self.now += 1.0
            if failing and second % 60 == 0:
                self.fail(failing)
            for domain, cells in self.outages.tick(self.now, own=own).items():
                quality.add(self.counted.setdefault(domain, {}), cells)

    def last(self, domain: bytes = Z) -> Outage:
        """Its last outage."""
        return self.outages.of(domain)[-1]

    def down_s(self, domain: bytes = Z, *, ours: bool = False) -> float:
        """What was credited."""
        return sum(quality.outage_ms(self.counted.get(domain, {}), ours).values()) / 1000


def peers(count: int) -> list[bytes]:
    """That many domains."""
    return [b"p%d.example" % number for number in range(count)]


def test_it_begins_with_the_verdict_and_ends_when_reached() -> None:
    """With times, the reason of the first failure, all reasons, and whose it was."""
    story = Story()
    story.reach(Z)
    story.wait(10)
    begin = story.now
    story.fail(Z)
    assert story.outages.is_down(Z)
    story.wait(100)
    story.fail(Z, reason=Reason.CONNECT_TIMEOUT)
    story.wait(20)
    story.reach(Z)
    story.wait(1)
    outage = story.last()
    assert (outage.begin, outage.end, outage.side, outage.how) == (begin, begin + 120, "theirs", "reached")
    assert outage.reason is REFUSED
    assert outage.reasons == {"connection-refused": 1, "connect-timeout": 1}
    assert story.down_s() == 120.0 == outage.down_ms / 1000
    assert quality.outage_ms(story.counted[Z], False) == {REFUSED: 120_000}
    assert not story.outages.is_down(Z)
    assert story.told == [(Z, "begins"), (Z, "ends")]


def test_a_short_one_is_counted_at_its_end() -> None:
    """Before the side is final nothing is credited."""
    story = Story()
    story.fail(Z)
    story.wait(5)
    assert story.down_s() == 0
    story.reach(Z)
    story.wait(1)
    assert story.down_s() == 5.0


def test_most_peers_lost_at_once_are_our_own_loss() -> None:
    """Those that went before the third became known too; a fourth that stays is not concerned."""
    story = Story()
    a, b, c, d = peers(4)
    story.reach(a, b, c, d)
    for domain in (a, b, c):
        story.fail(domain)
        story.wait(5)
    assert [story.last(one).side for one in (a, b, c)] == ["ours"] * 3
    story.wait(60)
    story.reach(a, b, c)
    story.wait(1)
    assert (story.down_s(a, ours=True), story.down_s(a)) == (75.0, 0.0)
    assert not story.outages.of(d)


def test_two_of_four_are_not_most_and_those_lost_long_ago_do_not_count() -> None:
    """Half is not more; an old outage is settled; a peer that was never reached says nothing of us."""
    story = Story()
    a, b, c, d, e = peers(5)
    story.reach(a, b, c, d)
    story.fail(a)
    story.wait(40)
    story.fail(b, e)
    assert {story.last(one).side for one in (a, b, e)} == {"theirs"}
    story.fail(c)
    assert {story.last(one).side for one in (a, b, c, e)} == {"theirs"}


def test_two_peers_cannot_tell() -> None:
    """Of fewer than three nobody knows whose network it is."""
    story = Story()
    a, b = peers(2)
    story.reach(a, b)
    story.fail(a, b)
    assert {story.last(one).side for one in (a, b)} == {"theirs"}


def test_who_does_not_come_back_with_the_others_is_out_by_itself() -> None:
    """Then a second outage begins, which is theirs."""
    story = Story()
    a, b, c = peers(3)
    story.reach(a, b, c)
    story.fail(a, b, c)
    story.wait(100)
    story.reach(a, b)
    story.wait(1)
    story.fail(c)
    story.wait(30)
    ours, theirs = story.outages.of(c)
    assert (ours.side, ours.how, theirs.side) == ("ours", "own network back", "theirs")
    assert (story.down_s(c, ours=True), story.down_s(c)) == (101.0, 30.0)


def test_somebody_else_knows_better() -> None:
    """What liveness says of our network holds for an outage that is not settled."""
    story = Story()
    story.fail(Z)
    story.wait(10, own=True)
    assert story.last().side == "ours"
    story.wait(30)
    assert story.told == [(Z, "begins"), (Z, "is ours")]


def test_a_peer_that_comes_and_goes_has_one_outage() -> None:
    """Time in which it was back is not counted; after a minute it is a new one."""
    story = Story()
    for _ in range(3):
        story.fail(Z)
        story.wait(40)
        story.reach(Z)
        story.wait(10)
    assert len(story.outages.of(Z)) == 1
    assert (story.last().flaps, story.last().down_ms, story.down_s()) == (2, 120_000, 120.0)
    story.wait(int(FLAP_S))
    story.fail(Z)
    assert len(story.outages.of(Z)) == 2


def test_nobody_tries_any_longer() -> None:
    """Then nobody knows, and the outage is over; while tries fail it lasts."""
    story = Story(quiet_s=300.0)
    story.fail(Z)
    story.wait(600, failing=Z)
    assert story.outages.is_down(Z)
    story.wait(302)
    assert (story.last().how, story.outages.is_down(Z)) == ("not tried", False)
    assert story.down_s() <= 600 + 301


def test_a_delivery_ends_it_but_a_late_one_does_not() -> None:
    """What was delivered within the same moments was sent before."""
    story = Story()
    story.fail(Z)
    story.outages.delivered(Z, story.now + 1.0)
    assert story.outages.is_down(Z)
    story.wait(5)
    story.outages.delivered(Z, story.now)
    assert not story.outages.is_down(Z)


def test_a_restart_keeps_them_and_counts_nothing_meanwhile() -> None:
    """As they are written to the state file."""
    story = Story()
    story.fail(Z)
    story.wait(100)
    kept = msgspec.json.decode(msgspec.json.encode(story.outages.of(Z)), type=list[Outage])
    later = Story()
    later.now = story.now + 500
    later.outages.restore(Z, kept, later.now)
    assert later.outages.is_down(Z)
    later.wait(10)
    later.reach(Z)
    later.wait(1)
    assert (later.down_s(), later.last().down_ms) == (10.0, 110_000)
    assert later.last().begin == story.last().begin


def test_our_own_loss_goes_on_after_a_restart() -> None:
    """Until half of those that were lost together are back, no peer is blamed."""
    story, later = Story(), Story()
    names = peers(3)
    story.reach(*names)
    story.fail(*names)
    story.wait(40)
    later.now = story.now + 10
    for name in names:
        later.outages.restore(name, story.outages.of(name), later.now)
    later.fail(*names)
    assert [later.last(name).side for name in names] == ["ours"] * 3
    later.reach(*names[:2])
    later.wait(1)
    later.fail(names[2])
    assert later.last(names[2]).side == "theirs"


def test_tables_are_bounded() -> None:
    """Of one peer the oldest outages go; of all peers the one whose outage is over and began first."""
    story = Story()
    for _ in range(PER_PEER + 5):
        story.fail(Z)
        story.reach(Z)
        story.now += FLAP_S + 1
    assert len(story.outages.of(Z)) == PER_PEER
    many = [b"d%d.example" % number for number in range(module.PEERS + 5)]
    story.fail(*many)
    assert len(story.outages._peers) == module.PEERS
    assert not story.outages.knows(b"d4.example") or not story.outages.of(b"d3.example")
    story.reach(*(b"r%d.example" % number for number in range(module.REACHED + 5)))
    assert len(story.outages._up) == module.REACHED


steps = st.lists(
    st.tuples(st.sampled_from(["fail", "reach", "wait", "own"]), st.integers(0, 4), st.integers(1, 90)),
    max_size=60,
)


@given(steps)
def test_every_second_is_credited_once(story_of: list[tuple[str, int, int]]) -> None:
    """What was credited to sides and reasons is what the outages say, whatever happens."""
    story, names = Story(quiet_s=200.0), peers(5)
    for what, who, seconds in story_of:
        if what == "fail":
            story.fail(names[who], reason=[REFUSED, Reason.DNS_TIMEOUT][seconds % 2])
        elif what == "reach":
            story.reach(names[who])
        else:
            story.wait(seconds, own=what == "own")
    story.reach(*names)
    story.wait(1)
    for name in names:
        credited: Counter[str] = Counter()
        for outage in story.outages.of(name):
            assert outage.end is not None
            assert outage.begin <= outage.end
            assert outage.down_ms <= round((outage.end - outage.begin) * 1000)
            credited[outage.side] += outage.down_ms
        assert story.down_s(name) * 1000 + story.down_s(name, ours=True) * 1000 == credited.total()
        begins = [outage.begin for outage in story.outages.of(name)]
        assert begins == sorted(begins)
