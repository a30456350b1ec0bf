"""Counting what is not the common case, and the times of all; the loops of the switch count the rest."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Sequence
from typing import Final

from imxrouter.link.ledger import FROM_DOMAIN, SENT, SINCE, TO_DOMAIN, TRIES, TYPE, Entry
from imxrouter.model.operations import Kind
from imxrouter.model.quality import End
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.switch import slots
from imxrouter.switch.flows import REST, Flows, Key
from imxrouter.switch.ports import Port, Role
from imxrouter.switch.slots import DELIVERY_BOUNDS_S, OURS, THEIRS
from imxrouter.wire.registry import KIND_OF_TYPE, RecordType

_RESULT_OF_STATUS: Final = {
    Status.SUCCESS: slots.DELIVERED,
    Status.FAILURE: slots.FAILED,
    Status.INDETERMINANT: slots.INDETERMINANT,
}
_END_OF_STATUS: Final = {Status.FAILURE: End.FAILED, Status.INDETERMINANT: End.INDETERMINANT}
_END_OF_RESULT: Final = {slots.REFUSED: End.REFUSED, slots.INDETERMINANT: End.INDETERMINANT}
#: A read that took longer until all it brought was written is remembered until its requests are answered; of
#: a shorter one it is enough to know that. There are no more than 1,000 such reads in a second.
SLOW_S: Final = 0.001

#: Answers of one read to requests that went out together: counts, whether they came from the peers, the
#: bucket and seconds of the other side's time, when they came in, when they were written, and tries.
Run = tuple[dict[Key, int], bool, int, float, float, float, int]
#: Nobody adds to this one: while it is handed out, others may come.
_NO_RUNS: Final[list[Run]] = []


class Tally:
    """Counters by kind, and those of each peer.

    Attributes:
        flows: what each remote domain sent and got since somebody looked.
        runs: answers of the read of the moment, whose time with us is not known before they are written.
        apart: records put out whose time is not that of the read during which they were put out.
        ours_s: sum of the times of `ours`.
        theirs_s: sum of the times of `theirs`.

    Args:
        counters: integer slots (`slots.new_counters()`).
        ours: domains served here.
    """

    __slots__ = ("_counters", "_ours", "_slow", "apart", "flows", "ours_s", "runs", "theirs_s")

    def __init__(self, counters: list[int], ours: Container[bytes]) -> None:
        self._counters = counters
        self._ours = ours
        self._slow: dict[float, float] = {}
        self.flows = Flows(ours)
        self.runs: list[Run] = []
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
        self.flows.add(domain, kind, _END_OF_RESULT[result], reason, came=came)

    def settled(self, entry: Entry, status: Status, reason: Reason) -> None:
        """A request that was passed on, or held, has its answer; `answered` tells more of a success."""
        kind = KIND_OF_TYPE.get(entry[TYPE], Kind.OTHER)
        self._counters[kind * slots.KIND_STRIDE + _RESULT_OF_STATUS[status]] += 1
        if status is not Status.SUCCESS:
            came = entry[FROM_DOMAIN] not in self._ours
            domain = entry[FROM_DOMAIN] if came else entry[TO_DOMAIN]
            self.flows.add(domain, kind, _END_OF_STATUS[status], reason, came=came)

    def failed(self, entry: Entry, reason: Reason) -> None:
        """A request that was passed on, or held, failed for that reason."""
        self._counters[slots.refusal_slot(reason, KIND_OF_TYPE.get(entry[TYPE], Kind.OTHER))] += 1

    def answered(self, entry: Entry, status: Status, now: float) -> None:
        """An answer that is not of the common case came."""
        if status is not Status.SUCCESS:
            self.theirs(1, now - entry[SENT])
            return
        came = entry[FROM_DOMAIN] not in self._ours
        domain = entry[FROM_DOMAIN] if came else entry[TO_DOMAIN]
        key: Key = domain if entry[TYPE] == RecordType.MESSAGE else (domain, entry[TYPE])
        self.run({key: 1}, 1, came, entry[SINCE], entry[SENT], entry[TRIES], now)

    def ours(self, count: int, seconds: float) -> None:
        """So many records were with us for so long, from the read that brought them to their write."""
        self._counters[OURS + bisect_left(DELIVERY_BOUNDS_S, seconds)] += count
        self.ours_s += count * seconds

    def theirs(self, count: int, seconds: float) -> None:
        """So many requests were with a peer or service for so long, from their write to the answer."""
        self._counters[THEIRS + bisect_left(DELIVERY_BOUNDS_S, seconds)] += count
        self.theirs_s += count * seconds

    # -- by peer -----------------------------------------------------------------------------------------

    def run(
        self,
        counts: dict[Key, int],
        count: int,
        came: bool,
        since: float,
        sent: float,
        tries: int,
        now: float,
    ) -> None:
        """Requests that came and went together were answered with success in one read.

        Args:
            counts: of each domain and type.
            count: all of them.
            came: from the peers; else they went to them.
            since: when they came.
            sent: when they were written.
            tries: they were sent again.
            now: of the read.
        """
        took = now - sent
        bucket = bisect_left(DELIVERY_BOUNDS_S, took)
        self._counters[THEIRS + bucket] += count
        self.theirs_s += count * took
        self.runs.append((counts, came, bucket, took, since, sent, tries))

    def taken_runs(self) -> list[Run]:
        """The answers of the read that is over, for `wrote`."""
        if not self.runs:
            return _NO_RUNS
        runs, self.runs = self.runs, []
        return runs

    def wrote(self, put: int, at: float, seconds: float, runs: Sequence[Run]) -> None:
        """What a read brought has been written.

        Our share of a delivery is the time of its request, on hold or from read to write, and that of its
        answer. Where the read of a request was short, its share is taken to be that of the answer, if that is
        shorter than `SLOW_S`. Of a request that was sent again, what came before is neither's.

        Args:
            put: records that were put out.
            at: when the read was.
            seconds: from then to the write.
            runs: answers in it.
        """
        if put:
            self._counters[OURS + bisect_left(DELIVERY_BOUNDS_S, seconds)] += put
            self.ours_s += put * seconds
        if seconds >= SLOW_S:
            self._slow[at] = seconds
        delivered = self.flows.delivered
        for counts, came, bucket, took, since, sent, tries in runs:
            if since == sent or tries:
                share = seconds + self._slow.get(since, min(seconds, SLOW_S))
            else:
                share = seconds + sent - since
            ours = bisect_left(DELIVERY_BOUNDS_S, share)
            delivered(counts, came, ours, share, bucket, took)

    def forget_reads(self, before: float) -> None:
        """Requests that came before have their answers."""
        while self._slow and (first := next(iter(self._slow))) < before:
            del self._slow[first]
