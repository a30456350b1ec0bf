"""Edges that stand in front of another one: all that such an edge does not change is the other's."""

from __future__ import annotations

from collections.abc import Sequence

from imxrouter.gateways.xmpp.effects import StanzaIn
from imxrouter.gateways.xmpp.streams.parts import Edge, Said, StreamLink
from imxrouter.model.outcome import Outcome
from imxrouter.switch.ports import Port
from imxrouter.wire.record import Record


class EdgeInFront:
    """An `Edge` that hands everything on to another one.

    Args:
        edge: that one.
    """

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def records_of(self, session: StreamLink, stanzas: Sequence[StanzaIn]) -> bytes:
        """See `parts.Edge`."""
        return self._edge.records_of(session, stanzas)

    def stanza_of(self, session: StreamLink, record: Record) -> Said | Outcome:
        """See `parts.Edge`."""
        return self._edge.stanza_of(session, record)

    def leaving(self, session: StreamLink, raw: bytes) -> Said | Outcome:
        """See `parts.Edge`."""
        return self._edge.leaving(session, raw)

    def operated(self, record: Record) -> Outcome | None:
        """See `parts.Edge`."""
        return self._edge.operated(record)

    def answered(self, port: Port, record: Record) -> None:
        """See `parts.Edge`."""
        self._edge.answered(port, record)

    def succeeded(self, tags: Sequence[int]) -> None:
        """See `parts.Edge`."""
        self._edge.succeeded(tags)

    def settled(self, port: Port, tags: Sequence[int], outcome: Outcome) -> None:
        """See `parts.Edge`."""
        self._edge.settled(port, tags, outcome)
