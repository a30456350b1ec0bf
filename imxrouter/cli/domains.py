"""`imxctl domains`: the domains served here."""

from __future__ import annotations

from typing import Any

import click

from imxrouter.admin.client import DomainDiff, DomainView
from imxrouter.cli import output
from imxrouter.cli.options import Context, live


@click.group(invoke_without_command=True)
@live
def domains(shared: Context) -> None:
    """List the domains served here, or change them while the router runs.

    What is changed here holds for all processes of the router and over its restarts, until its file says
    something new of that domain.
    """
    if click.get_current_context().invoked_subcommand is None:
        _list(shared)


@domains.command("list")
@live
def list_command(shared: Context) -> None:
    """List the domains served here."""
    _list(shared)


def _service(row: DomainView) -> str:
    down = row["state"] == "active" and not row["up"]
    return row["service"] + (" (down)" if down else "")


def _list(shared: Context) -> None:
    rows = shared.client.domains()
    if shared.json:
        output.as_json(rows)
        return
    columns: list[output.Column] = [
        ("domain", lambda row: row["name"]),
        ("state", lambda row: row["state"]),
        ("service", _service),
        ("policy", lambda row: row["policy"]),
        ("tenant", lambda row: row["tenant"]),
        ("aliases", lambda row: ", ".join(row["aliases"])),
        ("", lambda row: "" if row["as_in_file"] else "changed at run time"),
    ]
    output.table(rows, columns, "no domain is served")


@domains.command()
@click.argument("name", metavar="DOMAIN")
@click.option("--service", required=True, help="The [[service]] that answers for it.")
@click.option(
    "--alias", "aliases", multiple=True, help="Another domain with the same users; may be repeated."
)
@click.option("--tenant", help="Whose it is.")
@click.option("--policy", help="What peers must prove at least.")
@live
def add(
    shared: Context, name: str, service: str, aliases: tuple[str, ...], tenant: str | None, policy: str | None
) -> None:
    """Serve one more domain."""
    given: dict[str, Any] = {"aliases": list(aliases), "tenant": tenant, "policy": policy}
    chosen = {key: value for key, value in given.items() if value}
    _diff(shared, shared.client.domain_add({"name": name, "service": service, **chosen}))


@domains.command()
@click.argument("name", metavar="DOMAIN")
@click.option("--service", help="The [[service]] that answers for it.")
@click.option(
    "--alias", "aliases", multiple=True, help="Another domain with the same users, in place of those it has; "
    "may be repeated.",
)  # fmt: skip
@click.option("--no-aliases", is_flag=True, help="No other domain has the same users.")
@click.option("--tenant", help="Whose it is.")
@click.option("--policy", help="What peers must prove at least.")
@click.option("--no-policy", is_flag=True, help="What [trust] says is enough.")
@click.option(
    "--protocol", "protocols", multiple=True, type=click.Choice(["imx", "xmpp"]),
    help="A protocol by which others reach it, in place of those it has; may be repeated.",
)  # fmt: skip
@click.option("--max-message-bytes", type=click.IntRange(0), help="Largest body; 0: as in [limits].")
@click.option(
    "--subscription-lifetime", "subscription_lifetime_s", type=click.IntRange(60), metavar="SECONDS",
    help="The longest that a subscription to its users is granted.",
)  # fmt: skip
@click.option("--abuse-contact", help="URI to which abuse is reported; empty: none.")
@click.option(
    "--content-type", "content_types", multiple=True,
    help="What its users read, in place of what is told now; may be repeated.",
)  # fmt: skip
@click.option(
    "--attribute", "attributes", multiple=True, metavar="KEY=TEXT",
    help="An attribute of its own, in place of those it has; may be repeated.",
)  # fmt: skip
@click.option(
    "--hide", "hidden_attributes", multiple=True, metavar="KEY", help="An attribute that only domains served "
    "here are told, in place of those hidden now; may be repeated.",
)  # fmt: skip
@live
def change(
    shared: Context, name: str, aliases: tuple[str, ...], no_aliases: bool, no_policy: bool, **given: Any
) -> None:
    """Change what a domain has of its own; what is not named stays as it is."""
    changes: dict[str, Any] = {key: value for key, value in given.items() if value not in (None, ())}
    if given["attributes"]:
        changes["attributes"] = dict(map(_own_attribute, given["attributes"]))
    policy = given["policy"]
    for key, value, nothing in (("aliases", list(aliases), no_aliases), ("policy", policy, no_policy)):
        if value and nothing:
            raise click.UsageError(f"{key} are given and taken away")
        if value or nothing:
            changes[key] = value
    if not changes:
        raise click.UsageError("say what to change")
    _diff(shared, shared.client.domain_change(name, changes))


def _own_attribute(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{text!r}: write KEY=TEXT")
    return key, value


@domains.command()
@click.argument("name", metavar="DOMAIN")
@live
def suspend(shared: Context, name: str) -> None:
    """Let nothing pass for a domain, and end its claims; shared links stay open."""
    _diff(shared, shared.client.domain_change(name, {"state": "suspended"}))


@domains.command()
@click.argument("name", metavar="DOMAIN")
@live
def resume(shared: Context, name: str) -> None:
    """Serve a suspended domain again."""
    _diff(shared, shared.client.domain_change(name, {"state": "active"}))


@domains.command()
@click.argument("name", metavar="DOMAIN")
@live
def remove(shared: Context, name: str) -> None:
    """Stop serving a domain."""
    _diff(shared, shared.client.domain_remove(name))


def _diff(shared: Context, diff: DomainDiff) -> None:
    """Each key that is another; of a domain that comes or goes those that said something."""
    if shared.json:
        output.as_json(diff)
        return
    click.echo(f"{output.clean(diff['name'])}: {diff['action']}")
    for key in sorted(diff["before"].keys() | diff["after"].keys()):
        before, after = diff["before"].get(key), diff["after"].get(key)
        if before != after and not (None in (before, after) and not (before or after)):
            click.echo(f"  {key}: {_shown(before)} -> {_shown(after)}")
    output.unwritten(diff)


def _shown(value: object) -> str:
    return "-" if value is None else output.clean(str(value))
