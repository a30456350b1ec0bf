"""What every message went through, and what may be said of it: one true outcome, one delivery, one retry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imxrouter.model.operations import Message
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Status
from imxrouter.wire.layout import FLAG_RETRY
from imxrouter.wire.record import Record
from tests.properties.net import End

if TYPE_CHECKING:
    from tests.properties.nodes import Process

#: The liar's own domain.
LIARS_DOMAIN = b"m.example"
#: DNS leads to the liar's address for it, and the first organisation serves it.
MOVED_DOMAIN = b"moved.example"
LIARS_DOMAINS = frozenset({LIARS_DOMAIN, MOVED_DOMAIN})
#: A lost request is sent again so often (specification section 8.2; BEY-3).
RETRIES = 1


class Broken(AssertionError):
    """Something that is always true was not."""


@dataclass
class Sent:
    """A message that a gateway submitted.

    Attributes:
        by: the process life that took it.
        deliveries: times it was handed to the service that answers for its recipient.
        decided: what that service said.
        outcomes: what each submission of it was answered.
        submissions: how often it was submitted.
        writes: how often its process wrote it to another router for the first time, and again.
        is_answered: an answer that its process must take has reached it.
    """

    message: Message
    by: Process
    deliveries: int = 0
    decided: Status | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    submissions: int = 1
    writes: list[int] = field(default_factory=lambda: [0, 0])
    is_answered: bool = False

    def __str__(self) -> str:
        pair = f"{self.message.source.domain} to {self.message.destination.domain}"
        words = [f"{one.status.name.lower()} {one.reason.word}" for one in self.outcomes]
        decided = self.decided.name.lower() if self.decided is not None else "nothing"
        return (
            f"message {self.message.message_id.hex()[:8]} from {pair}, submitted {self.submissions}, "
            f"written {self.writes}, delivered {self.deliveries}, service said {decided}, answers {words}"
        )


class Judge:
    """Judges what routers do with messages; what is wrong stands in `broken` until somebody looks."""

    def __init__(self) -> None:
        self.sent: dict[bytes, Sent] = {}
        self.broken: list[str] = []

    def look(self) -> None:
        """Raise `Broken` if anything was wrong."""
        if self.broken:
            raise Broken("; ".join(self.broken))
        for sent in self.sent.values():
            if sent.is_answered and not sent.outcomes and sent.by.alive:
                raise Broken(f"an answer came and was not taken: {sent}")

    def submit(self, process: Process, message: Message) -> Sent:
        """A gateway submits a message."""
        sent = self.sent[message.message_id] = Sent(message, process)
        process.gateway.submit(message, self._answer_to(sent))
        return sent

    def repeat(self, sent: Sent) -> None:
        """It says the same again."""
        sent.submissions += 1
        sent.by.gateway.submit(sent.message, self._answer_to(sent))

    def _answer_to(self, sent: Sent) -> Callable[[Outcome], None]:
        calls: list[Outcome] = []

        def answer(outcome: Outcome) -> None:
            calls.append(outcome)
            if not sent.by.alive:
                return
            if len(calls) > 1:
                self.broken.append(f"answered {len(calls)} times: {calls}")
            sent.outcomes.append(outcome)
            self._check_outcome(sent, outcome)

        return answer

    def _check_outcome(self, sent: Sent, outcome: Outcome) -> None:
        if sent.message.destination.domain.wire == LIARS_DOMAIN:
            if outcome.status is Status.SUCCESS and not sum(sent.writes):
                self.broken.append(f"success is said of a message that never left: {sent}")
            return
        if outcome.status is Status.SUCCESS and (sent.deliveries != 1 or sent.decided is not Status.SUCCESS):
            self.broken.append(f"success is said of a message that nobody took: {sent}")
        if outcome.status is Status.FAILURE and sent.deliveries and sent.decided is not Status.FAILURE:
            self.broken.append(f"failure is said of a message that was delivered: {sent}")

    def delivered(self, process: Process, message: Message) -> None:
        """A message reached the service behind a router."""
        source, destination = message.source.domain.wire, message.destination.domain.wire
        if destination not in process.domains:
            self.broken.append(f"{process.domain!r} was given a message to {destination!r}")
        if source in LIARS_DOMAINS and source not in process.domains:
            return
        sent = self.sent.get(message.message_id)
        if sent is None or (sent.message.source, sent.message.destination, sent.message.content) != (
            message.source, message.destination, message.content,
        ):  # fmt: skip
            self.broken.append(f"nobody sent {message}")
            return
        sent.deliveries += 1
        if sent.deliveries > 1:
            self.broken.append(f"delivered {sent.deliveries} times: {sent}")
        if any(outcome.status is Status.FAILURE for outcome in sent.outcomes):
            self.broken.append(f"delivered after a failure was said: {sent}")

    def written(self, process: Process, record: Record) -> None:
        """A router wrote a request to another one: once, and once again after its link was lost."""
        sent = self.sent.get(record.message_id)
        if sent is None or sent.by is not process:
            return
        again = bool(record.flags & FLAG_RETRY)
        sent.writes[again] += 1
        if sent.writes[0] > 1 or sent.writes[1] > RETRIES:
            self.broken.append(f"written more often than once and once again: {sent}")
        if sent.outcomes:
            self.broken.append(f"written after its outcome: {sent}")

    def heard(self, process: Process, end: End, record: Record) -> None:
        """A response reached a router: one that the domain asked gave must be taken, whatever waits."""
        sent = self.sent.get(record.message_id)
        if sent is None or sent.by is not process or sent.outcomes or not sum(sent.writes):
            return
        asked, session = sent.message.destination.domain.wire, end.protocol
        if asked == LIARS_DOMAIN or session.port.closed or session.number not in process.hub.sessions:
            return
        if asked in session.port.speaks:
            sent.is_answered = True

    def reached_liar(self, record: Record) -> None:
        """A request reached the liar: only what somebody wrote to his domain may."""
        envelope = record.envelope
        sent = self.sent.get(record.message_id)
        if envelope.to_domain != LIARS_DOMAIN or sent is None:
            self.broken.append(f"relayed to the liar: {envelope}")
        elif envelope.from_domain != sent.message.source.domain.wire:
            self.broken.append(f"under another name: {envelope}")

    def unanswered(self) -> list[str]:
        """Messages that do not have one outcome for each time they were submitted."""
        return [
            f"{len(sent.outcomes)} answers of {sent.submissions}: {sent}"
            for sent in self.sent.values()
            if sent.by.alive and len(sent.outcomes) != sent.submissions
        ]
