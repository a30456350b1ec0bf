"""The router's own port in the switch: what it answers for the domains served here, and what it says itself.

Requests to a domain itself of the types in `switch.presence.INSIDE_TYPES` come here. What the router sends,
it sends as a domain served here (queries, echoes, *unknown*) or, to subscribe again, as the watcher of a
subscription that passed here; nothing from outside reaches this path.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason
from imxrouter.switch.ports import FOREVER, Proof, bound_proof
from imxrouter.transport.hub import Hub
from imxrouter.transport.inner_port import InnerPort
from imxrouter.wire.layout import FLAG_RESPONSE_WANTED
from imxrouter.wire.record import Record, decode_record, encode_record, response_to

#: Gives the response to a request; called exactly once for each.
Respond = Callable[[Record], None]
#: Takes a request of one type.
Handler = Callable[[Record, Respond], None]


class _AnySource(dict[bytes, Proof]):
    """Every domain may be the source of what the router itself sends."""

    _proof = bound_proof(0.0, FOREVER)

    def get(self, _domain: object, _default: object = None) -> Proof:
        return self._proof


class _AnyAnswer(set[bytes]):
    """The router answers for each domain served here."""

    def __contains__(self, _domain: object) -> bool:
        return True


class InsidePort(InnerPort):
    """Joins the router itself to the switch.

    Args:
        hub: the centre of the process.
    """

    log = Logger()

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        self._waiting: dict[int, tuple[bytes, Respond]] = {}
        self._next_tag = 1
        #: record type -> who answers it
        self.handlers: dict[int, Handler] = {}
        self.port.sources, self.port.speaks = _AnySource(), _AnyAnswer()
        self.port.internal = True
        hub.attach(self)
        hub.switch.inside.append(self.port)

    @property
    def room(self) -> int:
        """Requests that may be sent before answers come."""
        return self.port.granted_requests - self.port.in_flight

    def submit(self, request: Record, respond: Respond) -> None:
        """Send a request; `respond` gets its response, exactly once, maybe before this returns."""
        tag = self._next_tag
        self._next_tag += 1
        data = encode_record(request, FLAG_RESPONSE_WANTED, tag)
        self._waiting[tag] = (request.message_id, respond)
        self._hub.inject(self.port, data)

    def take(self, data: bytes) -> None:
        """Whole records for the router: requests to its domains, answers to what it sent."""
        for raw in self._splitter.feed(data):
            try:
                self._take(decode_record(raw))
            except Exception:  # noqa: BLE001 - one answer's bug must not keep the others of this read back
                self.log.failure("an answer to the router failed")

    def _take(self, record: Record) -> None:
        if not record.is_response:
            self._handle(record)
            return
        ident, respond = self._waiting.get(record.route_tag, (b"", None))
        if respond is not None and ident == record.message_id:
            del self._waiting[record.route_tag]
            respond(record)

    def _handle(self, request: Record) -> None:
        answered = False

        def respond(response: Record) -> None:
            nonlocal answered
            if answered:
                self.log.error("the router answered its own request twice; the second answer is dropped")
                return
            answered = True
            self._hub.inject(self.port, encode_record(response))

        handler = self.handlers.get(request.type)
        if handler is None:
            respond(response_to(request, failure(Reason.TYPE_NOT_ENABLED)))
            return
        try:
            handler(request, respond)
        except Exception:  # noqa: BLE001 - a handler's bug fails one request and is seen
            self.log.failure("the router failed to answer type 0x{kind:04x}", kind=request.type)
            if not answered:
                respond(response_to(request, failure(Reason.NOT_DELIVERED)))
