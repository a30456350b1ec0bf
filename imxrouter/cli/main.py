"""`imxctl`: the group of all commands."""

from __future__ import annotations

import itertools
import os
import sys

import click

from imxrouter import __version__
from imxrouter.cli import (
    abuse,
    attributes,
    certs,
    check,
    configs,
    decode,
    dns,
    doctor,
    domains,
    drain,
    limits,
    live,
    peers,
    policy,
    presence,
    reload,
    trace,
    users,
    watching,
)
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import SOCKET_VARIABLE, Context, json_option, socket_option, tell


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="imxctl")
@json_option
def imxctl() -> None:
    """Look at and steer an imxrouter."""


socket_option(imxctl, SOCKET_VARIABLE)

for _command in (
    live.status, live.links, limits.limits, drain.drain, drain.undrain, peers.peers, policy.policy,
    abuse.abuse, domains.domains, live.send, live.watch, presence.presence, presence.subscribe,
    watching.subscriptions, watching.watchers, users.rules, users.contacts, users.user,
    attributes.attributes, certs.certs, dns.dns, configs.config, trace.trace, check.check, decode.decode,
):  # fmt: skip
    imxctl.add_command(_command)
domains.domains.add_command(doctor.doctor)
for _command in (reload.reload, reload.show, reload.diff):
    configs.config.add_command(_command)


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        code = imxctl.main(standalone_mode=False, prog_name="imxctl")
    except click.ClickException as error:
        _tell(error)
        code = Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        code = Exit.INTERRUPTED
    except BrokenPipeError:  # whoever read has seen enough; nothing more may be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.OK
    sys.exit(code if isinstance(code, int) else Exit.OK)


def _tell(error: click.ClickException) -> None:
    """As `options.tell`; the words decide, for an error may come before `--json` is read."""
    words = list(itertools.takewhile(lambda word: word != "--", sys.argv[1:]))
    if "--json" not in words:
        error.show()
        return
    context = error.ctx if isinstance(error, click.UsageError) else None
    do = f"see {context.command_path if context is not None else 'imxctl'} --help"
    what = error.format_message()
    bare = what.startswith("Usage:")  # without a command, the message is the whole help
    tell(Context(json=True), "a command is missing" if bare else what, "", do)


if __name__ == "__main__":
    main()
