"""Whole routers over real sockets: organisations with addresses of their own in 127.0.0.0/8, DNS in memory.

A `Lab` makes routers (real ones, in the reactor's thread) and scripted organisations (`RawOrganisation`),
publishes their domains, and ends each test by checking that every router's figures add up.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import LogEvent, globalLogPublisher

from imxrouter.app.router import Router
from imxrouter.config.load import Document, parse
from imxrouter.model.address import Address
from imxrouter.model.outcome import Outcome
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.switch.checks import ALL_CHECKS, Checks
from imxrouter.tls.contexts import TlsContexts
from imxrouter.tls.identity import identifiers_of
from imxrouter.tls.own import OwnCertificate
from imxrouter.tls.peer import Anchors, fingerprint_of
from imxrouter.tls.store import CertificateSet
from imxrouter.transport.session import LinkSession
from imxrouter.wire.control import Claim, ClaimResult, Proof, Verify, VerifyResult
from tests.doubles.authority import DAY, Authority
from tests.doubles.ports import Ports
from tests.doubles.raw_peer import PATIENCE_S, SOME_TOKEN, Endpoint, RawListener, RawPeer, prove
from tests.doubles.reactor_thread import ReactorThread
from tests.doubles.zones import FakeZones

#: Settings of every router of a laboratory; a test's own come on top.
SETTINGS: Mapping[str, object] = {
    "role": "aggregator",
    "metrics.listen": "",
    "trust.default_policy": "dialback",
    "dial.allow_networks": ["127.0.0.0/8"],
    "dial.backoff_first_s": 0.1,
    "dial.backoff_cap_s": 0.5,
    "links.ping_s": 1.0,  # below 2, so that timers are looked at five times a second
    "links.dead_s": 60.0,
    "links.close_deadline_s": 0.5,
    "overload.lag_ms": 0,  # all routers and the test share one process, and that a machine with others
    "log.trace_entries": 0,
}

_networks = itertools.count()
_ports = Ports()


def login_key(number: int) -> Ed25519PrivateKey:
    """A key for logins, the same for the same number."""
    return Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))


def service_table(name: str, key: Ed25519PrivateKey, *domains: str, types: Sequence[str] = ()) -> str:
    """The tables of a service that logs in with a key, and of its domains."""
    text = (
        f'[[service]]\nname = "{name}"\nkind = "imx"\nkey = "{key.public_key().public_bytes_raw().hex()}"\n'
    )
    more = f"types = {json.dumps(['message', *types])}\n"
    return text + "".join(f'[[domain]]\nname = "{one}"\nservice = "{name}"\n{more}' for one in domains)


def fresh_address() -> str:
    """An address that no other organisation of this run has, alone in its /24."""
    number = next(_networks)
    return f"127.{16 + (os.getpid() + number // 254) % 200}.{1 + number % 254}.1"


def free_port(ip: str) -> int:
    """A port that is free, and stays free for us."""
    return _ports.take(ip)


class BoundReactor:
    """A reactor whose connections come from one address, as those of a host with that address do."""

    def __init__(self, reactor: Any, ip: str) -> None:
        self._reactor = reactor
        self._ip = ip

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float) -> Any:  # noqa: N802 - Twisted's
        """Connect; to IPv6 from anywhere."""
        bind = None if ":" in host else (self._ip, 0)
        return self._reactor.connectTCP(host, port, factory, timeout=timeout, bindAddress=bind)


class Sent:
    """A message under way.

    Attributes:
        outcomes: what it was answered; exactly one in the end.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.outcomes: list[Outcome] = []

    def outcome(self, within_s: float = PATIENCE_S) -> Outcome:
        """Wait for the one outcome."""
        self._lab.wait_until(lambda: bool(self.outcomes), "the outcome of a message", within_s)
        (outcome,) = self.outcomes
        return outcome


