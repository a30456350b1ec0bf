"""A disk that is full for the state file of a router under test."""

from __future__ import annotations

import sqlite3

from tests.doubles.router_rig import Lab, RouterRig


def fill_disk(lab: Lab, rig: RouterRig) -> None:
    """Let it be full from now on; returns when the router knows."""

    def full(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    store = rig.router.store
    store._file._prepare = full
    rig.call(lambda: store.put("test", b"k", b"v" * 50_000))
    lab.wait_until(lambda: store.health().problem.value == "full", "the full disk")
