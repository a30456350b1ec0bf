"""A service with a link to each host of its domain: numbered messages and presence, both ways.

    python -m tests.rolling.house house

It does what the specification asks of a service: it sends over any link that takes something, notifies over
the link over which it was asked, and goes elsewhere when a host takes nothing more. It never sends anything
a second time: whatever is not a success is counted as an error that a sender saw.
"""

from __future__ import annotations

import heapq
import sys
import time
from collections import Counter, deque
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imxrouter.model.operations import SubscriptionState
from imxrouter.wire.control import Close, decode_control
from imxrouter.wire.record import decode_record
from imxrouter.wire.registry import FieldType, RecordType, type_name
from tests.storm.children import Part, serve
from tests.storm.link import Answer, Request, ServiceLink, field

_MESSAGE: Final = RecordType.MESSAGE.value
_SUBSCRIBE: Final = RecordType.SUBSCRIBE.value
_NOTIFY: Final = RecordType.NOTIFY.value
_ID, _DURATION = FieldType.SUBSCRIPTION_ID.value, FieldType.DURATION.value
_STATE, _VERSION = FieldType.SUBSCRIPTION_STATE.value, FieldType.VERSION.value
_UNKNOWN: Final = FieldType.UNKNOWN.value
_ACTIVE: Final = bytes([SubscriptionState.ACTIVE, 0])
#: Seconds until something that failed for now is tried again, and asked for: long, so that a renewal does
#: not hide what was lost.
_PAUSE_S: Final = 0.5
_LIFETIME_S: Final = 600
_USERS: Final = 20


def _user(at: int, domain: str) -> bytes:
    return f"u{at % _USERS:02d}@{domain}".encode()


class HostLink(ServiceLink):
    """The link to one host; what happens is the house's business."""

    def __init__(self, house: House, place: tuple[str, int], key: Ed25519PrivateKey) -> None:
        super().__init__(f"{place[0]}:{place[1]}", place[1], key, window=2000, host=place[0])
        self._house = house

    def asked(self, request: Request, now: float) -> None:
        """A request."""
        self._house.asked(self, request, now)

    def answered(self, what: Any, answer: Answer, now: float) -> None:
        """An answer."""
        del now
        self._house.answered(what, answer, self)

    def _control(self, raw: bytes) -> None:
        control = decode_control(decode_record(raw))
        if isinstance(control, Close) and not self._leaving:
            self._out += Close(control.reason).encode()
        super()._control(raw)


class _Watch:
    """A subscription of ours: the newest state that was told, and whether the last word was `unknown`."""

    def __init__(self, watcher: bytes, presentity: bytes) -> None:
        self.watcher, self.presentity = watcher, presentity
        self.seen, self.is_unknown, self.is_active = -1, False, False


class _Told:
    """A subscription to one of our users."""

    def __init__(self, watcher: bytes, presentity: bytes, ident: bytes) -> None:
        self.watcher, self.presentity, self.ident = watcher, presentity, ident
        self.link: HostLink | None = None
        self.told = -1
        self.in_flight = self.owed = False


