"""What the switch checks of requests that are no messages (specification sections 7.6 to 7.9).

Off the hot path: a record is decoded here, for there are a hundred messages to each of these.
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
from imxrouter.wire.record import Record, decode_record
from imxrouter.wire.registry import FieldType, RecordType

#: Types that the router itself answers for a domain served here, when To has no local part.
INSIDE_TYPES: Final = frozenset({RecordType.ATTRIBUTES.value, RecordType.ECHO.value})
_SUBSCRIBE: Final = RecordType.SUBSCRIBE.value
_NOTIFY: Final = RecordType.NOTIFY.value
_ECHO: Final = RecordType.ECHO.value

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
        kind = int.from_bytes(data[4:6], "big")
        if kind == _ECHO:
            return (Reason.BAD_ADDRESS, 0.0) if data[16] else None
        if kind not in (_SUBSCRIBE, _NOTIFY):
            return None
        record = decode_record(data)
        if kind == _SUBSCRIBE:
            return self._judge_subscribe(record)
        return self._judge_notify(record, now) if subscribed else None

    def _judge_subscribe(self, record: Record) -> Refusal | None:
        key, duration = self._key(record, _presentity_of_subscribe(record)), _duration(record)
        if key is None or duration is None:
            return Reason.BAD_RECORD, 0.0
        to_from = record.envelope
        reason = self.table.judge_subscribe(key, to_from.from_domain, to_from.to_domain, duration)
        return None if reason is None else (reason, 5.0 if reason is Reason.BUSY else 60.0)

    def _judge_notify(self, record: Record, now: float) -> Refusal | None:
        presentity = _presentity_of_notify(record)
        if presentity is None:
            return Reason.BAD_RECORD, 0.0
        key = self._key(record, presentity)
        return self.table.judge_notify(key, now) if key is not None else (Reason.BAD_RECORD, 0.0)

    def accepted(self, data: bytes, now: float) -> None:
        """A request was accepted: a subscription may be notified from now on."""
        if int.from_bytes(data[4:6], "big") != _SUBSCRIBE:
            return
        record = decode_record(data)
        presentity = _presentity_of_subscribe(record)
        key = self._key(record, presentity)
        if key is not None:
            ident = record.value(FieldType.SUBSCRIPTION_ID) or b""
            self.table.begin(key, _watcher(record), presentity, ident, now)

    def settled(self, entry: Entry, outcome: Outcome, response: bytes, now: float) -> None:
        """A request that is no message has its answer."""
        if entry[TYPE] == _NOTIFY:
            if outcome.ok:
                self.delivered(entry)
        elif entry[TYPE] == _SUBSCRIBE:
            request = decode_record(entry[RECORD])
            key = self._key(request, _presentity_of_subscribe(request))
            if key is not None and (outcome.ok or not outcome.in_doubt):
                state, granted = _granted(response) if outcome.ok else (None, 0)
                self.table.settle(key, state, granted, _duration(request) or 0, now)

    def delivered(self, entry: Entry) -> None:
        """A notification was taken: one that told the end of its subscription was the last."""
        if entry[TYPE] != _NOTIFY:
            return
        record = decode_record(entry[RECORD])
        state = record.value(FieldType.SUBSCRIPTION_STATE) or b""
        presentity = _presentity_of_notify(record)
        if state[:1] == bytes([SubscriptionState.TERMINATED]) and presentity is not None:
            key = self._key(record, presentity)
            if key is not None:
                self.table.ended(key)

    def _key(self, record: Record, presentity: bytes) -> bytes | None:
        """The table's key; None where the id is missing or an address is none."""
        ident = record.value(FieldType.SUBSCRIPTION_ID) or b""
        watcher = _watcher(record)
        watcher_key, presentity_key = self._key_of(watcher), self._key_of(presentity)
        if not 0 < len(ident) <= MAX_SUBSCRIPTION_ID_BYTES or watcher_key is None or presentity_key is None:
            return None
        return subscription_key(watcher_key, presentity_key, ident)


def _watcher(record: Record) -> bytes:
    to_from = record.envelope
    if record.type == _SUBSCRIBE:
        return to_from.from_local + b"@" + to_from.from_domain
    return to_from.to_local + b"@" + to_from.to_domain


def _presentity_of_subscribe(record: Record) -> bytes:
    return record.envelope.to_local + b"@" + record.envelope.to_domain


def _presentity_of_notify(record: Record) -> bytes | None:
    """Whose state it is about; None where the router's own word names no user of its own domain."""
    to_from = record.envelope
    named, unknown = record.value(FieldType.PRESENTITY), record.value(FieldType.UNKNOWN)
    if named is None and unknown is None:
        return to_from.from_local + b"@" + to_from.from_domain
    if named is None or unknown is None or to_from.from_local or record.body:
        return None
    return named if named.rpartition(b"@")[2] == to_from.from_domain else None


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
    if not state or state[0] > SubscriptionState.TERMINATED or duration is None:
        return None, 0
    return SubscriptionState(state[0]), duration
