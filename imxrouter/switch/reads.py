"""A read of a link, cut into runs of requests, runs of responses and single records of the link's own."""

from __future__ import annotations

from imxrouter.switch.ports import Port
from imxrouter.switch.responses import SwitchResponses
from imxrouter.wire.control import ACK_BYTES, ACK_START
from imxrouter.wire.errors import WireError
from imxrouter.wire.framing import judge_length
from imxrouter.wire.layout import FIRST_ROUTED_TYPE, HEADER_BYTES, LENGTH_BYTES, RESPONSE_BIT


class SwitchReads(SwitchResponses):
    """Takes reads; the loop over requests stands in `switch.py`."""

    def _requests(self, port: Port, data: bytes, view: bytearray, at: int, now: float) -> int:
        raise NotImplementedError

    def receive(self, port: Port, data: bytes, now: float) -> None:
        """Take what one read of a link brought.

        Args:
            port: the link.
            data: the bytes, any number of them.
            now: seconds of the monotonic clock.

        Raises:
            WireError: the bytes are no records; the link must end. What was complete before them is done.
        """
        if port.tail:
            port.tail += data
            if len(port.tail) < port.need:
                return
            data = bytes(port.tail)
            port.tail.clear()
        self._turn += 1
        at, end = 0, len(data)
        view = bytearray(data)
        while end - at >= HEADER_BYTES and not port.closed:
            kind = (data[at + 4] << 8) | data[at + 5]
            if kind & ~RESPONSE_BIT < FIRST_ROUTED_TYPE:
                size = judge_length(data, at, port.max_record)
                if end - at < size:
                    break
                if size == ACK_BYTES and port.acknowledges and data.startswith(ACK_START, at):
                    if not self.acknowledge(port, int.from_bytes(data[at + size - 8 : at + size], "big")):
                        raise WireError("acknowledges what was never sent")
                    at += size
                    continue
                port.on_control(data[at : at + size])
                at += size
                continue
            run = self._responses if kind & RESPONSE_BIT else self._requests
            went = run(port, data, view, at, now)
            if went == at:
                break
            at = went
        if at == end or port.closed:
            return
        port.need = LENGTH_BYTES
        if end - at >= LENGTH_BYTES:
            port.need = judge_length(data, at, port.max_record)
        port.tail += data[at:]
