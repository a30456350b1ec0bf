"""The hot path: plain loops over one read, fixed offsets, slices, no object per record (architecture 7).

A read is a row of records. `receive` cuts off what is not whole yet and hands runs of requests, runs of
responses and single records of the link's own to the loop that knows them. The loops stay long on purpose:
a call per record costs more than most of the checks (docs/decisions/0002-hot-path.md).
"""

from __future__ import annotations

from imxrouter.link.ledger import Entry, process_of
from imxrouter.model.operations import MAX_HOPS, Kind
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.switch.core import SwitchCore
from imxrouter.switch.ports import MAX_UNACKNOWLEDGED, Port, Role
from imxrouter.wire.errors import WireError
from imxrouter.wire.framing import judge_length
from imxrouter.wire.layout import (
    ADDRESSES_OFFSET,
    FIRST_ROUTED_TYPE,
    FLAG_RETRY,
    FLAGS_HOPS_TAG,
    FLAGS_OFFSET,
    HEADER,
    HEADER_BYTES,
    LENGTH_BYTES,
    OUTCOME_BYTES,
    RESPONSE_BIT,
)
from imxrouter.wire.registry import KIND_OF_TYPE, RecordType

_KEEP_FLAGS = 0xFF & ~FLAG_RETRY
_MESSAGE = RecordType.MESSAGE.value
_ID_OFFSET = 24
_NO_PORTS: list[Port] = []
_NONE: dict[bytes, list[Port]] = {}


