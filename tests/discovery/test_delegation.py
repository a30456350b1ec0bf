"""What DNSSEC says of the way to a target, and when its TLSA records are asked for and believed."""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from imxrouter.discovery.answers import (
    TYPE_A,
    TYPE_AAAA,
    TYPE_CNAME,
    TYPE_IMX,
    TYPE_TLSA,
    Answer,
    Status,
)
from imxrouter.discovery.cache import AnswerCache
from imxrouter.discovery.finder import Finder, FindLimits, Found
from imxrouter.model.dane import BadTlsaRecord, Delegation, TlsaRecord
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from tests.doubles.zones import FakeZones

DIGEST = "ab" * 32
CUSTOMER = """$ORIGIN customer.example.
$TTL 300
@ IN IMX 0 imx.hoster.example.
"""
HOSTER = f"""$ORIGIN hoster.example.
$TTL 300
imx IN IMX 1 r1 port=7000
imx IN IMX 2 r2 port=7000
imx IN IMX 3 r3 port=7000
r1 IN A 192.0.2.1
_7000._tcp.r1 IN TLSA 3 1 1 {DIGEST}
_7000._tcp.r1 IN TLSA 2 0 1 {DIGEST}
r2 IN CNAME far
far IN AAAA 2001:db8::2
_7000._tcp.r2 IN TLSA 3 1 1 {DIGEST}
r3 IN A 192.0.2.3
"""
FAR = f"_7000._tcp.far IN TLSA 3 1 2 {'cd' * 64}\n"


class Rig:
    """A finder with zones that are signed, unless told otherwise."""

    def __init__(self, extra: str = "") -> None:
        self.clock = Clock()
        self.zones = FakeZones(CUSTOMER, HOSTER + extra)
        self.zones.secure = True
        self.finder = Finder(
            self.clock,
            self.zones.ask,
            random.Random(1),
            AnswerCache(self.clock.seconds),
            FindLimits(questions=4),
        )

    def found(self) -> Found:
        """What the customer's domain leads to."""
        return now(self.finder.find(Domain.parse("customer.example")))  # type: ignore[no-any-return]

    def way(self, at: int = 0) -> Delegation:
        """What is said of the way to one of its targets, addresses being known."""
        found = self.found()
        now(self.finder.addresses(found.targets[at].host))
        self.zones.asked.clear()
        return now(self.finder.delegation(found, found.targets[at]))  # type: ignore[no-any-return]


def now(deferred: Deferred[Any]) -> Any:
    """The result that is there already."""
    results: list[Any] = []
    deferred.addCallback(results.append)
    assert results
    return results[0]


def test_a_wholly_validated_way_gives_the_records() -> None:
    """Across the alias to the hoster; nothing that is known is asked again."""
    rig = Rig()
    way = rig.way()
    assert way.secure
    assert (way.target, way.insecure_at, way.tlsa_name) == (
        "r1.hoster.example",
        "",
        "_7000._tcp.r1.hoster.example",
    )
    assert {record.to_text() for record in way.tlsa} == {f"3 1 1 {DIGEST}", f"2 0 1 {DIGEST}"}
    assert way.failure is Reason.NONE
    assert rig.zones.asked == ["_7000._tcp.r1.hoster.example TLSA"]


@pytest.mark.parametrize("broken", ["customer.example IMX", "imx.hoster.example IMX"])
def test_one_answer_that_was_not_validated_breaks_the_way(broken: str) -> None:
    """Either side of the alias; it is named, and TLSA records are not even asked for."""
    rig = Rig()
    rig.zones.insecure.add(broken)
    way = rig.way()
    assert (way.secure, way.insecure_at, way.tlsa, way.failure) == (False, broken, (), Reason.NONE)
    assert rig.zones.asked == []


def test_a_no_that_was_not_validated_breaks_the_way() -> None:
    """Who can hide the first form leads us to another: it matters that it is truly not there."""
    for insecure, secure in ((set[str](), True), ({"customer.example IMX"}, False)):
        rig = Rig()
        rig.zones.load("$ORIGIN customer.example.\n$TTL 300\n_imx IN SVCB 1 r1.hoster.example. port=7000\n")
        rig.zones.insecure = insecure
        way = rig.way()
        assert (way.secure, way.insecure_at) == (secure, "" if secure else "customer.example IMX")


def test_addresses_that_were_not_validated_leave_the_delegation_and_take_dane() -> None:
    """The certificate names the target, whatever its address; TLSA records are not asked for there."""
    rig = Rig()
    rig.zones.insecure.add("r1.hoster.example A")
    way = rig.way()
    assert (way.secure, way.tlsa, way.failure) == (True, (), Reason.NONE)
    assert "addresses" in way.note
    assert rig.zones.asked == []


def test_records_that_were_not_validated_are_none() -> None:
    """As if they were not there."""
    rig = Rig()
    rig.zones.insecure.add("_7000._tcp.r1.hoster.example TLSA")
    way = rig.way()
    assert (way.secure, way.tlsa, way.failure) == (True, (), Reason.NONE)
    assert "not validated" in way.note


def test_no_records_are_no_failure() -> None:
    """A clean no."""
    way = Rig().way(2)
    assert (way.secure, way.tlsa, way.failure) == (True, (), Reason.NONE)
    assert way.tlsa_name == "_7000._tcp.r3.hoster.example"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (Status.FAILURE, Reason.DNS_FAILURE),
        (Status.TIMEOUT, Reason.DNS_TIMEOUT),
        (Status.MALFORMED, Reason.BAD_DNS_RECORD),
    ],
)
def test_a_failure_is_not_no_records(status: Status, reason: Reason) -> None:
    """A forged answer is SERVFAIL at a validating resolver: whoever can do that must not hide records."""
    rig = Rig()
    rig.zones.fail("_7000._tcp.r1.hoster.example", TYPE_TLSA, status)
    way = rig.way()
    assert (way.secure, way.tlsa, way.failure) == (True, (), reason)


