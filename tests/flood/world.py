"""The router under attack, two honest ones, a name server, and the attackers; each a process."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from imxrouter.model.limits import Limit
from tests.doubles.authority import DAY, Authority
from tests.doubles.router_process import RouterProcess
from tests.doubles.router_rig import free_port, login_key, service_table
from tests.flood.attackers import VICTIMS
from tests.flood.own_view import NAME, NOTE
from tests.storm.children import Child

#: The attacking domain, and the address of its router.
PEER: Final = "m.example"
PEER_IP: Final = "127.2.1.1"
SENDER: Final = "ann@talk-x.example"
NEWCOMER: Final = "nora@n.example"
RECIPIENT: Final = "ben@talk-z.example"


def _cores(number: int) -> set[int]:
    cores = sorted(os.sched_getaffinity(0))
    return {cores[min(number, len(cores) - 1)]}


class World:
    """Domain `talk-x.example` writes to `talk-z.example`, whose router is attacked. `close` ends everything.

    z has a core of its own, and the default limits; only one sender may send more, so that there is
    something to measure, and nothing is shed: on a slow machine honest messages would be.

    Args:
        folder: for files.
        rate: honest messages a second.
    """

    def __init__(self, folder: Path, rate: float) -> None:
        self._ports = {name: free_port("127.0.0.1") for name in ("x", "z", "n", "dns")}
        self._peer_port = free_port(PEER_IP)
        self._metrics_port = free_port("127.0.0.1")
        self._children: list[Child] = []
        self._newcomers = itertools.count(1)
        self.z = self._router(folder, "z", "x", _cores(0))
        self.x = self._router(folder, "x", "z", _cores(1))
        self.n = self._router(folder, "n", "z", _cores(1))
        self.routers = (self.z, self.x, self.n)
        self._dns = self._name_server(folder)
        try:
            self._start(rate)
        except BaseException:
            self.close()
            raise

    def _start(self, rate: float) -> None:
        for router in self.routers:
            router.start()
        self.idle_mb = self.z.rss_mb()
        both = [self._ports["x"], self._ports["z"]]
        self.talk = self._child("talk", ports=both, key=login_key(1).private_bytes_raw().hex(), rate=rate)
        self.attackers = self._child(
            "attack", module="tests.flood.attackers", target=["127.0.0.1", self._ports["z"]], domain=PEER,
            at=[PEER_IP, self._peer_port],
        )  # fmt: skip

    def newcomer(self) -> tuple[str, float]:
        """Somebody whose domain was never seen writes to a recipient: its answer, and how long it took."""
        began = time.monotonic()
        outcome = self.n.admin.send(NEWCOMER, RECIPIENT, f"number {-next(self._newcomers)}")
        return outcome["reason"], time.monotonic() - began

    def strangers(self) -> float:
        """Connections at the attacked router that have proved nothing."""
        (used,) = [one["used"] for one in self.z.admin.limits() if one["name"] == Limit.STRANGERS.word]
        return float(used or 0)

    def kept(self, since: float) -> list[tuple[float, float]]:
        """How long the attacked router kept each read of the honest ones at most: wall clock, processor."""
        notes = (self.z.run_dir / NAME).read_bytes()
        notes = notes[: len(notes) // NOTE.size * NOTE.size]
        return [(wall, cpu) for at, wall, cpu in NOTE.iter_unpack(notes) if at >= since]

    def late_ticks(self) -> dict[float, int]:
        """The attacked router's own meter of its turns: how many ticks, by how late they were at most."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        found = (
            re.match(r'imxrouter_reactor_tick_seconds_bucket\{le="([^"]+)"\} (\S+)', one) for one in lines
        )
        return {float(one[1]): int(float(one[2])) for one in found if one is not None}

    def close(self) -> None:
        """End everything."""
        for child in self._children:
            with contextlib.suppress(OSError):  # it has ended by itself
                child.close()
        for router in self.routers:
            with contextlib.suppress(OSError):
                router.stop(signal.SIGKILL)
        self._dns.kill()
        self._dns.wait()

    # -- inside ------------------------------------------------------------------------------------------

    def _child(self, part: str, **plan: Any) -> Child:
        self._children.append(Child(part, _cores(1), **plan))
        return self._children[-1]

    def _router(self, folder: Path, name: str, peer: str, cores: set[int]) -> RouterProcess:
        text = f"""
name = "router.{name}.example"
role = "aggregator"
lab = true
listen.addresses = ["127.0.0.1:{self._ports[name]}"]
metrics.listen = "{f"127.0.0.1:{self._metrics_port}" if name == "z" else ""}"
trust.default_policy = "dialback"
dial.allow_networks = ["127.0.0.0/8"]
dns.nameservers = ["127.0.0.1:{self._ports["dns"]}"]
overload.lag_ms = 0
limits.exceptions = [{{ sender = "{SENDER}", rate_per_s = 10000, burst = 1000 }}]
log.level = "warn"
log.format = "text"
"""
        if name == "n":
            service = '[[service]]\nname = "n"\nkind = "embedded"\nusers = ["nora"]\n'
            text += service + '[[domain]]\nname = "n.example"\nservice = "n"\n'
        else:
            if name == "z":
                now = time.time()
                issued = Authority.root().issue(
                    "talk-z.example", not_before=now - DAY, not_after=now + 9 * DAY
                )
                text += f'tls.certificates = "{issued.write(folder / "certificates", "talk").parent}"\n'
            place = f"127.0.0.1:{self._ports[peer]}"
            text += f'[[peer]]\ndomain = "talk-{peer}.example"\naddresses = ["{place}"]\n'
            text += service_table("talk", login_key(1), f"talk-{name}.example")
        if name == "n":
            place = f"127.0.0.1:{self._ports['z']}"
            text += f'[[peer]]\ndomain = "talk-z.example"\naddresses = ["{place}"]\n'
        program = (sys.executable, "-m", "tests.flood.own_view") if name == "z" else ()
        return RouterProcess(name, folder, text, cores, program)

    def _name_server(self, folder: Path) -> subprocess.Popen[bytes]:
        """Every domain that an attacker claims belongs to the honest router x."""
        ports = self._ports
        x = f"IN IMX 1 h-x.example. port={ports['x']}"
        lines = [
            "$ORIGIN example.",
            "@ 300 IN SOA ns hostmaster 1 3600 600 86400 60",
            "h-x 300 IN A 127.0.0.1",
            f"h-m 300 IN A {PEER_IP}",
            f"n 300 IN IMX 1 h-x.example. port={ports['n']}",
            f"m 300 IN IMX 1 h-m.example. port={self._peer_port}",
            *(f"{name.removesuffix('.example')} 300 {x}" for name in VICTIMS),
        ]
        zone = folder / "example.zone"
        zone.write_text("\n".join(lines) + "\n")
        return subprocess.Popen(
            [
                sys.executable, "-m", "imxrouter.lab.dns", "--zone", str(zone),
                "--listen", f"127.0.0.1:{ports['dns']}",
            ],
            stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2],
        )  # fmt: skip
