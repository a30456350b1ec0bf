"""Both sides of subscriptions, and users who write to each other (specification sections 7.6, 7.7)."""

from __future__ import annotations

import heapq
import re
import time
from collections import Counter, deque
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imxrouter.model.operations import SubscriptionState
from imxrouter.wire.registry import FieldType, RecordType
from tests.storm.home import HomeClient
from tests.storm.link import Answer, Request, ServiceLink, field

_MESSAGE: Final = RecordType.MESSAGE.value
_SUBSCRIBE: Final = RecordType.SUBSCRIBE.value
_NOTIFY: Final = RecordType.NOTIFY.value
_ID, _DURATION = FieldType.SUBSCRIPTION_ID.value, FieldType.DURATION.value
_STATE, _VERSION = FieldType.SUBSCRIPTION_STATE.value, FieldType.VERSION.value
_UNKNOWN = FieldType.UNKNOWN.value
_STATE_SAID: Final = re.compile(rb">state ([0-9]+)<")
_ACTIVE = field(_STATE, bytes([SubscriptionState.ACTIVE, 0]))
#: Bytes of a presence document.
DOCUMENT_BYTES: Final = 400
#: First and longest pause after a notification that was not taken.
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


class Watch:
    """A watcher's subscription.

    Attributes:
        watcher: address.
        presentity: address.
        ident: its id.
        seen: number of the newest state that was told; -1: none.
        version: of it.
        is_unknown: the last word was that nobody knows.
        is_active: it was granted.
    """

    __slots__ = ("ident", "is_active", "is_unknown", "presentity", "seen", "version", "watcher")

    def __init__(self, watcher: bytes, presentity: bytes, ident: bytes) -> None:
        self.watcher, self.presentity, self.ident = watcher, presentity, ident
        self.seen, self.version = -1, b""
        self.is_unknown = self.is_active = False


class Watchers(ServiceLink):
    """Subscribes, and takes what is told.

    Args:
        port: of the router.
        key: for the login.
        watches: every subscription.
        lifetime_s: asked for.
    """

    def __init__(self, port: int, key: Ed25519PrivateKey, watches: list[Watch], lifetime_s: int) -> None:
        super().__init__("watchers", port, key)
        self.watches = {one.ident: one for one in watches}
        self.told = self.unknowns = self.misled = 0
        self._lifetime_s = lifetime_s
        self._to_ask: deque[Watch] = deque(watches)
        self._later: list[tuple[float, bytes]] = []

    def due(self, now: float) -> None:
        """Begin what is not begun."""
        while self._later and self._later[0][0] <= now:
            self._to_ask.append(self.watches[heapq.heappop(self._later)[1]])
        for _ in range(min(len(self._to_ask), self.room)):
            one = self._to_ask.popleft()
            fields = field(_ID, one.ident) + field(_DURATION, _u32(self._lifetime_s))
            self.send(_SUBSCRIBE, one.presentity, one.watcher, fields, b"", one)

    def answered(self, what: Watch, answer: Answer, now: float) -> None:
        """It is granted, or asked for once more."""
        if not answer.reason and answer.fields.get(_STATE, b"\xff")[0] == SubscriptionState.ACTIVE:
            what.is_active = True
        else:
            heapq.heappush(self._later, (now + max(answer.retry_after_s, 0.5), what.ident))

    def asked(self, request: Request, now: float) -> None:
        """A notification: the newest state wins."""
        del now
        self.succeed(request)
        one = self.watches[request.fields[_ID]]
        assert request.type == _NOTIFY
        assert request.to == one.watcher
        if _UNKNOWN in request.fields:
            self.unknowns += 1
            one.is_unknown = True
            return
        self.told += 1
        version = request.fields[_VERSION]
        self.misled += request.sender != one.presentity or one.presentity not in request.body
        if version < one.version:
            return
        one.version, one.is_unknown = version, False
        said = _STATE_SAID.search(request.body)
        one.seen = int(said[1]) if said else 0


class _Told:
    """A subscription as the presentity's side has it."""

    __slots__ = ("fields", "in_flight", "key", "owed", "pause_s", "presentity", "told", "watcher")

    def __init__(self, key: bytes, watcher: bytes, presentity: bytes, ident: bytes) -> None:
        self.key, self.watcher, self.presentity = key, watcher, presentity
        self.fields = field(_ID, ident) + _ACTIVE
        self.told = self.in_flight = -1
        self.owed = False
        self.pause_s = _PAUSE_S


