"""One vocabulary (rule 8): a refusal or a failure is logged with stage and reason, and both are registered.

The first half reads the source: a log call that could say another word is found although no test runs it.
The second reads the log of routers that refuse and fail.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from twisted.logger import LogEvent, globalLogPublisher

from imxrouter.cli.main import imxctl
from imxrouter.model.vocabulary import REASON_BY_WORD, Reason, Stage
from imxrouter.telemetry.logs import render
from imxrouter.telemetry.privacy import AddressMask, Privacy
from imxrouter.wire.control import Claim, ClaimResult
from tests.doubles.router_rig import Lab

PACKAGE = Path(__file__).parents[2] / "imxrouter"
LEVELS = {"debug", "info", "warn", "error", "critical", "emit"}
STAGES = {stage.value for stage in Stage}
#: Says that something was refused or failed; a text with such a word needs its stage and its reason.
TELLING = re.compile(r"refused|cannot be reached|ignored|\{reason\}|\{status\}|not delivered")
#: Texts that say so of something else than a request, a claim, a link or a peer.
OTHERWISE = ("state: ", "domains: ")
#: `**told` of these names holds both words or none; where it is made, they are looked at as well.
BUNDLES = {"told", "words", "fields"}


def _calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Every call of a logger: where it stands, the call, its text."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            of = ast.unparse(node.func.value)
            if node.func.attr in LEVELS and re.search(r"\b_?log(ger)?$", of):
                text = next((one.value for one in node.args if isinstance(one, ast.Constant)), "")
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node, str(text)


def _words_of(node: ast.expr, attribute: str) -> bool:
    """Whether an expression can only be a word of the registry: `X.word`, `X.stage.value`, or one itself."""
    if isinstance(node, ast.Constant):
        return node.value in (REASON_BY_WORD if attribute == "word" else STAGES)
    if not isinstance(node, ast.Attribute) or node.attr != attribute:
        return False
    return attribute == "word" or re.search(r"(\bstage|^Stage\.[A-Z]+)$", ast.unparse(node.value)) is not None


def test_log_calls_use_registered_words_only() -> None:
    """Both fields, each from the registry, wherever a text tells of a refusal or a failure."""
    wrong, seen = [], 0
    for place, call, text in _calls():
        given = {one.arg: one.value for one in call.keywords if one.arg}
        bundles = {ast.unparse(one.value) for one in call.keywords if one.arg is None}
        whole = bool(bundles & BUNDLES)
        tells = TELLING.search(text) is not None and not text.startswith(OTHERWISE)
        seen += tells
        if (tells or "reason" in given) and not whole and not {"stage", "reason"} <= given.keys():
            wrong.append(f"{place}: without stage and reason: {text!r}")
        for field, attribute in (("reason", "word"), ("stage", "value")):
            if field in given and not _words_of(given[field], attribute):
                wrong.append(f"{place}: {field} = {ast.unparse(given[field])}")
    assert wrong == []
    assert seen >= 8


def test_bundles_of_words_are_registered_too() -> None:
    """`{"stage": ..., "reason": ...}` that is handed on to log lines and traces."""
    wrong, seen = [], 0
    for path in sorted((PACKAGE / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Dict):
                continue
            keys = {key.value: value for key, value in zip(node.keys, node.values, strict=True)
                    if isinstance(key, ast.Constant)}  # fmt: skip
            if keys.keys() & {"stage", "reason"} and keys.keys() <= {"stage", "reason"}:
                seen += 1
                named = isinstance(keys.get("reason"), ast.Name)  # the connector's own word, judged there
                good = _words_of(keys["stage"], "value") if "stage" in keys else False
                good = good and (named or "reason" not in keys or _words_of(keys["reason"], "word"))
                if not good:
                    wrong.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert wrong == []
    assert seen >= 4


@pytest.mark.parametrize(
    "call",
    ['log.info("refused: {why}", why=1)', 'log.warn("x {reason}", reason="gone", stage="dns")',
     'log.warn("x {reason}", reason=reason.word)', 'self._log.info("x", reason=r.word, stage="nowhere")'],
)  # fmt: skip
def test_a_word_of_ones_own_is_found(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of the source sees what it is there for."""
    (tmp_path / "x.py").write_text(call)
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    with pytest.raises(AssertionError, match=r"x\.py:1"):
        test_log_calls_use_registered_words_only()


def test_lines_of_a_run_say_registered_words(lab: Lab) -> None:
    """Of refusals at home, on the way, by a peer, and of a stranger: stage and reason belong together."""
    lines: list[dict[str, Any]] = []
    mask = AddressMask(Privacy.DOMAIN)

    def observe(event: LogEvent) -> None:
        lines.append(render(event, mask))

    globalLogPublisher.addObserver(cast("Any", observe))
    try:
        _fail_in_many_ways(lab)
    finally:
        globalLogPublisher.removeObserver(cast("Any", observe))
    told = [line for line in lines if "reason" in line]
    for line in told:
        assert line["reason"] in REASON_BY_WORD, line
        stage = REASON_BY_WORD[line["reason"]].stage.value
        assert line["stage"] == stage, line
    assert all(line["stage"] in STAGES for line in lines if "stage" in line)
    words = {line["reason"] for line in told}
    assert {
        "no-such-domain", "connection-refused", "unknown-user", "not-delivered", "too-large",
        "weaker-than-policy", "served-here", "not-mine",
    } <= words  # fmt: skip
    assert not any("alice" in str(line) for line in lines)


def _fail_in_many_ways(lab: Lab) -> None:
    tables = '[[trust.peer]]\ndomain = "strict.example"\npolicy = "certificate"\n'
    a = lab.router("a.example", tables=tables, settings={"limits.max_message_bytes": 100})
    lab.router("b.example")
    lab.publish("closed.example", ("127.0.0.9", 1026))

    def send(rig: Any, source: str, destination: str, text: str = "x") -> None:
        words = ["--socket", rig.router.config.admin_socket, "send", source, destination, text]
        assert CliRunner().invoke(imxctl, words).exit_code == 1

    for name in ("nowhere", "closed", "strict"):
        send(a, "alice@a.example", f"bob@{name}.example")
    send(a, "alice@a.example", "nobody@a.example")
    send(a, "alice@a.example", "nobody@b.example")
    send(a, "alice@a.example", "bob@b.example", "x" * 200)
    stranger = lab.organisation("m.example").connect(a)
    stranger.send(Claim(1, b"a.example", b"a.example", b"token"))
    assert stranger.expect(ClaimResult).reason == Reason.SERVED_HERE.code
    lost = lab.router("c.example", publish=False)
    lab.publish("c.example", lab.router("d.example").endpoint)
    send(lost, "alice@c.example", "bob@b.example")
