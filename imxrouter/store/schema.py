"""The schema of the state file, as the numbered steps that lead to it.

A step is never changed once it was released. A new one is added at the end, together with a file of its
schema in `tests/store/fixtures/`.
"""

from __future__ import annotations

from typing import Final

#: "IMXS": tells our files from those of other programs (`PRAGMA application_id`).
APPLICATION_ID: Final = 0x494D5853

#: Step n leads from schema n - 1 to schema n; 0 is an empty file.
Upgrades = tuple[tuple[str, ...], ...]

UPGRADES: Final[Upgrades] = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        # expires_at: seconds since 1970, NULL for ever
        """\
CREATE TABLE entry (name TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, expires_at REAL, \
PRIMARY KEY (name, key)) WITHOUT ROWID""",
        # what was changed last, for the other processes; an empty name says: read everything again
        "CREATE TABLE change (number INTEGER PRIMARY KEY, name TEXT NOT NULL, key BLOB NOT NULL)",
    ),
)
