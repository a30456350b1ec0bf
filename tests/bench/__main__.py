"""`make bench`: what a pair of request and response costs, beside forwarders that only move bytes.

One router process on one core, 200-byte bodies, from IMX peer links to an IMX service link and back, 10,000
senders, 1,000 domains, distinct ids, every check on. CPU times are the operating system's, of the router's
process alone. All figures come from one run; quote ratios, for machines differ.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from imxrouter.admin.client import AdminClient, AdminUnreachable
from imxrouter.switch.checks import Checks
from tests.bench.links import login, prove
from tests.bench.presence import PresenceBench
from tests.bench.process import cpu_s, rss_kib
from tests.bench.scale import WATCHED_S, idle_links, joined_to_each, keep_alive
from tests.bench.tls import IDLE_LINKS, TlsBench
from tests.bench.tools import Load, NoTool, build_load, haproxy, joined, plain_forwarder, run_load
from tests.bench.xmpp import XmppBench, show_stanzas

DOMAINS = 1_000
NOTIFICATIONS, STANZAS = "notifications", "xmpp"
PEER = "peer.bench.example"
_VERIFY_CAPS = (
    "target_per_minute", "target_prefix_per_minute", "source_per_minute", "source_prefix_per_minute",
    "zone_per_minute", "s",
)  # fmt: skip
#: What is stated in docs/scaling.md and must hold, from the first measurement with a third to spare: at most
#: so many microseconds of CPU, or bytes, and at least so many a second.
BUDGETS = {
    "us CPU a notify pair": 15.0,
    "notify pairs a second": 60_000.0,
    "bytes a subscription, subscribed": 2_000.0,
    "bytes a subscription, restarted": 2_000.0,
}
#: Of a pair of request and response: microseconds of CPU, or times those of the plain forwarder.
SATURATION_US, IN_FLIGHT_TIMES = 8.0, 3.5
_WIDTHS = (12, 9, 10, 9, 9, 7, 8)


@dataclass
class Figures:
    """What one run of a load gave."""

    name: str
    load: str
    us_per_pair: float
    pairs_per_s: float
    p50_us: float
    p99_us: float
    other: dict[str, Any] = field(default_factory=dict)


LOADS = {
    "saturation": (1, Load(window=2000, seconds=5)),
    "16 in flight on 4 links": (4, Load(window=16, seconds=5)),
    "1,000 a second": (1, Load(window=2000, rate=1000.0, seconds=5)),
}


class Bench:
    """Everything that all runs share."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self.program = build_load(folder / "build")
        self.key = Ed25519PrivateKey.generate()
        self.domains = [f"d{number}.served.bench.example" for number in range(DOMAINS)]
        self.from_file = folder / "from"
        self.from_file.write_text(PEER + "\n")
        self.to_file = folder / "to"
        self.to_file.write_text("\n".join(self.domains) + "\n")

    @contextlib.contextmanager
    def router(
        self,
        without: str = "",
        domains: list[str] | None = None,
        types: Sequence[str] = ("message",),
        config: Path | None = None,
    ) -> Iterator[tuple[subprocess.Popen[bytes], tuple[str, int], socket.socket]]:
        """A router process; gives it, its port, and the listener its dial-back will find.

        Args:
            without: a check that is not made.
            domains: served by it.
            types: that they take.
            config: one that was made for a router before, which this one is a restart of.
        """
        listening = socket.create_server(("127.0.0.1", _peer_port(config) if config else 0))
        if config is None:
            config = self.config(domains or self.domains, types, 0, listening.getsockname()[1])
        with listening, self.started(config, without) as (child, endpoint):
            yield child, endpoint, listening

    @contextlib.contextmanager
    def started(
        self, config: Path, without: str = ""
    ) -> Iterator[tuple[subprocess.Popen[bytes], tuple[str, int]]]:
        """A router process with a configuration; gives it and its port."""
        command = [sys.executable, "-m", "tests.bench.router_process", str(config)]
        with subprocess.Popen([*command, without] if without else command, stdin=subprocess.DEVNULL) as child:
            try:
                yield child, _listening_at(config.parent / "admin.sock", child)
            finally:
                child.send_signal(signal.SIGKILL)

    @contextlib.contextmanager
    def routers(self, processes: int) -> Iterator[tuple[list[int], tuple[str, int], socket.socket]]:
        """A router with several processes on one port; gives their process ids."""
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as kept:
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            kept.bind(("127.0.0.1", 0))  # nobody else gets the port meanwhile; it does not listen
            ports = kept.getsockname()[1], listening.getsockname()[1]
            config = self.config(self.domains, ("message",), *ports)
            config.write_text(f"workers = {processes}\n" + config.read_text())
            twistd = Path(sys.executable).with_name("twistd")
            command = [str(twistd), "-n", "--pidfile=", "imxrouter", "--config", str(config)]
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=config.parent) as child:
                try:
                    sockets = ["admin.sock", *(f"admin-{n}.sock" for n in range(1, processes))]
                    places = {_listening_at(config.parent / name, child) for name in sockets}
                    workers = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
                    yield [child.pid, *map(int, workers)], places.pop(), listening
                finally:
                    child.terminate()

    def config(self, domains: list[str], types: Sequence[str], port: int = 0, peer_port: int = 0) -> Path:
        """A configuration in a folder of its own; the peer's port is a free one unless it is given."""
        if not peer_port:
            with socket.create_server(("127.0.0.1", 0)) as free:
                peer_port = free.getsockname()[1]
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
        where = Path(tempfile.mkdtemp(dir=self.folder))
        lines = [
            'name = "router.bench.example"', 'role = "aggregator"', "lab = true",
            f'state_dir = "{where}/state"', f'run_dir = "{where}"', f'domains_dir = "{where}/domains.d"',
            f'listen.addresses = ["127.0.0.1:{port}"]', 'metrics.listen = ""',
            'trust.default_policy = "dialback"', 'dial.allow_networks = ["127.0.0.0/8"]',
            "links.credit_requests = 16384", "links.credit_bytes = 67108864",
            "links.output_high_bytes = 33554432", "links.unread_answer_bytes = 67108864",
            *(f"caps.verify_per_{one} = 1000000" for one in _VERIFY_CAPS),
            "caps.unauthenticated_per_address = 10000",
            "caps.unauthenticated_total = 100000", "caps.in_per_peer = 10000", "log.trace_entries = 0",
            "limits.sender_rate_per_s = 100000", "limits.sender_burst = 100000",
            "limits.senders_per_domain = 1000000",
            *(f"limits.{whose}_records_per_s = 1000000" for whose in ("link", "peer", "domain", "tenant")),
            *(f"limits.{whose}_bytes_per_s = 10000000000" for whose in ("link", "peer", "domain", "tenant")),
            "limits.recipient_rate_per_s = 100000", "limits.recipient_burst = 1000000",
            "caps.connections_per_address_per_minute = 1000000", "caps.in_total = 100000",
            "caps.connections_per_prefix_per_minute = 1000000", "caps.handshakes_per_s = 1000000",
            'log.level = "warn"', 'log.format = "text"', 'dns.nameservers = ["127.0.0.1:9"]',
            f'[[peer]]\ndomain = "{PEER}"\naddresses = ["127.0.0.1:{peer_port}"]',
            f'[[service]]\nname = "load"\nkind = "imx"\nkey = "{public}"',
        ]  # fmt: skip
        config = where / "router.toml"
        config.write_text("\n".join(lines) + "\n")
        (where / "domains.d").mkdir()
        more = f'service = "load"\ntypes = {json.dumps(list(types))}\n'
        tables = "".join(f'[[domain]]\nname = "{name}"\n{more}' for name in domains)
        (where / "domains.d" / "all.toml").write_text(tables)
        return config

    def measure(
        self,
        name: str,
        label: str,
        pids: Sequence[int],
        senders: list[socket.socket],
        responders: list[socket.socket],
    ) -> Figures:
        """Run one load over open links and read the processes' CPU time around the measured part."""
        load = LOADS[label][1]
        load = Load(load.window, load.rate, self.seconds, load.warmup, load.addresses, load.body)
        marks: list[tuple[float, float]] = []

        def on_event(_event: str) -> None:
            marks.append((time.monotonic(), sum(map(cpu_s, pids))))

        result = run_load(self.program, load, senders, responders, self.from_file, self.to_file, on_event)
        pairs = max(1, result["pairs"])
        used = marks[1][1] - marks[0][1]
        bad = {word: count for word, count in result["outcomes"].items() if word != "success" and count}
        other = {"core": used / (marks[1][0] - marks[0][0]), "not_success": bad, "reasons": result["reasons"]}
        other["generator_us"] = result["generator_us_per_pair"]
        latency = result["latency_us"]
        return Figures(
            name, label, used / pairs * 1e6, result["pairs_per_s"], latency["p50"], latency["p99"], other
        )

    def router_run(self, label: str, without: str = "") -> Figures:
        """The router under one load."""
        with self.router(without) as (child, endpoint, listening):
            responders = [login(endpoint, self.key)]
            senders = [prove(endpoint, listening, PEER, self.domains[0]) for _ in range(LOADS[label][0])]
            name = f"router without {without}" if without else "router, all checks"
            return self.measure(name, label, [child.pid], senders, responders)

    def processes_run(self, processes: int) -> Figures:
        """Saturation of several processes on one port; CPU times are the sum of theirs."""
        with self.routers(processes) as (pids, endpoint, listening):
            senders, responders = joined_to_each(
                endpoint, listening, self.key, (PEER, self.domains[0]), processes
            )
            return self.measure(f"router, {processes} processes", "saturation", pids, senders, responders)

    def forwarder_run(self, label: str, name: str) -> Figures:
        """The same bytes through something that only forwards."""
        with socket.create_server(("127.0.0.1", 0)) as accepting:
            port = accepting.getsockname()[1]
            started = plain_forwarder(port) if name == "Twisted forwarder" else haproxy(port, self.folder)
            with started as (own, pid):
                senders, responders = joined(own, accepting, LOADS[label][0])
                return self.measure(name, label, [pid], senders, responders)

    def memory(self) -> dict[str, float]:
        """What a served domain, an idle proved link and a sender take."""
        figures: dict[str, float] = {}
        many = [f"d{number}.many.bench.example" for number in range(100_000)]
        with self.router(domains=many[:1]) as (child, _, _):
            time.sleep(2)  # what start-up left is given back in the first turn of the loop
            base = rss_kib(child.pid)
        with self.router(domains=many) as (child, _, _):
            time.sleep(2)
            figures["100,000 domains, MB"] = (rss_kib(child.pid) - base) * 1024 / 1e6
            figures["bytes a domain"] = (rss_kib(child.pid) - base) * 1024 / len(many)
        with self.router() as (child, endpoint, listening):
            before = rss_kib(child.pid)
            links = []
            for link in idle_links(endpoint, listening, (PEER, self.domains[0])):
                links.append(link)
                if len(links) % 500 == 0:  # opening all takes longer than a silent link lives
                    keep_alive(links, 0.2)
            figures["10,000 idle links, MB"] = (rss_kib(child.pid) - before) * 1024 / 1e6
            figures["bytes an idle link"] = (rss_kib(child.pid) - before) * 1024 / len(links)
            used = cpu_s(child.pid)
            pings = keep_alive(links, WATCHED_S)
            figures["their keep-alive, % of a core"] = 100 * (cpu_s(child.pid) - used) / WATCHED_S
            figures["pings a second"] = pings / WATCHED_S
            for link in links:
                link.socket.close()
        with self.router() as (child, endpoint, listening):
            few, many_senders = 1_000, 100_000
            self._send(endpoint, listening, few)
            before = rss_kib(child.pid)
            self._send(endpoint, listening, many_senders)
            figures["bytes a sender"] = (rss_kib(child.pid) - before) * 1024 / (many_senders - few)
        return figures

    def _send(self, endpoint: tuple[str, int], listening: socket.socket, addresses: int) -> None:
        """Let that many users send; on links of its own, for a run counts its acknowledgements from zero."""
        load = Load(window=500, seconds=1.5, warmup=0.0, addresses=addresses)
        with login(endpoint, self.key) as service, prove(endpoint, listening, PEER, self.domains[0]) as peer:
            run_load(self.program, load, [peer], [service], self.from_file, self.to_file)


