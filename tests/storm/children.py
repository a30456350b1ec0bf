"""The scripted services in processes of their own: one for those who watch and are watched, one for messages.

Lines of JSON come in and go out: `{"do": "status"}` and so on, the methods of `Crowd` and `Talk`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imxrouter.wire.registry import type_name
from tests.storm.home import HomeClient
from tests.storm.link import ServiceLink
from tests.storm.services import AtHome, Presentities, Talkers, Watch, Watchers

#: The longest rest between two turns.
_REST_S: Final = 0.01
STAR: Final = "star@z.example"
WATCHERS_OF_STILL: Final = 100


def crowd_users(users: int, still: int) -> list[str]:
    """Addresses of those who are watched: one by most, those who change, those who do not."""
    return [
        STAR,
        *(f"u{at:04d}@z.example" for at in range(users)),
        *(f"s{at:04d}@z.example" for at in range(still)),
    ]


class Child:
    """A process with services, as a scene holds it."""

    def __init__(self, part: str, cores: set[int], module: str = __name__, **plan: Any) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", module, part],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        os.sched_setaffinity(self._child.pid, cores)
        self.ask("start", **plan)

    def ask(self, word: str, **arguments: Any) -> Any:
        """Have something done; gives what it says."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"do": word, **arguments}).encode() + b"\n")
        self._child.stdin.flush()
        return json.loads(self._child.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # it died with something unread
                    stream.close()


class Part:
    """What a child does: its links, and a method for each word."""

    links: list[ServiceLink]

    def turn(self, now: float) -> float:
        """Do what is due of itself; returns when it is to be called again at the latest."""
        return now + _REST_S


class Crowd(Part):
    """Watchers at x, presentities at z."""

    def start(
        self, ports: list[int], key: str, home: str, star: int, users: int, each: int, still: int
    ) -> None:
        """Make them: watchers of one user, users with `each` watchers, and users who seldom change.

        They are the load, not what is measured: routers and messages go first where the processor is short.
        """
        os.nice(10)
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key))
        pairs = [(f"w{number:06d}@x.example", STAR) for number in range(star)]
        self._users, self._still = crowd_users(users, still)[1 : users + 1], crowd_users(0, still)[1:]
        pairs += [(f"f{at:03d}-{user[:5]}@x.example", user) for user in self._users for at in range(each)]
        pairs += [
            (f"g{at:03d}-{user[:5]}@x.example", user)
            for user in self._still
            for at in range(WATCHERS_OF_STILL)
        ]
        watches = [
            Watch(watcher.encode(), presentity.encode(), b"id-%06d" % number)
            for number, (watcher, presentity) in enumerate(pairs)
        ]
        self._watchers = Watchers(ports[0], private, watches, 1800)
        self.links = [self._watchers]
        if home:
            self._presentities: AtHome | Presentities = AtHome(HomeClient(Path(home)))
        else:
            self._presentities = Presentities(ports[1], private, 1800)
            self.links.append(self._presentities)
        self._storm_s = self._started = 0.0
        self._changes = 0

    def turn(self, now: float) -> float:
        """In a storm each user changes once in so many seconds, evenly spread."""
        if not self._storm_s:
            return now + _REST_S
        due = int((now - self._started) / self._storm_s * len(self._users))
        numbers = range(self._changes, due)
        self._presentities.change(*(self._users[at % len(self._users)].encode() for at in numbers))
        self._changes = max(due, self._changes)
        return now + 0.002

    def star(self) -> None:
        """The user whom all watch changes."""
        self._presentities.change(STAR.encode())

    def change_all(self) -> None:
        """Everybody changes once."""
        self._presentities.change(*(user.encode() for user in (STAR, *self._users, *self._still)))

    def storm(self, every_s: float) -> int:
        """Every user changes once in so many seconds; 0: no longer. Returns how many changes there were."""
        self._storm_s, self._started = every_s, time.monotonic()
        changes, self._changes = self._changes, 0
        return changes

    def mark(self) -> None:
        """Count from here."""
        self._presentities.mark()
        for link in self.links:
            link.outcomes.clear()
        self._watchers.told = self._watchers.unknowns = 0

    def status(self) -> dict[str, Any]:
        """Figures since `mark`; `wrong` are watchers that do not hold the newest state."""
        numbers = self._presentities.numbers
        renewed, still_s = self._presentities.renewed()
        watches = self._watchers.watches.values()
        return {
            "active": sum(one.is_active for one in watches),
            "wrong": sum(one.seen != numbers.get(one.presentity, 0) for one in watches),
            "unknown": sum(one.is_unknown for one in watches),
            "told": self._watchers.told,
            "unknowns": self._watchers.unknowns,
            "misled": self._watchers.misled,
            "waiting": sum(len(link.waiting) for link in self.links),
            "stray": sum(link.stray for link in self.links),
            "outcomes": _words(self.links),
            "renewed": renewed,
            "still_s": still_s,
        }


class Talk(Part):
    """A stream of messages from x to z."""

    def start(self, ports: list[int], key: str, rate: float) -> None:
        """Make both ends."""
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key))
        self._sender = Talkers(ports[0], private, (b"ann@talk-x.example", b"ben@talk-z.example"), rate)
        self._taker = Talkers(ports[1], private, None)
        self.links = [self._sender, self._taker]

    def turn(self, now: float) -> float:
        """Be there when the next message is due."""
        return min(self._sender.next_at, now + _REST_S)

    def send(self, on: bool) -> None:
        """Begin or end."""
        self._sender.is_sending = on

    def mark(self) -> None:
        """Count latencies from here."""
        self._sender.latencies.clear()

    def status(self) -> dict[str, Any]:
        """Latencies in milliseconds since `mark`, the rest since the beginning."""
        sender, delivered = self._sender, self._taker.delivered
        latencies = sorted(sender.latencies)
        return {
            "sent": sender.sent,
            "succeeded": len(sender.succeeded),
            "waiting": len(sender.waiting),
            "lost": len(sender.succeeded - delivered.keys()),
            "doubled": sum(count > 1 for count in delivered.values()),
            "outcomes": _words([sender]),
            "measured": len(latencies),
            **{f"p{part}": _percentile_ms(latencies, part) for part in (50, 99)},
        }


def _percentile_ms(values: list[float], part: int) -> float:
    return round(values[min(len(values) * part // 100, len(values) - 1)] * 1000, 3) if values else 0.0


def _words(links: list[ServiceLink]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for link in links:
        for (kind, reason), count in link.outcomes.items():
            total[f"{type_name(kind)} {reason or 'success'}"] += count
    return dict(total)


def serve(part: Part) -> None:
    """Serve until the input ends."""
    lines = bytearray()
    part.links = []
    until = 0.0
    while True:
        sockets = [one.sock for one in part.links if one.sock is not None]
        rest = max(0.0, min(until - time.monotonic(), _REST_S))
        readable, _, _ = select.select([sys.stdin.fileno(), *sockets], [], [], rest)
        if sys.stdin.fileno() in readable:
            data = os.read(sys.stdin.fileno(), 65536)
            if not data:
                return
            lines += data
            while b"\n" in lines:
                line, _, lines = lines.partition(b"\n")
                command = json.loads(line)
                said = getattr(part, command.pop("do"))(**command)
                sys.stdout.write(json.dumps(said) + "\n")
                sys.stdout.flush()
        now = time.monotonic()
        if part.links:
            until = part.turn(now)
        for one in part.links:
            one.turn(now, one.sock in readable)


if __name__ == "__main__":
    serve({"crowd": Crowd, "talk": Talk}[sys.argv[1]]())
