"""Folders of configuration files: what is in them, and what cannot be looked into.

A folder that is not there is empty. One that cannot be read is not: who took it for empty would lift every
block and remove every domain that its files name.
"""

from __future__ import annotations

from pathlib import Path

from imxrouter.config.problems import Problem

#: What to do about a file or folder that cannot be read.
DO_FILE = "check the path and its permissions"


def toml_files(folder: Path) -> list[Path]:
    """The `*.toml` files of a folder, by name; none where there is no such folder.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".toml")
    except (FileNotFoundError, NotADirectoryError):
        return []


def unreadable(path: Path, error: OSError) -> Problem:
    """The problem of a file or folder that cannot be read."""
    return Problem(str(path), "", f"cannot be read: {error.strerror}", DO_FILE)
