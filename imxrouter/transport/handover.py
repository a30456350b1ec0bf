"""What arrives at one process and belongs to another of its host: verifications and answers."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.logger import Logger

from imxrouter.model.vocabulary import Reason
from imxrouter.routing.interfaces import Bus
from imxrouter.switch.ports import Port, Role
from imxrouter.transport.dialback import Claimer
from imxrouter.transport.hub import Hub
from imxrouter.wire.errors import WireError
from imxrouter.wire.layout import HIGHEST_MAX_RECORD

#: Number of the port that stands for the bus: no request ever went over it (0 is that of requests held).
_NO_LINK = -1


class BusResponse(msgspec.Struct, frozen=True, array_like=True):
    """A response that another process of this host waits for, with the domains its link may answer for."""

    record: bytes
    speaks: list[bytes]


class Handover:
    """Both ends of the bus for links.

    Args:
        hub: links of this process.
        bus: the other processes of this host; only they can reach it.
        claimer: releases answers of our claims.

    Attributes:
        others: kind -> who takes what other processes tell of that kind.
        asked: kind -> who answers what other processes ask of that kind; perhaps later.
    """

    log = Logger()

    def __init__(self, hub: Hub, bus: Bus, claimer: Claimer) -> None:
        self._hub = hub
        self._bus = bus
        self._claimer = claimer
        self.others: dict[str, Callable[[bytes], None]] = {}
        self.asked: dict[str, Callable[[bytes, Callable[[bytes], None]], None]] = {}
        hub.hand_over = self._give
        bus.listen(self._take)

    def _give(self, process: int, record: bytes, speaks: frozenset[bytes]) -> None:
        self._bus.tell(process, "response", msgspec.msgpack.encode(BusResponse(record, list(speaks))))

    def _take(self, kind: str, payload: bytes, reply: Callable[[bytes], None]) -> None:
        if kind == "verify":
            reply(self._claimer.verify_for_other(payload))
        elif kind == "response":
            self._response(msgspec.msgpack.decode(payload, type=BusResponse))
        elif kind in self.others:
            self.others[kind](payload)
        elif kind in self.asked:
            self.asked[kind](payload, reply)
        else:
            self.log.warn("bus: {kind} is not known", kind=kind)

    def _response(self, given: BusResponse) -> None:
        """Judge it exactly as if it had come over a link of our own that may answer for these domains."""
        port = Port(_NO_LINK, Role.PEER, lambda _data: None)
        port.max_record = HIGHEST_MAX_RECORD
        port.speaks = set(given.speaks)
        now, tally = self._hub.now(), self._hub.switch.tally
        try:
            self._hub.switch.receive(port, given.record, now)
        except WireError as error:
            reason = Reason.PROTOCOL_ERROR
            self.log.warn(
                "bus: a response is {reason}: {note}", reason=reason.word, stage=reason.stage.value,
                note=str(error),
            )  # fmt: skip
        runs = tally.taken_runs()
        self._hub.flush()
        tally.wrote(0, now, self._hub.now() - now, runs)