def _peer_port(config: Path) -> int:
    """Where a configuration says that the peer listens."""
    (address,) = tomllib.loads(config.read_text())["peer"][0]["addresses"]
    return int(address.rpartition(":")[2])


def _listening_at(admin: Path, child: subprocess.Popen[bytes]) -> tuple[str, int]:
    """Where a router listens, once it does; it is asked over its administration socket."""
    end_s = time.monotonic() + 180
    while time.monotonic() < end_s and child.poll() is None:
        with contextlib.suppress(OSError, AdminUnreachable):
            host, _, port = AdminClient(str(admin), timeout_s=10).status()["listening"][0].rpartition(":")
            return host, int(port)
        time.sleep(0.05)
    raise NoTool("the router does not listen")


def show(figures: list[Figures]) -> None:
    """A table a load, with the ratio to the plain Twisted forwarder of the same run."""
    for label in LOADS:
        rows = [one for one in figures if one.load == label]
        if not rows:
            continue
        plain = next((one.us_per_pair for one in rows if one.name == "Twisted forwarder"), 0.0)
        print(f"\n{label}")
        words = ("us CPU/pair", "x plain", "pairs/s", "p50 us", "p99 us", "core", "gen us")
        print(" " * 30 + "".join(f"{word:>{width}}" for word, width in zip(words, _WIDTHS, strict=True)))
        for one in rows:
            ratio = f"{one.us_per_pair / plain:9.2f}" if plain else f"{'-':>9}"
            bad = one.other["not_success"]
            print(
                f"  {one.name:28}{one.us_per_pair:12.2f}{ratio}{one.pairs_per_s:10.0f}{one.p50_us:9.0f}"
                f"{one.p99_us:9.0f}{one.other['core']:7.2f}{one.other['generator_us']:8.2f}"
                + _pair_budget(one, plain)
                + (f"  not success: {bad} {one.other['reasons']}" if bad else "")
            )


