"""Three organisations, and their routers: real `twistd` processes inside the organisations' namespaces.

| organisation | publishes | name server | routers |
| --- | --- | --- | --- |
| a | the IMX record, as private type 65400 | BIND | two hosts with one key |
| b | the SVCB form | Knot DNS | one host with two processes on one port |
| c | SRV | NSD | one |
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from imxrouter.admin.client import AdminClient, UserClient
from imxrouter.admin.errors import AdminError
from imxrouter.model.errors import RouterError
from tests.interop.nameservers import Server
from tests.interop.netlab import Place, Program

#: Where routers listen.
PORT: Final = 6490
BIN: Final = Path(sys.executable).parent
#: Between two messages by which is seen whether a user is watched; well below any sender's rate.
_PROBE_S: Final = 0.2

#: Settings of every router; a test's own come on top.
SETTINGS: Final[Mapping[str, object]] = {
    "trust.default_policy": "dialback",
    # documentation addresses, which are never dialled at a stranger's word otherwise
    "dial.allow_networks": ["192.0.2.0/24", "2001:db8::/32"],
    "dial.connect_timeout_s": 2,
    "links.ping_s": 1,
    # a machine that gives a process no time for a moment is no load of this one
    "overload.lag_ms": 0,
    "log.level": "debug",
    "log.addresses": "full",
}


@dataclass(frozen=True, slots=True)
class Organisation:
    """One of the three.

    Attributes:
        name: a letter.
        user: its user.
        form: what it publishes: `imx`, `svcb` or `srv`.
        server: its name server.
        hosts: number of its hosts.
        processes: number of processes on each.
        others: more domains of it, served in the same way.
    """

    name: str
    user: str
    form: str
    server: Server
    hosts: int = 1
    processes: int = 1
    others: tuple[str, ...] = ()

    @property
    def domain(self) -> str:
        """Its domain."""
        return f"{self.name}.example"

    @property
    def address(self) -> str:
        """The address of its user."""
        return f"{self.user}@{self.domain}"

    @property
    def networks(self) -> tuple[str, str]:
        """Its IPv4 and IPv6 network."""
        return f"192.0.2.{self._number * 16}/28", f"2001:db8::{self.name}:0/112"

    @property
    def _number(self) -> int:
        return ord(self.name) - ord("a") + 1

    def addresses(self, place: int) -> tuple[str, str]:
        """IPv4 and IPv6 address: 1 is the name server, 2 and more are hosts."""
        return f"192.0.2.{self._number * 16 + place}", f"2001:db8::{self.name}:{place}"

    def host_addresses(self, host: int) -> tuple[str, str]:
        """IPv4 and IPv6 address of a host, counted from 1."""
        return self.addresses(1 + host)

    def host_name(self, host: int) -> str:
        """The name of a host, counted from 1."""
        return f"im{host}.{self.domain}"

    @property
    def routers(self) -> list[str]:
        """The names of its routers: `a1`, or `b1p0` where a host has several processes."""
        return [
            f"{self.name}{host}" + (f"p{process}" if self.processes > 1 else "")
            for host in range(1, self.hosts + 1)
            for process in range(self.processes)
        ]


#: A domain of organisation a whose first host is always asked first, where `a.example` leaves it to chance.
ORDERED: Final = "ordered.a.example"
#: A domain of organisation c that no router serves unless a test adds it.
HELD: Final = "held.c.example"

A = Organisation("a", "alice", "imx", "named", hosts=2, others=(ORDERED,))
B = Organisation("b", "bob", "svcb", "knotd", processes=2)
C = Organisation("c", "carol", "srv", "nsd")
ORGANISATIONS: Final = (A, B, C)


def routers_of(*organisations: Organisation) -> list[str]:
    """Return the names of the organisations' routers."""
    return [name for org in organisations for name in org.routers]


def organisation_of(router: str) -> Organisation:
    """Return the organisation that a router belongs to."""
    return next(org for org in ORGANISATIONS if router in org.routers)


