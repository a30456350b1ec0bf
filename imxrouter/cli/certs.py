"""`imxctl certs`: the router's own certificates."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from imxrouter.admin.client import CertsReload, CertsView
from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, live
from imxrouter.cli.peers import some

#: So many are shown; a private authority may cause one for each certificate.
_WARNINGS = 10


@click.group(invoke_without_command=True)
@live
def certs(shared: Context) -> None:
    """List the router's certificates, or have it read their folder again."""
    if click.get_current_context().invoked_subcommand is None:
        _list(shared)


@certs.command("list")
@live
def list_command(shared: Context) -> None:
    """List the router's certificates, and domains that have none."""
    _list(shared)


@certs.command("reload")
@live
def reload_command(shared: Context) -> None:
    """Read the folder again: a set without a fault takes the place of the old one at once.

    With any fault the old set stays, and every fault is told. Every process of the host does it (`workers`),
    and is named where there are several.
    """
    view = shared.client.certs_reload()
    if shared.json:
        output.as_json(view)
    else:
        _told(view)
    if any(one["result"] in {"refused", "failed"} for one in (view, *view["processes"])):
        raise click.exceptions.Exit(Exit.FAILED)


def _told(view: CertsReload) -> None:
    certificates = "1 certificate" if view["count"] == 1 else f"{view['count']} certificates"
    if view["result"] == "refused":
        output.problem(f"nothing is taken; {certificates} as before")
        for problem in view["problems"]:
            click.echo(f"  {output.clean(problem)}", err=True)
    else:
        click.echo(f"{view['result']}: {certificates}")
    for word in ("added", "renewed", "removed"):
        for file in view[word]:
            click.echo(f"  {word}  {output.clean(file)}")
    _warn(view["warnings"])
    for process in view["processes"] if len(view["processes"]) > 1 else ():
        why = f": {output.clean(process['why'])}" if process["why"] else ""
        click.echo(f"process {process['process']}: {process['result']}{why}")


def _list(shared: Context) -> None:
    view = shared.client.certs()
    if shared.json:
        output.as_json(view)
        return
    columns: list[output.Column] = [
        ("file", lambda row: row["file"] + (" (default)" if row["file"] == view["default"] else "")),
        ("names", lambda row: some(row["names"])),
        ("shown for", lambda row: some(row["domains"])),
        ("ends", lambda row: _end(row["not_after"])),
        ("issuer", lambda row: row["issuer"]),
    ]
    where = f" in {view['folder']}" if view["folder"] else ": tls.certificates is not set"
    output.table(view["certificates"], columns, f"no certificate{where}")
    _missing(view)
    for problem in view["problems"]:
        click.echo(f"not taken: {output.clean(problem)}")
    _warn(view["warnings"])


def _missing(view: CertsView) -> None:
    if view["without_count"]:
        rest = view["without_count"] - len(view["without"])
        more = f" and {rest} more" if rest else ""
        click.echo(f"without a certificate: {output.clean(', '.join(view['without']))}{more}")


def _warn(warnings: list[str]) -> None:
    for warning in warnings[:_WARNINGS]:
        click.echo(f"warning: {output.clean(warning)}")
    if len(warnings) > _WARNINGS:
        click.echo(f"... {len(warnings) - _WARNINGS} more warnings: imxctl certs --json")


def _end(at: float) -> str:
    left = at - time.time()
    when = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
    return f"{when} ({'in ' + output.duration(left) if left > 0 else 'ended'})"