class RouterRig:
    """One real router.

    Attributes:
        router: use it inside `call` only.
        endpoint: where it listens.
        ip: its address; it connects from there, and nobody else does.
        file: where its configuration would be; `reload_rig` writes it.
        text: its configuration.
    """

    def __init__(
        self,
        lab: Lab,
        domains: Sequence[str],
        *,
        users: Sequence[str] = ("alice", "bob"),
        settings: Mapping[str, object] | None = None,
        tables: str = "",
        checks: Checks = ALL_CHECKS,
        embedded: bool = True,
        endpoint: Endpoint | None = None,
        certificates: Sequence[Sequence[str]] | None = None,
        minimum_tls: str = "1.2",
    ) -> None:
        """Build it.

        Args:
            lab: whose zones it asks.
            domains: served by an embedded service, unless `embedded` is False.
            users: users of each of them.
            settings: dotted keys, on top of `SETTINGS`.
            tables: more TOML, such as `[[service]]` and `[[domain]]` tables.
            checks: checks of the hot path.
            embedded: whether the domains are served by the embedded service.
            endpoint: where to listen; None: a fresh address and a free port.
            certificates: names of each certificate of its own, from the laboratory's authority; None: no TLS.
            minimum_tls: the least version of TLS.
        """
        self._lab = lab
        ip = endpoint[0] if endpoint else fresh_address()
        self.endpoint: Endpoint = endpoint or (ip, free_port(ip))
        self.ip = ip
        self.domains = tuple(domains)
        folder = lab.folder / f"r{len(lab.routers)}"
        lines = {
            "name": f"router.{domains[0]}",
            "state_dir": str(folder / "state"),
            "run_dir": str(folder),
            "listen.addresses": [f"{ip}:{self.endpoint[1]}"],
            **SETTINGS,
            **(settings or {}),
        }
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
        if embedded:
            text += f'[[service]]\nname = "home"\nkind = "embedded"\nusers = {json.dumps(list(users))}\n'
            text += "".join(f'[[domain]]\nname = "{name}"\nservice = "home"\n' for name in domains)
        self.file, self.text = folder / "router.toml", text + tables
        config = parse(Document(str(self.file), self.text)).config
        self.router: Router = self.call(
            lambda: Router(config, lab.thread.reactor, ask=lab.zones.ask, checks=checks)
        )
        self.router.dialer._opener._reactor = cast("Any", BoundReactor(lab.thread.reactor, ip))
        self._running = False
        if certificates is not None:
            self.use_tls([lab.issue(*names) for names in certificates], minimum=minimum_tls)

    def use_tls(
        self, certificates: Sequence[OwnCertificate], anchors: Anchors | None = None, minimum: str = "1.2"
    ) -> None:
        """Show these certificates, and trust the laboratory's authority or these anchors."""
        contexts = TlsContexts(CertificateSet(certificates), minimum=minimum)
        trusted = anchors or self._lab.anchors
        self.call(lambda: self.router.link_tls.use(contexts, lambda: trusted))

    def start(self) -> RouterRig:
        """Listen."""
        self.call(self.router.startService)
        self._running = True
        return self

    def stop(self) -> None:
        """Go out of service."""
        if self._running:
            self._running = False
            self.call(self.router.stopService)

    def cut(self) -> None:
        """End every link; in the reactor's thread."""
        for session in list(self.router.hub.sessions.values()):
            session.end(Reason.SHUTTING_DOWN)

    def call(self, what: Callable[[], Any]) -> Any:
        """Do something in the reactor's thread, and wait for it."""
        return self._lab.thread.call(what)

    # -- users -------------------------------------------------------------------------------------------

    def send(self, source: str, destination: str, text: str = "hello") -> Sent:
        """Send as an embedded user; wait with `Sent.outcome`."""
        sent = Sent(self._lab)
        sender, recipient = Address.parse(source), Address.parse(destination)

        def submit() -> None:
            service = self.router.embedded_for(sender)
            assert service is not None, f"{source} has no account here"
            service.send(sender, recipient, text, sent.outcomes.append)

        self.call(submit)
        return sent

    def inbox(self, user: str) -> list[tuple[str, str]]:
        """What a user received: (sender, text), oldest first."""
        address = Address.parse(user)

        def look() -> list[tuple[str, str]]:
            service = self.router.embedded_for(address)
            assert service is not None, f"{user} has no account here"
            return [(str(one.source), one.content.decode()) for one in service.inbox(address)]

        return self.call(look)  # type: ignore[no-any-return]

    # -- figures -----------------------------------------------------------------------------------------

    def counter(self, slot: int) -> int:
        """One of the switch's counters."""
        return int(self.call(lambda: self.router.switch.counters[slot]))

    def refusals(self, reason: Reason) -> int:
        """How often something was refused for that reason."""
        return int(self.call(lambda: slots.refusals(self.router.switch.counters, reason)))

    def sessions(self) -> list[LinkSession]:
        """The links of this moment."""
        return list(self.call(lambda: list(self.router.hub.sessions.values())))

    def proved(self, domain: str) -> int:
        """Links on which a stranger proved that domain."""
        raw = domain.encode()

        def count() -> int:
            sessions = self.router.hub.sessions.values()
            return sum(1 for one in sessions if one.side.value == "acceptor" and raw in one.port.sources)

        return int(self.call(count))

    def conservation(self) -> list[str]:
        """What breaks rule 2."""
        return self.call(self.router.switch.conservation)  # type: ignore[no-any-return]

    def forget_dns(self) -> None:
        """Ask DNS anew from now on."""
        self.call(self.router.finder._cache.clear)


