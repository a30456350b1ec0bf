"""The finder: plan, cache and questions put together, in memory."""

import random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from imxrouter.discovery.answers import TYPE_A, TYPE_AAAA, TYPE_IMX, TYPE_SVCB, Answer, Status, Step
from imxrouter.discovery.cache import FAILURE_TTL_S, AnswerCache
from imxrouter.discovery.errors import DiscoveryFailed
from imxrouter.discovery.finder import Finder, FindLimits, Found
from imxrouter.discovery.records import Form
from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from tests.doubles.zones import FakeZones

ZONE = """$ORIGIN a.example.
$TTL 300
@ IN IMX 1 imx1 port=7000
@ IN IMX 1 imx2 port=7000
imx1 IN A 192.0.2.1
imx1 IN A 192.0.2.2
imx1 IN AAAA 2001:db8::1
imx2 IN CNAME imx1
"""
A = Domain.parse("a.example")


class Rig:
    """A finder with its surroundings."""

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.zones = FakeZones(ZONE)
        self.seen: list[tuple[str, Step]] = []
        self.cache = AnswerCache(self.clock.seconds)
        self.finder = Finder(
            self.clock,
            self.zones.ask,
            random.Random(1),
            self.cache,
            FindLimits(**limits),
            trace=lambda name, step: self.seen.append((name, step)),
        )

    def find(self, name: str = "a.example", **kwargs: Any) -> Found:
        """Find at once."""
        return now(self.finder.find(Domain.parse(name), **kwargs))  # type: ignore[no-any-return]

    def failure(self, search: Deferred[Any]) -> DiscoveryFailed:
        """The failure that a search has ended with."""
        with pytest.raises(DiscoveryFailed) as caught:
            now(search)
        return caught.value


@pytest.fixture
def rig() -> Rig:
    """A finder over the zone."""
    return Rig()


