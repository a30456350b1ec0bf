"""The hot path: plain loops over one read, fixed offsets, slices, no object per record (architecture 7).

A read is a row of records. `receive` cuts off what is not whole yet and hands each run to the loop that
knows it. The loops stay long on purpose: a call per record costs more than most checks (decisions/0002).
"""

from __future__ import annotations

from typing import Literal

from imxrouter.model.limits import Limit
from imxrouter.model.operations import Kind
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.gate import Bar
from imxrouter.routing.limits import WARN_FROM
from imxrouter.routing.overload import Level
from imxrouter.routing.traffic import NOBODY
from imxrouter.switch import slots
from imxrouter.switch.core import SUSPENDED_S
from imxrouter.switch.flows import Key
from imxrouter.switch.forms import is_presence, is_rated
from imxrouter.switch.ports import FOREVER, MAX_UNACKNOWLEDGED, Port, Proof, Role
from imxrouter.switch.presence import INSIDE_TYPES, OF_DOMAINS
from imxrouter.switch.reads import SwitchReads
from imxrouter.switch.rewrite import LONG_RESPONSE
from imxrouter.switch.tables import OWN_WORDS
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
    OUTCOME_BYTES,
    RESPONSE_BIT,
)
from imxrouter.wire.registry import FORMS, INTERNAL_TYPES, KIND_OF_TYPE, RecordType

_KEEP_FLAGS = 0xFF & ~FLAG_RETRY
_PROCESS = Role.PROCESS
#: Links that lead to a service of ours: its own, and those to a process that has it.
_OURS = frozenset({Role.SERVICE, Role.PROCESS})
_MESSAGE = RecordType.MESSAGE.value
_NOTIFY = RecordType.NOTIFY.value
_MESSAGE_RESPONSE = RecordType.MESSAGE_RESPONSE.value
_ID_OFFSET = 24
_AT = 0x40
#: First counter slot of a type's kind; `slots` has the others behind it.
BASE_OF_TYPE = {rtype: int(kind) * slots.KIND_STRIDE for rtype, kind in KIND_OF_TYPE.items()}
OTHER_BASE = int(Kind.OTHER) * slots.KIND_STRIDE
_MESSAGES_ACCEPTED = BASE_OF_TYPE[_MESSAGE] + slots.ACCEPTED
_MESSAGES_DELIVERED = BASE_OF_TYPE[_MESSAGE] + slots.DELIVERED
_NO_PORTS: list[Port] = []
_NO_TYPES: frozenset[int] = frozenset()
_NONE: dict[bytes, list[Port]] = {}


