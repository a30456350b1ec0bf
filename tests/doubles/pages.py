"""The operators' pages, read so that a test can carry them out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imxrouter.cli.exits import Exit
from tests.doubles.ctl import ctl
from tests.doubles.router_rig import RouterRig

OPERATORS = Path(__file__).parents[2] / "docs" / "operators"
#: Indented, in a list too, or between fences.
_BLOCKS = re.compile(r"(?:^ {4,}\S.*\n|^ {4,}\n|^\n(?= {4}))+|^```\w*\n(?:.*\n)+?```$", re.MULTILINE)
_EXITS = re.compile(r"exits with (\d)")


@dataclass(frozen=True)
class Command:
    """A line that begins with `imxctl`.

    Attributes:
        line: as it stands on the page.
        words: without `imxctl` and the comment.
        exit: its exit code; 0 unless the comment says `exits with N`.
    """

    line: str
    words: tuple[str, ...]
    exit: int

    def on(self, rig: RouterRig, places: Mapping[str, str] | None = None) -> str:
        """Carry it out at a router; it must end as the page says. Returns what it printed.

        Args:
            rig: the router.
            places: parts of words that are another in a test, such as paths.
        """
        words = list(self.words)
        for old, new in (places or {}).items():
            words = [word.replace(old, new) for word in words]
        result = ctl(rig, *words)
        assert result.exit_code == self.exit, f"{self.line}\n{result.output}"
        return result.output


def blocks(page: str) -> list[str]:
    """What stands apart on a page, without its indent or fences."""
    found = []
    for block in _BLOCKS.findall((OPERATORS / page).read_text()):
        lines = [line for line in block.splitlines() if not line.startswith("```")]
        margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        found.append("\n".join(line[margin:] for line in lines).strip("\n"))
    return found


def commands(page: str) -> list[Command]:
    """The `imxctl` commands that stand apart on a page, in its order."""
    lines = [line.strip() for block in blocks(page) for line in block.splitlines()]
    found = []
    for line in (line.removeprefix("sudo ") for line in lines):
        if line.startswith("imxctl ") and not line.endswith("\\"):
            command, _, comment = line.partition("  #")
            ends = _EXITS.search(comment)
            exit_code = int(ends[1]) if ends else int(Exit.OK)
            found.append(Command(line, tuple(shlex.split(command)[1:]), exit_code))
    return found


def tables(page: str) -> list[str]:
    """The blocks that are parts of a configuration."""
    return [block for block in blocks(page) if re.match(r"(#.*\n)?\[\[?[a-z.]+\]\]?$", block, re.MULTILINE)]
