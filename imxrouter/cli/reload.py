"""`imxctl config reload`, `show` and `diff`: what is in force, what the files say, and what lies between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from imxrouter.admin.client import ReloadView, SettingView
from imxrouter.cli import output
from imxrouter.cli.configs import report
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, json_option, live
from imxrouter.config import Config, ConfigError, Problem, load
from imxrouter.config.diff import diff as differences

#: Exit codes by result.
_EXITS = {"applied": Exit.OK, "unchanged": Exit.OK, "refused": Exit.CONFIG, "failed": Exit.FAILED}

#: What stands before a line.
_MARKS = {"added": "+", "removed": "-", "changed": "~"}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and to which links.")
@live
def reload(shared: Context, dry_run: bool) -> None:
    """Let the router read its files again and apply what is new, in all its processes.

    Links that no change concerns stay open. Where a file is wrong, or a part or a process cannot take it,
    nothing is changed.
    """
    view = shared.client.config_reload(dry_run=dry_run)
    if shared.json:
        output.as_json(view)
    else:
        _show(view)
    code = _EXITS[view["result"]]
    if any(process["result"] in {"refused", "failed"} for process in view["processes"]):
        code = code or Exit.FAILED
    if code is not Exit.OK:
        raise click.exceptions.Exit(code)


def _show(view: ReloadView) -> None:
    problems = [Problem(**one) for one in view["problems"]]
    warnings = [Problem(**one) for one in view["warnings"]]
    report(Context(), tuple(problems), tuple(warnings))
    if problems:
        click.echo(f"{view['result']}: nothing was changed")
        return
    _changes(view["changes"])
    for note in view["notes"]:
        click.echo(f"  {output.clean(note)}")
    if any(view["domains"].values()):
        click.echo("domains: " + ", ".join(f"{count} {word}" for word, count in view["domains"].items()))
    click.echo(f"links concerned: {len(view['links'])}, of all others none is touched")
    for link in view["links"]:
        click.echo(f"  link {link['link']} ({link['address']}): {output.clean(link['what'])}")
    for process in view["processes"] if len(view["processes"]) > 1 else ():
        why = f": {output.clean(process['why'])}" if process["why"] else ""
        click.echo(f"process {process['process']}: {process['result']}{why}")
    click.echo(_summary(view))


def _summary(view: ReloadView) -> str:
    waits = [one for one in view["changes"] if one["applies"] == "at a restart"]
    count = len(view["changes"]) - len(waits)
    if view["dry_run"]:
        text = f"a reload would apply {count} change(s)" if count else "a reload would change nothing"
    else:
        text = f"applied: {count} change(s)" if view["result"] == "applied" else "unchanged"
    return text + (f"; {len(waits)} wait for a restart" if waits else "")


def _changes(changes: Iterable[Any]) -> None:
    for one in changes:
        table = f"[[{one['table']}]] {one['entry']}" if one["entry"] else one["table"]
        mark = _MARKS[one["action"]]
        if one["action"] == "changed":
            place = f"{table}: {one['key']}" if one["entry"] else f"{table}.{one['key']}".lstrip(".")
            before, after = one["before"] or "-", one["after"] or "-"
            text = f"{mark} {place}: {before} -> {after}"
        else:
            text = f"{mark} {table}"
        click.echo(output.clean(f"{text}  ({one['applies']})"))


@click.command()
@click.argument("table", required=False, default="")
@live
def show(shared: Context, table: str) -> None:
    """Show the configuration in force: each key, and whether it is a default or from where.

    TABLE shows one table alone, such as `links` or `domain`.
    """
    view = shared.client.config()
    wanted = [one for one in view["settings"] if not table or f"{one['table']}.".startswith(f"{table}.")]
    if shared.json:
        output.as_json({**view, "settings": wanted})
        return
    if table and not wanted:
        output.problem(f"there is no table {table}, or nothing in it", "see imxctl config show")
        raise click.exceptions.Exit(Exit.NOT_FOUND)
    if view["file"]:
        click.echo(f"# {output.clean(view['file'])}")
    _settings(wanted)
    listed = len({one["entry"] for one in view["settings"] if one["table"] == "domain"})
    if not table and listed < view["domains"]:
        click.echo(f"\n# and {view['domains'] - listed} more domains: imxctl domains")


def _settings(settings: Sequence[SettingView]) -> None:
    place = ("", "")
    for one in settings:
        here = (one["table"], one["entry"])
        if here != place:
            place = here
            click.echo(f"\n[[{one['table']}]]" if one["entry"] else f"\n[{one['table']}]")
        text = f"{one['key']} = {one['value']}" if one["value"] else f"# {one['key']} is not set"
        more = ", another value waits for a restart" if one["waits"] else ""
        click.echo(output.clean(f"{text}  # {one['source']}{more}" if one["value"] else text))


@click.command()
@click.argument("old", metavar="OLD", type=click.Path(path_type=Path))
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def diff(context: click.Context, old: Path, new: Path) -> None:
    """Compare two configurations, key by key; needs no router."""
    shared = context.ensure_object(Context)
    before, after = (_loaded(shared, file) for file in (old, new))
    rows = [
        {
            "table": one.table, "entry": one.entry, "key": one.key, "action": one.action,
            "before": one.before, "after": one.after, "applies": one.applies.value,
        }
        for one in differences(before, after)
    ]  # fmt: skip
    if shared.json:
        output.as_json(rows)
        return
    _changes(rows)
    if not rows:
        click.echo("no difference")


def _loaded(shared: Context, file: Path) -> Config:
    try:
        return load(file).config
    except ConfigError as error:
        report(shared, error.problems, ())
        raise click.exceptions.Exit(Exit.CONFIG) from None
