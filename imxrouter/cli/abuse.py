"""`imxctl abuse`: report who abuses to his domain, and see what was reported."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from imxrouter.admin.client import AbuseReportView
from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, live

_KINDS = click.Choice(["spam", "fraud", "malware", "threat", "other"])


@click.group()
def abuse() -> None:
    """Report abuse to the sender's domain, and list reports."""


@abuse.command()
@click.argument("source", metavar="FROM")
@click.option("--to", "destination", required=True, metavar="USER", help="The user of ours who got it.")
@click.option("--kind", type=_KINDS, default="other", help="What is wrong with it.  [default: other]")
@click.option("--id", "message_id", default="", metavar="ID", help="Of the message, in hexadecimal.")
@click.option("--at", type=click.IntRange(0), help="When it came, in seconds since 1970.  [default: now]")
@click.option("--text", default="", help="Words for people; the message itself only if you choose so.")
@live
def report(
    shared: Context, source: str, destination: str, kind: str, message_id: str, at: int | None, text: str
) -> None:
    """Report a sender to his domain, in the name of the recipient's domain.

    Where his domain's router takes no reports, its abuse contact gets a message, or is shown here.
    """
    body: dict[str, Any] = {
        "from": source, "to": destination, "kind": kind, "message_id": message_id, "text": text
    }  # fmt: skip
    if at is not None:
        body["message_at"] = at
    view = shared.client.policy.report(body)
    if shared.json:
        output.as_json(view)
    elif view["status"] == "success":
        click.echo(output.clean(f"{_domain(view)} has taken the report"))
    else:
        do = f"write to {view['contact']}" if view["contact"] else "see imxctl policy block for what is yours"
        output.problem(f"{_domain(view)} did not take it: {view['reason']}", do)
    if view["status"] != "success":
        raise click.exceptions.Exit(Exit.FAILED)


def _domain(view: AbuseReportView) -> str:
    return view["source"].rpartition("@")[2]


@abuse.command("list")
@click.argument("about", metavar="[ADDRESS|DOMAIN]", default="")
@click.option("--text", "whole", is_flag=True, help="With the words of the reporters.")
@live
def list_(shared: Context, about: str, whole: bool) -> None:
    """List reports, received and sent, the newest first; of one sender or his domain alone where named."""
    views = shared.client.policy.reports(about)
    if shared.json:
        output.as_json(views)
        return
    columns: list[output.Column] = [
        ("at", lambda row: datetime.fromtimestamp(row["at"], UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("way", lambda row: row["direction"]), ("what", lambda row: row["kind"]),
        ("who", lambda row: row["source"]), ("to", lambda row: row["destination"]),
        ("by", lambda row: row["by"]), ("message", lambda row: row["message_id"]),
        ("answer", lambda row: row["reason"] or row["status"]),
    ]  # fmt: skip
    if whole:
        columns.append(("text", lambda row: row["text"]))
    output.table(views, columns, "no reports")
