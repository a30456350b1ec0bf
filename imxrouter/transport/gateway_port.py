"""A gateway inside this process, seen by the switch as one more service link.

Requests for the gateway's domains arrive as records and leave as operations; what the gateway submits takes
the same path through the switch as what comes over a socket, with the same checks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from imxrouter.model.operations import Operation
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.interfaces import Gateway
from imxrouter.transport.hub import Hub
from imxrouter.transport.inner_port import ServicePort
from imxrouter.transport.operations import (
    operation_to_bytes,
    record_to_operation,
    result_of,
    with_result,
)
from imxrouter.transport.translate import TranslationError
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import (
    Record,
    decode_outcome,
    decode_record,
    encode_record,
    read_plain_success,
    response_to,
)

#: Seconds in which the gateway is given records before links have their turn.
TAKE_S: Final = 0.001


class GatewayPort(ServicePort):
    """Joins a gateway to the switch.

    Args:
        hub: the centre of the process.
        later: calls a function in a later turn, `together`; without it everything is done at once.
    """

    log = Logger()

    def __init__(self, hub: Hub, later: Callable[[Callable[[], None]], object] | None = None) -> None:
        super().__init__(hub)
        self._later = later
        self._to_take: deque[bytes] = deque()
        self._goes_on = False
        self._gateway: Gateway | None = None
        self._waiting: dict[int, tuple[bytes, Callable[[Outcome], None]]] = {}
        self._next_tag = 1
        #: told of each operation of the gateway once the switch has it, before it is written to a link
        self.on_taken: Callable[[Operation], None] = lambda _operation: None
        hub.attach(self)

    def connect(self, gateway: Gateway) -> None:
        """Set the gateway; before, its domains are answered as down."""
        self._gateway = gateway

    # -- from the gateway --------------------------------------------------------------------------------

    def submit(self, operation: Operation, answer: Callable[[Outcome], None]) -> None:
        """Send an operation of one of the gateway's users; `answer` is called exactly once."""
        tag = self._next_tag
        self._next_tag += 1
        try:
            data = operation_to_bytes(operation, FLAG_RESPONSE_WANTED, tag)
        except TranslationError as error:
            answer(failure(error.reason, note=str(error)))
            return
        if len(data) > self.port.max_record:
            answer(failure(Reason.TOO_LARGE))
            return
        self._waiting[tag] = (operation.message_id, answer)
        self._hub.submit(self.port, data, lambda: self.on_taken(operation))

    # -- from the switch ---------------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Whole records for the gateway: requests for its domains, answers to what it sent.

        What takes longer than `TAKE_S` goes on in later turns: many for the gateway hold up nobody else. What
        waits is bounded by the port's credit.
        """
        self._to_take.extend(self._splitter.feed(data))
        if not self._goes_on:
            self._take_some()

    def _take_some(self) -> None:
        later = self._later
        until = self._hub.now() + TAKE_S if later is not None else 0.0
        while self._to_take:
            try:
                self._take(self._to_take.popleft())
            except Exception:  # noqa: BLE001 - one operation's failure must not lose those behind it
                self.log.failure("gateway of port {link}", link=self.port.number)
            if later is not None and self._to_take and self._hub.now() >= until:
                self._goes_on = True
                later(self._go_on)
                return

    def _go_on(self) -> None:
        self._goes_on = False
        self._take_some()

    def _take(self, data: bytes) -> None:
        taken = read_plain_success(data)
        if taken is not None:
            self._answered(*taken, SUCCESS)
            return
        record = decode_record(data)
        if record.is_response:
            outcome = result_of(record, decode_outcome(record))
            self._answered(record.route_tag, record.message_id, outcome)
        else:
            self._deliver(record)

    def _answered(self, tag: int, ident: bytes, outcome: Outcome) -> None:
        asked, answer = self._waiting.get(tag, (b"", None))
        if answer is not None and asked == ident:
            del self._waiting[tag]
            answer(outcome)

    def _deliver(self, request: Record) -> None:
        answered = False

        def answer(outcome: Outcome) -> None:
            nonlocal answered
            if answered:
                self.log.error("a gateway answered twice; the second answer is dropped")
                return
            answered = True
            self._hub.inject(self.port, encode_record(with_result(response_to(request, outcome), outcome)))

        if self._gateway is None:
            answer(failure(Reason.SERVICE_DOWN, role="service", retry_after_s=5))
            return
        try:
            operation = record_to_operation(request)
        except TranslationError as error:
            answer(failure(error.reason, role="service", note=str(error)))
            return
        try:
            self._gateway.deliver(operation, answer)
        except Exception:  # noqa: BLE001 - a gateway's bug fails one operation and is seen
            self.log.failure("gateway failed")
            if not answered:
                answer(failure(Reason.NOT_DELIVERED, role="service"))
