"""`imxctl limits`: what is limited, how far it is used, and who was refused."""

from __future__ import annotations

import click

from imxrouter.admin.client import LimitView
from imxrouter.cli import output
from imxrouter.cli.options import Context, live


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--refused", is_flag=True, help="Only those that refused something.")
@live
def limits(shared: Context, name: str | None, refused: bool) -> None:
    """List the limits: value, use, refusals and who was refused most; NAME: all about one of them."""
    rows = shared.client.limits()
    if name is not None:
        rows = [row for row in rows if row["name"] == name]
        if not rows:
            raise click.BadParameter(
                f"no limit is called {name!r}; imxctl limits lists them", param_hint="NAME"
            )
    if refused:
        rows = [row for row in rows if row["refused"]]
    if shared.json:
        output.as_json(rows)
    elif name is not None:
        _all_of(rows[0] if rows else None)
    else:
        output.table(rows, _COLUMNS, "nothing was refused")


def _all_of(row: LimitView | None) -> None:
    if row is None:
        click.echo("nothing was refused")
        return
    counted = "" if row["by_name"] else f" (all that are answered {row['answer']})"
    output.pairs({
        "limit": row["name"],
        "of": row["what"],
        "set by": "; ".join(f"{key} = {value}" for key, value in row["settings"].items()) or row["fixed"],
        "also set by": ", ".join(row["more_keys"]),
        "answered": row["answer"],
        "used": _used(row),
        "refused": f"{row['refused']}{counted}",
        "most of": ", ".join(f"{one['who']} ({one['refused']})" for one in row["worst"]),
    })  # fmt: skip


def _used(row: LimitView) -> str:
    used, whole = row["used"], row["of"]
    if used is None or whole is None:
        return ""
    text = f"{used:.0%}" if whole == 1 else f"{used:g} of {whole:g}"
    return f"{text} ({row['by']})" if row["by"] else text


def _value(row: LimitView) -> str:
    return ", ".join(row["settings"].values()) or row["fixed"] or "none"


def _worst(row: LimitView) -> str:
    return f"{row['worst'][0]['who']} ({row['worst'][0]['refused']})" if row["worst"] else ""


_COLUMNS: list[output.Column] = [
    ("limit", lambda row: row["name"]),
    ("value", _value),
    ("used", _used),
    ("refused", lambda row: str(row["refused"])),
    ("most of", _worst),
    ("answered", lambda row: row["answer"]),
]
