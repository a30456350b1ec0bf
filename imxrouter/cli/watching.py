"""`imxctl subscriptions` and `imxctl watchers`: whom a user watches, and who watches him."""

from __future__ import annotations

import click

from imxrouter.admin.client import SubscriptionsView, SubscriptionView, WatchersView, WatcherView
from imxrouter.cli import output
from imxrouter.cli.options import Context, live
from imxrouter.cli.presence import follow_changes, moment, standing, state


@click.command()
@click.argument("user", metavar="USER")
@click.option(
    "--follow", is_flag=True, help="Show what he is told, now and at every change, until interrupted."
)
@click.option("--count", type=click.IntRange(1), help="With --follow: leave after so many lines.")
@live
def subscriptions(shared: Context, user: str, follow: bool, count: int | None) -> None:
    """Show whom a user watches: state, what he was told, until when it is granted, and the next renewal.

    Of a user whose service speaks XMPP too; what is asleep is approved, and renewed when he is seen again.
    What passes is looked after by the servers of both, and asked for anew after an outage.
    """
    if count and not follow:
        raise click.UsageError("--count is for --follow")
    one = shared.client.user(user)
    if follow:
        follow_changes(shared, one.follow(), count)
        return
    view = one.subscriptions()
    if shared.json:
        output.as_json(view)
    else:
        _subscriptions(view)


def _subscriptions(view: SubscriptionsView) -> None:
    columns: list[output.Column] = [
        ("watches", lambda row: row["presentity"]),
        ("subscription", lambda row: row["state"]),
        ("granted for", lambda row: output.duration(row["left_s"]) if row["left_s"] else ""),
        ("next renewal", _renewal),
        ("presence", lambda row: "" if row["presence"] is None else state(row["presence"])),
        ("last failure", _failure),
    ]
    output.table(view["subscriptions"], columns, f"{output.clean(view['user'])} watches nobody")
    for one in view["ended"]:
        line = f"{moment(one['at'])} {one['presentity']}: {standing(one)}"
        click.echo(output.clean(line))


def _renewal(row: SubscriptionView) -> str:
    if row["state"] in {"asleep", "passes"}:
        return ""
    return "under way" if row["renewal_s"] is None else f"in {output.duration(row['renewal_s'])}"


def _failure(row: SubscriptionView) -> str:
    return f"{row['reason']} at stage {row['stage']}, {row['domain']}" if row["reason"] else ""


@click.command()
@click.argument("user", metavar="USER")
@click.option("--approve", metavar="WATCHER", help="Let him see the user; remembered until --forget.")
@click.option("--reject", metavar="WATCHER", help="Refuse him; he is told.")
@click.option("--block", metavar="WATCHER", help="Show him somebody who is offline; he is not told.")
@click.option("--forget", metavar="WATCHER", help="Take the decision back: rules and defaults hold again.")
@click.option("--messages", is_flag=True, help="The decision is about messages, not about presence.")
@live
def watchers(
    shared: Context, user: str, approve: str | None, reject: str | None, block: str | None,
    forget: str | None, messages: bool,
) -> None:  # fmt: skip
    """Show who watches a user, who waits for his word and what he decided; or decide on somebody.

    Users whose services speak XMPP decide there: `dormant` is who may watch and does not now, `denied` whom
    the user turned away.
    """
    given = {"allow": approve, "refuse": reject, "block": block, "forget": forget}
    chosen = [(decision, person) for decision, person in given.items() if person]
    if len(chosen) > 1 or (messages and not chosen):
        raise click.UsageError("give one of --approve, --reject, --block and --forget")
    one = shared.client.user(user)
    view = (
        one.decide(chosen[0][1], chosen[0][0], "messages" if messages else "presence")
        if chosen
        else one.watchers()
    )
    if shared.json:
        output.as_json(view)
        return
    _watchers(view)
    if chosen:
        output.unwritten(view)


def _watchers(view: WatchersView) -> None:
    columns: list[output.Column] = [
        ("watcher", lambda row: row["watcher"]),
        ("subscription", lambda row: row["state"]),
        ("not told", _not_told),
        ("until", _until),
        ("decision", lambda row: row["decision"]),
        ("because of", lambda row: row["because"]),
        ("sees", lambda row: {"allow": row["detail"], "block": "offline"}.get(row["decision"], "nothing")),
    ]
    output.table(view["watchers"], columns, f"nobody watches {output.clean(view['user'])}")
    for knock in view["waiting"]:
        times = f", {knock['count']} times" if knock["count"] > 1 else ""
        line = f"waits for a decision: {knock['person']} ({knock['right']}, {moment(knock['at'])}{times})"
        click.echo(output.clean(line))
    for one in view["decisions"]:
        line = f"decided: {one['person']}: {one['decision']} {one['scope']} ({moment(one['at'])})"
        click.echo(output.clean(line))


def _until(row: WatcherView) -> str:
    return f"{moment(row['until'])} (in {output.duration(row['left_s'])})" if row["left_s"] else ""


def _not_told(row: WatcherView) -> str:
    return f"{row['failures']} failures in a row" if row["failures"] else ""
