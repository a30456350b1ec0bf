"""The inside of a router alone, in a process of its own: its streams are real, all else is the test's.

`python -m tests.interop.edge.inside_process SOCKET SETTINGS` takes streams of the server in its namespace and
answers JSON lines at a unix socket. What comes for outside domains is told as it is.
"""

from __future__ import annotations

import ipaddress
import json
import sys
import time
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.protocols.basic import LineReceiver

from imxrouter.gateways.xmpp.streams.inside import Inside, InsideFactory
from imxrouter.gateways.xmpp.streams.parts import StreamParts
from imxrouter.gateways.xmpp.streams.pool import ServicePool
from imxrouter.model.domain import Domain
from imxrouter.model.outcome import SUCCESS
from imxrouter.switch.ports import Route, bound_proof
from imxrouter.tls.inside import InsideAuthority, Mint
from imxrouter.tls.inside_contexts import InsideContexts
from imxrouter.tls.own import OwnCertificate
from imxrouter.transport.listener import listen
from imxrouter.transport.opening import TcpOpener
from imxrouter.wire.registry import RecordType
from tests.gateways.xmpp.streams.rig import XMPP, Router, Service

reactor = cast("Any", _reactor)
TYPES = frozenset({RecordType.STANZA.value, RecordType.MESSAGE.value})


class World(Service):
    """All outside domains: tells what comes for them, and takes it."""

    def __init__(self, router: Router, lines: list[Lines]) -> None:
        super().__init__(router, "world.example")
        self._lines = lines
        self._router = router

    def take(self, data: bytes) -> None:
        """Whole records."""
        known = set(self.outcomes)
        count = len(self.requests)
        super().take(data)
        for record in self.requests[count:]:
            self.tell({"stanza": record.body.removeprefix(XMPP).decode()})
        for number in set(self.outcomes) - known:
            outcome = self.outcomes[number]
            words = {"status": outcome.status.name, "reason": outcome.reason.word, "note": outcome.note}
            self.tell({"sent": number, **words})

    def tell(self, line: dict[str, Any]) -> None:
        """Tell the test."""
        for one in self._lines:
            one.tell(line)

    def answers_for(self, domain: str) -> None:
        """One more outside domain."""
        self.port.sources[domain.encode()] = bound_proof(0.0, 100.0)
        self.port.speaks.add(domain.encode())
        self._router.switch.routes[domain.encode()] = Route([self.port], 1, 1 << 20, TYPES)


class Lines(LineReceiver):
    """The test's connection."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20

    def __init__(self, world: World) -> None:
        self._world = world

    def tell(self, line: dict[str, Any]) -> None:
        """Say something to the test."""
        self.sendLine(json.dumps(line).encode())  # type: ignore[no-untyped-call]

    def connectionMade(self) -> None:
        """It is there."""
        self._world._lines.append(self)

    def lineReceived(self, line: bytes) -> None:
        """`outside`: a domain; `send`: a stanza with its two domains."""
        asked = json.loads(line)
        if "outside" in asked:
            self._world.answers_for(asked["outside"])
            self.tell({"done": True})
        else:
            number = self._world.send(asked["send"].encode(), asked["from"], asked["to"])
            self.tell({"number": number})


class TwoMints(Mint):
    """The mint; for domains that begin with `unknown` one that the server does not trust.

    Args:
        authority: file of the one.
        unknown: file of the other.
    """

    def __init__(self, authority: Path, unknown: Path) -> None:
        now = time.time()
        super().__init__(InsideAuthority.read(authority, now), time.time)
        self._unknown = Mint(InsideAuthority.read(unknown, now), time.time)

    def certificate_for(self, domain: Domain) -> OwnCertificate:
        """By the one or the other."""
        if domain.name.startswith("unknown"):
            return self._unknown.certificate_for(domain)
        return super().certificate_for(domain)


class Lab:
    """The process.

    Args:
        settings: `name`, `listen`, `allow`, `server`, `domains`, `authority`, `unknown`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        router = Router(cast("Any", reactor), "world.example")
        self.world = World(router, [])
        self.world.outcome = SUCCESS
        served = set(settings["domains"])
        mint = TwoMints(Path(settings["authority"]), Path(settings["unknown"]))
        contexts = InsideContexts(mint, Domain.parse(settings["name"]))
        inside = Inside(
            router.hub, lambda name: "chat" if name in served else None, lambda: [b"secret"],
            TcpOpener(reactor), reactor.callLater,
        )  # fmt: skip
        pool = ServicePool("chat", router.hub, router.edge, inside)
        inside.pools, inside.addresses = {"chat": pool}, {"chat": tuple(settings["server"])}
        inside.parts = StreamParts(
            router.edge, inside, None, inside.terms, reactor.callLater,
            pings=router.parts.pings, on_error=router.parts.on_error,
        )  # fmt: skip
        inside.show(contexts)
        for domain in served:
            pool.bind(domain.encode(), 0.0, 100.0)
            router.switch.routes[domain.encode()] = Route([pool.port], 1, 1 << 20, TYPES)
        inside.networks = [ipaddress.ip_network(text) for text in settings["allow"]]
        listen(reactor, [tuple(settings["listen"])], InsideFactory(inside))

        def tick() -> None:
            inside.tick(router.hub.now())
            router.hub.tick()

        self._timers = LoopingCall(tick)
        self._timers.start(1.0)


def main() -> None:
    """Run until it is ended."""
    lab = Lab(json.loads(Path(sys.argv[2]).read_text()))
    reactor.listenUNIX(sys.argv[1], Factory.forProtocol(lambda: Lines(lab.world)))
    reactor.run()


if __name__ == "__main__":
    main()
