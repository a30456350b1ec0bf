"""`imxctl policy`: block and allow lists, and what would happen to a request."""

from __future__ import annotations

import getpass
import time
from datetime import UTC, datetime
from typing import Any

import click

from imxrouter.admin.client import AccessListView, ExplainView
from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, live

_KINDS = ("message", "subscribe", "attributes", "presence", "iq-get", "iq-set", "groupchat")


@click.group()
def policy() -> None:
    """Block and allow senders and domains, and explain what is decided."""


def _entry_options(command: Any) -> Any:
    for option in reversed((
        click.option("--in", "inward", is_flag=True, help="What they send to us.  [default: both ways]"),
        click.option("--out", "outward", is_flag=True, help="What we send to them."),
        click.option(
            "--for", "scope", metavar="SCOPE", default="",
            help="For whom of ours: tenant:NAME, a domain served here, or a user's address.  [default: all]",
        ),
        click.option("--reason", default="", help="Why, for people."),
        click.option("--author", default="", help="Who says so.  [default: your login name]"),
        click.option("--until", metavar="DATE", help="A date or time: 2027-06-30, 2027-06-30T12:00:00Z."),
        click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="For so long."),
    )):  # fmt: skip
        command = option(command)
    return command


@policy.command()
@click.argument("match", metavar="WHO")
@_entry_options
@live
def block(shared: Context, match: str, **given: Any) -> None:
    """Block: an address, LOCAL*@domain, a domain, *.domain (below it), .domain (it and all below) or *."""
    _add(shared, "block", match, **given)


@policy.command()
@click.argument("match", metavar="WHO")
@_entry_options
@live
def allow(shared: Context, match: str, **given: Any) -> None:
    """Allow: an exception of a wider block at the same scope, and past first contact. WHO as of block."""
    _add(shared, "allow", match, **given)


def _add(
    shared: Context, action: str, match: str, *, inward: bool, outward: bool, scope: str, reason: str,
    author: str, until: str | None, hours: float | None,
) -> None:  # fmt: skip
    if until and hours:
        raise click.UsageError("give one of --until and --hours")
    direction = "both" if inward is outward else "in" if inward else "out"
    entry: dict[str, Any] = {
        "match": match, "action": action, "direction": direction, "scope": scope, "reason": reason,
        "author": author or _login(),
    }  # fmt: skip
    if until:
        entry["expires_at"] = _moment(until)
    elif hours:
        entry["expires_at"] = int(time.time() + hours * 3600)
    view = shared.client.policy.add(entry)
    _show(shared, view)
    if not shared.json:
        output.unwritten(view)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _moment(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is no date: write 2027-06-30 or 2027-06-30T12:00:00Z") from None
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp())


@policy.command()
@click.argument("which", metavar="ID|WHO")
@live
def unblock(shared: Context, which: str) -> None:
    """Take away what was blocked or allowed at run time, by its id or by WHO; files are changed by hand."""
    _show(shared, shared.client.policy.remove(which))


@policy.command("list")
@click.argument("about", metavar="[ADDRESS|DOMAIN]", default="")
@live
def list_(shared: Context, about: str) -> None:
    """List the entries, or those alone that name an address or a domain."""
    _show(shared, shared.client.policy.entries(about))


@policy.command()
@live
def reload(shared: Context) -> None:
    """Read the files of lists now; they are looked at each second anyway."""
    _show(shared, shared.client.policy.reload())


def _show(shared: Context, view: AccessListView) -> None:
    if shared.json:
        output.as_json(view)
        return
    columns: list[output.Column] = [
        ("id", lambda row: row["id"]), ("action", lambda row: row["action"]),
        ("who", lambda row: row["match"]), ("way", lambda row: row["direction"]),
        ("for", lambda row: row["scope"] or "all"), ("until", lambda row: _at(row["expires_at"])),
        ("by", lambda row: row["author"]), ("reason", lambda row: row["reason"]),
    ]  # fmt: skip
    output.table(view["entries"], columns, "no entries")
    for problem in view["problems"]:
        output.problem(f"a file of lists was not taken: {problem}")


def _at(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


@policy.command()
@click.argument("source", metavar="FROM")
@click.argument("destination", metavar="TO")
@click.option(
    "--kind", type=click.Choice(_KINDS), default="message",
    help="Of what; from `presence` on stanzas of XMPP, which cost their sender less.  [default: message]",
)  # fmt: skip
@click.option("--size", type=click.IntRange(0), default=0, help="Bytes of its body.  [default: 0]")
@live
def explain(shared: Context, source: str, destination: str, kind: str, size: int) -> None:
    """Tell what would happen to a request now, check by check, and which rule decides. Nothing is sent.

    Exits with 1 where it would be refused.
    """
    view = shared.client.policy.explain(source, destination, kind, size)
    if shared.json:
        output.as_json(view)
    else:
        _explained(view)
    if view["verdict"] == "refuse":
        raise click.exceptions.Exit(Exit.FAILED)


def _explained(view: ExplainView) -> None:
    columns: list[output.Column] = [
        ("check", lambda row: row["step"]),
        ("verdict", lambda row: row["verdict"] + (f": {row['reason']}" if row["reason"] else "")),
        ("facts", lambda row: row["text"]),
        ("rule", lambda row: " - ".join(part for part in (row["rule"], row["setting"]) if part)),
    ]
    output.table(view["steps"], columns, "")
    end = {
        "pass": "it passes",
        "wait": "nothing is against it; what waits is seen when it happens",
        "refuse": f"it is refused: {view['reason']} (the sender is told: {view['told']})",
    }
    click.echo(end[view["verdict"]])
