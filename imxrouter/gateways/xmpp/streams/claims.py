"""What claims, questions and their answers are on a stream: inputs of its machine, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from imxrouter.gateways.xmpp.effects import Effect
from imxrouter.gateways.xmpp.machine import StreamMachine
from imxrouter.gateways.xmpp.names import StanzaError
from imxrouter.gateways.xmpp.pairs import Pair
from imxrouter.gateways.xmpp.say import DbType
from imxrouter.transport.link import Centre


class _Performs(Protocol):
    """What stands behind it."""

    machine: StreamMachine
    _hub: Centre

    def note_ways_in(self) -> None:
        """Say which pairs' stanzas may come on it."""

    def perform(self, effects: Sequence[Effect]) -> None:
        """Do what the machine says."""


class SaysClaims:
    """Part of `session.XmppSession`: what `Trust` and the tongue say on it."""

    __slots__ = ()

    def authenticated(self: _Performs) -> None:
        """What SASL EXTERNAL asked is granted."""
        self.perform(self.machine.authenticated(self._hub.now()))
        self.note_ways_in()

    def not_authenticated(self: _Performs) -> None:
        """It is not."""
        self.perform(self.machine.not_authenticated(self._hub.now()))

    def claim(self: _Performs, from_: str, to: str, key: str) -> None:
        """Claim a domain of ours."""
        self.perform(self.machine.claim(from_, to, key))

    def answer_claim(
        self: _Performs, from_: str, to: str, kind: DbType, error: StanzaError | None = None
    ) -> None:
        """Say what became of a claim of theirs; `from_` is the domain that it was made to."""
        self.perform(self.machine.answer_claim(from_, to, kind, error))

    def ask_verify(self: _Performs, from_: str, to: str, stream_id: str, key: str) -> None:
        """Ask whether `to` made a key."""
        self.perform(self.machine.ask_verify(from_, to, stream_id, key))

    def answer_verify(
        self: _Performs, from_: str, to: str, stream_id: str, kind: DbType, error: StanzaError | None = None
    ) -> None:
        """Say whether a key is ours."""
        self.perform(self.machine.answer_verify(from_, to, stream_id, kind, error))

    def proved(self: _Performs, pair: Pair, *, ours: bool | None = None) -> None:
        """Stanzas of a pair are legal from now on (`StreamMachine.proved`)."""
        self.machine.proved(pair, ours=ours)
        self.note_ways_in()

    def unproved(self: _Performs, pair: Pair, *, ours: bool | None = None) -> None:
        """They are not any more."""
        self.machine.unproved(pair, ours=ours)
        self.note_ways_in()
