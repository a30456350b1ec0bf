"""Pages that are made from code: write them, or check that they are what the code says now."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_or_check(pages: Mapping[str, str], module: str, arguments: Sequence[str]) -> int:
    """Serve the command line of a room's `reference` module.

    Args:
        pages: path below the project's root -> text.
        module: the module's name, for the advice to run it.
        arguments: `--check` compares, nothing writes; a directory beside it is used as the root.

    Returns:
        0; 1 if `--check` found a page that differs; 2 for an unknown option.
    """
    options = [argument for argument in arguments if argument.startswith("-")]
    if set(options) - {"--check"}:
        sys.stderr.write(f"usage: python -m {module} [--check] [ROOT]\n")
        return 2
    roots = [argument for argument in arguments if not argument.startswith("-")]
    root = Path(roots[0]) if roots else Path.cwd()
    stale = [name for name, text in pages.items() if not _is(root / name, text)]
    if options:
        for name in stale:
            sys.stderr.write(f"{name} is not what the code says: run python -m {module}\n")
        return 1 if stale else 0
    for name in stale:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(pages[name], "utf-8")
        sys.stdout.write(f"wrote {name}\n")
    return 0


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text("utf-8") == text
