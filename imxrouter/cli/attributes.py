"""`imxctl attributes`: what a user or a domain tells of itself."""

from __future__ import annotations

import click

from imxrouter.admin.client import AttributesView, AttributeView
from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.live import refusal, remedy
from imxrouter.cli.options import Context, live

#: Longer values are cut for people; `--json` has them whole.
_SHOWN: int = 200


@click.command()
@click.argument("owner", metavar="OWNER")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--as", "requester", metavar="REQUESTER", default="",
    help="Who asks: a user of an embedded service, or a domain served here (@DOMAIN). May be left out where "
    "one domain is served.",
)  # fmt: skip
@click.option("--fresh", is_flag=True, help="Ask the owner, whatever is known already.")
@live
def attributes(shared: Context, owner: str, names: tuple[str, ...], requester: str, fresh: bool) -> None:
    """Ask for attributes of a user, or of a domain itself (@DOMAIN), through the running router.

    Without NAME all that the requester may see are shown. What does not exist and what he may not see is left
    out alike. Values are kept as long as their owner says, and then come from the cache.
    """
    view = shared.client.attributes(owner, names, requester, fresh=fresh)
    if shared.json:
        output.as_json(view)
    elif view["status"] == "success":
        _show(view)
    else:
        output.problem(refusal(view), remedy(view))
    if view["status"] != "success":
        raise click.exceptions.Exit(Exit.FAILED)
    if names and not view["values"]:
        raise click.exceptions.Exit(Exit.NOT_FOUND)


def _show(view: AttributesView) -> None:
    columns: list[output.Column] = [
        ("name", lambda row: row["name"]),
        ("value", _value),
        ("may be kept", lambda row: output.duration(row["max_age_s"]) if row["max_age_s"] else "no"),
        ("from", lambda row: "cache" if row["cached"] else view["decided_by"]),
    ]
    output.table(view["values"], columns, f"{output.clean(view['owner'])} tells nothing")
    if view["not_told"]:
        click.echo("not told: " + ", ".join(map(output.clean, view["not_told"])))


def _value(row: AttributeView) -> str:
    text = row["value"] if len(row["value"]) <= _SHOWN else row["value"][:_SHOWN] + " ..."
    return text if row["encoding"] == "text" else f"base64: {text}"
