"""Two organisations, each with a router process and scripted services, and what is asked of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.doubles.router_process import RouterProcess
from tests.doubles.router_rig import free_port, login_key, service_table
from tests.storm.children import WATCHERS_OF_STILL, Child, crowd_users


def cores_of(part: str) -> set[int]:
    """Where a part of the world runs: the notifier alone on a core, for it fills one; the load last.

    Otherwise a machine with two cores lets it wait 4 ms for a turn again and again, and that is measured.
    """
    cores = sorted(os.sched_getaffinity(0))
    place = {"z": cores[:1], "x": cores[1:2]}.get(part, cores[2:] or cores[1:])
    return set(place or cores)


def router_of(
    folder: Path, name: str, peer: str, ports: dict[str, int], users: list[str] | None = None
) -> RouterProcess:
    """A router with the default limits, but for what one user may send and get, and whoever comes late.

    After a pause, of whichever process, all that was due comes at once; and a slow machine sheds messages.

    Args:
        folder: of the scene.
        name: of the organisation, `x` or `z`.
        peer: of the other one.
        ports: of both routers, by name.
        users: of an embedded service for its first domain; none: a scripted one logs in.
    """
    text = f"""
name = "router.{name}.example"
role = "aggregator"
lab = true
listen.addresses = ["127.0.0.1:{ports[name]}"]
metrics.listen = ""
trust.default_policy = "dialback"
dial.allow_networks = ["127.0.0.0/8"]
dial.backoff_first_s = 0.2
dial.backoff_cap_s = 2.0
dns.nameservers = ["127.0.0.1:9"]
limits.sender_rate_per_s = 100000
limits.sender_burst = 100000
limits.recipient_rate_per_s = 100000
limits.recipient_burst = 100000
overload.lag_ms = 0
log.level = "warn"
log.trace_entries = 0
log.format = "text"
"""
    for prefix in ("", "talk-"):
        text += f'[[peer]]\ndomain = "{prefix}{peer}.example"\naddresses = ["127.0.0.1:{ports[peer]}"]\n'
    if users:
        names = json.dumps([user.partition("@")[0] for user in users])
        text += f'[[service]]\nname = "home"\nkind = "embedded"\nusers = {names}\npresence = "open"\n'
        text += f'[[domain]]\nname = "{name}.example"\nservice = "home"\n'
    for number, (service, domain) in enumerate((("crowd", name), ("talk", f"talk-{name}")), 1):
        if users and number == 1:
            continue
        text += service_table(service, login_key(number), f"{domain}.example", types=("0x0101", "0x0102"))
    program = [sys.executable, "-m", "tests.storm.home"] if users else []
    return RouterProcess(name, folder, text, cores_of(name), program)


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
        self.x = router_of(folder, "x", "z", ports)
        users = crowd_users(size.users, size.still) if size.embedded else None
        self.z = router_of(folder, "z", "x", ports, users)
        self.routers = (self.x, self.z)
        self._children: list[Child] = []
        for router in self.routers:
            router.start()
        self.idle_mb = {router.name: router.rss_mb() for router in self.routers}
        self.began = time.monotonic()
        both = [ports["x"], ports["z"]]
        plan = {"star": size.star, "users": size.users, "each": size.each, "still": size.still}
        home = str(self.z.run_dir / "home.sock") if size.embedded else ""
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
