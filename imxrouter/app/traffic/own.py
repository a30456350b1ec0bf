"""What the router answers for its domains themselves, and what it asks in their names."""

from __future__ import annotations

from collections.abc import Callable

from imxrouter.config.schema import Config
from imxrouter.model.operations import Operation
from imxrouter.model.outcome import failure
from imxrouter.routing.domains import ServedDomains
from imxrouter.routing.interfaces import Answer
from imxrouter.routing.published import RouterFacts
from imxrouter.transport.domain_attributes import DomainAttributes
from imxrouter.transport.echo import Echo
from imxrouter.transport.inside import Handler, InsidePort, Respond
from imxrouter.transport.operations import operation_to_record, result_of
from imxrouter.transport.settings import HubSettings
from imxrouter.transport.translate import TranslationError
from imxrouter.wire.record import Record, decode_outcome
from imxrouter.wire.registry import RecordType


def router_facts(config: Config, settings: HubSettings) -> RouterFacts:
    """What every domain served here tells of the router."""
    return RouterFacts(
        max_message_bytes=config.limits.max_message_bytes,
        max_record_bytes=settings.max_record_bytes,
        idle_s=settings.link.idle_s,
        duplicate_window_s=settings.duplicate_window_s,
        answer_timeout_s=settings.answer_timeout_s,
        software=settings.software,
        max_age_s=config.limits.attribute_age_s,
    )


class OwnDomains:
    """Answers attributes and echoes of the domains served here, and sends operations in their names.

    Args:
        port: the router's own port.
        domains: what is served.
        facts: of this router.
        clock: monotonic seconds.

    Attributes:
        echo: what answers echoes.
    """

    def __init__(
        self, port: InsidePort, domains: ServedDomains, facts: RouterFacts, clock: Callable[[], float]
    ) -> None:
        self._port = port
        self.echo = Echo(clock)
        port.handlers[RecordType.ECHO] = _at_once(self.echo.respond)
        self._attributes = DomainAttributes(domains, facts)
        port.handlers[RecordType.ATTRIBUTES] = _at_once(self._attributes.respond)

    def change(self, facts: RouterFacts) -> None:
        """Tell other facts of this router from now on."""
        self._attributes.facts = facts

    def submit(self, operation: Operation, answer: Answer) -> None:
        """Send an operation whose source is a domain served here itself; `answer` is called exactly once."""
        try:
            record = operation_to_record(operation)
        except TranslationError as error:
            answer(failure(error.reason, note=str(error)))
            return
        self._port.submit(record, lambda response: answer(result_of(response, decode_outcome(response))))


def _at_once(respond: Callable[[Record], Record]) -> Handler:
    def handle(request: Record, answer: Respond) -> None:
        answer(respond(request))

    return handle
