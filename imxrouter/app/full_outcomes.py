"""The full outcomes of what an operator sends: the answer of a request holds the disclosed form only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from imxrouter.link.ledger import KEY, Entry
from imxrouter.model.operations import Operation
from imxrouter.model.outcome import Outcome
from imxrouter.routing.interfaces import Answer


class FullOutcomes:
    """Listens to the switch for messages of an operator's own."""

    def __init__(self) -> None:
        self._awaited: dict[bytes, Outcome | None] = {}

    def of(self, message: Operation, answer: Answer) -> Answer:
        """Return what takes the answer of a message, and calls `answer` with the full outcome.

        Send the message then; its id must be new.
        """
        full = self.awaiting(message.message_id + message.destination.wire + message.source.wire)
        return lambda disclosed: answer(full(disclosed))

    def awaiting(self, key: bytes) -> Callable[[Outcome], Outcome]:
        """Return what makes the full outcome of the disclosed one; call it once, when the answer is there.

        Args:
            key: of the request that is sent then, as in the ledger.
        """
        self._awaited[key] = None

        def answered(disclosed: Outcome) -> Outcome:
            full = self._awaited.pop(key, None)
            return disclosed if full is None else replace(full, result=disclosed.result)

        return answered

    def settled(self, entry: Entry, outcome: Outcome) -> None:
        """A request did not simply succeed, and its answer has not been sent yet."""
        if entry[KEY] in self._awaited:
            self._awaited[entry[KEY]] = outcome
