"""`imxctl config`, and its `check`, which needs no router; see `reload` for the other commands."""

from __future__ import annotations

from pathlib import Path

import click

from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, json_option
from imxrouter.config import ConfigError, Problem, load


@click.group()
def config() -> None:
    """Work with configuration files, and with what is in force."""


@config.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def check(context: click.Context, file: Path) -> None:
    """Check a configuration and the files of its domains_dir; name every problem and what to do."""
    shared = context.ensure_object(Context)
    try:
        loaded = load(file)
    except ConfigError as error:
        report(shared, error.problems, ())
        raise click.exceptions.Exit(Exit.CONFIG) from None
    report(shared, (), loaded.warnings)
    if not shared.json:
        served = len(loaded.config.domains)
        click.echo(
            f"{file}: good; {served} domain{'' if served == 1 else 's'} in {len(loaded.files)} file(s)"
        )


def report(shared: Context, problems: tuple[Problem, ...], warnings: tuple[Problem, ...]) -> None:
    """Say what is wrong with files, and what to do about it."""
    if shared.json:
        output.as_json({
            "valid": not problems,
            "problems": [_plain(problem) for problem in problems],
            "warnings": [_plain(warning) for warning in warnings],
        })  # fmt: skip
        return
    for kind, found in (("error", problems), ("warning", warnings)):
        for one in found:
            place = f"{one.file}: {one.path}" if one.path else one.file
            click.echo(f"{kind}: {output.clean(place)}: {output.clean(one.what)}", err=True)
            click.echo(f"       {output.clean(one.do)}", err=True)


def _plain(problem: Problem) -> dict[str, str]:
    return {"file": problem.file, "path": problem.path, "what": problem.what, "do": problem.do}