class RawOrganisation:
    """A scripted organisation: an address, a listener, domains that DNS leads to it.

    Attributes:
        domain: its first domain.
        ip: its own address; it connects from there.
        listener: where its domains' DNS leads.
        second: the link on which the last verification came; used again while it lasts.
    """

    def __init__(self, lab: Lab, domains: Sequence[str]) -> None:
        self._lab = lab
        self.domain = domains[0]
        self.ip = fresh_address()
        self.listener = RawListener(self.ip)
        self.endpoint = self.listener.endpoint
        self.links: list[RawPeer] = []
        self.second: RawPeer | None = None
        for domain in domains:
            lab.publish(domain, self.endpoint)

    def connect(self, to: RouterRig, *, hello: bool = True, max_record: int = 65536) -> RawPeer:
        """Open a link to a router, and exchange hellos unless told otherwise."""
        peer = RawPeer.connect(to.endpoint, self.ip)
        self.links.append(peer)
        if hello:
            peer.hello(max_record=max_record)
        return peer

    def accept(self, *, hello: bool = True) -> RawPeer:
        """Take a link that a router opens to us, and exchange hellos unless told otherwise."""
        peer = self.listener.accept()
        if hello:
            peer.hello()
        return peer

    def prove(
        self, first: RawPeer, to_domain: str, domain: str = "", number: int = 1, token: bytes = SOME_TOKEN
    ) -> ClaimResult:
        """Prove a domain of ours honestly; the second connection is kept for the next time."""
        return prove(first, to_domain, domain or self.domain, self._verifying, number, token)

    def proved_link(self, to: RouterRig, domain: str = "", max_record: int = 65536) -> RawPeer:
        """A link to a router on which a domain of ours is proved."""
        first = self.connect(to, max_record=max_record)
        result = self.prove(first, to.domains[0], domain)
        assert result.reason == 0, f"the claim was refused: {result}"
        return first

    def take_claim(self, first: RawPeer, of: RouterRig) -> Claim:
        """Verify honestly what a router claims on a link it opened to us, and say that it is proved."""
        claim = first.find(Claim)
        secret = claim.number.to_bytes(32, "big")
        asking = self.connect(of)
        asking.send(Verify(77, claim.from_domain, claim.to_domain, claim.token, secret, 0))
        assert asking.expect(VerifyResult).reason == 0
        assert first.find(Proof).answer == secret
        first.send(ClaimResult(claim.number, 0, 1))
        return claim

    def close(self) -> None:
        """Cut everything."""
        self.listener.close()
        for link in self.links:
            link.close()

    def _verifying(self) -> RawPeer:
        if self.second is None or self.second._ended:
            self.second = self.accept()
        return self.second


@cache
def authority(name: str = "laboratory") -> Authority:
    """An authority for the whole run; one by another name is trusted by nobody."""
    now = time.time()
    return Authority.root(name, not_before=now - 1000 * DAY, not_after=now + 1000 * DAY)


@cache
def issued(*names: str, by: str = "laboratory", ended: bool = False) -> OwnCertificate:
    """A certificate with these names and its key; `ended`: it was good until a day ago."""
    now = time.time()
    until = now - DAY if ended else now + 90 * DAY
    made = authority(by).issue(*names, not_before=now - 90 * DAY, not_after=until)
    leaf = made.certificate
    return OwnCertificate(
        made.chain, made.key, identifiers_of(leaf), Path(f"{names[0]}.crt"), fingerprint_of(leaf),
        leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp(),
    )  # fmt: skip


@cache
def anchors_of(by: str = "laboratory") -> Anchors:
    """Trust in that authority alone."""
    return Anchors([authority(by).certificate], partial=True, source=by)


