"""Two organisations, each with a router process and scripted services, and what is asked of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imxrouter.admin.client import AdminClient
from imxrouter.admin.errors import AdminUnreachable
from tests.doubles.router_rig import free_port, login_key
from tests.doubles.twistd import start_router
from tests.storm.children import WATCHERS_OF_STILL, Child, crowd_users

_TICKS = os.sysconf("SC_CLK_TCK")


def cores_of(part: str) -> set[int]:
    """Where a part of the world runs: the notifier alone on a core, for it fills one; the load last.

    Otherwise a machine with two cores lets it wait 4 ms for a turn again and again, and that is measured.
    """
    cores = sorted(os.sched_getaffinity(0))
    place = {"z": cores[:1], "x": cores[1:2]}.get(part, cores[2:] or cores[1:])
    return set(place or cores)


class RouterProcess:
    """A router as an operator starts it, with the default limits.

    Args:
        folder: of the scene.
        name: of the organisation, `x` or `z`.
        peer: of the other one.
        ports: of both routers, by name.
        users: of an embedded service for its first domain; none: a scripted one logs in.
    """

    def __init__(
        self, folder: Path, name: str, peer: str, ports: dict[str, int], users: list[str] | None = None
    ) -> None:
        self.name = name
        self._child: subprocess.Popen[bytes] | None = None
        run = folder / name
        run.mkdir()
        self.log = run / "log"
        self._config = run / "router.toml"
        self._admin = run / "admin.sock"
        text = f"""
