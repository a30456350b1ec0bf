"""What TLS costs: a pair on links with TLS, an idle link, a handshake; beside HAProxy, which ends TLS too."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Final

from imxrouter.wire.framing import RecordSplitter
from tests.bench.links import BenchLink, login_on, prove_on
from tests.bench.process import cpu_s, rss_kib
from tests.bench.scale import allow_files, answer_pings
from tests.bench.tls_ends import Certificate, Pump, TlsSocket, client_context, handshakes, server_context
from tests.bench.tools import START_S, NoTool, haproxy

if TYPE_CHECKING:
    from tests.bench.__main__ import Bench, Figures

#: Links that stay idle with TLS, unless more are wanted; and after how many their pings are answered.
IDLE_LINKS: Final = 1_000
ANSWER_EVERY: Final = 250
#: Of the clients of handshakes: OpenSSL's own choice, since 3.5 one that quantum computers do not break
#: (X25519MLKEM768), and what a HAProxy with an older OpenSSL takes anyway.
KEY_EXCHANGES: Final = {"": b"", " with X25519 alone": b"X25519"}
#: Clients that shake hands at the same time: one waits, another computes.
CLIENTS: Final = 4


class TlsBench:
    """The runs with TLS.

    Args:
        bench: what all runs share.
        peer: the peer's domain.
    """

    def __init__(self, bench: Bench, peer: str) -> None:
        self._bench = bench
        self._peer = peer
        self._domain = bench.domains[0]
        self._folder = bench.folder / "certificates"
        self._certificate = Certificate(self._folder, "router.bench.example", "*.served.bench.example")
        self._peers = Certificate(bench.folder / "peer" / "certificates", peer)
        self._theirs = server_context(self._peers)
        self._ours = client_context()

    # -- pairs -------------------------------------------------------------------------------------------

    def runs(self, label: str, links: int) -> Iterator[Figures]:
        """The router with TLS on all links, on the peer's only, and HAProxy that ends TLS."""
        for name, service_too in (("router, TLS", True), ("router ends TLS", False)):
            with self._router() as (pid, endpoint, listening):
                service = self._link(endpoint) if service_too else BenchLink.open(endpoint)
                login_on(service, self._bench.key)
                peers = [self._proved(endpoint, listening) for _ in range(links)]
                yield self._measured(name, label, pid, peers, service)
        with socket.create_server(("127.0.0.1", 0)) as accepting:
            port = accepting.getsockname()[1]
            with haproxy(port, self._bench.folder, self._certificate.both) as (own, pid):
                ends = [self._through(("127.0.0.1", own), accepting, n) for n in range(links)]
                with Pump([tls for tls, _ in ends]) as pump:
                    clear = [end for _, end in ends]
                    yield self._bench.measure("HAProxy ends TLS", label, [pid], pump.ends, clear)

    def _measured(
        self, name: str, label: str, pid: int, peers: list[BenchLink], service: BenchLink
    ) -> Figures:
        is_tls = isinstance(service.socket, TlsSocket)
        with Pump([link.socket for link in (*peers, *([service] if is_tls else []))]) as pump:
            senders = pump.ends[: len(peers)]
            responders = pump.ends[len(peers) :] or [service.socket]
            return self._bench.measure(name, label, [pid], senders, responders)

    # -- idle links --------------------------------------------------------------------------------------

    def memory(self, count: int = IDLE_LINKS) -> dict[str, float]:
        """Bytes of an idle proved link, of a peer without a certificate of its own and of one with."""
        allow_files(count)
        figures = {}
        for words, certificate in (("", None), (", with a certificate", self._peers)):
            self._ours = client_context(certificate)
            with self._router() as (pid, endpoint, listening):
                for _ in range(20):
                    self._proved(endpoint, listening).socket.close()
                before = rss_kib(pid)
                links = []
                while len(links) < count:
                    links.append(self._proved(endpoint, listening))
                    if len(links) % ANSWER_EVERY == 0:  # opening all takes longer than a silent link lives
                        for link in links:
                            answer_pings(link.socket, RecordSplitter(), link.socket.read_now())
                figures[f"bytes an idle link with TLS{words}"] = (rss_kib(pid) - before) * 1024 / count
                for link in links:
                    link.socket.close()
        self._ours = client_context()
        return figures

    # -- handshakes --------------------------------------------------------------------------------------

    def handshakes(self, seconds: float) -> dict[str, float]:
        """Handshakes a second and milliseconds of CPU each, full and resumed: the router's, and HAProxy's."""
        figures: dict[str, float] = {}
        with self._router() as (pid, endpoint, _):
            figures.update(self._shaken("router", pid, endpoint, seconds))
        with socket.create_server(("127.0.0.1", 0)) as accepting:
            port = accepting.getsockname()[1]
            try:
                with haproxy(port, self._bench.folder, self._certificate.both) as (own, pid):
                    figures.update(self._shaken("HAProxy", pid, ("127.0.0.1", own), seconds))
            except NoTool:
                return figures
        return figures

    def _shaken(self, who: str, pid: int, endpoint: tuple[str, int], seconds: float) -> dict[str, float]:
        figures = {}
        for (words, groups), kind in product(KEY_EXCHANGES.items(), ("full", "resumed")):
            used, began = cpu_s(pid), time.monotonic()
            shake = partial(handshakes, endpoint, self._domain, seconds, resume=kind == "resumed")
            with ThreadPool(CLIENTS) as pool:
                each = pool.map(shake, [client_context(groups=groups) for _ in range(CLIENTS)])
            took = time.monotonic() - began
            figures[f"{kind} handshakes a second, {who}{words}"] = sum(each) / took
            figures[f"ms CPU a {kind} handshake, {who}{words}"] = (cpu_s(pid) - used) / sum(each) * 1000
        return figures

    # -- inside ------------------------------------------------------------------------------------------

    @contextmanager
    def _router(self) -> Iterator[tuple[int, tuple[str, int], socket.socket]]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            config = self._bench.config(self._bench.domains, ("message",), 0, listening.getsockname()[1])
            text = config.read_text().replace(
                'default_policy = "dialback"', 'default_policy = "dialback+tls"'
            )
            trust = f'tls.certificates = "{self._folder}"\ntls.trust = ["{self._certificate.authority}"]\n'
            config.write_text(trust + text)
            with self._bench.started(config) as (child, endpoint):
                yield child.pid, endpoint, listening

    def _link(self, endpoint: tuple[str, int]) -> BenchLink:
        raw = socket.create_connection(endpoint, START_S)
        return BenchLink.over(TlsSocket(raw, self._ours, self._domain))

    def _proved(self, endpoint: tuple[str, int], listening: socket.socket) -> BenchLink:
        first = self._link(endpoint)
        prove_on(first, listening, self._peer, self._domain, self._theirs)
        return first

    def _through(
        self, endpoint: tuple[str, int], accepting: socket.socket, number: int
    ) -> tuple[TlsSocket, socket.socket]:
        """A connection through HAProxy: our end with TLS, and the end behind it in clear."""
        tls = TlsSocket(socket.create_connection(endpoint, START_S), self._ours, self._domain)
        mark = number.to_bytes(8, "big")
        tls.sendall(mark)
        while True:
            end, _ = accepting.accept()
            end.settimeout(START_S)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if end.recv(len(mark), socket.MSG_WAITALL) == mark:
                return tls, end
            end.close()
