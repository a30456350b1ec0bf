"""Commands that ask a running router."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from imxrouter.admin.client import MessageView, OutcomeView, StoreView
from imxrouter.cli import output
from imxrouter.cli.drain import words
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, live
from imxrouter.cli.peers import show_claims, some


@click.command()
@live
def status(shared: Context) -> None:
    """Show how the router is."""
    view = shared.client.status()
    if shared.json:
        output.as_json(view)
        return
    ready = "ready" if view["ready"] else f"not ready: {view['why']}"
    output.pairs({
        "router": f"{view['name']} ({view['role']}, process {view['process']}, version {view['version']})",
        "state": f"{view['state']}, {ready}",
        "up": output.duration(view["uptime_s"]),
        "listening": ", ".join(view["listening"]),
        "domains": view["domains"],
        "links": view["links"],
        "requests": ", ".join([
            f"{view['in_flight']} in flight", f"{view['held']} held",
            *(f"{count} {name}" for name, count in view["counters"].items()),
        ]),
        "drain": words(view["drain"]),
        "state file": _store(view["store"]),
        "overload": f"{view['overload']['what']} ({view['overload']['lag_ms']:g} ms late, "
        f"{view['overload']['unwritten_bytes']} bytes unwritten, {view['overload']['times']} times so far)",
    })  # fmt: skip


def _store(view: StoreView) -> str:
    """One line; what is wrong comes first."""
    parts = [f"{view['entries']} entries", f"{view['size_bytes']} bytes"]
    if view["problem"] != "none":
        parts.insert(0, f"not written ({view['problem']}): {view['detail']}")
        parts.append(f"{view['waiting']} changes wait")
    if view["last_write_at"] is not None:
        at = datetime.fromtimestamp(view["last_write_at"], UTC)
        parts.append(f"last written {at:%Y-%m-%d %H:%M:%S} UTC")
    if view["refused"]:
        parts.append(f"{view['refused']} refused")
    return f"{view['path']}: {', '.join(parts)}"


@click.command()
@click.option("--claims", is_flag=True, help="Show each claim on each link.")
@click.option(
    "--streams", is_flag=True, help="Show streams of XMPP alone: parties, proof, stanzas, what is pending."
)
@live
def links(shared: Context, claims: bool, streams: bool) -> None:
    """List connections to other routers and services, streams of XMPP with servers behind this one too.

    With --streams: of each stream whether it is of the outside or the inside and who opened it (`out`, `in`),
    the domains of its header, how many pairs of domains are proved on it and how, stanzas each way, and how
    many of ours are not confirmed yet.
    """
    rows = shared.client.links()
    if streams:
        rows = [row for row in rows if row["stream"] is not None]
    if shared.json:
        output.as_json(rows)
    elif streams and not claims:
        output.table(rows, _STREAM_COLUMNS, "no streams")
    elif claims:
        show_claims(rows)
    else:
        output.table(rows, _LINK_COLUMNS, "no links")


def _pairs(row: Any) -> str:
    """How many pairs of domains are proved, each way, and how."""
    proved = [claim for claim in row["claims"] if claim["state"] == "proved"]
    how = sorted({claim["level"] for claim in proved if claim["level"]})
    return f"{len(proved)}{f' ({chr(44).join(how)})' if how else ''}"


_STREAM_COLUMNS: list[output.Column] = [
    ("link", lambda row: str(row["link"])),
    ("way", lambda row: row["stream"]["way"]),
    ("ours", lambda row: row["stream"]["ours"]),
    ("theirs", lambda row: row["stream"]["theirs"]),
    ("service", lambda row: row["stream"]["service"]),
    ("address", lambda row: row["address"]),
    ("state", lambda row: row["state"]),
    ("pairs", _pairs),
    ("tls", lambda row: str(row["tls"])),
    ("stanzas in/out", lambda row: f"{row['stream']['stanzas_in']}/{row['stream']['stanzas_out']}"),
    ("pending", lambda row: f"{row['stream']['pending']} (by {row['stream']['confirmed_by']})"),
    ("age", lambda row: output.duration(row["age_s"])),
    ("idle", lambda row: output.duration(row["idle_s"])),
]
_LINK_COLUMNS: list[output.Column] = [
    ("link", lambda row: str(row["link"])),
    ("protocol", lambda row: row["protocol"]),
    ("role", lambda row: f"{row['role']} ({row['stream']['way']})" if row["stream"] else row["role"]),
    ("state", lambda row: row["state"]),
    ("opened by", lambda row: row["opened_by"]),
    ("address", lambda row: row["address"]),
    ("router", lambda row: row["name"]),
    ("domains", lambda row: some(row["domains"])),
    ("in flight", lambda row: str(row["in_flight"])),
    ("tls", lambda row: str(row["tls"])),
    ("in/out bytes", lambda row: f"{row['bytes_in']}/{row['bytes_out']}"),
    ("age", lambda row: output.duration(row["age_s"])),
    ("idle", lambda row: output.duration(row["idle_s"])),
]


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("destination", metavar="TO")
@click.argument("text", metavar="TEXT")
@click.option(
    "--html", is_flag=True, help="TEXT is text/html-lite; what that type does not allow is taken out."
)
@live
def send(shared: Context, source: str, destination: str, text: str, html: bool) -> None:
    """Send a message from a user of an embedded service, and wait for its outcome."""
    view = shared.client.send(source, destination, text, html=html)
    if shared.json:
        output.as_json(view)
    elif view["status"] == "success":
        by = view["decided_by"] or "this router"
        click.echo(f"delivered to {output.clean(by)} in {view['seconds'] * 1000:.1f} ms (id {view['id']})")
        if view["left"] is not None:
            click.echo(_rate_warning(view["left"]))
    else:
        output.problem(refusal(view), remedy(view))
        click.echo(f"       its steps: imxctl trace {view['id']}", err=True)
    if view["status"] != "success":
        raise click.exceptions.Exit(Exit.FAILED)


def _rate_warning(left: int) -> str:
    """A sender is near the limit of his rate (docs/operators/limits.md)."""
    more = "no more message" if not left else "one more message" if left == 1 else f"{left} more messages"
    return f"near the rate limit: {more} may go at once"


def refusal(view: OutcomeView) -> str:
    """What was not done: reason, stage, who decided, and whether to try again."""
    words = f"{view['status']}: {view['reason']} at stage {view['stage']}{output.towards(view)}"
    return f"{words}, decided by {_hop(view)}{_advice(view)}"


def remedy(view: OutcomeView) -> str:
    """What to do about it, and the operator's detail."""
    return view["remedy"] + (f" ({view['note']})" if view["note"] else "")


def _hop(view: OutcomeView) -> str:
    """Who decided, in words."""
    role = view["decided_role"]
    nobody = {"router": "this router", "uplink": "our uplink"}.get(role, role)
    return f"{view['decided_by']} ({role})" if view["decided_by"] else nobody


def _advice(view: OutcomeView) -> str:
    if view["status"] == "indeterminant":
        return "; it may or may not have been delivered"
    return output.advice(view)


@click.command()
@click.argument("user", metavar="USER")
@click.option("--count", type=click.IntRange(1), help="Leave after this many messages.")
@live
def watch(shared: Context, user: str, count: int | None) -> None:
    """Show messages to a user of an embedded service as they come, until interrupted."""
    for number, message in enumerate(shared.client.watch(user), 1):
        if shared.json:
            output.as_json(message)
        else:
            _message(message)
        if number == count:
            return


def _message(message: MessageView) -> None:
    if lost := message.get("dropped"):
        click.echo(f"... {lost} messages were too many to show")
    at = datetime.fromtimestamp(message["at"], UTC).astimezone().strftime("%H:%M:%S")
    click.echo(f"{at} {output.clean(message['source'])}: {output.clean(message['text'])}")
