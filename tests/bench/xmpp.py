"""What a stanza costs, beside servers that do the nearest to it; a part of `make bench`.

A message with a body of 200 bytes comes in clear on a stream on which its domain is proved by dial-back, from
one of 10,000 senders, and goes out on another stream. CPU time is that of the forwarding process, divided by
the messages that arrived. The router translates it for a service of IMX, or takes it from a server behind it
and passes it on to one outside. These figures alone: `python -m tests.bench --load xmpp`.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.bench import servers
from tests.bench.links import login
from tests.bench.process import cpu_s
from tests.bench.servers import Running
from tests.bench.streams import TIMEOUT_S, Authority, component, peer
from tests.bench.tools import Load, NoTool, StanzaEnds, build_load, run_stanzas

if TYPE_CHECKING:
    from tests.bench.__main__ import Bench, Figures

PEER: Final = "peer.xmpp.bench.example"
#: What the component is called: the domain that messages go to.
SERVED: Final = "served.xmpp.bench.example"
#: The domain of the server behind the router, and the address that it comes from.
BEHIND: Final = "behind.xmpp.bench.example"
BEHIND_ADDRESS: Final = "127.0.0.1"
#: The address of the peer's streams, which dial-back finds by DNS.
PEER_ADDRESS: Final = "127.31.5.4"
ROUTER_ADDRESS: Final = "127.31.5.5"
INSIDE_ADDRESS: Final = "127.31.5.6"
LOADS: Final = {
    "XMPP, saturation": Load(window=2_000),
    "XMPP, 1,000 a second": Load(window=2_000, rate=1_000.0),
}
_ZONE: Final = f"""\
$ORIGIN bench.example.
@ 60 IN SOA ns hostmaster 1 60 60 60 1
_xmpp-server._tcp.peer.xmpp 60 IN SRV 0 0 {{port}} streams.peer.xmpp
streams.peer.xmpp 60 IN A {PEER_ADDRESS}
"""

ServerMaker = Callable[[Path, str], contextlib.AbstractContextManager[Running]]


class XmppBench:
    """Runs on what a bench has.

    Args:
        bench: its folder and its seconds.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._program = build_load(bench.folder / "build", "stanzas")
        self._from, self._to = bench.folder / "xmpp-from", bench.folder / "xmpp-to"

    def runs(self) -> Iterator[Figures]:
        """The router, Prosody and ejabberd under each load; one that is missing is said and left out."""
        for label in LOADS:
            for run in (self.router_to_imx, self.router_to_xmpp):
                try:
                    yield run(label)
                except NoTool as error:
                    print(f"router with XMPP: {error}", file=sys.stderr)
            yield from self._servers(label)

    def _servers(self, label: str) -> Iterator[Figures]:
        makers: dict[str, ServerMaker] = {
            "Prosody": servers.prosody,
            "ejabberd, 1 scheduler": lambda folder, name: servers.ejabberd(folder, name, one_scheduler=True),
            "ejabberd": lambda folder, name: servers.ejabberd(folder, name, one_scheduler=False),
        }
        for name, make in makers.items():
            try:
                with self._peer_found(), make(self._folder(), SERVED) as running:
                    yield self._through(running, label)
            except NoTool as error:
                print(f"{name}: {error}", file=sys.stderr)

    def router_to_imx(self, label: str) -> Figures:
        """The router: from a proved stream to an IMX service, translated."""
        with self._peer_found(), self._router() as (pid, streams, endpoint):
            service = login(endpoint, self._bench.key)
            sender = peer(streams, PEER, SERVED)
            with sender, service:
                return self.measure("router, XMPP -> IMX", label, pid, StanzaEnds([sender], imx=[service]))

    def router_to_xmpp(self, label: str) -> Figures:
        """The router: from a server behind it to the peer's, passed on as it is.

        The peer answers the router's pings on a stream of its own, as servers do.
        """
        with self._peer_found() as authority, self._router() as (pid, streams, _):
            inside = (INSIDE_ADDRESS, streams[1])
            with peer(inside, BEHIND, PEER) as sender, peer(streams, PEER, BEHIND) as answers:
                # Nobody asks whether an answer arrived, so the stream that it opens is silent at first.
                sender.sendall(f"<iq from='u0@{BEHIND}/r' to='bob0@{PEER}/r' id='0' type='result'/>".encode())
                if not authority.claimed.wait(TIMEOUT_S):
                    raise NoTool("the router opens no stream to the peer")
                ends = StanzaEnds([sender], authority.streams[:1], [answers])
                return self.measure("router, XMPP -> XMPP", label, pid, ends, BEHIND, PEER)

    # -- inside ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _router(self) -> Iterator[tuple[int, tuple[str, int], tuple[str, int]]]:
        """A router that takes streams in clear; gives its process id and where it takes streams and links."""
        config = self._bench.config([SERVED], ("message",))
        with socket.create_server((ROUTER_ADDRESS, 0)) as free:
            port = free.getsockname()[1]
        text = config.read_text().replace('["127.0.0.1:9"]', f'["{servers.RESOLVER}:53"]')
        more = [
            f'xmpp.listen = ["{ROUTER_ADDRESS}:{port}"]',
            'xmpp.tls = "offered"',
            'trust.xmpp_default = "dialback"',
            f'xmpp.inside.listen = ["{INSIDE_ADDRESS}:{port}"]',
            f'xmpp.inside.allow = ["{BEHIND_ADDRESS}/32"]',
        ]
        behind = f'\n[[service]]\nname = "behind"\nkind = "xmpp"\naddress = "{BEHIND_ADDRESS}:9"\n'
        config.write_text("\n".join(more) + "\n" + text + behind)
        tables = config.parent / "domains.d" / "behind.toml"
        tables.write_text(f'[[domain]]\nname = "{BEHIND}"\nservice = "behind"\n')
        with self._bench.started(config) as (child, endpoint):
            yield child.pid, (ROUTER_ADDRESS, port), endpoint

    def _folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._bench.folder))

    @contextlib.contextmanager
    def _peer_found(self) -> Iterator[Authority]:
        """The peer's listener, and a name server that leads to it."""
        with socket.create_server((PEER_ADDRESS, 0)) as listening:
            zone = self._folder() / "zone"
            zone.write_text(_ZONE.format(port=listening.getsockname()[1]))
            command = [sys.executable, "-m", "imxrouter.lab.dns", "--zone", str(zone)]
            command += ["--listen", f"{servers.RESOLVER}:53"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
                authority = Authority(listening)
                try:
                    assert child.stdout is not None
                    if b"name server on" not in (said := child.stdout.readline()):
                        raise NoTool(f"no name server at {servers.RESOLVER}: {said.decode().strip()}")
                    yield authority
                finally:
                    authority.close()
                    child.kill()

    def _through(self, running: Running, label: str) -> Figures:
        """From a proved stream to a component of a server."""
        receiver = component(running.components, SERVED, servers.SECRET)
        sender = peer(running.streams, PEER, SERVED)
        with sender, receiver:
            return self.measure(running.name, label, running.pid, StanzaEnds([sender], [receiver]))

    def measure(
        self, name: str, label: str, pid: int, ends: StanzaEnds, from_: str = PEER, to: str = SERVED
    ) -> Figures:
        """Run one load over open streams, and read the process's CPU time around the measured part."""
        from tests.bench.__main__ import Figures  # noqa: PLC0415 - which imports this module

        load = LOADS[label]
        load = Load(load.window, load.rate, self._bench.seconds, load.warmup, load.drain, load.addresses)
        marks: list[tuple[float, float]] = []
        self._from.write_text(from_ + "\n")
        self._to.write_text(to + "\n")
        result = run_stanzas(
            self._program, load, ends, self._from, self._to,
            lambda _event: marks.append((time.monotonic(), cpu_s(pid))),
        )  # fmt: skip
        used, took = marks[1][1] - marks[0][1], marks[1][0] - marks[0][0]
        latency, pairs = result["latency_us"], max(1, result["pairs"])
        other: dict[str, Any] = {
            "core": used / took,
            "generator_us": result["generator_us_per_pair"],
            "reasons": {},
            "not_success": {
                word: count for word, count in result["outcomes"].items() if word != "success" and count
            },
        }
        return Figures(
            name, label, used / pairs * 1e6, result["pairs_per_s"], latency["p50"], latency["p99"], other
        )


def show_stanzas(figures: Sequence[Figures]) -> None:
    """A table a load, with the ratio to Prosody of the same run, which is the budget.

    Servers have a component at the other end, for no server passes streams of others on.
    """
    for label in LOADS:
        rows = [one for one in figures if one.load == label]
        prosody = next((one.us_per_pair for one in rows if one.name == "Prosody"), 0.0)
        print(f"\n{label}: messages of a proved server's stream, to a service, a server or a component")
        words = ("us CPU/stanza", "x Prosody", "stanzas/s", "p50 us", "p99 us", "core")
        print(" " * 30 + "".join(f"{word:>14}" for word in words))
        for one in rows:
            ratio = f"{one.us_per_pair / prosody:14.2f}" if prosody else f"{'-':>14}"
            print(
                f"  {one.name:28}{one.us_per_pair:14.2f}{ratio}{one.pairs_per_s:14.0f}{one.p50_us:14.0f}"
                f"{one.p99_us:14.0f}{one.other['core']:14.2f}" + _budget(one, prosody)
            )


def _budget(one: Figures, prosody: float) -> str:
    if not one.name.startswith("router") or not prosody:
        return ""
    held = one.us_per_pair <= prosody
    bad = f"  not arrived: {one.other['not_success']}" if one.other["not_success"] else ""
    return f"  budget at most 1 x Prosody{'' if held else ': NOT HELD'}{bad}"
