"""`imxctl dns`: what DNS says of a domain, and what to publish for one."""

from __future__ import annotations

from typing import get_args

import click

from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, live
from imxrouter.model.resolvers import ResolverName


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


@dns.command()
@click.option(
    "--for", "resolver", type=click.Choice(get_args(ResolverName)), default="unbound", show_default=True,
    help="The resolver; `rpz`: a response policy zone, as BIND has it.",
)  # fmt: skip
@click.option("--service", metavar="NAME", default="", help="Whose server, where several are behind us.")
@click.option(
    "--pass", "passes", metavar="DOMAIN", multiple=True,
    help="A domain that is answered as published, with all below it; may stand several times.",
)  # fmt: skip
@click.option(
    "--upstream", "upstreams", metavar="ADDRESS[:PORT]", multiple=True,
    help="Who knows what is published; may stand several times.  [default: dns.nameservers]",
)  # fmt: skip
@click.option("--listen", metavar="ADDRESS", default="", help="Where it answers.  [default: 127.0.0.54]")
@live
def inside(
    shared: Context,
    resolver: str,
    service: str,
    passes: tuple[str, ...],
    upstreams: tuple[str, ...],
    listen: str,
) -> None:
    """Print a resolver's file that leads an XMPP server's outside domains to the router."""
    view = shared.client.dns_inside(resolver, service, passes, upstreams, listen)
    if shared.json:
        output.as_json(view)
    else:
        click.echo(view["text"], nl=False)
