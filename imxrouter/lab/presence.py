"""Presence and an attribute cross, and what watchers see while the other side's network is cut."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from imxrouter.admin.client import SubscriptionView, UserClient
from imxrouter.admin.errors import AdminError, AdminUnreachable
from imxrouter.lab.scenery import AGGREGATOR, GATEWAY
from imxrouter.lab.screen import Screen
from imxrouter.lab.stage import Stage, StoryFailed

#: Who watches, at the hoster; and whom, at the other organisation.
WATCHER: Final = "rosa@red.example"
PRESENTITY: Final = "bob@b.example"
_DOMAIN: Final = "b.example"
_NOTE: Final = "Back at three"
_ALIAS: Final = "Bobby"

T = TypeVar("T")


class PresenceStory:
    """Scenes of presence, each with the `imxctl` line that does the same.

    Args:
        stage: the laboratory.
        screen: where it is told.
        deadline_s: for each thing waited for.
    """

    def __init__(self, stage: Stage, screen: Screen, deadline_s: float) -> None:
        self._stage, self._screen, self._deadline_s = stage, screen, deadline_s

    def cross(self, number: int) -> None:
        """A subscription with consent, a change that is notified, an alias that is asked for.

        Raises:
            ChildFailed: a process ended.
            StoryFailed: something was not as it should be, or not in time.
        """
        with self._scene(f"{number}. presence: {WATCHER} watches {PRESENTITY}, who has to agree first"):
            self._subscribe()
        with self._scene(f"{number + 1}. {PRESENTITY} changes his state, and {WATCHER} is told"):
            self._publish()
        with self._scene(f"{number + 2}. an attribute: {WATCHER} asks for the alias of {PRESENTITY}"):
            self._ask()

    def _subscribe(self) -> None:
        rosa, bob = self._user(AGGREGATOR, WATCHER), self._user(GATEWAY, PRESENTITY)
        self._command(f"subscribe {WATCHER} {PRESENTITY}")
        asked = self._do(lambda: rosa.subscribe(PRESENTITY))
        self._expect(asked["state"] == "pending", f"the subscription is {asked['state']}, not pending")
        self._good("pending until he agrees")
        self._command(f"watchers {PRESENTITY} --approve {WATCHER}")
        self._do(lambda: bob.decide(WATCHER, "allow"))
        view, _ = self._until("closed", "told of no state")
        self._good(f"active for {view['left_s']:.0f} s; he is offline")

    def _publish(self) -> None:
        bob = self._user(GATEWAY, PRESENTITY)
        self._command(f"presence {PRESENTITY} --publish away --note '{_NOTE}' --language en --instance desk")
        notes = [{"text": _NOTE, "language": "en"}]
        self._do(lambda: bob.publish({"instance": "desk", "status": "away", "notes": notes}))
        view, seconds = self._until("open", "not told of the change")
        state = view["presence"]
        self._expect(
            state is not None and state["activities"] == ["away"] and state["notes"][0]["text"] == _NOTE,
            f"told something else: {state}",
        )
        self._good(f'{WATCHER} sees: open, away, "{_NOTE}" (en), {seconds * 1000:.0f} ms later at most')

    def _ask(self) -> None:
        bob, hoster = self._user(GATEWAY, PRESENTITY), self._stage.client(AGGREGATOR)
        self._command(f"user {PRESENTITY} --set alias={_ALIAS}")
        self._do(lambda: bob.set_attribute("alias", _ALIAS))
        self._command(f"attributes {PRESENTITY} alias --as {WATCHER}")
        told = self._do(lambda: hoster.attributes(PRESENTITY, ["alias"], WATCHER))
        values = {one["name"]: one["value"] for one in told["values"]}
        self._expect(values == {"alias": _ALIAS}, f"{told['reason']} at stage {told['stage']}, {values}")
        self._good(f"alias: {_ALIAS}, told by {told['decided_by']} in {told['seconds'] * 1000:.1f} ms")

    # -- the failure -------------------------------------------------------------------------------------

    def fail(self, number: int) -> None:
        """The other side's router stops to answer, is named, and comes back. Raises as `cross`."""
        pid = self._stage.pid(GATEWAY)
        with self._scene(f"{number}. failure: nothing comes from {_DOMAIN} any more"):
            self._screen.say(f"   kill -STOP {pid}    # its connections stay, and it says nothing", "dim")
            self._stage.signal(GATEWAY, signal.SIGSTOP)
            try:
                self._cut()
            finally:
                self._stage.signal(GATEWAY, signal.SIGCONT)
        with self._scene(f"{number + 1}. it is back: everything heals by itself"):
            self._screen.say(f"   kill -CONT {pid}", "dim")
            _, seconds = self._until("open", "not healed")
            self._good(f"{WATCHER} sees: open, away, {seconds:.1f} s later")
            self._good(f"a message is delivered, {self._delivered():.1f} s later")

    def _cut(self) -> None:
        view, seconds = self._until("unknown", "not told that nothing is known")
        state = view["presence"]
        bound = self._stage.dead_s
        self._expect(seconds <= bound, f"told after {seconds:.1f} s; {bound:.0f} s is the bound")
        if state is not None:
            self._expect(state["domain"] == _DOMAIN, f"{state['domain']} is named, not {_DOMAIN}")
            self._good(
                f"{WATCHER} sees: unknown, {state['reason']} at stage {state['stage']}, {state['domain']}; "
                f"after {seconds:.1f} s, {bound:.0f} s at most"
            )
        self._command(f"send {WATCHER} {PRESENTITY} 'Are you there?'")
        hoster = self._stage.client(AGGREGATOR)
        sent = self._do(lambda: hoster.send(WATCHER, PRESENTITY, "Are you there?"))
        self._expect(sent["status"] == "failure", f"the message was answered {sent['status']}")
        again = f"try again after {sent['retry_after_s']} s" if sent["retry_after_s"] else "try again later"
        words = f"{sent['reason']} at stage {sent['stage']}, towards {_DOMAIN}"
        self._good(f"failure: {words}; {again if sent['retry'] == 'later' else 'trying again will not help'}")
        inside = self._do(lambda: hoster.send(WATCHER, "greta@green.example", "Still here?"))
        self._expect(inside["status"] == "success", "another customer is disturbed")
        self._good("greta@green.example is not disturbed: a message to her is delivered")

    def _delivered(self) -> float:
        """Seconds until a message passes again."""
        began, hoster = time.monotonic(), self._stage.client(AGGREGATOR)
        while self._do(lambda: hoster.send(WATCHER, PRESENTITY, "And now?"))["status"] != "success":
            self._expect(time.monotonic() - began < self._deadline_s, "messages do not pass again")
            self._stage.watch(0.2)
        return time.monotonic() - began

    # -- tools -------------------------------------------------------------------------------------------

    @contextmanager
    def _scene(self, title: str) -> Iterator[None]:
        self._screen.say(f"\n{title}", "bold")
        self._screen.begin()
        try:
            yield
        finally:
            self._screen.flush()
            self._screen.end()

    def _user(self, role: str, user: str) -> UserClient:
        return self._stage.client(role).user(user)

    def _command(self, words: str) -> None:
        self._screen.flush()
        self._screen.say(f"   imxctl {words}", "dim")

    def _good(self, text: str) -> None:
        self._screen.flush()
        self._screen.say(f"   {text}", "green")

    def _do(self, what: Callable[[], T]) -> T:
        try:
            return self._stage.during(what)
        except (AdminError, AdminUnreachable) as error:
            raise StoryFailed(str(error)) from None

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise StoryFailed(otherwise)

    def _until(self, status: str, otherwise: str) -> tuple[SubscriptionView, float]:
        """The subscription once its presence is so, and the seconds that took."""
        began, rosa = time.monotonic(), self._user(AGGREGATOR, WATCHER)
        while True:
            for view in self._do(rosa.subscriptions)["subscriptions"]:
                state = view["presence"]
                if view["presentity"] == PRESENTITY and state is not None and state["status"] == status:
                    return view, time.monotonic() - began
            self._expect(time.monotonic() - began < self._deadline_s, f"{WATCHER} is {otherwise}")
            self._stage.watch(0.05)
