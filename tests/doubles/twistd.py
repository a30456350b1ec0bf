"""Router processes as an operator starts them, for tests that need more than one or kill them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_TWISTD = str(Path(sys.executable).with_name("twistd"))


def start_router(config: Path, log: Path, program: Sequence[str] = (_TWISTD,)) -> subprocess.Popen[bytes]:
    """Start a router by its configuration; what it says is appended to the log.

    Args:
        config: the TOML file.
        log: a file.
        program: what stands in place of `twistd`.
    """
    with log.open("ab") as said:
        return subprocess.Popen(
            [*program, "-n", "--pidfile=", "imxrouter", "--config", str(config)],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=Path(__file__).parents[2],
        )  # fmt: skip
