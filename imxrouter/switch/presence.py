"""What the switch checks of requests that are no messages (specification sections 7.6 to 7.9).

Off the hot path of messages. Notifications come in numbers too, so theirs is read without decoding a record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from imxrouter.link.ledger import RECORD, TYPE, Entry
from imxrouter.model.operations import MAX_SUBSCRIPTION_ID_BYTES, SubscriptionState
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.subscriptions import Subscriptions, subscription_key
from imxrouter.wire.errors import WireError
from imxrouter.wire.layout import ADDRESSES_OFFSET
from imxrouter.wire.record import Record, decode_record
from imxrouter.wire.registry import FieldType, RecordType

#: Types that the router itself answers for a domain served here, when To has no local part.
INSIDE_TYPES: Final = frozenset({RecordType.ATTRIBUTES.value, RecordType.ECHO.value})
_SUBSCRIBE: Final = RecordType.SUBSCRIBE.value
_NOTIFY: Final = RecordType.NOTIFY.value
_ECHO: Final = RecordType.ECHO.value
_ID: Final = FieldType.SUBSCRIPTION_ID.value
_STATE: Final = FieldType.SUBSCRIPTION_STATE.value
_PRESENTITY: Final = FieldType.PRESENTITY.value
_UNKNOWN: Final = FieldType.UNKNOWN.value
_TERMINATED: Final = bytes([SubscriptionState.TERMINATED])

#: Why a request may not pass, and seconds until it may.
Refusal = tuple[Reason, float]


class PresenceChecks:
    """Judges requests by the table of subscriptions, and keeps the table in step with what passes.

    Args:
        key_of: the key of an address `local@domain`; None where it is none.
        table: the subscriptions.
    """

    def __init__(self, key_of: Callable[[bytes], bytes | None], table: Subscriptions) -> None:
        self._key_of = key_of
        self.table = table

    def judge(self, data: bytes, now: float, *, subscribed: bool = True) -> Refusal | None:
        """Why a request may not pass; None where it may.

        Args:
            data: the whole record, judged by every check before.
            now: monotonic seconds.
            subscribed: whether a notification needs a live subscription; always, outside tests.
        """
        kind = (data[4] << 8) | data[5]
        if kind == _NOTIFY:
            return self._judge_notify(data, now) if subscribed else None
        if kind == _SUBSCRIBE:
            return self._judge_subscribe(decode_record(data))
        return (Reason.BAD_ADDRESS, 0.0) if kind == _ECHO and data[16] else None

    def _judge_subscribe(self, record: Record) -> Refusal | None:
        key, duration = self._key(record), _duration(record)
        if key is None or duration is None:
            return Reason.BAD_RECORD, 0.0
        to_from = record.envelope
        reason = self.table.judge_subscribe(key, to_from.from_domain, to_from.to_domain, duration)
        return None if reason is None else (reason, 5.0 if reason is Reason.BUSY else 60.0)

    def _judge_notify(self, data: bytes, now: float) -> Refusal | None:
        key, _ = self._notified(data)
        return self.table.judge_notify(key, now) if key is not None else (Reason.BAD_RECORD, 0.0)

    def _notified(self, data: bytes) -> tuple[bytes | None, bool]:
        """Key of the subscription that a NOTIFY is about, and whether it tells its end.

        The key is None where a field is missing, or the router's own word names no user of its own domain or
        tells an end, which is the presentity's to tell.
        """
        to_l, to_d, from_l, from_d = data[16:20]
        to_end = ADDRESSES_OFFSET + to_l + 1 + to_d
        at = to_end + from_l + 1 + from_d
        presentity, from_domain = data[to_end:at], data[at - from_d : at]
        end = at + ((data[20] << 8) | data[21])
        ident, state, named, unknown = b"", b"", b"", b""
        has_body = len(data) > end
        while at < end:
            number, value_at = ((data[at] & 0x7F) << 8) | data[at + 1], at + 4
            at = value_at + ((data[at + 2] << 8) | data[at + 3])
            if number == _ID:
                ident = ident or data[value_at:at]
            elif number == _STATE:
                state = state or data[value_at : value_at + 1]
            elif number == _PRESENTITY:
                named = named or data[value_at:at]
            elif number == _UNKNOWN:
                unknown = unknown or data[value_at:at]
        if named or unknown:
            if not named or not unknown or from_l or has_body or named.rpartition(b"@")[2] != from_domain:
                return None, False
            if state == _TERMINATED:
                return None, False
            presentity = named
        watcher_key = self._key_of(data[ADDRESSES_OFFSET:to_end])
        presentity_key = self._key_of(presentity)
        if not 0 < len(ident) <= MAX_SUBSCRIPTION_ID_BYTES or watcher_key is None or presentity_key is None:
            return None, False
        return b"\0".join((watcher_key, presentity_key, ident)), state == _TERMINATED

    def accepted(self, data: bytes, now: float) -> None:
        """A request was accepted: a subscription may be notified from now on."""
        if ((data[4] << 8) | data[5]) != _SUBSCRIBE:
            return
        record = decode_record(data)
        key = self._key(record)
        if key is not None:
            ident = record.value(FieldType.SUBSCRIPTION_ID) or b""
            self.table.begin(key, _watcher(record), _presentity(record), ident, now)

    def settled(self, entry: Entry, outcome: Outcome, response: bytes, now: float) -> None:
        """A request that is no message has its answer."""
        if entry[TYPE] == _NOTIFY:
            if outcome.ok:
                self.delivered(entry)
        elif entry[TYPE] == _SUBSCRIBE:
            request = decode_record(entry[RECORD])
            key = self._key(request)
            if key is not None and (outcome.ok or not outcome.in_doubt):
                state, granted = _granted(response) if outcome.ok else (None, 0)
                self.table.settle(key, state, granted, _duration(request) or 0, now)

    def delivered(self, entry: Entry) -> None:
        """A notification was taken: one that told the end of its subscription was the last."""
        if entry[TYPE] == _NOTIFY:
            key, is_last = self._notified(entry[RECORD])
            if is_last and key is not None:
                self.table.ended(key)

    def _key(self, record: Record) -> bytes | None:
        """The table's key for a SUBSCRIBE; None where the id is missing or an address is none."""
        ident = record.value(FieldType.SUBSCRIPTION_ID) or b""
        watcher_key, presentity_key = self._key_of(_watcher(record)), self._key_of(_presentity(record))
        if not 0 < len(ident) <= MAX_SUBSCRIPTION_ID_BYTES or watcher_key is None or presentity_key is None:
            return None
        return subscription_key(watcher_key, presentity_key, ident)


def _watcher(record: Record) -> bytes:
    return record.envelope.from_local + b"@" + record.envelope.from_domain


def _presentity(record: Record) -> bytes:
    return record.envelope.to_local + b"@" + record.envelope.to_domain


def _duration(record: Record) -> int | None:
    value = record.value(FieldType.DURATION)
    return int.from_bytes(value, "big") if value is not None and len(value) == 4 else None


def _granted(response: bytes) -> tuple[SubscriptionState | None, int]:
    """State and duration of a response."""
    try:
        record = decode_record(response)
    except WireError:
        return None, 0
    state, duration = record.value(FieldType.SUBSCRIPTION_STATE) or b"", _duration(record)
    if len(state) != 2 or state[0] > SubscriptionState.TERMINATED or duration is None:
        return None, 0
    return SubscriptionState(state[0]), duration
