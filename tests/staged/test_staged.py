"""Each staged failure is told in the same words everywhere: by the answer, trace or check, log and metric."""

from __future__ import annotations

import pytest

from imxrouter.model.vocabulary import Reason
from imxrouter.probe.report import ORDER
from tests.doubles.router_rig import RouterRig
from tests.staged.scene import Case, Scene, Told
from tests.staged.table import CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_failure_is_told_alike_everywhere(scene: Scene, case: Case) -> None:
    """Answer, trace, check, log line and metric: the same stage and reason, and a remedy."""
    told = case.play(scene)
    _judge_answer(case, told)
    _judge_log(scene, case, told)
    _judge_trace(scene, case, told)
    _judge_figures(scene, case, told)
    _judge_links(scene, case, told.router)
    assert bool(told.check) == case.checked
    if case.checked:
        _judge_check(scene, case, told)


def _judge_answer(case: Case, told: Told) -> None:
    """The sender gets the disclosed word, and the domain that decided."""
    answer = told.answer
    assert (answer.status, answer.reason.word, answer.decided_by) == (
        case.status, case.reason.disclosed, case.by,
    )  # fmt: skip
    assert answer.note == ""


def _judge_figures(scene: Scene, case: Case, told: Told) -> None:
    """`/metrics` counted this, as often as it happened, and nothing else."""
    expected = told.refusals or case.counted or {case.reason: 1}
    assert scene.refusals(told.router) == {(one.stage.value, one.word): n for one, n in expected.items()}


def _judge_links(scene: Scene, case: Case, rig: RouterRig) -> None:
    """The end of each link is counted and logged for its reason."""
    counted = scene.link_ends(rig)
    for reason, times in case.links.items():
        words = (reason.stage.value, reason.word)
        assert counted[words] == times
        lines = [line for line in scene.lines if (line.get("stage"), line.get("reason")) == words]
        assert sum(line["text"].endswith(f"ended: {reason.word}") for line in lines) >= times


def _judge_log(scene: Scene, case: Case, told: Told) -> None:
    """A line names message, stage and reason; none of that message says anything else."""
    lines = [line for line in scene.lines if line.get("id") == told.ident.hex()]
    words = {(line["stage"], line["reason"]) for line in lines if "reason" in line}
    assert (case.reason.stage.value, case.reason.word) in words
    disclosed = next(one for one in Reason if one.word == case.reason.disclosed)
    allowed = {(one.stage.value, one.word) for one in (case.reason, disclosed)}
    assert words <= allowed
    said = {(line.get("stage"), line.get("reason")) for line in scene.lines}
    assert {(one.stage.value, one.word) for one in case.logged} <= said


def _judge_trace(scene: Scene, case: Case, told: Told) -> None:
    """`imxctl trace` names stage and reason in a step, and prints them with the remedy."""
    view, printed = scene.trace(told)
    reasons = [(step["fields"].get("stage"), step["fields"].get("reason")) for step in view["steps"]]
    assert (case.reason.stage.value, case.reason.word) in reasons
    for word in (case.reason.stage.value, case.reason.word, case.reason.remedy):
        assert word in printed, printed


def _judge_check(scene: Scene, case: Case, told: Told) -> None:
    """`imxctl check` stops at that stage, with reason and remedy, and tries nothing after it."""
    view, printed = scene.check(told)
    failure, seen_at = view["failure"], case.seen_at or case.reason.stage.value
    assert view["result"] == "failed"
    assert failure is not None
    assert (failure["step"], failure["stage"], failure["reason"], failure["remedy"]) == (
        seen_at, case.reason.stage.value, case.reason.word, case.reason.remedy,
    )  # fmt: skip
    states = [stage["state"] for stage in view["stages"]]
    at = [stage.value for stage in ORDER].index(seen_at)
    assert states[at] == "failed"
    assert set(states[at + 1 :]) <= {"not tried"}
    for word in (case.reason.stage.value, case.reason.word, case.reason.remedy):
        assert word in printed, printed
