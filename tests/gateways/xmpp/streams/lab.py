"""Real routers that speak XMPP to each other over loopback, with services behind them that take stanzas."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from imxrouter.model.outcome import Outcome
from imxrouter.switch.ports import Role
from imxrouter.wire.record import Record, encode_record
from imxrouter.wire.registry import RecordType
from tests.doubles.router_rig import Lab, RouterRig, free_port, fresh_address
from tests.gateways.xmpp.streams.rig import Service


class Server(Service):
    """As an XMPP server behind the router: answers pings for its domain itself, and takes the rest."""

    def take(self, data: bytes) -> None:
        """Whole records."""
        before = len(self.requests)
        super().take(data)
        pings = [one for one in self.requests[before:] if b"urn:xmpp:ping" in one.body]
        for ping in pings:
            self.requests.remove(ping)
            ident = re.search(rb"id='([^']*)'", ping.body)
            assert ident is not None
            to, from_ = ping.envelope.from_domain, ping.envelope.to_domain
            answer = b"<iq type='result' id='%s' from='%s' to='%s'/>" % (ident[1], from_, to)
            record = Record(
                RecordType.STANZA, 0, 16, 0, os.urandom(16), ping.envelope.swapped(), (), b"xmpp\0" + answer
            )
            self.hub.inject(self.port, encode_record(record))


class StreamRouter:
    """A router with `[xmpp] listen`, and a service behind it that takes STANZA and answers success.

    Args:
        lab: whose zones lead to it.
        domain: served there.
        certificates: whether it has one that names the domain.
        settings: dotted keys.
        tables: more of the configuration.
        direct: its DNS leads to TLS from the first byte.
    """

    def __init__(
        self, lab: Lab, domain: str, *, certificates: Sequence[str] | None = None,
        settings: dict[str, Any] | None = None, tables: str = "", direct: bool = False,
    ) -> None:  # fmt: skip
        self._lab = lab
        self.domain = domain
        ip = fresh_address()
        self.stream_port = free_port(ip)
        self.rig: RouterRig = lab.router(
            domain, publish=False, endpoint=(ip, free_port(ip)),
            settings={"xmpp.listen": [f"{ip}:{self.stream_port}"], **(settings or {})}, tables=tables,
            certificates=None if certificates is None else [certificates],
        )  # fmt: skip
        name = "_xmpps-server" if direct else "_xmpp-server"
        lab.zones.load(
            f"$ORIGIN {domain}.\n{name}._tcp 60 IN SRV 0 0 {self.stream_port} im\nim 60 IN A {ip}\n"
        )
        self.service: Server = self.rig.call(self._serve)

    def _serve(self) -> Server:
        router = self.rig.router
        made = Server(router, self.domain)  # type: ignore[arg-type]
        route = router.switch.routes[self.domain.encode()]
        route.ports = [made.port]
        route.types |= {RecordType.STANZA.value}
        route.max_bytes = 1 << 20
        return made

    def send(self, to: str, raw: bytes) -> int:
        """Have a stanza of the service's be sent."""
        number: int = self.rig.call(lambda: self.service.send(raw, self.domain, to))
        return number

    def outcome(self, number: int) -> Outcome:
        """What became of it."""
        self._lab.wait_until(lambda: number in self.service.outcomes, "its outcome")
        return self.service.outcomes[number]

    def stanzas(self, count: int) -> list[bytes]:
        """Those that came, when there are so many."""
        self._lab.wait_until(lambda: len(self.service.requests) >= count, "they came")
        return [one.body.removeprefix(b"xmpp\0") for one in self.service.requests]

    def streams(self) -> list[Any]:
        """Its streams with other organisations."""
        found: list[Any] = self.rig.call(
            lambda: [
                one
                for one in self.rig.router.hub.sessions.values()
                if one.protocol.value == "xmpp" and one.port.role is Role.PEER
            ]
        )
        return found
