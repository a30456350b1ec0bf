"""`imxctl rules`, `imxctl contacts` and `imxctl user`: what users of an embedded service set."""

from __future__ import annotations

from typing import Any

import click

from imxrouter.admin.client import ContactsView, RulesView, UserClient, UserView
from imxrouter.cli import output
from imxrouter.cli.options import Context, live

_ROLES = click.Choice(["publish", "read"])


@click.command()
@click.argument("user", metavar="USER")
@click.option("--allow", metavar="WHO", help="Let them.")
@click.option("--ask", metavar="WHO", help="They wait for his word.")
@click.option("--refuse", metavar="WHO", help="They are told that it is refused.")
@click.option("--block", metavar="WHO", help="To them it looks as if he were offline.")
@click.option("--forget", metavar="WHO", help="Drop the rule.")
@click.option(
    "--right",
    "rights",
    multiple=True,
    type=click.Choice(["presence", "subscribe", "fetch", "message"]),
    help="What the rule is about; may be repeated.  [default: presence, which is subscribe and fetch]",
)
@click.option(
    "--basic", is_flag=True, help="With --allow or --ask: they see open or closed and nothing else."
)
@click.option(
    "--let", nargs=2, metavar="OTHER ROLE", help="Let somebody `publish` for him, or `read` his messages."
)
@click.option("--let-not", nargs=2, metavar="OTHER ROLE", help="No longer; what he published goes.")
@live
def rules(
    shared: Context, user: str, rights: tuple[str, ...], basic: bool, let: tuple[str, str] | None,
    let_not: tuple[str, str] | None, **given: str | None,
) -> None:  # fmt: skip
    """Show a user's rules, in the order in which they decide, or change one.

    WHO is an address, `group:NAME` of his contacts, a domain, `*.domain` (all below it), `group:*` (all
    contacts) or `*`. Decisions on persons (imxctl watchers) come before rules; the service's default after.
    """
    chosen = [(decision, who) for decision, who in given.items() if who]
    if len(chosen) + bool(let) + bool(let_not) > 1:
        raise click.UsageError("change one thing at a time")
    if (rights or basic) and not chosen:
        raise click.UsageError(
            "--right and --basic are for a rule: --allow, --ask, --refuse, --block, --forget"
        )
    if basic and chosen[0][0] not in {"allow", "ask"}:
        raise click.UsageError("--basic is for --allow and --ask")
    one = shared.client.user(user)
    if chosen:
        view = _rule(one, *chosen[0], list(rights) or ["presence"], "basic" if basic else "full")
    elif let or let_not:
        other, role = let or let_not or ("", "")
        view = one.delegate(other, _ROLES.convert(role, None, None), allowed=bool(let))
    else:
        view = one.rules()
    if shared.json:
        output.as_json(view)
        return
    _rules(view)
    if chosen or let or let_not:
        output.unwritten(view)


def _rule(one: UserClient, decision: str, who: str, rights: list[str], detail: str) -> RulesView:
    if decision == "forget":
        return one.remove_rule(who, rights)
    return one.set_rule(who, rights, decision, detail)


def _rules(view: RulesView) -> None:
    rows = [
        {"who": one["person"], "right": one["scope"], "decision": one["decision"], "by": "decided"}
        for one in view["decisions"]
    ]
    for rule in view["rules"]:
        what = rule["decision"] + (", open or closed only" if rule["detail"] == "basic" else "")
        rows.append({"who": rule["who"], "right": rule["right"], "decision": what, "by": "rule"})
    for scope, default in (("presence", view["presence_default"]), ("messages", view["messages_default"])):
        rows.append({"who": "everybody else", "right": scope, "decision": default, "by": "service"})
    columns: list[output.Column] = [
        ("who", lambda row: row["who"]), ("wants", lambda row: row["right"]),
        ("decision", lambda row: row["decision"]), ("by", lambda row: row["by"]),
    ]  # fmt: skip
    output.table(rows, columns, "")
    for names, what in ((view["publishers"], "publish for him"), (view["readers"], "read his messages")):
        if names:
            click.echo(output.clean(f"may {what}: {', '.join(names)}"))