class Router:
    """A router of an organisation.

    Args:
        name: which.
        place: its organisation's namespace.
        where: a directory for its files.
        settings: dotted keys, on top of `SETTINGS`.
        tables: more TOML, such as `[[service]]` and `[[domain]]` tables.
    """

    def __init__(
        self, name: str, place: Place, where: Path, settings: Mapping[str, object], tables: str = ""
    ) -> None:
        self.name = name
        self.org = organisation_of(name)
        self.host = int(name[1])
        self.process = int(name.partition("p")[2] or 0)
        self.place = place
        # Processes of one host share run_dir and state_dir; that is how they find each other.
        self._folder = where / f"{self.org.name}{self.host}"
        self._socket = self._folder / (f"admin-{self.process}.sock" if self.process else "admin.sock")
        self._metrics_port = 9460 + 10 * self.host + self.process
        self._config = where / f"{name}.toml"
        self._config.write_text(self._text(_shared_key(where, self.org.name), settings) + tables)
        self._log = where / f"{name}.log"
        self._seen = where / f"{name}.seen"
        self._program: Program | None = None
        self._watcher: Program | None = None

    def _text(self, key: Path, settings: Mapping[str, object]) -> str:
        org = self.org
        four, six = org.host_addresses(self.host)
        lines = {
            "name": org.host_name(self.host),
            "process": self.process,
            "state_dir": str(self._folder / "state"),
            "run_dir": str(self._folder),
            "listen.addresses": [f"{four}:{PORT}", f"[{six}]:{PORT}"],
            "listen.publish": [f"{org.host_name(host)}:{PORT}" for host in range(1, org.hosts + 1)],
            "listen.reuse_port": org.processes > 1,
            "metrics.listen": f"127.0.0.1:{self._metrics_port}",
            "dialback.key_file": str(key),
            **SETTINGS,
            **settings,
        }
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
        text += f'[[service]]\nname = "home"\nkind = "embedded"\nusers = ["{org.user}"]\n'
        return text + "".join(
            f'[[domain]]\nname = "{domain}"\nservice = "home"\n' for domain in (org.domain, *org.others)
        )

    # -- life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it; `ready` waits."""
        twistd = [str(BIN / "twistd"), "-n", "--pidfile=", "imxrouter", "--config", str(self._config)]
        self._program = Program(self.name, self.place.command(*twistd), self._log)

    def ready(self) -> None:
        """Wait until it takes links, and begin to watch its user; `watched` waits."""
        assert self._program is not None
        self._program.until(self._answers, "answers at its administration socket")
        self._seen.unlink(missing_ok=True)
        self._watcher = Program(f"watch {self.name}", self._imxctl("watch", self.org.address), self._seen)

    def watched(self) -> None:
        """Wait until its user is watched."""
        assert self._watcher is not None
        self._watcher.until(self._is_watched, "shows a message of the user to himself")

    def _is_watched(self) -> bool:
        if not self.seen():
            self.client.send(self.org.address, self.org.address, "are you there?")
            time.sleep(_PROBE_S)
        return bool(self.seen())

    def _answers(self) -> bool:
        try:
            return self.client.status()["ready"]
        except (AdminError, RouterError):
            return False

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._program is not None and self._program.running

    def kill(self) -> None:
        """End it as kill -9 does."""
        for one in (self._program, self._watcher):
            if one is not None:
                one.kill()

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self._program is not None:
            self._program.ask_to_end()

    def ended(self) -> int | None:
        """Wait for the end; its exit code, None where it never ran."""
        if self._watcher is not None:
            self._watcher.kill()
        return None if self._program is None else self._program.ended()

    def stop(self) -> int | None:
        """End it in order; returns its exit code."""
        self.ask_to_end()
        return self.ended()

    # -- asking it ---------------------------------------------------------------------------------------

    @property
    def client(self) -> AdminClient:
        """Its administration, without a process for each question."""
        return AdminClient(str(self._socket))

    @property
    def user(self) -> UserClient:
        """Its organisation's user."""
        return self.client.user(self.org.address)

    def _imxctl(self, *arguments: str) -> list[str]:
        return [str(BIN / "imxctl"), "--json", "--socket", str(self._socket), *arguments]

    def imxctl(self, *arguments: str) -> Any:
        """Run imxctl and return its answer, an error as well."""
        command = self._imxctl(*arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return _json(done.stdout, f"{' '.join(command)}: {done.stderr}")

    def imxctl_says(self, *arguments: str, exits: int = 0) -> str:
        """Run imxctl as a person does and return all that it prints."""
        command = [str(BIN / "imxctl"), "--socket", str(self._socket), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == exits, f"{' '.join(command)}: exit {done.returncode}: {done.stderr}"
        return done.stdout + done.stderr

    def sending(self, destination: str, text: str, source: str = "") -> Sending:
        """Begin to send a message from its user; `Sending.outcome` waits."""
        command = self._imxctl("send", source or self.org.address, destination, text)
        return Sending(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))

    def send(self, destination: str, text: str, source: str = "") -> dict[str, Any]:
        """Send a message from its user and return the outcome."""
        return dict(self.client.send(source or self.org.address, destination, text))

    def links(self, opened_by: str = "") -> list[dict[str, Any]]:
        """Its links, or those opened by `us` or `them`."""
        return [dict(link) for link in self.client.links() if opened_by in ("", link["opened_by"])]

    def seen(self) -> list[str]:
        """The texts that its user received, in their order."""
        lines = self._seen.read_text().splitlines(keepends=True)
        return [json.loads(line)["text"] for line in lines if line.endswith("\n")]

    def logged(self, *words: str) -> list[str]:
        """The lines of its log that hold all these words."""
        return [line for line in self._log.read_text().splitlines() if all(word in line for word in words)]

    def metrics(self) -> str:
        """What its /metrics says."""
        url = f"http://127.0.0.1:{self._metrics_port}/metrics"

        def scrape() -> str:
            with urllib.request.urlopen(url, timeout=10) as answer:
                text: str = answer.read().decode()
                return text

        return self.place.inside(scrape)

    def figure(self, name: str) -> float:
        """A figure of its /metrics, its labels in the name as there; 0 where it is not there."""
        found = (line.rpartition(" ") for line in self.metrics().splitlines())
        return next((float(value) for head, _, value in found if head == name), 0.0)


@dataclass(slots=True)
class Sending:
    """A message under way.

    Attributes:
        process: the imxctl that waits for its outcome.
    """

    process: subprocess.Popen[bytes]

    def outcome(self) -> dict[str, Any]:
        """Wait for the outcome."""
        output, _ = self.process.communicate(timeout=60)
        value = _json(output.decode(errors="replace"), "imxctl send")
        assert isinstance(value, dict)
        return value


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pytest.fail(f"{what}: no JSON: {text}")


def _shared_key(where: Path, name: str) -> Path:
    """The key file of an organisation; made once, read by all its hosts."""
    key = where / f"{name}.keys"
    if not key.exists():
        key.touch(0o600)
        key.write_text(f"first {os.urandom(32).hex()}\n")
    return key


def published(router: Router, form: str, domain: str) -> list[str]:
    """Return the lines of `imxctl dns records` in one form, without comments."""
    text = router.imxctl("dns", "records", domain)["zone"]
    mark = {"imx": " TYPE65400 ", "svcb": " SVCB ", "srv": " SRV "}[form]
    return [line for line in text.splitlines() if mark in line and not line.startswith(";")]


def ranked(records: Sequence[str]) -> list[str]:
    """Give records in the generic form of RFC 3597 the priorities 1, 2 and so on, in the order of hosts."""
    ordered = sorted(records, key=lambda line: line.split()[-1])
    pieces = [line.rpartition(" ") for line in ordered]
    return [f"{head} {place:04X}{data[4:]}" for place, (head, _, data) in enumerate(pieces, 1)]