class Lab:
    """Organisations on loopback. Use as a context manager; the end of it judges every router.

    Attributes:
        thread: the reactor.
        zones: DNS in memory.
        routers: every router made here.
        failures: what was logged with a traceback; a test that provokes one empties the list.
    """

    def __init__(self, thread: ReactorThread) -> None:
        self.thread = thread
        self.zones = FakeZones()
        self.routers: list[RouterRig] = []
        self.failures: list[str] = []
        self.folder = Path(tempfile.mkdtemp(prefix="imx-"))  # short: unix sockets have 107 characters
        self._organisations: list[RawOrganisation] = []
        self._watchers: list[Callable[[LogEvent], object]] = []

    def router(self, *domains: str, publish: bool = True, **options: Any) -> RouterRig:
        """A real router for these domains, listening, its domains published; see `RouterRig`."""
        rig = RouterRig(self, domains, **options)
        self.routers.append(rig)
        for domain in domains if publish else ():
            self.publish(domain, rig.endpoint)
        return rig.start()

    def organisation(self, *domains: str) -> RawOrganisation:
        """A scripted organisation."""
        organisation = RawOrganisation(self, domains)
        self._organisations.append(organisation)
        return organisation

    @property
    def anchors(self) -> Anchors:
        """Trust in the laboratory's own authority."""
        return anchors_of()

    def issue(self, *names: str) -> OwnCertificate:
        """A certificate of the laboratory's own authority."""
        return issued(*names)

    def uplink_table(self, endpoint: Endpoint, key: Ed25519PrivateKey) -> str:
        """The table of an uplink at that address, where we log in with that key."""
        path = self.folder / f"uplink-{key.public_key().public_bytes_raw().hex()[:8]}.key"
        path.write_text(key.private_bytes_raw().hex(), "ascii")
        return (
            f'[[uplink]]\nname = "{endpoint[0]}"\naddress = "{endpoint[0]}:{endpoint[1]}"\n'
            f'key_file = "{path}"\n'
        )

    def publish(self, domain: str, *endpoints: Endpoint) -> None:
        """Let a domain's DNS lead to these hosts (`im1.DOMAIN`, `im2.DOMAIN` ...), in the IMX form."""
        text = f"$ORIGIN {domain}.\n"
        for number, (ip, port) in enumerate(endpoints, 1):
            kind = "AAAA" if ":" in ip else "A"
            text += f"@ 60 IN IMX 1 im{number} port={port}\nim{number} 60 IN {kind} {ip}\n"
        self.zones.load(text)

    def wait_until(self, condition: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> None:
        """Look every 10 ms, in the reactor's thread, until the condition holds; fail when time is up."""
        assert self.thread.call(self._poll, condition, within_s), f"not within {within_s:g} s: {what}"

    def _poll(self, condition: Callable[[], object], within_s: float) -> Deferred[bool]:
        reactor = self.thread.reactor
        done: Deferred[bool] = Deferred()
        until = reactor.seconds() + within_s

        def look() -> None:
            holds = bool(condition())
            if holds or reactor.seconds() >= until:
                loop.stop()
                done.callback(holds)

        loop = LoopingCall(look)
        loop.clock = reactor
        loop.start(0.01).addErrback(lambda failure: None if done.called else done.errback(failure))
        return done

    def watch(self, told: Callable[[LogEvent], object]) -> None:
        """Show every log event to a function, until the end."""
        globalLogPublisher.addObserver(cast("Any", told))
        self._watchers.append(told)

    def _observe(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.failures.append(event["log_failure"].getTraceback())

    def __enter__(self) -> Self:
        """Start to watch the log."""
        globalLogPublisher.addObserver(cast("Any", self._observe))
        return self

    def __exit__(self, *exc: object) -> None:
        """Judge and end everything."""
        figures = [rig.conservation() for rig in self.routers]
        for organisation in self._organisations:
            organisation.close()
        for rig in self.routers:
            rig.call(rig.cut)  # a drain takes a second; what shows it stops its routers itself
        for rig in self.routers:
            rig.stop()
        figures += [rig.conservation() for rig in self.routers]
        for told in (self._observe, *self._watchers):
            globalLogPublisher.removeObserver(cast("Any", told))
        shutil.rmtree(self.folder, ignore_errors=True)
        if exc[0] is None:
            assert figures == [[]] * len(figures)
            assert self.failures == []
