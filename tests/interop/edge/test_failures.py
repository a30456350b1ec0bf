"""Streams cut, servers and routers killed or silent, the network lost: what becomes of messages and presence.

Numbered messages go all ways the whole time. Of each test:

- nothing arrives twice;
- each message of carol's has one outcome, and none that failed arrived, none that is a success did not;
- each of alice's and bob's arrived or was answered by an error, once; both only where the error says that
  nobody knows; neither only where a server by others lost it, within the time of the failure;
- presence is right again in time, without anybody doing anything: carol's, whom the router looks after, and
  what alice and bob see of each other by their own servers, which nobody says again but who is asked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import pytest

from tests.interop.edge.clients import Account
from tests.interop.edge.failing import DEAD_S, Laboratory, freeze, laboratory
from tests.interop.edge.numbered import Sees, Sent, Talk, there
from tests.interop.netlab import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

#: Servers by others may lose what they had in hand when a failure came, for so long around it.
AROUND_S: Final = 1.5
#: ejabberd sends a stanza to the process of a stream that it just found in its table; where that has ended
#: meanwhile, for nobody took the connection, the stanza is lost without a word (`ejabberd_s2s:do_route`,
#: `ejabberd_s2s_out:terminate`). After it found nobody it has one for so long (`s2s_max_retry_delay`).
BOUNCES_S: Final = 1.5
#: What is on its way to alice and bob arrives, or comes back, by then.
TOLD_S: Final = 5.0
#: A router that starts again finds servers that come to it at the same moment.
STARTING_S: Final = 5.0
#: After a failure all is right again within so long, and as much again as the failure itself was long: a
#: pause between two tries is never longer than that.
RIGHT_S: Final = 15.0
#: Where a server says nothing of a user who is not there, it is asked three times before he counts as gone.
SILENT_S: Final = 30.0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """The laboratory, for all tests of this file."""
    yield from laboratory(tmp_path_factory.mktemp("failing"))


@pytest.fixture(scope="module")
def sees(lab: Laboratory) -> Sees:
    """Everybody sees everybody."""
    sees = Sees(lab)
    sees.agree()
    sees.change()
    sees.until_right(20)
    return sees


class Failing:
    """A failure under numbered messages, from its beginning to when all is right; then it is judged.

    Args:
        lab: where.
        sees: who sees whom.
        name: a word for it.
    """

    def __init__(self, lab: Laboratory, sees: Sees, name: str) -> None:
        self.lab, self.sees = lab, sees
        self.talk = Talk(lab, name)
        #: what was sent before this moment, by `time.monotonic`, must not be lost at all
        self.orderly_until = 0.0
        self._refused_until = float("-inf")

    def run(self, fails: Callable[[Talk], None], *, around_s: float = AROUND_S) -> None:
        """Let something fail and be over again.

        Args:
            fails: begins the failure, and returns when it is over.
            around_s: for so long servers by others may lose what they had in hand.
        """
        with self.talk as talk:
            talk.passes(10)
            began = time.monotonic()
            fails(talk)
            took = time.monotonic() - began
            bound_s = RIGHT_S + took
            passed_s = talk.passes(bound_s)
            right_s = self.sees.until_right(bound_s)
            self._say(
                f"failed for {took:.1f} s; right again: messages {passed_s:.1f}, presence {right_s:.1f} s"
            )
        self.talk.until_told(TOLD_S)
        self._judge(began, around_s)
        assert self.sees.wishes() == self.sees.asked, "somebody was asked for an approval again"

    def refused_until(self, at: float) -> None:
        """Ejabberd found nobody who took a connection, from the beginning until then (`BOUNCES_S`)."""
        self._refused_until = at + BOUNCES_S

    def _say(self, text: str) -> None:
        """Figures, for who runs it with -s."""
        print(f"\n{self.talk.name}: {text}")  # noqa: T201 - a figure

    def _judge(self, began: float, around_s: float) -> None:
        judged = self.talk.judge()
        self._say(", ".join(f"{word}: {count}" for word, count in sorted(judged.counts.items())))
        assert not judged.doubled, judged.doubled
        assert not judged.contradicted, judged.contradicted
        assert not judged.lost, judged.lost
        late = [one for one in judged.neither if not self._may_be_lost(one, began, around_s)]
        assert not late, [(one.number, one.way, round(one.at - began, 2)) for one in late]

    def _may_be_lost(self, one: Sent, began: float, around_s: float) -> bool:
        """Whether a server by others may have lost it."""
        if one.way[0] == "bob" and began <= one.at < self._refused_until:
            return True
        return -AROUND_S < one.at - began < around_s and one.at >= self.orderly_until


def test_streams_are_cut(lab: Laboratory, sees: Sees) -> None:
    """Every stream is reset, for half a second none can be opened; state changes meanwhile."""

    def fails(_talk: Talk) -> None:
        lab.reset_streams()
        time.sleep(0.2)  # with the next one the half second
        sees.change()
        time.sleep(0.3)
        lab.heal()
        failing.refused_until(time.monotonic())

    failing = Failing(lab, sees, "cut")
    failing.run(fails)


def test_a_silent_server(lab: Laboratory, sees: Sees) -> None:
    """The server behind the router is stopped for longer than the router waits, and goes on then."""

    def fails(_talk: Talk) -> None:
        freeze(lab.prosody.program, frozen=True)
        time.sleep(1)  # so that it is silent already
        sees.change("carol", "bob")
        time.sleep(DEAD_S + 2)
        freeze(lab.prosody.program, frozen=False)

    Failing(lab, sees, "silent").run(fails)


def test_the_server_is_killed(lab: Laboratory, sees: Sees) -> None:
    """It is gone for longer than the grace: carol is told that nothing is known of alice; it starts again."""

    def fails(talk: Talk) -> None:
        talk.away.add("alice")
        lab.prosody.kill()
        sees.change("carol", "bob")
        wait_until(lambda: "service-down" in sees.shown()[("carol", "alice")], "the grace is over", RIGHT_S)
        lab.prosody.start()
        lab.prosody.ready()
        lab.alice = lab.log_in("alice")
        sees.change("alice")
        talk.away.clear()

    Failing(lab, sees, "killed").run(fails)


def test_the_server_of_a_stranger_is_killed(lab: Laboratory, sees: Sees) -> None:
    """The same of the neighbour on the net, whom the router finds by DNS."""

    def fails(talk: Talk) -> None:
        talk.away.add("bob")
        lab.ejabberd.kill()
        sees.change("carol", "alice")
        lab.ejabberd.start()
        lab.ejabberd.ready()
        lab.bob = lab.log_in("bob")
        sees.change("bob")
        talk.away.clear()

    Failing(lab, sees, "bombed").run(fails)


def test_a_black_hole(lab: Laboratory, sees: Sees) -> None:
    """No packet between servers passes for 20 s, on both sides of the router; then they pass again."""

    def fails(_talk: Talk) -> None:
        lab.black_hole()
        time.sleep(3)  # with the next one the 20 s
        sees.change()
        time.sleep(17)
        shown = sees.shown()
        assert "service-down" in shown[("carol", "alice")]
        assert "unknown" in shown[("carol", "bob")]
        lab.heal()

    Failing(lab, sees, "hole").run(fails)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_the_router_ends(lab: Laboratory, sees: Sees, how: str) -> None:
    """Everybody's state changes while it is gone; no approval is asked for again, and all is shown."""

    def fails(talk: Talk) -> None:
        if how == "stopped":
            lab.router.stop()
            failing.orderly_until = time.monotonic()
        else:
            lab.router.kill()
        sees.change("alice", "bob")
        time.sleep(1)  # the servers try to tell it, and fail: nobody shows when
        with talk.nothing_to("carol"):  # what comes before her program is there stays unseen in her inbox
            lab.router.start()
            failing.refused_until(time.monotonic())
            lab.router.until_watched()
        sees.change("carol")

    around_s = STARTING_S if how == "stopped" else AROUND_S
    failing = Failing(lab, sees, f"router-{how}")
    failing.run(fails, around_s=around_s)


