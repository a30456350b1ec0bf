"""The full outcomes of what is sent from here: the answer of a request holds the disclosed form only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from imxrouter.link.ledger import KEY, Entry
from imxrouter.model.operations import Operation, Subscribe
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.interfaces import Answer, Submit


def key_of(operation: Operation) -> bytes:
    """Under which the ledger has the request of an operation that is sent from here."""
    return operation.message_id + operation.destination.wire + operation.source.wire


class FullOutcomes:
    """Listens to the switch for requests of an operator, and of users who watch somebody."""

    def __init__(self) -> None:
        self._awaited: dict[bytes, Outcome | None] = {}

    def of(self, message: Operation, answer: Answer) -> Answer:
        """Return what takes the answer of a message, and calls `answer` with the full outcome.

        Send the message then; its id must be new.
        """
        full = self.awaiting(key_of(message))
        return lambda disclosed: answer(full(disclosed))

    def for_watchers(self, submit: Submit) -> Submit:
        """What sends for users of a service of ours: why a subscription or a fetch failed is told in full.

        What a recipient's side hides from senders stays hidden (RFC 2779 section 5.1.15). Other operations
        get the disclosed outcome: it may go on to others.
        """

        def submit_for_watcher(operation: Operation, answer: Answer) -> None:
            if not isinstance(operation, Subscribe):
                submit(operation, answer)
                return
            full = self.awaiting(key_of(operation))

            def answered(disclosed: Outcome) -> None:
                told = full(disclosed)
                answer(disclosed if disclosed.reason is Reason.NOT_DELIVERED else told)

            submit(operation, answered)

        return submit_for_watcher

    def awaiting(self, key: bytes) -> Callable[[Outcome], Outcome]:
        """Return what makes the full outcome of the disclosed one; call it once, when the answer is there.

        Args:
            key: of the request that is sent then, as in the ledger.
        """
        self._awaited[key] = None

        def answered(disclosed: Outcome) -> Outcome:
            full = self._awaited.pop(key, None)
            return disclosed if full is None else replace(full, result=disclosed.result, left=disclosed.left)

        return answered

    def settled(self, entry: Entry, outcome: Outcome) -> None:
        """A request did not simply succeed, and its answer has not been sent yet."""
        if entry[KEY] in self._awaited:
            self._awaited[entry[KEY]] = outcome
