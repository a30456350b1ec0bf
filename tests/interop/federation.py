"""The laboratory: three organisations in namespaces of their own, each with its own resolver and zone.

Each asks its own unbound, which asks the others' name servers. What stands in the zones is what the routers
themselves say should be published.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.interop.nameservers import authoritative, resolver
from tests.interop.netlab import Network, Place, Program, program, run, wait_until
from tests.interop.routers import (
    HELD,
    ORDERED,
    ORGANISATIONS,
    A,
    C,
    Organisation,
    Router,
    organisation_of,
    published,
    ranked,
)

#: Where each organisation's resolver answers, inside its namespace.
RESOLVER: Final = "127.0.0.1"


@dataclass(slots=True)
class Federation:
    """The laboratory.

    Attributes:
        where: its files.
        places: the organisations' namespaces, by their letter.
        zones: the text of each organisation's zone, by its letter.
        routers: those that were started for this test.
    """

    where: Path
    places: dict[str, Place]
    zones: dict[str, str] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)

    def start(self, *names: str, settings: Mapping[str, object] | None = None, tables: str = "") -> None:
        """Start routers from cold and wait until all are ready."""
        for name in names:
            place = self.places[organisation_of(name).name]
            self.routers[name] = Router(name, place, self.where, settings or {}, tables)
            self.routers[name].start()
        for name in names:
            self.routers[name].ready()
        for name in names:
            self.routers[name].watched()

    def __getitem__(self, name: str) -> Router:
        return self.routers[name]

    def place_of(self, org: Organisation) -> Place:
        """The namespace of an organisation."""
        return self.places[org.name]

    def of(self, org: Organisation) -> list[Router]:
        """The routers of an organisation that run."""
        return [router for router in self.routers.values() if router.org is org and router.running]

    def deliver(self, router: Router, to: Organisation, source: str = "") -> dict[str, Any]:
        """Send a message, see that it succeeds and that the user received it once; returns the outcome."""
        text = f"from {source or router.name} to {to.name}, {time.monotonic_ns()}"
        outcome = router.send(to.address, text, source)
        assert outcome["status"] == "success", f"{text}: {outcome}"
        self.received(to, text)
        return outcome

    def received(self, org: Organisation, text: str) -> None:
        """Wait until a text has arrived at an organisation's user, and see that it came once."""

        def count() -> int:
            return sum(router.seen().count(text) for router in self.of(org))

        wait_until(count, f"{text!r} at {org.address}", 10)
        assert count() == 1

    def stop(self) -> None:
        """End the routers in order, and check their books and how they ended."""
        running = [router for router in self.routers.values() if router.running]
        books = {router.name: router.client.status() for router in running}
        self._heal()  # else a link that was cut waits for its close deadline
        for router in running:
            router.ask_to_end()
        codes = {router.name: router.ended() for router in running}
        self.abandon()
        # twistd ends in order and then by the signal that it was told to end with
        assert not {name: code for name, code in codes.items() if code not in (0, -signal.SIGTERM)}
        assert not {name: status for name, status in books.items() if not conserved(status)}

    def abandon(self) -> None:
        """End the routers at once, and heal the network."""
        for router in self.routers.values():
            router.kill()
        self.routers.clear()
        self._heal()

    def _heal(self) -> None:
        for place in self.places.values():
            place.heal()


def conserved(status: Mapping[str, Any]) -> bool:
    """Whether every message that was accepted is accounted for."""
    counters = status["counters"]
    ends = ("delivered", "refused", "failed", "indeterminant")
    return bool(counters["accepted"] == sum(counters[end] for end in ends) + status["in_flight"])


def federation(where: Path) -> Iterator[Federation]:
    """Build the laboratory; a generator for a fixture, which takes it down when it is resumed."""
    with Network() as network, ExitStack() as undo:
        lab = Federation(where, {org.name: _place(network, org) for org in ORGANISATIONS})
        undo.callback(lab.abandon)
        _ask_what_to_publish(lab)
        servers = [server for org in ORGANISATIONS for server in _start_dns(lab, org, undo)]
        for place in lab.places.values():
            for org in ORGANISATIONS:
                wait_until(partial(_resolves, place, org), f"{org.domain} is found")
        for server in servers:
            assert server.running, server.log.read_text(errors="replace")
        yield lab


def _place(network: Network, org: Organisation) -> Place:
    addresses = [address for place in range(1, 2 + org.hosts) for address in org.addresses(place)]
    return network.add(
        org.name, [f"{address}/{64 if ':' in address else 24}" for address in addresses], RESOLVER
    )


def _ask_what_to_publish(lab: Federation) -> None:
    """Ask one router of each organisation, and make zones of what they say."""
    lab.start(*(org.routers[0] for org in ORGANISATIONS))
    for org in ORGANISATIONS:
        router = lab[org.routers[0]]
        records = published(router, org.form, org.domain)
        assert records, f"imxctl dns records {org.domain} has nothing for {org.form}"
        if org is A:
            records += ranked(published(router, org.form, ORDERED))
        if org is C:
            records += published(router, org.form, HELD)
        lab.zones[org.name] = zone_of(org, records)
    lab.stop()


def zone_of(org: Organisation, records: Sequence[str]) -> str:
    """Return an organisation's zone around the records that it publishes."""
    hosts = {"ns": org.addresses(1)}
    hosts.update({f"im{host}": org.host_addresses(host) for host in range(1, org.hosts + 1)})
    lines = [
        f"$ORIGIN {org.domain}.",
        "$TTL 300",
        "@ IN SOA ns hostmaster 1 7200 900 1209600 60",
        "@ IN NS ns",
        *(f"{host} IN A {four}\n{host} IN AAAA {six}" for host, (four, six) in hosts.items()),
        *records,
    ]
    return "\n".join(lines) + "\n"


def _start_dns(lab: Federation, org: Organisation, undo: ExitStack) -> list[Program]:
    """Start an organisation's name server and its resolver."""
    folder = lab.where / f"dns-{org.name}"
    folder.mkdir()
    listen = [(address, 53) for address in org.addresses(1)]
    stubs = {other.domain: other.addresses(1) for other in ORGANISATIONS}
    started = []
    for command in (
        authoritative(org.server, folder, {org.domain: lab.zones[org.name]}, listen),
        resolver(folder, RESOLVER, stubs),
    ):
        name = Path(command[0]).name
        started.append(
            Program(f"{name} of {org.name}", lab.place_of(org).command(*command), folder / f"{name}.log")
        )
        undo.callback(started[-1].kill)
    return started


def _resolves(place: Place, org: Organisation) -> bool:
    """Whether a namespace's resolver finds an organisation's last host; another's name server gave it."""
    dig = [program("dig"), "+short", "+tries=1", "+time=1", f"@{RESOLVER}", org.host_name(org.hosts), "AAAA"]
    try:
        done = run(*place.command(*dig), check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.stdout.strip() == org.host_addresses(org.hosts)[1]
