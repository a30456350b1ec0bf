"""One organisation with a host, one with two; a name server; a service on each side."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from imxrouter.admin.client import AdminClient
from imxrouter.admin.errors import AdminUnreachable
from tests.doubles.authority import DAY
from tests.doubles.router_rig import authority, free_port, login_key
from tests.doubles.twistd import start_router
from tests.storm.children import Child

_ROOT: Final = Path(__file__).parents[2]
#: Each router has an address of its own, for a domain's targets are told apart by address and port.
PLACES: Final = {"a1": "127.0.1.1", "b1": "127.0.2.1", "b2": "127.0.2.2"}


class Host:
    """A router process as an operator starts it.

    Its limits are far above the load, also where all that was due in some seconds comes at once.
    """

    def __init__(
        self, folder: Path, name: str, port: int, dns: int, extra: str = "", *, tls: bool = False
    ) -> None:
        self.name = name
        self.domain = f"{name[0]}.example"
        policy = "dialback+certificate" if tls else "dialback"
        extra += _certificates(folder, self.domain) if tls else ""
        self.place = (PLACES[name], port)
        self.log = folder / f"{name}.log"
        self._child: subprocess.Popen[bytes] | None = None
        run = folder / name
        run.mkdir()
        self.admin = run / "admin.sock"
        count = 2 if "workers = 2" in extra else 1
        #: of its processes
        self.numbers = [str(number) for number in range(count)]
        self.sockets = [self.admin, *(run / f"admin-{number}.sock" for number in self.numbers[1:])]
        self.metrics = free_port("127.0.0.1")
        self._config = run / "router.toml"
        public = login_key(1).public_key().public_bytes_raw().hex()
        self._config.write_text(f"""
