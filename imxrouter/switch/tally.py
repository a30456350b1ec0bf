"""Counting what is not the common case, and the times of all; the loops of `switch.py` add the rest in runs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container
from typing import Final

from imxrouter.link.ledger import FROM_DOMAIN, TO_DOMAIN, TYPE, Entry
from imxrouter.model.operations import Kind
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.switch import slots
from imxrouter.switch.flows import ANSWERS, ANSWERS_US, CAME, REST, WENT, Flows
from imxrouter.switch.ports import Port, Role
from imxrouter.wire.registry import KIND_OF_TYPE

_RESULT_OF_STATUS: Final = {
    Status.SUCCESS: slots.DELIVERED,
    Status.FAILURE: slots.FAILED,
    Status.INDETERMINANT: slots.INDETERMINANT,
}


class Tally:
    """Counters by kind, and those of each peer.

    Attributes:
        flows: what each remote domain sent and got since somebody looked.

    Args:
        counters: integer slots (`slots.new_counters()`).
        ours: domains served here.
    """

    __slots__ = ("_counters", "_ours", "flows")

    def __init__(self, counters: list[int], ours: Container[bytes]) -> None:
        self._counters = counters
        self._ours = ours
        self.flows = Flows(ours)

    def turned_away(self, port: Port, entry: Entry, result: int, reason: Reason) -> None:
        """A request was answered without being passed on: accepted and, at once, `result`.

        A stranger has proved no domain: what he sends in the name of one is not counted as that domain's.
        """
        kind = KIND_OF_TYPE.get(entry[TYPE], Kind.OTHER)
        base = kind * slots.KIND_STRIDE
        self._counters[base + slots.ACCEPTED] += 1
        self._counters[base + result] += 1
        self._counters[slots.refusal_slot(reason, kind)] += 1
        if port.role is Role.SERVICE:
            cell, at = self.flows.cell(entry[TO_DOMAIN]), WENT
        else:
            domain = entry[FROM_DOMAIN]
            cell, at = self.flows.cell(domain if domain in port.sources else REST), CAME
        cell[at + slots.ACCEPTED] += 1
        cell[at + result] += 1

    def settled(self, entry: Entry, status: Status) -> None:
        """A request that was passed on, or held, has its answer."""
        result = _RESULT_OF_STATUS[status]
        self._counters[KIND_OF_TYPE.get(entry[TYPE], Kind.OTHER) * slots.KIND_STRIDE + result] += 1
        if entry[FROM_DOMAIN] in self._ours:
            self.flows.cell(entry[TO_DOMAIN])[WENT + result] += 1
        else:
            self.flows.cell(entry[FROM_DOMAIN])[CAME + result] += 1

    def failed(self, entry: Entry, reason: Reason) -> None:
        """A request that was passed on, or held, failed for that reason."""
        self._counters[slots.refusal_slot(reason, KIND_OF_TYPE.get(entry[TYPE], Kind.OTHER))] += 1

    def ours(self, count: int, seconds: float) -> None:
        """So many records were with us for so long, from the read that brought them to their write."""
        counters = self._counters
        counters[slots.OURS + bisect_left(slots.DELIVERY_BOUNDS_S, seconds)] += count
        counters[slots.OURS + slots.DELIVERY_SUM_US] += count * int(seconds * 1e6)

    def theirs(self, count: int, seconds: float) -> None:
        """So many requests were with a peer or service for so long, from their write to the answer."""
        counters = self._counters
        counters[slots.THEIRS + bisect_left(slots.DELIVERY_BOUNDS_S, seconds)] += count
        counters[slots.THEIRS + slots.DELIVERY_SUM_US] += count * int(seconds * 1e6)

    def delivered(self, domain: bytes, count: int, seconds: float, *, came: bool) -> None:
        """A run of plain answers to requests written at one moment.

        Args:
            domain: the peer: of the senders where the requests came in, else of the recipients.
            count: of the answers.
            seconds: since the requests were written.
            came: the answers came from a service of ours.
        """
        self.theirs(count, seconds)
        cell = self.flows.cells.get(domain) or self.flows.cell(domain)
        if came:
            cell[CAME + slots.DELIVERED] += count
        else:
            cell[WENT + slots.DELIVERED] += count
            cell[ANSWERS] += count
            cell[ANSWERS_US] += count * int(seconds * 1e6)
