"""A laboratory whose parts fail: Prosody behind a whole router, ejabberd as a stranger's server on the net.

| namespace | holds |
| --- | --- |
| n | the public DNS; the clients |
| p | Prosody, its resolver that leads it to the router; the router with a user of its own |
| e | ejabberd, which finds the router's domains in the public DNS |

alice has an account at Prosody, bob at ejabberd, carol lives in the router. Servers prove themselves by
dial-back in TLS. All that ends by time is short here.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.interop.edge.authority import Authorities
from tests.interop.edge.clients import Account, Clients
from tests.interop.edge.ejabberd import Ejabberd
from tests.interop.edge.insides import INSIDE, DivertingResolver
from tests.interop.edge.insides import RESOLVER as DIVERTING
from tests.interop.edge.names import Mode
from tests.interop.edge.places import EJABBERD, NAME_SERVER, PROSODY, RESOLVER, host_records, serve_names
from tests.interop.edge.prosody import Prosody
from tests.interop.edge.routers import EdgeRouter
from tests.interop.netlab import Network, Program, run, wait_until

#: Seconds after which the router takes a silent stream for dead.
DEAD_S: Final = 5.0
#: Seconds after which a message without any word of it is one in doubt.
ANSWER_S: Final = 6.0
#: What is changed of the router's defaults.
SETTINGS: Final[dict[str, object]] = {
    "links.ping_s": 1.5, "links.dead_s": DEAD_S, "links.answer_timeout_s": ANSWER_S,
    "links.close_deadline_s": 2.0, "drain.deadline_s": 4.0,
    "dial.hold_s": 3.0, "dial.connect_timeout_s": 2.0, "dial.hello_timeout_s": 3.0,
    "dial.backoff_first_s": 0.2, "dial.backoff_cap_s": 1.0,
    "limits.sender_rate_per_s": 200, "limits.recipient_rate_per_s": 200,
    "limits.recipient_strangers_rate_per_s": 200, "limits.sender_burst": 10_000,
    "limits.recipient_burst": 10_000,
}  # fmt: skip
#: Streams between servers.
_PORT: Final = "5269"


class Laboratory:
    """Everything runs, and everybody sees everybody.

    Args:
        where: a directory for its files.
        undo: what ends it.
    """

    def __init__(self, where: Path, undo: ExitStack) -> None:
        network = undo.enter_context(Network("f"))
        names = [f"{NAME_SERVER}/24", f"{RESOLVER}/24"]
        self.names = network.add("n", names, RESOLVER)
        self.inside = network.add("p", [f"{PROSODY.server}/24", f"{PROSODY.router}/24"], DIVERTING)
        self.outside = network.add("e", [f"{EJABBERD.server}/24"], RESOLVER)
        run(*self.inside.command("ip", "addr", "replace", f"{INSIDE}/32", "dev", "lo"))
        self.authorities = Authorities.made(where / "authorities")
        serve_names(self.names, where / "dns", undo, _zones())
        resolver = DivertingResolver(PROSODY, self.inside, where / "resolver", RESOLVER, {})
        undo.callback(resolver.kill)
        resolver.ready()
        self.prosody = Prosody(PROSODY, self.inside, where / "prosody", self.authorities)
        self.ejabberd = Ejabberd(EJABBERD, self.outside, where / "ejabberd", self.authorities)
        self.router = OutsideEdgeRouter(PROSODY, self.inside, where / "router", self.authorities, RESOLVER)
        self.clients = Clients(self.names, where)
        for one in (self.prosody, self.ejabberd, self.router, self.clients):
            undo.callback(one.kill)
        self.prosody.start()
        self.ejabberd.start()
        self.router.start()
        self.prosody.ready()
        self.ejabberd.ready()
        self.clients.ready()
        self.prosody.register("alice", PROSODY.inside(Mode.TLS))
        self.ejabberd.register("bob", EJABBERD.inside(Mode.TLS))
        self.alice = self.log_in("alice")
        self.bob = self.log_in("bob")
        self.carol = self.router.carol

    def log_in(self, name: str, resource: str = "desk") -> Account:
        """Log alice or bob in, anew where an earlier connection of his was lost."""
        side = PROSODY if name == "alice" else EJABBERD
        return self.clients.login(f"{name}@{side.inside(Mode.TLS)}", side.server, resource=resource)

    # -- what fails ----------------------------------------------------------------------------------------

    def black_hole(self) -> None:
        """From now on every packet between servers is lost: Prosody - router, and router - ejabberd."""
        for place in (self.inside, self.outside):
            for way in ("--dport", "--sport"):
                place.drop("INPUT", "-p", "tcp", way, _PORT)

    def reset_streams(self) -> None:
        """From now on whoever says something on a stream between servers has it reset, and opens none."""
        for place in (self.inside, self.outside):
            for way in ("--dport", "--sport"):
                place.reset("0.0.0.0/0", way, _PORT)

    def heal(self) -> None:
        """Packets pass again."""
        self.inside.heal()
        self.outside.heal()


class OutsideEdgeRouter(EdgeRouter):
    """The router before Prosody, which strangers' servers reach as well."""

    def _more_settings(self, where: Path, authorities: Authorities) -> dict[str, object]:
        certificates, trusted = where / "certificates", where / "trusted.pem"
        trusted.write_bytes(authorities.outside.issued.chain_pem)
        ours = authorities.issue(self.side.inside(Mode.TLS), self.domain, by=authorities.outside)
        ours.write(certificates, "ours")
        return {
            "xmpp.listen": [f"{self.side.router}:{_PORT}"], "tls.certificates": str(certificates),
            "tls.trust": [str(trusted)], "dial.allow_networks": ["192.0.2.0/24"], **SETTINGS,
        }  # fmt: skip

    def _changed(self, text: str) -> str:
        return f'{text}[[trust.peer]]\ndomain = "{EJABBERD.inside(Mode.TLS)}"\npolicy = "dialback+tls"\n'

    def drain(self) -> None:
        """Take it out of service, and wait until it is."""
        self.client.drain()
        wait_until(lambda: self.client.status()["drain"]["state"] == "drained", "it is drained", 20)

    def streams(self) -> list[int]:
        """Numbers of the streams that are there, those with the server behind it too."""
        return [one["link"] for one in self.client.links() if one["stream"] is not None]

    def read_by_carol(self) -> Counter[str]:
        """How often carol has read each text: shown as it came, or found in her inbox."""
        lines = self.seen.read_text().splitlines(keepends=True) if self.seen.exists() else []
        said = [json.loads(one) for one in lines if one.endswith("\n")]
        return Counter(one["text"] for one in said if "text" in one)  # imxctl's own words have none


def laboratory(where: Path) -> Iterator[Laboratory]:
    """Build it; a generator for a fixture, which takes it down when it is resumed."""
    with ExitStack() as undo:
        yield Laboratory(where, undo)


def _zones() -> dict[str, str]:
    """The text of the public zone."""
    records = host_records(PROSODY.inside(Mode.TLS), PROSODY.router)
    records += host_records(f"home-{PROSODY.name}.example", PROSODY.router)
    records += host_records(EJABBERD.inside(Mode.TLS), EJABBERD.server)
    head = ["$ORIGIN example.", "$TTL 1", "@ IN SOA ns hostmaster 1 7200 900 1209600 1", "@ IN NS ns"]
    return {"example": "\n".join([*head, f"ns IN A {NAME_SERVER}", *records]) + "\n"}


def freeze(one: Program, *, frozen: bool) -> None:
    """Stop a program where it is, or let it go on."""
    os.kill(one.pid, signal.SIGSTOP if frozen else signal.SIGCONT)
