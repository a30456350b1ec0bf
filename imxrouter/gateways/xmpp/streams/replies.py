"""What the router says to the sender of a stanza in the name of the recipient's domain: errors and answers.

It takes the way of every stanza from that domain: it is handed to the switch as the router's own, and nothing
waits for it.
"""

from __future__ import annotations

from imxrouter.gateways.xmpp.streams.records import Party, party_of, stanza_record
from imxrouter.gateways.xmpp.streams.told import Told
from imxrouter.gateways.xmpp.streams.world import Outside
from imxrouter.gateways.xmpp.translate.jid import BadJid
from imxrouter.model.outcome import Outcome
from imxrouter.wire.errors import WireError
from imxrouter.wire.record import Record


class Replies:
    """See the module.

    Args:
        outside: what it needs of its process.
    """

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def say(self, told: Told, raw: bytes | None) -> None:
        """Send a stanza to the sender of what came; None is nothing to send."""
        if raw is None:
            return
        if not self._outside.has_room():
            self._outside.dropped("no-room")
            return
        try:
            record = stanza_record(
                raw, _party(told.to, told.domain), _party(told.from_, told.sender),
                self._outside.random_bytes(16),
            )  # fmt: skip
            self._outside.submit(record, _unheard)
        except WireError:
            self._outside.dropped("no-stanza")

    def say_later(self, told: Told, raw: bytes | None) -> None:
        """Send it behind what the same read brought: all of that has been taken."""
        self._outside.later(0.0, lambda: self.say(told, raw))

    def refuse(self, told: Told | None, outcome: Outcome) -> None:
        """Tell that a stanza goes no further, behind what the same read brought; None: nobody is told."""
        if told is None:
            self._outside.dropped("quiet")
        else:
            self._outside.refused(told, outcome)
            self._outside.later(0.0, lambda: self.say(told, told.error(outcome)))

    def pong(self, told: Told | None) -> None:
        """Answer a ping for a domain, behind what the same read brought."""
        if told is not None:
            self._outside.later(0.0, lambda: self.say(told, told.answer(type_="result")))


def _party(jid: str, domain: str) -> Party:
    """An end of a stanza that came: one that is no address counts as its domain."""
    try:
        return party_of(jid)
    except BadJid:
        return Party(b"", domain.encode(), b"")


def _unheard(_response: Record) -> None:
    """Nobody waits for what became of an error, or of an answer of the router."""
