"""The loop over the responses of a read; what it does as `switch.py` does it for requests."""

from __future__ import annotations

from imxrouter.switch import slots
from imxrouter.switch.flows import Key
from imxrouter.switch.ports import Port, Role
from imxrouter.switch.rewrite import LONG_RESPONSE
from imxrouter.switch.slots import BASE_OF_TYPE, OTHER_BASE
from imxrouter.switch.unusual import SwitchUnusual
from imxrouter.wire.errors import WireError
from imxrouter.wire.framing import judge_length
from imxrouter.wire.layout import (
    ADDRESSES_OFFSET,
    FIRST_ROUTED_TYPE,
    FLAGS_HOPS_TAG,
    FLAGS_OFFSET,
    HEADER,
    HEADER_BYTES,
    LENGTH_BYTES,
    OUTCOME_BYTES,
    RESPONSE_BIT,
)
from imxrouter.wire.registry import RecordType

#: Links that lead to a service of ours: its own, and those to a process that has it.
_OURS = frozenset({Role.SERVICE, Role.PROCESS})
_MESSAGE_RESPONSE = RecordType.MESSAGE_RESPONSE.value
_MESSAGES_DELIVERED = BASE_OF_TYPE[RecordType.MESSAGE.value] + slots.DELIVERED


class SwitchResponses(SwitchUnusual):
    """Takes runs of responses."""

    def _responses(self, port: Port, data: bytes, view: bytearray, at: int, now: float) -> int:
        """Take the run of responses that starts at `at`; returns where it ends (whole records only)."""
        unpack, patch = HEADER.unpack_from, FLAGS_HOPS_TAG.pack_into
        entries, ports, memory, counters = self.ledger.entries, self.ports, self.memory.seen, self.counters
        check_link, check_duplicates = self.checks.answer_link, self.checks.duplicates
        odd, limit, end, speaks, used = self._odd, port.max_record, len(data), port.speaks, port.used
        number, on_delivered, long = port.number, self.on_delivered, LONG_RESPONSE
        tally, plain, from_service = self.tally, 0, port.role in _OURS
        sent = began = 0.0
        again = 0
        delivered: dict[Key, int] = {}
        in_port = out_port = run_port = None
        in_number = out_number = -1
        records_in = messages = records_out = 0
        run_start = run_end = at
        try:
            while end - at >= HEADER_BYTES:
                size, rtype, flags, hops, tag, to_l, to_d, from_l, from_d, ext, reserved, mid = unpack(
                    data, at
                )
                if rtype < RESPONSE_BIT | FIRST_ROUTED_TYPE:
                    break
                size += LENGTH_BYTES
                if size > limit or size < HEADER_BYTES:
                    judge_length(data, at, limit)
                stop = at + size
                if stop > end:
                    break
                to_at = at + ADDRESSES_OFFSET
                to_end = to_at + to_l + 1 + to_d
                from_end = to_end + from_l + 1 + from_d
                body_at = from_end + ext
                if body_at > stop or reserved:
                    raise WireError(f"malformed envelope in a response of {size} bytes")
                start, at = at, stop
                records_in += 1
                entry = entries.get(tag)
                if entry is None:
                    self._unmatched(port, data[start:stop], tag)
                    continue
                (
                    came_by, in_tag, own_size, ident, digest, to_domain, from_domain, asked, _, since,
                    went_by, _, tries, written,
                ) = entry  # fmt: skip
                if (
                    rtype != asked | RESPONSE_BIT
                    or not (went_by or tries)
                    or stop - body_at < OUTCOME_BYTES
                    or ident != mid + data[to_end:from_end] + data[to_at:to_end]
                    or (went_by != number and check_link and to_domain not in speaks)
                ):
                    counters[slots.STRAY_RESPONSES] += 1
                    continue
                if ext or data[body_at] or size > long or tag in odd:
                    if run_port is not None:
                        self.put(run_port, view[run_start:run_end])
                        run_port = None
                    used.add(to_domain)
                    self._odd_response(port, data[start:stop], tag, entry, now)
                    continue
                if written != sent or since != began:
                    if plain:
                        tally.run(delivered, plain, from_service, began, sent, again, now)
                        delivered, plain = {}, 0
                    sent, began, again = written, since, tries
                plain += 1
                if from_service:
                    domain = from_domain
                else:
                    domain = to_domain
                    used.add(to_domain)
                del entries[tag]
                if came_by != in_number:
                    in_port, in_number = ports.get(came_by), came_by
                if went_by != out_number:
                    out_port, out_number = ports.get(went_by), went_by
                if out_port is not None:
                    out_port.sent -= 1
                    out_port.sent_bytes -= own_size
                if rtype == _MESSAGE_RESPONSE:
                    messages += 1
                    delivered[domain] = delivered.get(domain, 0) + 1
                else:
                    delivered[domain, asked] = delivered.get((domain, asked), 0) + 1
                    counters[BASE_OF_TYPE.get(asked, OTHER_BASE) + slots.DELIVERED] += 1
                    self.presence.delivered(entry)
                if on_delivered is not None:
                    on_delivered(entry)
                if check_duplicates:
                    memory[ident] = (digest, data[start:stop])
                if in_port is None:
                    self._homeless(entry, data[start:stop], now)
                    continue
                in_port.in_flight -= 1
                in_port.in_bytes -= own_size
                destinations = in_port.destinations
                share = destinations.get(to_domain, 1)
                if share > 1:
                    destinations[to_domain] = share - 1
                else:
                    destinations.pop(to_domain, None)
                if in_port.acknowledges:
                    in_port.unacked.append(ident)
                elif check_duplicates:
                    self.memory.keep_for_window(ident, now)
                records_out += 1
                patch(view, start + FLAGS_OFFSET, flags, hops, in_tag)
                if in_port is run_port and start == run_end:
                    run_end = stop
                    continue
                if run_port is not None:
                    self.put(run_port, view[run_start:run_end])
                run_port, run_start, run_end = in_port, start, stop
        finally:
            if run_port is not None:
                self.put(run_port, view[run_start:run_end])
            if plain:
                tally.run(delivered, plain, from_service, began, sent, again, now)
            port.responses_read += records_in
            counters[slots.RECORDS_IN] += records_in
            counters[slots.RECORDS_OUT] += records_out
            counters[_MESSAGES_DELIVERED] += messages
        return at
