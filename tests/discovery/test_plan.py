"""The search: which question comes next, and what each answer means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.discovery.answers import TYPE_IMX, TYPE_SRV, TYPE_SVCB, Answer, Status
from imxrouter.discovery.plan import Plan
from imxrouter.discovery.rdata import rdata_from_text
from imxrouter.discovery.records import Form, Target
from imxrouter.discovery.search import MAX_TARGETS, Verdict
from imxrouter.model.domain import Domain
from imxrouter.model.errors import LocalMisuse
from imxrouter.model.ports import DEFAULT_IMX_PORT
from imxrouter.model.vocabulary import Reason

DOMAIN = Domain.parse("a.example")
NO = Answer(Status.NXDOMAIN, ttl_s=60)
EMPTY = Answer(Status.NODATA, ttl_s=60)
PLACES = ["a.example IMX", "_imx.a.example SVCB", "_im._imx.a.example SRV", "_imx._tcp.a.example SRV"]


def imx(*texts: str, ttl_s: float = 300, **fields: object) -> Answer:
    """IMX or SVCB records."""
    rdatas = tuple(rdata_from_text(TYPE_IMX, text) for text in texts)
    return Answer(Status.RECORDS, rdatas, ttl_s=ttl_s, **fields)  # type: ignore[arg-type]


def srv(*texts: str) -> Answer:
    """SRV records."""
    return Answer(Status.RECORDS, tuple(rdata_from_text(TYPE_SRV, text) for text in texts), ttl_s=300)


def run(*answers: Answer, domain: Domain = DOMAIN) -> Plan:
    """Feed answers in turn."""
    plan = Plan(domain)
    for answer in answers:
        plan.feed(answer)
    return plan


def verdict(*answers: Answer) -> Verdict:
    """Feed answers and return the verdict that must be there."""
    plan = run(*answers)
    assert plan.question is None
    assert plan.verdict is not None
    return plan.verdict


def test_forms_are_asked_in_order() -> None:
    """IMX, SVCB, SRV of RFC 3861, SRV; each only after a clean no."""
    plan = run(EMPTY, NO, EMPTY, NO)
    assert [step.question for step in plan.steps] == PLACES
    assert plan.verdict is not None
    assert plan.verdict.reason is Reason.NO_IMX_RECORD


def test_presence_has_its_own_name() -> None:
    """RFC 3861 names `_pres` for presence."""
    plan = Plan(DOMAIN, "pres")
    plan.feed(EMPTY)
    plan.feed(EMPTY)
    assert str(plan.question) == "_pres._imx.a.example SRV"


def test_nxdomain_everywhere_is_no_such_domain() -> None:
    """A domain that has nothing at all does not exist."""
    assert verdict(NO, NO, NO, NO).reason is Reason.NO_SUCH_DOMAIN


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (Status.FAILURE, Reason.DNS_FAILURE),
        (Status.TIMEOUT, Reason.DNS_TIMEOUT),
        (Status.MALFORMED, Reason.BAD_DNS_RECORD),
    ],
)
def test_failure_ends_the_search(before: int, status: Status, reason: Reason) -> None:
    """No failure leads to a weaker form."""
    found = verdict(*[EMPTY] * before, Answer(status, note="why"))
    assert (found.reason, found.step, found.note) == (reason, PLACES[before], "why")


def test_record_gives_targets_with_defaults() -> None:
    """What the record leaves out is the default port, and None for policy to decide."""
    found = verdict(imx('2 b.a.example. port=7000 key65280="\\002" key65282="\\000\\001"', "1 c.a.example."))
    assert found.form is Form.IMX
    assert found.targets == (
        Target("c.a.example", DEFAULT_IMX_PORT, 1),
        Target("b.a.example", 7000, 2, tls="required", versions=(1,)),
    )


def test_svcb_form() -> None:
    """The same data at `_imx.`."""
    found = verdict(EMPTY, imx("1 b.a.example."))
    assert (found.form, found.step) == (Form.SVCB, "_imx.a.example SVCB")


def test_srv_form() -> None:
    """SRV gives weight, and nothing on TLS."""
    found = verdict(EMPTY, EMPTY, EMPTY, srv("1 5 7000 b.a.example."))
    assert found.form is Form.SRV
    assert found.targets == (Target("b.a.example", 7000, 1, 5),)


def test_dot_target_is_the_owner() -> None:
    """RFC 9460 section 2.5.2: after CNAMEs, the owner is the name they lead to."""
    assert verdict(imx("1 .")).targets[0].host == "a.example"
    assert verdict(imx("1 .", owner="x.hoster.example")).targets[0].host == "x.hoster.example"


@pytest.mark.parametrize("answers", [[imx("0 .")], [EMPTY, imx("0 .")], [EMPTY, EMPTY, srv("0 0 0 .")]])
def test_no_service(answers: list[Answer]) -> None:
    """A domain that says no ends the search."""
    assert verdict(*answers).reason is Reason.NO_SERVICE


def test_alias_is_followed() -> None:
    """The alias is asked for with the same type."""
    plan = run(imx("0 imx.hoster.example.", ttl_s=50))
    assert str(plan.question) == "imx.hoster.example IMX"
    plan.feed(imx("1 r1.hoster.example."))
    assert plan.verdict is not None
    assert plan.verdict.targets == (Target("r1.hoster.example"),)
    assert plan.verdict.ttl_s == 50
    assert str(run(EMPTY, imx("0 imx.hoster.example.")).question) == "imx.hoster.example SVCB"


def test_four_aliases_are_followed_and_a_fifth_is_not() -> None:
    """The chain is bounded."""
    aliases = [imx(f"0 x{n}.example.") for n in range(1, 6)]
    assert verdict(*aliases[:4], imx("1 r.example.")).reason is Reason.NONE
    found = verdict(*aliases)
    assert found.reason is Reason.BAD_DNS_RECORD
    assert "more than 4" in found.note


@pytest.mark.parametrize("chain", [["a.example"], ["b.example", "a.example"], ["b.example", "b.example"]])
def test_alias_loop_is_an_error(chain: list[str]) -> None:
    """A circle is found when it closes."""
    found = verdict(*[imx(f"0 {name}.") for name in chain])
    assert found.reason is Reason.BAD_DNS_RECORD
    assert "circle" in found.note


@pytest.mark.parametrize("answer", [EMPTY, NO])
def test_alias_to_nothing_does_not_fall_back(answer: Answer) -> None:
    """A domain that publishes a form does not lose it by its hoster's mistake."""
    assert verdict(imx("0 x.example."), answer).reason is Reason.BAD_DNS_RECORD


