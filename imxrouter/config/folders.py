"""Files of the configuration and their folders: what is in them, and what cannot be read.

A folder that is not there is empty. One that cannot be read is not: who took it for empty would lift every
block and remove every domain that its files name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from imxrouter.config.problems import Problem

#: Larger files are refused: entries of access lists, one a line, a million of them.
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
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


def read_text(path: Path) -> str | Problem:
    """The text of a file, or why there is none; neither a pipe nor a device is waited for."""
    try:
        if not path.is_file():
            if path.exists():
                return Problem(str(path), "", "is no file", "write a file in its place")
        elif path.stat().st_size > MAX_FILE_BYTES:
            return Problem(str(path), "", "is too large", f"at most {MAX_FILE_BYTES} bytes")
        return path.read_text("utf-8")
    except OSError as error:
        return unreadable(path, error)
    except UnicodeDecodeError:
        return Problem(str(path), "", "is not UTF-8", "save it as UTF-8")
