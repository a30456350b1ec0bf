"""A watcher's side for tests: one user of XMPP, somebody he watches, a store, and time that is set."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from imxrouter.gateways.xmpp.subscriptions.effects import Effects
from imxrouter.gateways.xmpp.subscriptions.kept import TABLE_ENTRIES, Keeping
from imxrouter.gateways.xmpp.subscriptions.watcher import Watchers
from imxrouter.gateways.xmpp.subscriptions.watcher_pairs import WatcherSettings
from imxrouter.gateways.xmpp.subscriptions.watcher_table import State
from imxrouter.gateways.xmpp.translate.presence import presence_of, resource_of
from imxrouter.gateways.xmpp.translate.showing import PresenceStanza, written
from imxrouter.model.address import Address
from imxrouter.model.operations import (
    EndReason,
    Notify,
    Subscribe,
    SubscribeResult,
    SubscriptionState,
    Version,
)
from imxrouter.model.outcome import Outcome, failure
from imxrouter.model.presence import Presence, Unknown
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.store.memory import MemoryStore
from tests.gateways.xmpp.translate.presences import ALICE, BOB, NOW, stanza

PENDING, ACTIVE, TERMINATED = SubscriptionState
WALL = 1_800_000_000.0


def open_state(*names: str, of: Address = ALICE, show: str = "") -> Presence:
    """A state with these resources."""
    inside = f"<show>{show}</show>" if show else ""
    return presence_of(of, [resource_of(stanza(inside), name, of, NOW) for name in names])


def kinds(effects: Effects | list[PresenceStanza]) -> list[str]:
    """Stanzas as `type resource`; each can be written."""
    stanzas = effects.stanzas if isinstance(effects, Effects) else effects
    for one in stanzas:
        written(one)
    return [f"{one.type or 'available'} {one.resource}".strip() for one in stanzas]


class FullStore(MemoryStore):
    """A store that may refuse what is to be durable."""

    full = False

    def put(
        self, table: str, key: bytes, value: bytes, expires_at: float | None = None, *, durable: bool = False
    ) -> bool:
        """As a store whose disk is full."""
        if self.full and durable:
            return False
        return super().put(table, key, value, expires_at)


class WatcherRig:
    """Bob is ours, Alice is not.

    Attributes:
        stanzas: all that Bob's service was sent.
        operations: all that was routed.
    """

    def __init__(
        self, settings: WatcherSettings | None = None, chance: Callable[[], float] | None = None
    ) -> None:
        self.now = 0.0
        self.store = FullStore(lambda: WALL + self.now, TABLE_ENTRIES)
        self.bad: list[str] = []
        self._ids = count(1)
        self._settings = settings
        self._chance = chance or (lambda: 0.5)
        self.stanzas: list[PresenceStanza] = []
        self.operations: list[Subscribe] = []
        self.version = 0
        self.watchers = self.made()

    def made(self) -> Watchers:
        """One over the same store."""
        return Watchers(
            Keeping(self.store, self.bad.append),
            lambda: next(self._ids).to_bytes(16, "big"),
            self._chance,
            self._settings,
            wall_ahead_s=WALL,
        )

    def restart(self) -> Watchers:
        """Forget all that is not stored."""
        self.watchers = self.made()
        self.watchers.restore(self.now)
        return self.watchers

    def took(self, effects: Effects) -> list[str]:
        """Note effects; what the stanzas are."""
        self.stanzas += effects.stanzas
        self.operations += effects.operations
        return kinds(effects)

    def stanza(self, kind: str, ident: str = "", form: bytes = b"") -> list[str]:
        """Bob's service sends a presence of a type."""
        return self.took(self.watchers.stanza(BOB, ALICE, kind, self.now, ident, form))

    def wait(self, seconds: float) -> list[str]:
        """Time goes by, second by second where it is little."""
        said: list[str] = []
        until = self.now + seconds
        step = 1.0 if seconds <= 600 else seconds / 20
        while self.now < until:
            self.now = min(self.now + step, until)
            said += self.took(self.watchers.due(self.now))
        return said

    def asked(self) -> Subscribe:
        """The newest request."""
        self.took(self.watchers.due(self.now))
        return self.operations[-1]

    def answer(
        self, state: SubscriptionState = ACTIVE, duration_s: int = 1800, reason: Reason | None = None
    ) -> list[str]:
        """Answer the newest request."""
        ok = Outcome(Status.SUCCESS, result=SubscribeResult(state, duration_s))
        outcome = ok if reason is None else failure(reason, by="a.example")
        return self.took(self.watchers.answered(self.asked(), outcome, self.now))

    def notify(
        self,
        presence: Presence | Unknown | None = None,
        state: SubscriptionState = ACTIVE,
        why: EndReason = EndReason.NONE,
        form: bytes = b"",
    ) -> list[str]:
        """Alice's side tells something about the newest request's subscription."""
        self.version += isinstance(presence, Presence)
        version = Version(1, self.version) if isinstance(presence, Presence) else None
        told = Notify(
            ALICE, BOB, bytes(16), self.operations[-1].subscription_id, state, version, presence,
            end_reason=why,
        )  # fmt: skip
        outcome, effects = self.watchers.notified(told, self.now, form)
        self.outcome = outcome
        return self.took(effects)

    def approve(self, *names: str) -> list[str]:
        """Bob asks, Alice approves."""
        self.stanza("subscribe")
        self.answer(PENDING)
        return self.notify(open_state(*names))

    def state(self) -> State:
        """How it stands."""
        return self.watchers.state(BOB, ALICE)