class Switch(SwitchReads):
    """Takes reads, fills the ports' `out`."""

    def _requests(self, port: Port, data: bytes, view: bytearray, at: int, now: float) -> int:
        """Take the run of requests that starts at `at`; returns where it ends (whole records only).

        Figures of the in-port and of the out-port of the moment are kept in local variables and written back
        at the end, whatever ends the run.
        """
        unpack, patch = HEADER.unpack_from, FLAGS_HOPS_TAG.pack_into
        entries, next_tag, memory = self.ledger.entries, self.ledger.next_tag, self.memory.seen
        memory_limit, names, targets = self.memory.limit, self._names, self._targets
        crowded = self.memory.is_crowded()
        unacked_limit = min(MAX_UNACKNOWLEDGED, self.memory.share) if crowded else MAX_UNACKNOWLEDGED
        remembered = port.in_flight + min(memory_limit - len(memory), unacked_limit - len(port.unacked))
        arrivals, counters, checks = self.rates.arrivals, self.counters, self.checks
        check_source, check_duplicates, check_size = checks.source, checks.duplicates, checks.size
        is_process = port.role is _PROCESS
        gate, passes = self.gate if checks.access and not is_process else None, self._passes
        sources, destinations, limit, end = port.sources, port.destinations, port.max_record, len(data)
        is_service, is_uplink = port.role is Role.SERVICE, port.role is Role.UPLINK
        turn, number, max_hops = self._turn, port.number, self.max_hops
        inside, meter = port in self.inside, port.meter
        refused_types = INTERNAL_TYPES if checks.internal and not port.internal else _NO_TYPES
        exempt = inside or is_process
        senders, due_of = self.traffic.senders.meters, self.inboxes.due
        check_traffic = checks.traffic and not exempt
        check_recipient = checks.recipient and not exempt
        check_rate = checks.rate and not exempt
        shed = self.shed if checks.shedding and not exempt else 0
        strict = shed >= Level.QUARTER or (check_traffic and meter is not None and now < meter.until)
        source, sound, lacks = b"", False, 0
        proof: Proof | None = None
        only: frozenset[bytes] | None = None
        rated, interval, reach, warn_from, largest_body = False, 0.0, 0.0, 0.0, FOREVER
        payer, stranger, sends, left, left_bytes = b"", 0, NOBODY, 0, 0
        granted, granted_bytes = (
            (port.granted_requests, port.granted_bytes) if checks.credit else (FOREVER, FOREVER)
        )
        half, quarter, used = granted / 2, granted / 4, port.used
        in_flight, in_bytes = port.in_flight, port.in_bytes
        out: Port | None = None
        room = room_bytes = had = had_bytes = largest = records_in = messages = forwarded = 0
        run_port: Port | None = None
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
                    or not to_d
                    or not from_d
                    or data[to_at] != _AT
                    or data[from_at] != _AT
                ):
                    raise WireError(f"malformed envelope in a record of {size} bytes")
                start, at = at, stop
                records_in += 1
                # -- addresses, then the destination, then access (RFC 3860 section 3.4.1) --
                sender = names.get(data[to_end:from_end])
                target = targets.get(data[start + ADDRESSES_OFFSET : to_end])
                if sender is None or target is None:
                    sender = sender or self._check_sender(data[to_end:from_end])
                    target = target or self._check_target(data[start + ADDRESSES_OFFSET : to_end])
                    names, targets = self._names, self._targets
                    if sender is None or target is None:
                        if checks.addresses:
                            self.refuse(port, data[start:stop], Reason.BAD_ADDRESS)
                            continue
                        sender = sender or (b"", data[from_at + 1 : from_end])
                        to_domain = data[to_at + 1 : to_end]
                        target = target or (to_domain, self.routes.get(to_domain), 0)
                key, from_domain = sender
                to_domain, route, place = target
                if from_domain is not source:  # what is proved of it holds for all that it sends in this run
                    source = from_domain
                    proof = sources.get(source)
                    if is_uplink and proof is None and source not in self.routes:
                        proof = sources.get(b"*")
                    sound, lacks, only = not check_source, 0, None
                    rated, largest_body = check_rate and proof is not None, FOREVER
                    if proof is not None:
                        sound = sound or proof[2] >= now
                        if check_source and not is_service:
                            lacks, only = ~proof[0], proof[1]
                        interval, reach, warn_from = proof[3], proof[4], proof[4] * WARN_FROM
                        largest_body = proof[5] if check_size else FOREVER
                if route is None:
                    if not is_service and checks.relay:
                        self.refuse(port, data[start:stop], Reason.RELAY_DENIED)
                        continue
                    if rtype in refused_types:
                        self.refuse(port, data[start:stop], Reason.TYPE_NOT_ENABLED)
                        continue
                elif (
                    route.suspended
                    or (rtype not in route.types and rtype not in OF_DOMAINS)
                    or rtype in refused_types
                    or (check_size and stop - body_at > route.max_bytes)
                ):
                    self._refuse_by_route(port, data[start:stop], route, rtype in refused_types)
                    continue
                if (
                    not sound
                    or (only is not None and to_domain not in only)
                    or (lacks and route is not None and route.level & lacks)
                ):
                    reason = self._source_refusal(port, data[start:stop], from_domain, to_domain, now)
                    self.refuse(port, data[start:stop], reason, SUSPENDED_S)
                    continue
                if stop - body_at > largest_body:
                    self.refuse(port, data[start:stop], Reason.TOO_LARGE)
                    continue
                if not 0 < hops <= max_hops:
                    if not hops and checks.hops:
                        self.refuse(port, data[start:stop], Reason.TOO_MANY_HOPS)
                        continue
                    hops = min(hops, max_hops)
                if ext and not are_harmless(data, from_end, body_at):
                    judged = self._judge_fields(data[start:stop])
                    if judged is not None:
                        self.refuse(port, data[start:stop], judged)
                        continue
                digest, stripped = 0, None
                ident = data[start + _ID_OFFSET : from_end]
                if check_duplicates:
                    digest = hash(data[body_at:stop]) ^ rtype
                    if ident in memory:
                        self.duplicate(port, data[start:stop], ident, digest, hops, tag)
                        continue
                    if in_flight >= remembered or (
                        crowded and self.memory.kept_of(from_domain) >= self.memory.share
                    ):
                        self.refuse_by(Limit.DUPLICATES, port, data[start:stop], from_domain, 5)
                        continue
                    if flags & FLAG_RETRY:
                        stripped = self._first_of_retry(port, data[start:stop])
                        if stripped is None:
                            continue
                if not is_message and not inside:
                    if shed and self.shed_rest(port, data[start:stop], rtype, now):
                        continue
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
                    if check_traffic:
                        sends.left, sends.left_bytes = left, left_bytes
                        sends = senders.get(payer) or self.traffic.senders.of(payer)
                        left, left_bytes = sends.left, sends.left_bytes
                if check_traffic:
                    left -= 1
                    left_bytes -= size
                    if left < 0 or left_bytes < 0:
                        sends.left, sends.left_bytes = left, left_bytes
                        refused = self.over_rate(sends, port, data[start:stop], now)
                        left, left_bytes = sends.left, sends.left_bytes
                        if refused:
                            continue
                    takes = route.meter if route is not None else None
                    if takes is not None:
                        takes.left -= 1
                        takes.left_bytes -= size
                        if takes.left < 0 or takes.left_bytes < 0:
                            if self.over_rate(takes, port, data[start:stop], now):
                                continue
                warned = 0.0
                if rated and (
                    is_message or (is_rated(data[start:stop]) if rtype in FORMS else rtype != _NOTIFY)
                ):
                    arrival = arrivals.get(key)
                    if arrival is None or arrival - now > warn_from:
                        warned = self.rates.admit(key, from_domain, now, interval, reach)
                        if warned > 0:
                            self.refuse_sender(port, data[start:stop], warned, key, now)
                            continue
                    else:
                        arrivals[key] = (arrival if arrival > now else now) + interval
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
                if ways:
                    chosen = ways[0]
                    if len(ways) > 1:
                        chosen = ways[turn % len(ways)] if rtype != _NOTIFY else self.presence.way(ways, turn)
                    if chosen is not out:
                        if is_process and chosen.role is _PROCESS:  # its service has just left us too
                            self.refuse(port, data[start:stop], Reason.SERVICE_DOWN, 30)
                            continue
                        if out is not None:
                            out.sent += had - room
                            out.sent_bytes += had_bytes - room_bytes
                            forwarded += had - room
                        out = chosen
                        room, room_bytes, largest = self._room(out)
                        had, had_bytes = room, room_bytes
                    if room <= 0 or room_bytes < size or size > largest:
                        if out is not None:
                            out.sent += had - room
                            out.sent_bytes += had_bytes - room_bytes
                            forwarded += had - room
                        out = self.way(
                            to_domain, from_domain, size, rtype, self.presence.lane(rtype, data[start:stop])
                        )
                        if out is None:
                            self.refuse_no_way(port, data[start:stop], ways, size)
                            continue
                        room, room_bytes, largest = self._room(out)
                        had, had_bytes = room, room_bytes
                    out_number = out.number
                elif route is not None:
                    self.refuse(port, data[start:stop], Reason.SERVICE_DOWN, 30)
                    continue
                else:
                    out_number = 0
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
                if warned:
                    self.warn(new_tag, int(-1 - warned))
                if check_duplicates:
                    memory[ident] = (digest, new_tag)
                in_flight += 1
                in_bytes += size
                destinations[to_domain] = share + 1
                if not out_number:
                    if bar:
                        self.barred.append((new_tag, bar))
                    else:
                        self.held.append(new_tag)
                    if stripped is not None:
                        self.doubt(new_tag)
                    continue
                if stripped is not None and out is not None:
                    self.doubt(new_tag)
                    self.entrust(new_tag, out)
                    room, room_bytes = room - 1, room_bytes - size
                    had, had_bytes = had - 1, had_bytes - size
                    continue
                room -= 1
                room_bytes -= size
                patch(view, start + FLAGS_OFFSET, flags & _KEEP_FLAGS, hops - 1 if hops else 0, new_tag)
                if out is run_port and start == run_end:
                    run_end = stop
                    continue
                if run_port is not None:
                    self.put(run_port, view[run_start:run_end])
                run_port, run_start, run_end = out, start, stop
        finally:
            port.in_flight, port.in_bytes = in_flight, in_bytes
            sends.left, sends.left_bytes = left, left_bytes
            if meter is not None and check_traffic:
                meter.left -= records_in
                meter.left_bytes -= at - begun
                if meter.left < 0 or meter.left_bytes < 0 or meter.watched:
                    meter.settle(now)
            if out is not None:
                out.sent += had - room
                out.sent_bytes += had_bytes - room_bytes
                forwarded += had - room
            if run_port is not None:
                self.put(run_port, view[run_start:run_end])
            counters[slots.RECORDS_IN] += records_in
            counters[slots.RECORDS_OUT] += forwarded
            counters[_MESSAGES_ACCEPTED] += messages
        return at

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
