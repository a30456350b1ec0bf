"""An iq that passes as it is has one answer at most, whoever gives it: who was asked, or the router."""

from __future__ import annotations

import pytest

from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.stanza import read_stanza, tree_of
from imxrouter.gateways.xmpp.streams.one_answer import OneAnswer
from imxrouter.gateways.xmpp.streams.told import TOLD_S, Told, ToldTable
from imxrouter.gateways.xmpp.translate.awaited import LATE_S
from imxrouter.model.outcome import SUCCESS, Outcome, failure, indeterminant
from imxrouter.model.vocabulary import Reason
from tests.gateways.xmpp.streams.edge_rig import EdgePair
from tests.gateways.xmpp.streams.rig import A, B

LOST = indeterminant(Reason.LINK_LOST, role="service")
LATE = indeterminant(Reason.ANSWER_TIMEOUT, role="peer")
ASKED = f"<iq from='Alice@{A}/desk' to='bob@{B}/x' id='q' type='get'><query xmlns='urn:x'/></iq>"
#: Addresses may come back spelled otherwise.
RESULT = f"<iq from='bob@{B}/x' to='alice@{A.upper()}/desk' id='q' type='result'/>"


class Asking(EdgePair):
    """A's user asks one of B, whose router's streams both ways are real; B's server says what tests say."""

    def __init__(self) -> None:
        super().__init__()
        self.b.service.outcome = None

    def ask(self, raw: str = ASKED) -> int:
        """An iq goes on to the server, and nobody confirms it; its route tag."""
        before = set(self.b.switch.ledger.entries)
        self.a.service.send(raw.encode(), A, B)
        self.settle()
        (tag,) = set(self.b.switch.ledger.entries) - before
        return tag

    def answer(self, raw: str = RESULT) -> None:
        """The server answers, on whatever stream it likes."""
        records = self.b.real.records_of(self.back, [StanzaIn(read_stanza(raw.encode()), B, A)])
        if records:
            self.b.hub.inject(self.b.service.port, records)
        self.settle()

    def fails(self, tag: int, outcome: Outcome = LOST) -> None:
        """What became of the iq, as the pool of the server's streams has it."""
        self.b.real.settled(self.b.service.port, (tag,), outcome)
        self.settle()

    @property
    def got(self) -> list[str]:
        """What came back to the user: types."""
        return [tree_of(one).attributes["type"] for one in self.stanzas(self.a)]

    @property
    def kept(self) -> tuple[int, int]:
        """Of how many stanzas, and of how many that the router has answered, something is remembered."""
        return len(self.b.real.told), len(self.b.real._one_answer)


@pytest.mark.parametrize("outcome", [LOST, LATE], ids=["stream lost", "not confirmed"])
@pytest.mark.parametrize("raw", [RESULT, RESULT.replace("result", "error")], ids=["result", "error"])
def test_no_failure_is_told_behind_the_answer(raw: str, outcome: Outcome) -> None:
    """The answer says that it has arrived, whatever is not known of the stream that it went on."""
    scene = Asking()
    tag = scene.ask()
    scene.answer(raw)
    scene.fails(tag, outcome)
    assert scene.got == [tree_of(raw.encode()).attributes["type"]]
    assert scene.b.dropped == {}


def test_no_failure_is_told_behind_the_answer_when_the_link_is_gone() -> None:
    """The same where the switch takes the port away, as of a stream to a domain outside."""
    scene = Asking()
    scene.ask()
    scene.answer()
    scene.b.switch.remove_port(scene.b.service.port, scene.clock.seconds())
    scene.b.hub.flush()
    scene.settle()
    assert scene.got == ["result"]
    assert scene.b.switch.conservation() == []


@pytest.mark.parametrize("outcome", [LOST, LATE], ids=["stream lost", "not confirmed"])
def test_no_answer_passes_behind_the_failure(outcome: Outcome) -> None:
    """The router has answered; what comes then is counted, once, and so is nothing that was never asked."""
    scene = Asking()
    scene.fails(scene.ask(), outcome)
    assert scene.got == ["error"]
    scene.answer()
    assert scene.got == ["error"]
    assert scene.b.dropped == {"unasked": 1}
    assert scene.kept == (0, 0)
    scene.answer(RESULT.replace("'q'", "'other'"))
    assert scene.got == ["error", "result"]