def _pair_budget(one: Figures, plain: float) -> str:
    if one.name != "router, all checks":
        return ""
    if one.load == "saturation":
        return judged(one.us_per_pair, SATURATION_US, "us")
    if one.load.startswith("16 in flight") and plain:
        return judged(one.us_per_pair / plain, IN_FLIGHT_TIMES, "x plain")
    return ""


def judged(value: float, budget: float, unit: str = "", *, least: bool = False) -> str:
    """What stands behind a figure that has a budget."""
    held = value >= budget if least else value <= budget
    words = f"budget {'at least' if least else 'at most'} {budget:,g} {unit}".rstrip()
    return f"  {words}{'' if held else ': NOT HELD'}"


def show_more(figures: dict[str, float]) -> None:
    """One figure a line, with its budget."""
    for words, value in figures.items():
        budget = BUDGETS.get(words)
        told = "" if budget is None else judged(value, budget, least=words.endswith("a second"))
        print(f"{words:42}{value:12.1f}{told}")


def main() -> int:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds of each run")
    parser.add_argument(
        "--quick", action="store_true", help="no checks in turn, no second process, no memory"
    )
    parser.add_argument(
        "--load", choices=[*LOADS, NOTIFICATIONS, STANZAS], action="append", help="only these loads"
    )
    parser.add_argument("--tls-links", type=int, default=IDLE_LINKS, help="idle links with TLS")
    parser.add_argument("--json", type=Path, help="write the figures to a file too")
    options = parser.parse_args()
    figures: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="imxrouter-bench-") as folder:
        bench = Bench(Path(folder), options.seconds)
        tls = TlsBench(bench, PEER)
        for label in [one for one in options.load or LOADS if one in LOADS]:
            figures.append(bench.router_run(label))
            for name in ("Twisted forwarder", "HAProxy"):
                try:
                    figures.append(bench.forwarder_run(label, name))
                except NoTool as error:
                    print(f"{name}: {error}", file=sys.stderr)
            try:
                figures += tls.runs(label, LOADS[label][0])
            except NoTool as error:
                print(f"with TLS: {error}", file=sys.stderr)
        whole = not options.quick and not set(options.load or ()) & {NOTIFICATIONS, STANZAS}
        if whole:
            figures.append(bench.processes_run(2))
            figures += [bench.router_run("saturation", check.name) for check in fields(Checks)]
        show(figures)
        if not options.load or STANZAS in options.load:
            stanzas = list(XmppBench(bench).runs())
            show_stanzas(stanzas)
            figures += stanzas
        presence = PresenceBench(bench, PEER)
        wanted = not options.load or NOTIFICATIONS in options.load
        told = presence.figures(options.seconds) if wanted else {}
        memory = (
            {**bench.memory(), **tls.memory(options.tls_links), **tls.handshakes(options.seconds)}
            if whole
            else {}
        )
        if wanted and not options.quick:
            memory.update(presence.memory())
        show_more({**told, **memory})
    if options.json:
        options.json.write_text(
            json.dumps({"runs": [vars(one) for one in figures], "presence": told, "memory": memory}, indent=1)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
