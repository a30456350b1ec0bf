"""Counting what is not the common case, and the times of all; the loops of `switch.py` count the rest."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container
from typing import Final

from imxrouter.link.ledger import FROM_DOMAIN, TO_DOMAIN, TYPE, Entry
from imxrouter.model.operations import Kind
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.switch import slots
from imxrouter.switch.flows import REST, Flows
from imxrouter.switch.ports import Port, Role
from imxrouter.switch.slots import DELIVERY_BOUNDS_S, OURS, THEIRS
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
        apart: records put out whose time is not that of the read during which they were put out.
        ours_s: sum of the times of `ours`.
        theirs_s: sum of the times of `theirs`.

    Args:
        counters: integer slots (`slots.new_counters()`).
        ours: domains served here.
    """

    __slots__ = ("_counters", "_ours", "apart", "flows", "ours_s", "theirs_s")

    def __init__(self, counters: list[int], ours: Container[bytes]) -> None:
        self._counters = counters
        self._ours = ours
        self.flows = Flows(ours)
        self.apart = 0
        self.ours_s = 0.0
        self.theirs_s = 0.0

    def turned_away(self, port: Port, entry: Entry, result: int, reason: Reason) -> None:
        """A request was answered without being passed on: accepted and, at once, `result`.

        A stranger has proved no domain: what he sends in the name of one is not counted as that domain's.
        """
        kind = KIND_OF_TYPE.get(entry[TYPE], Kind.OTHER)
        base = kind * slots.KIND_STRIDE
        self._counters[base + slots.ACCEPTED] += 1
        self._counters[base + result] += 1
        self._counters[slots.refusal_slot(reason, kind)] += 1
        came = port.role is not Role.SERVICE
        domain = entry[FROM_DOMAIN] if came else entry[TO_DOMAIN]
        if came and domain not in port.sources:
            domain = REST
        self.flows.add(domain, result, came=came)

    def settled(self, entry: Entry, status: Status) -> None:
        """A request that was passed on, or held, has its answer."""
        result = _RESULT_OF_STATUS[status]
        self._counters[KIND_OF_TYPE.get(entry[TYPE], Kind.OTHER) * slots.KIND_STRIDE + result] += 1
        came = entry[FROM_DOMAIN] not in self._ours
        self.flows.add(entry[FROM_DOMAIN] if came else entry[TO_DOMAIN], result, came=came)

    def failed(self, entry: Entry, reason: Reason) -> None:
        """A request that was passed on, or held, failed for that reason."""
        self._counters[slots.refusal_slot(reason, KIND_OF_TYPE.get(entry[TYPE], Kind.OTHER))] += 1

    def answered(self, entry: Entry, status: Status, seconds: float) -> None:
        """An answer that is not of the common case came so long after the request's write."""
        self.theirs(1, seconds)
        if status is Status.SUCCESS and entry[FROM_DOMAIN] in self._ours:
            took_s = self.flows.took_s
            took_s[entry[TO_DOMAIN]] = took_s.get(entry[TO_DOMAIN], 0.0) + seconds

    def put_out(self) -> int:
        """Records put out until now in the reads that brought them."""
        return self._counters[slots.RECORDS_OUT] - self.apart

    def ours(self, count: int, seconds: float) -> None:
        """So many records were with us for so long, from the read that brought them to their write."""
        self._counters[OURS + bisect_left(DELIVERY_BOUNDS_S, seconds)] += count
        self.ours_s += count * seconds

    def theirs(self, count: int, seconds: float) -> None:
        """So many requests were with a peer or service for so long, from their write to the answer."""
        self._counters[THEIRS + bisect_left(DELIVERY_BOUNDS_S, seconds)] += count
        self.theirs_s += count * seconds
