"""`imxctl domains doctor`: what is wrong with a served domain, and what to publish."""

from __future__ import annotations

import click

from imxrouter.admin.client import DoctorView
from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, live


@click.command()
@click.argument("name", metavar="DOMAIN")
@live
def doctor(shared: Context, name: str) -> None:
    """Look at a domain served here as a peer does: records, targets, policy, service.

    Each finding is an error, a warning, a note or good, with its evidence and what to do; below them stands
    what the domain's owner publishes, as lines of a zone file. The exit code is 1 where there is an error.
    """
    view = shared.client.domain_doctor(name)
    if shared.json:
        output.as_json(view)
    else:
        _show(view)
    if view["result"] == "failed":
        raise click.exceptions.Exit(Exit.FAILED)


def _show(view: DoctorView) -> None:
    for finding in view["findings"]:
        reason = f" [{finding['stage']}: {finding['reason']}]" if finding["reason"] else ""
        click.echo(output.clean(f"{finding['severity']:<8} {finding['what']}{reason}"))
        for line in finding["evidence"]:
            click.echo(output.clean(f"           {line}"))
        if finding["remedy"]:
            click.echo(output.clean(f"         > {finding['remedy']}"))
    click.echo(f"\n{view['publish'].rstrip()}\n")
    click.echo(output.clean(f"{view['domain']}: {view['result']}"))
