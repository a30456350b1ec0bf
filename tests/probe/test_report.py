"""What a check concludes: order of stages, the first failure, remedies, the shape of the answer."""

from __future__ import annotations

import pytest

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.probe.report import (
    NOT_YET,
    ORDER,
    Evidence,
    Report,
    StageReport,
    State,
    stage_of_ways,
    view_of_all,
)

DOMAIN = Domain("b.example")


def way(name: str, reason: Reason = Reason.NONE, took_s: float | None = 0.1) -> Evidence:
    """One way."""
    return Evidence(name, reason, took_s=took_s)


def dns(*evidence: Evidence, state: State = State.GOOD) -> StageReport:
    """The first stage."""
    return StageReport(Stage.DNS, state, evidence or (way("b.example IMX"),))


def report(*tried: StageReport) -> Report:
    """A report of these stages."""
    return Report.of(DOMAIN, tried)


@pytest.mark.parametrize(
    ("ways", "state"),
    [
        ([way("a"), way("b")], State.GOOD),
        ([way("a", Reason.UNREACHABLE), way("b")], State.PARTLY),
        ([way("a", Reason.UNREACHABLE), way("b", Reason.CONNECT_TIMEOUT)], State.FAILED),
    ],
)
def test_one_way_is_enough(ways: list[Evidence], state: State) -> None:
    """A stage is good, partly good, or failed by its ways; it takes as long as the longest."""
    assert stage_of_ways(Stage.CONNECT, ways).state is state
    times = [way("a", took_s=None), way("b", took_s=3), way("c", took_s=1)]
    assert stage_of_ways(Stage.CONNECT, times).took_s == 3


def test_every_stage_stands_in_order() -> None:
    """Stages come in the order of the way to a domain, whatever was tried; each untried one says why."""
    for tried in ([], [dns()], [stage_of_ways(Stage.PEER, [way("a")]), dns()]):
        stages = report(*tried).stages
        assert [one.stage for one in stages] == list(ORDER)
    assert ORDER == (Stage.DNS, Stage.CONNECT, Stage.TLS, Stage.IDENTITY, Stage.PEER, Stage.DIALBACK)


def test_what_is_not_tried_says_why() -> None:
    """After a failure: which stage failed. What needs more than was asked: that, whatever failed before."""
    stages = {one.stage: one for one in report(dns(state=State.FAILED)).stages}
    for stage in (Stage.CONNECT, Stage.PEER):
        assert (stages[stage].state, stages[stage].why) == (State.NOT_TRIED, "stage dns failed")
    for stage in (Stage.TLS, Stage.IDENTITY, Stage.DIALBACK):
        assert (stages[stage].state, stages[stage].why) == (State.NOT_TRIED, NOT_YET[stage])


def test_all_good() -> None:
    """No failure; stages that are not tried do not count against the domain."""
    good = report(dns(), stage_of_ways(Stage.CONNECT, [way("a")]), stage_of_ways(Stage.PEER, [way("a")]))
    assert (good.state, good.first_failure, view_of_all({"imx": good})["failure"]) == (State.GOOD, None, None)


def first(*tried: StageReport) -> tuple[Stage, str, Reason]:
    """Where the first failure is, what, and why."""
    failure = report(*tried).first_failure
    assert failure is not None
    return failure[0].stage, failure[1].what, failure[1].reason


def test_what_stops_everything_comes_before_what_stops_some() -> None:
    """One target without address does not explain why the other, which has one, refuses."""
    partly = dns(way("no A, AAAA", Reason.NO_ADDRESS), state=State.PARTLY)
    refused = stage_of_ways(Stage.CONNECT, [way("im", Reason.CONNECTION_REFUSED)])
    assert first(partly, refused) == (Stage.CONNECT, "im", Reason.CONNECTION_REFUSED)
    assert report(partly, refused).state is State.FAILED


def test_the_first_stage_comes_first() -> None:
    """Where several stages are partly good, the first of them is explained."""
    partly = dns(way("no A, AAAA", Reason.NO_ADDRESS), state=State.PARTLY)
    connect = stage_of_ways(Stage.CONNECT, [way("im", Reason.UNREACHABLE), way("to")])
    assert first(partly, connect) == (Stage.DNS, "no A, AAAA", Reason.NO_ADDRESS)
    assert report(partly, connect).state is State.PARTLY


def test_what_came_furthest_explains_a_stage() -> None:
    """As the router's own log has it: a refused connection says more than a missing route before it."""
    ways = [
        way("six", Reason.UNREACHABLE), way("ten", Reason.ADDRESS_REFUSED),
        way("four", Reason.CONNECTION_REFUSED), way("other", Reason.CONNECTION_REFUSED),
    ]  # fmt: skip
    assert first(dns(), stage_of_ways(Stage.CONNECT, ways))[1] == "four"


def test_a_question_that_decides_explains_more_than_one_that_does_not() -> None:
    """A time-out of one family beside the target that has no address at all."""
    slow = Evidence("a AAAA", Reason.DNS_TIMEOUT, decides=False)
    none = Evidence("b A, AAAA", Reason.NO_ADDRESS)
    assert first(dns(slow, none, state=State.PARTLY))[1] == "b A, AAAA"


@pytest.mark.parametrize("reason", [one for one in Reason if one is not Reason.NONE])
def test_every_failure_is_told_in_the_words_of_the_registry(reason: Reason) -> None:
    """Stage, reason, remedy and retry are the registry's, for whatever a peer may close with."""
    facts = {"retry_after_s": 7}
    peer = stage_of_ways(Stage.PEER, [Evidence("im", reason, "as told", 0.1, facts)])
    found = report(dns(), stage_of_ways(Stage.CONNECT, [way("im")]), peer)
    failure = view_of_all({"imx": found})["failure"]
    assert failure == {
        "step": "peer", "stage": reason.stage.value, "reason": reason.word, "what": "im", "note": "as told",
        "remedy": reason.remedy, "retry": reason.retry.value, "retry_after_s": 7,
    }  # fmt: skip