class House(Part):
    """The service."""

    links: list[ServiceLink]

    def start(
        self, hosts: list[tuple[str, int]], key: str, domain: str, other: str, rate: float, watches: int,
        changes: float,
    ) -> None:  # fmt: skip
        """Connect; subscribe to users of the other side.

        Args:
            hosts: of the domain.
            key: for the login.
            domain: ours.
            other: theirs.
            rate: messages a second.
            watches: subscriptions to users there.
            changes: of our users' states, a second.
        """
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key))
        self.hosts = [HostLink(self, (host, port), private) for host, port in hosts]
        self.links = list(self.hosts)
        self._domain, self._other = domain, other
        self._rate, self._changes = rate, changes
        self._next_at = self._change_at = 0.0
        self._is_sending = self._is_changing = self._may_ask = False
        self._turn = self._sent = self._changed = 0
        self._latencies: list[float] = []
        self._succeeded: set[int] = set()
        self._delivered: Counter[int] = Counter()
        self._errors: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._watches = {
            b"%d" % at: _Watch(_user(at, domain), _user(at * 7 + at // _USERS, other))
            for at in range(watches)
        }
        self._to_ask = deque(self._watches)
        self._told: dict[bytes, _Told] = {}
        self._owed: deque[_Told] = deque()
        self._later: list[tuple[float, bytes, bool]] = []
        self._numbers: dict[bytes, int] = {}
        self._epoch = int(time.time() * 1000).to_bytes(8, "big")

    # -- sending -----------------------------------------------------------------------------------------

    def _way(self, wanted: HostLink | None = None) -> HostLink | None:
        if wanted is not None and wanted.room > 0:
            return wanted
        self._turn += 1
        for at in range(len(self.hosts)):
            link = self.hosts[(self._turn + at) % len(self.hosts)]
            if link.room > 0:
                return link
        return None

    def turn(self, now: float) -> float:
        """Send what is due."""
        if self._may_ask:
            self._ask(now)
        if not self._is_sending:
            self._next_at = now
        while self._is_sending and self._next_at <= now and (link := self._way()) is not None:
            self._sent += 1
            to, source = _user(self._sent, self._other), _user(self._sent * 3, self._domain)
            link.send(_MESSAGE, to, source, b"", b"number %d" % self._sent, ("m", self._sent, self._next_at))
            self._next_at += 1 / self._rate
        if not self._is_changing:
            self._change_at = now
        while self._is_changing and self._change_at <= now:
            self._changed += 1
            self._change_at += 1 / self._changes
            self._change(_user(self._changed, self._domain))
        self._tell()
        return min(self._next_at, now + 0.005) if self._is_sending else now + 0.005

    def _ask(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, ident, is_watch = heapq.heappop(self._later)
            if is_watch:
                self._to_ask.append(ident)
            elif ident in self._told:
                self._owe(self._told[ident])
        while self._to_ask and (link := self._way()) is not None:
            ident = self._to_ask.popleft()
            watch = self._watches[ident]
            fields = field(_ID, ident) + field(_DURATION, _LIFETIME_S.to_bytes(4, "big"))
            link.send(_SUBSCRIBE, watch.presentity, watch.watcher, fields, b"", ("s", ident))

    def _change(self, user: bytes) -> None:
        self._numbers[user] = self._numbers.get(user, 0) + 1
        for one in self._told.values():
            if one.presentity == user:
                self._owe(one)

    def _owe(self, one: _Told) -> None:
        if not one.owed:
            one.owed = True
            self._owed.append(one)

    def _tell(self) -> None:
        for _ in range(len(self._owed)):
            one = self._owed.popleft()
            link = self._way(one.link)
            if one.in_flight or link is None:
                self._owed.append(one)
                continue
            one.owed, one.in_flight = False, True
            number = self._numbers.get(one.presentity, 0)
            version = self._epoch + number.to_bytes(8, "big")
            fields = field(_ID, one.ident) + field(_STATE, _ACTIVE) + field(_VERSION, version)
            self._counts["told"] += 1
            link.send(_NOTIFY, one.watcher, one.presentity, fields, b"%d" % number, ("n", one.ident, number))

    # -- what comes --------------------------------------------------------------------------------------

    def answered(self, what: tuple[Any, ...], answer: Answer, link: HostLink) -> None:
        """An outcome; anything but success is an error that a sender saw."""
        kind = {"m": _MESSAGE, "s": _SUBSCRIBE, "n": _NOTIFY}[what[0]]
        if answer.reason:
            self._errors[f"{type_name(kind)} {answer.reason} at {link.name}"] += 1
        if what[0] == "m" and not answer.reason:
            self._succeeded.add(what[1])
            self._latencies.append(time.monotonic() - what[2])
        elif what[0] == "s":
            watch = self._watches[what[1]]
            watch.is_active = not answer.reason
            if answer.reason:
                heapq.heappush(self._later, (time.monotonic() + _PAUSE_S, what[1], True))
        elif what[0] == "n":
            one = self._told[what[1]]
            one.in_flight = False
            if answer.reason:
                heapq.heappush(self._later, (time.monotonic() + _PAUSE_S, what[1], False))
            else:
                one.told = max(one.told, what[2])

    def asked(self, link: HostLink, request: Request, now: float) -> None:
        """A message, a subscription, or a state of somebody else."""
        del now
        if request.type == _MESSAGE:
            self._delivered[int(request.body.split()[1])] += 1
            link.succeed(request)
        elif request.type == _SUBSCRIBE:
            ident = request.fields[_ID]
            one = self._told.setdefault(ident, _Told(request.sender, request.to, ident))
            one.link = link
            link.succeed(request, field(_STATE, _ACTIVE) + field(_DURATION, request.fields[_DURATION]))
            self._counts["asked"] += 1
            self._owe(one)
        else:
            link.succeed(request)
            watch = self._watches[request.fields[_ID]]
            watch.is_unknown = _UNKNOWN in request.fields
            self._counts["unknown"] += watch.is_unknown
            if not watch.is_unknown:
                watch.seen = max(watch.seen, int(request.body))

    # -- what the test asks ------------------------------------------------------------------------------

    def send(self, on: bool) -> None:
        """Begin or end to send and change."""
        self._is_sending = self._is_changing = on
        self._may_ask = True

    def mark(self) -> None:
        """Count latencies from here."""
        self._latencies.clear()

    def ready(self) -> list[bool]:
        """Which hosts the service is logged in at."""
        return [link.is_ready for link in self.hosts]

    def numbers(self) -> dict[str, int]:
        """The state of each user of ours."""
        return {user.decode(): number for user, number in self._numbers.items()}

    def wrong(self, numbers: dict[str, int]) -> int:
        """Subscriptions of ours that do not hold the newest state, by what the other side says it is."""
        return sum(
            watch.is_unknown or watch.seen != numbers.get(watch.presentity.decode(), 0)
            for watch in self._watches.values()
        )

    def status(self) -> dict[str, Any]:
        """Figures; latencies in milliseconds since `mark`."""
        latencies = sorted(self._latencies)
        return {
            "sent": self._sent,
            "succeeded": len(self._succeeded),
            "waiting": sum(len(link.waiting) for link in self.hosts),
            "active": sum(watch.is_active for watch in self._watches.values()),
            "wanted": len(self._watches),
            "errors": dict(self._errors),
            "counts": dict(self._counts),
            "measured": len(latencies),
            "p50": _at(latencies, 50),
            "p99": _at(latencies, 99),
            "most": _at(latencies, 100),
        }

    def taken(self) -> dict[str, Any]:
        """Numbers of the messages that came, and those that came more than once."""
        return {
            "numbers": sorted(self._delivered),
            "doubled": [number for number, count in self._delivered.items() if count > 1],
        }


def _at(values: list[float], part: int) -> float:
    return round(values[min(len(values) * part // 100, len(values) - 1)] * 1000, 2) if values else 0.0


if __name__ == "__main__":
    if sys.argv[1:] == ["house"]:
        serve(House())