name = "router.{name}.example"
role = "aggregator"
lab = true
state_dir = "{run}/state"
run_dir = "{run}"
listen.addresses = ["127.0.0.1:{ports[name]}"]
admin.socket = "{self._admin}"
metrics.listen = ""
trust.default_policy = "dialback"
dial.allow_networks = ["127.0.0.0/8"]
dial.backoff_first_s = 0.2
dial.backoff_cap_s = 2.0
dns.nameservers = ["127.0.0.1:9"]
limits.sender_rate_per_s = 1000
limits.sender_burst = 1000
log.level = "warn"
log.trace_entries = 0
log.format = "text"
"""
        for prefix in ("", "talk-"):
            text += f'[[peer]]\ndomain = "{prefix}{peer}.example"\naddresses = ["127.0.0.1:{ports[peer]}"]\n'
        self.home = run / "home.sock"
        self._program = [sys.executable, "-m", "tests.storm.home"] if users else []
        if users:
            names = json.dumps([user.partition("@")[0] for user in users])
            text += f'[[service]]\nname = "home"\nkind = "embedded"\nusers = {names}\npresence = "open"\n'
            text += f'[[domain]]\nname = "{name}.example"\nservice = "home"\n'
        for number, (service, domain) in enumerate((("crowd", name), ("talk", f"talk-{name}")), 1):
            if users and number == 1:
                continue
            public = login_key(number).public_key().public_bytes_raw().hex()
            text += f'[[service]]\nname = "{service}"\nkind = "imx"\nkey = "{public}"\n'
            text += f'[[domain]]\nname = "{domain}.example"\nservice = "{service}"\n'
            text += 'types = ["message", "0x0101", "0x0102"]\n'
        self._config.write_text(text)

    def start(self) -> float:
        """Start it; returns seconds until its administration answers, which starts after its links."""
        began = time.monotonic()
        self._admin.unlink(missing_ok=True)
        program = {"program": self._program} if self._program else {}
        child = self._child = start_router(self._config, self.log, **program)
        os.sched_setaffinity(child.pid, cores_of(self.name))
        while time.monotonic() < began + 60 and child.poll() is None:
            if self.is_up():
                return time.monotonic() - began
            time.sleep(0.05)
        raise AssertionError(f"{self.name} does not start: {self.log.read_text()[-2000:]}")

    def stop(self, how: signal.Signals) -> float:
        """End it with a signal; returns seconds until it was gone."""
        began = time.monotonic()
        if self._child is not None:
            self._child.send_signal(how)
            self._child.wait(60)
            self._child = None
        return time.monotonic() - began

    def is_up(self) -> bool:
        """Whether its administration answers."""
        with contextlib.suppress(AdminUnreachable):
            AdminClient(str(self._admin), timeout_s=30).status()
            return True
        return False

    def rss_mb(self, line: str = "VmRSS") -> float:
        """Megabytes of memory now; `VmHWM`: at most so far."""
        assert self._child is not None
        for one in Path(f"/proc/{self._child.pid}/status").read_text().splitlines():
            if one.startswith(line):
                return int(one.split()[1]) * 1024 / 1e6
        return 0.0

    def cpu_s(self) -> float:
        """Seconds of processor time of this life."""
        assert self._child is not None
        words = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / _TICKS

    def tracebacks(self) -> list[str]:
        """Lines of its log that begin a traceback."""
        text = self.log.read_text()
        return [f"{self.name}: {text[at : at + 2000]}" for at in _all_of(text, "Traceback")]


def _all_of(text: str, word: str) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)


@dataclass(frozen=True)
class Size:
    """How large a storm is.

    Attributes:
        star: watchers of one user.
        users: that change all the time.
        each: watchers of each of them.
        still: users who do not change in the storm, with a hundred watchers each.
        rate: messages a second beside it.
        seconds: of each part.
        embedded: z's users are those of its embedded service; else of a scripted one.
    """

    star: int
    users: int
    each: int
    still: int
    rate: float
    seconds: float
    embedded: bool = True

    @property
    def subscriptions(self) -> int:
        """In all."""
        return self.star + self.users * self.each + self.still * WATCHERS_OF_STILL


class World:
    """Both routers and both kinds of services, which begin to subscribe at once; `close` ends them."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.size = size
        ports = {name: free_port("127.0.0.1") for name in ("x", "z")}
        self.x = RouterProcess(folder, "x", "z", ports)
        users = crowd_users(size.users, size.still) if size.embedded else None
        self.z = RouterProcess(folder, "z", "x", ports, users)
        self.routers = (self.x, self.z)
        self._children: list[Child] = []
        for router in self.routers:
            router.start()
        self.idle_mb = {router.name: router.rss_mb() for router in self.routers}
        self.began = time.monotonic()
        both = [ports["x"], ports["z"]]
        plan = {"star": size.star, "users": size.users, "each": size.each, "still": size.still}
        home = str(self.z.home) if size.embedded else ""
        self.crowd = self._child("crowd", 1, ports=both, home=home, **plan)
        self.talk = self._child("talk", 2, ports=both, rate=size.rate)

    def _child(self, part: str, number: int, **plan: Any) -> Child:
        self._children.append(
            Child(part, cores_of(part), key=login_key(number).private_bytes_raw().hex(), **plan)
        )
        return self._children[-1]

    def wait(self, holds: Callable[[dict[str, Any]], bool], what: str, within_s: float) -> dict[str, Any]:
        """Wait until the crowd's figures are as wanted; returns them."""
        until = time.monotonic() + within_s
        while True:
            status: dict[str, Any] = self.crowd.ask("status")
            if holds(status):
                return status
            assert time.monotonic() < until, f"not within {within_s:g} s: {what}: {status}"
            time.sleep(0.1)

    def right(self, within_s: float) -> dict[str, Any]:
        """Wait until every watcher holds the newest state, and nobody is told that nobody knows."""
        return self.wait(lambda it: not it["wrong"] and not it["unknown"], "every watcher right", within_s)

    def close(self) -> None:
        """End everything."""
        for child in self._children:
            child.close()
        for router in self.routers:
            with contextlib.suppress(OSError):
                router.stop(signal.SIGKILL)


def say(text: str) -> None:
    """A line of the report."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