@click.command()
@click.argument("user", metavar="USER")
@click.option(
    "--add", metavar="ADDRESS", help="Add a contact, or change one; what is not named stays as it is."
)
@click.option("--remove", metavar="ADDRESS", help="Drop a contact.")
@click.option("--name", help="How he calls him.")
@click.option(
    "--group",
    "groups",
    multiple=True,
    help="For rules and for order; may be repeated; in place of those there are.",
)
@click.option("--no-groups", is_flag=True, help="Of no group.")
@click.option("--watch/--no-watch", default=None, help="Keep a subscription to his presence, or end it.")
@live
def contacts(
    shared: Context, user: str, add: str | None, remove: str | None, name: str | None,
    groups: tuple[str, ...], no_groups: bool, watch: bool | None,
) -> None:  # fmt: skip
    """Show a user's contact list, or change an entry."""
    details = name is not None or groups or no_groups or watch is not None
    if (add and remove) or (details and not add) or (groups and no_groups):
        raise click.UsageError("give --add with what there is to say, or --remove")
    one = shared.client.user(user)
    if add:
        view = one.set_contact(add, name, list(groups) if groups or no_groups else None, watch)
    else:
        view = one.remove_contact(remove) if remove else one.contacts()
    if shared.json:
        output.as_json(view)
        return
    _contacts(view)
    if add or remove:
        output.unwritten(view)


def _contacts(view: ContactsView) -> None:
    columns: list[output.Column] = [
        ("address", lambda row: row["address"]), ("name", lambda row: row["name"]),
        ("groups", lambda row: ", ".join(row["groups"])),
        ("watched", lambda row: "yes" if row["watch"] else ""),
    ]  # fmt: skip
    output.table(view["contacts"], columns, f"{output.clean(view['user'])} has no contacts")


@click.command()
@click.argument("user", metavar="USER")
@click.option(
    "--set",
    "set_",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set an attribute, such as alias=Bob; may be repeated.",
)
@click.option("--unset", multiple=True, metavar="KEY", help="Drop an attribute; may be repeated.")
@click.option(
    "--visible",
    multiple=True,
    metavar="WHO",
    help="With --set: who may see it, as in rules, or "
    "`watchers` (who may see his presence); may be repeated.  [default: *]",
)
@click.option("--hidden", is_flag=True, help="With --set: nobody may see it.")
@click.option(
    "--along/--not-along", default=None, help="With --set: it rides along on his messages and notifications."
)
@click.option(
    "--max-age",
    "max_age_s",
    type=click.IntRange(0),
    metavar="SECONDS",
    help="With --set: others may keep it so long.  [default: 3600]",
)
@live
def user(
    shared: Context, user: str, set_: tuple[str, ...], unset: tuple[str, ...], visible: tuple[str, ...],
    hidden: bool, along: bool | None, max_age_s: int | None,
) -> None:  # fmt: skip
    """Show what a user of an embedded service has and tells of himself, or set attributes of his.

    Keys are those of the registry (alias, ...) or DOMAIN/KEY with his own domain. To ask for attributes as
    others see them: imxctl attributes.
    """
    details = visible or hidden or along is not None or max_age_s is not None
    if (details and not set_) or (visible and hidden):
        raise click.UsageError("--visible, --hidden, --along and --max-age are for --set")
    pairs = [_pair(text) for text in set_]
    both = [key for key, _ in pairs if key in unset]
    if both:
        raise click.UsageError(f"{both[0]!r} is set and unset: give one of --set and --unset")
    one = shared.client.user(user)
    view: UserView | None = None
    seen = list(visible) if visible or hidden else None
    for key, value in pairs:
        view = one.set_attribute(key, value, seen, along, max_age_s)
    for key in unset:
        view = one.remove_attribute(key)
    view = one.show() if view is None else view
    if shared.json:
        output.as_json(view)
        return
    _user(view)
    if pairs or unset:
        output.unwritten(view)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{text!r}: write KEY=VALUE")
    return key, value


def _user(view: UserView) -> None:
    figures: dict[str, Any] = {
        "user": f"{view['user']} of service {view['service']}",
        "presence": f"{view['presence']}, {view['instances']} instances",
        "watches": view["subscriptions"],
        "watched by": f"{view['watchers']}, {view['waiting']} wait for a word",
        "rules": view["rules"],
        "contacts": view["contacts"],
    }
    output.pairs(figures)
    if not view["attributes"]:
        return
    columns: list[output.Column] = [
        ("attribute", lambda row: row["name"]),
        ("value", lambda row: row["value"] if row["encoding"] == "text" else f"base64: {row['value']}"),
        ("seen by", lambda row: ", ".join(row["visible"]) or "nobody"),
        ("rides along", lambda row: "yes" if row["along"] else ""),
        ("may be kept", lambda row: output.duration(row["max_age_s"])),
    ]
    output.table(view["attributes"], columns, "")
