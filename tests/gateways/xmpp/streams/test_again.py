"""Presence that did not arrive is said again: the newest, until it arrives; nothing else ever is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from imxrouter.gateways.xmpp.streams.again import (
    FLIGHT_S,
    LIFE_S,
    PAUSE,
    RATES,
    AgainOutside,
    Going,
    PresenceAgain,
    is_said_again,
)
from imxrouter.gateways.xmpp.streams.records import party_of, stanza_record
from imxrouter.model.outcome import SUCCESS, Outcome, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from imxrouter.wire.record import Record, response_to

LOST = indeterminant(Reason.LINK_LOST)
DOWN = failure(Reason.SERVICE_DOWN, role="service")
ALICE, BOB = "alice@a.example", "bob@b.example"


class Rig:
    """Presence from Alice to Bob; what is sent again is answered with `outcome`."""

    def __init__(self, **settings: int) -> None:
        self.now = 0.0
        self.room = True
        self.outcome: Outcome | None = SUCCESS
        self.sent: list[Record] = []
        self.dropped: Counter[str] = Counter()
        self._ids = iter(range(1, 100_000))
        outside = AgainOutside(
            self._submit, lambda: self.room, lambda: self.now, lambda: 0.0, self._new_id,
            lambda word: self.dropped.update([word]),
        )  # fmt: skip
        self.again = PresenceAgain(outside, **settings)

    def _new_id(self) -> bytes:
        return next(self._ids).to_bytes(16, "big")

    def _submit(self, record: Record, respond: Callable[[Record], None]) -> None:
        self.sent.append(record)
        if self.outcome is not None:
            respond(response_to(record, self.outcome))

    def goes(self, type_: str = "", resource: str = "desk", to: str = BOB, text: str = "") -> Going | None:
        """A presence of Alice's goes out."""
        from_ = f"{ALICE}/{resource}" if resource else ALICE
        raw = f"<presence from='{from_}' to='{to}' type='{type_}'>{text}</presence>".encode()
        record = stanza_record(raw, party_of(from_), party_of(to), self._new_id())
        return self.again.going(from_, to, type_, record)

    def fails(self, outcome: Outcome = LOST, **said: str) -> Going:
        """One goes out and does not arrive."""
        going = self.goes(**said)
        assert going is not None
        self.again.answered(going, outcome)
        return going

    def wait(self, seconds: float) -> list[bytes]:
        """What is said again meanwhile, its last words."""
        before = len(self.sent)
        for _ in range(round(seconds)):
            self.now += 1
            self.again.tick()
        return [one.body for one in self.sent[before:]]


def test_what_is_lost_is_said_again_and_what_arrived_is_not() -> None:
    """Under a new id, once, after a pause."""
    rig = Rig()
    arrived = rig.goes("", "phone")
    assert arrived is not None
    rig.again.answered(arrived, SUCCESS)
    lost = rig.fails(text="away")
    [body] = rig.wait(60)
    assert b"away" in body
    assert rig.sent[0].message_id != lost.record.message_id
    assert len(rig.again) == 0
    assert rig.dropped == {"presence-again": 1}


def test_it_is_tried_until_it_arrives() -> None:
    """With pauses that grow to a quarter of a minute, for a quarter of an hour."""
    rig = Rig()
    rig.outcome = DOWN
    rig.fails(DOWN)
    assert len(rig.wait(20)) == 4
    assert len(rig.wait(60)) == 60 / PAUSE.cap_s
    rig.outcome = SUCCESS
    assert len(rig.wait(PAUSE.cap_s)) == 1
    assert rig.wait(100) == []
    rig.outcome = DOWN
    rig.fails(DOWN)
    rig.wait(LIFE_S + PAUSE.cap_s)
    assert (len(rig.again), rig.wait(100)) == (0, [])


@pytest.mark.parametrize("arrives", [True, False])
def test_the_newest_goes_in_its_place(arrives: bool) -> None:
    """Whether it waits or is on its way: what it said before does not come behind."""
    rig = Rig()
    older = rig.goes(text="one") if arrives else rig.fails(text="one")
    assert older is not None
    newer = rig.goes(text="two")
    assert newer is not None
    rig.again.answered(older, LOST)
    rig.again.answered(newer, SUCCESS if arrives else LOST)
    assert [b"two" in body for body in rig.wait(60)] == [True] * (not arrives)
    assert len(rig.again) == 0


def test_what_is_of_the_bare_address_ends_what_its_resources_said() -> None:
    """Unavailable from it, and the error that says that nothing is known; each resource stands for itself."""
    for kind in ("unavailable", "error"):
        rig = Rig()
        rig.fails(resource="desk")
        rig.fails(resource="phone")
        assert len(rig.again) == 2
        last = rig.goes(kind, "")
        assert (last is None) == (kind == "error")
        if last is not None:
            rig.again.answered(last, SUCCESS)
        assert rig.wait(60) == []


def test_wishes_and_consents_stand_for_themselves() -> None:
    """A state takes the place of no wish; the end of a wish does."""
    rig = Rig()
    rig.fails(type_="subscribe", resource="")
    rig.fails(type_="subscribed", resource="")
    state = rig.goes()
    assert state is not None
    rig.again.answered(state, SUCCESS)
    assert len(rig.wait(10)) == 2
    rig.fails(type_="subscribe", resource="")
    rig.fails(type_="unsubscribe", resource="")
    assert [b"'unsubscribe'" in body for body in rig.wait(10)] == [True]


def test_what_is_never_said_again() -> None:
    """Errors and questions, what goes to a room or a program, and what was refused for good."""
    rig = Rig()
    for type_ in ("error", "probe", "strange"):
        assert rig.goes(type_) is None
        assert not is_said_again(BOB, type_)
    assert rig.goes(to=f"{BOB}/nick") is None
    rig.fails(failure(Reason.BLOCKED))
    assert (rig.wait(60), len(rig.again)) == ([], 0)


def test_an_answer_that_never_comes() -> None:
    """It counts as lost after a time, for it may be that of a stream that is gone."""
    rig = Rig()
    assert rig.goes() is not None
    assert rig.wait(FLIGHT_S - 1) == []
    assert len(rig.wait(10)) == 1


def test_bounds() -> None:
    """A domain has a quarter of the room; what has none is sent once. Without room in the switch it waits."""
    rig = Rig(most_bytes=40_000)
    going = [rig.goes(to=f"user{n}@b.example") for n in range(20)]
    kept = [one for one in going if one is not None]
    assert 4 <= len(kept) < 10
    for one in kept:
        rig.again.answered(one, LOST)
    rig.room = False
    assert rig.wait(30) == []
    rig.room = True
    assert len(rig.wait(1)) == len(kept)
    assert len(rig.again) == 0
    assert rig.goes() is not None


@pytest.mark.parametrize("reason", sorted(RATES, key=str))
def test_what_a_rate_held_back_is_not_said_for_its_sender(reason: Reason) -> None:
    """The router's own words have no rate: whoever is over his would go on by them."""
    rig = Rig()
    rig.fails(failure(reason, retry_after_s=1), type_="subscribe")
    assert not rig.wait(60)
    assert len(rig.again) == 0


@pytest.mark.parametrize("reason", [Reason.OVERLOADED, Reason.BUSY])
def test_what_found_no_room_comes_back_when_there_is_less_to_do(reason: Reason) -> None:
    """What the router says is not shed, so it would be there a second after others were."""
    rig = Rig()
    rig.fails(failure(reason))
    assert rig.wait(PAUSE.cap_s - 1) == []
    assert len(rig.wait(2)) == 1
