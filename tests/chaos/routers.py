"""Router processes of the chaos tests: started by twistd as an operator does, killed as nobody should."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imxrouter.admin.client import AdminClient

#: Unanswered requests on one link: what a killed process can leave in doubt.
CREDIT = 64


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class RouterProcess:
    """One process of a router.

    Attributes:
        port: where it listens.
        peak_kib: the most memory any of its lives took.
    """

    def __init__(
        self,
        folder: Path,
        domain: str,
        peer: str,
        peer_port: int,
        key: Ed25519PrivateKey,
        process: int = 0,
        port: int = 0,
    ) -> None:
        self.port = port or free_port()
        self.process = process
        self.peak_kib = 0
        self._child: subprocess.Popen[bytes] | None = None
        run = folder / domain
        run.mkdir(exist_ok=True)
        self._run = run
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
state_dir = "{run}/state-{process}"
run_dir = "{run}"
listen.addresses = ["127.0.0.1:{self.port}"]
listen.reuse_port = true
admin.socket = "{self._admin}"
metrics.listen = ""
trust.default_policy = "dialback"
dial.allow_networks = ["127.0.0.0/8"]
dial.backoff_first_s = 0.1
dial.backoff_cap_s = 0.5
dial.hold_s = 3.0
dns.nameservers = ["127.0.0.1:9"]
links.ping_s = 0.5
links.dead_s = 2.0
links.answer_timeout_s = 5.0
links.duplicate_window_s = 20.0
links.credit_requests = {CREDIT}
links.output_high_bytes = 65536
links.unread_answer_bytes = 262144
caps.verify_per_target_per_minute = 100000
caps.verify_per_source_per_minute = 100000
caps.verify_per_source_prefix_per_minute = 100000
caps.verify_per_target_prefix_per_minute = 100000
caps.verify_per_zone_per_minute = 100000
limits.sender_rate_per_s = 100000
limits.sender_burst = 100000
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
        """Start it and wait until it listens."""
        self._admin.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "imxrouter", "--config",
                 str(self._config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=Path(__file__).parents[2],
            )  # fmt: skip
        until = time.monotonic() + 20
        while time.monotonic() < until and self._child.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError(f"does not listen: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.note_memory()
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

    def figures(self) -> dict[str, int]:
        """Its counters of messages, and what is in flight."""
        status = AdminClient(str(self._admin), timeout_s=10).status()
        return {**status["counters"], "in_flight": status["in_flight"]}
