"""Writes `docs/operators/failures.md` from the staged failures: `python -m tests.staged.page` (`--check`)."""

from __future__ import annotations

import sys

from imxrouter.model.generated import write_or_check
from imxrouter.model.vocabulary import Reason
from tests.staged.scene import Case
from tests.staged.table import CHAPTERS, LINK_CASES

PAGE = "docs/operators/failures.md"

_HEAD = """\
# What a failure looks like

Made from the staged failures in `tests/staged` by `python -m tests.staged.page`; do not edit. Each line is
made to happen by a test, which holds the answer, the trace, the check, the log line and the metric to these
words.

Where to look:

| what | says |
| --- | --- |
| the sender's answer | the status, the word of *the sender is told*, and the domain that decided |
| `imxctl trace ID` | every step of the message, stage and reason, and what to do |
| `imxctl check DOMAIN` | the first stage that fails, and what to do; the stages after it are `not tried` |
| a log line | `id` of the message, `stage`, `reason` |
| `imxrouter_refusals_total` | `stage` and `reason`: one more for each message |
| `imxrouter_link_ends_total` | `stage` and `reason`: one more for each link that ended so |

A message whose answer is *indeterminant* may or may not have been delivered. Every word, with its code and
whether trying again can help, stands in [reasons.md](../reference/reasons.md).
"""

_LINKS = """
## Links of strangers that end

Who connected gets the reason in a CLOSE record; the log line and `imxrouter_link_ends_total` have the same
words.

| what is the matter | stage | reason | what to do |
| --- | --- | --- | --- |
"""

_DISK = """
## The disk is full

`imxctl status` says `not written (full)` of the state file, a log line `state is not written (full)`, and
`imxrouter_store_failures_total` counts `full` while `imxrouter_store_works` is 0. Make room: it heals by
itself, and messages pass meanwhile ([state.md](state.md)).
"""

_COLUMNS = """\
| what is the matter | seen by | stage | reason | the sender is told | decided by | what to do |
| --- | --- | --- | --- | --- | --- | --- |
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for heading, first, cases in CHAPTERS:
        parts.append(f"\n## {heading}\n\n{first}\n\n{_COLUMNS}")
        parts += [_row(case) for case in cases]
    parts.append(_LINKS)
    for case in LINK_CASES:
        stage, word = case.reason.stage.value, case.reason.word
        parts.append(f"| {case.symptom} | {stage} | `{word}` | {case.reason.remedy} |\n")
    return "".join([*parts, _DISK])


def _row(case: Case) -> str:
    reason = case.reason
    seen = "check, trace" if case.checked else "trace"
    told = f"{case.status.name.lower()}, `{reason.disclosed}`"
    by = "the recipient's domain" if case.by else "this router"
    return (
        f"| {case.symptom} | {seen} | {reason.stage.value} | `{reason.word}`{_also(case)} | {told} | {by} | "
        f"{reason.remedy} |\n"
    )


def _also(case: Case) -> str:
    """Why the links ended that went with it, where that is another word."""
    others = [one for one in (*case.links, *case.logged) if one is not case.reason]
    return f" (in the log also {', '.join(f'`{one.word}`' for one in others)})" if others else ""


def staged_reasons() -> set[Reason]:
    """Every reason that a staged failure shows."""
    cases = [case for _, _, cases in CHAPTERS for case in cases]
    shown = {reason for case in cases for reason in (case.reason, *case.links, *case.logged)}
    return shown | {case.reason for case in LINK_CASES}


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page()}, "tests.staged.page", sys.argv[1:]))
