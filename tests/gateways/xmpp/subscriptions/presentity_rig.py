"""A presentity's side for tests: Alice, a user of XMPP, and Bob elsewhere, who watches her."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from imxrouter.gateways.xmpp.subscriptions.effects import Effects
from imxrouter.gateways.xmpp.subscriptions.kept import TABLE_ENTRIES, Keeping
from imxrouter.gateways.xmpp.subscriptions.presentity import Presentities
from imxrouter.gateways.xmpp.subscriptions.presentity_pairs import PresentitySettings
from imxrouter.gateways.xmpp.subscriptions.presentity_table import State
from imxrouter.gateways.xmpp.translate.showing import PresenceStanza
from imxrouter.model.address import Address
from imxrouter.model.operations import Notify, Subscribe, SubscribeResult
from imxrouter.model.outcome import SUCCESS, Outcome
from imxrouter.model.presence import Basic, Presence
from tests.gateways.xmpp.subscriptions.watcher_rig import WALL, FullStore, kinds
from tests.gateways.xmpp.translate.presences import ALICE, BOB, stanza


def said(notify: Notify) -> str:
    """A notification as `state end-reason: open and closed resources`."""
    words = notify.state.name.lower()
    if notify.end_reason.word != "none":
        words += f" {notify.end_reason.word}"
    if not isinstance(notify.presence, Presence):
        return words
    there = [one.id.removeprefix("ID-") for one in notify.presence.tuples if one.basic is Basic.OPEN]
    gone = [f"-{one.id.removeprefix('ID-')}" for one in notify.presence.tuples if one.basic is not Basic.OPEN]
    return f"{words}: {' '.join(sorted(there) + sorted(gone))}"


class PresentityRig:
    """Alice is ours, Bob is not.

    Attributes:
        stanzas: all that Alice's service was sent.
        told: all that watchers were told.
        doubts: all that was told in the router's name.
        arrives: what becomes of a stanza; None while that is not known.
    """

    def __init__(
        self, settings: PresentitySettings | None = None, chance: Callable[[], float] | None = None
    ) -> None:
        self.now = 0.0
        self.store = FullStore(lambda: WALL + self.now, TABLE_ENTRIES)
        self.bad: list[str] = []
        self._ids = count(1)
        self._settings = settings
        self._chance = chance or (lambda: 0.5)
        self.stanzas: list[PresenceStanza] = []
        self.told: list[Notify] = []
        self.doubts: list[Notify] = []
        self.outcome = SUCCESS
        self.has_way = True
        self.answer: Callable[[Notify], Outcome] = lambda _told: SUCCESS
        self.arrives: Callable[[PresenceStanza], Outcome | None] = lambda _stanza: SUCCESS
        self.presentities = self.made()

    def made(self) -> Presentities:
        """One over the same store."""
        keeping = Keeping(self.store, self.bad.append)
        return Presentities(
            keeping, keeping.new_epoch(WALL + self.now), self.new_id, self._chance, self._settings,
            wall_ahead_s=WALL, has_way=lambda _domain, _watchers: self.has_way,
        )  # fmt: skip

    def new_id(self) -> bytes:
        """Never the same."""
        return next(self._ids).to_bytes(16, "big")

    def restart(self) -> None:
        """Forget all that is not stored."""
        self.presentities = self.made()
        self.presentities.restore(self.now)

    def took(self, effects: Effects) -> list[str]:
        """Note effects, answer notifications; what stanzas and notifications say."""
        self.stanzas += effects.stanzas
        self.doubts += effects.doubts
        words = kinds(effects)
        for one in effects.stanzas:
            outcome = self.arrives(one)
            if one.type == "probe" and outcome is not None:
                self.presentities.probed(one, outcome, self.now)
        for ticket, notify in effects.notifications:
            self.told.append(notify)
            words.append(said(notify))
            words += self.took(self.presentities.answered(ticket, self.answer(notify), self.now))
        return words

    def asks(
        self, duration_s: int = 1800, ident: bytes = b"s1", kind: str = "", form: bytes = b"",
        watcher: Address = BOB, presentity: Address = ALICE,
    ) -> list[str]:  # fmt: skip
        """Bob asks; the answer is in `outcome`."""
        asked = Subscribe(watcher, presentity, self.new_id(), ident, duration_s)
        self.outcome, effects = self.presentities.asked(asked, self.now, kind, form)
        return self.took(effects)

    @property
    def answer_words(self) -> str:
        """The last answer."""
        if isinstance(self.outcome.result, SubscribeResult):
            return f"{self.outcome.result.state.name.lower()} {self.outcome.result.duration_s}"
        return self.outcome.reason.word

    def says(
        self, kind: str = "", resource: str = "", inside: str = "", form: bytes = b"", to: Address = BOB
    ) -> list[str]:
        """Alice's service sends a presence to Bob."""
        one = stanza(inside, f"type='{kind}'" if kind else "")
        return self.took(self.presentities.stanza(ALICE, resource, to, one, self.now, form))

    def wait(self, seconds: float) -> list[str]:
        """Time goes by."""
        words: list[str] = []
        until = self.now + seconds
        step = 0.25 if seconds <= 60 else seconds / 40
        while self.now < until:
            self.now = min(self.now + step, until)
            words += self.took(self.presentities.due(self.now))
        return words

    def approve(self, *names: str) -> list[str]:
        """Bob asks, Alice approves and is there."""
        self.asks()
        words = self.says("subscribed")
        for name in names:
            words += self.says("", name)
        return words + self.wait(1)

    def state(self) -> State:
        """How it stands."""
        return self.presentities.state(BOB, ALICE)

    def kept(self) -> str:
        """The state in the store."""
        for _, value, _ in self.store.items("xmpp-watched"):
            return str(value.decode().partition('"state":"')[2].partition('"')[0])
        return "none"
