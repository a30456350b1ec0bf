"""What a staged failure is made of, and what is seen of it: answer, trace, check, log lines, metrics."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Self, cast

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import ILogObserver, globalLogPublisher

from imxrouter.app import storing
from imxrouter.cli import check as check_command
from imxrouter.cli.main import imxctl
from imxrouter.discovery.guard import LOW_PORTS, DialGuard
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.probe.check import Checker, Terms
from imxrouter.probe.report import CheckView, view_of_all
from imxrouter.routing.interfaces import StoreProblem
from imxrouter.store.file import StateFile
from imxrouter.store.sqlite import SqliteStore
from imxrouter.telemetry.logs import observer
from imxrouter.telemetry.privacy import AddressMask, Privacy
from imxrouter.transport.opening import TcpOpener
from imxrouter.wire.record import Record
from tests.doubles.raw_peer import Endpoint, RawPeer
from tests.doubles.router_rig import BoundReactor, Lab, RouterRig, Sent, fresh_address
from tests.doubles.xmpp_server import Conduct, XmppServer

#: What shortens a failure that takes time by its nature, and lets traces be kept.
SETTINGS: Mapping[str, object] = {"log.trace_entries": 1000, "dial.hold_s": 5.0}


@dataclass(slots=True)
class Told:
    """What a staged failure left to be looked at.

    Attributes:
        router: whose operator looks: its trace, its log, its figures.
        ident: of the message.
        answer: what the sender was told.
        refusals: what `/metrics` of that router shows in the end, where only the scene can tell.
        check: a domain that shows the failure from outside as well.
        wait_s: seconds that the check waits for each answer, connection and hello.
        lab: whether that check may dial loopback.
        at: the address of the machine on which that check is typed.
    """

    router: RouterRig
    ident: bytes
    answer: Outcome
    refusals: Mapping[Reason, int] | None = None
    check: str = ""
    wait_s: float = 5.0
    lab: bool = True
    at: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One staged failure.

    Attributes:
        name: short, unique; a heading of the page for operators.
        symptom: what somebody notices.
        play: makes it happen.
        reason: why, in the words of the router that decides.
        status: what the sender is told of the message.
        by: the domain that the answer names as deciding; empty where it is the sender's own router.
        counted: refusals that `/metrics` of the operator's router shows in the end; None: this reason, once.
        checked: whether `imxctl check` shows it from outside as well.
        seen_at: the stage of the check that shows it; empty: that of the reason.
        links: links that end with it, and why, where any do.
        logged: more reasons that log lines name, such as why another router refused.
    """

    name: str
    symptom: str
    play: Callable[[Scene], Told]
    reason: Reason
    status: Status = Status.FAILURE
    by: str = ""
    counted: Mapping[Reason, int] | None = None
    checked: bool = False
    seen_at: str = ""
    links: Mapping[Reason, int] = field(default_factory=dict)
    logged: tuple[Reason, ...] = ()


