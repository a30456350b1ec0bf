"""The check of XMPP servers, against servers that behave and that do not."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from time import time
from typing import Any

import pytest

from imxrouter.discovery.answers import TYPE_SRV
from imxrouter.discovery.guard import DialGuard
from imxrouter.model.dane import Delegation
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.probe.check import Checker
from imxrouter.probe.encrypted import TlsProbe
from imxrouter.probe.report import CheckView, Report, StageReport, State, view_of_all
from imxrouter.probe.stream_check import StreamChecker
from imxrouter.tls.contexts import TlsContexts
from imxrouter.tls.facts import TlsFacts
from imxrouter.tls.identity import Service
from imxrouter.tls.store import CertificateSet
from imxrouter.transport.opening import TcpOpener
from imxrouter.transport.strengths import Judged, judge_certificate
from tests.doubles.reactor_thread import ReactorThread
from tests.doubles.router_rig import Lab, anchors_of, fresh_address, issued
from tests.doubles.xmpp_server import Conduct, XmppServer
from tests.doubles.zones import FakeZones

B = "b.example"


def _judge(service: Service, facts: TlsFacts, domain: Domain, way: Delegation | None) -> Judged:
    assert facts.peer is not None
    return judge_certificate(
        anchors_of(), facts.peer, domain, time(), as_client=False, way=way, service=service
    )


def tls_probe() -> TlsProbe:
    """As from outside; the laboratory's authority is trusted."""
    contexts = TlsContexts(CertificateSet())
    return TlsProbe(
        lambda _domain, _target: False,
        lambda name, endpoint, alpn: contexts.open(None, name, *endpoint, alpn),
        partial(_judge, Service.IMX),
        partial(_judge, Service.XMPP),
    )


class Bench:
    """Zones and servers of b.example, and what checks it."""

    def __init__(self, thread: ReactorThread, stack: ExitStack) -> None:
        self.thread, self.stack, self.zones = thread, stack, FakeZones()
        self.lines: list[str] = []

    def server(self, conduct: Conduct, *, direct: bool = False) -> XmppServer:
        """One more target."""
        server = self.stack.enter_context(XmppServer(B, fresh_address(), conduct))
        self.target(server.endpoint, direct=direct)
        return server

    def target(self, endpoint: tuple[str, int], *, direct: bool = False) -> None:
        """One more record."""
        number, label = len(self.lines) // 2, "_xmpps-server" if direct else "_xmpp-server"
        self.lines += [
            f"{label}._tcp 60 IN SRV 0 0 {endpoint[1]} t{number}",
            f"t{number} 60 IN A {endpoint[0]}",
        ]
        self.zones.load("\n".join(self.lines) + "\n", B)

    def make(self, kind: type[Checker] = StreamChecker) -> Checker:
        """What checks."""
        reactor: Any = self.thread.reactor
        return kind(
            reactor, self.zones.ask, DialGuard(["127.0.0.0/8"]), TcpOpener(reactor), timeout_s=1.0,
            chance=random.Random(1), random_bytes=random.randbytes, tls=tls_probe(),
        )  # fmt: skip

    def run(self, kind: type[Checker] = StreamChecker, *, by_address: bool = False) -> Report:
        """Check."""
        checker = self.make(kind)
        if isinstance(checker, StreamChecker):
            checker.by_address = by_address
        report: Report = self.thread.call(checker.run, Domain(B))
        return report


@pytest.fixture
def bench(reactor_thread: ReactorThread) -> Iterator[Bench]:
    """One with nothing published."""
    with ExitStack() as stack:
        yield Bench(reactor_thread, stack)


def stage(report: Report, which: Stage) -> StageReport:
    """One stage of a report."""
    return next(one for one in report.stages if one.stage is which)


@pytest.mark.parametrize("direct", [False, True])
def test_a_good_server_is_good_at_every_stage(bench: Bench, direct: bool) -> None:
    """Records, connection, TLS, certificate, stream, and the question about a key that nobody made."""
    server = bench.server(Conduct(issued(B), direct=direct, external="offer"), direct=direct)
    report = bench.run()
    assert [one.state for one in report.stages] == [State.GOOD] * 6
    (tls,) = stage(report, Stage.TLS).evidence
    assert tls.facts["how"] == ("direct" if direct else "starttls")
    (identity,) = stage(report, Stage.IDENTITY).evidence
    assert identity.facts["names"] == [B]
    (peer,) = stage(report, Stage.PEER).evidence
    assert peer.facts["mechanisms"] == ["EXTERNAL"]
    assert "dialback" in peer.facts["features"]  # type: ignore[operator]
    (dialback,) = stage(report, Stage.DIALBACK).evidence
    assert dialback.facts["answer"] == "invalid"
    assert [one[:2] for one in server.asked] == [("check.invalid", B)]
    assert server.claimed == []
    assert stage(report, Stage.DNS).facts["form"] == "xmpp-srv"


