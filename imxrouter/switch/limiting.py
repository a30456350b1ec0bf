"""Refusals by limits: counted by name, and cheap, for they come in numbers when they come at all."""

from __future__ import annotations

from typing import Final

from imxrouter.link.ledger import TO_DOMAIN, Entry
from imxrouter.model.limits import Limit
from imxrouter.model.operations import MAX_HOPS, Kind, SubscriptionState
from imxrouter.model.outcome import DISCLOSED_RETRY_STEP_S
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason, Status
from imxrouter.routing.overload import Level
from imxrouter.routing.traffic import Meter, Over, Payers
from imxrouter.switch import slots
from imxrouter.switch.core import SwitchCore
from imxrouter.switch.forms import HANDED_OUT, is_presence, is_state
from imxrouter.switch.ports import Port
from imxrouter.wire.layout import (
    ADDRESSES_OFFSET,
    FLAG_RESPONSE_WANTED,
    FLAG_RETRY,
    FLAGS_OFFSET,
    HEADER,
    HEADER_BYTES,
    LENGTH_BYTES,
    OUTCOME,
    OUTCOME_BYTES,
    RESPONSE_BIT,
)
from imxrouter.wire.record import decode_record
from imxrouter.wire.registry import FORMS, FieldType, RecordType

#: Refusals of links by limits that are traced and logged in a second; the rest is counted only. Telling one
#: costs more than ten times what refusing it does.
TOLD_A_SECOND: Final = 50
_MESSAGE: Final = RecordType.MESSAGE.value
_SUBSCRIBE: Final = RecordType.SUBSCRIBE.value
_NOTIFY: Final = RecordType.NOTIFY.value
#: When what was shed may be sent again, seconds: the first of it the sooner, for states grow old.
_SHED_WAIT_S: Final = {
    Limit.SHED_PRESENCE: 5.0, Limit.SHED_SUBSCRIPTIONS: 30.0, Limit.SHED_MESSAGES: 10.0,
}  # fmt: skip


