"""The work of a check, between doubles: what is asked and dialled, when, and what of it is told."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from imxrouter.discovery.answers import TYPE_A, TYPE_AAAA, TYPE_IMX, TYPE_SRV, TYPE_TLSA, Answer, Status
from imxrouter.discovery.guard import DialGuard
from imxrouter.discovery.records import Target, imx_record
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.probe.check import Checker
from imxrouter.probe.recorder import record_text
from imxrouter.probe.report import Evidence, Report, StageReport, State
from imxrouter.transport.opening import Endpoint, OpenedSocket
from imxrouter.wire.control import Hello
from tests.doubles.openings import NO_ROUTE, REFUSED
from tests.doubles.zones import FakeZones

DOMAIN = Domain("b.example")
LIMIT_S = 5.0
V4, OTHER_V4, V6 = "8.8.8.1", "8.8.8.2", "2600::1"
SLOW = Answer(Status.RECORDS, (ip_address(V6).packed,), "", 60.0)
TLS_REQUIRED = imx_record(Target("im.b.example", tls="required")).to_text()


class Socket:
    """A connection in memory whose other side says hello at once."""

    def __init__(self, remote: Endpoint, hello: Hello) -> None:
        self.remote = remote
        self._hello = hello

    def attach(self, protocol: IProtocol) -> None:
        """Connect it; it ends in order when asked to."""
        transport: Any = StringTransport()  # type: ignore[no-untyped-call]
        protocol.makeConnection(transport)
        protocol.dataReceived(self._hello.encode())
        assert transport.disconnecting
        protocol.connectionLost(cast("Any", None))

    def close(self) -> None:
        """Nothing."""


class Rig:
    """A checker between doubles.

    Attributes:
        opened: addresses dialled, in order.
        behaviour: what comes of dialling an address: seconds until it opens, an error, or None for ever.
    """

    def __init__(self, *lines: str) -> None:
        self.clock = Clock()
        self.zones = FakeZones(f"$ORIGIN {DOMAIN}.\n$TTL 60\n" + "".join(f"{line}\n" for line in lines))
        self.behaviour: dict[str, float | Exception | None] = {}
        self.opened: list[str] = []
        self.under_way = 0
        self.most_under_way = 0
        self.lands_at = ""
        self.results: list[Any] = []

    def start(self) -> None:
        """Start the check."""
        checker = Checker(
            self.clock, self.zones.ask, DialGuard(), self._open, timeout_s=LIMIT_S, chance=Random(1),
            random_bytes=bytes, name_servers=["192.0.2.53:53"],
        )  # fmt: skip
        checker.run(DOMAIN).addBoth(self.results.append)

    def report(self, *, after_s: float = 0.0) -> Report:
        """Check, let time pass until the end; return the report."""
        self.start()
        while not self.results:
            assert self.clock.seconds() < 100, "it does not end"
            self.clock.advance(0.5)
        (report,) = self.results
        assert isinstance(report, Report), report
        assert self.clock.seconds() >= after_s
        assert self.clock.getDelayedCalls() == []
        return report

    def _open(self, ip: str, port: int) -> Deferred[OpenedSocket]:
        self.opened.append(ip)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        opened: Deferred[OpenedSocket] = Deferred()
        opened.addBoth(self._ended)
        behaviour = self.behaviour.get(ip, 0.0)
        if isinstance(behaviour, Exception):
            opened.errback(behaviour)
        elif behaviour is not None:
            remote = (self.lands_at or ip, port)
            self.clock.callLater(
                behaviour, lambda: opened.callback(Socket(remote, Hello((1,), idle_ms=9000)))
            )
        return opened

    def _ended(self, result: Any) -> Any:
        self.under_way -= 1
        return result


def stage(report: Report, name: Stage) -> StageReport:
    """One stage."""
    return next(one for one in report.stages if one.stage is name)


def reasons(stage: StageReport) -> dict[str, Reason]:
    """What was tried, and what came of it."""
    return {one.what: one.reason for one in stage.evidence}


def test_everything_well() -> None:
    """Questions, connection and hello with their times and facts; the report names who was asked."""
    rig = Rig("@ IMX 1 im port=7000", f"im A {V4}", f"im AAAA {V6}")
    rig.zones.secure = True
    rig.behaviour[V4] = 2.0
    report = rig.report()
    assert (report.state, report.name_servers) == (State.GOOD, ("192.0.2.53:53",))
    dns = stage(report, Stage.DNS)
    assert dns.facts == {
        "form": "imx", "targets": ["im.b.example:7000"], "dnssec": True, "insecure_at": "",
        "dane": ["im.b.example:7000: no TLSA record"],
    }  # fmt: skip
    assert [one.facts["records"] for one in dns.evidence] == [
        ["1 im.b.example. port=7000"], [V6], [V4], [],
    ]  # fmt: skip
    assert all(one.facts["dnssec"] is True for one in dns.evidence)
    connect = stage(report, Stage.CONNECT)
    assert [(one.facts["family"], one.facts["ip"]) for one in connect.evidence] == [
        ("IPv6", V6), ("IPv4", V4),
    ]  # fmt: skip
    assert [one.took_s for one in connect.evidence] == pytest.approx([0.5, 2.0])
    assert [one.facts["idle_s"] for one in stage(report, Stage.PEER).evidence] == [9.0, 9.0]


def test_dnssec_and_tlsa_records_are_told() -> None:
    """Each target's records where the way there was validated; else the question that was not."""
    digest = "ab" * 32
    zone = ("@ IMX 1 im port=7000", f"im A {V4}", f"_7000._tcp.im TLSA 3 1 1 {digest}")
    secure = Rig(*zone)
    secure.zones.secure = True
    dns = stage(secure.report(), Stage.DNS)
    assert dns.facts["dane"] == [f"im.b.example:7000: 3 1 1 {digest}"]
    asked = {one.what: one.facts["records"] for one in dns.evidence}
    assert asked["_7000._tcp.im.b.example TLSA"] == [f"3 1 1 {digest}"]
    insecure = Rig(*zone)
    facts = stage(insecure.report(), Stage.DNS).facts
    assert (facts["dnssec"], facts["insecure_at"], facts["dane"]) == (False, "b.example IMX", [])
    assert not any("TLSA" in question for question in insecure.zones.asked)