def test_the_answer_to_another_iq_changes_nothing() -> None:
    """Of somebody else, to somebody else, with another id: the failure is told."""
    scene = Asking()
    tag = scene.ask()
    others = [("bob@", "eve@"), ("alice@", "carol@"), ("/desk", "/phone"), ("'q'", "'p'")]
    for old, new in others:
        scene.answer(RESULT.replace(old, new))
    scene.fails(tag)
    assert scene.got == ["result"] * len(others) + ["error"]


def test_what_was_not_written_at_all_is_told() -> None:
    """There is no doubt, so no answer will come: nothing is remembered."""
    scene = Asking()
    scene.fails(scene.ask(), failure(Reason.SERVICE_DOWN, role="service"))
    assert scene.got == ["error"]
    assert scene.kept == (0, 0)


def test_who_asks_again_with_the_same_id_gets_the_answer() -> None:
    """After the router has answered, or before: then the failure of the older one is told no more."""
    scene = Asking()
    scene.fails(scene.ask())
    scene.ask()
    scene.answer()
    assert scene.got == ["error", "result"]
    first, second = scene.ask(), scene.ask()
    scene.fails(first)
    scene.fails(second)
    assert scene.got == ["error", "result", "error"]


def test_a_message_with_the_same_id_is_no_iq() -> None:
    """It begins nothing anew: the answer that comes behind the failure still goes nowhere."""
    scene = Asking()
    scene.fails(scene.ask())
    scene.ask(
        ASKED.replace("<iq", "<message").replace("</iq>", "<body>x</body></message>").replace("get", "chat")
    )
    presence = "<presence from='alice@{a}/desk' to='bob@{b}/x' id='q' type='subscribe'/>"
    scene.ask(presence.format(a=A, b=B))
    scene.answer()
    assert scene.got == ["error"]


def test_nothing_is_remembered_for_ever() -> None:
    """Of what was confirmed or answered at once, of the rest for a time."""
    scene = Asking()
    scene.fails(scene.ask(), SUCCESS)
    assert scene.kept == (0, 0)
    scene.ask()
    scene.answer()
    # the answer's own record is in flight: nothing of it is ever told
    assert scene.kept == (0, 0)
    scene.fails(scene.ask(ASKED.replace("'q'", "'late'")))
    assert scene.kept == (0, 1)
    scene.clock.advance(LATE_S - 1)
    scene.b.real.tick()
    assert scene.kept == (0, 1)
    scene.clock.advance(1)
    scene.b.real.tick()
    assert scene.kept == (0, 0)
    scene.answer(RESULT.replace("'q'", "'late'"))
    assert scene.got == ["result", "error", "result"]


def told(ident: str, sender: str = "alice") -> Told:
    """An iq of one of A's users."""
    return Told("iq", f"{sender}@{A}/desk", f"bob@{B}", ident, "get", B, A)


def test_what_cannot_be_remembered_is_not_told() -> None:
    """One user has a part of the room; who is over it gets no answer of the router, and so not two."""
    one = OneAnswer(ToldTable())
    allowed = [one.doubted(told(str(number)), 0.0) for number in range(400)]
    assert sum(allowed) == 312
    assert one.doubted(told("1", "carol"), 0.0)
    assert not one.doubted(told(""), 0.0)
    one.tick(LATE_S)
    assert len(one) == 0


def test_it_is_counted_where_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The word is that of all failures that nobody is told."""
    scene = Asking()
    monkeypatch.setattr(scene.b.real._one_answer, "doubted", lambda *_args: False)
    scene.fails(scene.ask())
    assert scene.got == []
    assert scene.b.dropped == {"untold": 1}


def test_without_room_to_say_it_the_answer_passes() -> None:
    """What the switch cannot take back was not said."""
    scene = Asking()
    tag = scene.ask()
    scene.b.room = False
    scene.fails(tag)
    scene.answer()
    assert scene.got == ["result"]
    assert scene.b.dropped == {"no-room": 1}


def test_keys_have_their_room_and_give_it_back() -> None:
    """They are the peer's to choose, too."""
    table, size = ToldTable(TOLD_S, 4 * 1_000), 0
    while table.add(size, told(str(size)), 0.0, b"k%d" % size):
        size += 1
    assert size == 1
    table.answered(b"k0")
    assert len(table) == 0
    assert table.add(2, told("2"), 0.0, b"k2")
    table.tick(TOLD_S)
    assert len(table) == 0
    table.answered(b"k2")
    assert table.add(3, told("3"), TOLD_S, b"k2")
