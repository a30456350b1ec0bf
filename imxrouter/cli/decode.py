"""`imxctl decode`: a captured byte stream as readable records; needs no router."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import click

from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.options import Context, json_option
from imxrouter.wire.describe import describe_stream

_ADVICE = "is it one direction of a link, from its first byte on, without TLS?"

#: Width of an offset; a capture of 10 MB stays in its column.
_OFFSET_WIDTH = 8


@click.command()
@click.argument("source", metavar="[FILE]", type=click.File("rb"), default="-")
@json_option
@click.pass_context
def decode(context: click.Context, source: BinaryIO) -> None:
    """Show a captured byte stream, one direction of a link, as readable records.

    Reads standard input without FILE or with `-`. With --json one record a line; where the bytes break or end
    inside a record, the last one has `error`, and the exit code is 1. Secrets are cut and bodies told by
    their length, so that the output can be shown to others.
    """
    shared = context.ensure_object(Context)
    broken = False
    for record in describe_stream(source.read()):
        broken = "error" in record
        if shared.json:
            output.as_json(record)
        elif broken:
            output.problem(f"at byte {record['offset']}: {record['error']}", _ADVICE)
        else:
            click.echo(output.clean(_line(record)))
    if broken:
        raise click.exceptions.Exit(Exit.FAILED)


def _line(record: Mapping[str, Any]) -> str:
    """`OFFSET  TYPE  name=value ...`; what is empty is left out."""
    words = [f"{record['offset']:>{_OFFSET_WIDTH}}  {record['type']}"]
    for name, value in record.items():
        if name in {"offset", "type"} or value in ([], {}, None):
            continue
        inner = value.items() if isinstance(value, Mapping) else [(name, value)]
        words += [f"{key}={_word(item)}" for key, item in inner]
    return " ".join(words)


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
