"""Router processes of the chaos tests: started by twistd as an operator does, killed as nobody should."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imxrouter.admin.client import AdminClient
from imxrouter.admin.errors import AdminUnreachable
from tests.doubles.router_rig import free_port
from tests.doubles.twistd import start_router

#: Unanswered requests on one link: what a cut can leave in doubt in each direction.
CREDIT = 64
#: Silence after which a router takes a link for dead; stalls last longer.
DEAD_S = 1.2
#: A request without an answer for so long is in doubt. One byte a second keeps a link alive, not a request.
ANSWER_TIMEOUT_S = 2.0
#: Begins the names of figures that tell what was refused by a limit.
BY_LIMIT = "limit "
#: For a process to be there: beside the load, and on a slow machine, its second of work may take long.
_START_S = 60.0


class RouterProcess:
    """One process of a router.

    Args:
        folder: of the scene; processes of one domain share its run and state directories, as on one host.
        domain: served here.
        peer: the other organisation's domain.
        peer_port: where it is reached.
        key: login key of the domain's services.
        process: number of this process.
        port: where it listens; 0: a free one.

    Attributes:
        mutant: a check taken away (`mutants.py`); empty: none.
        peak_kib: the most memory any of its lives took.
        ended: figures of lives that were killed, of the moment before.
    """

    def __init__(
        self, folder: Path, domain: str, peer: str, peer_port: int, key: Ed25519PrivateKey, process: int = 0,
        port: int = 0,
    ) -> None:  # fmt: skip
        self.port = port or free_port("127.0.0.1")
        self.process = process
        self.mutant = ""
        self.peak_kib = 0
        self.ended: list[dict[str, int]] = []
        self._child: subprocess.Popen[bytes] | None = None
        run = folder / domain
        run.mkdir(exist_ok=True)
        self._log = run / f"log-{process}"
        self._config = run / f"router-{process}.toml"
        self._admin = run / f"admin-{process}.sock"
        public = key.public_key().public_bytes_raw().hex()
        self._config.write_text(
            f"""
name = "router{process}.{domain}"
role = "aggregator"
lab = true
process = {process}
state_dir = "{run}/state"
run_dir = "{run}"
listen.addresses = ["127.0.0.1:{self.port}"]
listen.reuse_port = true
admin.socket = "{self._admin}"
metrics.listen = ""
trust.default_policy = "dialback"
dial.allow_networks = ["127.0.0.0/8"]
dial.backoff_first_s = 0.1
dial.backoff_cap_s = 0.5
dial.hold_s = 1.5
dns.nameservers = ["127.0.0.1:9"]
links.ping_s = 0.35
links.dead_s = {DEAD_S}
links.answer_timeout_s = {ANSWER_TIMEOUT_S}
links.duplicate_window_s = 20.0
links.credit_requests = {CREDIT}
links.output_high_bytes = 65536
links.unread_answer_bytes = 262144
caps.unauthenticated_per_address = 1000
caps.connections_per_address_per_minute = 100000
caps.connections_per_prefix_per_minute = 100000
caps.in_per_peer = 1000
caps.verify_per_target_per_minute = 100000
caps.verify_per_source_per_minute = 100000
caps.verify_per_source_prefix_per_minute = 100000
caps.verify_per_target_prefix_per_minute = 100000
caps.verify_per_zone_per_minute = 100000
limits.sender_rate_per_s = 100000
limits.sender_burst = 100000
limits.recipient_rate_per_s = 100000
limits.recipient_burst = 100000
limits.recipient_strangers_rate_per_s = 100000
overload.lag_ms = 0
log.level = "info"
[[peer]]
domain = "{peer}"
addresses = ["127.0.0.1:{peer_port}"]
[[service]]
name = "load"
kind = "imx"
key = "{public}"
[[domain]]
name = "{domain}"
service = "load"
"""
        )

    def start(self) -> None:
        """Start it; it does not listen yet."""
        self._admin.unlink(missing_ok=True)
        if self.mutant:
            program = [sys.executable, "-m", "tests.chaos.mutants", self.mutant]
            self._child = start_router(self._config, self._log, program)
        else:
            self._child = start_router(self._config, self._log)

    def wait(self) -> None:
        """Wait until it is up: its administration answers, which starts after its links."""
        assert self._child is not None
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self._child.poll() is None:
            with contextlib.suppress(AdminUnreachable):
                self.figures()
                return
            time.sleep(0.05)
        raise AssertionError(f"does not listen: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """End it with SIGKILL; its figures and memory of this moment are kept."""
        self.note_memory()
        with contextlib.suppress(AdminUnreachable):
            self.ended.append(self.figures())
        self.end()

    def end(self) -> None:
        """End it with SIGKILL."""
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)
            self._child.wait()
            self._child = None

    def note_memory(self) -> None:
        """Look at its peak so far."""
        if self._child is None:
            return
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self._child.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    self.peak_kib = max(self.peak_kib, int(line.split()[1]))

    def tracebacks(self) -> list[str]:
        """What it logged with a traceback."""
        name = f"{self._log.parent.name}, process {self.process}"
        lines = self._log.read_text().splitlines()
        return [
            f"{name}: {json.loads(line)['text'][-300:]}" for line in lines if '"level":"critical"' in line
        ]

    def figures(self) -> dict[str, int]:
        """Its counters of messages, what is in flight, and what it refused by each of its limits."""
        client = AdminClient(str(self._admin), timeout_s=10)
        status = client.status()
        refused = {BY_LIMIT + one["name"]: one["refused"] for one in client.limits() if one["by_name"]}
        return {**status["counters"], "in_flight": status["in_flight"], **refused}