class Switch(SwitchCore):
    """Takes reads, fills the ports' `out`."""

    def receive(self, port: Port, data: bytes, now: float) -> None:
        """Take what one read of a link brought.

        Args:
            port: the link.
            data: the bytes, any number of them.
            now: seconds of the monotonic clock.

        Raises:
            WireError: the bytes are no records; the link must end. What was complete before them is done.
        """
        counters = self.counters
        counters[slots.BYTES_IN] += len(data)
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
                port.on_control(data[at : at + size])
                at += size
                continue
            run = self._responses if kind & RESPONSE_BIT else self._requests
            went = run(port, data, view, at, now)
            if went == at:
                break
            at = went
        if port.closed:
            return
        port.need = LENGTH_BYTES
        if end - at >= LENGTH_BYTES:
            port.need = judge_length(data, at, port.max_record)
        if at < end:
            port.tail += data[at:]

    def _requests(self, port: Port, data: bytes, view: bytearray, at: int, now: float) -> int:
        """Take the run of requests that starts at `at`; returns where it ends (whole records only)."""
        unpack, patch = HEADER.unpack_from, FLAGS_HOPS_TAG.pack_into
        ledger = self.ledger
        entries, next_tag, memory = ledger.entries, ledger.next_tag, self.memory.seen
        memory_limit = self.memory.limit
        routes, names, arrivals, counters = self.routes, self._names, self.rates.arrivals, self.counters
        checks = self.checks
        check_source, check_relay, check_rate = checks.source, checks.relay, checks.rate
        check_credit, check_duplicates, check_names = checks.credit, checks.duplicates, checks.addresses
        sources, destinations, limit, end = port.sources, port.destinations, port.max_record, len(data)
        is_service, is_uplink = port.role is Role.SERVICE, port.role is Role.UPLINK
        turn, number = self._turn, port.number
        granted, granted_bytes = port.granted_requests, port.granted_bytes
        run_port: Port | None = None
        run_start = run_end = at
        while end - at >= HEADER_BYTES:
            size, rtype, flags, hops, tag, to_l, to_d, from_l, from_d, ext, reserved, _ = unpack(data, at)
            if rtype & RESPONSE_BIT or rtype < FIRST_ROUTED_TYPE:
                break
            size += LENGTH_BYTES
            if size > limit or size < HEADER_BYTES:
                judge_length(data, at, limit)
            stop = at + size
            if stop > end:
                break
            to_at = at + ADDRESSES_OFFSET + to_l
            to_end = to_at + 1 + to_d
            from_at = to_end + from_l
            body_at = from_at + 1 + from_d + ext
            if (
                body_at > stop
                or reserved
                or not to_d
                or not from_d
                or data[to_at] != 64
                or data[from_at] != 64
            ):
                raise WireError(f"malformed envelope in a record of {size} bytes")
            start, at = at, stop
            counters[slots.RECORDS_IN] += 1
            to_domain = data[to_at + 1 : to_end]
            sender = data[to_end : from_at + 1 + from_d]
            from_domain = data[from_at + 1 : from_at + 1 + from_d]
            # -- addresses, then the destination, then access (RFC 3860 section 3.4.1) --
            key = names.get(sender)
            if key is None:
                key = self._check_name(sender)
                names = self._names
            if check_names and (
                key is None
                or (
                    data[start + ADDRESSES_OFFSET : to_end] not in names
                    and self._check_name(data[start + ADDRESSES_OFFSET : to_end]) is None
                )
            ):
                self.refuse(port, data[start:stop], Reason.BAD_ADDRESS)
                continue
            route = routes.get(to_domain)
            proof = sources.get(from_domain)
            if route is None:
                if check_relay and not is_service:
                    self.refuse(port, data[start:stop], Reason.RELAY_DENIED)
                    continue
            else:
                if route.suspended:
                    self.refuse(port, data[start:stop], Reason.SUSPENDED, 60)
                    continue
                if rtype != _MESSAGE and rtype not in route.types:
                    self.refuse(port, data[start:stop], Reason.TYPE_NOT_ENABLED)
                    continue
                if size > route.max_bytes and checks.size:
                    self.refuse(port, data[start:stop], Reason.TOO_LARGE)
                    continue
            if is_uplink and proof is None and from_domain not in routes:
                proof = port.sources.get(b"*")
            if check_source and (
                proof is None
                or proof[2] < now
                or (
                    not is_service
                    and (
                        (proof[1] is not None and to_domain not in proof[1])
                        or (route is not None and route.level & ~proof[0])
                    )
                )
            ):
                reason = self._source_refusal(port, from_domain, to_domain, now)
                self.refuse(port, data[start:stop], reason)
                continue
            if not hops and checks.hops:
                self.refuse(port, data[start:stop], Reason.TOO_MANY_HOPS)
                continue
            if hops > MAX_HOPS:
                hops = MAX_HOPS
            if ext or flags & FLAG_RETRY:
                judged = self._judge_fields(data[start:stop])
                if judged is not None:
                    self.refuse(port, data[start:stop], judged)
                    continue
                if flags & FLAG_RETRY:
                    if self._retried(port, data[start:stop], now):
                        continue
                    # never seen here and its epoch is ours: it goes on like a first one, without its epoch
            digest = 0
            ident = data[start + _ID_OFFSET : to_end] + sender
            if check_duplicates:
                digest = hash(data[body_at:stop]) ^ rtype
                if ident in memory:
                    self.duplicate(port, data[start:stop], ident, digest, hops, tag)
                    continue
                if len(memory) >= memory_limit or len(port.unacked) >= MAX_UNACKNOWLEDGED:
                    self.refuse(port, data[start:stop], Reason.BUSY, 5, "duplicate memory")
                    continue
            # -- limits --
            if check_rate and proof is not None and key is not None:
                arrival = arrivals.get(key)
                if arrival is None or arrival - now > proof[4]:
                    wait = self.rates.admit(key, from_domain, now, proof[3], proof[4])
                    if wait:
                        self.refuse(port, data[start:stop], Reason.RATE_LIMITED, wait)
                        continue
                elif arrival > now:
                    arrivals[key] = arrival + proof[3]
                else:
                    arrivals[key] = now + proof[3]
            share = destinations.get(to_domain, 0)
            if check_credit and (
                port.in_flight >= granted
                or port.in_bytes + size > granted_bytes
                or (share * 4 >= granted and port.in_flight * 2 > granted)
            ):
                self.refuse(port, data[start:stop], Reason.BUSY, 1, "credit")
                continue
            # -- the way --
            if route is not None:
                ways = route.ports
            else:
                ways = self.uplinks or self.ways.get(to_domain, _NONE).get(from_domain, _NO_PORTS)
            if ways:
                out = ways[turn % len(ways)] if len(ways) > 1 else ways[0]
                if (
                    out.shedding
                    or not out.usable
                    or (
                        check_credit
                        and (out.sent >= out.credit_requests or out.sent_bytes + size > out.credit_bytes)
                    )
                ):
                    other = self.way(to_domain, from_domain)
                    if other is None:
                        self.refuse(port, data[start:stop], Reason.BUSY, 1, "the destination does not read")
                        continue
                    out = other
                out_number = out.number
            elif route is not None:
                self.refuse(port, data[start:stop], Reason.SERVICE_DOWN, 30)
                continue
            else:
                out, out_number = None, 0
            # -- accepted --
            counters[KIND_OF_TYPE.get(rtype, Kind.OTHER) * slots.KIND_STRIDE] += 1
            new_tag = next_tag()
            entries[new_tag] = (
                number, tag, size, ident, digest, to_domain, from_domain, rtype, hops, now, out_number,
                data[start:stop], 0,
            )  # fmt: skip
            if check_duplicates:
                memory[ident] = (digest, new_tag)
            port.in_flight += 1
            port.in_bytes += size
            destinations[to_domain] = share + 1
            if out is None:
                self.held.append(new_tag)
                continue
            out.sent += 1
            out.sent_bytes += size
            counters[slots.RECORDS_OUT] += 1
            patch(view, start + FLAGS_OFFSET, flags & _KEEP_FLAGS, hops - 1 if hops else 0, new_tag)
            if out is run_port and start == run_end:
                run_end = stop
                continue
            if run_port is not None:
                self.put(run_port, view[run_start:run_end])
            run_port, run_start, run_end = out, start, stop
        if run_port is not None:
            self.put(run_port, view[run_start:run_end])
        return at

    def _responses(self, port: Port, data: bytes, view: bytearray, at: int, now: float) -> int:
        """Take the run of responses that starts at `at`; returns where it ends (whole records only)."""
        unpack, patch = HEADER.unpack_from, FLAGS_HOPS_TAG.pack_into
        entries, ports, memory, counters = self.ledger.entries, self.ports, self.memory.seen, self.counters
        check_link, check_duplicates = self.checks.answer_link, self.checks.duplicates
        joined, limit, end, speaks = self._joined, port.max_record, len(data), port.speaks
        from_uplink, on_delivered = port.role is Role.UPLINK, self.on_delivered
        run_port: Port | None = None
        run_start = run_end = at
        while end - at >= HEADER_BYTES:
            size, rtype, flags, hops, tag, to_l, to_d, from_l, from_d, ext, reserved, mid = unpack(data, at)
            if rtype < RESPONSE_BIT | FIRST_ROUTED_TYPE:
                break
            size += LENGTH_BYTES
            if size > limit or size < HEADER_BYTES:
                judge_length(data, at, limit)
            stop = at + size
            if stop > end:
                break
            to_end = at + ADDRESSES_OFFSET + to_l + 1 + to_d
            from_end = to_end + from_l + 1 + from_d
            body_at = from_end + ext
            if body_at > stop or reserved:
                raise WireError(f"malformed envelope in a response of {size} bytes")
            start, at = at, stop
            counters[slots.RECORDS_IN] += 1
            port.responses_read += 1
            entry = entries.get(tag)
            if entry is None:
                self._unmatched(port, data[start:stop], tag)
                continue
            ident, to_domain = entry[3], entry[5]
            if (
                rtype != entry[7] | RESPONSE_BIT
                or not ident.startswith(mid)
                or not entry[10]
                or stop - body_at < OUTCOME_BYTES
                or from_end - start - ADDRESSES_OFFSET != len(ident) - 16
                or not ident.endswith(data[start + ADDRESSES_OFFSET : to_end])
                or not ident.startswith(data[to_end:from_end], 16)
                or (check_link and to_domain not in speaks and not (from_uplink and entry[10] == port.number))
            ):
                counters[slots.STRAY_RESPONSES] += 1
                continue
            if ext or data[body_at] or tag in joined:
                if run_port is not None:
                    self.put(run_port, view[run_start:run_end])
                    run_port = None
                self._odd_response(port, data[start:stop], tag, entry, now)
                continue
            del entries[tag]
            in_port, out_port, own_size = ports.get(entry[0]), ports.get(entry[10]), entry[2]
            if out_port is not None:
                out_port.sent -= 1
                out_port.sent_bytes -= own_size
            counters[KIND_OF_TYPE.get(entry[7], Kind.OTHER) * slots.KIND_STRIDE + slots.DELIVERED] += 1
            if on_delivered is not None:
                on_delivered(entry)
            if check_duplicates:
                memory[ident] = (entry[4], data[start:stop])
            if in_port is None:
                self._homeless(entry, data[start:stop], now)
                continue
            in_port.in_flight -= 1
            in_port.in_bytes -= own_size
            share = in_port.destinations.get(to_domain, 1)
            if share > 1:
                in_port.destinations[to_domain] = share - 1
            else:
                in_port.destinations.pop(to_domain, None)
            if in_port.acknowledges:
                in_port.unacked.append(ident)
            elif check_duplicates:
                self.memory.keep_for_window(ident, now)
            counters[slots.RECORDS_OUT] += 1
            patch(view, start + FLAGS_OFFSET, flags, hops, entry[1])
            if in_port is run_port and start == run_end:
                run_end = stop
                continue
            if run_port is not None:
                self.put(run_port, view[run_start:run_end])
            run_port, run_start, run_end = in_port, start, stop
        if run_port is not None:
            self.put(run_port, view[run_start:run_end])
        return at

    # -- what happens seldom ---------------------------------------------------------------------------

    def _retried(self, port: Port, data: bytes, now: float) -> bool:
        """Deal with a request that carries the retry flag; True where nothing is left to do."""
        if not self.checks.duplicates:
            return False
        stripped, reason = self.retry_refusal(data)
        if reason is not None:
            self.answer_indeterminant(port, data, reason)
        else:
            self._requests(port, stripped, bytearray(stripped), 0, now)
        return True

    def _unmatched(self, port: Port, data: bytes, tag: int) -> None:
        """A response no entry waits for: another process's, or late, second or invented."""
        if process_of(tag) != process_of(self.ledger.next_tag()) and port.speaks:
            self.counters[slots.FOREIGN_RESPONSES] += 1
            self.foreign.append((process_of(tag), data, frozenset(port.speaks)))
        else:
            self.counters[slots.STRAY_RESPONSES] += 1

    def _odd_response(self, port: Port, data: bytes, tag: int, entry: Entry, now: float) -> None:
        try:
            self.settle_response(port, data, tag, entry, now)
        except WireError:
            self.counters[slots.STRAY_RESPONSES] += 1

    def _homeless(self, entry: Entry, response: bytes, now: float) -> None:
        """The asker's link is gone: its other links may take the answer, the memory keeps it for a retry."""
        other = self._another_port_of(entry[6])
        if other is not None:
            self._answer(other, response[:8] + entry[1].to_bytes(8, "big") + response[16:], entry[3])
        if other is None or not other.acknowledges:
            self.memory.keep_for_window(entry[3], now)
