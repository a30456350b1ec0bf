"""`imxctl presence` and `imxctl subscribe`: how users are, and being told of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import click

from imxrouter.admin.client import (
    FetchView,
    NoteView,
    PresenceView,
    SeenView,
    StateView,
    SubscriptionView,
)
from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, live
from imxrouter.model.presence import ACTIVITIES, PRIORITIES

#: The instance that is meant where none is named.
INSTANCE = "imxctl"
#: `unknown` is what routers say, so it is no activity here.
_STATES = ("open", "closed", *sorted(ACTIVITIES - {"unknown"}))
#: An option that was left out; a priority of 0 was not.
_NOT_GIVEN: Final = (None, "", ())


@click.command()
@click.argument("user", metavar="USER")
@click.option(
    "--publish",
    "status",
    metavar="STATE",
    type=click.Choice(_STATES),
    help="Let an instance of his "
    "say `open`, `closed`, or an activity of RFC 4480, which is open: away, busy, meeting, vacation ...",
)
@click.option(
    "--note",
    "notes",
    multiple=True,
    metavar="TEXT",
    help="Words for people; may be repeated, each with its --language.",
)
@click.option("--language", "languages", multiple=True, metavar="TAG", help="Of the note in the same place.")
@click.option(
    "--contact", metavar="URI", default="", help="Where that instance is reached, such as im:bob@b.example."
)
@click.option(
    "--priority",
    metavar="NUMBER",
    type=click.IntRange(*PRIORITIES),
    help="How much that instance is preferred to his others; below 0 it wants no messages.",
)
@click.option("--instance", metavar="NAME", help="A device or program of his.  [default: imxctl]")
@click.option(
    "--for",
    "for_s",
    metavar="SECONDS",
    type=click.IntRange(1),
    help="Forget it after so long, unless it is published again.  [default: 3600]",
)
@click.option(
    "--to",
    "audience",
    multiple=True,
    metavar="WHO",
    help="Only these see that instance (as in rules); may be repeated.",
)
@click.option(
    "--by",
    metavar="OTHER",
    default="",
    help="Who publishes, if not the user; needs his leave: imxctl rules USER --let OTHER publish.",
)
@click.option("--retract", is_flag=True, help="Forget the instance at once.")
@click.option("--seen-by", metavar="WATCHER", help="Show instead what this watcher is shown, and why.")
@live
def presence(
    shared: Context, user: str, status: str | None, retract: bool, seen_by: str | None, **given: Any
) -> None:  # fmt: skip
    """Show how a user of an embedded service is, publish for him, or see him with a watcher's eyes.

    Without options: his whole state, as he sees it himself, and what each instance says until when.
    """
    chosen = [
        name for name, on in (("--publish", status), ("--retract", retract), ("--seen-by", seen_by)) if on
    ]
    if len(chosen) > 1:
        raise click.UsageError(f"{chosen[0]} and {chosen[1]} are two things")
    _check_given(chosen, given)
    one = shared.client.user(user)
    if seen_by:
        _show(shared, one.seen_by(seen_by), _seen)
        return
    if status:
        view = one.publish(_publishing(status, given))
    elif retract:
        view = one.retract(given["instance"] or INSTANCE, given["by"])
    else:
        view = one.presence()
    _show(shared, view, _presence)
    if chosen and not shared.json:
        output.unwritten(view)


def _check_given(chosen: list[str], given: dict[str, Any]) -> None:
    """What is given must be of use."""
    takes = {"--publish": set(given), "--retract": {"instance", "by"}}.get(chosen[0] if chosen else "", set())
    names = {"for_s": "--for", "audience": "--to", "notes": "--note", "languages": "--language"}
    for name, value in given.items():
        if value not in _NOT_GIVEN and name not in takes:
            raise click.UsageError(f"{names.get(name, '--' + name)} is for --publish")
    if len(given["languages"]) > len(given["notes"]):
        raise click.UsageError("there are more languages than notes")


def _publishing(status: str, given: dict[str, Any]) -> dict[str, Any]:
    languages = [*given["languages"], *[""] * len(given["notes"])]
    return {
        "instance": given["instance"] or INSTANCE, "status": status, "for_s": given["for_s"],
        "notes": [
            {"text": text, "language": language}
            for text, language in zip(given["notes"], languages, strict=False)
        ],
        "contact": given["contact"], "priority": given["priority"], "by": given["by"],
        "audience": list(given["audience"]),
    }  # fmt: skip


def _show(shared: Context, view: Any, people: Any) -> None:
    if shared.json:
        output.as_json(view)
    else:
        people(view)


def _presence(view: PresenceView) -> None:
    click.echo(output.clean(f"{view['user']}: {state(view['state'])}"))
    columns: list[output.Column] = [
        ("instance", lambda row: row["instance"]),
        ("state", lambda row: state(row["state"])),
        (
            "contact",
            lambda row: ", ".join(one["contact"] for one in row["state"]["tuples"] if one["contact"]),
        ),
        ("priority", lambda row: ", ".join(_priorities(row["state"]))),
        ("by", lambda row: "" if row["by"] == view["user"] else row["by"]),
        ("seen by", lambda row: ", ".join(row["audience"]) or "who may see him"),
        ("until", lambda row: f"{moment(row['until'])} (in {output.duration(row['left_s'])})"),
    ]
    output.table(view["instances"], columns, "no instance publishes; he is shown as offline")


def _priorities(shown: StateView) -> list[str]:
    return [str(one["xmpp_priority"]) for one in shown["tuples"] if one["xmpp_priority"]]


def _seen(view: SeenView) -> None:
    who, whom = view["watcher"], view["user"]
    click.echo(output.clean(f"{who} sees {whom}: {state(view['state'])}"))
    if view["fetch"] is not None:
        click.echo(output.clean(f"{who} fetches {whom}: {state(view['fetch'])}"))
    for one in view["rulings"]:
        click.echo(output.clean(f"  {one['right']:<9}  {one['decision']}{_because(one)}"))
    if not view["subscriptions"]:
        click.echo("  no subscription of his is held here")
    for held in view["subscriptions"]:
        click.echo(f"  subscription: {held['state']}, for {output.duration(held['left_s'])} more")


def _because(row: Any) -> str:
    words = {"consent": "decided on this person", "default": "the service's default", "self": "himself"}
    why = words.get(row["because"], f"rule on {row['because']}")
    return f" ({why}{', open or closed only' if row['detail'] == 'basic' else ''})"


def state(view: StateView) -> str:
    """A state in one line."""
    parts = [view["status"]]
    if view["reason"]:
        parts[0] += f" ({view['reason']} at stage {view['stage']}, {view['domain']})"
    parts += view["activities"]
    return ", ".join(parts) + "".join(f"  {_note(note)}" for note in view["notes"])


def _note(note: NoteView) -> str:
    return f'"{note["text"]}"' + (f" ({note['language']})" if note["language"] else "")


def moment(at: float) -> str:
    """A time of day, with its date where that is another day."""
    then, now = (datetime.fromtimestamp(one, UTC).astimezone() for one in (at, time.time()))
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M:%S")


# -- subscribing -----------------------------------------------------------------------------------------


@click.command()
@click.argument("watcher", metavar="WATCHER")
@click.argument("presentity", metavar="PRESENTITY")
@click.option(
    "--for",
    "for_s",
    metavar="SECONDS",
    type=click.IntRange(1),
    help="Ask for so long each time.  [default: 1800]",
)
@click.option("--fetch", is_flag=True, help="Ask once; nothing is held.")
@click.option("--cancel", is_flag=True, help="Watch no more.")
@click.option(
    "--follow",
    is_flag=True,
    help="Subscribe, then show every change, until interrupted; the subscription stays.",
)
@click.option("--count", type=click.IntRange(1), help="With --follow: leave after so many lines.")
@live
def subscribe(
    shared: Context, watcher: str, presentity: str, for_s: int | None, fetch: bool, cancel: bool,
    follow: bool, count: int | None,
) -> None:  # fmt: skip
    """Let a user of an embedded service watch somebody; it is renewed until --cancel.

    With --follow it leaves where the subscription is over: with 1 where the other side ended it.

    Answers when it is granted or refused. Exit code 0: active, or pending until the other side agrees; 1: it
    was refused, or nothing can be known now (a subscription is tried again by itself; a refused one is not).
    """
    if fetch + cancel + follow > 1 or ((fetch or cancel) and for_s):
        raise click.UsageError("--fetch, --cancel, and --follow or --for are different things")
    if count and not follow:
        raise click.UsageError("--count is for --follow")
    one = shared.client.user(watcher)
    if fetch:
        _fetched(shared, one.fetch(presentity))
    elif cancel:
        left = one.unsubscribe(presentity)
        if shared.json:
            output.as_json(left)
        else:
            click.echo(output.clean(f"{watcher} does not watch {presentity} any more"))
    else:
        view = one.subscribe(presentity, for_s)
        if follow and view["state"] != "terminated":
            follow_changes(shared, one.follow(presentity), count, only=True)
            return
        _subscribed(shared, view)


def _fetched(shared: Context, view: FetchView) -> None:
    told = view["state"]
    if shared.json:
        output.as_json(view)
    elif told["reason"]:
        output.problem(
            output.clean(f"{view['presentity']}: {state(told)}{output.advice(told)}"), told["remedy"]
        )
    else:
        click.echo(output.clean(f"{view['presentity']}: {state(told)}"))
    if told["reason"]:
        raise click.exceptions.Exit(Exit.FAILED)


def _subscribed(shared: Context, view: SubscriptionView) -> None:
    told = view["presence"]
    failed = view["state"] in {"terminated", "asked"} and bool(view["reason"] or view["end_reason"])
    failed = failed or (told is not None and bool(told["reason"]))
    if shared.json:
        output.as_json(view)
    elif failed:
        output.problem(f"{view['watcher']} to {view['presentity']}: {standing(view)}", view["remedy"])
    else:
        click.echo(output.clean(f"{view['watcher']} to {view['presentity']}: {standing(view)}"))
    if failed:
        raise click.exceptions.Exit(Exit.FAILED)


def standing(view: SubscriptionView) -> str:
    """How a subscription is, in one line."""
    if view["state"] == "terminated":
        why = view["reason"] or view["end_reason"]
        words = f"ended: {why}" if why else "ended"
        return words + (f" at stage {view['stage']}{output.advice(view)}" if view["reason"] else "")
    words = {
        "asked": "asked, not answered yet",
        "pending": "pending until the other side agrees",
        "active": f"active for {output.duration(view['left_s'])}",
    }[view["state"]]
    if view["presence"] is not None:
        words += f"; {state(view['presence'])}"
    if view["reason"] and (view["presence"] is None or view["presence"]["reason"] != view["reason"]):
        words += f"; failed: {view['reason']} at stage {view['stage']}, {view['domain']}"
    if view["failures"] and view["renewal_s"] is not None:
        words += f"; tried again in {output.duration(view['renewal_s'])}"
    return words


def follow_changes(
    shared: Context, changes: Iterator[SubscriptionView], count: int | None, *, only: bool = False
) -> None:
    """Show each change as it comes; leave after `count`, or where the only subscription is over."""
    for number, view in enumerate(changes, 1):
        if shared.json:
            output.as_json(view)
        else:
            _change(view)
        if only and view["state"] == "terminated" and view["end_reason"]:
            raise click.exceptions.Exit(Exit.FAILED)
        if number == count or (only and view["state"] == "terminated"):
            return


def _change(view: SubscriptionView) -> None:
    if lost := view.get("dropped"):
        click.echo(f"... {lost} changes were too many to show")
    click.echo(output.clean(f"{moment(view['at'])} {view['presentity']}: {_news(view)}"))
    told = view["presence"]
    if told is not None and told["remedy"]:
        click.echo(output.clean(f"         {told['remedy']}"))


def _news(view: SubscriptionView) -> str:
    """What is new to people who follow: the presence, where there is one."""
    if view["state"] == "active" and view["presence"] is not None and not view["failures"]:
        return state(view["presence"])
    return standing(view)