def test_the_router_is_drained(lab: Laboratory, sees: Sees) -> None:
    """And taken back, the process goes on: not one message that it had is without an outcome or an error.

    New ones are refused meanwhile; everybody's state changes; no approval is asked for again.
    """

    def fails(_talk: Talk) -> None:
        lab.router.drain()
        assert not lab.router.streams(), "a stream is left"
        sees.change("alice", "bob")
        time.sleep(2)  # in which one could come
        assert not lab.router.streams(), "a stream was taken"
        lab.router.client.undrain()
        failing.refused_until(time.monotonic())
        sees.change("carol")

    failing = Failing(lab, sees, "drained")
    failing.orderly_until = float("inf")
    failing.run(fails)


def test_programs_come_and_go_while_the_router_is_gone(lab: Laboratory, sees: Sees) -> None:
    """Alice comes by another program, and Bob goes: nobody is left in a list of contacts as a ghost."""
    since = {"alice": len(lab.alice.received), "bob": len(lab.bob.received)}
    lab.alice, lab.bob = lab.log_in("alice"), lab.log_in("bob")
    sees.change()
    sees.until_right(RIGHT_S)

    def sees_of(account: Account, other: Account) -> set[str]:
        return there(account.received[since[account.address.partition("@")[0]] :], other.address)

    wait_until(lambda: not lab.router.client.status()["store"]["waiting"], "what is shown is written")
    assert sees_of(lab.bob, lab.alice) == sees_of(lab.alice, lab.bob) == {"desk"}
    lab.router.kill()
    since["alice"] = len(lab.alice.received)
    lab.alice = lab.log_in("alice", "phone")
    sees.change("alice")
    time.sleep(1)
    lab.router.start()
    wait_until(lambda: sees_of(lab.bob, lab.alice) == {"phone"}, "Bob sees her phone alone", RIGHT_S)
    wait_until(lambda: sees_of(lab.alice, lab.bob) == {"desk"}, "Alice sees Bob", RIGHT_S)
    lab.router.kill()
    lab.bob.logout()
    time.sleep(1)
    lab.router.start()
    wait_until(lambda: not sees_of(lab.alice, lab.bob), "Alice sees that Bob went", SILENT_S)
    lab.bob = lab.log_in("bob")
    lab.router.until_watched()
    sees.change()
    sees.until_right(RIGHT_S)


@pytest.mark.soak
def test_one_failure_after_the_other(lab: Laboratory, sees: Sees) -> None:
    """All of them, three times, in an order by chance."""
    order = random.Random(3)
    for _ in range(3):
        everything: list[Callable[[], None]] = [
            partial(one, lab, sees)
            for one in (
                test_streams_are_cut, test_a_silent_server, test_the_server_is_killed,
                test_the_server_of_a_stranger_is_killed, test_a_black_hole,
                test_the_router_is_drained,
                test_programs_come_and_go_while_the_router_is_gone,
            )
        ]  # fmt: skip
        everything += [partial(test_the_router_ends, lab, sees, how) for how in ("stopped", "killed")]
        order.shuffle(everything)
        for one in everything:
            one()