class Presentities(ServiceLink):
    """Grants every subscription, and tells every watcher the newest state, one notification in flight each.

    Args:
        port: of the router.
        key: for the login.
        lifetime_s: granted at most.

    Attributes:
        numbers: presentity -> number of its state.
    """

    def __init__(self, port: int, key: Ed25519PrivateKey, lifetime_s: int) -> None:
        super().__init__("presentities", port, key)
        self.numbers: dict[bytes, int] = {}
        self._renewed: list[float] = []
        self._marked = time.monotonic()
        self._subscriptions: dict[bytes, _Told] = {}
        self._of: dict[bytes, list[_Told]] = {}
        self._owed: deque[_Told] = deque()
        self._later: list[tuple[float, bytes]] = []
        self._lifetime_s = lifetime_s
        self._epoch = int(time.time() * 1000).to_bytes(8, "big")

    def change(self, *presentities: bytes) -> None:
        """Their states are others."""
        for presentity in presentities:
            self.numbers[presentity] = self.numbers.get(presentity, 0) + 1
            for one in self._of.get(presentity, ()):
                self._owe(one)

    def mark(self) -> None:
        """Count from here."""
        self._renewed.clear()
        self._marked = time.monotonic()

    def renewed(self) -> tuple[list[int], float]:
        """Subscriptions that were known and asked for again, in each second since; 0 seconds stood still."""
        counts = Counter(int(at - self._marked) for at in self._renewed)
        return [counts[second] for second in range(max(counts, default=-1) + 1)], 0.0

    def _owe(self, one: _Told) -> None:
        if not one.owed and one.in_flight < 0:
            one.owed = True
            self._owed.append(one)

    def due(self, now: float) -> None:
        """Tell what is owed."""
        while self._later and self._later[0][0] <= now:
            one = self._subscriptions.get(heapq.heappop(self._later)[1])
            if one is not None:
                one.in_flight = -1
                self._owe(one)
        for _ in range(min(len(self._owed), self.room)):
            one = self._owed.popleft()
            one.owed = False
            number = one.in_flight = self.numbers.get(one.presentity, 0)
            version = field(_VERSION, self._epoch + number.to_bytes(8, "big"))
            body = _document(one.presentity, number)
            self.send(_NOTIFY, one.watcher, one.presentity, one.fields + version, body, one)

    def answered(self, what: _Told, answer: Answer, now: float) -> None:
        """It was taken, or the newest state is told later."""
        if not answer.reason:
            what.told, what.in_flight, what.pause_s = what.in_flight, -1, _PAUSE_S
            if what.told < self.numbers.get(what.presentity, 0):
                self._owe(what)
            return
        heapq.heappush(self._later, (now + max(answer.retry_after_s, what.pause_s), what.key))
        what.pause_s = min(what.pause_s * 2, _LONGEST_PAUSE_S)

    def asked(self, request: Request, now: float) -> None:
        """A subscription begins or is renewed: the full state follows at once."""
        assert request.type == _SUBSCRIBE
        ident = request.fields[_ID]
        granted = min(int.from_bytes(request.fields[_DURATION], "big"), self._lifetime_s)
        self.succeed(request, _ACTIVE + field(_DURATION, _u32(granted)))
        key = b"\0".join((request.sender, request.to, ident))
        one = self._subscriptions.get(key)
        if one is None:
            one = self._subscriptions[key] = _Told(key, request.sender, request.to, ident)
            self._of.setdefault(request.to, []).append(one)
        else:
            self._renewed.append(now)
        self._owe(one)


def _document(presentity: bytes, number: int) -> bytes:
    text = (
        b'<?xml version="1.0" encoding="UTF-8"?>'
        b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="pres:%b">'
        b'<tuple id="t"><status><basic>%b</basic></status></tuple><note>state %d</note>'
        % (presentity, b"open" if number % 2 else b"closed", number)
    )
    end = b"</presence>"
    return text + b" " * (DOCUMENT_BYTES - len(text) - len(end)) + end


class AtHome:
    """The embedded users of a router, seen as `Presentities` are."""

    def __init__(self, home: HomeClient) -> None:
        self.numbers: dict[bytes, int] = {}
        self._home = home
        self._marked = time.time()

    def change(self, *presentities: bytes) -> None:
        """Their states are others."""
        by_number: dict[int, list[str]] = {}
        for one in presentities:
            self.numbers[one] = self.numbers.get(one, 0) + 1
            by_number.setdefault(self.numbers[one], []).append(one.decode())
        for number, users in by_number.items():
            self._home.ask("publish", users=users, number=number)

    def mark(self) -> None:
        """Count from here."""
        self._marked = time.time()

    def renewed(self) -> tuple[list[int], float]:
        """Subscriptions asked for in each second since; seconds for which the users' router stood still."""
        try:
            counts, still_s = self._home.ask("asked", since=self._marked)
        except OSError:
            return [], 0.0
        return counts, still_s


class Talkers(ServiceLink):
    """Sends messages at a constant rate, and takes them; the same object plays one end.

    Args:
        port: of the router.
        key: for the login.
        pair: sender and recipient; None: it only receives.
        rate: messages a second.

    Attributes:
        latencies: seconds from when a message was due to its success.
        succeeded: numbers of messages that were answered with success.
        delivered: how often each number came.
    """

    def __init__(
        self, port: int, key: Ed25519PrivateKey, pair: tuple[bytes, bytes] | None, rate: float = 0.0
    ) -> None:
        super().__init__("talkers", port, key)
        self.latencies: list[float] = []
        self.succeeded: set[int] = set()
        self.delivered: Counter[int] = Counter()
        self.is_sending = False
        self.sent = 0
        self._pair, self._rate = pair, rate
        self._next_at = 0.0

    def due(self, now: float) -> None:
        """Send what is due; the latency counts from the moment at which it was due."""
        if self._pair is None or not self.is_sending:
            self._next_at = now
            return
        while self._next_at <= now and self.room > 0:
            self.sent += 1
            source, to = self._pair
            body = b"number %d" % self.sent
            self.send(_MESSAGE, to, source, b"", body, (self.sent, self._next_at))
            self._next_at += 1 / self._rate

    @property
    def next_at(self) -> float:
        """When the next message is due."""
        return self._next_at if self.is_sending else float("inf")

    def answered(self, what: tuple[int, float], answer: Answer, now: float) -> None:
        """A message has its outcome."""
        del now  # the answer is older than this turn's beginning
        number, due_at = what
        if not answer.reason:
            self.succeeded.add(number)
            self.latencies.append(time.monotonic() - due_at)

    def asked(self, request: Request, now: float) -> None:
        """A message came."""
        del now
        _, is_numbered, number = request.body.rpartition(b"number ")
        if is_numbered:
            self.delivered[int(number)] += 1
        self.succeed(request)
