"""How strangers are taken and read: a share of each turn, in the order of asking."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone

from imxrouter.transport import strangers
from imxrouter.transport.strangers import ACCEPTS_AT_ONCE, Accepted, GentlePort, StrangersTurns


class Link:
    """A connection that notes what happens to it; a read of it takes a millisecond.

    Args:
        log: of all of them.
        name: in the log.
        found: what its read gives.
    """

    hostname = "192.0.2.1"
    group = b"net"
    connected = True
    disconnecting = paused = waits = False
    end: BaseException | None = None

    def __init__(self, rig: Rig, name: str, found: Callable[[], Any] = lambda: None) -> None:
        self._rig, self.name, self._found = rig, name, found
        self.is_read = True

    def read_now(self) -> Any:
        """It costs something."""
        self._rig.log.append(f"read {self.name}")
        self._rig.spent += 0.001
        return self._found()

    def startReading(self) -> None:  # noqa: N802 - Twisted's name
        """Note it."""
        self.is_read = True

    def stopReading(self) -> None:  # noqa: N802 - Twisted's name
        """Note it."""
        self.is_read = False

    def stopWriting(self) -> None:  # noqa: N802 - Twisted's name
        """Nothing is written here."""

    def connectionLost(self, reason: Any) -> None:
        """Note it."""
        self.connected = False
        self._rig.spent += 0.001
        self._rig.log.append(f"lost {self.name} {reason.type.__name__}")


class Reactor:
    """What is to be called in the next turn."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []

    def callLater(self, delay: float, what: Callable[[], None]) -> None:  # noqa: N802 - Twisted's name
        """Remember it."""
        assert delay == 0
        self.later.append(what)


class Rig:
    """Turns of a reactor that is turned by hand."""

    def __init__(self, share_s: float = 0.002) -> None:
        self.reactor = Reactor()
        self.spent = 0.0
        self.log: list[str] = []
        self.turns = StrangersTurns(self.reactor, lambda: self.spent, share_s)

    def turn(self) -> list[str]:
        """What happens in the next turn."""
        self.log.clear()
        due, self.reactor.later = self.reactor.later, []
        for what in due:
            what()
        return list(self.log)


class Quiet:
    """A log that is not read."""

    def failure(self, *_: object, **__: object) -> None:
        """Nothing."""


def test_a_crowd_has_its_share_of_each_turn() -> None:
    """Two milliseconds for five who want one each; nobody is asked by the reactor while he waits."""
    rig = Rig()
    links = [Link(rig, name) for name in "abcde"]
    for one in links:
        rig.turns.read(one)
    assert rig.log == ["read a", "read b"]
    assert [one.is_read for one in links] == [True, True, False, False, False]
    assert rig.turn() == ["read c", "read d"]
    assert rig.turn() == ["read e"]
    assert all(one.is_read for one in links)
    assert rig.turns.waiting == 0


def test_who_comes_later_waits_behind_those_who_wait() -> None:
    """A new read takes nobody's place."""
    rig = Rig()
    for name in "abc":
        rig.turns.read(Link(rig, name))
    late = Link(rig, "late")
    rig.turns.read(late)
    assert rig.turn() == ["read c", "read late"]


def test_an_end_is_a_part_of_the_share() -> None:
    """Hundreds that go at one time are no different."""
    rig = Rig()
    ends = [Link(rig, name, ConnectionDone) for name in "abc"]
    for one in ends:
        rig.turns.read(one)
    assert rig.log == ["read a"]
    assert rig.turn() == ["lost a ConnectionDone", "read b"]
    assert rig.turn() == ["read c", "lost b ConnectionDone"]
    assert rig.turn() == ["lost c ConnectionDone"]
    assert rig.turn() == []
    assert rig.reactor.later == []


def test_a_bug_in_one_link_ends_that_link() -> None:
    """The next one is read."""

    def fail() -> None:
        raise ValueError("a bug")

    rig = Rig()
    bad, good = Link(rig, "bad", fail), Link(rig, "good")
    rig.turns.log = Quiet()  # type: ignore[assignment]
    rig.turns.read(bad)
    rig.turns.read(good)
    assert rig.turn() == ["lost bad ValueError", "read good"]


