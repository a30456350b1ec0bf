"""Messages of the model that leave as stanzas, and errors that come back for them.

A message leaves in the form it was written in where that still says the same, else in the words that say it
best. An error that answers it is its outcome while that is open, and after that a late failure (row
err-late); one that answers none is nobody's.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from imxrouter.formats.xmltree import Element
from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.stanza import Stanza
from imxrouter.gateways.xmpp.streams.parts import StreamLink
from imxrouter.gateways.xmpp.streams.records import head_of
from imxrouter.gateways.xmpp.streams.world import Known, Outside
from imxrouter.gateways.xmpp.translate.awaited import LATE_S, Awaited
from imxrouter.gateways.xmpp.translate.failures import late_failure, outcome_of
from imxrouter.gateways.xmpp.translate.forms import Misfit
from imxrouter.gateways.xmpp.translate.messages import Takes
from imxrouter.gateways.xmpp.translate.original import ORIGINAL_FORM, judge
from imxrouter.gateways.xmpp.translate.saying import stanza_of
from imxrouter.link.ledger import KEY, OUT_PORT
from imxrouter.model.domain import Domain
from imxrouter.model.operations import Message
from imxrouter.model.outcome import Outcome, failure
from imxrouter.routing.caps import Refusal
from imxrouter.routing.choice import Protocol
from imxrouter.switch.ports import Port
from imxrouter.transport.translate import record_to_message
from imxrouter.wire.record import Record

#: Messages of one sender whose failure may still come: as many as his rate lets pass in that time, twice.
MOST_OF_ONE: Final = 1250


class _Sent(NamedTuple):
    """A message that left, whose failure may still come."""

    tag: int
    message_id: bytes


class InFlight(NamedTuple):
    """What became of a message whose outcome is open: over which port it left, under which route tag."""

    port: Port
    tag: int
    outcome: Outcome


class LeavingMessages:
    """See the module.

    Args:
        outside: what it needs of its process.
        known: what it asks of the world.
    """

    def __init__(self, outside: Outside, known: Known) -> None:
        self._outside, self._known = outside, known
        self._sent: Awaited[_Sent] = Awaited(LATE_S, per_sender=MOST_OF_ONE)

    def tick(self, now: float) -> None:
        """About once a second: what left long ago is forgotten.

        Args:
            now: monotonic seconds.
        """
        self._sent.due(now)

    def stanza_of(self, session: StreamLink, record: Record) -> bytes | Outcome:
        """The stanza for a MESSAGE that leaves on a stream, or why it cannot.

        Raises:
            TranslationError: the record holds no message.
        """
        message = record_to_message(record)
        domain = message.destination.domain.name
        raw = self._original(message, domain)
        if raw is None:
            features = session.machine.features
            caps = Takes(stanza_bytes=features.max_bytes) if features.max_bytes else Takes()
            said = stanza_of(message, caps)
            if isinstance(said, Refusal):
                return failure(said.reason, note=said.note)
            raw = said
        said_to = head_of(raw).attributes
        key = (said_to.get("from", ""), said_to.get("to", ""), said_to.get("id", ""))
        sent = _Sent(record.route_tag, record.message_id)
        self._sent.sent(key, message.source.key.decode(), domain, sent, self._outside.now())
        return raw

    def _original(self, message: Message, domain: str) -> bytes | None:
        form = message.attributes.get(ORIGINAL_FORM)
        if form is None:
            return None
        judged: bytes | Misfit = Misfit.OFF
        if self._known.forms(domain):
            judged = judge(form, message, Protocol.XMPP, self._outside.clock(), lambda name: name == domain)
        if isinstance(judged, Misfit):
            self._outside.dropped(f"form-{judged.value}")
            return None
        return judged

    def awaits(self, error: Stanza) -> bool:
        """Whether an error answers a message that left here; `failed` takes it."""
        now = self._outside.now()
        return self._sent.waiting(error.from_, error.to, error.ident, now) is not None

    def failed(self, got: StanzaIn, tree: Element) -> InFlight | Message | None:
        """An error for a message came.

        Args:
            got: the error.
            tree: the same.

        Returns:
            The outcome of a message in flight; of one that was taken a late failure, which is to be sent;
            None where it answers no message, or its failure cannot be told.
        """
        given, outside = got.stanza, self._outside
        sent = self._sent.answered(given.from_, given.to, given.ident, outside.now())
        if sent is None:
            return None
        entry = outside.entries.get(sent.tag)
        port = outside.ports.get(entry[OUT_PORT]) if entry is not None else None
        if entry is not None and port is not None and entry[KEY].startswith(sent.message_id):
            role = "service" if self._known.is_served(got.from_) else "peer"
            return InFlight(port, sent.tag, outcome_of(tree, Domain(got.from_), role))
        late = late_failure(tree, outside.random_bytes(16), outside.clock(), sent.message_id)
        return None if isinstance(late, Refusal) else late