def test_service_records_beside_an_alias_are_ignored() -> None:
    """RFC 9460 section 2.4.1."""
    assert str(run(imx("1 b.a.example.", "0 x.example.")).question) == "x.example IMX"


def test_unknown_mandatory_key_skips_the_record() -> None:
    """Other records stay; with none left the answer is an error, not a clean no."""
    odd = '1 odd.a.example. mandatory=key65300 key65300="x"'
    assert [target.host for target in verdict(imx(odd, "2 b.a.example.")).targets] == ["b.a.example"]
    found = verdict(imx(odd))
    assert (found.reason, found.note) == (Reason.BAD_DNS_RECORD, "key65300 is mandatory and not known here")


def test_one_malformed_record_spoils_the_set() -> None:
    """RFC 9460 section 2.2: the whole set is rejected."""
    good = rdata_from_text(TYPE_IMX, "1 b.a.example.")
    assert verdict(Answer(Status.RECORDS, (good, b"\0"))).reason is Reason.BAD_DNS_RECORD
    assert verdict(EMPTY, EMPTY, Answer(Status.RECORDS, (b"\0",))).reason is Reason.BAD_DNS_RECORD
    assert verdict(Answer(Status.RECORDS, ())).reason is Reason.BAD_DNS_RECORD


def test_at_most_eight_targets_best_first() -> None:
    """A large set is cut at its end; the same target twice counts once, with its better priority."""
    texts = [f"{n} r{n}.example." for n in range(30, 0, -1)] + ["40 r1.example."]
    found = verdict(imx(*texts))
    assert [target.priority for target in found.targets] == list(range(1, MAX_TARGETS + 1))


def test_secure_only_if_every_answer_was() -> None:
    """One answer that was not validated makes the whole not so."""
    secure = Answer(Status.NODATA, ttl_s=60, secure=True)
    assert verdict(secure, imx("1 b.a.example.", secure=True)).secure
    assert not verdict(EMPTY, imx("1 b.a.example.", secure=True)).secure


def test_prefixes_that_do_not_fit_are_passed_over() -> None:
    """A domain of 253 octets leaves no room for `_imx.`."""
    domain = Domain.parse(".".join(["a" * 63] * 3 + ["b" * 61]))
    plan = run(EMPTY, domain=domain)
    assert len(plan.steps) == 1
    assert plan.verdict is not None
    assert plan.verdict.reason is Reason.NO_IMX_RECORD


def test_answer_after_the_end_is_our_bug() -> None:
    """Feeding a search that ended is refused."""
    plan = run(imx("1 b.a.example."))
    with pytest.raises(LocalMisuse):
        plan.feed(EMPTY)


@given(
    st.lists(
        st.builds(
            Answer,
            st.sampled_from(Status),
            st.lists(
                st.binary(max_size=40)
                | st.sampled_from(
                    [rdata_from_text(TYPE_SVCB, t) for t in ("0 x.example.", "1 b.example.", "0 .")]
                ),
                max_size=4,
            ).map(tuple),
            ttl_s=st.floats(0, 1e6),
        ),
        min_size=20,
        max_size=20,
    )
)
def test_every_search_ends_within_bounds(answers: list[Answer]) -> None:
    """Whatever DNS says, a search takes at most 4 forms and 4 aliases and ends with a verdict."""
    plan = Plan(DOMAIN)
    for answer in answers:
        if plan.question is None:
            break
        plan.feed(answer)
    assert plan.verdict is not None
    assert len(plan.steps) <= 8
    assert (
        (plan.verdict.reason is Reason.NONE) == bool(plan.verdict.targets) == (plan.verdict.form is not None)
    )
