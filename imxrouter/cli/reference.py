"""Make `docs/reference/imxctl.md` from the commands themselves.

`python -m imxrouter.cli.reference` writes it, with `--check` it compares (CI).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import click

from imxrouter.admin.client import VIEWS
from imxrouter.cli.exits import MEANING
from imxrouter.cli.main import imxctl
from imxrouter.model.generated import write_or_check
from imxrouter.probe.report import VIEWS as CHECK_VIEWS

PAGE = "docs/reference/imxctl.md"

_HEAD = """\
# imxctl

Made from `imxrouter/cli/` by `python -m imxrouter.cli.reference`; do not edit.

Commands that ask a router do so over its administration socket: `--socket PATH`, else the
environment variable `IMXROUTER_ADMIN`, else `/run/imxrouter/admin.sock`. `--json` and `--socket` may
stand before or after the name of a command. `check` without `--as`,
`decode` and `config check` need no router.

## Exit codes

| code | meaning |
| --- | --- |
"""

_JSON_HEAD = """\
## JSON

With `--json` an answer is one JSON value on standard output (`watch`, `decode` and `--follow`: one on each
line); an error, of the command line too, is `{"error": {"what": ..., "where": ..., "do": ...}}`, and where
the registry of reasons has a word for it also `reason`, `stage`, `retry` and `retry_after_s`. The keys are
stable.
Times ending in `_s` are seconds, `at` is seconds since 1970. `config check` answers
`{"valid", "problems", "warnings"}`, each problem with `file`, `path`, `what` and `do`.
"""


def page() -> str:
    """Return the whole page."""
    codes = "\n".join(f"| {code.value} | {text} |" for code, text in MEANING.items())
    commands = "\n".join(_section(path, command) for path, command in _commands(imxctl, "imxctl"))
    shapes = "\n".join(_view(view) for view in (*VIEWS, *CHECK_VIEWS))
    return f"{_HEAD}{codes}\n\n{commands}\n{_JSON_HEAD}\n{shapes}"


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _commands(inner, f"{path} {name}")


def _section(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    text = inspect.cleandoc(command.help or "")
    given = [parameter for parameter in command.get_params(context) if "--help" not in parameter.opts]
    records = [record for parameter in given if (record := parameter.get_help_record(context))]
    rows = [f"| `{record[0]}` | {record[1]} |" for record in records]
    options = "\n".join(["| option | meaning |", "| --- | --- |", *rows])
    return f"## `{path}`\n\n```\n{path} {usage}\n```\n\n{text}\n\n{options}\n"


def _view(view: type) -> str:
    text = inspect.cleandoc(view.__doc__ or "")
    rows = [f"| `{name}` | {_kind(kind)} |" for name, kind in view.__annotations__.items()]
    return f"### {view.__name__}\n\n{text}\n\n" + "\n".join(["| key | type |", "| --- | --- |", *rows]) + "\n"


def _kind(kind: object) -> str:
    text = str(getattr(kind, "__forward_arg__", kind))
    return f"`{text}`".replace("|", "or")


def main(arguments: list[str]) -> int:
    """Write or check the page; return the exit code."""
    return write_or_check({PAGE: page()}, "imxrouter.cli.reference", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
