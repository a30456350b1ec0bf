"""What we publish loads in BIND, Knot DNS and NSD, and what they serve is found again."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest

from imxrouter.discovery.adapter import NameServerAsker
from imxrouter.discovery.answers import Status
from imxrouter.discovery.plan import Plan
from imxrouter.discovery.records import Form, Target, zone_text
from imxrouter.model.domain import Domain
from tests.doubles.reactor_thread import ReactorThread

pytestmark = pytest.mark.interop

DOMAIN = Domain.parse("a.example")
TARGETS = (
    Target("imx1.a.example", 7000, 1, 0, "required", frozenset({"dialback", "certificate"}), (1,)),
    Target("imx2.a.example", 7001, 2, 0, "none"),
)
HEAD = """$ORIGIN a.example.
$TTL 300
@ IN SOA ns.a.example. hostmaster.a.example. 1 7200 900 1209600 60
@ IN NS ns.a.example.
ns IN A 192.0.2.53
imx1 IN A 192.0.2.1
imx2 IN A 192.0.2.2
"""
SPEC = Path(__file__).parents[2] / "docs" / "specs" / "imx-dns-record.md"
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def specified_zone() -> str:
    """The zone of section 9.1 of the specification."""
    found = re.search(r"```zone\n(.*?)```", SPEC.read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


ZONES: dict[str, Callable[[], str]] = {
    "published": lambda: HEAD + zone_text(DOMAIN, TARGETS),
    "no service": lambda: HEAD + zone_text(DOMAIN, ()),
    "specification": specified_zone,
}
CHECKERS: dict[str, Callable[[Path], list[str]]] = {
    "named-checkzone": lambda path: ["a.example", str(path)],
    "knotc": lambda path: [*knot(path.parent, 53), "zone-check", "a.example"],
    "nsd-checkzone": lambda path: ["a.example", str(path)],
}


def program(name: str) -> str:
    """The path of an installed program."""
    path = shutil.which(name, path=SEARCH_PATH)
    assert path is not None, f"{name} is not installed; run ops/ci/install-peers.sh as root"
    return path


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("checker", CHECKERS)
def test_zone_passes_the_checker(checker: str, zone: str, tmp_path: Path) -> None:
    """Each server's own checker takes each of our zones."""
    path = tmp_path / "zone"
    path.write_text(ZONES[zone]())
    done = subprocess.run(
        [program(checker), *CHECKERS[checker](path)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("server", ["knotd", "nsd", "named"])
def test_served_records_are_found(server: str, tmp_path: Path, reactor_thread: ReactorThread) -> None:
    """A real server's answers lead to the targets, in each form; its noes are told apart."""
    (tmp_path / "zone").write_text(HEAD + zone_text(DOMAIN, TARGETS))
    with running(server, tmp_path) as port:
        asker = NameServerAsker(reactor_thread.reactor, [f"127.0.0.1:{port}"])
        plan = Plan(DOMAIN)
        for question in list(plan._waiting):
            single = Plan(DOMAIN)
            single._waiting = [question]
            single.feed(reactor_thread.call(asker.ask, question.name, question.rdtype))
            verdict = single.verdict
            assert verdict is not None
            bare = tuple(Target(target.host, target.port, target.priority) for target in TARGETS)
            assert verdict.targets == (bare if question.form is Form.SRV else TARGETS)
        no = reactor_thread.call(asker.ask, "imx1.a.example", 65400)
        missing = reactor_thread.call(asker.ask, "none.a.example", 65400)
        assert (no.status, missing.status) == (Status.NODATA, Status.NXDOMAIN)
        assert no.ttl_s == missing.ttl_s == 60


@contextmanager
def running(server: str, where: Path) -> Iterator[int]:
    """Run a server in the foreground on a free port of 127.0.0.1."""
    port = free_port()
    command = [program(server), *COMMANDS[server](where, port)]
    with (where / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_for(port, process, where / "log")
            yield port
        finally:
            process.terminate()
            process.wait(20)


def free_port() -> int:
    """A port that is free for UDP and TCP at this moment."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port: int = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        return port


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers for the zone."""
    query = dns.message.make_query("a.example", "SOA")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if dns.query.udp(query, "127.0.0.1", 0.5, port=port).answer:
                return
        except (dns.exception.DNSException, OSError):
            pass
        time.sleep(0.05)
    pytest.fail(f"the server does not answer:\n{log.read_text(errors='replace')}")


def knot(where: Path, port: int) -> list[str]:
    """Write Knot's configuration; return its arguments."""
    (where / "db").mkdir()
    (where / "conf").write_text(
        f'server:\n    rundir: "{where}"\n    listen: 127.0.0.1@{port}\n'
        f'database:\n    storage: "{where}/db"\n'
        f'zone:\n  - domain: a.example\n    storage: "{where}"\n    file: zone\n    zonefile-sync: -1\n'
    )
    return ["-c", str(where / "conf")]


def nsd(where: Path, port: int) -> list[str]:
    """Write NSD's configuration; return its arguments."""
    (where / "conf").write_text(
        f'server:\n  ip-address: 127.0.0.1@{port}\n  username: ""\n  database: ""\n  zonesdir: "{where}"\n'
        f'  pidfile: ""\n  xfrdfile: "{where}/xfrd"\n  zonelistfile: "{where}/list"\n  xfrdir: "{where}"\n'
        "remote-control:\n  control-enable: no\n"
        "zone:\n  name: a.example\n  zonefile: zone\n"
    )
    return ["-d", "-c", str(where / "conf")]


def bind(where: Path, port: int) -> list[str]:
    """Write BIND's configuration; return its arguments."""
    (where / "conf").write_text(
        f'options {{ directory "{where}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};'
        f' pid-file none; session-keyfile "{where}/session.key"; recursion no; dnssec-validation no; }};\n'
        "controls { };\n"
        'zone "a.example" { type primary; file "zone"; };\n'
    )
    return ["-g", "-c", str(where / "conf")]


COMMANDS: dict[str, Callable[[Path, int], list[str]]] = {"knotd": knot, "nsd": nsd, "named": bind}
