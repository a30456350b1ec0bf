"""How answers are shown: tables and lines for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Heading and how a cell is made of a row.
Column = tuple[str, Callable[[Any], str]]

#: Wide enough for any row; trailing spaces are not written.
_PIPE_COLUMNS = 500


def as_json(value: Any) -> None:
    """Write JSON: indented on a terminal, one line elsewhere."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(value, ensure_ascii=False, indent=indent))


def table(rows: Sequence[Any], columns: Sequence[Column], empty: str) -> None:
    """Write a table; `empty` where there is no row. Cells are shown as they are, never as markup."""
    if not rows:
        click.echo(empty)
        return
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for heading, _ in columns:
        shown.add_column(heading, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(clean(cell(row))) for _, cell in columns))
    _console().print(shown)


def pairs(values: Mapping[str, Any]) -> None:
    """Write names and values, one pair a line."""
    width = max(len(name) for name in values)
    for name, value in values.items():
        click.echo(f"{name:<{width}}  {clean(str(value))}")


def clean(text: str) -> str:
    """Show control characters as escapes: what peers chose must not steer a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def duration(seconds: float | None) -> str:
    """Say a duration in its largest two units: `1h 2m`, `5.0s`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days}d {hours % 24}h"
    return f"{hours}h {minutes % 60}m" if hours else f"{minutes}m {int(seconds % 60)}s"


def advice(words: Mapping[str, Any]) -> str:
    """Whether and when to try again, to be put behind a reason."""
    if words["retry"] == "never":
        return "; trying again will not help"
    after = words.get("retry_after_s", 0)
    return f"; try again after {after} s" if after else "; try again later"


def towards(words: Mapping[str, Any]) -> str:
    """Which domain could not be reached, where this router says so, to be put behind a stage (FCC-3)."""
    return f" towards {words['failed_at']}" if words["failed_at"] and not words["decided_by"] else ""


def problem(what: str, do: str = "") -> None:
    """Write an error to standard error, with what to do about it."""
    click.echo(f"error: {clean(what)}", err=True)
    if do:
        click.echo(f"       {clean(do)}", err=True)


def unwritten(view: Mapping[str, Any]) -> None:
    """Say of a change that it is not on the disk, where it is not (`kept`)."""
    if not view["kept"]:
        click.echo("  not written yet: a restart would lose it; imxctl status says why (store)", err=True)


def _console() -> Console:
    if sys.stdout.isatty():
        return Console(file=sys.stdout, highlight=False)
    # A pipe has no width; a line must not be folded for one.
    return Console(file=sys.stdout, highlight=False, width=_PIPE_COLUMNS)
