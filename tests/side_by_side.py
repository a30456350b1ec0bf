"""Tests side by side, by pytest-xdist: `pytest -n 3 -p tests.side_by_side`, as the Makefile does it.

All tests of a file run in one process, in their order; those of a folder whose files share a laboratory too.
A worker has network addresses and ports of its own where we are root, so that nothing that a test listens on
is in the way of another's.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from typing import Any, Final

import pytest
from xdist.scheduler import LoadScopeScheduling

#: Folders whose files share what takes long to build: one process carries them out.
TOGETHER: Final = ("tests/interop/edge",)

_CLONE_NEWNET: Final = 0x40000000  # <linux/sched.h>; os.unshare comes with Python 3.12


class _ByFile(LoadScopeScheduling):
    """Hands out files, and folders of `TOGETHER`."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(nodeid: str) -> str:
    """What a test is handed out with.

    Args:
        nodeid: relative to the project, with slashes, such as `tests/app/test_x.py::test_y`.
    """
    file = nodeid.partition("::")[0]
    return next((folder for folder in TOGETHER if file.startswith(f"{folder}/")), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile:
    """Take our own way to hand out tests."""
    return _ByFile(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give a worker a network of its own, with nothing but a loopback; before any thread is made."""
    if hasattr(config, "workerinput") and os.geteuid() == 0 and (ip := shutil.which("ip")):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) == 0:
            subprocess.run([ip, "link", "set", "lo", "up"], check=True)