class Disk:
    """A disk on which a state file may take so many pages."""

    def __init__(self) -> None:
        self.pages = 1_000_000

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Set how much room there is."""
        connection.execute(f"PRAGMA max_page_count = {self.pages}")


class Scene:
    """A laboratory whose log is read. Use as a context manager.

    Attributes:
        lab: the laboratory.
        lines: what the routers wrote, each line an object of the JSON format.
        monkeypatch: for what no setting shortens.
    """

    def __init__(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.lines: list[dict[str, Any]] = []
        self.monkeypatch = monkeypatch
        self._observer: ILogObserver = observer(self._line, AddressMask(Privacy.DOMAIN, b"k" * 32))
        self._sockets: list[socket.socket] = []
        self._peers: list[RawPeer] = []
        self._listening: list[Any] = []
        self._servers = ExitStack()

    def __enter__(self) -> Self:
        """Begin to read the log."""
        globalLogPublisher.addObserver(self._observer)
        return self

    def __exit__(self, *exc: object) -> None:
        """End it, and close what the scene opened."""
        globalLogPublisher.removeObserver(self._observer)
        self._servers.close()
        for peer in self._peers:
            peer.close()
        for one in self._sockets:
            one.close()
        for listening in self._listening:
            self.lab.thread.call(listening.stopListening)

    def _line(self, text: str) -> None:
        self.lines.append(json.loads(text))

    # -- who is there ------------------------------------------------------------------------------------

    def router(
        self, *domains: str, settings: Mapping[str, object] | None = None, **options: Any
    ) -> RouterRig:
        """A real router that keeps traces."""
        return self.lab.router(*domains, settings={**SETTINGS, **(settings or {})}, **options)

    def peer(self, rig: RouterRig, at: str = "") -> RawPeer:
        """A connection to a router, nothing said on it yet; cut at the end."""
        self._peers.append(RawPeer.connect(rig.endpoint, at))
        return self._peers[-1]

    def speaker(self, greets: bytes = b"", answers: bytes = b"", *, hangs_up: bool = False) -> Endpoint:
        """A server that says the same to everybody.

        Args:
            greets: what it says first.
            answers: what it says once it was spoken to.
            hangs_up: it ends each connection at once.
        """
        ip = fresh_address()
        listening = self.lab.thread.call(
            self.lab.thread.reactor.listenTCP, 0, _Speakers(greets, answers, hangs_up), interface=ip
        )
        self._listening.append(listening)
        return ip, listening.getHost().port

    def server(self, domain: str, conduct: Conduct) -> Endpoint:
        """An XMPP server that behaves so; stopped at the end."""
        return self._servers.enter_context(XmppServer(domain, fresh_address(), conduct)).endpoint

    def black_hole(self) -> Endpoint:
        """A place that answers no attempt to connect: its queue is full, so the kernel drops what comes."""
        listener = socket.socket()
        listener.bind((fresh_address(), 0))
        listener.listen(0)
        self._sockets.append(listener)
        place: Endpoint = listener.getsockname()
        for _ in range(4):
            filling = socket.socket()
            filling.setblocking(False)
            with suppress(BlockingIOError):
                filling.connect(place)
            self._sockets.append(filling)
        return place

    def disk(self) -> Disk:
        """The disk of every router that is made from now on; what is not written is tried again at once."""
        disk = Disk()
        self.monkeypatch.setattr(storing, "StateFile", partial(StateFile, prepare=disk))
        self.monkeypatch.setattr(storing, "SqliteStore", partial(SqliteStore, retry_s=0.05))
        return disk

    def fill(self, disk: Disk, rig: RouterRig) -> None:
        """Take all room of the disk, and wait until the router has noticed."""
        disk.pages = 1
        store = rig.router.store
        rig.call(lambda: store.put("test", b"key", b"v" * 100_000))
        self.lab.wait_until(lambda: store.health().problem is StoreProblem.FULL, "the disk is full")

    # -- what is done ------------------------------------------------------------------------------------

    def say(self, rig: RouterRig, source: str, destination: str, text: str = "hello") -> Told:
        """Send as a user of an embedded service, and wait for the answer."""
        sent, ident = self.begin(rig, source, destination, text)
        return Told(rig, ident, sent.outcome())

    def begin(self, rig: RouterRig, source: str, destination: str, text: str = "hello") -> tuple[Sent, bytes]:
        """Send as a user of an embedded service; returns what waits for the answer, and the message's id."""
        sent = Sent(self.lab)

        def submit() -> bytes:
            service = rig.router.embedded_for(Address.parse(source))
            assert service is not None
            message = service.send(
                Address.parse(source), Address.parse(destination), text, sent.outcomes.append
            )
            return message.message_id

        return sent, rig.call(submit)

    def ask(self, rig: RouterRig, peer: RawPeer, request: Record) -> Told:
        """Send a record by hand over a link, and wait for its answer."""
        peer.send(request)
        return Told(rig, request.message_id, peer.outcome())

    # -- what is seen ------------------------------------------------------------------------------------

    def trace(self, told: Told) -> tuple[Any, str]:
        """What `imxctl trace ID` says: as JSON, and printed."""
        words = ["--socket", told.router.router.config.admin_socket]
        as_json = CliRunner().invoke(imxctl, [*words, "--json", "trace", told.ident.hex()])
        assert as_json.exit_code == 0, as_json.output
        printed = CliRunner().invoke(imxctl, [*words, "trace", told.ident.hex()])
        return json.loads(as_json.output), printed.output

    def refusals(self, rig: RouterRig) -> dict[tuple[str, str], int]:
        """What `/metrics` shows of requests: (stage, reason) -> how often, where it is not zero."""
        return self._figures(rig, "imxrouter_refusals_total")

    def link_ends(self, rig: RouterRig) -> dict[tuple[str, str], int]:
        """What `/metrics` shows of links that ended: (stage, reason) -> how often, where it is not zero."""
        return self._figures(rig, "imxrouter_link_ends_total")

    def sample(self, rig: RouterRig, name: str, **labels: str) -> float:
        """One figure of `/metrics`."""
        (value,) = [one.value for one in self._samples(rig, name) if one.labels == labels]
        return float(value)

    def _figures(self, rig: RouterRig, name: str) -> dict[tuple[str, str], int]:
        figures: dict[tuple[str, str], int] = {}
        for sample in self._samples(rig, name):
            if sample.value and sample.labels.get("kind") != "link":
                key = (sample.labels["stage"], sample.labels["reason"])
                figures[key] = figures.get(key, 0) + int(sample.value)
        return figures

    def _samples(self, rig: RouterRig, name: str) -> list[Any]:
        text = rig.call(rig.router.metrics.exposition).decode()
        families = text_string_to_metric_families(text)
        return [sample for family in families for sample in family.samples if sample.name == name]

    def check(self, told: Told) -> tuple[CheckView, str]:
        """What `imxctl check DOMAIN` says: as JSON, and printed; run in the reactor of the laboratory."""
        views: list[CheckView] = []

        def run(_shared: object, wanted: Domain, terms: Terms, _protocol: str | None) -> CheckView:
            if not views:
                report = self.lab.thread.call(lambda: self._checker(terms, told.at).run(wanted))
                views.append(view_of_all({"imx": report}))
            return views[0]

        self.monkeypatch.setattr(check_command, "_run", run)
        words = ["check", told.check, "--timeout", str(told.wait_s), *(["--lab"] if told.lab else [])]
        printed = CliRunner().invoke(imxctl, words)
        view = json.loads(CliRunner().invoke(imxctl, [*words, "--json"]).output)
        assert view == views[0]
        return view, printed.output

    def _checker(self, terms: Terms, at: str) -> Checker:
        reactor = self.lab.thread.reactor
        guard = DialGuard(("0.0.0.0/0", "::/0"), range(LOW_PORTS)) if terms.lab else DialGuard()
        opener = TcpOpener(cast("Any", BoundReactor(reactor, at)) if at else reactor)
        return Checker(
            reactor, self.lab.zones.ask, guard, opener, timeout_s=terms.timeout_s, chance=Random(1),
            random_bytes=bytes,
        )  # fmt: skip


class _Speaker(Protocol):
    """One connection of a server that always says the same."""

    factory: _Speakers
    transport: Any

    def connectionMade(self) -> None:
        """Greet, or hang up."""
        self.transport.write(self.factory.greets)
        if self.factory.hangs_up:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:  # noqa: ARG002 - Twisted's signature
        """Answer."""
        self.transport.write(self.factory.answers)


class _Speakers(Factory):
    """Makes them."""

    noisy = False
    protocol: Any = _Speaker

    def __init__(self, greets: bytes, answers: bytes, hangs_up: bool) -> None:
        self.greets, self.answers, self.hangs_up = greets, answers, hangs_up
