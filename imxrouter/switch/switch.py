"""The hot path: a plain loop over the requests of a read, fixed offsets, slices, no object per record.

A read is a row of records. `reads.py` cuts it into runs and hands each to the loop that knows it: requests
here, responses in `responses.py`. Both stay one function each on purpose: a call per record costs more than
most checks (decisions/0002). What is seldom is a method of `unusual.py`, `limiting.py` or `core.py`.
"""

from __future__ import annotations

from typing import Literal

from imxrouter.model.limits import Limit
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.gate import Bar
from imxrouter.routing.limits import WARN_FROM
from imxrouter.routing.overload import Level
from imxrouter.routing.traffic import NOBODY
from imxrouter.switch import slots
from imxrouter.switch.forms import WHOLE, is_presence, part_of
from imxrouter.switch.ports import FOREVER, Port
from imxrouter.switch.presence import INSIDE_TYPES, OF_DOMAINS
from imxrouter.switch.reads import SwitchReads
from imxrouter.switch.slots import BASE_OF_TYPE, OTHER_BASE
from imxrouter.switch.tables import OWN_WORDS
from imxrouter.switch.unusual import NOT_PROVED
from imxrouter.switch.ways import STANZA
from imxrouter.wire.errors import WireError
from imxrouter.wire.fields import are_harmless
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
    RESPONSE_BIT,
)
from imxrouter.wire.registry import FORMS, RecordType

_KEEP_FLAGS = 0xFF & ~FLAG_RETRY
_MESSAGE = RecordType.MESSAGE.value
_NOTIFY = RecordType.NOTIFY.value
_ID_OFFSET = 24
_AT = 0x40
_MESSAGES_ACCEPTED = BASE_OF_TYPE[_MESSAGE] + slots.ACCEPTED
_NO_PORTS: list[Port] = []
_NO_SHEDDING, _QUARTER = Level.NOTHING, Level.QUARTER
_RECORDS_IN = slots.RECORDS_IN
_NONE: dict[bytes, list[Port]] = {}


