"""Make `docs/reference/metrics.md` and `docs/reference/reasons.md` from the code.

`python -m imxrouter.telemetry.reference` writes them, with `--check` it compares (CI).
"""

from __future__ import annotations

import sys

from imxrouter.model.generated import write_or_check
from imxrouter.model.vocabulary import Reason, Stage
from imxrouter.telemetry import catalogue

METRICS = "docs/reference/metrics.md"
REASONS = "docs/reference/reasons.md"

_METRICS_HEAD = """\
# Metrics

Made from `imxrouter/telemetry/catalogue.py` by `python -m imxrouter.telemetry.reference`; do not edit.

Served at `/metrics` of the listener in `[metrics]`. Labels come from closed sets; a `reason` or `result` is
one of the words in [reasons.md](reasons.md) unless said otherwise. No metric holds an address. Only `peer`
holds domains: those of `[metrics] watch` and those with objectives of their own, and the 50 busiest others;
all the rest is counted as `other`, and what peers counted that are no longer among the 50 stays as `former`
([monitor.md](../operators/monitor.md#peers)).

| metric | type | labels | meaning |
| --- | --- | --- | --- |
"""

_REASONS_HEAD = """\
# Reasons

Made from `imxrouter/model/vocabulary.py` by `python -m imxrouter.telemetry.reference`; do not edit.

The same words stand in answers, logs, metrics and traces. *Told to senders* is what somebody outside reads:
several reasons are told alike so that nobody can probe for users or rules. *Retry* says whether asking again
can help.
"""


def metrics_page() -> str:
    """Return the page of metrics."""
    rows = [
        f"| `{family.name}` | {family.kind} | {', '.join(f'`{label}`' for label in family.labels)} | "
        f"{family.help} |"
        for family in catalogue.ALL
    ]
    return _METRICS_HEAD + "\n".join(rows) + "\n"


def reasons_page() -> str:
    """Return the page of reasons, one table for each stage."""
    parts = [_REASONS_HEAD]
    for stage in Stage:
        reasons = [reason for reason in Reason if reason.stage is stage]
        if reasons:
            parts.append(f"\n## {stage.value}\n\n| code | reason | retry | told to senders | what to do |")
            parts.append("| --- | --- | --- | --- | --- |")
            parts += [
                f"| {reason.code} | `{reason.word}` | {reason.retry.value} | `{reason.disclosed}` | "
                f"{reason.remedy} |"
                for reason in reasons
            ]
    return "\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check both pages; return the exit code."""
    pages = {METRICS: metrics_page(), REASONS: reasons_page()}
    return write_or_check(pages, "imxrouter.telemetry.reference", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
