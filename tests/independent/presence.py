"""Both sides of subscriptions, attributes and echo, for the users of a router (imx-protocol 7.6 to 7.9)."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import codec as c
from . import operations as o
from .link import OPEN, REASONS, Link
from .router import FAILURE, SUCCESS, Answer, Router

LATE_S = 32.0
Key = tuple[bytes, str, str]  # id, watcher, presentity


class Bucket:
    """So many a second on average, so many at once."""

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.rate, self.burst, self.left, self.at = rate, burst, float(burst), now

    def take(self, now: float) -> bool:
        """Say whether one more is within it."""
        self.left = min(self.burst, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(slots=True)
class Watched:
    """A subscription, on the presentity's side."""

    watcher: bytes
    presentity: bytes
    ident: bytes
    until: float
    state: int
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    answers: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Followed:
    """A subscription, on the watcher's side."""

    watcher: bytes
    presentity: bytes
    ident: bytes
    wanted_s: int
    until: float = 0.0
    state: o.State | None = None
    version: o.Version | None = None
    status: str = ""
    unknown: tuple[int, bytes] | None = None
    attributes: dict[bytes, bytes] = field(default_factory=dict)
    heard: list[o.Told] = field(default_factory=list)
    renewals: int = 0
    timer: asyncio.TimerHandle | None = None


