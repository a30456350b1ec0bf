"""A laboratory network: namespaces joined by a bridge, and the programs that run inside them.

Everything has a name of this test run, so that runs beside each other do not meet, and everything is taken
down again, also what a run that was killed has left behind.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

import pytest

T = TypeVar("T")

#: Daemons live in sbin, which is not on everybody's PATH.
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: Where `ip netns exec` finds the files that it puts over those of /etc.
NETNS_ETC: Final = Path("/etc/netns")

#: From linux/sched.h.
_CLONE_NEWNET: Final = 0x40000000

#: For a program to be there. Many of them start at once beside other tests, on few cores: a server that took
#: two seconds alone was seen to take more than twenty. One that ends is noticed at once.
START_S: Final = 90.0

#: A name of ours: the process that made it stands in it.
_OURS: Final = re.compile(r"imx(\d+)-[a-z0-9]+")


def program(name: str) -> str:
    """Return the path of an installed program; fails the test where it is missing."""
    path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        pytest.fail(f"{name} is not installed; run ops/ci/install-peers.sh as root")
    return path


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; fails the test with what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait until a condition holds; fails the test where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.03)


class Program:
    """A program in the foreground, its output in a file.

    Args:
        name: for messages and the file's name.
        command: what to run.
        log: the file; appended to.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=log.parent
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def until(self, condition: Callable[[], object], what: str, seconds: float = START_S) -> None:
        """Wait until a condition holds while the program runs."""
        wait_until(lambda: condition() or not self.running, f"{self.name}: {what}", seconds)
        if not self.running:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])
            pytest.fail(f"{self.name} ended with {self._process.returncode} before: {what}\n{tail}")

    @property
    def pid(self) -> int:
        """Its number in the system."""
        return self._process.pid

    def ask_to_end(self) -> None:
        """Send SIGTERM; `ended` waits."""
        if self.running:
            self._process.terminate()

    def ended(self, seconds: float = 20.0) -> int:
        """Wait for the end and return the exit code; what does not end is killed and fails the test."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"{self.name} did not end within {seconds:g} s of SIGTERM")

    def kill(self) -> None:
        """End it at once, as kill -9 does."""
        if self.running:
            self._process.kill()
        self._process.wait()


Verdict = Literal["DROP", "REJECT"]


@dataclass(slots=True)
class Place:
    """A network namespace.

    Attributes:
        namespace: its name in the system.
        addresses: its addresses, IPv4 and IPv6.
        cuts: firewall rules that stand now, without their action (-A, -D).
    """

    namespace: str
    addresses: tuple[str, ...]
    cuts: list[list[str]] = field(default_factory=list)

    def command(self, *command: str) -> list[str]:
        """Return the command line that runs a command in here; it becomes that very process."""
        return [program("ip"), "netns", "exec", self.namespace, *command]

    def run(self, *command: str) -> str:
        """Run a command in here to its end and return what it printed."""
        return run(*self.command(*command)).stdout

    def inside(self, make: Callable[[], T]) -> T:
        """Call something in a thread that is in here; a socket that it makes stays in here."""
        with ThreadPoolExecutor(1, initializer=_enter, initargs=(self.namespace,)) as thread:
            return thread.submit(make).result()

    def black_hole(self, network: str, *match: str) -> None:
        """Drop what comes from a network: nobody is told, as where a route or a firewall is broken."""
        self._cut(["INPUT", "-s", network, *match, "-j", "DROP"])

    def drop(self, chain: str, *match: str) -> None:
        """Drop what fits, in silence, whoever it comes from or goes to."""
        self._cut([chain, *match, "-j", "DROP"])

    def unreachable(self, network: str) -> None:
        """Refuse both ways and say so: as where there is no route at all."""
        for rule in (["INPUT", "-s"], ["OUTPUT", "-d"]):
            self._cut([*rule, network, "-j", "REJECT"])

    def reset(self, network: str, *match: str) -> None:
        """Answer TCP from a network with a reset, and let nothing of it in."""
        self._cut(["INPUT", "-s", network, "-p", "tcp", *match, "-j", "REJECT", "--reject-with", "tcp-reset"])

    def lose_all(self) -> None:
        """Drop what comes and what goes, in silence, as where the line behind a router is dead.

        But for DNS: name servers stand elsewhere, as they should (RFC 2182). Neighbours are still found too
        (ARP, NDP): else the kernel would soon know better, and say so.
        """
        match = ["-m", "multiport", "!", "--ports", "53", "-j", "DROP"]
        for tool in ("iptables", "ip6tables"):
            for chain, way in (("INPUT", "-i"), ("OUTPUT", "-o")):
                for kind in ("tcp", "udp"):
                    self._cut([chain, way, "eth0", "-p", kind, *match], tool)

    def _cut(self, rule: list[str], tool: str = "") -> None:
        tool = tool or ("ip6tables" if any(":" in word for word in rule) else "iptables")
        self.run(program(tool), "-w", "-A", *rule)
        self.cuts.append([tool, *rule])

    def heal(self) -> None:
        """Take every cut back."""
        for tool, *rule in self.cuts:
            self.run(program(tool), "-w", "-D", *rule)
        self.cuts.clear()


def _enter(namespace: str) -> None:
    """Move the calling thread into a network namespace (setns(2); Python has it since 3.12)."""
    with Path("/run/netns", namespace).open() as handle:
        if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


class Network:
    """Namespaces on one bridge. Use as a context; leaving it ends the programs inside and removes all.

    Args:
        name: a short word, letters and digits, that tells it from another one of the same run.
    """

    def __init__(self, name: str = "") -> None:
        self._prefix = f"imx{os.getpid()}-{name}"
        self._hub = f"{self._prefix}hub"
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        remove_leftovers()
        self._make(self._hub)
        run("ip", "-n", self._hub, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self._hub, "link", "set", "br0", "up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.close()

    def add(self, name: str, addresses: Iterable[str], nameserver: str) -> Place:
        """Make a namespace with addresses on the bridge, and its own /etc/resolv.conf.

        Args:
            name: a short word, letters and digits.
            addresses: with their prefix lengths, such as `192.0.2.1/24`.
            nameserver: the address in resolv.conf.
        """
        namespace, cable = f"{self._prefix}{name}", f"v-{name}"
        wanted = tuple(addresses)
        (NETNS_ETC / namespace).mkdir(parents=True)
        self._undo.callback(shutil.rmtree, NETNS_ETC / namespace, ignore_errors=True)
        (NETNS_ETC / namespace / "resolv.conf").write_text(f"nameserver {nameserver}\n")
        self._make(namespace)
        run(
            "ip", "link", "add", cable, "netns", self._hub, "type", "veth",
            "peer", "name", "eth0", "netns", namespace,
        )  # fmt: skip
        run("ip", "-n", self._hub, "link", "set", cable, "master", "br0", "up")
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        run("ip", "-n", namespace, "link", "set", "eth0", "up")
        for address in wanted:
            # nodad: duplicate detection would keep an IPv6 address from being used for a second
            dad = ["nodad"] if ":" in address else []
            run("ip", "-n", namespace, "addr", "add", address, "dev", "eth0", *dad)
        return Place(namespace, tuple(address.partition("/")[0] for address in wanted))

    def _make(self, namespace: str) -> None:
        run("ip", "netns", "add", namespace)
        self._undo.callback(_remove, namespace)


def _remove(namespace: str) -> None:
    """End what still runs in a namespace, then remove it; its interfaces go with it."""
    for pid in run("ip", "netns", "pids", namespace, check=False).stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    run("ip", "netns", "del", namespace, check=False)


def remove_leftovers() -> None:
    """Remove what runs that were killed have left behind."""
    for line in run("ip", "netns", "list").stdout.splitlines():
        name = line.split()[0]
        if _is_left_over(name):
            _remove(name)
    if NETNS_ETC.is_dir():
        for folder in NETNS_ETC.iterdir():
            if _is_left_over(folder.name):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left_over(name: str) -> bool:
    ours = _OURS.fullmatch(name)
    return ours is not None and not Path("/proc", ours.group(1)).exists()
