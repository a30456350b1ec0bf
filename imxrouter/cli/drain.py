"""`imxctl drain` and `undrain`: out of service without an error to anyone, and back."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from imxrouter.admin.client import DrainView
from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, live

#: Seconds between two looks of `--wait`, and its patience beyond the deadline.
_LOOK_S = 0.2
_PATIENCE_S = 10.0
#: How long the other processes may take to say that they are back.
_BACK_S = 5.0


@click.command()
@click.option(
    "--deadline", "deadline_s", type=click.FloatRange(min=0), metavar="S",
    help="Cut what is in flight after S seconds; without it drain.deadline_s holds.",
)  # fmt: skip
@click.option("--wait", is_flag=True, help="Return when every process of the host is drained.")
@live
def drain(shared: Context, deadline_s: float | None, wait: bool) -> None:
    """Take this host out of service: all its processes, until `imxctl undrain`, over restarts too.

    Peers and services go to the other hosts of the domains; what is in flight is answered.
    """
    view = shared.client.drain(deadline_s)
    until = time.monotonic() + (view["deadline_s"] or 0.0) + _PATIENCE_S
    while wait and not _is_drained(view) and time.monotonic() < until:
        time.sleep(_LOOK_S)
        view = shared.client.status()["drain"]
    _show(shared, view)
    if wait and not _is_drained(view):
        raise click.exceptions.Exit(Exit.FAILED)


@click.command()
@live
def undrain(shared: Context) -> None:
    """Take this host back into service: all its processes."""
    view = shared.client.undrain()
    until = time.monotonic() + _BACK_S
    while not _is_back(view) and time.monotonic() < until:
        time.sleep(_LOOK_S)
        view = shared.client.status()["drain"]
    _show(shared, view)
    if not _is_back(view):
        raise click.exceptions.Exit(Exit.FAILED)


def _is_back(view: DrainView) -> bool:
    """One that does not run now is in service when it starts."""
    return all(state in {"running", "absent"} for state in view["processes"].values())


def _is_drained(view: DrainView) -> bool:
    return all(state == "drained" for state in view["processes"].values())


def _show(shared: Context, view: DrainView) -> None:
    if shared.json:
        output.as_json(view)
    else:
        output.pairs({"drain": words(view)})


def words(view: DrainView) -> str:
    """One line of how far the host is."""
    if not view["wanted"] and view["state"] == "running":
        others = [(number, state) for number, state in view["processes"].items() if state != "running"]
        return ", ".join(["no, in service", *(f"process {number} {state}" for number, state in others)])
    parts = [view["state"]]
    if len(view["processes"]) > 1:
        parts = [f"process {number} {state}" for number, state in view["processes"].items()]
    if view["since"] is not None:
        parts.append(f"asked for at {datetime.fromtimestamp(view['since'], UTC):%Y-%m-%d %H:%M:%S} UTC")
    if view["wanted"] and not view["kept"]:
        parts.append("not written down: a restart would end it")
    return ", ".join(parts)
