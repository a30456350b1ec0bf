"""`imxctl peers`: remote domains, how each is reached, and what is known of one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from imxrouter.admin.client import LinkView, PeerChange, PeerDetailView, PeerView
from imxrouter.cli import output
from imxrouter.cli.options import Context, live
from imxrouter.cli.report import objective_line, outage_line, report


def show_claims(rows: list[LinkView]) -> None:
    """Show each claim on each of these links."""
    flat = [{"link": row["link"], **claim} for row in rows for claim in row["claims"]]
    names = ("link", "theirs", "ours", "direction", "state", "level", "reason")
    output.table(flat, [(name, _cell(name)) for name in names], "no claims")


def _cell(name: str) -> Callable[[Any], str]:
    return lambda row: str(row[name])


def some(names: list[str]) -> str:
    """The first of many names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@click.group(invoke_without_command=True)
@live
def peers(shared: Context) -> None:
    """List remote domains and how each is reached, show one, or clear what is known of one.

    What `retry` clears is that of one process; with several, ask each. `forget` reaches all of a host.
    """
    if click.get_current_context().invoked_subcommand is None:
        _peers(shared)


def _peers(shared: Context) -> None:
    rows = shared.client.peers()
    if shared.json:
        output.as_json(rows)
        return
    columns: list[output.Column] = [
        *((name, _cell(name)) for name in ("domain", "protocol", "state", "policy", "source", "level")),
        ("tls", lambda row: ", ".join(row["tls"])), ("certificate", _certificate),
        ("targets", lambda row: some(row["targets"])), ("links", _cell("links")), ("held", _cell("held")),
        ("last error", _cell("last_error")), ("next try", _next_try),
    ]  # fmt: skip
    output.table(rows, columns, "no peers yet")


def _certificate(row: Any) -> str:
    """Names in a certificate, and until when it holds."""
    if row["certificate_until"] is None:
        return ""
    until = datetime.fromtimestamp(row["certificate_until"], UTC)
    return f"{some(row['certificate'])} until {until:%Y-%m-%d}"


def _next_try(row: PeerView) -> str:
    return f"in {output.duration(row['next_try_s'])}" if row["next_try_s"] is not None else ""


@peers.command()
@click.argument("name", metavar="PEER")
@live
def retry(shared: Context, name: str) -> None:
    """Let the next message be tried at once: end the waits after failures, and ask DNS anew."""
    _cleared(shared, shared.client.peer_retry(name), "nothing was waited for")


@peers.command()
@click.argument("name", metavar="PEER")
@live
def forget(shared: Context, name: str) -> None:
    """Forget the strongest level that a domain was seen at, so that its policy alone decides again."""
    _cleared(shared, shared.client.peer_forget(name), "nothing was remembered")


peers.add_command(report)


def _cleared(shared: Context, view: PeerChange, nothing: str) -> None:
    if shared.json:
        output.as_json(view)
    else:
        what = f"cleared: {', '.join(view['cleared'])}" if view["cleared"] else nothing
        click.echo(output.clean(f"{view['domain']}: {what}"))


@peers.command()
@click.argument("name", metavar="PEER")
@live
def show(shared: Context, name: str) -> None:
    """Show all that is known of a remote domain: state, levels, links, claims, last errors, next try.

    Each process tells of its own links and tries.
    """
    view = shared.client.peer(name)
    if shared.json:
        output.as_json(view)
    else:
        _show(view)


def _of_presence(view: PeerDetailView) -> dict[str, str]:
    """Rows that only a peer with presence has."""
    rows = {}
    if view["presence_choice"]:
        wait = view["presence_next_try_s"]
        again = f"; next try in {output.duration(wait)}" if wait is not None else ""
        rows["presence by"] = f"{view['presence_choice']}{again}"
    if view["subscriptions"]:
        counts = view["subscriptions"].items()
        rows["subscriptions"] = ", ".join(f"{count} by {protocol}" for protocol, count in sorted(counts))
    return rows


def _show(view: PeerDetailView) -> None:
    since = f" for {output.duration(view['state_for_s'])}" if view["state_for_s"] is not None else ""
    cannot = "" if view["acceptable"] else "; no link of ours can meet that"
    until = f" until {_moment(view['remembered_until'])}" if view["remembered_until"] is not None else ""
    first, cap = view["backoff_first_s"], view["backoff_cap_s"]
    waits = f"{view['failures']} failures in a row; waits grow from {first:g} s to {cap:g} s"
    age = f", the oldest for {output.duration(view['held_age_s'])}" if view["held_age_s"] is not None else ""
    due = (
        f"in {output.duration(view['next_try_s'])}"
        if view["next_try_s"] is not None
        else "with the next request"
    )
    mean = f", answered in {view['answered_s'] * 1000:.1f} ms" if view["answered_s"] is not None else ""
    output.pairs({
        "peer": view["domain"], "reached by": view["choice"] or view["protocol"], **_of_presence(view),
        "state": f"{view['state']}{since}",
        "targets": f"{', '.join(view['targets']) or 'none connected'} (from {view['source']})",
        "must prove": f"{view['required']} by {view['required_by']}{cannot}",
        "was seen at": f"{view['remembered']}{until}" if view["remembered"] else "nothing is remembered",
        "next try": due, "back-off": waits,
        "held": f"{view['held']} requests, {view['held_bytes']} bytes{age}",
        "counted": f"{_counts(view['counted'])}{mean}",
        "in flight": f"{view['in_flight']} requests",
        "on its links": f"{view['bytes_in']} bytes in, {view['bytes_out']} out",
    })  # fmt: skip
    columns: list[output.Column] = [
        ("link", lambda row: str(row["link"])), ("state", _cell("state")), ("opened by", _cell("opened_by")),
        ("address", _cell("address")), ("router", _cell("name")), ("tls", _cell("tls")),
        ("certificate", _certificate), ("age", lambda row: output.duration(row["age_s"])),
        ("idle", lambda row: output.duration(row["idle_s"])),
    ]  # fmt: skip
    if any(row["stream"] for row in view["links"]):
        columns[1:1] = [("way", _stream("way"))]
        columns[-2:-2] = [("stanzas in/out", _stanzas), ("pending", _stream("pending"))]
    output.table(view["links"], columns, "no links")
    if view["links"]:
        show_claims(view["links"])
    for measure in view["objectives"]:
        click.echo(output.clean(objective_line(measure)))
    for outage in view["outages"]:
        click.echo(output.clean(f"outage {outage_line(outage)}"))
    for error in view["errors"]:
        note = f" ({error['note']})" if error["note"] else ""
        who = "on our way" if error["direction"] == "ours" else "when it came"
        what = f"{error['reason']} at stage {error['stage']}{note}"
        click.echo(output.clean(f"{_moment(error['at'])} {who}: {what}"))
    if view["errors"]:
        click.echo(f"       {output.clean(view['errors'][0]['remedy'])}")


def _stream(name: str) -> Callable[[Any], str]:
    """What is said of streams of XMPP alone."""
    return lambda row: str(row["stream"][name]) if row["stream"] else ""


def _stanzas(row: Any) -> str:
    return f"{row['stream']['stanzas_in']}/{row['stream']['stanzas_out']}" if row["stream"] else ""


def _counts(counted: dict[str, dict[str, int]] | None) -> str:
    if counted is None:
        return "among others; metrics.watch gives it figures of its own"

    def words(results: dict[str, int]) -> str:
        return ", ".join(f"{count} {word}" for word, count in results.items() if count) or "nothing"

    return f"from it {words(counted['came'])}; to it {words(counted['went'])}"


def _moment(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
