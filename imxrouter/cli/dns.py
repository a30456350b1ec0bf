"""`imxctl dns`: what DNS says of a domain, and what to publish for one."""

from __future__ import annotations

import click

from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, live


@click.group()
def dns() -> None:
    """Look domains up, and print the records to publish."""


@dns.command()
@click.argument("domain", metavar="DOMAIN")
@live
def lookup(shared: Context, domain: str) -> None:
    """Look a domain up as the router does for a message to it."""
    view = shared.client.dns_lookup(domain)
    if shared.json:
        output.as_json(view)
    else:
        for step in view["steps"]:
            click.echo(output.clean(step))
        columns: list[output.Column] = [
            ("priority", lambda row: str(row["priority"])),
            ("target", lambda row: f"{row['host']}:{row['port']}"),
            ("addresses", lambda row: ", ".join(row["addresses"])),
            (
                "parameters",
                lambda row: " ".join(f"{name}={value}" for name, value in row["parameters"].items()),
            ),
        ]
        output.table(view["targets"], columns, "no target")
        if view["result"] != "found":
            output.problem(
                f"{view['reason']} at stage {view['stage']}", "docs/reference/reasons.md says what to do"
            )
    if view["result"] != "found":
        raise click.exceptions.Exit(Exit.FAILED)


@dns.command()
@click.argument("domain", metavar="DOMAIN")
@live
def records(shared: Context, domain: str) -> None:
    """Print what to publish for a domain, in all three forms, as lines of a zone file."""
    view = shared.client.dns_records(domain)
    if shared.json:
        output.as_json(view)
    else:
        click.echo(view["zone"], nl=not view["zone"].endswith("\n"))
        if not view["served"]:
            click.echo(f"note: {output.clean(view['domain'])} is not served here", err=True)