class SwitchLimits(SwitchCore):
    """What the loop of requests asks where something is over a limit."""

    def refuse_over(
        self, port: Port, data: bytes, limit: Limit, wait_s: float, who: bytes, now: float
    ) -> None:
        """Answer a request that is over a limit.

        Args:
            port: it came by.
            data: the whole record.
            limit: which; named to operators only.
            wait_s: until a try may help.
            who: is over it, for operators.
            now: monotonic seconds.
        """
        if port.meter is not None and limit is not Limit.LINK_RATE:
            port.meter.refused += 1
            port.meter.watched = True
        second = int(now)
        if second != self._told_second:
            self._told_second, self._told_left = second, TOLD_A_SECOND
        told = port.meter is None or self._told_left > 0
        if told or data[FLAGS_OFFSET] & FLAG_RETRY or data[20] or data[21]:
            self._told_left -= 1
            self.book.add(limit, who)
            self.refuse(port, data, limit.reason, wait_s, limit.word)
            return
        self.book.add(limit, who)
        to_end = ADDRESSES_OFFSET + data[16] + 1 + data[17]
        from_end = to_end + data[18] + 1 + data[19]
        to_address, from_address = data[ADDRESSES_OFFSET:to_end], data[to_end:from_end]
        _, kind, flags, _, tag, to_l, to_d, from_l, from_d, _, _, ident = HEADER.unpack_from(data)
        entry: Entry = (
            port.number, tag, len(data), b"", 0, to_address[to_l + 1 :], from_address[from_l + 1 :], kind, 0,
            0.0, 0, b"", 0, 0.0,
        )  # fmt: skip
        self.tally.turned_away(port, entry, slots.REFUSED, limit.reason)
        reason = REASON_BY_WORD[limit.reason.disclosed]
        wait = -int(-wait_s // DISCLOSED_RETRY_STEP_S) * DISCLOSED_RETRY_STEP_S
        size = HEADER_BYTES + from_end - ADDRESSES_OFFSET + OUTCOME_BYTES
        head = HEADER.pack(
            size - LENGTH_BYTES, kind | RESPONSE_BIT, flags & ~FLAG_RESPONSE_WANTED, MAX_HOPS, tag,
            from_l, from_d, to_l, to_d, 0, 0, ident,
        )  # fmt: skip
        body = OUTCOME.pack(Status.FAILURE, 0, reason.code, wait)
        self._answer(port, head + from_address + to_address + body, b"")

    def over_rate(self, meter: Meter, port: Port, data: bytes, now: float) -> bool:
        """A lease does not do for a request that was taken off it: whether that refuses the request."""
        over = Payers.renew(meter, len(data), now)
        if over is not None:
            self.refuse_over(port, data, *over, now)
        return over is not None

    def over(
        self, port: Port, key: bytes, domain: bytes, size: int, now: float, *, rated: bool
    ) -> Over | None:
        """Take what the router itself will ask in a user's name off his rate and that of his domain.

        Args:
            port: it came by.
            key: `Address.key` of the user.
            domain: his, in wire form.
            size: bytes of what came.
            now: monotonic seconds.
            rated: whether it costs the user something; his domain it always does.

        Returns:
            None, or what is over; then it is counted as refused.
        """
        over: Over | None = None
        if self.checks.traffic:
            pays = self.traffic.senders.of(domain)
            pays.left -= 1
            pays.left_bytes -= size
            if pays.left < 0 or pays.left_bytes < 0:
                over = Payers.renew(pays, size, now)
        proof = port.sources.get(domain)
        if over is None and rated and self.checks.rate and proof is not None:
            wait = self.rates.admit(key, domain, now, proof[3], proof[4])
            if wait > 0:
                limit, who = self._of_sender(key, domain)
                over = limit, wait, who
        if over is None:
            return None
        if port.meter is not None:
            port.meter.refused += 1
            port.meter.watched = True
        self.book.add(over[0], over[2])
        self.counters[slots.refusal_slot(over[0].reason, Kind.SUBSCRIBE)] += 1
        return over

    def over_part(self, port: Port, data: bytes, part: float, key: bytes, now: float) -> bool:
        """Take less than a message costs off a rate; whether that refuses the request.

        Args:
            port: it came by, which has a proof of the sender's domain.
            data: the whole record.
            part: of what a message costs (`forms.part_of`).
            key: `Address.key` of the sender.
            now: monotonic seconds.
        """
        domain = self._from_domain(data)
        proof = port.sources.get(domain) or port.sources[b"*"]
        payer = b"@" + domain if part == HANDED_OUT else key
        wait = self.rates.admit(payer, domain, now, proof[3], proof[4], part)
        if wait > 0:
            self.refuse_sender(port, data, wait, payer, now)
        return wait > 0

    def held_back(self, port: Port, data: bytes, kind: int, now: float) -> bool:
        """Whether a request is refused because of its link's rate, or sheds with the messages."""
        meter = port.meter
        if meter is not None and now < meter.until:
            self.refuse_over(port, data, Limit.LINK_RATE, meter.until - now, meter.who, now)
            return True
        if self.shed < Level.QUARTER or port in self.inside:
            return False
        if kind != _MESSAGE and (kind not in FORMS or is_presence(data)):
            return False
        self._shed_turn = (self._shed_turn + 1) & 3
        if self._shed_turn > self.shed - Level.QUARTER:
            return False
        self._shed(port, data, Limit.SHED_MESSAGES, now)
        return True

    def shed_rest(self, port: Port, data: bytes, kind: int, now: float) -> bool:
        """Whether a request that is no message is refused for the sake of what matters more.

        A foreign form that is no presence is shed as messages are. The end of a subscription passes, by
        whichever side, and so does a renewal: all end work.
        """
        if kind in FORMS and not is_presence(data):
            return False
        if kind == _SUBSCRIBE:
            begins, duration = self.presence.begins(data)
            if not begins or (duration and self.shed < Level.SUBSCRIPTIONS):
                return False
            limit = Limit.SHED_SUBSCRIPTIONS if duration else Limit.SHED_PRESENCE
        elif kind == _NOTIFY and _ends(data):
            return False
        else:
            limit = Limit.SHED_PRESENCE
        self._shed(port, data, limit, now)
        return True

    def shed_own(self, port: Port, data: bytes, kind: int, now: float) -> bool:
        """Whether presence that the router itself tells waits for the sake of what matters more.

        That is what its machines tell in somebody's name: the newest of it is told later (`Notifying`,
        `PresenceAgain`). What it says in its own name is said once, and passes: answers, *unknown*, and what
        takes presence back.
        """
        tells = data[18] and not _ends(data) if kind == _NOTIFY else kind in FORMS and is_state(data)
        if tells:
            self._shed(port, data, Limit.SHED_PRESENCE, now)
        return bool(tells)

    def _shed(self, port: Port, data: bytes, limit: Limit, now: float) -> None:
        self.refuse_over(port, data, limit, _SHED_WAIT_S[limit], self._from_domain(data), now)

    @staticmethod
    def _from_domain(data: bytes) -> bytes:
        end = ADDRESSES_OFFSET + data[16] + data[17] + data[18] + data[19] + 2
        return data[end - data[19] : end]

    def warn(self, tag: int, left: int) -> None:
        """The answer of a request in flight, if it is plain success, tells how much its sender has left."""
        self.warned[tag] = left
        self._odd.add(tag)

    def refuse_no_way(self, port: Port, data: bytes, ways: list[Port], size: int) -> None:
        """No link of these takes a request: none would ever, or none does now."""
        if all(size > way.largest for way in ways):
            self.refuse(port, data, Reason.TOO_LARGE, 1)
        else:
            self.refuse_by(
                Limit.OUTPUT, port, data, self._entry_of(port, decode_record(data), data)[TO_DOMAIN], 1
            )

    def refuse_inbox(self, port: Port, data: bytes, wait_s: float, stranger: int, now: float) -> None:
        """Too many messages to one recipient."""
        limit = Limit.RECIPIENT_STRANGERS if stranger else Limit.RECIPIENT
        self.refuse_over(port, data, limit, wait_s, self._from_domain(data), now)

    def refuse_sender(self, port: Port, data: bytes, wait_s: float, key: bytes, now: float) -> None:
        """The sender's rate: his own, or there is no room to keep it."""
        limit, who = self._of_sender(key, self._from_domain(data))
        self.refuse_over(port, data, limit, wait_s, who, now)

    def _of_sender(self, key: bytes, domain: bytes) -> tuple[Limit, bytes]:
        """Which limit a sender is over, and who is."""
        known = key in self.rates.arrivals or self.rates.is_exception(key)
        return (Limit.SENDER, key) if known else (Limit.SENDERS_REMEMBERED, domain)


def _ends(data: bytes) -> bool:
    """Whether a NOTIFY tells the end of its subscription."""
    at = ADDRESSES_OFFSET + data[16] + data[17] + data[18] + data[19] + 2
    end = at + ((data[20] << 8) | data[21])
    while at + 4 < end:
        number, size = ((data[at] & 0x7F) << 8) | data[at + 1], (data[at + 2] << 8) | data[at + 3]
        if number == FieldType.SUBSCRIPTION_STATE:
            return data[at + 4] == SubscriptionState.TERMINATED
        at += 4 + size
    return False
