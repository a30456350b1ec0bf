"""`imxctl trace`: what happened to a message, and who wrote to whom."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from imxrouter.admin.client import VerdictView
from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, live

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
#: Details of which one at least says by what a message came or left.
_ENDS = frozenset({"protocol", "out_protocol", "out_link", "choice"})
#: Details that the verdict tells, or that say nothing to a person.
_TOLD = frozenset({"text", "rule", "setting", "decided_role"})


class Span(click.ParamType[float]):
    """A span of time: `90`, `90s`, `15m`, `2h`."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds; called by click."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value))
        if found is None:
            self.fail(f"{value!r} is no span of time such as 90s, 15m or 2h", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


@click.command()
@click.argument("message_id", metavar="[ID]", required=False)
@click.option("--from", "source", metavar="ADDR|DOMAIN", help="List messages of a user or of a domain.")
@click.option("--to", "destination", metavar="ADDR|DOMAIN", help="List messages to a user or to a domain.")
@click.option("--since", type=Span(), metavar="SPAN", help="Only of the last 90s, 15m, 2h ...")
@live
def trace(
    shared: Context, message_id: str | None, source: str | None, destination: str | None, since: float | None
) -> None:
    """Show what happened to a message, or list messages by sender and recipient.

    ID is that of the message, or the id of the stanza that it came or went as.

    With an ID: every step that the router saw, which check decided and which entry of the configuration it
    read, and what the other side answered. With --from, --to or both: the messages, one a line. The router
    keeps steps for a short while (log.trace_age_s), and notes in its log who reads them.
    """
    listing = bool(source or destination)
    if bool(message_id) == listing or (since is not None and not listing):
        raise click.UsageError("give the id of a message, or --from, --to or both")
    if listing:
        _list(shared, source or "", destination or "", since)
    else:
        _show(shared, message_id or "")


def _show(shared: Context, message_id: str) -> None:
    view = shared.client.trace(message_id)
    if shared.json:
        output.as_json(view)
        return
    if view["steps"]:
        start = view["steps"][0]["at"]
        click.echo(f"first seen {_moment(start)}")
        columns: list[output.Column] = [
            ("after", lambda row: f"{(row['at'] - start) * 1000:.1f} ms"),
            ("event", lambda row: row["event"]),
            ("details", lambda row: _details(row["fields"])),
        ]
        output.table(view["steps"], columns, "")
    way = _way(view["steps"])
    if way:
        output.pairs(way)
    verdict = view["verdict"]
    if verdict is not None:
        _judge(verdict)
    else:
        click.echo(f"state: {view['state']}")
    for gap in view["gaps"]:
        click.echo(output.clean(f"note: {gap}"))


def _details(fields: Mapping[str, Any]) -> str:
    text = str(fields.get("text", ""))
    rest = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _TOLD)
    return " ".join(filter(None, (text, rest and text and "-", rest)))


def _way(steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """By what the message came and left, and what said that it arrived, as far as its steps say."""
    said: dict[str, Any] = {}
    for step in steps:
        fields = step["fields"]
        if step["event"] == "sent":  # its link is the one that it left by
            names = ("link", "protocol", "service")
            fields = {f"out_{name}": fields[name] for name in names if name in fields} | {
                "choice": fields.get("choice", "")
            }
        if _ENDS & fields.keys():
            said |= fields
    lines = {
        "came": _end(said, "") if said.get("link") else "",
        "stanza id": said.get("origin", ""), "route": said.get("choice", ""),
        "left": _end(said, "out_") if said.get("out_link") else "", "arrival": said.get("confirmed", ""),
    }  # fmt: skip
    return {name: text for name, text in lines.items() if text}


def _end(said: Mapping[str, Any], side: str) -> str:
    """One end of the way: `xmpp over link 7 (service chat), proved: certificate`."""
    protocol, service = said.get(f"{side}protocol"), said.get(f"{side}service")
    if not protocol:
        return f"in this process{f', service {service}' if service else ''}"
    who = " ".join(filter(None, (said.get(f"{side}role") or ("service" if service else "peer"), service)))
    words = f"{protocol} over link {said[f'{side}link']} ({who})"
    level = said.get(f"{side}level")
    return f"{words}, proved: {level}" if level else words


def _judge(verdict: VerdictView) -> None:
    by = f"{verdict['decided_by']} ({verdict['decided_role']})" if verdict["decided_by"] else _ROLES.get(
        verdict["decided_role"], verdict["decided_role"]
    )  # fmt: skip
    at = f"{verdict['stage']}{output.towards(verdict)}"
    why = f": {verdict['reason']} at stage {at}" if verdict["reason"] else ""
    note = f" ({verdict['note']})" if verdict["note"] else ""
    again = f"; try again after {verdict['retry_after_s']} s" if verdict["retry_after_s"] else ""
    lines = {
        "result": f"{verdict['status']}{why}{note}, decided by {by}{again}",
        "rule": verdict["rule"], "setting": verdict["setting"], "answer": verdict["answer"],
        "do": verdict["remedy"],
    }  # fmt: skip
    output.pairs({name: text for name, text in lines.items() if text})


_ROLES = {"router": "this router", "uplink": "our uplink"}


def _list(shared: Context, source: str, destination: str, since_s: float | None) -> None:
    view = shared.client.traces(source, destination, since_s)
    if shared.json:
        output.as_json(view)
        return
    if view["left_out"]:
        click.echo(f"... {view['left_out']} older messages are left out")
    columns: list[output.Column] = [
        ("first seen", lambda row: _moment(row["at"])),
        ("id", lambda row: row["id"]),
        ("from", lambda row: row["source"]),
        ("to", lambda row: row["destination"]),
        ("kind", lambda row: row["kind"]),
        ("by", _by),
        ("stanza id", lambda row: row["origin"]),
        ("result", lambda row: row["status"] or f"({row['last']})"),
        ("reason", lambda row: f"{row['stage']}: {row['reason']}" if row["reason"] else ""),
    ]
    output.table(view["messages"], columns, "no such message is traced")
    for note in view["notes"]:
        click.echo(output.clean(f"note: {note}"))
    if not view["messages"]:
        raise click.exceptions.Exit(Exit.NOT_FOUND)


def _by(row: Mapping[str, Any]) -> str:
    """`xmpp to imx`; an end in this process has no protocol."""
    came, left = row["protocol"], row["out_protocol"]
    return f"{came or 'here'} to {left or 'here'}" if came or left else ""


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