class Presence:
    """What users are, who may see it, whom they watch.

    Attributes:
        wishes: (watcher, presentity) by key -> `allow`, `refuse` or `hide`; who is not in it is pending.
    """

    def __init__(self, router: Router, users: Mapping[bytes, str], *, lifetime_s: int = 1800) -> None:
        self.router, self.lifetime_s = router, lifetime_s
        self.states = {o.key(user): status for user, status in users.items()}
        self.attributes: dict[str, list[tuple[bytes, bytes, int]]] = {}
        self.wishes: dict[tuple[str, str], str] = {}
        self.epoch, self.count = int(time.time() * 1000), 0
        self.watched: dict[Key, Watched] = {}
        self.followed: dict[Key, Followed] = {}
        self.memory: dict[Key, float] = {}  # what this router passed on, until when
        self.rates: dict[Key, Bucket] = {}
        self.echoes: dict[bytes, Bucket] = {}
        self.pauses: tuple[float, ...] = (0.1, 0.2, 0.4)
        self.spread_s = 10.0
        router.handlers |= {
            c.SUBSCRIBE: self.on_subscribe, c.NOTIFY: self.on_notify, c.ATTRIBUTES: self.on_attributes,
            c.ECHO: self.on_echo,
        }  # fmt: skip
        router.on_lost = self.on_lost

    @property
    def now(self) -> float:
        """Seconds of the loop."""
        return self.router.loop.time()

    # The presentity's side.

    async def on_subscribe(self, record: c.Record) -> Answer:
        """Begin, renew, end or fetch."""
        try:
            ident, duration_s = o.read_subscribe(record)
        except o.BadOperation as bad:
            return Answer(FAILURE, str(bad))
        watcher, presentity = o.key(record.sender), o.key(record.to)
        name = (ident, watcher, presentity)
        wish = self.wishes.get((watcher, presentity), "")
        if presentity not in self.states or wish == "refuse":
            return Answer(FAILURE, "not-delivered")
        known = self.watched.get(name)
        if known is not None and known.until <= self.now:
            self.forget(known)
            known = None
        state = o.ACTIVE if wish else o.PENDING
        duration_s = min(duration_s, self.lifetime_s)
        self.memory[name] = self.now + duration_s + LATE_S
        if known is not None and not duration_s:
            self.forget(known)
            return Answer(SUCCESS, fields=o.granted(o.TERMINATED, 0))
        if known is None:
            known = Watched(record.sender, record.to, ident, self.now + duration_s, state)
            if duration_s:
                self.watched[name] = known
            self.router.start(self.serve(known))
        known.until, known.state = self.now + duration_s, state
        if state == o.ACTIVE:
            known.changed.set()
        return Answer(SUCCESS, fields=o.granted(state if duration_s else o.TERMINATED, duration_s))

    def forget(self, watched: Watched) -> None:
        """A subscription is over."""
        name = (watched.ident, o.key(watched.watcher), o.key(watched.presentity))
        if self.watched.get(name) is watched:
            del self.watched[name]

    async def serve(self, watched: Watched) -> None:
        """One notification in flight at a time, the newest state; again after a while if it is not taken."""
        refused, tried = 0, 0
        fetched = watched.until <= self.now
        while not refused > 1 and (fetched or self.is_live(watched)):
            if not tried:
                try:
                    left = None if fetched else watched.until - self.now
                    await asyncio.wait_for(watched.changed.wait(), left)
                except TimeoutError:
                    break
            watched.changed.clear()
            answer = await self.router.exchange(self.newest(watched, fetched))
            watched.answers.append(answer.reason)
            if answer.status == SUCCESS:
                refused = tried = 0
                if fetched or watched.state == o.TERMINATED:
                    break
                continue
            refused = refused + 1 if answer.reason == "not-subscribed" else 0
            await asyncio.sleep(self.pauses[min(tried, len(self.pauses) - 1)])
            tried += 1
        self.forget(watched)

    def is_live(self, watched: Watched) -> bool:
        """Say whether a subscription is still one."""
        return watched.until > self.now and watched in self.watched.values()

    def newest(self, watched: Watched, fetched: bool) -> c.Record:
        """The full state as it is now."""
        presentity, watcher = watched.presentity, watched.watcher
        wish = self.wishes.get((o.key(watcher), o.key(presentity)), "")
        left = max(0, int(watched.until - self.now))
        if wish == "refuse":
            watched.state = o.TERMINATED
            return o.notify(presentity, watcher, o.Told(watched.ident, (o.TERMINATED, o.REJECTED)))
        status = "closed" if wish == "hide" else self.states[o.key(presentity)]
        document, state = o.document(presentity, status), o.TERMINATED if fetched else o.ACTIVE
        shown = tuple(self.attributes.get(o.key(presentity), ()))
        told = o.Told(watched.ident, (state, o.NO_REASON), (self.epoch, self.count), document, left, shown)
        return o.notify(presentity, watcher, told)

    def decide(self, watcher: bytes, presentity: bytes, wish: str) -> None:
        """The presentity says who may see it; it is told by a notification."""
        names = o.key(watcher), o.key(presentity)
        self.wishes[names] = wish
        for one in self.watched.values():
            if (o.key(one.watcher), o.key(one.presentity)) == names:
                one.state = o.ACTIVE
                one.changed.set()

    def publish(self, presentity: bytes, status: str) -> None:
        """A user's state has changed."""
        self.states[o.key(presentity)] = status
        self.count += 1
        for one in self.watched.values():
            if o.key(one.presentity) == o.key(presentity) and one.state == o.ACTIVE:
                one.changed.set()

    async def say_unknown(self, watched: Watched, reason: str) -> Answer:
        """The router's own word about a user of its domain."""
        where = (REASONS[reason], c.domain_of(watched.presentity))
        told = o.Told(watched.ident, (watched.state, o.NO_REASON), unknown=where)
        return await self.router.exchange(o.notify(watched.presentity, watched.watcher, told))

    # The watcher's side.

    async def follow(
        self, watcher: bytes, presentity: bytes, wanted_s: int = 1800, *, ident: bytes = b""
    ) -> tuple[Answer, Followed]:
        """Begin a subscription, and renew it from then on."""
        ident = ident or secrets.token_bytes(8)
        name = (ident, o.key(watcher), o.key(presentity))
        followed = self.followed[name] = Followed(watcher, presentity, ident, wanted_s)
        answer = await self.subscribe(followed, wanted_s)
        if answer.status == SUCCESS:
            self.renew_later(followed, 0.5, 0.9)
        return answer, followed

    async def fetch(self, watcher: bytes, presentity: bytes, ident: bytes) -> tuple[Answer, Followed]:
        """Ask once for the state; it comes as a notification."""
        name = (ident, o.key(watcher), o.key(presentity))
        followed = self.followed[name] = Followed(watcher, presentity, ident, 0)
        return await self.subscribe(followed, 0), followed

    async def subscribe(self, followed: Followed, wanted_s: int) -> Answer:
        """Send SUBSCRIBE, and note what it was answered."""
        name = (followed.ident, o.key(followed.watcher), o.key(followed.presentity))
        self.memory[name] = max(self.memory.get(name, 0), self.now + wanted_s + LATE_S)
        record = o.subscribe(followed.watcher, followed.presentity, followed.ident, wanted_s)
        answer = await self.router.exchange(record)
        state, duration = answer.first(c.SUBSCRIPTION_STATE), answer.first(c.DURATION)
        if answer.status == SUCCESS and state and duration:
            duration_s = int.from_bytes(duration, "big")
            followed.until = self.now + duration_s
            self.memory[name] = followed.until + LATE_S
            if followed.state is None or state[0] != followed.state[0]:
                followed.state = (state[0], state[1])
        elif answer.reason in {"unreachable", "link-lost", "connection-refused", "no-such-domain"}:
            followed.unknown = (REASONS[answer.reason], c.domain_of(followed.presentity))
        return answer

    def renew_later(self, followed: Followed, least: float, most: float) -> None:
        """At a random moment between two parts of what is granted."""
        left = followed.until - self.now
        delay = left * random.uniform(least, most)
        self.at(followed, delay)

    def at(self, followed: Followed, delay: float) -> None:
        """Renew then."""
        if followed.timer is not None:
            followed.timer.cancel()
        followed.timer = self.router.loop.call_later(delay, lambda: self.router.start(self.renew(followed)))

    async def renew(self, followed: Followed) -> None:
        """Once; again soon if it fails, until the subscription ends."""
        answer = await self.subscribe(followed, followed.wanted_s)
        followed.renewals += answer.status == SUCCESS
        if answer.status == SUCCESS:
            self.renew_later(followed, 0.5, 0.9)
        elif followed.until > self.now:
            self.at(followed, 0.2)

    async def end(self, followed: Followed) -> Answer:
        """End a subscription."""
        if followed.timer is not None:
            followed.timer.cancel()
        return await self.subscribe(followed, 0)

    def on_lost(self, link: Link) -> None:
        """The last link to a domain is lost: subscribe again, with the same id, spread."""
        for followed in self.followed.values():
            pair = (c.domain_of(followed.watcher), c.domain_of(followed.presentity))
            others = [one for one in self.router.links.values() if one.state == OPEN]
            lost = pair in link.send_pairs and not any(pair in one.send_pairs for one in others)
            if lost and followed.timer is not None and link.close_reason != "shutting-down":
                self.at(followed, random.uniform(0, self.spread_s))

    async def on_notify(self, record: c.Record) -> Answer:
        """The newest wins; only what somebody here asked for is taken."""
        try:
            told = o.read_notify(record)
        except o.BadOperation as bad:
            return Answer(FAILURE, str(bad))
        name = (told.ident, o.key(record.to), o.key(told.presentity))
        followed = self.followed.get(name)
        if self.memory.get(name, 0) <= self.now or followed is None:
            return Answer(FAILURE, "not-subscribed")
        if not self.rates.setdefault(name, Bucket(1, 20, self.now)).take(self.now):
            return Answer(FAILURE, "rate-limited", 5)
        followed.heard.append(told)
        if told.unknown is not None:
            followed.unknown = told.unknown
            return Answer(SUCCESS)
        if told.version is not None and followed.version is not None and told.version < followed.version:
            return Answer(SUCCESS)
        followed.unknown = None
        followed.state = told.standing
        followed.attributes |= {key: value for key, value, _ in told.attributes}
        if told.document:
            followed.version, followed.status = told.version, o.basic(told.document)
        if told.standing[0] == o.TERMINATED:
            del self.memory[name]
            if followed.timer is not None:
                followed.timer.cancel()
        return Answer(SUCCESS)

    # Attributes and echo.

    async def on_attributes(self, record: c.Record) -> Answer:
        """Of a domain the router answers itself, of a user who may see."""
        try:
            names = o.read_names(record)
        except o.BadOperation as bad:
            return Answer(FAILURE, str(bad))
        owner = o.key(record.to)
        known = [one for one in self.attributes.get(owner, ()) if not names or one[0] in names]
        return Answer(SUCCESS, content=o.values(known, 30_000))

    async def on_echo(self, record: c.Record) -> Answer:
        """What came, goes back."""
        domain = c.domain_of(record.sender)
        if not record.to.startswith(b"@"):
            return Answer(FAILURE, "bad-address")
        if len(record.body) > o.MAX_ECHO:
            return Answer(FAILURE, "too-large")
        if not self.echoes.setdefault(domain, Bucket(1, 10, self.now)).take(self.now):
            return Answer(FAILURE, "rate-limited", 5)
        return Answer(SUCCESS, content=record.body)