def now(deferred: Deferred[Any]) -> Any:
    """The result that a Deferred already has."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "no result yet"
    if isinstance(results[0], BaseException) or hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


def test_find_gives_targets_steps_and_ttl(rig: Rig) -> None:
    """All that `imxctl dns lookup` shows."""
    found = rig.find()
    assert (found.domain, found.form, found.ttl_s, found.secure) == (A, Form.IMX, 300, False)
    assert {target.host for target in found.targets} == {"imx1.a.example", "imx2.a.example"}
    assert found.asked == (Step("a.example", "IMX", "2 records", "dns"),)
    assert rig.seen == [("a.example", found.asked[0])]
    rig.zones.secure = True
    assert rig.find(fresh=True).secure


def test_second_search_is_served_from_the_cache_and_drawn_anew(rig: Rig) -> None:
    """DNS is asked once, the order is random each time, the TTL shrinks."""
    rig.find()
    rig.clock.advance(100)
    first = {rig.find().targets[0].host for _ in range(50)}
    assert first == {"imx1.a.example", "imx2.a.example"}
    assert rig.find().ttl_s == 200
    assert rig.find().asked[0].source == "cache"
    assert rig.zones.asked == ["a.example IMX"]
    rig.find(fresh=True)
    assert len(rig.zones.asked) == 2
    rig.clock.advance(301)
    rig.find()
    assert len(rig.zones.asked) == 3


def test_failures_name_reason_and_step(rig: Rig) -> None:
    """One question decides, and is named."""
    error = rig.failure(rig.finder.find(Domain.parse("nowhere.invalid")))
    assert error.reason is Reason.NO_SUCH_DOMAIN
    rig.zones.fail("a.example", TYPE_IMX)
    error = rig.failure(rig.finder.find(A))
    assert (error.reason, error.step, error.note) == (Reason.DNS_FAILURE, "a.example IMX", "SERVFAIL")
    assert "a.example: dns-failure at a.example IMX: SERVFAIL" in str(error)


def test_nobody_is_pushed_to_a_weaker_form(rig: Rig) -> None:
    """With SVCB failing, SRV is not asked."""
    rig.zones.load("$ORIGIN b.example.\n@ 300 IN A 192.0.2.1\n_imx._tcp 300 IN SRV 0 0 1 evil.example.\n")
    rig.zones.fail("_imx.b.example", TYPE_SVCB, Status.TIMEOUT)
    assert rig.failure(rig.finder.find(Domain.parse("b.example"))).reason is Reason.DNS_TIMEOUT
    assert rig.zones.asked == ["b.example IMX", "_imx.b.example SVCB"]


def test_failure_is_remembered_briefly(rig: Rig) -> None:
    """RFC 9520: a failing name is not asked again at once."""
    rig.zones.fail("a.example", TYPE_IMX)
    for _ in range(3):
        rig.failure(rig.finder.find(A))
    assert len(rig.zones.asked) == 1
    rig.zones.heal()
    rig.clock.advance(FAILURE_TTL_S)
    assert rig.find().form is Form.IMX


def test_stale_answer_is_served_while_dns_fails(rig: Rig) -> None:
    """And says that it is."""
    rig.find()
    rig.clock.advance(400)
    rig.zones.fail("a.example", TYPE_IMX)
    assert [rig.find().asked[0].source for _ in range(2)] == ["stale", "stale"]
    assert rig.find().ttl_s == FAILURE_TTL_S
    rig.clock.advance(FAILURE_TTL_S)
    rig.zones.fail("a.example", TYPE_IMX, Status.MALFORMED)
    assert rig.failure(rig.finder.find(A)).reason is Reason.BAD_DNS_RECORD


def test_searches_join_one_question(rig: Rig) -> None:
    """A thousand messages for one domain are one question."""
    rig.zones.hang("a.example", TYPE_IMX)
    searches = [rig.finder.find(A) for _ in range(5)]
    assert rig.zones.asked == ["a.example IMX"]
    searches[0].addErrback(lambda _: None)
    searches[0].cancel()
    answer = now(FakeZones(ZONE).ask("a.example", TYPE_IMX))
    rig.zones.waiting[0].callback(answer)
    found = [now(search) for search in searches[1:]]
    assert [one.asked[0].source for one in found] == ["joined"] * 4
    assert rig.clock.getDelayedCalls() == []


def test_silent_dns_ends_by_the_limit(rig: Rig) -> None:
    """The question is cancelled, everyone who waits is told."""
    rig.zones.hang("a.example", TYPE_IMX)
    searches = [rig.finder.find(A), rig.finder.find(A)]
    rig.clock.advance(5)
    assert [rig.failure(search).reason for search in searches] == [Reason.DNS_TIMEOUT] * 2
    assert rig.zones.cancelled == ["a.example IMX"]
    assert rig.clock.getDelayedCalls() == []


def test_whole_search_has_a_limit() -> None:
    """Slow answers one after the other do not add up without end."""
    rig = Rig(search_s=6.0)
    rig.zones.hang("b.example", TYPE_IMX)
    rig.zones.hang("_imx.b.example", TYPE_SVCB)
    search = rig.finder.find(Domain.parse("b.example"))
    rig.clock.advance(4)
    rig.zones.waiting[0].callback(Answer(Status.NODATA, ttl_s=60))
    rig.clock.advance(2)
    error = rig.failure(search)
    assert (error.reason, error.note) == (Reason.DNS_TIMEOUT, "no result within 6 s")
    assert [step.question for step in error.asked] == ["b.example IMX"]  # as far as it came
    rig.clock.advance(10)
    assert rig.clock.getDelayedCalls() == []


def test_too_many_questions_are_refused() -> None:
    """By name, and without harm to those under way."""
    rig = Rig(questions=2)
    searches = []
    for name in ("x.example", "y.example"):
        rig.zones.hang(name, TYPE_IMX)
        searches.append(rig.finder.find(Domain.parse(name)))
    assert rig.failure(rig.finder.find(A)).reason is Reason.BUSY
    rig.clock.advance(5)
    assert len([rig.failure(search) for search in searches]) == 2
    assert rig.find().form is Form.IMX


@pytest.mark.parametrize("error", [ValueError("bug"), None])
def test_asker_that_raises_is_a_failed_question(error: Exception | None) -> None:
    """Raised or failed, nothing hangs."""

    def ask(name: str, rdtype: int) -> Deferred[Answer]:
        if error is not None:
            raise error
        return fail(RuntimeError(f"{name} {rdtype}"))

    clock = Clock()
    finder = Finder(clock, ask, random.Random(1), AnswerCache(clock.seconds))
    with pytest.raises(DiscoveryFailed, match="dns-failure"):
        now(finder.find(A))
    assert clock.getDelayedCalls() == []


def test_addresses_of_both_families_take_turns(rig: Rig) -> None:
    """CNAMEs are followed; the trace shows both questions."""
    first, *others = now(rig.finder.addresses("imx2.a.example"))
    assert (first, sorted(others)) == ("2001:db8::1", ["192.0.2.1", "192.0.2.2"])
    assert [step.question for _, step in rig.seen] == ["imx2.a.example AAAA", "imx2.a.example A"]
    assert now(rig.finder.addresses("192.0.2.9")) == ["192.0.2.9"]


def test_one_family_that_fails_does_not_lose_the_other(rig: Rig) -> None:
    """A broken AAAA is common."""
    rig.zones.fail("imx1.a.example", TYPE_AAAA)
    assert sorted(now(rig.finder.addresses("imx1.a.example"))) == ["192.0.2.1", "192.0.2.2"]


def test_slow_family_is_not_waited_for(rig: Rig) -> None:
    """A quarter of a second, then the race starts with what is there; the late answer is kept."""
    rig.zones.hang("imx1.a.example", TYPE_AAAA)
    search = rig.finder.addresses("imx1.a.example")
    assert not search.called
    rig.clock.advance(0.25)
    assert sorted(now(search)) == ["192.0.2.1", "192.0.2.2"]
    rig.zones.waiting[0].callback(now(FakeZones(ZONE).ask("imx1.a.example", TYPE_AAAA)))
    assert now(rig.finder.addresses("imx1.a.example"))[0] == "2001:db8::1"


def test_host_without_address(rig: Rig) -> None:
    """A clean no of both is NO_ADDRESS; a failure of one is told as such."""
    assert rig.failure(rig.finder.addresses("a.example")).reason is Reason.NO_ADDRESS
    rig.zones.fail("none.a.example", TYPE_A, Status.TIMEOUT)
    assert rig.failure(rig.finder.addresses("none.a.example")).reason is Reason.DNS_TIMEOUT


def test_addresses_of_wrong_length_are_passed_over(rig: Rig) -> None:
    """Nothing but four or sixteen octets is an address."""
    rig.zones.set("imx1.a.example", TYPE_A, Answer(Status.RECORDS, (b"abc", b"\xc0\0\2\7")))
    assert now(rig.finder.addresses("imx1.a.example")) == ["2001:db8::1", "192.0.2.7"]


def test_addresses_are_bounded(rig: Rig) -> None:
    """A hundred addresses are eight attempts."""
    many = tuple(bytes([192, 0, 2, n]) for n in range(100))
    rig.zones.set("imx1.a.example", TYPE_A, Answer(Status.RECORDS, many))
    assert len(now(rig.finder.addresses("imx1.a.example"))) == 8
