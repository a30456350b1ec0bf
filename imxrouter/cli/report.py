"""`imxctl peers report`: how a peer was, as a text, JSON or CSV that can be sent to its operator."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import click

from imxrouter.admin.client import KindView, MeasureView, OutageView, PeerReportView, TimesView
from imxrouter.cli import output
from imxrouter.cli.options import Context, live
from imxrouter.cli.trace import Span

_OBJECTIVES: Final = {
    "availability": "availability, at least",
    "delivery-time": "delivery time (99 %), at most",
    "refusals": "not delivered, at most",
}
#: Figures of one kind, as columns of the CSV form.
_COUNTS: Final = ("delivered", "refused", "failed", "indeterminant")


@click.command()
@click.argument("name", metavar="PEER")
@click.option("--since", type=Span(), metavar="SPAN", help="Of the last 1h, 24h, 30d ...  [default: 24h]")
@click.option("--csv", "as_csv", is_flag=True, help="One figure a line, for spreadsheets.")
@click.option("--text", "as_text", is_flag=True, help="For people; this is the default.")
@live
def report(shared: Context, name: str, since: float | None, as_csv: bool, as_text: bool) -> None:
    """Say how a peer was, for its operator: objectives, counts, times, outages, what to look at.

    It names no users and holds no bodies. Times are UTC. A process tells of what went through itself.
    """
    if as_csv + as_text + shared.json > 1:
        raise click.UsageError("choose one of --text, --json and --csv")
    view = shared.client.peer_report(name, since)
    if shared.json:
        output.as_json(view)
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows(view))
    else:
        for line in lines(view):
            click.echo(output.clean(line))


def lines(view: PeerReportView) -> Iterator[str]:
    """The report for people."""
    yield f"Report on {view['peer']}, by {view['reported_by']}" + (
        f" (process {view['process']})" if view["process"] else ""
    )
    yield f"period     {moment(view['begin'])} to {moment(view['end'])}"
    yield f"watched    {output.duration(view['watched_s'])} of it"
    available = view["available_percent"]
    yield f"available  {'unknown' if available is None else f'{available:.3f} %'}"
    yield ""
    yield from _objectives(view["objectives"])
    yield from _kinds(view)
    yield ""
    yield from _outages(view["outages"])
    if view["not_delivered"]:
        yield ""
        yield "not delivered, by stage and reason"
        for row in view["not_delivered"]:
            who = ", decided by the recipient" if row["by_recipient"] else ""
            yield f"  {_way(row['direction'])}: {row['count']} {row['stage']}: {row['reason']}{who}"
    yield ""
    yield from _asked(view)


def _objectives(measures: list[MeasureView]) -> Iterator[str]:
    if not measures:
        yield "objectives: none are set"
        return
    yield "objectives"
    for line in map(objective_line, measures):
        yield f"  {line}"


def objective_line(one: MeasureView) -> str:
    """One objective, what was measured, and whether it was met."""
    met = {True: "met", False: "MISSED", None: "nothing to measure"}[one["met"]]
    was = "" if one["measured"] is None else f": {_figure(one['measured'], one['unit'])}"
    return f"{_OBJECTIVES[one['objective']]} {_figure(one['expected'], one['unit'])}{was}, {met}"


def _figure(value: float, unit: str) -> str:
    return _time(value) if unit == "s" else f"{value:.4g} %"


def _kinds(view: PeerReportView) -> Iterator[str]:
    for direction in ("out", "in"):
        rows = [row for row in view["kinds"] if row["direction"] == direction]
        yield ""
        yield f"requests {_way(direction)}{'' if rows else ': none'}"
        for row in rows:
            yield f"  {row['kind']}: {_counts(row)}"
            if row["delivered"]:
                whose = view["peer"] if direction == "out" else f"services behind {view['reported_by']}"
                yield f"    share of {view['reported_by']}: {_times(row['ours'])}"
                yield f"    share of {whose}: {_times(row['theirs'])}"


def _counts(row: KindView) -> str:
    counts: dict[str, Any] = dict(row)
    return ", ".join(f"{counts[name]} {name}" for name in _COUNTS if counts[name] or name == "delivered")


def _times(times: TimesView) -> str:
    figures = {
        "mean": times["mean_s"], "half within": times["p50_s"], "90 % within": times["p90_s"],
        "99 % within": times["p99_s"],
    }  # fmt: skip
    return ", ".join(f"{name} {_time(value)}" for name, value in figures.items() if value is not None)


def _outages(outages: list[OutageView]) -> Iterator[str]:
    yield "outages" if outages else "outages: none"
    for one in outages:
        yield f"  {outage_line(one)}"


def outage_line(one: OutageView) -> str:
    """One outage: begin, end, whose it was and why."""
    end = moment(one["end"]) if one["end"] is not None else "now"
    side = "the network of the reporting router" if one["side"] == "ours" else "the peer's side"
    all_reasons = ", ".join(f"{word} ({count})" for word, count in one["reasons"].items())
    flaps = f", back for a moment {one['flaps']} time(s)" if one["flaps"] else ""
    how = f", ended: {one['how']}" if one["how"] not in {"", "reached"} else ""
    return (
        f"{moment(one['begin'])} to {end}, down {output.duration(one['down_s'])}{flaps}: "
        f"{side}, stage {one['stage']}: {all_reasons}{how}"
    )


def _asked(view: PeerReportView) -> Iterator[str]:
    missed = [one["objective"] for one in view["objectives"] if one["met"] is False]
    if not view["asked"] and not missed:
        yield f"nothing to look at for {view['peer']}"
        return
    yield f"please look at, on the side of {view['peer']}"
    for objective in missed:
        yield f"  the objective for {objective} was missed"
    for one in view["asked"]:
        counts = ((one["outages"], "outage"), (one["requests"], "request"))
        seen = [f"{count} {word}{'s' * (count > 1)}" for count, word in counts if count]
        yield f"  {one['stage']}: {one['reason']} ({', '.join(seen)}): {one['text']}"


def rows(view: PeerReportView) -> Iterator[tuple[str, ...]]:
    """The report as lines of a table: section, name, figure, value."""
    yield ("section", "name", "figure", "value")
    whole: dict[str, Any] = dict(view)
    for figure in ("peer", "reported_by", "process"):
        yield ("report", "", figure, str(whole[figure]))
    for figure in ("begin", "end", "made_at"):
        yield ("report", "", figure, moment(whole[figure]))
    yield ("report", "", "watched_s", _text(view["watched_s"]))
    yield ("report", "", "available_percent", _text(view["available_percent"]))
    for one in view["objectives"]:
        for figure in ("expected", "measured", "unit", "burn", "met"):
            yield ("objective", one["objective"], figure, _text(dict(one)[figure]))
    for row in view["kinds"]:
        for figure in _COUNTS:
            yield ("requests", f"{row['direction']} {row['kind']}", figure, _text(dict(row)[figure]))
        for part, times in (("ours", row["ours"]), ("theirs", row["theirs"])):
            for figure, value in times.items():
                yield ("requests", f"{row['direction']} {row['kind']}", f"{part}_{figure}", _text(value))
    for left in view["not_delivered"]:
        name = f"{left['direction']} {left['stage']}: {left['reason']}"
        yield ("not delivered", name, "count", _text(left["count"]))
    for number, outage in enumerate(view["outages"], 1):
        figures = {
            "begin": moment(outage["begin"]),
            "end": "" if outage["end"] is None else moment(outage["end"]),
            **{
                name: _text(dict(outage)[name])
                for name in ("side", "stage", "reason", "down_s", "flaps", "how")
            },
        }
        for figure, text in figures.items():
            yield ("outage", str(number), figure, text)


def _way(direction: str) -> str:
    return "to the peer" if direction == "out" else "from the peer"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def moment(at: float) -> str:
    """A time as operators of two countries read it alike."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