name = "im{name[1]}.{self.domain}"
role = "gateway"
lab = true
state_dir = "{run}/state"
run_dir = "{run}"
listen.addresses = ["{PLACES[name]}:{port}"]
metrics.listen = "127.0.0.1:{self.metrics}"
trust.default_policy = "{policy}"
dial.allow_networks = ["127.0.0.0/8"]
dns.nameservers = ["127.0.0.1:{dns}"]
dialback.keys = {{ one = "{"ab" * 32}" }}
dial.hold_count = 100000
links.credit_requests = 16384
limits.sender_rate_per_s = 100000
limits.sender_burst = 100000
limits.recipient_rate_per_s = 100000
limits.recipient_burst = 100000
limits.recipient_strangers_rate_per_s = 100000
overload.lag_ms = 0
log.level = "warn"
log.format = "text"
log.trace_entries = 0
{extra}
[[service]]
name = "house"
kind = "imx"
key = "{public}"
[[domain]]
name = "{self.domain}"
service = "house"
types = ["message", "0x0101", "0x0102"]
""")

    def start(self) -> float:
        """Start it; seconds until it answers."""
        began = time.monotonic()
        self.admin.unlink(missing_ok=True)
        self._child = start_router(self._config, self.log)
        while time.monotonic() < began + 60 and self._child.poll() is None:
            with contextlib.suppress(AdminUnreachable):
                self.client.status()
                return time.monotonic() - began
            time.sleep(0.05)
        raise AssertionError(f"{self.name} does not start: {self.log.read_text()[-2000:]}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> float:
        """End it; seconds until it was gone."""
        began = time.monotonic()
        if self._child is not None:
            self._child.send_signal(how)
            self._child.wait(60)
            self._child = None
        return time.monotonic() - began

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run imxctl as an operator does."""
        return subprocess.run(
            [sys.executable, "-m", "imxrouter.cli.main", "--socket", str(self.admin), *words],
            capture_output=True, text=True, timeout=60, cwd=_ROOT, check=False,
        )  # fmt: skip

    def figures(self, *families: str) -> dict[str, float]:
        """Some of its metrics that are not 0."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith(families))
        return {name.removeprefix("imxrouter_"): float(value) for name, _, value in found if float(value)}

    @property
    def client(self) -> AdminClient:
        """Its administration."""
        return AdminClient(str(self.admin), timeout_s=30)

    def logged(self, text: str) -> int:
        """How often its log has a text."""
        return self.log.read_text().count(text)


def _certificates(folder: Path, domain: str) -> str:
    """A certificate for a domain, by an authority that all trust; as the configuration names it."""
    here = folder / f"certificates-{domain}"
    if not here.exists():
        now = time.time()
        authority().issue(domain, not_before=now - DAY, not_after=now + DAY).write(here, domain)
    trusted = authority().issued.write(folder, "authority")
    return f'tls.certificates = "{here}"\ntls.trust = ["{trusted}"]\n'


class World:
    """The world; `close` ends it."""

    def __init__(
        self, folder: Path, rate: float, watches: int, changes: float, extra: str = "", *, tls: bool = False
    ) -> None:
        """Start it.

        Args:
            folder: for everything.
            rate: messages a second, of both sides together.
            watches: subscriptions, of both sides together.
            changes: of users' states, a second.
            extra: more of the configuration of the two hosts.
            tls: all links between routers are in TLS, by certificate and dial-back.
        """
        dns, port = free_port("127.0.0.1"), free_port("127.0.0.1")
        zones = []
        for domain, names in (("a.example", ("a1",)), ("b.example", ("b1", "b2"))):
            text = f"$ORIGIN {domain}.\n"
            for name in names:
                text += f"@ 60 IN IMX 1 im{name[1]} port={port}\nim{name[1]} 60 IN A {PLACES[name]}\n"
            zones.append(folder / f"{domain}.zone")
            zones[-1].write_text(text)
        self._children: list[Child] = []
        self._dns = subprocess.Popen(
            [sys.executable, "-m", "imxrouter.lab.dns", "--listen", f"127.0.0.1:{dns}",
             *(word for zone in zones for word in ("--zone", str(zone)))],
            stdout=subprocess.DEVNULL, cwd=_ROOT,
        )  # fmt: skip
        self.hosts = {
            name: Host(folder, name, port, dns, extra if name != "a1" else "", tls=tls) for name in PLACES
        }
        self.a1, self.b1, self.b2 = (self.hosts[name] for name in ("a1", "b1", "b2"))
        try:
            self._start(rate, watches, changes)
        except BaseException:
            self.close()
            raise

    def _start(self, rate: float, watches: int, changes: float) -> None:
        for host in self.hosts.values():
            host.start()
        plan: dict[str, Any] = {
            "key": login_key(1).private_bytes_raw().hex(),
            "rate": rate / 2,
            "watches": watches // 2,
            "changes": changes / 2,
        }
        self.a = self._house([self.a1], domain="a.example", other="b.example", **plan)
        self.b = self._house([self.b1, self.b2], domain="b.example", other="a.example", **plan)
        self.sides = (self.a, self.b)

    def _house(self, hosts: list[Host], **plan: Any) -> Child:
        cores = os.sched_getaffinity(0)
        child = Child("house", cores, "tests.rolling.house", hosts=[host.place for host in hosts], **plan)
        self._children.append(child)
        return child

    def wait(self, holds: Callable[[], bool], what: str, within_s: float = 60.0) -> None:
        """Wait until something holds."""
        until = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < until, (
                f"not within {within_s:g} s: {what}: {[side.ask('status') for side in self.sides]}"
            )
            time.sleep(0.05)

    def wrong(self) -> int:
        """Watchers on both sides that do not hold the newest state."""
        told_a: int = self.a.ask("wrong", numbers=self.b.ask("numbers"))
        told_b: int = self.b.ask("wrong", numbers=self.a.ask("numbers"))
        return told_a + told_b

    def close(self) -> None:
        """End everything."""
        for child in self._children:
            child.close()
        for host in self.hosts.values():
            with contextlib.suppress(OSError):
                host.stop(signal.SIGKILL)
        self._dns.kill()
        self._dns.wait()
