"""Reads the vectors for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def load(name: str) -> dict[str, Any]:
    """The content of one file."""
    loaded: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text("utf-8"))
    return loaded


def record_bytes() -> dict[str, bytes]:
    """Name -> bytes of every record."""
    return {one["name"]: bytes.fromhex(one["hex"]) for one in load("records")["vectors"]}


def seeds() -> list[bytes]:
    """Bytes to begin from when inputs are mutated: all records, good and bad, and whole conversations."""
    parts = list(record_bytes().values())
    parts += [bytes.fromhex(one["hex"]) for part in ("records", "links") for one in load("bad")[part]]
    for one in load("conversations")["conversations"]:
        for side in ("opener", "acceptor"):
            parts.append(
                b"".join(bytes.fromhex(step["hex"]) for step in one["steps"] if step["from"] == side)
            )
    return parts
