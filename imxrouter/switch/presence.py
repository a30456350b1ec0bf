"""What the switch checks of requests that are no messages (specification sections 7.6 to 7.9).

Off the hot path of messages. Notifications come in numbers too, so theirs is read without decoding a record.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from imxrouter.link.ledger import KEY, RECORD, TYPE, Entry
from imxrouter.model.operations import MAX_SUBSCRIPTION_ID_BYTES, SubscriptionState
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.routing.subscriptions import Subscriptions, subscription_key
from imxrouter.switch.ports import Port
from imxrouter.wire.errors import WireError
from imxrouter.wire.layout import ADDRESSES_OFFSET, MESSAGE_ID_BYTES
from imxrouter.wire.record import Record, decode_record
from imxrouter.wire.registry import FieldType, RecordType

#: Types that the router itself answers for a domain served here, when To has no local part.
INSIDE_TYPES: Final = frozenset({RecordType.ATTRIBUTES.value, RecordType.ECHO.value, RecordType.REPORT.value})
#: Those that are of a domain alone, and need no enabling (specification sections 7.9 and 7.10).
OF_DOMAINS: Final = frozenset({RecordType.ECHO.value, RecordType.REPORT.value})
_SUBSCRIBE: Final = RecordType.SUBSCRIBE.value
_NOTIFY: Final = RecordType.NOTIFY.value
_ID: Final = FieldType.SUBSCRIPTION_ID.value
_STATE: Final = FieldType.SUBSCRIPTION_STATE.value
_PRESENTITY: Final = FieldType.PRESENTITY.value
_UNKNOWN: Final = FieldType.UNKNOWN.value
#: A ledger's key is the message id and both addresses, as they stand in the record.
_LEDGER_KEY_OFFSET: Final = ADDRESSES_OFFSET - MESSAGE_ID_BYTES
#: Nothing was judged that changes the table.
_NOTHING: Final[tuple[bytes, Record | None, tuple[bytes, int | None]]] = (b"", None, (b"", None))

#: Why a request may not pass, and seconds until it may.
Refusal = tuple[Reason, float]


class Lane(Enum):
    """By what a request for a remote domain may leave."""

    #: whatever is chosen for the domain
    CHOSEN = "chosen"
    #: links of the router's own protocol, by which its subscription is held
    LINKS = "links"
    #: streams, by which its subscription is held
    STREAMS = "streams"


#: Types of the requests that belong to a subscription.
OF_SUBSCRIPTIONS: Final = frozenset({_SUBSCRIBE, _NOTIFY})


class PresenceChecks:
    """Judges requests by the table of subscriptions, and keeps the table in step with what passes.

    Args:
        key_of: the key of an address `local@domain`; None where it is none.
        table: the subscriptions.
    """

    def __init__(self, key_of: Callable[[bytes], bytes | None], table: Subscriptions) -> None:
        self._key_of = key_of
        self.table = table
        #: requests in flight that change the table: ledger key -> subscription, and seconds asked for; None
        #: of a notification that tells its end
        self._changing: dict[bytes, tuple[bytes, int | None]] = {}
        #: those among them that the router itself asks in a watcher's name
        self._own: set[bytes] = set()
        #: the ledger key of the request that was judged last, and what is remembered once it is accepted
        self._judged: tuple[bytes, Record | None, tuple[bytes, int | None]] = _NOTHING
        #: whether a subscription lives by streams: (for a notification, watcher's key, presentity's, id);
        #: None where there are no streams
        self.by_streams: Callable[[bool, bytes, bytes, bytes], bool] | None = None

    def judge(
        self, data: bytes, now: float, sender: bytes = b"", *, subscribed: bool = True
    ) -> Refusal | None:
        """Why a request may not pass; None where it may.

        Args:
            data: the whole record, judged by every check before.
            now: monotonic seconds.
            sender: the key of From, where it is known.
            subscribed: whether a notification needs a live subscription; always, outside tests.
        """
        self._judged = _NOTHING
        kind = (data[4] << 8) | data[5]
        if kind == _NOTIFY:
            return self._judge_notify(data, sender, now) if subscribed else None
        if kind == _SUBSCRIBE:
            return self._judge_subscribe(decode_record(data))
        return (Reason.BAD_ADDRESS, 0.0) if kind in OF_DOMAINS and data[16] else None

    def begins(self, data: bytes) -> tuple[bool, int]:
        """Whether a SUBSCRIBE is of no subscription that is known here, and the seconds asked for."""
        record = decode_record(data)
        return self._key(record) not in self.table, _duration(record) or 0

    def _judge_subscribe(self, record: Record) -> Refusal | None:
        if not self._remember(record):
            return Reason.BAD_RECORD, 0.0
        _, _, (key, duration) = self._judged
        to_from = record.envelope
        reason = self.table.judge_subscribe(key, to_from.from_domain, to_from.to_domain, duration or 0)
        return None if reason is None else (reason, 5.0 if reason is Reason.BUSY else 60.0)

    def _judge_notify(self, data: bytes, sender: bytes, now: float) -> Refusal | None:
        """A NOTIFY without a field it needs is none, nor is a router's own word on another domain's user."""
        to_l, to_d, from_l, from_d = data[16:20]
        to_end = ADDRESSES_OFFSET + to_l + 1 + to_d
        from_end = at = to_end + from_l + 1 + from_d
        end = at + ((data[20] << 8) | data[21])
        ident, state, named, unknown = b"", 0, b"", b""
        while at < end:
            number, value_at = ((data[at] & 0x7F) << 8) | data[at + 1], at + 4
            at = value_at + ((data[at + 2] << 8) | data[at + 3])
            if number == _ID:
                ident = ident or data[value_at:at]
            elif number == _STATE:
                state = state or (data[value_at] if at > value_at else 0)
            elif number == _PRESENTITY:
                named = named or data[value_at:at]
            elif number == _UNKNOWN:
                unknown = unknown or data[value_at:at]
        key_of, presentity_key = self._key_of, sender or None
        if named or unknown:
            from_domain = data[from_end - from_d : from_end]
            has_body = len(data) > end
            if not named or not unknown or from_l or has_body or named.rpartition(b"@")[2] != from_domain:
                return Reason.BAD_RECORD, 0.0
            if state == SubscriptionState.TERMINATED:
                return Reason.BAD_RECORD, 0.0  # an end is the presentity's to tell
            presentity_key = key_of(named)
        elif not sender:
            presentity_key = key_of(data[to_end:from_end])
        watcher_key = key_of(data[ADDRESSES_OFFSET:to_end])
        if not 0 < len(ident) <= MAX_SUBSCRIPTION_ID_BYTES or watcher_key is None or presentity_key is None:
            return Reason.BAD_RECORD, 0.0
        key = b"\0".join((watcher_key, presentity_key, ident))
        if state == SubscriptionState.TERMINATED:
            self._judged = data[_LEDGER_KEY_OFFSET:from_end], None, (key, None)
        return self.table.judge_notify(key, now)

    def way(self, ways: list[Port], turn: int) -> Port:
        """The link for the notification that was judged last: that over which it was asked for, if it is up.

        Hosts of a domain need not share what they remember of subscriptions (specification section 7.7).
        """
        asked_over = self.table.asked_over
        return next((port for port in ways if port.number == asked_over), ways[turn % len(ways)])

    def lane(self, kind: int, data: bytes) -> Lane:
        """By what a request of a subscription leaves: that by which it began, for as long as it lives.

        A notification goes back by what it was asked for by; so is what renews or ends a subscription sent. A
        new one goes by what is chosen for the domain.

        Args:
            kind: its type.
            data: the whole record, to a domain elsewhere.
        """
        if self.by_streams is None or kind not in OF_SUBSCRIPTIONS:
            return Lane.CHOSEN
        record = decode_record(data)
        watcher, presentity = _watcher(record), _presentity(record)
        if kind == _NOTIFY:
            watcher, presentity = presentity, record.value(FieldType.PRESENTITY) or watcher
        ident = record.value(FieldType.SUBSCRIPTION_ID) or b""
        watcher_key, presentity_key = self._key_of(watcher), self._key_of(presentity)
        if watcher_key is None or presentity_key is None:
            return Lane.CHOSEN
        if self.by_streams(kind == _NOTIFY, watcher_key, presentity_key, ident):
            return Lane.STREAMS
        if kind == _NOTIFY:
            return Lane.LINKS
        entry = self.table.find(subscription_key(watcher_key, presentity_key, ident))
        return Lane.LINKS if entry is not None and entry.granted else Lane.CHOSEN

    def lane_of(self, entry: Entry) -> Lane:
        """The same of a request in flight."""
        return self.lane(entry[TYPE], entry[RECORD])

    def accepted(self, data: bytes, now: float, over: int = 0) -> None:
        """A request was accepted: a subscription may be notified from now on.

        Args:
            data: the whole record.
            now: monotonic seconds.
            over: number of the link over which it came; 0: it is the router's own.
        """
        ledger_key, record, change = self._judged
        if not ledger_key or not data.startswith(ledger_key, _LEDGER_KEY_OFFSET):
            if ((data[4] << 8) | data[5]) != _SUBSCRIBE or not self._remember(decode_record(data)):
                return
            ledger_key, record, change = self._judged
        self._judged = _NOTHING
        self._changing[ledger_key] = change
        if not over and not self._is_of_streams(change[0]):
            self._own.add(ledger_key)
        if record is not None:
            ident = record.value(FieldType.SUBSCRIPTION_ID) or b""
            self.table.begin(change[0], _watcher(record), _presentity(record), ident, now, over)

    def _is_of_streams(self, key: bytes) -> bool:
        """Whether it is asked for by a gateway of ours, whose words come in at the router's own port too."""
        if self.by_streams is None:
            return False
        watcher, presentity, ident = key.split(b"\0", 2)
        return self.by_streams(True, watcher, presentity, ident)

    def settled(self, entry: Entry, outcome: Outcome, response: bytes, now: float) -> None:
        """A request that is no message has its answer."""
        key, asked = self._changing.pop(entry[KEY], (b"", None))
        renews_only = entry[KEY] in self._own
        self._own.discard(entry[KEY])
        if entry[TYPE] == _NOTIFY:
            if outcome.ok and key:
                self.table.ended(key)
        elif key and outcome.in_doubt:
            self.table.doubt(key)
        elif key:
            state, granted = _granted(response) if outcome.ok else (None, 0)
            self.table.settle(key, state, granted, asked or 0, now, renews_only=renews_only)

    def delivered(self, entry: Entry) -> None:
        """Plain success: a notification that told the end of its subscription was the last.

        That of a SUBSCRIBE has no state: it counts as a failure (section 7.6).
        """
        if self._changing:
            key, _ = self._changing.pop(entry[KEY], (b"", None))
            self._own.discard(entry[KEY])
            if key and entry[TYPE] == _NOTIFY:
                self.table.ended(key)
            elif key:
                self.table.settle(key, None, 0, 0, 0.0)

    def _remember(self, record: Record) -> bool:
        """Note what an accepted SUBSCRIBE changes; False where it has no key."""
        key, duration = self._key(record), _duration(record)
        if key is None or duration is None:
            return False
        self._judged = _ledger_key(record), record, (key, duration)
        return True

    def _key(self, record: Record) -> bytes | None:
        """The table's key for a SUBSCRIBE; None where the id is missing or an address is none."""
        ident = record.value(FieldType.SUBSCRIPTION_ID) or b""
        watcher_key, presentity_key = self._key_of(_watcher(record)), self._key_of(_presentity(record))
        if not 0 < len(ident) <= MAX_SUBSCRIPTION_ID_BYTES or watcher_key is None or presentity_key is None:
            return None
        return subscription_key(watcher_key, presentity_key, ident)


def _ledger_key(record: Record) -> bytes:
    return b"".join((record.message_id, _presentity(record), _watcher(record)))


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
    if not state or state[0] > SubscriptionState.TERMINATED or duration is None:
        return None, 0
    return SubscriptionState(state[0]), duration