class Switch(SwitchReads):
    """Takes reads, fills the ports' `out`."""

    def _requests(self, port: Port, data: bytes, view: bytearray, at: int, now: float) -> int:
        """Take the run of requests that starts at `at`; returns where it ends (whole records only).

        The steps are those of the specification's section 7, in its order; each refuses and goes on with the
        next record, or falls through. Figures of the in-port and of the out-port of the moment are kept in
        local variables and written back at the end, whatever ends the run.
        """
        unpack, patch = HEADER.unpack_from, FLAGS_HOPS_TAG.pack_into
        entries, next_tag, memory = self.ledger.entries, self.ledger.next_tag, self.memory.seen
        names, targets, passes = self._names, self._targets, self._passes
        arrivals, due_of, senders = self.rates.arrivals, self.inboxes.due, self.traffic.senders.meters
        checks, counters, turn, max_hops = self.checks, self.counters, self._turn, self.max_hops
        number, limit, meter, used, end = port.number, port.max_record, port.meter, port.used, len(data)
        sources, destinations, inside = port.sources, port.destinations, port in self.inside
        kind = port.role, port.internal, inside
        (
            is_service, check_source, check_size, check_duplicates, check_traffic, check_rate,
            check_recipient, check_access, check_shedding, refused_types,
        ) = self._held_to.get(kind) or self._is_held_to(*kind)  # fmt: skip
        gate = self.gate if check_access else None
        shed = self.shed if check_shedding else _NO_SHEDDING
        strict = (shed >= _QUARTER and not inside) or (
            check_traffic and meter is not None and now < meter.until
        )
        crowded, remembered = self._room_to_remember(port)
        granted, granted_bytes = (
            (port.granted_requests, port.granted_bytes) if checks.credit else (FOREVER, FOREVER)
        )
        half, quarter = granted / 2, granted / 4
        in_flight, in_bytes = port.in_flight, port.in_bytes
        source, payer, proof, sends = b"", b"", NOT_PROVED, NOBODY
        lacks, only, _, interval, reach, largest_body = proof
        sound, rated, warn_from, stranger = False, False, 0.0, 0
        out: Port | None = None
        run_port: Port | None = None
        room = room_bytes = had = had_bytes = largest = records_in = messages = 0
        run_start = run_end = begun = at
        try:
            while end - at >= HEADER_BYTES:
                size, rtype, flags, hops, tag, to_l, to_d, from_l, from_d, ext, reserved, _ = unpack(data, at)
                is_message = rtype == _MESSAGE
                if not is_message and (rtype & RESPONSE_BIT or rtype < FIRST_ROUTED_TYPE):
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
                from_end = from_at + 1 + from_d
                body_at = from_end + ext
                if (
                    body_at > stop
                    or reserved
                    or not (to_d and from_d and data[to_at] == _AT and data[from_at] == _AT)
                ):
                    raise WireError(f"malformed envelope in a record of {size} bytes")
                start, at = at, stop
                records_in += 1
                # -- addresses, then the destination, then access (RFC 3860 section 3.4.1) --
                sender = names.get(data[to_end:from_end])
                target = targets.get(data[start + ADDRESSES_OFFSET : to_end])
                if sender is None or target is None:
                    both = self._new_addresses(port, data[start:stop])
                    names, targets = self._names, self._targets
                    if both is None:
                        continue
                    sender, target = both
                key, from_domain = sender
                to_domain, route, place = target
                if from_domain is not source:  # what is proved of it holds for all that it sends in this run
                    source = from_domain
                    proof = sources.get(source) or self._unlisted_proof(port, source)
                    strength, only, until, interval, reach, largest_body = proof
                    sound, lacks = until >= now or not check_source, ~strength
                    if is_service or not check_source:
                        lacks, only = 0, None
                    rated, warn_from = check_rate and proof is not NOT_PROVED, reach * WARN_FROM
                    largest_body = largest_body if check_size else FOREVER
                if route is None:
                    if rtype in refused_types or (not is_service and checks.relay):
                        self._refuse_relay(port, data[start:stop])
                        continue
                elif (
                    route.suspended
                    or (rtype not in route.types and rtype not in OF_DOMAINS)
                    or rtype in refused_types
                    or (check_size and stop - body_at > route.max_bytes)
                    or route.level & lacks
                ):
                    self._refuse_by_route(port, data[start:stop], route, rtype in refused_types, now)
                    continue
                if not sound or (only is not None and to_domain not in only):
                    self._refuse_source(port, data[start:stop], now)
                    continue
                if hops > max_hops:
                    hops = max_hops
                if (
                    stop - body_at > largest_body
                    or not hops
                    or (ext and not are_harmless(data, from_end, body_at))
                ):
                    if self._is_amiss(port, data[start:stop], hops, stop - body_at > largest_body):
                        continue
                ident, digest = data[start + _ID_OFFSET : from_end], 0
                stripped: bytes | None = b""
                if check_duplicates:
                    digest = hash(data[body_at:stop]) ^ rtype
                    if ident in memory or in_flight >= remembered or flags & FLAG_RETRY or crowded:
                        is_full = in_flight >= remembered
                        stripped = self._look_back(port, data[start:stop], ident, digest, hops, is_full)
                        if stripped is None:
                            continue
                if not is_message and shed:
                    sheds = self.shed_own if inside else self.shed_rest
                    if sheds(port, data[start:stop], rtype, now):
                        continue
                if not is_message and not inside:
                    refusal = self.presence.judge(data[start:stop], now, key, subscribed=checks.subscribed)
                    if refusal is not None:
                        self.refuse(port, data[start:stop], *refusal)
                        continue
                # -- limits, from the outside inwards; of people, a notification has its own --
                if strict and self.held_back(port, data[start:stop], rtype, now):
                    continue
                if from_domain is not payer:
                    payer, stranger = from_domain, 0 if is_service or from_domain in self.acquainted else 1
                    used.add(payer)
                    sends = (
                        (senders.get(payer) or self.traffic.senders.of(payer)) if check_traffic else NOBODY
                    )
                if check_traffic:
                    sends.left -= 1
                    sends.left_bytes -= size
                    if sends.left < 0 or sends.left_bytes < 0:
                        if self.over_rate(sends, port, data[start:stop], now):
                            continue
                    takes = route.meter if route is not None else None
                    if takes is not None:
                        takes.left -= 1
                        takes.left_bytes -= size
                        if takes.left < 0 or takes.left_bytes < 0:
                            if self.over_rate(takes, port, data[start:stop], now):
                                continue
                warned = 0.0
                part = (
                    WHOLE if is_message or not rated
                    else part_of(data[start:stop]) if rtype in FORMS else rtype != _NOTIFY
                )  # fmt: skip
                if rated and part == WHOLE:
                    arrival = arrivals.get(key)
                    if arrival is None or arrival - now > warn_from:
                        warned = self.rates.admit(key, from_domain, now, interval, reach)
                        if warned > 0:
                            self.refuse_sender(port, data[start:stop], warned, key, now)
                            continue
                    else:
                        arrivals[key] = (arrival if arrival > now else now) + interval
                elif part != WHOLE and part and self.over_part(port, data[start:stop], part, key, now):
                    continue
                if (
                    check_recipient
                    and route is not None
                    and (is_message or (rtype in FORMS and not is_presence(data[start:stop])))
                ):
                    calm = route.calm = route.calm - 1
                    if calm < 0 and (now < route.watched_until or not route.is_calm(now)):
                        cost, ahead = route.inbox[stranger]
                        due = due_of[place]
                        if due - now > ahead:
                            self.refuse_inbox(port, data[start:stop], due - now - ahead, stranger, now)
                            continue
                        due_of[place] = (due if due > now else now) + cost
                share = destinations.get(to_domain, 0)
                if (
                    in_flight >= granted
                    or in_bytes + size > granted_bytes
                    or (share >= quarter and in_flight > half)
                ):
                    self.refuse_by(Limit.CREDIT, port, data[start:stop], from_domain, 1)
                    continue
                # -- the way --
                if route is not None:
                    ways = self.inside if not to_l and rtype in INSIDE_TYPES else route.ports
                elif is_message:
                    ways = self.uplinks or self.ways.get(to_domain, _NONE).get(from_domain, _NO_PORTS)
                elif rtype == STANZA:
                    ways = self.ways.streams.get(to_domain, _NONE).get(from_domain, _NO_PORTS)
                else:
                    lane = self.presence.lane(rtype, data[start:stop])
                    ways = self.uplinks or self.ways_of(to_domain, from_domain, rtype, lane)
                out_number = 0
                if ways:
                    way = ways[0]
                    if len(ways) > 1:
                        way = ways[turn % len(ways)] if rtype != _NOTIFY else self.presence.way(ways, turn)
                    if way is not out or room <= 0 or room_bytes < size or size > largest:
                        if out is not None:
                            self._spend(out, had - room, had_bytes - room_bytes)
                            had, had_bytes = room, room_bytes
                        out, (room, room_bytes, largest) = self._open_way(port, data[start:stop], way, ways)
                        had, had_bytes = room, room_bytes
                        if out is None:
                            continue
                    out_number = out.number
                elif route is not None:
                    self.refuse(port, data[start:stop], Reason.SERVICE_DOWN, 30)
                    continue
                # -- access, last: who is barred sees what he sees who writes to nobody --
                bar: Bar | Literal[False] | None = False
                if gate is not None and (
                    rtype not in OWN_WORDS or not self._is_own_word(port, data[start:stop], rtype)
                ):
                    bar = passes.get(data[start + ADDRESSES_OFFSET : from_end]) if is_message else None
                    if bar is None:
                        bar, passes = self._bar(data[start:stop], rtype, from_end - start, key), self._passes
                    if bar:
                        out_number = 0
                # -- accepted --
                if is_message:
                    messages += 1
                else:
                    counters[BASE_OF_TYPE.get(rtype, OTHER_BASE)] += 1
                    self.presence.accepted(data[start:stop], now, 0 if inside else number)
                new_tag = next_tag()
                entries[new_tag] = (
                    number, tag, size, ident, digest, to_domain, from_domain, rtype, hops, now, out_number,
                    stripped or data[start:stop], 0, now if out_number else 0.0,
                )  # fmt: skip
                in_flight += 1
                in_bytes += size
                destinations[to_domain] = share + 1
                if check_duplicates:
                    memory[ident] = (digest, new_tag)
                if warned:
                    self.warn(new_tag, int(-1 - warned))
                if stripped or not out_number:
                    self._put_aside(new_tag, out if out_number else None, bar, is_retry=bool(stripped))
                    largest = 0  # its link's room is looked up before the next one
                    continue
                room -= 1
                room_bytes -= size
                patch(view, start + FLAGS_OFFSET, flags & _KEEP_FLAGS, hops - 1 if hops else 0, new_tag)
                if out is not run_port or start != run_end:
                    if run_port is not None:
                        self.put(run_port, view[run_start:run_end])
                    run_port, run_start = out, start
                run_end = stop
        finally:
            port.in_flight, port.in_bytes = in_flight, in_bytes
            if out is not None:
                self._spend(out, had - room, had_bytes - room_bytes)
            if run_port is not None:
                self.put(run_port, view[run_start:run_end])
            counters[_RECORDS_IN] += records_in
            counters[_MESSAGES_ACCEPTED] += messages
            if meter is not None and check_traffic:
                meter.read(records_in, at - begun, now)
        return at