def test_tlsa_records_that_cannot_be_learned_are_told() -> None:
    """A certificate counts for nothing then; the address is still reached."""
    rig = Rig("@ IMX 1 im port=7000", f"im A {V4}")
    rig.zones.secure = True
    rig.zones.fail("_7000._tcp.im.b.example", TYPE_TLSA)
    report = rig.report()
    dns = stage(report, Stage.DNS)
    assert (report.state, dns.state) == (State.PARTLY, State.PARTLY)
    assert dns.facts["dane"] == ["im.b.example:7000: dns-failure"]
    assert reasons(dns)["_7000._tcp.im.b.example TLSA"] is Reason.DNS_FAILURE


def test_every_address_is_tried_although_one_is_enough() -> None:
    """A router would stop at the first; a check does not, and says what is wrong with each."""
    rig = Rig("@ IMX 1 im", f"im A {V4}", f"im A {OTHER_V4}", f"im AAAA {V6}")
    rig.behaviour |= {V6: NO_ROUTE, V4: REFUSED}
    report = rig.report()
    assert report.state is State.PARTLY
    assert reasons(stage(report, Stage.CONNECT)) == {
        f"im.b.example {V6} port 6490": Reason.UNREACHABLE,
        f"im.b.example {V4} port 6490": Reason.CONNECTION_REFUSED,
        f"im.b.example {OTHER_V4} port 6490": Reason.NONE,
    }
    assert len(stage(report, Stage.PEER).evidence) == 1
    assert report.first_failure is not None
    assert report.first_failure[1].facts["ip"] == V4


def test_a_black_hole_costs_the_limit() -> None:
    """Once, however many addresses are one, up to as many as are dialled at once."""
    rig = Rig("@ IMX 1 im", *(f"im A 8.8.8.{number}" for number in range(1, 5)))
    rig.behaviour |= {f"8.8.8.{number}": None for number in range(1, 5)}
    report = rig.report(after_s=LIMIT_S)
    assert rig.clock.seconds() <= LIMIT_S + 0.5
    assert set(reasons(stage(report, Stage.CONNECT)).values()) == {Reason.CONNECT_TIMEOUT}
    assert stage(report, Stage.CONNECT).took_s == LIMIT_S


def test_few_are_dialled_at_once() -> None:
    """A router that is asked by one host too often would answer over-cap."""
    rig = Rig("@ IMX 1 im", "@ IMX 2 to", *(f"im A 8.8.8.{number}" for number in range(1, 9)), f"to A {V4}")
    rig.behaviour |= {f"8.8.8.{number}": 1.0 for number in range(1, 9)}
    report = rig.report()
    assert (rig.most_under_way, len(rig.opened)) == (4, 9)
    assert report.state is State.GOOD


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["@ IMX 1 im port=7000", "im A 192.168.1.1"], Reason.ADDRESS_REFUSED),
        (["@ IMX 1 im port=25", f"im A {V4}"], Reason.ADDRESS_REFUSED),
        ([f"@ IMX {TLS_REQUIRED}", f"im A {V4}"], Reason.WEAKER_THAN_POLICY),
    ],
)
def test_what_a_router_would_not_dial(lines: list[str], reason: Reason) -> None:
    """It is named, and not dialled."""
    rig = Rig(*lines)
    report = rig.report()
    assert rig.opened == []
    (refused,) = stage(report, Stage.CONNECT).evidence
    assert (refused.reason, refused.took_s, report.state) == (reason, None, State.FAILED)
    assert refused.note


