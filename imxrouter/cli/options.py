"""What every command shares: the socket, `--json`, and how errors become exit codes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from imxrouter.admin.client import AdminClient, AdminError, AdminUnreachable
from imxrouter.cli import output
from imxrouter.cli.exits import Exit

#: As in a configuration without `run_dir` and `admin.socket`.
DEFAULT_SOCKET = "/run/imxrouter/admin.sock"

#: Environment variable that names the socket.
SOCKET_VARIABLE = "IMXROUTER_ADMIN"

R = TypeVar("R")
Command = Callable[..., Any]


@dataclass(slots=True)
class Context:
    """Set by the group, read by the commands.

    Attributes:
        socket: path of the administration socket.
        json: whether answers are JSON.
    """

    socket: str = DEFAULT_SOCKET
    json: bool = False

    @property
    def client(self) -> AdminClient:
        """A client for the socket."""
        return AdminClient(self.socket)


def _set_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Context).json = True


def _set_socket(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(Context).socket = value


def json_option(command: Command) -> Command:
    """Add `--json`; it may stand before or after the name of the command."""
    text = "Answer in JSON; its keys are stable."
    return click.option("--json", is_flag=True, expose_value=False, callback=_set_json, help=text)(command)


def socket_option(command: Command, envvar: str | None = None) -> Command:
    """Add `--socket`; it may stand before or after the name of the command.

    Only the outermost command reads the environment, so that it never wins over an option.
    """
    text = f"The router's administration socket.  [env: {SOCKET_VARIABLE}; default: {DEFAULT_SOCKET}]"
    option = click.option(
        "--socket", metavar="PATH", envvar=envvar, expose_value=False, callback=_set_socket, help=text
    )
    return option(command)


def live(command: Callable[..., R]) -> Command:
    """Make a command that asks a router: it gets the `Context`, and its errors become exit codes."""

    @click.pass_context
    @functools.wraps(command)
    def run(context: click.Context, /, *args: Any, **kwargs: Any) -> R:
        shared = context.ensure_object(Context)
        try:
            return command(shared, *args, **kwargs)
        except AdminUnreachable as error:
            tell(shared, str(error), "", error.do)
            raise click.exceptions.Exit(Exit.UNREACHABLE) from None
        except AdminError as error:
            tell(shared, error.what, error.where, error.do, error.words)
            code = {"not-found": Exit.NOT_FOUND, "bad-request": Exit.USAGE}.get(error.kind, Exit.FAILED)
            raise click.exceptions.Exit(code) from None

    return json_option(socket_option(run))


def tell(shared: Context, what: str, where: str, do: str, words: Mapping[str, Any] | None = None) -> None:
    """Say an error: JSON `{"error": {what, where, do}}` on standard output, or text on standard error.

    `words` are `reason`, `stage`, `retry` and `retry_after_s`, where the registry has a word for it.
    """
    if shared.json:
        output.as_json({"error": {"what": what, "where": where, "do": do, **(words or {})}})
        return
    if words:
        what += f" ({words['reason']} at stage {words['stage']}{output.advice(words)})"
    output.problem(f"{where}: {what}" if where else what, do)
