"""What goes out on a stream: the records that the switch put out for it, made to stanzas.

While the stream begins anew, for TLS or SASL, they wait. What became of a stanza that nothing asks about is
told at once, of the others when the machine knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from imxrouter.gateways.xmpp.effects import Effect
from imxrouter.gateways.xmpp.steps import Step
from imxrouter.gateways.xmpp.streams.parts import StreamLink, StreamParts
from imxrouter.gateways.xmpp.streams.records import stanza_at
from imxrouter.link.machine import LinkState
from imxrouter.model.outcome import SUCCESS, Outcome, failure
from imxrouter.model.vocabulary import Reason
from imxrouter.transport.link import Centre
from imxrouter.wire.control import Control
from imxrouter.wire.framing import judge_length
from imxrouter.wire.record import decode_record, read_plain_success

#: Stanzas may be written.
_CARRIES: Final = frozenset({Step.OPEN, Step.DRAINING})


class _Session(StreamLink, Protocol):
    """What stands behind it."""

    _behind: bytearray
    _hub: Centre
    _parts: StreamParts

    def perform(self, effects: Sequence[Effect]) -> None:
        """Do what the machine says."""

    def write(self, data: bytes) -> None:
        """Write whole records."""


class WritesStanzas:
    """Part of `session.XmppSession`: it takes records, as the switch writes them to any link."""

    __slots__ = ()

    def write(self: _Session, data: bytes) -> None:
        """Write whole records as stanzas; while the stream begins anew, for TLS or SASL, they wait."""
        if self.machine.step not in _CARRIES and self.machine.state is not LinkState.CLOSED:
            self._behind += data
            self.port.shedding = len(self._behind) > self._hub.settings.output_high_bytes
            return
        edge = self._parts.edge
        raw: list[bytes] = []
        tags: list[int | None] = []
        settled: list[tuple[int, Outcome]] = []
        done: list[int] = []
        for one in whole_records(data):
            if (plain := read_plain_success(one)) is not None:
                done.append(plain[0])
                continue
            if (passing := stanza_at(one)) is not None:
                tag, said = passing[0], edge.leaving(self, passing[1])
            else:
                record = decode_record(one)
                if record.is_response:
                    edge.answered(self.way, record)
                    continue
                tag, said = record.route_tag, edge.stanza_of(self, record)
            if isinstance(said, Outcome):
                settled.append((tag, said))
                continue
            raw.append(said.raw)
            tags.append(tag if said.is_asked else None)
            if not said.is_asked:
                settled.append((tag, SUCCESS))
        if done:
            edge.succeeded(done)
        port = self.port
        if port.unacked:
            self._hub.switch.acknowledge_all(port)
        if raw:
            self.perform(self.machine.stanzas(raw, tags, self._hub.now()))
        for tag, outcome in settled:
            edge.settled(self.way, (tag,), outcome)

    def send(self, control: Control) -> None:
        """Nothing: what streams have a word for is said by the tongue, and has no record."""

    def acknowledge(self, *, force: bool = False) -> bytes:
        """Nothing: answers to what a stream brought are stanzas, or nothing at all."""
        del force
        return b""

    def _go_on(self: _Session) -> None:
        """Write what waited, once the stream has begun anew."""
        if self.machine.step is Step.OPEN:
            behind, self._behind = bytes(self._behind), bytearray()
            self.port.shedding = False
            self.write(behind)

    def _give_back(self: _Session) -> None:
        """What waited behind a stream that never went on was not written: that is known."""
        behind, self._behind = bytes(self._behind), bytearray()
        for one in whole_records(behind):
            record = decode_record(one)
            if not record.is_response:
                lost = failure(Reason.LINK_LOST, note="the stream ended while it began anew")
                self._parts.edge.settled(self.way, (record.route_tag,), lost)


def whole_records(data: bytes) -> list[bytes]:
    """The records that the switch put out."""
    at, end, records = 0, len(data), []
    while at < end:
        until = at + judge_length(data, at, end)
        records.append(data[at:until])
        at = until
    return records