def test_a_connection_that_lands_elsewhere_is_not_spoken_on() -> None:
    """What counts is the address actually connected to."""
    rig = Rig("@ IMX 1 im", f"im A {V4}")
    rig.lands_at = "10.0.0.1"
    report = rig.report()
    assert list(reasons(stage(report, Stage.CONNECT)).values()) == [Reason.ADDRESS_REFUSED]
    assert stage(report, Stage.PEER).state is State.NOT_TRIED


def test_one_family_that_dns_does_not_answer() -> None:
    """The other one leads there; what failed is told, as it is what to mend."""
    rig = Rig("@ IMX 1 im", f"im A {V4}")
    rig.zones.fail("im.b.example", TYPE_AAAA)
    report = rig.report()
    assert (report.state, stage(report, Stage.DNS).state) == (State.PARTLY, State.PARTLY)
    assert report.first_failure is not None
    assert report.first_failure[1].what == "im.b.example AAAA"
    assert report.first_failure[1].reason is Reason.DNS_FAILURE


def test_a_slow_family_is_waited_for() -> None:
    """A router in a hurry goes on with the other one; a check wants to know of both."""
    rig = Rig("@ IMX 1 im", f"im A {V4}")
    rig.zones.hang("im.b.example", TYPE_AAAA)
    rig.clock.callLater(3.0, lambda: rig.zones.waiting[0].callback(SLOW))
    report = rig.report(after_s=3.0)
    assert report.state is State.GOOD
    assert rig.opened == [V6, V4]


def test_the_question_that_decides_is_explained() -> None:
    """One family that fails where the other leads on comes first, but the target without any is lost."""
    rig = Rig("@ IMX 1 im", "@ IMX 2 to", f"im A {V4}")
    rig.zones.fail("im.b.example", TYPE_AAAA)
    rig.zones.fail("to.b.example", TYPE_A)
    report = rig.report()
    assert report.state is State.PARTLY
    assert report.first_failure is not None
    assert report.first_failure[1].what == "to.b.example A"


def test_silence_of_dns_ends() -> None:
    """Even where the asker does not keep its own limit, at half a second after it."""
    rig = Rig("@ IMX 1 im")
    rig.zones.hang("im.b.example", TYPE_A)
    report = rig.report(after_s=LIMIT_S)
    assert report.state is State.FAILED
    assert reasons(stage(report, Stage.DNS))["im.b.example A"] is Reason.DNS_TIMEOUT
    assert rig.clock.seconds() <= LIMIT_S + 1


def test_a_malformed_record_is_shown() -> None:
    """In hex, so that its owner can see what is published."""
    rig = Rig("im A 8.8.8.1")
    rig.zones.set(DOMAIN.name, TYPE_IMX, Answer(Status.RECORDS, (b"\x00\x01\x03ab",), "", 60.0))
    report = rig.report()
    (question,) = stage(report, Stage.DNS).evidence
    assert (question.reason, question.facts["records"]) == (Reason.BAD_DNS_RECORD, ["0001036162"])
    assert question.note


def test_records_are_shown_as_a_zone_file_has_them() -> None:
    """And what is none in hex."""
    assert record_text(TYPE_A, b"\x08\x08\x08\x08") == "8.8.8.8"
    assert record_text(TYPE_SRV, b"\0\x01\0\x02\x19\x5a\x02im\x07example\0") == "1 2 6490 im.example."
    for rdtype in (TYPE_A, TYPE_SRV, TYPE_IMX):
        assert record_text(rdtype, b"\xff") == "ff"


def test_a_long_answer_is_cut() -> None:
    """A name server may send thousands; what is shown is bounded."""
    rig = Rig("@ IMX 1 im")
    many = tuple(bytes([8, 8, number, 1]) for number in range(200))
    rig.zones.set("im.b.example", TYPE_A, Answer(Status.RECORDS, many, "", 60.0))
    report = rig.report()
    asked: dict[str, Evidence] = {one.what: one for one in stage(report, Stage.DNS).evidence}
    assert len(cast("list[str]", asked["im.b.example A"].facts["records"])) == 20
    assert len(rig.opened) == 8
