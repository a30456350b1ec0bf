"""What we publish loads in BIND, Knot DNS and NSD, and what they serve is found again."""

from __future__ import annotations

import re
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
from tests.doubles.router_rig import free_port
from tests.interop.nameservers import Server, authoritative, checker
from tests.interop.netlab import Program, run

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
SERVERS: tuple[Server, ...] = ("named", "knotd", "nsd")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("server", SERVERS)
def test_zone_passes_the_checker(server: Server, zone: str, tmp_path: Path) -> None:
    """Each server's own checker takes each of our zones."""
    authoritative(server, tmp_path, {"a.example": ZONES[zone]()}, [("127.0.0.1", 53)])
    run(*checker(server, tmp_path, "a.example"))


@pytest.mark.parametrize("server", SERVERS)
def test_served_records_are_found(server: Server, tmp_path: Path, reactor_thread: ReactorThread) -> None:
    """A real server's answers lead to the targets, in each form; its noes are told apart."""
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
def running(server: Server, where: Path) -> Iterator[int]:
    """Serve the published zone on a free port of 127.0.0.1."""
    port = free_port("127.0.0.1")
    zones = {"a.example": ZONES["published"]()}
    started = Program(
        server, authoritative(server, where, zones, [("127.0.0.1", port)]), where / f"{server}.log"
    )
    try:
        started.until(lambda: answers(port), "answers for the zone")
        yield port
    finally:
        started.ask_to_end()
        started.ended()


def answers(port: int) -> bool:
    """Whether a name server answers for the zone."""
    query = dns.message.make_query("a.example", "SOA")
    try:
        return bool(dns.query.udp(query, "127.0.0.1", 0.5, port=port).answer)
    except (dns.exception.DNSException, OSError):
        return False