def test_who_is_gone_or_paused_meanwhile_is_left_alone() -> None:
    """The one that is read again later has not lost its place in the reactor."""
    rig = Rig(share_s=0.0005)
    first, gone, paused = (Link(rig, name) for name in ("first", "gone", "paused"))
    for one in (first, gone, paused):
        rig.turns.read(one)
    gone.connected = False
    paused.paused = True
    assert rig.turn() == []
    assert not paused.waits


def test_networks_take_turns() -> None:
    """Three of a crowd came first; who comes from elsewhere waits for one of them."""
    rig = Rig(share_s=0.001)
    for name in ("first", "second", "third", "fourth"):
        rig.turns.read(Link(rig, name))
    other = Link(rig, "other")
    other.group = b"elsewhere"
    rig.turns.read(other)
    assert [rig.turn()[0] for _ in range(4)] == ["read second", "read other", "read third", "read fourth"]


def test_work_at_a_strangers_word_is_a_part_of_the_share() -> None:
    """In order, and in turn with the reads; what was begun goes on before more is begun."""

    def work(name: str) -> None:
        rig.spent += 0.001
        rig.log.append(f"work {name}")

    rig = Rig(share_s=0.001)
    for number in range(2):
        rig.turns.later(partial(work, str(number)))
    rig.turns.later(partial(work, "of another"), b"other")
    for number in range(2):
        rig.turns.go_on(partial(work, f"begun {number}"))
    assert rig.log == []
    for name in "abc":
        rig.turns.read(Link(rig, name))
    assert rig.log == ["read a"]
    assert [rig.turn() for _ in range(8)] == [
        ["read b"], ["work begun 0"], ["work begun 1"], ["read c"], ["work 0"], ["work of another"],
        ["work 1"], [],
    ]  # fmt: skip


def test_a_bug_in_work_is_noted() -> None:
    """The next piece is done."""

    def fail() -> None:
        raise ValueError("a bug")

    rig = Rig()
    rig.turns.log = Quiet()  # type: ignore[assignment]
    rig.turns.later(fail)
    rig.turns.later(partial(rig.log.append, "next"))
    rig.log.clear()
    for what in rig.reactor.later:
        what()
    assert rig.log == ["next"]


class Listening:
    """A port; taking connections takes a millisecond."""

    connected = True
    disconnecting = False

    def __init__(self, rig: Rig) -> None:
        self._rig, self.is_read = rig, True

    def take(self) -> None:
        """It costs something."""
        self._rig.spent += 0.001
        self._rig.log.append("take")

    def startReading(self) -> None:  # noqa: N802 - Twisted's name
        """Note it."""
        self.is_read = True

    def stopReading(self) -> None:  # noqa: N802 - Twisted's name
        """Note it."""
        self.is_read = False


def test_taking_connections_is_a_part_of_the_share() -> None:
    """Where it is used up the port waits; it does not wait behind all who are to be read."""
    rig = Rig(share_s=0.001)
    port: Any = Listening(rig)
    for name in "abc":
        rig.turns.read(Link(rig, name))
    rig.turns.accept(port)
    assert not port.is_read
    assert rig.turn() == ["take"]
    assert port.is_read
    rig.turns.accept(port)
    assert [rig.turn() for _ in range(4)] == [["read b"], ["take"], ["read c"], []]


def test_a_port_that_closes_meanwhile_takes_nothing() -> None:
    """It is not read again either."""
    rig = Rig(share_s=0.001)
    port: Any = Listening(rig)
    rig.turns.read(Link(rig, "a"))
    rig.turns.accept(port)
    port.disconnecting = True
    assert rig.turn() == []
    assert not port.is_read


def test_a_proved_link_is_read_as_ever() -> None:
    """From the first read after the proof on nothing stands between the reactor and the connection."""
    asked: list[str] = []

    class Reads(Accepted):
        def __init__(self) -> None:
            self.is_known = lambda: len(asked) > 0

        def read_now(self) -> Any:
            return "read"

    one = Reads()
    small = one.bufferSize
    asked.append("proved")
    assert one.doRead() == "read"
    assert one.is_known is None
    assert one.__dict__["doRead"]() == "read"
    assert one.bufferSize > small


def test_a_port_takes_few_connections_at_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many came the last time."""
    port: Any = GentlePort.__new__(GentlePort)
    port.numberAccepts = 100
    taken: list[int] = []
    monkeypatch.setattr(
        strangers, "_PORT", SimpleNamespace(doRead=lambda one: taken.append(one.numberAccepts))
    )
    port.take()
    assert taken == [ACCEPTS_AT_ONCE]