#: What a server does, and at which stage it is seen, with which reason.
BAD: dict[str, tuple[Callable[[], Conduct], Stage, Reason]] = {
    "wrong certificate": (lambda: Conduct(issued("c.example")), Stage.IDENTITY, Reason.CERTIFICATE_REFUSED),
    "unknown authority": (
        lambda: Conduct(issued(B, by="nobody")), Stage.IDENTITY, Reason.CERTIFICATE_REFUSED,
    ),
    "no TLS": (
        lambda: Conduct(None, instead={"features": "<stream:features/>", "proceed": None}),
        Stage.TLS, Reason.TLS_FAILED,
    ),
    "takes any key": (lambda: Conduct(issued(B), verifies="valid"), Stage.DIALBACK, Reason.BAD_TOKEN),
    "does not know the domain": (
        lambda: Conduct(issued(B), verifies="error"), Stage.DIALBACK, Reason.NOT_HOSTED,
    ),
    "does not answer": (lambda: Conduct(issued(B), verifies=""), Stage.DIALBACK, Reason.DIALBACK_TIMEOUT),
    "not XML": (lambda: Conduct(None, instead={"header": "220 mail"}), Stage.PEER, Reason.PROTOCOL_ERROR),
    "silent": (
        lambda: Conduct(None, instead={"header": None, "features": None}), Stage.PEER, Reason.HELLO_TIMEOUT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BAD)
def test_what_is_wrong_is_seen_at_its_stage(bench: Bench, how: str) -> None:
    """By name, and the check fails there."""
    conduct, where, reason = BAD[how]
    bench.server(conduct())
    report = bench.run()
    assert report.state is State.FAILED
    assert report.first_failure is not None
    step, cause = report.first_failure
    assert (step.stage, cause.reason) == (where, reason)


def test_nobody_listens(bench: Bench) -> None:
    """A record that leads to a closed port."""
    bench.target((fresh_address(), 5269))
    report = bench.run()
    assert report.first_failure is not None
    assert report.first_failure[1].reason is Reason.CONNECTION_REFUSED


def test_an_address_is_tried_only_when_it_is_asked_for(bench: Bench) -> None:
    """A domain without records is no XMPP domain, though its address may answer."""
    ip = fresh_address()
    bench.zones.load(f"@ 60 IN A {ip}\n", B)
    report = bench.run()
    assert report.first_failure is not None
    assert report.first_failure[1].reason is Reason.NO_XMPP_RECORD
    with socket.create_server((ip, 5269)):
        asked = bench.run(by_address=True)
    assert asked.first_failure is not None
    assert asked.first_failure[0].stage is Stage.PEER


def both(bench: Bench) -> CheckView:
    """As `imxctl check` puts it together."""
    return view_of_all({"imx": bench.run(Checker), "xmpp": bench.run()})


def test_one_broken_protocol_is_not_hidden_by_the_other(bench: Bench, lab: Lab) -> None:
    """IMX good and XMPP broken: partly, with both told; what is not published says nothing."""
    rig = lab.router(B, publish=False)
    bench.lines += [f"@ 60 IN IMX 1 im port={rig.endpoint[1]}", f"im 60 IN A {rig.ip}"]
    bench.zones.load("\n".join(bench.lines) + "\n", B)
    view = both(bench)
    assert (view["result"], view["failure"]) == ("good", None)
    assert [(one["protocol"], one["published"]) for one in view["protocols"]] == [
        ("imx", True),
        ("xmpp", False),
    ]
    bench.server(Conduct(issued("c.example")))
    view = both(bench)
    assert view["result"] == "partly"
    assert view["failure"] is not None
    assert view["failure"]["reason"] == "certificate-refused"
    assert [one["result"] for one in view["protocols"]] == ["good", "failed"]
    assert view["stages"] == view["protocols"][0]["stages"]


def test_xmpp_alone_is_what_is_told(bench: Bench) -> None:
    """Without IMX records the stages are those of XMPP; where its look-up fails, nobody can say."""
    bench.server(Conduct(issued(B)))
    view = both(bench)
    assert view["result"] == "good"
    assert view["stages"] == view["protocols"][1]["stages"]
    bench.zones.fail(f"_xmpp-server._tcp.{B}", TYPE_SRV)
    view = both(bench)
    assert view["protocols"][1]["published"] is None
    assert view["result"] == "failed"


def test_a_server_that_wants_a_certificate_first_is_good(bench: Bench) -> None:
    """From outside none is shown: that it ends the stream then says nothing against it, and is told."""
    end = (
        "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
        "</stream:stream>"
    )
    bench.server(Conduct(issued(B), direct=True, instead={"features": end}), direct=True)
    report = bench.run()
    assert report.state is State.GOOD
    (peer,) = stage(report, Stage.PEER).evidence
    assert "see --as" in peer.note
    assert stage(report, Stage.DIALBACK).state is State.NOT_TRIED
