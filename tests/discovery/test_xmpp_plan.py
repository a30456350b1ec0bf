"""The search for XMPP servers: both kinds of SRV make one list, and no failure leads past them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from imxrouter.discovery.adapter import NameServerAsker
from imxrouter.discovery.answers import TYPE_AAAA, TYPE_SRV, Answer, Status
from imxrouter.discovery.cache import AnswerCache
from imxrouter.discovery.errors import DiscoveryFailed
from imxrouter.discovery.finder import Finder, Found
from imxrouter.discovery.order import trial_order
from imxrouter.discovery.rdata import rdata_from_text
from imxrouter.discovery.records import Form, Target
from imxrouter.discovery.search import MAX_TARGETS, Verdict
from imxrouter.discovery.xmpp_plan import XmppPlan
from imxrouter.lab.dns import LabDns
from imxrouter.lab.zones import ZoneBook
from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.vocabulary import Reason
from tests.doubles.reactor_thread import ReactorThread
from tests.doubles.zones import FakeZones

DOMAIN = Domain.parse("a.example")
DIRECT, STARTTLS = "_xmpps-server._tcp.a.example SRV", "_xmpp-server._tcp.a.example SRV"
NO = Answer(Status.NXDOMAIN, ttl_s=60)
EMPTY = Answer(Status.NODATA, ttl_s=60)
HOST = Answer(Status.RECORDS, (bytes([192, 0, 2, 1]),), ttl_s=40)
FAILURES = [
    (Status.FAILURE, Reason.DNS_FAILURE),
    (Status.TIMEOUT, Reason.DNS_TIMEOUT),
    (Status.MALFORMED, Reason.BAD_DNS_RECORD),
]


def srv(*texts: str, ttl_s: float = 300, secure: bool = False) -> Answer:
    """SRV records."""
    rdatas = tuple(rdata_from_text(TYPE_SRV, text) for text in texts)
    return Answer(Status.RECORDS, rdatas, ttl_s=ttl_s, secure=secure)


DOT = srv("0 0 0 .")


def run(*answers: Answer, domain: Domain = DOMAIN) -> XmppPlan:
    """Feed answers in turn."""
    plan = XmppPlan(domain)
    for answer in answers:
        plan.feed(answer)
    return plan


def verdict(*answers: Answer) -> Verdict:
    """Feed answers and return the verdict that must be there."""
    plan = run(*answers)
    assert plan.question is None
    assert plan.verdict is not None
    return plan.verdict


def test_both_kinds_are_always_asked_for_and_make_one_list() -> None:
    """XEP-0368 section 3: a better priority wins, whichever record it stands in."""
    plan = run(srv("10 0 443 x.a.example."))
    assert str(plan.question) == STARTTLS
    plan.feed(srv("5 0 5269 y.a.example.", "20 0 5269 x.a.example."))
    assert plan.verdict is not None
    assert plan.verdict.form is Form.XMPP_SRV
    assert plan.verdict.targets == (
        Target("y.a.example", 5269, 5, tls="starttls"),
        Target("x.a.example", 443, 10, tls="direct"),
        Target("x.a.example", 5269, 20, tls="starttls"),
    )
    assert plan.verdict.ttl_s == 300


def test_weights_count_across_both_kinds() -> None:
    """Of one priority, 3 of 4 go to the target of weight 3, though it is in the other record."""
    found = verdict(srv("0 1 443 x.a.example."), srv("0 3 5269 y.a.example."))
    chance = random.Random(5)
    assert found.form is not None
    firsts = Counter(trial_order(found.targets, found.form, chance)[0].host for _ in range(2000))
    assert 1400 < firsts["y.a.example"] < 1600


@pytest.mark.parametrize("missing", [EMPTY, NO])
def test_one_kind_is_enough(missing: Answer) -> None:
    """A clean no to one of them says nothing about the other."""
    assert [one.tls for one in verdict(missing, srv("0 0 5269 x.example.")).targets] == ["starttls"]
    assert [one.tls for one in verdict(srv("0 0 443 x.example."), missing).targets] == ["direct"]


def test_dot_declines_its_kind_only() -> None:
    """`.` for direct TLS leaves STARTTLS, and the other way round (XEP-0368 section 3)."""
    assert [one.tls for one in verdict(DOT, srv("0 0 5269 x.example.")).targets] == ["starttls"]
    assert [one.tls for one in verdict(srv("0 0 443 x.example."), DOT).targets] == ["direct"]


@pytest.mark.parametrize("answers", [[DOT, DOT], [EMPTY, DOT], [DOT, EMPTY], [NO, DOT], [DOT, NO]])
def test_no_address_is_guessed_behind_a_dot(answers: list[Answer]) -> None:
    """The domain says no: that ends the search."""
    found = verdict(*answers)
    assert (found.reason, found.step) == (Reason.NO_SERVICE, STARTTLS)


@pytest.mark.parametrize(("status", "reason"), FAILURES)
@pytest.mark.parametrize("before", [[], [EMPTY], [srv("0 0 443 x.example.")], [DOT]])
def test_failure_of_either_kind_ends_the_search(before: list[Answer], status: Status, reason: Reason) -> None:
    """Also where the other kind has records: they could be the weaker ones."""
    found = verdict(*before, Answer(status, note="why"))
    assert (found.reason, found.note, found.targets) == (reason, "why", ())
    assert found.step == (STARTTLS if before else DIRECT)


def test_the_domain_itself_is_a_guess_after_two_clean_noes() -> None:
    """RFC 6120 section 3.2.2: port 5269, told apart from what is published."""
    for families in ([HOST], [EMPTY, HOST], [Answer(Status.FAILURE), HOST]):
        found = verdict(EMPTY, NO, *families)
        assert (found.reason, found.form) == (Reason.NONE, Form.XMPP_ADDRESS)
        assert found.targets == (Target("a.example", 5269, tls="starttls"),)
        assert found.ttl_s == 40


def test_neither_record_nor_address() -> None:
    """A domain that exists and one that does not are told apart; a failure says more than either."""
    assert verdict(NO, NO, NO, NO).reason is Reason.NO_SUCH_DOMAIN
    assert verdict(NO, NO, EMPTY, EMPTY).reason is Reason.NO_XMPP_RECORD
    # what has one record of any kind is there
    assert verdict(EMPTY, NO, NO, NO).reason is Reason.NO_XMPP_RECORD
    both = verdict(NO, NO, Answer(Status.TIMEOUT), Answer(Status.FAILURE))
    assert (both.reason, both.step) == (Reason.DNS_TIMEOUT, "a.example AAAA")
    found = verdict(NO, NO, Answer(Status.TIMEOUT), EMPTY)
    assert (found.reason, found.step, found.secure) == (Reason.DNS_TIMEOUT, "a.example AAAA", False)


def test_malformed_record_is_no_clean_no() -> None:
    """Nor is an answer without records."""
    for bad in (Answer(Status.RECORDS, (b"\0",)), Answer(Status.RECORDS, ())):
        assert verdict(bad).reason is Reason.BAD_DNS_RECORD
        assert verdict(EMPTY, bad).reason is Reason.BAD_DNS_RECORD


def test_eight_targets_of_both_kinds_together() -> None:
    """The best by priority; a place named twice counts once for each way into TLS."""
    direct = srv(*(f"{n} 0 443 d{n}.example." for n in range(2, 40, 2)), "50 0 443 d2.example.")
    starttls = srv(*(f"{n} 0 5269 s{n}.example." for n in range(1, 40, 2)), "2 0 443 d2.example.")
    found = verdict(direct, starttls)
    assert [one.priority for one in found.targets] == [1, 2, 2, 3, 4, 5, 6, 7][:MAX_TARGETS]


def test_secure_only_if_every_answer_was() -> None:
    """The clean no to direct TLS counts as well: who forges it hides those targets."""
    safe_no = Answer(Status.NXDOMAIN, ttl_s=60, secure=True)
    assert verdict(safe_no, srv("0 0 5269 x.example.", secure=True)).secure
    found = verdict(NO, srv("0 0 5269 x.example.", secure=True))
    assert (found.secure, found.insecure_at) == (False, DIRECT)


def test_a_guess_is_secure_only_if_nothing_failed() -> None:
    """Who makes one family fail chooses which hosts are met."""
    safe_no = Answer(Status.NXDOMAIN, ttl_s=60, secure=True)
    host = Answer(Status.RECORDS, (bytes([192, 0, 2, 1]),), ttl_s=40, secure=True)
    assert verdict(safe_no, safe_no, safe_no, host).secure
    assert not verdict(safe_no, safe_no, Answer(Status.FAILURE), host).secure
    found = verdict(safe_no, NO, NO, host)
    assert (found.secure, found.insecure_at) == (False, STARTTLS)


def test_the_longest_name_that_fits_is_asked_for() -> None:
    """253 octets with the label of direct TLS before it."""
    domain = Domain.parse(".".join(["a" * 63] * 3 + ["b" * 42]))
    plan = run(EMPTY, EMPTY, domain=domain)
    assert [step.type for step in plan.steps] == ["SRV", "SRV"]
    assert len(plan.steps[0].name) == 253


def test_names_that_do_not_fit_are_passed_over() -> None:
    """A domain of 253 octets has no room for the labels; it may still be a host."""
    domain = Domain.parse(".".join(["a" * 63] * 3 + ["b" * 61]))
    plan = run(EMPTY, EMPTY, domain=domain)
    assert [step.type for step in plan.steps] == ["AAAA", "A"]
    assert plan.verdict is not None
    assert plan.verdict.reason is Reason.NO_XMPP_RECORD


def test_answer_after_the_end_is_our_bug() -> None:
    """Feeding a search that ended is refused."""
    plan = run(Answer(Status.FAILURE))
    with pytest.raises(LocalMisuse):
        plan.feed(EMPTY)


ANSWERS = st.builds(
    Answer,
    st.sampled_from(Status),
    st.lists(
        st.binary(max_size=30)
        | st.sampled_from([rdata_from_text(TYPE_SRV, text) for text in ("0 0 0 .", "1 2 443 x.example.")]),
        max_size=3,
    ).map(tuple),
    ttl_s=st.floats(0, 1e6),
)


@given(st.lists(ANSWERS, min_size=4, max_size=4))
def test_no_failure_leads_to_targets(answers: list[Answer]) -> None:
    """Whatever DNS says: at most four questions, and targets only behind two answers that did not fail."""
    plan = XmppPlan(DOMAIN)
    fed = []
    for answer in answers:
        if plan.question is None:
            break
        fed.append(answer)
        plan.feed(answer)
    assert plan.verdict is not None
    found = plan.verdict
    assert (found.reason is Reason.NONE) == bool(found.targets) == (found.form is not None)
    if found.targets:
        assert not any(answer.is_failure for answer in fed[:2])
    if found.form is Form.XMPP_ADDRESS:
        assert all(answer.is_negative for answer in fed[:2])


ZONE = """$ORIGIN a.example.
$TTL 300
@ IN A 192.0.2.9
_xmpps-server._tcp IN SRV 5 0 443 x1
_xmpp-server._tcp IN SRV 5 0 5269 x1
_xmpp-server._tcp IN SRV 9 0 5269 x2
x1 IN A 192.0.2.1
x2 IN A 192.0.2.2
"""
HOST_ZONE = "$ORIGIN b.example.\n@ 300 IN A 192.0.2.3\n"


def test_finder_keeps_answers_and_draws_the_order_anew() -> None:
    """Targets of one priority come first in turn; DNS is asked once for as long as the TTL."""
    clock, zones = Clock(), FakeZones(ZONE, HOST_ZONE)
    finder = Finder(clock, zones.ask, random.Random(3), AnswerCache(clock.seconds))
    found: list[Found] = []
    for _ in range(30):
        finder.find(DOMAIN, "xmpp").addCallback(found.append)
    assert {one.targets[0].tls for one in found} == {"direct", "starttls"}
    assert {one.targets[-1].host for one in found} == {"x2.a.example"}
    assert zones.asked == [DIRECT, STARTTLS]
    assert found[0].ttl_s == 300


def test_finder_does_not_fall_to_an_address_when_srv_fails() -> None:
    """The domain has an address; it is not even asked for."""
    clock, zones = Clock(), FakeZones(ZONE, HOST_ZONE)
    zones.fail("_xmpp-server._tcp.a.example", TYPE_SRV, Status.TIMEOUT)
    finder = Finder(clock, zones.ask, random.Random(3), AnswerCache(clock.seconds))
    errors: list[Any] = []
    finder.find(DOMAIN, "xmpp").addErrback(errors.append)
    assert isinstance(errors[0].value, DiscoveryFailed)
    assert errors[0].value.reason is Reason.DNS_TIMEOUT
    assert zones.asked == [DIRECT, STARTTLS]


def test_address_of_the_domain_is_found_by_either_family() -> None:
    """IPv6 is asked for first; the verdict is the guess, not a record."""
    clock, zones = Clock(), FakeZones(ZONE, HOST_ZONE)
    zones.fail("b.example", TYPE_AAAA)
    finder = Finder(clock, zones.ask, random.Random(3), AnswerCache(clock.seconds))
    found: list[Found] = []
    finder.find(Domain.parse("b.example"), "xmpp").addCallback(found.append)
    assert found[0].form is Form.XMPP_ADDRESS
    assert zones.asked[-1] == "b.example A"


@pytest.fixture
def lab(reactor_thread: ReactorThread) -> Iterator[LabDns]:
    """A name server over real sockets."""
    book = ZoneBook()
    book.load(ZONE)
    book.load(HOST_ZONE)
    server = LabDns(reactor_thread.reactor, book)
    server.port = reactor_thread.call(server.start)  # type: ignore[attr-defined]
    yield server
    reactor_thread.call(server.stop)


def test_against_a_name_server(reactor_thread: ReactorThread, lab: LabDns) -> None:
    """The same over UDP: both records of a.example, the address of b.example, nothing of c.example."""
    asker = NameServerAsker(reactor_thread.reactor, [f"127.0.0.1:{lab.port}"])  # type: ignore[attr-defined]
    cache = AnswerCache(reactor_thread.reactor.seconds)
    finder = Finder(reactor_thread.reactor, asker.ask, random.Random(3), cache)
    found = reactor_thread.call(finder.find, DOMAIN, "xmpp")
    assert {(one.host, one.port, one.tls) for one in found.targets} == {
        ("x1.a.example", 443, "direct"),
        ("x1.a.example", 5269, "starttls"),
        ("x2.a.example", 5269, "starttls"),
    }
    assert reactor_thread.call(finder.find, Domain.parse("b.example"), "xmpp").form is Form.XMPP_ADDRESS
    with pytest.raises(DiscoveryFailed):
        reactor_thread.call(finder.find, Domain.parse("c.example"), "xmpp")