def test_a_search_without_end_is_a_time_out() -> None:
    """Told as such."""
    rig = Rig()
    rig.zones.hang("_7000._tcp.r1.hoster.example", TYPE_TLSA)
    found = rig.found()
    asking = rig.finder.delegation(found, found.targets[0])
    rig.clock.advance(60)
    way = now(asking)
    assert (way.failure, way.tlsa_name) == (Reason.DNS_TIMEOUT, "_7000._tcp.r1.hoster.example")


def test_a_question_that_there_is_no_room_for_is_a_failure_too() -> None:
    """Nobody gets rid of TLSA records by keeping us busy."""
    rig = Rig()
    found = rig.found()
    now(rig.finder.addresses("r1.hoster.example"))
    for name in ("a.example", "b.example"):
        rig.zones.hang(name, TYPE_A)
        rig.zones.hang(name, TYPE_AAAA)
        rig.finder.addresses(name).addErrback(lambda _: None)
    way = now(rig.finder.delegation(found, found.targets[0]))
    assert (way.secure, way.tlsa, way.failure) == (True, (), Reason.BUSY)


@pytest.mark.parametrize(("extra", "end"), [("", "r2"), (FAR, "far")])
def test_an_alias_is_looked_at_from_its_end(extra: str, end: str) -> None:
    """RFC 7671 section 7: the end of the CNAME first, then the name itself."""
    rig = Rig(extra)
    way = rig.way(1)
    assert way.tlsa_name == f"_7000._tcp.{end}.hoster.example"
    assert len(way.tlsa) == 1
    assert rig.zones.asked[0] == "_7000._tcp.far.hoster.example TLSA"


@pytest.mark.parametrize("signed", [True, False])
def test_an_alias_into_a_zone_that_nobody_signed(signed: bool) -> None:
    """RFC 7672 section 2.2.2: the alias itself may be secure, and have records of its own."""
    rig = Rig(FAR)
    rig.zones.insecure |= {"r2.hoster.example A", "r2.hoster.example AAAA"}
    if not signed:
        rig.zones.insecure.add("r2.hoster.example CNAME")
    way = rig.way(1)
    assert "r2.hoster.example CNAME" in rig.zones.asked
    assert [one for one in rig.zones.asked if "far" in one] == []
    assert (way.secure, len(way.tlsa)) == (True, 1 if signed else 0)
    assert way.base == "r2.hoster.example"
    assert ("not asked for" in way.note) == (not signed)


@pytest.mark.parametrize("status", [Status.FAILURE, Status.TIMEOUT])
def test_an_alias_that_cannot_be_learned_may_have_records(status: Status) -> None:
    """A failure is not "it is not signed"."""
    rig = Rig()
    rig.zones.insecure |= {"r2.hoster.example A", "r2.hoster.example AAAA"}
    rig.zones.fail("r2.hoster.example", TYPE_CNAME, status)
    way = rig.way(1)
    assert (way.tlsa, way.tlsa_name) == ((), "_7000._tcp.r2.hoster.example")
    assert way.failure.stage.value == "dns"


def test_a_stale_answer_is_as_secure_as_it_was() -> None:
    """While DNS fails nobody falls below what was validated; TLSA records hold too (section 11.2)."""
    rig = Rig()
    assert rig.way().tlsa
    rig.clock.advance(400)
    for name in ("customer.example", "imx.hoster.example"):
        rig.zones.fail(name, TYPE_IMX)
    rig.zones.fail("r1.hoster.example", TYPE_A)
    rig.zones.fail("_7000._tcp.r1.hoster.example", TYPE_TLSA)
    way = rig.way()
    assert way.secure
    assert len(way.tlsa) == 2


def test_what_is_kept_keeps_whether_it_was_validated() -> None:
    """Both ways, in the cache."""
    cache = AnswerCache(Clock().seconds)
    for secure in (True, False):
        cache.put("a.example", TYPE_A, Answer(Status.RECORDS, (b"1234",), ttl_s=60, secure=secure))
        kept = cache.get("a.example", TYPE_A)
        assert kept is not None
        assert kept.secure is secure
        cache.put("none.example", TYPE_A, Answer(Status.NXDOMAIN, ttl_s=60, secure=secure))
        no = cache.get("none.example", TYPE_A)
        assert no is not None
        assert no.secure is secure


def test_records_as_octets() -> None:
    """Read and written; what is too short is malformed, what is unknown is unusable and says why."""
    record = TlsaRecord.parse(bytes.fromhex("030101" + DIGEST))
    assert (record.usage, record.selector, record.matching, record.unusable_because) == (3, 1, 1, "")
    assert TlsaRecord.parse(record.to_wire()) == record
    for short in (b"", b"\3\1"):
        with pytest.raises(BadTlsaRecord):
            TlsaRecord.parse(short)
    for octets, why in (
        ("040101" + DIGEST, "usage 4"),
        ("ff0101" + DIGEST, "usage 255"),
        ("030201" + DIGEST, "selector 2"),
        ("030103" + DIGEST, "matching type 3"),
        ("030102" + DIGEST, "32 octets"),
        ("030101" + DIGEST[2:], "31 octets"),
        ("030100", "0 octets"),
    ):
        assert why in TlsaRecord.parse(bytes.fromhex(octets)).unusable_because
