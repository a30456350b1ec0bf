"""Everything that is not the common case: refusals, duplicates, lost links, what waited, time.

The common case stands in `switch.py` and `responses.py`, the tables of both in `tables.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from imxrouter.link.ledger import (
    DIGEST,
    FROM_DOMAIN,
    HOPS,
    IN_PORT,
    IN_TAG,
    KEY,
    OUT_PORT,
    RECORD,
    SINCE,
    SIZE,
    TO_DOMAIN,
    TRIES,
    TYPE,
    Entry,
    moved,
    process_of,
)
from imxrouter.model.limits import Limit
from imxrouter.model.operations import Kind
from imxrouter.model.outcome import SUCCESS, Outcome, failure, indeterminant
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.switch import slots
from imxrouter.switch.ports import Port, Role
from imxrouter.switch.rewrite import (
    LONG_RESPONSE,
    READS,
    as_first,
    as_retry,
    is_plain_success,
    judged_response,
    shortened,
    with_rate_left,
    with_tag,
)
from imxrouter.switch.tables import SwitchTables
from imxrouter.wire.errors import UnknownCritical, WireError
from imxrouter.wire.fields import check_critical
from imxrouter.wire.layout import FLAG_RETRY, FLAGS_HOPS_TAG, FLAGS_OFFSET
from imxrouter.wire.record import (
    Record,
    decode_record,
    encode_record,
    response_to,
)
from imxrouter.wire.registry import KIND_OF_TYPE, ROUTED_FIELDS, RecordType

#: Copies of one request in flight that get its answer; a peer has a first try and a retry.
MAX_JOINED: Final = 8
#: How often a request is sent again after its link was lost (BEY-3: once).
MAX_RETRIES: Final = 1
#: A request refused for one of these was not delivered, and another host of the domain may take it.
ELSEWHERE: Final = frozenset({Reason.SERVICE_DOWN, Reason.SHUTTING_DOWN})
#: Seconds after which it may be worth asking a suspended domain again.
SUSPENDED_S: Final = 60
_MESSAGE: Final = RecordType.MESSAGE.value


class SwitchCore(SwitchTables):
    """What is not the common case: refusals, duplicates, lost links, time."""

    # -- refusing --------------------------------------------------------------------------------------

    def refuse(
        self, port: Port, data: bytes, reason: Reason, retry_after_s: float = 0.0, note: str = ""
    ) -> None:
        """Answer a request without passing it on; counted as accepted and refused.

        Nobody can say of a retry that it failed: its first try may have passed on its own link, or come yet.
        """
        if data[FLAGS_OFFSET] & FLAG_RETRY:
            self.answer_indeterminant(port, data, reason)
            return
        record = decode_record(data)
        entry = self._entry_of(port, record, data)
        port.refused += not port.sources
        self.tally.turned_away(port, entry, slots.REFUSED, reason)
        outcome = failure(reason, retry_after_s=-int(-retry_after_s // 1), note=note)
        if self.on_settled is not None:
            self.on_settled(entry, outcome)
        self._answer(port, encode_record(response_to(record, outcome.disclosed())), b"")

    def refuse_by(self, limit: Limit, port: Port, data: bytes, who: bytes, wait_s: float) -> None:
        """Answer a request that is over a limit, and count it by the limit's name."""
        self.book.add(limit, who)
        self.refuse(port, data, limit.reason, wait_s, limit.word)

    @staticmethod
    def _entry_of(port: Port, record: Record, data: bytes) -> Entry:
        envelope = record.envelope
        key = record.message_id + envelope.to_local + b"@" + envelope.to_domain
        key += envelope.from_local + b"@" + envelope.from_domain
        return (
            port.number, record.route_tag, len(data), key, 0, envelope.to_domain, envelope.from_domain,
            record.type, record.hops_left, 0.0, 0, b"", 0, 0.0,
        )  # fmt: skip

    def _source_refusal(
        self, port: Port, data: bytes, from_domain: bytes, to_domain: bytes, now: float
    ) -> Reason:
        """Which word rule 1 has for a source that may not come over this link.

        A message of ours that our own routers hand round meets its own source here: that is a loop. Strangers
        are not told what is in flight.
        """
        if port.role is not Role.PEER and self.checks.loop and self._comes_back(port, data):
            return Reason.LOOP
        proof = port.sources.get(from_domain)
        if proof is not None and proof[2] >= now:
            route = self.routes.get(to_domain)
            if proof[1] is not None and to_domain not in proof[1]:
                return Reason.RELAY_DENIED
            return (
                Reason.WEAKER_THAN_POLICY
                if route is not None and route.level & ~proof[0]
                else Reason.NOT_PROVED
            )
        ours = self.routes.get(from_domain)
        if ours is not None and port.role is not Role.SERVICE:
            return Reason.SERVED_HERE
        if ours is not None and ours.suspended:
            return Reason.SUSPENDED
        return Reason.NOT_PROVED

    def _comes_back(self, port: Port, data: bytes) -> bool:
        """Whether the request is in flight, with more hops left (specification section 8.3)."""
        seen = self._entry_of(port, decode_record(data), data)
        known = self.memory.seen.get(seen[KEY], (0, b""))[1]
        first = self.ledger.entries.get(known) if isinstance(known, int) else None
        return first is not None and seen[HOPS] < first[HOPS]

    def _judge_fields(self, data: bytes) -> Reason | None:
        """A critical field that is not known is refused by name; raises `WireError` on a broken one."""
        try:
            check_critical(decode_record(data).fields, ROUTED_FIELDS)
        except UnknownCritical:
            return Reason.UNKNOWN_CRITICAL
        return None

    # -- duplicates, loops, retries --------------------------------------------------------------------

    def duplicate(self, port: Port, data: bytes, key: bytes, digest: int, hops: int, tag: int) -> None:
        """A request whose key is known: join it, repeat its answer, or say what is wrong."""
        known_digest, known = self.memory.seen[key]
        kind = KIND_OF_TYPE.get(int.from_bytes(data[4:6], "big"), Kind.OTHER)
        entry = self.ledger.entries.get(known) if isinstance(known, int) else None
        if entry is not None and self.checks.loop and hops < entry[HOPS]:
            first = self.ports.get(entry[IN_PORT])
            if first is None or first.role is not port.role:
                self.refuse(port, data, Reason.LOOP)
                return
        if digest != known_digest:
            self.refuse(port, data, Reason.ID_REUSED)
            return
        self.counters[kind * slots.KIND_STRIDE + slots.DUPLICATE] += 1
        if isinstance(known, bytes):
            self._answer(port, with_tag(known, tag), key)
        elif entry is not None:
            joined = self._joined.setdefault(known, [])
            self._odd.add(known)
            if len(joined) < MAX_JOINED:
                joined.append((port.number, tag))
            else:
                self.refuse_by(Limit.COPIES, port, data, entry[FROM_DOMAIN], 5)

    def doubt(self, tag: int) -> None:
        """The request came as a retry: its first try may still come, so its answer is kept for the window."""
        self._joined.setdefault(tag, [])
        self._odd.add(tag)

    def answer_indeterminant(self, port: Port, data: bytes, reason: Reason) -> None:
        """Answer a request with `indeterminant`, nothing passed on."""
        record = decode_record(data)
        entry = self._entry_of(port, record, data)
        self.tally.turned_away(port, entry, slots.INDETERMINANT, reason)
        outcome = indeterminant(reason)
        if self.on_settled is not None:
            self.on_settled(entry, outcome)
        self._answer(port, encode_record(response_to(record, outcome)), b"")

    # -- settling --------------------------------------------------------------------------------------

    def complete(self, tag: int, outcome: Outcome, now: float) -> bool:
        """Settle a request in flight with an outcome of our own; False where it is settled already."""
        entry = self.ledger.entries.pop(tag, None)
        if entry is None:
            return False
        request = decode_record(entry[RECORD])
        if entry[TRIES]:
            request = replace(request, flags=request.flags & ~FLAG_RETRY)
        if outcome.decided_role == "peer" and not outcome.decided_by:
            outcome = replace(outcome, decided_by=entry[TO_DOMAIN].decode("ascii"))
        self.tally.failed(entry, outcome.reason)
        response = encode_record(response_to(request, self._told(entry, outcome)))
        self._settle(tag, entry, outcome, response, now)
        return True

    def _told(self, entry: Entry, outcome: Outcome) -> Outcome:
        """What a sender is told; of a refusal for the recipient's sake, as if his service had refused it."""
        told = outcome.disclosed()
        if told.reason is not Reason.NOT_DELIVERED or told.decided_by:
            return told
        ours = entry[TO_DOMAIN] if entry[TO_DOMAIN] in self.routes else entry[FROM_DOMAIN]
        return replace(told, decided_by=ours.decode("ascii"))

    def _settle(self, tag: int, entry: Entry, outcome: Outcome, response: bytes, now: float) -> None:
        """Count, remember and answer; the entry is out of the ledger already.

        Where more than one copy of the request may be under way, its answer is kept for the window even when
        it is acknowledged: a copy that is late on another link must not look new (section 8.2).
        """
        self.tally.settled(entry, outcome.status, outcome.reason)
        if self.on_settled is not None:
            self.on_settled(entry, outcome)
        if entry[TYPE] != _MESSAGE:
            self.presence.settled(entry, outcome, response, now)
        self._release_credit(entry)
        joined = self._joined.pop(tag, None)
        self._asked_elsewhere.discard(tag)
        left = self.warned.pop(tag, None)
        self._odd.discard(tag)
        if left is not None and outcome.ok:
            response = with_rate_left(response, left)
        waiting = [(entry[IN_PORT], entry[IN_TAG]), *(joined or ())]
        if self.checks.duplicates:
            self._remember(entry, response)
        kept = False
        for number, in_tag in waiting:
            port = self.ports.get(number)
            single = port is not None and joined is None
            port = port or self._another_port_of(entry[FROM_DOMAIN], entry[TO_DOMAIN])
            if port is None:
                continue
            self._answer(port, with_tag(response, in_tag), entry[KEY] if single else b"")
            kept = kept or (single and port.acknowledges)
        if not kept:
            self.memory.keep_for_window(entry[KEY], now)

    def _remember(self, entry: Entry, response: bytes) -> None:
        """Keep an answer for copies of its request; a long one by its outcome, that of a read not at all."""
        if len(response) <= LONG_RESPONSE:
            self.memory.seen[entry[KEY]] = (entry[DIGEST], response)
        elif entry[TYPE] in READS:
            self.memory.forget(entry[KEY])
        else:
            self.memory.seen[entry[KEY]] = (entry[DIGEST], shortened(response))

    def _release_credit(self, entry: Entry) -> None:
        out_port = self.ports.get(entry[OUT_PORT])
        if out_port is not None:
            out_port.sent -= 1
            out_port.sent_bytes -= entry[SIZE]
        in_port = self.ports.get(entry[IN_PORT])
        if in_port is None:
            return
        in_port.in_flight -= 1
        in_port.in_bytes -= entry[SIZE]
        left = in_port.destinations.get(entry[TO_DOMAIN], 1) - 1
        if left > 0:
            in_port.destinations[entry[TO_DOMAIN]] = left
        else:
            in_port.destinations.pop(entry[TO_DOMAIN], None)

    def _another_port_of(self, domain: bytes, answering: bytes) -> Port | None:
        """A link over which that domain may get an answer whose own link is gone (IMX-21).

        Towards a peer only one on which we speak for the domain that answers: elsewhere it would be dropped.
        """
        route = self.routes.get(domain)
        if route is not None:
            return route.ports[0] if route.ports else None
        return next((port for port in self.ways.get(domain, {}).get(answering, ()) if port.usable), None)

    def settle_response(self, port: Port, data: bytes, tag: int, entry: Entry, now: float) -> None:
        """A response that is not the plain success: judge what it says before it goes back."""
        judged, response = judged_response(port, data, entry)
        if judged.reason in ELSEWHERE and self._ask_elsewhere(port, tag, entry, now):
            return
        if self.on_answered is not None:
            self.on_answered(port, entry, judged)
        if judged.status is not Status.SUCCESS:
            self.tally.failed(entry, judged.reason)
        self.tally.answered(entry, judged.status, now)
        del self.ledger.entries[tag]
        self._settle(tag, entry, judged, response, now)

    def _ask_elsewhere(self, port: Port, tag: int, entry: Entry, now: float) -> bool:
        """One host of the peer did not take it: another one may, and is asked once (specification 8.4).

        Nothing is in doubt, for what is answered so was not delivered; a retry's first try may have been.
        """
        if port.role is not Role.PEER or port.carries_stanzas or entry[TRIES] or tag in self._asked_elsewhere:
            return False
        for other in self.ways.get(entry[TO_DOMAIN], {}).get(entry[FROM_DOMAIN], ()):
            is_another_host = other is not port and (other.epoch is None or other.epoch != port.epoch)
            if is_another_host and self.takes(other, entry[SIZE]):
                break
        else:
            return False
        asked = self.ports.get(entry[OUT_PORT])
        if asked is not None:
            asked.sent -= 1
            asked.sent_bytes -= entry[SIZE]
        self._asked_elsewhere.add(tag)
        self.doubt(tag)
        self.ledger.entries[tag] = moved(entry, other.number, sent=now)
        self.entrust(tag, other)
        self.tally.apart += 1
        self.counters[slots.ELSEWHERE] += 1
        return True

    # -- sending what waited ---------------------------------------------------------------------------

    def forward(self, tag: int, port: Port, now: float) -> bool:
        """Send a held request over a link; False where the link takes no more or the request is settled."""
        entry = self.ledger.entries.get(tag)
        if entry is None or entry[OUT_PORT]:
            return False
        if not self.takes(port, entry[SIZE]):
            return False
        self.ledger.entries[tag] = moved(entry, port.number, sent=now)
        self.entrust(tag, port)
        self.tally.apart += 1
        if not entry[TRIES]:
            self.tally.ours(1, now - entry[SINCE])
        return True

    def entrust(self, tag: int, port: Port) -> None:
        """Write the record that a ledger entry holds to the link that the entry names."""
        entry = self.ledger.entries[tag]
        record = bytearray(entry[RECORD])
        flags = record[FLAGS_OFFSET]
        FLAGS_HOPS_TAG.pack_into(record, FLAGS_OFFSET, flags, entry[HOPS] - 1, tag)
        self.put(port, record)
        self.counters[slots.RECORDS_OUT] += 1
        port.sent += 1
        port.sent_bytes += entry[SIZE]

    # -- links come and go -----------------------------------------------------------------------------

    def add_port(self, port: Port) -> None:
        """A link is there."""
        self.ports[port.number] = port

    def remove_port(self, port: Port, now: float, why: Reason = Reason.LINK_LOST, note: str = "") -> None:
        """A link is gone: what waits for an answer over it is retried once or becomes indeterminant.

        Args:
            port: its end here.
            now: monotonic seconds.
            why: what the requests are answered that are not retried.
            note: the same, for operators.
        """
        self.ports.pop(port.number, None)
        port.closed = True
        port.usable = False
        for key in port.unacked:
            if key:
                self.memory.keep_for_window(key, now)
        port.unacked.clear()
        self.stop_using(port)
        for tag in self.ledger.sent_to(port.number):
            self._lost(tag, port, now, indeterminant(why, role="peer", note=note))

    def stop_using(self, port: Port) -> None:
        """No new request goes over the link; what is in flight there may still be answered."""
        port.usable = False
        if port.role is Role.SERVICE:
            for domain in port.sources:
                route = self.routes.get(domain)
                if route is not None and port in route.ports:
                    route.ports.remove(port)
        if port in self.uplinks:
            self.uplinks.remove(port)
        self.ways.end_all(port)

    def _lost(self, tag: int, port: Port, now: float, outcome: Outcome) -> None:
        entry = self.ledger.entries[tag]
        if port.epoch is None or entry[TRIES] >= MAX_RETRIES:
            self.complete(tag, outcome, now)
            return
        try:
            again = as_retry(entry[RECORD], port.epoch)
        except WireError:  # no room for one more field: it cannot be sent again
            self.complete(tag, outcome, now)
            return
        self.counters[slots.RETRIES] += 1
        self.ledger.entries[tag] = moved(entry, 0, again, entry[TRIES] + 1)
        self.held.append(tag)

    # -- time ------------------------------------------------------------------------------------------

    def acknowledge(self, port: Port, count: int) -> bool:
        """Forget what the peer says it has read; False where it acknowledges what was never sent."""
        if count < port.acked or count - port.acked > len(port.unacked):
            return False
        forget = self.memory.forget
        unacked = port.unacked
        for _ in range(count - port.acked):
            key = unacked.popleft()
            if key:
                forget(key)
        port.acked = count
        return True

    def acknowledge_all(self, port: Port) -> None:
        """Forget all that was answered: who got it has read it."""
        unacked = port.unacked
        port.acked += len(unacked)
        forget = self.memory.forget
        for key in unacked:
            if key:
                forget(key)
        unacked.clear()

    def sweep(self, now: float, answer_timeout_s: float) -> None:
        """Once a second: late requests become indeterminant, the duplicate window moves on."""
        for tag in self.ledger.older_than(now - answer_timeout_s):
            entry = self.ledger.entries[tag]
            if entry[OUT_PORT] or entry[TRIES]:
                self.complete(tag, indeterminant(Reason.ANSWER_TIMEOUT, role="peer"), now)
            else:
                self.complete(tag, failure(Reason.CONNECT_TIMEOUT), now)
        self.memory.expire(now)
        self.tally.forget_reads(now - answer_timeout_s - 1.0)

    # -- what happens seldom ---------------------------------------------------------------------------

    def _first_of_retry(self, port: Port, data: bytes) -> bytes | None:
        """A retry whose first try never came here: what to send on, or None where nobody can know that."""
        stripped = as_first(data, self.memory.epoch)
        if stripped is None:
            self.answer_indeterminant(port, data, Reason.EPOCH_UNKNOWN)
        return stripped

    def _room(self, out: Port) -> tuple[int, int, int]:
        """Requests and bytes that may still go over a link before answers come, and its largest record."""
        if out.shedding or not out.usable:
            return 0, 0, 0
        if not self.checks.credit:
            return 1 << 60, 1 << 60, out.largest
        return out.credit_requests - out.sent, out.credit_bytes - out.sent_bytes, out.largest

    def _unmatched(self, port: Port, data: bytes, tag: int) -> None:
        """A response no entry waits for: another process's, or late, second or invented."""
        if process_of(tag) != self.ledger.process and port.speaks:
            self.counters[slots.FOREIGN_RESPONSES] += 1
            self.foreign.append((process_of(tag), data, frozenset(port.speaks)))
        else:
            self.counters[slots.STRAY_RESPONSES] += 1

    def _odd_response(self, port: Port, data: bytes, tag: int, entry: Entry, now: float) -> None:
        try:
            if tag in self.warned and tag not in self._joined and is_plain_success(data):
                self.tally.answered(entry, Status.SUCCESS, now)
                del self.ledger.entries[tag]
                self._settle(tag, entry, SUCCESS, data, now)
                return
            self.settle_response(port, data, tag, entry, now)
        except WireError:
            self.counters[slots.STRAY_RESPONSES] += 1

    def _homeless(self, entry: Entry, response: bytes, now: float) -> None:
        """The asker's link is gone: its other links may take the answer, the memory keeps it for a retry.

        Also when it is acknowledged there, for the retry may be under way on a third link.
        """
        other = self._another_port_of(entry[6], entry[5])
        if other is not None:
            self._answer(other, with_tag(response, entry[1]), b"")
        self.memory.keep_for_window(entry[3], now)
